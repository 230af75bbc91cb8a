// The naive policies themselves: what they evict in the recorded traces of blocks.md 8.4, and the
// rules of E7 to E14 that no recording shows. A model that is wrong here would let the engine be
// wrong with it.
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.testing;

namespace {

using namespace kvbm;
using namespace kvbm::testing;

using Ids = std::vector<BlockId>;

constexpr std::optional<std::size_t> no_parent = std::nullopt;

// Blocks 0, 1, 2 ... under hashes that form a forest, and a policy that holds those released.
class Shelf {
  public:
    // Block i is a child of block parents[i], or a root.
    Shelf(const PolicyConfig& policy, std::initializer_list<std::optional<std::size_t>> parents,
          std::size_t first_position = 0)
        : model_(policy) {
        for (const auto& parent : parents) {
            const BlockHash block{0x100 + hashes_.size()};
            hashes_.push_back(parent ? must(hashes_.at(*parent).extend(block))
                                     : must(SequenceHash::make(ChainHash{block.value}, ChainHash{1},
                                                               first_position)));
        }
    }
    Shelf& touch(std::size_t block, std::uint32_t times) {
        uses_[block] += times;
        return *this;
    }
    Shelf& release(std::initializer_list<std::size_t> blocks) {
        for (const std::size_t block : blocks) {
            model_.insert({hashes_.at(block), block}, uses_[block]);
        }
        return *this;
    }
    Shelf& hold(std::initializer_list<std::size_t> blocks) {
        for (const std::size_t block : blocks) {
            model_.remove(hashes_.at(block));
            ++uses_[block];
        }
        return *this;
    }
    Shelf& use(std::initializer_list<std::size_t> blocks) { return hold(blocks).release(blocks); }
    Ids victims() const {
        Ids ids;
        for (const auto& block : model_.order()) {
            ids.push_back(block.id);
        }
        return ids;
    }

  private:
    PolicyModel model_;
    std::vector<SequenceHash> hashes_;
    std::map<std::size_t, std::uint32_t> uses_;
};

const std::initializer_list<std::optional<std::size_t>> chain_of_6{no_parent, 0, 1, 2, 3, 4};
const std::initializer_list<std::optional<std::size_t>> chains_of_3{no_parent, 0, 1,
                                                                    no_parent, 3, 4};
const std::initializer_list<std::optional<std::size_t>> chains_of_4_and_2{no_parent, 0,         1,
                                                                          2,         no_parent, 4};

class QueueModel : public ::testing::TestWithParam<Policy> {};

TEST_P(QueueModel, p2_a_used_block_goes_behind_the_others) {
    Shelf shelf({GetParam()}, chain_of_6);

    shelf.release({0, 1, 2, 3, 4, 5}).use({0, 1}).use({3, 3, 3, 3, 3});

    EXPECT_EQ(shelf.victims(), (Ids{2, 4, 5, 0, 1, 3}));
}

INSTANTIATE_TEST_SUITE_P(Policies, QueueModel, ::testing::Values(Policy::lru, Policy::fifo),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(MultiLruModel, p3_counts_uses_at_insertion) {
    Shelf shelf({Policy::multi_lru}, chain_of_6);
    for (const std::size_t block : {0u, 1u, 2u, 3u, 4u, 5u}) {
        shelf.touch(block, 1);
    }

    shelf.release({0, 1, 2, 3, 4, 5}).use({0, 1}).use({3, 3, 3, 3, 3});

    EXPECT_EQ(shelf.victims(), (Ids{2, 4, 5, 0, 1, 3}));
}

TEST(MultiLruModel, p4_what_is_touched_while_inactive_stays_on_its_list) {
    Shelf shelf({Policy::multi_lru}, {no_parent, no_parent, no_parent, no_parent});
    shelf.touch(0, 15).touch(1, 8).touch(2, 3).touch(3, 1);

    shelf.release({0, 1, 2, 3}).touch(3, 20);

    EXPECT_EQ(shelf.victims(), (Ids{3, 2, 1, 0}));
}

TEST(MultiLruModel, p5_each_list_is_a_queue) {
    Shelf shelf({Policy::multi_lru, {2, 4, 6}},
                {no_parent, no_parent, no_parent, no_parent, no_parent, no_parent});
    shelf.touch(0, 2).touch(1, 6).touch(2, 1).touch(3, 2).touch(4, 4).touch(5, 1);

    shelf.release({0, 1, 2, 3, 4, 5});

    EXPECT_EQ(shelf.victims(), (Ids{2, 5, 0, 3, 4, 1}));
}

// The same script under both orders of leaves, and what each evicts.
void expect_lineage(auto script, const Ids& tick, const Ids& fifo) {
    EXPECT_EQ(script(PolicyConfig{Policy::lineage_tick}).victims(), tick) << "tick";
    EXPECT_EQ(script(PolicyConfig{Policy::lineage_fifo}).victims(), fifo) << "fifo";
}

TEST(LineageModel, y1_a_child_goes_before_its_parent) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, {no_parent, 0, no_parent, 2}).release({0, 1, 2, 3});
        },
        {1, 0, 3, 2}, {1, 3, 0, 2});
}

TEST(LineageModel, y2_a_parent_waits_for_its_last_child) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, {no_parent, 0, 1, 0, no_parent, 4}).release({0, 1, 2, 3, 4, 5});
        },
        {2, 1, 3, 0, 5, 4}, {2, 3, 5, 1, 4, 0});
}

TEST(LineageModel, y3_a_parent_that_is_a_leaf_again_keeps_its_tick_or_joins_the_queue) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, chains_of_4_and_2).release({3, 2, 1, 0, 4, 5});
        },
        {3, 2, 1, 0, 5, 4}, {3, 5, 2, 4, 1, 0});
}

TEST(LineageModel, y4_a_used_leaf_is_new) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, chains_of_3).release({0, 1, 2, 3, 4, 5}).use({2});
        },
        {5, 4, 3, 2, 1, 0}, {5, 2, 4, 1, 3, 0});
}

TEST(LineageModel, y5_a_block_whose_children_are_all_active_is_a_leaf) {
    const Ids both{0, 3, 2};
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, {no_parent, 0, 1, 2}).release({0, 2, 3});
        },
        both, both);
}

TEST(LineageModel, y6_a_ghost_links_what_is_below_it_to_its_parent) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, {no_parent, 0, 1, no_parent}).release({0, 1, 2, 3}).hold({1});
        },
        {2, 0, 3}, {2, 3, 0});
}

TEST(LineageModel, y7_released_blocks_take_the_places_of_their_ghosts) {
    const Ids both{2, 3, 1, 0};
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, {no_parent, 0, 1, no_parent}).release({0, 1, 2, 3}).use({0, 1});
        },
        both, both);
}

TEST(LineageModel, y8_a_used_prefix_waits_for_its_tail) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, chains_of_4_and_2)
                .release({0, 1, 2, 3})
                .use({0, 1})
                .release({4, 5});
        },
        {3, 2, 1, 0, 5, 4}, {3, 5, 2, 4, 1, 0});
}

TEST(LineageModel, y9_all_of_two_chains) {
    expect_lineage(
        [](const PolicyConfig& policy) {
            return Shelf(policy, chains_of_3).release({0, 1, 2, 3, 4, 5});
        },
        {2, 1, 0, 5, 4, 3}, {2, 5, 1, 4, 0, 3});
}

TEST(LineageModel, y10_chains_cross_the_borders_of_the_layouts) {
    const Ids both{3, 2, 1, 0};
    for (const std::size_t first : {254u, 65534u}) {
        expect_lineage(
            [&](const PolicyConfig& policy) {
                return Shelf(policy, {no_parent, 0, 1, 2}, first).release({0, 1, 2, 3});
            },
            both, both);
    }
}

SequenceHash hash_of(std::uint64_t chain, std::uint64_t parent, std::size_t position) {
    return must(SequenceHash::make(ChainHash{chain}, ChainHash{parent}, position));
}

TEST(LineageModel, e8_a_ghost_lives_as_long_as_its_children) {
    LineageModel model(LineageEviction::tick);
    const auto grandchild = hash_of(3, 2, 2);

    model.insert({hash_of(1, 0, 0), 0}, 0);
    model.insert({hash_of(2, 1, 1), 1}, 0);
    model.insert({grandchild, 2}, 0);
    model.remove(hash_of(1, 0, 0));
    model.remove(hash_of(2, 1, 1));
    EXPECT_EQ(model.size(), 1u);
    EXPECT_EQ(model.nodes_count(), 3u);

    model.remove(grandchild);
    EXPECT_EQ(model.nodes_count(), 0u);
}

TEST(LineageModel, e14_blocks_of_one_node_wait_for_its_children) {
    const auto one = hash_of(0xAA, 0x11, 5);
    const auto other = hash_of(0xAA, 0x22, 5);
    for (const auto eviction : {LineageEviction::tick, LineageEviction::fifo}) {
        LineageModel model(eviction);
        model.insert({one, 0}, 0);
        model.insert({hash_of(0xBB, 0xAA, 6), 2}, 0);
        model.insert({other, 1}, 0);

        Ids victims;
        while (model.size() > 0) {
            victims.push_back(model.next().id);
            model.remove(model.next().hash);
        }

        EXPECT_EQ(victims, (Ids{2, 0, 1}));
        EXPECT_EQ(model.nodes_count(), 0u);
    }
}

}  // namespace
