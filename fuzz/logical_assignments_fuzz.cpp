// Agrees with model: any script on two trackers of guards, with loose lists beside them, gives the
// results, errors, rows and pools that naive trackers give guard by guard on a second manager; the
// pools end in one order.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

using namespace kvbm::testing::logical;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    kvbm::testing::ByteReader bytes({data, size});
    Harness harness(decode_options(bytes));
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        stop_on(harness.run(decode_command(bytes)));
    }
    stop_on(harness.finish());
    return 0;
}
