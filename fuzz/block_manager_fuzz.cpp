// Agrees with model: any bytes are a script of commands on three managers of one registry, and each
// command does what the plain tables say.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    kvbm::testing::ByteReader bytes({data, size});
    constexpr std::size_t picture_every = 8;
    kvbm::testing::PoolHarness harness(kvbm::testing::decode_pool_options(bytes), picture_every);
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        stop_on(harness.run(kvbm::testing::decode_pool_command(bytes)));
    }
    stop_on(harness.finish());
    return 0;
}
