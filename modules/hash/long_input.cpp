// XXH3 of long inputs for processors with vectors of 32 bytes. Its own file, because xxHash decides
// by macros which vectors it uses, once per file.
module;

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#define XXH_VECTOR 2  // XXH_AVX2, which is defined too late
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#include <xxhash.h>
#pragma clang attribute pop
static_assert(XXH_VECTOR == XXH_AVX2);
#endif

module kvbm.hash;

namespace kvbm::detail::hash {

#if defined(__x86_64__)

[[gnu::target("avx2")]] std::uint64_t xxh3_of_long_input_avx2(std::span<const std::uint8_t> bytes,
                                                              std::span<const std::uint8_t> secret,
                                                              std::uint64_t seed) noexcept {
    return XXH3_64bits_withSecretandSeed(bytes.data(), bytes.size(), secret.data(), secret.size(),
                                         seed);
}

#else

std::uint64_t xxh3_of_long_input_avx2(std::span<const std::uint8_t>, std::span<const std::uint8_t>,
                                      std::uint64_t) noexcept {
    std::abort();  // no such processor has these vectors
}

#endif

}  // namespace kvbm::detail::hash
