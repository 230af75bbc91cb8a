// Whether a block stays cached when its last reference goes: the flag, its default, and how long it
// lasts. blocks.md F1 to F5, examples 72 to 76.
#include <cstddef>
#include <utility>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

bool flag_of(const BlockManager<>& manager, BlockId id) {
    return manager.inspect()[id].evict_on_reset;
}

// Example 72, F3.
TEST(ImmutableBlock, flagged_goes_to_the_reset_pool_and_is_no_longer_known) {
    auto manager = make_manager({.block_count = 2});
    auto block = register_one(manager, root_hash(7));
    block.set_evict_on_reset(true);
    MetricsWatch watch(manager);

    drop(std::move(block));

    EXPECT_EQ(watch.moved(), "immutable -1, reset +1");
    EXPECT_FALSE(is_present(manager.block_registry(), root_hash(7)));
    EXPECT_FALSE(manager.block_registry().is_registered(root_hash(7)));
    EXPECT_TRUE(manager.match_blocks(only(root_hash(7))).empty());
    EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
}

// F5.
TEST(ImmutableBlock, flagged_stays_matchable_while_a_copy_lives) {
    auto manager = make_manager({.block_count = 2});
    auto block = register_one(manager, root_hash(7));
    block.set_evict_on_reset(true);
    auto copy = block;

    drop(std::move(block));
    EXPECT_EQ(states(manager), "PR");
    EXPECT_EQ(manager.match_blocks(only(root_hash(7))).size(), 1u);
    EXPECT_EQ(states(manager), "PR");
    drop(std::move(copy));

    EXPECT_EQ(states(manager), "RR");
}

TEST(LifecyclePin, of_a_flagged_block_keeps_it_until_it_goes) {
    auto manager = make_manager({.block_count = 1});
    auto block = register_one(manager, root_hash(7));
    block.set_evict_on_reset(true);

    auto pin = block.pin();
    drop(std::move(block));
    EXPECT_EQ(states(manager), "P");
    drop(std::move(pin));

    EXPECT_EQ(states(manager), "R");
}

// Example 73.
TEST(ImmutableBlock, the_last_writer_of_the_flag_wins_over_all_copies) {
    auto manager = make_manager({.block_count = 2});
    auto blocks = register_all(manager, roots(2));
    const auto write = [](const ImmutableBlock<>& block, bool first, bool second) {
        const auto copy = block;
        block.set_evict_on_reset(first);
        copy.set_evict_on_reset(second);
    };

    write(blocks[0], true, false);
    write(blocks[1], false, true);
    blocks.clear();

    EXPECT_EQ(states(manager), "IR");
}

TEST(ImmutableBlock, each_block_has_a_flag_of_its_own) {
    auto manager = make_manager({.block_count = 3});
    auto blocks = register_all(manager, roots(3));

    blocks[0].set_evict_on_reset(true);
    blocks[2].set_evict_on_reset(true);
    blocks.clear();

    EXPECT_EQ(states(manager), "RIR");
}

// Example 74, F2: after its slot was reset.
TEST(ImmutableBlock, the_next_tenant_of_a_released_slot_starts_with_the_default) {
    auto manager = make_manager({.block_count = 1});
    register_one(manager, root_hash(7)).set_evict_on_reset(true);
    EXPECT_EQ(states(manager), "R");

    auto tenant = register_one(manager, root_hash(8));
    EXPECT_FALSE(flag_of(manager, 0));
    drop(std::move(tenant));

    EXPECT_EQ(states(manager), "I");
}

// After its slot was evicted.
TEST(ImmutableBlock, the_next_tenant_of_an_evicted_slot_starts_with_the_default) {
    auto manager = make_manager({.block_count = 1, .reset_on_release = true});
    register_one(manager, root_hash(7)).set_evict_on_reset(false);
    EXPECT_EQ(states(manager), "I");

    auto tenant = register_one(manager, root_hash(8));
    EXPECT_TRUE(flag_of(manager, 0));
    drop(std::move(tenant));

    EXPECT_EQ(states(manager), "R");
}

TEST(CompleteBlock, reset_has_the_default_flag) {
    for (const bool by_default : {false, true}) {
        auto manager = make_manager({.block_count = 1, .reset_on_release = by_default});

        const auto block = stage_one(manager, root_hash(7)).reset();

        EXPECT_EQ(flag_of(manager, 0), by_default);
    }
}

TEST(BlockManager, draining_gives_the_default_flag_back) {
    auto manager = make_manager({.block_count = 1, .reset_on_release = true});
    register_one(manager, root_hash(7)).set_evict_on_reset(false);
    EXPECT_FALSE(flag_of(manager, 0));

    EXPECT_TRUE(manager.reset_inactive_pool().has_value());

    EXPECT_TRUE(flag_of(manager, 0));
}

// Example 75, F1.
TEST(ImmutableBlock, a_manager_may_reset_by_default_and_a_block_opt_out) {
    auto manager = make_manager({.block_count = 3, .reset_on_release = true});
    auto blocks = register_all(manager, roots(3));

    blocks[1].set_evict_on_reset(false);
    blocks.clear();

    EXPECT_EQ(states(manager), "RIR");
}

class FlagSurvival : public testing::TestWithParam<Policy> {};

// F2.
TEST_P(FlagSurvival, the_flag_lasts_over_any_number_of_resurrections) {
    auto manager = make_manager({.block_count = 1, .policy = GetParam(), .reset_on_release = true});
    register_one(manager, root_hash(7)).set_evict_on_reset(false);

    for (int resurrection = 0; resurrection < 3; ++resurrection) {
        const auto hit = manager.match_blocks(only(root_hash(7)));
        ASSERT_EQ(states(manager), "P");
    }
    EXPECT_EQ(states(manager), "I");
    const auto upgraded = register_one(manager, root_hash(8));

    EXPECT_EQ(upgraded.block_id(), 0u);
    EXPECT_TRUE(flag_of(manager, 0));
}

TEST_P(FlagSurvival, the_flag_may_be_set_after_a_resurrection) {
    auto manager = make_manager({.block_count = 1, .policy = GetParam()});
    cache(manager, only(root_hash(7)));

    auto hit = manager.match_blocks(only(root_hash(7)));
    hit[0].set_evict_on_reset(true);
    hit.clear();

    EXPECT_EQ(states(manager), "R");
}

INSTANTIATE_TEST_SUITE_P(ImmutableBlock, FlagSurvival, testing::ValuesIn(all_policies),
                         PolicyName());

// Example 76, F4.
TEST(ImmutableBlock, a_duplicate_is_reset_whatever_its_flag_and_the_primary_keeps_its_own) {
    for (const bool of_duplicate : {false, true}) {
        for (const bool of_primary : {false, true}) {
            auto manager = make_manager({.block_count = 2});
            auto [primary, duplicate] = register_twice(manager, root_hash(7));
            primary.set_evict_on_reset(of_primary);
            duplicate.set_evict_on_reset(of_duplicate);
            MetricsWatch watch(manager);

            drop(std::move(duplicate));
            EXPECT_EQ(watch.moved(), "immutable -1, reset +1");
            EXPECT_EQ(states(manager), "PR");
            EXPECT_TRUE(is_present(manager.block_registry(), root_hash(7)));
            drop(std::move(primary));

            EXPECT_EQ(watch.moved(),
                      of_primary ? "immutable -1, reset +1" : "immutable -1, inactive +1");
            EXPECT_EQ(is_present(manager.block_registry(), root_hash(7)), !of_primary);
        }
    }
}

// Presence counts each of them: two blocks of one hash, gone one after the other.
TEST(ImmutableBlock, flagged_blocks_of_one_hash_each_give_up_their_presence) {
    auto manager = make_manager({.block_count = 3, .reset_on_release = true});
    auto blocks = register_singly(manager, Hashes(3, root_hash(7)));
    const auto handle = blocks[0].registration_handle();

    drop(blocks.pop_back());
    EXPECT_TRUE(handle.has_block<DefaultTier>());
    drop(blocks.pop_back());
    EXPECT_TRUE(handle.has_block<DefaultTier>());
    drop(blocks.pop_back());

    EXPECT_FALSE(handle.has_block<DefaultTier>());
}

}  // namespace
