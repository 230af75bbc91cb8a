// What is no recording is refused with its place and the reason, and by exit code 2; what is
// unusual but legal is replayed as any other.
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

import kvbm.conformance;
import kvbm.tokens;

namespace {

using kvbm::conformance::hex;
using kvbm::conformance::replay_text;

struct Case {
    const char* name;
    std::string text;
    /// What is wrong, behind the name of the file; empty if nothing is.
    std::string malformed;
    std::string sums = "0 passed, 0 failed, 0 skipped";
};

void PrintTo(const Case& one, std::ostream* out) {
    *out << one.name;
}

std::string tokens_header() {
    return R"({"kind":"header","format":"token_sequence_ops","version":1})"
           "\n";
}

std::string tokens_script(const std::string& config, const std::string& lines = "") {
    return tokens_header() + R"({"kind":"script","script":0,"config":{)" + config + "}}\n" + lines;
}

std::string manager_header() {
    return R"({"kind":"header","format":"manager_ops","version":1,"metrics_order":["stagings"]})"
           "\n";
}

/// A node of two tokens, the first of its sequence.
std::string node(const std::string& parent = "-1", const std::string& tokens = "[1,2]") {
    const kvbm::Token values[] = {1, 2};
    const kvbm::TokenBlockSequence sequence(values, 2);
    return R"({"parent":)" + parent + R"(,"tokens":)" + tokens + R"(,"hash":")" +
           hex(sequence.blocks()[0].sequence_hash()) + "\"}";
}

struct ManagerOptions {
    std::string block_count = "2";
    std::string block_size = "2";
    std::string backend = "\"lru\"";
    std::string policy = "\"allow\"";
    std::string capacity = "8";
    std::string nodes = node();
};

std::string manager_script(const std::string& lines, const ManagerOptions& options = {}) {
    return manager_header() + R"({"kind":"script","script":0,"config":{"block_count":)" +
           options.block_count + R"(,"block_size":)" + options.block_size + R"(,"backend":)" +
           options.backend + R"(,"policy":)" + options.policy +
           R"(,"default_reset_on_release":false,"tracker_capacity":)" + options.capacity +
           R"(,"nodes":[)" + options.nodes + "]}}\n" + lines;
}

std::string operation(int number, const std::string& name, const std::string& args,
                      const std::string& res = "{}", const std::string& st = "{}") {
    return R"({"kind":"op","i":)" + std::to_string(number) + R"(,"op":")" + name + R"(","args":{)" +
           args + R"(},"res":)" + res + R"(,"st":)" + st + "}\n";
}

std::string manager_state(int available, int stagings = 0) {
    return R"({"avail":)" + std::to_string(available) + R"(,"reg":0,"touches":0,"m":[)" +
           std::to_string(stagings) + "]}";
}

/// Allocates block 0 under handle 0.
std::string allocate_one() {
    return operation(0, "allocate", R"("n":1)", R"({"ok":true,"blocks":[[0,0]]})",
                     manager_state(1));
}

std::string assignments_script(const std::string& offsets, const std::string& lines) {
    const kvbm::Token values[] = {1, 2};
    const kvbm::TokenBlockSequence sequence(values, 1);
    return R"({"kind":"header","format":"assignments_ops","version":1})"
           "\n"
           R"({"kind":"script","script":0,"config":{"machine":"external","offsets":)" +
           offsets + R"(,"sequences":[{"tokens":[1,2],"block_size":1,"salt":null,"hashes":[")" +
           hex(sequence.blocks()[0].sequence_hash()) + "\",\"" +
           hex(sequence.blocks()[1].sequence_hash()) + "\"]}]}}\n" + lines;
}

std::string hashing(const std::string& member) {
    return R"({"header":{"kind":"header","format":"hashing","version":1},)" + member + "}";
}

const std::string one_passed = "1 passed, 0 failed, 0 skipped";

std::vector<Case> files() {
    return {
        {"empty", "", ": the file is empty"},
        {"only_newlines", "\n\r\n \n", ": the file is empty"},
        {"no_json", "hello", ":1: neither a header line nor one document: "},
        {"open_object", "{\"kind\":", ":1: neither a header line nor one document: "},
        {"comment", "// a remark\n{}", ":1: neither a header line nor one document: "},
        {"single_quotes", "{'kind':'header'}", ":1: neither a header line nor one document: "},
        {"array", "[1,2]", ": the record is not an object"},
        {"number", "7", ": the record is not an object"},
        {"no_header", "{}", ": header is missing"},
        {"header_that_is_text", R"({"header":"x"})", ": header is not an object"},
        {"other_version", R"({"kind":"header","format":"manager_ops","version":2})",
         ":1: version is 2, not 1"},
        {"no_version", R"({"kind":"header","format":"manager_ops"})", ":1: version is missing"},
        {"no_format", R"({"kind":"header","version":1})", ":1: format is missing"},
        {"other_format", R"({"kind":"header","format":"poems","version":1})",
         ":1: unknown format \"poems\""},
        {"other_document_format", R"({"header":{"format":"poems","version":1}})",
         ": unknown format \"poems\""},
        {"deep_nesting", std::string(100000, '['), ":1: neither a header line nor one document: "},
        {"invalid_utf8", "{\"kind\":\"\xff\"}", ":1: neither a header line nor one document: "},
    };
}

std::vector<Case> lines() {
    const std::string config = R"("tokens":[1],"block_size":1,"salt":null)";
    return {
        {"line_without_json", tokens_header() + "\n{\n", ":3: not JSON: "},
        {"two_documents_on_a_line", tokens_header() + "{} {}\n", ":2: not JSON: "},
        {"trailing_comma", tokens_header() + "{\"kind\":\"op\",}\n", ":2: not JSON: "},
        {"cut_in_its_last_line", tokens_script(config, operation(0, "pop", "").substr(0, 30)),
         ":3: not JSON: "},
        {"line_that_is_no_object", tokens_header() + "[]\n", ":2: the record is not an object"},
        {"line_without_kind", tokens_header() + "{}\n", ":2: kind is missing"},
        {"line_of_another_kind", tokens_header() + R"({"kind":"song"})",
         ":2: unknown kind of line \"song\""},
        {"script_without_config", tokens_header() + R"({"kind":"script","script":0})",
         ":2: config is missing"},
        {"operation_before_a_script", tokens_header() + operation(0, "pop", ""),
         ":2: an operation before the first script"},
        {"operation_left_out", tokens_script(config, operation(1, "pop", "")),
         ":3: operation 1 where 0 comes next"},
        {"operation_without_args", tokens_script(config, R"({"kind":"op","i":0,"op":"pop"})"),
         ":3: args is missing"},
        {"unknown_operation", tokens_script(config, operation(0, "sing", "")),
         ":3: script 0 op 0 sing: unknown operation \"sing\""},
        {"unknown_accident",
         tokens_script(config,
                       R"({"kind":"op","i":0,"op":"pop","args":{},"upstream_accident":"rain"})"),
         ":3: unknown accident \"rain\""},
        {"token_too_large", tokens_script(R"("tokens":[4294967296],"block_size":1)"),
         ":2: config.tokens[0] is not a token (0 .. 4294967295)"},
        {"token_negative", tokens_script(config, operation(0, "append", R"("token":-1)")),
         ":3: script 0 op 0 append: args.token is not a token (0 .. 4294967295)"},
        {"token_with_fraction", tokens_script(config, operation(0, "append", R"("token":1.5)")),
         ":3: script 0 op 0 append: args.token is not a token (0 .. 4294967295)"},
        {"token_missing", tokens_script(config, operation(0, "append", "")),
         ":3: script 0 op 0 append: args.token is missing"},
        {"sequence_of_block_size_0", tokens_script(R"("tokens":[],"block_size":0)"),
         ":2: config has block_size 0"},
        {"salt_that_is_a_number", tokens_script(R"("tokens":[],"block_size":1,"salt":7)"),
         ":2: config.salt is not 0x and 16 hexadecimal digits"},
        {"runs_that_overlap",
         tokens_script(R"("tokens":[1,2],"block_size":1,"runs":[)"
                       R"({"mm_hash":"0x0000000000000001","offset":0,"length":2},)"
                       R"({"mm_hash":"0x0000000000000001","offset":1,"length":1}])"),
         ":2: config makes no sequence: mm_info ranges overlap at position 1"},
        {"block_that_is_not_there", tokens_script(config, operation(0, "block", R"("index":1)")),
         ":3: script 0 op 0 block: args names a block that is not there"},
    };
}

std::vector<Case> managers() {
    const std::string place = ":2: config makes no manager: Builder validation failed: ";
    const std::string size_text = ": must be a power of 2 between 1 and 1024";
    const std::string mode_3 =
        R"({"parent":-1,"tokens":[1,2],"hash":"0xc)" + std::string(31, '0') + "\"}";
    return {
        {"block_size_0", manager_script("", {.block_size = "0", .nodes = ""}),
         place + "Invalid block_size 0" + size_text},
        {"block_size_3", manager_script("", {.block_size = "3", .nodes = ""}),
         place + "Invalid block_size 3" + size_text},
        {"block_size_2048", manager_script("", {.block_size = "2048", .nodes = ""}),
         place + "Invalid block_size 2048" + size_text},
        {"block_count_0", manager_script("", {.block_count = "0"}),
         place + "block_count must be greater than 0"},
        {"block_count_of_2_to_32", manager_script("", {.block_count = "4294967296"}),
         place + "block_count 4294967296 exceeds the maximum 4294967294"},
        {"unknown_backend", manager_script("", {.backend = "\"random\""}),
         ":2: config names the unknown backend \"random\""},
        {"unknown_policy", manager_script("", {.policy = "\"maybe\""}),
         ":2: config names the unknown policy \"maybe\""},
        {"tracker_too_large", manager_script("", {.capacity = "1099511627776"}),
         ":2: config has a tracker_capacity of more than 2^28"},
        {"node_of_mode_3", manager_script("", {.nodes = mode_3}),
         ":2: config.nodes[0].hash is no sequence hash: Invalid mode 3 in "
         "PositionalLineageHash; mode must be 0, 1, or 2"},
        {"node_of_31_digits",
         manager_script("", {.nodes = R"({"parent":-1,"tokens":[1,2],"hash":"0x1"})"}),
         ":2: config.nodes[0].hash is not 0x and 32 hexadecimal digits"},
        {"node_with_a_later_parent", manager_script("", {.nodes = node("0")}),
         ":2: config.nodes[0] has a parent that does not stand before it"},
        {"node_of_three_tokens", manager_script("", {.nodes = node("-1", "[1,2,3]")}),
         ":2: config.nodes[0] has not as many tokens as a block"},
        {"unknown_metric",
         R"({"kind":"header","format":"manager_ops","version":1,"metrics_order":["joy"]})" +
             manager_script("").substr(manager_header().size() - 1),
         ":2: header orders the unknown metric \"joy\""},
        {"guard_never_given", manager_script(operation(0, "drop", R"("hs":[7])")),
         ":3: script 0 op 0 drop: args names the guard 7, which is not there"},
        {"guard_dropped_before",
         manager_script(allocate_one() +
                        operation(1, "drop", R"("hs":[0])", R"({"ok":true})", manager_state(2)) +
                        operation(2, "drop", R"("hs":[0])")),
         ":5: script 0 op 2 drop: args names the guard 0, which is not there",
         "2 passed, 0 failed, 0 skipped"},
        {"guard_named_twice",
         manager_script(allocate_one() + operation(1, "drop", R"("hs":[0,0])")),
         ":4: script 0 op 1 drop: args names a guard twice", one_passed},
        {"register_before_stage",
         manager_script(allocate_one() + operation(1, "register", R"("h":0)")),
         ":4: script 0 op 1 register: args names the guard 0, which is not complete", one_passed},
        {"upgrade_of_a_mutable_block",
         manager_script(allocate_one() + operation(1, "upgrade", R"("h":0)")),
         ":4: script 0 op 1 upgrade: args names the guard 0, which is not weak", one_passed},
        {"clone_of_a_mutable_block",
         manager_script(allocate_one() + operation(1, "clone", R"("h":0)")),
         ":4: script 0 op 1 clone: args clones a guard that has one owner", one_passed},
        {"node_never_given",
         manager_script(allocate_one() + operation(1, "stage", R"("h":0,"x":1,"size":2)")),
         ":4: script 0 op 1 stage: args names a node that is not there", one_passed},
        {"more_guards_than_nodes",
         manager_script(allocate_one() + operation(1, "stage_many", R"("hs":[0],"xs":[])")),
         ":4: script 0 op 1 stage_many: args has not as many nodes as guards", one_passed},
        {"touching_for_ever",
         manager_script(operation(0, "touch", R"("x":0,"times":1000000000000)")),
         ":3: script 0 op 0 touch: args touches more than 2^24 times"},
    };
}

std::vector<Case> others() {
    const std::string no_state = "{}";
    return {
        {"offset_above_2_to_24", assignments_script("[16777217,0]", ""),
         ":2: config has an offset above 2^24"},
        {"tracker_that_is_not_there",
         assignments_script("[0,0]", operation(0, "clear", R"("t":2)")),
         ":3: script 0 op 0 clear: args names a tracker that is not there"},
        {"slice_beyond_the_blocks",
         assignments_script(
             "[0,0]", operation(0, "stage_pending", R"("t":0,"blocks":[{"seq":0,"lo":0,"hi":3}])")),
         ":3: script 0 op 0 stage_pending: args.blocks[0] is no slice of the sequences' blocks"},
        {"name_of_no_hash",
         assignments_script("[0,0]",
                            operation(0, "extend_assigned", R"("t":0,"items":[[1,[0,2]]])")),
         ":3: script 0 op 0 extend_assigned: args has an item that is not an id and the name of a "
         "hash"},
        {"unknown_machine",
         R"({"kind":"header","format":"assignments_ops","version":1})"
         "\n"
         R"({"kind":"script","script":0,"config":{"machine":"steam"}})",
         ":2: config names the unknown machine \"steam\""},
        {"unknown_member", hashing(R"("colours":[])"), ": unknown member \"colours\""},
        {"member_that_is_no_list", hashing(R"("salt_hashes":{})"), ": salt_hashes is not an array"},
        {"vector_that_is_no_object", hashing(R"("salt_hashes":[7])"),
         ": salt_hashes[0] is not an object"},
        {"odd_number_of_digits",
         hashing(R"("salt_hashes":[{"payload_hex":"123","salt_hash":"0x0000000000000000"}])"),
         ": salt_hashes[0].payload_hex is not bytes in hexadecimal digits"},
        {"length_beyond_the_buffer",
         hashing(R"("raw":{"buffer_hex":"00","lengths":[2],"by_seed":[]})"),
         ": raw has a length beyond its buffer"},
        {"runs_that_no_sequence_has",
         hashing(R"("mm_bytes":[{"tokens":[1],"block_offset":0,"salt":null,)"
                 R"("runs":[{"mm_hash":"0x0000000000000001","offset":0,"length":0}]}])"),
         ": mm_bytes[0] has runs or an offset that no sequence has"},
        {"formula_without_modulo",
         hashing(R"("long_sequence":{"formula":{"n":1,"mul":1,"add":1,"modulo":0,)"
                 R"("token":"(i*mul + add) % modulo"},"block_size":1,"salt":null,"blocks":[]})"),
         ": long_sequence.formula gives no tokens, or more than 2^24 of them"},
    };
}

std::vector<Case> legal() {
    const std::string config = R"("tokens":[7],"block_size":2,"salt":null)";
    const std::string popped = operation(
        0, "pop", "", R"({"token":7})",
        R"({"n":0,"blocks":0,"partial":[],"remaining":2,"plh":null,"seq":null,"runs":0})");
    const std::string reordered =
        R"({"st":{"runs":0,"seq":null,"plh":null,"remaining":2,"partial":[],"blocks":0,"n":0},)"
        R"("res":{"token":8,"\u0074oken":7},"args":{},"op":"pop","i":0,"kind":"op"})";
    const auto lineage = [](const std::string& parent, const std::string& position,
                            const std::string& rest) {
        return hashing(R"("plh_direct":[{"in_current":"0x0000000000000001","in_parent":)" + parent +
                       R"(,"in_position":)" + position + "," + rest + "}]");
    };
    return {
        {"header_alone", tokens_header(), ""},
        {"blank_lines_and_carriage_returns",
         "\n" + tokens_script(config, "\r\n" + popped.substr(0, popped.size() - 1) + "\r\n"), "",
         one_passed},
        {"no_final_newline", tokens_script(config, popped.substr(0, popped.size() - 1)), "",
         one_passed},
        {"other_order_escapes_and_a_repeated_name", tokens_script(config, reordered), "",
         one_passed},
        {"size_as_digits",
         tokens_script(config,
                       operation(0, "truncate", R"("len":"0x0000000000000000")", R"({"ok":true})",
                                 R"({"n":"0x0000000000000000","blocks":0,"partial":[],)"
                                 R"("remaining":2,"plh":null,"seq":null,"runs":0})")),
         "", one_passed},
        {"allocating_nothing",
         manager_script(
             operation(0, "allocate", R"("n":0)", R"({"ok":true,"blocks":[]})", manager_state(2))),
         "", one_passed},
        {"allocating_more_than_there_is",
         manager_script(operation(0, "allocate", R"("n":3)", R"({"ok":false})", manager_state(2))),
         "", one_passed},
        {"gap_before_a_position",
         assignments_script(
             "[1,0]",
             operation(0, "extend_assigned", R"("t":0,"items":[[5,[0,0]]])",
                       R"({"err":{"kind":"PositionMismatch","expected":1,"actual":0,"block_id":5,)"
                       R"("msg":"position mismatch for block_id 5: expected 1, actual 0"}})",
                       R"({"t":0,"offset":1,"assigned":[],"staged":[],"unassigned":[],)"
                       R"("next_position":1,"assigned_positions":[1,1],"staged_positions":[1,1],)"
                       R"("pending_positions":[1,1]})")),
         "", one_passed},
        {"parent_at_position_0",
         lineage("\"0x0000000000000002\"", "0",
                 R"("value":"0x00000000000000000040000000000002","mode":0,"position":0,)"
                 R"("current":"0x0000000000000001","parent_fragment":"0x0000000000000002",)"
                 R"("display":"0:11111112","debug_eq_display":true,)"
                 R"("child_parent_fragment":"0x0000000000000001")"),
         "", one_passed},
        {"position_2_to_24",
         lineage("null", "16777216",
                 R"("err":"Position 16777216 exceeds maximum supported value )"
                 R"x((2^24 - 1 = 16,777,215)")x"),
         "", one_passed},
        {"node_with_a_hash_of_another_place",
         manager_script("", {.nodes = node() + "," + node("0")}), "",
         "0 passed, 1 failed, 0 skipped"},
    };
}

class Input : public testing::TestWithParam<Case> {};

TEST_P(Input, is_refused_with_place_and_reason_or_replayed) {
    const Case& one = GetParam();
    std::ostringstream out;

    const auto result = replay_text("x", one.text, out);

    if (one.malformed.empty()) {
        EXPECT_EQ(result.malformed, "") << out.str();
    } else if (one.malformed.ends_with(": ")) {  // what the JSON library says is its own
        EXPECT_TRUE(result.malformed.starts_with("x" + one.malformed)) << result.malformed;
    } else {
        EXPECT_EQ(result.malformed, "x" + one.malformed);
    }
    EXPECT_EQ(result.tally.to_string(), one.sums) << out.str();
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
    return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(BadFiles, Input, testing::ValuesIn(files()), name_of);
INSTANTIATE_TEST_SUITE_P(BadLines, Input, testing::ValuesIn(lines()), name_of);
INSTANTIATE_TEST_SUITE_P(BadManagers, Input, testing::ValuesIn(managers()), name_of);
INSTANTIATE_TEST_SUITE_P(BadOthers, Input, testing::ValuesIn(others()), name_of);
INSTANTIATE_TEST_SUITE_P(Legal, Input, testing::ValuesIn(legal()), name_of);

/// Writes a file of the test's own.
std::string written(const std::string& name, const std::string& text) {
    const std::string path = testing::TempDir() + "/kvbm_conformance_" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
}

struct Ran {
    int code;
    std::string out;
    std::string err;
};

Ran ran(const std::vector<std::string>& files) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = kvbm::conformance::run(files, out, err);
    return {code, out.str(), err.str()};
}

TEST(Program, exits_with_0_when_every_record_agrees) {
    const auto path = written("good", manager_script(allocate_one()));

    const Ran result = ran({path, path});

    EXPECT_EQ(result.code, 0);
    EXPECT_TRUE(result.out.ends_with("\n2 passed, 0 failed, 0 skipped\n")) << result.out;
    EXPECT_EQ(result.err, "");
}

TEST(Program, exits_with_1_and_names_the_record_that_differs) {
    const auto path = written(
        "differs", manager_script(operation(0, "allocate", R"("n":1)",
                                            R"({"ok":true,"blocks":[[0,1]]})", manager_state(1))));

    const Ran result = ran({path});

    EXPECT_EQ(result.code, 1);
    EXPECT_NE(result.out.find("script 0 op 0 allocate\n    res.blocks[0][1]: expected 1, got 0\n"),
              std::string::npos)
        << result.out;
    EXPECT_TRUE(result.out.ends_with("\n0 passed, 1 failed, 0 skipped\n")) << result.out;
}

TEST(Program, exits_with_2_for_a_malformed_file_and_replays_the_others) {
    const auto bad = written("bad", tokens_header() + "x\n");
    const auto good = written("good", manager_script(allocate_one()));

    const Ran result = ran({bad, good});

    EXPECT_EQ(result.code, 2);
    EXPECT_TRUE(result.err.starts_with("kvbm_conformance: " + bad + ":2: not JSON: "))
        << result.err;
    EXPECT_TRUE(result.out.ends_with("\n1 passed, 0 failed, 0 skipped\n")) << result.out;
}

TEST(Program, exits_with_2_for_what_is_no_file) {
    const std::string nowhere = testing::TempDir() + "/kvbm_conformance_nowhere";
    std::filesystem::remove(nowhere);

    EXPECT_EQ(ran({nowhere}).code, 2);
    EXPECT_EQ(ran({nowhere}).err, "kvbm_conformance: " + nowhere + ": cannot be opened\n");
    EXPECT_EQ(ran({testing::TempDir()}).err,
              "kvbm_conformance: " + testing::TempDir() + ": is a directory\n");
}

TEST(Program, exits_with_2_and_its_usage_without_a_file) {
    EXPECT_EQ(ran({}).code, 2);
    EXPECT_EQ(ran({}).err, "usage: kvbm_conformance FILE...\n");
}

}  // namespace
