// Agrees with model: any script on two trackers gives the results, errors and states of a row of
// (id, optional hash) with two partition points, and keeps the invariants at each step.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

import kvbm.testing;

using namespace kvbm::testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    ByteReader bytes({data, size});
    const auto options = decode_assignment_options(bytes);
    AssignmentHarness harness(options);
    AssignmentModels models(options);
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        const auto command = decode_assignment_command(bytes);
        if (const auto difference = harness.run(command, models)) {
            std::fprintf(stderr, "command %d: %s\n", i, difference->c_str());
            std::abort();
        }
        models.apply(harness.workload(), command);
    }
    return 0;
}
