// Whatever three threads are told by one manager, some order of their calls explains it. Source:
// blocks.md T2; invariants P3, R5, G9.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "threads.h"

import kvbm.histories;

namespace {

using namespace kvbm;
using namespace kvbm_test;

/// All bodies at once, each on a thread of its own.
void run_together(std::vector<std::function<void()>>& bodies) {
    std::atomic<std::size_t> ready{0};
    std::vector<std::thread> threads;
    for (auto& body : bodies) {
        threads.emplace_back([&] {
            ready.fetch_add(1);
            while (ready.load() != bodies.size()) {
                std::this_thread::yield();
            }
            body();
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

class History : public testing::TestWithParam<Policy> {};

TEST_P(History, of_three_threads_is_linearizable) {
    for (std::uint64_t seed = 0; seed < repeats(200); ++seed) {
        Choices choices(seed);
        Script script{.policy = GetParam(), .seed = seed};
        script.duplication =
            choices.below(2) == 0 ? BlockDuplicationPolicy::allow : BlockDuplicationPolicy::reject;
        script.lists = choices.below(2) == 0;
        script.blocks = 1 + choices.below(3);
        script.flag = choices.below(2) == 0;
        script.hashes = 1 + choices.below(2);
        SCOPED_TRACE(to_string(script));
        ASSERT_EQ(unexplained(script, record(script, run_together)), std::nullopt);
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, History,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo));

}  // namespace
