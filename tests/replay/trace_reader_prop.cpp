// Laws of the readers: they agree with a slow second reader on mutated files of every format,
// skipping bad lines is reading the file without them, and a written trace comes back.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;
import kvbm.testing;

namespace {

using kvbm::testing::SlowReadOptions;
using Lines = std::vector<std::string>;

/// Good lines of JSON, and small files of CSV, to be broken.
const Lines json_lines{
    R"({"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]})",
    R"({"timestamp": 1.5e2, "input_length": 512, "output_length": 0, "hash_ids": [7]})",
    R"({"hash_ids": [], "input_length": 0, "output_length": 0, "timestamp": -3, "x": [1, {}]})",
    R"({"chat_id": 1, "timestamp": 2, "input_length": 1, "output_length": 1, "hash_ids": [9]})"};
const Lines csv_files{
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951690,1396,109\n",
    "Timestamp,Session ID,Request tokens,Response tokens\n5,a,472,18\n\"45\",,1087,230\n"
    "118,a,2100,1\n"};
const Lines fragments{"-0",   "1e400",   "18446744073709551616",
                      "\"",   "\\ud800", "\xff",
                      "\r\n", "\n",      "null",
                      "[]",   "{",       "}",
                      ",",    "\t",      "9007199254740993",
                      "1.0",  "+00:00",  "\xEF\xBB\xBF"};

rc::Gen<std::string> files() {
    return rc::gen::exec([] {
        auto bytes = *rc::gen::elementOf(csv_files);
        if (*rc::gen::arbitrary<bool>()) {
            bytes.clear();
            const auto lines =
                *rc::gen::container<Lines>(rc::gen::elementOf(json_lines)).as("lines");
            for (const auto& line : lines) {
                bytes += line + "\n";
            }
        }
        const auto edits = *rc::gen::inRange(0, 4).as("edits");
        for (int i = 0; i < edits; ++i) {
            const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size() + 1);
            const auto cut = *rc::gen::inRange<std::size_t>(0, 3);
            const auto piece = *rc::gen::oneOf(
                rc::gen::just(std::string()), rc::gen::elementOf(fragments),
                rc::gen::map(rc::gen::inRange(32, 127),
                             [](int c) { return std::string(1, static_cast<char>(c)); }));
            bytes.replace(at, cut, piece);
        }
        return bytes;
    });
}

// For all files and both ways to treat bad lines: as the slow reader.
RC_GTEST_PROP(ParseTrace, agrees_with_slow_reader, (bool skip_bad)) {
    const auto bytes = *files();
    const SlowReadOptions slow{.skip_bad = skip_bad, .max_blocks = 1000};

    const auto real = kvbm::parse_trace(bytes, "FILE", {.skip_bad = skip_bad, .max_blocks = 1000});

    const auto difference = kvbm::testing::difference(kvbm::testing::read_slowly(bytes, slow),
                                                      kvbm::testing::outcome_of(real));
    RC_ASSERT(difference.value_or("") == "");
}

// For all splits of lines into good and bad ones: skipping the bad = never having had them.
RC_GTEST_PROP(ParseTrace, skipping_bad_lines_equals_a_file_without_them, ()) {
    const Lines bad_lines{"{", R"({"timestamp": 0, "hash_ids": [1, 2, 3]})",
                          R"({"timestamp": 0, "input_length": 1, "output_length": 1, )"
                          R"("hash_ids": [1, 2, -3]})"};
    const auto choices =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<bool>>(rc::gen::arbitrary<bool>()));
    std::string mixed = json_lines[0] + "\n";
    std::string clean = mixed;
    std::size_t bad = 0;
    for (const bool good : choices) {
        const auto line = *rc::gen::elementOf(good ? json_lines : bad_lines) + "\n";
        mixed += line;
        clean += good ? line : "";
        bad += good ? 0U : 1U;
    }

    const auto skipped = kvbm::must(kvbm::parse_trace(mixed, "t", {.skip_bad = true}));
    const auto read = kvbm::must(kvbm::parse_trace(clean, "t"));

    RC_ASSERT(skipped.skipped_lines == bad);
    RC_ASSERT(skipped.requests == read.requests);
    RC_ASSERT(skipped.ids == read.ids);
}

// For all traces with finite times: read(write(trace)) = trace.
RC_GTEST_PROP(WriteMooncake, is_undone_by_reading, ()) {
    const auto rows = *rc::gen::nonEmpty(
        rc::gen::arbitrary<
            std::vector<std::tuple<double, std::uint32_t, std::vector<std::uint64_t>>>>());
    kvbm::Trace trace;
    trace.block_size = 3;
    for (const auto& [time, output, ids] : rows) {
        RC_PRE(std::isfinite(time));
        if (ids.empty()) {
            continue;
        }
        const auto input = ids.size() * 3 - *rc::gen::inRange<std::uint64_t>(0, 3);
        trace.requests.push_back({time, input, output, trace.ids.size(), ids.size()});
        trace.ids.insert(trace.ids.end(), ids.begin(), ids.end());
    }
    RC_PRE(!trace.requests.empty());
    std::ostringstream written;
    kvbm::write_mooncake(trace, written);

    const auto read = kvbm::must(kvbm::parse_trace(written.str(), "t", {.block_size = 3}));

    RC_ASSERT(read.requests == trace.requests);
    RC_ASSERT(read.ids == trace.ids);
}

// For all traces: reuse distances and counts as found by looking back block by block.
RC_GTEST_PROP(InspectTrace, reuse_distance_equals_a_backward_search, ()) {
    const auto prompts = *rc::gen::resize(
        12,
        rc::gen::container<std::vector<std::vector<std::uint64_t>>>(
            rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(0, 3))));
    kvbm::Trace trace;
    trace.block_size = 1;
    std::vector<std::vector<std::uint64_t>> references;  // each block by its whole lineage
    for (const auto& ids : prompts) {
        trace.requests.push_back({0, ids.size(), 0, trace.ids.size(), ids.size()});
        trace.ids.insert(trace.ids.end(), ids.begin(), ids.end());
        for (std::size_t i = 1; i <= ids.size(); ++i) {
            references.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    std::vector<std::uint64_t> distances;
    for (std::size_t now = 0; now < references.size(); ++now) {
        auto then = now;
        std::vector<std::vector<std::uint64_t>> between;
        while (then > 0 && (then == now || references[then] != references[now])) {
            between.push_back(references[--then]);
        }
        if (then < now && references[then] == references[now]) {
            std::sort(between.begin(), between.end());
            distances.push_back(static_cast<std::uint64_t>(
                std::unique(between.begin(), between.end()) - between.begin()));
        }
    }

    const auto facts = kvbm::inspect_trace(trace);

    RC_ASSERT(facts.reuses == distances.size());
    RC_ASSERT(facts.block_references == references.size());
    if (!distances.empty()) {
        std::sort(distances.begin(), distances.end());
        RC_ASSERT(facts.reuse_distance.max == distances.back());
        RC_ASSERT(facts.reuse_distance.p50 == distances[(distances.size() - 1) / 2]);
    }
    std::sort(references.begin(), references.end());
    RC_ASSERT(facts.distinct_blocks ==
              static_cast<std::uint64_t>(std::unique(references.begin(), references.end()) -
                                         references.begin()));
}

// Every file of the bad input corpus, as a table.
TEST(ParseTrace, agrees_with_slow_reader_on_the_bad_input_corpus) {
    for (const auto& entry :
         std::filesystem::directory_iterator(KVBM_SOURCE_DIR "/tests/bad_input")) {
        std::ifstream file(entry.path(), std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
        const auto real = kvbm::parse_trace(bytes, "FILE");
        const auto difference = kvbm::testing::difference(
            kvbm::testing::read_slowly(bytes, SlowReadOptions{}), kvbm::testing::outcome_of(real));
        EXPECT_EQ(difference.value_or(""), "") << entry.path().filename();
    }
}

}  // namespace
