module;

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <simdjson.h>

module kvbm.replay;

import :reading;

namespace kvbm::detail::replay {

namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

static_assert(line_padding >= simdjson::SIMDJSON_PADDING);

// Only what was spelled as an integer: 1e3 and 1.0 are doubles here.
std::optional<std::uint64_t> unsigned_of(const element& value) noexcept {
    if (!value.is<std::uint64_t>()) {
        return std::nullopt;
    }
    const auto number = value.get_uint64();
    if (number.error() != simdjson::SUCCESS) {
        return std::nullopt;
    }
    return number.value_unsafe();
}

FieldState read_length(const element& value, std::uint64_t& length) noexcept {
    const auto number = unsigned_of(value);
    if (!number || *number > largest_length) {
        return FieldState::bad;
    }
    length = *number;
    return FieldState::good;
}

FieldState read_time(const element& value, double& time) noexcept {
    const auto number = value.get_double();
    if (number.error() != simdjson::SUCCESS || !std::isfinite(number.value_unsafe())) {
        return FieldState::bad;
    }
    time = number.value_unsafe();
    return FieldState::good;
}

}  // namespace

struct JsonRows::Parser {
    simdjson::dom::parser parser;

    // One document of exactly these bytes. The capacity at least doubles, so that slowly growing
    // lines do not allocate each.
    std::optional<simdjson::dom::object> object_of(std::string_view line) {
        if (line.size() > parser.capacity() &&
            parser.allocate(std::max(line.size(), 2 * parser.capacity())) != simdjson::SUCCESS) {
            return std::nullopt;
        }
        return object_in(parser.parse(line.data(), line.size(), false));
    }
    std::optional<simdjson::dom::object> object_of_copy(const std::string& line) {
        return object_in(parser.parse(line.data(), line.size(), true));
    }

  private:
    static std::optional<simdjson::dom::object> object_in(
        simdjson::simdjson_result<element> document) {
        simdjson::dom::object object;
        if (document.get_object().get(object) != simdjson::SUCCESS) {
            return std::nullopt;
        }
        return object;
    }
};

JsonRows::JsonRows(std::size_t max_blocks)
    : parser_(std::make_unique<Parser>()), max_blocks_(max_blocks) {}
JsonRows::~JsonRows() = default;

namespace {

// Stops at the first element that is no id, or one past the limit.
FieldState read_ids(const element& value, std::size_t max_blocks, bool& too_many,
                    std::vector<std::uint64_t>& ids) {
    simdjson::dom::array elements;
    if (value.get_array().get(elements) != simdjson::SUCCESS) {
        return FieldState::bad;
    }
    std::size_t count = 0;
    for (const element item : elements) {
        const auto id = unsigned_of(item);
        if (!id) {
            return FieldState::bad;
        }
        if (++count > max_blocks) {
            too_many = true;
            return FieldState::good;
        }
        ids.push_back(*id);
    }
    return FieldState::good;
}

}  // namespace

std::optional<JsonRow> JsonRows::read(std::string_view line, std::vector<std::uint64_t>& ids) {
    if (line[line.find_first_not_of(" \t\r")] != '{' || has_lone_low_surrogate(line)) {
        return std::nullopt;
    }
    // The parser takes -0 for 0 and gives up on a number it can't hold, even in an unread field.
    auto object =
        line.find("-0") == std::string_view::npos ? parser_->object_of(line) : std::nullopt;
    if (!object) {
        object = parser_->object_of_copy(with_representable_numbers(line));
    }
    if (!object) {
        return std::nullopt;
    }
    JsonRow row;
    const auto first_id = ids.size();
    for (const auto& [key, value] : *object) {
        if (key == "timestamp") {
            row.timestamp = read_time(value, row.time);
        } else if (key == "input_length") {
            row.input_length = read_length(value, row.input_tokens);
        } else if (key == "output_length") {
            row.output_length = read_length(value, row.output_tokens);
        } else if (key == "hash_ids") {
            ids.resize(first_id);
            row.too_many_blocks = false;
            row.hash_ids = read_ids(value, max_blocks_, row.too_many_blocks, ids);
        } else if (key == "chat_id") {
            row.has_chat_id = true;
        }
    }
    return row;
}

namespace {

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

// Where a number that begins at `first` ends, by the grammar of JSON; `first` if there is none.
std::size_t end_of_number(std::string_view text, std::size_t first, bool& integer) noexcept {
    const auto at = [text](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
    const auto digits = [&](std::size_t i) {
        while (is_digit(at(i))) {
            ++i;
        }
        return i;
    };
    auto end = first + (at(first) == '-' ? 1U : 0U);
    const auto leading = end;
    end = digits(end);
    if (end == leading || (at(leading) == '0' && end > leading + 1)) {
        return first;
    }
    integer = true;
    if (at(end) == '.' && is_digit(at(end + 1))) {
        end = digits(end + 1);
        integer = false;
    }
    if (at(end) == 'e' || at(end) == 'E') {
        const auto sign = end + 1;
        const auto exponent = sign + (at(sign) == '+' || at(sign) == '-' ? 1U : 0U);
        if (is_digit(at(exponent))) {
            end = digits(exponent);
            integer = false;
        }
    }
    return end;
}

void append_representable(std::string_view number, bool integer, std::string& out) {
    if (number == "-0") {
        out += "-0.0";
        return;
    }
    if (integer) {
        const auto* const last = number.data() + number.size();
        std::uint64_t natural = 0;
        std::int64_t whole = 0;
        if (std::from_chars(number.data(), last, natural).ec == std::errc{} ||
            std::from_chars(number.data(), last, whole).ec == std::errc{}) {
            out += number;
            return;
        }
    }
    const double value = std::strtod(std::string(number).c_str(), nullptr);
    if (!std::isfinite(value)) {
        out += "null";
    } else if (!integer) {
        out += number;
    } else {
        std::array<char, 32> digits{};
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                       std::chars_format::scientific);
        out.append(digits.data(), end.ptr);
    }
}

// One past the string that begins at `first`, or the end of the text.
std::size_t end_of_string(std::string_view text, std::size_t first) noexcept {
    auto i = first + 1;
    while (i < text.size() && text[i] != '"') {
        i += text[i] == '\\' ? 2U : 1U;
    }
    return std::min(i + 1, text.size());
}

}  // namespace

std::string with_representable_numbers(std::string_view line) {
    std::string out;
    out.reserve(line.size() + 32);
    for (std::size_t i = 0; i < line.size();) {
        bool integer = false;
        auto end = i + 1;
        if (line[i] == '"') {
            end = end_of_string(line, i);
        } else if (line[i] == '-' || is_digit(line[i])) {
            const auto number_end = end_of_number(line, i, integer);
            if (number_end > i) {
                append_representable(line.substr(i, number_end - i), integer, out);
                i = number_end;
                continue;
            }
        }
        out += line.substr(i, end - i);
        i = end;
    }
    return out;
}

// Some versions of the JSON parser accept it, others don't: here it is never JSON.
bool has_lone_low_surrogate(std::string_view line) noexcept {
    const auto surrogate_at = [line](std::size_t i, char low, char high) {
        const auto digit = i + 3 < line.size() ? line[i + 3] : '\0';
        const char third = digit >= 'a' ? static_cast<char>(digit - 'a' + 'A') : digit;
        return i + 3 < line.size() && line[i] == '\\' && line[i + 1] == 'u' &&
               (line[i + 2] == 'd' || line[i + 2] == 'D') && third >= low && third <= high;
    };
    for (auto i = line.find('\\'); i < line.size(); i = line.find('\\', i)) {
        if (surrogate_at(i, '8', 'B')) {
            i += 6;  // a high one: what follows is the parser's to judge
            i += surrogate_at(i, 'C', 'F') ? 6U : 0U;
        } else if (surrogate_at(i, 'C', 'F')) {
            return true;
        } else {
            i += 2;
        }
    }
    return false;
}

}  // namespace kvbm::detail::replay
