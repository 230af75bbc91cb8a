// The same with one thread at a time, switched at locks and pause points by a seed: the calls
// overlap far more often than on free threads, and a failure comes again. Source: blocks.md T2.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "threads.h"

import kvbm.histories;

namespace {

using namespace kvbm;
using namespace kvbm_test;

class ScheduledHistory : public testing::TestWithParam<Policy> {};

TEST_P(ScheduledHistory, of_three_threads_is_linearizable) {
    const auto policy = static_cast<std::uint64_t>(GetParam());
    for (std::uint64_t seed = 0; seed < repeats(2500); ++seed) {
        Choices choices(seed);
        Script script{.policy = GetParam(), .seed = 1'000'000 * policy + seed};
        script.duplication =
            choices.below(2) == 0 ? BlockDuplicationPolicy::allow : BlockDuplicationPolicy::reject;
        script.lists = choices.below(2) == 0;
        script.blocks = 1 + choices.below(3);
        script.flag = choices.below(2) == 0;
        script.hashes = 1 + choices.below(2);
        SCOPED_TRACE(to_string(script));
        const auto start = [&](std::vector<std::function<void()>>& bodies) {
            detail::core::Schedule(2 * seed + choices.below(2)).run(bodies);
        };
        ASSERT_EQ(unexplained(script, record(script, start)), std::nullopt);
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, ScheduledHistory,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo));

}  // namespace
