// Agrees with model: any script on a token sequence ends as a rebuild from scratch says.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    kvbm::testing::ByteReader bytes({data, size});
    kvbm::testing::TokenHarness harness(kvbm::testing::decode_token_options(bytes));
    stop_on(harness.compare());
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        const auto command = kvbm::testing::decode_token_command(bytes);
        if (harness.model().allows(command)) {
            stop_on(harness.run(command));
        }
    }
    stop_on(harness.compare());
    return 0;
}
