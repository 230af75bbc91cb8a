// A sequence that runs out of memory, wherever it does, is as it was, and the same call works
// afterwards. Source: verification.md E1.
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.tokens;

namespace {

using namespace kvbm;
using kvbm_test::runs_out_of_memory;

std::vector<Token> tokens_from(Token first, std::size_t count) {
    std::vector<Token> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

// How often the call fails, one allocation further each time, before it goes through. Each attempt
// is on a copy, which has no room to spare.
template <class Call>
std::size_t failures_of(const TokenBlockSequence& start, const Call& call) {
    auto spared = start;
    call(spared);

    std::size_t failures = 0;
    while (true) {
        auto sequence = start;
        const bool failed = runs_out_of_memory(failures, [&] { call(sequence); });
        if (!failed) {
            EXPECT_EQ(sequence, spared);
            return failures;
        }
        EXPECT_EQ(sequence, start) << failures;
        if (testing::Test::HasFailure()) {
            return failures;  // what is broken may not even end
        }
        call(sequence);
        EXPECT_EQ(sequence, spared) << failures;
        ++failures;
    }
}

TEST(TokenBlockSequence, out_of_memory_appends_no_token) {
    const auto completes = [](auto& sequence) { EXPECT_EQ(must(sequence.append(7)), 1u); };
    EXPECT_EQ(failures_of(TokenBlockSequence(tokens_from(0, 7), 4), completes), 2u);
    const auto continues = [](auto& sequence) { must(sequence.append(7)); };
    EXPECT_EQ(failures_of(TokenBlockSequence(tokens_from(0, 6), 4), continues), 1u);
}

TEST(TokenBlockSequence, out_of_memory_extends_by_nothing) {
    const auto more = tokens_from(100, 9);
    EXPECT_EQ(failures_of(TokenBlockSequence(tokens_from(0, 7), 4),
                          [&](auto& sequence) { must(sequence.extend(more)); }),
              2u);
}

TEST(TokenBlockSequence, out_of_memory_takes_no_run) {
    EXPECT_EQ(failures_of(TokenBlockSequence(tokens_from(0, 7), 4),
                          [](auto& sequence) { must(sequence.push_run(5, 9)); }),
              3u);
}

TEST(TokenBlockSequence, out_of_memory_extends_by_no_token_and_no_run) {
    const auto more = tokens_from(100, 9);
    const std::vector<MultimodalRun> runs{{.mm_hash = 5, .offset = 4, .length = 3},
                                          {.mm_hash = 6, .offset = 1, .length = 2}};
    EXPECT_GE(failures_of(TokenBlockSequence(tokens_from(0, 7), 4),
                          [&](auto& sequence) { must(sequence.extend_with_runs(more, runs)); }),
              3u);
}

}  // namespace
