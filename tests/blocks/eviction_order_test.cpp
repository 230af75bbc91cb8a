// Which block is handed out next: free ones in the order they came back, then cached ones in the
// order of the policy. The recorded traces of blocks.md 8.4 that concern LRU and FIFO.
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;

enum class Backend { lru, fifo };

class EvictionOrder : public testing::TestWithParam<Backend> {
  protected:
    static BlockManager<> make(std::size_t blocks, bool reset_on_release = false) {
        auto builder = BlockManager<>::builder();
        builder.block_count(blocks).block_size(4).registry(BlockRegistry());
        builder.with_default_reset_on_release(reset_on_release);
        if (GetParam() == Backend::lru) {
            builder.with_lru_backend();
        } else {
            builder.with_hashmap_backend();
        }
        return must(builder.build());
    }

    static std::vector<SequenceHash> chain(std::size_t length) {
        std::vector<SequenceHash> hashes{SequenceHash::root(BlockHash{1})};
        while (hashes.size() < length) {
            hashes.push_back(must(hashes.back().extend(BlockHash{hashes.size() + 1})));
        }
        return hashes;
    }

    static std::vector<BlockId> allocate_all(BlockManager<>& manager) {
        return manager.allocate_blocks(manager.total_blocks())->block_ids();
    }
};

TEST_P(EvictionOrder, p1_dropped_blocks_go_behind_the_free_ones) {
    auto manager = make(4);

    manager.allocate_blocks(2)->clear();

    EXPECT_EQ(allocate_all(manager), (std::vector<BlockId>{2, 3, 0, 1}));
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST_P(EvictionOrder, p2_a_hit_block_re_enters_behind_the_others) {
    auto manager = make(6);
    const auto hashes = chain(6);
    auto staged = std::move(*manager.allocate_blocks(6)).stage_all(hashes, 4);
    ASSERT_TRUE(staged.has_value());
    auto registered = manager.register_blocks(std::move(*staged));
    ASSERT_TRUE(registered.has_value());
    registered->clear();

    manager.match_blocks({hashes.data(), 2}).clear();
    for (int i = 0; i < 5; ++i) {
        manager.match_blocks_scattered({&hashes[3], 1}).clear();
    }

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(allocate_all(manager), (std::vector<BlockId>{2, 4, 5, 0, 1, 3}));
}

TEST_P(EvictionOrder, p6_a_primary_released_with_its_duplicates_goes_with_the_last_of_them) {
    auto manager = make(6, true);
    const auto hashes = chain(1);
    ImmutableBlockList<> blocks;
    for (int i = 0; i < 3; ++i) {
        auto staged = std::move(*manager.allocate_blocks(1)).stage_all(hashes, 4);
        ASSERT_TRUE(staged.has_value());
        auto registered = manager.register_blocks(std::move(*staged));
        ASSERT_TRUE(registered.has_value());
        blocks.append(std::move(*registered));
    }
    EXPECT_EQ(blocks[0].use_count(), 3u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");

    auto last = blocks.pop_back();
    auto middle = blocks.pop_back();
    blocks.push_back(std::move(last));
    blocks.push_back(std::move(middle));
    blocks.clear();

    EXPECT_EQ(allocate_all(manager), (std::vector<BlockId>{3, 4, 5, 2, 1, 0}));
    EXPECT_EQ(manager.block_registry().registered_count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Backends, EvictionOrder, testing::Values(Backend::lru, Backend::fifo));

}  // namespace
