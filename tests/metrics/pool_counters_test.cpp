// One test per row of the table in blocks.md 13, seen on a real manager: what moves a number, and
// that failed operations move none.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;
using Hashes = std::vector<SequenceHash>;

constexpr std::size_t block_size = 4;

Hashes chain(std::size_t length, std::uint64_t content = 1) {
    Hashes hashes{SequenceHash::root(BlockHash{content})};
    while (hashes.size() < length) {
        hashes.push_back(must(hashes.back().extend(BlockHash{hashes.size() + 1})));
    }
    return hashes;
}

/// A manager, and what its numbers have moved by since the last look.
class PoolCounters : public testing::Test {
  protected:
    explicit PoolCounters(BlockDuplicationPolicy policy = BlockDuplicationPolicy::allow)
        : manager_(make(policy)), before_(manager_.metrics()->snapshot()) {}

    MetricsSnapshot moved() {
        const auto now = manager_.metrics()->snapshot();
        const auto then = std::exchange(before_, now);
        MetricsSnapshot difference = now;
        difference.allocations -= then.allocations;
        difference.allocations_from_reset -= then.allocations_from_reset;
        difference.evictions -= then.evictions;
        difference.registrations -= then.registrations;
        difference.duplicate_blocks -= then.duplicate_blocks;
        difference.registration_dedup -= then.registration_dedup;
        difference.stagings -= then.stagings;
        difference.match_hashes_requested -= then.match_hashes_requested;
        difference.match_blocks_returned -= then.match_blocks_returned;
        difference.scan_hashes_requested -= then.scan_hashes_requested;
        difference.scan_blocks_returned -= then.scan_blocks_returned;
        difference.inflight_mutable -= then.inflight_mutable;
        difference.inflight_immutable -= then.inflight_immutable;
        difference.reset_pool_size -= then.reset_pool_size;
        difference.inactive_pool_size -= then.inactive_pool_size;
        return difference;
    }

    CompleteBlockList<> staged(const Hashes& hashes) {
        auto blocks = manager_.allocate_blocks(hashes.size());
        return must(std::move(*blocks).stage_all(hashes, block_size));
    }
    ImmutableBlockList<> registered(const Hashes& hashes) {
        return must(manager_.register_blocks(staged(hashes)));
    }
    /// Caches blocks that nobody holds.
    void cached(const Hashes& hashes) {
        registered(hashes).clear();
        moved();
    }

    static BlockManager<> make(BlockDuplicationPolicy policy) {
        auto builder = BlockManager<>::builder();
        builder.block_count(8)
            .block_size(block_size)
            .registry(BlockRegistry())
            .duplication_policy(policy)
            .with_lru_backend();
        return must(builder.build());
    }

    BlockManager<> manager_;
    MetricsSnapshot before_;
};

class RejectingPoolCounters : public PoolCounters {
  protected:
    RejectingPoolCounters() : PoolCounters(BlockDuplicationPolicy::reject) {}
};

TEST_F(PoolCounters, a_new_pool_has_all_blocks_free_and_nothing_else) {
    EXPECT_EQ(manager_.metrics()->snapshot(), (MetricsSnapshot{.reset_pool_size = 8}));
}

TEST_F(PoolCounters, an_allocation_of_free_blocks_counts_them_and_their_guards) {
    const auto blocks = manager_.allocate_blocks(3);

    EXPECT_EQ(moved(), (MetricsSnapshot{.allocations = 3,
                                        .allocations_from_reset = 3,
                                        .inflight_mutable = 3,
                                        .reset_pool_size = -3}));
}

TEST_F(PoolCounters, an_allocation_that_evicts_says_how_many_were_free) {
    cached(chain(5));

    const auto blocks = manager_.allocate_blocks(4);

    EXPECT_EQ(moved(), (MetricsSnapshot{.allocations = 4,
                                        .allocations_from_reset = 3,
                                        .evictions = 1,
                                        .inflight_mutable = 4,
                                        .reset_pool_size = -3,
                                        .inactive_pool_size = -1}));
}

TEST_F(PoolCounters, a_failed_allocation_moves_nothing) {
    EXPECT_FALSE(manager_.allocate_blocks(9).has_value());
    EXPECT_TRUE(manager_.allocate_blocks(0).has_value());

    EXPECT_EQ(moved(), MetricsSnapshot{});
}

TEST_F(PoolCounters, a_dropped_mutable_block_is_free_again) {
    auto blocks = manager_.allocate_blocks(2);
    moved();

    blocks.reset();

    EXPECT_EQ(moved(), (MetricsSnapshot{.inflight_mutable = -2, .reset_pool_size = 2}));
}

TEST_F(PoolCounters, a_staging_counts_and_leaves_the_gauges) {
    auto blocks = manager_.allocate_blocks(2);
    moved();

    const auto complete = must(std::move(*blocks).stage_all(chain(2), block_size));

    EXPECT_EQ(moved(), (MetricsSnapshot{.stagings = 2, .inflight_mutable = -2}));
}

TEST_F(PoolCounters, a_failed_staging_moves_nothing) {
    auto blocks = manager_.allocate_blocks(2);
    moved();

    const auto refused = std::move(*blocks).stage_all(chain(2), 8);

    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(moved(), MetricsSnapshot{});
}

TEST_F(PoolCounters, taking_a_staging_back_does_not_take_its_count_back) {
    auto complete = staged(chain(2));
    moved();

    const auto blocks = std::move(complete).reset_all();

    EXPECT_EQ(moved(), (MetricsSnapshot{.inflight_mutable = 2}));
}

TEST_F(PoolCounters, a_registration_counts_and_gives_immutable_guards) {
    auto complete = staged(chain(3));
    moved();

    const auto blocks = must(manager_.register_blocks(std::move(complete)));

    EXPECT_EQ(moved(), (MetricsSnapshot{.registrations = 3, .inflight_immutable = 3}));
}

TEST_F(PoolCounters, a_duplicate_counts_among_the_registrations_as_well) {
    const auto primary = registered(chain(2));
    auto complete = staged(chain(2));
    moved();

    const auto duplicates = must(manager_.register_blocks(std::move(complete)));

    EXPECT_EQ(moved(), (MetricsSnapshot{
                           .registrations = 2, .duplicate_blocks = 2, .inflight_immutable = 2}));
}

TEST_F(RejectingPoolCounters, a_rejected_block_counts_among_the_registrations_as_well) {
    const auto primary = registered(chain(2));
    auto complete = staged(chain(2));
    moved();

    const auto same = must(manager_.register_blocks(std::move(complete)));

    EXPECT_EQ(moved(), (MetricsSnapshot{.registrations = 2,
                                        .registration_dedup = 2,
                                        .inflight_immutable = 2,
                                        .reset_pool_size = 2}));
}

TEST_F(PoolCounters, a_registration_of_foreign_blocks_moves_nothing) {
    auto other = make(BlockDuplicationPolicy::allow);
    auto foreign = must(std::move(*other.allocate_blocks(2)).stage_all(chain(2), block_size));

    const auto refused = manager_.register_blocks(std::move(foreign));

    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(moved(), MetricsSnapshot{});
}

TEST_F(PoolCounters, a_match_counts_hashes_and_blocks) {
    cached(chain(2));

    const auto hits = manager_.match_blocks(chain(5));

    EXPECT_EQ(moved(), (MetricsSnapshot{.match_hashes_requested = 5,
                                        .match_blocks_returned = 2,
                                        .inflight_immutable = 2,
                                        .inactive_pool_size = -2}));
}

TEST_F(PoolCounters, a_scattered_match_counts_occurrences_as_a_match_does) {
    cached(chain(2));
    const auto known = chain(2);
    const Hashes asked{chain(1, 9)[0], known[1], known[1], chain(1, 8)[0]};

    const auto hits = manager_.match_blocks_scattered(asked);

    EXPECT_EQ(moved(), (MetricsSnapshot{.match_hashes_requested = 4,
                                        .match_blocks_returned = 2,
                                        .inflight_immutable = 2,
                                        .inactive_pool_size = -1}));
}

TEST_F(PoolCounters, a_scan_counts_distinct_hashes) {
    cached(chain(2));
    const auto known = chain(2);
    const Hashes asked{known[1], known[1], chain(1, 8)[0]};

    const auto found = manager_.scan_matches(asked, Touch::no);

    EXPECT_EQ(moved(), (MetricsSnapshot{.scan_hashes_requested = 3,
                                        .scan_blocks_returned = 1,
                                        .inflight_immutable = 1,
                                        .inactive_pool_size = -1}));
}

TEST_F(PoolCounters, guards_are_counted_not_blocks) {
    const auto blocks = registered(chain(1));
    moved();

    const auto again = manager_.match_blocks(chain(1));
    ImmutableBlock<> copy = again[0];

    EXPECT_EQ(moved().inflight_immutable, 2);
    {
        const ImmutableBlock<> gone = std::move(copy);
    }
    EXPECT_EQ(moved(), (MetricsSnapshot{.inflight_immutable = -1}));
}

TEST_F(PoolCounters, pins_and_weak_blocks_are_no_guards) {
    const auto blocks = registered(chain(1));
    moved();

    const auto pin = blocks[0].pin();
    const auto weak = blocks[0].downgrade();

    EXPECT_EQ(moved(), MetricsSnapshot{});
}

TEST_F(PoolCounters, draining_the_inactive_pool_moves_gauges_only) {
    cached(chain(3));

    EXPECT_EQ(must(manager_.reset_inactive_pool()), 3u);

    EXPECT_EQ(moved(), (MetricsSnapshot{.reset_pool_size = 3, .inactive_pool_size = -3}));
}

TEST_F(PoolCounters, one_thread_never_moves_the_counters_of_races) {
    cached(chain(8));
    manager_.match_blocks(chain(8)).clear();
    const auto blocks = manager_.allocate_blocks(8);

    const auto all = manager_.metrics()->snapshot();

    EXPECT_EQ(all.eager_primary_to_inactive_total, 0u);
    EXPECT_EQ(all.allocate_atomic_rollback_total, 0u);
    EXPECT_EQ(all.release_primary_noop_total, 0u);
    EXPECT_EQ(all.release_duplicate_noop_total, 0u);
}

}  // namespace
