module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

module kvbm.testing;

import kvbm.frequency;

namespace kvbm::testing {

namespace {

void append_little_endian(std::vector<std::uint8_t>& bytes, std::uint64_t value) {
    for (int i = 0; i < 8; ++i) {
        bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

std::uint64_t little_endian_at(std::span<const std::uint8_t> bytes, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        value |= std::uint64_t{bytes[at + i]} << (8 * i);
    }
    return value;
}

// The default secret, with `number` added to the low and taken from the high half of each lane.
std::vector<std::uint8_t> secret(std::uint64_t number) {
    std::array<std::uint8_t, 192> plain;
    XXH3_generateSecret_fromSeed(plain.data(), 0);
    std::vector<std::uint8_t> bytes;
    for (std::size_t lane = 0; lane < plain.size(); lane += 16) {
        append_little_endian(bytes, little_endian_at(plain, lane) + number);
        append_little_endian(bytes, little_endian_at(plain, lane + 8) - number);
    }
    return bytes;
}

std::size_t words_count(std::size_t capacity, SketchLayout layout) {
    if (layout == SketchLayout::compat) {
        return std::max<std::size_t>(1, capacity / 4);
    }
    std::size_t words = 8;
    while (4 * words < capacity) {
        words += 8;
    }
    return words;
}

SketchOptions options_of(std::size_t capacity, bool compat, std::size_t sample) {
    SketchOptions options{capacity, compat ? SketchLayout::compat : SketchLayout::blocked, {}};
    if (sample != 0) {
        options.sample_size = static_cast<std::uint32_t>(sample);
    }
    return options;
}

TinyLfuTracker make_tracker(const SketchOptions& options) {
    if (!options.sample_size) {
        return TinyLfuTracker(options.capacity, options.layout);
    }
    return TinyLfuTracker(options.capacity, options.layout, FixedDecayPolicy(*options.sample_size));
}

}  // namespace

SketchModel::SketchModel(std::size_t capacity, SketchLayout layout,
                         std::optional<std::uint32_t> sample_size)
    : layout_(layout),
      sample_size_(sample_size
                       ? *sample_size
                       : std::min<std::uint64_t>(10 * std::uint64_t{capacity}, 0xFFFF'FFFFU)),
      secrets_{secret(0), secret(1), secret(2), secret(3)},
      counters_(16 * words_count(capacity, layout)) {}

std::vector<std::size_t> SketchModel::counters_of(std::span<const std::uint8_t> key) const {
    const std::size_t words = counters_.size() / 16;
    std::vector<std::size_t> counters;
    for (std::uint64_t i = 0; i < 4; ++i) {
        if (layout_ == SketchLayout::compat) {
            const std::uint64_t hash = XXH3_64bits_withSecret(
                key.data(), key.size(), secrets_[i].data(), secrets_[i].size());
            counters.push_back(16 * (hash % words) + hash % 16);
        } else {
            const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
            const std::uint64_t block = (hash % 0x1'0000'0000U) * (words / 8) / 0x1'0000'0000U;
            const std::uint64_t y = (hash >> (32 + 8 * i)) % 256;
            counters.push_back(16 * (8 * block + 2 * i + (y / 16) % 2) + y % 16);
        }
    }
    return counters;
}

void SketchModel::increment(std::span<const std::uint8_t> key) {
    bool changed = false;
    for (const std::size_t counter : counters_of(key)) {
        if (counters_[counter] < 15) {
            ++counters_[counter];
            changed = true;
        }
    }
    if (changed) {
        ++size_;
        if (size_ >= sample_size_) {
            decay();
        }
    }
}

void SketchModel::decay() {
    std::uint64_t odd = 0;
    for (auto& counter : counters_) {
        odd += counter % 2;
        counter /= 2;
    }
    size_ = size_ / 2 > odd / 4 ? size_ / 2 - odd / 4 : 0;
    ++decays_count_;
}

std::uint32_t SketchModel::estimate(std::span<const std::uint8_t> key) const {
    std::uint32_t least = 15;
    for (const std::size_t counter : counters_of(key)) {
        least = std::min<std::uint32_t>(least, counters_[counter]);
    }
    return least;
}

std::vector<std::uint64_t> SketchModel::words() const {
    std::vector<std::uint64_t> words(counters_.size() / 16);
    for (std::size_t i = 0; i < counters_.size(); ++i) {
        words[i / 16] |= std::uint64_t{counters_[i]} << (4 * (i % 16));
    }
    return words;
}

std::vector<std::uint8_t> sketch_key_bytes(const SequenceHash& key) {
    std::vector<std::uint8_t> bytes;
    append_little_endian(bytes, key.low());
    append_little_endian(bytes, key.high());
    return bytes;
}

std::vector<std::uint8_t> sketch_key_bytes(std::uint64_t key) {
    std::vector<std::uint8_t> bytes;
    append_little_endian(bytes, key);
    return bytes;
}

SequenceHash sketch_hash(std::size_t key) {
    const std::uint64_t folded = key % sketch_keys_count;
    return must(SequenceHash::from_bits(folded * 0xD6E8'FEB8'6659'FD93U >> 2,
                                        folded * 0xA076'1D64'78BD'642FU));
}

std::uint64_t sketch_number(std::size_t key) {
    return std::uint64_t{key % sketch_keys_count} * 0x9E37'79B9'7F4A'7C15U;
}

SketchOptions decode_sketch_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 10> capacities{0, 1, 3, 4, 7, 10, 64, 100, 257, 1000};
    const std::size_t capacity = capacities[bytes.below(capacities.size())];
    const bool compat = bytes.flag();
    return options_of(capacity, compat, bytes.below(300));
}

SketchCommand decode_sketch_command(ByteReader& bytes) {
    switch (bytes.below(3)) {
        case 0: {
            const std::size_t key = bytes.below(sketch_keys_count);
            return SketchTouchNumber{key, bytes.below(20)};
        }
        case 1: {
            const std::size_t key = bytes.below(sketch_keys_count);
            return SketchTouchHash{key, bytes.below(20)};
        }
        default: {
            SketchTouchAll command{std::vector<std::size_t>(bytes.below(30))};
            for (auto& key : command.keys) {
                key = bytes.below(sketch_keys_count);
            }
            return command;
        }
    }
}

std::string to_string(const SketchOptions& options) {
    return std::string(options.layout == SketchLayout::compat ? "compat" : "blocked") +
           " capacity " + std::to_string(options.capacity) + " sample " +
           (options.sample_size ? std::to_string(*options.sample_size) : "default");
}

std::string to_string(const SketchCommand& command) {
    return std::visit(
        [](const auto& c) {
            using C = std::decay_t<decltype(c)>;
            if constexpr (std::is_same_v<C, SketchTouchAll>) {
                std::string text = "touch_all";
                for (const std::size_t key : c.keys) {
                    text += " " + std::to_string(key);
                }
                return text;
            } else {
                return std::string(std::is_same_v<C, SketchTouchHash> ? "touch_hash "
                                                                      : "touch_number ") +
                       std::to_string(c.key) + " " + std::to_string(c.times);
            }
        },
        command);
}

SketchHarness::SketchHarness(const SketchOptions& options)
    : model_(options.capacity, options.layout, options.sample_size),
      tracker_(make_tracker(options)) {}

std::optional<std::string> SketchHarness::run(const SketchCommand& command) {
    if (const auto* number = std::get_if<SketchTouchNumber>(&command)) {
        for (std::size_t i = 0; i < number->times; ++i) {
            tracker_.touch(sketch_number(number->key));
            model_.increment(sketch_key_bytes(sketch_number(number->key)));
        }
    } else if (const auto* hash = std::get_if<SketchTouchHash>(&command)) {
        for (std::size_t i = 0; i < hash->times; ++i) {
            tracker_.touch(sketch_hash(hash->key));
            model_.increment(sketch_key_bytes(sketch_hash(hash->key)));
        }
    } else {
        std::vector<SequenceHash> keys;
        for (const std::size_t key : std::get<SketchTouchAll>(command).keys) {
            keys.push_back(sketch_hash(key));
            model_.increment(sketch_key_bytes(keys.back()));
        }
        tracker_.touch_all(keys);
    }
    const std::string after = "after " + to_string(command) + ": ";
    if (tracker_.sketch().size() != model_.size()) {
        return after + "size " + std::to_string(tracker_.sketch().size()) + ", expected " +
               std::to_string(model_.size());
    }
    for (std::size_t key = 0; key < sketch_keys_count; ++key) {
        const auto hash = tracker_.count(sketch_hash(key));
        const auto number = tracker_.count(sketch_number(key));
        const auto hash_expected = model_.estimate(sketch_key_bytes(sketch_hash(key)));
        const auto number_expected = model_.estimate(sketch_key_bytes(sketch_number(key)));
        if (hash != hash_expected || number != number_expected) {
            return after + "estimates of key " + std::to_string(key) + " are " +
                   std::to_string(hash) + " and " + std::to_string(number) + ", expected " +
                   std::to_string(hash_expected) + " and " + std::to_string(number_expected);
        }
    }
    return std::nullopt;
}

std::optional<std::string> SketchHarness::compare_tables() const {
    const auto real = tracker_.sketch().words();
    const auto expected = model_.words();
    if (real.size() != expected.size()) {
        return "the table has " + std::to_string(real.size()) + " words, expected " +
               std::to_string(expected.size());
    }
    const auto place = std::mismatch(real.begin(), real.end(), expected.begin()).first;
    if (place != real.end()) {
        return "word " + std::to_string(place - real.begin()) + " of the table differs";
    }
    return std::nullopt;
}

}  // namespace kvbm::testing
