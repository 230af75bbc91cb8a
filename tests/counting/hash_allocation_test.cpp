// Hashing never asks the heap, and a warm token sequence only when it has to grow.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.tokens;

namespace {

using namespace kvbm;
using kvbm_test::AllocationScope;

TEST(AllocationScope, sees_an_allocation_and_its_bytes) {
    const AllocationScope scope;

    const std::vector<Token> tokens(7);
    // An allocation that nobody outside sees may be optimised away.
    const Token* volatile seen = tokens.data();
    EXPECT_EQ(*seen, 0u);

    EXPECT_EQ(scope.count(), 1u);
    EXPECT_EQ(scope.bytes(), 28u);
}

TEST(BulkForms, allocate_nothing) {
    const std::vector<Token> tokens(64 * 100, 7);
    std::vector<BlockHash> blocks(100);
    std::vector<SequenceHash> hashes(100);
    const AllocationScope scope;

    block_hashes(tokens, 64, 1337, blocks);
    const auto chained = sequence_hashes(blocks, std::nullopt, hashes);

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_TRUE(chained.has_value());
}

TEST(SingleHashes, allocate_nothing) {
    const std::vector<Token> tokens(64, 7);
    const std::array<MultimodalRun, 1> runs{MultimodalRun{1, 3, 20}};
    const AllocationScope scope;

    const BlockHasher hasher(5);
    const auto text = hasher.block_hash(tokens);
    const auto framed = hasher.block_hash(tokens, 0, runs);
    const auto root = SequenceHash::root(text);
    const auto child = root.extend(framed);
    const auto read = SequenceHash::from_bytes(child->to_bytes());
    const auto wrong = SequenceHash::from_hex("no hash");

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_EQ(*read, *child);
    EXPECT_FALSE(wrong.has_value());
}

TEST(TokenBlockSequence, allocates_once_per_list_when_made_of_tokens) {
    const std::vector<Token> tokens(64 * 100 + 5, 7);
    const AllocationScope scope;

    const TokenBlockSequence sequence(tokens, 64);

    EXPECT_EQ(scope.count(), 2u);  // tokens and blocks
    EXPECT_EQ(scope.bytes(), tokens.size() * sizeof(Token) + 100 * sizeof(TokenBlock));
    EXPECT_EQ(sequence.blocks().size(), 100u);
}

TEST(TokenBlockSequence, once_grown_takes_tokens_back_and_again_without_the_heap) {
    const std::vector<Token> tokens(64, 7);
    TokenBlockSequence sequence(std::vector<Token>(16 * 64), 16);
    must(sequence.unwind(64));
    const AllocationScope scope;

    const auto extended = sequence.extend(tokens);
    const auto unwound = sequence.unwind(20);
    auto last = sequence.append(9);
    for (int i = 0; i < 19; ++i) {
        last = sequence.append(9);
    }
    const auto popped = sequence.pop();
    const auto refused = sequence.push_run(7, ~std::size_t{0});
    sequence.reset();

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_TRUE(extended && unwound && last && popped);
    EXPECT_FALSE(refused.has_value());
}

std::uint64_t allocations_of_appending(std::size_t tokens_count) {
    TokenBlockSequence sequence({}, 16);
    const AllocationScope scope;
    for (std::size_t i = 0; i < tokens_count; ++i) {
        must(sequence.append(1));
    }
    return scope.count();
}

TEST(TokenBlockSequence, appending_one_by_one_allocates_as_often_as_it_doubles) {
    // Tokens double from 1 to 65,536 (17 times), blocks from 1 to 4,096 (13 times).
    EXPECT_EQ(allocations_of_appending(65536), 17u + 13u);
    EXPECT_EQ(allocations_of_appending(2 * 65536), 18u + 14u);
}

}  // namespace
