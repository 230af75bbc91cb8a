// The worked examples of requests.md 7, row by row: what each call allocates, and K, T, tail and
// blocks after it. E21, E26.
#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using Request = SchedulableSequence<>;

// A request on an ample pool, and what its last call came to.
struct Life {
    Life(std::size_t tokens, std::size_t max_output)
        : request(counting_tokens(tokens), max_output, 4) {}

    Token next_token() const { return static_cast<Token>(request.total_tokens()); }

    BlockManager<> manager = kvbm::testing::requests::make_manager({.block_count = 32});
    Request request;
    std::optional<DecodeOutcome> outcome = std::nullopt;
};

using Call = std::function<void(Life&)>;

Call schedule_prefill(std::size_t count) {
    return [count](Life& life) { must(life.request.schedule_prefill(count, life.manager)); };
}

void apply_with_token(Life& life) {
    must(life.request.apply_prefill(life.next_token(), life.manager));
}

void apply_without_token(Life& life) {
    must(life.request.apply_prefill(std::nullopt, life.manager));
}

void schedule_decode(Life& life) {
    must(life.request.schedule_decode(life.manager));
}

void apply_decode(Life& life) {
    life.outcome = must(life.request.apply_decode(life.next_token(), life.manager));
}

Call decodes(int count) {
    return [count](Life& life) {
        for (int i = 0; i < count; ++i) {
            schedule_decode(life);
            apply_decode(life);
        }
    };
}

Call speculate(std::size_t drafts) {
    return [drafts](Life& life) { must(life.request.schedule_speculative(drafts, life.manager)); };
}

Call accept(std::size_t count) {
    return [count](Life& life) {
        life.outcome = must(life.request.apply_speculative(
            counting_tokens(count, life.next_token()), life.manager));
    };
}

void release(Life& life) {
    must(life.request.release());
}

void reacquire(Life& life) {
    EXPECT_TRUE(must(life.request.reacquire(life.manager)));
}

// A request that ran before has cached so many blocks of the prompt.
Call cached(std::size_t blocks) {
    return [blocks](Life& life) {
        Request earlier(counting_tokens(4 * blocks), 0, 4);
        must(earlier.schedule_prefill(4 * blocks, life.manager));
        must(earlier.apply_prefill(std::nullopt, life.manager));
    };
}

Call match(PrefixMatch how, std::size_t expected) {
    return [how, expected](Life& life) {
        EXPECT_EQ(must(life.request.match_and_add_prefix(life.manager, how)), expected);
    };
}

void lose_cache(Life& life) {
    static_cast<void>(life.manager.reset_inactive_pool());
}

struct Row {
    const char* what;
    Call call;
    std::optional<std::size_t> allocated;  // the state's number, if the call schedules
    std::size_t kv_position;
    std::size_t total;
    std::size_t tail;
    std::size_t assigned;
    std::size_t unassigned;
    std::optional<DecodeOutcome> outcome = std::nullopt;
};

struct Example {
    const char* name;
    std::size_t prompt;
    std::size_t max_output;
    std::vector<Row> rows;
};

void PrintTo(const Example& example, std::ostream* out) {
    *out << example.name;
}

std::optional<std::size_t> allocated_of(const SequenceState& state) {
    if (const auto* prefill = std::get_if<PrefillScheduled>(&state)) {
        return prefill->blocks_allocated;
    }
    if (const auto* decode = std::get_if<DecodeScheduled>(&state)) {
        return decode->blocks_allocated;
    }
    if (const auto* speculation = std::get_if<SpeculativeScheduled>(&state)) {
        return speculation->blocks_allocated;
    }
    return std::nullopt;
}

class WorkedExample : public ::testing::TestWithParam<Example> {};

TEST_P(WorkedExample, comes_out_as_its_table_says) {
    Life life(GetParam().prompt, GetParam().max_output);
    for (const Row& row : GetParam().rows) {
        SCOPED_TRACE(row.what);
        life.outcome.reset();

        row.call(life);

        EXPECT_EQ(allocated_of(life.request.state()), row.allocated);
        EXPECT_EQ(life.request.kv_position(), row.kv_position);
        EXPECT_EQ(life.request.total_tokens(), row.total);
        EXPECT_EQ(life.request.tail_tokens(), row.tail);
        EXPECT_EQ(life.request.assigned_blocks(), row.assigned);
        EXPECT_EQ(life.request.staged_blocks(), 0u);
        EXPECT_EQ(life.request.unassigned_blocks(), row.unassigned);
        if (row.outcome) {
            EXPECT_EQ(life.outcome, row.outcome);
        }
        EXPECT_EQ(life.request.check_invariants().to_string(), "");
    }
}

constexpr auto none = std::nullopt;
using enum DecodeOutcome;

INSTANTIATE_TEST_SUITE_P(
    Tables, WorkedExample,
    ::testing::Values(
        Example{
            "aligned_prompt",
            8,
            10,
            {{"schedule_prefill(8)", schedule_prefill(8), 2, 0, 8, 8, 0, 2},
             {"apply_prefill(token)", apply_with_token, none, 8, 9, 1, 2, 0},
             {"schedule_decode", schedule_decode, 1, 8, 9, 1, 2, 1},
             {"apply_decode", apply_decode, none, 9, 10, 1, 2, 1, continue_},
             {"schedule_decode", schedule_decode, 0, 9, 10, 1, 2, 1},
             {"apply_decode", apply_decode, none, 10, 11, 1, 2, 1, continue_},
             {"schedule_decode", schedule_decode, 0, 10, 11, 1, 2, 1},
             {"apply_decode: text of block 2", apply_decode, none, 11, 12, 1, 2, 1,
              block_completed},
             {"schedule_decode", schedule_decode, 1, 11, 12, 1, 2, 2},
             {"apply_decode: registers block 2", apply_decode, none, 12, 13, 1, 3, 1, continue_}}},
        Example{
            "prompt_of_seven",
            7,
            10,
            {{"schedule_prefill(7)", schedule_prefill(7), 2, 0, 7, 7, 0, 2},
             {"apply_prefill(token)", apply_with_token, none, 7, 8, 1, 1, 1},
             {"schedule_decode", schedule_decode, 1, 7, 8, 1, 1, 2},
             {"apply_decode: registers block 1", apply_decode, none, 8, 9, 1, 2, 1, continue_}}},
        Example{"unaligned_chunk",
                8,
                10,
                {{"schedule_prefill(3)", schedule_prefill(3), 1, 0, 8, 8, 0, 1},
                 {"apply_prefill()", apply_without_token, none, 3, 8, 5, 0, 1},
                 {"schedule_prefill(5)", schedule_prefill(5), 1, 3, 8, 5, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 8, 9, 1, 2, 0}}},
        Example{"speculation_all_accepted",
                7,
                20,
                {{"schedule_prefill(7)", schedule_prefill(7), 2, 0, 7, 7, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 7, 8, 1, 1, 1},
                 {"schedule_speculative(5)", speculate(5), 2, 7, 8, 1, 1, 3},
                 {"accept 5", accept(5), none, 12, 13, 1, 3, 1, block_completed}}},
        Example{"speculation_some_accepted",
                4,
                10,
                {{"schedule_prefill(4)", schedule_prefill(4), 1, 0, 4, 4, 0, 1},
                 {"apply_prefill(token)", apply_with_token, none, 4, 5, 1, 1, 0},
                 {"schedule_speculative(4)", speculate(4), 2, 4, 5, 1, 1, 2},
                 {"accept 2, one released", accept(2), none, 6, 7, 1, 1, 1, continue_}}},
        Example{"speculation_none_accepted",
                4,
                10,
                {{"schedule_prefill(4)", schedule_prefill(4), 1, 0, 4, 4, 0, 1},
                 {"apply_prefill(token)", apply_with_token, none, 4, 5, 1, 1, 0},
                 {"schedule_speculative(3)", speculate(3), 1, 4, 5, 1, 1, 1},
                 {"accept 0", accept(0), none, 4, 5, 1, 1, 1, continue_}}},
        Example{"speculation_cut",
                7,
                9,
                {{"schedule_prefill(7)", schedule_prefill(7), 2, 0, 7, 7, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 7, 8, 1, 1, 1},
                 {"schedule_speculative(50)", speculate(50), 2, 7, 8, 1, 1, 3},
                 {"accept 2, one released", accept(2), none, 9, 10, 1, 2, 1, continue_}}},
        Example{"speculation_to_the_end",
                4,
                3,
                {{"schedule_prefill(4)", schedule_prefill(4), 1, 0, 4, 4, 0, 1},
                 {"apply_prefill(token)", apply_with_token, none, 4, 5, 1, 1, 0},
                 {"schedule_speculative(8)", speculate(8), 1, 4, 5, 1, 1, 1},
                 {"accept 2", accept(2), none, 6, 7, 1, 1, 1, max_length}}},
        Example{"decode_to_the_end",
                4,
                4,
                {{"schedule_prefill(4)", schedule_prefill(4), 1, 0, 4, 4, 0, 1},
                 {"apply_prefill(token)", apply_with_token, none, 4, 5, 1, 1, 0},
                 {"schedule_decode", schedule_decode, 1, 4, 5, 1, 1, 1},
                 {"apply_decode", apply_decode, none, 5, 6, 1, 1, 1},
                 {"2 decodes", decodes(2), none, 7, 8, 1, 1, 1, block_completed_and_max_length}}},
        Example{"decode_over_a_boundary",
                6,
                7,
                {{"schedule_prefill(6)", schedule_prefill(6), 2, 0, 6, 6, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 6, 7, 1, 1, 1},
                 {"schedule_decode", schedule_decode, 0, 6, 7, 1, 1, 1},
                 {"apply_decode", apply_decode, none, 7, 8, 1, 1, 1, block_completed},
                 {"schedule_decode", schedule_decode, 1, 7, 8, 1, 1, 2},
                 {"apply_decode: registers block 1", apply_decode, none, 8, 9, 1, 2, 1}}},
        Example{"cached_leave_one_token",
                8,
                10,
                {{"both cached", cached(2), none, 0, 8, 8, 0, 0},
                 {"match", match(PrefixMatch::leave_one_token, 1), none, 4, 8, 4, 1, 0},
                 {"schedule_prefill(4)", schedule_prefill(4), 1, 4, 8, 4, 1, 1},
                 {"apply_prefill(token)", apply_with_token, none, 8, 9, 1, 2, 0}}},
        Example{"cached_everything",
                8,
                10,
                {{"both cached", cached(2), none, 0, 8, 8, 0, 0},
                 {"match", match(PrefixMatch::everything, 2), none, 8, 8, 0, 2, 0},
                 {"append_tokens",
                  [](Life& life) { must(life.request.append_tokens({life.next_token()})); }, none,
                  8, 9, 1, 2, 0},
                 {"schedule_decode", schedule_decode, 1, 8, 9, 1, 2, 1},
                 {"apply_decode", apply_decode, none, 9, 10, 1, 2, 1}}},
        Example{"one_cached_leave_one_token",
                8,
                10,
                {{"one cached", cached(1), none, 0, 8, 8, 0, 0},
                 {"match", match(PrefixMatch::leave_one_token, 1), none, 4, 8, 4, 1, 0}}},
        Example{"one_cached_everything",
                8,
                10,
                {{"one cached", cached(1), none, 0, 8, 8, 0, 0},
                 {"match", match(PrefixMatch::everything, 1), none, 4, 8, 4, 1, 0}}},
        Example{"complete_request_matches_all",
                8,
                0,
                {{"both cached", cached(2), none, 0, 8, 8, 0, 0},
                 {"match", match(PrefixMatch::leave_one_token, 2), none, 8, 8, 0, 2, 0}}},
        Example{"preempted_and_still_cached",
                8,
                10,
                {{"schedule_prefill(8)", schedule_prefill(8), 2, 0, 8, 8, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 8, 9, 1, 2, 0},
                 {"2 decodes", decodes(2), none, 10, 11, 1, 2, 1},
                 {"release", release, none, 0, 11, 11, 0, 0},
                 {"reacquire", reacquire, none, 8, 11, 3, 2, 0},
                 {"schedule_prefill(3)", schedule_prefill(3), 1, 8, 11, 3, 2, 1},
                 {"apply_prefill(token)", apply_with_token, none, 11, 12, 1, 2, 1}}},
        Example{"preempted_and_no_longer_cached",
                8,
                10,
                {{"schedule_prefill(8)", schedule_prefill(8), 2, 0, 8, 8, 0, 2},
                 {"apply_prefill(token)", apply_with_token, none, 8, 9, 1, 2, 0},
                 {"decode", decodes(1), none, 9, 10, 1, 2, 1},
                 {"release", release, none, 0, 10, 10, 0, 0},
                 {"the cache is lost", lose_cache, none, 0, 10, 10, 0, 0},
                 {"reacquire", reacquire, none, 0, 10, 10, 0, 2},
                 {"schedule_prefill(4)", schedule_prefill(4), 0, 0, 10, 10, 0, 2},
                 {"apply_prefill()", apply_without_token, none, 4, 10, 6, 1, 1},
                 {"schedule_prefill(5)", schedule_prefill(5), 1, 4, 10, 6, 1, 2},
                 {"apply_prefill()", apply_without_token, none, 9, 10, 1, 2, 1},
                 {"schedule_decode", schedule_decode, 0, 9, 10, 1, 2, 1},
                 {"apply_decode", apply_decode, none, 10, 11, 1, 2, 1}}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
