// A user of the component replay: a trace out, and in again.
#include <cstdio>
#include <sstream>
#include <vector>

import kvbm.replay;

int main() {
    const auto made = kvbm::must(kvbm::generate("fan-out", {.requests = 20}));
    std::ostringstream text;
    kvbm::write_mooncake(made, text);
    const auto read = kvbm::must(kvbm::parse_trace(text.str(), "made"));
    std::printf("%zu requests\n", read.requests.size());
    return read.requests == made.requests && read.ids == made.ids && read.requests.size() == 20 ? 0
                                                                                                : 1;
}
