// The manager as an object: moving it, its death before or after that of its guards and its
// registry, and presence afterwards. blocks.md L1 to L3, V12.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

// Every kind of guard on blocks of one manager.
struct Guards {
    MutableBlock<> owned;
    CompleteBlock<> staged;
    ImmutableBlock<> primary;
    ImmutableBlock<> duplicate;
    LifecyclePin pin;
    WeakBlock<> weak;

    explicit Guards(BlockManager<>& manager)
        : owned(allocate_one(manager)),
          staged(stage_one(manager, root_hash(1))),
          primary(register_one(manager, root_hash(2))),
          duplicate(register_one(manager, root_hash(2))),
          pin(register_one(manager, root_hash(3)).pin()),
          weak(register_one(manager, root_hash(4)).downgrade()) {}
};

// L1: moving disturbs no guard.
TEST(BlockManager, moved_keeps_its_id_its_guards_and_its_numbers) {
    auto first = make_manager();
    const auto id = first.id();
    const auto metrics = first.metrics();
    Guards guards(first);

    auto second = std::move(first);

    EXPECT_EQ(second.id(), id);
    EXPECT_EQ(second.metrics(), metrics);
    EXPECT_EQ(guards.owned.manager_id(), id);
    EXPECT_EQ(states(second), "MSPDPIRR");
    const auto registered = must(second.register_block(std::move(guards.staged)));
    EXPECT_EQ(registered.block_id(), 1u);
    EXPECT_EQ(second.check_invariants().to_string(), "");
}

TEST(BlockManager, assigned_over_ends_the_one_before) {
    auto first = make_manager();
    const auto old_registry = first.block_registry();
    cache(first, roots(1));
    auto second = make_manager();
    const auto id = second.id();
    const auto held = register_one(second, root_hash(2));

    first = std::move(second);

    EXPECT_FALSE(is_present(old_registry, root_hash(1)));
    EXPECT_EQ(first.id(), id);
    EXPECT_EQ(first.match_blocks(only(root_hash(2))).size(), 1u);
    auto& self = first;
    first = std::move(self);
    EXPECT_EQ(first.id(), id);
}

// L1, INV-G6: they work as before.
TEST(BlockManager, guards_work_after_it_is_gone) {
    std::optional manager = make_manager();
    const auto id = manager->id();
    const auto registry = manager->block_registry();
    std::optional<Guards> guards(*manager);

    manager.reset();

    EXPECT_EQ(guards->owned.block_id(), 0u);
    EXPECT_EQ(guards->owned.block_size(), tokens_per_block);
    EXPECT_EQ(guards->owned.manager_id(), id);
    EXPECT_EQ(guards->primary.use_count(), 2u);
    EXPECT_EQ(guards->pin.sequence_hash(), root_hash(3));
    EXPECT_EQ(ImmutableBlock<>(guards->primary).block_id(), 2u);
    EXPECT_EQ(guards->weak.upgrade()->block_id(), 5u);
    guards->staged = must(std::move(guards->owned).stage(root_hash(9), tokens_per_block));
    EXPECT_EQ(guards->staged.sequence_hash(), root_hash(9));
    EXPECT_EQ(std::move(guards->staged).reset().block_id(), 0u);
    for (std::uint64_t content = 2; content <= 4; ++content) {
        EXPECT_TRUE(is_present(registry, root_hash(content)));
    }
    guards.reset();

    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockManager, lists_work_after_it_is_gone) {
    std::optional manager = make_manager();
    const auto registry = manager->block_registry();
    auto owned = allocate(*manager, 2);
    auto registered = register_all(*manager, roots(3));
    const auto found = manager->match_blocks_scattered(roots(2));
    auto scanned = manager->scan_matches(roots(3), Touch::no);

    manager.reset();

    auto staged = must(std::move(owned).stage_all(roots(2, 10), tokens_per_block));
    EXPECT_EQ(std::move(staged).reset_all().block_ids(), (Ids{0, 1}));
    EXPECT_EQ(found[1]->block_id(), 3u);
    EXPECT_EQ(std::move(scanned).take_blocks().size(), 3u);
    const auto clone = registered.clone();
    registered.clear(ReleaseOrder::leaf_first);
    EXPECT_EQ(clone[0].use_count(), 2u);
    EXPECT_TRUE(is_present(registry, root_hash(1)));
}

// L1: the store, and with it what is cached, goes with the last guard of any kind.
TEST(BlockManager, the_last_guard_takes_the_cached_blocks_with_it) {
    const auto ends_with = [](auto make_guard) {
        std::optional manager = make_manager();
        const auto registry = manager->block_registry();
        cache(*manager, roots(1));
        std::optional guard = make_guard(*manager);
        manager.reset();
        const bool before = is_present(registry, root_hash(1));
        guard.reset();
        return before && !is_present(registry, root_hash(1)) && registry.registered_count() == 0;
    };

    EXPECT_TRUE(ends_with([](auto& m) { return allocate_one(m); }));
    EXPECT_TRUE(ends_with([](auto& m) { return stage_one(m, root_hash(7)); }));
    EXPECT_TRUE(ends_with([](auto& m) { return register_one(m, root_hash(7)); }));
    EXPECT_TRUE(ends_with([](auto& m) { return register_one(m, root_hash(7)).pin(); }));
    EXPECT_TRUE(ends_with([](auto& m) { return register_one(m, root_hash(7)).downgrade(); }));
    EXPECT_TRUE(ends_with([](auto& m) { return allocate(m, 3); }));
    EXPECT_TRUE(ends_with([](auto& m) { return stage(m, roots(3, 7)); }));
    EXPECT_TRUE(ends_with([](auto& m) { return register_all(m, roots(3, 7)); }));
    EXPECT_TRUE(ends_with([](auto& m) { return m.match_blocks_scattered(roots(2)); }));
    EXPECT_TRUE(ends_with([](auto& m) { return m.scan_matches(roots(2), Touch::no); }));
}

// L3: the parent of this library forgets this.
TEST(BlockManager, dying_gives_up_the_presence_of_its_cached_blocks) {
    const auto registry = tracking_registry();
    std::optional device = make_manager<G1>({.registry = registry});
    auto host = make_manager<G2>({.registry = registry});
    cache(*device, roots(2));
    const auto on_host = register_one(host, root_hash(1));
    EXPECT_TRUE(is_present<G1>(registry, root_hash(1)));

    device.reset();

    EXPECT_FALSE(is_present<G1>(registry, root_hash(1)));
    EXPECT_TRUE(is_present<G2>(registry, root_hash(1)));
    EXPECT_TRUE(registry.is_registered(root_hash(1)));
    EXPECT_FALSE(registry.is_registered(root_hash(2)));
}

// A primary kept by its duplicate, and a flagged block, end as they would have with the manager.
TEST(BlockManager, blocks_released_after_its_death_give_up_their_presence_once) {
    std::optional manager = make_manager();
    const auto registry = manager->block_registry();
    auto [primary, duplicate] = register_twice(*manager, root_hash(7));
    const auto handle = primary.registration_handle();
    primary.set_evict_on_reset(true);
    manager.reset();

    drop(std::move(primary));
    EXPECT_TRUE(handle.has_block<DefaultTier>());
    drop(std::move(duplicate));

    EXPECT_FALSE(handle.has_block<DefaultTier>());
    EXPECT_EQ(registry.registered_count(), 1u);
}

// L2: a manager and its guards keep what they need of the registry.
TEST(BlockManager, guards_outlive_the_registry_object_and_the_manager) {
    std::optional registry = tracking_registry();
    std::optional manager = make_manager({.registry = registry});
    auto block = register_one(*manager, root_hash(7));
    std::optional handle = block.registration_handle();
    registry.reset();
    manager.reset();

    EXPECT_EQ(block.sequence_hash(), root_hash(7));
    EXPECT_EQ(block.registration_handle(), *handle);
    EXPECT_TRUE(handle->has_block<DefaultTier>());
    drop(std::move(block));

    EXPECT_FALSE(handle->has_block<DefaultTier>());
}

// The last reference to anything is that of a weak block.
TEST(BlockManager, a_weak_block_outlives_registry_and_manager_and_can_still_upgrade) {
    std::optional registry = tracking_registry();
    std::optional manager = make_manager({.registry = registry});
    auto weak = register_one(*manager, root_hash(7)).downgrade();
    registry.reset();
    manager.reset();

    EXPECT_EQ(weak.sequence_hash(), root_hash(7));
    auto block = weak.upgrade();
    ASSERT_TRUE(block.has_value());
    drop(std::move(weak));

    EXPECT_EQ(block->registration_handle().seq_hash(), root_hash(7));
}

// INV-E5: whatever dies first. Each order is one permutation of the five.
TEST(BlockManager, guards_weak_blocks_pins_handles_and_manager_die_in_any_order) {
    std::vector<int> order{0, 1, 2, 3, 4};
    do {
        auto registry = tracking_registry();
        std::optional manager = make_manager({.registry = registry});
        cache(*manager, roots(2, 10));
        std::optional block = register_one(*manager, root_hash(7));
        std::optional pin = register_one(*manager, root_hash(8)).pin();
        std::optional weak = register_one(*manager, root_hash(9)).downgrade();
        std::optional handle = registry.register_sequence_hash(root_hash(9));
        for (const int who : order) {
            switch (who) {
                case 0:
                    manager.reset();
                    break;
                case 1:
                    block.reset();
                    break;
                case 2:
                    pin.reset();
                    break;
                case 3:
                    weak.reset();
                    break;
                default:
                    handle.reset();
            }
        }
        ASSERT_EQ(registry.registered_count(), 0u);
    } while (std::ranges::next_permutation(order).found);
}

// V12.
TEST(ManagerId, is_a_number_that_can_be_compared_and_hashed) {
    const auto first = make_manager();
    const auto second = make_manager();

    EXPECT_LT(first.id(), second.id());
    EXPECT_NE(std::hash<ManagerId>{}(first.id()), std::hash<ManagerId>{}(second.id()));
}

// K1, A6: what a manager was built with.
TEST(BlockManager, tells_what_it_was_built_with) {
    const auto registry = tracking_registry();
    const auto manager = make_manager(
        {.block_count = 5, .duplication = BlockDuplicationPolicy::reject, .registry = registry});

    EXPECT_EQ(manager.total_blocks(), 5u);
    EXPECT_EQ(manager.block_size(), tokens_per_block);
    EXPECT_EQ(manager.duplication_policy(), BlockDuplicationPolicy::reject);
    EXPECT_EQ(manager.block_registry(), registry);
}

}  // namespace
