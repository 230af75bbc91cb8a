// A tracker of ids that runs out of memory, wherever it does, is as it was, and the same call works
// afterwards. Source: verification.md E1.
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.sequence;

namespace {

using namespace kvbm;
using kvbm_test::runs_out_of_memory;

constexpr std::size_t entries = 40;  // more than are searched without an index

std::vector<SequenceHash> chain(std::size_t length) {
    std::vector<SequenceHash> hashes{SequenceHash::root(BlockHash{1})};
    while (hashes.size() < length) {
        hashes.push_back(must(hashes.back().extend(BlockHash{hashes.size()})));
    }
    return hashes;
}

// 20 assigned, 10 staged and 10 pending ids from 100 on.
ExternalBlockAssignments tracker() {
    const auto hashes = chain(30);
    std::vector<BlockId> ids(entries);
    std::iota(ids.begin(), ids.end(), BlockId{100});
    ExternalBlockAssignments made(0);
    must(made.extend_block_ids(ids));
    must(made.assign_pending(std::span(hashes).first(20)));
    must(made.stage_pending(hashes));
    return made;
}

// How often the call fails, one allocation further each time, before it goes through. Each attempt
// is on a copy, which has no room to spare.
template <class Call>
std::size_t failures_of(const ExternalBlockAssignments& start, const Call& call) {
    auto spared = start;
    call(spared);

    std::size_t failures = 0;
    while (true) {
        auto copy = start;
        const bool failed = runs_out_of_memory(failures, [&] { call(copy); });
        if (!failed) {
            EXPECT_EQ(copy, spared);
            return failures;
        }
        EXPECT_EQ(copy, start) << failures;
        for (BlockId id = 100; id < 300; ++id) {
            EXPECT_EQ(copy.position_of(id), start.position_of(id)) << failures;
        }
        if (testing::Test::HasFailure()) {
            return failures;  // what is broken may not even end
        }
        call(copy);
        EXPECT_EQ(copy, spared) << failures;
        ++failures;
    }
}

TEST(ExternalBlockAssignments, out_of_memory_queue_no_id) {
    std::vector<BlockId> more(200);
    std::iota(more.begin(), more.end(), BlockId{100});
    EXPECT_GE(failures_of(tracker(), [&](auto& ids) { must(ids.extend_block_ids(more)); }), 2u);
}

TEST(ExternalBlockAssignments, out_of_memory_take_no_cached_block) {
    auto start = tracker();
    start.commit_staged();
    const auto hashes = chain(130);
    std::vector<Assignment> pairs;
    for (std::size_t position = 30; position < hashes.size(); ++position) {
        pairs.push_back({.id = 200 + position, .hash = hashes[position]});
    }
    EXPECT_GE(failures_of(start, [&](auto& ids) { must(ids.extend_assigned(pairs)); }), 2u);
}

TEST(ExternalBlockAssignments, out_of_memory_keep_what_is_staged) {
    EXPECT_EQ(failures_of(tracker(), [](auto& ids) { static_cast<void>(ids.take_staged()); }), 1u);
}

}  // namespace
