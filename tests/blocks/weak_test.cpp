// A weak block remembers a block without keeping it: what it gives back while the block is held,
// cached, gone, or registered anew. blocks.md G14 to G16, examples 31 to 36.
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

std::optional<BlockId> upgraded_id(const WeakBlock<>& weak) {
    const auto block = weak.upgrade();
    return block ? std::optional(block->block_id()) : std::nullopt;
}

// A weak block of a block that is cached and that nobody holds.
WeakBlock<> weak_of_cached(BlockManager<>& manager, const SequenceHash& hash) {
    return register_one(manager, hash).downgrade();
}

TEST(WeakBlock, tells_its_hash_and_its_manager) {
    auto manager = make_manager();
    const auto weak = weak_of_cached(manager, root_hash(7));

    EXPECT_EQ(weak.sequence_hash(), root_hash(7));
    EXPECT_EQ(weak.manager_id(), manager.id());
}

// Example 31, G15 (1).
TEST(WeakBlock, of_a_held_block_gives_another_reference_to_it) {
    auto manager = make_manager();
    const auto block = register_one(manager, root_hash(7));
    const auto weak = block.downgrade();
    EXPECT_EQ(block.use_count(), 1u);

    const auto upgraded = weak.upgrade();

    ASSERT_TRUE(upgraded.has_value());
    EXPECT_EQ(upgraded->block_id(), block.block_id());
    EXPECT_EQ(block.use_count(), 2u);
}

// G15 (2).
TEST(WeakBlock, of_a_cached_block_resurrects_it) {
    auto manager = make_manager();
    const auto weak = weak_of_cached(manager, root_hash(7));
    EXPECT_EQ(states(manager), "IRRRRRRR");
    MetricsWatch watch(manager);

    const auto upgraded = weak.upgrade();

    ASSERT_TRUE(upgraded.has_value());
    EXPECT_EQ(upgraded->block_id(), 0u);
    EXPECT_EQ(states(manager), "PRRRRRRR");
    EXPECT_EQ(watch.moved(), "immutable +1, inactive -1");
}

// G15 (3), INV-P8.
TEST(WeakBlock, of_an_evicted_block_gives_nothing) {
    auto manager = make_manager({.block_count = 1});
    const auto weak = weak_of_cached(manager, root_hash(7));

    const auto evicting = allocate_one(manager);

    EXPECT_EQ(weak.upgrade(), std::nullopt);
}

TEST(WeakBlock, of_a_block_that_was_reset_gives_nothing) {
    auto manager = make_manager({.reset_on_release = true});
    const auto weak = weak_of_cached(manager, root_hash(7));

    EXPECT_EQ(weak.upgrade(), std::nullopt);
}

// An incarnation ends when the slot is mutable again: the same slot under another hash is another
// block.
TEST(WeakBlock, does_not_give_the_next_tenant_of_its_slot) {
    auto manager = make_manager({.block_count = 1});
    const auto weak = weak_of_cached(manager, root_hash(7));

    const auto tenant = register_one(manager, root_hash(8));

    EXPECT_EQ(tenant.block_id(), 0u);
    EXPECT_EQ(weak.upgrade(), std::nullopt);
    EXPECT_EQ(tenant.use_count(), 1u);
}

// Example 32.
TEST(WeakBlock, three_of_one_block_all_give_its_slot_after_release) {
    auto manager = make_manager();
    std::vector<WeakBlock<>> weak;
    {
        const auto block = register_one(manager, root_hash(7));
        weak.assign(3, block.downgrade());
    }

    const auto first = weak[0].upgrade();
    const auto second = weak[1].upgrade();
    const auto third = weak[2].upgrade();

    ASSERT_TRUE(first && second && third);
    EXPECT_EQ(first->use_count(), 3u);
    EXPECT_EQ(second->block_id(), first->block_id());
    EXPECT_EQ(third->block_id(), first->block_id());
}

// Example 33.
TEST(WeakBlock, of_a_duplicate_gives_the_duplicate_while_it_lives_and_then_the_primary) {
    auto manager = make_manager();
    auto [primary, duplicate] = register_twice(manager, root_hash(7));
    const auto weak = duplicate.downgrade();

    EXPECT_EQ(upgraded_id(weak), BlockId{1});
    drop(std::move(duplicate));

    EXPECT_EQ(upgraded_id(weak), BlockId{0});
    drop(std::move(primary));
    EXPECT_EQ(upgraded_id(weak), BlockId{0});
}

TEST(WeakBlock, of_a_duplicate_whose_slot_has_another_duplicate_gives_the_primary) {
    auto manager = make_manager({.block_count = 2});
    auto [primary, duplicate] = register_twice(manager, root_hash(7));
    const auto weak = duplicate.downgrade();

    drop(std::move(duplicate));
    const auto second_duplicate = register_one(manager, root_hash(7));

    EXPECT_EQ(second_duplicate.block_id(), 1u);
    EXPECT_EQ(upgraded_id(weak), BlockId{0});
}

// Example 34.
TEST(WeakBlock, of_a_block_registered_anew_elsewhere_gives_the_new_slot) {
    auto manager = make_manager({.block_count = 2});
    const auto weak = weak_of_cached(manager, root_hash(7));
    auto both = allocate(manager, 2);
    EXPECT_EQ(both.block_ids(), (Ids{1, 0}));
    auto first_slot = both.pop_back();

    const auto anew =
        must(manager.register_block(must(both.pop_back().stage(root_hash(7), tokens_per_block))));

    EXPECT_EQ(anew.block_id(), 1u);
    EXPECT_EQ(upgraded_id(weak), BlockId{1});
}

// Example 35, G14.
TEST(WeakBlock, keeps_the_entry_of_its_hash_after_eviction) {
    auto manager = make_manager({.block_count = 1});
    const auto& registry = manager.block_registry();
    std::optional weak = weak_of_cached(manager, root_hash(7));

    const auto evicting = allocate_one(manager);
    EXPECT_TRUE(registry.is_registered(root_hash(7)));
    EXPECT_EQ(registry.registered_count(), 1u);
    EXPECT_FALSE(is_present(registry, root_hash(7)));
    weak.reset();

    EXPECT_FALSE(registry.is_registered(root_hash(7)));
    EXPECT_EQ(registry.registered_count(), 0u);
}

// Example 36.
TEST(WeakBlock, upgrading_touches_nothing_and_counts_as_no_lookup) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto weak = weak_of_cached(manager, root_hash(7));
    watched.take_touches();
    MetricsWatch watch(manager);

    drop(weak.upgrade());

    EXPECT_EQ(watched.take_touches(), Hashes{});
    EXPECT_EQ(watch.moved(), "");
}

// G16: the store is there as long as somebody can reach a block of it.
TEST(WeakBlock, resurrects_a_cached_block_of_a_manager_that_is_gone) {
    std::optional manager = make_manager();
    const auto registry = manager->block_registry();
    std::optional weak = weak_of_cached(*manager, root_hash(7));

    manager.reset();
    EXPECT_TRUE(is_present(registry, root_hash(7)));
    auto block = weak->upgrade();
    ASSERT_TRUE(block.has_value());
    EXPECT_EQ(block->block_id(), 0u);
    weak.reset();
    EXPECT_EQ(block->sequence_hash(), root_hash(7));
    EXPECT_TRUE(is_present(registry, root_hash(7)));
    block.reset();

    EXPECT_FALSE(is_present(registry, root_hash(7)));
    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(WeakBlock, of_a_held_block_upgrades_after_the_manager_is_gone) {
    std::optional manager = make_manager();
    const auto block = register_one(*manager, root_hash(7));
    const auto weak = block.downgrade();

    manager.reset();

    EXPECT_EQ(upgraded_id(weak), BlockId{0});
    EXPECT_EQ(block.use_count(), 1u);
}

// The last one holds the store; dropping it ends the store and its presence.
TEST(WeakBlock, copies_and_moves_keep_the_store_until_the_last_is_gone) {
    std::optional manager = make_manager();
    const auto registry = manager->block_registry();
    std::optional weak = weak_of_cached(*manager, root_hash(7));
    std::optional copy = *weak;
    std::optional moved = std::move(*weak);
    manager.reset();

    EXPECT_FALSE(static_cast<bool>(*weak));
    weak.reset();
    EXPECT_TRUE(is_present(registry, root_hash(7)));
    copy.reset();
    EXPECT_TRUE(is_present(registry, root_hash(7)));
    EXPECT_EQ(upgraded_id(*moved), BlockId{0});
    moved.reset();

    EXPECT_FALSE(is_present(registry, root_hash(7)));
}

TEST(WeakBlock, assigned_from_another_is_a_second_one_of_its_block) {
    auto manager = make_manager();
    const auto of_seven = weak_of_cached(manager, root_hash(7));
    auto weak = weak_of_cached(manager, root_hash(8));

    weak = of_seven;

    EXPECT_EQ(weak.sequence_hash(), root_hash(7));
    EXPECT_EQ(upgraded_id(weak), upgraded_id(of_seven));
    EXPECT_EQ(of_seven.sequence_hash(), root_hash(7));
}

TEST(WeakBlock, assigned_over_lets_its_store_go) {
    std::optional first = make_manager();
    auto second = make_manager();
    const auto registry = first->block_registry();
    auto weak = weak_of_cached(*first, root_hash(7));
    first.reset();
    EXPECT_TRUE(is_present(registry, root_hash(7)));

    auto& self = weak;
    weak = self;
    weak = weak_of_cached(second, root_hash(8));

    EXPECT_FALSE(is_present(registry, root_hash(7)));
    EXPECT_EQ(weak.sequence_hash(), root_hash(8));
    EXPECT_EQ(upgraded_id(weak), BlockId{0});
}

}  // namespace
