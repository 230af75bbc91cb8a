// The tracker by example: which id gets which position, what stays queued, what the ranges say.
// Block size 4, tokens 0, 1, 2 ...; sequence_of(x, y) has x full blocks and y tail tokens.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using kvbm::testing::ids_of;
using Ids = std::vector<BlockId>;

constexpr BlockId largest = std::numeric_limits<BlockId>::max();

// Ids 100, 101 ... of which `assigned` are assigned, `staged` staged, `pending` queued.
ExternalBlockAssignments tracker_with(std::size_t offset, std::size_t assigned, std::size_t staged,
                                      std::size_t pending) {
    ExternalBlockAssignments tracker(offset);
    Ids ids(assigned + staged + pending);
    std::iota(ids.begin(), ids.end(), BlockId{100});
    const auto sequence = counting_sequence(offset + assigned + staged);
    must(tracker.extend_block_ids(ids));
    must(tracker.assign_pending(sequence.blocks().first(offset + assigned)));
    must(tracker.stage_pending(sequence.blocks()));
    return tracker;
}

// What every assigned entry must be: the hash of its position.
void expect_hashes_of(const ExternalBlockAssignments& tracker, const BlockSequence& sequence) {
    const auto report = kvbm::testing::audit_against(tracker, sequence.all_sequence_hashes());
    EXPECT_TRUE(report.ok()) << report.to_string();
    const auto alone = kvbm::testing::audit(tracker);
    EXPECT_TRUE(alone.ok()) << alone.to_string();
}

TEST(ExternalBlockAssignments, nothing_queued_assigns_nothing) {
    for (const std::size_t blocks : {0U, 1U}) {
        ExternalBlockAssignments tracker;

        EXPECT_EQ(must(tracker.assign_pending(counting_sequence(blocks).blocks())),
                  (IndexRange{0, 0}));
        EXPECT_EQ(tracker, ExternalBlockAssignments{});
    }
}

TEST(ExternalBlockAssignments, ids_and_blocks_are_paired_by_this_formula) {
    for (const std::size_t blocks : {0U, 1U, 2U, 3U, 5U, 10U}) {
        for (const std::size_t tail : {0U, 1U, 2U, 3U}) {
            for (const std::size_t count : {std::size_t{0}, blocks / 2, blocks, blocks + 3}) {
                const auto sequence = counting_sequence(blocks, tail);
                ExternalBlockAssignments tracker;
                Ids ids(count);
                std::iota(ids.rbegin(), ids.rend(), BlockId{500});
                must(tracker.extend_block_ids(ids));

                const auto range = must(tracker.assign_pending(sequence.blocks()));

                const std::size_t served = std::min(blocks, count);
                EXPECT_EQ(range, (IndexRange{0, served}));
                EXPECT_EQ(tracker.unassigned_count(), count - served);
                EXPECT_EQ(kvbm::testing::row_ids(tracker), ids);
                expect_hashes_of(tracker, sequence);
            }
        }
    }
}

TEST(ExternalBlockAssignments, ids_in_excess_stay_queued_in_order) {
    const auto sequence = counting_sequence(3);
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({10, 20, 30, 40, 50}));

    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{0, 3}));

    EXPECT_EQ(ids_of(tracker.assigned()), (Ids{10, 20, 30}));
    EXPECT_EQ(ids_of(tracker.unassigned()), (Ids{40, 50}));
    expect_hashes_of(tracker, sequence);
}

TEST(ExternalBlockAssignments, the_whole_list_may_be_given_again_each_round) {
    const auto sequence = counting_sequence(4);
    ExternalBlockAssignments tracker;

    must(tracker.extend_block_ids({1, 2}));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{0, 2}));
    must(tracker.extend_block_ids({1, 2, 3, 4, 5}));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{2, 4}));
    must(tracker.extend_block_ids({1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{4, 4}));

    EXPECT_EQ(ids_of(tracker.assigned()), (Ids{1, 2, 3, 4}));
    EXPECT_EQ(ids_of(tracker.unassigned()), (Ids{5, 6}));
}

struct Round {
    std::size_t blocks;  // full blocks of the sequence in this round
    Ids new_ids;
    IndexRange range;
    Ids left;
};

TEST(ExternalBlockAssignments, queued_ids_are_served_before_newer_ones) {
    const std::vector<std::vector<Round>> shapes{
        {{1, {1, 2}, {0, 1}, {2}}, {4, {3, 4}, {1, 4}, {}}},      // all fit
        {{1, {1, 2, 3}, {0, 1}, {2, 3}}, {3, {4}, {1, 3}, {4}}},  // some fit
        {{1, {1, 2}, {0, 1}, {2}}, {1, {3}, {1, 1}, {2, 3}}},     // none fit
        {{1, {1, 2}, {0, 1}, {2}}, {2, {}, {1, 2}, {}}},          // exact fit
        {{0, {1}, {0, 0}, {1}},
         {0, {2}, {0, 0}, {1, 2}},
         {0, {3}, {0, 0}, {1, 2, 3}},
         {3, {}, {0, 3}, {}}},  // growth without room
    };
    for (const auto& rounds : shapes) {
        ExternalBlockAssignments tracker;
        for (const Round& round : rounds) {
            must(tracker.extend_block_ids(round.new_ids));
            const auto sequence = counting_sequence(round.blocks);

            EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), round.range);
            EXPECT_EQ(ids_of(tracker.unassigned()), round.left);
            expect_hashes_of(tracker, sequence);
        }
    }
}

TEST(ExternalBlockAssignments, a_tail_is_paired_once_its_last_token_has_come) {
    auto sequence = counting_sequence(1, 2);
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({1, 2}));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{0, 1}));

    must(sequence.append_token(6));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{1, 1}));
    must(sequence.append_token(7));
    EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{1, 2}));
}

TEST(ExternalBlockAssignments, falling_ids_keep_the_order_of_the_list) {
    ExternalBlockAssignments tracker;
    must(tracker.extend_block_ids({999, 888, 777, 666}));
    must(tracker.assign_pending(counting_sequence(3).blocks()));

    EXPECT_EQ(kvbm::testing::row_ids(tracker), (Ids{999, 888, 777, 666}));
}

TEST(ExternalBlockAssignments, a_list_of_known_ids_changes_nothing) {
    auto tracker = tracker_with(0, 3, 0, 0);
    const auto before = tracker;

    must(tracker.extend_block_ids({102, 100, 100, 101}));

    EXPECT_EQ(tracker, before);
    EXPECT_EQ(must(tracker.assign_pending(counting_sequence(3).blocks())), (IndexRange{3, 3}));
}

TEST(ExternalBlockAssignments, a_slice_shorter_than_what_is_assigned_changes_nothing) {
    auto tracker = tracker_with(0, 3, 0, 2);
    const auto before = tracker;

    EXPECT_EQ(must(tracker.assign_pending(counting_sequence(2).blocks())), (IndexRange{3, 3}));
    EXPECT_EQ(tracker, before);
}

TEST(ExternalBlockAssignments, an_offset_moves_all_positions) {
    struct Case {
        std::size_t offset, blocks, ids, served;
    };
    for (const auto& [offset, blocks, count, served] :
         {Case{5, 10, 3, 3}, Case{5, 8, 5, 3}, Case{1, 3, 2, 2}, Case{9, 3, 2, 0}}) {
        const auto sequence = counting_sequence(blocks);
        auto tracker = tracker_with(offset, 0, 0, count);

        EXPECT_EQ(must(tracker.assign_pending(sequence.blocks())), (IndexRange{0, served}));

        EXPECT_EQ(tracker.assigned_positions(), (IndexRange{offset, offset + served}));
        EXPECT_EQ(tracker.unassigned_count(), count - served);
        expect_hashes_of(tracker, sequence);
    }
}

TEST(ExternalBlockAssignments, two_trackers_of_one_sequence_do_not_touch_each_other) {
    const auto sequence = counting_sequence(10);
    ExternalBlockAssignments front(0);
    ExternalBlockAssignments back(5);
    must(front.extend_block_ids({1, 2, 3, 4, 5}));
    must(back.extend_block_ids({1, 2, 3, 4, 5}));

    must(front.assign_pending(sequence.blocks()));
    must(back.assign_pending(sequence.blocks()));

    EXPECT_EQ(front.assigned_positions(), (IndexRange{0, 5}));
    EXPECT_EQ(back.assigned_positions(), (IndexRange{5, 10}));
    EXPECT_EQ(front.get_at_position(5), std::nullopt);
    EXPECT_EQ(back.get_at_position(4), std::nullopt);
}

TEST(ExternalBlockAssignments, clear_removes_everything_and_keeps_the_offset) {
    auto tracker = tracker_with(3, 2, 0, 1);

    tracker.clear();

    EXPECT_TRUE(tracker.is_empty());
    EXPECT_EQ(tracker.offset(), 3u);
    EXPECT_EQ(tracker.next_position(), 3u);
    EXPECT_FALSE(tracker.contains(100));
    EXPECT_EQ(tracker, ExternalBlockAssignments(3));
}

TEST(ExternalBlockAssignments, an_id_is_known_in_each_phase_and_unknown_once_taken) {
    auto tracker = tracker_with(0, 1, 1, 1);
    EXPECT_TRUE(tracker.contains(100) && tracker.contains(101) && tracker.contains(102));
    EXPECT_FALSE(tracker.contains(103));

    (void)tracker.take_staged();

    EXPECT_FALSE(tracker.contains(101));
    EXPECT_EQ(tracker.position_of(101), std::nullopt);
    EXPECT_EQ(tracker.position_of(102), 1u);
}

TEST(ExternalBlockAssignments, the_smallest_and_the_largest_id_are_ids_like_others) {
    ExternalBlockAssignments tracker;
    EXPECT_FALSE(tracker.contains(0) || tracker.contains(largest));

    must(tracker.extend_block_ids({largest, 0}));

    EXPECT_EQ(tracker.position_of(largest), 0u);
    EXPECT_EQ(tracker.position_of(0), 1u);
}

TEST(ExternalBlockAssignments, ranges_are_adjacent_and_keep_their_place_when_empty) {
    struct Case {
        std::size_t offset, assigned, staged, pending;
        IndexRange a, s, p;
    };
    for (const Case& c :
         {Case{5, 0, 0, 0, {5, 5}, {5, 5}, {5, 5}}, Case{3, 2, 0, 0, {3, 5}, {5, 5}, {5, 5}},
          Case{0, 2, 0, 2, {0, 2}, {2, 2}, {2, 4}}, Case{3, 2, 2, 0, {3, 5}, {5, 7}, {7, 7}},
          Case{1, 2, 3, 4, {1, 3}, {3, 6}, {6, 10}}}) {
        const auto tracker = tracker_with(c.offset, c.assigned, c.staged, c.pending);

        EXPECT_EQ(tracker.assigned_positions(), c.a);
        EXPECT_EQ(tracker.staged_positions(), c.s);
        EXPECT_EQ(tracker.pending_positions(), c.p);
        EXPECT_EQ(tracker.next_position(), c.p.first);
        EXPECT_EQ(tracker.staged_count(), c.staged);
    }
}

TEST(ExternalBlockAssignments, positions_answer_for_their_own_phase_only) {
    const auto tracker = tracker_with(3, 2, 2, 2);  // assigned 3 4, staged 5 6, pending 7 8

    for (std::size_t position = 0; position < 12; ++position) {
        const bool assigned = position == 3 || position == 4;
        const bool pending = position == 7 || position == 8;
        EXPECT_EQ(tracker.get_at_position(position).has_value(), assigned) << position;
        EXPECT_EQ(tracker.get_pending_at_position(position).has_value(), pending) << position;
    }
    EXPECT_EQ(tracker.get_at_position(4)->id, 101u);
    EXPECT_EQ(tracker.get_pending_at_position(8), 105u);
    EXPECT_EQ(tracker.get_at_position(std::numeric_limits<std::size_t>::max()), std::nullopt);
}

TEST(ExternalBlockAssignments, indices_count_within_a_phase) {
    const auto tracker = tracker_with(3, 2, 1, 1);
    const auto hashes = counting_sequence(6);

    EXPECT_EQ(tracker.get_assigned(1), (Assignment{101, hashes.all_sequence_hashes()[4]}));
    EXPECT_EQ(tracker.get_assigned(2), std::nullopt);
    EXPECT_EQ(tracker.get_staged(0), (Assignment{102, hashes.all_sequence_hashes()[5]}));
    EXPECT_EQ(tracker.get_staged(1), std::nullopt);
    EXPECT_EQ(tracker.unassigned()[0], 103u);
}

TEST(ExternalBlockAssignments, staged_entries_can_be_looked_at_and_committed) {
    const auto sequence = counting_sequence(3);
    auto tracker = tracker_with(0, 0, 0, 5);

    EXPECT_EQ(must(tracker.stage_pending(sequence.blocks().first(2))), (IndexRange{0, 2}));
    EXPECT_EQ(must(tracker.stage_pending(sequence.all_sequence_hashes())), (IndexRange{2, 3}));
    EXPECT_EQ(ids_of(tracker.staged()), (Ids{100, 101, 102}));
    EXPECT_EQ(tracker.assigned_count(), 0u);

    EXPECT_EQ(tracker.commit_staged(), (IndexRange{0, 3}));
    EXPECT_EQ(ids_of(tracker.assigned()), (Ids{100, 101, 102}));
    expect_hashes_of(tracker, sequence);
}

TEST(ExternalBlockAssignments, each_range_counts_within_the_phase_it_enters) {
    const auto sequence = counting_sequence(5);
    auto tracker = tracker_with(0, 0, 0, 5);

    EXPECT_EQ(must(tracker.stage_pending(sequence.blocks().first(3))), (IndexRange{0, 3}));
    EXPECT_EQ(tracker.commit_staged(), (IndexRange{0, 3}));
    EXPECT_EQ(must(tracker.stage_pending(sequence.blocks())), (IndexRange{0, 2}));
    EXPECT_EQ(tracker.commit_staged(), (IndexRange{3, 5}));
}

TEST(ExternalBlockAssignments, nothing_to_stage_or_commit_gives_an_empty_range_at_the_end) {
    auto tracker = tracker_with(0, 3, 2, 0);

    EXPECT_EQ(must(tracker.stage_pending(counting_sequence(9).blocks())), (IndexRange{2, 2}));
    EXPECT_EQ(tracker.commit_staged(), (IndexRange{3, 5}));
    EXPECT_EQ(tracker.commit_staged(), (IndexRange{5, 5}));
}

TEST(ExternalBlockAssignments, assigning_also_commits_what_was_staged_before) {
    const auto sequence = counting_sequence(2);
    auto tracker = tracker_with(0, 0, 0, 2);
    must(tracker.stage_pending(sequence.blocks().first(1)));

    EXPECT_EQ(must(tracker.assign_pending(sequence.all_sequence_hashes())), (IndexRange{0, 2}));
    EXPECT_EQ(tracker.staged_count(), 0u);
}

TEST(ExternalBlockAssignments, taking_staged_entries_lets_pending_ones_move_up) {
    auto tracker = tracker_with(1, 1, 2, 2);
    const auto hashes = counting_sequence(4);

    const auto taken = tracker.take_staged();

    EXPECT_EQ(taken, (std::vector<Assignment>{{101, hashes.all_sequence_hashes()[2]},
                                              {102, hashes.all_sequence_hashes()[3]}}));
    EXPECT_EQ(tracker.pending_positions(), (IndexRange{2, 4}));
    EXPECT_EQ(tracker.get_pending_at_position(2), 103u);
    EXPECT_EQ(must(tracker.assign_pending(hashes.blocks())), (IndexRange{1, 3}));
    expect_hashes_of(tracker, hashes);
}

TEST(ExternalBlockAssignments, cache_hits_come_first_and_the_rest_is_queued) {
    const auto sequence = counting_sequence(5);
    const auto hashes = sequence.all_sequence_hashes();
    ExternalBlockAssignments tracker;

    EXPECT_EQ(must(tracker.extend_assigned({{7, hashes[0]}, {8, hashes[1]}, {9, hashes[2]}})), 3u);
    must(tracker.extend_block_ids({10, 11}));
    must(tracker.stage_pending(sequence.blocks()));
    tracker.commit_staged();

    EXPECT_EQ(ids_of(tracker.assigned()), (Ids{7, 8, 9, 10, 11}));
    expect_hashes_of(tracker, sequence);
}

TEST(ExternalBlockAssignments, cache_hits_move_pending_ids_back) {
    const auto hashes = counting_sequence(3);
    auto tracker = tracker_with(0, 1, 0, 2);

    EXPECT_EQ(must(tracker.extend_assigned({{7, hashes.all_sequence_hashes()[1]}})), 1u);

    EXPECT_EQ(kvbm::testing::row_ids(tracker), (Ids{100, 7, 101, 102}));
    EXPECT_EQ(tracker.position_of(102), 3u);
    expect_hashes_of(tracker, hashes);
}

TEST(ExternalBlockAssignments, no_cache_hits_are_no_reason_to_check_anything) {
    auto tracker = tracker_with(0, 0, 2, 0);

    EXPECT_EQ(must(tracker.extend_assigned({})), 0u);
}

TEST(ExternalBlockAssignments, a_moved_from_tracker_is_empty_and_usable) {
    auto tracker = tracker_with(2, 1, 1, 20);

    const auto moved = std::move(tracker);

    EXPECT_EQ(moved, tracker_with(2, 1, 1, 20));
    EXPECT_EQ(tracker, ExternalBlockAssignments(2));
    must(tracker.extend_block_ids({100, 101}));
    EXPECT_EQ(tracker.pending_positions(), (IndexRange{2, 4}));
}

TEST(ExternalBlockAssignments, the_view_of_queued_ids_is_random_access) {
    const auto tracker = tracker_with(0, 1, 1, 3);
    const auto ids = tracker.unassigned();

    EXPECT_EQ(ids.size(), 3u);
    EXPECT_FALSE(ids.empty());
    EXPECT_EQ(ids[2], 104u);
    EXPECT_EQ(*(ids.end() - 1), 104u);
    EXPECT_EQ(std::ranges::find(ids, BlockId{103}) - ids.begin(), 1);
}

}  // namespace
