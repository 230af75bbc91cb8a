// The second flow of the design, as it is written there: kvbm owns the blocks, a tracker says which
// guard serves which position. Mutable, staged, registered, matched.
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm;
using namespace kvbm;

namespace {

TEST(ManagedFlow, names_shares_and_finds_blocks_as_the_design_says) {
    std::vector<Token> tokens(12);
    std::iota(tokens.begin(), tokens.end(), 0u);
    BlockSequence sequence(tokens, 4);

    // clang-format off
    auto registry = BlockRegistry::builder()
        .frequency_tracker(FrequencyTrackingCapacity::small).build();
    auto manager = BlockManager<>::builder()             // BlockManager<Tier>: a tag type per memory tier
        .block_count(10).block_size(4).registry(registry).with_lru_backend()
        .build().value();                                // Result<BlockManager, BlockManagerBuilderError>

    auto blocks = manager.allocate_blocks(3).value();    // optional list of MutableBlock, all or nothing
    LogicalBlockAssignments assignments;
    must(assignments.extend_blocks(std::move(blocks)));  // Result<std::size_t, ...>, as is the next line's
    must(assignments.stage(sequence.blocks()));          // MutableBlock -> CompleteBlock
    auto count = assignments.register_blocks(manager);   // CompleteBlock -> ImmutableBlock (`register` is a C++ keyword)
    auto hits = manager.match_blocks(sequence.all_sequence_hashes());   // the cached prefix, kept alive
    // clang-format on

    EXPECT_EQ(count, 3u);
    EXPECT_EQ(hits.block_ids(), (std::vector<BlockId>{0, 1, 2}));
    EXPECT_EQ(assignments.assigned_positions(), (IndexRange{0, 3}));
    EXPECT_EQ(assignments.get_assigned(2)->use_count(), 2u);
    EXPECT_EQ(registry.count(sequence.all_sequence_hashes()[0]), 2u);
}

// What the flow promises beyond its lines: the tracker goes, the blocks stay cached.
TEST(ManagedFlow, blocks_stay_cached_when_the_tracker_is_gone) {
    std::vector<Token> tokens(12, 7);
    const BlockSequence sequence(tokens, 4);
    auto manager = must(
        BlockManager<>::builder().block_count(10).block_size(4).registry(BlockRegistry()).build());
    {
        LogicalBlockAssignments assignments;
        must(assignments.extend_blocks(manager.allocate_blocks(3).value()));
        must(assignments.stage(sequence.blocks()));
        EXPECT_EQ(assignments.register_blocks(manager), 3u);
        EXPECT_EQ(manager.available_blocks(), 7u);
    }

    EXPECT_EQ(manager.available_blocks(), 10u);
    EXPECT_EQ(manager.match_blocks(sequence.all_sequence_hashes()).size(), 3u);
}

}  // namespace
