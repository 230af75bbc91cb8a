// `kvbm generate` and `kvbm inspect`.
module;

#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <utility>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

Row facts_of(const Trace& trace) {
    const TraceFacts facts = inspect_trace(trace);
    return {{"path", trace.path},
            {"sha256", trace.sha256},
            {"format", std::string(to_string(trace.format))},
            {"synthesised", trace.synthesised},
            {"sessions", std::string(trace.sessions ? to_string(*trace.sessions) : "")},
            {"block_size", std::uint64_t{trace.block_size}},
            {"requests", facts.requests},
            {"block_references", facts.block_references},
            {"distinct_blocks", facts.distinct_blocks},
            {"distinct_ids", facts.distinct_ids},
            {"smallest_id", facts.smallest_id},
            {"largest_id", facts.largest_id},
            {"input_tokens", facts.input_tokens},
            {"output_tokens", facts.output_tokens},
            {"first_time_ms", facts.first_time_ms},
            {"span_ms", facts.span_ms},
            {"blocks_per_request_p50", facts.blocks_per_request.p50},
            {"blocks_per_request_p90", facts.blocks_per_request.p90},
            {"blocks_per_request_p99", facts.blocks_per_request.p99},
            {"blocks_per_request_max", facts.blocks_per_request.max},
            {"blocks_referenced_once", facts.references.once},
            {"blocks_referenced_twice", facts.references.twice},
            {"blocks_referenced_3_to_9", facts.references.three_to_nine},
            {"blocks_referenced_10_or_more", facts.references.ten_or_more},
            {"blocks_in_every_request", facts.blocks_in_every_request},
            {"reuses", facts.reuses},
            {"reuse_distance_p50", facts.reuse_distance.p50},
            {"reuse_distance_p90", facts.reuse_distance.p90},
            {"reuse_distance_p99", facts.reuse_distance.p99},
            {"reuse_distance_max", facts.reuse_distance.max},
            {"times_backwards", facts.times_backwards},
            {"requests_repeating_ids", facts.requests_repeating_ids},
            {"ids_under_two_parents", facts.ids_under_two_parents},
            {"requests_without_partial_block", facts.requests_without_partial_block},
            {"empty_rows", facts.empty_rows},
            {"blank_lines", facts.blank_lines},
            {"skipped_lines", facts.skipped_lines}};
}

}  // namespace

Result<void, Failure> run(const InspectCommand& command) {
    const auto trace = load(command.workload);
    if (!trace) {
        return failure(trace.error());
    }
    Report report;
    report.subject = "trace";
    report.facts = facts_of(*trace);
    if (auto written = write_out(render(report, command.output)); !written) {
        return written;
    }
    if (const std::string notice = skipped_notice(*trace); !notice.empty()) {
        std::fprintf(stderr, "%s\n", notice.c_str());
    }
    return {};
}

Result<void, Failure> run(const GenerateCommand& command) {
    const auto trace = generate(command.generator, command.generate);
    if (!trace) {
        return failure(Failure{ExitCode::usage, trace.error().message()});
    }
    std::ostringstream text;
    write_mooncake(*trace, text);
    return write_out(text.view());
}

}  // namespace kvbm::tool
