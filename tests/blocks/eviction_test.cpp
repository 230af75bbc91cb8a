// What holds of eviction whatever the policy, and when multi-LRU asks the tracker. blocks.md 8,
// examples 58 to 62.
#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

class Eviction : public testing::TestWithParam<Policy> {};

// Example 58, E1: a policy that holds n blocks yields n, once each.
TEST_P(Eviction, gives_every_cached_block_and_leaves_no_presence) {
    auto manager = make_manager({.block_count = 16, .policy = GetParam()});
    const auto hashes = chain(16);
    cache(manager, hashes);

    const auto all = allocate(manager, 16);

    auto ids = all.block_ids();
    std::ranges::sort(ids);
    EXPECT_EQ(ids, (Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
    const auto numbers = manager.metrics()->snapshot();
    EXPECT_EQ(numbers.evictions, 16u);
    EXPECT_EQ(numbers.allocations, 32u);
    EXPECT_EQ(numbers.allocations_from_reset, 16u);
    for (const auto& hash : hashes) {
        EXPECT_FALSE(is_present(manager.block_registry(), hash));
    }
}

// Example 59.
TEST_P(Eviction, counts_two_full_cycles) {
    auto manager = make_manager({.block_count = 16, .policy = GetParam()});

    cache(manager, chain(16));
    allocate(manager, 16).clear();
    cache(manager, chain(16, 100));

    const auto numbers = manager.metrics()->snapshot();
    EXPECT_EQ(numbers.allocations, 48u);
    EXPECT_EQ(numbers.registrations, 32u);
    EXPECT_EQ(numbers.evictions, 16u);
    EXPECT_EQ(numbers.inactive_pool_size, 16);
    EXPECT_EQ(manager.match_blocks(chain(16, 100)).size(), 16u);
}

// Example 60.
TEST_P(Eviction, blocks_in_each_state_come_back_on_their_own_ways) {
    auto manager = make_manager({.block_count = 24, .policy = GetParam()});
    auto mutable_blocks = allocate(manager, 8);
    auto staged = stage(manager, chain(8));
    auto registered = register_all(manager, chain(8, 100));
    EXPECT_EQ(manager.available_blocks(), 0u);

    registered.clear();
    EXPECT_EQ(states(manager), "MMMMMMMMSSSSSSSSIIIIIIII");
    staged.clear();
    EXPECT_EQ(states(manager), "MMMMMMMMRRRRRRRRIIIIIIII");
    mutable_blocks.clear();

    EXPECT_EQ(states(manager), "RRRRRRRRRRRRRRRRIIIIIIII");
    EXPECT_EQ(take(manager, 16), (Ids{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}));
}

// INV-P7: whoever holds a block keeps it.
TEST_P(Eviction, never_takes_a_block_that_is_held) {
    auto manager = make_manager({.block_count = 6, .policy = GetParam()});
    auto [primary, duplicate] = register_twice(manager, root_hash(1));
    drop(std::move(primary));
    const auto pin = register_one(manager, root_hash(2)).pin();
    const auto guard = register_one(manager, root_hash(3));
    cache(manager, roots(2, 10));

    EXPECT_EQ(manager.allocate_blocks(3), std::nullopt);
    const auto blocks = allocate(manager, 2);

    EXPECT_EQ(blocks.block_ids(), (Ids{4, 5}));
    EXPECT_EQ(states(manager), "PDPPMM");
}

// A1, E1: any number is to be had, one after the other.
TEST_P(Eviction, takes_blocks_one_at_a_time_in_the_order_of_a_batch) {
    const auto hashes = joined(chain(5), joined(roots(3, 50), chain(4, 100)));
    auto batch = make_manager({.block_count = 12, .policy = GetParam()});
    auto singles = make_manager({.block_count = 12, .policy = GetParam()});
    cache(batch, hashes);
    cache(singles, hashes);

    const auto at_once = allocate(batch, 12);
    MutableBlockList<> one_by_one;
    for (int i = 0; i < 12; ++i) {
        one_by_one.append(allocate(singles, 1));
    }

    EXPECT_EQ(one_by_one.block_ids(), at_once.block_ids());
    EXPECT_EQ(batch.check_invariants().to_string(), "");
    EXPECT_EQ(singles.check_invariants().to_string(), "");
}

INSTANTIATE_TEST_SUITE_P(BlockManager, Eviction, testing::ValuesIn(all_policies), PolicyName());

// Example 61.
TEST(MultiLru, holds_any_number_of_blocks_in_one_list) {
    auto manager = make_manager({.block_count = 64, .policy = Policy::multi_lru});

    cache(manager, roots(64));
    const auto all = allocate(manager, 64);

    EXPECT_EQ(all.size(), 64u);
    EXPECT_EQ(manager.metrics()->snapshot().evictions, 64u);
}

TEST(MultiLru, evicts_blocks_of_every_list) {
    constexpr std::array<int, 4> touches{0, 3, 8, 15};
    auto manager = make_manager({.block_count = 32, .policy = Policy::multi_lru});
    const auto hashes = roots(32);
    auto blocks = register_all(manager, hashes);
    Ids expected;
    for (std::size_t level = 0; level < 4; ++level) {
        for (std::size_t i = level; i < 32; i += 4) {
            for (int touch = 0; touch < touches[level]; ++touch) {
                manager.block_registry().touch(hashes[i]);
            }
            expected.push_back(i);
        }
    }

    blocks.clear();

    EXPECT_EQ(take(manager, 32), expected);
}

// A multi-LRU manager whose tracker is watched.
struct MeteredPool {
    WatchedRegistry watched;
    BlockManager<> manager;

    explicit MeteredPool(std::size_t blocks)
        : manager(make_manager(
              {.block_count = blocks, .policy = Policy::multi_lru, .registry = watched.registry})) {
    }
};

// Example 62, INV-B8: the list is chosen at release and stays.
TEST(MultiLru, touches_and_decay_of_cached_blocks_move_nothing) {
    MeteredPool pool(3);
    const auto hashes = roots(3);
    auto blocks = register_singly(pool.manager, hashes);
    for (int i = 0; i < 7; ++i) {
        pool.watched.registry.touch(hashes[0]);
    }
    drop_singly(std::move(blocks));

    for (int i = 0; i < 20; ++i) {
        pool.watched.registry.touch(hashes[1]);
    }
    pool.watched.tracker->halvings = 3;

    EXPECT_EQ(take(pool.manager, 3), (Ids{1, 2, 0}));
}

TEST(MultiLru, a_release_after_a_decay_goes_by_the_decayed_uses) {
    MeteredPool pool(2);
    const auto hashes = roots(2);
    auto blocks = register_singly(pool.manager, hashes);
    for (int i = 0; i < 7; ++i) {
        pool.watched.registry.touch(hashes[0]);
    }

    pool.watched.tracker->halvings = 2;
    drop_singly(std::move(blocks));

    EXPECT_EQ(take(pool.manager, 2), (Ids{0, 1}));
}

TEST(MultiLru, reads_the_tracker_once_for_each_block_that_becomes_inactive) {
    MeteredPool pool(4);
    auto& tracker = *pool.watched.tracker;
    auto blocks = register_all(pool.manager, roots(3));
    auto copies = blocks.clone();
    pool.watched.take_touches();
    EXPECT_EQ(tracker.reads, 0u);

    copies.clear();
    EXPECT_EQ(tracker.reads, 0u);
    blocks.clear();
    EXPECT_EQ(tracker.reads, 3u);
    allocate(pool.manager, 4).clear();

    EXPECT_EQ(tracker.reads, 3u);
    EXPECT_EQ(pool.watched.take_touches(), Hashes{});
}

}  // namespace
