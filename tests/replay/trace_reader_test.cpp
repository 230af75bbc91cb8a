// What an accepted file becomes: times in milliseconds, formats found by content, equal traces out
// of different bytes, and the sentences said about skipped lines.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

using Ids = std::vector<std::uint64_t>;

kvbm::Trace read(const std::string& bytes, const kvbm::ReadOptions& options = {}) {
    return kvbm::must(kvbm::parse_trace(bytes, "t", options));
}

const std::string two_rows =
    R"({"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]})"
    "\n"
    R"({"timestamp": 17, "input_length": 1, "output_length": 6, "hash_ids": [18446744073709551615]})"
    "\n";

TEST(ParseTrace, mooncake_rows_become_requests) {
    const auto trace = read(two_rows);

    EXPECT_EQ(trace.format, kvbm::TraceFormat::mooncake);
    EXPECT_EQ(trace.block_size, 512u);
    EXPECT_EQ(trace.ids, (Ids{0, 1, 18446744073709551615U}));
    EXPECT_EQ(trace.requests, (std::vector<kvbm::Request>{{0, 1000, 5, 0, 2}, {17, 1, 6, 2, 1}}));
    EXPECT_EQ(trace.path, "t");
    EXPECT_EQ(trace.sessions, std::nullopt);
}

TEST(ParseTrace, chat_ids_make_it_qwen_in_seconds_and_blocks_of_16) {
    const auto trace =
        read(R"({"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 33, )"
             R"("output_length": 3, "type": "text", "turn": 1, "hash_ids": [7, 8, 9]})");

    EXPECT_EQ(trace.format, kvbm::TraceFormat::qwen);
    EXPECT_EQ(trace.block_size, 16u);
    EXPECT_DOUBLE_EQ(trace.requests[0].time_ms, 61'114);
    EXPECT_EQ(trace.ids, (Ids{7, 8, 9}));
}

TEST(ParseTrace, azure_times_count_from_the_first_good_row) {
    const auto trace = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-12-31 23:59:58.0000000,x,1\n"
        "2023-12-31 23:59:59.5000000,374,44\n"
        "2024-01-01 00:00:00.2500001,0,44\n"
        "2024-01-01 00:00:01.2500001,396,109\n"
        "2023-12-31 23:59:59.0000000,1,1\n",
        {.skip_bad = true});

    EXPECT_EQ(trace.format, kvbm::TraceFormat::azure);
    ASSERT_EQ(trace.requests.size(), 3u);
    EXPECT_EQ(trace.requests[0].time_ms, 0);
    EXPECT_DOUBLE_EQ(trace.requests[1].time_ms, 1750.0001);
    EXPECT_EQ(trace.requests[2].time_ms, -500);
    EXPECT_EQ(trace.requests[1].output_length, 109u);
}

TEST(ParseTrace, azure_offsets_from_utc_are_applied) {
    const auto trace = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00+00:00,1,1\n"
        "2024-05-10T02:30:01Z,1,1\n"
        "2024-05-10 02:30:01.5+02:30,1,1\n"
        "2024-05-09 21:30:02-02:30,1,1\n");

    EXPECT_EQ(trace.requests[1].time_ms, 9'001'000);
    EXPECT_EQ(trace.requests[2].time_ms, 1'500);
    EXPECT_EQ(trace.requests[3].time_ms, 2'000);
}

// Also if the line ends in a part of the file that is read later.
TEST(ParseTrace, rows_behind_a_line_that_is_too_long_are_read) {
    const std::string row =
        R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1]})"
        "\n";
    for (const std::size_t length : {1'100u, 65'536u, 70'000u, 131'000u, 200'000u, 1'000'000u}) {
        const std::string too_long(length, 'x');
        const auto trace =
            read(row + too_long + "\n" + row + row, {.skip_bad = true, .max_line = 1'000});
        EXPECT_EQ(trace.requests.size(), 3u) << length;
        EXPECT_EQ(read(row + too_long, {.skip_bad = true, .max_line = 1'000}).requests.size(), 1u);
    }
}

// Each part of a date and time in turn is missing, too short, too large or of another kind.
TEST(ParseTrace, azure_times_that_are_none_are_bad_rows) {
    for (const std::string time : {"202-01-01 00:00:00",
                                   "2024 01-01 00:00:00",
                                   "2024-x1-01 00:00:00",
                                   "2024-01 01 00:00:00",
                                   "2024-01-x1 00:00:00",
                                   "2024-13-01 00:00:00",
                                   "2024-02-30 00:00:00",
                                   "2024-01-01x00:00:00",
                                   "2024-01-01 x0:00:00",
                                   "2024-01-01 -1:00:00",
                                   "2024-01-01 24:00:00",
                                   "2024-01-01 00.00:00",
                                   "2024-01-01 00:x0:00",
                                   "2024-01-01 00:60:00",
                                   "2024-01-01 00:00.00",
                                   "2024-01-01 00:00:x0",
                                   "2024-01-01 00:00:60",
                                   "2024-01-01 00:00:00.",
                                   "2024-01-01 00:00:00.1234567890",
                                   "2024-01-01 00:00:00 01",
                                   "2024-01-01 00:00:00+1:00",
                                   "2024-01-01 00:00:00+24:00",
                                   "2024-01-01 00:00:00Zx",
                                   "2024-01-01 00:00:00+01:00x"}) {
        const auto trace = read(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1,1\n" + time + ",1,1\n",
            {.skip_bad = true});
        EXPECT_EQ(trace.requests.size(), 1u) << time;
    }
}

TEST(ParseTrace, lengths_go_up_to_two_to_the_53_in_both_kinds_of_file) {
    for (const auto& [length, requests] :
         {std::pair{"9007199254740992", 1u}, std::pair{"9007199254740993", 0u}}) {
        const auto csv = read(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1,1\n"
            "2024-01-01 00:00:00,1," +
                std::string(length) + "\n",
            {.skip_bad = true});
        const std::string row = R"({"timestamp": 0, "input_length": 1, "hash_ids": [1], )";
        const auto json = read(
            row + R"("output_length": 1})" + "\n" + row + R"("output_length": )" + length + "}\n",
            {.skip_bad = true});
        EXPECT_EQ(csv.requests.size(), 1 + requests) << length;
        EXPECT_EQ(json.requests.size(), 1 + requests) << length;
    }
}

// Numbers are spelled as in JSON in both kinds of file.
TEST(ParseTrace, numbers_have_the_grammar_of_json) {
    const auto is_good = [](const std::string& number) {
        const auto csv =
            read("Model,Response tokens,Timestamp,Request tokens\na,1,0,1\na,1," + number + ",1\n",
                 {.skip_bad = true});
        const std::string rest = R"(, "input_length": 1, "output_length": 1, "hash_ids": [1]})";
        const auto json =
            read(R"({"timestamp": 0)" + rest + "\n" + R"({"timestamp": )" + number + rest + "\n",
                 {.skip_bad = true});
        EXPECT_EQ(csv.requests.size(), json.requests.size()) << number;
        return csv.requests.size() == 2;
    };
    for (const auto* number : {"0", "-0", "7", "0.5", "12.25", "1e3", "1E3", "1e+3", "1E-3", "0e0",
                               "0.5e1", "-2.5E+1", "1e-400"}) {
        EXPECT_TRUE(is_good(number)) << number;
    }
    for (const auto* number : {"", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+", "1E-", "1ex",
                               "1.e3", "0x10", "1 2", "1_0", "1e400", "nan", "inf", "1e5x"}) {
        EXPECT_FALSE(is_good(number)) << number;
    }
}

TEST(ParseTrace, burstgpt_columns_are_found_by_name_and_times_are_seconds) {
    const auto trace = read(
        "Model,Response tokens,Timestamp,Request tokens\n"
        "\"Chat, GPT\",18,5.25,472\n");

    EXPECT_EQ(trace.format, kvbm::TraceFormat::burstgpt);
    EXPECT_EQ(trace.requests[0].time_ms, 5'250);
    EXPECT_EQ(trace.requests[0].input_length, 472u);
    EXPECT_EQ(trace.requests[0].output_length, 18u);
}

TEST(ParseTrace, options_go_before_what_the_content_says) {
    const auto trace =
        read(two_rows, {.format = kvbm::TraceFormat::qwen, .block_size = 512, .limit = 1});

    EXPECT_EQ(trace.format, kvbm::TraceFormat::qwen);
    EXPECT_EQ(trace.block_size, 512u);
    EXPECT_EQ(trace.requests.size(), 1u);
}

TEST(ParseTrace, same_meaning_in_other_bytes_is_the_same_trace) {
    const auto plain = read(two_rows);
    const auto other = read(
        "\xEF\xBB\xBF\r\n"
        "{\"hash_ids\":[0,1],\"output_length\":5,\"input_length\":1000,\"timestamp\":0}\r\n"
        "  \n"
        " {\"x\": [{}], \"time\\u0073tamp\": 1.7e1, \"input_length\": 9, \"input_length\": 1 ,"
        "\"hash_ids\": [ 18446744073709551615 ], \"output_length\"\t: 6}");

    EXPECT_EQ(other.requests, plain.requests);
    EXPECT_EQ(other.ids, plain.ids);
    EXPECT_EQ(other.blank_lines, 2u);
    EXPECT_NE(other.sha256, plain.sha256);
}

TEST(ParseTrace, skipped_rows_leave_nothing_behind) {
    const auto trace =
        read(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [5, 6, 7, -1]})"
             "\n" +
                 two_rows,
             {.skip_bad = true});

    EXPECT_EQ(trace.ids, read(two_rows).ids);
    EXPECT_EQ(trace.requests, read(two_rows).requests);
}

TEST(SkippedNotice, names_the_count_and_the_first_reason) {
    const auto trace = read("{\n" + two_rows + "{}\n", {.skip_bad = true});

    EXPECT_EQ(kvbm::skipped_notice(trace), "2 bad lines skipped (first: t:1: not a JSON object)");
    EXPECT_EQ(kvbm::skipped_notice(read(two_rows)), "");
}

TEST(ParseTrace, hash_is_of_the_bytes_read) {
    EXPECT_EQ(kvbm::sha256_hex("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(read(two_rows).sha256, kvbm::sha256_hex(two_rows));
}

TEST(TraceFormat, names_are_those_of_the_options) {
    for (const auto* name : {"mooncake", "qwen", "azure", "burstgpt"}) {
        const auto format = kvbm::trace_format_named(name);
        ASSERT_TRUE(format.has_value()) << name;
        EXPECT_EQ(kvbm::to_string(*format), name);
    }
    EXPECT_EQ(kvbm::trace_format_named("parquet"), std::nullopt);
    EXPECT_EQ(kvbm::session_rule_named("greedy"), kvbm::SessionRule::greedy);
    EXPECT_EQ(kvbm::session_rule_named(""), std::nullopt);
}

TEST(ParseTraceDeathTest, block_size_0_is_a_broken_contract) {
    EXPECT_DEATH(static_cast<void>(kvbm::parse_trace(two_rows, "t", {.block_size = 0})),
                 "a block holds at least one token");
}

TEST(InspectTrace, oddities_are_counted) {
    const auto facts = kvbm::inspect_trace(
        read(R"({"timestamp": 5, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]})"
             "\n"
             R"({"timestamp": 3, "input_length": 1024, "output_length": 1, "hash_ids": [2, 2]})"
             "\n\n"
             R"({"timestamp": 9, "input_length": 1030, "output_length": 1, "hash_ids": [1, 2]})"
             "\n"
             R"({"timestamp": 9, "input_length": 0, "output_length": 1, "hash_ids": []})"
             "\n"));

    EXPECT_EQ(facts.times_backwards, 1u);
    EXPECT_EQ(facts.requests_repeating_ids, 1u);
    EXPECT_EQ(facts.ids_under_two_parents, 1u);  // 2 follows 1, begins a request, follows itself
    EXPECT_EQ(facts.requests_without_partial_block, 1u);
    EXPECT_EQ(facts.empty_rows, 1u);
    EXPECT_EQ(facts.blank_lines, 1u);
    EXPECT_EQ(facts.first_time_ms, 5);
    EXPECT_EQ(facts.span_ms, 6);
    EXPECT_EQ(facts.distinct_ids, 2u);
    EXPECT_EQ(facts.distinct_blocks, 4u);
    EXPECT_EQ(facts.references, (kvbm::ReferenceHistogram{2, 2, 0, 0}));
}

TEST(InspectTrace, reuse_distance_counts_distinct_blocks_since_the_last_reference) {
    // Blocks a, ab, c, cd, a, ab: two references to blocks seen before, each behind 4 blocks.
    const auto facts = kvbm::inspect_trace(
        read(R"({"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]})"
             "\n"
             R"({"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [3, 4]})"
             "\n"
             R"({"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]})"
             "\n"
             R"({"timestamp": 0, "input_length": 512, "output_length": 1, "hash_ids": [1]})"
             "\n"));

    EXPECT_EQ(facts.reuses, 3u);
    EXPECT_EQ(facts.reuse_distance, (kvbm::Percentiles{4, 4, 4, 4}));
}

}  // namespace
