// Which block is handed out next: free ones in the order they came back, then cached ones in the
// order of the policy. The recorded traces P1 to P6 of blocks.md 8.4; those of lineage are in
// lineage_order_test.cpp.
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

class EvictionOrder : public testing::TestWithParam<Policy> {};

TEST_P(EvictionOrder, p1_dropped_blocks_go_behind_the_free_ones) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});

    allocate(manager, 2).clear();

    EXPECT_EQ(take(manager, 4), (Ids{2, 3, 0, 1}));
}

TEST_P(EvictionOrder, p6_a_primary_released_with_its_duplicates_goes_with_the_last_of_them) {
    auto manager = make_manager({.block_count = 6, .policy = GetParam(), .reset_on_release = true});
    auto blocks = register_singly(manager, Hashes(3, root_hash(1)));
    auto last = blocks.pop_back();
    auto middle = blocks.pop_back();
    blocks.push_back(std::move(last));
    blocks.push_back(std::move(middle));
    EXPECT_EQ(blocks.block_ids(), (Ids{0, 2, 1}));

    blocks.clear();

    EXPECT_EQ(take(manager, 6), (Ids{3, 4, 5, 2, 1, 0}));
    EXPECT_EQ(manager.block_registry().registered_count(), 0u);
}

// E4: a drain is victims one after the other; for roots that is the order of their release.
TEST_P(EvictionOrder, drained_blocks_come_in_the_order_of_their_release) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});
    auto blocks = register_singly(manager, roots(4));
    drop(blocks.pop_back());
    drop_singly(std::move(blocks));

    EXPECT_TRUE(manager.reset_inactive_pool().has_value());

    EXPECT_EQ(take(manager, 4), (Ids{3, 0, 1, 2}));
}

// E2: a hit leaves its place, and its release is a fresh insert.
TEST_P(EvictionOrder, a_hit_root_re_enters_behind_the_others) {
    auto manager = make_manager({.block_count = 3, .policy = GetParam()});
    cache(manager, roots(3));

    manager.match_blocks(roots(1)).clear();

    EXPECT_EQ(take(manager, 3), (Ids{1, 2, 0}));
}

// E3, INV-B2.
TEST_P(EvictionOrder, asking_what_is_cached_moves_nothing) {
    auto manager = make_manager({.block_count = 3, .policy = GetParam()});
    cache(manager, roots(3));
    const auto& registry = manager.block_registry();

    EXPECT_TRUE(is_present(registry, root_hash(1)));
    EXPECT_TRUE(registry.is_registered(root_hash(1)));
    EXPECT_EQ(registry.count(root_hash(1)), 1u);
    EXPECT_EQ(manager.available_blocks(), 3u);
    EXPECT_TRUE(manager.check_invariants().ok());
    EXPECT_EQ(states(manager), "III");
    EXPECT_EQ(manager.allocate_blocks(4), std::nullopt);

    EXPECT_EQ(take(manager, 3), (Ids{0, 1, 2}));
}

INSTANTIATE_TEST_SUITE_P(Policies, EvictionOrder, testing::ValuesIn(all_policies), PolicyName());

class FirstInFirstOut : public testing::TestWithParam<Policy> {};

// P2, and P3 for multi-LRU: block 3 is used six times, so it is on a warmer list, and last anyway.
TEST_P(FirstInFirstOut, p2_p3_hit_blocks_re_enter_behind_the_others) {
    auto manager = make_manager({.block_count = 6, .policy = GetParam()});
    const auto hashes = chain(6);
    drop_singly(register_singly(manager, hashes));

    manager.match_blocks({hashes.data(), 2}).clear();
    for (int i = 0; i < 5; ++i) {
        manager.match_blocks_scattered(only(hashes[3])).clear();
    }

    EXPECT_EQ(manager.block_registry().count(hashes[3]), 6u);
    EXPECT_EQ(take(manager, 6), (Ids{2, 4, 5, 0, 1, 3}));
}

INSTANTIATE_TEST_SUITE_P(EvictionOrder, FirstInFirstOut,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru),
                         PolicyName());

// Touches a hash several times.
void touch(const BlockRegistry& registry, const SequenceHash& hash, int times) {
    for (int i = 0; i < times; ++i) {
        registry.touch(hash);
    }
}

// E5, E6: the coldest list first, and a list never changes afterwards.
TEST(MultiLru, p4_the_least_used_are_evicted_first) {
    auto manager = make_manager({.block_count = 4, .policy = Policy::multi_lru});
    const auto& registry = manager.block_registry();
    auto blocks = register_singly(manager, roots(4));
    touch(registry, root_hash(1), 14);
    touch(registry, root_hash(2), 7);
    touch(registry, root_hash(3), 2);

    drop_singly(std::move(blocks));
    touch(registry, root_hash(4), 20);

    EXPECT_EQ(take(manager, 4), (Ids{3, 2, 1, 0}));
}

TEST(MultiLru, p5_a_drain_goes_from_the_coldest_list_to_the_hottest) {
    auto manager =
        make_manager({.block_count = 6, .policy = Policy::multi_lru, .thresholds = {2, 4, 6}});
    const auto& registry = manager.block_registry();
    auto blocks = register_singly(manager, roots(6));
    touch(registry, root_hash(1), 1);
    touch(registry, root_hash(2), 5);
    touch(registry, root_hash(4), 1);
    touch(registry, root_hash(5), 3);
    drop_singly(std::move(blocks));

    EXPECT_EQ(manager.reset_inactive_pool(), std::size_t{6});

    EXPECT_EQ(take(manager, 6), (Ids{2, 5, 0, 3, 4, 1}));
}

struct Level {
    std::uint32_t uses;  // registration counts as the first
    std::size_t list;
};

class MultiLruLevel : public testing::TestWithParam<Level> {};

// E5 at the edges of (3, 8, 15): a block of exactly a threshold's uses is on the warmer side.
// Probes with 1, 3, 8 and 15 uses are on lists 0 to 3, and enter before the block.
TEST_P(MultiLruLevel, is_decided_by_the_uses_at_release) {
    constexpr std::array<int, 4> probe_uses{1, 3, 8, 15};
    auto manager = make_manager({.block_count = 5, .policy = Policy::multi_lru});
    const auto& registry = manager.block_registry();
    auto blocks = register_singly(manager, roots(5));
    for (std::size_t i = 0; i < 4; ++i) {
        touch(registry, root_hash(1 + i), probe_uses[i] - 1);
    }
    touch(registry, root_hash(5), static_cast<int>(GetParam().uses) - 1);

    drop_singly(std::move(blocks));

    Ids expected{0, 1, 2, 3};
    expected.insert(expected.begin() + static_cast<std::ptrdiff_t>(GetParam().list) + 1, 4);
    EXPECT_EQ(take(manager, 5), expected);
}

INSTANTIATE_TEST_SUITE_P(MultiLru, MultiLruLevel,
                         testing::Values(Level{1, 0}, Level{2, 0}, Level{3, 1}, Level{7, 1},
                                         Level{8, 2}, Level{14, 2}, Level{15, 3}),
                         [](const auto& info) {
                             return std::to_string(info.param.uses) + "_uses";
                         });

}  // namespace
