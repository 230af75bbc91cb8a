// Requests: from the prompt to the release of the last block.
module;

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::size_t prompt_tokens = 1024;
constexpr std::size_t decode_tokens = 256;
constexpr std::size_t prompt_blocks = prompt_tokens / block_size;
constexpr std::size_t request_blocks = (prompt_tokens + decode_tokens) / block_size;
constexpr std::size_t pool_blocks = 16'384;
constexpr std::size_t warm_prompts = 16;

/// What is left of a request when all its blocks are given back.
struct Life {
    std::size_t matched = 0;
    std::size_t generated = 0;
    std::size_t held = 0;
};

template <class Request>
Life life_of(const Request& request, std::size_t matched) {
    return {matched, request.generated_tokens(), request.block_ids().size()};
}

/// One way to serve a request. Adds the time from its making to its release.
using Serve = Life (*)(BlockManager<>&, std::span<const Token> prompt,
                       std::span<const Token> decoded, std::chrono::nanoseconds& time);

/// The caller allocates for himself: a block ahead of each that decoding fills.
Life serve_plain(BlockManager<>& manager, std::span<const Token> prompt,
                 std::span<const Token> decoded, std::chrono::nanoseconds& time) {
    const auto start = std::chrono::steady_clock::now();
    RequestSequence<> request(prompt, decode_tokens, block_size);
    const std::size_t matched = must(request.match_and_add_prefix(manager));
    expects(request.allocate_blocks(request.num_blocks() - matched + 1, manager),
            "there are blocks for the prompt");
    request.complete_and_register_pending(manager);
    for (const Token token : decoded) {
        if (must(request.append_token(token))) {
            request.complete_and_register_pending(manager);
            expects(request.allocate_blocks(1, manager), "there is a block for the next tokens");
        }
    }
    request.release();
    keep(request);
    time += std::chrono::steady_clock::now() - start;
    return life_of(request, matched);
}

/// Every step is scheduled and applied.
Life serve_scheduled(BlockManager<>& manager, std::span<const Token> prompt,
                     std::span<const Token> decoded, std::chrono::nanoseconds& time) {
    const auto start = std::chrono::steady_clock::now();
    SchedulableSequence<> request(prompt, decode_tokens, block_size);
    const std::size_t matched =
        must(request.match_and_add_prefix(manager, PrefixMatch::everything));
    if (matched == prompt_blocks) {
        must(request.append_tokens(decoded.first(1)));
    } else {
        must(request.schedule_prefill(prompt.size() - matched * block_size, manager));
        must(request.apply_prefill(decoded.front(), manager));
    }
    for (const Token token : decoded.subspan(1)) {
        must(request.schedule_decode(manager));
        keep(must(request.apply_decode(token, manager)));
    }
    must(request.release());
    keep(request);
    time += std::chrono::steady_clock::now() - start;
    return life_of(request, matched);
}

/// A way to serve, and what it takes of the pool for each request beside what is matched.
struct Kind {
    std::string_view name;
    Serve serve;
    std::size_t allocated;
    std::size_t registered;
};
constexpr Kind plain{"plain", serve_plain, request_blocks + 1, request_blocks};
/// The KV of the last token is never computed, so its block is not registered.
constexpr Kind scheduled{"scheduled", serve_scheduled, request_blocks, request_blocks - 1};

/// Prompts that were never seen before and, in between, the warm ones in turn.
class Requests {
  public:
    Requests() : random_(seeds::tokens), turn_(warm_prompts) {
        for (std::size_t i = 0; i < warm_prompts; ++i) {
            warm_.push_back(tokens(random_, prompt_tokens));
        }
        turn_.next();  // the first is the last to be asked for again
    }

    /// Serves one and checks how it ended.
    void serve_cold(Serve serve, BlockManager<>& manager, std::chrono::nanoseconds& time) {
        const auto prompt = tokens(random_, prompt_tokens);
        run(serve, manager, prompt, 0, time);
    }
    void serve_warm(Serve serve, BlockManager<>& manager, std::chrono::nanoseconds& time) {
        run(serve, manager, warm_[turn_.next()], prompt_blocks, time);
    }
    /// Makes the pool full of other requests, and the warm prompts known.
    void fill(Serve serve, BlockManager<>& manager, bool warm) {
        std::chrono::nanoseconds time{};
        for (std::size_t i = 0; i < pool_blocks / request_blocks + 1; ++i) {
            serve_cold(serve, manager, time);
        }
        if (warm) {
            for (const auto& prompt : warm_) {
                run(serve_plain, manager, prompt, 0, time);
            }
        }
    }

  private:
    void run(Serve serve, BlockManager<>& manager, const std::vector<Token>& prompt,
             std::size_t expected, std::chrono::nanoseconds& time) {
        const auto decoded = tokens(random_, decode_tokens);
        const Life life = serve(manager, prompt, decoded, time);
        expects(life.matched == expected,
                "a warm prompt is matched as a whole, another not at all");
        expects(life.generated == decode_tokens, "every token is decoded");
        expects(life.held == 0, "every block is given back");
    }

    SplitMix64 random_;
    std::vector<std::vector<Token>> warm_;
    Turn turn_;
};

void time_requests(const Run& run, const Kind& kind, bool warm) {
    auto manager = make_manager("lru", pool_blocks);
    Requests requests;
    requests.fill(kind.serve, manager, warm);
    const auto before = manager.metrics()->snapshot();
    std::size_t served = 0;
    run.measure(1, [&](std::size_t operations) {
        Timed timed{operations};
        for (std::size_t i = 0; i < operations; ++i) {
            if (warm) {
                requests.serve_warm(kind.serve, manager, timed.time);
            } else {
                requests.serve_cold(kind.serve, manager, timed.time);
            }
        }
        served += operations;
        return timed;
    });
    const auto after = manager.metrics()->snapshot();
    const std::size_t matched = warm ? prompt_blocks : 0;
    expects(after.allocations - before.allocations == served * (kind.allocated - matched),
            "a request takes the blocks of its tokens");
    expects(after.registrations - before.registrations == served * (kind.registered - matched),
            "a request registers the blocks whose KV is computed");
    expects(after.duplicate_blocks == 0, "no block is a duplicate");
}

}  // namespace

void add_request_cases(Cases& cases) {
    for (const Kind& kind : {plain, scheduled}) {
        for (const bool warm : {false, true}) {
            cases.push_back({"request/" + std::string(kind.name) + (warm ? "/warm" : "/cold"),
                             [=](const Run& run) { time_requests(run, kind, warm); }});
        }
    }
}

}  // namespace kvbm::bench
