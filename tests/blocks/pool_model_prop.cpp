// Any script of commands on three managers of one registry does what the plain tables say: results,
// orders, errors, guards, slots, metrics, presence and touches, after each command.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rapidcheck/state.h>

import kvbm.blocks;
import kvbm.testing;

namespace {

using namespace kvbm::testing;

struct DrawField {
    void operator()(std::size_t& value, std::size_t limit) const {
        value = *rc::gen::inRange<std::size_t>(0, limit);
    }
    void operator()(bool& value, std::size_t) const { value = *rc::gen::arbitrary<bool>(); }
    void operator()(std::vector<std::size_t>& values, std::size_t limit) const {
        values = *rc::gen::resize(static_cast<int>(pool_hashes_max),
                                  rc::gen::container<std::vector<std::size_t>>(rc::gen::resize(
                                      100, rc::gen::inRange<std::size_t>(0, limit))));
    }
};

template <class Command>
PoolCommand draw() {
    Command command;
    command.fields(command, DrawField{});
    return command;
}

// The ways into the deeper states are drawn more often.
template <class Command>
constexpr std::size_t weight_of() {
    if constexpr (std::is_same_v<Command, Allocate> || std::is_same_v<Command, StageAll> ||
                  std::is_same_v<Command, Register>) {
        return 6;
    } else if constexpr (std::is_same_v<Command, Match> || std::is_same_v<Command, Drop>) {
        return 3;
    }
    return 1;
}

PoolCommand draw_command() {
    return []<class... C>(std::type_identity<std::variant<C...>>) {
        std::vector<PoolCommand (*)()> draws;
        (draws.insert(draws.end(), weight_of<C>(), &draw<C>), ...);
        return draws[*rc::gen::inRange<std::size_t>(0, draws.size())]();
    }(std::type_identity<PoolCommand>{});
}

struct Step final : rc::state::Command<PoolModel, PoolHarness> {
    PoolCommand command = draw_command();

    void checkPreconditions(const PoolModel& model) const override {
        RC_PRE(model.allows(command));
    }
    void apply(PoolModel& model) const override { model.apply(command); }
    void run(const PoolModel&, PoolHarness& harness) const override {
        if (const auto difference = harness.run(command)) {
            RC_FAIL(*difference);
        }
    }
    void show(std::ostream& os) const override { os << to_string(command); }
};

PoolOptions draw_options() {
    PoolOptions options;
    for (auto& pool : options.pools) {
        pool.block_count = *rc::gen::element<std::size_t>(1, 2, 3, 5, 7, 16);
        pool.reject = *rc::gen::arbitrary<bool>();
        pool.hashmap = *rc::gen::arbitrary<bool>();
        pool.reset_on_release = *rc::gen::weightedElement<bool>({{3, false}, {1, true}});
    }
    options.hashes_count = *rc::gen::element<std::size_t>(3, 8, 16, 32);
    return options;
}

RC_GTEST_PROP(BlockManager, agrees_with_model, ()) {
    const auto options = draw_options();
    RC_LOG() << to_string(options) << "\n";
    const PoolModel model(options);
    const auto script = *rc::gen::scale(
        3.0, rc::state::gen::commands(model, rc::state::gen::execOneOfWithArgs<Step>()));
    PoolHarness harness(options);

    rc::state::runAll(script, model, harness);

    if (const auto difference = harness.finish()) {
        RC_FAIL(*difference);
    }
}

RC_GTEST_PROP(PoolCommand, line_of_a_script_is_parsed_back, ()) {
    const auto command = draw_command();
    const auto line = to_string(command);

    const auto parsed = parse_pool_command(line);

    RC_ASSERT(parsed.has_value());
    RC_ASSERT(parsed->index() == command.index());
    RC_ASSERT(to_string(*parsed) == line);
}

TEST(PoolCommand, other_text_is_refused) {
    EXPECT_FALSE(parse_pool_command(""));
    EXPECT_FALSE(parse_pool_command("allocate 1"));
    EXPECT_FALSE(parse_pool_command("allocate 1 2 3"));
    EXPECT_FALSE(parse_pool_command("match 0 [ 1 2"));
    EXPECT_FALSE(parse_pool_command("scan 0 [ ] yes maybe"));
    EXPECT_FALSE(parse_pool_command("levitate 0"));
}

// A fixed stream of bytes through the fuzzer's decoder: every command is executed, not only drawn.
TEST(PoolHarness, executes_every_command) {
    std::mt19937_64 random(7);
    std::map<std::size_t, std::size_t> executed;
    for (int script = 0; script < 25; ++script) {
        std::vector<std::uint8_t> input(1200);
        for (auto& byte : input) {
            byte = static_cast<std::uint8_t>(random());
        }
        ByteReader bytes(input);
        PoolHarness harness(decode_pool_options(bytes));
        while (!bytes.empty()) {
            const auto command = decode_pool_command(bytes);
            executed[command.index()] += harness.model().allows(command) ? 1 : 0;
            ASSERT_EQ(harness.run(command), std::nullopt);
        }
        ASSERT_EQ(harness.finish(), std::nullopt);
    }

    for (std::size_t kind = 0; kind < std::variant_size_v<PoolCommand>; ++kind) {
        EXPECT_GT(executed[kind], 0u) << "command " << kind;
    }
}

}  // namespace
