// What hashes are to the compiler: 16 bytes, copied as such, usable in constant expressions, and
// not to be mixed up.
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.hash;

namespace {

using namespace kvbm;

static_assert(std::same_as<SequenceHash, PositionalLineageHash>);
static_assert(sizeof(SequenceHash) == 16 && std::is_trivially_copyable_v<SequenceHash>);
static_assert(sizeof(PositionalSequenceHash) == 16 &&
              std::is_trivially_copyable_v<PositionalSequenceHash>);
static_assert(std::is_nothrow_default_constructible_v<SequenceHash>);
static_assert(std::is_aggregate_v<BlockHash> && sizeof(BlockHash) == 8);
static_assert(std::is_aggregate_v<ChainHash> && sizeof(ChainHash) == 8);
static_assert(!std::convertible_to<BlockHash, ChainHash>);
static_assert(!std::convertible_to<ChainHash, BlockHash>);
static_assert(!std::convertible_to<BlockHash, std::uint64_t>);
static_assert(!std::convertible_to<std::uint64_t, ChainHash>);
static_assert(std::three_way_comparable<SequenceHash, std::strong_ordering>);
static_assert(std::equality_comparable<PositionalSequenceHash>);
static_assert(!std::totally_ordered<PositionalSequenceHash>);
static_assert(std::is_trivially_copyable_v<HashError>);
static_assert(std::invocable<std::hash<SequenceHash>, SequenceHash>);
static_assert(chain_seed == 1337);

constexpr SequenceHash hash =
    *SequenceHash::make(ChainHash{0x1234567890abcdef}, ChainHash{0xfedcba9876543210}, 65536);
static_assert(hash.high() == 0x804000048d159e24 && hash.low() == 0x2af37bd876543210);
static_assert(hash.position() == 65536 && hash.mode() == 2);
static_assert(hash.current_chain_hash() == ChainHash{0x1234567890abcdef});
static_assert(hash.parent_hash_fragment() == 0x1876543210);
static_assert(SequenceHash::from_bytes(hash.to_bytes()) == hash);
static_assert(SequenceHash::from_bits(hash.high(), hash.low()) == hash);
static_assert(!SequenceHash::from_bits(0xc000000000000000, 0).has_value());
static_assert(SequenceHash::root(BlockHash{5}) < hash && hash.is_canonical());
static_assert(SequenceHash() == SequenceHash::root(BlockHash{0}));
static_assert(SequenceHash::max_position == 16777215);
static_assert(PositionalSequenceHash::max_position == 2147483647);

// The rules above hold if this file compiles.
TEST(SequenceHash, is_a_constant_of_16_bytes) {
    SUCCEED();
}

}  // namespace
