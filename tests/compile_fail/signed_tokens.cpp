// Signed ids become tokens only by the function that says how.
#include <cstdint>
#include <span>
#include <vector>

import kvbm.tokens;

kvbm::TokenBlockSequence from_signed(const std::vector<std::int32_t>& ids) {
#ifdef BREAK_IT
    return kvbm::TokenBlockSequence(ids, 16);
#else
    return kvbm::TokenBlockSequence(kvbm::tokens_from_int32(ids), 16);
#endif
}
