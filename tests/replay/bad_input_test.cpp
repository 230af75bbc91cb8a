// Every file of tests/bad_input is read as its list says: refused with exactly this reason and
// line, or accepted with exactly these requests. Inputs too large to commit are made here.
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

const std::string directory = KVBM_SOURCE_DIR "/tests/bad_input/";

/// A line of the list.
struct Case {
    std::string file;
    std::string options;
    int exit_code = 0;
    std::string message;
};

void PrintTo(const Case& tested, std::ostream* out) {
    *out << tested.file;
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) {
        parts.push_back(part);
    }
    return parts;
}

std::vector<Case> all_cases() {
    std::ifstream list(directory + "cases.tsv");
    std::vector<Case> cases;
    for (std::string line; std::getline(list, line);) {
        if (!line.starts_with('#')) {
            const auto columns = split(line, '\t');
            cases.push_back(
                {columns.at(0), columns.at(1), std::stoi(columns.at(2)), columns.at(3)});
        }
    }
    return cases;
}

/// The options of a case, spelled as those of the command line.
kvbm::ReadOptions options_of(const std::string& text) {
    kvbm::ReadOptions options;
    const auto words = split(text, ' ');
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto next = [&] { return words.at(++i); };
        if (words[i] == "--skip-bad") {
            options.skip_bad = true;
        } else if (words[i] == "--max-bad") {
            options.max_bad = std::stoul(next());
        } else if (words[i] == "--max-line") {
            options.max_line = std::stoul(next());
        } else if (words[i] == "--max-blocks") {
            options.max_blocks = std::stoul(next());
        } else if (words[i] == "--block-size") {
            options.block_size = std::stoul(next());
        } else if (words[i] == "--format") {
            options.format = kvbm::trace_format_named(next()).value();
        } else if (words[i] == "--sessions") {
            options.sessions = kvbm::session_rule_named(next()).value();
        } else {
            ADD_FAILURE() << "unknown option in the list: " << words[i];
        }
    }
    return options;
}

/// What is read, in the words of the list.
std::string summary_of(const kvbm::Trace& trace) {
    auto text = std::to_string(trace.requests.size()) + " requests, " +
                std::to_string(trace.ids.size()) + " blocks";
    const auto add = [&text](std::size_t count, const char* what) {
        text += count == 0 ? "" : ", " + std::to_string(count) + " " + what;
    };
    add(trace.blank_lines, "blank");
    add(trace.empty_rows, "empty");
    add(trace.skipped_lines, "skipped");
    return text;
}

class BadInput : public testing::TestWithParam<Case> {};

TEST_P(BadInput, is_read_or_refused_as_the_list_says) {
    const auto& tested = GetParam();
    const auto path = directory + tested.file;
    auto message = tested.message;
    if (message.starts_with("FILE")) {
        message.replace(0, 4, path);
    }

    const auto trace = kvbm::read_trace(path, options_of(tested.options));

    EXPECT_EQ(trace.has_value() ? 0 : trace.error().exit_code(), tested.exit_code);
    EXPECT_EQ(trace.has_value() ? summary_of(*trace) : trace.error().message(), message);
}

INSTANTIATE_TEST_SUITE_P(List, BadInput, testing::ValuesIn(all_cases()), [](const auto& info) {
    auto name = info.param.file;
    std::replace_if(name.begin(), name.end(), [](char c) { return c == '.'; }, '_');
    return name;
});

TEST(BadInputList, names_each_file_of_its_directory_once) {
    std::vector<std::string> listed;
    for (const auto& tested : all_cases()) {
        listed.push_back(tested.file);
    }
    std::vector<std::string> present;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        if (entry.path().filename() != "cases.tsv") {
            present.push_back(entry.path().filename());
        }
    }
    std::sort(listed.begin(), listed.end());
    std::sort(present.begin(), present.end());

    EXPECT_EQ(listed, present);
    EXPECT_GE(listed.size(), 120u);
}

// --- too large to commit ---

const std::string good =
    R"({"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]})";

std::string refusal(const std::string& bytes, const kvbm::ReadOptions& options = {}) {
    const auto trace = kvbm::parse_trace(bytes, "big", options);
    return trace.has_value() ? summary_of(*trace) : trace.error().message();
}

std::string row_of_blocks(std::size_t count) {
    auto row = R"({"timestamp": 0, "input_length": )" + std::to_string(count * 512) +
               R"(, "output_length": 5, "hash_ids": [0)";
    for (std::size_t i = 1; i < count; ++i) {
        row += ",7";
    }
    return row + "]}\n";
}

TEST(BadInputLarge, line_of_16_mebibytes_is_read_and_one_byte_more_is_refused) {
    const std::string at_bound = good + std::string(16'777'216 - good.size(), ' ');

    EXPECT_EQ(refusal(good + "\n" + at_bound + "\n"), "2 requests, 4 blocks");
    EXPECT_EQ(refusal(good + "\n" + at_bound + " \n" + good),
              "big:2: line longer than 16777216 bytes");
    EXPECT_EQ(refusal(good + "\n" + at_bound + std::string(1'000'000, 'x') + "\n" + good,
                      {.skip_bad = true}),
              "2 requests, 4 blocks, 1 skipped");
}

TEST(BadInputLarge, request_of_1048576_blocks_is_read_and_one_more_is_refused) {
    EXPECT_EQ(refusal(row_of_blocks(1'000'000)), "1 requests, 1000000 blocks");
    EXPECT_EQ(refusal(row_of_blocks(1'048'576)), "1 requests, 1048576 blocks");
    EXPECT_EQ(refusal(row_of_blocks(1'048'577)), "big:1: more than 1048576 blocks");
}

TEST(BadInputLarge, hundred_thousand_open_brackets_are_no_json_object) {
    EXPECT_EQ(refusal(good + "\n{\"x\": " + std::string(100'000, '[')), "big:2: not a JSON object");
    EXPECT_EQ(refusal(good + "\n" + std::string(100'000, '[')), "big:2: not a JSON object");
    EXPECT_EQ(refusal(std::string(100'000, '{')), "big:1: not a JSON object");
}

TEST(BadInputLarge, million_blank_lines_are_counted) {
    EXPECT_EQ(refusal(std::string(1'000'000, '\n')), "big: no requests");
    EXPECT_EQ(refusal(std::string(1'000'000, '\n') + good + "\nx"),
              "big:1000002: not a JSON object");
}

TEST(BadInputLarge, file_cut_at_each_byte_of_its_last_line_loses_that_line_only) {
    const auto whole = good + "\n" + good;

    for (std::size_t size = good.size() + 2; size < whole.size(); ++size) {
        EXPECT_EQ(refusal(whole.substr(0, size)), "big:2: not a JSON object") << size;
        EXPECT_EQ(refusal(whole.substr(0, size), {.skip_bad = true}),
                  "1 requests, 2 blocks, 1 skipped")
            << size;
    }
    EXPECT_EQ(refusal(whole.substr(0, good.size() + 1)), "1 requests, 2 blocks");
    EXPECT_EQ(refusal(whole), "2 requests, 4 blocks");
}

TEST(BadInputLarge, csv_cut_at_each_byte_of_its_last_line_is_refused_until_its_last_field) {
    const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    const std::string line = "2023-11-16 18:15:46.6805900,374,44";
    const auto last_comma = line.rfind(',');

    for (std::size_t size = 1; size <= line.size(); ++size) {
        const auto text = refusal(header + line.substr(0, size));
        const auto fields = 1 + std::count(line.begin(), line.begin() + std::ptrdiff_t(size), ',');
        const auto expected = size < last_comma + 1 ? "big:2: not CSV: " + std::to_string(fields) +
                                                          " fields, header has 3"
                              : size == last_comma + 1 ? "big:2: missing field \"GeneratedTokens\""
                                                       : "1 requests, 1 blocks";
        EXPECT_EQ(text, expected) << size;
    }
}

// --- things that are no files of text ---

TEST(BadInputPath, missing_file_is_no_bad_data) {
    const auto trace = kvbm::read_trace(directory + "no_such_file");

    ASSERT_FALSE(trace.has_value());
    EXPECT_EQ(trace.error().message(), directory + "no_such_file: No such file or directory");
    EXPECT_EQ(trace.error().exit_code(), 1);
}

TEST(BadInputPath, directory_is_no_bad_data) {
    const auto trace = kvbm::read_trace(directory);

    ASSERT_FALSE(trace.has_value());
    EXPECT_EQ(trace.error().message(), directory + ": Is a directory");
    EXPECT_EQ(trace.error().exit_code(), 1);
}

TEST(BadInputPath, named_pipe_is_read_to_its_end) {
    const auto path = testing::TempDir() + "kvbm_bad_input_pipe";
    std::filesystem::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);

    std::thread writer([&path] {
        std::ofstream pipe(path);
        pipe << good << "\n" << std::flush << good << "\n";
    });
    const auto trace = kvbm::read_trace(path);
    writer.join();
    std::filesystem::remove(path);

    ASSERT_TRUE(trace.has_value()) << trace.error().message();
    EXPECT_EQ(summary_of(*trace), "2 requests, 4 blocks");
}

}  // namespace
