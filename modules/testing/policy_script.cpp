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

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

constexpr std::array<std::size_t, 10> border_positions{
    1, 2, 254, 255, 256, 65534, 65535, 65536, 0xFF'FFFE, SequenceHash::max_position};

std::uint64_t chain_of(std::size_t salt) {
    return (salt + 1) * 0x9E37'79B9'7F4A'7C15U;
}

SequenceHash made(std::uint64_t chain, std::uint64_t parent, std::size_t position) {
    return must(SequenceHash::make(ChainHash{chain}, ChainHash{parent}, position));
}

SequenceHash make_root(std::size_t salt) {
    return SequenceHash::root(BlockHash{chain_of(salt)});
}

SequenceHash make_kin(const SequenceHash& base, Kinship kinship, std::size_t salt) {
    const std::uint64_t chain = base.current_chain_hash().value;
    const std::uint64_t parent = base.parent_hash_fragment();
    const std::size_t position = base.position();
    switch (kinship) {
        case Kinship::root:
            break;
        case Kinship::child:
            if (position < SequenceHash::max_position) {
                return made(chain * 31 + chain_of(salt), chain, position + 1);
            }
            break;
        case Kinship::orphan:
            return made(chain_of(salt), ~chain_of(salt),
                        border_positions[salt % border_positions.size()]);
        case Kinship::other_parent:
            return made(chain, parent + 1 + salt, position);
        case Kinship::equal_key: {
            const unsigned stored = position + 1 < 256 ? 54 : position + 1 < 65536 ? 46 : 38;
            return made(chain ^ (1 + salt % 3) << stored, parent, position);
        }
        case Kinship::equal_low_bits:
            return made(
                chain ^ (1 + salt) << 38, parent,
                salt % 2 == 0 ? position : border_positions[salt / 2 % border_positions.size()]);
        case Kinship::wide_form:
            return must(SequenceHash::from_bits(
                std::uint64_t{2} << 62 | std::uint64_t{position} << 38 | chain >> 26,
                chain << 38 | (parent & ((std::uint64_t{1} << 38) - 1))));
    }
    return make_root(salt);
}

}  // namespace

std::vector<SequenceHash> make_hashes(std::span<const HashDraw> draws) {
    std::vector<SequenceHash> hashes;
    for (const auto& draw : draws) {
        const auto hash = hashes.empty()
                              ? make_root(draw.salt)
                              : make_kin(hashes[draw.of % hashes.size()], draw.kinship, draw.salt);
        if (std::ranges::find(hashes, hash) == hashes.end()) {
            hashes.push_back(hash);
        }
    }
    return hashes;
}

PolicyOptions decode_policy_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 8> block_counts{1, 2, 3, 4, 6, 12, 24, 64};
    PolicyOptions options;
    options.policy = decode_policy(bytes);
    options.block_count = block_counts[bytes.below(block_counts.size())];
    std::vector<HashDraw> draws(1 + bytes.below(32));
    for (auto& draw : draws) {
        // Children as often as all the others together.
        const std::size_t drawn = bytes.below(2 * kinships_count);
        draw.kinship = drawn < kinships_count ? static_cast<Kinship>(drawn) : Kinship::child;
        draw.of = bytes.below(32);
        draw.salt = bytes.below(20);
    }
    options.hashes = make_hashes(draws);
    return options;
}

PolicyCommand decode_policy_command(ByteReader& bytes) {
    switch (bytes.below(12)) {
        default:
            return CacheHash{bytes.below(32)};
        case 5:
            return UseHash{bytes.below(32)};
        case 6:
            return HoldHash{bytes.below(32)};
        case 7:
            return LetGo{bytes.below(32), false};
        case 8:
            return LetGo{bytes.below(32), true};
        case 9:
            return TakeBlocks{bytes.below(66)};
        case 10:
            return DrainBlocks{};
        case 11:
            return TouchTimes{bytes.below(32), bytes.below(16)};
    }
}

std::string to_string(const PolicyCommand& command) {
    return std::visit(
        []<class Command>(const Command& c) -> std::string {
            if constexpr (std::is_same_v<Command, CacheHash>) {
                return "cache " + std::to_string(c.hash);
            } else if constexpr (std::is_same_v<Command, UseHash>) {
                return "use " + std::to_string(c.hash);
            } else if constexpr (std::is_same_v<Command, HoldHash>) {
                return "hold " + std::to_string(c.hash);
            } else if constexpr (std::is_same_v<Command, LetGo>) {
                return "let go " + std::to_string(c.guard) + (c.uncached ? " uncached" : "");
            } else if constexpr (std::is_same_v<Command, TakeBlocks>) {
                return "take " + std::to_string(c.count);
            } else if constexpr (std::is_same_v<Command, DrainBlocks>) {
                return "drain";
            } else {
                return "touch " + std::to_string(c.hash) + " times " + std::to_string(c.times);
            }
        },
        command);
}

std::string to_string(const PolicyOptions& options) {
    std::string text =
        to_string(options.policy) + ", " + std::to_string(options.block_count) + " blocks, hashes";
    for (const auto& hash : options.hashes) {
        text += " " + hash.to_hex();
    }
    return text;
}

}  // namespace kvbm::testing
