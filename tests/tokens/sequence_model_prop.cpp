// Any script of operations leaves a token sequence as a list of tokens and a list of runs say,
// rebuilt from scratch after each.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rapidcheck/state.h>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.testing;

namespace {

using namespace kvbm::testing;

struct Step final : rc::state::Command<TokenModel, TokenHarness> {
    TokenCommand command = *gen::token_command();

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

RC_GTEST_PROP(TokenBlockSequence, agrees_with_a_list_of_tokens_and_runs,
              (const TokenOptions& options)) {
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
