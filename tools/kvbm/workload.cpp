// Traces for the commands, and capacities in blocks of a trace.
module;

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

Failure usage(std::string text) {
    return {ExitCode::usage, std::move(text)};
}

}  // namespace

Result<Trace, Failure> load(const Workload& workload) {
    if (workload.path.empty()) {
        auto trace = generate(workload.generator, workload.generate);
        if (!trace) {
            return failure(usage(trace.error().message()));
        }
        return std::move(*trace);
    }
    auto trace = read_trace(workload.path, workload.read);
    if (!trace) {
        return failure(
            Failure{static_cast<ExitCode>(trace.error().exit_code()), trace.error().message()});
    }
    return std::move(*trace);
}

Failure failed(const ReplayError& error) {
    if (std::holds_alternative<ReplayError::AllocationFailed>(error.reason)) {
        return {ExitCode::failed, error.message()};
    }
    const bool data = std::holds_alternative<ReplayError::RequestTooLong>(error.reason) ||
                      std::holds_alternative<ReplayError::TooManyBlocks>(error.reason);
    return {data ? ExitCode::bad_data : ExitCode::usage, error.message()};
}

Failure failed(const RequestReplayError& error) {
    if (std::holds_alternative<RequestReplayError::BlocksLost>(error.reason)) {
        return {ExitCode::failed, error.message()};
    }
    const bool data = std::holds_alternative<RequestReplayError::RequestTooLong>(error.reason);
    return {data ? ExitCode::bad_data : ExitCode::usage, error.message()};
}

Result<std::optional<std::size_t>, Failure> parse_capacity(std::string_view text,
                                                           std::uint64_t block_size) {
    if (text == "unlimited") {
        return std::nullopt;
    }
    const auto refuse = [text](std::string_view reason) {
        return failure(usage(fmt::format("--capacity: {}: {}", text, reason)));
    };
    std::uint64_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view suffix(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
    if (error == std::errc::invalid_argument || (suffix != "" && suffix != "K" && suffix != "M")) {
        return refuse("not a number of blocks, of tokens with K or M, or unlimited");
    }
    const std::uint64_t unit = suffix == "K" ? 1024 : suffix == "M" ? 1'048'576 : 1;
    if (error == std::errc::result_out_of_range ||
        number > std::numeric_limits<std::uint64_t>::max() / unit) {
        return refuse("too large");
    }
    const std::uint64_t blocks = suffix.empty() ? number : number * unit / block_size;
    if (blocks == 0) {
        return refuse(fmt::format("less than one block of {} tokens", block_size));
    }
    return std::optional<std::size_t>(blocks);
}

}  // namespace kvbm::tool
