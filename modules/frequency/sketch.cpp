module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

module kvbm.frequency;

namespace kvbm {

namespace {

using detail::frequency::Counters;
using detail::frequency::Line;

constexpr std::size_t secret_size = 192;
constexpr std::size_t words_per_line = 8;
constexpr std::uint64_t lowest_bits = 0x1111'1111'1111'1111U;
constexpr std::uint64_t halved_bits = 0x7777'7777'7777'7777U;
constexpr std::uint64_t counter_max = 15;

// The default secret with i added and subtracted in turn is what XXH3 itself derives from seed i.
std::array<std::array<unsigned char, secret_size>, 4> derive_secrets() {
    std::array<std::array<unsigned char, secret_size>, 4> secrets;
    for (std::size_t i = 0; i < secrets.size(); ++i) {
        XXH3_generateSecret_fromSeed(secrets[i].data(), i);
    }
    return secrets;
}

const auto secrets = derive_secrets();

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
        counters.word[i] = words_per_line * block + 2 * i + ((byte >> 4) & 1U);
        counters.shift[i] = 4 * (byte & 15U);
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
      word_mask_(std::has_single_bit(word_count_) ? word_count_ - 1 : 0),
      default_policy_(FixedDecayPolicy::from_capacity(capacity)),
      lines_(std::make_unique<Line[]>((word_count_ - 1) / words_per_line + 1)) {}

TinyLfuSketch::TinyLfuSketch(std::size_t capacity, SketchLayout layout, DecayPolicy policy)
    : TinyLfuSketch(capacity, layout) {
    expects(static_cast<bool>(policy), "a decay policy can be called");
    policy_ = std::move(policy);
}

std::atomic<std::uint64_t>& TinyLfuSketch::word(std::size_t index) noexcept {
    return lines_[index / words_per_line].words[index % words_per_line];
}

const std::atomic<std::uint64_t>& TinyLfuSketch::word(std::size_t index) const noexcept {
    return lines_[index / words_per_line].words[index % words_per_line];
}

// Inlined for the keys of fixed size, so that their hashes are.
[[gnu::always_inline]] inline Counters TinyLfuSketch::counters_of(
    std::span<const std::uint8_t> key) const {
    if (layout_ == SketchLayout::blocked) {
        [[clang::always_inline]] return blocked_counters(XXH3_64bits(key.data(), key.size()),
                                                         word_count_);
    }
    const auto hashes = hash_four_times(key.data(), key.size());
    const bool power_of_two = word_mask_ != 0 || word_count_ == 1;
    Counters counters;
    for (std::size_t i = 0; i < 4; ++i) {
        counters.word[i] = power_of_two ? hashes[i] & word_mask_ : hashes[i] % word_count_;
        counters.shift[i] = 4 * static_cast<unsigned>(hashes[i] & 15U);
    }
    return counters;
}

void TinyLfuSketch::prefetch(const Counters& counters) const noexcept {
    const std::size_t lines = layout_ == SketchLayout::blocked ? 1 : 4;
    for (std::size_t i = 0; i < lines; ++i) {
        __builtin_prefetch(&word(counters.word[i]), 1);
    }
}

std::uint32_t TinyLfuSketch::smallest(const Counters& counters) const noexcept {
    std::uint64_t least = counter_max;
    for (std::size_t i = 0; i < 4; ++i) {
        // Relaxed: an estimate orders nothing else.
        const auto value = word(counters.word[i]).load(std::memory_order_relaxed);
        least = std::min(least, (value >> counters.shift[i]) & counter_max);
    }
    return static_cast<std::uint32_t>(least);
}

bool TinyLfuSketch::raise_counters(const Counters& counters) noexcept {
    // All four are read before the first is written: a write waits for the reads before it, so
    // that misses would come one after the other.
    std::array<std::uint64_t, 4> values;
    for (std::size_t i = 0; i < 4; ++i) {
        values[i] = word(counters.word[i]).load(std::memory_order_relaxed);
    }
    bool changed = false;
    for (std::size_t i = 0; i < 4; ++i) {
        auto& target = word(counters.word[i]);
        // Compare and swap instead of an addition: two threads that both read 14 must not carry
        // into the neighbour.
        auto& value = values[i];
        while (((value >> counters.shift[i]) & counter_max) != counter_max) {
            const auto raised = value + (std::uint64_t{1} << counters.shift[i]);
            if (target.compare_exchange_weak(value, raised, std::memory_order_relaxed)) {
                changed = true;
                break;
            }
        }
    }
    return changed;
}

void TinyLfuSketch::raise(const Counters& counters) {
    if (!raise_counters(counters)) {
        return;
    }
    const std::uint64_t size = size_.fetch_add(1, std::memory_order_relaxed) + 1;
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
            auto value = word(i).load(std::memory_order_relaxed);
            while (!word(i).compare_exchange_weak(value, (value >> 1) & halved_bits,
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
    raise(counters_of(bytes_of(key)));
}
void TinyLfuSketch::increment(std::uint64_t key) {
    raise(counters_of(bytes_of(key)));
}
void TinyLfuSketch::increment(std::span<const std::uint8_t> key) {
    raise(counters_of(key));
}

void TinyLfuSketch::increment_all(std::span<const SequenceHash> keys) {
    // A group is hashed, and its words are asked for, before the group in front of it is counted:
    // counting waits for its own words only, so that the misses of a large table overlap.
    constexpr std::size_t group_max = 8;
    struct Group {
        std::array<Counters, group_max> counters;
        std::size_t size = 0;
    };
    std::array<Group, 2> groups;
    const auto hash_next = [&](Group& group) {
        group.size = std::min(keys.size(), group_max);
        for (std::size_t i = 0; i < group.size; ++i) {
            group.counters[i] = counters_of(bytes_of(keys[i]));
            prefetch(group.counters[i]);
        }
        keys = keys.subspan(group.size);
    };
    hash_next(groups[0]);
    for (std::size_t now = 0; groups[now].size != 0; now = 1 - now) {
        hash_next(groups[1 - now]);
        for (std::size_t i = 0; i < groups[now].size; ++i) {
            raise(groups[now].counters[i]);
        }
    }
}

std::uint32_t TinyLfuSketch::estimate(const SequenceHash& key) const {
    return smallest(counters_of(bytes_of(key)));
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
        copy[i] = word(i).load(std::memory_order_relaxed);
    }
    return copy;
}

}  // namespace kvbm
