// Blocks are handed out all or nothing, free ones before cached ones, and the cached ones can be
// uncached at once. blocks.md A1 to A6, examples 8 to 16.
#include <cstddef>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

// Example 8.
TEST(BlockManager, allocating_one_block_and_dropping_it_moves_each_number_by_one_and_back) {
    auto manager = make_manager({.block_count = 3});
    MetricsWatch watch(manager);

    auto blocks = allocate(manager, 1);
    EXPECT_EQ(watch.moved(), "allocations +1, from_reset +1, mutable +1, reset -1");
    blocks.clear();

    EXPECT_EQ(watch.moved(), "mutable -1, reset +1");
}

// Example 9.
TEST(BlockManager, hands_out_each_block_once_until_none_is_left) {
    auto manager = make_manager({.block_count = 10});
    auto three = allocate(manager, 3);
    const auto four = allocate(manager, 4);
    const auto rest = allocate(manager, 3);

    std::set<BlockId> ids;
    for (const auto& more : {three.block_ids(), four.block_ids(), rest.block_ids()}) {
        ids.insert(more.begin(), more.end());
    }
    EXPECT_EQ(ids.size(), 10u);
    EXPECT_EQ(manager.allocate_blocks(1), std::nullopt);
    drop(three.pop_back());

    EXPECT_EQ(take(manager, 1), Ids{2});
}

// Example 10, A1.
TEST(BlockManager, no_blocks_are_always_to_be_had_and_count_as_nothing) {
    auto manager = make_manager({.block_count = 2});
    const auto all = allocate(manager, 2);
    MetricsWatch watch(manager);

    const auto none = manager.allocate_blocks(0);
    const auto with_evictions = manager.allocate_blocks_with_evictions(0);

    ASSERT_TRUE(none.has_value());
    EXPECT_TRUE(none->empty());
    ASSERT_TRUE(with_evictions.has_value());
    EXPECT_TRUE(with_evictions->blocks.empty());
    EXPECT_TRUE(with_evictions->evicted.empty());
    EXPECT_EQ(watch.moved(), "");
}

// Example 11, X1.
TEST(BlockManager, asking_for_more_than_there_is_moves_nothing) {
    auto manager = make_manager({.block_count = 6});
    const auto held = allocate(manager, 1);
    cache(manager, roots(2));
    const auto before = states(manager);
    MetricsWatch watch(manager);

    EXPECT_EQ(manager.allocate_blocks(6), std::nullopt);
    EXPECT_FALSE(manager.allocate_blocks_with_evictions(6).has_value());
    EXPECT_EQ(manager.allocate_blocks(7), std::nullopt);
    EXPECT_EQ(manager.allocate_blocks(std::numeric_limits<std::size_t>::max()), std::nullopt);

    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(states(manager), before);
    EXPECT_EQ(take(manager, 5), (Ids{3, 4, 5, 1, 2}));
}

class Allocation : public testing::TestWithParam<Policy> {};

// Example 12, A2 and A3: the last blocks are those of the victims, in the policy's order.
TEST_P(Allocation, free_blocks_come_before_victims_and_each_victim_is_named) {
    auto manager = make_manager({.block_count = 6, .policy = GetParam()});
    const auto hashes = roots(4, 10);
    cache(manager, hashes);
    MetricsWatch watch(manager);

    const auto allocation = manager.allocate_blocks_with_evictions(5);

    ASSERT_TRUE(allocation.has_value());
    EXPECT_EQ(allocation->blocks.block_ids(), (Ids{4, 5, 0, 1, 2}));
    EXPECT_EQ(allocation->evicted, (Hashes{hashes[0], hashes[1], hashes[2]}));
    EXPECT_EQ(watch.moved(),
              "allocations +5, from_reset +2, evictions +3, mutable +5, reset -2, inactive -3");
}

TEST_P(Allocation, from_the_reset_pool_alone_evicts_nobody) {
    auto manager = make_manager({.block_count = 6, .policy = GetParam()});
    cache(manager, roots(4));

    const auto allocation = manager.allocate_blocks_with_evictions(2);

    ASSERT_TRUE(allocation.has_value());
    EXPECT_EQ(allocation->blocks.block_ids(), (Ids{4, 5}));
    EXPECT_TRUE(allocation->evicted.empty());
    EXPECT_EQ(states(manager), "IIIIMM");
}

// A4, INV-P8: an evicted hash leads nowhere, and its entry goes unless somebody has a handle.
TEST_P(Allocation, an_evicted_block_is_no_longer_known) {
    auto manager = make_manager({.block_count = 2, .policy = GetParam()});
    const auto hashes = roots(2);
    auto registry = manager.block_registry();
    cache(manager, hashes);
    const auto kept = registry.match_sequence_hash(hashes[1], Touch::no);

    const auto all = allocate(manager, 2);

    EXPECT_FALSE(is_present(registry, hashes[0]));
    EXPECT_FALSE(is_present(registry, hashes[1]));
    EXPECT_FALSE(registry.is_registered(hashes[0]));
    EXPECT_TRUE(registry.is_registered(hashes[1]));
    EXPECT_EQ(manager.match_blocks_scattered(hashes).hits(), 0u);
}

INSTANTIATE_TEST_SUITE_P(BlockManager, Allocation, testing::ValuesIn(all_policies), PolicyName());

// Example 13.
TEST(BlockManager, allocating_into_a_list_appends_blocks_and_victims) {
    auto manager = make_manager({.block_count = 4});
    const auto hashes = roots(2);
    cache(manager, hashes);
    MutableBlockList<> blocks;
    Hashes evicted{root_hash(77)};

    EXPECT_TRUE(manager.allocate_blocks_into(1, blocks, &evicted));
    EXPECT_TRUE(manager.allocate_blocks_into(2, blocks, &evicted));

    EXPECT_EQ(blocks.block_ids(), (Ids{2, 3, 0}));
    EXPECT_EQ(evicted, (Hashes{root_hash(77), hashes[0]}));
}

TEST(BlockManager, failing_to_allocate_into_a_list_leaves_it_as_it_was) {
    auto manager = make_manager({.block_count = 4});
    cache(manager, roots(2));
    MutableBlockList<> blocks;
    Hashes evicted;
    EXPECT_TRUE(manager.allocate_blocks_into(1, blocks));

    EXPECT_FALSE(manager.allocate_blocks_into(4, blocks, &evicted));
    EXPECT_FALSE(manager.allocate_blocks_into(~std::size_t{0}, blocks, &evicted));

    EXPECT_EQ(blocks.block_ids(), Ids{2});
    EXPECT_TRUE(evicted.empty());
    EXPECT_EQ(states(manager), "IIMR");
}

TEST(BlockManager, allocating_nothing_into_a_list_leaves_it_as_it_was) {
    auto manager = make_manager({.block_count = 2});
    auto blocks = allocate(manager, 2);

    EXPECT_TRUE(manager.allocate_blocks_into(0, blocks));

    EXPECT_EQ(blocks.block_ids(), (Ids{0, 1}));
}

class Reset : public testing::TestWithParam<Policy> {};

// Example 14, A5: nobody holds a block.
TEST_P(Reset, uncaches_every_inactive_block_without_evicting) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});
    const auto hashes = chain(3);
    cache(manager, hashes);
    MetricsWatch watch(manager);

    const auto drained = manager.reset_inactive_pool();

    EXPECT_EQ(drained, std::size_t{3});
    EXPECT_EQ(watch.moved(), "reset +3, inactive -3");
    EXPECT_EQ(states(manager), "RRRR");
    for (const auto& hash : hashes) {
        EXPECT_FALSE(is_present(manager.block_registry(), hash));
        EXPECT_FALSE(manager.block_registry().is_registered(hash));
    }
    EXPECT_EQ(manager.match_blocks_scattered(hashes).hits(), 0u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

// Example 15: the error says that blocks are in use, not that nothing was done.
TEST_P(Reset, with_blocks_in_use_drains_the_others_and_says_so) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});
    const auto hashes = roots(2);
    cache(manager, hashes);
    const auto held = manager.match_blocks(only(hashes[0]));

    const auto result = manager.reset_inactive_pool();

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().expected, 4u);
    EXPECT_EQ(result.error().actual, 3u);
    EXPECT_EQ(result.error().drained, 1u);
    EXPECT_EQ(result.error().message(), "Reset pool count mismatch: expected 4, got 3");
    EXPECT_EQ(states(manager), "PRRR");
    EXPECT_FALSE(is_present(manager.block_registry(), hashes[1]));
    EXPECT_TRUE(is_present(manager.block_registry(), hashes[0]));
}

TEST_P(Reset, of_an_empty_pool_drains_nothing) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});
    EXPECT_EQ(manager.reset_inactive_pool(), std::size_t{0});
    const auto held = allocate(manager, 2);

    const auto result = manager.reset_inactive_pool();

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message(), "Reset pool count mismatch: expected 4, got 2");
    EXPECT_EQ(result.error().drained, 0u);
}

INSTANTIATE_TEST_SUITE_P(BlockManager, Reset, testing::ValuesIn(all_policies), PolicyName());

// More blocks than are settled with the registry at a time.
TEST(BlockManager, evicts_and_drains_many_blocks_at_once) {
    auto manager = make_manager({.block_count = 200});
    const auto& registry = manager.block_registry();

    cache(manager, roots(200));
    EXPECT_EQ(registry.registered_count(), 200u);
    const auto allocation = manager.allocate_blocks_with_evictions(150);
    EXPECT_EQ(allocation->evicted, roots(150));
    EXPECT_EQ(registry.registered_count(), 50u);
    EXPECT_FALSE(manager.reset_inactive_pool().has_value());

    EXPECT_EQ(registry.registered_count(), 0u);
}

// Example 16, A6: reset and inactive, whatever the path of a block.
TEST(BlockManager, available_blocks_are_those_that_nobody_holds) {
    auto manager = make_manager({.block_count = 4});
    EXPECT_EQ(manager.available_blocks(), 4u);

    auto mutable_blocks = allocate(manager, 2);
    EXPECT_EQ(manager.available_blocks(), 2u);
    auto staged = must(std::move(mutable_blocks).stage_all(roots(2), tokens_per_block));
    EXPECT_EQ(manager.available_blocks(), 2u);
    auto registered = must(manager.register_blocks(std::move(staged)));
    EXPECT_EQ(manager.available_blocks(), 2u);
    drop(registered.pop_back());
    EXPECT_EQ(manager.available_blocks(), 3u);
    registered.clear();
    EXPECT_EQ(manager.available_blocks(), 4u);
    const auto hit = manager.match_blocks(roots(1));
    EXPECT_EQ(manager.available_blocks(), 3u);

    EXPECT_EQ(states(manager), "PIRR");
    EXPECT_EQ(manager.total_blocks(), 4u);
}

}  // namespace
