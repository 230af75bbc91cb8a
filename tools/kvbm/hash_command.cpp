// `kvbm hash`.
module;

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <simdjson.h>
#include <nlohmann/json.hpp>

module kvbm.tool;

import kvbm.core;
import kvbm.hash;
import kvbm.tokens;

namespace kvbm::tool {
namespace {

using Tokens = std::vector<Token>;

constexpr std::string_view not_a_token = "not a token, 0 to 4294967295";
constexpr std::string_view not_a_list = "not a JSON list";

/// The name of an input in messages.
std::string_view name_of(std::string_view path) {
    return path == "-" ? std::string_view("standard input") : path;
}

/// What is wrong at a place of a text, with line and column from 1.
Failure bad_place(std::string_view path, std::string_view text, std::size_t offset,
                  std::string_view reason) {
    const std::string_view before = text.substr(0, offset);
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    return {ExitCode::bad_data,
            fmt::format("{}:{}:{}: {}", name_of(path), 1 + std::ranges::count(before, '\n'),
                        1 + before.size() - line_start, reason)};
}

Result<Tokens, Failure> tokens_of_text(std::string_view path, std::string_view text) {
    constexpr std::string_view white_space = " \t\n\v\f\r";
    Tokens tokens;
    std::size_t place = text.find_first_not_of(white_space);
    while (place != std::string_view::npos) {
        const std::size_t end = std::min(text.find_first_of(white_space, place), text.size());
        Token token = 0;
        const auto [rest, error] = std::from_chars(text.data() + place, text.data() + end, token);
        if (error != std::errc{} || rest != text.data() + end) {
            return failure(bad_place(path, text, place, not_a_token));
        }
        tokens.push_back(token);
        place = text.find_first_not_of(white_space, end);
    }
    return tokens;
}

Result<Tokens, Failure> tokens_of_words(std::string_view path, std::string_view bytes) {
    if (bytes.size() % 4 != 0) {
        return failure(
            Failure{ExitCode::bad_data, fmt::format("{}: {} bytes are not a whole number of tokens",
                                                    name_of(path), bytes.size())});
    }
    Tokens tokens(bytes.size() / 4);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        tokens[i / 4] |= Token{static_cast<unsigned char>(bytes[i])} << (8 * (i % 4));
    }
    return tokens;
}

/// Where a text that is no JSON list stops being one. Only asked for texts that were refused.
std::size_t syntax_error(const std::string& text) {
    try {
        static_cast<void>(nlohmann::json::parse(text));
    } catch (const nlohmann::json::parse_error& error) {
        return error.byte == 0 ? 0 : error.byte - 1;
    }
    return 0;  // well formed, and something else
}

Result<Tokens, Failure> tokens_of_json(std::string_view path, const std::string& text) {
    const simdjson::padded_string padded(text);
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document;
    simdjson::ondemand::array list;
    const auto refuse_at = [&](const char* place, std::string_view reason) {
        const std::size_t offset = static_cast<std::size_t>(place - padded.data());
        return failure(bad_place(path, text, std::min(offset, text.size()), reason));
    };
    const auto refuse = [&] { return refuse_at(padded.data() + syntax_error(text), not_a_list); };
    if (parser.iterate(padded).get(document) || document.get_array().get(list)) {
        return refuse();
    }
    Tokens tokens;
    for (auto element : list) {
        simdjson::ondemand::value value;
        if (element.get(value)) {
            return refuse();
        }
        const std::string_view written = value.raw_json_token();
        std::uint64_t token = 0;
        if (value.get_uint64().get(token) || token > std::numeric_limits<Token>::max()) {
            return refuse_at(written.data(), not_a_token);
        }
        tokens.push_back(static_cast<Token>(token));
    }
    if (document.current_location().error() == simdjson::SUCCESS) {
        return refuse();  // something follows the list
    }
    return tokens;
}

Result<Tokens, Failure> tokens_of(const HashCommand& command) {
    const auto content = read_file(command.path);
    if (!content) {
        return failure(content.error());
    }
    switch (command.input) {
        case TokenFormat::json:
            return tokens_of_json(command.path, *content);
        case TokenFormat::u32le:
            return tokens_of_words(command.path, *content);
        case TokenFormat::text:
            break;
    }
    return tokens_of_text(command.path, *content);
}

/// The number of a field of a run, or the sentence that it is none.
Result<std::uint64_t, Failure> run_field(const std::string& path, std::size_t index,
                                         simdjson::dom::element run, std::string_view name) {
    std::uint64_t number = 0;
    if (run[name].get(number)) {
        return failure(Failure{ExitCode::bad_data,
                               fmt::format("{}: run {}: field \"{}\" is not a non-negative integer",
                                           name_of(path), index, name)});
    }
    return number;
}

Result<std::vector<MultimodalRun>, Failure> runs_of(const std::string& path) {
    std::vector<MultimodalRun> runs;
    if (path.empty()) {
        return runs;
    }
    const auto content = read_file(path);
    if (!content) {
        return failure(content.error());
    }
    simdjson::dom::parser parser;
    simdjson::dom::array list;
    if (parser.parse(*content).get_array().get(list)) {
        return failure(
            Failure{ExitCode::bad_data, fmt::format("{}: {}", name_of(path), not_a_list)});
    }
    for (const simdjson::dom::element run : list) {
        const auto mm_hash = run_field(path, runs.size(), run, "mm_hash");
        const auto offset = run_field(path, runs.size(), run, "offset");
        const auto length = run_field(path, runs.size(), run, "length");
        for (const auto* field : {&mm_hash, &offset, &length}) {
            if (!*field) {
                return failure(field->error());
            }
        }
        runs.push_back({*mm_hash, *offset, *length});
    }
    return runs;
}

std::string hex(std::uint64_t number) {
    return fmt::format("{:016x}", number);
}

Report report_of(const HashCommand& command, std::size_t tokens, const SplitTokens& split) {
    Report report;
    report.facts.push_back({"tokens",
                            {{"path", command.path},
                             {"count", std::uint64_t{tokens}},
                             {"block_size", std::uint64_t{command.block_size}},
                             {"salt_hash", hex(command.salt)},
                             {"left_over", std::uint64_t{split.partial.size()}}},
                            false});
    report.list = "blocks";
    for (const TokenBlock& block : split.blocks) {
        report.rows.push_back({{"position", std::uint64_t{block.position()}},
                               {"block_hash", hex(block.block_hash().value)},
                               {"chain_hash", hex(block.chain_hash().value)},
                               {"sequence_hash", block.sequence_hash().to_hex()}});
    }
    report.caption = fmt::format("{}: {} tokens, block size {}, salt hash {}, {} left over\n\n",
                                 name_of(command.path), with_thousands(tokens), command.block_size,
                                 hex(command.salt), split.partial.size());
    return report;
}

}  // namespace

Result<void, Failure> run(const HashCommand& command) {
    const auto tokens = tokens_of(command);
    if (!tokens) {
        return failure(tokens.error());
    }
    const auto runs = runs_of(command.runs);
    if (!runs) {
        return failure(runs.error());
    }
    const auto split =
        TokenBlockSequence::split_with_runs(*tokens, *runs, command.block_size, command.salt);
    if (!split) {
        const bool of_runs = std::holds_alternative<TokenBlockError::MmInfo>(split.error().reason);
        return failure(Failure{ExitCode::bad_data,
                               fmt::format("{}: {}", name_of(of_runs ? command.runs : command.path),
                                           split.error().message())});
    }
    return write_out(report_of(command, tokens->size(), *split), command.output);
}

}  // namespace kvbm::tool
