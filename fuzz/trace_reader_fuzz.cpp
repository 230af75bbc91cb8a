// Differential: any bytes are read as by a slow second reader, with the same requests, or refused
// with the same sentence, which names a line unless the whole file is to blame.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

import kvbm.replay;
import kvbm.testing;

namespace {

using kvbm::testing::SlowReadOptions;

// Few blocks per request: a length of 2^53 must not become an array.
const std::array<SlowReadOptions, 4> variants{
    SlowReadOptions{.max_blocks = 64},
    SlowReadOptions{.block_size = 16,
                    .skip_bad = true,
                    .max_bad = 3,
                    .max_line = 120,
                    .max_blocks = 8,
                    .sessions = "greedy",
                    .session_gap_s = 5,
                    .shared_prefix = 40,
                    .seed = 7},
    SlowReadOptions{.format = "azure", .skip_bad = true, .max_blocks = 64},
    SlowReadOptions{.format = "qwen", .skip_bad = true, .max_blocks = 64}};

kvbm::ReadOptions real_options(const SlowReadOptions& slow) {
    kvbm::ReadOptions options{.skip_bad = slow.skip_bad,
                              .max_bad = slow.max_bad,
                              .max_line = slow.max_line,
                              .max_blocks = slow.max_blocks,
                              .session_gap_s = slow.session_gap_s,
                              .shared_prefix = slow.shared_prefix,
                              .seed = slow.seed};
    options.format = kvbm::trace_format_named(slow.format);
    options.sessions = kvbm::session_rule_named(slow.sessions);
    if (slow.block_size != 0) {
        options.block_size = slow.block_size;
    }
    return options;
}

void stop_on(const std::optional<std::string>& difference) {
    if (difference) {
        std::fprintf(stderr, "%s\n", difference->c_str());
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    const std::string bytes(data, data + size);
    for (const auto& slow : variants) {
        const auto real = kvbm::parse_trace(bytes, "FILE", real_options(slow));
        stop_on(kvbm::testing::difference(kvbm::testing::read_slowly(bytes, slow),
                                          kvbm::testing::outcome_of(real)));
    }
    return 0;
}
