// The numbers of one pool: each has its own place in the snapshot, and guards counted on many
// threads add up.
#include <cstdint>
#include <latch>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

import kvbm.metrics;

namespace {

using kvbm::BlockPoolMetrics;
using kvbm::MetricsSnapshot;
using kvbm::detail::metrics::counters_of;

TEST(BlockPoolMetrics, starts_at_zero_under_its_label) {
    const BlockPoolMetrics metrics("G1");

    EXPECT_EQ(metrics.type_label(), "G1");
    EXPECT_EQ(metrics.snapshot(), MetricsSnapshot{});
}

TEST(BlockPoolMetrics, shows_each_number_in_its_own_field) {
    BlockPoolMetrics metrics("pool");
    auto& counters = counters_of(metrics);

    counters.allocations_add(1);
    counters.allocations_from_reset_add(2);
    counters.evictions_add(3);
    counters.registrations_add(4);
    counters.duplicate_blocks_add(5);
    counters.registration_dedup_add(6);
    counters.stagings_add(7);
    counters.match_hashes_requested_add(8);
    counters.match_blocks_returned_add(9);
    counters.scan_hashes_requested_add(10);
    counters.scan_blocks_returned_add(11);
    counters.eager_primary_to_inactive_add(12);
    counters.allocate_atomic_rollback_add(13);
    counters.release_primary_noop_add(14);
    counters.release_duplicate_noop_add(15);
    counters.inflight_mutable_add(16);
    counters.inflight_immutable_add(17);
    counters.reset_pool_size_set(18);
    counters.inactive_pool_size_set(19);

    EXPECT_EQ(metrics.snapshot(), (MetricsSnapshot{.allocations = 1,
                                                   .allocations_from_reset = 2,
                                                   .evictions = 3,
                                                   .registrations = 4,
                                                   .duplicate_blocks = 5,
                                                   .registration_dedup = 6,
                                                   .stagings = 7,
                                                   .match_hashes_requested = 8,
                                                   .match_blocks_returned = 9,
                                                   .scan_hashes_requested = 10,
                                                   .scan_blocks_returned = 11,
                                                   .eager_primary_to_inactive_total = 12,
                                                   .allocate_atomic_rollback_total = 13,
                                                   .release_primary_noop_total = 14,
                                                   .release_duplicate_noop_total = 15,
                                                   .inflight_mutable = 16,
                                                   .inflight_immutable = 17,
                                                   .reset_pool_size = 18,
                                                   .inactive_pool_size = 19}));
}

TEST(BlockPoolMetrics, gauges_fall_below_what_they_were) {
    BlockPoolMetrics metrics("pool");
    auto& counters = counters_of(metrics);

    counters.reset_pool_size_set(10);
    counters.reset_pool_size_set(7);
    counters.inflight_immutable_add(2);
    counters.inflight_immutable_add(-2);

    EXPECT_EQ(metrics.snapshot(), (MetricsSnapshot{.reset_pool_size = 7}));
}

TEST(BlockPoolMetrics, guards_counted_on_many_threads_add_up) {
    constexpr int threads_count = 20;
    constexpr int rounds = 1000;
    BlockPoolMetrics metrics("pool");
    std::latch start(threads_count);

    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < threads_count; ++i) {
            threads.emplace_back([&] {
                start.arrive_and_wait();
                for (int round = 0; round < rounds; ++round) {
                    counters_of(metrics).inflight_immutable_add(2);
                    counters_of(metrics).inflight_immutable_add(-1);
                    counters_of(metrics).registrations_add(1);
                }
            });
        }
    }

    EXPECT_EQ(metrics.snapshot().inflight_immutable, threads_count * rounds);
    EXPECT_EQ(metrics.snapshot().registrations, std::uint64_t{threads_count} * rounds);
}

}  // namespace
