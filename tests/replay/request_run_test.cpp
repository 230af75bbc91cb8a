// Whole requests through the scheduler: small traces whose integers can be worked out by hand, laws
// on generated ones, and options that are refused.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

using namespace kvbm;

struct Ask {
    std::uint64_t input;
    std::uint64_t output;
    std::vector<std::uint64_t> ids;
};

Trace trace_of(const std::vector<Ask>& asks, std::uint64_t block_size = 4) {
    Trace trace;
    trace.block_size = block_size;
    for (const Ask& ask : asks) {
        trace.requests.push_back({.input_length = ask.input,
                                  .output_length = ask.output,
                                  .first = trace.ids.size(),
                                  .count = ask.ids.size()});
        trace.ids.insert(trace.ids.end(), ask.ids.begin(), ask.ids.end());
    }
    return trace;
}

RequestReplayRun run_of(const Trace& trace, const RequestReplayOptions& options = {}) {
    return must(replay_requests(trace, options));
}

TEST(RequestReplay, of_one_request_prefills_it_and_decodes_to_its_limit) {
    const auto run = run_of(trace_of({{8, 3, {1, 2}}}), {.capacity = 8});

    EXPECT_EQ(run.completed, 1u);
    EXPECT_EQ(run.rejected, 0u);
    EXPECT_EQ(run.preemptions, 0u);
    EXPECT_EQ(run.steps, 3u);  // the prefill gives the first token
    EXPECT_EQ(run.prompt_tokens, 8u);
    EXPECT_EQ(run.prompt_tokens_cached, 0u);
    EXPECT_EQ(run.output_tokens, 3u);
    EXPECT_EQ(run.recomputed_tokens, 0u);
    EXPECT_EQ(run.evictions, 0u);
    EXPECT_EQ(run.peak_active_blocks, 3u);
}

TEST(RequestReplay, prefills_in_chunks_of_a_turn_each) {
    const auto run = run_of(trace_of({{10, 2, {1, 2, 3}}}), {.capacity = 8, .chunk = 3});

    EXPECT_EQ(run.steps, 5u);  // 3, 3, 3, 1 and a decode
    EXPECT_EQ(run.output_tokens, 2u);
}

TEST(RequestReplay, finds_the_prompt_of_an_earlier_request_but_its_last_token) {
    const std::vector<Ask> asks{{8, 1, {1, 2}}, {8, 1, {1, 2}}, {9, 1, {1, 2, 3}}, {4, 1, {9}}};

    const auto run = run_of(trace_of(asks), {.capacity = 16, .concurrency = 1});

    EXPECT_EQ(run.prompt_tokens_cached, 0u + 4u + 8u + 0u);
    EXPECT_EQ(run.prompt_tokens, 29u);
    EXPECT_DOUBLE_EQ(run.prompt_cache_rate(), 12.0 / 29.0);
    EXPECT_EQ(run.steps, 4u);
}

TEST(RequestReplay, generates_at_least_one_token_and_at_most_the_limit) {
    const auto trace = trace_of({{4, 0, {1}}, {4, 9, {2}}});

    EXPECT_EQ(run_of(trace).output_tokens, 10u);
    EXPECT_EQ(run_of(trace, {.limit_output = 3}).output_tokens, 4u);
    EXPECT_EQ(run_of(trace, {.limit_output = 0}).output_tokens, 2u);
}

TEST(RequestReplay, rejects_what_does_not_fit_alone_and_goes_on) {
    const auto run =
        run_of(trace_of({{16, 1, {1, 2, 3, 4}}, {15, 1, {5, 6, 7, 8}}}), {.capacity = 4});

    EXPECT_EQ(run.rejected, 1u);
    EXPECT_EQ(run.completed, 1u);
    EXPECT_EQ(run.prompt_tokens, 15u);
}

TEST(RequestReplay, of_a_prompt_without_tokens_gets_its_first_token_from_nowhere) {
    const auto run = run_of(trace_of({{0, 3, {}}, {0, 1, {}}}));

    EXPECT_EQ(run.completed, 2u);
    EXPECT_EQ(run.output_tokens, 4u);
}

// Two requests of three blocks each on four: the second gives way at the first decode, waits until
// the first is done, and computes its eight tokens again; its root was evicted.
TEST(RequestReplay, preempts_the_request_admitted_last) {
    const auto run =
        run_of(trace_of({{8, 4, {1, 2}}, {8, 4, {3, 4}}}), {.capacity = 4, .concurrency = 2});

    EXPECT_EQ(run.preemptions, 1u);
    EXPECT_EQ(run.completed, 2u);
    EXPECT_EQ(run.steps, 7u);
    EXPECT_EQ(run.output_tokens, 8u);
    EXPECT_EQ(run.recomputed_tokens, 8u);
    EXPECT_EQ(run.resumed_tokens_cached, 0u);
    EXPECT_EQ(run.peak_active_blocks, 4u);
    EXPECT_EQ(run.evictions, 3u);
}

// The same with room for five: the second gives way in two steps, but both its blocks stay cached,
// so that it has nothing to compute again.
TEST(RequestReplay, resumes_behind_what_is_still_cached) {
    const auto run =
        run_of(trace_of({{8, 4, {1, 2}}, {8, 4, {3, 4}}}), {.capacity = 5, .concurrency = 2});

    EXPECT_EQ(run.preemptions, 2u);
    EXPECT_EQ(run.completed, 2u);
    EXPECT_EQ(run.steps, 6u);
    EXPECT_EQ(run.resumed_tokens_cached, 16u);
    EXPECT_EQ(run.recomputed_tokens, 0u);
    EXPECT_EQ(run.output_tokens, 8u);
}

TEST(RequestReplay, is_deterministic_and_gives_all_blocks_back) {
    const auto trace = must(generate(
        "multi-turn",
        {.requests = 300, .block_size = 16, .output_length = 20, .parameters = {{"users", 12}}}));
    for (const auto* policy : {"lru", "fifo", "multi-lru", "lineage-tick", "lineage-fifo"}) {
        const RequestReplayOptions options{.capacity = 60, .policy = policy, .chunk = 100};

        const auto run = run_of(trace, options);

        EXPECT_EQ(run, run_of(trace, options)) << policy;
        EXPECT_EQ(run.completed, 300u);
        EXPECT_EQ(run.output_tokens, 300u * 20u);
        EXPECT_GT(run.preemptions, 0u);
        EXPECT_GT(run.evictions, 0u);
        EXPECT_LE(run.peak_active_blocks, 60u);
        EXPECT_EQ(run.policy, policy);
    }
}

TEST(RequestReplay, computes_nothing_twice_without_preemption) {
    const auto trace = must(generate("agent", {.requests = 200, .block_size = 16}));

    const auto run = run_of(trace, {.chunk = 64});

    EXPECT_EQ(run.preemptions, 0u);
    EXPECT_EQ(run.recomputed_tokens, 0u);
    EXPECT_EQ(run.resumed_tokens_cached, 0u);
    EXPECT_EQ(run.evictions, 0u);
}

// Hits of concurrency 1 without decode in an unlimited cache: of each request the blocks that a
// cache that forgets nothing has, but for the one that the last token may be in.
std::uint64_t blocks_known(const Trace& trace) {
    std::set<std::vector<std::uint64_t>> known;
    std::uint64_t hits = 0;
    for (const auto& request : trace.requests) {
        std::vector<std::uint64_t> prefix;
        std::uint64_t found = 0;
        bool whole = true;
        for (const auto id : trace.ids_of(request)) {
            prefix.push_back(id);
            whole = !known.insert(prefix).second && whole;
            found += whole ? 1 : 0;
        }
        hits += std::min<std::uint64_t>(
            found, request.input_length == 0 ? 0 : (request.input_length - 1) / trace.block_size);
    }
    return hits;
}

TEST(RequestReplay, one_at_a_time_without_decode_finds_what_an_unlimited_cache_has) {
    for (const auto& generator : generators()) {
        const auto trace = must(generate(generator.name, {.requests = 120, .block_size = 8}));

        const auto run = run_of(trace, {.concurrency = 1, .limit_output = 1});

        EXPECT_EQ(run.prompt_tokens_cached, blocks_known(trace) * 8) << generator.name;
        const auto hashes = must(TraceHashes::of(trace));
        const auto blocks = must(replay(hashes, {}));
        EXPECT_LE(run.prompt_tokens_cached, blocks.block_hits * 8) << generator.name;
        EXPECT_GE(run.prompt_tokens_cached + 120u * 8u, blocks.block_hits * 8) << generator.name;
    }
}

TEST(RequestReplay, of_a_recorded_trace_finds_what_an_unlimited_cache_has) {
    const auto trace = must(read_trace(
        std::string(KVBM_SOURCE_DIR) + "/data/mooncake_conversation_trace.jsonl", {.limit = 150}));

    const auto run = run_of(trace, {.concurrency = 1, .limit_output = 1});

    EXPECT_EQ(run.prompt_tokens_cached, blocks_known(trace) * 512);
    EXPECT_EQ(run.completed, 150u);
}

TEST(RequestReplay, samples_add_up_to_the_capacity_at_even_steps) {
    const auto trace = must(generate("agent", {.requests = 100, .block_size = 16}));

    const auto run = run_of(trace, {.capacity = 400, .samples_at_most = 50});

    ASSERT_GE(run.samples.size(), 25u);
    ASSERT_LE(run.samples.size(), 50u);
    const std::uint64_t spacing = run.samples[1].step;
    for (std::size_t i = 0; i < run.samples.size(); ++i) {
        const auto& sample = run.samples[i];
        EXPECT_EQ(sample.step, i * spacing);
        EXPECT_EQ(sample.registered + sample.queued + sample.inactive + sample.free, 400u);
    }
    EXPECT_TRUE(run_of(trace, {.capacity = 400}).samples.empty());
}

TEST(RequestReplay, refuses_options_that_mean_nothing) {
    const auto trace = trace_of({{4, 1, {1}}});
    const auto text = [&](const RequestReplayOptions& options) {
        return replay_requests(trace, options).error().message();
    };

    EXPECT_EQ(text({.capacity = 0}),
              "a cache of 0 blocks holds nothing: the capacity must be at least 1");
    EXPECT_EQ(text({.concurrency = 0}), "concurrency must be greater than 0");
    EXPECT_EQ(text({.chunk = 0}), "chunk must be greater than 0");
    EXPECT_EQ(text({.policy = "clairvoyant"}), "unknown policy: clairvoyant");
    EXPECT_EQ(replay_requests(trace_of({{4, 1, {1}}}, 3)).error().message(),
              "Builder validation failed: Invalid block_size 3: must be a power of 2 between 1 and "
              "1024");
    EXPECT_EQ(replay_requests(trace_of({{4 * 16777216, 1, {}}})).error().message(),
              "request 0 has 16777217 blocks, more than 16777216");
}

}  // namespace
