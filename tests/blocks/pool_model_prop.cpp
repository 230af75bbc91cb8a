// Any script of commands on three managers of one registry does what the plain tables say, under
// each eviction policy: results, orders, errors, guards, slots, metrics, presence and touches,
// after each command. So many commands are executed, of each kind.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <ostream>
#include <random>
#include <set>
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

rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::inRange<std::size_t>(0, limit);
}

// Numbers of hashes are drawn one by one or as a run, which is what the neighbours of a chain are.
struct DrawField {
    void operator()(std::size_t& value, std::size_t limit) const { value = *below(limit); }
    void operator()(bool& value, std::size_t) const { value = *rc::gen::arbitrary<bool>(); }
    void operator()(std::vector<std::size_t>& values, std::size_t limit) const {
        const std::size_t count = *below(pool_hashes_max + 1);
        if (*rc::gen::arbitrary<bool>()) {
            values = *rc::gen::container<std::vector<std::size_t>>(count, below(limit));
            return;
        }
        values.resize(count);
        std::iota(values.begin(), values.end(), *below(limit));
    }
};

template <class Command>
PoolCommand draw() {
    Command command;
    command.fields(command, DrawField{});
    return command;
}

PoolCommand draw_any() {
    return []<class... C>(std::type_identity<std::variant<C...>>) {
        constexpr std::array draws{&draw<C>...};
        return draws[*below(draws.size())]();
    }(std::type_identity<PoolCommand>{});
}

// One step on the way of a block from allocation to eviction, which random commands rarely take to
// its end: what is staged is registered, what is mutable staged, and few guards are kept.
PoolCommand draw_next(const PoolModel& model) {
    constexpr std::size_t holdings_few = 6;
    constexpr std::size_t blocks_few = 5;
    const auto held = [&](Holding::Kind kind) { return model.pick(kind, 0).has_value(); };
    if (model.holdings().size() > holdings_few && *rc::gen::arbitrary<bool>()) {
        return Drop{model.pick(Holding::Kind::immutable_list, *below(256)).value_or(0),
                    *rc::gen::arbitrary<bool>()};
    }
    if (held(Holding::Kind::complete_list) && *rc::gen::arbitrary<bool>()) {
        return draw<Register>();
    }
    if (held(Holding::Kind::mutable_list) && *rc::gen::arbitrary<bool>()) {
        return draw<StageAll>();
    }
    return AllocateWithEvictions{*below(pools_count), *below(blocks_few)};
}

// Commands that were executed, by kind.
using Executed = std::array<std::size_t, std::variant_size_v<PoolCommand>>;

struct Step final : rc::state::Command<PoolModel, PoolHarness> {
    /// Of a hundred commands that name a manager, so many may name another than the first.
    Step(const PoolModel& model, Executed* counts, std::size_t company)
        : executed(counts), command(*rc::gen::arbitrary<bool>() ? draw_any() : draw_next(model)) {
        const bool alone = *below(100) >= company;
        std::visit(
            [&](auto& c) {
                if constexpr (requires { c.pool; }) {
                    c.pool = alone ? 0 : c.pool;
                }
            },
            command);
    }

    Executed* executed;
    PoolCommand command;

    void checkPreconditions(const PoolModel& model) const override {
        RC_PRE(model.allows(command));
    }
    void apply(PoolModel& model) const override { model.apply(command); }
    void run(const PoolModel&, PoolHarness& harness) const override {
        ++executed->at(command.index());
        if (const auto difference = harness.run(command)) {
            RC_FAIL(*difference);
        }
    }
    void show(std::ostream& os) const override { os << to_string(command); }
};

PolicyConfig draw_policy(Policy policy) {
    PolicyConfig config{policy};
    if (policy == Policy::multi_lru) {
        using Thresholds = std::array<std::uint32_t, 3>;
        config.thresholds =
            *rc::gen::element(Thresholds{3, 8, 15}, Thresholds{1, 2, 3}, Thresholds{2, 4, 6});
    }
    return config;
}

// Pool 0 allows duplicates, pool 1 rejects them, pool 2 does either.
PoolOptions draw_options(Policy policy) {
    PoolOptions options;
    for (auto& pool : options.pools) {
        pool.block_count = *rc::gen::element<std::size_t>(1, 2, 3, 7, 16, 64);
        pool.reset_on_release = *rc::gen::weightedElement<bool>({{3, false}, {1, true}});
        pool.policy = draw_policy(policy);
    }
    options.pools[1].reject = true;
    options.pools[2].reject = *rc::gen::arbitrary<bool>();
    options.hashes_first = pool_hash_family * *below(pool_hashes_count / pool_hash_family);
    options.hashes_count = *rc::gen::element<std::size_t>(3, 8, 16, 64);
    options.late = *rc::gen::arbitrary<bool>();
    return options;
}

class BlockManagerModel : public testing::TestWithParam<Policy> {};

// 100 scripts of 1 to 300 commands.
TEST_P(BlockManagerModel, agrees_with_model) {
    constexpr int commands_max = 300;
    constexpr std::size_t commands_promised = 10'000;
    constexpr std::size_t evictions_promised = 100;
    Executed executed{};
    std::size_t evictions = 0;

    const bool agrees = rc::check("BlockManager, " + std::string(name_of(GetParam())), [&] {
        const auto options = draw_options(GetParam());
        RC_LOG() << to_string(options) << "\n";
        const PoolModel model(options);
        // Where managers come late, the first is alone for long.
        const std::size_t company = options.late ? *rc::gen::element<std::size_t>(0, 2, 30) : 100;
        const auto script = *rc::gen::resize(
            commands_max, rc::state::gen::commands(model, [&](const PoolModel& state) {
                return rc::state::gen::execOneOfWithArgs<Step>()(state, &executed, company);
            }));
        PoolHarness harness(options);

        rc::state::runAll(script, model, harness);

        for (std::size_t pool = 0; pool < pools_count; ++pool) {
            evictions += harness.model().pool(pool).metrics.evictions;
        }
        if (const auto difference = harness.finish()) {
            RC_FAIL(*difference);
        }
    });

    ASSERT_TRUE(agrees);
    EXPECT_GE(std::accumulate(executed.begin(), executed.end(), std::size_t{0}), commands_promised);
    EXPECT_GE(evictions, evictions_promised);
    for (std::size_t kind = 0; kind < executed.size(); ++kind) {
        EXPECT_GT(executed[kind], 0u) << "command " << kind;
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, BlockManagerModel, testing::ValuesIn(all_policies),
                         [](const auto& info) { return std::string(name_of(info.param)); });

RC_GTEST_PROP(PoolCommand, line_of_a_script_is_parsed_back, ()) {
    const auto command = draw_any();
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
TEST(PoolHarness, executes_every_command_that_bytes_can_spell) {
    std::mt19937_64 random(7);
    Executed executed{};
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

    for (std::size_t kind = 0; kind < executed.size(); ++kind) {
        EXPECT_GT(executed[kind], 0u) << "command " << kind;
    }
}

// What the table of hashes says about itself.
TEST(PoolHash, hashes_are_distinct_and_kin_as_told) {
    std::set<kvbm::SequenceHash> distinct;
    for (std::size_t i = 0; i < pool_hashes_count; ++i) {
        distinct.insert(pool_hash(i));
    }
    const auto parent_of = [](std::size_t parent, std::size_t child) {
        return pool_hash(parent).is_parent_of(pool_hash(child));
    };
    const auto index_bits = [](std::size_t i) {
        return pool_hash(i).current_chain_hash().value & ((std::uint64_t{1} << 38) - 1);
    };

    EXPECT_EQ(distinct.size(), pool_hashes_count);
    for (const std::size_t twin : {10u, 11u, 12u}) {
        EXPECT_TRUE(parent_of(twin, 13)) << "equal keys at position 5";
    }
    for (const std::size_t border : {16u, 24u}) {
        EXPECT_FALSE(parent_of(border + 1, border + 4)) << "other keys before a border";
        EXPECT_TRUE(parent_of(border + 3, border + 5)) << "equal keys at a border";
        EXPECT_TRUE(parent_of(border + 4, border + 5)) << "equal keys at a border";
    }
    for (std::size_t i = 33; i < 40; ++i) {
        EXPECT_EQ(index_bits(i), index_bits(32));
    }
    for (std::size_t i = 49; i < 56; ++i) {
        EXPECT_TRUE(parent_of(i - 1, i)) << "a chain";
    }
}

}  // namespace
