// Replays by example: what a hit is, what is cut, which requests count, and why a replay is
// refused.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.replay;

namespace {

using namespace kvbm_test;
using kvbm::ReplayMode;
using kvbm::ReplayOptions;
using kvbm::ReplayOrder;
using kvbm::ReplayPolicy;

kvbm::ReplayRun run_of(const Requests& requests, const ReplayOptions& options) {
    return kvbm::must(kvbm::replay(hashes_of(requests), options));
}

std::string refusal(const Requests& requests, const ReplayOptions& options) {
    const auto run = kvbm::replay(hashes_of(requests), options);
    return run.has_value() ? "" : run.error().message();
}

TEST(Replay, a_hit_is_a_block_of_the_longest_resident_prefix) {
    const auto run = run_of({{{1, 2, 3}, {1, 2, 4}, {5, 2, 3}}}, {});

    EXPECT_EQ(run.block_references, 9u);
    EXPECT_EQ(run.block_hits, 2u);
    EXPECT_EQ(run.requests_with_hit, 1u);
    EXPECT_EQ(run.resident, 7u);
}

TEST(Replay, a_resident_block_behind_a_hole_is_no_hit) {
    // Released from its head on, [1 2 3] loses 1 first, to [5].
    const auto run =
        run_of({{{1, 2, 3}, {5}, {1, 2, 3}}}, {.capacity = 3, .order = ReplayOrder::head});

    EXPECT_EQ(run.block_hits, 0u);
}

TEST(Replay, released_from_the_tail_a_request_keeps_its_head_longest) {
    const auto run = run_of({{{1, 2, 3}, {5}, {1, 2, 3}}}, {.capacity = 3});

    EXPECT_EQ(run.block_hits, 2u);
    EXPECT_EQ(run.evictions, 2u);
}

TEST(Replay, a_hit_block_counts_the_tokens_that_are_left_of_the_input) {
    // Three blocks of 4 tokens, the last of which has 1 (see tokens_of).
    const auto run = run_of({{{1, 2, 3}, {1, 2, 3}}}, {});

    EXPECT_EQ(run.input_tokens, 18u);
    EXPECT_EQ(run.block_hits, 3u);
    EXPECT_EQ(run.token_hits, 9u);
    EXPECT_DOUBLE_EQ(run.token_hit_rate(), 0.5);
    EXPECT_DOUBLE_EQ(run.block_hit_rate(), 0.5);
    EXPECT_DOUBLE_EQ(run.full_block_token_rate(), 12.0 / 18);
}

TEST(Replay, means_weigh_requests_equally) {
    const auto run = run_of({{{1}, {1, 2, 3, 4}, {1, 2}}}, {});

    EXPECT_DOUBLE_EQ(run.mean_block_hit_rate, (0 + 0.25 + 1) / 3);
    EXPECT_DOUBLE_EQ(run.mean_token_hit_rate, (0 + 4.0 / 16 + 1) / 3);
}

TEST(Replay, of_a_request_longer_than_the_cache_the_head_is_kept) {
    const auto run = run_of({{{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}}}, {.capacity = 2});

    EXPECT_EQ(run.cut_requests, 2u);
    EXPECT_EQ(run.skipped_blocks, 6u);
    EXPECT_EQ(run.block_hits, 2u);
    EXPECT_EQ(run.evictions, 0u);
    EXPECT_EQ(run.resident, 2u);
}

TEST(Replay, the_ideal_cache_cuts_nothing_and_evicts_blocks_of_the_same_request) {
    const auto run = run_of({{{1, 2, 3, 4, 5}}}, {.capacity = 2, .mode = ReplayMode::ideal});

    EXPECT_EQ(run.cut_requests, 0u);
    EXPECT_EQ(run.evictions, 3u);
    EXPECT_EQ(run.resident, 2u);
}

TEST(Replay, a_cache_of_one_block_serves_equal_neighbours) {
    const auto run = run_of({{{1}, {1}, {2}, {1}}}, {.capacity = 1});

    EXPECT_EQ(run.block_hits, 1u);
    EXPECT_EQ(run.evictions, 2u);
}

TEST(Replay, a_request_without_blocks_changes_nothing) {
    const auto run = run_of({{{1, 2}, {}, {1, 2}}}, {.capacity = 2});

    EXPECT_EQ(run.requests, 3u);
    EXPECT_EQ(run.block_hits, 2u);
    EXPECT_DOUBLE_EQ(run.mean_block_hit_rate, 1.0 / 3);
}

TEST(Replay, a_trace_of_empty_requests_has_rate_0) {
    const auto run = run_of({{{}, {}}}, {});

    EXPECT_EQ(run.requests, 2u);
    EXPECT_EQ(run.resident, 0u);
    EXPECT_EQ(run.block_hit_rate(), 0.0);
    EXPECT_EQ(run.token_hit_rate(), 0.0);
    EXPECT_EQ(run.ceiling(), 0.0);
}

TEST(Replay, requests_before_count_from_only_warm_the_cache) {
    const auto run = run_of({{{1, 2}, {3}, {1, 2}}}, {.count_from = 2});

    EXPECT_EQ(run.requests, 1u);
    EXPECT_EQ(run.block_references, 2u);
    EXPECT_EQ(run.block_hits, 2u);
    EXPECT_EQ(run.attainable_hits, 2u);
    EXPECT_EQ(run.resident, 3u);
}

TEST(Replay, a_limit_leaves_the_rest_of_the_trace_alone) {
    const auto run = run_of({{{1, 2}, {1}, {3, 4, 5}}}, {.limit = 2});

    EXPECT_EQ(run.requests, 2u);
    EXPECT_EQ(run.resident, 2u);
}

TEST(Replay, the_ceiling_is_the_share_of_what_an_unlimited_cache_hits) {
    const Requests requests{{{1}, {2}, {1}, {1}}};

    EXPECT_DOUBLE_EQ(run_of(requests, {.capacity = 1}).ceiling(), 0.5);
    EXPECT_DOUBLE_EQ(run_of(requests, {}).ceiling(), 1.0);
}

TEST(Replay, multi_lru_keeps_what_is_used_often) {
    // [1] is used nine times, then eight others come once; LRU has forgotten it by then.
    const Requests requests{
        {{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {1}}};
    const auto last_hits = [&](ReplayPolicy policy, kvbm::SketchLayout sketch) {
        return run_of(requests,
                      {.capacity = 3, .policy = policy, .sketch = sketch, .count_from = 17})
            .block_hits;
    };

    EXPECT_EQ(last_hits(ReplayPolicy::lru, kvbm::SketchLayout::compat), 0u);
    EXPECT_EQ(last_hits(ReplayPolicy::multi_lru, kvbm::SketchLayout::compat), 1u);
    EXPECT_EQ(last_hits(ReplayPolicy::multi_lru, kvbm::SketchLayout::blocked), 1u);
}

TEST(Replay, lineage_evicts_leaves_only) {
    // Released from its head on, [1 2 3] would lose 1 first under LRU.
    const Requests requests{{{1, 2, 3}, {5}, {1, 2, 3}}};
    const ReplayOptions lineage{
        .capacity = 3, .policy = ReplayPolicy::lineage_fifo, .order = ReplayOrder::head};

    EXPECT_EQ(run_of(requests, lineage).block_hits, 2u);
}

TEST(Replay, a_run_says_what_it_was) {
    const auto run = run_of({{{1}}}, {.capacity = 5,
                                      .policy = ReplayPolicy::multi_lru,
                                      .order = ReplayOrder::head,
                                      .sketch = kvbm::SketchLayout::blocked});

    EXPECT_EQ(run.mode, ReplayMode::manager);
    EXPECT_EQ(run.policy, ReplayPolicy::multi_lru);
    EXPECT_EQ(run.order, ReplayOrder::head);
    EXPECT_EQ(run.capacity, std::optional<std::size_t>(5));
    EXPECT_EQ(run.sketch, std::optional(kvbm::SketchLayout::blocked));
    EXPECT_EQ(run.block_size, block_size);
    EXPECT_EQ(run_of({{{1}}}, {}).sketch, std::nullopt);
    EXPECT_EQ(run_of({{{1}}}, {}).capacity, std::nullopt);
}

TEST(Replay, names_are_those_of_the_command_line) {
    EXPECT_EQ(to_string(ReplayPolicy::lru), "lru");
    EXPECT_EQ(to_string(ReplayPolicy::multi_lru), "multi-lru");
    EXPECT_EQ(to_string(ReplayPolicy::lineage_tick), "lineage-tick");
    EXPECT_EQ(to_string(ReplayPolicy::lineage_fifo), "lineage-fifo");
    EXPECT_EQ(to_string(ReplayPolicy::fifo), "fifo");
    EXPECT_EQ(to_string(ReplayMode::manager), "manager");
    EXPECT_EQ(to_string(ReplayMode::ideal), "ideal");
    EXPECT_EQ(to_string(ReplayOrder::tail), "tail");
    EXPECT_EQ(to_string(ReplayOrder::head), "head");
}

TEST(Replay, refuses_with_the_values) {
    const Requests two{{{1}, {2}}};

    EXPECT_EQ(refusal(two, {.capacity = 0}),
              "a cache of 0 blocks holds nothing: the capacity must be at least 1");
    EXPECT_EQ(refusal(two, {.mode = ReplayMode::ideal, .policy = ReplayPolicy::lineage_fifo}),
              "policy \"lineage-fifo\" does not run in mode \"ideal\"");
    EXPECT_EQ(refusal(two, {.count_from = 2}),
              "counting from request 2 of 2 leaves nothing to count");
    EXPECT_EQ(refusal(two, {.count_from = 1, .limit = 1}),
              "counting from request 1 of 1 leaves nothing to count");
}

TEST(Replay, a_block_size_that_no_manager_has_is_refused_in_mode_manager_only) {
    auto trace = trace_of({{{1}, {1}}});
    trace.block_size = 3;
    const auto hashes = kvbm::must(kvbm::TraceHashes::of(trace));

    const auto manager = kvbm::replay(hashes, {});
    const auto ideal = kvbm::replay(hashes, {.mode = ReplayMode::ideal});

    ASSERT_FALSE(manager.has_value());
    EXPECT_EQ(manager.error().message(),
              "Builder validation failed: Invalid block_size 3: must be a power of 2 between 1 and "
              "1024");
    EXPECT_EQ(kvbm::must(ideal).block_hits, 1u);
}

TEST(ReplayAll, gives_results_in_the_order_asked_for_and_those_of_single_replays) {
    const auto hashes = hashes_of({{{1, 2}, {3}, {1, 2}, {3, 4}, {1}}});
    std::vector<ReplayOptions> options;
    for (std::size_t capacity = 1; capacity <= 12; ++capacity) {
        options.push_back({.capacity = 13 - capacity});
    }

    const auto runs = kvbm::must(kvbm::replay_all(hashes, options, 4));

    ASSERT_EQ(runs.size(), options.size());
    for (std::size_t i = 0; i < runs.size(); ++i) {
        EXPECT_EQ(runs[i].capacity, options[i].capacity);
        EXPECT_EQ(counts_of(runs[i]), counts_of(kvbm::must(kvbm::replay(hashes, options[i]))));
    }
}

TEST(ReplayAll, gives_the_first_error_in_the_order_asked_for) {
    const auto hashes = hashes_of({{{1}}});
    const std::vector<ReplayOptions> options{{.capacity = 1}, {.count_from = 7}, {.capacity = 0}};

    const auto runs = kvbm::replay_all(hashes, options, 3);

    ASSERT_FALSE(runs.has_value());
    EXPECT_EQ(runs.error().message(), "counting from request 7 of 1 leaves nothing to count");
}

TEST(ReplayAll, of_nothing_is_nothing) {
    EXPECT_TRUE(kvbm::must(kvbm::replay_all(hashes_of({{{1}}}), {}, 2)).empty());
}

TEST(ReplayAll, tells_its_progress_in_requests) {
    const auto hashes =
        kvbm::must(kvbm::TraceHashes::of(kvbm::must(kvbm::generate("agent", {.requests = 130}))));
    std::atomic<std::size_t> done = 0;
    const std::vector<ReplayOptions> options{
        {.capacity = 10, .progress = &done},
        {.mode = ReplayMode::ideal, .limit = 100, .progress = &done}};

    kvbm::must(kvbm::replay_all(hashes, options, 2));

    EXPECT_EQ(done, 230u);
}

}  // namespace
