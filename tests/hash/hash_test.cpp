// The numbers that other programs of a cluster compute for the same tokens, and what is refused.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_set>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.hash;

namespace {

using namespace kvbm;

std::vector<Token> counted_from(Token first, std::size_t count) {
    std::vector<Token> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

std::string hex_of(std::span<const std::uint8_t> bytes) {
    std::string text;
    for (const std::uint8_t byte : bytes) {
        constexpr char digits[] = "0123456789abcdef";
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

constexpr ChainHash some_chain{0x1234567890abcdef};
constexpr ChainHash some_parent{0xfedcba9876543210};
constexpr BlockHash some_block{0xfedcba9876543210};

TEST(SaltHash, no_bytes_are_not_no_salt) {
    EXPECT_EQ(salt_hash(""), 3244421341483603138u);
    EXPECT_EQ(salt_hash(std::span<const std::uint8_t>{}), 3244421341483603138u);
}

TEST(SaltHash, is_of_the_bytes_of_a_text) {
    const std::array<std::uint8_t, 2> braces{'{', '}'};

    EXPECT_EQ(salt_hash("tenant-a"), 7159698576361518977u);
    EXPECT_EQ(salt_hash("{}"), 1389868326933519382u);
    EXPECT_EQ(salt_hash(braces), 1389868326933519382u);
}

TEST(BlockHash, is_seeded_with_the_salt) {
    const std::vector<Token> tokens{1, 2, 3, 4};

    EXPECT_EQ(block_hash(tokens), BlockHash{8052976908588476977u});
    EXPECT_EQ(block_hash(tokens, 1337), BlockHash{14643705804678351452u});
    EXPECT_EQ(block_hash(tokens, salt_hash("tenant-a")), BlockHash{12788985884320618657u});
}

TEST(BlockHash, takes_blocks_of_any_size) {
    EXPECT_EQ(block_hash(std::vector<Token>{7}), BlockHash{6318062648460624204u});
    EXPECT_EQ(block_hash(counted_from(0, 16)), BlockHash{8773583392624668237u});
}

TEST(BlockHash, is_the_hash_of_the_little_endian_bytes) {
    const std::vector<Token> tokens{0x04030201u, 0xffffffffu, 0};
    const std::vector<std::uint8_t> bytes{1, 2, 3, 4, 255, 255, 255, 255, 0, 0, 0, 0};

    EXPECT_EQ(block_hash(tokens, 5), block_hash_bytes(bytes, 5));
}

TEST(LittleEndian, swaps_on_a_big_endian_machine_only) {
    using detail::hash::to_little_endian;

    EXPECT_EQ(to_little_endian<std::uint32_t>(0x01020304, std::endian::big), 0x04030201u);
    EXPECT_EQ(to_little_endian<std::uint64_t>(0x0102030405060708, std::endian::big),
              0x0807060504030201u);
    EXPECT_EQ(to_little_endian<std::uint32_t>(0x01020304, std::endian::little), 0x01020304u);
}

class BlockHashOfBigEndianWords : public testing::TestWithParam<std::size_t> {};

TEST_P(BlockHashOfBigEndianWords, equals_the_hash_of_the_tokens) {
    const auto tokens = counted_from(4294967290u, GetParam());
    auto words = tokens;
    for (Token& word : words) {
        word = detail::hash::to_little_endian(word, std::endian::big);
    }

    EXPECT_EQ(detail::hash::block_hash_of_big_endian_words(words, 99), block_hash(tokens, 99));
}

INSTANTIATE_TEST_SUITE_P(Sizes, BlockHashOfBigEndianWords,
                         testing::Values(0, 1, 60, 61, 63, 64, 65, 128, 1024));

// One token more than the limit of each of XXH3's ways of working, and both sides of 240 bytes.
class BlockHasherSizes : public testing::TestWithParam<std::tuple<std::size_t, std::uint64_t>> {};

TEST_P(BlockHasherSizes, prepared_hasher_gives_the_same_values) {
    const auto [byte_count, salt] = GetParam();
    std::vector<std::uint8_t> bytes(byte_count);
    std::iota(bytes.begin(), bytes.end(), std::uint8_t{3});
    const auto tokens = counted_from(4294967000u, byte_count);
    const BlockHasher hasher(salt);

    EXPECT_EQ(hasher.block_hash_bytes(bytes), block_hash_bytes(bytes, salt));
    EXPECT_EQ(hasher.block_hash(tokens), block_hash(tokens, salt));
    EXPECT_EQ(hasher.salt_hash(), salt);
}

INSTANTIATE_TEST_SUITE_P(LengthsAndSeeds, BlockHasherSizes,
                         testing::Combine(testing::Values(0, 1, 3, 4, 8, 9, 16, 17, 60, 61, 128,
                                                          129, 240, 241, 256, 257, 1024, 1025,
                                                          4096),
                                          testing::Values(0, 1337, ~std::uint64_t{0})));

struct ChainRow {
    std::uint64_t salt;
    std::array<std::uint64_t, 3> blocks;
    std::array<std::uint64_t, 3> chain;
    std::array<const char*, 3> hashes;
    std::array<const char*, 3> display;
};

class WorkedChain : public testing::TestWithParam<ChainRow> {};

TEST_P(WorkedChain, agrees_in_every_number) {
    const auto& row = GetParam();
    const auto tokens = counted_from(1, 12);
    std::array<BlockHash, 3> blocks{};
    std::array<SequenceHash, 3> hashes{};

    block_hashes(tokens, 4, row.salt, blocks);
    ASSERT_TRUE(sequence_hashes(blocks, std::nullopt, hashes).has_value());

    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(blocks[i].value, row.blocks[i]) << i;
        EXPECT_EQ(hashes[i].current_chain_hash().value, row.chain[i]) << i;
        EXPECT_EQ(hashes[i].to_hex(), row.hashes[i]) << i;
        EXPECT_EQ(hashes[i].position(), i);
        if (row.display[i] != nullptr) {
            EXPECT_EQ(hashes[i].to_string(), row.display[i]);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Salts, WorkedChain,
    testing::Values(
        ChainRow{0,
                 {8052976908588476977u, 13852901005659965728u, 12087364272738490135u},
                 {8052976908588476977u, 17538018756801271241u, 70629693063532910u},
                 {"001bf07af53d35ba8c40000000000000", "007cd8e3c8e3d1c57241ebd4f4d6ea31",
                  "00803ebb553969645ba38f238f4715c9"},
                 {nullptr, nullptr, nullptr}},
        ChainRow{1337,
                 {14643705804678351452u, 16777012769546811212u, 483935686894639516u},
                 {14643705804678351452u, 4945711292740353085u, 12583592247330656132u},
                 {"0032ce3935fecb729700000000000000", "005128ac8de75b4f0f78e4d7fb2dca5c",
                  "00aba8799e9b2033e122b2379d6d3c3d"},
                 {"0:azWbh91idkf", "1:CUrLYDFnmBa:13A3sGnbCSf", "2:WD9tZKnMfx7:12KG5vAW7Me"}}));

TEST(SequenceHashes, continue_behind_a_parent) {
    const auto tokens = counted_from(1, 12);
    std::array<BlockHash, 3> blocks{};
    block_hashes(tokens, 4, 0, blocks);
    std::array<SequenceHash, 3> whole{};
    ASSERT_TRUE(sequence_hashes(blocks, std::nullopt, whole).has_value());

    std::array<SequenceHash, 2> rest{};
    ASSERT_TRUE(sequence_hashes(std::span(blocks).subspan(1), whole[0], rest).has_value());

    EXPECT_EQ(rest[0], whole[1]);
    EXPECT_EQ(rest[1], whole[2]);
}

TEST(SequenceHashes, write_nothing_when_the_last_does_not_fit) {
    const auto parent = must(SequenceHash::make(some_chain, some_parent, (1u << 24) - 2));
    const std::array<BlockHash, 2> blocks{BlockHash{1}, BlockHash{2}};
    std::array<SequenceHash, 2> out{SequenceHash::root(BlockHash{8}),
                                    SequenceHash::root(BlockHash{9})};
    const auto before = out;

    const auto result = sequence_hashes(blocks, parent, out);

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error(), HashError{(PositionTooLarge{1u << 24, (1u << 24) - 1})});
    EXPECT_EQ(out, before);
    EXPECT_TRUE(
        sequence_hashes(std::span(blocks).first(1), parent, std::span(out).first(1)).has_value());
}

TEST(BlockHashes, leave_an_unfinished_block_out) {
    std::array<BlockHash, 2> out{};

    block_hashes(counted_from(1, 11), 4, 0, out);

    EXPECT_EQ(out[1], BlockHash{13852901005659965728u});
}

TEST(BlockHashesDeathTest, want_one_place_per_block) {
    std::array<BlockHash, 3> out{};
    const auto tokens = counted_from(1, 8);

    EXPECT_DEATH(block_hashes(tokens, 4, 0, out), "one place per full block");
    EXPECT_DEATH(block_hashes(tokens, 0, 0, out), "at least one token");
    EXPECT_DEATH(static_cast<void>(
                     sequence_hashes(std::array<BlockHash, 2>{}, {}, std::span<SequenceHash>{})),
                 "one place per block");
}

struct PackedRow {
    std::uint64_t position;
    unsigned mode;
    const char* hex;
    std::uint64_t fragment;
};

void PrintTo(const PackedRow& row, std::ostream* out) {
    *out << "position " << row.position;
}

class PackedPsh : public testing::TestWithParam<PackedRow> {};

TEST_P(PackedPsh, has_the_bits_of_the_table) {
    const auto& row = GetParam();

    const auto hash = must(PositionalSequenceHash::make(some_chain, some_block, row.position));

    EXPECT_EQ(hex_of(hash.to_bytes()), row.hex);
    EXPECT_EQ(hash.mode(), row.mode);
    EXPECT_EQ(hash.position(), row.position);
    EXPECT_EQ(hash.chain_hash(), some_chain);
    EXPECT_EQ(hash.block_hash_fragment(), row.fragment);
    EXPECT_EQ(must(PositionalSequenceHash::from_bytes(hash.to_bytes())), hash);
}

INSTANTIATE_TEST_SUITE_P(
    Positions, PackedPsh,
    testing::Values(PackedRow{0, 0, "001cba98765432101234567890abcdef", 0x1cba9876543210},
                    PackedRow{255, 0, "3fdcba98765432101234567890abcdef", 0x1cba9876543210},
                    PackedRow{256, 1, "40403a98765432101234567890abcdef", 0x3a9876543210},
                    PackedRow{65535, 1, "7ffffa98765432101234567890abcdef", 0x3a9876543210},
                    PackedRow{65536, 2, "80400018765432101234567890abcdef", 0x1876543210},
                    PackedRow{16777215, 2, "bfffffd8765432101234567890abcdef", 0x1876543210},
                    PackedRow{16777216, 3, "c0800000765432101234567890abcdef", 0x76543210},
                    PackedRow{2147483647, 3, "fffffffff65432101234567890abcdef", 0x76543210}));

TEST(PositionalSequenceHash, position_of_two_to_the_31_is_an_error) {
    const auto result = PositionalSequenceHash::make(some_chain, some_block, 1u << 31);

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message(),
              "Position 2147483648 exceeds maximum supported value (2^31 - 1)");
}

TEST(PositionalSequenceHash, takes_16_bytes_only) {
    const std::vector<std::uint8_t> bytes(17);

    EXPECT_EQ(PositionalSequenceHash::from_bytes(bytes).error(),
              HashError{HashError::WrongLength{17}});
}

class PackedPlh : public testing::TestWithParam<PackedRow> {};

TEST_P(PackedPlh, has_the_bits_of_the_table) {
    const auto& row = GetParam();
    const auto parent = row.position == 0 ? std::nullopt : std::optional(some_parent);

    const auto hash = must(SequenceHash::make(some_chain, parent, row.position));

    EXPECT_EQ(hash.to_hex(), row.hex);
    EXPECT_EQ(hash.mode(), row.mode);
    EXPECT_EQ(hash.position(), row.position);
    EXPECT_EQ(hash.current_chain_hash(), some_chain);
    EXPECT_EQ(hash.parent_hash_fragment(), row.fragment);
    EXPECT_EQ(must(SequenceHash::from_hex(row.hex)), hash);
    EXPECT_TRUE(hash.is_canonical());
}

INSTANTIATE_TEST_SUITE_P(
    Positions, PackedPlh,
    testing::Values(PackedRow{0, 0, "00048d159e242af37bc0000000000000", 0},
                    PackedRow{1, 0, "00448d159e242af37bdcba9876543210", 0x1cba9876543210},
                    PackedRow{255, 0, "3fc48d159e242af37bdcba9876543210", 0x1cba9876543210},
                    PackedRow{256, 1, "4040048d159e242af37bfa9876543210", 0x3a9876543210},
                    PackedRow{65535, 1, "7fffc48d159e242af37bfa9876543210", 0x3a9876543210},
                    PackedRow{65536, 2, "804000048d159e242af37bd876543210", 0x1876543210},
                    PackedRow{16777215, 2, "bfffffc48d159e242af37bd876543210", 0x1876543210}));

TEST(PositionalLineageHash, real_chain_crosses_the_widths_of_positions) {
    const auto tokens = counted_from(0, 65537);
    std::vector<BlockHash> blocks(tokens.size());
    std::vector<SequenceHash> hashes(tokens.size());

    block_hashes(tokens, 1, 0, blocks);
    ASSERT_TRUE(sequence_hashes(blocks, std::nullopt, hashes).has_value());

    EXPECT_EQ(hashes[0].to_hex(), "00122cb24985bf064f40000000000000");
    EXPECT_EQ(hashes[1].to_hex(), "0045f686b96a2bbc68b2c92616fc193d");
    EXPECT_EQ(hashes[255].to_hex(), "3fcc81a5055af6bd96a603beb292c009");
    EXPECT_EQ(hashes[256].to_hex(), "404039d1a6e274ff260594156bdaf65a");
    EXPECT_EQ(hashes[65535].to_hex(), "7fffd934ff6ac90b09077e64509524cf");
    EXPECT_EQ(hashes[65536].to_hex(), "80400029f906672725f5faab242c241d");
    EXPECT_TRUE(hashes[255].is_parent_of(hashes[256]));
    EXPECT_TRUE(hashes[65535].is_parent_of(hashes[65536]));
}

TEST(PositionalLineageHash, position_of_two_to_the_24_is_an_error) {
    const auto last = must(SequenceHash::make(some_chain, some_parent, (1u << 24) - 1));
    const HashError expected{PositionTooLarge{1u << 24, (1u << 24) - 1}};

    EXPECT_EQ(SequenceHash::make(some_chain, {}, 1u << 24).error(), expected);
    EXPECT_EQ(last.extend(BlockHash{1}).error(), expected);
    EXPECT_EQ(expected.message(),
              "Position 16777216 exceeds maximum supported value (2^24 - 1 = 16,777,215)");
}

TEST(PositionalLineageHash, parent_at_position_0_is_kept_but_not_canonical) {
    const auto hash = must(SequenceHash::make(some_chain, some_parent, 0));

    EXPECT_EQ(hash.parent_hash_fragment(), 0x1cba9876543210u);
    EXPECT_FALSE(hash.is_canonical());
    EXPECT_NE(hash, must(SequenceHash::make(some_chain, {}, 0)));
}

TEST(PositionalLineageHash, small_position_in_a_large_mode_is_accepted_as_it_is) {
    // Position 5 in mode 1, with the chain and fragment of the table.
    const auto hash = must(SequenceHash::from_hex("4001448d159e242af37bfa9876543210"));

    EXPECT_EQ(hash.mode(), 1u);
    EXPECT_EQ(hash.position(), 5u);
    EXPECT_FALSE(hash.is_canonical());
    EXPECT_NE(hash, must(SequenceHash::make(hash.current_chain_hash(), some_parent, 5)));
}

TEST(PositionalLineageHash, root_and_extend_follow_the_chain) {
    const auto root = SequenceHash::root(BlockHash{8052976908588476977u});

    const auto child = must(root.extend(BlockHash{13852901005659965728u}));

    EXPECT_EQ(root.to_hex(), "001bf07af53d35ba8c40000000000000");
    EXPECT_EQ(child.to_hex(), "007cd8e3c8e3d1c57241ebd4f4d6ea31");
}

TEST(PositionalLineageHash, fragment_is_as_wide_as_the_childs_position_leaves_room) {
    const auto hash = must(SequenceHash::make(ChainHash{~std::uint64_t{0}}, {}, 7));

    EXPECT_EQ(hash.parent_fragment_for_child_position(255), (std::uint64_t{1} << 54) - 1);
    EXPECT_EQ(hash.parent_fragment_for_child_position(256), (std::uint64_t{1} << 46) - 1);
    EXPECT_EQ(hash.parent_fragment_for_child_position(65535), (std::uint64_t{1} << 46) - 1);
    EXPECT_EQ(hash.parent_fragment_for_child_position(65536), (std::uint64_t{1} << 38) - 1);
    EXPECT_EQ(hash.parent_fragment_for_child_position(1u << 24), (std::uint64_t{1} << 38) - 1);
    EXPECT_EQ(hash.parent_fragment_for_child_position(~std::uint64_t{0}),
              (std::uint64_t{1} << 38) - 1);
}

TEST(PositionalLineageHash, parent_stands_one_before_and_agrees_in_the_fragment) {
    const auto parent = must(SequenceHash::make(some_parent, {}, 4));

    EXPECT_TRUE(parent.is_parent_of(must(SequenceHash::make(some_chain, some_parent, 5))));
    EXPECT_FALSE(parent.is_parent_of(must(SequenceHash::make(some_chain, some_parent, 6))));
    EXPECT_FALSE(parent.is_parent_of(must(SequenceHash::make(some_chain, some_parent, 4))));
    EXPECT_FALSE(parent.is_parent_of(
        must(SequenceHash::make(some_chain, ChainHash{some_parent.value ^ 1}, 5))));
    // The ten top bits of a parent are not in the fragment.
    EXPECT_TRUE(parent.is_parent_of(
        must(SequenceHash::make(some_chain, ChainHash{some_parent.value ^ 1ull << 63}, 5))));
}

TEST(PositionalLineageHash, is_ordered_by_position_then_chain_hash_then_number) {
    const auto at = [](std::uint64_t chain, std::uint64_t parent, std::uint64_t position) {
        return must(SequenceHash::make(ChainHash{chain}, ChainHash{parent}, position));
    };

    EXPECT_LT(at(9, 9, 3), at(1, 1, 4));
    EXPECT_LT(at(1, 9, 3), at(2, 1, 3));
    EXPECT_LT(at(2, 1, 3), at(2, 2, 3));
    EXPECT_LT(at(~std::uint64_t{0}, 0, 255), at(0, 0, 256));
    EXPECT_TRUE(at(2, 2, 3) <=> at(2, 2, 3) == 0);
    // Position 1 in mode 1 is a larger number than position 2 in mode 0, and still before it.
    EXPECT_LT(must(SequenceHash::from_bits(std::uint64_t{1} << 62 | std::uint64_t{1} << 46, 0)),
              at(0, 0, 2));
}

TEST(PositionalLineageHash, mode_3_is_refused) {
    std::array<std::uint8_t, 16> bytes{0xc0};
    const HashError expected{HashError::InvalidMode{3}};

    EXPECT_EQ(SequenceHash::from_bytes(bytes).error(), expected);
    EXPECT_EQ(SequenceHash::from_bits(~std::uint64_t{0}, 0).error(), expected);
    EXPECT_EQ(SequenceHash::from_hex("c0000000000000000000000000000000").error(), expected);
    EXPECT_EQ(expected.message(),
              "Invalid mode 3 in PositionalLineageHash; mode must be 0, 1, or 2");
}

TEST(PositionalLineageHash, takes_16_bytes_only) {
    const std::vector<std::uint8_t> bytes(15);

    const auto result = SequenceHash::from_bytes(bytes);

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message(), "expected 16 bytes, got 15");
    EXPECT_FALSE(SequenceHash::from_bytes(std::vector<std::uint8_t>(17)).has_value());
    EXPECT_FALSE(SequenceHash::from_bytes({}).has_value());
}

struct TextRow {
    const char* text;
    std::size_t offset;
};

class BadHashText : public testing::TestWithParam<TextRow> {};

TEST_P(BadHashText, names_the_first_bad_character) {
    const auto result = SequenceHash::from_hex(GetParam().text);

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error(), HashError{HashError::BadText{GetParam().offset}});
}

INSTANTIATE_TEST_SUITE_P(Texts, BadHashText,
                         testing::Values(TextRow{"", 0},
                                         TextRow{"001bf07af53d35ba8c4000000000000", 31},
                                         TextRow{"001bf07af53d35ba8c400000000000000", 32},
                                         TextRow{"001bf07gf53d35ba8c40000000000000", 7},
                                         TextRow{"001bf07/f53d35ba8c40000000000000", 7},
                                         TextRow{"001bf07:f53d35ba8c40000000000000", 7},
                                         TextRow{"001bf07@f53d35ba8c40000000000000", 7},
                                         TextRow{"001bf07Gf53d35ba8c40000000000000", 7},
                                         TextRow{"001bf07`f53d35ba8c40000000000000", 7},
                                         TextRow{"0x1bf07af53d35ba8c40000000000000", 1},
                                         TextRow{"001bf07af53d35ba8c4000000000000 ", 31},
                                         TextRow{"00 ", 2}));

TEST(HashError, bad_text_says_where) {
    EXPECT_EQ(HashError{HashError::BadText{7}}.message(),
              "expected 32 hexadecimal digits, bad character at 7");
}

TEST(PositionalLineageHash, reads_hexadecimal_digits_of_either_case) {
    EXPECT_EQ(must(SequenceHash::from_hex("00ABCDEF00abcdef0000000000000000")),
              must(SequenceHash::from_bits(0x00abcdef00abcdef, 0)));
}

TEST(PositionalLineageHash, shows_leading_zero_bytes_as_ones) {
    std::ostringstream stream;
    stream << SequenceHash();

    EXPECT_EQ(stream.str(), "0:11111111");
    EXPECT_EQ(must(SequenceHash::make(ChainHash{1}, ChainHash{57}, 1)).to_string(),
              "1:11111112:1111111z");
}

TEST(PositionalLineageHash, std_hash_is_the_exclusive_or_of_both_words) {
    const auto hash = must(SequenceHash::from_bits(0x0f, 0xf0));

    EXPECT_EQ(std::hash<SequenceHash>{}(hash), 0xffu);
    EXPECT_EQ(std::hash<PositionalSequenceHash>{}(PositionalSequenceHash::from_bits(0x0f, 0xf0)),
              0xffu);
    EXPECT_EQ((std::unordered_set<BlockHash>{BlockHash{1}, BlockHash{1}}.size()), 1u);
    EXPECT_EQ((std::unordered_set<ChainHash>{ChainHash{1}, ChainHash{2}}.size()), 2u);
}

}  // namespace
