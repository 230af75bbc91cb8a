// The words every layer shares: contracts stop the program and say why, ranges are half-open,
// labels are names.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.core;

namespace {

struct SomeError {
    std::string message() const { return "seven is not even"; }
};

template <class T>
struct Vec {};
struct Labelled {
    static constexpr std::string_view label = "my tier";
};

TEST(ContractDeathTest, broken_rule_aborts_with_file_line_and_rule) {
    EXPECT_DEATH(kvbm::expects(false, "the rule that broke"),
                 "contract_test.cpp:[0-9]+: .*the rule that broke");
}

TEST(Contract, kept_rule_does_nothing) {
    kvbm::expects(true, "never printed");
}

TEST(ContractDeathTest, must_aborts_with_the_callers_line_and_the_message) {
    EXPECT_DEATH(kvbm::must(kvbm::Result<int, SomeError>(kvbm::failure(SomeError{}))),
                 "contract_test.cpp:[0-9]+: .*seven is not even");
}

TEST(Contract, must_gives_the_value) {
    EXPECT_EQ(kvbm::must(kvbm::Result<int, SomeError>(7)), 7);
}

TEST(IndexRange, is_half_open) {
    const kvbm::IndexRange range{2, 5};

    const std::vector<std::size_t> indices(range.begin(), range.end());

    EXPECT_EQ(indices, (std::vector<std::size_t>{2, 3, 4}));
    EXPECT_EQ(range.size(), 3u);
    EXPECT_FALSE(range.contains(5));
}

TEST(IndexRange, empty_range_keeps_its_place) {
    const kvbm::IndexRange range{5, 5};

    EXPECT_TRUE(range.empty());
    EXPECT_EQ(range.begin(), range.end());
    EXPECT_NE(range, (kvbm::IndexRange{4, 4}));
}

TEST(TierLabel, is_the_unqualified_name_without_template_arguments) {
    EXPECT_EQ(kvbm::tier_label<kvbm::G1>(), "G1");
    EXPECT_EQ(kvbm::tier_label<Vec<int>>(), "Vec");
    EXPECT_EQ(kvbm::tier_label<Labelled>(), "my tier");
    EXPECT_EQ(kvbm::tier_label<kvbm::DefaultTier>(), "default");
}

TEST(TierId, is_the_same_for_the_same_tag_only) {
    EXPECT_EQ(kvbm::tier_id<kvbm::G1>(), kvbm::tier_id<kvbm::G1>());
    EXPECT_NE(kvbm::tier_id<kvbm::G1>(), kvbm::tier_id<kvbm::G2>());
}

}  // namespace
