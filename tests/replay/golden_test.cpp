// The bundled trace gives the recorded integers, every one of them: the tables of data/golden,
// which are replay.md 5.1, 5.2, 5.3, 6 and 7, with one job and with two.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

using kvbm::ReplayMode;
using kvbm::ReplayOptions;
using kvbm::ReplayOrder;
using kvbm::ReplayPolicy;

/// A line of a table: text by column.
using Row = std::map<std::string, std::string>;

std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) {
        cells.push_back(cell);
    }
    return cells;
}

std::vector<Row> table(const std::string& name) {
    std::ifstream file(KVBM_SOURCE_DIR "/data/golden/conversation_" + name + ".csv");
    std::string line;
    std::getline(file, line);
    const auto columns = split(line);
    std::vector<Row> rows;
    while (std::getline(file, line)) {
        const auto cells = split(line);
        for (std::size_t i = 0; i < columns.size(); ++i) {
            rows.resize(rows.size() + (i == 0 ? 1 : 0));
            rows.back()[columns[i]] = cells.at(i);
        }
    }
    return rows;
}

ReplayOptions options_of(const Row& row, std::size_t count_from) {
    static const std::map<std::string, ReplayPolicy> policies{
        {"lru", ReplayPolicy::lru},
        {"multi-lru", ReplayPolicy::multi_lru},
        {"lineage-tick", ReplayPolicy::lineage_tick},
        {"lineage-fifo", ReplayPolicy::lineage_fifo},
        {"fifo", ReplayPolicy::fifo}};
    ReplayOptions options;
    options.policy = policies.at(row.at("policy"));
    options.mode = row.at("mode") == "ideal" ? ReplayMode::ideal : ReplayMode::manager;
    options.order = row.at("order") == "head" ? ReplayOrder::head : ReplayOrder::tail;
    if (row.at("capacity") != "unlimited") {
        options.capacity = std::stoul(row.at("capacity"));
    }
    options.count_from = count_from;
    return options;
}

/// A rate with as many digits behind the point as the recorded one, which begins with it.
std::string printed_like(const std::string& recorded, double rate) {
    std::ostringstream text;
    text.precision(static_cast<std::streamsize>(recorded.size() - 1));
    text << std::fixed << rate;
    return text.str().substr(1);
}

/// What was counted, in the words of the table.
Row row_of(const kvbm::ReplayRun& run, const Row& recorded) {
    Row row{{"policy", std::string(to_string(run.policy))},
            {"mode", std::string(to_string(run.mode))},
            {"order", std::string(to_string(run.order))},
            {"capacity", run.capacity ? std::to_string(*run.capacity) : "unlimited"}};
    const std::map<std::string, std::uint64_t> integers{
        {"requests", run.requests},         {"block_references", run.block_references},
        {"input_tokens", run.input_tokens}, {"block_hits", run.block_hits},
        {"token_hits", run.token_hits},     {"evictions", run.evictions},
        {"resident", run.resident},         {"duplicates", run.duplicates},
        {"cut_requests", run.cut_requests}, {"skipped_blocks", run.skipped_blocks}};
    const std::map<std::string, double> rates{
        {"token_hit_rate", run.token_hit_rate()},
        {"full_block_token_rate", run.full_block_token_rate()},
        {"mean_block_hit_rate", run.mean_block_hit_rate},
        {"mean_token_hit_rate", run.mean_token_hit_rate}};
    for (const auto& [column, text] : recorded) {
        if (integers.contains(column)) {
            row[column] = std::to_string(integers.at(column));
        } else if (rates.contains(column)) {
            row[column] = printed_like(text, rates.at(column));
        }
    }
    return row;
}

struct Golden {
    std::string name;
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::size_t count_from = 0;
};

void PrintTo(const Golden& golden, std::ostream* out) {
    *out << golden.name;
}

const kvbm::TraceHashes& conversation() {
    static const auto hashes = kvbm::must(kvbm::TraceHashes::of(
        kvbm::must(kvbm::read_trace(KVBM_SOURCE_DIR "/data/mooncake_conversation_trace.jsonl"))));
    return hashes;
}

class GoldenTable : public testing::TestWithParam<std::tuple<Golden, std::size_t>> {};

TEST_P(GoldenTable, is_what_the_bundled_trace_gives) {
    const auto& [golden, jobs] = GetParam();
    const auto rows = table(golden.name);
    ASSERT_EQ(rows.size(), golden.rows);
    std::vector<ReplayOptions> options;
    for (const auto& row : rows) {
        ASSERT_EQ(row.size(), golden.columns);
        options.push_back(options_of(row, golden.count_from));
    }

    const auto runs = kvbm::must(kvbm::replay_all(conversation(), options, jobs));

    ASSERT_EQ(runs.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(row_of(runs[i], rows[i]), rows[i]) << golden.name << ", row " << i + 1;
    }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenTable,
    testing::Combine(testing::Values(Golden{"lru", 60, 14}, Golden{"external", 7, 6},
                                     Golden{"second_half_tail", 14, 9, 6015},
                                     Golden{"second_half_head", 7, 9, 6015}, Golden{"means", 10, 6},
                                     Golden{"policies", 35, 9}),
                     testing::Values(std::size_t{1}, std::size_t{2})),
    [](const auto& info) {
        return std::get<0>(info.param).name + "_with_jobs_" +
               std::to_string(std::get<1>(info.param));
    });

}  // namespace
