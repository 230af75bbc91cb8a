// The same calls, one thread at a time: at each lock and pause point a seed decides who goes on.
// What is torn apart between two steps of a call is found here, and found again by its seed.
// Source: blocks.md 14, T2 to T15.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "threads.h"

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;
using detail::core::Schedule;

/// Three rounds in which all threads of a mix act, each round with another seed; an audit after
/// each. In the last the managers are gone. The first finding, or an empty text.
std::string run(const Mix& mix, std::size_t steps) {
    World world(mix);
    std::vector<Worker> workers;
    for (std::size_t i = 0; i < mix.threads; ++i) {
        workers.emplace_back(world, mix.seed + 7919 * i);
    }
    for (std::uint64_t round = 0; round < 3; ++round) {
        const bool last = round == 2;
        if (last) {
            world.managers.clear();
            world.mailbox.clear();
        }
        std::vector<std::function<void()>> bodies;
        for (auto& worker : workers) {
            bodies.emplace_back([&] {
                for (std::size_t k = 0; k < steps; ++k) {
                    last ? worker.step_without_managers() : worker.step();
                }
                if (last) {
                    worker.let_go_of_everything();
                }
            });
        }
        Schedule(3 * mix.seed + round).run(bodies);
        if (!last) {
            audit(world, workers);
        }
    }
    finish(world, workers);
    return world.findings.first();
}

class ScheduledStress : public testing::TestWithParam<Policy> {};

TEST_P(ScheduledStress, leaves_every_total_exact) {
    const auto policy = static_cast<std::uint64_t>(GetParam());
    for (std::uint64_t seed = 0; seed < repeats(1500); ++seed) {
        Choices choices(seed);
        Mix mix{.policy = GetParam(), .seed = 1'000'000 * policy + seed};
        mix.duplication =
            choices.below(2) == 0 ? BlockDuplicationPolicy::allow : BlockDuplicationPolicy::reject;
        mix.blocks = 1 + choices.below(3);
        mix.threads = 2 + choices.below(2);
        mix.hashes = 1 + choices.below(3);
        SCOPED_TRACE(to_string(mix));
        ASSERT_EQ(run(mix, 30), "");
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, ScheduledStress,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo));

}  // namespace
