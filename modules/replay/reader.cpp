module;

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

module kvbm.replay;

import :reading;

namespace kvbm {

namespace detail::replay {

namespace {

using Reason = TraceError::Reason;
constexpr std::size_t absent = no_limit;

/// The three columns a CSV format is made of; the time comes first.
using Columns = std::array<std::string_view, 3>;
constexpr Columns azure_columns{"TIMESTAMP", "ContextTokens", "GeneratedTokens"};
constexpr Columns burstgpt_columns{"Timestamp", "Request tokens", "Response tokens"};
constexpr std::string_view session_column = "Session ID";

enum class Syntax { json, csv };

Syntax syntax_of(TraceFormat format) noexcept {
    return format == TraceFormat::azure || format == TraceFormat::burstgpt ? Syntax::csv
                                                                           : Syntax::json;
}

const Columns& columns_of(TraceFormat format) noexcept {
    return format == TraceFormat::azure ? azure_columns : burstgpt_columns;
}

std::size_t blocks_of(std::uint64_t tokens, std::uint64_t block_size) noexcept {
    return tokens == 0 ? 0 : static_cast<std::size_t>((tokens - 1) / block_size + 1);
}

/// One run over one file.
class TraceReader {
  public:
    TraceReader(ByteSource source, std::string_view path, const ReadOptions& options)
        : options_(options),
          lines_(std::move(source), options.max_line),
          json_(options.max_blocks) {
        trace_.path = path;
        if (options.format) {
            decide(*options.format);
        }
    }

    Result<Trace, TraceError> run();

  private:
    void decide(TraceFormat format);
    void take(const Line& line);
    void take_json(const Line& line);
    void take_header(const Line& line);
    void take_csv(const Line& line);
    std::optional<Reason> json_row(std::string_view line);
    std::optional<Reason> csv_row(std::string_view line);
    std::optional<Reason> csv_time(std::string_view text, double& time_ms, Moment& origin) const;
    std::optional<TraceFormat> format_of_header() const noexcept;
    std::size_t column(std::string_view name) const noexcept;
    void synthesise(Request& request, std::string_view label);
    void add(const Request& request);
    void bad(const Line& line, Reason reason);
    void fail(std::size_t line, Reason reason);

    ReadOptions options_;
    LineSource lines_;
    JsonRows json_;
    CsvFields fields_;
    Trace trace_;
    std::optional<TraceError> error_;
    std::optional<Syntax> syntax_;
    std::optional<TraceFormat> format_;

    // --- CSV, once the header is read ---
    std::size_t header_fields_ = 0;
    std::array<std::size_t, 3> columns_{absent, absent, absent};
    std::size_t label_column_ = absent;
    std::optional<SessionAssignment> sessions_;
    std::optional<Moment> origin_;  // time 0 of azure
};

void TraceReader::decide(TraceFormat format) {
    format_ = format;
    trace_.format = format;
    trace_.block_size = options_.block_size.value_or(default_block_size(format));
    syntax_ = syntax_of(format);
    trace_.synthesised = syntax_ == Syntax::csv;
}

Result<Trace, TraceError> TraceReader::run() {
    while (!error_ && trace_.requests.size() < options_.limit) {
        const auto line = lines_.next();
        if (!line) {
            break;
        }
        take(*line);
    }
    if (!error_) {
        lines_.drain();
    }
    if (lines_.error() != 0) {
        error_.reset();
        fail(0, TraceError::Unreadable{lines_.error()});
    }
    if (!error_ && trace_.requests.empty()) {
        fail(0, TraceError::NoRequests{});
    }
    if (error_) {
        return failure(std::move(*error_));
    }
    trace_.sha256 = lines_.sha256();
    return std::move(trace_);
}

void TraceReader::take(const Line& line) {
    if (!line.too_long && is_blank(line.text)) {
        ++trace_.blank_lines;
        return;
    }
    if (!syntax_) {
        syntax_ = line.text.substr(std::min(line.text.find_first_not_of(" \t\r"), line.text.size()))
                          .starts_with('{')
                      ? Syntax::json
                      : Syntax::csv;
    }
    const bool header = syntax_ == Syntax::csv && header_fields_ == 0;
    if (line.too_long && header) {
        // Without its header a CSV file can't be read at all, so that line is never skipped.
        fail(line.number, TraceError::LineTooLong{options_.max_line});
    } else if (line.too_long) {
        bad(line, TraceError::LineTooLong{options_.max_line});
    } else if (header) {
        take_header(line);
    } else if (syntax_ == Syntax::csv) {
        take_csv(line);
    } else {
        take_json(line);
    }
}

void TraceReader::take_json(const Line& line) {
    const auto first_id = trace_.ids.size();
    auto reason = json_row(line.text);
    if (reason) {
        trace_.ids.resize(first_id);
        if (std::holds_alternative<TraceError::UnknownFormat>(*reason)) {
            fail(0, std::move(*reason));
        } else {
            bad(line, std::move(*reason));
        }
    }
}

/// The first field that is in this state, in the order of the table in replay.md 2.
std::string_view first_field(const JsonRow& row, FieldState state) noexcept {
    const std::array fields{std::pair{row.timestamp, std::string_view("timestamp")},
                            std::pair{row.input_length, std::string_view("input_length")},
                            std::pair{row.output_length, std::string_view("output_length")},
                            std::pair{row.hash_ids, std::string_view("hash_ids")}};
    for (const auto& [found, name] : fields) {
        if (found == state) {
            return name;
        }
    }
    return {};
}

bool has_no_known_field(const JsonRow& row) noexcept {
    return row.timestamp == FieldState::absent && row.input_length == FieldState::absent &&
           row.output_length == FieldState::absent && row.hash_ids == FieldState::absent;
}

std::optional<Reason> TraceReader::json_row(std::string_view line) {
    const auto first_id = trace_.ids.size();
    const auto row = json_.read(line, trace_.ids);
    if (!row) {
        return TraceError::NotJsonObject{};
    }
    if (!format_) {
        if (!row->has_chat_id && has_no_known_field(*row)) {
            return TraceError::UnknownFormat{};
        }
        decide(row->has_chat_id ? TraceFormat::qwen : TraceFormat::mooncake);
    }
    const double time_ms = format_ == TraceFormat::qwen ? row->time * 1000 : row->time;
    if (const auto field = first_field(*row, FieldState::absent); !field.empty()) {
        return TraceError::MissingField{std::string(field)};
    }
    if (row->timestamp == FieldState::bad || !std::isfinite(time_ms)) {
        return TraceError::NotFinite{"timestamp"};
    }
    if (const auto field = first_field(*row, FieldState::bad); !field.empty()) {
        return TraceError::NotInteger{std::string(field)};
    }
    if (row->too_many_blocks) {
        return TraceError::TooManyBlocks{options_.max_blocks};
    }
    const auto count = trace_.ids.size() - first_id;
    if (count != row->input_tokens / trace_.block_size &&
        count != blocks_of(row->input_tokens, trace_.block_size)) {
        return TraceError::BlocksDoNotFit{count, row->input_tokens, trace_.block_size};
    }
    add({time_ms, row->input_tokens, row->output_tokens, first_id, count});
    return std::nullopt;
}

void TraceReader::take_header(const Line& line) {
    fields_.split(line.text);
    if (!format_) {
        const auto format = format_of_header();
        if (!format) {
            fail(0, TraceError::UnknownFormat{});
            return;
        }
        decide(*format);
    }
    const auto& names = columns_of(*format_);
    for (std::size_t i = 0; i < names.size(); ++i) {
        columns_[i] = column(names[i]);
        if (columns_[i] == absent) {
            fail(line.number, TraceError::HeaderLacks{std::string(names[i])});
            return;
        }
    }
    header_fields_ = fields_.size();
    label_column_ = column(session_column);
    const auto rule = options_.sessions.value_or(label_column_ == absent ? SessionRule::independent
                                                                         : SessionRule::labelled);
    if (rule == SessionRule::labelled && label_column_ == absent) {
        fail(line.number, TraceError::HeaderLacks{std::string(session_column)});
        return;
    }
    trace_.sessions = rule;
    sessions_.emplace(rule, options_.session_gap_s * 1000);
}

std::optional<TraceFormat> TraceReader::format_of_header() const noexcept {
    for (const auto format : {TraceFormat::azure, TraceFormat::burstgpt}) {
        for (const auto name : columns_of(format)) {
            if (column(name) != absent) {
                return format;
            }
        }
    }
    return std::nullopt;
}

// The last column of that name, as of a JSON field given twice the last counts.
std::size_t TraceReader::column(std::string_view name) const noexcept {
    for (auto i = fields_.size(); i > 0; --i) {
        if (fields_[i - 1] == name) {
            return i - 1;
        }
    }
    return absent;
}

void TraceReader::take_csv(const Line& line) {
    if (auto reason = csv_row(line.text)) {
        bad(line, std::move(*reason));
    }
}

std::optional<Reason> TraceReader::csv_row(std::string_view line) {
    fields_.split(line);
    if (!fields_.complete() || fields_.size() != header_fields_) {
        const bool one_more = !fields_.complete() && fields_.size() == header_fields_;
        return TraceError::NotCsv{fields_.size() + (one_more ? 1U : 0U), header_fields_};
    }
    const auto& names = columns_of(*format_);
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (fields_[columns_[i]].empty()) {
            return TraceError::MissingField{std::string(names[i])};
        }
    }
    Request request;
    Moment origin;
    if (auto reason = csv_time(fields_[columns_[0]], request.time_ms, origin)) {
        return reason;
    }
    const std::array<std::uint64_t*, 3> lengths{nullptr, &request.input_length,
                                                &request.output_length};
    for (std::size_t i = 1; i < names.size(); ++i) {
        const auto length = length_of(fields_[columns_[i]]);
        if (!length) {
            return TraceError::NotInteger{std::string(names[i])};
        }
        *lengths[i] = *length;
    }
    if (blocks_of(request.input_length, trace_.block_size) > options_.max_blocks) {
        return TraceError::TooManyBlocks{options_.max_blocks};
    }
    origin_ = origin;
    if (request.input_length > 0) {
        synthesise(request, label_column_ == absent ? "" : fields_[label_column_]);
    }
    add(request);
    return std::nullopt;
}

// A date and time counts from the first good row's, which a good first row therefore sets.
std::optional<Reason> TraceReader::csv_time(std::string_view text, double& time_ms,
                                            Moment& origin) const {
    if (format_ == TraceFormat::burstgpt) {
        const auto seconds = number_of(text);
        if (!seconds || !std::isfinite(*seconds * 1000)) {
            return TraceError::NotFinite{std::string(burstgpt_columns[0])};
        }
        time_ms = *seconds * 1000;
        return std::nullopt;
    }
    const auto moment = moment_of(text);
    if (!moment) {
        return TraceError::NotDateTime{std::string(azure_columns[0])};
    }
    origin = origin_.value_or(*moment);
    time_ms = static_cast<double>(moment->seconds - origin.seconds) * 1000 +
              static_cast<double>(moment->nanoseconds - origin.nanoseconds) / 1e6;
    return std::nullopt;
}

void TraceReader::synthesise(Request& request, std::string_view label) {
    const auto session = sessions_->session_of(request, label);
    request.first = trace_.ids.size();
    request.count = blocks_of(request.input_length, trace_.block_size);
    const auto shared_blocks = options_.shared_prefix / trace_.block_size;
    for (std::size_t i = 0; i < request.count; ++i) {
        const auto stream = i < shared_blocks ? shared_session : session;
        trace_.ids.push_back(session_block_id(options_.seed, stream, i));
    }
}

void TraceReader::add(const Request& request) {
    if (request.input_length == 0) {
        ++trace_.empty_rows;
    } else {
        trace_.requests.push_back(request);
    }
}

void TraceReader::bad(const Line& line, Reason reason) {
    if (!options_.skip_bad || trace_.skipped_lines == options_.max_bad) {
        fail(line.number, std::move(reason));
        return;
    }
    if (trace_.skipped_lines++ == 0) {
        trace_.first_skipped = TraceError{trace_.path, line.number, std::move(reason)}.message();
    }
}

void TraceReader::fail(std::size_t line, Reason reason) {
    error_ = TraceError{trace_.path, line, std::move(reason)};
}

ReadCount read_descriptor(int descriptor, std::span<char> room) {
    while (true) {
        const auto count = ::read(descriptor, room.data(), room.size());
        if (count >= 0) {
            return {static_cast<std::size_t>(count), 0};
        }
        if (errno != EINTR) {
            return {0, errno};
        }
    }
}

/// Closes the file it opened.
class OpenFile {
  public:
    explicit OpenFile(const char* path) : descriptor_(::open(path, O_RDONLY | O_CLOEXEC)) {}
    ~OpenFile() {
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    int descriptor() const noexcept { return descriptor_; }

  private:
    int descriptor_;
};

Result<Trace, TraceError> read_all(ByteSource source, std::string_view name,
                                   const ReadOptions& options) {
    expects(options.block_size.value_or(1) > 0, "a block holds at least one token");
    return TraceReader(std::move(source), name, options).run();
}

}  // namespace

}  // namespace detail::replay

Result<Trace, TraceError> read_trace(const std::string& path, const ReadOptions& options) {
    namespace parts = detail::replay;
    if (path == "-") {
        return parts::read_all(
            [](std::span<char> room) { return parts::read_descriptor(STDIN_FILENO, room); }, path,
            options);
    }
    const parts::OpenFile file(path.c_str());
    if (file.descriptor() < 0) {
        return failure(TraceError{path, 0, TraceError::Unreadable{errno}});
    }
    return parts::read_all(
        [&file](std::span<char> room) { return parts::read_descriptor(file.descriptor(), room); },
        path, options);
}

Result<Trace, TraceError> parse_trace(std::string_view bytes, std::string_view name,
                                      const ReadOptions& options) {
    return detail::replay::read_all(
        [bytes](std::span<char> room) mutable {
            const auto count = std::min(room.size(), bytes.size());
            std::memcpy(room.data(), bytes.data(), count);
            bytes.remove_prefix(count);
            return detail::replay::ReadCount{count, 0};
        },
        name, options);
}

}  // namespace kvbm
