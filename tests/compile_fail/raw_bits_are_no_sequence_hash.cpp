// Bits from outside are checked before they become a key.
#include <cstdint>

#include <tl/expected.hpp>

import kvbm.hash;

kvbm::SequenceHash key_of(std::uint64_t high, std::uint64_t low) {
#ifdef BREAK_IT
    return kvbm::SequenceHash(high, low);
#else
    return kvbm::must(kvbm::SequenceHash::from_bits(high, low));
#endif
}
