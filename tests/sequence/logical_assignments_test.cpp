// The guard-level tracker by example: phases, ids, errors that give the guards back, release order.
// T30 to T42 of sequences.md.
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using Tracker = LogicalBlockAssignments<>;
using Error = LogicalBlockAssignmentError<>;
using Ids = std::vector<BlockId>;

BlockManager<> make_manager(std::size_t blocks,
                            BlockDuplicationPolicy policy = BlockDuplicationPolicy::allow,
                            std::size_t block_size = 4) {
    return must(BlockManager<>::builder()
                    .block_count(blocks)
                    .block_size(block_size)
                    .registry(BlockRegistry())
                    .duplication_policy(policy)
                    .with_lru_backend()
                    .build());
}

MutableBlockList<> allocate(BlockManager<>& manager, std::size_t count) {
    return std::move(manager.allocate_blocks(count)).value();
}

Ids allocate_all(BlockManager<>& manager) {
    return manager.allocate_blocks(manager.total_blocks()).value().block_ids();
}

// Queues, stages and registers the first `count` blocks of a sequence.
Tracker registered_tracker(BlockManager<>& manager, const BlockSequence& sequence,
                           std::size_t count) {
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, count)));
    must(tracker.stage(sequence.blocks()));
    EXPECT_EQ(tracker.register_blocks(manager), count);
    return tracker;
}

// Registers blocks and lets them go, so that they can be matched.
void fill_cache(BlockManager<>& manager, const BlockSequence& sequence) {
    static_cast<void>(registered_tracker(manager, sequence, sequence.blocks().size()));
}

template <class Alternative, class E>
const Alternative& reason_of(const E& error) {
    EXPECT_TRUE(std::holds_alternative<Alternative>(error.reason)) << error.message();
    return std::get<Alternative>(error.reason);
}

// Six blocks: two assigned, two staged, two queued.
struct AllPhases {
    BlockManager<> manager = make_manager(6);
    BlockSequence sequence = counting_sequence(6);
    Tracker tracker;

    AllPhases() {
        must(tracker.extend_blocks(allocate(manager, 6)));
        must(tracker.stage(sequence.blocks().first(4)));
        tracker.register_blocks(manager, 2);
    }
};

TEST(LogicalBlockAssignments, a_fresh_tracker_is_empty_and_answers_nothing) {
    const Tracker tracker;

    EXPECT_TRUE(tracker.is_empty());
    EXPECT_EQ(tracker.offset(), 0u);
    EXPECT_EQ(tracker.get_assigned(0), nullptr);
    EXPECT_EQ(tracker.get_staged(0), nullptr);
    EXPECT_EQ(tracker.get_unassigned(0), nullptr);
    EXPECT_EQ(tracker.get_at_position(0), nullptr);
    EXPECT_FALSE(tracker.contains(0));
    EXPECT_EQ(tracker.position_of(0), std::nullopt);
    EXPECT_EQ(tracker.all_block_ids(), Ids{});
}

TEST(LogicalBlockAssignments, an_index_outside_its_phase_gives_null_whatever_others_hold) {
    const AllPhases all;

    EXPECT_EQ(all.tracker.get_assigned(2), nullptr);
    EXPECT_EQ(all.tracker.get_staged(2), nullptr);
    EXPECT_EQ(all.tracker.get_unassigned(2), nullptr);
    EXPECT_EQ(all.tracker.get_at_position(2), nullptr);
    EXPECT_NE(all.tracker.get_assigned(1), nullptr);
    EXPECT_NE(all.tracker.get_staged(1), nullptr);
    EXPECT_NE(all.tracker.get_unassigned(1), nullptr);
    EXPECT_NE(all.tracker.get_at_position(1), nullptr);
}

TEST(LogicalBlockAssignments, five_blocks_go_through_all_phases_in_order) {
    auto manager = make_manager(8);
    const auto sequence = counting_sequence(5);
    Tracker tracker;

    EXPECT_EQ(must(tracker.extend_blocks(allocate(manager, 5))), 5u);
    EXPECT_EQ(tracker.unassigned_count(), 5u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks())), 5u);
    EXPECT_EQ(tracker.staged_count(), 5u);
    EXPECT_TRUE(manager.match_blocks(sequence.all_sequence_hashes()).empty());
    EXPECT_EQ(tracker.register_blocks(manager), 5u);

    ASSERT_EQ(tracker.assigned_count(), 5u);
    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3, 4}));
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(tracker.get_assigned(i)->sequence_hash(), sequence.all_sequence_hashes()[i]);
        EXPECT_EQ(tracker.position_of(i), i);
    }
    EXPECT_EQ(manager.match_blocks(sequence.all_sequence_hashes()).block_ids(),
              tracker.all_block_ids());
}

TEST(LogicalBlockAssignments, three_and_three_end_as_six_at_once) {
    auto manager = make_manager(8);
    const auto sequence = counting_sequence(6);
    auto tracker = registered_tracker(manager, sequence, 3);

    EXPECT_EQ(must(tracker.extend_blocks(allocate(manager, 3))), 3u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks().subspan(3))), 3u);
    EXPECT_EQ(tracker.get_staged(0)->sequence_hash(), sequence.all_sequence_hashes()[3]);
    EXPECT_EQ(tracker.register_blocks(manager), 3u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(tracker.assigned_positions(), (IndexRange{0, 6}));
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, stage_stops_at_the_shorter_of_guards_and_blocks) {
    auto manager = make_manager(8);
    const auto sequence = counting_sequence(5);
    Tracker tracker;
    EXPECT_EQ(must(tracker.stage(sequence.blocks())), 0u);
    must(tracker.extend_blocks(allocate(manager, 3)));

    EXPECT_EQ(must(tracker.stage({})), 0u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks().first(2))), 2u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks().first(2))), 0u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks())), 1u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks())), 0u);

    EXPECT_EQ(tracker.staged_positions(), (IndexRange{0, 3}));
}

TEST(LogicalBlockAssignments, any_run_around_the_next_position_stages_the_same) {
    for (const std::size_t first : {0U, 1U, 2U}) {
        AllPhases all;
        const auto ids = all.tracker.all_block_ids();

        ASSERT_EQ(must(all.tracker.stage(all.sequence.blocks().subspan(first))), 2u);

        EXPECT_EQ(all.tracker.staged_positions(), (IndexRange{2, 6}));
        EXPECT_EQ(all.tracker.all_block_ids(), ids);
        EXPECT_EQ(all.tracker.get_staged(3)->sequence_hash(),
                  all.sequence.all_sequence_hashes()[5]);
    }
}

TEST(LogicalBlockAssignments, a_run_behind_the_next_position_is_refused_and_guards_stay) {
    AllPhases all;

    const auto staged = all.tracker.stage(all.sequence.blocks().subspan(5));

    ASSERT_FALSE(staged.has_value());
    const auto& mismatch = reason_of<Error::PositionMismatch>(staged.error());
    EXPECT_EQ(mismatch.expected, 4u);
    EXPECT_EQ(mismatch.actual, 5u);
    EXPECT_EQ(mismatch.block_id, 4u);
    EXPECT_TRUE(mismatch.blocks.empty());
    EXPECT_EQ(staged.error().message(), "position mismatch for block_id 4: expected 4, actual 5");
    EXPECT_EQ(all.tracker.unassigned_count(), 2u);
}

TEST(LogicalBlockAssignments, a_gap_inside_the_blocks_names_the_guard_of_the_pair) {
    auto manager = make_manager(3);
    const auto sequence = counting_sequence(4);
    const std::array blocks{sequence.blocks()[0], sequence.blocks()[2]};
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 3)));

    const auto staged = tracker.stage(blocks);

    ASSERT_FALSE(staged.has_value());
    EXPECT_EQ(staged.error().message(), "position mismatch for block_id 1: expected 1, actual 2");
    EXPECT_EQ(tracker.unassigned_count(), 3u);
    EXPECT_EQ(tracker.staged_count(), 0u);
}

TEST(LogicalBlockAssignments, token_blocks_of_another_size_leave_all_guards_queued) {
    auto manager = make_manager(3);
    const auto wide = counting_sequence(3, 0, 8);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 3)));

    const auto staged = tracker.stage(wide.blocks());

    ASSERT_FALSE(staged.has_value());
    const auto& mismatch = reason_of<Error::BlockSizeMismatch>(staged.error());
    EXPECT_EQ(mismatch.expected, 4u);
    EXPECT_EQ(mismatch.actual, 8u);
    EXPECT_EQ(mismatch.block_id, 0u);
    EXPECT_EQ(staged.error().message(), "Block size mismatch: expected 4 tokens, got 8");
    EXPECT_EQ(tracker.unassigned_count(), 3u);
}

TEST(LogicalBlockAssignments, a_wrong_size_behind_good_blocks_leaves_all_guards_queued) {
    auto manager = make_manager(5);
    const auto sequence = counting_sequence(4);
    const std::array mixed{sequence.blocks()[2], sequence.blocks()[3],
                           counting_sequence(5, 0, 8).blocks()[4]};
    auto tracker = registered_tracker(manager, sequence, 2);
    must(tracker.extend_blocks(allocate(manager, 3)));

    const auto staged = tracker.stage(mixed);

    ASSERT_FALSE(staged.has_value());
    EXPECT_EQ(reason_of<Error::BlockSizeMismatch>(staged.error()).block_id, 4u);
    EXPECT_EQ(tracker.staged_count(), 0u);
    EXPECT_EQ(tracker.unassigned_count(), 3u);
}

TEST(LogicalBlockAssignments, matched_blocks_come_first_and_the_rest_follows) {
    auto manager = make_manager(8);
    const auto sequence = counting_sequence(4);
    fill_cache(manager, counting_sequence(2));
    Tracker tracker;

    auto hits = manager.match_blocks(sequence.all_sequence_hashes());
    EXPECT_EQ(must(tracker.extend_assigned(std::move(hits))), 2u);
    EXPECT_EQ(must(tracker.extend_assigned({})), 0u);
    must(tracker.extend_blocks(allocate(manager, 2)));
    EXPECT_EQ(must(tracker.stage_and_register(sequence.blocks(), manager)), 2u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(manager.match_blocks(sequence.all_sequence_hashes()).size(), 4u);
}

TEST(LogicalBlockAssignments, assigned_blocks_go_before_queued_ones) {
    auto manager = make_manager(6);
    const auto sequence = counting_sequence(4);
    fill_cache(manager, counting_sequence(2));
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 2)));
    EXPECT_EQ(tracker.position_of(2), 0u);

    EXPECT_EQ(must(tracker.extend_assigned(manager.match_blocks(sequence.all_sequence_hashes()))),
              2u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(tracker.position_of(2), 2u);
    EXPECT_EQ(tracker.pending_positions(), (IndexRange{2, 4}));
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, a_copy_of_an_assigned_guard_is_a_duplicate_and_comes_back) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(3);
    auto tracker = registered_tracker(manager, sequence, 2);
    auto blocks = manager.match_blocks(sequence.all_sequence_hashes());

    auto extended = tracker.extend_assigned(std::move(blocks));

    ASSERT_FALSE(extended.has_value());
    const auto& duplicate = reason_of<Error::DuplicateAssignedBlockId>(extended.error());
    EXPECT_EQ(duplicate.block_id, 0u);
    EXPECT_EQ(duplicate.blocks.block_ids(), (Ids{0, 1}));
    EXPECT_EQ(extended.error().message(), "duplicate block_id 0 already present");
    EXPECT_EQ(tracker.assigned_count(), 2u);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, two_copies_in_one_list_are_a_duplicate) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(1);
    fill_cache(manager, sequence);
    auto blocks = manager.match_blocks(sequence.all_sequence_hashes());
    blocks.append(blocks.clone());
    Tracker tracker;

    auto extended = tracker.extend_assigned(std::move(blocks));

    ASSERT_FALSE(extended.has_value());
    EXPECT_EQ(reason_of<Error::DuplicateAssignedBlockId>(extended.error()).blocks.size(), 2u);
    EXPECT_TRUE(tracker.is_empty());
    EXPECT_FALSE(tracker.contains(0));
}

TEST(LogicalBlockAssignments, assigned_blocks_are_refused_while_something_is_staged) {
    auto manager = make_manager(6);
    const auto sequence = counting_sequence(4);
    fill_cache(manager, counting_sequence(1, 0, 4, 42));
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 1)));
    must(tracker.stage(sequence.blocks()));

    auto extended = tracker.extend_assigned(
        manager.match_blocks(counting_sequence(1, 0, 4, 42).all_sequence_hashes()));

    ASSERT_FALSE(extended.has_value());
    EXPECT_EQ(reason_of<Error::StagedPresent>(extended.error()).blocks.size(), 1u);
    EXPECT_EQ(extended.error().message(), "cannot extend assigned: 1 block(s) staged");
    EXPECT_EQ(tracker.staged_count(), 1u);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, a_block_of_another_position_comes_back) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(2);
    fill_cache(manager, sequence);
    auto blocks = manager.match_blocks(sequence.all_sequence_hashes());
    Tracker tracker;

    auto extended = tracker.extend_assigned(blocks.split_off(1));

    ASSERT_FALSE(extended.has_value());
    const auto& mismatch = reason_of<Error::PositionMismatch>(extended.error());
    EXPECT_EQ(mismatch.expected, 0u);
    EXPECT_EQ(mismatch.actual, 1u);
    EXPECT_EQ(mismatch.blocks.size(), 1u);
    EXPECT_TRUE(tracker.is_empty());
}

TEST(LogicalBlockAssignments, every_phase_is_known_and_can_be_taken) {
    AllPhases all;
    auto& tracker = all.tracker;
    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3, 4, 5}));
    for (BlockId id = 0; id < 6; ++id) {
        EXPECT_EQ(tracker.position_of(id), id);
    }

    EXPECT_EQ(tracker.pop_last_unassigned()->block_id(), 5u);
    EXPECT_FALSE(tracker.contains(5));
    EXPECT_EQ(tracker.take_staged().block_ids(), (Ids{2, 3}));
    EXPECT_EQ(tracker.position_of(4), 2u);
    EXPECT_EQ(tracker.take_unassigned().block_ids(), (Ids{4}));
    EXPECT_FALSE(tracker.pop_last_unassigned().has_value());
    EXPECT_EQ(tracker.take_assigned().block_ids(), (Ids{0, 1}));

    EXPECT_TRUE(tracker.is_empty());
    EXPECT_EQ(tracker.offset(), 2u);
    EXPECT_EQ(all.manager.available_blocks(), 6u);
}

TEST(LogicalBlockAssignments, clear_gives_back_root_first_or_leaf_first) {
    AllPhases root_first;
    root_first.tracker.clear();
    EXPECT_EQ(allocate_all(root_first.manager), (Ids{2, 3, 4, 5, 0, 1}));

    AllPhases leaf_first;
    leaf_first.tracker.clear(ReleaseOrder::leaf_first);
    EXPECT_EQ(allocate_all(leaf_first.manager), (Ids{5, 4, 3, 2, 1, 0}));
}

TEST(LogicalBlockAssignments, clear_takes_one_lock_per_phase_and_is_idempotent) {
    AllPhases all;
    const auto before = detail::blocks::lock_count(all.manager);

    all.tracker.clear();
    all.tracker.clear();

    EXPECT_EQ(detail::blocks::lock_count(all.manager) - before, 3u);
    EXPECT_TRUE(all.tracker.is_empty());
}

TEST(LogicalBlockAssignments, dropping_the_newest_queued_blocks_takes_one_lock) {
    auto manager = make_manager(4);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 3)));
    const auto before = detail::blocks::lock_count(manager);

    EXPECT_EQ(tracker.drop_last_unassigned(2), 2u);

    EXPECT_EQ(detail::blocks::lock_count(manager) - before, 1u);
    EXPECT_EQ(tracker.all_block_ids(), (Ids{0}));
    EXPECT_EQ(tracker.drop_last_unassigned(9), 1u);
    EXPECT_EQ(tracker.drop_last_unassigned(1), 0u);
    EXPECT_EQ(allocate_all(manager), (Ids{3, 2, 1, 0}));
}

TEST(LogicalBlockAssignments, staging_and_registering_take_one_lock_together) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(3);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 4)));
    const auto before = detail::blocks::lock_count(manager);

    EXPECT_EQ(must(tracker.stage_and_register(sequence.blocks(), manager)), 3u);

    EXPECT_EQ(detail::blocks::lock_count(manager) - before, 1u);
    EXPECT_EQ(tracker.assigned_count(), 3u);
    EXPECT_EQ(tracker.unassigned_count(), 1u);
    EXPECT_EQ(manager.metrics()->snapshot().stagings, 3u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, registering_is_done_in_position_order_and_in_parts) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(4);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 4)));
    must(tracker.stage(sequence.blocks().first(3)));

    EXPECT_EQ(tracker.register_blocks(manager, 0), 0u);
    EXPECT_EQ(tracker.register_blocks(manager, 1), 1u);
    EXPECT_EQ(manager.match_blocks(sequence.all_sequence_hashes()).size(), 1u);
    EXPECT_EQ(must(tracker.stage_and_register(sequence.blocks(), manager)), 3u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(tracker.assigned_count(), 4u);
}

TEST(LogicalBlockAssignments, under_reject_the_entry_takes_the_id_of_the_block_it_holds) {
    auto manager = make_manager(6, BlockDuplicationPolicy::reject);
    const auto sequence = counting_sequence(2);
    const auto first = registered_tracker(manager, sequence, 2);
    auto second = registered_tracker(manager, sequence, 2);

    EXPECT_EQ(second.all_block_ids(), first.all_block_ids());
    EXPECT_FALSE(second.contains(2));
    EXPECT_EQ(second.position_of(1), 1u);
    EXPECT_EQ(second.check_invariants().to_string(), "");
    EXPECT_EQ(must(second.extend_blocks(allocate(manager, 4))), 4u);
    EXPECT_EQ(second.all_block_ids(), (Ids{0, 1, 4, 5, 2, 3}));
}

TEST(LogicalBlockAssignments, what_stays_after_take_assigned_keeps_its_positions) {
    AllPhases all;
    auto& tracker = all.tracker;

    const auto taken = tracker.take_assigned();

    EXPECT_EQ(tracker.offset(), 2u);
    EXPECT_EQ(tracker.staged_positions(), (IndexRange{2, 4}));
    EXPECT_EQ(must(tracker.stage(all.sequence.blocks())), 2u);
    EXPECT_EQ(tracker.register_blocks(all.manager), 4u);
    EXPECT_EQ(tracker.get_at_position(5)->block_id(), 5u);
    EXPECT_EQ(tracker.get_at_position(1), nullptr);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
    tracker.clear();
    EXPECT_EQ(tracker.offset(), 0u);
    EXPECT_EQ(taken.block_ids(), (Ids{0, 1}));
}

TEST(LogicalBlockAssignments, an_offset_is_where_positions_begin_and_clear_returns_to) {
    auto manager = make_manager(4);
    const auto sequence = counting_sequence(5);
    Tracker tracker(3);
    must(tracker.extend_blocks(allocate(manager, 3)));
    EXPECT_EQ(tracker.pending_positions(), (IndexRange{3, 6}));

    EXPECT_EQ(must(tracker.stage_and_register(sequence.blocks(), manager)), 2u);

    EXPECT_EQ(tracker.get_at_position(4)->sequence_hash(), sequence.all_sequence_hashes()[4]);
    static_cast<void>(tracker.take_assigned());
    EXPECT_EQ(tracker.offset(), 5u);
    tracker.clear();
    EXPECT_EQ(tracker.offset(), 3u);
}

TEST(LogicalBlockAssignments, a_moved_from_tracker_is_empty_and_the_guards_go_along) {
    AllPhases all;

    Tracker moved = std::move(all.tracker);

    EXPECT_EQ(moved.all_block_ids(), (Ids{0, 1, 2, 3, 4, 5}));
    EXPECT_TRUE(all.tracker.is_empty());
    EXPECT_FALSE(all.tracker.contains(0));
    moved = Tracker();
    EXPECT_EQ(all.manager.available_blocks(), 6u);
}

TEST(LogicalBlockAssignments, free_positions_pair_blocks_with_guards_as_they_come) {
    auto manager = make_manager(6);
    const auto sequence = counting_sequence(4);
    Tracker tracker(0, Positions::free);
    must(tracker.extend_blocks(allocate(manager, 4)));

    EXPECT_EQ(must(tracker.stage(sequence.blocks().subspan(1, 2))), 2u);
    EXPECT_EQ(must(tracker.stage(sequence.blocks().subspan(1, 2))), 2u);

    EXPECT_EQ(tracker.get_staged(0)->sequence_hash(), tracker.get_staged(2)->sequence_hash());
    EXPECT_EQ(tracker.register_blocks(manager), 4u);
    EXPECT_EQ(manager.metrics()->snapshot().duplicate_blocks, 2u);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, free_positions_take_assigned_blocks_in_any_order_while_staged) {
    auto manager = make_manager(6);
    const auto sequence = counting_sequence(3);
    fill_cache(manager, sequence);
    auto hits = manager.match_blocks(sequence.all_sequence_hashes());
    auto root = hits.take_front(1);
    Tracker tracker(0, Positions::free);
    must(tracker.extend_blocks(allocate(manager, 2)));
    must(tracker.stage(sequence.blocks().first(1)));

    EXPECT_EQ(must(tracker.extend_assigned(std::move(hits))), 2u);
    EXPECT_EQ(must(tracker.extend_assigned(std::move(root))), 1u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{1, 2, 0, 3, 4}));
    EXPECT_EQ(tracker.position_of(3), 3u);
    EXPECT_EQ(tracker.position_of(4), 4u);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
}

TEST(LogicalBlockAssignments, free_positions_under_reject_may_hold_one_block_twice) {
    auto manager = make_manager(4, BlockDuplicationPolicy::reject);
    const auto sequence = counting_sequence(1);
    Tracker tracker(0, Positions::free);
    must(tracker.extend_blocks(allocate(manager, 2)));
    must(tracker.stage(sequence.blocks()));
    must(tracker.stage(sequence.blocks()));

    EXPECT_EQ(tracker.register_blocks(manager), 2u);

    EXPECT_EQ(tracker.all_block_ids(), (Ids{0, 0}));
    EXPECT_EQ(tracker.position_of(0), 0u);
    EXPECT_FALSE(tracker.contains(1));
    EXPECT_EQ(tracker.get_assigned(0)->use_count(), 2u);
    tracker.clear();
    EXPECT_FALSE(tracker.contains(0));
    EXPECT_EQ(manager.available_blocks(), 4u);
}

TEST(LogicalBlockAssignments, a_queued_block_offered_again_is_a_duplicate_and_comes_back) {
    using detail::blocks::GuardAccess;
    auto manager = make_manager(3);
    auto blocks = allocate(manager, 3);
    auto forged = GuardAccess::make_list<MutableBlockList<>>({});
    GuardAccess::raw_list(forged).push_back(GuardAccess::raw(blocks[0]));
    Tracker tracker;
    must(tracker.extend_blocks(std::move(blocks)));

    auto extended = tracker.extend_blocks(std::move(forged));

    ASSERT_FALSE(extended.has_value());
    auto& duplicate = std::get<Error::DuplicateBlockId>(extended.error().reason);
    EXPECT_EQ(duplicate.block_id, 0u);
    EXPECT_EQ(duplicate.blocks.block_ids(), (Ids{0}));
    EXPECT_EQ(extended.error().message(), "duplicate block_id 0 already present");
    EXPECT_EQ(tracker.unassigned_count(), 3u);
    EXPECT_EQ(tracker.check_invariants().to_string(), "");
    GuardAccess::raw_list(duplicate.blocks).forget();
}

TEST(LogicalBlockAssignments, the_ids_can_be_put_into_a_list_of_the_caller) {
    AllPhases all;
    Ids ids{77};

    all.tracker.all_block_ids(ids);

    EXPECT_EQ(ids, (Ids{0, 1, 2, 3, 4, 5}));
}

TEST(LogicalBlockAssignmentsDeathTest, an_offset_beyond_the_last_position_breaks_a_contract) {
    EXPECT_DEATH(Tracker((std::size_t{1} << 24) + 1), "the offset of a tracker is at most 2\\^24");
}

TEST(LogicalBlockAssignmentsDeathTest, guards_of_another_manager_break_a_contract) {
    auto manager = make_manager(2);
    auto other = make_manager(2);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 1)));

    EXPECT_DEATH(must(tracker.extend_blocks(allocate(other, 1))), "blocks of one manager");
}

TEST(LogicalBlockAssignmentsDeathTest, cached_blocks_of_another_manager_break_a_contract) {
    auto manager = make_manager(2);
    auto other = make_manager(2);
    const auto sequence = counting_sequence(1);
    fill_cache(other, sequence);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 1)));

    EXPECT_DEATH(must(tracker.extend_assigned(other.match_blocks(sequence.all_sequence_hashes()))),
                 "blocks of one manager");
}

TEST(LogicalBlockAssignmentsDeathTest, staging_for_another_manager_breaks_a_contract) {
    auto manager = make_manager(2);
    auto other = make_manager(2);
    const auto sequence = counting_sequence(1);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 1)));

    EXPECT_DEATH(must(tracker.stage_and_register(sequence.blocks(), other)),
                 "blocks of one manager");
}

TEST(LogicalBlockAssignmentsDeathTest, registering_with_another_manager_breaks_a_contract) {
    auto manager = make_manager(2);
    auto other = make_manager(2);
    const auto sequence = counting_sequence(1);
    Tracker tracker;
    must(tracker.extend_blocks(allocate(manager, 1)));
    must(tracker.stage(sequence.blocks()));

    EXPECT_DEATH(tracker.register_blocks(other), "blocks of one manager");
}

}  // namespace
