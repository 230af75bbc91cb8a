//! kvbm.tool: the parts of the program `kvbm`.
//!
//! Results go to standard output, in one piece when all is done; everything else goes to standard
//! error. A command is a struct of options and a function that carries it out:
//!
//!   arguments --parse--> command --run--> Report --render--> standard output
//!                                  \--> Failure --> standard error, exit code
module;

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

export module kvbm.tool;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.replay;

namespace kvbm::tool {

/// What the program tells its caller. Source: replay.md 8.
export enum class ExitCode : int {
    done = 0,
    failed = 1,    ///< input, output, or a bug of ours
    usage = 2,     ///< the arguments
    bad_data = 3,  ///< the content of a file
    differs = 4,   ///< `--expect`
    interrupted = 130
};

/// Why a command ended early: the code, and the sentence for standard error.
export struct Failure {
    ExitCode code = ExitCode::failed;
    std::string text;

    std::string message() const { return text; }
};

// --- commands ---

/// How results are written.
export enum class OutputFormat { table, csv, json };

/// Where requests come from: a file or `-` if `path` is set, else a generator.
export struct Workload {
    std::string path;
    ReadOptions read;
    std::string generator;
    GenerateOptions generate;
};

/// `kvbm replay`.
export struct ReplayCommand {
    Workload workload;
    std::vector<std::string> capacities;  ///< as written: `1000`, `64K`, `unlimited`
    std::vector<ReplayPolicy> policies;
    ReplayMode mode = ReplayMode::manager;
    ReplayOrder order = ReplayOrder::tail;
    SketchLayout sketch = SketchLayout::compat;
    std::size_t count_from = 0;
    std::optional<std::size_t> limit;
    std::size_t jobs = 1;
    std::string expect;  ///< file of expected rows; empty: nothing is compared
    std::string plot;    ///< file to draw into; empty: nothing is drawn
    OutputFormat output = OutputFormat::table;
    bool quiet = false;
};

/// `kvbm replay --mode request`.
export struct RequestsCommand {
    Workload workload;
    std::vector<std::string> capacities;  ///< as written: `1000`, `64K`, `unlimited`
    std::vector<ReplayPolicy> policies;
    std::size_t concurrency = 16;
    std::size_t chunk = 2048;
    std::optional<std::uint64_t> limit_output;
    std::optional<std::size_t> limit;
    std::size_t jobs = 1;
    std::string expect;  ///< file of expected rows; empty: nothing is compared
    std::string plot;    ///< file to draw into; empty: nothing is drawn
    OutputFormat output = OutputFormat::table;
    bool quiet = false;
};

/// `kvbm inspect`: a trace, or the cache after its replay.
export struct InspectCommand {
    Workload workload;
    bool after_replay = false;
    // --- of the replay ---
    std::string capacity = "unlimited";
    ReplayPolicy policy = ReplayPolicy::lru;
    ReplayOrder order = ReplayOrder::tail;
    SketchLayout sketch = SketchLayout::compat;
    std::optional<std::size_t> limit;
    std::size_t top = 10;  ///< most used blocks to name

    OutputFormat output = OutputFormat::table;
};

/// What the bytes of a token file are.
export enum class TokenFormat { text, json, u32le };

/// `kvbm hash`.
export struct HashCommand {
    std::string path;
    std::size_t block_size = 16;
    SaltHash salt = 0;
    std::string runs;  ///< file of multimodal runs; empty: none
    TokenFormat input = TokenFormat::text;
    OutputFormat output = OutputFormat::table;
};

/// `kvbm generate`.
export struct GenerateCommand {
    std::string generator;
    GenerateOptions generate;
};

/// What the arguments ask for: a command, or a text that answers them (help, version).
export using Errand = std::variant<ReplayCommand, RequestsCommand, InspectCommand, HashCommand,
                                   GenerateCommand, std::string>;

/// Reads the arguments. Fails with `usage`; the sentence names the argument.
export Result<Errand, Failure> parse_arguments(int count, const char* const* values);

/// Carries a command out. Standard output is written last, in one piece.
export Result<void, Failure> run(const ReplayCommand& command);
export Result<void, Failure> run(const RequestsCommand& command);
export Result<void, Failure> run(const InspectCommand& command);
export Result<void, Failure> run(const HashCommand& command);
export Result<void, Failure> run(const GenerateCommand& command);

/// The trace of a workload: read, or generated.
export Result<Trace, Failure> load(const Workload& workload);

/// The failure to end with when a trace could not be replayed.
export Failure failed(const ReplayError& error);
export Failure failed(const RequestReplayError& error);

/// Blocks of a capacity as written: `1000` blocks, `64K` or `1M` tokens in whole blocks, or none
/// for `unlimited`.
export Result<std::optional<std::size_t>, Failure> parse_capacity(std::string_view text,
                                                                  std::uint64_t block_size);

// --- reports ---

/// A cell: its name is that of the csv column and of the json key.
export struct Field {
    std::string_view name;
    std::variant<std::string, std::uint64_t, double, bool> value;
};

/// Cells in the order of the columns.
export using Row = std::vector<Field>;

/// Cells about one thing.
export struct Facts {
    std::string_view name;  ///< json key: `trace`
    Row row;
    bool in_table = true;
};

/// What a command found, before it is written in one of the formats.
export struct Report {
    std::string caption;       ///< lines above the table
    std::vector<Facts> facts;  ///< in csv the last of them, if there is no list
    std::string_view list;     ///< json key of `rows`: `runs`; empty: there are only facts
    std::vector<Row> rows;
    std::vector<std::string_view> shown;  ///< columns that the table has; empty: all
    bool list_in_csv = true;              ///< in place of facts
};

/// Whether names may stand out from values.
export enum class Emphasis { none, terminal };

/// The report as text, with a newline at its end. The table is aligned and has thousands separated
/// and four digits of a rate; csv and json have every field under the same names, in the same
/// order. Only a table has emphasis.
export std::string render(const Report& report, OutputFormat format,
                          Emphasis emphasis = Emphasis::none);

/// 1234567 as 1,234,567.
export std::string with_thousands(std::uint64_t value);

/// How a table names where the trace came from.
export std::string source_of(const Trace& trace);

/// The name of a sketch's layout on the command line and in reports: `compat`, `blocked`.
export std::string_view to_string(SketchLayout layout) noexcept;

/// The fields of a trace that every report about it has.
export Row fields_of(const Trace& trace, const TraceHashes& hashes);

/// The fields of one replay, in the order of the csv columns. Source: replay.md 6 and 8.
export Row fields_of(const ReplayRun& run, const Trace& trace);

/// The fields of one replay of whole requests, in the order of the csv columns. Source: replay.md
/// 4.4.
export Row fields_of(const RequestReplayRun& run, const Trace& trace);

/// The cell as csv has it: plain digits, as many as the number needs.
export std::string plain(const Field& field);

/// Compares with a csv file of expected rows, which may have any of the columns. Each row is
/// looked up by what it has of policy, mode, order and capacity. Rows about another policy, mode or
/// order are left alone; one about a capacity that was not replayed differs.
///
/// Fails with `differs` and one line per cell; with `failed` or `bad_data` if the file is none.
export Result<void, Failure> expect_rows(const std::string& path, std::span<const Row> rows);

/// The hit rate over the capacity, one line per policy, as SVG, drawn by gnuplot.
export Result<std::string, Failure> draw(std::span<const ReplayRun> runs, std::string_view title);
/// The blocks by state over the steps, one panel per run.
export Result<std::string, Failure> draw(std::span<const RequestReplayRun> runs,
                                         std::string_view title);

/// What a replay ends with: the drawing (if `plot` names a file), the report, what was skipped of
/// the trace, and the comparison (if `expect` names a file), in this order. The first that fails
/// ends it.
export Result<void, Failure> hand_over(const Report& report, OutputFormat format,
                                       const Trace& trace, const std::string& plot,
                                       const std::function<Result<std::string, Failure>()>& drawing,
                                       const std::string& expect);

// --- the outside ---

/// All bytes of a file, or of standard input when the path is `-`.
export Result<std::string, Failure> read_file(const std::string& path);

/// Writes all of the text to standard output. A closed pipe is no failure.
export Result<void, Failure> write_out(std::string_view text);

/// Writes the report to standard output, with emphasis where that is a terminal and `NO_COLOR` is
/// not set.
export Result<void, Failure> write_out(const Report& report, OutputFormat format);

/// Makes the text the content of a file, which is complete or as it was before. Devices and pipes
/// are written to.
export Result<void, Failure> write_file(const std::string& path, std::string_view text);

/// From here on an interrupt (or the wish to terminate) ends the program with code 130 (143),
/// quietly, and leaves no temporary file and no progress line. A signal that is ignored stays so.
export void watch_for_interrupts();

/// A line on the terminal that tells how far a count has come, until it is destroyed. Nothing is
/// written where standard error is no terminal. At most ten updates a second.
export class ProgressLine {
  public:
    ProgressLine(const std::atomic<std::size_t>& done, std::size_t total, bool quiet);
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ~ProgressLine();

  private:
    void show();

    const std::atomic<std::size_t>& done_;
    std::size_t total_;
    std::mutex mutex_;
    std::condition_variable finished_;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace kvbm::tool
