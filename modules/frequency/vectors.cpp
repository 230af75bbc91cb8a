// The four counters of a key of layout compat at once, for processors with vectors of 32 bytes.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

module kvbm.frequency;

namespace kvbm::detail::frequency {

#if defined(__x86_64__)

namespace {

// A product of 64-bit numbers is made of products of their halves.

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i product_low(__m256i a,
                                                                       __m256i b) noexcept {
    const __m256i crossed = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), b),
                                             _mm256_mul_epu32(a, _mm256_srli_epi64(b, 32)));
    return _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64(crossed, 32));
}

/// The two halves of the 128-bit product, one xor the other.
[[gnu::target("avx2"), gnu::always_inline]] inline __m256i product_folded(__m256i a,
                                                                          __m256i b) noexcept {
    const __m256i lower = _mm256_set1_epi64x(0xFFFF'FFFF);
    const __m256i a_high = _mm256_srli_epi64(a, 32);
    const __m256i b_high = _mm256_srli_epi64(b, 32);
    const __m256i low_low = _mm256_mul_epu32(a, b);
    const __m256i high_low = _mm256_mul_epu32(a_high, b);
    const __m256i low_high = _mm256_mul_epu32(a, b_high);
    const __m256i high_high = _mm256_mul_epu32(a_high, b_high);
    const __m256i middle = _mm256_add_epi64(
        _mm256_add_epi64(_mm256_srli_epi64(low_low, 32), _mm256_and_si256(high_low, lower)),
        low_high);
    const __m256i high = _mm256_add_epi64(
        _mm256_add_epi64(_mm256_srli_epi64(high_low, 32), _mm256_srli_epi64(middle, 32)),
        high_high);
    constexpr int upper_halves = 0b1010'1010;
    const __m256i low = _mm256_blend_epi32(low_low, _mm256_slli_epi64(middle, 32), upper_halves);
    return _mm256_xor_si256(high, low);
}

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i broadcast(std::uint64_t value) noexcept {
    return _mm256_set1_epi64x(static_cast<long long>(value));
}

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i load(
    const std::array<std::uint64_t, 4>& values) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(values.data()));
}

}  // namespace

// XXH3 of 16 bytes under four secrets, a lane each.
[[gnu::target("avx2")]] void compat_counters_avx2(const SecretLanes& secrets,
                                                  std::uint64_t word_mask,
                                                  std::span<const SequenceHash> keys,
                                                  std::span<Counters> counters) noexcept {
    const __m256i size = broadcast(sizeof(SequenceHash));
    const __m256i prime = broadcast(0x1656'6791'9E37'79F9U);
    const __m256i word = broadcast(word_mask);
    const __m256i nibble = broadcast(15);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const std::uint64_t first = keys[i].low();
        const __m256i low = _mm256_xor_si256(broadcast(first), load(secrets.low));
        const __m256i high = _mm256_xor_si256(broadcast(keys[i].high()), load(secrets.high));
        const __m256i reversed =
            _mm256_xor_si256(broadcast(__builtin_bswap64(first)), load(secrets.low_reversed));
        const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(size, reversed),
                                             _mm256_add_epi64(high, product_folded(low, high)));
        const __m256i mixed = product_low(_mm256_xor_si256(sum, _mm256_srli_epi64(sum, 37)), prime);
        const __m256i hash = _mm256_xor_si256(mixed, _mm256_srli_epi64(mixed, 32));
        const __m256i bit = _mm256_or_si256(_mm256_slli_epi64(_mm256_and_si256(hash, word), 6),
                                            _mm256_slli_epi64(_mm256_and_si256(hash, nibble), 2));
        _mm256_store_si256(reinterpret_cast<__m256i*>(counters[i].bit.data()), bit);
    }
}

#else

void compat_counters_avx2(const SecretLanes&, std::uint64_t, std::span<const SequenceHash>,
                          std::span<Counters>) noexcept {
    std::abort();  // no such processor has these vectors
}

#endif

}  // namespace kvbm::detail::frequency
