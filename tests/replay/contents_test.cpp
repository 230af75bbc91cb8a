// What a cache holds after a replay: blocks by state, chains, uses and ages.
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.replay;

namespace {

using namespace kvbm_test;
using kvbm::Percentiles;
using kvbm::ReplayOptions;

kvbm::CacheContents contents_of(const Requests& requests, const ReplayOptions& options = {},
                                std::size_t most_used = 10) {
    return kvbm::must(kvbm::replay_and_inspect(hashes_of(requests), options, most_used)).contents;
}

/// Position, uses, age.
using Brief = std::tuple<std::size_t, std::uint64_t, std::uint64_t>;

std::vector<Brief> brief(const std::vector<kvbm::CachedBlock>& blocks) {
    std::vector<Brief> list;
    for (const auto& block : blocks) {
        list.emplace_back(block.hash.position(), block.uses, block.age);
    }
    return list;
}

TEST(ReplayAndInspect, counts_what_replay_counts) {
    const auto hashes = hashes_of({{{1, 2, 3}, {4}, {1, 2, 3}}});
    const ReplayOptions options{.capacity = 3};

    const auto inspected = kvbm::must(kvbm::replay_and_inspect(hashes, options, 10));

    EXPECT_EQ(counts_of(inspected.run), counts_of(kvbm::must(kvbm::replay(hashes, options))));
}

TEST(ReplayAndInspect, every_block_is_in_one_state) {
    const auto contents = contents_of({{{1, 2}, {3}}}, {.capacity = 10});

    EXPECT_EQ(contents.blocks, 10u);
    EXPECT_EQ(contents.reset, 7u);
    EXPECT_EQ(contents.inactive, 3u);
    EXPECT_EQ(contents.mutable_blocks + contents.staged + contents.primary + contents.duplicate,
              0u);
    EXPECT_EQ(contents.references, 0u);
}

TEST(ReplayAndInspect, without_a_limit_there_is_a_block_for_each_of_the_trace) {
    const auto contents = contents_of({{{1, 2}, {3}, {1}}});

    EXPECT_EQ(contents.blocks, 3u);
    EXPECT_EQ(contents.reset, 0u);
    EXPECT_EQ(contents.inactive, 3u);
}

TEST(ReplayAndInspect, a_chain_ends_where_no_cached_block_continues) {
    //   1 - 2 - 3      two chains of 3 blocks that share their first two, and one of 1
    //         \ 4   5
    const auto contents = contents_of({{{1, 2, 3}, {1, 2, 4}, {5}}});

    EXPECT_EQ(contents.roots, 2u);
    EXPECT_EQ(contents.chains, 3u);
    EXPECT_EQ(contents.unreachable, 0u);
    EXPECT_EQ(contents.chain_length, (Percentiles{3, 3, 3, 3}));
}

TEST(ReplayAndInspect, a_block_that_lost_one_before_it_is_unreachable) {
    // Released from its head on, [1 2 3] loses 1 to [5]: 2 and 3 stay, but no request hits them.
    const auto contents =
        contents_of({{{1, 2, 3}, {5}}}, {.capacity = 3, .order = kvbm::ReplayOrder::head});

    EXPECT_EQ(contents.roots, 1u);
    EXPECT_EQ(contents.unreachable, 2u);
    EXPECT_EQ(contents.chains, 2u);
    EXPECT_EQ(contents.chain_length, (Percentiles{1, 3, 3, 3}));
}

TEST(ReplayAndInspect, the_most_used_blocks_come_first_then_the_young_then_the_shallow) {
    const auto contents = contents_of({{{1, 2}, {1, 2}, {3}, {4, 5}, {4, 5}, {6}}});

    EXPECT_EQ(contents.reused, 4u);
    EXPECT_EQ(
        brief(contents.most_used),
        (std::vector<Brief>{{0, 2, 1}, {1, 2, 1}, {0, 2, 4}, {1, 2, 4}, {0, 1, 0}, {0, 1, 3}}));
    EXPECT_EQ(contents.uses, (Percentiles{2, 2, 2, 2}));
    EXPECT_EQ(contents.age, (Percentiles{1, 4, 4, 4}));
}

TEST(ReplayAndInspect, names_the_blocks_by_id_and_hash) {
    const auto contents = contents_of({{{0, 14, 15}}});

    ASSERT_EQ(contents.most_used.size(), 3u);
    EXPECT_EQ(contents.most_used[0].id, 0u);
    EXPECT_EQ(contents.most_used[0].hash.to_hex(), "0031deceaedbe1eb3640000000000000");
    EXPECT_EQ(contents.most_used[2].id, 2u);
    EXPECT_EQ(contents.most_used[2].hash.to_hex(), "00922d4da00b84d1cba27efbfc366a7e");
}

TEST(ReplayAndInspect, names_no_more_blocks_than_asked_for) {
    const Requests requests{{{1, 2, 3}}};

    EXPECT_EQ(contents_of(requests, {}, 2).most_used.size(), 2u);
    EXPECT_TRUE(contents_of(requests, {}, 0).most_used.empty());
}

TEST(ReplayAndInspect, uses_begin_anew_when_a_block_comes_back_after_its_eviction) {
    const auto contents = contents_of({{{1}, {1}, {2}, {1}}}, {.capacity = 1});

    EXPECT_EQ(brief(contents.most_used), (std::vector<Brief>{{0, 1, 0}}));
}

TEST(ReplayAndInspect, blocks_that_were_cut_off_are_not_used) {
    const auto contents = contents_of({{{1, 2, 3}, {1, 2, 3}}}, {.capacity = 2});

    EXPECT_EQ(brief(contents.most_used), (std::vector<Brief>{{0, 2, 0}, {1, 2, 0}}));
}

TEST(ReplayAndInspect, looks_at_the_end_of_a_limited_replay) {
    const auto contents = contents_of({{{1}, {2}, {3}}}, {.limit = 2});

    EXPECT_EQ(contents.inactive, 2u);
    EXPECT_EQ(contents.age, (Percentiles{0, 1, 1, 1}));
}

TEST(ReplayAndInspect, refuses_what_replay_refuses) {
    const auto refused = kvbm::replay_and_inspect(hashes_of({{{1}}}), {.capacity = 0}, 1);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().message(),
              "a cache of 0 blocks holds nothing: the capacity must be at least 1");
}

TEST(ReplayAndInspectDeathTest, an_ideal_cache_is_no_manager) {
    EXPECT_DEATH(static_cast<void>(kvbm::replay_and_inspect(hashes_of({{{1}}}),
                                                            {.mode = kvbm::ReplayMode::ideal}, 1)),
                 "a cache to look into is a block manager");
}

}  // namespace
