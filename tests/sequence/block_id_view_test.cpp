// The ids of a tracker's entries as a random access range.
#include <cstddef>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;

namespace {

using namespace kvbm;

TEST(BlockIdView, is_walked_as_a_random_access_range) {
    ExternalBlockAssignments tracker;
    ASSERT_TRUE(tracker.extend_block_ids(std::vector<BlockId>{40, 41, 42, 43, 44, 45}).has_value());
    const BlockIdView ids = tracker.unassigned();
    auto it = ids.begin();

    EXPECT_EQ(*it++, 40u);
    EXPECT_EQ(*it, 41u);
    EXPECT_EQ(*it--, 41u);
    EXPECT_EQ(*++it, 41u);
    EXPECT_EQ(*--it, 40u);
    it += 4;
    EXPECT_EQ(*it, 44u);
    it -= 1;
    EXPECT_EQ(*it.operator->(), 43u);
    EXPECT_EQ(it[2], 45u);
    EXPECT_EQ(it[-3], 40u);
    EXPECT_EQ(*(it + 1), 44u);
    EXPECT_EQ(*(1 + it), 44u);
    EXPECT_EQ(*(it - 1), 42u);
    EXPECT_EQ(it - ids.begin(), 3);
    EXPECT_LT(ids.begin(), it);
    EXPECT_EQ(std::vector<BlockId>(std::make_reverse_iterator(ids.end()),
                                   std::make_reverse_iterator(ids.begin())),
              (std::vector<BlockId>{45, 44, 43, 42, 41, 40}));
}

}  // namespace
