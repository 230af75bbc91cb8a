// The indices of a half-open range, front to back, back to front, and at random.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.core;

namespace {

using kvbm::IndexRange;

TEST(IndexRange, gives_its_indices_in_both_directions) {
    const IndexRange range{3, 6};

    const std::vector<std::size_t> forwards(range.begin(), range.end());
    std::vector<std::size_t> backwards;
    for (auto it = range.end(); it != range.begin();) {
        backwards.push_back(*--it);
    }

    EXPECT_EQ(forwards, (std::vector<std::size_t>{3, 4, 5}));
    EXPECT_EQ(backwards, (std::vector<std::size_t>{5, 4, 3}));
}

TEST(IndexRange, is_walked_as_a_random_access_range) {
    const IndexRange range{10, 20};
    auto it = range.begin();

    EXPECT_EQ(*it++, 10u);
    EXPECT_EQ(*it, 11u);
    EXPECT_EQ(*it--, 11u);
    EXPECT_EQ(*it, 10u);
    it += 7;
    EXPECT_EQ(*it, 17u);
    it -= 3;
    EXPECT_EQ(*it, 14u);
    EXPECT_EQ(it[2], 16u);
    EXPECT_EQ(it[-4], 10u);
    EXPECT_EQ(*(it + 1), 15u);
    EXPECT_EQ(*(1 + it), 15u);
    EXPECT_EQ(*(it - 1), 13u);
    EXPECT_EQ(it - range.begin(), 4);
    EXPECT_EQ(range.begin() - it, -4);
    EXPECT_LT(range.begin(), it);
    EXPECT_EQ(std::ranges::distance(range), 10);
    EXPECT_EQ(*std::ranges::lower_bound(range, 15u), 15u);
}

TEST(IndexRange, is_equal_to_the_same_range_only) {
    EXPECT_EQ((IndexRange{1, 4}), (IndexRange{1, 4}));
    EXPECT_NE((IndexRange{1, 4}), (IndexRange{1, 5}));
    EXPECT_NE((IndexRange{1, 4}), (IndexRange{2, 4}));
    EXPECT_LT((IndexRange{1, 5}), (IndexRange{2, 4}));
}

TEST(IndexRange, that_ends_before_it_begins_is_empty) {
    const IndexRange range{5, 2};

    EXPECT_TRUE(range.empty());
    EXPECT_EQ(range.size(), 0u);
    EXPECT_EQ(range.begin(), range.end());
    EXPECT_FALSE(range.contains(3));
}

}  // namespace
