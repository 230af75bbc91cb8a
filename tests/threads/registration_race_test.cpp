// Registrations, evictions and the ends of registry entries meet on one hash: one primary, exact
// presence, and the newest entry stays reachable. Source: blocks.md 14, T7, T8, T9, T11; K12, G15.
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;
using detail::core::Parking;

struct Case {
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    bool flag = false;
    bool shared = false;  ///< the registry has a second manager
};

class RegistrationRace : public testing::TestWithParam<Case> {
  protected:
    bool present() const { return registry_.check_presence<DefaultTier>({&hash_, 1})[0].second; }
    bool shared() const { return GetParam().shared; }
    bool allows() const { return GetParam().duplication == BlockDuplicationPolicy::allow; }
    /// Registers the hash on a thread of its own.
    std::thread register_on_a_thread(std::optional<ImmutableBlock<>>& result) {
        return std::thread([&, block = stage(manager_, hash_)]() mutable {
            result.emplace(std::move(*manager_.register_block(std::move(block))));
        });
    }
    /// With all guards gone nothing is left in use, and after a drain nothing is known.
    void expect_nothing_left() {
        EXPECT_EQ(manager_.check_invariants().to_string(), "");
        EXPECT_EQ(manager_.available_blocks(), manager_.total_blocks());
        EXPECT_EQ(present(), !GetParam().flag);
        EXPECT_TRUE(manager_.reset_inactive_pool().has_value());
        EXPECT_FALSE(present());
        EXPECT_EQ(registry_.registered_count(), 0u);
        EXPECT_EQ(manager_.metrics()->snapshot().inflight_immutable, 0);
    }

    const SequenceHash hash_ = root_hash(1);
    BlockRegistry registry_;
    BlockManager<> manager_ = make_manager({.duplication = GetParam().duplication, .blocks = 4},
                                           registry_, GetParam().flag);
    std::optional<BlockManager<>> second_ =
        shared() ? std::optional(make_manager({.blocks = 1}, registry_, false)) : std::nullopt;
};

TEST_P(RegistrationRace, lost_between_entry_and_store_is_the_duplicate_of_the_winner) {
    std::optional<ImmutableBlock<>> late;
    Parking parking("blocks.register.entered");
    auto other = register_on_a_thread(late);
    parking.await();

    std::optional<ImmutableBlock<>> winner(register_hash(manager_, hash_));
    parking.let_go();
    other.join();

    EXPECT_FALSE(winner->is_duplicate());
    EXPECT_EQ(late->is_duplicate(), allows());
    EXPECT_EQ(late->block_id() == winner->block_id(), !allows());
    EXPECT_EQ(winner->use_count(), 2u);
    EXPECT_TRUE(present());
    const auto snapshot = manager_.metrics()->snapshot();
    EXPECT_EQ(snapshot.registrations, 2u);
    EXPECT_EQ(snapshot.duplicate_blocks, allows() ? 1u : 0u);
    EXPECT_EQ(snapshot.registration_dedup, allows() ? 0u : 1u);
    winner.reset();
    EXPECT_EQ(manager_.match_blocks({&hash_, 1}).size(), 1u);
    late.reset();
    expect_nothing_left();
}

TEST_P(RegistrationRace, won_before_its_presence_is_found_by_the_other) {
    std::optional<ImmutableBlock<>> winner;
    Parking parking("blocks.register.unlocked");
    auto other = register_on_a_thread(winner);
    parking.await();  // in the store; in a shared registry not yet present

    EXPECT_EQ(present(), !shared());
    EXPECT_EQ(manager_.match_blocks({&hash_, 1}).size(), 1u);
    EXPECT_EQ(manager_.check_invariants().to_string(), "") << "presence may lag meanwhile";
    std::optional<ImmutableBlock<>> late(register_hash(manager_, hash_));
    EXPECT_EQ(late->is_duplicate(), allows());
    EXPECT_EQ(present(), allows() || !shared());
    late.reset();
    parking.let_go();
    other.join();

    EXPECT_TRUE(present());
    winner.reset();
    expect_nothing_left();
}

TEST_P(RegistrationRace, does_not_count_before_its_block_can_be_found) {
    std::optional<ImmutableBlock<>> registered;
    Parking parking("blocks.register.unlocked");
    auto other = register_on_a_thread(registered);
    parking.await();

    EXPECT_EQ(manager_.metrics()->snapshot().registrations, 0u);
    EXPECT_EQ(manager_.match_blocks({&hash_, 1}).size(), 1u);
    parking.let_go();
    other.join();

    EXPECT_EQ(manager_.metrics()->snapshot().registrations, 1u);
    registered.reset();
    expect_nothing_left();
}

TEST_P(RegistrationRace, meets_the_eviction_of_the_same_hash_whose_presence_is_pending) {
    {
        auto old = register_hash(manager_, hash_);
        old.set_evict_on_reset(false);
    }
    Parking parking("blocks.allocate.unlocked");
    std::optional<MutableBlockList<>> all;
    std::thread evictor([&] { all = manager_.allocate_blocks(4); });
    parking.await();  // evicted; in a shared registry still present

    EXPECT_EQ(present(), shared());
    EXPECT_EQ(manager_.match_blocks({&hash_, 1}).size(), 0u);
    auto other = make_manager({.blocks = 1}, registry_, false);
    std::optional<ImmutableBlock<>> block(register_hash(other, hash_));
    parking.let_go();
    evictor.join();

    EXPECT_TRUE(present());
    EXPECT_EQ(registry_.registered_count(), 1u);
    all.reset();
    block.reset();
    EXPECT_TRUE(other.reset_inactive_pool().has_value());
    EXPECT_FALSE(present());
    EXPECT_EQ(registry_.registered_count(), 0u);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
}

TEST_P(RegistrationRace, with_its_entry_already_held_survives_the_eviction_of_the_old_block) {
    auto old = register_hash(manager_, hash_);
    old.set_evict_on_reset(false);
    auto staged = stage(manager_, hash_);
    auto rest = manager_.allocate_blocks(2);
    {
        const auto inactive = std::move(old);
    }
    Parking parking("blocks.register.entered");
    std::optional<ImmutableBlock<>> block;
    std::thread other(
        [&] { block.emplace(std::move(*manager_.register_block(std::move(staged)))); });
    parking.await();

    auto evicted = manager_.allocate_blocks_with_evictions(1);
    EXPECT_EQ(evicted->evicted.size(), 1u);
    EXPECT_FALSE(present());
    EXPECT_EQ(registry_.registered_count(), shared() ? 1u : 0u);
    parking.let_go();
    other.join();

    EXPECT_FALSE(block->is_duplicate());
    EXPECT_TRUE(present());
    EXPECT_TRUE(registry_.is_registered(hash_));
    evicted.reset();
    rest.reset();
    block.reset();
    expect_nothing_left();
}

TEST_P(RegistrationRace, meets_a_drain_whose_presence_is_pending) {
    {
        auto old = register_hash(manager_, hash_);
        old.set_evict_on_reset(false);
    }
    Parking parking("blocks.reset_inactive.unlocked");
    std::thread drainer([&] { EXPECT_TRUE(manager_.reset_inactive_pool().has_value()); });
    parking.await();

    std::optional<ImmutableBlock<>> block(register_hash(manager_, hash_));
    EXPECT_FALSE(block->is_duplicate());
    parking.let_go();
    drainer.join();

    EXPECT_TRUE(present());
    block.reset();
    expect_nothing_left();
}

TEST_P(RegistrationRace, of_two_allocators_for_the_last_blocks_is_won_by_one) {
    Parking parking("blocks.allocate.unlocked");
    std::optional<MutableBlockList<>> first;
    std::thread other([&] { first = manager_.allocate_blocks(3); });
    parking.await();

    EXPECT_FALSE(manager_.allocate_blocks(2).has_value());
    EXPECT_EQ(manager_.available_blocks(), 1u);
    EXPECT_TRUE(manager_.allocate_blocks(1).has_value());
    parking.let_go();
    other.join();

    EXPECT_EQ(first->size(), 3u);
    EXPECT_EQ(manager_.metrics()->snapshot().allocations, 4u);
    EXPECT_EQ(manager_.metrics()->snapshot().allocate_atomic_rollback_total, 0u);
    first.reset();
    EXPECT_EQ(manager_.available_blocks(), 4u);
}

TEST_P(RegistrationRace, of_a_dying_entry_makes_a_new_one_that_the_late_burial_leaves) {
    std::optional<BlockRegistrationHandle> old(registry_.register_sequence_hash(hash_));
    Parking parking("registry.entry.dying");
    std::thread other([&] { old.reset(); });
    parking.await();  // no handle is left, the table still has the entry

    EXPECT_FALSE(registry_.is_registered(hash_));
    EXPECT_FALSE(registry_.match_sequence_hash(hash_, Touch::no).has_value());
    std::optional<ImmutableBlock<>> block(register_hash(manager_, hash_));
    EXPECT_TRUE(registry_.is_registered(hash_));
    parking.let_go();
    other.join();

    EXPECT_TRUE(registry_.is_registered(hash_));
    EXPECT_EQ(registry_.registered_count(), 1u);
    EXPECT_TRUE(present());
    EXPECT_TRUE(registry_.match_sequence_hash(hash_, Touch::no) == block->registration_handle());
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    block.reset();
    expect_nothing_left();
}

// Only where somebody is told of it does an evicted entry die outside the lock of the table.
TEST_P(RegistrationRace, of_an_entry_that_dies_by_eviction_makes_a_new_one) {
    const auto registry =
        BlockRegistry::builder().event_manager(EventsManager::builder().build()).build();
    auto manager = make_manager({.duplication = GetParam().duplication, .blocks = 4}, registry,
                                GetParam().flag);
    {
        auto old = register_hash(manager, hash_);
        old.set_evict_on_reset(false);
    }
    Parking parking("registry.entry.dying");
    std::optional<MutableBlockList<>> blocks;
    std::thread evictor([&] { blocks = manager.allocate_blocks(4); });
    parking.await();

    std::optional<BlockRegistrationHandle> handle(
        BlockRegistry(registry).transfer_registration(hash_));
    EXPECT_FALSE(handle->has_block<DefaultTier>());
    parking.let_go();
    evictor.join();

    EXPECT_TRUE(registry.is_registered(hash_));
    EXPECT_EQ(registry.registered_count(), 1u);
    handle.reset();
    EXPECT_EQ(registry.registered_count(), 0u);
    blocks.reset();
    EXPECT_EQ(manager.available_blocks(), 4u);
}

TEST_P(RegistrationRace, of_an_evicted_block_that_comes_before_its_burial_keeps_the_entry) {
    {
        auto old = register_hash(manager_, hash_);
        old.set_evict_on_reset(false);
    }
    Parking parking("blocks.allocate.unlocked");
    std::optional<MutableBlockList<>> blocks;
    std::thread evictor([&] { blocks = manager_.allocate_blocks(4); });
    parking.await();

    std::optional<BlockRegistrationHandle> handle(registry_.transfer_registration(hash_));
    EXPECT_EQ(handle->has_block<DefaultTier>(), shared()) << "presence follows";
    parking.let_go();
    evictor.join();

    EXPECT_TRUE(registry_.is_registered(hash_));
    EXPECT_FALSE(handle->has_block<DefaultTier>());
    handle.reset();
    EXPECT_EQ(registry_.registered_count(), 0u);
    blocks.reset();
    EXPECT_EQ(manager_.available_blocks(), 4u);
}

TEST_P(RegistrationRace, of_an_entry_that_died_twice_leaves_the_third) {
    std::optional<BlockRegistrationHandle> first(registry_.register_sequence_hash(hash_));
    Parking first_parking("registry.entry.dying");
    std::thread one([&] { first.reset(); });
    first_parking.await();
    std::optional<BlockRegistrationHandle> second(registry_.register_sequence_hash(hash_));
    Parking second_parking("registry.entry.dying");
    std::thread two([&] { second.reset(); });
    second_parking.await();

    const auto third = registry_.register_sequence_hash(hash_);
    first_parking.let_go();
    one.join();
    EXPECT_TRUE(registry_.is_registered(hash_));
    second_parking.let_go();
    two.join();

    EXPECT_TRUE(registry_.is_registered(hash_));
    EXPECT_EQ(registry_.registered_count(), 1u);
    EXPECT_TRUE(registry_.match_sequence_hash(hash_, Touch::no) == third);
}

TEST_P(RegistrationRace, of_an_upgrade_with_an_eviction_gives_nothing_or_the_newer_block) {
    std::optional<WeakBlock<>> weak;
    {
        auto old = register_hash(manager_, hash_);
        old.set_evict_on_reset(false);
        weak.emplace(old.downgrade());
    }
    Parking parking("blocks.allocate.unlocked");
    std::optional<MutableBlockList<>> blocks;
    std::thread evictor([&] { blocks = manager_.allocate_blocks(4); });
    parking.await();

    EXPECT_FALSE(weak->upgrade().has_value());
    EXPECT_TRUE(registry_.is_registered(hash_));
    parking.let_go();
    evictor.join();
    EXPECT_FALSE(present());
    auto newer = std::move(*blocks->pop_back().stage(hash_, 4));
    std::optional<ImmutableBlock<>> block(std::move(*manager_.register_block(std::move(newer))));
    auto upgraded = weak->upgrade();

    EXPECT_EQ(upgraded->block_id(), block->block_id());
    upgraded.reset();
    block.reset();
    blocks.reset();
    weak.reset();
    expect_nothing_left();
}

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const auto duplication : {BlockDuplicationPolicy::allow, BlockDuplicationPolicy::reject}) {
        for (const bool flag : {false, true}) {
            cases.push_back({duplication, flag, false});
            cases.push_back({duplication, flag, true});
        }
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Duplication, RegistrationRace, testing::ValuesIn(all_cases()));

}  // namespace
