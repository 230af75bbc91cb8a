module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

module kvbm.frequency;

namespace kvbm {

namespace {

using detail::frequency::Counters;
using detail::frequency::SecretLanes;

constexpr std::size_t secret_size = 192;
constexpr std::size_t words_per_line = 8;
constexpr std::uint64_t lowest_bits = 0x1111'1111'1111'1111U;
constexpr std::uint64_t halved_bits = 0x7777'7777'7777'7777U;
constexpr std::uint64_t counter_max = 15;
constexpr std::uint64_t word_bits = 64;
constexpr std::uint64_t counter_bits = 4;

// The default secret with i added and subtracted in turn is what XXH3 itself derives from seed i.
std::array<std::array<unsigned char, secret_size>, 4> derive_secrets() {
    std::array<std::array<unsigned char, secret_size>, 4> secrets;
    for (std::size_t i = 0; i < secrets.size(); ++i) {
        XXH3_generateSecret_fromSeed(secrets[i].data(), i);
    }
    return secrets;
}

const auto secrets = derive_secrets();

SecretLanes lanes_of_secrets() {
    const auto word = [](std::size_t secret, std::size_t at) {
        std::uint64_t value = 0;
        std::memcpy(&value, secrets[secret].data() + at, sizeof value);
        return value;
    };
    SecretLanes lanes;
    for (std::size_t i = 0; i < secrets.size(); ++i) {
        lanes.low[i] = word(i, 24) ^ word(i, 32);
        lanes.low_reversed[i] = __builtin_bswap64(lanes.low[i]);
        lanes.high[i] = word(i, 40) ^ word(i, 48);
    }
    return lanes;
}

const SecretLanes lanes = lanes_of_secrets();

std::array<std::uint8_t, 8> bytes_of(std::uint64_t key) {
    return std::bit_cast<std::array<std::uint8_t, 8>>(detail::hash::to_little_endian(key));
}

std::array<std::uint8_t, 16> bytes_of(const SequenceHash& key) {
    const std::array<std::uint64_t, 2> halves{detail::hash::to_little_endian(key.low()),
                                              detail::hash::to_little_endian(key.high())};
    return std::bit_cast<std::array<std::uint8_t, 16>>(halves);
}

std::size_t words_for(std::size_t capacity, SketchLayout layout) {
    if (layout == SketchLayout::compat) {
        return std::max<std::size_t>(1, capacity / 4);
    }
    const std::size_t words = capacity / 4 + (capacity % 4 != 0 ? 1 : 0);
    const std::size_t lines = words / words_per_line + (words % words_per_line != 0 ? 1 : 0);
    return std::max<std::size_t>(1, lines) * words_per_line;
}

Counters blocked_counters(std::uint64_t hash, std::size_t word_count) {
    const std::uint64_t blocks = word_count / words_per_line;
    const std::uint64_t block = ((hash & 0xFFFF'FFFFU) * blocks) >> 32;
    Counters counters;
    for (std::size_t i = 0; i < 4; ++i) {
        const auto byte = static_cast<unsigned>(hash >> (32 + 8 * i)) & 0xFFU;
        const std::uint64_t word = words_per_line * block + 2 * i + ((byte >> 4) & 1U);
        counters.bit[i] = word_bits * word + counter_bits * (byte & 15U);
    }
    return counters;
}

// Inlined where the size is known, so that nothing is decided by it.
[[gnu::always_inline]] inline std::array<std::uint64_t, 4> hash_four_times(
    const std::uint8_t* key, std::size_t size) noexcept {
    std::array<std::uint64_t, 4> hashes;
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        [[clang::always_inline]] hashes[i] =
            XXH3_64bits_withSecret(key, size, secrets[i].data(), secret_size);
    }
    return hashes;
}

}  // namespace

namespace detail::frequency {

std::array<std::uint64_t, 4> compat_hashes(std::span<const std::uint8_t> key) noexcept {
    return hash_four_times(key.data(), key.size());
}

}  // namespace detail::frequency

TinyLfuSketch::TinyLfuSketch(std::size_t capacity, SketchLayout layout)
    : capacity_(capacity),
      layout_(layout),
      word_count_(words_for(capacity, layout)),
      has_word_mask_(std::has_single_bit(word_count_)),
      uses_avx2_(layout == SketchLayout::compat && has_word_mask_ && detail::hash::has_avx2()),
      default_policy_(FixedDecayPolicy::from_capacity(capacity)),
      words_(word_count_) {}

TinyLfuSketch::TinyLfuSketch(std::size_t capacity, SketchLayout layout, DecayPolicy policy)
    : TinyLfuSketch(capacity, layout) {
    expects(static_cast<bool>(policy), "a decay policy can be called");
    policy_ = std::move(policy);
}

std::atomic<std::uint64_t>& TinyLfuSketch::word_of(std::uint64_t bit) const noexcept {
    return words_[bit / word_bits];
}

// Inlined for the keys of fixed size, so that their hashes are.
[[gnu::always_inline]] inline Counters TinyLfuSketch::counters_of(
    std::span<const std::uint8_t> key) const {
    if (layout_ == SketchLayout::blocked) {
        [[clang::always_inline]] return blocked_counters(XXH3_64bits(key.data(), key.size()),
                                                         word_count_);
    }
    const auto hashes = hash_four_times(key.data(), key.size());
    Counters counters;
    for (std::size_t i = 0; i < 4; ++i) {
        const std::uint64_t word =
            has_word_mask_ ? hashes[i] & (word_count_ - 1) : hashes[i] % word_count_;
        counters.bit[i] = word_bits * word + counter_bits * (hashes[i] & 15U);
    }
    return counters;
}

[[gnu::always_inline]] inline void TinyLfuSketch::find_counters(
    std::span<const SequenceHash> keys, std::span<Counters> counters) const {
    if (uses_avx2_) {
        detail::frequency::compat_counters_avx2(lanes, word_count_ - 1, keys, counters);
        return;
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
        counters[i] = counters_of(std::span<const std::uint8_t>(bytes_of(keys[i])));
    }
}

[[gnu::always_inline]] inline Counters TinyLfuSketch::counters_of(const SequenceHash& key) const {
    Counters counters;
    find_counters(std::span(&key, 1), std::span(&counters, 1));
    return counters;
}

std::uint32_t TinyLfuSketch::smallest(const Counters& counters) const noexcept {
    std::uint64_t least = counter_max;
    for (std::size_t i = 0; i < 4; ++i) {
        // Relaxed: an estimate orders nothing else.
        const auto value = word_of(counters.bit[i]).load(std::memory_order_relaxed);
        least = std::min(least, (value >> counters.bit[i] % word_bits) & counter_max);
    }
    return static_cast<std::uint32_t>(least);
}

bool TinyLfuSketch::raise_counters(const Counters& counters) noexcept {
    // All four are read before the first is written: a write waits for the reads before it, so
    // that misses would come one after the other.
    std::array<std::uint64_t, 4> values;
    for (std::size_t i = 0; i < 4; ++i) {
        values[i] = word_of(counters.bit[i]).load(std::memory_order_relaxed);
    }
    bool changed = false;
    for (std::size_t i = 0; i < 4; ++i) {
        auto& target = word_of(counters.bit[i]);
        const std::uint64_t shift = counters.bit[i] % word_bits;
        // Compare and swap instead of an addition: two threads that both read 14 must not carry
        // into the neighbour.
        auto& value = values[i];
        while (((value >> shift) & counter_max) != counter_max) {
            const auto raised = value + (std::uint64_t{1} << shift);
            if (target.compare_exchange_weak(value, raised, std::memory_order_relaxed)) {
                changed = true;
                break;
            }
        }
    }
    return changed;
}

bool TinyLfuSketch::raise_counters_alone(const Counters& counters) noexcept {
    bool changed = false;
    for (const std::uint64_t bit : counters.bit) {
        auto& target = word_of(bit);
        const std::uint64_t shift = bit % word_bits;
        const std::uint64_t value = target.load(std::memory_order_relaxed);
        if (((value >> shift) & counter_max) != counter_max) {
            detail::core::parking_point("frequency.touch.alone");
            target.store(value + (std::uint64_t{1} << shift), std::memory_order_relaxed);
            changed = true;
        }
    }
    return changed;
}

void TinyLfuSketch::raise(const Counters& counters) {
    bool changed = false;
    if (writer_.enter()) {
        changed = raise_counters_alone(counters);
        writer_.leave();
    } else {
        changed = raise_counters(counters);
    }
    if (changed) {
        grow(1);
    }
}

void TinyLfuSketch::grow(std::uint64_t raised) {
    const std::uint64_t size = size_.fetch_add(raised, std::memory_order_relaxed) + raised;
    const auto asked = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, 0xFFFF'FFFFU));
    if (policy_ ? policy_(asked) : default_policy_(asked)) {
        decay(size);
    }
}

void TinyLfuSketch::decay(std::uint64_t size_seen) {
    // One decay at a time; whoever comes while one runs goes on without it. Acquire and release
    // order the sizes that two decays in a row compute from.
    if (decaying_.exchange(true, std::memory_order_acquire)) {
        return;
    }
    const std::uint64_t before = size_.load(std::memory_order_relaxed);
    if (before >= size_seen) {  // else the decay asked for has happened meanwhile
        std::uint64_t odd = 0;
        for (std::size_t i = 0; i < word_count_; ++i) {
            auto value = words_[i].load(std::memory_order_relaxed);
            while (!words_[i].compare_exchange_weak(value, (value >> 1) & halved_bits,
                                                    std::memory_order_relaxed)) {
            }
            odd += static_cast<std::uint64_t>(std::popcount(value & lowest_bits));
        }
        const std::uint64_t after = before / 2 - std::min(before / 2, odd / 4);
        size_.fetch_sub(before - after, std::memory_order_relaxed);  // keeps what came meanwhile
    }
    decaying_.store(false, std::memory_order_release);
}

void TinyLfuSketch::increment(const SequenceHash& key) {
    raise(counters_of(key));
}
void TinyLfuSketch::increment(std::uint64_t key) {
    raise(counters_of(bytes_of(key)));
}
void TinyLfuSketch::increment(std::span<const std::uint8_t> key) {
    raise(counters_of(key));
}

// A group is hashed, and its words are asked for, before the group in front of it is used: using
// waits for its own words only, so that the misses of a large table overlap.
template <class Use>
[[gnu::always_inline]] inline void TinyLfuSketch::for_each_ahead(std::span<const SequenceHash> keys,
                                                                 const Use& use) const {
    constexpr std::size_t group_max = 8;
    std::array<std::array<Counters, group_max>, 2> groups;
    const auto look_at = [&](std::size_t first, std::size_t group) {
        const auto some = keys.subspan(first, std::min(keys.size() - first, group_max));
        find_counters(some, groups[group]);
        for (std::size_t i = 0; i < some.size(); ++i) {
            const Counters& counters = groups[group][i];
            __builtin_prefetch(&word_of(counters.bit[0]), 1);
            if (layout_ == SketchLayout::compat) {  // else they are in one line
                __builtin_prefetch(&word_of(counters.bit[1]), 1);
                __builtin_prefetch(&word_of(counters.bit[2]), 1);
                __builtin_prefetch(&word_of(counters.bit[3]), 1);
            }
        }
    };
    look_at(0, 0);
    std::size_t group = 0;
    for (std::size_t first = 0; first < keys.size(); first += group_max) {
        const std::size_t next = first + group_max;
        if (next < keys.size()) {
            look_at(next, 1 - group);
        }
        for (std::size_t i = first; i < std::min(next, keys.size()); ++i) {
            use(groups[group][i - first]);
        }
        group = 1 - group;
    }
}

std::uint64_t TinyLfuSketch::raise_all(std::span<const SequenceHash> keys) noexcept {
    std::uint64_t raised = 0;
    if (writer_.enter()) {
        for_each_ahead(keys, [&](const Counters& counters) {
            raised += raise_counters_alone(counters) ? 1 : 0;
        });
        writer_.leave();
    } else {
        for_each_ahead(
            keys, [&](const Counters& counters) { raised += raise_counters(counters) ? 1 : 0; });
    }
    return raised;
}

void TinyLfuSketch::increment_all(std::span<const SequenceHash> keys) {
    // So many sizes at most a thread keeps to itself.
    constexpr std::size_t batch_max = 128;
    for (; !keys.empty(); keys = keys.subspan(std::min(keys.size(), batch_max))) {
        const auto batch = keys.first(std::min(keys.size(), batch_max));
        // A policy of the caller's sees every size. The default one waits for a size that a batch
        // may be too far from: then the size is written once.
        if (policy_ || size() + batch.size() >= default_policy_.sample_size()) {
            for_each_ahead(batch, [&](const Counters& counters) { raise(counters); });
            continue;
        }
        if (const std::uint64_t raised = raise_all(batch); raised != 0) {
            grow(raised);
        }
    }
}

std::uint32_t TinyLfuSketch::estimate(const SequenceHash& key) const {
    return smallest(counters_of(key));
}
std::uint32_t TinyLfuSketch::estimate(std::uint64_t key) const {
    return smallest(counters_of(bytes_of(key)));
}
std::uint32_t TinyLfuSketch::estimate(std::span<const std::uint8_t> key) const {
    return smallest(counters_of(key));
}

std::uint64_t TinyLfuSketch::size() const noexcept {
    return size_.load(std::memory_order_relaxed);
}

std::vector<std::uint64_t> TinyLfuSketch::words() const {
    std::vector<std::uint64_t> copy(word_count_);
    for (std::size_t i = 0; i < word_count_; ++i) {
        copy[i] = words_[i].load(std::memory_order_relaxed);
    }
    return copy;
}

}  // namespace kvbm
