// A call that can fail is asked whether it did.
#include <span>

#include <tl/expected.hpp>

import kvbm.tokens;

void extend_twice(kvbm::TokenBlockSequence& sequence, std::span<const kvbm::Token> tokens) {
    kvbm::must(sequence.extend(tokens));
#ifdef BREAK_IT
    sequence.extend(tokens);
#endif
}
