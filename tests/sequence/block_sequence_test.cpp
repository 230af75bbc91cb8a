// A BlockSequence closes a block on its last token and names it; a call that fails appends nothing.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using Error = BlockSequenceError;

const Error too_large{Error::TokenExtension{
    TokenBlockError{PositionTooLarge{.position = 1U << 24, .limit = (1U << 24) - 1}}}};

TEST(BlockSequence, ten_tokens_at_size_four_are_two_blocks_and_a_tail) {
    const auto sequence = counting_sequence(2, 2);

    EXPECT_EQ(sequence.blocks().size(), 2u);
    EXPECT_EQ(sequence.block_size(), 4u);
    EXPECT_EQ(sequence.total_tokens(), 10u);
}

TEST(BlockSequence, the_last_token_of_a_block_closes_it) {
    BlockSequence sequence({0, 1, 2}, 4);

    EXPECT_EQ(must(sequence.append_token(3)), 0u);
    EXPECT_EQ(must(sequence.append_token(4)), std::nullopt);
}

TEST(BlockSequence, extending_gives_the_range_of_blocks_completed_by_this_call) {
    BlockSequence sequence({0, 1, 2, 3}, 4);

    const auto completed = must(sequence.extend_tokens({4, 5, 6, 7, 8, 9}));

    EXPECT_EQ(completed, (IndexRange{1, 2}));
    EXPECT_EQ(sequence.blocks().size(), 2u);
    EXPECT_EQ(sequence.total_tokens(), 10u);
}

TEST(BlockSequence, a_tail_is_filled_by_the_next_call) {
    auto sequence = counting_sequence(1, 2);

    EXPECT_EQ(must(sequence.extend_tokens({6})), std::nullopt);
    EXPECT_EQ(must(sequence.extend_tokens({7, 8, 9, 10, 11})), (IndexRange{1, 3}));
    EXPECT_EQ(sequence, counting_sequence(3));
}

TEST(BlockSequence, extending_by_nothing_completes_nothing) {
    auto sequence = counting_sequence(1, 3);

    EXPECT_EQ(must(sequence.extend_tokens({})), std::nullopt);
    EXPECT_EQ(sequence, counting_sequence(1, 3));
}

TEST(BlockSequence, single_tokens_and_lists_may_take_turns) {
    BlockSequence sequence({}, 4);

    EXPECT_EQ(must(sequence.append_token(0)), std::nullopt);
    EXPECT_EQ(must(sequence.extend_tokens({1, 2})), std::nullopt);
    EXPECT_EQ(must(sequence.append_token(3)), 0u);
    EXPECT_EQ(must(sequence.extend_tokens({4, 5, 6, 7, 8})), (IndexRange{1, 2}));

    EXPECT_EQ(sequence, counting_sequence(2, 1));
}

TEST(BlockSequence, another_salt_shares_no_hash) {
    const auto plain = counting_sequence(3);
    const auto salted = counting_sequence(3, 0, 4, 42);

    for (const SequenceHash hash : salted.all_sequence_hashes()) {
        EXPECT_EQ(std::ranges::count(plain.all_sequence_hashes(), hash), 0);
    }
    EXPECT_NE(plain, salted);
}

TEST(BlockSequence, hashes_stand_beside_their_blocks_after_growth) {
    auto sequence = counting_sequence(2, 3);
    for (Token token = 11; token < 400; ++token) {
        must(sequence.append_token(token));
    }

    ASSERT_EQ(sequence.all_sequence_hashes().size(), 100u);
    for (std::size_t i = 0; i < 100; ++i) {
        EXPECT_EQ(sequence.all_sequence_hashes()[i], sequence.blocks()[i].sequence_hash());
        EXPECT_EQ(sequence.all_sequence_hashes()[i].position(), i);
    }
}

TEST(BlockSequence, recorded_hashes_are_those_of_the_specification) {
    const auto sequence = counting_sequence(2);

    EXPECT_EQ(sequence.all_sequence_hashes()[0].to_string(), "0:U4p6aEVXZkX");
    EXPECT_EQ(sequence.all_sequence_hashes()[1].to_string(), "1:D6vZFvcKECh:1do5AYViE7");
}

TEST(BlockSequence, a_ready_sequence_keeps_its_multimodal_runs) {
    TokenBlockSequence tokens(std::span<const Token>{}, 4);
    must(tokens.push_run(0xAA, 6));
    const BlockSequence plain({0, 0, 0, 0, 0, 0}, 4);

    BlockSequence sequence(tokens);
    must(sequence.extend_tokens({1, 2}));

    EXPECT_EQ(sequence.sequence().runs().size(), 1u);
    EXPECT_EQ(sequence.all_sequence_hashes().size(), 2u);
    EXPECT_NE(sequence.all_sequence_hashes()[0], plain.all_sequence_hashes()[0]);
}

TEST(BlockSequence, a_copy_is_equal_and_independent) {
    const auto original = counting_sequence(2, 1);
    auto copy = original;
    EXPECT_EQ(copy, original);

    must(copy.append_token(9));

    EXPECT_NE(copy, original);
    EXPECT_EQ(original, counting_sequence(2, 1));
}

TEST(BlockSequence, a_moved_to_sequence_is_the_old_one) {
    auto original = counting_sequence(2, 1);

    const BlockSequence moved(std::move(original));

    EXPECT_EQ(moved, counting_sequence(2, 1));
    EXPECT_EQ(moved.all_sequence_hashes().size(), 2u);
}

TEST(BlockSequence, foreign_tokens_that_are_too_many_are_an_error) {
    const std::vector<Token> tokens((std::size_t{1} << 24) + 1);

    EXPECT_EQ(BlockSequence::create(tokens, 1).error(), too_large);
    EXPECT_EQ(must(BlockSequence::create({0, 1, 2, 3, 4}, 4)), counting_sequence(1, 1));
}

TEST(BlockSequence, extending_beyond_the_limit_appends_nothing) {
    const std::vector<Token> tokens(std::size_t{1} << 24);
    auto sequence = counting_sequence(1, 0, 1);

    EXPECT_EQ(sequence.extend_tokens(tokens).error(), too_large);
    EXPECT_EQ(sequence, counting_sequence(1, 0, 1));
    EXPECT_EQ(sequence.all_sequence_hashes().size(), 1u);
}

TEST(BlockSequenceDeathTest, a_block_size_of_zero_breaks_a_contract) {
    EXPECT_DEATH(BlockSequence({1, 2, 3}, 0), "at least one token");
    EXPECT_DEATH((void)BlockSequence::create({1, 2, 3}, 0), "at least one token");
}

TEST(BlockSequenceDeathTest, too_many_tokens_in_the_constructor_break_a_contract) {
    const std::vector<Token> tokens((std::size_t{1} << 24) + 1);
    EXPECT_DEATH(BlockSequence(tokens, 1), "2\\^24");
}

}  // namespace
