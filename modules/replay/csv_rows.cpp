module;

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

module kvbm.replay;

import :reading;

namespace kvbm::detail::replay {

void CsvFields::split(std::string_view line) {
    text_.clear();
    ends_.clear();
    complete_ = true;
    std::size_t at = 0;
    while (true) {
        std::size_t end = 0;
        if (at < line.size() && line[at] == '"') {
            const auto closed = quoted_field(line, at + 1);
            if (!closed) {
                complete_ = false;
                text_.resize(ends_.empty() ? 0 : ends_.back());
                return;
            }
            end = *closed;
        } else {
            end = std::min(line.find(',', at), line.size());
            text_ += line.substr(at, end - at);
        }
        ends_.push_back(text_.size());
        if (end == line.size()) {
            return;
        }
        at = end + 1;
    }
}

// Copies a field whose opening quote is behind `at`; gives the place of the comma or end after it.
std::optional<std::size_t> CsvFields::quoted_field(std::string_view line, std::size_t at) {
    while (true) {
        const auto quote = line.find('"', at);
        if (quote == std::string_view::npos) {
            return std::nullopt;
        }
        text_ += line.substr(at, quote - at);
        at = quote + 1;
        if (at == line.size() || line[at] == ',') {
            return at;
        }
        if (line[at] != '"') {
            return std::nullopt;
        }
        text_ += '"';
        ++at;
    }
}

std::optional<std::uint64_t> length_of(std::string_view text) noexcept {
    std::uint64_t value = 0;
    const auto* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, value);
    if (error != std::errc{} || end != last || value > largest_length) {
        return std::nullopt;
    }
    return value;
}

namespace {

// One decimal digit or more, cut off the front of `text`; -1 if there are none, or not `digits`.
int take_digits(std::string_view& text, std::size_t digits) noexcept {
    int value = -1;
    const auto* const last = text.data() + std::min(digits, text.size());
    const auto [end, error] = std::from_chars(text.data(), last, value);
    if (error != std::errc{} || end != text.data() + digits || text.front() == '-') {
        return -1;
    }
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, std::string_view any_of) noexcept {
    if (text.empty() || any_of.find(text.front()) == std::string_view::npos) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

// The grammar of a JSON number, so that both kinds of file take the same spellings.
bool is_json_number(std::string_view text) noexcept {
    const auto digits = [&text] {
        const auto count = std::min(text.find_first_not_of("0123456789"), text.size());
        text.remove_prefix(count);
        return count;
    };
    take(text, "-");
    const bool zero = text.starts_with('0');
    const auto whole = digits();
    if (whole == 0 || (zero && whole > 1) || (take(text, ".") && digits() == 0)) {
        return false;
    }
    if (take(text, "eE")) {
        take(text, "+-");
        return digits() > 0 && text.empty();
    }
    return text.empty();
}

std::optional<std::int64_t> take_date(std::string_view& text) noexcept {
    const int year = take_digits(text, 4);
    const bool dash = take(text, "-");
    const int month = take_digits(text, 2);
    const bool second_dash = take(text, "-");
    const int day = take_digits(text, 2);
    if (year < 0 || !dash || month < 0 || !second_dash || day < 0) {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok()) {
        return std::nullopt;
    }
    return std::chrono::sys_days(date).time_since_epoch().count() * std::int64_t{86'400};
}

// hh:mm in minutes.
std::optional<int> take_clock(std::string_view& text) noexcept {
    const int hour = take_digits(text, 2);
    const bool colon = take(text, ":");
    const int minute = take_digits(text, 2);
    if (hour < 0 || hour > 23 || !colon || minute < 0 || minute > 59) {
        return std::nullopt;
    }
    return hour * 60 + minute;
}

std::optional<int> take_fraction(std::string_view& text) noexcept {
    if (!take(text, ".")) {
        return 0;
    }
    const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    if (digits == 0 || digits > 9) {
        return std::nullopt;
    }
    int nanoseconds = take_digits(text, digits);
    for (auto i = digits; i < 9; ++i) {
        nanoseconds *= 10;
    }
    return nanoseconds;
}

// Seconds to subtract for `Z`, `+hh:mm`, or nothing.
std::optional<int> take_offset(std::string_view& text) noexcept {
    if (text.empty() || take(text, "Z")) {
        return 0;
    }
    const int sign = text.front() == '-' ? -60 : 60;
    if (!take(text, "+-")) {
        return std::nullopt;
    }
    const auto minutes = take_clock(text);
    return minutes ? std::optional(sign * *minutes) : std::nullopt;
}

}  // namespace

std::optional<double> number_of(std::string_view text) {
    if (!is_json_number(text)) {
        return std::nullopt;
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) {
        value = std::strtod(std::string(text).c_str(), nullptr);  // tells too large from too small
    }
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<Moment> moment_of(std::string_view text) noexcept {
    const auto day = take_date(text);
    if (!day || !take(text, " T")) {
        return std::nullopt;
    }
    const auto minutes = take_clock(text);
    if (!minutes || !take(text, ":")) {
        return std::nullopt;
    }
    const int seconds = take_digits(text, 2);
    if (seconds < 0 || seconds > 59) {
        return std::nullopt;
    }
    const auto fraction = take_fraction(text);
    if (!fraction) {
        return std::nullopt;
    }
    const auto offset = take_offset(text);
    if (!offset || !text.empty()) {
        return std::nullopt;
    }
    return Moment{*day + std::int64_t{*minutes} * 60 + seconds - *offset, *fraction};
}

}  // namespace kvbm::detail::replay
