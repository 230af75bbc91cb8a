// Names and numbers of a trace's blocks: identity is the lineage, not the id.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.replay;

namespace {

using namespace kvbm_test;
using Numbers = std::vector<std::uint32_t>;

std::vector<std::string> names(const kvbm::TraceHashes& hashes, std::size_t request) {
    std::vector<std::string> texts;
    for (const auto& hash : hashes.sequence_hashes(request)) {
        texts.push_back(hash.to_hex());
    }
    return texts;
}

Numbers numbers(const kvbm::TraceHashes& hashes, std::size_t request) {
    const auto list = hashes.block_numbers(request);
    return {list.begin(), list.end()};
}

TEST(TraceHashes, ids_0_14_15_have_the_published_names) {
    const auto hashes = hashes_of({{{0, 14, 15}}});

    EXPECT_EQ(names(hashes, 0), (std::vector<std::string>{"0031deceaedbe1eb3640000000000000",
                                                          "0076589fbeff0d9a9fbb3abb6f87acd9",
                                                          "00922d4da00b84d1cba27efbfc366a7e"}));
}

TEST(TraceHashes, an_id_under_two_parents_is_two_blocks) {
    const auto hashes = hashes_of({{{1, 2}, {3, 2}, {2}}});

    EXPECT_EQ(numbers(hashes, 0), (Numbers{0, 1}));
    EXPECT_EQ(numbers(hashes, 1), (Numbers{2, 3}));
    EXPECT_EQ(numbers(hashes, 2), (Numbers{4}));
}

TEST(TraceHashes, an_id_twice_in_a_request_is_two_blocks) {
    EXPECT_EQ(numbers(hashes_of({{{7, 7, 7}}}), 0), (Numbers{0, 1, 2}));
}

TEST(TraceHashes, equal_prefixes_are_equal_blocks_numbered_by_first_appearance) {
    const auto hashes = hashes_of({{{9, 8, 7}, {9, 8, 6, 5}, {9}}});

    EXPECT_EQ(numbers(hashes, 0), (Numbers{0, 1, 2}));
    EXPECT_EQ(numbers(hashes, 1), (Numbers{0, 1, 3, 4}));
    EXPECT_EQ(numbers(hashes, 2), (Numbers{0}));
    EXPECT_EQ(names(hashes, 1)[1], names(hashes, 0)[1]);
}

TEST(TraceHashes, counts_blocks_of_the_first_requests) {
    const auto hashes = hashes_of({{{9, 8}, {9, 8}, {9, 7}}});

    EXPECT_EQ(hashes.requests(), 3u);
    EXPECT_EQ(hashes.references(), 6u);
    EXPECT_EQ(hashes.block_size(), block_size);
    EXPECT_EQ(hashes.distinct_blocks(0), 0u);
    EXPECT_EQ(hashes.distinct_blocks(1), 2u);
    EXPECT_EQ(hashes.distinct_blocks(2), 2u);
    EXPECT_EQ(hashes.distinct_blocks(3), 3u);
}

}  // namespace
