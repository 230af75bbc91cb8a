// Agrees with model: any bytes are hashes, kin to each other, and a script that caches, uses, holds
// and takes blocks under one eviction policy; a real manager evicts what the naive policy evicts.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    kvbm::testing::ByteReader bytes({data, size});
    kvbm::testing::PolicyHarness harness(kvbm::testing::decode_policy_options(bytes));
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        stop_on(harness.run(kvbm::testing::decode_policy_command(bytes)));
    }
    stop_on(harness.finish());
    return 0;
}
