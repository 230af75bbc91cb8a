// The recordings that come with the source: every record agrees with the library, and only what a
// mark of the recorded version's accidents, or a subject that is not built yet, excuses is left
// out.
#include <cstddef>
#include <fstream>
#include <iterator>
#include <ostream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

import kvbm.conformance;

namespace {

using kvbm::conformance::Tally;

struct Recording {
    const char* file;
    Tally expected;
};

std::string read(const std::string& file) {
    std::ifstream stream(std::string(KVBM_SOURCE_DIR) + "/data/vectors/" + file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

void PrintTo(const Recording& one, std::ostream* out) {
    *out << one.file;
}

class CommittedRecording : public testing::TestWithParam<Recording> {};

TEST_P(CommittedRecording, agrees_with_the_library_in_every_record_that_is_compared) {
    std::ostringstream out;

    const auto result = kvbm::conformance::replay_text(GetParam().file, read(GetParam().file), out);

    EXPECT_EQ(result.malformed, "");
    EXPECT_EQ(result.tally.to_string(), GetParam().expected.to_string()) << out.str();
}

TEST_P(CommittedRecording, counts_every_operation_line_once) {
    const std::string text = read(GetParam().file);
    std::size_t operations = 0;
    for (auto at = text.find(R"({"kind":"op")"); at != std::string::npos;
         at = text.find(R"({"kind":"op")", at + 1)) {
        ++operations;
    }
    std::ostringstream out;

    const auto tally = kvbm::conformance::replay_text(GetParam().file, text, out).tally;

    if (operations > 0) {
        EXPECT_EQ(tally.passed + tally.failed + tally.skipped, operations);
    }
}

INSTANTIATE_TEST_SUITE_P(Files, CommittedRecording,
                         testing::Values(Recording{"assignments_ops.jsonl", {863, 0, 39}},
                                         Recording{"edge_cases.json", {74, 0, 8}},
                                         Recording{"hashing.json", {1528, 0, 0}},
                                         Recording{"manager_ops_hashmap.jsonl", {1223, 0, 0}},
                                         Recording{"manager_ops_lineage_fifo.jsonl", {1234, 0, 0}},
                                         Recording{"manager_ops_lineage_tick.jsonl", {1224, 0, 0}},
                                         Recording{"manager_ops_lru.jsonl", {1222, 0, 0}},
                                         Recording{"manager_ops_multi_lru.jsonl", {1229, 0, 0}},
                                         Recording{"request_ops.jsonl", {671, 0, 0}},
                                         Recording{"scheduled_ops.jsonl", {736, 0, 0}},
                                         Recording{"tinylfu.json", {1808, 0, 0}},
                                         Recording{"token_sequence_ops.jsonl", {851, 0, 0}}),
                         [](const auto& info) {
                             const std::string file = info.param.file;
                             return file.substr(0, file.find('.'));
                         });

}  // namespace
