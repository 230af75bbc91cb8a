// From tokens to named blocks. Tokens of all cases come one after the other from one generator.
module;

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::size_t token_count = 131'072;

std::vector<Token> all_tokens() {
    SplitMix64 random(seeds::tokens);
    return tokens(random, token_count);
}

/// Builds a sequence of tokens that are given away; its destruction is timed as well if asked to.
void time_construction(const Run& run, std::size_t size, bool with_destruction) {
    const auto list = all_tokens();
    run.measure(token_count / size,
                [&](std::size_t operations) {
                    Timed timed{operations};
                    for (std::size_t i = 0; i < operations; ++i) {
                        auto input = list;
                        std::optional<TokenBlockSequence> sequence;
                        timed.time += time_of([&] {
                            sequence.emplace(std::move(input), size);
                            keep(*sequence);
                            if (with_destruction) {
                                sequence.reset();
                            }
                        });
                        expects(!sequence || sequence->blocks().size() == token_count / size,
                                "a sequence has all its blocks");
                    }
                    return timed;
                },
                {.bytes = token_count * sizeof(Token)});
}

void time_hashes(const Run& run, std::size_t size) {
    const BlockSequence sequence(all_tokens(), size);
    run.measure(token_count / size, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             keep(hide(sequence).all_sequence_hashes());
                         }
                     })};
    });
    expects(sequence.all_sequence_hashes().size() == token_count / size,
            "there is a hash for each block");
}

void time_appending(const Run& run) {
    constexpr std::size_t appended = 8192;
    const auto list = all_tokens();
    const auto first = std::span(list).first(appended);
    run.measure(appended,
                [&](std::size_t operations) {
                    Timed timed{operations};
                    for (std::size_t i = 0; i < operations; ++i) {
                        TokenBlockSequence sequence({}, block_size);
                        timed.time += time_of([&] {
                            for (const Token token : first) {
                                const auto completed = sequence.append(token);
                                expects(completed.has_value(), "there is room for a token");
                                keep(completed);
                            }
                        });
                        expects(sequence.blocks().size() == appended / block_size,
                                "appending completes blocks");
                    }
                    return timed;
                },
                {.bytes = appended * sizeof(Token)});
}

/// One extend of `count` tokens, each operation's from another place of the list.
void time_extending(const Run& run, std::size_t count) {
    const auto list = all_tokens();
    run.measure(count / block_size,
                [&](std::size_t operations) {
                    Timed timed{operations};
                    for (std::size_t i = 0; i < operations; ++i) {
                        const auto piece =
                            std::span(list).subspan(i * count % (token_count - count + 1), count);
                        TokenBlockSequence sequence({}, block_size);
                        timed.time += time_of([&] { keep(must(sequence.extend(piece))); });
                        expects(sequence.blocks().size() == count / block_size,
                                "extending completes blocks");
                    }
                    return timed;
                },
                {.bytes = count * sizeof(Token)});
}

}  // namespace

void add_token_cases(Cases& cases) {
    for (const auto size : std::initializer_list<std::size_t>{16, 64, 512}) {
        const auto suffix = "/" + std::to_string(size);
        cases.push_back(
            {"hash/new" + suffix, [=](const Run& run) { time_construction(run, size, false); }});
        cases.push_back({"hash/new_and_drop" + suffix,
                         [=](const Run& run) { time_construction(run, size, true); }});
        cases.push_back({"hash/hashes" + suffix, [=](const Run& run) { time_hashes(run, size); }});
    }
    cases.push_back({"hash/append/16", time_appending});
    cases.push_back({"hash/extend512/16", [](const Run& run) { time_extending(run, 512); }});
    for (const auto count : std::initializer_list<std::size_t>{2048, 8192, 32'768, 131'072}) {
        cases.push_back({"growth/extend/" + std::to_string(count),
                         [=](const Run& run) { time_extending(run, count); }});
    }
}

}  // namespace kvbm::bench
