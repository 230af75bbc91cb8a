module;

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.testing;

namespace kvbm::testing {

namespace {

using Strings = std::vector<std::string>;

std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

bool all_of(std::string_view text, std::string_view characters) {
    return text.find_first_not_of(characters) == std::string_view::npos;
}

bool is_digits(std::string_view text) {
    return !text.empty() && all_of(text, "0123456789");
}

/// Digits only, and at most `largest`, compared as text.
std::optional<std::uint64_t> natural(std::string text, const std::string& largest) {
    if (!is_digits(text)) {
        return std::nullopt;
    }
    text.erase(0, std::min(text.find_first_not_of('0'), text.size() - 1));
    if (text.size() > largest.size() || (text.size() == largest.size() && text > largest)) {
        return std::nullopt;
    }
    return std::strtoull(text.c_str(), nullptr, 10);
}

const std::string largest_length = "9007199254740992";
const std::string largest_id = "18446744073709551615";

std::optional<double> finite(const std::string& text, double scale) {
    const auto json = parse_json_slowly(text);
    if (!json || json->kind != PlainJson::Kind::number || json->text != text) {
        return std::nullopt;
    }
    const double value = std::strtod(text.c_str(), nullptr) * scale;
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

/// d matches a digit, everything else itself.
bool looks_like(std::string_view text, std::string_view pattern) {
    bool same = text.size() == pattern.size();
    for (std::size_t i = 0; same && i < text.size(); ++i) {
        same = pattern[i] == 'd' ? is_digits(text.substr(i, 1)) : text[i] == pattern[i];
    }
    return same;
}

int number_at(const std::string& text, std::size_t first, std::size_t digits) {
    return std::atoi(text.substr(first, digits).c_str());
}

bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int days_of_month(int year, int month) {
    const int days[] = {31, is_leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1];
}

struct DateTime {
    long long seconds = 0;
    long long nanoseconds = 0;
};

std::optional<DateTime> date_time(std::string text) {
    DateTime result;
    const auto zone = text.size() < 6 ? std::string() : text.substr(text.size() - 6);
    if (text.ends_with('Z')) {
        text.pop_back();
    } else if (looks_like(zone, "+dd:dd") || looks_like(zone, "-dd:dd")) {
        const int hours = number_at(zone, 1, 2);
        const int minutes = number_at(zone, 4, 2);
        if (hours > 23 || minutes > 59) {
            return std::nullopt;
        }
        result.seconds = (zone[0] == '+' ? -1LL : 1LL) * (hours * 3600LL + minutes * 60LL);
        text.resize(text.size() - 6);
    }
    const auto day = text.substr(0, 19);
    if (!looks_like(day, "dddd-dd-dd dd:dd:dd") && !looks_like(day, "dddd-dd-ddTdd:dd:dd")) {
        return std::nullopt;
    }
    const auto fraction = text.substr(19);
    if (!fraction.empty()) {
        if (fraction[0] != '.' || !is_digits(fraction.substr(1)) || fraction.size() > 10) {
            return std::nullopt;
        }
        result.nanoseconds = std::atoll((fraction.substr(1) + "000000000").substr(0, 9).c_str());
    }
    const int year = number_at(text, 0, 4);
    const int month = number_at(text, 5, 2);
    const int day_of_month = number_at(text, 8, 2);
    const int hour = number_at(text, 11, 2);
    const int minute = number_at(text, 14, 2);
    const int second = number_at(text, 17, 2);
    if (month < 1 || month > 12 || day_of_month < 1 || day_of_month > days_of_month(year, month) ||
        hour > 23 || minute > 59 || second > 59) {
        return std::nullopt;
    }
    long long days = day_of_month - 1;
    for (int i = 0; i < year; ++i) {
        days += is_leap(i) ? 366 : 365;
    }
    for (int i = 1; i < month; ++i) {
        days += days_of_month(year, i);
    }
    result.seconds += ((days * 24 + hour) * 60 + minute) * 60 + second;
    return result;
}

/// The fields of a CSV line; `complete` is false when a quoted one does not end where it should.
Strings csv_fields(const std::string& line, bool& complete) {
    Strings fields(1);
    complete = true;
    for (std::size_t i = 0; i < line.size();) {
        if (fields.back().empty() && line[i] == '"' && (i == 0 || line[i - 1] == ',')) {
            ++i;
            while (i < line.size() && (line[i] != '"' || line.substr(i, 2) == "\"\"")) {
                fields.back() += line[i];
                i += line[i] == '"' ? 2 : 1;
            }
            ++i;
            if (i > line.size() || (i < line.size() && line[i] != ',')) {
                complete = false;
                fields.pop_back();
                return fields;
            }
        } else if (line[i] != ',') {
            fields.back() += line[i++];
            continue;
        }
        if (i < line.size()) {
            fields.emplace_back();
            ++i;
        }
    }
    return fields;
}

const Strings json_names{"timestamp", "input_length", "output_length", "hash_ids"};
const Strings azure_names{"TIMESTAMP", "ContextTokens", "GeneratedTokens"};
const Strings burstgpt_names{"Timestamp", "Request tokens", "Response tokens"};

std::optional<std::size_t> last_index(const Strings& names, const std::string& name) {
    for (std::size_t i = names.size(); i-- > 0;) {
        if (names[i] == name) {
            return i;
        }
    }
    return std::nullopt;
}

std::string not_integer(const std::string& field) {
    return "field \"" + field + "\" is not a non-negative integer";
}

/// Reads one file. Each step gives the reason why a line is bad, or an empty one.
class SlowReader {
  public:
    explicit SlowReader(const SlowReadOptions& options) : options_(options) {
        if (!options.format.empty()) {
            decide(options.format);
        }
    }

    ReadOutcome read(std::string_view bytes) {
        std::size_t number = 0;
        while (!bytes.empty() && out_.error.empty()) {
            const auto end = std::min(bytes.find('\n'), bytes.size());
            take(std::string(bytes.substr(0, end)), ++number);
            bytes.remove_prefix(std::min(end + 1, bytes.size()));
        }
        if (out_.error.empty() && out_.requests.empty()) {
            out_.error = "FILE: no requests";
        }
        return out_;
    }

  private:
    void decide(const std::string& format) {
        out_.format = format;
        out_.block_size = options_.block_size != 0 ? options_.block_size
                          : format == "qwen"       ? 16
                                                   : 512;
        json_ = format == "mooncake" || format == "qwen";
        names_ = format == "azure" ? azure_names : burstgpt_names;
    }

    void take(std::string line, std::size_t number) {
        if (number == 1 && line.starts_with("\xEF\xBB\xBF")) {
            line.erase(0, 3);
        }
        if (line.ends_with('\r')) {
            line.pop_back();
        }
        const bool too_long = line.size() > options_.max_line;
        line.resize(std::min(line.size(), options_.max_line));
        const auto content = line.find_first_not_of(" \t\r");
        const bool blank = content == std::string::npos;
        if (blank && !too_long) {
            ++out_.blank;
            return;
        }
        if (!json_) {
            json_ = !blank && line[content] == '{';
        }
        const auto where = "FILE:" + std::to_string(number) + ": ";
        if (!*json_ && header_.empty()) {
            const auto fatal = too_long ? length_reason() : header(line);
            if (fatal == "unknown trace format") {
                out_.error = "FILE: " + fatal;
            } else if (!fatal.empty()) {
                out_.error = where + fatal;
            }
            return;
        }
        const auto reason = too_long ? length_reason() : *json_ ? json(line) : csv(line);
        if (reason == "unknown trace format") {
            out_.error = "FILE: " + reason;
        } else if (!reason.empty() && options_.skip_bad && out_.skipped < options_.max_bad) {
            out_.first_skipped = out_.skipped++ == 0 ? where + reason : out_.first_skipped;
        } else if (!reason.empty()) {
            out_.error = where + reason;
        }
    }

    std::string length_reason() const {
        return "line longer than " + std::to_string(options_.max_line) + " bytes";
    }
    std::string blocks_reason() const {
        return "more than " + std::to_string(options_.max_blocks) + " blocks";
    }

    std::string json(const std::string& line) {
        const auto object = parse_json_slowly(line);
        if (!object || object->kind != PlainJson::Kind::object) {
            return "not a JSON object";
        }
        std::vector<std::optional<PlainJson>> values;
        for (const auto& name : json_names) {
            const auto index = last_index(object->names, name);
            values.push_back(index ? std::optional(object->items[*index]) : std::nullopt);
        }
        if (out_.format.empty()) {
            const bool chat = last_index(object->names, "chat_id").has_value();
            if (!chat && std::count(values.begin(), values.end(), std::nullopt) == 4) {
                return "unknown trace format";
            }
            decide(chat ? "qwen" : "mooncake");
        }
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (!values[i]) {
                return "missing field \"" + json_names[i] + "\"";
            }
        }
        return json_row(*values[0], *values[1], *values[2], *values[3]);
    }

    std::string json_row(const PlainJson& time, const PlainJson& input, const PlainJson& output,
                         const PlainJson& ids) {
        const auto number = PlainJson::Kind::number;
        const auto time_ms = time.kind == number
                                 ? finite(time.text, out_.format == "qwen" ? 1000 : 1)
                                 : std::nullopt;
        if (!time_ms) {
            return "field \"timestamp\" is not a finite number";
        }
        const auto input_length =
            input.kind == number ? natural(input.text, largest_length) : std::nullopt;
        if (!input_length) {
            return not_integer("input_length");
        }
        const auto output_length =
            output.kind == number ? natural(output.text, largest_length) : std::nullopt;
        if (!output_length) {
            return not_integer("output_length");
        }
        if (ids.kind != PlainJson::Kind::array) {
            return not_integer("hash_ids");
        }
        ReadRequest request{*time_ms, *input_length, *output_length};
        for (const auto& item : ids.items) {
            const auto id = item.kind == number ? natural(item.text, largest_id) : std::nullopt;
            if (!id) {
                return not_integer("hash_ids");
            }
            if (request.ids.size() == options_.max_blocks) {
                return blocks_reason();
            }
            request.ids.push_back(*id);
        }
        const auto blocks = request.ids.size();
        const auto floor = *input_length / out_.block_size;
        if (blocks != floor && (blocks != floor + 1 || *input_length % out_.block_size == 0)) {
            return std::to_string(blocks) + " blocks do not fit " + std::to_string(*input_length) +
                   " tokens at block size " + std::to_string(out_.block_size);
        }
        add(request);
        return "";
    }

    std::string header(const std::string& line) {
        bool complete = true;
        header_ = csv_fields(line, complete);
        const auto has = [this](const std::string& name) {
            return last_index(header_, name).has_value();
        };
        if (out_.format.empty()) {
            if (std::any_of(azure_names.begin(), azure_names.end(), has)) {
                decide("azure");
            } else if (std::any_of(burstgpt_names.begin(), burstgpt_names.end(), has)) {
                decide("burstgpt");
            } else {
                return "unknown trace format";
            }
        }
        rule_ = !options_.sessions.empty() ? options_.sessions
                : has("Session ID")        ? "labelled"
                                           : "independent";
        auto needed = names_;
        if (rule_ == "labelled") {
            needed.emplace_back("Session ID");
        }
        for (const auto& name : needed) {
            if (!has(name)) {
                return "header lacks \"" + name + "\"";
            }
        }
        return "";
    }

    std::string csv(const std::string& line) {
        bool complete = true;
        const auto fields = csv_fields(line, complete);
        if (!complete || fields.size() != header_.size()) {
            const auto count = fields.size() + (!complete && fields.size() == header_.size());
            return "not CSV: " + std::to_string(count) + " fields, header has " +
                   std::to_string(header_.size());
        }
        Strings values;
        for (const auto& name : names_) {
            values.push_back(fields[*last_index(header_, name)]);
            if (values.back().empty()) {
                return "missing field \"" + name + "\"";
            }
        }
        const auto label = last_index(header_, "Session ID");
        return csv_row(values, label ? fields[*label] : "");
    }

    std::string csv_row(const Strings& values, const std::string& label) {
        ReadRequest request;
        const auto moment = date_time(values[0]);
        const auto origin = origin_ ? origin_ : moment;
        if (out_.format == "azure") {
            if (!moment) {
                return "field \"TIMESTAMP\" is not a date and time";
            }
            request.time_ms = static_cast<double>((moment->seconds - origin->seconds) * 1000) +
                              static_cast<double>(moment->nanoseconds - origin->nanoseconds) / 1e6;
        } else {
            const auto time_ms = finite(values[0], 1000);
            if (!time_ms) {
                return "field \"Timestamp\" is not a finite number";
            }
            request.time_ms = *time_ms;
        }
        const auto input = natural(values[1], largest_length);
        if (!input) {
            return not_integer(names_[1]);
        }
        const auto output = natural(values[2], largest_length);
        if (!output) {
            return not_integer(names_[2]);
        }
        request.input_length = *input;
        request.output_length = *output;
        const auto blocks = *input / out_.block_size + (*input % out_.block_size == 0 ? 0U : 1U);
        if (blocks > options_.max_blocks) {
            return blocks_reason();
        }
        origin_ = origin;
        if (blocks > 0) {
            const auto session = session_of(request, label);
            for (std::uint64_t i = 0; i < blocks; ++i) {
                const bool shared = i < options_.shared_prefix / out_.block_size;
                const auto stream = shared ? ~std::uint64_t{0} : session;
                request.ids.push_back(mix(mix(mix(options_.seed) ^ stream) ^ i));
            }
        }
        add(request);
        return "";
    }

    std::uint64_t session_of(const ReadRequest& request, const std::string& label) {
        std::optional<std::size_t> found;
        for (std::size_t i = 0; i < open_.size(); ++i) {
            auto& session = open_[i];
            if (rule_ == "labelled") {
                found = !label.empty() && session.label == label ? i : found;
            } else if (rule_ == "greedy") {
                session.closed |= request.time_ms - session.time_ms > options_.session_gap_s * 1000;
                const bool fits = !session.closed && session.length <= request.input_length;
                found = fits && (!found || open_[*found].length < session.length) ? i : found;
            }
        }
        const auto index = found.value_or(open_.size());
        open_.resize(std::max(open_.size(), index + 1));
        open_[index] = {label, request.input_length + request.output_length, request.time_ms,
                        false};
        return index;
    }

    void add(const ReadRequest& request) {
        if (request.input_length == 0) {
            ++out_.empty;
        } else {
            out_.requests.push_back(request);
        }
    }

    struct Session {
        std::string label;
        std::uint64_t length = 0;
        double time_ms = 0;
        bool closed = false;
    };
    SlowReadOptions options_;
    ReadOutcome out_;
    std::optional<bool> json_;
    Strings names_;
    Strings header_;
    std::string rule_;
    std::optional<DateTime> origin_;
    std::vector<Session> open_;
};

std::string quoted(const std::string& text) {
    return text.empty() ? "acceptance" : "'" + text + "'";
}

}  // namespace

ReadOutcome read_slowly(std::string_view bytes, const SlowReadOptions& options) {
    return SlowReader(options).read(bytes);
}

std::optional<std::string> difference(const ReadOutcome& slow, const ReadOutcome& real) {
    if (slow.error != real.error) {
        return "slow reader: " + quoted(slow.error) + ", real one: " + quoted(real.error);
    }
    if (!slow.error.empty()) {
        return std::nullopt;
    }
    if (slow.format != real.format || slow.block_size != real.block_size) {
        return "format or block size differ: " + slow.format + ", " + real.format;
    }
    if (slow.skipped != real.skipped || slow.first_skipped != real.first_skipped ||
        slow.blank != real.blank || slow.empty != real.empty) {
        return "counts of lines differ: " + slow.first_skipped + ", " + real.first_skipped;
    }
    if (slow.requests.size() != real.requests.size()) {
        return "numbers of requests differ";
    }
    for (std::size_t i = 0; i < slow.requests.size(); ++i) {
        const auto& a = slow.requests[i];
        const auto& b = real.requests[i];
        if (a.time_ms != b.time_ms || a.input_length != b.input_length ||
            a.output_length != b.output_length || a.ids != b.ids) {
            return "request " + std::to_string(i) + " differs";
        }
    }
    return std::nullopt;
}

}  // namespace kvbm::testing
