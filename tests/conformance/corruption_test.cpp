// A recording with one wrong value fails: whatever leaf of a result, a state or a vector's expected
// part is changed, exactly the changed records differ.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.conformance;

namespace {

using kvbm::conformance::Array;
using kvbm::conformance::FileResult;
using kvbm::conformance::Member;
using kvbm::conformance::Object;
using kvbm::conformance::Value;

std::string read(std::string_view file) {
    std::ifstream stream(std::string(KVBM_SOURCE_DIR) + "/data/vectors/" + std::string(file),
                         std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

FileResult replay(std::string_view text) {
    std::ostringstream out;
    return kvbm::conformance::replay_text("copy", text, out);
}

Value parsed(std::string_view text) {
    auto value = kvbm::conformance::parse_json(text);
    EXPECT_TRUE(value.has_value()) << text;
    return value ? *value : Value();
}

/// The leaves of a value, empty arrays and objects included, but those under the names given.
void collect_leaves(Value& value, const std::set<std::string, std::less<>>& inputs,
                    std::vector<Value*>& leaves) {
    if (auto* elements = std::get_if<Array>(&value.content()); elements && !elements->empty()) {
        for (Value& element : *elements) {
            collect_leaves(element, inputs, leaves);
        }
    } else if (auto* members = std::get_if<Object>(&value.content());
               members && !members->empty()) {
        for (Member& member : *members) {
            if (!inputs.contains(member.name)) {
                collect_leaves(member.value, inputs, leaves);
            }
        }
    } else {
        leaves.push_back(&value);
    }
}

/// Another value of the same kind where there is one.
Value corrupted(const Value& leaf) {
    if (const auto* text = leaf.as<std::string>()) {
        std::string other = *text;
        if (other.empty() || !other.starts_with("0x")) {
            return other + "0";
        }
        other.back() = other.back() == '0' ? '1' : '0';
        return other;
    }
    if (const auto* flag = leaf.as<bool>()) {
        return !*flag;
    }
    if (const auto* number = leaf.as<std::uint64_t>()) {
        return *number + 1;
    }
    if (const auto* real = leaf.as<double>()) {
        return *real + 1;
    }
    if (leaf.as<Array>() != nullptr) {
        return Array{std::uint64_t{0}};
    }
    return std::uint64_t{0};
}

Value& member(Value& object, std::string_view name) {
    for (Member& candidate : std::get<Object>(object.content())) {
        if (candidate.name == name) {
            return candidate.value;
        }
    }
    ADD_FAILURE() << "no member " << name;
    return object;
}

struct Scripts {
    const char* file;
    /// What the scripts that are compared in full say in their configuration; empty: all of them.
    const char* only;
    std::size_t operations;  // kinds of them
};

void PrintTo(const Scripts& one, std::ostream* out) {
    *out << one.file;
}

class CorruptedScript : public testing::TestWithParam<Scripts> {};

/// The lines of the scripts that have no excuse in them.
std::vector<Value> compared_lines(const Scripts& scripts) {
    std::vector<Value> lines;
    std::istringstream text(read(scripts.file));
    std::string line;
    bool wanted = true;
    while (std::getline(text, line)) {
        if (line.starts_with(R"({"kind":"script")")) {
            wanted = line.find(scripts.only) != std::string::npos &&
                     line.find(R"("with_accidents":true)") == std::string::npos;
        }
        if (wanted) {
            lines.push_back(parsed(line));
        }
    }
    return lines;
}

TEST_P(CorruptedScript, fails_in_exactly_the_records_that_were_changed) {
    constexpr std::size_t rounds = 8;
    constexpr std::size_t stride = 31;
    const auto lines = compared_lines(GetParam());
    std::set<std::string> operations;
    for (std::size_t round = 0; round < rounds; ++round) {
        std::string text;
        std::size_t records = 0;
        for (Value line : lines) {
            if (*line.find("kind")->as<std::string>() == "op") {
                operations.insert(*line.find("op")->as<std::string>());
                std::vector<Value*> leaves;
                collect_leaves(member(line, "res"), {}, leaves);
                collect_leaves(member(line, "st"), {}, leaves);
                Value& leaf = *leaves[(stride * round + records) % leaves.size()];
                leaf = corrupted(leaf);
                ++records;
            }
            text += to_json(line) + "\n";
        }

        const FileResult result = replay(text);

        EXPECT_EQ(result.malformed, "");
        EXPECT_EQ(result.tally.to_string(),
                  "0 passed, " + std::to_string(records) + " failed, 0 skipped");
    }
    EXPECT_EQ(operations.size(), GetParam().operations);
}

INSTANTIATE_TEST_SUITE_P(
    Files, CorruptedScript,
    testing::Values(Scripts{"assignments_ops.jsonl", R"("machine":"external")", 14},
                    Scripts{"request_ops.jsonl", "", 11}, Scripts{"scheduled_ops.jsonl", "", 14},
                    Scripts{"manager_ops_hashmap.jsonl", "", 26},
                    Scripts{"manager_ops_lru.jsonl", "", 27},
                    Scripts{"token_sequence_ops.jsonl", "", 15}),
    [](const auto& info) {
        const std::string file = info.param.file;
        return file.substr(0, file.find('.'));
    });

struct Document {
    const char* file;
    /// Members that are no part of what is expected.
    std::set<std::string, std::less<>> inputs;
    std::size_t vectors;  // at least so many are compared
};

void PrintTo(const Document& one, std::ostream* out) {
    *out << one.file;
}

class CorruptedDocument : public testing::TestWithParam<Document> {};

/// A document of one vector of a member, which is a list of vectors or one of them.
Value document_of(const Value& document, const std::string& name, const Value& vector) {
    const bool in_list = document.find(name)->as<Array>() != nullptr;
    return Object{{"header", *document.find("header")},
                  {name, in_list ? Value(Array{vector}) : vector}};
}

TEST_P(CorruptedDocument, fails_in_the_vector_that_was_changed) {
    constexpr std::size_t leaves_max = 6;
    const Value document = parsed(read(GetParam().file));
    std::size_t compared = 0;
    for (const Member& list : *document.as<Object>()) {
        const auto* vectors = list.value.as<Array>();
        for (Value vector : vectors != nullptr ? *vectors : Array{list.value}) {
            if (list.name == "header" ||
                replay(to_json(document_of(document, list.name, vector))).tally.passed == 0) {
                continue;
            }
            ++compared;
            std::vector<Value*> leaves;
            collect_leaves(vector, GetParam().inputs, leaves);
            const std::size_t stride = leaves.size() / leaves_max + 1;
            for (std::size_t i = compared % stride; i < leaves.size(); i += stride) {
                const Value original = *leaves[i];
                *leaves[i] = corrupted(original);

                const FileResult result = replay(to_json(document_of(document, list.name, vector)));

                EXPECT_TRUE(result.tally.failed > 0 || !result.malformed.empty())
                    << list.name << " " << to_json(vector).substr(0, 500) << " instead of "
                    << to_json(original);
                *leaves[i] = original;
            }
        }
    }
    EXPECT_GE(compared, GetParam().vectors);
}

INSTANTIATE_TEST_SUITE_P(
    Files, CorruptedDocument,
    testing::Values(Document{"edge_cases.json", {"what", "name", "call", "default", "msg"}, 20},
                    Document{"hashing.json",
                             {"what",
                              "note",
                              "msg",
                              "in_current",
                              "in_parent",
                              "in_position",
                              "in_block_hash",
                              "in_sequence_hash",
                              "in_local_block_hash",
                              "payload_hex",
                              "tokens",
                              "salts",
                              "salt",
                              "parent",
                              "child",
                              "block_size",
                              "formula",
                              "unsorted",
                              "runs",
                              "tokens_len",
                              "block_offset",
                              "json",
                              "msgpack_hex",
                              "buffer_hex",
                              "lengths",
                              "seed"},
                             400},
                    Document{"tinylfu.json",
                             {"key_type", "key", "keys", "capacity", "decay_sample_size", "ops"},
                             24}),
    [](const auto& info) {
        const std::string file = info.param.file;
        return file.substr(0, file.find('.'));
    });

TEST(CorruptedSketch, fails_in_every_estimate_that_was_changed) {
    Value document = parsed(read("tinylfu.json"));
    std::size_t estimates = 0;
    for (Value& script : std::get<Array>(member(document, "scripts").content())) {
        for (Value& step : std::get<Array>(member(script, "ops").content())) {
            auto& parts = std::get<Array>(step.content());
            if (*parts[0].as<std::string>() == "e") {
                parts[2] = corrupted(parts[2]);
                ++estimates;
            }
        }
    }

    const FileResult result = replay(to_json(document));

    EXPECT_EQ(result.tally.failed, estimates);
}

TEST(CorruptedSketch, fails_for_a_change_in_any_part_of_a_secret) {
    const Value document = parsed(read("tinylfu.json"));
    const std::string secret = *(*document.find("secrets")->as<Array>())[1].as<std::string>();
    for (std::size_t byte = 0; byte < secret.size() / 2; byte += 7) {
        std::string other = secret;
        other[2 * byte] = other[2 * byte] == '0' ? '1' : '0';

        const FileResult result = replay(to_json(document_of(document, "secrets", other)));

        EXPECT_EQ(result.tally.failed, 1u) << "byte " << byte;
    }
}

}  // namespace
