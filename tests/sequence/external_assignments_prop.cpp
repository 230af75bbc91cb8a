// The laws of a tracker, on any tracker that a random script reaches. Numbers as in
// sequences.md 11.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
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
using namespace kvbm::testing;
using Error = BlockSequenceError;
using Ids = std::vector<BlockId>;

const BlockSequence sequence = counting_sequence(60, 0, 1);

// A tracker that a random script reached.
ExternalBlockAssignments arbitrary_tracker() {
    AssignmentOptions options{.offsets = {*gen::below(6), *gen::below(6)}, .block_counts = {60, 5}};
    options.block_size = 1;
    AssignmentHarness harness(options);
    AssignmentModels models(options);
    const auto bytes = *gen::bytes_up_to(200);
    ByteReader reader(bytes);
    while (!reader.empty()) {
        const auto command = decode_assignment_command(reader);
        RC_ASSERT(harness.run(command, models) == std::nullopt);
        models.apply(harness.workload(), command);
    }
    return harness.trackers()[0];
}

ExternalBlockAssignments arbitrary_tracker_without_pending() {
    auto tracker = arbitrary_tracker();
    const auto staged = tracker.take_staged();
    ExternalBlockAssignments result(tracker.offset());
    must(result.extend_assigned(tracker.assigned()));
    must(result.extend_block_ids(ids_of(staged)));
    std::vector<SequenceHash> hashes(result.next_position());
    std::ranges::transform(staged, std::back_inserter(hashes), &Assignment::hash);
    must(result.stage_pending(hashes));
    return result;
}

// Distinct ids that a tracker does not know.
Ids arbitrary_new_ids(const ExternalBlockAssignments& tracker) {
    auto ids = *rc::gen::container<Ids>(
        rc::gen::map(rc::gen::inRange<std::size_t>(0, 400),
                     [](std::size_t drawn) { return drawn < 48 ? assignment_id(drawn) : drawn; }));
    std::ranges::sort(ids);
    const auto repeated = std::ranges::unique(ids);
    ids.erase(repeated.begin(), repeated.end());
    std::erase_if(ids, [&](BlockId id) { return tracker.contains(id); });
    if (*rc::gen::arbitrary<bool>()) {
        std::ranges::reverse(ids);
    }
    return ids;
}

std::span<const TokenBlock> arbitrary_prefix() {
    return sequence.blocks().first(*gen::below(61));
}

Ids joined(Ids first, const Ids& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

ExternalBlockAssignments extended(ExternalBlockAssignments tracker, const Ids& ids) {
    must(tracker.extend_block_ids(ids));
    return tracker;
}

RC_GTEST_PROP(ExternalBlockAssignments, assign_equals_stage_then_commit_P1, ()) {
    const auto tracker = arbitrary_tracker();
    const auto blocks = sequence.blocks().subspan(*rc::gen::element<std::size_t>(0, 0, 0, 1));
    auto assigned = tracker;
    auto staged = tracker;

    const auto range = assigned.assign_pending(blocks);
    const auto staged_range = staged.stage_pending(blocks);
    if (staged_range) {
        const auto committed = staged.commit_staged();
        RC_ASSERT(range.value() == committed);
        RC_ASSERT(committed.size() == tracker.staged_count() + staged_range->size());
    } else {
        RC_ASSERT(range.error() == staged_range.error());
    }

    RC_ASSERT(assigned == staged);
}

RC_GTEST_PROP(ExternalBlockAssignments, lists_may_be_given_in_parts_or_repeated_whole_P2_I8, ()) {
    const auto tracker = arbitrary_tracker();
    const auto all = arbitrary_new_ids(tracker);
    const auto cut = all.begin() + static_cast<std::ptrdiff_t>(*gen::below(all.size() + 1));
    const Ids xs(all.begin(), cut);
    const Ids ys(cut, all.end());

    const auto in_parts = extended(extended(tracker, xs), ys);

    RC_ASSERT(in_parts == extended(tracker, all));
    RC_ASSERT(in_parts == extended(extended(tracker, xs), all));
    RC_ASSERT(row_ids(in_parts) == joined(row_ids(tracker), all));
}

RC_GTEST_PROP(ExternalBlockAssignments, a_successful_call_repeated_is_the_identity_P3, ()) {
    auto tracker = arbitrary_tracker();
    const auto known = row_ids(tracker);
    const auto list = known.empty() ? Ids{} : *rc::gen::container<Ids>(rc::gen::elementOf(known));
    RC_ASSERT(extended(tracker, list) == tracker);

    const auto more = arbitrary_new_ids(tracker);
    const auto blocks = arbitrary_prefix();
    must(tracker.extend_block_ids(more));
    RC_ASSERT(extended(tracker, more) == tracker);
    if (tracker.stage_pending(blocks)) {
        const auto once = tracker;
        RC_ASSERT(must(tracker.stage_pending(blocks)).empty());
        RC_ASSERT(tracker == once);
        must(tracker.assign_pending(blocks));
        const auto assigned = tracker;
        RC_ASSERT(must(tracker.assign_pending(blocks)).empty());
        RC_ASSERT(tracker == assigned);
    }
}

RC_GTEST_PROP(ExternalBlockAssignments, staging_a_prefix_first_makes_no_difference_P4, ()) {
    const auto tracker = arbitrary_tracker();
    const auto blocks = arbitrary_prefix();
    auto in_two_steps = tracker;
    auto at_once = tracker;

    must(in_two_steps.stage_pending(blocks.first(*gen::below(blocks.size() + 1))));
    must(in_two_steps.stage_pending(blocks));
    must(at_once.stage_pending(blocks));

    RC_ASSERT(in_two_steps == at_once);
}

RC_GTEST_PROP(ExternalBlockAssignments, one_block_at_a_time_equals_all_at_once_P5, ()) {
    const auto tracker = arbitrary_tracker();
    const auto blocks = arbitrary_prefix();
    auto singly = tracker;
    auto at_once = tracker;

    for (std::size_t count = 0; count <= blocks.size(); ++count) {
        must(singly.stage_pending(blocks.first(count)));
        singly.commit_staged();
    }
    must(at_once.assign_pending(blocks));

    RC_ASSERT(singly == at_once);
}

RC_GTEST_PROP(ExternalBlockAssignments, committing_twice_equals_once_P6, ()) {
    auto tracker = arbitrary_tracker();
    tracker.commit_staged();
    const auto once = tracker;

    const auto range = tracker.commit_staged();

    RC_ASSERT(range == (IndexRange{once.assigned_count(), once.assigned_count()}));
    RC_ASSERT(tracker == once);
}

RC_GTEST_PROP(ExternalBlockAssignments, all_three_ranges_shift_with_the_offset_P7, ()) {
    const std::size_t assigned = *gen::below(8);
    const std::size_t staged = *gen::below(8);
    const std::size_t pending = *gen::below(8);
    const std::size_t delta = *gen::below(30);
    const auto make = [&](std::size_t offset) {
        Ids ids(assigned + staged + pending);
        std::iota(ids.begin(), ids.end(), BlockId{0});
        auto tracker = extended(ExternalBlockAssignments(offset), ids);
        must(tracker.assign_pending(sequence.blocks().first(offset + assigned)));
        must(tracker.stage_pending(sequence.blocks().first(offset + assigned + staged)));
        return tracker;
    };
    const auto moved = [&](IndexRange range) {
        return IndexRange{range.first + delta, range.last + delta};
    };
    const auto at_zero = make(0);
    const auto at_delta = make(delta);

    RC_ASSERT(at_zero.assigned_positions() == (IndexRange{0, assigned}));
    RC_ASSERT(at_zero.staged_positions() == (IndexRange{assigned, assigned + staged}));
    RC_ASSERT(at_delta.assigned_positions() == moved(at_zero.assigned_positions()));
    RC_ASSERT(at_delta.staged_positions() == moved(at_zero.staged_positions()));
    RC_ASSERT(at_delta.pending_positions() == moved(at_zero.pending_positions()));
}

RC_GTEST_PROP(ExternalBlockAssignments, taking_and_putting_back_as_assigned_equals_commit_P9, ()) {
    const auto tracker = arbitrary_tracker();
    auto committed = tracker;
    auto put_back = tracker;

    committed.commit_staged();
    const auto taken = put_back.take_staged();
    RC_ASSERT(must(put_back.extend_assigned(taken)) == taken.size());

    RC_ASSERT(put_back == committed);
}

RC_GTEST_PROP(ExternalBlockAssignments, taking_queueing_and_staging_is_the_identity_P10, ()) {
    const auto tracker = arbitrary_tracker_without_pending();
    auto again = tracker;

    const auto taken = again.take_staged();
    must(again.extend_block_ids(ids_of(taken)));
    std::vector<SequenceHash> hashes(again.next_position());
    std::ranges::transform(taken, std::back_inserter(hashes), &Assignment::hash);
    must(again.stage_pending(hashes));

    RC_ASSERT(again == tracker);
}

RC_GTEST_PROP(ExternalBlockAssignments, cache_hits_equal_queued_ids_that_are_assigned_P11, ()) {
    auto tracker = arbitrary_tracker_without_pending();
    tracker.commit_staged();
    const auto drawn = arbitrary_new_ids(tracker);
    const std::size_t first = tracker.next_position();
    const std::size_t room = 60 - std::min<std::size_t>(60, first);
    const Ids ids(drawn.begin(),
                  drawn.begin() + static_cast<std::ptrdiff_t>(std::min(drawn.size(), room)));
    auto queued = extended(tracker, ids);
    auto hits = tracker;

    std::vector<Assignment> pairs;
    for (std::size_t k = 0; k < ids.size(); ++k) {
        pairs.push_back({.id = ids[k], .hash = sequence.all_sequence_hashes()[first + k]});
    }
    must(queued.assign_pending(sequence.blocks()));
    must(hits.extend_assigned(pairs));

    RC_ASSERT(hits == queued);
}

RC_GTEST_PROP(ExternalBlockAssignments, one_inserted_fault_is_named_and_changes_nothing_P14_I9,
              ()) {
    auto tracker = arbitrary_tracker();
    const auto before = tracker;
    auto ids = arbitrary_new_ids(tracker);
    RC_PRE(!ids.empty());
    const std::size_t at = *gen::below(ids.size());

    auto repeated = ids;
    repeated.push_back(ids[at]);
    RC_ASSERT(tracker.extend_block_ids(repeated).error() ==
              (Error{Error::DuplicateBlockId{ids[at]}}));
    RC_ASSERT(tracker == before);

    if (!tracker.is_empty()) {
        const BlockId known = *rc::gen::elementOf(row_ids(tracker));
        auto late = ids;
        late.insert(late.begin() + static_cast<std::ptrdiff_t>(at) + 1, known);
        RC_ASSERT(tracker.extend_block_ids(late).error() ==
                  (Error{Error::OrderingViolation{known, ids[0], at + 1, 0}}));
        RC_ASSERT(tracker == before);
    }
}

RC_GTEST_PROP(ExternalBlockAssignments, a_hash_one_position_off_is_named_P14_I9, ()) {
    auto tracker = arbitrary_tracker();
    RC_PRE(tracker.unassigned_count() > 0u && tracker.next_position() < 59u);
    const std::size_t first = tracker.next_position();
    const std::size_t at = *gen::below(std::min(tracker.unassigned_count(), 59 - first));
    const auto known = sequence.all_sequence_hashes();
    std::vector<SequenceHash> hashes(known.begin(), known.end());
    std::swap(hashes[first + at], hashes[first + at + 1]);
    const auto before = tracker;
    const Error error{
        Error::PositionMismatch{first + at, first + at + 1, tracker.unassigned()[at]}};

    RC_ASSERT(tracker.stage_pending(hashes).error() == error);
    RC_ASSERT(tracker == before);
    RC_ASSERT(tracker.assign_pending(hashes).error() == error);
    RC_ASSERT(tracker == before);
}

RC_GTEST_PROP(ZipAssigned, equals_the_intersection_over_all_positions_P15, ()) {
    const auto a = arbitrary_tracker();
    const auto b = arbitrary_tracker();
    std::vector<ZippedBlocks> both;
    std::vector<ZippedBlocks> plan;
    for (std::size_t position = 0; position < 200; ++position) {
        const auto first = a.get_at_position(position);
        if (const auto second = b.get_at_position(position); first && second) {
            both.push_back({position, first->id, second->id});
        }
        if (const auto second = b.get_pending_at_position(position); first && second) {
            plan.push_back({position, first->id, *second});
        }
    }
    auto swapped = both;
    for (ZippedBlocks& blocks : swapped) {
        std::swap(blocks.first, blocks.second);
    }

    RC_ASSERT(zip_assigned(a, b) == both);
    RC_ASSERT(zip_assigned(b, a) == swapped);
    RC_ASSERT(zip_assigned_pending(a, b) == plan);
    const auto self = zip_assigned(a, a);
    RC_ASSERT(self.size() == a.assigned_count());
    for (const ZippedBlocks& blocks : self) {
        RC_ASSERT(a.get_at_position(blocks.position)->id == blocks.first);
        RC_ASSERT(blocks.first == blocks.second);
    }
}

RC_GTEST_PROP(ZipAssignedPending, the_plan_comes_true_once_the_destination_is_assigned_P16, ()) {
    const auto source = arbitrary_tracker();
    auto destination = arbitrary_tracker();
    const auto plan = zip_assigned_pending(source, destination);
    std::vector<SequenceHash> hashes;
    for (std::size_t position = 0; position < destination.pending_positions().last; ++position) {
        hashes.push_back(must(SequenceHash::make(ChainHash{position}, std::nullopt, position)));
    }

    must(destination.assign_pending(hashes));

    const auto zipped = zip_assigned(source, destination);
    for (const ZippedBlocks& planned : plan) {
        RC_ASSERT(std::ranges::count(zipped, planned) == 1);
    }
}

}  // namespace
