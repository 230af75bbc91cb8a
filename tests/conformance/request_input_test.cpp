// Scripts of requests and logical trackers that no recording has: what names nothing is refused
// with its place, and calls that panicked in the recorded version are differences, never an abort.
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

import kvbm.conformance;

namespace {

const std::string manager =
    R"("manager":{"block_count":4,"block_size":4,"backend":"lru","policy":"allow",)"
    R"("default_reset_on_release":false,"tracker_capacity":8})";

std::string script(const std::string& format, const std::string& config,
                   const std::vector<std::string>& operations) {
    std::string text = R"({"kind":"header","format":")" + format +
                       R"(","version":1,"metrics_order":[]})" + "\n" +
                       R"({"kind":"script","script":0,"config":{)" + config + "}}\n";
    for (std::size_t i = 0; i < operations.size(); ++i) {
        text += R"({"kind":"op","i":)" + std::to_string(i) + "," + operations[i] +
                R"(,"res":{},"st":{}})" + "\n";
    }
    return text;
}

std::string operation(const std::string& name, const std::string& args) {
    return R"("op":")" + name + R"(","args":{)" + args + "}";
}

std::string make(const std::string& tokens, const std::string& max_output) {
    return operation("new",
                     R"("r":0,"tokens":[)" + tokens + R"(],"max_output_tokens":)" + max_output);
}

struct Case {
    const char* name;
    std::string text;
    /// What is wrong, behind the name of the file; empty if nothing is.
    std::string malformed;
};

void PrintTo(const Case& one, std::ostream* out) {
    *out << one.name;
}

class RequestInput : public testing::TestWithParam<Case> {};

TEST_P(RequestInput, is_refused_or_differs_and_never_aborts) {
    std::ostringstream out;

    const auto result = kvbm::conformance::replay_text("file", GetParam().text, out);

    if (GetParam().malformed.empty()) {
        EXPECT_EQ(result.malformed, "");
        EXPECT_GT(result.tally.failed, 0u) << out.str();
    } else {
        EXPECT_EQ(result.malformed, "file" + GetParam().malformed);
    }
}

std::vector<Case> cases() {
    const std::string two_blocks = make("1,2,3,4,5,6,7,8", "0");
    const std::string logical = R"("machine":"logical","sequences":[],)" + manager;
    const std::string allocate = operation("allocate", R"("n":2)");
    return {
        {"no_manager", script("request_ops", "", {}), ":2: config.manager is missing"},
        {"request_not_there", script("request_ops", manager, {operation("release", R"("r":1)")}),
         ":3: script 0 op 0 release: args names a request that is not there"},
        {"scheduled_request_not_there",
         script("scheduled_ops", manager, {operation("destroy", R"("r":1)")}),
         ":3: script 0 op 0 destroy: args names a request that is not there"},
        {"request_without_a_name", script("request_ops", manager, {operation("release", "")}),
         ":3: script 0 op 0 release: args.r is missing"},
        {"token_too_large", script("scheduled_ops", manager, {make("4294967296", "1")}),
         ":3: script 0 op 0 new: args.tokens[0] is not a token (0 .. 4294967295)"},
        {"tracker_not_there", script("assignments_ops", logical, {operation("clear", R"("t":2)")}),
         ":3: script 0 op 0 clear: args names a tracker that is not there"},
        {"manager_not_there",
         script("assignments_ops", logical, {operation("allocate", R"("n":1,"mgr":2)")}),
         ":3: script 0 op 0 allocate: args names a manager that is not there"},
        {"guard_not_there",
         script("assignments_ops", logical, {operation("extend_blocks", R"("t":0,"hs":[7])")}),
         ":3: script 0 op 0 extend_blocks: args names the guard 7, which is not there"},
        // Legal, or what follows from a record that differed.
        {"request_made_twice", script("request_ops", manager, {make("1", "1"), make("1", "1")}),
         ""},
        {"match_with_blocks_held",
         script("request_ops", manager,
                {two_blocks, operation("allocate_blocks", R"("r":0,"n":2)"),
                 operation("match_and_add_prefix", R"("r":0)"), operation("reacquire", R"("r":0)"),
                 operation("append_token", R"("r":0,"token":1)")}),
         ""},
        {"final_token_of_a_request_without_output",
         script("scheduled_ops", manager,
                {two_blocks, operation("schedule_prefill", R"("r":0,"n":8)"),
                 operation("drop_unassigned", R"("r":0,"n":1)"),
                 operation("apply_prefill", R"("r":0,"token":1)"),
                 operation("match_and_add_prefix", R"("r":0)")}),
         ""},
        {"numbers_without_bounds",
         script("scheduled_ops", manager,
                {make("1", "18446744073709551615"),
                 operation("schedule_prefill", R"("r":0,"n":18446744073709551615)"),
                 operation("schedule_prefill", R"("r":0,"n":1)"),
                 operation("apply_prefill", R"("r":0,"token":1)"),
                 operation("schedule_speculative", R"("r":0,"n":18446744073709551615)"),
                 operation("drop_unassigned", R"("r":0,"n":18446744073709551615)")}),
         ""},
        {"foreign_guard_without_a_mark",
         script("assignments_ops", logical,
                {operation("allocate", R"("n":1,"mgr":1)"),
                 operation("extend_blocks", R"("t":0,"hs":[0])")}),
         ""},
        {"everything_to_an_empty_tracker",
         script("assignments_ops", logical,
                {allocate, operation("extend_blocks", R"("t":0,"hs":[0,1])"),
                 operation("take_unassigned", R"("t":0)"),
                 operation("pop_last_unassigned", R"("t":0)"), operation("register", R"("t":0)"),
                 operation("get_assigned", R"("t":0,"index":18446744073709551615)")}),
         ""},
    };
}

INSTANTIATE_TEST_SUITE_P(Scripts, RequestInput, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
