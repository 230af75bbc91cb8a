// Length-only traces: which rows form a session under each rule, and the ids they get
// (replay.md 2.2).
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

using kvbm::SessionRule;
using kvbm::shared_session;

const std::string labelled_rows =
    "Timestamp,Session ID,Request tokens,Response tokens\n"
    "0,a,512,1\n"
    "1,b,512,1\n"
    "2,a,1024,1\n"
    "3,,512,1\n"
    "4,,512,1\n";

kvbm::Trace read(const std::string& bytes, const kvbm::ReadOptions& options = {}) {
    return kvbm::must(kvbm::parse_trace(bytes, "t", options));
}

/// The session of each request, found by its last id. (Of small numbers, or the shared one.)
std::vector<std::uint64_t> sessions_of(const kvbm::Trace& trace, std::uint64_t seed = 1) {
    std::vector<std::uint64_t> sessions;
    for (const auto& request : trace.requests) {
        const auto ids = trace.ids_of(request);
        std::uint64_t session = 0;
        while (session < 100 &&
               kvbm::session_block_id(seed, session, ids.size() - 1) != ids.back()) {
            ++session;
        }
        sessions.push_back(session);
    }
    return sessions;
}

/// A trace without a `Session ID`: rows of (seconds, input, output).
std::string rows(const std::vector<std::vector<int>>& values) {
    std::string text = "Timestamp,Request tokens,Response tokens\n";
    for (const auto& row : values) {
        text += std::to_string(row[0]) + "," + std::to_string(row[1]) + "," +
                std::to_string(row[2]) + "\n";
    }
    return text;
}

std::vector<std::uint64_t> greedy(const std::vector<std::vector<int>>& values, double gap_s = 600) {
    return sessions_of(
        read(rows(values), {.sessions = SessionRule::greedy, .session_gap_s = gap_s}));
}

TEST(Sessions, equal_labels_are_one_session_and_empty_ones_are_their_own) {
    const auto trace = read(labelled_rows);

    EXPECT_EQ(trace.sessions, SessionRule::labelled);
    EXPECT_TRUE(trace.synthesised);
    EXPECT_EQ(sessions_of(trace), (std::vector<std::uint64_t>{0, 1, 0, 2, 3}));
}

TEST(Sessions, first_blocks_have_the_specified_ids) {
    const auto trace = read(labelled_rows);

    EXPECT_EQ(trace.ids[0], 0xb18a02f46d8d86c3U);
    EXPECT_EQ(trace.ids[1], 0x5775264a9a7e1b09U);
    EXPECT_EQ(trace.ids[2], 0xb18a02f46d8d86c3U);  // the second turn begins as the first
    EXPECT_EQ(trace.ids[3], 0x6c5795e14b3b7e33U);
}

TEST(Sessions, labels_can_be_ignored) {
    const auto trace = read(labelled_rows, {.sessions = SessionRule::independent});

    EXPECT_EQ(sessions_of(trace), (std::vector<std::uint64_t>{0, 1, 2, 3, 4}));
}

TEST(Sessions, rows_without_a_label_column_are_independent_by_default) {
    const auto trace = read(rows({{0, 512, 1}, {1, 512, 1}}));

    EXPECT_EQ(trace.sessions, SessionRule::independent);
    EXPECT_EQ(sessions_of(trace), (std::vector<std::uint64_t>{0, 1}));
}

TEST(Sessions, bad_and_empty_rows_open_no_session) {
    const auto trace =
        read(rows({{0, 512, 1}, {1, 0, 1}, {2, -1, 1}, {3, 512, 1}}), {.skip_bad = true});

    EXPECT_EQ(sessions_of(trace), (std::vector<std::uint64_t>{0, 1}));
}

TEST(Sessions, seed_changes_every_id) {
    const auto trace = read(rows({{0, 513, 1}}), {.seed = 2});

    EXPECT_EQ(trace.ids, (std::vector<std::uint64_t>{kvbm::session_block_id(2, 0, 0),
                                                     kvbm::session_block_id(2, 0, 1)}));
}

TEST(Sessions, blocks_are_the_lengths_ceiling) {
    const auto trace = read(rows({{0, 1, 1}, {1, 512, 1}, {2, 513, 1}}));

    EXPECT_EQ(trace.requests[0].count, 1u);
    EXPECT_EQ(trace.requests[1].count, 1u);
    EXPECT_EQ(trace.requests[2].count, 2u);
}

TEST(Sessions, shared_prefix_counts_whole_blocks_only) {
    const auto trace = read(rows({{0, 1536, 1}, {1, 100, 1}}), {.shared_prefix = 1023});

    EXPECT_EQ(trace.ids,
              (std::vector<std::uint64_t>{
                  kvbm::session_block_id(1, shared_session, 0), kvbm::session_block_id(1, 0, 1),
                  kvbm::session_block_id(1, 0, 2), kvbm::session_block_id(1, shared_session, 0)}));
}

TEST(GreedySessions, row_joins_the_longest_session_that_fits) {
    // Last lengths: 110, 210, then 300 tokens continue 210, and 120 continue 110.
    EXPECT_EQ(greedy({{0, 100, 10}, {1, 200, 10}, {2, 300, 1}, {3, 120, 1}}),
              (std::vector<std::uint64_t>{0, 0, 0, 1}));
    EXPECT_EQ(greedy({{0, 100, 10}, {1, 105, 105}, {2, 300, 1}, {3, 120, 1}}),
              (std::vector<std::uint64_t>{0, 1, 1, 0}));
}

TEST(GreedySessions, row_as_long_as_a_session_joins_it_and_a_shorter_one_does_not) {
    EXPECT_EQ(greedy({{0, 100, 10}, {1, 110, 1}}), (std::vector<std::uint64_t>{0, 0}));
    EXPECT_EQ(greedy({{0, 100, 10}, {1, 109, 1}}), (std::vector<std::uint64_t>{0, 1}));
}

TEST(GreedySessions, tie_goes_to_the_oldest_session) {
    EXPECT_EQ(greedy({{0, 100, 100}, {1, 150, 50}, {2, 200, 1}, {3, 200, 1}}),
              (std::vector<std::uint64_t>{0, 1, 0, 1}));
}

TEST(GreedySessions, session_is_closed_when_idle_for_longer_than_the_gap) {
    EXPECT_EQ(greedy({{0, 100, 10}, {600, 200, 1}}), (std::vector<std::uint64_t>{0, 0}));
    EXPECT_EQ(greedy({{0, 100, 10}, {601, 200, 1}}), (std::vector<std::uint64_t>{0, 1}));
    EXPECT_EQ(greedy({{0, 100, 10}, {6, 200, 1}}, 5), (std::vector<std::uint64_t>{0, 1}));
}

TEST(GreedySessions, closed_session_stays_closed_when_time_runs_backwards) {
    EXPECT_EQ(greedy({{0, 100, 10}, {601, 50, 1}, {1, 200, 1}}),
              (std::vector<std::uint64_t>{0, 1, 1}));
}

}  // namespace
