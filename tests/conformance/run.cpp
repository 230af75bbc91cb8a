// Files: which format, which replay, and the sums at the end.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;

namespace kvbm::conformance {
namespace {

struct DocumentFormat {
    std::string_view name;
    void (*replay)(const Fields& document, Report& report);
};

constexpr std::array document_formats{DocumentFormat{"edge_cases", replay_edge_cases},
                                      DocumentFormat{"hashing", replay_hashing},
                                      DocumentFormat{"tinylfu", replay_tinylfu}};

bool blank(std::string_view line) {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

/// Cuts the first line off a text.
std::string_view take_line(std::string_view& rest) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return line;
}

bool is_header(const Value& value) {
    const Value* kind = value.find("kind");
    return kind != nullptr && kind->as<std::string>() != nullptr &&
           *kind->as<std::string>() == "header";
}

/// What is wrong with the lines after the header, with the number of the line; empty if nothing is.
std::string replay_lines(Value header, std::string_view rest, std::size_t line_number,
                         Report& report) {
    ScriptReplay scripts(std::move(header), report);
    while (!scripts.trouble().any() && !rest.empty()) {
        const std::string_view line = take_line(rest);
        ++line_number;
        if (blank(line)) {
            continue;
        }
        const auto value = parse_json(line);
        if (!value) {
            return std::to_string(line_number) + ": not JSON: " + value.error().message();
        }
        scripts.replay(*value);
    }
    return scripts.trouble().any() ? std::to_string(line_number) + ": " + scripts.trouble().text()
                                   : "";
}

std::string replay_document(const Value& value, Report& report) {
    Trouble trouble;
    const Fields document(value, "", trouble);
    const Fields header = document.object("header");
    check_version(header);
    const std::string name = header.text("format");
    if (!trouble.any()) {
        const auto found = std::ranges::find(document_formats, name, &DocumentFormat::name);
        if (found == document_formats.end()) {
            return " unknown format \"" + name + "\"";
        }
        found->replay(document, report);
    }
    return trouble.any() ? " " + trouble.text() : "";
}

std::optional<std::string> read_file(const std::string& path, std::string& reason) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
        reason = "is a directory";
        return std::nullopt;
    }
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        reason = "cannot be opened";
        return std::nullopt;
    }
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (file.bad()) {
        reason = "cannot be read";
        return std::nullopt;
    }
    return text;
}

}  // namespace

FileResult replay_text(std::string_view name, std::string_view text, std::ostream& out) {
    Report report(out, std::string(name));
    std::string_view rest = text;
    std::size_t line_number = 0;
    std::string_view first;
    while (blank(first) && !rest.empty()) {
        first = take_line(rest);
        ++line_number;
    }
    std::string malformed;
    const auto header = parse_json(first);
    if (blank(first)) {
        malformed = " the file is empty";
    } else if (header && is_header(*header)) {
        malformed = replay_lines(*header, rest, line_number, report);
    } else if (const auto document = parse_json(text)) {
        malformed = replay_document(*document, report);
    } else {
        malformed = std::to_string(line_number) +
                    ": neither a header line nor one document: " + document.error().message();
    }
    report.finish();
    return {report.tally(), malformed.empty() ? "" : std::string(name) + ":" + malformed};
}

int run(std::span<const std::string> files, std::ostream& out, std::ostream& err) {
    if (files.empty()) {
        err << "usage: kvbm_conformance FILE...\n";
        return 2;
    }
    Tally sum;
    bool malformed = false;
    for (const std::string& path : files) {
        std::string reason;
        const auto text = read_file(path, reason);
        const FileResult result =
            text ? replay_text(path, *text, out) : FileResult{{}, path + ": " + reason};
        sum += result.tally;
        if (!result.malformed.empty()) {
            malformed = true;
            err << "kvbm_conformance: " << result.malformed << '\n';
        }
    }
    out << sum.to_string() << '\n';
    return malformed ? 2 : sum.failed > 0 ? 1 : 0;
}

}  // namespace kvbm::conformance
