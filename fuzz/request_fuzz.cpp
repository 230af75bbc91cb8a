// Agrees with model: any script of calls on up to four requests of one manager gives the outcomes,
// events, counters, block ids and pools of naive requests on a second one, and a registered block
// holds the KV of all its tokens.
#include "stop_on.hpp"

#include <cstddef>
#include <cstdint>

import kvbm.testing;

using namespace kvbm::testing::requests;

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
