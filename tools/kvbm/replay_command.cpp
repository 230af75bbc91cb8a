// `kvbm replay`.
module;

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

/// One replay per policy and capacity, in the order given.
Result<std::vector<ReplayOptions>, Failure> plan(const ReplayCommand& command,
                                                 std::uint64_t block_size) {
    std::vector<ReplayOptions> runs;
    for (const ReplayPolicy policy : command.policies) {
        for (const std::string& text : command.capacities) {
            const auto capacity = parse_capacity(text, block_size);
            if (!capacity) {
                return failure(capacity.error());
            }
            ReplayOptions options;
            options.capacity = *capacity;
            options.mode = command.mode;
            options.policy = policy;
            options.order = command.order;
            options.count_from = command.count_from;
            options.limit = command.limit;
            runs.push_back(options);
        }
    }
    return runs;
}

ExitCode code_of(const ReplayError& error) {
    if (std::holds_alternative<ReplayError::AllocationFailed>(error.reason)) {
        return ExitCode::failed;
    }
    const bool data = std::holds_alternative<ReplayError::RequestTooLong>(error.reason) ||
                      std::holds_alternative<ReplayError::TooManyBlocks>(error.reason);
    return data ? ExitCode::bad_data : ExitCode::usage;
}

Failure failed(const ReplayError& error) {
    return {code_of(error), error.message()};
}

Result<std::vector<ReplayRun>, Failure> carry_out(const ReplayCommand& command,
                                                  const TraceHashes& hashes,
                                                  std::vector<ReplayOptions> runs) {
    std::atomic<std::size_t> done = 0;
    for (ReplayOptions& options : runs) {
        options.progress = &done;
    }
    const std::size_t requests =
        command.limit ? std::min(*command.limit, hashes.requests()) : hashes.requests();
    const ProgressLine progress(done, requests * runs.size(), command.quiet);
    auto results = replay_all(hashes, runs, command.jobs);
    if (!results) {
        return failure(failed(results.error()));
    }
    return std::move(*results);
}

std::string_view source_of(const Trace& trace) {
    return trace.path == "-" ? std::string_view("standard input") : std::string_view(trace.path);
}

std::string caption(const ReplayCommand& command, const Trace& trace, const TraceHashes& hashes) {
    std::string text = fmt::format("{}{}: {} requests, {} block references, block size {}\n",
                                   source_of(trace), trace.synthesised ? " (synthesised)" : "",
                                   hashes.requests(), hashes.references(), hashes.block_size());
    text += fmt::format("mode {}, order {}", to_string(command.mode), to_string(command.order));
    if (command.count_from > 0) {
        text += fmt::format(", counted from request {}", command.count_from);
    }
    if (command.limit) {
        text += fmt::format(", the first {} requests", *command.limit);
    }
    return text + "\n\n";
}

Report report_of(const ReplayCommand& command, const Trace& trace, const TraceHashes& hashes,
                 std::span<const ReplayRun> runs) {
    Report report;
    report.subject = "trace";
    report.facts = {{"path", trace.path},
                    {"sha256", trace.sha256},
                    {"format", std::string(to_string(trace.format))},
                    {"synthesised", trace.synthesised},
                    {"block_size", std::uint64_t{hashes.block_size()}},
                    {"requests", std::uint64_t{hashes.requests()}},
                    {"block_references", std::uint64_t{hashes.references()}},
                    {"distinct_blocks", std::uint64_t{hashes.distinct_blocks(hashes.requests())}},
                    {"skipped_lines", std::uint64_t{trace.skipped_lines}},
                    {"blank_lines", std::uint64_t{trace.blank_lines}},
                    {"empty_rows", std::uint64_t{trace.empty_rows}}};
    report.list = "runs";
    for (const ReplayRun& run : runs) {
        report.rows.push_back(fields_of(run, trace));
    }
    report.shown = {"policy",   "capacity",       "block_hits",     "token_hits", "evictions",
                    "resident", "block_hit_rate", "token_hit_rate", "ceiling"};
    report.caption = caption(command, trace, hashes);
    return report;
}

}  // namespace

Result<void, Failure> run(const ReplayCommand& command) {
    const auto trace = load(command.workload);
    if (!trace) {
        return failure(trace.error());
    }
    const auto hashes = TraceHashes::of(*trace);
    if (!hashes) {
        return failure(failed(hashes.error()));
    }
    auto planned = plan(command, trace->block_size);
    if (!planned) {
        return failure(planned.error());
    }
    const auto runs = carry_out(command, *hashes, std::move(*planned));
    if (!runs) {
        return failure(runs.error());
    }
    const Report report = report_of(command, *trace, *hashes, *runs);
    if (!command.plot.empty()) {
        const std::string title =
            fmt::format("{}{}", source_of(*trace), trace->synthesised ? " (synthesised)" : "");
        if (auto drawn = draw(command.plot, *runs, title); !drawn) {
            return drawn;
        }
    }
    if (auto written = write_out(render(report, command.output)); !written) {
        return written;
    }
    if (const std::string notice = skipped_notice(*trace); !notice.empty()) {
        std::fprintf(stderr, "%s\n", notice.c_str());
    }
    return command.expect.empty() ? Result<void, Failure>{}
                                  : expect_rows(command.expect, report.rows);
}

}  // namespace kvbm::tool
