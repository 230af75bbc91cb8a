// Any script of calls on up to four requests of one manager does what the naive requests do that
// run beside them guard by guard: outcomes, error texts, events, counters, block ids, pools. After
// each command the auditors run, and each registered block holds the KV of all its tokens.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm::testing::requests;
namespace gen = kvbm::testing::gen;

RC_GTEST_PROP(SchedulableSequence, agrees_with_its_naive_twin, (const Options& options)) {
    const auto script =
        *rc::gen::scale(2.5, rc::gen::container<std::vector<Command>>(gen::request_command()));
    Harness harness(options);

    for (const Command& command : script) {
        if (const auto difference = harness.run(command)) {
            RC_FAIL(*difference);
        }
    }

    if (const auto difference = harness.finish()) {
        RC_FAIL(*difference);
    }
}

RC_GTEST_PROP(RequestCommand, line_of_a_script_is_parsed_back, (const Command& command)) {
    const auto parsed = parse_command(to_string(command));

    RC_ASSERT(parsed.has_value());
    RC_ASSERT(to_string(*parsed) == to_string(command));
}

TEST(RequestCommand, other_text_is_refused) {
    EXPECT_FALSE(parse_command(""));
    EXPECT_FALSE(parse_command("release 1"));
    EXPECT_FALSE(parse_command("release 1 2"));
    EXPECT_FALSE(parse_command("release 1 yes 3"));
    EXPECT_FALSE(parse_command("levitate 1"));
}

// A fixed stream of bytes through the fuzzer's decoder: every command is executed, and of each some
// succeed.
TEST(RequestHarness, executes_every_command) {
    std::mt19937_64 random(7);
    std::map<std::string, std::size_t> succeeded;
    std::map<std::string, std::size_t> refused;
    for (int script = 0; script < 60; ++script) {
        std::vector<std::uint8_t> input(1200);
        for (auto& byte : input) {
            byte = static_cast<std::uint8_t>(random());
        }
        kvbm::testing::ByteReader bytes(input);
        Harness harness(decode_options(bytes));
        while (!bytes.empty()) {
            const auto command = harness.resolved(decode_command(bytes));
            const auto line = to_string(command);
            const auto difference = harness.run(command);
            ASSERT_EQ(difference, std::nullopt) << line;
            ++(harness.refused() ? refused : succeeded)[line.substr(0, line.find(' '))];
        }
        ASSERT_EQ(harness.finish(), std::nullopt);
    }

    for (const auto* name :
         {"new", "destroy", "move", "match", "schedule_prefill", "schedule_decode",
          "schedule_speculative", "apply_prefill", "apply_decode", "apply_speculative", "revert",
          "drop_unassigned", "release", "reacquire", "append_tokens"}) {
        EXPECT_GT(succeeded[name], 20u) << name;
    }
    for (const auto* name : {"match", "schedule_prefill", "schedule_decode", "schedule_speculative",
                             "apply_prefill", "apply_decode", "apply_speculative", "revert",
                             "drop_unassigned", "release", "reacquire", "append_tokens"}) {
        EXPECT_GT(refused[name], 20u) << name;
    }
}

}  // namespace
