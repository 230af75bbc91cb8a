// Which leaf the lineage policies evict: the recorded traces Y1 to Y10 of blocks.md 8.4, by tick
// and by fifo.
#include <cstddef>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

class LineageOrder : public testing::TestWithParam<Policy> {
  protected:
    static BlockManager<> make(std::size_t blocks) {
        return make_manager({.block_count = blocks, .policy = GetParam()});
    }
    static Ids by(Ids tick, Ids fifo) {
        return GetParam() == Policy::lineage_tick ? std::move(tick) : std::move(fifo);
    }
};

// Drops the guards of a list one at a time, back to front.
void drop_from_the_tail(ImmutableBlockList<> list) {
    while (!list.empty()) {
        drop(list.pop_back());
    }
}

TEST_P(LineageOrder, y1_a_chain_goes_tail_first) {
    auto manager = make(4);

    drop_singly(register_singly(manager, joined(chain(2), chain(2, 100))));

    EXPECT_EQ(take(manager, 4), by({1, 0, 3, 2}, {1, 3, 0, 2}));
}

TEST_P(LineageOrder, y2_a_parent_waits_for_all_its_children) {
    auto manager = make(8);
    const auto abc = chain(3);
    const auto other_child = child_of(abc[0], 50);

    drop_singly(
        register_singly(manager, joined({abc[0], abc[1], abc[2], other_child}, chain(2, 100))));

    EXPECT_EQ(take(manager, 8), by({6, 7, 2, 1, 3, 0, 5, 4}, {6, 7, 2, 3, 5, 1, 4, 0}));
}

TEST_P(LineageOrder, y3_the_order_of_release_decides_between_leaves_only) {
    auto manager = make(8);
    auto first = register_singly(manager, chain(4));
    auto second = register_singly(manager, chain(2, 100));

    drop_from_the_tail(std::move(first));
    drop_singly(std::move(second));

    EXPECT_EQ(take(manager, 8), by({6, 7, 3, 2, 1, 0, 5, 4}, {6, 7, 3, 5, 2, 4, 1, 0}));
}

TEST_P(LineageOrder, y4_a_hit_leaf_returns_as_the_newest) {
    auto manager = make(6);
    const auto first = chain(3);
    drop_singly(register_singly(manager, joined(first, chain(3, 100))));

    manager.match_blocks_scattered(only(first[2])).clear();

    EXPECT_EQ(take(manager, 6), by({5, 4, 3, 2, 1, 0}, {5, 2, 4, 1, 3, 0}));
}

// E15: a block whose only child is in use is a leaf.
TEST_P(LineageOrder, y5_a_block_in_use_does_not_protect_its_parent) {
    auto manager = make(6);
    auto blocks = register_singly(manager, chain(4));
    auto behind = blocks.split_off(2);
    const auto held = blocks.pop_back();

    drop_singly(std::move(blocks));
    drop_singly(std::move(behind));

    EXPECT_EQ(take(manager, 5), (Ids{4, 5, 0, 3, 2}));
}

// E10, E15: hit while it has a child, the block in the middle leaves a ghost that keeps the link.
TEST_P(LineageOrder, y6_the_place_of_a_hit_block_still_protects_its_parent) {
    auto manager = make(5);
    const auto abc = chain(3);
    drop_singly(register_singly(manager, joined(abc, roots(1, 100))));

    const auto held = manager.match_blocks(only(abc[1]));

    EXPECT_EQ(take(manager, 4), by({4, 2, 0, 3}, {4, 2, 3, 0}));
}

TEST_P(LineageOrder, y7_hit_blocks_that_return_are_the_newest_of_their_kind) {
    auto manager = make(5);
    const auto abc = chain(3);
    drop_singly(register_singly(manager, joined(abc, roots(1, 100))));

    manager.match_blocks({abc.data(), 2}).clear();

    EXPECT_EQ(take(manager, 5), (Ids{4, 2, 3, 1, 0}));
}

TEST_P(LineageOrder, y8_a_prefix_that_was_hit_stays_behind_its_own_tail) {
    auto manager = make(6);
    const auto hashes = chain(4);
    drop_singly(register_singly(manager, hashes));
    manager.match_blocks({hashes.data(), 2}).clear();

    drop_singly(register_singly(manager, chain(2, 100)));

    EXPECT_EQ(take(manager, 6), by({3, 2, 1, 0, 5, 4}, {3, 5, 2, 4, 1, 0}));
}

TEST_P(LineageOrder, y9_a_drain_is_victims_one_after_the_other) {
    auto manager = make(6);
    drop_singly(register_singly(manager, joined(chain(3), chain(3, 100))));

    EXPECT_EQ(manager.reset_inactive_pool(), std::size_t{6});

    EXPECT_EQ(take(manager, 6), by({2, 1, 0, 5, 4, 3}, {2, 5, 1, 4, 0, 3}));
}

TEST_P(LineageOrder, y10_a_chain_goes_tail_first_where_the_fragment_gets_shorter) {
    auto manager = make(4);

    drop_singly(register_singly(manager, chain_from(254, 4)));

    EXPECT_EQ(take(manager, 4), (Ids{3, 2, 1, 0}));
}

INSTANTIATE_TEST_SUITE_P(Lineage, LineageOrder,
                         testing::Values(Policy::lineage_tick, Policy::lineage_fifo), PolicyName());

}  // namespace
