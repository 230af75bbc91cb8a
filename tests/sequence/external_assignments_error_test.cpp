// What a tracker refuses: the first offence is named, and nothing has changed.
#include <cstddef>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using Error = BlockSequenceError;

// Ids 1, 2, 3: one assigned, one staged, one queued.
ExternalBlockAssignments one_two_three(std::size_t offset = 0) {
    ExternalBlockAssignments tracker(offset);
    must(tracker.extend_block_ids({1, 2, 3}));
    must(tracker.assign_pending(counting_sequence(offset + 1).blocks()));
    must(tracker.stage_pending(counting_sequence(offset + 2).blocks()));
    return tracker;
}

struct ListCase {
    std::vector<BlockId> ids;
    Error error;
};

TEST(ExternalBlockAssignments, the_first_offence_in_a_list_of_ids_is_named) {
    const std::vector<ListCase> cases{
        {{3, 1, 1, 4, 2}, {Error::OrderingViolation{2, 4, 4, 3}}},
        {{9, 9}, {Error::DuplicateBlockId{9}}},
        {{9, 1, 9}, {Error::OrderingViolation{1, 9, 1, 0}}},
        {{9, 9, 1}, {Error::DuplicateBlockId{9}}},
        {{1, 9, 8, 2, 9}, {Error::OrderingViolation{2, 9, 3, 1}}},
        {{1, 2, 3, 9, 8, 8}, {Error::DuplicateBlockId{8}}},
    };
    for (const auto& [ids, error] : cases) {
        auto tracker = one_two_three();

        EXPECT_EQ(tracker.extend_block_ids(ids).error(), error) << error.message();
        EXPECT_EQ(tracker, one_two_three());
    }
}

TEST(ExternalBlockAssignments, known_ids_before_new_ones_are_no_offence) {
    auto tracker = one_two_three();

    must(tracker.extend_block_ids({3, 1, 1, 4}));

    EXPECT_EQ(kvbm::testing::row_ids(tracker), (std::vector<BlockId>{1, 2, 3, 4}));
}

TEST(ExternalBlockAssignments, an_id_that_was_refused_may_be_queued_later) {
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({100}));

    EXPECT_EQ(tracker.extend_block_ids({200, 100}).error(),
              (Error{Error::OrderingViolation{
                  .known_id = 100, .new_id = 200, .known_index = 1, .first_new_index = 0}}));
    EXPECT_FALSE(tracker.contains(200));

    must(tracker.extend_block_ids({200}));
    EXPECT_EQ(tracker.position_of(200), 1u);
}

TEST(ExternalBlockAssignments, cache_hits_are_checked_for_duplicates_then_staged_then_positions) {
    const auto h = counting_sequence(6);
    const auto hash = [&](std::size_t position) { return h.all_sequence_hashes()[position]; };
    struct Case {
        bool staged;
        std::vector<Assignment> pairs;
        Error error;
    };
    const std::vector<Case> cases{
        {false, {{8, hash(2)}, {3, hash(3)}}, {Error::DuplicateBlockId{3}}},
        {false, {{8, hash(2)}, {9, hash(3)}, {8, hash(4)}}, {Error::DuplicateBlockId{8}}},
        {false, {{8, hash(5)}, {9, hash(0)}}, {Error::PositionMismatch{2, 5, 8}}},
        {false, {{8, hash(2)}, {9, hash(2)}}, {Error::PositionMismatch{3, 2, 9}}},
        {false, {{8, hash(0)}, {1, hash(3)}}, {Error::DuplicateBlockId{1}}},
        {true, {{8, hash(2)}}, {Error::StagedPresent{1}}},
        {true, {{8, hash(0)}}, {Error::StagedPresent{1}}},
        {true, {{8, hash(2)}, {8, hash(3)}}, {Error::DuplicateBlockId{8}}},
    };
    for (const auto& [staged, pairs, error] : cases) {
        auto tracker = one_two_three();
        if (!staged) {
            tracker.commit_staged();
        }
        const auto before = tracker;

        EXPECT_EQ(tracker.extend_assigned(pairs).error(), error) << error.message();
        EXPECT_EQ(tracker, before);
        EXPECT_FALSE(tracker.contains(8));
    }
}

TEST(ExternalBlockAssignments, its_own_entries_are_duplicates_in_any_state_of_growth) {
    ExternalBlockAssignments tracker;
    const auto sequence = counting_sequence(40);
    for (BlockId id = 0; id < 40; ++id) {
        must(tracker.extend_block_ids({id}));
        must(tracker.assign_pending(sequence.blocks()));
        const auto before = tracker;

        EXPECT_EQ(tracker.extend_assigned(tracker.assigned()).error(),
                  (Error{Error::DuplicateBlockId{0}}));
        EXPECT_EQ(tracker, before);
    }
}

TEST(ExternalBlockAssignments, a_tail_slice_is_refused_because_an_index_is_a_position) {
    const auto sequence = counting_sequence(4);
    ExternalBlockAssignments tracker(1);
    must(tracker.extend_block_ids({10, 11}));
    const auto before = tracker;
    const Error mismatch{Error::PositionMismatch{.expected = 1, .actual = 2, .block_id = 10}};

    EXPECT_EQ(tracker.stage_pending(sequence.blocks().subspan(1)).error(), mismatch);
    EXPECT_EQ(tracker.assign_pending(sequence.all_sequence_hashes().subspan(1)).error(), mismatch);
    EXPECT_EQ(tracker, before);
}

TEST(ExternalBlockAssignments, a_mismatch_in_the_middle_stages_nothing) {
    const auto h = counting_sequence(5);
    const auto hash = [&](std::size_t position) { return h.all_sequence_hashes()[position]; };
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({10, 11, 12}));

    EXPECT_EQ(tracker.assign_pending({hash(0), hash(1), hash(4)}).error(),
              (Error{Error::PositionMismatch{.expected = 2, .actual = 4, .block_id = 12}}));
    EXPECT_EQ(tracker.staged_count(), 0u);
    EXPECT_EQ(tracker.assigned_count(), 0u);
    EXPECT_EQ(must(tracker.stage_pending({h.blocks()[0], h.blocks()[1]})), (IndexRange{0, 2}));
}

TEST(ExternalBlockAssignments, a_wrong_block_that_no_id_would_get_is_not_looked_at) {
    const auto h = counting_sequence(5);
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({10}));

    EXPECT_EQ(must(tracker.stage_pending({h.blocks()[0], h.blocks()[4]})), (IndexRange{0, 1}));
}

TEST(ExternalBlockAssignmentsDeathTest, an_offset_above_the_largest_position_breaks_a_contract) {
    const ExternalBlockAssignments largest(std::size_t{1} << 24);
    EXPECT_EQ(largest.next_position(), std::size_t{1} << 24);

    EXPECT_DEATH((void)ExternalBlockAssignments((std::size_t{1} << 24) + 1), "at most 2\\^24");
    EXPECT_DEATH((void)ExternalBlockAssignments(std::numeric_limits<std::size_t>::max()),
                 "at most 2\\^24");
}

TEST(ExternalBlockAssignmentsDeathTest, an_index_behind_the_queue_breaks_a_contract) {
    const auto tracker = one_two_three();
    EXPECT_DEATH((void)tracker.unassigned()[1], "less than the size");
}

}  // namespace
