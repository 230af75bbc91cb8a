// The unfinished block: it takes as much as fits, gives back what it has, and is named when full.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.tokens;

namespace {

using namespace kvbm;
using Tokens = std::vector<Token>;

Tokens listed(std::span<const Token> tokens) {
    return {tokens.begin(), tokens.end()};
}

template <class Reason>
TokenBlockError because(Reason reason) {
    return TokenBlockError{reason};
}

TEST(PartialTokenBlock, starts_empty_at_the_beginning_of_a_sequence) {
    const PartialTokenBlock block(4, 1337);

    EXPECT_TRUE(block.empty());
    EXPECT_EQ(block.size(), 0u);
    EXPECT_EQ(block.remaining(), 4u);
    EXPECT_EQ(block.block_size(), 4u);
    EXPECT_EQ(block.position(), 0u);
    EXPECT_EQ(block.salt_hash(), 1337u);
    EXPECT_EQ(block.parent_chain_hash(), std::nullopt);
}

TEST(PartialTokenBlock, takes_tokens_until_it_is_full) {
    PartialTokenBlock block(2);

    EXPECT_TRUE(block.push_token(5).has_value());
    EXPECT_TRUE(block.push_token(6).has_value());
    const auto third = block.push_token(7);

    EXPECT_EQ(third.error(), because(TokenBlockError::Full{}));
    EXPECT_EQ(listed(block.tokens()), (Tokens{5, 6}));
}

TEST(PartialTokenBlock, takes_as_many_of_a_list_as_fit) {
    PartialTokenBlock block(4);

    EXPECT_EQ(block.push_tokens(Tokens{1, 2, 3}), 3u);
    EXPECT_EQ(block.push_tokens(Tokens{4, 5, 6}), 1u);
    EXPECT_EQ(block.push_tokens(Tokens{7}), 0u);
    EXPECT_EQ(block.push_tokens({}), 0u);
    EXPECT_EQ(listed(block.tokens()), (Tokens{1, 2, 3, 4}));
}

TEST(PartialTokenBlock, gives_back_tokens_from_its_end) {
    PartialTokenBlock block(4);
    block.push_tokens(Tokens{1, 2, 3});

    EXPECT_TRUE(block.pop_tokens(0).has_value());
    EXPECT_TRUE(block.pop_token().has_value());
    EXPECT_EQ(listed(block.tokens()), (Tokens{1, 2}));
    EXPECT_EQ(block.pop_tokens(3).error(), because(TokenBlockError::InsufficientTokens{}));
    EXPECT_EQ(listed(block.tokens()), (Tokens{1, 2}));
    EXPECT_TRUE(block.pop_tokens(2).has_value());
    EXPECT_EQ(block.pop_token().error(), because(TokenBlockError::Empty{}));
    EXPECT_TRUE(block.pop_tokens(0).has_value());
}

TEST(PartialTokenBlock, is_not_committed_before_it_is_full) {
    PartialTokenBlock block(4, 1337);
    block.push_tokens(Tokens{1, 2, 3});
    const auto before = block;

    EXPECT_EQ(block.commit().error(), because(TokenBlockError::Incomplete{}));
    EXPECT_EQ(block, before);
}

TEST(PartialTokenBlock, becomes_the_next_block_when_committed) {
    PartialTokenBlock block(4, 1337);
    block.push_tokens(Tokens{1, 2, 3, 4});

    const auto first = must(block.commit());
    EXPECT_TRUE(block.empty());
    EXPECT_EQ(block.position(), 1u);
    EXPECT_EQ(block.parent_chain_hash(), first.chain_hash());
    EXPECT_EQ(block, first.next_block());
    EXPECT_EQ(block.commit().error(), because(TokenBlockError::Incomplete{}));

    block.push_tokens(Tokens{5, 6, 7, 8});
    const auto second = must(block.commit());

    const TokenBlockSequence sequence(Tokens{1, 2, 3, 4, 5, 6, 7, 8}, 4, 1337);
    EXPECT_EQ(first, sequence.blocks()[0]);
    EXPECT_EQ(second, sequence.blocks()[1]);
}

PartialTokenBlock end_with_run_at_slot_1() {
    return must(TokenBlockSequence::split_with_runs(Tokens{1, 2, 3, 4, 5, 6, 7},
                                                    std::array{MultimodalRun{0xaa, 5, 1}}, 4))
        .partial;
}

TEST(PartialTokenBlock, with_a_run_in_its_slots_is_not_committed) {
    auto block = end_with_run_at_slot_1();
    ASSERT_EQ(block.push_tokens(Tokens{8}), 1u);

    EXPECT_EQ(block.commit().error(), because(TokenBlockError::MmRunsPresent{}));
    EXPECT_EQ(listed(block.tokens()), (Tokens{5, 6, 7, 8}));
}

TEST(PartialTokenBlock, is_reported_incomplete_before_its_runs) {
    EXPECT_EQ(end_with_run_at_slot_1().commit().error(), because(TokenBlockError::Incomplete{}));
}

TEST(PartialTokenBlock, forgets_a_run_with_its_last_placeholder) {
    auto block = end_with_run_at_slot_1();

    ASSERT_TRUE(block.pop_tokens(1).has_value());  // slot 2, text
    block.push_tokens(Tokens{7, 8});
    EXPECT_EQ(block.commit().error(), because(TokenBlockError::MmRunsPresent{}));

    ASSERT_TRUE(block.pop_tokens(3).has_value());  // slot 1, the placeholder, among them
    block.push_tokens(Tokens{6, 7, 8});
    const TokenBlockSequence text(Tokens{1, 2, 3, 4, 5, 6, 7, 8}, 4);
    EXPECT_EQ(must(block.commit()), text.blocks()[1]);
}

TEST(PartialTokenBlock, forgets_a_run_that_reached_into_it_when_emptied) {
    auto block = must(TokenBlockSequence::split_with_runs(Tokens{1, 2, 3, 4, 5, 6},
                                                          std::array{MultimodalRun{0xaa, 3, 2}}, 4))
                     .partial;

    ASSERT_TRUE(block.pop_tokens(1).has_value());
    block.push_tokens(Tokens{6, 7, 8});
    EXPECT_EQ(block.commit().error(), because(TokenBlockError::MmRunsPresent{}));

    ASSERT_TRUE(block.pop_tokens(4).has_value());
    block.push_tokens(Tokens{5, 6, 7, 8});
    EXPECT_TRUE(block.commit().has_value());
}

TEST(PartialTokenBlock, run_that_ended_before_it_does_not_matter) {
    auto cut = must(TokenBlockSequence::split_with_runs(Tokens{1, 2, 3, 4, 5},
                                                        std::array{MultimodalRun{0xaa, 2, 2}}, 4));
    cut.partial.push_tokens(Tokens{6, 7, 8});

    EXPECT_TRUE(cut.partial.commit().has_value());
}

TEST(PartialTokenBlockDeathTest, holds_at_least_one_token) {
    EXPECT_DEATH(PartialTokenBlock(0), "at least one token");
}

TEST(TokenBlock, default_is_all_zero) {
    const TokenBlock block;

    EXPECT_EQ(block.sequence_hash(), SequenceHash());
    EXPECT_EQ(block.position(), 0u);
    EXPECT_EQ(block.parent_chain_hash(), std::nullopt);
}

TEST(TokenBlockError, speaks) {
    EXPECT_EQ(because(TokenBlockError::Full{}).message(), "TokenBlock is full");
    EXPECT_EQ(because(TokenBlockError::Incomplete{}).message(), "TokenBlock is incomplete");
    EXPECT_EQ(because(TokenBlockError::Empty{}).message(), "TokenBlock is empty");
    EXPECT_EQ(because(TokenBlockError::InsufficientTokens{}).message(),
              "TokenBlock has insufficient tokens");
    EXPECT_EQ(because(TokenBlockError::MmInfo{{MultimodalError::Overlapping{4}}}).message(),
              "mm_info ranges overlap at position 4");
    EXPECT_EQ(because(TokenBlockError::MmRunsPresent{}).message(),
              "operation is not supported on a TokenBlockSequence with multimodal runs");
    EXPECT_EQ(because(PositionTooLarge{1u << 24, (1u << 24) - 1}).message(),
              "Position 16777216 exceeds maximum supported value (2^24 - 1 = 16,777,215)");
}

TEST(TokensFromInt32, keep_their_bit_patterns) {
    const std::array<std::int32_t, 4> ids{0, -1, 2147483647, -2147483647 - 1};

    EXPECT_EQ(tokens_from_int32(ids), (Tokens{0, 4294967295, 2147483647, 2147483648}));
}

}  // namespace
