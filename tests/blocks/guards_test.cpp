// The guards that own a block alone or share it: what they tell, what they become, and what
// dropping them does. blocks.md G1 to G13, G17, G18, examples 17 to 26.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

TokenBlock token_block(std::size_t block_size) {
    const std::vector<Token> tokens(block_size, 7);
    return TokenBlockSequence(tokens, block_size).blocks().front();
}

// G1.
TEST(MutableBlock, tells_its_id_its_size_and_its_manager) {
    auto manager = make_manager();
    const auto blocks = allocate(manager, 3);

    EXPECT_EQ(blocks[2].block_id(), 2u);
    EXPECT_EQ(blocks[2].block_size(), tokens_per_block);
    EXPECT_EQ(blocks[2].manager_id(), manager.id());
    EXPECT_TRUE(static_cast<bool>(blocks[2]));
}

// G5.
TEST(CompleteBlock, tells_its_id_its_size_its_hash_and_its_manager) {
    auto manager = make_manager();
    const auto block = stage_one(manager, root_hash(7));

    EXPECT_EQ(block.block_id(), 0u);
    EXPECT_EQ(block.block_size(), tokens_per_block);
    EXPECT_EQ(block.sequence_hash(), root_hash(7));
    EXPECT_EQ(block.manager_id(), manager.id());
    EXPECT_TRUE(static_cast<bool>(block));
}

// G8.
TEST(ImmutableBlock, tells_its_id_its_hash_its_entry_and_its_manager) {
    auto manager = make_manager();
    const auto block = register_one(manager, root_hash(7));
    auto registry = manager.block_registry();

    EXPECT_EQ(block.block_id(), 0u);
    EXPECT_EQ(block.sequence_hash(), root_hash(7));
    EXPECT_EQ(block.manager_id(), manager.id());
    EXPECT_EQ(block.registration_handle(), registry.match_sequence_hash(root_hash(7), Touch::no));
    EXPECT_FALSE(block.is_duplicate());
}

TEST(ImmutableBlock, a_handle_taken_from_it_keeps_the_entry) {
    auto manager = make_manager({.block_count = 1});
    std::optional<BlockRegistrationHandle> handle;
    {
        const auto block = register_one(manager, root_hash(7));
        handle = block.registration_handle();
    }

    const auto evicting = allocate_one(manager);

    EXPECT_TRUE(manager.block_registry().is_registered(root_hash(7)));
    EXPECT_FALSE(handle->has_block<DefaultTier>());
    handle.reset();
    EXPECT_FALSE(manager.block_registry().is_registered(root_hash(7)));
}

// G8: a duplicate is a block of its own.
TEST(ImmutableBlock, a_duplicate_has_its_own_id_and_the_hash_of_its_primary) {
    auto manager = make_manager();
    const auto [primary, duplicate] = register_twice(manager, root_hash(7));

    EXPECT_EQ(primary.block_id(), 0u);
    EXPECT_EQ(duplicate.block_id(), 1u);
    EXPECT_TRUE(duplicate.is_duplicate());
    EXPECT_FALSE(primary.is_duplicate());
    EXPECT_EQ(duplicate.sequence_hash(), root_hash(7));
    EXPECT_EQ(duplicate.registration_handle(), primary.registration_handle());
}

// Example 17, G4 and G7.
TEST(MutableBlock, dropped_goes_to_the_back_of_the_reset_pool) {
    auto manager = make_manager({.block_count = 4});
    auto block = allocate_one(manager);
    MetricsWatch watch(manager);

    drop(std::move(block));

    EXPECT_EQ(watch.moved(), "mutable -1, reset +1");
    EXPECT_EQ(take(manager, 4), (Ids{1, 2, 3, 0}));
}

TEST(CompleteBlock, dropped_goes_to_the_back_of_the_reset_pool_and_stays_counted_as_staged) {
    auto manager = make_manager({.block_count = 4});
    MetricsWatch watch(manager);
    auto block = stage_one(manager, root_hash(7));
    EXPECT_EQ(watch.moved(), "allocations +1, from_reset +1, stagings +1, reset -1");

    drop(std::move(block));

    EXPECT_EQ(watch.moved(), "reset +1");
    EXPECT_EQ(take(manager, 4), (Ids{1, 2, 3, 0}));
}

// Example 18, G2.
TEST(MutableBlock, staged_with_a_wrong_size_comes_back_as_it_was) {
    auto manager = make_manager();
    auto block = allocate_one(manager);
    MetricsWatch watch(manager);

    auto refused = std::move(block).stage(root_hash(7), 8);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().expected, 4u);
    EXPECT_EQ(refused.error().actual, 8u);
    EXPECT_EQ(refused.error().message(), "Block size mismatch: expected 4 tokens, got 8");
    EXPECT_EQ(refused.error().block.block_id(), 0u);
    EXPECT_FALSE(static_cast<bool>(block));
    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(states(manager), "MRRRRRRR");
    const auto staged = std::move(refused.error().block).stage(root_hash(7), tokens_per_block);
    ASSERT_TRUE(staged.has_value());
    EXPECT_EQ(staged->block_id(), 0u);
}

TEST(MutableBlock, in_an_error_that_is_dropped_is_dropped) {
    auto manager = make_manager({.block_count = 2});
    {
        const auto refused = allocate_one(manager).stage(root_hash(7), 8);
        EXPECT_EQ(states(manager), "MR");
    }

    EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
}

// Example 19, G3.
TEST(MutableBlock, completed_has_the_hash_of_the_token_block) {
    auto manager = make_manager();
    const auto tokens = token_block(tokens_per_block);

    const auto completed = allocate_one(manager).complete(tokens);

    ASSERT_TRUE(completed.has_value());
    EXPECT_EQ(completed->sequence_hash(), tokens.sequence_hash());
    EXPECT_EQ(sequence_hash_of(tokens), tokens.sequence_hash());
}

TEST(MutableBlock, completed_with_a_block_of_another_size_comes_back_as_it_was) {
    auto manager = make_manager();

    auto refused = allocate_one(manager).complete(token_block(2));

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().message(), "Block size mismatch: expected 4 tokens, got 2");
    EXPECT_EQ(refused.error().block.block_id(), 0u);
}

// G6.
TEST(CompleteBlock, reset_and_staged_again_has_the_second_hash) {
    auto manager = make_manager();
    auto staged = stage_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    auto block = std::move(staged).reset();
    EXPECT_EQ(watch.moved(), "mutable +1");
    const auto again = must(std::move(block).stage(root_hash(8), tokens_per_block));

    EXPECT_EQ(watch.moved(), "stagings +1, mutable -1");
    EXPECT_EQ(again.block_id(), 0u);
    EXPECT_EQ(again.sequence_hash(), root_hash(8));
    EXPECT_EQ(manager.metrics()->snapshot().stagings, 2u);
}

// Example 20, G5.
TEST(CompleteBlock, is_found_by_no_lookup_and_is_not_present) {
    auto manager = make_manager();
    const auto staged = stage_one(manager, root_hash(7));
    const Hashes hashes{root_hash(7)};

    EXPECT_TRUE(manager.match_blocks(hashes).empty());
    EXPECT_EQ(manager.match_blocks_scattered(hashes).hits(), 0u);
    EXPECT_TRUE(manager.scan_matches(hashes, Touch::yes).empty());
    EXPECT_FALSE(is_present(manager.block_registry(), root_hash(7)));
    EXPECT_FALSE(manager.block_registry().is_registered(root_hash(7)));
}

// Example 21, INV-G2: what a moved-from guard still can.
template <class Guard>
void expect_moved_from_guard_is_empty_and_can_be_assigned(Guard first, Guard second) {
    const BlockId id = first.block_id();
    Guard moved(std::move(first));
    EXPECT_FALSE(static_cast<bool>(first));
    EXPECT_TRUE(static_cast<bool>(moved));

    first = std::move(second);
    EXPECT_TRUE(static_cast<bool>(first));
    second = std::move(first);
    EXPECT_FALSE(static_cast<bool>(first));
    second = std::move(first);

    EXPECT_FALSE(static_cast<bool>(second));
    EXPECT_EQ(moved.block_id(), id);
}

TEST(MutableBlock, moved_from_can_be_tested_assigned_and_destroyed) {
    auto manager = make_manager();
    expect_moved_from_guard_is_empty_and_can_be_assigned(allocate_one(manager),
                                                         allocate_one(manager));
    EXPECT_EQ(states(manager), "RRRRRRRR");
}
TEST(CompleteBlock, moved_from_can_be_tested_assigned_and_destroyed) {
    auto manager = make_manager();
    expect_moved_from_guard_is_empty_and_can_be_assigned(stage_one(manager, root_hash(1)),
                                                         stage_one(manager, root_hash(2)));
    EXPECT_EQ(states(manager), "RRRRRRRR");
}
TEST(ImmutableBlock, moved_from_can_be_tested_assigned_and_destroyed) {
    auto manager = make_manager();
    expect_moved_from_guard_is_empty_and_can_be_assigned(register_one(manager, root_hash(1)),
                                                         register_one(manager, root_hash(2)));
    EXPECT_EQ(states(manager), "IIRRRRRR");
}
TEST(LifecyclePin, moved_from_can_be_tested_assigned_and_destroyed) {
    auto manager = make_manager();
    expect_moved_from_guard_is_empty_and_can_be_assigned(register_one(manager, root_hash(1)).pin(),
                                                         register_one(manager, root_hash(2)).pin());
    EXPECT_EQ(states(manager), "IIRRRRRR");
}

// INV-G1: a block is given back once, however its guard travels.
TEST(MutableBlock, assigned_to_itself_or_swapped_owns_the_same_block_once) {
    auto manager = make_manager({.block_count = 2});
    auto a = allocate_one(manager);
    auto b = allocate_one(manager);

    auto& self = a;
    a = std::move(self);
    std::swap(a, b);

    EXPECT_EQ(a.block_id(), 1u);
    EXPECT_EQ(b.block_id(), 0u);
    a = std::move(b);
    EXPECT_EQ(states(manager), "MR");
    drop(std::move(a));
    EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
}

TEST(ImmutableBlock, assigned_over_lets_its_block_go) {
    auto manager = make_manager();
    auto a = register_one(manager, root_hash(1));
    const auto b = register_one(manager, root_hash(2));

    auto& self = a;
    a = self;
    EXPECT_EQ(a.use_count(), 1u);
    a = b;

    EXPECT_EQ(a.block_id(), 1u);
    EXPECT_EQ(b.use_count(), 2u);
    EXPECT_EQ(states(manager), "IPRRRRRR");
}

// Example 23, G10.
TEST(ImmutableBlock, a_copy_is_one_more_reference_and_the_last_one_decides) {
    auto manager = make_manager();
    auto block = register_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    auto copy = block;
    EXPECT_EQ(block.use_count(), 2u);
    EXPECT_EQ(watch.moved(), "immutable +1");
    drop(std::move(block));
    EXPECT_EQ(copy.use_count(), 1u);
    EXPECT_EQ(watch.moved(), "immutable -1");
    EXPECT_EQ(states(manager), "PRRRRRRR");
    drop(std::move(copy));

    EXPECT_EQ(watch.moved(), "immutable -1, inactive +1");
    EXPECT_EQ(states(manager), "IRRRRRRR");
}

// Example 24, G9.
TEST(ImmutableBlock, use_count_has_guards_pins_and_for_a_primary_its_duplicates) {
    auto manager = make_manager();
    const auto [a, b] = register_twice(manager, root_hash(7));
    const auto c = register_one(manager, root_hash(7));

    EXPECT_EQ(a.use_count(), 3u);
    EXPECT_EQ(b.use_count(), 1u);
    EXPECT_EQ(c.use_count(), 1u);
    const auto pin = a.pin();
    EXPECT_EQ(a.use_count(), 4u);
    EXPECT_EQ(pin.use_count(), 4u);
    const auto copy = pin;

    EXPECT_EQ(a.use_count(), 5u);
    EXPECT_EQ(b.use_count(), 1u);
}

// G9: copies of a duplicate are its own; its primary has one keepalive.
TEST(ImmutableBlock, copies_of_a_duplicate_do_not_count_on_its_primary) {
    auto manager = make_manager();
    const auto [primary, duplicate] = register_twice(manager, root_hash(7));

    const auto copy = duplicate;
    const auto pin = duplicate.pin();

    EXPECT_EQ(duplicate.use_count(), 3u);
    EXPECT_EQ(primary.use_count(), 2u);
}

// G12.
TEST(ImmutableBlock, a_duplicate_keeps_its_primary_matchable) {
    auto manager = make_manager();
    auto [primary, duplicate] = register_twice(manager, root_hash(7));
    MetricsWatch watch(manager);

    drop(std::move(primary));

    EXPECT_EQ(watch.moved(), "immutable -1");
    EXPECT_EQ(states(manager), "PDRRRRRR");
    EXPECT_EQ(manager.match_blocks(only(root_hash(7))).block_ids(), Ids{0});
}

// G11: the duplicate's block is reset first, then its primary becomes inactive, or is reset.
TEST(ImmutableBlock, the_last_duplicate_goes_before_the_primary_it_kept) {
    auto manager = make_manager({.block_count = 4, .reset_on_release = true});
    auto [primary, duplicate] = register_twice(manager, root_hash(7));

    drop(std::move(primary));
    drop(std::move(duplicate));

    EXPECT_EQ(take(manager, 4), (Ids{2, 3, 1, 0}));
}

// Example 25, G17.
TEST(LifecyclePin, keeps_the_block_active_and_is_in_no_gauge) {
    auto manager = make_manager();
    auto block = register_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    auto pin = block.pin();
    EXPECT_EQ(watch.moved(), "");
    drop(std::move(block));
    EXPECT_EQ(watch.moved(), "immutable -1");
    EXPECT_EQ(manager.available_blocks(), 7u);
    EXPECT_EQ(states(manager), "PRRRRRRR");
    drop(std::move(pin));

    EXPECT_EQ(watch.moved(), "inactive +1");
    EXPECT_EQ(manager.available_blocks(), 8u);
}

TEST(LifecyclePin, tells_what_its_block_tells) {
    auto manager = make_manager();
    const auto block = register_one(manager, root_hash(7));
    const auto pin = block.pin();

    EXPECT_EQ(pin.block_id(), block.block_id());
    EXPECT_EQ(pin.sequence_hash(), root_hash(7));
    EXPECT_EQ(pin.manager_id(), manager.id());
    EXPECT_EQ(pin.registration_handle(), block.registration_handle());
    EXPECT_EQ(pin.use_count(), 2u);
}

TEST(LifecyclePin, of_a_duplicate_keeps_the_duplicate) {
    auto manager = make_manager();
    auto [primary, duplicate] = register_twice(manager, root_hash(7));

    const auto pin = duplicate.pin();
    drop(std::move(duplicate));
    drop(std::move(primary));

    EXPECT_EQ(pin.block_id(), 1u);
    EXPECT_EQ(states(manager), "PDRRRRRR");
}

// Example 26, G18.
TEST(LifecyclePin, equal_content_of_two_managers_differs_by_manager_only) {
    const auto registry = tracking_registry();
    auto device = make_manager<G1>({.registry = registry});
    auto host = make_manager<G2>({.registry = registry});

    const auto on_device = register_one(device, root_hash(7)).pin();
    const auto on_host = register_one(host, root_hash(7)).pin();

    EXPECT_EQ(on_device.sequence_hash(), on_host.sequence_hash());
    EXPECT_NE(on_device.manager_id(), on_host.manager_id());
    EXPECT_EQ(on_device.manager_id(), device.id());
    EXPECT_EQ(on_host.manager_id(), host.id());
}

// S1, S3: every block is in one state, and all states together are all blocks.
TEST(BlockManager, shows_each_block_in_its_state) {
    auto manager = make_manager({.block_count = 6});
    const auto [primary, duplicate] = register_twice(manager, root_hash(1));
    cache(manager, only(root_hash(2)));
    const auto staged = stage_one(manager, root_hash(3));
    const auto mutable_block = allocate_one(manager);

    EXPECT_EQ(states(manager), "PDISMR");
    const auto blocks = manager.inspect();
    EXPECT_EQ(blocks[0].references, 2u);
    EXPECT_EQ(blocks[1].references, 1u);
    EXPECT_EQ(blocks[2].hash, root_hash(2));
    EXPECT_EQ(blocks[3].hash, root_hash(3));
    EXPECT_EQ(blocks[4].hash, SequenceHash{});
    EXPECT_EQ(blocks[5].id, 5u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

}  // namespace
