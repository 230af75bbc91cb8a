//! kvbm.replay:reading: the parts a reader is made of, for this module's bodies only.
//!
//!   ByteSource -> LineSource -> JsonRows | CsvFields -> TraceReader (reader.cpp)
//!                     |                                     |
//!                   Sha256                          SessionSynthesis (lengths only)
module;

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

module kvbm.replay:reading;

import :generate;
import :trace;

namespace kvbm::detail::replay {

/// SHA-256 of a stream of bytes.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;
    void update(std::string_view bytes);
    /// 64 lower-case hexadecimal digits. Called once, at the end.
    std::string hex();

  private:
    std::unique_ptr<void, void (*)(void*)> context_;
};

/// What a read gave: a count of bytes, 0 at the end, or an error as errno.
struct ReadCount {
    std::size_t bytes = 0;
    int error = 0;
};

/// Fills at most the span it is given.
using ByteSource = std::function<ReadCount(std::span<char>)>;

/// Bytes after a line that a parser may read (and ignore).
inline constexpr std::size_t line_padding = 64;

/// A physical line, without its line end and without the file's byte-order mark.
struct Line {
    std::string_view text;   ///< if too long: its first character that is not blank
    std::size_t number = 0;  ///< from 1
    bool too_long = false;
};

/// Cuts bytes into lines. Memory is one buffer, which grows to the longest line allowed.
class LineSource {
  public:
    LineSource(ByteSource source, std::size_t max_line);

    /// The next line, valid until the next call; `line_padding` readable bytes follow it. Nothing
    /// at the end and after a read error.
    std::optional<Line> next();
    /// Reads what is left, for the hash only.
    void drain();
    /// The read error that ended the lines, as errno; 0 if none.
    int error() const noexcept { return error_; }
    /// SHA-256 of all bytes read. Called once, at the end.
    std::string sha256() { return hash_.hex(); }

  private:
    bool fill();
    void make_room();
    bool longer_than_allowed(std::size_t bytes) const noexcept;
    Line line_of(std::string_view text);
    Line discard_rest_of_line();

    ByteSource source_;
    std::size_t max_line_;
    Sha256 hash_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;  // of the bytes not yet handed out
    std::size_t end_ = 0;
    std::size_t number_ = 0;
    int error_ = 0;
    char lead_ = '\0';
};

/// White space only. Such lines are skipped and counted.
constexpr bool is_blank(std::string_view line) noexcept {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

/// What a line said about a field.
enum class FieldState { absent, bad, good };

/// The largest token count: every integer up to here is exact in a double.
inline constexpr std::uint64_t largest_length = std::uint64_t{1} << 53U;

/// The four fields of a JSONL row. Of a field given twice the last counts.
struct JsonRow {
    FieldState timestamp = FieldState::absent;
    FieldState input_length = FieldState::absent;
    FieldState output_length = FieldState::absent;
    FieldState hash_ids = FieldState::absent;
    double time = 0;  ///< in the file's unit
    std::uint64_t input_tokens = 0;
    std::uint64_t output_tokens = 0;
    bool too_many_blocks = false;
    bool has_chat_id = false;
};

/// Parses JSONL rows, with one parser for all of them.
class JsonRows {
  public:
    explicit JsonRows(std::size_t max_blocks);
    ~JsonRows();
    JsonRows(const JsonRows&) = delete;
    JsonRows& operator=(const JsonRows&) = delete;

    /// Reads a line that `line_padding` readable bytes follow; appends its ids. Nothing if it is
    /// not one JSON object. On anything but a good row the caller cuts `ids` back.
    std::optional<JsonRow> read(std::string_view line, std::vector<std::uint64_t>& ids);

  private:
    struct Parser;
    std::unique_ptr<Parser> parser_;
    std::size_t max_blocks_;
};

/// The line with each number that a 64-bit integer or a double can't hold replaced by one that
/// means the same to a reader of fields: integers by doubles, infinite ones by null, -0 by -0.0.
std::string with_representable_numbers(std::string_view line);

/// A `\u` escape of a low surrogate that no high one precedes.
bool has_lone_low_surrogate(std::string_view line) noexcept;

/// The fields of one CSV line, unquoted. Reused from line to line.
class CsvFields {
  public:
    /// Splits a line. A quote that stays open, or text after a closing quote, ends the split:
    /// complete() is then false and the broken field is not among the fields.
    void split(std::string_view line);
    bool complete() const noexcept { return complete_; }
    std::size_t size() const noexcept { return ends_.size(); }
    std::string_view operator[](std::size_t index) const noexcept {
        const auto first = index == 0 ? 0 : ends_[index - 1];
        return std::string_view(text_).substr(first, ends_[index] - first);
    }

  private:
    std::optional<std::size_t> quoted_field(std::string_view line, std::size_t at);

    std::string text_;               // the fields, one after the other
    std::vector<std::size_t> ends_;  // where each ends in it
    bool complete_ = true;
};

/// A plain decimal integer, digits only, 0 .. largest_length.
std::optional<std::uint64_t> length_of(std::string_view text) noexcept;

/// A finite number as JSON spells it.
std::optional<double> number_of(std::string_view text);

/// A moment, as seconds since 1970 and the fraction of the second.
struct Moment {
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
};

/// `2023-11-16 18:15:46.6805900`: blank or T between date and time, up to nine decimals or none,
/// and an optional Z or +hh:mm.
std::optional<Moment> moment_of(std::string_view text) noexcept;

/// Which conversation each row of a length-only trace belongs to. Source: replay.md 2.2.
class SessionAssignment {
  public:
    SessionAssignment(SessionRule rule, double gap_ms) : rule_(rule), gap_ms_(gap_ms) {}

    /// The session of the next request. Sessions are numbered from 0 in the order they are opened.
    std::uint64_t session_of(const Request& request, std::string_view label);

  private:
    std::uint64_t labelled_session(std::string_view label);
    std::uint64_t greedy_session(const Request& request);
    void close_idle_sessions(double now_ms);
    void forget(std::uint64_t session);

    struct TextHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return std::hash<std::string_view>{}(text);
        }
    };
    SessionRule rule_;
    double gap_ms_;
    std::uint64_t opened_ = 0;
    std::unordered_map<std::string, std::uint64_t, TextHash, std::equal_to<>> by_label_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> open_by_length_;  // (last length, session)
    std::set<std::pair<double, std::uint64_t>> open_by_time_;           // (last time, session)
    std::map<std::uint64_t, Request> last_request_;                     // of each open session
};

}  // namespace kvbm::detail::replay
