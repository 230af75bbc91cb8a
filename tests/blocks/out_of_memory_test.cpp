// A call that runs out of memory, wherever it does, has left the manager as it was, and works
// afterwards as if nothing had happened: same blocks, same order. Source: verification.md E1, P4.
#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"
#include "pool_setup.hpp"

namespace {

using namespace kvbm_test;

/// Blocks in every state, and places for what calls give.
struct World {
    explicit World(Policy policy)
        : registry(
              BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build()),
          manager(make_manager({.block_count = 10, .policy = policy, .registry = registry})) {
        cache(manager, cached);
        held = register_all(manager, asked_roots());
        staged = stage(manager, only(root_hash(300)));
    }
    static Hashes asked_roots() { return roots(2, 200); }
    /// Cached, held, unknown, and the first of the cached again.
    static Hashes asked() {
        return joined(joined(chain(4), asked_roots()), joined(roots(1, 900), chain(1)));
    }

    /// A line per block, and what is counted and known.
    std::string picture() const {
        std::string text;
        for (const BlockInfo& block : manager.inspect()) {
            text += states_letter(block) + " " + block.hash.to_hex() + " " +
                    std::to_string(block.references) + (block.evict_on_reset ? " flag\n" : "\n");
        }
        text += difference({}, manager.metrics()->snapshot()) + "\n";
        text += std::to_string(registry.registered_count()) + " known, present:";
        for (const auto& [hash, present] : registry.check_presence<DefaultTier>(hashes)) {
            text += present ? " 1" : " 0";
        }
        for (const auto& hash : hashes) {
            text += " " + std::to_string(registry.count(hash));
        }
        return text + manager.check_invariants().to_string();
    }
    static std::string states_letter(const BlockInfo& block) {
        return {"RMSPDI"[static_cast<std::size_t>(block.state)]};
    }

    const Hashes cached = chain(4);
    const Hashes hashes = joined(asked(), roots(1, 300));
    BlockRegistry registry;
    BlockManager<> manager;
    ImmutableBlockList<> held;
    CompleteBlockList<> staged;

    MutableBlockList<> taken;
    Hashes evicted;
    ImmutableBlockList<> found;
    std::vector<ImmutableBlockList<>> many = std::vector<ImmutableBlockList<>>(3);
    std::optional<ScatteredBlockList<>> scattered;
    std::optional<ScanResult<>> scanned;
    std::size_t drained = 0;
};

using Call = std::function<void(World&)>;

// How often the call fails, one allocation further each time, before it goes through.
std::size_t failures_of(Policy policy, const Call& call) {
    World world(policy);
    World spared(policy);
    const std::string before = world.picture();

    std::size_t failures = 0;
    while (kvbm_test::runs_out_of_memory(failures, [&] { call(world); })) {
        EXPECT_EQ(world.picture(), before) << failures;
        EXPECT_TRUE(world.taken.empty() && world.evicted.empty() && world.found.empty());
        EXPECT_TRUE(std::ranges::all_of(world.many, [](const auto& list) { return list.empty(); }));
        ++failures;
    }
    call(spared);

    EXPECT_EQ(world.picture(), spared.picture());
    EXPECT_EQ(world.taken.block_ids(), spared.taken.block_ids());
    EXPECT_EQ(world.evicted, spared.evicted);
    EXPECT_EQ(world.found.block_ids(), spared.found.block_ids());
    for (std::size_t i = 0; i < world.many.size(); ++i) {
        EXPECT_EQ(world.many[i].block_ids(), spared.many[i].block_ids());
    }
    EXPECT_EQ(world.drained, spared.drained);
    EXPECT_EQ(take_available(world.manager), take_available(spared.manager));
    return failures;
}

class OutOfMemory : public testing::TestWithParam<Policy> {};

TEST_P(OutOfMemory, builds_no_manager_and_leaves_the_registry_and_its_first_manager_as_they_were) {
    World world(GetParam());
    const std::string before = world.picture();
    std::optional<BlockManager<G2>> second;

    std::size_t failures = 0;
    while (kvbm_test::runs_out_of_memory(failures, [&] {
        second.emplace(make_manager<G2>(
            {.block_count = 10, .policy = GetParam(), .registry = world.registry}));
    })) {
        EXPECT_EQ(world.picture(), before) << failures;
        ++failures;
    }

    EXPECT_GT(failures, 5u);
    EXPECT_FALSE(kvbm_test::allocation_failed()) << "a manager was built without memory it wants";
    EXPECT_EQ(second->available_blocks(), 10u);
    EXPECT_EQ(world.picture(), before);
}

TEST_P(OutOfMemory, leaves_an_allocation_that_evicts_undone) {
    EXPECT_GE(failures_of(GetParam(),
                          [](World& world) {
                              EXPECT_TRUE(world.manager.allocate_blocks_into(6, world.taken,
                                                                             &world.evicted));
                          }),
              2u);
    EXPECT_GE(failures_of(GetParam(),
                          [](World& world) { world.taken = *world.manager.allocate_blocks(6); }),
              1u);
}

TEST_P(OutOfMemory, leaves_a_match_undone) {
    const Hashes asked = World::asked();
    EXPECT_GE(
        failures_of(GetParam(),
                    [&](World& world) { world.manager.match_blocks_into(asked, world.found); }),
        1u);
}

TEST_P(OutOfMemory, leaves_matches_of_many_requests_undone) {
    const Hashes asked = World::asked();
    const std::vector<std::span<const SequenceHash>> requests{asked, std::span(asked).first(2),
                                                              std::span(asked).last(1)};
    const std::size_t failures = failures_of(
        GetParam(), [&](World& world) { world.manager.match_many(requests, world.many); });
    // A list that had its room before another failed keeps it.
    EXPECT_GE(failures, requests.size() - 1);
}

TEST_P(OutOfMemory, leaves_a_scattered_match_undone) {
    const Hashes asked = World::asked();
    EXPECT_GE(failures_of(GetParam(),
                          [&](World& world) {
                              world.scattered.emplace(world.manager.match_blocks_scattered(asked));
                          }),
              1u);
}

TEST_P(OutOfMemory, leaves_a_scan_undone) {
    const Hashes asked = World::asked();
    EXPECT_GE(failures_of(GetParam(),
                          [&](World& world) {
                              world.scanned.emplace(world.manager.scan_matches(asked, Touch::yes));
                          }),
              1u);
}

TEST_P(OutOfMemory, leaves_a_registration_undone_and_its_blocks_staged) {
    EXPECT_GE(failures_of(
                  GetParam(),
                  [](World& world) {
                      EXPECT_EQ(must(world.manager.register_blocks_into(world.staged, world.found)),
                                1u);
                  }),
              1u);
}

TEST_P(OutOfMemory, leaves_a_clone_undone) {
    EXPECT_GE(failures_of(GetParam(), [](World& world) { world.found = world.held.clone(); }), 1u);
}

TEST_P(OutOfMemory, leaves_a_list_that_was_to_be_cut_whole) {
    const auto cut = [](World& world) {
        world.found = world.held.take_front(1);
        EXPECT_EQ(world.held.size(), 1u);
    };
    EXPECT_GE(failures_of(GetParam(), cut), 1u);
}

TEST_P(OutOfMemory, leaves_a_drain_undone) {
    EXPECT_GE(failures_of(GetParam(),
                          [](World& world) {
                              world.drained = world.manager.reset_inactive_pool().error().drained;
                          }),
              1u);
}

INSTANTIATE_TEST_SUITE_P(Policies, OutOfMemory, testing::ValuesIn(all_policies), PolicyName());

}  // namespace
