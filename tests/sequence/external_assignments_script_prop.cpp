// Laws of whole scripts: what offsets, names of ids, copies and clear() do to them.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
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
namespace gen = kvbm::testing::gen;
using kvbm::testing::counting_sequence;
using kvbm::testing::ids_of;
using kvbm::testing::row_ids;
using Error = BlockSequenceError;
using Ids = std::vector<BlockId>;

const BlockSequence sequence = counting_sequence(60, 0, 1);

// One call; `count` is how many blocks behind the tracker's offset it may use.
struct Call {
    int kind = 0;
    Ids ids;
    std::size_t count = 0;
};
using Script = std::vector<Call>;

Script arbitrary_script() {
    return *rc::gen::resize(
        60,
        rc::gen::container<Script>(rc::gen::build<Call>(
            rc::gen::set(&Call::kind, rc::gen::inRange(0, 6)),
            rc::gen::set(&Call::ids, rc::gen::resize(8, rc::gen::container<Ids>(gen::block_id()))),
            rc::gen::set(&Call::count, rc::gen::inRange<std::size_t>(0, 40)))));
}

// What a script shows of itself while it runs: the error of each failing call.
using Errors = std::vector<std::optional<Error>>;

template <class Answer>
std::optional<Error> error_of(const Result<Answer, Error>& result) {
    return result ? std::nullopt : std::optional(result.error());
}

// Runs the calls. `name` renames the ids; `in_front` entries are not the script's own.
template <class Name>
Errors run(ExternalBlockAssignments& tracker, const Script& script, Name name,
           std::size_t in_front = 0) {
    Errors errors;
    for (const Call& call : script) {
        Ids ids;
        std::ranges::transform(call.ids, std::back_inserter(ids), name);
        const std::size_t start = tracker.offset() + in_front;
        const auto blocks = sequence.blocks().first(std::min<std::size_t>(60, start + call.count));
        switch (call.kind) {
            case 0:
            case 1:
                errors.push_back(error_of(tracker.extend_block_ids(ids)));
                break;
            case 2:
                errors.push_back(error_of(tracker.stage_pending(blocks)));
                break;
            case 3:
                errors.push_back(error_of(tracker.assign_pending(blocks)));
                break;
            case 4:
                tracker.commit_staged();
                break;
            default:
                (void)tracker.take_staged();
        }
    }
    return errors;
}

constexpr auto same_name = [](BlockId id) { return id; };

RC_GTEST_PROP(ExternalBlockAssignments, an_offset_equals_that_many_entries_cut_off_in_front_P8,
              ()) {
    const auto script = arbitrary_script();
    const auto offset = *rc::gen::inRange<std::size_t>(0, 20);
    ExternalBlockAssignments at_offset(offset);
    ExternalBlockAssignments at_zero;
    for (BlockId id = 0; id < offset; ++id) {
        must(at_zero.extend_block_ids({5000 + id}));
    }
    must(at_zero.assign_pending(sequence.blocks().first(offset)));

    const auto errors = run(at_offset, script, same_name);
    const auto errors_at_zero = run(at_zero, script, same_name, offset);

    RC_ASSERT(errors == errors_at_zero);
    RC_ASSERT(std::ranges::equal(at_offset.assigned(), at_zero.assigned().subspan(offset)));
    RC_ASSERT(std::ranges::equal(at_offset.staged(), at_zero.staged()));
    RC_ASSERT(ids_of(at_offset.unassigned()) == ids_of(at_zero.unassigned()));
    RC_ASSERT(at_offset.pending_positions() == at_zero.pending_positions());
}

RC_GTEST_PROP(ExternalBlockAssignments, after_clear_a_script_runs_as_on_a_fresh_tracker_P12_I13,
              ()) {
    const auto first = arbitrary_script();
    const auto second = arbitrary_script();
    const auto offset = *rc::gen::inRange<std::size_t>(0, 20);
    ExternalBlockAssignments fresh(offset);
    ExternalBlockAssignments used(offset);
    run(used, first, same_name);
    used.clear();
    RC_ASSERT(used == fresh);

    RC_ASSERT(run(used, second, same_name) == run(fresh, second, same_name));
    RC_ASSERT(used == fresh);
}

RC_GTEST_PROP(ExternalBlockAssignments, what_happens_to_a_copy_does_not_reach_the_original_P13,
              ()) {
    ExternalBlockAssignments original;
    run(original, arbitrary_script(), same_name);
    const auto ids = row_ids(original);
    const std::vector<Assignment> assigned(original.assigned().begin(), original.assigned().end());
    const std::size_t next = original.next_position();

    auto copy = original;
    run(copy, arbitrary_script(), same_name);
    copy.clear();

    RC_ASSERT(row_ids(original) == ids);
    RC_ASSERT(std::ranges::equal(original.assigned(), assigned));
    RC_ASSERT(original.next_position() == next);
    for (std::size_t place = 0; place < ids.size(); ++place) {
        RC_ASSERT(original.position_of(ids[place]) == place);
    }
}

RC_GTEST_PROP(ExternalBlockAssignments, renaming_ids_commutes_with_every_call_P18, ()) {
    const auto script = arbitrary_script();
    const BlockId moved = *rc::gen::arbitrary<BlockId>();
    const auto factor = *rc::gen::element<BlockId>(1, 3, 0x9e3779b97f4a7c15U);
    const auto rename = [&](BlockId id) { return id * factor + moved; };  // odd factor: injective
    const auto rename_error = [&](std::optional<Error> error) {
        if (error) {
            if (auto* duplicate = std::get_if<Error::DuplicateBlockId>(&error->reason)) {
                duplicate->block_id = rename(duplicate->block_id);
            } else if (auto* order = std::get_if<Error::OrderingViolation>(&error->reason)) {
                order->known_id = rename(order->known_id);
                order->new_id = rename(order->new_id);
            }
        }
        return error;
    };
    ExternalBlockAssignments plain;
    ExternalBlockAssignments renamed;

    auto errors = run(plain, script, same_name);
    const auto renamed_errors = run(renamed, script, rename);

    std::ranges::transform(errors, errors.begin(), rename_error);
    RC_ASSERT(errors == renamed_errors);
    auto ids = row_ids(plain);
    std::ranges::transform(ids, ids.begin(), rename);
    RC_ASSERT(row_ids(renamed) == ids);
    RC_ASSERT(renamed.staged_positions() == plain.staged_positions());
}

}  // namespace
