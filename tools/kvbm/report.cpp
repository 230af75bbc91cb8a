// Reports as a table, as csv, as json.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

/// 1234567 as 1,234,567.
std::string with_thousands(std::uint64_t value) {
    std::string digits = fmt::format("{}", value);
    for (std::size_t place = digits.size(); place > 3; place -= 3) {
        digits.insert(place - 3, ",");
    }
    return digits;
}

/// The cell as the table has it.
std::string shown(const Field& field) {
    if (const auto* integer = std::get_if<std::uint64_t>(&field.value)) {
        return with_thousands(*integer);
    }
    if (const auto* rate = std::get_if<double>(&field.value)) {
        return fmt::format("{:.4f}", *rate);
    }
    return plain(field);
}

bool is_number(const Field& field) {
    return std::holds_alternative<std::uint64_t>(field.value) ||
           std::holds_alternative<double>(field.value) || field.name == "capacity";
}

bool is_shown(const Report& report, std::string_view name) {
    return report.shown.empty() || std::ranges::find(report.shown, name) != report.shown.end();
}

void append_line(std::string& text, std::string line) {
    line.erase(line.find_last_not_of(' ') + 1);
    text += line;
    text += '\n';
}

/// Names over columns, two spaces between them; numbers to the right.
std::string table_of_rows(const Report& report) {
    std::string text;
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
    for (std::string& line : lines) {
        append_line(text, std::move(line));
    }
    return text;
}

/// One fact a line, values to the right of the names.
std::string table_of_facts(const Report& report) {
    std::size_t width = 0;
    for (const Field& field : report.facts) {
        width = std::max(width, field.name.size());
    }
    std::string text;
    for (const Field& field : report.facts) {
        append_line(text, fmt::format("{:<{}}  {}", field.name, width, shown(field)));
    }
    return text;
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

std::string json(const Report& report) {
    auto object = nlohmann::ordered_json::object();
    object["tool"] = "kvbm";
    object["version"] = version;
    object[std::string(report.subject)] = json_object(report.facts);
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

std::string render(const Report& report, OutputFormat format) {
    switch (format) {
        case OutputFormat::csv:
            return csv(report.list.empty() ? std::span(&report.facts, 1) : std::span(report.rows));
        case OutputFormat::json:
            return json(report);
        case OutputFormat::table:
            break;
    }
    return report.caption + (report.list.empty() ? table_of_facts(report) : table_of_rows(report));
}

Row fields_of(const ReplayRun& run, const Trace& trace) {
    Field capacity{"capacity", std::string("unlimited")};
    if (run.capacity) {
        capacity.value = std::uint64_t{*run.capacity};
    }
    return {{"policy", std::string(to_string(run.policy))},
            {"mode", std::string(to_string(run.mode))},
            {"order", std::string(to_string(run.order))},
            std::move(capacity),
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

}  // namespace kvbm::tool
