// What a manager counts: one row of blocks.md 13 each, and gauges that return to their start. X1,
// X2, L4, examples 95 and 98.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

constexpr auto reject = BlockDuplicationPolicy::reject;

// A manager with blocks in each state: 0 primary of hash 1 and 1 its duplicate, 2 and 3 cached
// under hashes 2 and 3, 4 staged under 4, 5 mutable, 6 and 7 free. Without the duplicate under
// `reject`.
struct Pool {
    BlockManager<> manager;
    std::optional<ImmutableBlock<>> primary;
    std::optional<ImmutableBlock<>> duplicate;
    std::optional<CompleteBlock<>> staged;
    std::optional<MutableBlock<>> owned;

    explicit Pool(BlockDuplicationPolicy policy) : manager(make_manager({.duplication = policy})) {
        primary = register_one(manager, root_hash(1));
        duplicate = register_one(manager, root_hash(1));
        if (policy == reject) {
            duplicate.reset();
        }
        cache(manager, roots(2, 2));
        staged = stage_one(manager, root_hash(4));
        owned = allocate_one(manager);
    }
};

using Kept = std::shared_ptr<void>;

// What a move made, kept until the numbers have been read.
template <class T>
Kept keep(T made) {
    return std::make_shared<T>(std::move(made));
}

// One thing done to the pool, and all that it moves.
struct Move {
    std::string name;
    std::function<Kept(Pool&)> act;
    std::string moved;
    BlockDuplicationPolicy policy = BlockDuplicationPolicy::allow;
};

class PoolMetrics : public testing::TestWithParam<Move> {};

// Example 95.
TEST_P(PoolMetrics, move_as_the_table_says_and_nothing_else_moves) {
    Pool pool(GetParam().policy);
    MetricsWatch watch(pool.manager);

    const Kept kept = GetParam().act(pool);

    EXPECT_EQ(watch.moved(), GetParam().moved);
    EXPECT_EQ(pool.manager.check_invariants().to_string(), "");
}

CompleteBlock<> stage_owned(Pool& pool, const SequenceHash& hash) {
    return must(std::move(*pool.owned).stage(hash, tokens_per_block));
}

INSTANTIATE_TEST_SUITE_P(
    BlockManager, PoolMetrics,
    testing::Values(
        Move{"allocation_of_free_blocks",
             [](Pool& pool) { return keep(allocate(pool.manager, 2)); },
             "allocations +2, from_reset +2, mutable +2, reset -2"},
        Move{"allocation_that_evicts", [](Pool& pool) { return keep(allocate(pool.manager, 3)); },
             "allocations +3, from_reset +2, evictions +1, mutable +3, reset -2, inactive -1"},
        Move{"failed_allocation", [](Pool& pool) { return keep(pool.manager.allocate_blocks(5)); },
             ""},
        Move{"staging", [](Pool& pool) { return keep(stage_owned(pool, root_hash(9))); },
             "stagings +1, mutable -1"},
        Move{"failed_staging",
             [](Pool& pool) { return keep(std::move(*pool.owned).stage(root_hash(9), 8)); }, ""},
        Move{"unstaging", [](Pool& pool) { return keep(std::move(*pool.staged).reset()); },
             "mutable +1"},
        Move{"registration",
             [](Pool& pool) {
                 return keep(must(pool.manager.register_block(std::move(*pool.staged))));
             },
             "registrations +1, immutable +1"},
        Move{"registration_as_duplicate",
             [](Pool& pool) {
                 auto block = stage_owned(pool, root_hash(1));
                 return keep(must(pool.manager.register_block(std::move(block))));
             },
             "registrations +1, duplicates +1, stagings +1, mutable -1, immutable +1"},
        Move{"registration_over_a_cached_block",
             [](Pool& pool) {
                 auto block = stage_owned(pool, root_hash(2));
                 return keep(must(pool.manager.register_block(std::move(block))));
             },
             "registrations +1, duplicates +1, stagings +1, mutable -1, immutable +1, inactive -1"},
        Move{"rejected_registration",
             [](Pool& pool) {
                 auto block = stage_owned(pool, root_hash(1));
                 return keep(must(pool.manager.register_block(std::move(block))));
             },
             "registrations +1, dedup +1, stagings +1, mutable -1, immutable +1, reset +1", reject},
        Move{"rejected_registration_over_a_cached_block",
             [](Pool& pool) {
                 auto block = stage_owned(pool, root_hash(2));
                 return keep(must(pool.manager.register_block(std::move(block))));
             },
             "registrations +1, dedup +1, stagings +1, mutable -1, immutable +1, reset +1, "
             "inactive -1",
             reject},
        Move{"registration_of_a_foreign_block",
             [](Pool& pool) {
                 auto other = make_manager();
                 return keep(pool.manager.register_block(stage_one(other, root_hash(9))));
             },
             ""},
        Move{"match", [](Pool& pool) { return keep(pool.manager.match_blocks(roots(5))); },
             "match_requested +5, match_returned +3, immutable +3, inactive -2"},
        Move{"scattered_match",
             [](Pool& pool) {
                 return keep(pool.manager.match_blocks_scattered(
                     Hashes{root_hash(9), root_hash(2), root_hash(2), root_hash(1)}));
             },
             "match_requested +4, match_returned +3, immutable +3, inactive -1"},
        Move{"scan",
             [](Pool& pool) {
                 return keep(pool.manager.scan_matches(
                     Hashes{root_hash(2), root_hash(2), root_hash(9), root_hash(3)}, Touch::no));
             },
             "scan_requested +4, scan_returned +2, immutable +2, inactive -2"},
        Move{"copy_of_a_block", [](Pool& pool) { return keep(*pool.primary); }, "immutable +1"},
        Move{"pin", [](Pool& pool) { return keep(pool.primary->pin()); }, ""},
        Move{"copy_of_a_pin",
             [](Pool& pool) {
                 const auto pin = pool.primary->pin();
                 return keep(std::vector(3, pin));
             },
             ""},
        Move{"weak_block", [](Pool& pool) { return keep(pool.primary->downgrade()); }, ""},
        Move{"upgrade", [](Pool& pool) { return keep(pool.primary->downgrade().upgrade()); },
             "immutable +1"},
        Move{"three_matches_of_one_block",
             [](Pool& pool) { return keep(pool.manager.match_blocks(Hashes(3, root_hash(1)))); },
             "match_requested +3, match_returned +3, immutable +3"},
        Move{"drop_of_a_mutable_block",
             [](Pool& pool) {
                 pool.owned.reset();
                 return Kept();
             },
             "mutable -1, reset +1"},
        Move{"drop_of_a_staged_block",
             [](Pool& pool) {
                 pool.staged.reset();
                 return Kept();
             },
             "reset +1"},
        Move{"drop_of_a_duplicate",
             [](Pool& pool) {
                 pool.duplicate.reset();
                 return Kept();
             },
             "immutable -1, reset +1"},
        Move{"drop_of_a_primary_with_a_duplicate",
             [](Pool& pool) {
                 pool.primary.reset();
                 return Kept();
             },
             "immutable -1"},
        Move{"last_drop_of_a_primary",
             [](Pool& pool) {
                 pool.primary.reset();
                 return Kept();
             },
             "immutable -1, inactive +1", reject},
        Move{"drain",
             [](Pool& pool) {
                 EXPECT_FALSE(pool.manager.reset_inactive_pool().has_value());
                 return Kept();
             },
             "reset +2, inactive -2"}),
    [](const auto& info) { return info.param.name; });

// --- gauges ---

class Gauges : public testing::TestWithParam<std::tuple<Policy, BlockDuplicationPolicy, bool>> {};

// Example 98, V8.
TEST_P(Gauges, return_to_their_start_when_all_guards_are_dropped) {
    const auto& [policy, duplication, reset_on_release] = GetParam();
    auto manager = make_manager({.block_count = 12,
                                 .policy = policy,
                                 .duplication = duplication,
                                 .reset_on_release = reset_on_release});
    {
        auto registered = register_all(manager, joined(chain(4), chain(3)));
        const auto copies = registered.clone();
        const auto pin = registered[1].pin();
        const auto weak = registered[2].downgrade();
        registered.clear(ReleaseOrder::leaf_first);
        const auto upgraded = weak.upgrade();
        auto staged = stage(manager, roots(3, 50));
        const auto unstaged = std::move(staged).reset_all();
        const auto refused = allocate_one(manager).stage(root_hash(60), 8);
        const auto matched = manager.match_blocks(chain(4));
        const auto scattered = manager.match_blocks_scattered(chain(6));
        const auto scanned = manager.scan_matches(chain(6), Touch::yes);
        EXPECT_EQ(manager.check_invariants().to_string(), "");
    }

    const auto numbers = manager.metrics()->snapshot();
    EXPECT_EQ(numbers.inflight_mutable, 0);
    EXPECT_EQ(numbers.inflight_immutable, 0);
    EXPECT_EQ(numbers.reset_pool_size + numbers.inactive_pool_size, 12);
    EXPECT_EQ(numbers.inactive_pool_size, reset_on_release ? 0 : 4);
    EXPECT_EQ(manager.available_blocks(), 12u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

INSTANTIATE_TEST_SUITE_P(BlockManager, Gauges,
                         testing::Combine(testing::ValuesIn(all_policies),
                                          testing::Values(BlockDuplicationPolicy::allow, reject),
                                          testing::Bool()));

// L4.
TEST(BlockPoolMetrics, outlive_the_manager_and_show_its_last_numbers) {
    std::optional manager = make_manager({.block_count = 4});
    auto held = allocate(*manager, 2);
    const auto metrics = manager->metrics();

    manager.reset();
    EXPECT_EQ(difference(MetricsSnapshot{}, metrics->snapshot()),
              "allocations +2, from_reset +2, mutable +2, reset +2");
    held.clear();

    EXPECT_EQ(difference(MetricsSnapshot{}, metrics->snapshot()),
              "allocations +2, from_reset +2, reset +4");
}

}  // namespace
