// The last reference to a block goes while somebody asks for its hash, or drops another one: the
// block has one owner at most, is given back exactly once, and its flag survives. Source: blocks.md
// 14, T6, T10, T12, T13.
#include <array>
#include <cstddef>
#include <functional>
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

/// What a thread does with a guard that it alone has: drops it.
template <class Guard>
std::thread drop_on_a_thread(Guard&& guard) {
    return std::thread([mine = std::move(guard)]() mutable { const auto gone = std::move(mine); });
}

BlockState state_of(const BlockManager<>& manager, BlockId id) {
    return manager.inspect()[id].state;
}

struct Case {
    Policy policy = Policy::lru;
    bool flag = false;
    bool shared = false;  ///< the registry has a second manager
};

class LastDrop : public testing::TestWithParam<Case> {
  protected:
    LastDrop()
        : manager_(make_manager({.policy = GetParam().policy, .blocks = 3}, registry(), false)) {
        if (GetParam().shared) {
            second_.emplace(make_manager({.blocks = 1}, manager_.block_registry(), false));
        }
    }

    static BlockRegistry registry() {
        return BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build();
    }
    /// Block 0 under the hash, with the flag of the case.
    ImmutableBlock<> make_block() {
        auto block = register_hash(manager_, hash_);
        block.set_evict_on_reset(GetParam().flag);
        return block;
    }
    /// The block went where its flag says, once.
    void expect_given_back() {
        EXPECT_EQ(manager_.check_invariants().to_string(), "");
        EXPECT_EQ(manager_.available_blocks(), 3u);
        EXPECT_EQ(state_of(manager_, 0),
                  GetParam().flag ? BlockState::reset : BlockState::inactive);
        EXPECT_EQ(manager_.metrics()->snapshot().inflight_immutable, 0);
        EXPECT_EQ(presence(), !GetParam().flag);
    }
    bool presence() {
        return manager_.block_registry().check_presence<DefaultTier>({&hash_, 1})[0].second;
    }
    std::pair<std::uint64_t, std::uint64_t> revivals() {
        const auto snapshot = manager_.metrics()->snapshot();
        return {snapshot.eager_primary_to_inactive_total, snapshot.release_primary_noop_total};
    }

    const SequenceHash hash_ = root_hash(1);
    BlockManager<> manager_;
    std::optional<BlockManager<>> second_;
};

using Revivals = std::pair<std::uint64_t, std::uint64_t>;

TEST_P(LastDrop, that_comes_first_decides_by_the_flag_what_a_lookup_finds) {
    {
        const auto dropped = make_block();
    }

    auto found = manager_.match_blocks({&hash_, 1});

    EXPECT_EQ(found.size(), GetParam().flag ? 0u : 1u);
    found.clear();
    expect_given_back();
    EXPECT_EQ(revivals(), Revivals(0, 0));
}

TEST_P(LastDrop, that_comes_late_leaves_the_block_to_the_lookup_and_the_flag_to_the_next_drop) {
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(make_block());
    parking.await();

    auto found = manager_.match_blocks({&hash_, 1});
    parking.let_go();
    dropper.join();

    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].block_id(), 0u);
    EXPECT_EQ(found[0].use_count(), 1u);
    EXPECT_EQ(state_of(manager_, 0), BlockState::primary);
    EXPECT_EQ(manager_.available_blocks(), 2u);
    EXPECT_EQ(revivals(), Revivals(1, 1));
    found.clear();
    expect_given_back();
    EXPECT_EQ(revivals(), Revivals(1, 1)) << "later drops add nothing";
}

TEST_P(LastDrop, of_a_pin_is_superseded_as_that_of_a_guard) {
    auto block = make_block();
    LifecyclePin pin = block.pin();
    {
        const auto gone = std::move(block);
    }
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(pin));
    parking.await();

    auto found = manager_.match_blocks({&hash_, 1});
    parking.let_go();
    dropper.join();

    EXPECT_EQ(revivals(), Revivals(1, 1));
    found.clear();
    expect_given_back();
}

TEST_P(LastDrop, is_superseded_by_every_way_to_ask_for_the_hash) {
    auto first = make_block();
    const WeakBlock<> weak = first.downgrade();
    std::optional<ImmutableBlock<>> block(std::move(first));
    const std::vector<std::function<ImmutableBlockList<>()>> ways{
        [&] {
            ImmutableBlockList<> found;
            manager_.match_blocks_into({&hash_, 1}, found);
            return found;
        },
        [&] { return manager_.match_blocks_scattered({&hash_, 1}).take_hits(); },
        [&] { return manager_.scan_matches({&hash_, 1}, Touch::yes).take_blocks(); },
        [&] {
            ImmutableBlockList<> found;
            found.push_back(std::move(*weak.upgrade()));
            return found;
        },
    };
    for (std::size_t i = 0; i < ways.size(); ++i) {
        Parking parking("blocks.release.last");
        auto dropper = drop_on_a_thread(std::move(*block));
        parking.await();
        auto found = ways[i]();
        parking.let_go();
        dropper.join();

        ASSERT_EQ(found.size(), 1u) << i;
        EXPECT_EQ(found[0].use_count(), 1u) << i;
        EXPECT_EQ(revivals(), Revivals(i + 1, i + 1)) << i;
        block.emplace(found.pop_back());
    }
    block.reset();
    expect_given_back();
}

TEST_P(LastDrop, is_superseded_by_a_registration_whose_duplicate_holds_the_block) {
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(make_block());
    parking.await();

    std::optional<ImmutableBlock<>> duplicate(register_hash(manager_, hash_));
    parking.let_go();
    dropper.join();

    EXPECT_TRUE(duplicate->is_duplicate());
    EXPECT_EQ(state_of(manager_, 0), BlockState::primary);
    EXPECT_EQ(revivals(), Revivals(1, 1));
    duplicate.reset();
    expect_given_back();
}

TEST_P(LastDrop, of_a_list_that_meets_a_single_drop_gives_the_block_back) {
    auto block = make_block();
    ImmutableBlockList<> list;
    list.push_back(ImmutableBlock<>(block));
    Parking parking("blocks.drop.counted");
    std::thread lister([&] { list.clear(); });
    parking.await();

    {
        const auto dropped = std::move(block);
    }
    parking.let_go();
    lister.join();

    expect_given_back();
}

TEST_P(LastDrop, of_a_duplicate_that_meets_one_of_its_primary_gives_both_back) {
    auto primary = make_block();
    auto duplicate = register_hash(manager_, hash_);
    ImmutableBlock<> copy = primary;
    ImmutableBlockList<> list;
    list.push_back(std::move(primary));
    list.clear();
    Parking parking("blocks.drop.counted");
    auto dropper = drop_on_a_thread(std::move(duplicate));
    parking.await();  // the duplicate is reset; two references on the primary were counted

    {
        const auto dropped = std::move(copy);
    }
    parking.let_go();
    dropper.join();

    expect_given_back();
}

TEST_P(LastDrop, that_was_none_when_it_began_is_not_superseded) {
    auto block = make_block();
    auto found = manager_.match_blocks({&hash_, 1});
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(block));
    parking.await();

    auto more = manager_.match_blocks({&hash_, 1});
    parking.let_go();
    dropper.join();

    EXPECT_EQ(revivals(), Revivals(0, 0));
    EXPECT_EQ(found[0].use_count(), 2u);
    found.clear();
    more.clear();
    expect_given_back();
}

TEST_P(LastDrop, waits_for_a_copy_that_goes_between_its_two_looks) {
    auto block = make_block();
    ImmutableBlock<> copy = block;
    Parking parking("blocks.release.shared");
    auto dropper = drop_on_a_thread(std::move(block));
    parking.await();  // about to drop one of two

    {
        const auto dropped = std::move(copy);
    }
    EXPECT_EQ(manager_.available_blocks(), 2u);
    parking.let_go();
    dropper.join();

    expect_given_back();
}

TEST_P(LastDrop, obeys_the_flag_that_was_written_last) {
    auto block = make_block();
    ImmutableBlock<> copy = block;
    block.set_evict_on_reset(!GetParam().flag);
    Parking parking("blocks.release.shared");
    auto dropper = drop_on_a_thread(std::move(block));
    parking.await();

    copy.set_evict_on_reset(GetParam().flag);
    {
        const auto dropped = std::move(copy);
    }
    parking.let_go();
    dropper.join();

    expect_given_back();
}

TEST_P(LastDrop, of_a_revived_block_obeys_the_flag_written_meanwhile) {
    auto block = make_block();
    block.set_evict_on_reset(!GetParam().flag);
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(block));
    parking.await();

    auto found = manager_.match_blocks({&hash_, 1});
    found[0].set_evict_on_reset(GetParam().flag);
    parking.let_go();
    dropper.join();

    found.clear();
    expect_given_back();
}

TEST_P(LastDrop, is_its_own_when_the_lookup_has_gone_again) {
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(make_block());
    parking.await();

    {
        const auto found = manager_.match_blocks({&hash_, 1})[0];
    }
    parking.let_go();
    dropper.join();

    expect_given_back();
    EXPECT_EQ(revivals().first, revivals().second);
}

TEST_P(LastDrop, of_a_duplicate_keeps_the_primary_until_it_has_happened) {
    auto primary = make_block();
    auto duplicate = register_hash(manager_, hash_);
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(duplicate));
    parking.await();

    {
        const auto dropped = std::move(primary);
    }
    EXPECT_EQ(state_of(manager_, 0), BlockState::primary);
    EXPECT_EQ(manager_.match_blocks({&hash_, 1})[0].block_id(), 0u);
    parking.let_go();
    dropper.join();

    expect_given_back();
    EXPECT_EQ(revivals(), Revivals(0, 0));
    EXPECT_EQ(manager_.metrics()->snapshot().release_duplicate_noop_total, 0u);
}

TEST_P(LastDrop, of_a_duplicate_meets_an_upgrade_and_nothing_is_lost) {
    auto primary = make_block();
    auto duplicate = register_hash(manager_, hash_);
    const auto weak = duplicate.downgrade();
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(duplicate));
    parking.await();

    std::optional<ImmutableBlock<>> upgraded = weak.upgrade();
    parking.let_go();
    dropper.join();

    ASSERT_TRUE(upgraded.has_value());
    EXPECT_EQ(upgraded->sequence_hash(), hash_);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_EQ(manager_.metrics()->snapshot().release_duplicate_noop_total, 0u);
    upgraded.reset();
    {
        const auto dropped = std::move(primary);
    }
    expect_given_back();
    EXPECT_EQ(revivals(), Revivals(0, 0));
}

TEST_P(LastDrop, of_a_duplicate_leaves_presence_exact_while_its_own_is_pending) {
    auto primary = make_block();
    auto duplicate = register_hash(manager_, hash_);
    Parking parking("blocks.release.unlocked");
    auto dropper = drop_on_a_thread(std::move(duplicate));
    parking.await();  // reset, still counted as present

    {
        const auto dropped = std::move(primary);
    }
    EXPECT_EQ(presence(), GetParam().shared || !GetParam().flag);
    parking.let_go();
    dropper.join();

    expect_given_back();
}

TEST_P(LastDrop, finds_its_store_alive_when_the_manager_died_first) {
    const auto registry = manager_.block_registry();
    const auto metrics = manager_.metrics();
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(make_block());
    parking.await();

    {
        const auto dead = std::move(manager_);
    }
    EXPECT_EQ(registry.registered_count(), 1u);
    parking.let_go();
    dropper.join();

    EXPECT_EQ(registry.registered_count(), 0u);
    EXPECT_EQ(registry.check_presence<DefaultTier>({&hash_, 1})[0].second, false);
    EXPECT_EQ(metrics->snapshot().inflight_immutable, 0);
}

TEST_P(LastDrop, settles_presence_after_the_store_is_gone) {
    const auto registry = manager_.block_registry();
    Parking parking("blocks.release.unlocked");
    auto dropper = drop_on_a_thread(make_block());
    parking.await();  // given back; with the flag its presence is pending

    {
        const auto dead = std::move(manager_);
    }
    EXPECT_EQ(registry.registered_count(), GetParam().flag && GetParam().shared ? 1u : 0u);
    parking.let_go();
    dropper.join();

    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST_P(LastDrop, that_is_superseded_by_an_upgrade_after_the_manager_died_leaves_the_store_to_it) {
    const auto registry = manager_.block_registry();
    auto block = make_block();
    std::optional<WeakBlock<>> weak(block.downgrade());
    Parking parking("blocks.release.last");
    auto dropper = drop_on_a_thread(std::move(block));
    parking.await();

    {
        const auto dead = std::move(manager_);
    }
    auto upgraded = weak->upgrade();
    weak.reset();
    parking.let_go();
    dropper.join();

    ASSERT_TRUE(upgraded.has_value());
    EXPECT_EQ(upgraded->use_count(), 1u);
    EXPECT_EQ(registry.registered_count(), 1u);
    upgraded.reset();
    EXPECT_EQ(registry.registered_count(), 0u);
}

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const auto policy : {Policy::lru, Policy::fifo, Policy::multi_lru, Policy::lineage_tick,
                              Policy::lineage_fifo}) {
        for (const bool flag : {false, true}) {
            cases.push_back({policy, flag, false});
            cases.push_back({policy, flag, true});
        }
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Policies, LastDrop, testing::ValuesIn(all_cases()));

}  // namespace
