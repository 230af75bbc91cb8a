// The text a scraper gets: families, labels, order, escapes; and what a pool's numbers outlive.
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.metrics;

namespace {

using namespace kvbm;
using kvbm::detail::metrics::counters_of;

std::shared_ptr<BlockPoolMetrics> pool(const std::string& label, std::uint64_t allocations = 0) {
    auto metrics = std::make_shared<BlockPoolMetrics>(label);
    counters_of(*metrics).allocations_add(allocations);
    return metrics;
}

/// The lines that begin so.
std::vector<std::string> lines(const std::string& text, std::string_view beginning) {
    std::vector<std::string> found;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with(beginning)) {
            found.push_back(line);
        }
    }
    return found;
}

std::vector<std::string> allocation_lines(const MetricsAggregator& aggregator) {
    return lines(aggregator.to_prometheus(), "kvbm_allocations_total");
}

using Lines = std::vector<std::string>;

TEST(MetricsAggregator, without_sources_is_empty_text) {
    MetricsAggregator aggregator;
    aggregator.set_external_labels({{"worker_id", "w0"}});

    EXPECT_EQ(aggregator.to_prometheus(), "");
}

TEST(MetricsAggregator, one_source_is_this_text) {
    auto metrics = pool("G1", 1);
    auto& counters = counters_of(*metrics);
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
    MetricsAggregator aggregator;
    aggregator.register_source(metrics);

    EXPECT_EQ(aggregator.to_prometheus(),
              R"(# HELP kvbm_allocations_total Blocks handed out.
# TYPE kvbm_allocations_total counter
kvbm_allocations_total{pool="G1"} 1
# HELP kvbm_allocations_from_reset_total Blocks handed out that were free.
# TYPE kvbm_allocations_from_reset_total counter
kvbm_allocations_from_reset_total{pool="G1"} 2
# HELP kvbm_evictions_total Blocks handed out that were cached until then.
# TYPE kvbm_evictions_total counter
kvbm_evictions_total{pool="G1"} 3
# HELP kvbm_registrations_total Blocks registered, duplicates and rejects included.
# TYPE kvbm_registrations_total counter
kvbm_registrations_total{pool="G1"} 4
# HELP kvbm_duplicate_blocks_total Blocks registered beside another one of the same hash.
# TYPE kvbm_duplicate_blocks_total counter
kvbm_duplicate_blocks_total{pool="G1"} 5
# HELP kvbm_registration_dedup_total Blocks rejected at registration in favour of the one already there.
# TYPE kvbm_registration_dedup_total counter
kvbm_registration_dedup_total{pool="G1"} 6
# HELP kvbm_stagings_total Blocks that were given a hash.
# TYPE kvbm_stagings_total counter
kvbm_stagings_total{pool="G1"} 7
# HELP kvbm_match_hashes_requested_total Hashes that matches were asked for.
# TYPE kvbm_match_hashes_requested_total counter
kvbm_match_hashes_requested_total{pool="G1"} 8
# HELP kvbm_match_blocks_returned_total Blocks that matches returned.
# TYPE kvbm_match_blocks_returned_total counter
kvbm_match_blocks_returned_total{pool="G1"} 9
# HELP kvbm_scan_hashes_requested_total Hashes that scans were asked for.
# TYPE kvbm_scan_hashes_requested_total counter
kvbm_scan_hashes_requested_total{pool="G1"} 10
# HELP kvbm_scan_blocks_returned_total Distinct hashes that scans found.
# TYPE kvbm_scan_blocks_returned_total counter
kvbm_scan_blocks_returned_total{pool="G1"} 11
# HELP kvbm_eager_primary_to_inactive_total Lookups that revived a block between its last drop and its release.
# TYPE kvbm_eager_primary_to_inactive_total counter
kvbm_eager_primary_to_inactive_total{pool="G1"} 12
# HELP kvbm_allocate_atomic_rollback_total Allocations for which the eviction policy gave fewer blocks than it held.
# TYPE kvbm_allocate_atomic_rollback_total counter
kvbm_allocate_atomic_rollback_total{pool="G1"} 13
# HELP kvbm_release_primary_noop_total Last drops of a block that found it released or revived already.
# TYPE kvbm_release_primary_noop_total counter
kvbm_release_primary_noop_total{pool="G1"} 14
# HELP kvbm_release_duplicate_noop_total Last drops of a duplicate that found it released or revived already.
# TYPE kvbm_release_duplicate_noop_total counter
kvbm_release_duplicate_noop_total{pool="G1"} 15
# HELP kvbm_inflight_mutable Guards of mutable blocks alive.
# TYPE kvbm_inflight_mutable gauge
kvbm_inflight_mutable{pool="G1"} 16
# HELP kvbm_inflight_immutable Guards of registered blocks alive.
# TYPE kvbm_inflight_immutable gauge
kvbm_inflight_immutable{pool="G1"} 17
# HELP kvbm_reset_pool_size Free blocks.
# TYPE kvbm_reset_pool_size gauge
kvbm_reset_pool_size{pool="G1"} 18
# HELP kvbm_inactive_pool_size Cached blocks that nobody holds.
# TYPE kvbm_inactive_pool_size gauge
kvbm_inactive_pool_size{pool="G1"} 19
)");
}

TEST(MetricsAggregator, has_a_line_per_source_in_order_of_registration_and_each_family_once) {
    MetricsAggregator aggregator;
    aggregator.register_source(pool("G2", 10));
    aggregator.register_source(pool("G1", 5));
    aggregator.set_external_labels({{"worker_id", "w0"}});

    EXPECT_EQ(allocation_lines(aggregator),
              (Lines{R"(kvbm_allocations_total{pool="G2",worker_id="w0"} 10)",
                     R"(kvbm_allocations_total{pool="G1",worker_id="w0"} 5)"}));
    EXPECT_EQ(lines(aggregator.to_prometheus(), "# TYPE").size(), 19u);
    EXPECT_EQ(lines(aggregator.to_prometheus(), "# HELP").size(), 19u);
    EXPECT_EQ(lines(aggregator.to_prometheus(), "").size(), 19u * 4);
}

TEST(MetricsAggregator, sources_of_equal_name_stay_two_lines) {
    MetricsAggregator aggregator;
    aggregator.register_source(pool("G1", 1));
    aggregator.register_source(pool("G1", 2));

    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="G1"} 1)",
                                                   R"(kvbm_allocations_total{pool="G1"} 2)"}));
}

TEST(MetricsAggregator, a_source_registered_twice_keeps_its_place) {
    MetricsAggregator aggregator;
    const auto first = pool("first");
    aggregator.register_source(first);
    aggregator.register_source(pool("second"));
    aggregator.register_source(first);

    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="first"} 0)",
                                                   R"(kvbm_allocations_total{pool="second"} 0)"}));
}

TEST(MetricsAggregator, a_removed_source_is_gone) {
    MetricsAggregator aggregator;
    const auto first = pool("first");
    aggregator.register_source(first);
    aggregator.register_source(pool("second"));

    EXPECT_TRUE(aggregator.remove_source(first));
    EXPECT_FALSE(aggregator.remove_source(first));

    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="second"} 0)"}));
}

TEST(MetricsAggregator, external_labels_come_behind_pool_in_the_given_order) {
    MetricsAggregator aggregator;
    aggregator.register_source(pool("G1"));
    aggregator.set_external_labels({{"z", "1"}, {"a_2", "2"}, {"_b", "3"}});

    EXPECT_EQ(allocation_lines(aggregator),
              (Lines{R"(kvbm_allocations_total{pool="G1",z="1",a_2="2",_b="3"} 0)"}));
}

TEST(MetricsAggregator, external_labels_count_at_the_time_of_the_scrape) {
    MetricsAggregator aggregator;
    aggregator.set_external_labels({{"worker_id", "w0"}});
    aggregator.register_source(pool("G1"));
    aggregator.set_external_labels({{"worker_id", "w1"}});

    EXPECT_EQ(allocation_lines(aggregator),
              (Lines{R"(kvbm_allocations_total{pool="G1",worker_id="w1"} 0)"}));

    aggregator.set_external_labels({});

    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="G1"} 0)"}));
}

TEST(MetricsAggregator, escapes_backslash_quote_and_newline_of_label_values) {
    MetricsAggregator aggregator;
    aggregator.register_source(pool("a\\b\"c\nd"));
    aggregator.set_external_labels({{"x", "\n\"\\\\n"}});

    EXPECT_EQ(allocation_lines(aggregator),
              (Lines{R"(kvbm_allocations_total{pool="a\\b\"c\nd",x="\n\"\\\\n"} 0)"}));
}

TEST(MetricsAggregator, shows_gauges_below_zero_as_they_are) {
    MetricsAggregator aggregator;
    const auto metrics = pool("G1");
    counters_of(*metrics).inflight_immutable_add(-3);
    aggregator.register_source(metrics);

    EXPECT_EQ(lines(aggregator.to_prometheus(), "kvbm_inflight_immutable"),
              (Lines{R"(kvbm_inflight_immutable{pool="G1"} -3)"}));
}

TEST(MetricsAggregator, copies_share_one_list) {
    MetricsAggregator aggregator;
    MetricsAggregator copy = aggregator;
    copy.register_source(pool("G1", 3));
    const MetricsAggregator moved = std::move(copy);

    EXPECT_EQ(aggregator.to_prometheus(), moved.to_prometheus());
    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="G1"} 3)"}));
}

TEST(MetricsAggregatorDeathTest, label_names_that_would_break_the_text_are_refused) {
    MetricsAggregator aggregator;

    EXPECT_DEATH(aggregator.set_external_labels({{"", "x"}}), "a label name is letters");
    EXPECT_DEATH(aggregator.set_external_labels({{"1a", "x"}}), "a label name is letters");
    EXPECT_DEATH(aggregator.set_external_labels({{"a-b", "x"}}), "a label name is letters");
    EXPECT_DEATH(aggregator.set_external_labels({{"pool", "x"}}), "not named pool");
    EXPECT_DEATH(aggregator.set_external_labels({{"a", "x"}, {"b", "y"}, {"a", "z"}}),
                 "different names");
    EXPECT_DEATH(aggregator.register_source(nullptr), "a source of metrics is not null");
}

// --- the option of a manager ---

struct Vec {};
template <class T>
struct Templated {};
struct Labelled {
    static constexpr std::string_view label = "labelled";
};

template <class Tier>
BlockManagerBuilder<Tier> builder(const MetricsAggregator& aggregator) {
    auto builder = BlockManager<Tier>::builder();
    builder.block_count(4).registry(BlockRegistry()).aggregator(aggregator);
    return builder;
}

TEST(BlockManagerBuilder, a_manager_is_a_source_under_the_label_of_its_tier) {
    const MetricsAggregator aggregator;
    const auto of_g1 = must(builder<G1>(aggregator).build());
    const auto of_default = must(builder<DefaultTier>(aggregator).build());
    const auto of_own = must(builder<Vec>(aggregator).build());
    const auto of_template = must(builder<Templated<int>>(aggregator).build());
    const auto of_labelled = must(builder<Labelled>(aggregator).build());
    const auto of_pool = must(builder<Labelled>(aggregator).pool_label("mine").build());

    EXPECT_EQ(
        lines(aggregator.to_prometheus(), "kvbm_reset_pool_size"),
        (Lines{R"(kvbm_reset_pool_size{pool="G1"} 4)", R"(kvbm_reset_pool_size{pool="default"} 4)",
               R"(kvbm_reset_pool_size{pool="Vec"} 4)",
               R"(kvbm_reset_pool_size{pool="Templated"} 4)",
               R"(kvbm_reset_pool_size{pool="labelled"} 4)",
               R"(kvbm_reset_pool_size{pool="mine"} 4)"}));
}

TEST(BlockManagerBuilder, a_failed_build_adds_no_source_and_takes_no_id) {
    const MetricsAggregator aggregator;
    const auto before = must(builder<G1>(MetricsAggregator()).build());

    const auto refused = builder<G1>(aggregator).block_size(3).build();

    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(aggregator.to_prometheus(), "");
    EXPECT_EQ(must(builder<G1>(aggregator).build()).id().value(), before.id().value() + 1);
}

TEST(BlockManagerBuilder, a_manager_without_aggregator_is_no_source) {
    const MetricsAggregator aggregator;
    auto builder = BlockManager<>::builder();
    const auto manager = must(builder.block_count(4).registry(BlockRegistry()).build());

    EXPECT_EQ(aggregator.to_prometheus(), "");
}

TEST(BlockPoolMetrics, stay_a_source_with_their_last_values_when_the_manager_is_gone) {
    MetricsAggregator aggregator;
    std::shared_ptr<BlockPoolMetrics> metrics;
    {
        auto manager = must(builder<G1>(aggregator).build());
        metrics = manager.metrics();
        const auto blocks = manager.allocate_blocks(3);
    }

    EXPECT_EQ(allocation_lines(aggregator), (Lines{R"(kvbm_allocations_total{pool="G1"} 3)"}));
    EXPECT_EQ(metrics->snapshot().reset_pool_size, 4);

    EXPECT_TRUE(aggregator.remove_source(metrics));
    EXPECT_EQ(aggregator.to_prometheus(), "");
}

TEST(BlockPoolMetrics, are_kept_alive_by_the_aggregator_alone) {
    const MetricsAggregator aggregator;
    {
        const auto manager = must(builder<G1>(aggregator).build());
    }

    EXPECT_EQ(lines(aggregator.to_prometheus(), "kvbm_reset_pool_size"),
              (Lines{R"(kvbm_reset_pool_size{pool="G1"} 4)"}));
}

TEST(MetricsAggregator, threads_register_label_remove_and_scrape_at_once) {
    constexpr int threads_count = 6;
    constexpr int rounds = 200;
    MetricsAggregator aggregator;
    std::latch start(threads_count);

    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < threads_count; ++i) {
            threads.emplace_back([&, i] {
                start.arrive_and_wait();
                for (int round = 0; round < rounds; ++round) {
                    const auto metrics = pool("pool" + std::to_string(i));
                    aggregator.register_source(metrics);
                    aggregator.set_external_labels({{"round", std::to_string(round)}});
                    EXPECT_NE(aggregator.to_prometheus().find("pool" + std::to_string(i)),
                              std::string::npos);
                    EXPECT_TRUE(aggregator.remove_source(metrics));
                }
            });
        }
    }

    EXPECT_EQ(aggregator.to_prometheus(), "");
}

}  // namespace
