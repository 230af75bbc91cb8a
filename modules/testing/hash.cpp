module;

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include <xxhash.h>
#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.hash;

namespace kvbm::testing {

namespace {

struct Layout {
    std::uint64_t mode;
    std::size_t position_width;
};

Layout layout_of(std::uint64_t position) {
    if (position <= 255) {
        return {0, 8};
    }
    if (position <= 65535) {
        return {1, 16};
    }
    if (position <= 16777215) {
        return {2, 24};
    }
    return {3, 31};
}

std::uint64_t number(std::string_view bits) {
    std::uint64_t value = 0;
    for (const char bit : bits) {
        value = 2 * value + (bit == '1' ? 1 : 0);
    }
    return value;
}

// Reads base 58 back: each leading '1' is a zero byte, so eight bytes come out again.
std::optional<std::uint64_t> base58_value(std::string_view text) {
    constexpr std::string_view digits =
        "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    std::uint64_t value = 0;
    std::size_t ones = 0;
    bool leading = true;
    for (const char digit : text) {
        const auto place = digits.find(digit);
        if (place == std::string_view::npos) {
            return std::nullopt;
        }
        leading = leading && place == 0;
        ones += leading ? 1 : 0;
        value = value * 58 + place;
    }
    std::size_t zero_bytes = 8;
    for (std::uint64_t rest = value; rest > 0; rest /= 256) {
        --zero_bytes;
    }
    return ones == zero_bytes ? std::optional(value) : std::nullopt;
}

std::string display_problem(SequenceHash hash, const ModelLineage& fields) {
    const std::string text = hash.to_string();
    const auto first = text.find(':');
    if (first == std::string::npos || text.substr(0, first) != std::to_string(fields.position)) {
        return "display position of " + hash.to_hex() + ": " + text;
    }
    const auto second = text.find(':', first + 1);
    if ((second != std::string::npos) != (fields.position > 0)) {
        return "display parts of " + hash.to_hex() + ": " + text;
    }
    if (base58_value(std::string_view(text).substr(first + 1, second - first - 1)) !=
        fields.chain) {
        return "display chain hash of " + hash.to_hex() + ": " + text;
    }
    if (second != std::string::npos &&
        base58_value(std::string_view(text).substr(second + 1)) != fields.fragment) {
        return "display fragment of " + hash.to_hex() + ": " + text;
    }
    return "";
}

std::string child_problem(SequenceHash hash, const ModelLineage& fields, BlockHash child) {
    const auto next = hash.extend(child);
    if (fields.position == SequenceHash::max_position) {
        return next.has_value() ? "a child beyond the limit" : "";
    }
    if (!next) {
        return "no child within the limit";
    }
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::uint8_t>(fields.chain >> (8 * i));
        bytes[8 + i] = static_cast<std::uint8_t>(child.value >> (8 * i));
    }
    if (bits_of(*next) !=
        model_lineage_bits(model_xxh3(bytes, 1337), fields.chain, fields.position + 1)) {
        return "child of " + hash.to_hex() + " is " + next->to_hex();
    }
    if (!hash.is_parent_of(*next)) {
        return hash.to_hex() + " is no parent of its child";
    }
    if (hash.parent_fragment_for_child_position(next->position()) != next->parent_hash_fragment()) {
        return "fragment announced by " + hash.to_hex();
    }
    return "";
}

std::optional<std::string> found(const std::string& problem) {
    return problem.empty() ? std::nullopt : std::optional(problem);
}

}  // namespace

std::uint64_t model_xxh3(std::span<const std::uint8_t> bytes, std::uint64_t seed) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string binary(std::uint64_t value, std::size_t width) {
    std::string bits(width, '0');
    for (std::size_t i = width; i-- > 0; value /= 2) {
        bits[i] = value % 2 == 1 ? '1' : '0';
    }
    return bits;
}

std::string model_lineage_bits(std::uint64_t chain, std::uint64_t parent, std::uint64_t position) {
    const auto layout = layout_of(position);
    return binary(layout.mode, 2) + binary(position, layout.position_width) + binary(chain, 64) +
           binary(parent, 62 - layout.position_width);
}

std::string model_sequence_bits(std::uint64_t chain, std::uint64_t block, std::uint64_t position) {
    const auto layout = layout_of(position);
    return binary(layout.mode, 2) + binary(position, layout.position_width) +
           binary(block, 62 - layout.position_width) + binary(chain, 64);
}

std::string bits_of(PositionalLineageHash hash) {
    return binary(hash.high(), 64) + binary(hash.low(), 64);
}

std::string bits_of(PositionalSequenceHash hash) {
    return binary(hash.high(), 64) + binary(hash.low(), 64);
}

ModelLineage decode_lineage_bits(const std::string& bits) {
    const std::uint64_t mode = number(bits.substr(0, 2));
    const std::size_t width = 8 * (mode + 1);
    return {mode, number(bits.substr(2, width)), number(bits.substr(2 + width, 64)),
            number(bits.substr(66 + width))};
}

std::optional<std::string> check_lineage_hash(SequenceHash hash, BlockHash child) {
    const std::string bits = bits_of(hash);
    const auto fields = decode_lineage_bits(bits);
    if (std::tuple(hash.mode(), hash.position(), hash.current_chain_hash().value,
                   hash.parent_hash_fragment()) !=
        std::tuple(fields.mode, fields.position, fields.chain, fields.fragment)) {
        return "fields of " + hash.to_hex();
    }
    const bool canonical =
        bits == model_lineage_bits(fields.chain, fields.fragment, fields.position) &&
        (fields.position > 0 || fields.fragment == 0);
    if (hash.is_canonical() != canonical) {
        return "is_canonical of " + hash.to_hex();
    }
    if (SequenceHash::from_bytes(hash.to_bytes()) != hash) {
        return "bytes of " + hash.to_hex();
    }
    if (SequenceHash::from_hex(hash.to_hex()) != hash) {
        return "text of " + hash.to_hex();
    }
    if (auto problem = found(display_problem(hash, fields))) {
        return problem;
    }
    return found(child_problem(hash, fields, child));
}

std::optional<std::string> check_lineage_order(SequenceHash a, SequenceHash b) {
    const auto key = [](SequenceHash hash) {
        const std::string bits = bits_of(hash);
        const auto fields = decode_lineage_bits(bits);
        return std::tuple(fields.position, fields.chain, bits);
    };
    if ((a <=> b) != (key(a) <=> key(b)) || (a == b) != (key(a) == key(b))) {
        return "order of " + a.to_hex() + " and " + b.to_hex();
    }
    return std::nullopt;
}

std::optional<std::string> check_packing(ChainHash chain, std::optional<ChainHash> parent,
                                         BlockHash block, std::uint64_t position) {
    const auto lineage = SequenceHash::make(chain, parent, position);
    if (lineage.has_value() != (position < 16777216)) {
        return "limit of lineage positions at " + std::to_string(position);
    }
    if (lineage && bits_of(*lineage) !=
                       model_lineage_bits(chain.value, parent ? parent->value : 0, position)) {
        return "packing " + lineage->to_hex() + " at " + std::to_string(position);
    }
    const auto sequence = PositionalSequenceHash::make(chain, block, position);
    if (sequence.has_value() != (position < 2147483648)) {
        return "limit of sequence positions at " + std::to_string(position);
    }
    if (!sequence) {
        return std::nullopt;
    }
    if (bits_of(*sequence) != model_sequence_bits(chain.value, block.value, position)) {
        return "packing a sequence hash at " + std::to_string(position);
    }
    const auto layout = layout_of(position);
    if (std::tuple(sequence->mode(), sequence->position(), sequence->chain_hash(),
                   sequence->block_hash_fragment()) !=
        std::tuple(layout.mode, position, chain,
                   number(binary(block.value, 62 - layout.position_width)))) {
        return "fields of a sequence hash at " + std::to_string(position);
    }
    if (PositionalSequenceHash::from_bytes(sequence->to_bytes()) != *sequence) {
        return "bytes of a sequence hash at " + std::to_string(position);
    }
    return std::nullopt;
}

std::optional<std::string> check_hash_input(std::span<const std::uint8_t> bytes) {
    if (bytes.size() != 16 && SequenceHash::from_bytes(bytes).has_value()) {
        return "a hash of " + std::to_string(bytes.size()) + " bytes";
    }
    const std::string text(bytes.begin(), bytes.end());
    if (const auto read = SequenceHash::from_hex(text); read && text.size() != 32) {
        return "a hash of " + std::to_string(text.size()) + " digits";
    }
    ByteReader reader(bytes);
    std::array<SequenceHash, 2> hashes{};
    for (auto& hash : hashes) {
        std::array<std::uint8_t, 16> raw{};
        for (auto& byte : raw) {
            byte = reader.u8();
        }
        const auto read = SequenceHash::from_bytes(raw);
        if (read.has_value() == (raw[0] >= 0xc0)) {
            return "mode of a first byte " + std::to_string(raw[0]);
        }
        hash = read.value_or(SequenceHash());
        if (auto problem = check_lineage_hash(hash, BlockHash{reader.u64()})) {
            return problem;
        }
    }
    if (auto problem = check_lineage_order(hashes[0], hashes[1])) {
        return problem;
    }
    const ChainHash chain{reader.u64()};
    const std::optional<ChainHash> parent =
        reader.flag() ? std::optional(ChainHash{reader.u64()}) : std::nullopt;
    const BlockHash block{reader.u64()};
    // A number of 0 to 63 binary digits, so that every mode and both limits are met.
    const std::uint64_t position = reader.u64() >> (1 + reader.below(63));
    return check_packing(chain, parent, block, position);
}

}  // namespace kvbm::testing
