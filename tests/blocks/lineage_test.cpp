// The lineage forest by example: ghosts, deep chains, hashes that share a key, and the positions
// where fragments get shorter. blocks.md E7 to E15, examples 63 to 71.
#include <algorithm>
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

SequenceHash hash_of(std::uint64_t current, std::uint64_t parent, std::uint64_t position) {
    return must(SequenceHash::make(ChainHash{current}, ChainHash{parent}, position));
}

class Lineage : public testing::TestWithParam<Policy> {
  protected:
    static BlockManager<> make(std::size_t blocks) {
        return make_manager({.block_count = blocks, .policy = GetParam()});
    }
    static Ids by(Ids tick, Ids fifo) {
        return GetParam() == Policy::lineage_tick ? std::move(tick) : std::move(fifo);
    }
};

// Example 63.
TEST_P(Lineage, a_child_released_before_its_parent_is_evicted_before_it) {
    auto manager = make(2);
    auto blocks = register_all(manager, chain(2));

    drop(blocks.pop_back());
    drop(blocks.pop_back());

    EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
}

// INV-B6: whatever the order of release of a chain, it is evicted tail first.
TEST_P(Lineage, a_chain_released_in_any_order_is_evicted_tail_first) {
    std::vector<std::size_t> order{0, 1, 2, 3};
    do {
        auto manager = make(4);
        auto list = register_all(manager, chain(4));
        std::vector<ImmutableBlock<>> blocks(list.begin(), list.end());
        list.clear();
        for (const std::size_t i : order) {
            drop(std::move(blocks[i]));
        }
        ASSERT_EQ(manager.check_invariants().to_string(), "");
        ASSERT_EQ(take(manager, 4), (Ids{3, 2, 1, 0}));
    } while (std::ranges::next_permutation(order).found);
}

// Example 64, E8: a ghost is not counted, and goes with its last child.
TEST_P(Lineage, the_last_block_of_a_chain_alone_is_one_block_and_leaves_nothing_behind) {
    auto manager = make(101);
    const auto hashes = chain(101);
    auto blocks = register_all(manager, hashes);

    drop(blocks.pop_back());
    EXPECT_EQ(manager.metrics()->snapshot().inactive_pool_size, 1);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    const auto allocation = manager.allocate_blocks_with_evictions(1);

    ASSERT_TRUE(allocation.has_value());
    EXPECT_EQ(allocation->evicted, Hashes{hashes.back()});
    EXPECT_EQ(manager.available_blocks(), 0u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

// Example 65.
TEST_P(Lineage, a_long_chain_whose_last_block_was_hit_has_one_leaf) {
    auto manager = make(1000);
    const auto hashes = chain(1000);
    cache(manager, hashes);

    const auto last = manager.match_blocks_scattered(only(hashes.back()));

    EXPECT_EQ(manager.metrics()->snapshot().inactive_pool_size, 999);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    const auto allocation = manager.allocate_blocks_with_evictions(999);
    ASSERT_TRUE(allocation.has_value());
    EXPECT_TRUE(
        std::ranges::equal(allocation->evicted, std::vector(hashes.rbegin() + 1, hashes.rend())));
}

// E10, INV-B4 and B5: the climb over ghosts is a loop, as deep as data may be.
TEST_P(Lineage, a_deep_chain_of_ghosts_goes_with_its_last_child) {
    constexpr std::size_t depth = 100'000;
    auto manager = make(depth);
    const auto hashes = chain(depth);
    cache(manager, hashes);
    auto held = manager.match_blocks({hashes.data(), depth - 1});
    EXPECT_EQ(held.size(), depth - 1);

    const auto allocation = manager.allocate_blocks_with_evictions(1);

    ASSERT_TRUE(allocation.has_value());
    EXPECT_EQ(allocation->evicted, Hashes{hashes.back()});
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    held.clear();
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.available_blocks(), depth - 1);
}

// Example 66.
TEST_P(Lineage, a_pool_filled_and_drained_many_times_keeps_its_order) {
    auto manager = make(8);

    for (std::uint64_t round = 0; round < 50; ++round) {
        cache(manager, chain(8, 1 + 100 * round));
        ASSERT_EQ(manager.check_invariants().to_string(), "");
        ASSERT_EQ(manager.reset_inactive_pool(), std::size_t{8});
        ASSERT_EQ(manager.check_invariants().to_string(), "");
    }

    // Each drain is tail first, so that the ids come back the other way round; 50 is even.
    EXPECT_EQ(take(manager, 8), (Ids{0, 1, 2, 3, 4, 5, 6, 7}));
}

// Example 67, E13: same key, other hash.
TEST_P(Lineage, a_hash_that_differs_in_its_parent_only_is_a_miss) {
    auto manager = make(4);
    const auto stored = hash_of(0xAA, 0x11, 5);
    const auto twin = hash_of(0xAA, 0x22, 5);
    cache(manager, only(stored));

    EXPECT_TRUE(manager.match_blocks(only(twin)).empty());
    EXPECT_EQ(manager.match_blocks_scattered(only(twin)).hits(), 0u);
    EXPECT_TRUE(manager.scan_matches(only(twin), Touch::yes).empty());
    EXPECT_FALSE(is_present(manager.block_registry(), twin));
    EXPECT_FALSE(manager.block_registry().is_registered(twin));
    EXPECT_EQ(manager.match_blocks(only(stored)).block_ids(), Ids{0});
}

// Example 68, E14: the parent of this library aborts here.
TEST_P(Lineage, two_hashes_with_one_key_are_found_and_evicted_apart) {
    auto manager = make(3);
    const Hashes twins{hash_of(0xAA, 0x11, 5), hash_of(0xAA, 0x22, 5)};

    cache(manager, joined(twins, roots(1, 100)));

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.match_blocks(twins).block_ids(), (Ids{0, 1}));
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    // The match let both go again, behind the root.
    EXPECT_EQ(take(manager, 3), (Ids{2, 0, 1}));
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST_P(Lineage, one_of_two_hashes_with_one_key_goes_without_the_other) {
    auto manager = make(3);
    const Hashes twins{hash_of(0xAA, 0x11, 5), hash_of(0xAA, 0x22, 5)};
    cache(manager, twins);

    auto first = manager.match_blocks(only(twins[0]));
    first[0].set_evict_on_reset(true);
    first.clear();

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.match_blocks(only(twins[1])).block_ids(), Ids{1});
    EXPECT_TRUE(manager.match_blocks(only(twins[0])).empty());
    EXPECT_EQ(take(manager, 3), (Ids{2, 0, 1}));
}

// Example 70, E14: children belong to the node. Tick: each block by its own tick; fifo: behind the
// root, in the order of their insertion.
TEST_P(Lineage, a_child_below_two_hashes_with_one_key_goes_before_both) {
    auto manager = make(4);
    const auto first = hash_of(0xAA, 0x11, 5);
    const auto second = hash_of(0xAA, 0x22, 5);
    const auto child = hash_of(0xBB, 0xAA, 6);

    cache(manager, joined({first, second, child}, roots(1, 100)));

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(take(manager, 4), by({2, 0, 1, 3}, {2, 3, 0, 1}));
}

TEST_P(Lineage, a_twin_that_comes_below_a_child_waits_for_it_too) {
    auto manager = make(3);
    const auto first = hash_of(0xAA, 0x11, 5);
    const auto second = hash_of(0xAA, 0x22, 5);
    const auto child = hash_of(0xBB, 0xAA, 6);

    cache(manager, Hashes{child, second, first});

    EXPECT_EQ(take(manager, 3), (Ids{0, 1, 2}));
}

// Example 69, E7: the key at 255 has 46 bits, since that is what a child at 256 stores.
TEST_P(Lineage, hashes_equal_in_46_bits_share_a_key_at_255_and_not_at_254) {
    constexpr std::uint64_t bit_50 = std::uint64_t{1} << 50;
    for (const std::uint64_t position : {255U, 254U}) {
        auto manager = make(3);
        const auto parent = hash_of(bit_50, 0x11, position);
        const auto other = hash_of(2 * bit_50, 0x11, position);
        const auto child = child_of(parent, 7);

        cache(manager, Hashes{parent, other, child});

        EXPECT_EQ(manager.check_invariants().to_string(), "");
        EXPECT_EQ(places(manager.match_blocks_scattered(Hashes{parent})),
                  (std::vector<std::optional<BlockId>>{0}));
        EXPECT_EQ(manager.scan_matches(Hashes{parent, other, child}, Touch::no).size(), 3u);
    }
}

TEST_P(Lineage, a_child_protects_what_shares_its_parents_key) {
    constexpr std::uint64_t bit_50 = std::uint64_t{1} << 50;
    const auto order_at = [](std::uint64_t position) {
        auto manager = make(3);
        const auto parent = hash_of(bit_50, 0x11, position);
        const auto other = hash_of(2 * bit_50, 0x11, position);
        cache(manager, Hashes{parent, other, child_of(parent, 7)});
        return take(manager, 3);
    };

    EXPECT_EQ(order_at(254), (Ids{1, 2, 0}));
    EXPECT_EQ(order_at(255), (Ids{2, 0, 1}));
    EXPECT_EQ(order_at(65534), (Ids{2, 0, 1}));
}

// The same for 38 bits, from 65535 on.
TEST_P(Lineage, hashes_equal_in_38_bits_share_a_key_from_65535_on) {
    constexpr std::uint64_t bit_40 = std::uint64_t{1} << 40;
    const auto order_at = [](std::uint64_t position) {
        auto manager = make(3);
        const auto parent = hash_of(bit_40, 0x11, position);
        const auto other = hash_of(2 * bit_40, 0x11, position);
        cache(manager, Hashes{parent, other, child_of(parent, 7)});
        return take(manager, 3);
    };

    EXPECT_EQ(order_at(65534), (Ids{1, 2, 0}));
    EXPECT_EQ(order_at(65535), (Ids{2, 0, 1}));
}

// An active block that was the ghost of its place is reset under its children.
TEST_P(Lineage, a_block_reset_above_cached_children_leaves_them_in_order) {
    auto manager = make(4);
    const auto abc = chain(3);
    auto blocks = register_all(manager, abc);
    blocks[0].set_evict_on_reset(true);

    drop(blocks.pop_back());
    drop(blocks.pop_back());
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    drop(blocks.pop_back());

    EXPECT_EQ(states(manager), "RIIR");
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(take(manager, 4), (Ids{3, 0, 2, 1}));
}

// E10: a block that is hit keeps its place, and the count of its children with it.
TEST_P(Lineage, a_parent_that_was_hit_still_waits_for_all_its_children) {
    auto manager = make(3);
    const auto parent = root_hash(1);
    const auto second_child = child_of(parent, 3);
    cache(manager, Hashes{parent, child_of(parent, 2), second_child});

    manager.match_blocks(only(parent)).clear();
    manager.match_blocks(only(second_child)).clear();

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(take(manager, 3), (Ids{1, 2, 0}));
}

TEST_P(Lineage, the_place_of_a_held_parent_goes_with_the_last_of_its_children) {
    auto manager = make(3);
    const auto parent = root_hash(1);
    cache(manager, Hashes{parent, child_of(parent, 2), child_of(parent, 3)});

    const auto held = manager.match_blocks(only(parent));
    const auto first = allocate(manager, 1);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    const auto second = allocate(manager, 1);

    EXPECT_EQ(first.block_ids(), Ids{1});
    EXPECT_EQ(second.block_ids(), Ids{2});
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

class LineageBorder : public testing::TestWithParam<std::tuple<Policy, std::uint64_t>> {};

// Example 71, INV-B7.
TEST_P(LineageBorder, a_chain_across_it_goes_tail_first) {
    const auto& [policy, border] = GetParam();
    auto manager = make_manager({.block_count = 4, .policy = policy});

    cache(manager, chain_from(border - 2, 4));

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(take(manager, 4), (Ids{3, 2, 1, 0}));
}

// The last border is that of the last position a hash can have.
INSTANTIATE_TEST_SUITE_P(Lineage, LineageBorder,
                         testing::Combine(testing::Values(Policy::lineage_tick,
                                                          Policy::lineage_fifo),
                                          testing::Values<std::uint64_t>(256, 65536, 0xFF'FFFE)));

INSTANTIATE_TEST_SUITE_P(Lineage, Lineage,
                         testing::Values(Policy::lineage_tick, Policy::lineage_fifo), PolicyName());

}  // namespace
