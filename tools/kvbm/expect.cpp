// `--expect`: golden rows against what was counted.
module;

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

using Cells = std::vector<std::string_view>;

/// The lines of a text without their ends.
std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        lines.push_back(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

/// Our columns hold no commas, so a line of them needs no quotes.
Cells cells_of(std::string_view line) {
    Cells cells;
    for (;;) {
        const std::size_t comma = std::min(line.find(','), line.size());
        cells.push_back(line.substr(0, comma));
        if (comma == line.size()) {
            return cells;
        }
        line.remove_prefix(comma + 1);
    }
}

bool is_key(std::string_view column) {
    return column == "policy" || column == "mode" || column == "order" || column == "capacity";
}

const Field* field_named(const Row& row, std::string_view name) {
    const auto found = std::ranges::find(row, name, &Field::name);
    return found == row.end() ? nullptr : &*found;
}

/// What was counted, written with as many digits as the expected cell has.
std::string written_like(std::string_view expected, const Field& field) {
    const auto* rate = std::get_if<double>(&field.value);
    if (rate == nullptr) {
        return plain(field);
    }
    const std::size_t point = expected.find('.');
    const std::size_t digits = point == std::string_view::npos ? 0 : expected.size() - point - 1;
    std::string text = fmt::format("{:.{}f}", *rate, digits);
    if (expected.starts_with('.') && text.starts_with("0.")) {
        text.erase(0, 1);
    }
    return text;
}

/// The csv file of expected rows.
struct Expected {
    Cells columns;
    std::vector<Cells> rows;
};

Result<Expected, Failure> parse_expected(const std::string& path, std::string_view text,
                                         const Row& like) {
    Expected expected;
    const auto refuse = [&path](std::size_t line, std::string_view reason) {
        return failure(Failure{ExitCode::bad_data, fmt::format("{}:{}: {}", path, line, reason)});
    };
    const auto lines = lines_of(text);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].empty()) {
            continue;
        }
        Cells cells = cells_of(lines[i]);
        if (!expected.columns.empty()) {
            if (cells.size() != expected.columns.size()) {
                return refuse(i + 1, fmt::format("not CSV: {} fields, header has {}", cells.size(),
                                                 expected.columns.size()));
            }
            expected.rows.push_back(std::move(cells));
            continue;
        }
        for (const std::string_view column : cells) {
            if (field_named(like, column) == nullptr) {
                return refuse(i + 1, fmt::format("unknown column \"{}\"", column));
            }
        }
        expected.columns = std::move(cells);
    }
    if (expected.rows.empty()) {
        return failure(Failure{ExitCode::bad_data, path + ": no expected rows"});
    }
    return expected;
}

/// What of the row says which run it is about: `policy lru, capacity 1000`.
std::string key_text(const Expected& expected, const Cells& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (is_key(expected.columns[i])) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", expected.columns[i], cells[i]);
        }
    }
    return text;
}

/// What of a row must agree with a run.
enum class Agreement { policy_mode_order, capacity_too };

/// Whether the run has the row's policy, mode, order and perhaps capacity, as far as given.
bool is_about(const Expected& expected, const Cells& cells, const Row& run, Agreement agreement) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
        const std::string_view column = expected.columns[i];
        const bool matters =
            column == "capacity" ? agreement == Agreement::capacity_too : is_key(column);
        if (matters && plain(*field_named(run, column)) != cells[i]) {
            return false;
        }
    }
    return true;
}

std::string differences(const Expected& expected, const Cells& cells, const Row& run) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        const std::string got = written_like(cells[i], *field_named(run, expected.columns[i]));
        if (got != cells[i]) {
            text += fmt::format("{}: {}: expected {}, got {}\n", key_text(expected, cells),
                                expected.columns[i], cells[i], got);
        }
    }
    return text;
}

}  // namespace

Result<void, Failure> expect_rows(const std::string& path, std::span<const Row> rows) {
    const auto text = read_file(path);
    if (!text) {
        return failure(text.error());
    }
    const auto expected = parse_expected(path, *text, rows.front());
    if (!expected) {
        return failure(expected.error());
    }
    std::string differs;
    std::size_t compared = 0;
    for (const Cells& cells : expected->rows) {
        const auto about = [&](Agreement agreement) {
            return std::views::filter([&, agreement](const Row& run) {
                return is_about(*expected, cells, run, agreement);
            });
        };
        std::size_t found = 0;
        for (const Row& run : rows | about(Agreement::capacity_too)) {
            ++found;
            differs += differences(*expected, cells, run);
        }
        compared += found;
        // Rows of other policies, modes and orders may stand in the file; capacities that were not
        // replayed may not.
        if (found == 0 && !(rows | about(Agreement::policy_mode_order)).empty()) {
            differs += fmt::format("{}: expected, but not replayed\n", key_text(*expected, cells));
        }
    }
    if (compared == 0 && differs.empty()) {
        differs = fmt::format("{}: no row is about what was replayed\n", path);
    }
    if (!differs.empty()) {
        differs.pop_back();
        return failure(Failure{ExitCode::differs, std::move(differs)});
    }
    return {};
}

}  // namespace kvbm::tool
