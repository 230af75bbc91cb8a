// The first flow of the README, as it is written there: tokens to blocks to assigned ids.
#include <cstddef>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm;
using namespace kvbm;

namespace {

TEST(ExternalFlow, assigns_ids_to_blocks_as_the_readme_says) {
    // clang-format off
    std::vector<Token> tokens(12);                       // 0, 1, ... 11
    std::iota(tokens.begin(), tokens.end(), 0u);
    BlockSequence sequence(tokens, 4);                   // block size 4; optional salt hash as third argument
                                                         // sequence.blocks().size() == 3
    ExternalBlockAssignments assignments(0);             // offset: position of the first block
    must(assignments.extend_block_ids({10, 20, 30}));    // Result<void, BlockSequenceError>
    auto range = assignments.assign_pending(sequence.blocks());   // Result<IndexRange, ...>: [0, 3)
    auto [id, hash] = *assignments.get_assigned(0);      // 10, sequence.all_sequence_hashes()[0]

    must(assignments.stage_pending(sequence.blocks()));  // or in two steps
    auto committed = assignments.commit_staged();        // IndexRange
    // clang-format on

    EXPECT_EQ(sequence.blocks().size(), 3u);
    EXPECT_EQ(range.value(), (IndexRange{0, 3}));
    EXPECT_EQ(id, 10u);
    EXPECT_EQ(hash, sequence.all_sequence_hashes()[0]);
    EXPECT_EQ(committed, (IndexRange{3, 3}));
}

}  // namespace
