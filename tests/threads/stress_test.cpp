// Threads call everything there is in pools so small that they meet in each block. While they run,
// what each of them knows holds; when all have stopped at a barrier, every total is exact; at the
// end the managers die before the guards. Source: blocks.md 14; invariants P1 to P12, G1, G4, G6,
// R1, R3, R4, V8.
#include <cstddef>
#include <string>

#include <gtest/gtest.h>

#include "threads.h"

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;

class Stress : public testing::TestWithParam<Policy> {
  protected:
    static void run(std::size_t threads) {
        for (const std::size_t blocks : {1U, 2U, 3U, 6U}) {
            for (const auto duplication :
                 {BlockDuplicationPolicy::allow, BlockDuplicationPolicy::reject}) {
                const Mix mix{GetParam(), duplication, blocks, threads, 2 + blocks / 2, blocks};
                SCOPED_TRACE(to_string(mix));
                ASSERT_EQ(stress(mix, repeats(6), 200), "");
            }
        }
    }
};

TEST_P(Stress, of_two_threads_leaves_every_total_exact) {
    run(2);
}

TEST_P(Stress, of_four_threads_leaves_every_total_exact) {
    run(4);
}

TEST_P(Stress, of_eight_threads_leaves_every_total_exact) {
    run(8);
}

INSTANTIATE_TEST_SUITE_P(Policies, Stress,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo));

}  // namespace
