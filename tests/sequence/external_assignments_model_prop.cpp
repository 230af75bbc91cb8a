// Any script on two trackers gives the results, errors and states of the row model.
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rapidcheck/state.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using namespace kvbm::testing;

rc::Gen<std::size_t> arbitrary_below(std::size_t n) {
    return rc::gen::inRange<std::size_t>(0, n);
}

rc::Gen<BlockId> arbitrary_id() {
    return rc::gen::map(arbitrary_below(48), assignment_id);
}

// Now and then a run of equally spaced ids, so that rows outgrow the plain scan.
rc::Gen<std::vector<BlockId>> arbitrary_ids() {
    const auto run = rc::gen::map(
        rc::gen::tuple(arbitrary_below(64), arbitrary_below(50), rc::gen::inRange(0, 3)),
        [](const std::tuple<std::size_t, std::size_t, int>& drawn) {
            const auto [first, count, stride] = drawn;
            std::vector<BlockId> ids;
            for (std::size_t i = 0; i < count; ++i) {
                ids.push_back(first + (BlockId{i} << (29 * stride)));
            }
            return ids;
        });
    return rc::gen::weightedOneOf<std::vector<BlockId>>(
        {{3, rc::gen::container<std::vector<BlockId>>(arbitrary_id())}, {1, run}});
}

rc::Gen<std::vector<BlockSlice>> arbitrary_slices() {
    const auto right = rc::gen::map(arbitrary_below(96), [](std::size_t count) {
        return std::vector<BlockSlice>{{.sequence = 0, .first = 0, .count = count}};
    });
    const auto any = rc::gen::container<std::vector<BlockSlice>>(
        rc::gen::build<BlockSlice>(rc::gen::set(&BlockSlice::sequence, arbitrary_below(2)),
                                   rc::gen::set(&BlockSlice::first, arbitrary_below(8)),
                                   rc::gen::set(&BlockSlice::count, arbitrary_below(12))));
    return rc::gen::weightedOneOf<std::vector<BlockSlice>>({{3, right}, {1, any}});
}

rc::Gen<std::vector<PairDraw>> arbitrary_pairs() {
    const auto mostly_zero = rc::gen::weightedElement<std::size_t>({{15, 0}, {1, 1}});
    return rc::gen::container<std::vector<PairDraw>>(rc::gen::build<PairDraw>(
        rc::gen::set(&PairDraw::id, arbitrary_id()), rc::gen::set(&PairDraw::sequence, mostly_zero),
        rc::gen::set(&PairDraw::shift, mostly_zero)));
}

AssignmentCommand arbitrary_command() {
    const std::size_t tracker = *arbitrary_below(2);
    switch (*rc::gen::weightedElement<int>({{4, 0},
                                            {3, 1},
                                            {2, 2},
                                            {2, 3},
                                            {1, 4},
                                            {2, 5},
                                            {1, 6},
                                            {1, 7},
                                            {1, 8},
                                            {1, 9},
                                            {1, 10}})) {
        case 0:
            return ExtendBlockIds{tracker, *arbitrary_below(64), *arbitrary_ids()};
        case 1:
            return ExtendAssigned{tracker, *arbitrary_pairs()};
        case 2:
            return StagePending{tracker, *arbitrary_slices(), *rc::gen::arbitrary<bool>()};
        case 3:
            return AssignPending{tracker, *arbitrary_slices(), *rc::gen::arbitrary<bool>()};
        case 4:
            return CommitStaged{tracker};
        case 5:
            return TakeStaged{tracker};
        case 6:
            return Clear{tracker};
        case 7:
            return AskForId{tracker, *arbitrary_id()};
        case 8:
            return AskForPlace{tracker, *arbitrary_below(80)};
        case 9:
            return ZipBoth{tracker, *arbitrary_below(2)};
        default:
            return CopyTracker{tracker, *arbitrary_below(2), *rc::gen::arbitrary<bool>()};
    }
}

struct Step final : rc::state::Command<AssignmentModels, AssignmentHarness> {
    AssignmentCommand command = arbitrary_command();
    static const AssignmentWorkload* workload;

    void apply(AssignmentModels& models) const override { models.apply(*workload, command); }
    void run(const AssignmentModels& models, AssignmentHarness& harness) const override {
        if (const auto difference = harness.run(command, models)) {
            RC_FAIL(*difference);
        }
    }
    void show(std::ostream& os) const override { os << to_string(command); }
};

const AssignmentWorkload* Step::workload = nullptr;

RC_GTEST_PROP(ExternalBlockAssignments, agrees_with_the_row_model, ()) {
    AssignmentOptions options;
    options.offsets = {*arbitrary_below(8), *arbitrary_below(8)};
    options.block_counts = {*arbitrary_below(80), *arbitrary_below(8)};
    const AssignmentWorkload workload(options);
    Step::workload = &workload;
    AssignmentHarness harness(options);

    const auto commands =
        *rc::gen::resize(300, rc::state::gen::commands(AssignmentModels(options),
                                                       rc::state::gen::execOneOfWithArgs<Step>()));
    rc::state::runAll(commands, AssignmentModels(options), harness);
}

}  // namespace
