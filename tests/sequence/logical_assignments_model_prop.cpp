// Any script on two trackers of guards, with loose lists beside them, does what naive trackers do
// guard by guard on a second manager: outcomes, error texts, guards that come back, rows, places,
// pools and their order.
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

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm::testing::logical;
namespace gen = kvbm::testing::gen;

RC_GTEST_PROP(LogicalBlockAssignments, agrees_with_its_naive_twin, (const Options& options)) {
    const auto script =
        *rc::gen::scale(2.0, rc::gen::container<std::vector<Command>>(gen::logical_command()));
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

RC_GTEST_PROP(LogicalCommand, line_of_a_script_is_parsed_back, (const Command& command)) {
    const auto parsed = parse_command(to_string(command));

    RC_ASSERT(parsed.has_value());
    RC_ASSERT(to_string(*parsed) == to_string(command));
}

// A fixed stream through the fuzzer's decoder, with the ways into full rows drawn more often: every
// command is executed, and every error is met.
TEST(LogicalHarness, executes_every_command_and_meets_every_error) {
    std::mt19937_64 random(7);
    std::map<std::string, std::size_t> executed;
    std::map<std::string, std::size_t> errors;
    for (int script = 0; script < 80; ++script) {
        std::vector<std::uint8_t> input(800);
        for (auto& byte : input) {
            byte = static_cast<std::uint8_t>(random());
        }
        kvbm::testing::ByteReader bytes(input);
        Harness harness(decode_options(bytes));
        while (!bytes.empty()) {
            Command command = decode_command(bytes);
            const std::size_t tracker = random() % 2;
            switch (random() % 12) {
                case 0:
                    command = Allocate{4};
                    break;
                case 1:
                    command = ExtendBlocks{tracker, 0};
                    break;
                case 2:
                    command = StageWhole{tracker, 0};
                    break;
                case 3:
                    command = Register{tracker, unlimited};
                    break;
                default:
                    break;
            }
            const auto line = to_string(command);
            ASSERT_EQ(harness.run(command), std::nullopt) << line;
            const auto& outcome = harness.outcome();
            if (!outcome.empty() && outcome != "0" && outcome != "none" && outcome != "no") {
                ++executed[line.substr(0, line.find(' '))];
            }
            for (const auto* text :
                 {"duplicate", "cannot extend", "position mismatch", "Block size"}) {
                errors[text] += outcome.starts_with(text) ? 1 : 0;
            }
        }
        ASSERT_EQ(harness.finish(), std::nullopt);
    }

    for (const auto* name : {"allocate", "extend_blocks", "extend_matched", "extend_copies",
                             "stage", "stage_whole", "register", "stage_and_register", "pop_last",
                             "drop_last", "take_assigned", "take_staged", "take_unassigned"}) {
        EXPECT_GT(executed[name], 10u) << name;
    }
    for (const auto& [text, count] : errors) {
        EXPECT_GT(count, 0u) << text;
    }
}

}  // namespace
