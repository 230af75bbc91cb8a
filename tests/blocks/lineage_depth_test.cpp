// A lineage forest as deep as a hundred thousand blocks is walked without recursion: everything
// here runs on a stack of 64 KiB.
#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;

constexpr std::size_t depth = 100'000;
constexpr std::size_t stack_bytes = 64 * 1024;

// Runs to its end on a thread with a small stack.
void on_small_stack(std::function<void()> body) {
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_attr_init(&attributes), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, stack_bytes), 0);
    pthread_t thread{};
    const auto run = [](void* work) -> void* {
        (*static_cast<std::function<void()>*>(work))();
        return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, &attributes, run, &body), 0);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
    ASSERT_EQ(pthread_attr_destroy(&attributes), 0);
}

// Block i of the manager is at position i of one chain.
struct DeepChain {
    explicit DeepChain(LineageEviction eviction)
        : manager(must(BlockManager<>::builder()
                           .block_count(depth)
                           .block_size(1)
                           .registry(BlockRegistry())
                           .with_lineage_backend_eviction(eviction)
                           .build())) {
        const std::vector<BlockHash> content(depth, BlockHash{1});
        hashes.resize(depth);
        must(sequence_hashes(content, std::nullopt, hashes));
        auto staged = must(std::move(*manager.allocate_blocks(depth)).stage_all(hashes, 1));
        blocks = must(manager.register_blocks(std::move(staged)));
    }
    // The ids of all blocks, evicted.
    std::vector<BlockId> evict_all() { return manager.allocate_blocks(depth)->block_ids(); }

    BlockManager<> manager;
    std::vector<SequenceHash> hashes;
    ImmutableBlockList<> blocks;
};

std::vector<BlockId> tail_first() {
    std::vector<BlockId> ids(depth);
    std::ranges::generate(ids, [next = depth]() mutable { return --next; });
    return ids;
}

class LineageDepth : public testing::TestWithParam<LineageEviction> {};

TEST_P(LineageDepth, evicts_a_deep_chain_from_its_tail_however_it_was_released) {
    for (const auto order : {ReleaseOrder::root_first, ReleaseOrder::leaf_first}) {
        on_small_stack([&] {
            DeepChain chain(GetParam());

            chain.blocks.clear(order);
            EXPECT_EQ(chain.manager.check_invariants().to_string(), "");

            EXPECT_TRUE(chain.evict_all() == tail_first());
        });
    }
}

TEST_P(LineageDepth, drops_all_ghosts_above_the_last_cached_leaf) {
    on_small_stack([&] {
        DeepChain chain(GetParam());
        chain.blocks.clear();
        const std::span<const SequenceHash> all(chain.hashes);

        // Everything above the leaf is held, so the nodes are ghosts; then they are free blocks,
        // and the ghosts have no block at all.
        auto held = chain.manager.match_blocks(all.first(depth - 1));
        for (const auto& block : held) {
            block.set_evict_on_reset(true);
        }
        held.clear();
        EXPECT_EQ(chain.manager.check_invariants().to_string(), "");
        EXPECT_EQ(chain.manager.available_blocks(), depth);

        auto taken = chain.manager.allocate_blocks(depth);
        EXPECT_EQ(taken->end()[-1].block_id(), depth - 1);
        taken->clear();
        EXPECT_EQ(chain.manager.check_invariants().to_string(), "");
        EXPECT_EQ(chain.manager.block_registry().registered_count(), 0u);
    });
}

INSTANTIATE_TEST_SUITE_P(Orders, LineageDepth,
                         testing::Values(LineageEviction::tick, LineageEviction::fifo),
                         [](const auto& info) {
                             return info.param == LineageEviction::tick ? "tick" : "fifo";
                         });

}  // namespace
