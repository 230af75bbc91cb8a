// Rates of a pool over time, at times that the test chooses, and the thread that samples.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

import kvbm.metrics;

namespace {

using namespace kvbm;
using namespace std::chrono_literals;
using kvbm::detail::metrics::counters_of;

/// A pool, and a collector whose clock is set by hand.
struct Sampled {
    std::shared_ptr<BlockPoolMetrics> metrics = std::make_shared<BlockPoolMetrics>("pool");
    StatsCollector stats;
    StatsCollector::TimePoint now;

    explicit Sampled(const StatsConfig& config = {}) : stats(metrics, config) {
        stats.set_enabled(true);
    }
    auto& counters() { return counters_of(*metrics); }
    /// A sample so much later.
    StatsSnapshot after(std::chrono::milliseconds time) {
        now += time;
        stats.sample(now);
        return stats.latest().value_or(StatsSnapshot{.reset_pool_size = -1});
    }
};

TEST(StatsCollector, is_disabled_at_first_and_then_samples_nothing) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"));

    stats.sample();
    stats.sample(StatsCollector::TimePoint(1s));

    EXPECT_FALSE(stats.is_enabled());
    EXPECT_EQ(stats.latest(), std::nullopt);
    EXPECT_TRUE(stats.window(10).empty());
}

TEST(StatsCollector, disabled_again_keeps_what_it_has) {
    Sampled pool;
    pool.counters().reset_pool_size_set(7);
    pool.after(1s);

    pool.stats.set_enabled(false);
    pool.counters().reset_pool_size_set(8);
    pool.after(1s);

    EXPECT_FALSE(pool.stats.is_enabled());
    EXPECT_EQ(pool.stats.window(10), (std::vector{StatsSnapshot{.reset_pool_size = 7}}));
}

TEST(StatsCollector, the_first_sample_has_the_gauges_and_no_rates) {
    Sampled pool;
    pool.counters().allocations_add(100);
    pool.counters().evictions_add(50);
    pool.counters().match_hashes_requested_add(10);
    pool.counters().match_blocks_returned_add(5);
    pool.counters().inflight_mutable_add(1);
    pool.counters().inflight_immutable_add(2);
    pool.counters().reset_pool_size_set(3);
    pool.counters().inactive_pool_size_set(4);

    EXPECT_EQ(pool.after(1s), (StatsSnapshot{.inflight_mutable = 1,
                                             .inflight_immutable = 2,
                                             .reset_pool_size = 3,
                                             .inactive_pool_size = 4}));
}

TEST(StatsCollector, rates_are_differences_per_second) {
    Sampled pool;
    pool.counters().allocations_add(100);
    pool.after(0s);

    pool.counters().allocations_add(10);
    pool.counters().evictions_add(3);
    const auto sample = pool.after(500ms);

    EXPECT_DOUBLE_EQ(sample.allocation_rate, 20);
    EXPECT_DOUBLE_EQ(sample.eviction_rate, 6);
}

TEST(StatsCollector, gradients_are_changes_of_rates_per_second) {
    Sampled pool;
    pool.after(0s);
    pool.counters().allocations_add(10);
    pool.counters().evictions_add(8);
    const auto second = pool.after(2s);
    pool.counters().allocations_add(30);
    const auto third = pool.after(2s);

    EXPECT_DOUBLE_EQ(second.allocation_gradient, 5 / 2.0);
    EXPECT_DOUBLE_EQ(second.eviction_gradient, 4 / 2.0);
    EXPECT_DOUBLE_EQ(third.allocation_gradient, (15 - 5) / 2.0);
    EXPECT_DOUBLE_EQ(third.eviction_gradient, (0 - 4) / 2.0);
}

TEST(StatsCollector, hit_rates_are_of_what_was_asked_since_the_sample_before) {
    Sampled pool;
    pool.counters().match_hashes_requested_add(1000);
    pool.after(0s);
    pool.counters().match_hashes_requested_add(10);
    pool.counters().match_blocks_returned_add(7);
    pool.counters().scan_hashes_requested_add(4);
    pool.counters().scan_blocks_returned_add(1);
    const auto sample = pool.after(3s);

    EXPECT_DOUBLE_EQ(sample.match_hit_rate, 0.7);
    EXPECT_DOUBLE_EQ(sample.scan_hit_rate, 0.25);
}

TEST(StatsCollector, hit_rates_are_0_when_nothing_was_asked) {
    Sampled pool;
    pool.counters().match_hashes_requested_add(10);
    pool.counters().match_blocks_returned_add(7);
    pool.after(0s);
    const auto sample = pool.after(1s);

    EXPECT_EQ(sample, (StatsSnapshot{}));
}

TEST(StatsCollector, keeps_the_last_3_of_5_samples) {
    Sampled pool({.window_size = 3});
    for (int i = 1; i <= 5; ++i) {
        pool.counters().reset_pool_size_set(i);
        pool.after(1s);
    }
    const StatsSnapshot third{.reset_pool_size = 3};
    const StatsSnapshot fourth{.reset_pool_size = 4};
    const StatsSnapshot fifth{.reset_pool_size = 5};

    EXPECT_EQ(pool.stats.window(100), (std::vector{third, fourth, fifth}));
    EXPECT_EQ(pool.stats.window(2), (std::vector{fourth, fifth}));
    EXPECT_TRUE(pool.stats.window(0).empty());
    EXPECT_EQ(pool.stats.latest(), fifth);
}

TEST(StatsCollector, a_window_of_no_sample_keeps_none) {
    Sampled pool({.window_size = 0});
    pool.after(1s);
    pool.after(1s);

    EXPECT_EQ(pool.stats.latest(), std::nullopt);
    EXPECT_TRUE(pool.stats.window(10).empty());
}

TEST(StatsCollector, a_clock_that_stands_still_gives_zeros) {
    Sampled pool;
    pool.after(1s);
    pool.counters().allocations_add(10);
    pool.counters().match_hashes_requested_add(10);
    pool.counters().match_blocks_returned_add(10);
    pool.counters().inactive_pool_size_set(6);

    EXPECT_EQ(pool.after(0s), (StatsSnapshot{.inactive_pool_size = 6}));
}

TEST(StatsCollector, a_clock_that_was_set_back_gives_zeros_once) {
    Sampled pool;
    pool.after(10s);
    pool.counters().allocations_add(10);
    EXPECT_EQ(pool.after(-5s), (StatsSnapshot{}));

    pool.counters().allocations_add(4);

    EXPECT_DOUBLE_EQ(pool.after(2s).allocation_rate, 2);
}

TEST(StatsCollector, outlives_the_pool_it_reads) {
    auto metrics = std::make_shared<BlockPoolMetrics>("pool");
    counters_of(*metrics).reset_pool_size_set(9);
    StatsCollector stats(metrics);
    stats.set_enabled(true);
    metrics.reset();

    stats.sample();

    EXPECT_EQ(stats.latest(), (StatsSnapshot{.reset_pool_size = 9}));
}

// --- the thread ---

TEST(StatsCollector, start_enables_and_samples_at_once) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"), {.sample_interval = 24h});

    stats.start();

    EXPECT_TRUE(stats.is_enabled());
    EXPECT_EQ(stats.window(10).size(), 1u);
}

TEST(StatsCollector, start_goes_on_sampling) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"), {.sample_interval = 1us});

    stats.start();
    while (stats.window(5).size() < 5) {
        std::this_thread::yield();
    }
}

TEST(StatsCollector, stop_waits_for_no_interval_and_keeps_the_samples) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"),
                         {.sample_interval = std::chrono::steady_clock::duration::max()});
    stats.start();

    stats.stop();

    EXPECT_EQ(stats.window(10).size(), 1u);
    EXPECT_TRUE(stats.is_enabled());
}

TEST(StatsCollector, starts_again_after_a_stop_and_runs_once_when_started_twice) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"), {.sample_interval = 24h});
    stats.stop();
    stats.start();
    stats.start();
    EXPECT_EQ(stats.window(10).size(), 1u);

    stats.stop();
    stats.start();

    EXPECT_EQ(stats.window(10).size(), 2u);
}

TEST(StatsCollector, threads_sample_read_start_and_stop_at_once) {
    constexpr int threads_count = 4;
    constexpr int rounds = 50;
    const auto metrics = std::make_shared<BlockPoolMetrics>("pool");
    StatsCollector stats(metrics, {.window_size = 8, .sample_interval = 1us});
    std::latch begin(threads_count);

    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < threads_count; ++i) {
            threads.emplace_back([&] {
                begin.arrive_and_wait();
                for (int round = 0; round < rounds; ++round) {
                    stats.start();
                    counters_of(*metrics).registrations_add(1);
                    stats.sample();
                    EXPECT_LE(stats.window(100).size(), 8u);
                    EXPECT_TRUE(stats.latest().has_value());
                    stats.stop();
                }
            });
        }
    }

    EXPECT_EQ(stats.window(100).size(), 8u);
}

TEST(StatsCollectorDeathTest, an_interval_of_nothing_is_refused) {
    StatsCollector stats(std::make_shared<BlockPoolMetrics>("pool"), {.sample_interval = 0s});

    EXPECT_DEATH(stats.start(), "a sampling interval is positive");
    EXPECT_DEATH(StatsCollector(nullptr), "a source of metrics is not null");
}

}  // namespace
