//! kvbm.replay:trace: a recorded workload in memory, and the readers that make it.
//!
//! A Trace is a list of requests in file order. Each names the blocks of its input by ids; the ids
//! of all requests lie in one flat array, a request is an offset and a count:
//!
//!   requests   [ {first 0, count 3} | {first 3, count 2} | ... ]
//!   ids        [ 0 14 15 | 0 28 | ... ]
//!
//! Identity is the lineage: id x at index i stands for content, and the block it names depends on
//! every id before it. Four formats are read. Two carry ids; two carry lengths only, and their
//! blocks are synthesised from sessions.
//!
//! A bad line is `FILE:LINE: reason`. Errors name fields and limits, never the content of a line.
module;

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.replay:trace;

export import kvbm.core;

namespace kvbm {

/// A file format of recorded requests.
export enum class TraceFormat {
    mooncake,  ///< JSONL with block ids, time in milliseconds, blocks of 512 tokens
    qwen,      ///< JSONL with block ids, time in seconds, blocks of 16 tokens
    azure,     ///< CSV of lengths, date and time, blocks of 512 tokens
    burstgpt,  ///< CSV of lengths, time in seconds, blocks of 512 tokens
};

/// The format's name as options and reports spell it: `mooncake`.
export std::string_view to_string(TraceFormat format) noexcept;

/// The format of that name, or nothing.
export std::optional<TraceFormat> trace_format_named(std::string_view name) noexcept;

/// Block size of a format when no option says otherwise, in tokens. Source: replay.md 2.
export std::uint64_t default_block_size(TraceFormat format) noexcept;

/// Which rows of a length-only trace belong to one conversation. Source: replay.md 2.2.
export enum class SessionRule {
    labelled,     ///< equal `Session ID`; a row with an empty one is a session of its own
    independent,  ///< each row is a session of its own
    greedy,       ///< a row continues the longest session that fits into it: a guess, for sizing
};

/// The rule's name as options spell it: `labelled`.
export std::string_view to_string(SessionRule rule) noexcept;

/// The rule of that name, or nothing.
export std::optional<SessionRule> session_rule_named(std::string_view name) noexcept;

/// One request: when it came, how long it was, and where its blocks are in Trace::ids.
export struct Request {
    double time_ms = 0;               ///< as recorded; may run backwards
    std::uint64_t input_length = 0;   ///< tokens of the prompt
    std::uint64_t output_length = 0;  ///< tokens of the answer
    std::size_t first = 0;            ///< index of its first id
    std::size_t count = 0;            ///< number of its blocks; the last may be partly filled

    friend bool operator==(const Request&, const Request&) noexcept = default;
};

/// A workload: requests in file order, with the ids of their input blocks.
///
/// A plain value. Source: replay.md 1.
export struct Trace {
    std::uint64_t block_size = 0;    ///< tokens per block
    std::vector<Request> requests;   ///< file order
    std::vector<std::uint64_t> ids;  ///< block ids of all requests, one after the other

    // --- where it comes from ---
    std::string path;                            ///< as given; `-` is standard input
    TraceFormat format = TraceFormat::mooncake;  ///< as given or found
    std::string sha256;        ///< of the bytes read, 64 hexadecimal digits; empty if generated
    bool synthesised = false;  ///< the ids were made up from lengths
    std::optional<SessionRule> sessions = std::nullopt;  ///< by which rule, if synthesised
    std::size_t skipped_lines = 0;                       ///< bad lines left out
    std::string first_skipped;                           ///< the first of them: `FILE:LINE: reason`
    std::size_t blank_lines = 0;                         ///< lines of white space only
    std::size_t empty_rows = 0;                          ///< rows of 0 input tokens, left out

    /// The block ids of a request of this trace. O(1).
    std::span<const std::uint64_t> ids_of(const Request& request) const noexcept {
        return std::span(ids).subspan(request.first, request.count);
    }
};

/// What is to be said on standard error after bad lines were skipped: `N bad lines skipped (first:
/// FILE:LINE: reason)`. Empty when none were. Source: replay.md 2.1.
export std::string skipped_notice(const Trace& trace);

/// Why a trace could not be read. `message()` is `FILE:LINE: reason`, or `FILE: reason` where no
/// single line is to blame. Source: replay.md 2.1 and 8.
export struct TraceError {
    /// The file could not be opened or read.
    struct Unreadable {
        int code = 0;  ///< as errno
    };
    /// No `--format` was given and the content is none of the four.
    struct UnknownFormat {};
    /// Every line was blank, empty or skipped.
    struct NoRequests {};
    /// The line is not one JSON object.
    struct NotJsonObject {};
    /// The row does not fall into as many fields as the header. A field whose quote stays open is
    /// counted only if the others already fill the header.
    struct NotCsv {
        std::size_t fields = 0;
        std::size_t header_fields = 0;
    };
    /// A required field is absent, or empty in a CSV row.
    struct MissingField {
        std::string field;
    };
    /// Not a plain decimal integer in range: 0 .. 2^53, ids 0 .. 2^64 - 1.
    struct NotInteger {
        std::string field;
    };
    /// Not a number, or one that a double can't hold in milliseconds.
    struct NotFinite {
        std::string field;
    };
    /// Not `YYYY-MM-DD hh:mm:ss` with an optional fraction and an optional offset from UTC.
    struct NotDateTime {
        std::string field;
    };
    /// The number of blocks is neither floor nor ceiling of tokens / block size.
    struct BlocksDoNotFit {
        std::size_t blocks = 0;
        std::uint64_t tokens = 0;
        std::uint64_t block_size = 0;
    };
    struct LineTooLong {
        std::size_t limit = 0;  ///< bytes, the line end not counted
    };
    struct TooManyBlocks {
        std::size_t limit = 0;
    };
    /// A required column is not in the header. Never skipped.
    struct HeaderLacks {
        std::string column;
    };
    using Reason = std::variant<Unreadable, UnknownFormat, NoRequests, NotJsonObject, NotCsv,
                                MissingField, NotInteger, NotFinite, NotDateTime, BlocksDoNotFit,
                                LineTooLong, TooManyBlocks, HeaderLacks>;

    std::string file;
    std::size_t line = 0;  ///< physical line from 1; 0 when the error is the whole file's
    Reason reason;

    /// `FILE:LINE: reason`, or `FILE: reason` when `line` is 0.
    std::string message() const;
    /// The exit code of a program that ends with this error: 1 for a file that can't be read, 3 for
    /// bad data. Source: replay.md 8.
    int exit_code() const noexcept;
};

/// "As many as there are", for the counts of ReadOptions.
export inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

/// How a trace is to be read. Source: replay.md 2.
export struct ReadOptions {
    std::optional<TraceFormat> format = std::nullopt;  ///< found by content if not given
    std::optional<std::uint64_t> block_size =
        std::nullopt;                    ///< tokens, at least 1; the format's own if not given
    bool skip_bad = false;               ///< leave bad lines out instead of failing
    std::size_t max_bad = no_limit;      ///< bad lines that may be skipped
    std::size_t max_line = 16'777'216;   ///< bytes of a line
    std::size_t max_blocks = 1'048'576;  ///< blocks of a request
    std::size_t limit = no_limit;        ///< requests kept; what follows is hashed, not read

    // --- length-only traces ---
    std::optional<SessionRule> sessions =
        std::nullopt;                 ///< labelled if there is a `Session ID`, else independent
    double session_gap_s = 600;       ///< greedy: a session idle for longer is closed
    std::uint64_t shared_prefix = 0;  ///< tokens every session begins with, down to whole blocks
    std::uint64_t seed = 1;           ///< of the ids
};

/// Reads a trace from a file, or from standard input when the path is `-`.
///
/// Fails with the first bad line, unless they are skipped; with `Unreadable` if there is no such
/// file, it is a directory, or reading breaks off. The format is that of the options, else of the
/// content: a first character `{` is JSONL, and its first object decides (`chat_id` is qwen, any
/// field of mooncake is mooncake); anything else is CSV, and the header decides. CRLF, a byte-order
/// mark, blank lines and a missing last line end are accepted. JSON may nest 1,024 deep.
///
/// O(bytes) time; memory for the result, one line and one read buffer; nothing is allocated per
/// line once the longest was seen. Source: replay.md 2.
export [[nodiscard]] Result<Trace, TraceError> read_trace(const std::string& path,
                                                          const ReadOptions& options = {});

/// Reads a trace from bytes in memory, just as read_trace() would read a file of that name.
export [[nodiscard]] Result<Trace, TraceError> parse_trace(std::string_view bytes,
                                                           std::string_view name,
                                                           const ReadOptions& options = {});

/// SHA-256 of bytes, as 64 lower-case hexadecimal digits.
export std::string sha256_hex(std::string_view bytes);

}  // namespace kvbm
