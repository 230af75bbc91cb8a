// Generators: the default output of each is fixed byte by byte, its shape is as described, and bad
// parameters are refused with a sentence.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

using Ids = std::vector<std::uint64_t>;
using Parameters = std::vector<std::pair<std::string, std::uint64_t>>;

std::string written(const kvbm::Trace& trace) {
    std::ostringstream text;
    kvbm::write_mooncake(trace, text);
    return text.str();
}

kvbm::Trace make(const std::string& name, std::uint64_t requests, Parameters parameters = {}) {
    return kvbm::must(kvbm::generate(
        name, {.requests = requests, .block_size = 4, .parameters = std::move(parameters)}));
}

/// The blocks of each request.
std::vector<Ids> requests_of(const kvbm::Trace& trace) {
    std::vector<Ids> requests;
    for (const auto& request : trace.requests) {
        const auto ids = trace.ids_of(request);
        requests.emplace_back(ids.begin(), ids.end());
    }
    return requests;
}

std::size_t shared_prefix(const Ids& a, const Ids& b) {
    return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                    a.begin());
}

bool begins_with(const Ids& longer, const Ids& shorter) {
    return shared_prefix(longer, shorter) == shorter.size();
}

std::string refusal(const std::string& name, const kvbm::GenerateOptions& options) {
    const auto trace = kvbm::generate(name, options);
    return trace.has_value() ? "" : trace.error().message();
}

/// A generator and the SHA-256 of its default output, as another program computes it.
struct Expected {
    std::string name;
    std::size_t blocks = 0;
    std::string sha256;
};

void PrintTo(const Expected& expected, std::ostream* out) {
    *out << expected.name;
}

class DefaultOutput : public testing::TestWithParam<Expected> {};

TEST_P(DefaultOutput, is_fixed_byte_by_byte) {
    const auto trace = kvbm::must(kvbm::generate(GetParam().name));

    EXPECT_EQ(trace.requests.size(), 10'000u);
    EXPECT_EQ(trace.ids.size(), GetParam().blocks);
    EXPECT_EQ(kvbm::sha256_hex(written(trace)), GetParam().sha256);
}

TEST_P(DefaultOutput, comes_back_from_its_file) {
    const auto trace = kvbm::must(kvbm::generate(GetParam().name));

    const auto read = kvbm::must(kvbm::parse_trace(written(trace), "t"));

    EXPECT_EQ(read.requests, trace.requests);
    EXPECT_EQ(read.ids, trace.ids);
    EXPECT_EQ(read.block_size, trace.block_size);
    EXPECT_EQ(read.format, trace.format);
}

INSTANTIATE_TEST_SUITE_P(
    Generators, DefaultOutput,
    testing::Values(Expected{"shared-prompt", 120'000,
                             "f4c32507009b7c449644f663bf712a69b9df696cd732f7aec09758ea3c4e5831"},
                    Expected{"multi-turn", 108'292,
                             "0915172452b00be10cfd80bc1b2d097fba41c442186f29ed1d7d15a1af8c2e68"},
                    Expected{"agent", 109'618,
                             "c01d82464abad8e72d36126fdd120beb07de85ab6865eb7b2c80f5c4416e4c5d"},
                    Expected{"fan-out", 188'524,
                             "66d863a542c1cdaca51a6c0c7521863a8fb713c26dfce1f3cbda41adf5e1c8c5"},
                    Expected{"scan", 344'000,
                             "974b4e9157c5753f69b5b1e21433bf5a69c2c7ceb41bb2c74a4f07f539c5b38b"},
                    Expected{"flood", 160'000,
                             "cee23df271becbdf592be75e776307c90c45d1f0aee5c847f959ccba5afac74d"},
                    Expected{"preempt", 99'757,
                             "5514664ef8206d482433dcf7885c13d2cf1747261f9a1a1b49cf9a4845ce88be"},
                    Expected{"speculate", 109'618,
                             "936e28e69354f17184290001f63fb3f8c6c974633d4486483d4c4a3d30780fff"},
                    Expected{"tenants", 120'000,
                             "ee2445b7bc29cd70b419b62e14a154ce155060843caa783b70b9aa7cd99d9f5f"}),
    [](const auto& info) {
        auto name = info.param.name;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    });

TEST(Generators, are_the_nine_of_the_table) {
    std::vector<std::string> names;
    for (const auto& generator : kvbm::generators()) {
        names.emplace_back(generator.name);
    }

    EXPECT_EQ(names,
              (std::vector<std::string>{"shared-prompt", "multi-turn", "agent", "fan-out", "scan",
                                        "flood", "preempt", "speculate", "tenants"}));
}

TEST(Generate, seed_changes_the_blocks_and_not_the_lengths) {
    const auto one = kvbm::must(kvbm::generate("flood", {.seed = 1, .requests = 5}));
    const auto two = kvbm::must(kvbm::generate("flood", {.seed = 2, .requests = 5}));

    EXPECT_EQ(one.requests, two.requests);
    EXPECT_NE(one.ids, two.ids);
    EXPECT_EQ(one.ids[0], 0xb18a02f46d8d86c3U);
}

TEST(Generate, common_options_reach_every_request) {
    const auto trace =
        kvbm::must(kvbm::generate("flood", {.requests = 3,
                                            .block_size = 16,
                                            .interval_ms = 7,
                                            .output_length = 9,
                                            .parameters = {{"blocks", 5}, {"blocks", 2}}}));

    EXPECT_EQ(trace.path, "flood");
    EXPECT_EQ(trace.block_size, 16u);
    EXPECT_EQ(trace.requests,
              (std::vector<kvbm::Request>{{0, 32, 9, 0, 2}, {7, 32, 9, 2, 2}, {14, 32, 9, 4, 2}}));
}

TEST(SharedPrompt, requests_share_the_prompt_and_nothing_else) {
    const auto requests =
        requests_of(make("shared-prompt", 4, {{"prompt-blocks", 3}, {"tail-blocks", 2}}));

    for (std::size_t i = 1; i < requests.size(); ++i) {
        EXPECT_EQ(requests[i].size(), 5u);
        EXPECT_EQ(shared_prefix(requests[0], requests[i]), 3u);
    }
}

TEST(MultiTurn, turns_append_and_a_new_conversation_follows_the_last) {
    const auto requests =
        requests_of(make("multi-turn", 5, {{"users", 1}, {"turns", 2}, {"turn-blocks", 3}}));

    EXPECT_TRUE(begins_with(requests[1], requests[0]));
    EXPECT_EQ(requests[1].size(), 6u);
    EXPECT_EQ(requests[2].size(), 3u);
    EXPECT_EQ(shared_prefix(requests[2], requests[1]), 0u);
    EXPECT_TRUE(begins_with(requests[3], requests[2]));
}

TEST(Agent, sessions_start_staggered_and_take_turns) {
    // Two sessions' starts lie two requests apart; lengths tell whose turn it is.
    const auto requests = requests_of(make("agent", 6, {{"stagger", 2}, {"turns", 3}}));
    std::vector<std::size_t> lengths;
    for (const auto& request : requests) {
        lengths.push_back(request.size());
    }

    // a, a, then b joins behind a: a ends; b, c (at 4) ...
    EXPECT_EQ(lengths, (std::vector<std::size_t>{1, 2, 3, 1, 2, 1}));
    EXPECT_TRUE(begins_with(requests[2], requests[1]));
    EXPECT_EQ(shared_prefix(requests[3], requests[2]), 0u);
}

TEST(Agent, empty_ring_starts_a_session_early) {
    const auto requests = requests_of(make("agent", 4, {{"stagger", 100}, {"turns", 1}}));

    EXPECT_EQ(std::set<Ids>(requests.begin(), requests.end()).size(), 4u);
}

TEST(FanOut, children_add_one_block_to_their_parent_breadth_first) {
    const auto requests =
        requests_of(make("fan-out", 8, {{"prompt-blocks", 2}, {"branches", 2}, {"depth", 2}}));

    const std::vector<std::size_t> parents{0, 0, 0, 1, 1, 2, 2};
    for (std::size_t node = 1; node < parents.size(); ++node) {
        EXPECT_EQ(requests[node].size(), requests[parents[node]].size() + 1) << node;
        EXPECT_TRUE(begins_with(requests[node], requests[parents[node]])) << node;
    }
    EXPECT_EQ(std::set<Ids>(requests.begin(), requests.end()).size(), 8u);
    EXPECT_EQ(shared_prefix(requests[7], requests[0]), 0u);  // the next tree
}

TEST(Scan, last_request_of_each_period_is_cold) {
    const auto requests = requests_of(
        make("scan", 30, {{"hot", 2}, {"hot-blocks", 3}, {"period", 5}, {"cold-blocks", 7}}));
    std::map<Ids, int> seen;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(requests[i].size(), i % 5 == 4 ? 7u : 3u) << i;
        ++seen[requests[i]];
    }

    EXPECT_EQ(seen.size(), 2u + 6u);
}

TEST(Flood, no_block_comes_twice) {
    const auto trace = make("flood", 50);

    EXPECT_EQ(std::set<std::uint64_t>(trace.ids.begin(), trace.ids.end()).size(), 50u * 16u);
}

TEST(Preempt, drawn_requests_come_again_after_the_delay) {
    const auto requests = requests_of(make("preempt", 12, {{"per-mille", 1000}, {"delay", 2}}));

    // 0, 1, again 0, again 1, then two new turns ...
    for (const std::size_t repeated : {0u, 1u, 4u, 5u, 8u, 9u}) {
        EXPECT_EQ(requests[repeated + 2], requests[repeated]) << repeated;
    }
    EXPECT_NE(requests[4], requests[3]);
}

TEST(Preempt, without_a_chance_is_agent) {
    EXPECT_EQ(make("preempt", 500, {{"per-mille", 0}}).ids, make("agent", 500).ids);
}

TEST(Speculate, turns_replace_at_most_the_last_blocks) {
    const auto requests =
        requests_of(make("speculate", 60, {{"stagger", 1000}, {"turn-blocks", 3}}));
    std::set<std::size_t> replaced;
    for (std::size_t i = 1; i < requests.size(); ++i) {
        ASSERT_EQ(requests[i].size(), requests[i - 1].size() + 3);
        replaced.insert(requests[i - 1].size() - shared_prefix(requests[i], requests[i - 1]));
    }

    EXPECT_EQ(replaced, (std::set<std::size_t>{0, 1, 2}));
}

TEST(Tenants, prompts_are_shared_within_a_tenant_by_its_weight) {
    const auto trace = make("tenants", 2'000, {{"tenants", 2}, {"tail-blocks", 1}});
    std::map<std::uint64_t, int> by_prompt;
    for (const auto& request : requests_of(trace)) {
        ++by_prompt[request.front()];
    }

    ASSERT_EQ(by_prompt.size(), 2u);
    const auto first = by_prompt[kvbm::session_block_id(1, 0, 0)];
    EXPECT_GT(first, 1'250);  // two thirds of 2,000, within four standard deviations
    EXPECT_LT(first, 1'418);
}

TEST(Tenants, salted_requests_share_nothing) {
    const auto trace = make("tenants", 100, {{"salted", 1}});

    EXPECT_EQ(std::set<std::uint64_t>(trace.ids.begin(), trace.ids.end()).size(), trace.ids.size());
}

TEST(GenerateError, says_what_was_asked_and_what_is_allowed) {
    EXPECT_EQ(refusal("nothing", {}), "unknown generator \"nothing\"");
    EXPECT_EQ(refusal("flood", {.parameters = {{"users", 3}}}),
              "generator \"flood\" has no parameter \"users\"");
    EXPECT_EQ(refusal("multi-turn", {.parameters = {{"users", 0}}}),
              "users must be 1 to 1048576, got 0");
    EXPECT_EQ(refusal("tenants", {.parameters = {{"salted", 2}}}), "salted must be 0 to 1, got 2");
    EXPECT_EQ(refusal("flood", {.requests = 0}), "requests must be 1 to 4294967296, got 0");
    EXPECT_EQ(refusal("flood", {.block_size = 0}), "block-size must be 1 to 1048576, got 0");
    EXPECT_EQ(refusal("agent", {.parameters = {{"turns", 2'000}, {"turn-blocks", 1'000}}}),
              "a request would have 2000000 blocks, more than 1048576");
}

TEST(WriteMooncake, times_are_written_with_the_fewest_digits) {
    kvbm::Trace trace;
    trace.requests = {{0.1, 0, 0, 0, 0}, {-3, 0, 0, 0, 0}, {1e300, 0, 0, 0, 0}};

    EXPECT_EQ(written(trace),
              "{\"timestamp\": 0.1, \"input_length\": 0, \"output_length\": 0, \"hash_ids\": []}\n"
              "{\"timestamp\": -3, \"input_length\": 0, \"output_length\": 0, \"hash_ids\": []}\n"
              "{\"timestamp\": 1e+300, \"input_length\": 0, \"output_length\": 0, "
              "\"hash_ids\": []}\n");
}

}  // namespace
