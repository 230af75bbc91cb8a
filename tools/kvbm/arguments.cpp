// The command line: options, help, examples.
module;

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

module kvbm.tool;

import kvbm.core;
import kvbm.hash;

namespace kvbm::tool {
namespace {

constexpr const char* main_examples = R"(Examples:
  kvbm replay trace.jsonl                        hit rates by capacity, least recently used out
  kvbm replay trace.jsonl --capacity 64K,1M,unlimited --output csv
  kvbm replay                                    the same for a generated workload
  kvbm inspect trace.jsonl                       what the trace holds
  kvbm inspect trace.jsonl --after-replay        what a cache holds after it
  kvbm generate agent --requests 500 | kvbm replay -
  echo 1 2 3 4 5 6 7 8 | kvbm hash - --block-size 4

Exit codes: 0 done; 1 input, output or internal error; 2 usage; 3 bad data;
4 --expect differs; 130 interrupted. `kvbm SUBCOMMAND --help` tells more.)";

constexpr const char* replay_examples =
    R"(A request is a list of blocks; the cache holds blocks by content and everything
before it. A hit is a block of the longest prefix of the request that the cache
holds. block_hit_rate = hits / blocks asked for; token_hit_rate = the same in input
tokens; ceiling = share of the hits that a cache without a limit would have.

Capacities are blocks, or tokens with a suffix: 64K = 65,536 tokens, 1M = 1,048,576,
rounded down to whole blocks.

Policies, which block goes first: lru, the least recently used; multi-lru, the same
among those used least often; lineage-tick and lineage-fifo, one that no cached block
continues, the least recently used or the longest uncontinued; fifo, the one unused
longest, which here is lru.

Modes: manager, each request's blocks through the real block manager, one request after
the other; ideal, through the textbook cache; request, whole requests through the
scheduler, from prompt to last token, several at once, with preemption when blocks run
out: prompt_cache_rate = prompt tokens found in the cache / prompt tokens.

Examples:
  kvbm replay trace.jsonl
  kvbm replay trace.jsonl --policy lru,multi-lru,lineage-fifo --capacity 1000,10000
  kvbm replay trace.jsonl --capacity 1000,5000,unlimited --jobs 2
  kvbm replay trace.jsonl --mode ideal --order head --count-from 1000
  kvbm replay trace.jsonl --plot hits.svg --output json > hits.json
  kvbm replay trace.jsonl --mode request --capacity 5000 --concurrency 32 --limit 1000
  kvbm replay trace.jsonl --expect golden.csv    compares, tells each cell that differs
  kvbm replay --generate scan --hot 100
  zcat trace.jsonl.gz | kvbm replay -)";

constexpr const char* inspect_examples =
    R"(Of a trace: its requests and blocks, how often blocks come again and after how many
others (reuse distance: a cache of that many blocks holds it), and oddities.

Of a cache after a replay: its blocks by state, its chains (a chain ends where no cached
block continues; unreachable blocks have lost one before them), uses since a block was
last registered, and ages in requests since its last use.

Examples:
  kvbm inspect trace.jsonl
  kvbm inspect burst.csv --sessions greedy --output json
  kvbm inspect trace.jsonl --after-replay --capacity 10000 --policy lineage-fifo)";

constexpr const char* hash_examples =
    R"(Every full block of tokens gets a block hash (its content), a chain hash (its content
and everything before it) and a sequence hash (chain hash, position and part of the
parent's chain hash: the name of the block in every table).

Examples:
  echo 1 2 3 4 5 6 7 8 9 10 11 12 | kvbm hash - --block-size 4
  kvbm hash tokens.json --input json --salt tenant-a
  kvbm hash tokens.bin --input u32le --runs images.json --output csv)";

constexpr const char* generate_examples = R"(Examples:
  kvbm generate multi-turn > trace.jsonl
  kvbm generate agent --requests 500 --seed 7 | kvbm replay -)";

/// The list of replay.md 5.1.
const std::vector<std::string> default_capacities{"32",    "128",   "512",   "1000",  "2048",
                                                  "5000",  "5859",  "8192",  "10000", "20000",
                                                  "30000", "32768", "50000", "97656", "unlimited"};

/// Options are texts until all are read: the tables below say what they mean. The default first.
template <class Value>
using Names = std::vector<std::pair<std::string, Value>>;

const Names<OutputFormat> output_formats{
    {"table", OutputFormat::table}, {"csv", OutputFormat::csv}, {"json", OutputFormat::json}};
/// What is replayed against what.
enum class Replayed { blocks_through_manager, blocks_through_textbook, requests };
const Names<Replayed> modes{{"manager", Replayed::blocks_through_manager},
                            {"ideal", Replayed::blocks_through_textbook},
                            {"request", Replayed::requests}};
const Names<ReplayPolicy> policies{{"lru", ReplayPolicy::lru},
                                   {"multi-lru", ReplayPolicy::multi_lru},
                                   {"lineage-tick", ReplayPolicy::lineage_tick},
                                   {"lineage-fifo", ReplayPolicy::lineage_fifo},
                                   {"fifo", ReplayPolicy::fifo}};
const Names<ReplayOrder> orders{{"tail", ReplayOrder::tail}, {"head", ReplayOrder::head}};
const Names<SketchLayout> sketches{{"compat", SketchLayout::compat},
                                   {"blocked", SketchLayout::blocked}};
const Names<TokenFormat> token_formats{
    {"text", TokenFormat::text}, {"json", TokenFormat::json}, {"u32le", TokenFormat::u32le}};
const Names<TraceFormat> trace_formats{{"mooncake", TraceFormat::mooncake},
                                       {"qwen", TraceFormat::qwen},
                                       {"azure", TraceFormat::azure},
                                       {"burstgpt", TraceFormat::burstgpt}};
const Names<SessionRule> session_rules{{"labelled", SessionRule::labelled},
                                       {"independent", SessionRule::independent},
                                       {"greedy", SessionRule::greedy}};

/// An option whose value is one of a table's names. The callback runs once per value.
template <class Value, class Store>
CLI::Option* add_choice(CLI::App& app, const std::string& name, const Names<Value>& names,
                        const std::string& meaning, Store store) {
    const auto assign = [&names, store](const std::vector<std::string>& texts) {
        for (const std::string& text : texts) {
            store(std::ranges::find(names, text, &Names<Value>::value_type::first)->second);
        }
        return true;
    };
    std::vector<std::string> offered;
    for (const auto& [text, value] : names) {
        offered.push_back(text);
    }
    return app.add_option(name, CLI::callback_t(assign), meaning)
        ->check(CLI::IsMember(offered).description(""))
        ->type_name(fmt::format("{}", fmt::join(offered, "|")));
}

/// The number that is the whole of a text: digits alone, or of seconds what is finite and not
/// negative. (The parser's own conversion takes -1 for a large number.)
template <class Number>
bool read_number(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    bool fits = error == std::errc{} && end == text.data() + text.size();
    if constexpr (std::is_floating_point_v<Number>) {
        fits = fits && std::isfinite(number) && number >= 0;
    }
    return fits;
}

/// An option whose value is a number. The callback gets it.
template <class Number, class Store>
CLI::Option* add_number_for(CLI::App& app, const std::string& name, const std::string& meaning,
                            Store store) {
    const auto assign = [store](const std::vector<std::string>& texts) {
        Number number{};
        const bool fits = read_number(texts.front(), number);
        if (fits) {
            store(number);
        }
        return fits;
    };
    return app.add_option(name, CLI::callback_t(assign), meaning)->type_name("N");
}
template <class Number>
CLI::Option* add_number(CLI::App& app, const std::string& name, std::optional<Number>& value,
                        const std::string& meaning) {
    return add_number_for<Number>(app, name, meaning, [&value](Number number) { value = number; });
}
template <class Number>
CLI::Option* add_number(CLI::App& app, const std::string& name, Number& value,
                        const std::string& meaning) {
    return add_number_for<Number>(app, name, meaning, [&value](Number number) { value = number; })
        ->default_str(fmt::format("{}", value));
}

void add_output(CLI::App& app, OutputFormat& output) {
    add_choice(app, "--output,-o", output_formats, "how results are written (default table)",
               [&output](OutputFormat value) { output = value; });
}

/// What a replay and a look into the cache after one have in common. Gives the options.
std::vector<CLI::Option*> add_replay_options(CLI::App& app, ReplayOrder& order,
                                             SketchLayout& sketch) {
    return {add_choice(app, "--order", orders,
                       "blocks of a request are released from its tail or its head (default tail)",
                       [&order](ReplayOrder value) { order = value; }),
            add_choice(app, "--sketch", sketches,
                       "how multi-lru counts uses (default compat, as NVIDIA Dynamo does)",
                       [&sketch](SketchLayout value) { sketch = value; })};
}

CLI::Option* add_limit(CLI::App& app, std::optional<std::size_t>& limit) {
    return add_number(app, "--limit", limit, "replay only the first N requests");
}

/// Parameters of generators by option name, with what they mean: `blocks of a tree (fan-out 16)`.
std::map<std::string, std::string> generator_parameters() {
    std::map<std::string, std::string> meanings;
    for (const Generator& generator : generators()) {
        for (const GeneratorParameter& parameter : generator.parameters) {
            std::string& text = meanings[std::string(parameter.name)];
            const std::string use = fmt::format("{} {})", generator.name, parameter.value);
            if (text.find(parameter.meaning) == std::string::npos) {
                text += fmt::format("{}{} ({}", text.empty() ? "" : "; ", parameter.meaning, use);
            } else {
                text.back() = ',';
                text += ' ' + use;
            }
        }
    }
    return meanings;
}

CLI::Validator a_generator() {
    std::vector<std::string> names;
    for (const Generator& generator : generators()) {
        names.emplace_back(generator.name);
    }
    return CLI::IsMember(names).description("");
}

/// The options that only generators have. Gives them, to find out which were used.
std::vector<CLI::Option*> add_generator_options(CLI::App& app, GenerateOptions& generate) {
    std::vector<CLI::Option*> options{
        add_number(app, "--requests", generate.requests, "requests to generate"),
        add_number(app, "--interval-ms", generate.interval_ms, "time between requests"),
        add_number(app, "--output-length", generate.output_length, "tokens of every answer")};
    for (const auto& [name, meaning] : generator_parameters()) {
        options.push_back(add_number_for<std::uint64_t>(
            app, "--" + name, meaning, [&generate, key = name](std::uint64_t value) {
                generate.parameters.emplace_back(key, value);
            }));
    }
    for (CLI::Option* option : options) {
        option->group("Generated workload");
    }
    return options;
}

/// Options that say how a trace file is read.
std::vector<CLI::Option*> add_read_options(CLI::App& app, ReadOptions& read) {
    std::vector<CLI::Option*> options{
        add_choice(app, "--format", trace_formats, "format of the file (default: by content)",
                   [&read](TraceFormat value) { read.format = value; }),
        app.add_flag("--skip-bad", read.skip_bad, "leave bad lines out, and say how many"),
        add_number(app, "--max-bad", read.max_bad, "bad lines that may be left out")
            ->default_str("all"),
        add_number(app, "--max-line", read.max_line, "longest line in bytes"),
        add_number(app, "--max-blocks", read.max_blocks, "most blocks of a request"),
        add_choice(app, "--sessions", session_rules,
                   "which rows of a trace without block ids are one conversation (default labelled "
                   "where there are labels, else independent)",
                   [&read](SessionRule value) { read.sessions = value; }),
        add_number(app, "--session-gap", read.session_gap_s,
                   "seconds after which a greedy session ends")
            ->type_name("S"),
        add_number(app, "--shared-prefix", read.shared_prefix,
                   "tokens that every session begins with")};
    for (CLI::Option* option : options) {
        option->group("Trace file");
    }
    return options;
}

/// A workload as it is being read from the command line.
struct WorkloadArguments {
    Workload workload;
    std::optional<std::uint64_t> block_size;
    std::uint64_t seed = 1;
    CLI::Option* path = nullptr;
    std::vector<CLI::Option*> of_files;
    std::vector<CLI::Option*> of_generators;

    void add_to(CLI::App& app) {
        path = app.add_option("TRACE", workload.path, "file of requests, - for standard input")
                   ->type_name("");
        auto* generator = app.add_option("--generate", workload.generator,
                                         "a generated workload in place of a file (kvbm generate "
                                         "--help lists them)");
        generator->type_name("NAME")->check(a_generator())->excludes(path);
        add_number(app, "--block-size", block_size,
                   "tokens per block (default: that of the format; 512 if generated)")
            ->check(CLI::PositiveNumber.description(""));
        add_number(app, "--seed", seed, "of generated requests and of blocks without ids");
        of_files = add_read_options(app, workload.read);
        of_generators = add_generator_options(app, workload.generate);
    }

    /// Puts the parts together. Fails when options of the other kind of workload were used.
    Result<Workload, Failure> finish() {
        const bool from_file = !workload.path.empty();
        for (const CLI::Option* option : from_file ? of_generators : of_files) {
            if (option->count() > 0) {
                return failure(Failure{
                    ExitCode::usage,
                    fmt::format("{} is an option of {}", option->get_name(),
                                from_file ? "generated workloads, not of files (--generate NAME)"
                                          : "trace files, not of generated workloads")});
            }
        }
        workload.read.block_size = block_size;
        workload.read.seed = seed;
        workload.generate.seed = seed;
        workload.generate.block_size = block_size.value_or(workload.generate.block_size);
        return workload;
    }
};

/// The subcommands with what they store into.
struct Arguments {
    CLI::App app{
        "Logical KV-cache blocks of an inference server: replays workloads against a "
        "prefix cache, names blocks by content.",
        "kvbm"};
    CLI::App* replay = nullptr;
    CLI::App* inspect = nullptr;
    CLI::App* hash = nullptr;
    CLI::App* generate = nullptr;

    ReplayCommand replay_command;
    RequestsCommand requests_command;
    Replayed replayed = Replayed::blocks_through_manager;
    std::vector<CLI::Option*> of_blocks;    // options of the modes manager and ideal
    std::vector<CLI::Option*> of_requests;  // of the mode request
    WorkloadArguments replay_workload;
    InspectCommand inspect_command;
    WorkloadArguments inspect_workload;
    HashCommand hash_command;
    std::string salt_text;
    CLI::Option* salt = nullptr;
    GenerateCommand generate_command;

    Arguments() {
        app.set_version_flag("--version", "kvbm " KVBM_VERSION);
        app.require_subcommand(1);
        app.footer(main_examples);
        add_replay();
        add_inspect();
        add_hash();
        add_generate();
    }

    void add_replay() {
        replay = app.add_subcommand("replay", "hit rates by capacity and policy");
        replay->footer(replay_examples);
        ReplayCommand& command = replay_command;
        command.capacities = default_capacities;
        replay
            ->add_option("--capacity,-c", command.capacities,
                         "blocks, tokens with K or M, or unlimited; several with commas (default "
                         "15 from 32 to unlimited)")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->type_name("LIST");
        add_choice(*replay, "--policy,-p", policies,
                   "which block goes first; several with commas (default lru)",
                   [&command](ReplayPolicy value) { command.policies.push_back(value); })
            ->delimiter(',')
            ->take_all();
        add_choice(
            *replay, "--mode", modes,
            "the real block manager, the textbook cache, or whole requests (default manager)",
            [this](Replayed value) { replayed = value; });
        of_blocks = add_replay_options(*replay, command.order, command.sketch);
        add_limit(*replay, command.limit);
        of_blocks.push_back(add_number(*replay, "--count-from", command.count_from,
                                       "first request to count; those before it warm the cache"));
        of_requests = {add_number(*replay, "--concurrency", requests_command.concurrency,
                                  "requests that run at once"),
                       add_number(*replay, "--chunk", requests_command.chunk,
                                  "tokens of a prompt that are computed in one turn"),
                       add_number(*replay, "--limit-output", requests_command.limit_output,
                                  "most tokens of an answer (default: as recorded)")};
        for (CLI::Option* option : of_requests) {
            option->check(CLI::PositiveNumber.description(""))->group("Mode request");
        }
        add_number(*replay, "--jobs,-j", command.jobs, "replays to run at once, 1 to 1024")
            ->check(CLI::Range(1, 1024).description(""));
        replay->add_option("--expect", command.expect, "csv of expected rows to compare with")
            ->type_name("FILE");
        replay
            ->add_option("--plot", command.plot,
                         "draw as SVG: hit rate over capacity; of requests blocks by state over "
                         "steps")
            ->type_name("FILE");
        add_output(*replay, command.output);
        replay->add_flag("--quiet,-q", command.quiet, "no progress line");
        replay_workload.workload.generator = "multi-turn";
        replay_workload.add_to(*replay);
        replay_workload.path->description(
            "file of requests, - for standard input; without it a generated one (multi-turn)");
    }

    void add_inspect() {
        inspect = app.add_subcommand("inspect", "what a trace holds");
        inspect->footer(inspect_examples);
        InspectCommand& command = inspect_command;
        auto* after = inspect->add_flag("--after-replay", command.after_replay,
                                        "the cache after a replay, not the trace");
        std::vector<CLI::Option*> options =
            add_replay_options(*inspect, command.order, command.sketch);
        options.push_back(add_limit(*inspect, command.limit));
        options.push_back(inspect
                              ->add_option("--capacity,-c", command.capacity,
                                           "blocks, tokens with K or M, or unlimited")
                              ->type_name("N")
                              ->capture_default_str());
        options.push_back(add_choice(*inspect, "--policy,-p", policies,
                                     "which block goes first (default lru)",
                                     [&command](ReplayPolicy value) { command.policy = value; }));
        options.push_back(
            add_number(*inspect, "--top", command.top, "how many of the most used blocks to name"));
        for (CLI::Option* option : options) {
            option->needs(after)->group("After a replay");
        }
        add_output(*inspect, command.output);
        inspect_workload.add_to(*inspect);
    }

    void add_hash() {
        hash = app.add_subcommand("hash", "names the blocks of a list of tokens");
        hash->footer(hash_examples);
        HashCommand& command = hash_command;
        hash->add_option("FILE", command.path, "file of tokens, - for standard input")
            ->type_name("")
            ->required();
        add_number(*hash, "--block-size", command.block_size, "tokens per block")
            ->check(CLI::PositiveNumber.description(""));
        salt =
            hash->add_option("--salt", salt_text, "text whose hash is the salt")->type_name("TEXT");
        add_number(*hash, "--salt-hash", command.salt, "the salt as a number")->excludes(salt);
        hash->add_option("--runs", command.runs,
                         R"(JSON list of {"mm_hash", "offset", "length"}: multimodal runs)")
            ->type_name("FILE");
        add_choice(*hash, "--input", token_formats,
                   "numbers between white space, a JSON list, or 4 bytes each (default text)",
                   [&command](TokenFormat value) { command.input = value; });
        add_output(*hash, command.output);
    }

    void add_generate() {
        generate = app.add_subcommand("generate", "a workload out of a seed, as Mooncake JSONL");
        std::string shapes = "Workloads:\n";
        for (const Generator& generator : generators()) {
            shapes += fmt::format("  {:<14} {}\n", generator.name, generator.meaning);
        }
        generate->footer(shapes + "\n" + generate_examples);
        GenerateCommand& command = generate_command;
        generate->add_option("NAME", command.generator, "one of the workloads below")
            ->type_name("")
            ->required()
            ->check(a_generator());
        add_number(*generate, "--seed", command.generate.seed, "same seed, same workload");
        add_number(*generate, "--block-size", command.generate.block_size, "tokens per block");
        add_generator_options(*generate, command.generate);
    }

    /// Fails when options of another mode were used.
    Result<Errand, Failure> finish_replay() {
        const bool whole = replayed == Replayed::requests;
        for (const CLI::Option* option : whole ? of_blocks : of_requests) {
            if (option->count() > 0) {
                return failure(Failure{ExitCode::usage,
                                       fmt::format("{} is an option of {}", option->get_name(),
                                                   whole ? "the modes manager and ideal"
                                                         : "the mode request (--mode request)")});
            }
        }
        if (!whole) {
            replay_command.mode = replayed == Replayed::blocks_through_textbook
                                      ? ReplayMode::ideal
                                      : ReplayMode::manager;
            return replay_command;
        }
        requests_command.workload = std::move(replay_command.workload);
        requests_command.capacities = std::move(replay_command.capacities);
        requests_command.policies = std::move(replay_command.policies);
        requests_command.limit = replay_command.limit;
        requests_command.jobs = replay_command.jobs;
        requests_command.expect = std::move(replay_command.expect);
        requests_command.plot = std::move(replay_command.plot);
        requests_command.output = replay_command.output;
        requests_command.quiet = replay_command.quiet;
        return requests_command;
    }

    Result<Errand, Failure> finish() {
        if (replay->parsed()) {
            auto workload = replay_workload.finish();
            if (!workload) {
                return failure(workload.error());
            }
            replay_command.workload = std::move(*workload);
            if (replay_command.policies.empty()) {
                replay_command.policies.push_back(ReplayPolicy::lru);
            }
            return finish_replay();
        }
        if (inspect->parsed()) {
            auto workload = inspect_workload.finish();
            if (!workload) {
                return failure(workload.error());
            }
            if (workload->path.empty() && workload->generator.empty()) {
                return failure(Failure{ExitCode::usage, "inspect needs a file or --generate NAME"});
            }
            inspect_command.workload = std::move(*workload);
            return inspect_command;
        }
        if (hash->parsed()) {
            if (salt->count() > 0) {
                hash_command.salt = salt_hash(std::string_view(salt_text));
            }
            return hash_command;
        }
        return generate_command;
    }
};

}  // namespace

Result<Errand, Failure> parse_arguments(int count, const char* const* values) {
    Arguments arguments;
    try {
        arguments.app.parse(count, values);
    } catch (const CLI::CallForHelp&) {
        CLI::App* asked = &arguments.app;
        for (CLI::App* command : arguments.app.get_subcommands()) {
            asked = command;
        }
        return asked->help(asked == &arguments.app ? "" : "kvbm");
    } catch (const CLI::CallForVersion& version) {
        return std::string(version.what()) + '\n';
    } catch (const CLI::ParseError& error) {
        return failure(Failure{ExitCode::usage, error.what()});
    }
    return arguments.finish();
}

}  // namespace kvbm::tool
