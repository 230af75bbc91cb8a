// Any script of calls on up to four requests of one manager does what the naive requests do that
// run beside them guard by guard: outcomes, error texts, events, counters, block ids, pools. After
// each command the auditors run, and each registered block holds the KV of all its tokens.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm::testing::requests;

struct DrawField {
    void operator()(std::size_t& value, std::size_t limit) const {
        value = *rc::gen::resize(100, rc::gen::inRange<std::size_t>(0, limit));
    }
    void operator()(bool& value, std::size_t) const { value = *rc::gen::arbitrary<bool>(); }
};

template <class Kind>
Command draw() {
    Kind command;
    command.fields(command, DrawField{});
    return command;
}

// Most steps go on with a request, so that scripts reach deep states; the others try any call in
// them.
Command draw_command() {
    return []<class... Kind>(std::type_identity<std::variant<Kind...>>) {
        std::vector<Command (*)()> draws(2 * sizeof...(Kind), &draw<Advance>);
        (draws.push_back(&draw<Kind>), ...);
        return draws[*rc::gen::inRange<std::size_t>(0, draws.size())]();
    }(std::type_identity<Command>{});
}

Options draw_options() {
    Options options;
    options.block_count = *rc::gen::element<std::size_t>(1, 2, 3, 5, 8, 12, 20, 64);
    options.block_size = *rc::gen::element<std::size_t>(1, 2, 4, 8);
    options.reject = *rc::gen::arbitrary<bool>();
    options.eviction = static_cast<Options::Eviction>(*rc::gen::inRange(0, 4));
    return options;
}

std::vector<Command> draw_script() {
    return *rc::gen::scale(2.5, rc::gen::container<std::vector<Command>>(
                                    rc::gen::exec([] { return draw_command(); })));
}

void show(const Options& options, const std::vector<Command>& script) {
    RC_LOG() << to_string(options) << "\n";
    for (const Command& command : script) {
        RC_LOG() << to_string(command) << "\n";
    }
}

RC_GTEST_PROP(SchedulableSequence, agrees_with_its_naive_twin, ()) {
    const auto options = draw_options();
    const auto script = draw_script();
    show(options, script);
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

RC_GTEST_PROP(RequestCommand, line_of_a_script_is_parsed_back, ()) {
    const auto command = draw_command();

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
