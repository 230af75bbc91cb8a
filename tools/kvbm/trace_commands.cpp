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

Row trace_fields(const Trace& trace) {
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

Result<Report, Failure> trace_report(const Trace& trace) {
    Report report;
    report.facts.push_back({"trace", trace_fields(trace)});
    return report;
}

Row cache_fields(const CacheContents& contents) {
    return {{"blocks", contents.blocks},
            {"reset", contents.reset},
            {"mutable", contents.mutable_blocks},
            {"staged", contents.staged},
            {"primary", contents.primary},
            {"duplicate", contents.duplicate},
            {"inactive", contents.inactive},
            {"references", contents.references},
            {"roots", contents.roots},
            {"chains", contents.chains},
            {"unreachable", contents.unreachable},
            {"chain_length_p50", contents.chain_length.p50},
            {"chain_length_p90", contents.chain_length.p90},
            {"chain_length_p99", contents.chain_length.p99},
            {"chain_length_max", contents.chain_length.max},
            {"reused", contents.reused},
            {"uses_p50", contents.uses.p50},
            {"uses_p90", contents.uses.p90},
            {"uses_p99", contents.uses.p99},
            {"uses_max", contents.uses.max},
            {"age_p50", contents.age.p50},
            {"age_p90", contents.age.p90},
            {"age_p99", contents.age.p99},
            {"age_max", contents.age.max}};
}

Row block_fields(const CachedBlock& block) {
    return {{"block_id", std::uint64_t{block.id}},
            {"position", std::uint64_t{block.hash.position()}},
            {"uses", block.uses},
            {"age", block.age},
            {"sequence_hash", block.hash.to_hex()}};
}

std::string caption(const InspectCommand& command, const Trace& trace, const ReplayRun& run) {
    std::string text = fmt::format(
        "{}: the cache after {} requests\npolicy {}, order {}, capacity {}, block hit rate "
        "{:.4f}, {} evictions",
        source_of(trace), with_thousands(run.requests), to_string(run.policy), to_string(run.order),
        run.capacity ? with_thousands(*run.capacity) : "unlimited", run.block_hit_rate(),
        with_thousands(run.evictions));
    if (run.sketch) {
        text += fmt::format(", sketch {}", to_string(*run.sketch));
    }
    return text +
           fmt::format("\nage: requests since the last use; the {} most used blocks below\n\n",
                       command.top);
}

Result<Report, Failure> cache_report(const InspectCommand& command, const Trace& trace) {
    const auto hashes = TraceHashes::of(trace);
    if (!hashes) {
        return failure(failed(hashes.error()));
    }
    const auto capacity = parse_capacity(command.capacity, trace.block_size);
    if (!capacity) {
        return failure(capacity.error());
    }
    ReplayOptions options;
    options.capacity = *capacity;
    options.policy = command.policy;
    options.order = command.order;
    options.sketch = command.sketch;
    options.limit = command.limit;
    const auto replayed = replay_and_inspect(*hashes, options, command.top);
    if (!replayed) {
        return failure(failed(replayed.error()));
    }
    Report report;
    report.caption = caption(command, trace, replayed->run);
    report.facts = {{"trace", fields_of(trace, *hashes), false},
                    {"run", fields_of(replayed->run, trace), false},
                    {"cache", cache_fields(replayed->contents)}};
    report.list = "most_used";
    report.list_in_csv = false;
    for (const CachedBlock& block : replayed->contents.most_used) {
        report.rows.push_back(block_fields(block));
    }
    return report;
}

}  // namespace

Result<void, Failure> run(const InspectCommand& command) {
    const auto trace = load(command.workload);
    if (!trace) {
        return failure(trace.error());
    }
    auto report = command.after_replay ? cache_report(command, *trace) : trace_report(*trace);
    if (!report) {
        return failure(report.error());
    }
    if (auto written = write_out(*report, command.output); !written) {
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
