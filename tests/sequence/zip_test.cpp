// Zips list, in ascending order, the positions that two trackers have in common.
#include <algorithm>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using Zipped = std::vector<ZippedBlocks>;

ExternalBlockAssignments queued(std::size_t offset, std::vector<BlockId> ids) {
    ExternalBlockAssignments tracker(offset);
    must(tracker.extend_block_ids(ids));
    return tracker;
}

ExternalBlockAssignments assigned(std::size_t offset, std::vector<BlockId> ids) {
    auto tracker = queued(offset, ids);
    must(tracker.assign_pending(counting_sequence(10).blocks()));
    return tracker;
}

TEST(ZipAssigned, full_overlap_lists_every_position) {
    EXPECT_EQ(zip_assigned(assigned(0, {1, 2, 3}), assigned(0, {7, 8, 9})),
              (Zipped{{0, 1, 7}, {1, 2, 8}, {2, 3, 9}}));
}

TEST(ZipAssigned, partial_overlap_lists_the_common_positions) {
    EXPECT_EQ(zip_assigned(assigned(0, {1, 2, 3, 4}), assigned(2, {7, 8, 9})),
              (Zipped{{2, 3, 7}, {3, 4, 8}}));
    EXPECT_EQ(zip_assigned(assigned(2, {7, 8, 9}), assigned(0, {1, 2, 3, 4})),
              (Zipped{{2, 7, 3}, {3, 8, 4}}));
}

TEST(ZipAssigned, ranges_that_do_not_meet_give_nothing) {
    EXPECT_EQ(zip_assigned(assigned(0, {1, 2}), assigned(2, {7, 8})), Zipped{});
    EXPECT_EQ(zip_assigned(assigned(5, {1, 2}), assigned(0, {7, 8})), Zipped{});
}

TEST(ZipAssigned, an_empty_tracker_gives_nothing) {
    const ExternalBlockAssignments empty;

    EXPECT_EQ(zip_assigned(assigned(0, {1, 2}), empty), Zipped{});
    EXPECT_EQ(zip_assigned(empty, assigned(0, {1, 2})), Zipped{});
    EXPECT_EQ(zip_assigned(empty, empty), Zipped{});
}

TEST(ZipAssigned, staged_and_pending_entries_are_not_assigned) {
    auto tracker = assigned(0, {1});
    must(tracker.extend_block_ids({2, 3}));
    must(tracker.stage_pending(counting_sequence(2).blocks()));

    EXPECT_EQ(zip_assigned(tracker, assigned(0, {7, 8, 9})), (Zipped{{0, 1, 7}}));
}

TEST(ZipAssigned, the_callers_list_is_replaced) {
    Zipped list{{9, 9, 9}};

    zip_assigned(assigned(0, {1}), assigned(0, {2}), list);
    EXPECT_EQ(list, (Zipped{{0, 1, 2}}));

    zip_assigned_pending(assigned(0, {1}), queued(0, {3}), list);
    EXPECT_EQ(list, (Zipped{{0, 1, 3}}));
}

TEST(ZipAssignedPending, full_overlap_lists_every_position) {
    EXPECT_EQ(zip_assigned_pending(assigned(0, {1, 2}), queued(0, {7, 8})),
              (Zipped{{0, 1, 7}, {1, 2, 8}}));
}

TEST(ZipAssignedPending, partial_overlap_lists_the_common_positions) {
    EXPECT_EQ(zip_assigned_pending(assigned(0, {1, 2, 3}), queued(2, {7, 8})), (Zipped{{2, 3, 7}}));
}

TEST(ZipAssignedPending, pending_begins_behind_assigned_and_staged) {
    auto destination = assigned(0, {7});
    must(destination.extend_block_ids({8, 9, 10}));
    must(destination.stage_pending(counting_sequence(2).blocks()));

    EXPECT_EQ(zip_assigned_pending(assigned(0, {1, 2, 3, 4}), destination),
              (Zipped{{2, 3, 9}, {3, 4, 10}}));
}

TEST(ZipAssignedPending, nothing_in_common_gives_nothing) {
    EXPECT_EQ(zip_assigned_pending(assigned(0, {1, 2}), queued(2, {7, 8})), Zipped{});
    EXPECT_EQ(zip_assigned_pending(assigned(0, {1, 2}), assigned(0, {7, 8})), Zipped{});
    EXPECT_EQ(zip_assigned_pending(ExternalBlockAssignments{}, queued(0, {7})), Zipped{});
    EXPECT_EQ(zip_assigned_pending(assigned(0, {1}), ExternalBlockAssignments{}), Zipped{});
}

TEST(ZipAssignedPending, the_plan_of_an_onboarding_is_what_is_zipped_afterwards) {
    const auto sequence = counting_sequence(5);
    const auto far = assigned(2, {50, 51, 52});
    auto near = queued(0, {10, 11});
    must(near.assign_pending(counting_sequence(2).blocks()));
    must(near.extend_block_ids({12, 13, 14}));

    const auto plan = zip_assigned_pending(far, near);
    must(near.assign_pending(sequence.blocks()));

    EXPECT_EQ(plan, (Zipped{{2, 50, 12}, {3, 51, 13}, {4, 52, 14}}));
    EXPECT_EQ(zip_assigned(far, near), plan);
    EXPECT_TRUE(std::ranges::equal(far.assigned(), near.assigned().subspan(2), {},
                                   &Assignment::hash, &Assignment::hash));
}

}  // namespace
