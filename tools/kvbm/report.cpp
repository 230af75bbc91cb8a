// Reports as a table, as csv, as json.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

constexpr std::string_view version = KVBM_VERSION;

/// Separates the thousands of a number's whole part.
std::string with_thousands(std::string number) {
    const std::size_t first = number.starts_with('-') ? 1 : 0;
    for (std::size_t place = std::min(number.find_first_not_of("-0123456789"), number.size());
         place > first + 3; place -= 3) {
        number.insert(place - 3, ",");
    }
    return number;
}

bool is_rate(const Field& field) {
    return field.name.ends_with("_rate") || field.name == "ceiling";
}

/// The cell as the table has it.
std::string shown(const Field& field) {
    const auto* fraction = std::get_if<double>(&field.value);
    if (fraction != nullptr && is_rate(field)) {
        return fmt::format("{:.4f}", *fraction);
    }
    const bool is_whole = std::holds_alternative<std::uint64_t>(field.value);
    return is_whole || fraction != nullptr ? with_thousands(plain(field)) : plain(field);
}

bool is_number(const Field& field) {
    return std::holds_alternative<std::uint64_t>(field.value) ||
           std::holds_alternative<double>(field.value) || field.name == "capacity";
}

bool is_shown(const Report& report, std::string_view name) {
    return report.shown.empty() || std::ranges::find(report.shown, name) != report.shown.end();
}

std::string emphasised(std::string_view name, Emphasis emphasis) {
    // What terminals understand: ECMA-48, select graphic rendition.
    return emphasis == Emphasis::terminal ? fmt::format("\033[1m{}\033[0m", name)
                                          : std::string(name);
}

void append_line(std::string& text, std::string_view line) {
    text += line.substr(0, line.find_last_not_of(' ') + 1);
    text += '\n';
}

/// Names over columns, two spaces between them; numbers to the right.
std::string table_of_rows(const Report& report, Emphasis emphasis) {
    std::vector<std::string> lines(report.rows.size() + 1);
    for (std::size_t column = 0; !report.rows.empty() && column < report.rows.front().size();
         ++column) {
        const Field& first = report.rows.front()[column];
        if (!is_shown(report, first.name)) {
            continue;
        }
        std::vector<std::string> cells{std::string(first.name)};
        for (const Row& row : report.rows) {
            cells.push_back(shown(row[column]));
        }
        const std::size_t width = std::ranges::max(cells, {}, &std::string::size).size();
        for (std::size_t i = 0; i < cells.size(); ++i) {
            lines[i] += lines[i].empty() ? "" : "  ";
            lines[i] += is_number(first) ? fmt::format("{:>{}}", cells[i], width)
                                         : fmt::format("{:<{}}", cells[i], width);
        }
    }
    lines.front() = emphasised(lines.front(), emphasis);
    std::string text;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        // A group of rows per policy.
        text += i > 1 && report.rows[i - 1].front().value != report.rows[i - 2].front().value &&
                        report.rows[i - 1].front().name == "policy"
                    ? "\n"
                    : "";
        append_line(text, lines[i]);
    }
    return text;
}

/// One fact a line: names, and values beside them; numbers end in one column.
std::string table_of_facts(const Row& facts, Emphasis emphasis) {
    std::size_t name_width = 0;
    std::size_t number_width = 0;
    for (const Field& field : facts) {
        name_width = std::max(name_width, field.name.size());
        number_width = std::max(number_width, is_number(field) ? shown(field).size() : 0);
    }
    std::string text;
    for (const Field& field : facts) {
        std::string line = emphasised(field.name, emphasis);
        line.append(name_width - field.name.size(), ' ');
        append_line(text, fmt::format("{}  {:>{}}", line, shown(field),
                                      is_number(field) ? number_width : 0));
    }
    return text;
}

std::string table(const Report& report, Emphasis emphasis) {
    std::string text = report.caption;
    for (const Facts& facts : report.facts) {
        if (facts.in_table) {
            text += table_of_facts(facts.row, emphasis);
            text += report.list.empty() ? "" : "\n";
        }
    }
    return text + (report.list.empty() ? "" : table_of_rows(report, emphasis));
}

/// A csv cell; quoted if it must be.
std::string csv_cell(std::string text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) {
        return text;
    }
    for (std::size_t place = text.find('"'); place != std::string::npos;
         place = text.find('"', place + 2)) {
        text.insert(place, 1, '"');
    }
    return '"' + text + '"';
}

std::string csv(std::span<const Row> rows) {
    std::string text;
    const auto line = [&text](const Row& row, auto cell) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            text += i == 0 ? "" : ",";
            text += cell(row[i]);
        }
        text += '\n';
    };
    if (!rows.empty()) {
        line(rows.front(), [](const Field& field) { return std::string(field.name); });
    }
    for (const Row& row : rows) {
        line(row, [](const Field& field) { return csv_cell(plain(field)); });
    }
    return text;
}

nlohmann::ordered_json json_object(const Row& row) {
    auto object = nlohmann::ordered_json::object();
    for (const Field& field : row) {
        std::visit([&](const auto& value) { object[std::string(field.name)] = value; },
                   field.value);
    }
    return object;
}

Field capacity_field(std::optional<std::size_t> capacity) {
    Field field{"capacity", std::string("unlimited")};
    if (capacity) {
        field.value = std::uint64_t{*capacity};
    }
    return field;
}

std::string json(const Report& report) {
    auto object = nlohmann::ordered_json::object();
    object["tool"] = "kvbm";
    object["version"] = version;
    for (const Facts& facts : report.facts) {
        object[std::string(facts.name)] = json_object(facts.row);
    }
    if (!report.list.empty()) {
        auto& list = object[std::string(report.list)] = nlohmann::ordered_json::array();
        for (const Row& row : report.rows) {
            list.push_back(json_object(row));
        }
    }
    // A path need not be UTF-8.
    return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace

std::string plain(const Field& field) {
    return std::visit(
        [](const auto& value) -> std::string {
            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
                return value;
            } else {
                return fmt::format("{}", value);
            }
        },
        field.value);
}

std::string with_thousands(std::uint64_t value) {
    return with_thousands(fmt::format("{}", value));
}

std::string render(const Report& report, OutputFormat format, Emphasis emphasis) {
    switch (format) {
        case OutputFormat::csv:
            return csv(!report.list.empty() && report.list_in_csv
                           ? std::span<const Row>(report.rows)
                           : std::span<const Row>(&report.facts.back().row, 1));
        case OutputFormat::json:
            return json(report);
        case OutputFormat::table:
            break;
    }
    return table(report, emphasis);
}

std::string source_of(const Trace& trace) {
    return fmt::format("{}{}", trace.path == "-" ? "standard input" : trace.path,
                       trace.synthesised ? " (synthesised)" : "");
}

std::string_view to_string(SketchLayout layout) noexcept {
    return layout == SketchLayout::compat ? "compat" : "blocked";
}

Row fields_of(const Trace& trace, const TraceHashes& hashes) {
    return {{"path", trace.path},
            {"sha256", trace.sha256},
            {"format", std::string(to_string(trace.format))},
            {"synthesised", trace.synthesised},
            {"sessions", std::string(trace.sessions ? to_string(*trace.sessions) : "")},
            {"block_size", std::uint64_t{hashes.block_size()}},
            {"requests", std::uint64_t{hashes.requests()}},
            {"block_references", std::uint64_t{hashes.references()}},
            {"distinct_blocks", std::uint64_t{hashes.distinct_blocks(hashes.requests())}},
            {"skipped_lines", std::uint64_t{trace.skipped_lines}},
            {"blank_lines", std::uint64_t{trace.blank_lines}},
            {"empty_rows", std::uint64_t{trace.empty_rows}}};
}

Row fields_of(const ReplayRun& run, const Trace& trace) {
    return {{"policy", std::string(to_string(run.policy))},
            {"mode", std::string(to_string(run.mode))},
            {"order", std::string(to_string(run.order))},
            capacity_field(run.capacity),
            {"sketch", std::string(run.sketch ? to_string(*run.sketch) : "")},
            {"requests", run.requests},
            {"block_references", run.block_references},
            {"input_tokens", run.input_tokens},
            {"block_hits", run.block_hits},
            {"token_hits", run.token_hits},
            {"evictions", run.evictions},
            {"resident", run.resident},
            {"duplicates", run.duplicates},
            {"requests_with_hit", run.requests_with_hit},
            {"cut_requests", run.cut_requests},
            {"skipped_blocks", run.skipped_blocks},
            {"skipped_lines", std::uint64_t{trace.skipped_lines}},
            {"synthesised", trace.synthesised},
            {"block_hit_rate", run.block_hit_rate()},
            {"token_hit_rate", run.token_hit_rate()},
            {"full_block_token_rate", run.full_block_token_rate()},
            {"mean_block_hit_rate", run.mean_block_hit_rate},
            {"mean_token_hit_rate", run.mean_token_hit_rate},
            {"ceiling", run.ceiling()}};
}

Row fields_of(const RequestReplayRun& run, const Trace& trace) {
    return {{"policy", run.policy},
            {"mode", std::string("request")},
            capacity_field(run.capacity),
            {"concurrency", std::uint64_t{run.concurrency}},
            {"chunk", std::uint64_t{run.chunk}},
            {"completed", run.completed},
            {"rejected", run.rejected},
            {"preemptions", run.preemptions},
            {"steps", run.steps},
            {"prompt_tokens", run.prompt_tokens},
            {"prompt_tokens_cached", run.prompt_tokens_cached},
            {"recomputed_tokens", run.recomputed_tokens},
            {"resumed_tokens_cached", run.resumed_tokens_cached},
            {"output_tokens", run.output_tokens},
            {"evictions", run.evictions},
            {"peak_active_blocks", run.peak_active_blocks},
            {"skipped_lines", std::uint64_t{trace.skipped_lines}},
            {"synthesised", trace.synthesised},
            {"prompt_cache_rate", run.prompt_cache_rate()}};
}

}  // namespace kvbm::tool
