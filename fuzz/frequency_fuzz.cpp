// Agrees with model: any script of touches gives the estimates, size and table of the plain array.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    kvbm::testing::ByteReader bytes({data, size});
    kvbm::testing::SketchHarness harness(kvbm::testing::decode_sketch_options(bytes));
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        stop_on(harness.run(kvbm::testing::decode_sketch_command(bytes)));
    }
    stop_on(harness.compare_tables());
    return 0;
}
