// What a module doesn't export can't be named.
#include <array>
#include <cstdint>

import kvbm.hash;

std::array<std::uint8_t, 16> bytes_of(kvbm::SequenceHash hash) {
#ifdef BREAK_IT
    return kvbm::detail::hash::big_endian_bytes(hash.high(), hash.low());
#else
    return hash.to_bytes();
#endif
}
