//! kvbm.testing:trace_reader: a second reader of traces, slow and plain, to compare the real one
//! with.
//!
//! It shares no code with kvbm.replay: its own JSON parser builds a tree per line, its own CSV
//! splitter copies every field, sessions are found by linear search. Both must accept the same
//! files, with the same requests, and refuse the others with the same sentence.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

export module kvbm.testing:trace_reader;

namespace kvbm::testing {

/// The options of a reader, by the names they have on the command line. Empty or 0: not given.
export struct SlowReadOptions {
    std::string format = {};
    std::uint64_t block_size = 0;
    bool skip_bad = false;
    std::size_t max_bad = 1'000'000;
    std::size_t max_line = 16'777'216;
    std::size_t max_blocks = 1'048'576;
    std::string sessions = {};
    double session_gap_s = 600;
    std::uint64_t shared_prefix = 0;
    std::uint64_t seed = 1;
};

/// A request with its own ids.
export struct ReadRequest {
    double time_ms = 0;
    std::uint64_t input_length = 0;
    std::uint64_t output_length = 0;
    std::vector<std::uint64_t> ids = {};
};

/// What a reader made of a file: requests, or the sentence of its error.
export struct ReadOutcome {
    std::string error;  ///< empty: accepted; `FILE` stands for the path
    std::string format;
    std::uint64_t block_size = 0;
    std::vector<ReadRequest> requests;
    std::size_t skipped = 0;
    std::string first_skipped;
    std::size_t blank = 0;
    std::size_t empty = 0;
};

/// Reads a file that is named FILE. Quadratic in places.
export ReadOutcome read_slowly(std::string_view bytes, const SlowReadOptions& options);

/// The first difference in words, or nothing.
export std::optional<std::string> difference(const ReadOutcome& slow, const ReadOutcome& real);

/// What the real reader gave for a file named FILE, in the same form.
export template <class TraceResult>
ReadOutcome outcome_of(const TraceResult& result) {
    ReadOutcome outcome;
    if (!result.has_value()) {
        outcome.error = result.error().message();
        return outcome;
    }
    outcome.format = to_string(result->format);
    outcome.block_size = result->block_size;
    outcome.skipped = result->skipped_lines;
    outcome.first_skipped = result->first_skipped;
    outcome.blank = result->blank_lines;
    outcome.empty = result->empty_rows;
    for (const auto& request : result->requests) {
        const auto ids = result->ids_of(request);
        outcome.requests.push_back({request.time_ms, request.input_length, request.output_length,
                                    std::vector<std::uint64_t>(ids.begin(), ids.end())});
    }
    return outcome;
}

/// A JSON value as a tree. Numbers keep their spelling.
export struct PlainJson {
    enum class Kind { null, boolean, number, string, array, object };
    Kind kind = Kind::null;
    std::string text;  ///< of a number or string
    std::vector<std::string> names;
    std::vector<PlainJson> items;
};

/// Parses one JSON document, strictly; nothing if it is none.
export std::optional<PlainJson> parse_json_slowly(std::string_view text);

}  // namespace kvbm::testing
