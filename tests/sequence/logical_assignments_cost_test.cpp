// What the tracker of guards does for n blocks grows as n, counted in entry moves and index probes,
// never in time. T43 and P24 of sequences.md.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using detail::sequence::costs_of;
using Tracker = LogicalBlockAssignments<>;

constexpr std::uint64_t moves_per_block = 10;
constexpr std::uint64_t probes_per_block = 20;

void expect_linear(const Tracker& tracker, std::uint64_t length) {
    EXPECT_LE(costs_of(tracker).entry_moves, moves_per_block * length);
    EXPECT_LE(costs_of(tracker).index_probes, probes_per_block * length);
}

class LogicalBlockAssignmentsCost : public ::testing::TestWithParam<std::size_t> {
  protected:
    void queue(std::size_t count) {
        must(tracker_.extend_blocks(std::move(manager_.allocate_blocks(count)).value()));
    }

    const std::size_t count_ = GetParam();
    const BlockSequence sequence_ = kvbm::testing::counting_sequence(count_, 0, 1);
    BlockManager<> manager_ = must(BlockManager<>::builder()
                                       .block_count(count_)
                                       .block_size(1)
                                       .registry(BlockRegistry())
                                       .with_lru_backend()
                                       .build());
    Tracker tracker_;
};

TEST_P(LogicalBlockAssignmentsCost, of_queueing_and_registering_all_is_linear) {
    queue(count_);
    must(tracker_.stage_and_register(sequence_.blocks(), manager_));

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(LogicalBlockAssignmentsCost, of_staging_and_registering_one_of_many_at_a_time_is_linear) {
    queue(count_);
    for (std::size_t n = 1; n <= count_; ++n) {
        must(tracker_.stage(sequence_.blocks().first(n)));
        tracker_.register_blocks(manager_, 1);
    }

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(LogicalBlockAssignmentsCost, of_growing_by_one_block_at_a_time_is_linear) {
    for (std::size_t n = 1; n <= count_; ++n) {
        queue(1);
        must(tracker_.stage_and_register(sequence_.blocks().first(n), manager_));
    }

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(LogicalBlockAssignmentsCost, of_cache_hits_one_at_a_time_is_linear) {
    queue(count_);
    must(tracker_.stage_and_register(sequence_.blocks(), manager_));
    tracker_.clear();
    auto hits = manager_.match_blocks(sequence_.all_sequence_hashes());
    Tracker tracker;
    while (!hits.empty()) {
        must(tracker.extend_assigned(hits.take_front(1)));
    }

    EXPECT_EQ(tracker.assigned_count(), count_);
    expect_linear(tracker, count_);
}

TEST_P(LogicalBlockAssignmentsCost, of_taking_and_clearing_is_linear) {
    for (int round = 0; round < 3; ++round) {
        queue(count_);
        must(tracker_.stage(sequence_.blocks().first(count_ / 2)));
        EXPECT_EQ(tracker_.take_staged().size(), count_ / 2);
        tracker_.drop_last_unassigned(count_ / 4);
        EXPECT_TRUE(tracker_.pop_last_unassigned().has_value());
        tracker_.clear();
    }

    expect_linear(tracker_, 3 * count_);
}

INSTANTIATE_TEST_SUITE_P(Sizes, LogicalBlockAssignmentsCost, ::testing::Values(1'000, 100'000));

TEST(LogicalBlockAssignments, const_calls_cost_nothing_that_is_counted) {
    auto manager = must(
        BlockManager<>::builder().block_count(9).block_size(4).registry(BlockRegistry()).build());
    Tracker tracker;
    must(tracker.extend_blocks(std::move(manager.allocate_blocks(9)).value()));
    const auto before = costs_of(tracker).index_probes;

    EXPECT_TRUE(tracker.contains(7));
    EXPECT_EQ(tracker.position_of(8), 8u);

    EXPECT_EQ(costs_of(tracker).index_probes, before);
}

// Each call may cost a constant per block it is given or moves.
RC_GTEST_PROP(LogicalBlockAssignments, any_script_costs_a_constant_times_its_length_P24, ()) {
    namespace logical = kvbm::testing::logical;
    logical::Harness harness({.block_count = 40, .sequence_blocks = {24, 8}});
    const auto bytes = *rc::gen::resize(
        300, rc::gen::container<std::vector<std::uint8_t>>(rc::gen::arbitrary<std::uint8_t>()));
    kvbm::testing::ByteReader reader(bytes);
    std::uint64_t moves = 0;
    std::uint64_t probes = 0;
    while (!reader.empty()) {
        const auto command = logical::decode_command(reader);
        const bool moved = logical::to_string(command).starts_with("move");
        RC_ASSERT(harness.run(command) == std::nullopt);
        const auto& tracker = harness.trackers()[0];
        const auto after = costs_of(tracker);
        const std::size_t length = tracker.all_block_ids().size() + 40;
        RC_ASSERT(moved || after.entry_moves <= moves + moves_per_block * length);
        RC_ASSERT(moved || after.index_probes <= probes + probes_per_block * length);
        moves = after.entry_moves;
        probes = after.index_probes;
    }
}

}  // namespace
