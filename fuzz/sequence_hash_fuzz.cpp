// Round trip: any bytes decode or give an error, and what decodes packs, orders and prints as 128
// binary digits say.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

import kvbm.testing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (const auto difference = kvbm::testing::check_hash_input({data, size})) {
        std::fprintf(stderr, "%s\n", difference->c_str());
        std::abort();
    }
    return 0;
}
