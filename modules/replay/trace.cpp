module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <fmt/format.h>

module kvbm.replay;

namespace kvbm {

namespace {

constexpr std::array format_names{std::pair{TraceFormat::mooncake, std::string_view("mooncake")},
                                  std::pair{TraceFormat::qwen, std::string_view("qwen")},
                                  std::pair{TraceFormat::azure, std::string_view("azure")},
                                  std::pair{TraceFormat::burstgpt, std::string_view("burstgpt")}};

constexpr std::array session_names{
    std::pair{SessionRule::labelled, std::string_view("labelled")},
    std::pair{SessionRule::independent, std::string_view("independent")},
    std::pair{SessionRule::greedy, std::string_view("greedy")}};

template <class Names, class Value>
std::string_view name_of(const Names& names, Value value) noexcept {
    for (const auto& [known, name] : names) {
        if (known == value) {
            return name;
        }
    }
    return "unknown";
}

template <class Names>
auto value_named(const Names& names, std::string_view wanted) noexcept
    -> std::optional<std::remove_cvref_t<decltype(names.front().first)>> {
    for (const auto& [value, name] : names) {
        if (name == wanted) {
            return value;
        }
    }
    return std::nullopt;
}

/// The text behind `FILE:LINE: `.
struct ReasonText {
    std::string operator()(const TraceError::Unreadable& reason) const {
        return std::system_category().message(reason.code);
    }
    std::string operator()(const TraceError::UnknownFormat&) const {
        return "unknown trace format";
    }
    std::string operator()(const TraceError::NoRequests&) const { return "no requests"; }
    std::string operator()(const TraceError::NotJsonObject&) const { return "not a JSON object"; }
    std::string operator()(const TraceError::NotCsv& reason) const {
        return fmt::format("not CSV: {} fields, header has {}", reason.fields,
                           reason.header_fields);
    }
    std::string operator()(const TraceError::MissingField& reason) const {
        return fmt::format("missing field \"{}\"", reason.field);
    }
    std::string operator()(const TraceError::NotInteger& reason) const {
        return fmt::format("field \"{}\" is not a non-negative integer", reason.field);
    }
    std::string operator()(const TraceError::NotFinite& reason) const {
        return fmt::format("field \"{}\" is not a finite number", reason.field);
    }
    std::string operator()(const TraceError::NotDateTime& reason) const {
        return fmt::format("field \"{}\" is not a date and time", reason.field);
    }
    std::string operator()(const TraceError::BlocksDoNotFit& reason) const {
        return fmt::format("{} blocks do not fit {} tokens at block size {}", reason.blocks,
                           reason.tokens, reason.block_size);
    }
    std::string operator()(const TraceError::LineTooLong& reason) const {
        return fmt::format("line longer than {} bytes", reason.limit);
    }
    std::string operator()(const TraceError::TooManyBlocks& reason) const {
        return fmt::format("more than {} blocks", reason.limit);
    }
    std::string operator()(const TraceError::HeaderLacks& reason) const {
        return fmt::format("header lacks \"{}\"", reason.column);
    }
};

}  // namespace

std::string_view to_string(TraceFormat format) noexcept {
    return name_of(format_names, format);
}

std::optional<TraceFormat> trace_format_named(std::string_view name) noexcept {
    return value_named(format_names, name);
}

std::uint64_t default_block_size(TraceFormat format) noexcept {
    return format == TraceFormat::qwen ? 16 : 512;
}

std::string_view to_string(SessionRule rule) noexcept {
    return name_of(session_names, rule);
}

std::optional<SessionRule> session_rule_named(std::string_view name) noexcept {
    return value_named(session_names, name);
}

std::string skipped_notice(const Trace& trace) {
    return trace.skipped_lines == 0 ? std::string()
                                    : fmt::format("{} bad lines skipped (first: {})",
                                                  trace.skipped_lines, trace.first_skipped);
}

std::string TraceError::message() const {
    const auto text = std::visit(ReasonText{}, reason);
    return line == 0 ? fmt::format("{}: {}", file, text)
                     : fmt::format("{}:{}: {}", file, line, text);
}

int TraceError::exit_code() const noexcept {
    return std::holds_alternative<Unreadable>(reason) ? 1 : 3;
}

}  // namespace kvbm
