// `kvbm replay --mode request`.
module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

/// More points than a drawing has columns of pixels show nothing more.
constexpr std::size_t samples_at_most = 1024;

/// One replay per policy and capacity, in the order given.
Result<std::vector<RequestReplayOptions>, Failure> plan(const RequestsCommand& command,
                                                        std::uint64_t block_size,
                                                        std::atomic<std::size_t>& done) {
    std::vector<RequestReplayOptions> runs;
    for (const ReplayPolicy policy : command.policies) {
        for (const std::string& text : command.capacities) {
            const auto capacity = parse_capacity(text, block_size);
            if (!capacity) {
                return failure(capacity.error());
            }
            runs.push_back({.capacity = *capacity,
                            .policy = to_string(policy),
                            .concurrency = command.concurrency,
                            .chunk = command.chunk,
                            .limit_output = command.limit_output,
                            .limit = command.limit,
                            .samples_at_most = command.plot.empty() ? 0 : samples_at_most,
                            .progress = &done});
        }
    }
    return runs;
}

Result<std::vector<RequestReplayRun>, Failure> carry_out(const RequestsCommand& command,
                                                         const Trace& trace) {
    std::atomic<std::size_t> done = 0;
    const auto runs = plan(command, trace.block_size, done);
    if (!runs) {
        return failure(runs.error());
    }
    const std::size_t requests =
        std::min(command.limit.value_or(trace.requests.size()), trace.requests.size());
    const ProgressLine progress(done, requests * runs->size(), command.quiet);
    auto results = replay_all_requests(trace, *runs, command.jobs);
    if (!results) {
        return failure(failed(results.error()));
    }
    return std::move(*results);
}

std::string caption(const RequestsCommand& command, const Trace& trace) {
    std::string text =
        fmt::format("{}: {} requests, block size {}\n", source_of(trace),
                    with_thousands(trace.requests.size()), with_thousands(trace.block_size));
    text += fmt::format("mode request, at most {} at once, prefill in chunks of {} tokens",
                        with_thousands(command.concurrency), with_thousands(command.chunk));
    if (command.policies.size() == 1) {
        text += fmt::format(", policy {}", to_string(command.policies.front()));
    }
    if (command.limit_output) {
        text += fmt::format(", at most {} tokens of output", with_thousands(*command.limit_output));
    }
    if (command.limit) {
        text += fmt::format(", the first {} requests", with_thousands(*command.limit));
    }
    return text + "\n\n";
}

Report report_of(const RequestsCommand& command, const Trace& trace, const TraceHashes& hashes,
                 std::span<const RequestReplayRun> runs) {
    Report report;
    report.caption = caption(command, trace);
    report.facts.push_back({"trace", fields_of(trace, hashes), false});
    report.list = "runs";
    for (const RequestReplayRun& run : runs) {
        report.rows.push_back(fields_of(run, trace));
    }
    report.shown = {
        "capacity",  "completed",          "rejected",          "preemptions",      "steps",
        "evictions", "peak_active_blocks", "recomputed_tokens", "prompt_cache_rate"};
    if (command.policies.size() > 1) {
        report.shown.emplace_back("policy");
    }
    return report;
}

}  // namespace

Result<void, Failure> run(const RequestsCommand& command) {
    const auto trace = load(command.workload);
    if (!trace) {
        return failure(trace.error());
    }
    const auto hashes = TraceHashes::of(*trace);
    if (!hashes) {
        return failure(failed(hashes.error()));
    }
    const auto runs = carry_out(command, *trace);
    if (!runs) {
        return failure(runs.error());
    }
    return hand_over(
        report_of(command, *trace, *hashes, *runs), command.output, *trace, command.plot,
        [&] { return draw(*runs, source_of(*trace)); }, command.expect);
}

}  // namespace kvbm::tool
