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

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using namespace kvbm::testing;

struct Step final : rc::state::Command<AssignmentModels, AssignmentHarness> {
    AssignmentCommand command = *gen::assignment_command();
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

RC_GTEST_PROP(ExternalBlockAssignments, agrees_with_the_row_model,
              (const AssignmentOptions& options)) {
    const AssignmentWorkload workload(options);
    Step::workload = &workload;
    AssignmentHarness harness(options);

    const auto commands =
        *rc::gen::resize(300, rc::state::gen::commands(AssignmentModels(options),
                                                       rc::state::gen::execOneOfWithArgs<Step>()));
    rc::state::runAll(commands, AssignmentModels(options), harness);
}

}  // namespace
