// `kvbm replay`.
module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <span>
#include <string>
#include <utility>
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
            options.sketch = command.sketch;
            options.count_from = command.count_from;
            options.limit = command.limit;
            runs.push_back(options);
        }
    }
    return runs;
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

bool has_policy(const ReplayCommand& command, ReplayPolicy policy) {
    return std::ranges::find(command.policies, policy) != command.policies.end();
}

std::string caption(const ReplayCommand& command, const Trace& trace, const TraceHashes& hashes) {
    std::string text = fmt::format("{}: {} requests, {} block references, block size {}\n",
                                   source_of(trace), with_thousands(hashes.requests()),
                                   with_thousands(hashes.references()), hashes.block_size());
    text += fmt::format("mode {}, order {}", to_string(command.mode), to_string(command.order));
    if (command.policies.size() == 1) {
        text += fmt::format(", policy {}", to_string(command.policies.front()));
    }
    if (has_policy(command, ReplayPolicy::multi_lru)) {
        text += fmt::format(", sketch {}", to_string(command.sketch));
    }
    if (command.count_from > 0) {
        text += fmt::format(", counted from request {}", with_thousands(command.count_from));
    }
    if (command.limit) {
        text += fmt::format(", the first {} requests", with_thousands(*command.limit));
    }
    return text + "\n\n";
}

Report report_of(const ReplayCommand& command, const Trace& trace, const TraceHashes& hashes,
                 std::span<const ReplayRun> runs) {
    Report report;
    report.caption = caption(command, trace, hashes);
    report.facts.push_back({"trace", fields_of(trace, hashes), false});
    report.list = "runs";
    for (const ReplayRun& run : runs) {
        report.rows.push_back(fields_of(run, trace));
    }
    report.shown = {"capacity",       "block_hits",     "token_hits", "evictions",
                    "block_hit_rate", "token_hit_rate", "ceiling"};
    if (command.policies.size() > 1) {
        report.shown.emplace_back("policy");
    }
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
    return hand_over(
        report_of(command, *trace, *hashes, *runs), command.output, *trace, command.plot,
        [&] { return draw(*runs, source_of(*trace)); }, command.expect);
}

Result<void, Failure> hand_over(const Report& report, OutputFormat format, const Trace& trace,
                                const std::string& plot,
                                const std::function<Result<std::string, Failure>()>& drawing,
                                const std::string& expect) {
    if (!plot.empty()) {
        const auto svg = drawing();
        if (!svg) {
            return failure(svg.error());
        }
        if (auto written = write_file(plot, *svg); !written) {
            return written;
        }
    }
    if (auto written = write_out(report, format); !written) {
        return written;
    }
    if (const std::string notice = skipped_notice(trace); !notice.empty()) {
        std::fprintf(stderr, "%s\n", notice.c_str());
    }
    return expect.empty() ? Result<void, Failure>{} : expect_rows(expect, report.rows);
}

}  // namespace kvbm::tool
