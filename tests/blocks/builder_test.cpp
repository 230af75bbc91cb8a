// What a manager is built from, and what it is not: defaults, and the first broken rule in the
// order of blocks.md C1. Examples 1 to 7 of its section 18.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;
using Builder = BlockManagerBuilder<DefaultTier>;
using Error = BlockManagerBuilderError;

// A builder that lacks nothing.
Builder complete_builder() {
    return BlockManager<>::builder().registry(tracking_registry()).block_count(8);
}

std::string text_of(const Builder& builder) {
    const auto manager = builder.build();
    return manager.has_value() ? "built" : manager.error().message();
}

// Example 1.
TEST(BlockManagerBuilder, without_options_gives_blocks_of_sixteen_tokens_that_may_have_duplicates) {
    auto manager =
        must(BlockManager<>::builder().registry(BlockRegistry()).block_count(100).build());

    EXPECT_EQ(manager.block_size(), 16u);
    EXPECT_EQ(manager.total_blocks(), 100u);
    EXPECT_EQ(manager.available_blocks(), 100u);
    EXPECT_EQ(manager.duplication_policy(), BlockDuplicationPolicy::allow);
    EXPECT_EQ(allocate(manager, 5).block_ids(), (Ids{0, 1, 2, 3, 4}));
}

// C3.
TEST(BlockManagerBuilder, starts_the_metrics_with_a_full_reset_pool_and_nothing_else) {
    const auto manager = make_manager({.block_count = 100});

    EXPECT_EQ(difference(MetricsSnapshot{}, manager.metrics()->snapshot()), "reset +100");
}

// The order of Y1 (blocks.md 8.4) tells the policies apart: LRU 0 1 2 3, fifo 1 3 0 2.
TEST(BlockManagerBuilder, without_a_backend_evicts_the_oldest_leaf) {
    auto manager = must(complete_builder().block_count(4).block_size(tokens_per_block).build());

    cache(manager, joined(chain(2), chain(2, 100)));

    EXPECT_EQ(take(manager, 4), (Ids{1, 0, 3, 2}));
}

// F1.
TEST(BlockManagerBuilder, without_a_flag_keeps_released_blocks_cached) {
    auto manager = must(complete_builder().block_size(tokens_per_block).build());

    cache(manager, roots(1));

    EXPECT_EQ(states(manager), "IRRRRRRR");
}

// Example 2.
class EveryPolicy : public testing::TestWithParam<Policy> {};

TEST_P(EveryPolicy, builds_a_manager_that_hands_out_its_blocks_in_id_order) {
    auto manager = make_manager({.block_count = 3, .policy = GetParam()});

    EXPECT_EQ(take(manager, 3), (Ids{0, 1, 2}));
}

INSTANTIATE_TEST_SUITE_P(BlockManagerBuilder, EveryPolicy, testing::ValuesIn(all_policies),
                         PolicyName());

TEST(BlockManagerBuilder, takes_other_thresholds_that_rise_within_the_counters) {
    EXPECT_EQ(text_of(complete_builder().with_multi_lru_backend_custom_thresholds(2, 6, 12)),
              "built");
    EXPECT_EQ(text_of(complete_builder().with_multi_lru_backend_custom_thresholds(1, 2, 15)),
              "built");
}

TEST(BlockManagerBuilder, takes_the_last_backend_named) {
    const auto order_after = [](const std::function<void(Builder&)>& choose) {
        auto builder = complete_builder().block_count(4).block_size(tokens_per_block);
        choose(builder);
        auto manager = must(builder.build());
        cache(manager, joined(chain(2), chain(2, 100)));
        return take(manager, 4);
    };

    EXPECT_EQ(order_after([](Builder& b) { b.with_lineage_backend().with_lru_backend(); }),
              (Ids{0, 1, 2, 3}));
    EXPECT_EQ(order_after([](Builder& b) { b.with_lru_backend().with_lineage_backend(); }),
              (Ids{1, 0, 3, 2}));
    EXPECT_EQ(order_after([](Builder& b) {
                  b.with_lineage_backend().with_lineage_backend_eviction(LineageEviction::fifo);
              }),
              (Ids{1, 3, 0, 2}));
}

// Example 3 and the order of C1: everything is wrong, and is put right from the top.
TEST(BlockManagerBuilder, reports_the_first_broken_rule_only) {
    auto builder = BlockManager<>::builder();
    builder.block_size(7).with_multi_lru_backend_custom_thresholds(0, 0, 16);

    EXPECT_EQ(text_of(builder), "Builder validation failed: registry is required");
    builder.registry(BlockRegistry());
    EXPECT_EQ(text_of(builder), "Builder validation failed: block_count is required");
    builder.block_count(0);
    EXPECT_EQ(text_of(builder), "Builder validation failed: block_count must be greater than 0");
    builder.block_count(std::size_t{1} << 32);
    EXPECT_EQ(text_of(builder),
              "Builder validation failed: Invalid block_size 7: must be a power of 2 between 1 and "
              "1024");
    builder.block_size(8);
    EXPECT_EQ(
        text_of(builder),
        "Builder validation failed: Invalid thresholds [0, 0, 16]: must be in ascending order");
    builder.with_multi_lru_backend_custom_thresholds(0, 8, 16);
    EXPECT_EQ(text_of(builder),
              "Builder validation failed: Invalid threshold 16: maximum frequency is 15 (4-bit "
              "counter)");
    builder.with_multi_lru_backend_custom_thresholds(0, 8, 15);
    EXPECT_EQ(text_of(builder),
              "Builder validation failed: cold_to_warm threshold must be >= 1 to distinguish from "
              "zero-access blocks");
    builder.with_multi_lru_backend();
    EXPECT_EQ(text_of(builder),
              "Builder validation failed: MultiLRU backend requires a registry with frequency "
              "tracking");
    builder.registry(tracking_registry());
    EXPECT_EQ(text_of(builder),
              "Builder validation failed: block_count 4294967296 exceeds the maximum 4294967294");
    builder.block_count(8);
    EXPECT_EQ(text_of(builder), "built");
}

// Example 4.
TEST(BlockManagerBuilder, takes_every_power_of_two_up_to_1024_as_block_size) {
    for (std::size_t size = 1; size <= 1024; size *= 2) {
        auto manager = must(complete_builder().block_size(size).build());
        EXPECT_EQ(manager.block_size(), size);
        EXPECT_EQ(allocate_one(manager).block_size(), size);
    }
}

class BadBlockSize : public testing::TestWithParam<std::size_t> {};

TEST_P(BadBlockSize, is_refused_by_its_number) {
    const auto manager = complete_builder().block_size(GetParam()).build();

    ASSERT_FALSE(manager.has_value());
    ASSERT_TRUE(std::holds_alternative<Error::InvalidBlockSize>(manager.error().reason));
    EXPECT_EQ(std::get<Error::InvalidBlockSize>(manager.error().reason).block_size, GetParam());
}

INSTANTIATE_TEST_SUITE_P(BlockManagerBuilder, BadBlockSize,
                         testing::Values<std::size_t>(0, 3, 7, 15, 1023, 1025, 2048,
                                                      ~std::size_t{0}));

// Example 5.
struct BadThresholds {
    std::uint32_t a, b, c;
    std::string text;
};

class Thresholds : public testing::TestWithParam<BadThresholds> {};

TEST_P(Thresholds, are_refused_with_the_rule_they_break) {
    const auto& [a, b, c, text] = GetParam();
    auto builder = complete_builder();

    builder.with_multi_lru_backend_custom_thresholds(a, b, c);

    EXPECT_EQ(text_of(builder), "Builder validation failed: " + text);
}

// C2.
TEST_P(Thresholds, are_not_looked_at_when_another_backend_is_chosen_later) {
    const auto& [a, b, c, text] = GetParam();
    auto builder = complete_builder();

    builder.with_multi_lru_backend_custom_thresholds(a, b, c).with_lru_backend();

    EXPECT_EQ(text_of(builder), "built");
}

INSTANTIATE_TEST_SUITE_P(
    BlockManagerBuilder, Thresholds,
    testing::Values(
        BadThresholds{6, 2, 10, "Invalid thresholds [6, 2, 10]: must be in ascending order"},
        BadThresholds{2, 2, 10, "Invalid thresholds [2, 2, 10]: must be in ascending order"},
        BadThresholds{2, 10, 10, "Invalid thresholds [2, 10, 10]: must be in ascending order"},
        BadThresholds{2, 10, 6, "Invalid thresholds [2, 10, 6]: must be in ascending order"},
        BadThresholds{2, 6, 20, "Invalid threshold 20: maximum frequency is 15 (4-bit counter)"},
        BadThresholds{2, 6, 16, "Invalid threshold 16: maximum frequency is 15 (4-bit counter)"},
        BadThresholds{0, 4, 8,
                      "cold_to_warm threshold must be >= 1 to distinguish from zero-access "
                      "blocks"}));

// Example 6.
TEST(BlockManagerBuilder, refuses_multi_lru_without_a_tracker_unless_another_backend_follows) {
    auto builder = complete_builder().registry(BlockRegistry());

    builder.with_multi_lru_backend();
    const auto refused = builder.build();
    builder.with_lru_backend();

    ASSERT_FALSE(refused.has_value());
    EXPECT_TRUE(std::holds_alternative<Error::TrackerMissing>(refused.error().reason));
    EXPECT_EQ(text_of(builder), "built");
}

// Row 9 of C1: the first count whose slots have no 32-bit numbers left.
TEST(BlockManagerBuilder, refuses_more_blocks_than_slot_numbers_name) {
    EXPECT_EQ(text_of(complete_builder().block_count(4'294'967'295)),
              "Builder validation failed: block_count 4294967295 exceeds the maximum 4294967294");
}

// Example 7, V12.
TEST(BlockManagerBuilder, takes_the_next_manager_id_only_when_it_succeeds) {
    const auto first = make_manager();
    EXPECT_FALSE(complete_builder().block_size(7).build().has_value());
    EXPECT_FALSE(BlockManager<>::builder().build().has_value());
    const auto second = make_manager<G2>();

    EXPECT_EQ(second.id().value(), first.id().value() + 1);
    EXPECT_GT(first.id(), ManagerId::null());
    EXPECT_EQ(ManagerId::null().value(), 0u);
}

TEST(BlockManagerBuilder, builds_another_manager_each_time) {
    const auto builder = complete_builder();

    const auto first = must(builder.build());
    const auto second = must(builder.build());

    EXPECT_NE(first.id(), second.id());
    EXPECT_EQ(first.block_registry(), second.block_registry());
    EXPECT_NE(first.metrics(), second.metrics());
}

// X4.
TEST(BlockManagerBuilder, labels_the_metrics_by_tier_unless_a_label_is_given) {
    const auto label_of = [](auto builder) {
        builder.registry(BlockRegistry()).block_count(1);
        return must(builder.build()).metrics()->type_label();
    };

    EXPECT_EQ(label_of(BlockManager<>::builder()), "default");
    EXPECT_EQ(label_of(BlockManager<G1>::builder()), "G1");
    EXPECT_EQ(label_of(BlockManager<G1>::builder().pool_label("pool of gpu 3")), "pool of gpu 3");
    EXPECT_EQ(label_of(BlockManager<>::builder().pool_label("")), "");
}

}  // namespace
