// Any script of operations leaves a token sequence as a list of tokens and a list of runs say,
// rebuilt from scratch after each.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rapidcheck/state.h>

import kvbm.testing;
import kvbm.tokens;

namespace {

using namespace kvbm::testing;
using kvbm::MultimodalRun;
using kvbm::Token;

rc::Gen<std::vector<Token>> arbitrary_tokens(std::size_t count_max) {
    return rc::gen::mapcat(rc::gen::inRange<std::size_t>(0, count_max + 1), [](std::size_t count) {
        return rc::gen::container<std::vector<Token>>(
            count, rc::gen::oneOf(rc::gen::inRange<Token>(0, 4), rc::gen::arbitrary<Token>()));
    });
}

rc::Gen<std::size_t> arbitrary_count(std::size_t count_max) {
    return rc::gen::weightedOneOf<std::size_t>(
        {{9, rc::gen::inRange<std::size_t>(0, count_max + 1)},
         {1, rc::gen::element<std::size_t>(std::size_t{1} << 40, std::size_t{1} << 63,
                                           std::numeric_limits<std::size_t>::max())}});
}

rc::Gen<std::vector<MultimodalRun>> arbitrary_runs(std::size_t slots_count) {
    return rc::gen::resize(3, rc::gen::container<std::vector<MultimodalRun>>(rc::gen::map(
                                  rc::gen::tuple(rc::gen::inRange<std::uint64_t>(0, 3),
                                                 rc::gen::inRange<std::size_t>(0, slots_count + 2),
                                                 arbitrary_count(6)),
                                  [](const auto& drawn) {
                                      const auto& [object, offset, length] = drawn;
                                      return MultimodalRun{object, offset, length};
                                  })));
}

template <class Command, class Drawn>
rc::Gen<TokenCommand> as_command(rc::Gen<Drawn> fields) {
    return rc::gen::map(std::move(fields),
                        [](Drawn drawn) -> TokenCommand { return Command{std::move(drawn)}; });
}

rc::Gen<TokenCommand> arbitrary_command() {
    return rc::gen::weightedOneOf<TokenCommand>({
        {4, as_command<TokenAppend>(rc::gen::arbitrary<Token>())},
        {1, as_command<TokenPush>(rc::gen::arbitrary<Token>())},
        {6, as_command<TokenExtend>(arbitrary_tokens(40))},
        {2, rc::gen::map(rc::gen::pair(rc::gen::inRange<std::uint64_t>(0, 3), arbitrary_count(40)),
                         [](auto drawn) -> TokenCommand {
                             return TokenPushRun{drawn.first, drawn.second};
                         })},
        {2, rc::gen::map(rc::gen::pair(arbitrary_tokens(24), arbitrary_runs(24)),
                         [](auto drawn) -> TokenCommand {
                             return TokenExtendWithRuns{drawn.first, drawn.second};
                         })},
        {2, as_command<TokenTruncate>(arbitrary_count(300))},
        {2, as_command<TokenUnwind>(arbitrary_count(80))},
        {3, rc::gen::just<TokenCommand>(TokenPop{})},
        {2, rc::gen::just<TokenCommand>(TokenReset{})},
        {1, rc::gen::map(rc::gen::pair(arbitrary_count(300), arbitrary_count(300)),
                         [](auto drawn) -> TokenCommand {
                             return TokenRange{{drawn.first, drawn.second}};
                         })},
        {2, rc::gen::just<TokenCommand>(TokenRebuild{})},
        {2, rc::gen::map(rc::gen::pair(rc::gen::inRange<std::size_t>(0, 5), arbitrary_tokens(64)),
                         [](auto drawn) -> TokenCommand {
                             return TokenCommitEnd{drawn.first, drawn.second};
                         })},
    });
}

TokenOptions some_options() {
    TokenOptions options;
    options.block_size = *rc::gen::element<std::size_t>(1, 2, 3, 4, 5, 8, 16, 18, 19, 60, 61, 64);
    options.salt = *rc::gen::element<kvbm::SaltHash>(0, 1337, ~kvbm::SaltHash{0}, 42);
    options.tokens = *arbitrary_tokens(40);
    options.runs = *arbitrary_runs(options.tokens.size());
    return options;
}

struct Step final : rc::state::Command<TokenModel, TokenHarness> {
    TokenCommand command = *arbitrary_command();

    void checkPreconditions(const TokenModel& model) const override {
        RC_PRE(model.allows(command));
    }
    void apply(TokenModel& model) const override { model.apply(command); }
    void run(const TokenModel&, TokenHarness& harness) const override {
        if (const auto difference = harness.run(command)) {
            RC_FAIL(*difference);
        }
    }
    void show(std::ostream& os) const override { os << to_string(command); }
};

RC_GTEST_PROP(TokenBlockSequence, agrees_with_a_list_of_tokens_and_runs, ()) {
    const auto options = some_options();
    RC_LOG() << to_string(options) << "\n";
    TokenHarness harness(options);
    RC_ASSERT(!harness.compare());

    rc::state::check(TokenModel(options), harness, rc::state::gen::execOneOfWithArgs<Step>());

    RC_ASSERT(!harness.compare());
}

// A kind of command that is never drawn tests nothing.
TEST(TokenCommands, every_kind_comes_out_of_bytes) {
    std::vector<std::size_t> drawn(std::variant_size_v<TokenCommand>);

    for (std::uint8_t first = 0; first < 16; ++first) {
        const std::vector<std::uint8_t> script{first, 1, 2, 3};
        ByteReader bytes(script);
        ++drawn[decode_token_command(bytes).index()];
    }

    EXPECT_EQ(std::count(drawn.begin(), drawn.end(), 0u), 0);
}

TEST(TokenCommands, end_of_the_bytes_is_a_legal_script) {
    ByteReader bytes({});
    TokenHarness harness(decode_token_options(bytes));

    EXPECT_EQ(harness.run(decode_token_command(bytes)), std::nullopt);
}

}  // namespace
