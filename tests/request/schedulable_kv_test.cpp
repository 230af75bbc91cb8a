// The KV rule: what another request can match has been computed, to the last token. A simulated
// memory says what is in each block; a second request must match exactly the computed ones. E27 of
// requests.md 11.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using kvbm::testing::requests::make_manager;
using kvbm::testing::requests::SimulatedKv;
using Request = SchedulableSequence<>;

// An engine that computes what is scheduled, and nothing else.
struct Engine {
    static constexpr std::size_t blocks = 16;
    static constexpr std::size_t block_size = 4;

    // Fresh blocks hold what was in them before: nothing, or something else.
    Engine() {
        for (BlockId id = 0; id < blocks; ++id) {
            memory.spoil(id);
        }
    }

    void compute(const Request& request, std::size_t count,
                 const std::vector<Token>& accepted = {}) {
        const auto known = request.sequence().sequence().tokens();
        std::vector<Token> tokens(known.begin(), known.end());
        tokens.insert(tokens.end(), accepted.begin(), accepted.end());
        memory.write(request.block_ids(), SimulatedKv::of(tokens, 0),
                     {request.kv_position(), request.kv_position() + count});
    }
    void prefill(Request& request, std::size_t count, std::optional<Token> token) {
        must(request.schedule_prefill(count, manager));
        compute(request, count);
        must(request.apply_prefill(token, manager));
    }
    void decode(Request& request) {
        must(request.schedule_decode(manager));
        compute(request, 1);
        must(request.apply_decode(static_cast<Token>(request.total_tokens()), manager));
    }
    void speculate(Request& request, std::size_t drafts, std::size_t accepted) {
        must(request.schedule_speculative(drafts, manager));
        const auto tokens = counting_tokens(accepted, static_cast<Token>(request.total_tokens()));
        compute(request, accepted, tokens);
        must(request.apply_speculative(tokens, manager));
    }
    // Another request with these tokens and more: how many blocks it matches, all of them with
    // the right content.
    std::size_t matched_by_another(const Request& request) {
        Request other(counting_tokens(4 * blocks), 1, block_size);
        const std::size_t matched = must(other.match_and_add_prefix(manager));
        const auto numbers = SimulatedKv::of(other.sequence().sequence().tokens(), 0);
        EXPECT_TRUE(memory.holds(other.block_ids(), numbers, {0, other.kv_position()}));
        EXPECT_LE(matched, request.num_blocks());
        return matched;
    }

    BlockManager<> manager = make_manager({.block_count = blocks});
    SimulatedKv memory{blocks, block_size};
};

Request counting_request(std::size_t tokens, std::size_t max_output) {
    return Request(counting_tokens(tokens), max_output, Engine::block_size);
}

TEST(KvRule, a_chunk_that_ends_inside_a_block_does_not_register_it) {
    Engine engine;
    auto request = counting_request(8, 4);

    engine.prefill(request, 3, std::nullopt);
    EXPECT_EQ(engine.matched_by_another(request), 0u);
    engine.prefill(request, 3, std::nullopt);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
    engine.prefill(request, 2, 8);
    EXPECT_EQ(engine.matched_by_another(request), 2u);
}

TEST(KvRule, a_decode_that_completes_the_text_of_a_block_does_not_register_it) {
    Engine engine;
    auto request = counting_request(4, 8);
    engine.prefill(request, 4, 4);

    engine.decode(request);
    engine.decode(request);
    engine.decode(request);
    EXPECT_EQ(request.num_blocks(), 2u);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
    engine.decode(request);
    EXPECT_EQ(engine.matched_by_another(request), 2u);
}

TEST(KvRule, a_prefill_whose_token_completes_the_text_of_a_block_does_not_register_it) {
    Engine engine;
    auto request = counting_request(7, 8);

    engine.prefill(request, 7, 7);

    EXPECT_EQ(request.num_blocks(), 2u);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
}

TEST(KvRule, a_block_that_the_last_token_completed_is_never_registered) {
    Engine engine;
    {
        auto request = counting_request(4, 4);
        engine.prefill(request, 4, 4);
        while (!request.is_complete()) {
            engine.decode(request);
        }
        EXPECT_EQ(request.num_blocks(), 2u);
        EXPECT_EQ(engine.matched_by_another(request), 1u);
        must(request.release());
        EXPECT_EQ(engine.matched_by_another(request), 1u);
    }
    EXPECT_EQ(engine.manager.available_blocks(), Engine::blocks);
}

TEST(KvRule, a_speculation_does_not_register_the_block_of_its_last_token) {
    Engine engine;
    auto request = counting_request(4, 20);
    engine.prefill(request, 4, 4);

    engine.speculate(request, 6, 3);
    EXPECT_EQ(request.total_tokens(), 8u);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
    engine.speculate(request, 6, 0);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
    engine.speculate(request, 6, 6);
    EXPECT_EQ(request.total_tokens(), 14u);
    EXPECT_EQ(engine.matched_by_another(request), 3u);
}

TEST(KvRule, blocks_of_a_reacquire_on_an_empty_cache_are_registered_as_they_are_computed) {
    Engine engine;
    auto request = counting_request(10, 8);
    engine.prefill(request, 10, 10);
    engine.decode(request);
    must(request.release());
    EXPECT_EQ(engine.manager.reset_inactive_pool().value(), 2u);
    for (BlockId id = 0; id < Engine::blocks; ++id) {
        engine.memory.spoil(id);
    }

    EXPECT_TRUE(must(request.reacquire(engine.manager)));
    EXPECT_EQ(engine.matched_by_another(request), 0u);
    engine.prefill(request, 7, std::nullopt);
    EXPECT_EQ(engine.matched_by_another(request), 1u);
    engine.prefill(request, 4, std::nullopt);
    EXPECT_EQ(engine.matched_by_another(request), 2u);
    engine.decode(request);
    EXPECT_EQ(engine.matched_by_another(request), 3u);
}

}  // namespace
