// A sequence is taken apart only by whoever gives it up.
#include <utility>
#include <vector>

import kvbm.tokens;

kvbm::TokenBlockParts take_apart(kvbm::TokenBlockSequence& sequence) {
#ifdef BREAK_IT
    return sequence.into_parts();
#else
    return std::move(sequence).into_parts();
#endif
}
