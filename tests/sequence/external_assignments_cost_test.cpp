// What a tracker does for n ids grows as n, counted in entry moves and index probes, never in time.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using detail::sequence::costs_of;
using Ids = std::vector<BlockId>;

constexpr std::uint64_t moves_per_id = 6;
constexpr std::uint64_t probes_per_id = 10;

std::vector<SequenceHash> hashes_at(std::size_t count) {
    std::vector<SequenceHash> hashes;
    for (std::size_t position = 0; position < count; ++position) {
        hashes.push_back(must(SequenceHash::make(ChainHash{position}, std::nullopt, position)));
    }
    return hashes;
}

Ids spaced_ids(std::size_t count, BlockId stride) {
    Ids ids(count);
    for (std::size_t i = 0; i < count; ++i) {
        ids[i] = BlockId{i} * stride;
    }
    return ids;
}

void expect_linear(const ExternalBlockAssignments& tracker, std::uint64_t length) {
    EXPECT_LE(costs_of(tracker).entry_moves, moves_per_id * length);
    EXPECT_LE(costs_of(tracker).index_probes, probes_per_id * length);
}

class ExternalBlockAssignmentsCost : public ::testing::TestWithParam<std::size_t> {
  protected:
    const std::size_t count_ = GetParam();
    const std::vector<SequenceHash> hashes_ = hashes_at(count_);
    const Ids ids_ = spaced_ids(count_, 1);
    ExternalBlockAssignments tracker_;
};

TEST_P(ExternalBlockAssignmentsCost, of_queueing_and_assigning_all_is_linear) {
    must(tracker_.extend_block_ids(ids_));
    must(tracker_.assign_pending(hashes_));

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(ExternalBlockAssignmentsCost, of_staging_one_of_many_pending_ids_at_a_time_is_linear) {
    must(tracker_.extend_block_ids(ids_));
    for (std::size_t n = 1; n <= count_; ++n) {
        must(tracker_.stage_pending(std::span(hashes_).first(n)));
        tracker_.commit_staged();
    }

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(ExternalBlockAssignmentsCost, of_growing_by_one_block_at_a_time_is_linear) {
    for (std::size_t n = 1; n <= count_; ++n) {
        must(tracker_.extend_block_ids(std::span(ids_).subspan(n - 1, 1)));
        must(tracker_.assign_pending(std::span(hashes_).first(n)));
    }

    EXPECT_EQ(tracker_.assigned_count(), count_);
    expect_linear(tracker_, count_);
}

TEST_P(ExternalBlockAssignmentsCost, of_cache_hits_is_linear) {
    for (std::size_t n = 0; n < count_; ++n) {
        ASSERT_TRUE(tracker_.extend_assigned({{ids_[n], hashes_[n]}}));
    }

    expect_linear(tracker_, count_);
}

TEST_P(ExternalBlockAssignmentsCost, of_taking_back_and_clearing_is_linear) {
    for (int round = 0; round < 3; ++round) {
        must(tracker_.extend_block_ids(ids_));
        must(tracker_.stage_pending(std::span(hashes_).first(count_ / 2)));
        EXPECT_EQ(tracker_.take_staged().size(), count_ / 2);
        tracker_.clear();
    }

    expect_linear(tracker_, 3 * count_);
}

TEST_P(ExternalBlockAssignmentsCost, of_a_refused_list_is_linear) {
    Ids list = ids_;
    list.push_back(ids_.front());
    for (int round = 0; round < 3; ++round) {
        EXPECT_FALSE(tracker_.extend_block_ids(list));
    }

    expect_linear(tracker_, 3 * count_);
}

TEST_P(ExternalBlockAssignmentsCost, is_the_same_however_ids_are_spaced) {
    for (const unsigned shift : {4U, 12U, 20U, 32U, 43U}) {
        ExternalBlockAssignments tracker;
        must(tracker.extend_block_ids(spaced_ids(count_, BlockId{1} << shift)));
        expect_linear(tracker, count_);
    }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ExternalBlockAssignmentsCost,
                         ::testing::Values(1'000, 100'000, 1'000'000));

TEST(ExternalBlockAssignments, a_small_clear_is_cheap_after_a_large_one) {
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids(spaced_ids(100'000, 1)));
    tracker.clear();
    const auto before = costs_of(tracker).index_probes;

    for (BlockId id = 0; id < 1'000; ++id) {
        must(tracker.extend_block_ids({id}));
        tracker.clear();
    }

    EXPECT_LE(costs_of(tracker).index_probes - before, 1'000 * probes_per_id);
}

TEST(ExternalBlockAssignments, repeating_the_whole_list_searches_only_the_new_id) {
    ExternalBlockAssignments tracker;
    const Ids ids = spaced_ids(2'000, 1);

    for (std::size_t n = 1; n <= ids.size(); ++n) {
        must(tracker.extend_block_ids(std::span(ids).first(n)));
    }

    expect_linear(tracker, ids.size());
}

TEST(ExternalBlockAssignments, const_calls_cost_nothing_that_is_counted) {
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids(spaced_ids(100, 7)));
    const auto before = costs_of(tracker).index_probes;

    EXPECT_TRUE(tracker.contains(7));
    EXPECT_EQ(tracker.position_of(14), 2u);

    EXPECT_EQ(costs_of(tracker).index_probes, before);
}

// Each call may cost a constant per id it is given or moves; the pending ones count for the two
// calls that move them.
RC_GTEST_PROP(ExternalBlockAssignments, any_script_costs_a_constant_times_its_length_P24, ()) {
    kvbm::testing::AssignmentHarness harness({.offsets = {0, 0}, .block_counts = {80, 4}});
    kvbm::testing::AssignmentModels models({.offsets = {0, 0}, .block_counts = {80, 4}});
    const auto bytes = *kvbm::testing::gen::bytes_up_to(300);
    kvbm::testing::ByteReader reader(bytes);
    while (!reader.empty()) {
        const auto command = kvbm::testing::decode_assignment_command(reader);
        const auto& tracker = harness.trackers()[0];
        const auto before = costs_of(tracker);
        const std::size_t row = kvbm::testing::row_ids(tracker).size();
        RC_ASSERT(harness.run(command, models) == std::nullopt);
        models.apply(harness.workload(), command);
        const auto after = costs_of(tracker);

        // 64 + 64 ids are the longest list a command gives; 32 probes pay for a short row's scan.
        const std::size_t length = row + 128;
        RC_ASSERT(after.entry_moves < before.entry_moves + moves_per_id * length ||
                  std::holds_alternative<kvbm::testing::CopyTracker>(command));
        RC_ASSERT(after.index_probes < before.index_probes + 32 * length ||
                  std::holds_alternative<kvbm::testing::CopyTracker>(command));
    }
}

}  // namespace
