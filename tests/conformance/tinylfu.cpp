// tinylfu.json: the frequency sketch in the layout of the recorded version.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <xxhash.h>
#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.frequency;
import kvbm.hash;

namespace kvbm::conformance {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Table sizes in words. Together they tell apart any two hashes met in practice.
constexpr std::array<std::size_t, 3> probe_words{4093, 4096, 65521};

/// (word, nibble) of the counters a key names.
using Places = std::set<std::pair<std::size_t, unsigned>>;

std::pair<std::size_t, unsigned> place_of(std::uint64_t hash, std::size_t words) {
    return {static_cast<std::size_t>(hash % words), static_cast<unsigned>(hash & 15U)};
}

Places touched_places(std::span<const std::uint8_t> key, std::size_t words) {
    TinyLfuSketch sketch(4 * words, SketchLayout::compat);
    sketch.increment(key);
    Places places;
    const auto table = sketch.words();
    for (std::size_t word = 0; word < table.size(); ++word) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            if (table[word] != 0 && (table[word] >> (4 * nibble) & 15U) != 0) {
                places.emplace(word, nibble);
            }
        }
    }
    return places;
}

Value recorded_places(const Places& places) {
    return list(places, [](const auto& place) { return Array{place.first, place.second}; });
}

std::optional<Bytes> little_endian_key(const Value& key, std::size_t size) {
    Trouble trouble;
    const Value digits = Object{{"digits", key}};
    const std::string text = Fields(digits, "", trouble).text("digits");
    if (trouble.any() || text.size() != 2 + 2 * size || !text.starts_with("0x")) {
        return std::nullopt;
    }
    const Value bytes = Object{{"digits", text.substr(2)}};
    const Bytes big_endian = Fields(bytes, "", trouble).bytes("digits");
    return trouble.any() ? std::nullopt
                         : std::optional(Bytes(big_endian.rbegin(), big_endian.rend()));
}

std::size_t key_size(const Fields& vector) {
    const std::string type = vector.text("key_type");
    if (type != "u64" && type != "u128") {
        vector.refuse("has a key_type that is neither u64 nor u128");
    }
    return type == "u64" ? 8 : 16;
}

void replay_probes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("probe_hashes")) {
        const Value* text = vector.value().find("key");
        const auto key =
            text != nullptr ? little_endian_key(*text, key_size(vector)) : std::nullopt;
        const auto hashes = vector.hashes64("hashes");
        if (!key) {
            vector.refuse("has a key that is not of its key_type");
        }
        if (document.trouble().any()) {
            return;
        }
        Array expected;
        Array actual;
        for (const std::size_t words : probe_words) {
            Places places;
            for (const std::uint64_t hash : hashes) {
                places.insert(place_of(hash, words));
            }
            expected.emplace_back(recorded_places(places));
            actual.emplace_back(recorded_places(touched_places(*key, words)));
        }
        report.record("probe_hashes", vector.path(), differences(expected, actual, Ids::compared));
    }
}

/// Keys of so many lengths that every byte of a secret takes part in some hash.
void replay_secrets(const Fields& document, Report& report) {
    constexpr std::array<std::size_t, 12> lengths{0, 1, 4, 8, 16, 17, 64, 128, 129, 240, 241, 1100};
    constexpr std::size_t secret_size = 192;
    Bytes buffer(lengths.back());
    for (std::size_t i = 0; i < buffer.size(); ++i) {
        buffer[i] = static_cast<std::uint8_t>(31 * i + 7);
    }
    const Array& secrets = document.elements("secrets");
    for (std::size_t i = 0; i < secrets.size(); ++i) {
        const std::string path = "secrets[" + std::to_string(i) + "]";
        const Value holder = Object{{path, secrets[i]}};
        const Bytes secret = Fields(holder, "", document.trouble()).bytes(path);
        if (secret.size() != secret_size) {
            document.trouble().report(path + " is not 192 bytes");
            return;
        }
        Array missing;
        for (const std::size_t length : lengths) {
            const auto hash =
                XXH3_64bits_withSecret(buffer.data(), length, secret.data(), secret.size());
            const auto key = std::span(buffer).first(length);
            for (const std::size_t words : probe_words) {
                if (!touched_places(key, words).contains(place_of(hash, words))) {
                    missing.emplace_back(length);
                }
            }
        }
        report.record("secrets", path, differences(Array{}, missing, Ids::compared));
    }
}

/// One sketch and, for keys it takes, the tracker over another: they must give the same numbers.
class SketchScript {
  public:
    SketchScript(std::size_t capacity, const DecayPolicy& policy)
        : sketch_(policy ? std::make_unique<TinyLfuSketch>(capacity, SketchLayout::compat, policy)
                         : std::make_unique<TinyLfuSketch>(capacity, SketchLayout::compat)),
          tracker_(policy ? std::make_unique<TinyLfuTracker>(capacity, SketchLayout::compat, policy)
                          : std::make_unique<TinyLfuTracker>(capacity, SketchLayout::compat)) {}

    void touch(const Bytes& key) {
        sketch_->increment(key);
        if (key.size() == 8) {
            tracker_->touch(number(key));
        } else if (const auto hash = sequence_hash(key)) {
            tracker_->touch(*hash);
        } else {
            tracker_fed_ = false;
        }
    }

    /// The estimate; both, if they differ.
    Value estimate(const Bytes& key) const {
        const std::uint32_t estimate = sketch_->estimate(key);
        std::uint32_t count = estimate;
        if (key.size() == 8) {
            count = tracker_->count(number(key));
        } else if (const auto hash = sequence_hash(key); hash && tracker_fed_) {
            count = tracker_->count(*hash);
        }
        return count == estimate ? Value(estimate)
                                 : Value(Object{{"sketch", estimate}, {"tracker", count}});
    }

  private:
    static std::uint64_t number(const Bytes& key) {
        std::uint64_t value = 0;
        for (auto byte = key.rbegin(); byte != key.rend(); ++byte) {
            value = value << 8 | *byte;
        }
        return value;
    }
    /// Nothing for 128 bits that no sequence hash has.
    static std::optional<SequenceHash> sequence_hash(const Bytes& key) {
        const auto hash = SequenceHash::from_bytes(Bytes(key.rbegin(), key.rend()));
        return hash ? std::optional(*hash) : std::nullopt;
    }

    std::unique_ptr<TinyLfuSketch> sketch_;
    std::unique_ptr<TinyLfuTracker> tracker_;
    bool tracker_fed_ = true;
};

/// One step: ["t", key index, times] or ["e", key index, estimate].
void replay_step(SketchScript& script, const std::vector<Bytes>& keys, const Fields& vector,
                 std::size_t index, Report& report) {
    constexpr std::uint64_t times_max = 1U << 24;
    const std::string path = vector.path() + ".ops[" + std::to_string(index) + "]";
    const auto* step = vector.elements("ops")[index].as<Array>();
    if (step == nullptr || step->size() != 3) {
        vector.trouble().report(path + " is not an array of three");
        return;
    }
    const auto* name = (*step)[0].as<std::string>();
    const auto* key = (*step)[1].as<std::uint64_t>();
    const auto* times = (*step)[2].as<std::uint64_t>();
    if (name == nullptr || (*name != "t" && *name != "e")) {
        vector.trouble().report(path + " is neither a touch \"t\" nor an estimate \"e\"");
    } else if (key == nullptr || *key >= keys.size()) {
        vector.trouble().report(path + " names a key that is not there");
    } else if (*name == "e") {
        report.record(vector.path(), path + ".estimate",
                      differences((*step)[2], script.estimate(keys[*key]), Ids::compared));
    } else if (times == nullptr || *times > times_max) {
        vector.trouble().report(path + " does not touch 0 to 2^24 times");
    } else {
        for (std::uint64_t i = 0; i < *times; ++i) {
            script.touch(keys[*key]);
        }
    }
}

void replay_scripts(const Fields& document, Report& report) {
    constexpr std::size_t capacity_max = std::size_t{1} << 28;
    for (const Fields& vector : document.objects("scripts")) {
        const std::size_t size = key_size(vector);
        const std::size_t capacity = vector.size("capacity");
        std::vector<Bytes> keys;
        for (const Value& key : vector.elements("keys")) {
            auto bytes = little_endian_key(key, size);
            if (!bytes) {
                vector.refuse("has a key that is not of its key_type");
                return;
            }
            keys.push_back(std::move(*bytes));
        }
        DecayPolicy policy;
        if (vector.has("decay_sample_size")) {
            const std::uint64_t sample_size = vector.number("decay_sample_size");
            if (sample_size > std::numeric_limits<std::uint32_t>::max()) {
                vector.refuse("has a decay_sample_size of more than 32 bits");
            }
            policy = FixedDecayPolicy(static_cast<std::uint32_t>(sample_size));
        }
        if (capacity > capacity_max) {
            vector.refuse("has a capacity of more than 2^28");
        }
        if (document.trouble().any()) {
            return;
        }
        SketchScript script(capacity, policy);
        for (std::size_t i = 0; i < vector.elements("ops").size(); ++i) {
            replay_step(script, keys, vector, i, report);
            if (document.trouble().any()) {
                return;
            }
        }
    }
}

constexpr std::array tinylfu_members{MemberReplay{"probe_hashes", replay_probes},
                                     MemberReplay{"scripts", replay_scripts},
                                     MemberReplay{"secrets", replay_secrets}};

}  // namespace

void replay_tinylfu(const Fields& document, Report& report) {
    replay_members(document, report, tinylfu_members);
}

}  // namespace kvbm::conformance
