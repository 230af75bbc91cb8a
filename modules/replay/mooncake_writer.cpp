module;

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <ostream>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

module kvbm.replay;

namespace kvbm {

namespace {

void append_time(std::string& line, double time_ms) {
    if (std::trunc(time_ms) == time_ms && std::abs(time_ms) <= 9'007'199'254'740'992.0) {
        fmt::format_to(std::back_inserter(line), "{}", static_cast<std::int64_t>(time_ms));
        return;
    }
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), time_ms);
    line.append(digits.data(), end.ptr);
}

}  // namespace

void write_mooncake(const Trace& trace, std::ostream& out) {
    std::string line;
    for (const auto& request : trace.requests) {
        line = "{\"timestamp\": ";
        append_time(line, request.time_ms);
        fmt::format_to(std::back_inserter(line),
                       ", \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [",
                       request.input_length, request.output_length);
        const auto* separator = "";
        for (const auto id : trace.ids_of(request)) {
            fmt::format_to(std::back_inserter(line), "{}{}", separator, id);
            separator = ", ";
        }
        line += "]}\n";
        out.write(line.data(), static_cast<std::streamsize>(line.size()));
    }
}

}  // namespace kvbm
