// Token sequences: worked numbers, the edges of blocks, and what is refused without a trace.
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.tokens;

namespace {

using namespace kvbm;
using Tokens = std::vector<Token>;
using Runs = std::vector<MultimodalRun>;

Tokens counted_from(Token first, std::size_t count) {
    Tokens tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

Tokens listed(std::span<const Token> tokens) {
    return {tokens.begin(), tokens.end()};
}

template <class Reason>
TokenBlockError because(Reason reason) {
    return TokenBlockError{reason};
}

const TokenBlockError too_many_blocks = because(PositionTooLarge{1u << 24, (1u << 24) - 1});

TEST(TokenBlockSequence, cuts_tokens_into_named_blocks) {
    const TokenBlockSequence sequence(counted_from(1, 14), 4, 1337);

    ASSERT_EQ(sequence.blocks().size(), 3u);
    const auto& last = sequence.blocks()[2];
    EXPECT_EQ(last.position(), 2u);
    EXPECT_EQ(last.block_size(), 4u);
    EXPECT_EQ(last.salt_hash(), 1337u);
    EXPECT_EQ(last.block_hash(), BlockHash{483935686894639516u});
    EXPECT_EQ(last.chain_hash(), ChainHash{12583592247330656132u});
    EXPECT_EQ(last.parent_chain_hash(), ChainHash{4945711292740353085u});
    EXPECT_EQ(last.sequence_hash().to_hex(), "00aba8799e9b2033e122b2379d6d3c3d");
    EXPECT_EQ(last.positional_sequence_hash(),
              must(PositionalSequenceHash::make(last.chain_hash(), last.block_hash(), 2)));
    EXPECT_EQ(sequence.blocks()[0].parent_chain_hash(), std::nullopt);
    EXPECT_EQ(sequence.last_complete_block(), &sequence.blocks()[2]);
    EXPECT_EQ(listed(sequence.block_tokens(1)), (Tokens{5, 6, 7, 8}));
    EXPECT_EQ(listed(sequence.current_block().tokens()), (Tokens{13, 14}));
    EXPECT_EQ(sequence.total_tokens(), 14u);
}

TEST(TokenBlockSequence, chain_without_a_salt_is_the_recorded_one) {
    const TokenBlockSequence sequence(counted_from(0, 12), 4);

    EXPECT_EQ(sequence.salt_hash(), 0u);
    EXPECT_EQ(sequence.blocks()[0].chain_hash(), ChainHash{11660027832386793900u});
    EXPECT_EQ(sequence.blocks()[1].chain_hash(), ChainHash{5213647343463749146u});
    EXPECT_EQ(sequence.blocks()[2].chain_hash(), ChainHash{8747718703246634802u});
}

TEST(TokenBlockSequence, full_blocks_leave_an_empty_end) {
    const TokenBlockSequence sequence(counted_from(0, 8), 4);

    const auto end = sequence.current_block();
    EXPECT_TRUE(end.empty());
    EXPECT_EQ(end.remaining(), 4u);
    EXPECT_EQ(end.position(), 2u);
    EXPECT_EQ(end.parent_chain_hash(), sequence.blocks()[1].chain_hash());
    EXPECT_EQ(end.salt_hash(), 0u);
    EXPECT_EQ(end.block_size(), 4u);
}

TEST(TokenBlockSequence, without_tokens_has_no_block) {
    const TokenBlockSequence sequence({}, 4);

    EXPECT_TRUE(sequence.blocks().empty());
    EXPECT_EQ(sequence.last_complete_block(), nullptr);
    EXPECT_EQ(sequence.current_block().parent_chain_hash(), std::nullopt);
    EXPECT_EQ(sequence.total_tokens(), 0u);
}

class BlockSizes : public testing::TestWithParam<std::size_t> {};

TEST_P(BlockSizes, one_token_decides_whether_a_block_is_full) {
    const std::size_t size = GetParam();
    Tokens tokens(3 * size, 4294967295u);
    tokens.back() = 0;

    const TokenBlockSequence short_by_one(std::span(tokens).first(3 * size - 1), size, 7);
    const TokenBlockSequence full(tokens, size, 7);

    EXPECT_EQ(short_by_one.blocks().size(), 2u);
    EXPECT_EQ(short_by_one.current_block().size(), size - 1);
    ASSERT_EQ(full.blocks().size(), 3u);
    EXPECT_EQ(full.blocks()[2].block_hash(), block_hash(full.block_tokens(2), 7));
}

INSTANTIATE_TEST_SUITE_P(Sizes, BlockSizes, testing::Values(1, 3, 4, 16, 60, 61, 512, 1024));

TEST(TokenBlockSequence, append_gives_an_index_on_the_completing_token_only) {
    TokenBlockSequence sequence({}, 3);

    std::vector<std::optional<std::size_t>> completed;
    for (Token token = 0; token < 7; ++token) {
        completed.push_back(token % 2 == 0 ? must(sequence.append(token))
                                           : must(sequence.push_token(token)));
    }

    EXPECT_EQ(completed, (std::vector<std::optional<std::size_t>>{{}, {}, 0, {}, {}, 1, {}}));
    EXPECT_EQ(sequence, TokenBlockSequence(counted_from(0, 7), 3));
}

TEST(TokenBlockSequence, extend_gives_the_blocks_it_completed) {
    TokenBlockSequence sequence(counted_from(0, 2), 4);

    EXPECT_EQ(must(sequence.extend({})), std::nullopt);
    EXPECT_EQ(must(sequence.extend(counted_from(2, 1))), std::nullopt);
    EXPECT_EQ(must(sequence.extend(counted_from(3, 1))), (IndexRange{0, 1}));
    EXPECT_EQ(must(sequence.extend(counted_from(4, 9))), (IndexRange{1, 3}));
    EXPECT_EQ(sequence, TokenBlockSequence(counted_from(0, 13), 4));
}

class Truncations : public testing::TestWithParam<std::size_t> {};

TEST_P(Truncations, leave_what_the_first_tokens_give) {
    TokenBlockSequence sequence(counted_from(0, 10), 4, 5);

    ASSERT_TRUE(sequence.truncate(GetParam()).has_value());

    const auto kept = counted_from(0, std::min<std::size_t>(GetParam(), 10));
    EXPECT_EQ(sequence, TokenBlockSequence(kept, 4, 5));
    EXPECT_EQ(sequence.current_block().position(), kept.size() / 4);
}

INSTANTIATE_TEST_SUITE_P(OfTenTokens, Truncations, testing::Range<std::size_t>(0, 12));

TEST(TokenBlockSequence, reopened_block_gets_its_hash_again) {
    TokenBlockSequence sequence(counted_from(0, 10), 4);
    const auto before = sequence;

    ASSERT_TRUE(sequence.truncate(6).has_value());
    EXPECT_EQ(sequence.current_block().parent_chain_hash(), before.blocks()[0].chain_hash());
    ASSERT_TRUE(sequence.extend(counted_from(6, 4)).has_value());

    EXPECT_EQ(sequence, before);
}

TEST(TokenBlockSequence, ten_pops_cross_two_edges) {
    TokenBlockSequence sequence(counted_from(0, 10), 4);

    for (Token expected = 10; expected-- > 0;) {
        EXPECT_EQ(must(sequence.pop()), expected);
        EXPECT_EQ(sequence, TokenBlockSequence(counted_from(0, expected), 4));
    }
    EXPECT_EQ(must(sequence.pop()), std::nullopt);
}

TEST(TokenBlockSequence, unwind_of_more_than_there_is_changes_nothing) {
    TokenBlockSequence sequence(counted_from(0, 5), 4);
    const auto before = sequence;

    EXPECT_EQ(sequence.unwind(6).error(), because(TokenBlockError::InsufficientTokens{}));
    EXPECT_TRUE(sequence.unwind(0).has_value());
    EXPECT_EQ(sequence, before);
    EXPECT_TRUE(sequence.unwind(5).has_value());
    EXPECT_EQ(sequence, TokenBlockSequence({}, 4));
}

TEST(TokenBlockSequence, tokens_at_gives_nothing_outside) {
    const TokenBlockSequence sequence(counted_from(0, 5), 4);

    EXPECT_EQ(listed(sequence.tokens_at({1, 5})), (Tokens{1, 2, 3, 4}));
    EXPECT_EQ(listed(sequence.tokens_at({0, 5})), listed(sequence.tokens()));
    EXPECT_TRUE(sequence.tokens_at({4, 6}).empty());
    EXPECT_TRUE(sequence.tokens_at({3, 2}).empty());
    EXPECT_TRUE(sequence.tokens_at({5, 5}).empty());
    EXPECT_TRUE(sequence.tokens_at({~std::size_t{0}, ~std::size_t{0}}).empty());
}

TEST(TokenBlockSequence, comes_apart_into_blocks_tokens_and_end) {
    TokenBlockSequence sequence(counted_from(0, 6), 4, 9);
    const auto block = sequence.blocks()[0];

    const auto parts = std::move(sequence).into_parts();

    EXPECT_EQ(parts.blocks, std::vector<TokenBlock>{block});
    EXPECT_EQ(parts.tokens, counted_from(0, 6));
    EXPECT_EQ(listed(parts.partial.tokens()), (Tokens{4, 5}));
    EXPECT_EQ(parts.partial.parent_chain_hash(), block.chain_hash());
    EXPECT_EQ(parts.partial.position(), 1u);
}

TEST(TokenBlockSequence, equality_is_over_all_of_it) {
    const TokenBlockSequence sequence(counted_from(0, 5), 4);

    EXPECT_NE(sequence, TokenBlockSequence(counted_from(0, 4), 4));
    EXPECT_NE(sequence, TokenBlockSequence(counted_from(0, 5), 5));
    EXPECT_NE(sequence, TokenBlockSequence(counted_from(0, 5), 4, 1));
    EXPECT_NE(sequence, TokenBlockSequence(Tokens{0, 1, 2, 3, 9}, 4));
    EXPECT_EQ(sequence, TokenBlockSequence(counted_from(0, 5), 4));
}

TEST(TokenBlockSequence, run_stands_in_two_blocks_of_the_worked_example) {
    const Tokens tokens{1, 2, 3, 77, 78, 79, 80, 6, 7};
    const Runs runs{{0xaa, 3, 4}};

    const auto sequence = must(TokenBlockSequence::create_with_runs(tokens, runs, 4, 1337));

    ASSERT_EQ(sequence.blocks().size(), 2u);
    EXPECT_EQ(sequence.blocks()[0].block_hash(), BlockHash{11669384053790124175u});
    EXPECT_EQ(sequence.blocks()[1].block_hash(), BlockHash{7405997582174131654u});
    EXPECT_EQ(sequence.blocks()[1].chain_hash(), ChainHash{226122427428525974u});
    EXPECT_EQ(sequence.blocks()[1].sequence_hash().to_hex(), "0040c8d64994a815e5b1faf849c4a88f");
    EXPECT_EQ(listed(sequence.current_block().tokens()), (Tokens{7}));
    EXPECT_EQ(listed(sequence.tokens()), tokens);
}

TEST(TokenBlockSequence, pushed_run_hashes_as_one_given_at_the_start) {
    TokenBlockSequence sequence(Tokens{1, 2, 3}, 4, 1337);

    EXPECT_EQ(must(sequence.push_run(0xaa, 4)), (IndexRange{0, 1}));
    EXPECT_EQ(must(sequence.extend(Tokens{6, 7})), (IndexRange{1, 2}));

    EXPECT_EQ(listed(sequence.tokens()), (Tokens{1, 2, 3, 0, 0, 0, 0, 6, 7}));
    EXPECT_EQ((Runs(sequence.runs().begin(), sequence.runs().end())), (Runs{{0xaa, 3, 4}}));
    EXPECT_EQ(sequence.blocks()[1].block_hash(), BlockHash{7405997582174131654u});
}

TEST(TokenBlockSequence, runs_of_an_extension_count_from_its_first_token) {
    TokenBlockSequence sequence(Tokens{1, 2}, 4);

    EXPECT_EQ(
        must(sequence.extend_with_runs(Tokens{3, 99, 98, 6}, Runs{{0xbb, 2, 1}, {0xaa, 1, 1}})),
        (IndexRange{0, 1}));

    EXPECT_EQ(listed(sequence.tokens()), (Tokens{1, 2, 3, 0, 0, 6}));
    EXPECT_EQ((Runs(sequence.runs().begin(), sequence.runs().end())),
              (Runs{{0xaa, 3, 1}, {0xbb, 4, 1}}));
    EXPECT_EQ(must(TokenBlockSequence::create_with_runs(Tokens{1, 2, 3, 0, 0, 6},
                                                        Runs{{0xaa, 3, 1}, {0xbb, 4, 1}}, 4)),
              sequence);
}

TEST(TokenBlockSequence, run_over_three_blocks_and_two_runs_in_one) {
    const Tokens tokens(20, 5);
    const Runs runs{{1, 3, 6}, {2, 10, 1}, {3, 11, 1}, {4, 16, 4}};

    const auto sequence = must(TokenBlockSequence::create_with_runs(tokens, runs, 4, 3));

    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(sequence.blocks()[i].block_hash(),
                  block_hash_bytes(block_bytes(sequence.block_tokens(i), 4 * i, runs), 3));
    }
    EXPECT_EQ(sequence.blocks()[3].block_hash(), block_hash(Tokens(4, 5), 3));
}

TEST(TokenBlockSequence, empty_run_is_refused) {
    TokenBlockSequence sequence(Tokens{1}, 4);
    const auto before = sequence;

    EXPECT_EQ(sequence.push_run(7, 0).error(),
              because(TokenBlockError::MmInfo{{MultimodalError::EmptyRun{}}}));
    EXPECT_EQ(sequence, before);
}

TEST(TokenBlockSequence, runs_that_do_not_fit_their_tokens_are_refused) {
    TokenBlockSequence sequence(counted_from(0, 9), 4);
    const auto before = sequence;
    const auto expected = because(TokenBlockError::MmInfo{{MultimodalError::OutOfBounds{1, 2, 2}}});

    EXPECT_EQ(sequence.extend_with_runs(Tokens{1, 2}, Runs{{7, 1, 2}}).error(), expected);
    EXPECT_EQ(sequence, before);
    EXPECT_EQ(TokenBlockSequence::create_with_runs(Tokens{1, 2}, Runs{{7, 1, 2}}, 4).error(),
              expected);
    EXPECT_EQ(TokenBlockSequence::split_with_runs(Tokens{1, 2}, Runs{{7, 1, 2}}, 4).error(),
              expected);
}

TEST(TokenBlockSequence, with_runs_takes_no_token_back) {
    auto sequence =
        must(TokenBlockSequence::create_with_runs(counted_from(0, 9), Runs{{7, 0, 1}}, 4));
    const auto before = sequence;
    const auto expected = because(TokenBlockError::MmRunsPresent{});

    EXPECT_EQ(sequence.truncate(20).error(), expected);
    EXPECT_EQ(sequence.truncate(2).error(), expected);
    EXPECT_EQ(sequence.unwind(0).error(), expected);
    EXPECT_EQ(sequence.unwind(9).error(), expected);
    EXPECT_EQ(sequence.unwind(10).error(), because(TokenBlockError::InsufficientTokens{}));
    EXPECT_EQ(sequence.pop().error(), expected);
    EXPECT_EQ(sequence, before);
}

TEST(TokenBlockSequence, reset_lifts_the_runs_and_keeps_size_and_salt) {
    auto sequence =
        must(TokenBlockSequence::create_with_runs(counted_from(0, 9), Runs{{7, 0, 1}}, 4, 6));

    sequence.reset();

    EXPECT_EQ(sequence, TokenBlockSequence({}, 4, 6));
    EXPECT_EQ(must(sequence.pop()), std::nullopt);
}

TEST(TokenBlockSequence, run_that_no_sequence_can_hold_is_an_error_before_any_allocation) {
    TokenBlockSequence sequence(Tokens{1, 2, 3}, 4);
    const auto before = sequence;
    constexpr auto largest = std::numeric_limits<std::size_t>::max();

    EXPECT_EQ(sequence.push_run(7, std::size_t{1} << 63).error(), too_many_blocks);
    EXPECT_EQ(sequence.push_run(7, largest).error(), too_many_blocks);
    // 3 + n tokens are one more than fill 2^24 blocks.
    EXPECT_EQ(sequence.push_run(7, (std::size_t{1} << 26) + 1).error(), too_many_blocks);
    EXPECT_EQ(sequence, before);
}

TEST(TokenBlockSequence, run_longer_than_any_list_is_an_error_whatever_the_block_size) {
    constexpr auto largest = std::numeric_limits<std::size_t>::max();
    TokenBlockSequence sequence(Tokens{1, 2, 3}, largest);

    EXPECT_EQ(sequence.push_run(7, largest).error(),
              because(TokenBlockError::MmInfo{{MultimodalError::OffsetOverflow{3, largest}}}));
    EXPECT_EQ(sequence, TokenBlockSequence(Tokens{1, 2, 3}, largest));
}

TEST(TokenBlockSequence, more_tokens_than_positions_are_an_error) {
    const Tokens tokens(max_block_count + 1);

    EXPECT_EQ(TokenBlockSequence::create(tokens, 1).error(), too_many_blocks);
    EXPECT_EQ(TokenBlockSequence::split(tokens, 1).error(), too_many_blocks);
    EXPECT_EQ(TokenBlockSequence::create_with_runs(tokens, Runs{{7, 0, 1}}, 1).error(),
              too_many_blocks);
    EXPECT_EQ(TokenBlockSequence({}, 1).extend(tokens).error(), too_many_blocks);
}

TEST(TokenBlockSequenceDeathTest, contracts_are_checked) {
    EXPECT_DEATH(TokenBlockSequence({}, 0), "at least one token");
    EXPECT_DEATH(static_cast<void>(TokenBlockSequence::split({}, 0)), "at least one token");
    EXPECT_DEATH(TokenBlockSequence(Tokens(max_block_count + 1), 1), "at most 2\\^24 blocks");
    TokenBlockSequence sequence(counted_from(0, 9), 4);
    EXPECT_DEATH(static_cast<void>(sequence.block_tokens(2)), "one of the full ones");
    EXPECT_DEATH(static_cast<void>(sequence.extend(sequence.block_tokens(1))), "its own tokens");
}

}  // namespace
