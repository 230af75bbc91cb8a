// A manager dies while its guards live on other threads: they work as before, the store goes with
// the last of all of them, and nothing stays behind. Source: blocks.md 14, T15, L1, L3.
#include <cstddef>
#include <optional>
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;
using detail::core::Parking;

class Teardown : public testing::TestWithParam<bool> {
  protected:
    static std::optional<BlockManager<>> make(const BlockRegistry& registry) {
        return make_manager({.policy = Policy::lineage_tick, .blocks = 3}, registry, GetParam());
    }
    bool present() const { return registry_.check_presence<DefaultTier>({&hash_, 1})[0].second; }

    const SequenceHash hash_ = root_hash(1);
    BlockRegistry registry_;
    std::optional<BlockManager<>> manager_ = make(registry_);
};

TEST_P(Teardown, leaves_the_store_to_the_last_guard_that_goes_meanwhile) {
    std::optional<ImmutableBlock<>> block(register_hash(*manager_, hash_));
    Parking parking("blocks.close.unlocked");
    std::thread killer([&] { manager_.reset(); });
    parking.await();  // closed, not dead: a guard lives

    block.reset();
    EXPECT_EQ(registry_.registered_count(), 0u) << "the store is gone, and took its inactive block";
    parking.let_go();
    killer.join();

    EXPECT_FALSE(present());
}

TEST_P(Teardown, takes_the_store_from_a_drop_that_has_not_settled) {
    auto block = register_hash(*manager_, hash_);
    auto mutable_block = manager_->allocate_blocks(1);
    Parking parking("blocks.release.unlocked");
    std::thread dropper([mine = std::move(block)]() mutable { const auto gone = std::move(mine); });
    parking.await();

    manager_.reset();
    mutable_block.reset();  // the last of all
    parking.let_go();
    dropper.join();

    EXPECT_EQ(registry_.registered_count(), 0u);
}

TEST_P(Teardown, waits_for_weak_blocks) {
    const auto metrics = manager_->metrics();
    std::optional<ImmutableBlock<>> block(register_hash(*manager_, hash_));
    std::optional<WeakBlock<>> weak(block->downgrade());
    std::optional<WeakBlock<>> other(*weak);
    manager_.reset();
    Parking parking("blocks.weak.unlocked");
    std::thread dropper([&] { weak.reset(); });
    parking.await();

    EXPECT_EQ(other->upgrade()->block_id(), block->block_id());
    block.reset();
    EXPECT_EQ(other->upgrade().has_value(), !GetParam()) << "cached unless it resets on release";
    other.reset();
    EXPECT_EQ(registry_.registered_count(), 1u) << "the parked weak block's handle";
    parking.let_go();
    dropper.join();

    EXPECT_EQ(registry_.registered_count(), 0u);
    EXPECT_EQ(metrics->snapshot().inflight_immutable, 0);
}

TEST_P(Teardown, of_the_registry_too_leaves_guards_working) {
    std::optional<ImmutableBlock<>> block(register_hash(*manager_, hash_));
    const ImmutableBlock<> copy = *block;
    Parking parking("registry.entry.dying");
    manager_.reset();
    registry_ = BlockRegistry();
    std::thread dropper([&] { block.reset(); });
    dropper.join();

    EXPECT_EQ(copy.use_count(), 1u);
    EXPECT_TRUE(copy.registration_handle().has_block<DefaultTier>());
    EXPECT_EQ(parking.arrivals(), 0u) << "the entry lives";
}

TEST_P(Teardown, of_the_registry_ends_with_the_entry_that_dies_last) {
    std::optional<ImmutableBlock<>> block(register_hash(*manager_, hash_));
    static_cast<void>(block->registration_handle());  // makes the entry, which the block keeps
    manager_.reset();
    registry_ = BlockRegistry();
    Parking parking("registry.entry.dying");
    std::thread dropper([&] { block.reset(); });
    parking.await();
    parking.let_go();
    dropper.join();

    EXPECT_EQ(parking.arrivals(), 1u);
}

TEST_P(Teardown, of_a_moved_manager_disturbs_no_guard) {
    auto block = register_hash(*manager_, hash_);
    Parking parking("blocks.release.last");
    std::thread dropper([mine = std::move(block)]() mutable { const auto gone = std::move(mine); });
    parking.await();

    BlockManager<> moved = std::move(*manager_);
    manager_.reset();
    parking.let_go();
    dropper.join();

    EXPECT_EQ(moved.available_blocks(), 3u);
    EXPECT_EQ(moved.match_blocks({&hash_, 1}).size(), GetParam() ? 0u : 1u);
}

INSTANTIATE_TEST_SUITE_P(ResetOnRelease, Teardown, testing::Bool());

}  // namespace
