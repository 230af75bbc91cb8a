// A registration that runs out of memory, wherever it does, has changed nothing and told nobody.
#include "allocation_counter.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.registry;

namespace {

using namespace kvbm;
using kvbm_test::runs_out_of_memory;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block * 0x9E37'79B9'7F4A'7C15U});
}
std::vector<SequenceHash> hashes_from(std::uint64_t first, std::uint64_t count) {
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = first; i < first + count; ++i) {
        hashes.push_back(hash(i));
    }
    return hashes;
}

class CountingTracker final : public FrequencyTracker {
  public:
    std::size_t touches = 0;
    void touch(const SequenceHash&) override { ++touches; }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }
};

/// A registry that counts what it tells.
struct World {
    std::size_t hooks = 0;
    std::shared_ptr<CountingTracker> tracker = std::make_shared<CountingTracker>();
    std::shared_ptr<EventsManager> events = EventsManager::builder()
                                                .policy([this](const SequenceHash&) {
                                                    ++hooks;
                                                    return true;
                                                })
                                                .build();
    Subscription subscription = events->subscribe();
    BlockRegistry registry =
        BlockRegistry::builder().frequency_tracker(tracker).event_manager(events).build();

    /// Hooks, touches and events so far.
    std::array<std::size_t, 3> told() const {
        return {hooks, tracker->touches, static_cast<std::size_t>(told_events())};
    }
    std::uint64_t told_events() const { return events->subscribe().next_number(); }
};

TEST(OutOfMemory, changes_nothing_in_a_registration_of_hashes) {
    World world;
    const auto known = world.registry.register_sequence_hashes(hashes_from(0, 3));
    const auto before = world.told();
    // Long enough for several batches, and for a table that has to grow more than once.
    const auto hashes = hashes_from(1, 2500);
    std::vector<BlockRegistrationHandle> out{known[0]};

    std::size_t granted = 0;
    while (runs_out_of_memory(granted,
                              [&] { world.registry.register_sequence_hashes_into(hashes, out); })) {
        ASSERT_EQ(world.told(), before) << granted;
        ASSERT_EQ(world.registry.registered_count(), 3u) << granted;
        ASSERT_EQ(out.size(), 1u) << granted;
        ++granted;
    }

    EXPECT_GE(granted, 4u);  // the list, and the table and its entries in the middle
    EXPECT_EQ(out.size(), 2501u);
    EXPECT_EQ(world.registry.registered_count(), 2501u);
    EXPECT_EQ(world.hooks, 3u + 2498u);
    EXPECT_EQ(world.tracker->touches, 3u + 2498u);
    out.clear();
    EXPECT_EQ(world.registry.registered_count(), 3u);
}

TEST(OutOfMemory, changes_nothing_in_a_single_registration) {
    World world;
    std::optional<BlockRegistrationHandle> handle;
    std::size_t granted = 0;
    while (runs_out_of_memory(granted,
                              [&] { handle = world.registry.register_sequence_hash(hash(1)); })) {
        ASSERT_EQ(world.told(), (std::array<std::size_t, 3>{})) << granted;
        ASSERT_EQ(world.registry.registered_count(), 0u) << granted;
        ++granted;
    }
    EXPECT_GT(granted, 0u);
    EXPECT_TRUE(handle.has_value());
    EXPECT_EQ(world.hooks, 1u);
}

template <class Tier>
BlockManager<Tier> manager_of(const BlockRegistry& registry, std::size_t blocks) {
    return must(BlockManager<Tier>::builder()
                    .registry(registry)
                    .block_count(blocks)
                    .block_size(4)
                    .with_lru_backend()
                    .build());
}

template <int number>
struct NumberedTier {};

// The fourth tier under a hash needs memory: per block, in the middle of the batches. What an
// attempt got for entries that others hold stays with them, so the next one comes further.
TEST(OutOfMemory, changes_nothing_in_a_registration_of_blocks) {
    constexpr std::size_t known_count = 130;
    constexpr std::size_t count = 150;
    World world;
    auto first = manager_of<NumberedTier<0>>(world.registry, known_count);
    auto second = manager_of<NumberedTier<1>>(world.registry, known_count);
    auto third = manager_of<NumberedTier<2>>(world.registry, known_count);
    auto manager = manager_of<G4>(world.registry, count);
    const auto hashes = hashes_from(0, count);
    const std::vector known(hashes.begin() + (count - known_count), hashes.end());
    const auto hold = [&](auto& pool) {
        return must(pool.register_blocks(
            must(std::move(*pool.allocate_blocks(known_count)).stage_all(known, 4))));
    };
    const auto in_first = hold(first);
    const auto in_second = hold(second);
    const auto in_third = hold(third);
    auto staged = must(std::move(*manager.allocate_blocks(count)).stage_all(hashes, 4));
    const auto before = world.told();

    std::size_t granted = 0;
    ImmutableBlockList<G4> blocks;
    const auto registers = [&] { blocks = must(manager.register_blocks(std::move(staged))); };
    while (runs_out_of_memory(granted, registers)) {
        ASSERT_EQ(world.told(), before) << granted;
        ASSERT_EQ(world.registry.registered_count(), known_count) << granted;
        ASSERT_EQ(staged.size(), count) << granted;  // NOLINT(bugprone-use-after-move)
        ASSERT_EQ(manager.check_invariants().to_string(), "") << granted;
        ASSERT_FALSE(world.registry.check_presence<G4>(known).front().second);
        granted += granted < 8 ? 1 : 9;
    }

    EXPECT_GT(granted, 8u);
    EXPECT_EQ(world.hooks, count);
    EXPECT_EQ(world.tracker->touches, count);
    EXPECT_EQ(blocks.size(), count);
    EXPECT_TRUE(world.registry.check_presence<G4>(known).back().second);
    blocks.clear();
    EXPECT_EQ(must(manager.reset_inactive_pool()), count);
    EXPECT_EQ(world.registry.registered_count(), known_count);
}

TEST(OutOfMemory, attaches_nothing_and_fixes_no_mode) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    std::size_t granted = 0;
    while (runs_out_of_memory(granted, [&] { static_cast<void>(handle.attach_unique(1)); })) {
        ++granted;
    }
    EXPECT_GT(granted, 0u);

    for (std::size_t fewer = 0;
         runs_out_of_memory(fewer, [&] { static_cast<void>(handle.attach(2L)); }); ++fewer) {
        ASSERT_EQ(handle.get<long>().with_multiple([](auto values) { return values.size(); }), 0u);
    }
    EXPECT_EQ(handle.get<long>().with_multiple([](auto values) { return values.size(); }), 1u);
    for (std::size_t fewer = 0;
         runs_out_of_memory(fewer, [&] { static_cast<void>(handle.attach(3L)); }); ++fewer) {
        ASSERT_EQ(handle.get<long>().with_multiple([](auto values) { return values.size(); }), 1u);
    }
    EXPECT_EQ(handle.get<long>().with_multiple([](auto values) { return values.size(); }), 2u);
}

TEST(OutOfMemory, subscribes_nobody) {
    const auto events = EventsManager::builder().capacity(8).build();
    std::optional<Subscription> subscription;
    std::size_t granted = 0;
    while (runs_out_of_memory(granted, [&] { subscription.emplace(events->subscribe()); })) {
        // Nobody listens, so the event takes no number.
        events->clear();
        ++granted;
    }

    EXPECT_GT(granted, 0u);
    EXPECT_EQ(subscription->next_number(), 0u);
}

TEST(OutOfMemory, leaves_room_reserved_by_no_manager_that_was_not_built) {
    BlockRegistry registry;
    auto first = manager_of<DefaultTier>(registry, 2000);
    std::size_t granted = 0;
    std::optional<BlockManager<>> manager;
    while (runs_out_of_memory(granted,
                              [&] { manager.emplace(manager_of<DefaultTier>(registry, 3000)); })) {
        ++granted;
        EXPECT_EQ(first.check_invariants().to_string(), "");
    }
    EXPECT_GT(granted, 5u);
    EXPECT_EQ(manager->available_blocks(), 3000u);
}

}  // namespace
