// Staged blocks become findable, once per hash: order, duplicates and rejects, blocks over a cached
// one, foreign blocks, and what is counted and touched. blocks.md R1 to R8, D1 to D3, examples 37
// to 47.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

constexpr auto reject = BlockDuplicationPolicy::reject;

// Example 37, R1.
TEST(BlockManager, registers_a_single_block_under_its_hash) {
    auto manager = make_manager();
    auto staged = stage_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    const auto block = must(manager.register_block(std::move(staged)));

    EXPECT_EQ(block.block_id(), 0u);
    EXPECT_EQ(block.sequence_hash(), root_hash(7));
    EXPECT_EQ(watch.moved(), "registrations +1, immutable +1");
    EXPECT_TRUE(is_present(manager.block_registry(), root_hash(7)));
}

TEST(BlockManager, registers_a_batch_in_its_order) {
    auto manager = make_manager();
    const auto hashes = roots(3);
    MetricsWatch watch(manager);

    const auto blocks = register_all(manager, hashes);

    EXPECT_EQ(blocks.block_ids(), (Ids{0, 1, 2}));
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(blocks[i].sequence_hash(), hashes[i]);
    }
    EXPECT_EQ(
        watch.moved(),
        "allocations +3, from_reset +3, registrations +3, stagings +3, immutable +3, reset -3");
}

TEST(BlockManager, registering_an_empty_batch_moves_nothing) {
    auto manager = make_manager();
    MetricsWatch watch(manager);

    const auto blocks = manager.register_blocks(CompleteBlockList<>{});

    ASSERT_TRUE(blocks.has_value());
    EXPECT_TRUE(blocks->empty());
    EXPECT_EQ(watch.moved(), "");
}

TEST(BlockManager, registers_into_a_list_behind_what_it_holds) {
    auto manager = make_manager();
    auto registered = register_all(manager, roots(2));
    auto staged = stage(manager, roots(2, 10));

    const auto count = must(manager.register_blocks_into(staged, registered));

    EXPECT_EQ(count, 2u);
    EXPECT_TRUE(staged.empty());
    EXPECT_EQ(registered.block_ids(), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(registered[3].sequence_hash(), root_hash(11));
}

// Example 38: the worked example of R6.
class RejectedBatch : public testing::TestWithParam<Policy> {};

TEST_P(RejectedBatch, gives_the_known_blocks_and_frees_the_candidates_in_order) {
    WatchedRegistry watched;
    auto manager = make_manager({.block_count = 6,
                                 .policy = GetParam(),
                                 .duplication = reject,
                                 .registry = watched.registry});
    const auto a = root_hash(1);
    const auto b = root_hash(2);
    const auto c = root_hash(3);
    const auto known = register_one(manager, a);
    MetricsWatch watch(manager);

    const auto blocks = register_all(manager, Hashes{b, a, b, c});

    EXPECT_EQ(blocks.block_ids(), (Ids{1, 0, 1, 4}));
    EXPECT_EQ(watch.moved(),
              "allocations +4, from_reset +4, registrations +4, dedup +2, stagings +4, "
              "immutable +4, reset -2");
    EXPECT_TRUE(is_present(watched.registry, a));
    EXPECT_TRUE(is_present(watched.registry, b));
    EXPECT_TRUE(is_present(watched.registry, c));
    EXPECT_EQ(watched.take_touches(), (Hashes{a, b, c}));
    EXPECT_EQ(known.use_count(), 2u);
    EXPECT_EQ(blocks[0].use_count(), 2u);
    EXPECT_EQ(take(manager, 3), (Ids{5, 2, 3}));
}

INSTANTIATE_TEST_SUITE_P(BlockManager, RejectedBatch,
                         testing::Values(Policy::lru, Policy::lineage_tick), PolicyName());

// Example 39.
TEST(BlockManager, a_hash_twice_in_a_batch_gives_a_primary_and_its_duplicate) {
    auto manager = make_manager();
    const auto hash = root_hash(7);
    MetricsWatch watch(manager);

    auto blocks = register_all(manager, Hashes{hash, hash});

    EXPECT_EQ(blocks.block_ids(), (Ids{0, 1}));
    EXPECT_EQ(states(manager), "PDRRRRRR");
    EXPECT_EQ(watch.moved(),
              "allocations +2, from_reset +2, registrations +2, duplicates +1, stagings +2, "
              "immutable +2, reset -2");
    drop(blocks.pop_back());
    EXPECT_TRUE(is_present(manager.block_registry(), hash));
    EXPECT_EQ(states(manager), "PRRRRRRR");
}

// Example 40, D1 and D2.
TEST(BlockManager, allow_gives_a_known_hash_another_block_and_reject_the_same) {
    auto allowing = make_manager();
    auto rejecting = make_manager({.duplication = reject});

    const auto [first, duplicate] = register_twice(allowing, root_hash(7));
    const auto [only_one, again] = register_twice(rejecting, root_hash(7));

    EXPECT_NE(first.block_id(), duplicate.block_id());
    EXPECT_EQ(only_one.block_id(), again.block_id());
    EXPECT_EQ(only_one.use_count(), 2u);
    EXPECT_FALSE(again.is_duplicate());
    EXPECT_EQ(states(rejecting), "PRRRRRRR");
    EXPECT_EQ(rejecting.duplication_policy(), reject);
}

TEST(BlockManager, a_rejected_block_goes_to_the_back_of_the_reset_pool) {
    auto manager = make_manager({.block_count = 2, .duplication = reject});

    const auto [first, again] = register_twice(manager, root_hash(7));

    EXPECT_EQ(take(manager, 1), Ids{1});
}

// Example 41.
TEST(BlockManager, a_reject_counts_as_a_registration_and_as_a_deduplication) {
    auto manager = make_manager({.duplication = reject});
    const auto first = register_one(manager, root_hash(7));
    auto staged = stage_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    const auto again = must(manager.register_block(std::move(staged)));

    EXPECT_EQ(watch.moved(), "registrations +1, dedup +1, immutable +1, reset +1");
    EXPECT_EQ(manager.metrics()->snapshot().registrations, 2u);
}

// Example 42: the worked example of R4.
TEST(BlockManager, registering_over_a_cached_block_revives_it_and_makes_a_duplicate) {
    auto manager = make_manager({.block_count = 3});
    const auto hash = root_hash(7);
    cache(manager, only(hash));

    auto block = register_one(manager, hash);

    EXPECT_EQ(block.block_id(), 1u);
    EXPECT_EQ(block.use_count(), 1u);
    EXPECT_EQ(manager.available_blocks(), 1u);
    EXPECT_EQ(states(manager), "PDR");
    const auto snapshot = manager.metrics()->snapshot();
    EXPECT_EQ(snapshot.inflight_mutable, 0);
    EXPECT_EQ(snapshot.inflight_immutable, 1);
    EXPECT_EQ(snapshot.reset_pool_size, 1);
    EXPECT_EQ(snapshot.inactive_pool_size, 0);
    auto hit = manager.match_blocks(only(hash));
    EXPECT_EQ(hit.block_ids(), Ids{0});
    hit.clear();
    drop(std::move(block));
    EXPECT_EQ(states(manager), "IRR");
    EXPECT_EQ(take(manager, 2), (Ids{2, 1}));
}

// R5.
TEST(BlockManager, registering_over_a_cached_block_under_reject_revives_it_alone) {
    auto manager = make_manager({.block_count = 3, .duplication = reject});
    const auto hash = root_hash(7);
    cache(manager, only(hash));

    const auto block = register_one(manager, hash);

    EXPECT_EQ(block.block_id(), 0u);
    EXPECT_EQ(block.use_count(), 1u);
    EXPECT_EQ(states(manager), "PRR");
    const auto snapshot = manager.metrics()->snapshot();
    EXPECT_EQ(snapshot.inflight_mutable, 0);
    EXPECT_EQ(snapshot.inflight_immutable, 1);
    EXPECT_EQ(snapshot.reset_pool_size, 2);
    EXPECT_EQ(snapshot.inactive_pool_size, 0);
    EXPECT_EQ(take(manager, 2), (Ids{2, 1}));
}

// Example 43, G11 and G12.
TEST(BlockManager, the_last_duplicate_gives_up_the_primary_as_the_flag_of_the_primary_says) {
    const auto hash = root_hash(7);
    for (const bool flag : {false, true}) {
        auto manager = make_manager({.block_count = 2});
        auto [primary, duplicate] = register_twice(manager, hash);
        primary.set_evict_on_reset(flag);

        drop(std::move(primary));
        EXPECT_EQ(manager.match_blocks(only(hash)).block_ids(), Ids{0});
        EXPECT_TRUE(is_present(manager.block_registry(), hash));
        drop(std::move(duplicate));

        EXPECT_EQ(states(manager), flag ? "RR" : "IR");
        EXPECT_EQ(is_present(manager.block_registry(), hash), !flag);
        EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
    }
}

// Example 44, R2: nothing at all has happened.
TEST(BlockManager, refuses_a_batch_of_another_manager_and_gives_it_back) {
    const auto registry = tracking_registry();
    auto mine = make_manager({.registry = registry});
    auto other = make_manager({.registry = registry});
    const auto own = register_all(mine, roots(2));
    auto foreign = stage(other, roots(2, 10));
    const auto before = states(mine);
    MetricsWatch watch(mine);
    MetricsWatch other_watch(other);

    auto refused = mine.register_blocks(std::move(foreign));

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().index, 0u);
    EXPECT_EQ(refused.error().expected, mine.id());
    EXPECT_EQ(refused.error().actual, other.id());
    EXPECT_EQ(refused.error().message(),
              "block at index 0 belongs to manager " + std::to_string(other.id().value()) +
                  ", not to manager " + std::to_string(mine.id().value()));
    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(other_watch.moved(), "");
    EXPECT_EQ(states(mine), before);
    EXPECT_FALSE(registry.is_registered(root_hash(10)));
    EXPECT_EQ(own[0].sequence_hash(), root_hash(1));
    const auto registered = must(other.register_blocks(std::move(refused.error().blocks)));
    EXPECT_EQ(registered.block_ids(), (Ids{0, 1}));
}

TEST(BlockManager, refuses_a_single_block_of_another_manager_and_gives_it_back) {
    auto mine = make_manager();
    auto other = make_manager();
    MetricsWatch watch(mine);

    auto refused = mine.register_block(stage_one(other, root_hash(7)));

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().index, 0u);
    EXPECT_EQ(refused.error().expected, mine.id());
    EXPECT_EQ(refused.error().actual, other.id());
    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(must(other.register_block(std::move(refused.error().blocks))).block_id(), 0u);
}

TEST(BlockManager, refuses_to_register_a_foreign_batch_into_a_list) {
    auto mine = make_manager();
    auto other = make_manager();
    auto foreign = stage(other, roots(2));
    auto registered = register_all(mine, roots(1, 10));

    const auto refused = mine.register_blocks_into(foreign, registered);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().blocks.block_ids(), (Ids{0, 1}));
    EXPECT_TRUE(foreign.empty());
    EXPECT_EQ(registered.size(), 1u);
}

// Example 45.
TEST(BlockManager, refuses_a_foreign_block_whose_id_it_does_not_have) {
    auto small = make_manager({.block_count = 1});
    auto large = make_manager({.block_count = 8});
    auto blocks = allocate(large, 8);
    auto last = must(blocks.pop_back().stage(root_hash(7), tokens_per_block));
    EXPECT_EQ(last.block_id(), 7u);

    const auto refused = small.register_block(std::move(last));

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().actual, large.id());
    EXPECT_EQ(refused.error().blocks.block_id(), 7u);
}

// R7: who keeps an entry known.
struct Keeper {
    std::string name;
    // Makes the hash known, and gives something that keeps it so.
    std::function<std::shared_ptr<void>(const BlockRegistry&, BlockManager<>&, const SequenceHash&)>
        keep;
};

class KnownHash : public testing::TestWithParam<Keeper> {};

// Example 46.
TEST_P(KnownHash, is_not_touched_when_it_is_registered) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto keeper = GetParam().keep(watched.registry, manager, root_hash(7));
    watched.take_touches();

    const auto block = register_one(manager, root_hash(7));

    EXPECT_EQ(watched.take_touches(), Hashes{});
}

INSTANTIATE_TEST_SUITE_P(
    BlockManager, KnownHash,
    testing::Values(
        Keeper{"weak_block",
               [](const BlockRegistry&, BlockManager<>& manager, const SequenceHash& hash) {
                   auto block = register_one(manager, hash);
                   block.set_evict_on_reset(true);
                   return std::make_shared<WeakBlock<>>(block.downgrade());
               }},
        Keeper{"handle",
               [](BlockRegistry registry, BlockManager<>&, const SequenceHash& hash) {
                   return std::make_shared<BlockRegistrationHandle>(
                       registry.register_sequence_hash(hash));
               }},
        Keeper{"inactive_block",
               [](const BlockRegistry&, BlockManager<>& manager, const SequenceHash& hash) {
                   cache(manager, only(hash));
                   return std::shared_ptr<void>();
               }},
        Keeper{"active_block",
               [](const BlockRegistry&, BlockManager<>& manager, const SequenceHash& hash) {
                   return std::make_shared<ImmutableBlock<>>(register_one(manager, hash));
               }},
        Keeper{"pin",
               [](const BlockRegistry&, BlockManager<>& manager, const SequenceHash& hash) {
                   return std::make_shared<LifecyclePin>(register_one(manager, hash).pin());
               }},
        Keeper{"other_tier",
               [](const BlockRegistry& registry, BlockManager<>&, const SequenceHash& hash) {
                   auto host = make_manager<G2>({.registry = registry});
                   return std::make_shared<ImmutableBlock<G2>>(register_one(host, hash));
               }}),
    [](const auto& info) { return info.param.name; });

TEST(BlockManager, touches_each_new_hash_of_a_batch_once_in_its_order) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto known = register_one(manager, root_hash(2));
    watched.take_touches();

    const auto blocks =
        register_all(manager, Hashes{root_hash(3), root_hash(2), root_hash(1), root_hash(3)});

    EXPECT_EQ(watched.take_touches(), (Hashes{root_hash(3), root_hash(1)}));
}

// A tracker that looks at the manager when it is touched, which T4 allows.
class LookingTracker final : public FrequencyTracker {
  public:
    std::function<void()> look = [] {};
    void touch(const SequenceHash&) override { look(); }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }
};

// R3 (1): the registry knows a hash before the store does.
TEST(BlockManager, touches_a_new_hash_before_its_block_can_be_found) {
    const auto tracker = std::make_shared<LookingTracker>();
    auto manager =
        make_manager({.block_count = 2,
                      .registry = BlockRegistry::builder().frequency_tracker(tracker).build()});
    std::vector<std::string> seen;
    tracker->look = [&] {
        seen.push_back(states(manager));
        EXPECT_TRUE(manager.block_registry().is_registered(root_hash(1)));
        EXPECT_FALSE(is_present(manager.block_registry(), root_hash(1)));
    };

    const auto blocks = register_all(manager, roots(2));

    EXPECT_EQ(seen, (std::vector<std::string>{"SS", "SS"}));
}

// D3.
TEST(BlockManager, two_on_one_registry_share_entries_and_not_blocks) {
    WatchedRegistry watched;
    auto first = make_manager({.registry = watched.registry});
    auto second = make_manager({.registry = watched.registry});

    auto a = register_one(first, root_hash(7));
    EXPECT_TRUE(second.match_blocks(only(root_hash(7))).empty());
    auto b = register_one(second, root_hash(7));

    EXPECT_FALSE(b.is_duplicate());
    EXPECT_EQ(a.registration_handle(), b.registration_handle());
    EXPECT_EQ(watched.take_touches(), Hashes{root_hash(7)});
    a.set_evict_on_reset(true);
    drop(std::move(a));
    EXPECT_TRUE(is_present(watched.registry, root_hash(7)));
    b.set_evict_on_reset(true);
    drop(std::move(b));
    EXPECT_FALSE(is_present(watched.registry, root_hash(7)));
}

// R8: a registration takes the block it is given and no other.
TEST(BlockManager, registering_allocates_and_evicts_nothing) {
    auto manager = make_manager({.block_count = 3});
    cache(manager, roots(2));
    auto staged = stage_one(manager, root_hash(7));
    EXPECT_EQ(manager.available_blocks(), 2u);

    const auto block = must(manager.register_block(std::move(staged)));

    EXPECT_EQ(states(manager), "IIP");
    EXPECT_EQ(manager.metrics()->snapshot().evictions, 0u);
}

// Batches longer than the registry takes at a time, with repeats far apart.
TEST(BlockManager, registers_long_batches_whose_repeats_stand_far_apart) {
    for (const auto policy : {BlockDuplicationPolicy::allow, reject}) {
        auto manager = make_manager({.block_count = 400, .duplication = policy});
        const auto hashes = joined(roots(150), roots(150));

        const auto blocks = register_all(manager, hashes);

        ASSERT_EQ(blocks.size(), 300u);
        const std::size_t distance = policy == reject ? 0 : 150;
        for (std::size_t i = 0; i < 150; ++i) {
            EXPECT_EQ(blocks[150 + i].block_id(), blocks[i].block_id() + distance);
            EXPECT_EQ(blocks[150 + i].sequence_hash(), hashes[i]);
        }
        EXPECT_EQ(manager.block_registry().registered_count(), 150u);
        EXPECT_EQ(manager.check_invariants().to_string(), "");
    }
}

// Example 47, R3 (5): who reads the counter finds every block that it counts.
TEST(BlockManager, the_registration_counter_never_runs_ahead_of_what_can_be_matched) {
    constexpr std::size_t blocks_count = 2000;
    auto manager = make_manager({.block_count = blocks_count});
    const auto hashes = roots(blocks_count);
    std::atomic<std::uint64_t> ahead{0};

    std::jthread reader([&] {
        std::uint64_t registered = 0;
        while (registered < blocks_count) {
            registered = manager.metrics()->snapshot().registrations;
            if (registered != 0) {
                const auto& newest = hashes[registered - 1];
                const bool found = !manager.match_blocks(only(newest)).empty();
                const bool present = is_present(manager.block_registry(), newest);
                ahead += found && present ? 0 : 1;
            }
        }
    });
    ImmutableBlockList<> held;
    for (const auto& hash : hashes) {
        held.push_back(register_one(manager, hash));
    }
    reader.join();

    EXPECT_EQ(ahead.load(), 0u);
}

}  // namespace
