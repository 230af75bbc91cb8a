// What a manager tells of each block: its state, what it is used for, and since which operation.
// Source: blocks.md 17.1.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;

class Inspect : public testing::TestWithParam<bool> {
  protected:
    static BlockManager<> make() {
        auto builder = BlockManager<>::builder();
        builder.block_count(4).block_size(4).registry(BlockRegistry());
        if (GetParam()) {
            builder.with_lineage_backend();
        } else {
            builder.with_lru_backend();
        }
        return must(builder.build());
    }
    std::vector<BlockUse> uses() const {
        std::vector<BlockUse> all;
        for (const BlockInfo& info : manager_.inspect()) {
            all.push_back(info.use);
        }
        return all;
    }
    std::uint64_t since(BlockId id) const { return manager_.inspect()[id].since; }

    const std::array<SequenceHash, 2> hashes_{SequenceHash::root(BlockHash{1}),
                                              SequenceHash::root(BlockHash{2})};
    BlockManager<> manager_ = make();
};

TEST_P(Inspect, tells_free_blocks_that_were_never_used) {
    for (const BlockInfo& info : manager_.inspect()) {
        EXPECT_EQ(info.state, BlockState::reset);
        EXPECT_EQ(info.use, BlockUse::free);
        EXPECT_EQ(info.since, 0u);
    }
}

TEST_P(Inspect, tells_what_each_block_is_used_for) {
    using enum BlockUse;
    auto blocks = manager_.allocate_blocks(3);
    auto mutable_block = blocks->pop_back();
    EXPECT_EQ(uses(), (std::vector{live, live, live, free}));
    auto staged = std::move(*blocks).stage_all(hashes_, 4);
    EXPECT_EQ(uses(), (std::vector{live, live, live, free}));
    auto registered = std::move(*manager_.register_blocks(std::move(*staged)));
    EXPECT_EQ(uses(), (std::vector{live, live, live, free}));

    registered.clear();

    EXPECT_EQ(uses(), (std::vector{cached, cached, live, free}));
}

TEST_P(Inspect, dates_each_change_of_state_by_the_operation_that_made_it) {
    auto blocks = manager_.allocate_blocks(2);
    const auto allocated = since(0);
    auto staged = std::move(*blocks).stage_all(hashes_, 4);
    const auto at_staging = since(0);
    auto registered = std::move(*manager_.register_blocks(std::move(*staged)));
    const auto at_registration = since(0);
    registered.clear();
    const auto released = since(0);
    auto matched = manager_.match_blocks({hashes_.data(), 1});
    const auto revived = since(0);
    auto evicting = manager_.allocate_blocks(3);
    const auto evicted = since(1);
    evicting->clear();
    const auto given_back = since(1);

    EXPECT_GT(allocated, 0u);
    EXPECT_GT(at_staging, allocated);
    EXPECT_GT(at_registration, at_staging);
    EXPECT_GT(released, at_registration);
    EXPECT_GT(revived, released);
    EXPECT_GT(evicted, revived);
    EXPECT_GT(given_back, evicted);
}

TEST_P(Inspect, dates_blocks_that_moved_in_one_call_alike) {
    auto blocks = manager_.allocate_blocks(2);
    EXPECT_EQ(since(0), since(1));
    auto staged = std::move(*blocks).stage_all(hashes_, 4);
    auto registered = std::move(*manager_.register_blocks(std::move(*staged)));
    registered.clear();

    EXPECT_EQ(since(0), since(1));
}

TEST_P(Inspect, does_not_date_what_changes_no_state) {
    auto blocks = manager_.allocate_blocks(2);
    auto staged = std::move(*blocks).stage_all(hashes_, 4);
    auto registered = std::move(*manager_.register_blocks(std::move(*staged)));
    const auto before = since(0);

    registered[0].set_evict_on_reset(true);
    registered[0].set_evict_on_reset(false);
    {
        const auto copies = manager_.match_blocks(hashes_);
    }
    {
        const auto pin = registered[0].pin();
    }
    static_cast<void>(manager_.check_invariants());

    EXPECT_EQ(since(0), before);
    EXPECT_EQ(since(2), 0u);
}

TEST_P(Inspect, dates_a_duplicate_and_the_primary_it_revives) {
    {
        auto first = std::move(*manager_.allocate_blocks(1)).stage_all({hashes_.data(), 1}, 4);
        const auto released = std::move(*manager_.register_blocks(std::move(*first)));
    }
    auto second = std::move(*manager_.allocate_blocks(1)).stage_all({hashes_.data(), 1}, 4);
    const auto duplicate = std::move(*manager_.register_blocks(std::move(*second)));

    EXPECT_EQ(manager_.inspect()[1].state, BlockState::duplicate);
    EXPECT_EQ(manager_.inspect()[0].state, BlockState::primary);
    EXPECT_EQ(since(0), since(1));
    EXPECT_EQ(uses(),
              (std::vector{BlockUse::live, BlockUse::live, BlockUse::free, BlockUse::free}));
}

INSTANTIATE_TEST_SUITE_P(Lineage, Inspect, testing::Bool());

}  // namespace
