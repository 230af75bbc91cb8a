// The scheduled request by example: states and their errors, prefill, decode, speculation, revert,
// events, builder. E11 to E20, E22 to E25 of requests.md 11.
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
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
using kvbm::testing::RecordingDelegate;
using kvbm::testing::total_tokens_of;
using kvbm::testing::requests::make_manager;
using Request = SchedulableSequence<>;
using Ids = std::vector<BlockId>;
using Texts = std::vector<std::string>;
constexpr std::size_t npos = std::numeric_limits<std::size_t>::max();

BlockManager<> manager_of(std::size_t blocks) {
    return make_manager({.block_count = blocks});
}

Request counting_request(std::size_t tokens, std::size_t max_output,
                         std::shared_ptr<SequenceDelegate> delegate = nullptr) {
    return Request(counting_tokens(tokens), max_output, 4, std::move(delegate));
}

// The next token of the sequence 0, 1, 2 ...
Token next_token(const Request& request) {
    return static_cast<Token>(request.total_tokens());
}

void prefill(Request& request, BlockManager<>& manager) {
    must(request.schedule_prefill(request.tail_tokens(), manager));
    const auto token = request.is_complete() ? std::nullopt : std::optional(next_token(request));
    must(request.apply_prefill(token, manager));
}

Request prefilled(BlockManager<>& manager, std::size_t tokens, std::size_t max_output,
                  std::shared_ptr<SequenceDelegate> delegate = nullptr) {
    auto request = counting_request(tokens, max_output, std::move(delegate));
    prefill(request, manager);
    return request;
}

DecodeOutcome decode(Request& request, BlockManager<>& manager) {
    must(request.schedule_decode(manager));
    return must(request.apply_decode(next_token(request), manager));
}

DecodeOutcome accept(Request& request, std::size_t count, BlockManager<>& manager) {
    return must(request.apply_speculative(counting_tokens(count, next_token(request)), manager));
}

template <class T, class E>
std::string text_of(const Result<T, E>& result) {
    return result ? "ok" : result.error().message();
}

Texts texts_of(const std::vector<SequenceEvent>& events) {
    Texts texts;
    for (const auto& event : events) {
        texts.push_back(kvbm::testing::to_string(event));
    }
    return texts;
}

TEST(SchedulableSequence, begins_idle_with_all_tokens_to_compute) {
    const auto delegate = std::make_shared<RecordingDelegate>();
    const auto request = counting_request(8, 3, delegate);

    EXPECT_EQ(request.state(), SequenceState(Idle{}));
    EXPECT_EQ(request.kv_position(), 0u);
    EXPECT_EQ(request.prefill_position(), 0u);
    EXPECT_FALSE(request.is_prefill_complete());
    EXPECT_EQ(request.tail_tokens(), 8u);
    EXPECT_EQ(request.prefill_remaining(), 8u);
    EXPECT_EQ(request.num_blocks(), 2u);
    EXPECT_EQ(request.inner().block_ids(), Ids{});
    EXPECT_EQ(request.delegate(), delegate);
    EXPECT_EQ(texts_of(delegate->events()), (Texts{"Created 8 3 4"}));
}

TEST(SequenceState, prints_its_fields) {
    EXPECT_EQ(to_string(SequenceState(Idle{})), "Idle");
    EXPECT_EQ(to_string(SequenceState(PrefillScheduled{4, 1})),
              "PrefillScheduled { num_tokens: 4, blocks_allocated: 1 }");
    EXPECT_EQ(to_string(SequenceState(DecodeScheduled{1})),
              "DecodeScheduled { blocks_allocated: 1 }");
    EXPECT_EQ(to_string(SequenceState(SpeculativeScheduled{3, 1})),
              "SpeculativeScheduled { num_tokens: 3, blocks_allocated: 1 }");
}

TEST(SchedulableSequenceBuilder, sets_every_field) {
    const auto delegate = std::make_shared<RecordingDelegate>();

    const auto request = must(Request::builder()
                                  .tokens(counting_tokens(6))
                                  .max_output_tokens(5)
                                  .block_size(4)
                                  .salt(42)
                                  .delegate(delegate)
                                  .build());

    EXPECT_EQ(request.sequence(), BlockSequence(counting_tokens(6), 4, 42));
    EXPECT_EQ(request.max_output_tokens(), 5u);
    EXPECT_EQ(request.kv_position(), 0u);
    EXPECT_EQ(request.tail_tokens(), 6u);
    EXPECT_EQ(texts_of(delegate->events()), (Texts{"Created 6 5 4"}));
}

TEST(SchedulableSequenceBuilder, names_the_first_missing_field_and_then_a_block_size_of_0) {
    auto builder = Request::builder();
    EXPECT_EQ(text_of(builder.build()), "Field not initialized: tokens");
    builder.tokens({1, 2});
    EXPECT_EQ(text_of(builder.build()), "Field not initialized: max_output_tokens");
    builder.max_output_tokens(0);
    EXPECT_EQ(text_of(builder.build()), "Field not initialized: block_size");
    builder.block_size(0);
    EXPECT_EQ(text_of(builder.build()), "block_size must be greater than 0");
    builder.block_size(4);
    EXPECT_EQ(text_of(builder.build()), "ok");
    EXPECT_EQ(must(builder.build()).delegate(), nullptr);
}

struct InState {
    BlockManager<> manager = manager_of(8);
    Request request = prefilled(manager, 8, 9);
};

InState in_prefill() {
    InState in;
    in.request = counting_request(8, 9);
    must(in.request.schedule_prefill(8, in.manager));
    return in;
}

InState in_decode() {
    InState in;
    must(in.request.schedule_decode(in.manager));
    return in;
}

InState in_speculation() {
    InState in;
    must(in.request.schedule_speculative(2, in.manager));
    return in;
}

// The texts of all calls that the state does not allow, and of nothing else.
void expect_refusals(InState in, const std::string& state, const std::string& own_apply) {
    auto& [manager, request] = in;
    const auto ids = request.block_ids();
    const std::string not_idle = "expected Idle state, got " + state;
    EXPECT_EQ(text_of(request.match_and_add_prefix(manager)), not_idle);
    EXPECT_EQ(text_of(request.schedule_prefill(1, manager)), not_idle);
    EXPECT_EQ(text_of(request.schedule_decode(manager)), not_idle);
    EXPECT_EQ(text_of(request.schedule_speculative(1, manager)), not_idle);
    const std::string not_here = "expected Idle, got " + state;
    EXPECT_EQ(text_of(request.drop_unassigned(1)), not_here);
    EXPECT_EQ(text_of(request.release()), not_here);
    EXPECT_EQ(text_of(request.reacquire(manager)), not_here);
    EXPECT_EQ(text_of(request.append_tokens({1})), not_here);
    if (own_apply != "PrefillScheduled") {
        EXPECT_EQ(text_of(request.apply_prefill(1, manager)),
                  "expected PrefillScheduled, got " + state);
    }
    if (own_apply != "DecodeScheduled") {
        EXPECT_EQ(text_of(request.apply_decode(1, manager)),
                  "expected DecodeScheduled, got " + state);
    }
    if (own_apply != "SpeculativeScheduled") {
        EXPECT_EQ(text_of(request.apply_speculative({1}, manager)),
                  "expected SpeculativeScheduled, got " + state);
    }
    EXPECT_EQ(to_string(request.state()), state);
    EXPECT_EQ(request.block_ids(), ids);
}

TEST(SchedulableSequence, refuses_what_a_scheduled_prefill_does_not_allow) {
    expect_refusals(in_prefill(), "PrefillScheduled { num_tokens: 8, blocks_allocated: 2 }",
                    "PrefillScheduled");
}

TEST(SchedulableSequence, refuses_what_a_scheduled_decode_does_not_allow) {
    expect_refusals(in_decode(), "DecodeScheduled { blocks_allocated: 1 }", "DecodeScheduled");
}

TEST(SchedulableSequence, refuses_what_a_scheduled_speculation_does_not_allow) {
    expect_refusals(in_speculation(), "SpeculativeScheduled { num_tokens: 2, blocks_allocated: 1 }",
                    "SpeculativeScheduled");
}

TEST(SchedulableSequence, refuses_to_apply_or_revert_what_is_not_scheduled) {
    InState in;

    EXPECT_EQ(text_of(in.request.apply_prefill(1, in.manager)),
              "expected PrefillScheduled, got Idle");
    EXPECT_EQ(text_of(in.request.apply_decode(1, in.manager)),
              "expected DecodeScheduled, got Idle");
    EXPECT_EQ(text_of(in.request.apply_speculative({}, in.manager)),
              "expected SpeculativeScheduled, got Idle");
    EXPECT_EQ(text_of(in.request.revert_schedule()), "expected any Scheduled state, got Idle");
    EXPECT_EQ(text_of(in.request.match_and_add_prefix(in.manager)), "expected no blocks, 2 held");
    EXPECT_EQ(text_of(in.request.reacquire(in.manager)), "expected no blocks, 2 held");
}

TEST(SchedulableSequence, decodes_only_behind_a_complete_prefill) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 3);
    must(request.schedule_prefill(4, manager));
    must(request.apply_prefill(std::nullopt, manager));

    const std::string text = "prefill not yet complete (position 4 < 8)";
    EXPECT_EQ(text_of(request.schedule_decode(manager)), text);
    EXPECT_EQ(text_of(request.schedule_speculative(2, manager)), text);
}

TEST(SchedulableSequence, prefills_only_known_tokens_and_no_chunk_wraps) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 3);
    must(request.schedule_prefill(4, manager));
    must(request.apply_prefill(std::nullopt, manager));

    EXPECT_EQ(text_of(request.schedule_prefill(5, manager)), "prefill overrun: position 4 + 5 > 8");
    EXPECT_EQ(text_of(request.schedule_prefill(npos, manager)),
              "prefill overrun: position 4 + 18446744073709551615 > 8");
    prefill(request, manager);
    EXPECT_EQ(text_of(request.schedule_prefill(1, manager)), "prefill already complete");
    EXPECT_EQ(text_of(request.schedule_prefill(0, manager)), "prefill already complete");
}

TEST(SchedulableSequence, says_how_many_blocks_it_lacked_and_can_be_asked_again) {
    auto manager = manager_of(3);
    auto request = counting_request(16, 3);
    auto other = manager.allocate_blocks(1);

    EXPECT_EQ(text_of(request.schedule_prefill(16, manager)), "allocation failed: needed 4 blocks");
    must(request.schedule_prefill(8, manager));
    must(request.apply_prefill(std::nullopt, manager));
    EXPECT_EQ(text_of(request.schedule_prefill(4, manager)), "allocation failed: needed 1 blocks");
    EXPECT_EQ(request.unassigned_blocks(), 0u);
    other.reset();
    must(request.schedule_prefill(4, manager));
    EXPECT_EQ(request.unassigned_blocks(), 1u);
}

TEST(SchedulableSequence, no_number_of_drafts_wraps) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, npos);  // may still generate npos - 1

    const std::string text = "allocation failed: needed 4611686018427387904 blocks";
    EXPECT_EQ(text_of(request.schedule_speculative(npos, manager)), text);
    EXPECT_EQ(text_of(request.schedule_speculative(npos - 1, manager)), text);
    EXPECT_EQ(text_of(request.schedule_speculative(npos - 7, manager)),
              "allocation failed: needed 4611686018427387903 blocks");
    EXPECT_EQ(text_of(request.schedule_speculative(3, manager)), "ok");
}

TEST(SchedulableSequence, prefills_in_two_chunks_and_takes_the_token_with_the_last) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 3);

    must(request.schedule_prefill(4, manager));
    EXPECT_EQ(text_of(request.apply_prefill(8, manager)),
              "token provided but prefill not completing this chunk");
    must(request.apply_prefill(std::nullopt, manager));
    EXPECT_EQ(request.kv_position(), 4u);
    must(request.schedule_prefill(4, manager));
    EXPECT_EQ(text_of(request.apply_prefill(std::nullopt, manager)),
              "final prefill chunk requires a generated token");
    EXPECT_EQ(to_string(request.state()),
              "PrefillScheduled { num_tokens: 4, blocks_allocated: 1 }");
    must(request.apply_prefill(8, manager));

    EXPECT_EQ(request.kv_position(), 8u);
    EXPECT_EQ(request.total_tokens(), 9u);
    EXPECT_TRUE(request.is_prefill_complete());
    EXPECT_EQ(request.prefill_position(), 8u);
    EXPECT_EQ(request.tail_tokens(), 1u);
}

TEST(SchedulableSequence, a_chunk_of_0_is_no_work_and_no_block) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 3);

    must(request.schedule_prefill(0, manager));
    must(request.apply_prefill(std::nullopt, manager));

    EXPECT_EQ(request.kv_position(), 0u);
    EXPECT_EQ(manager.available_blocks(), 8u);
}

TEST(SchedulableSequence, tells_when_a_decode_completed_a_block_or_the_request) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 6, 4);

    EXPECT_EQ(decode(request, manager), DecodeOutcome::block_completed);  // token 7
    EXPECT_EQ(decode(request, manager), DecodeOutcome::continue_);
    EXPECT_EQ(decode(request, manager), DecodeOutcome::max_length);
    EXPECT_EQ(text_of(request.schedule_decode(manager)), "generation complete: 4 >= 4");
    EXPECT_EQ(text_of(request.schedule_speculative(1, manager)), "generation complete: 4 >= 4");
    auto four = prefilled(manager, 5, 3);
    decode(four, manager);
    EXPECT_EQ(decode(four, manager), DecodeOutcome::block_completed_and_max_length);
}

TEST(SchedulableSequence, allocates_one_generation_block_per_block) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, 20);
    std::vector<std::size_t> allocated;
    for (int step = 0; step < 9; ++step) {
        must(request.schedule_decode(manager));
        allocated.push_back(std::get<DecodeScheduled>(request.state()).blocks_allocated);
        must(request.apply_decode(next_token(request), manager));
    }

    EXPECT_EQ(allocated, (std::vector<std::size_t>{1, 0, 0, 1, 0, 0, 0, 1, 0}));
}

TEST(SchedulableSequence, takes_any_number_of_drafts_up_to_the_scheduled) {
    auto manager = manager_of(16);
    for (const std::size_t accepted : {0U, 1U, 3U, 5U}) {
        auto request = prefilled(manager, 7, 20);
        must(request.schedule_speculative(5, manager));

        EXPECT_EQ(text_of(request.apply_speculative(counting_tokens(6), manager)),
                  "accepted 6 tokens exceeds scheduled 5");
        accept(request, accepted, manager);

        EXPECT_EQ(request.kv_position(), 7 + accepted);
        EXPECT_EQ(request.total_tokens(), 8 + accepted);
        EXPECT_EQ(request.tail_tokens(), 1u);
        EXPECT_EQ(request.assigned_blocks(), (7 + accepted) / 4);
        EXPECT_EQ(request.assigned_blocks() + request.unassigned_blocks(), (8 + accepted) / 4 + 1);
        must(request.release());
    }
}

TEST(SchedulableSequence, tells_of_blocks_that_any_accepted_draft_completed) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 6, 7);  // total 7

    must(request.schedule_speculative(4, manager));
    EXPECT_EQ(accept(request, 2, manager), DecodeOutcome::block_completed);
    must(request.schedule_speculative(4, manager));
    EXPECT_EQ(accept(request, 2, manager), DecodeOutcome::continue_);
    must(request.schedule_speculative(4, manager));
    EXPECT_EQ(to_string(request.state()),
              "SpeculativeScheduled { num_tokens: 2, blocks_allocated: 1 }");
    EXPECT_EQ(accept(request, 2, manager), DecodeOutcome::block_completed_and_max_length);
}

TEST(SchedulableSequence, revert_gives_back_what_the_schedule_allocated) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 20);
    must(request.schedule_prefill(8, manager));
    must(request.revert_schedule());
    EXPECT_EQ(manager.available_blocks(), 8u);
    EXPECT_EQ(request.state(), SequenceState(Idle{}));
    prefill(request, manager);
    must(request.schedule_decode(manager));
    must(request.revert_schedule());
    EXPECT_EQ(manager.available_blocks(), 6u);
    must(request.schedule_speculative(9, manager));
    EXPECT_EQ(manager.available_blocks(), 3u);
    must(request.revert_schedule());

    EXPECT_EQ(manager.available_blocks(), 6u);
    EXPECT_EQ(request.kv_position(), 8u);
    EXPECT_EQ(request.total_tokens(), 9u);
}

TEST(SchedulableSequence, revert_puts_the_newest_block_back_first) {
    auto manager = manager_of(4);
    auto request = counting_request(12, 1);

    must(request.schedule_prefill(12, manager));
    must(request.revert_schedule());

    EXPECT_EQ(manager.allocate_blocks(4)->block_ids(), (Ids{3, 2, 1, 0}));
}

TEST(SchedulableSequence, drops_blank_blocks_and_keeps_those_with_kv) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 7, 20);
    EXPECT_EQ(must(request.drop_unassigned(npos)), 0u);  // the open block has KV
    must(request.schedule_speculative(8, manager));
    accept(request, 4, manager);  // K 11, T 12: one blank block behind the open one
    EXPECT_EQ(request.unassigned_blocks(), 2u);

    EXPECT_EQ(must(request.drop_unassigned(0)), 0u);
    EXPECT_EQ(must(request.drop_unassigned(9)), 1u);

    EXPECT_EQ(request.unassigned_blocks(), 1u);
    EXPECT_EQ(request.kv_position(), 11u);
    EXPECT_EQ(request.check_invariants().to_string(), "");
}

TEST(SequenceDelegate, hears_of_each_success_of_a_life_in_order) {
    auto manager = manager_of(8);
    const auto delegate = std::make_shared<RecordingDelegate>();
    {
        auto request = counting_request(8, 10, delegate);
        must(request.match_and_add_prefix(manager));
        prefill(request, manager);
        decode(request, manager);
        must(request.schedule_speculative(4, manager));
        accept(request, 2, manager);
        must(request.schedule_decode(manager));
        must(request.revert_schedule());
        must(request.append_tokens({12, 13}));
        must(request.append_tokens({}));
        must(request.drop_unassigned(9));
        must(request.drop_unassigned(9));
        must(request.release());
        must(request.release());
        must(request.reacquire(manager));
        EXPECT_EQ(total_tokens_of(delegate->events()), request.total_tokens());
    }

    EXPECT_EQ(texts_of(delegate->events()),
              (Texts{"Created 8 10 4", "PrefixMatched 0", "PrefillScheduled 8 2",
                     "PrefillApplied 8 2 yes", "DecodeScheduled 1", "DecodeApplied 9 no",
                     "SpeculativeScheduled 4 1", "SpeculativeApplied 2 4 0", "DecodeScheduled 0",
                     "ScheduleReverted 0", "TokensAppended 2", "UnassignedDropped 1", "Released",
                     "Released", "Reacquired 2 yes"}));
}

TEST(SequenceDelegate, hears_nothing_of_a_failed_call_and_of_a_failed_reacquire_no_match) {
    auto manager = manager_of(3);
    const auto delegate = std::make_shared<RecordingDelegate>();
    auto request = prefilled(manager, 12, 1, delegate);
    must(request.release());
    const auto root_and_next = manager.allocate_blocks(2);
    static_cast<void>(delegate->take());

    EXPECT_FALSE(request.schedule_decode(manager).has_value());
    EXPECT_FALSE(request.append_tokens({1, 2, 3}).has_value());
    EXPECT_FALSE(request.apply_decode(1, manager).has_value());
    EXPECT_FALSE(must(request.reacquire(manager)));

    EXPECT_EQ(texts_of(delegate->events()), (Texts{"Reacquired 0 no"}));
    EXPECT_EQ(request.kv_position(), 0u);
    EXPECT_EQ(request.inner().block_ids(), Ids{});
}

// Reads the sequence it hears of while it hears.
struct Reader final : SequenceDelegate {
    void on_event(const SequenceEvent&) noexcept override {
        if (request != nullptr) {
            states.push_back(to_string(request->state()));
            totals.push_back(request->total_tokens());
        }
    }
    const Request* request = nullptr;
    Texts states;
    std::vector<std::size_t> totals;
};

TEST(SequenceDelegate, reads_the_new_state) {
    auto manager = manager_of(8);
    const auto delegate = std::make_shared<Reader>();
    auto request = counting_request(4, 10, delegate);
    delegate->request = &request;

    prefill(request, manager);

    EXPECT_EQ(delegate->states,
              (Texts{"PrefillScheduled { num_tokens: 4, blocks_allocated: 1 }", "Idle"}));
    EXPECT_EQ(delegate->totals, (std::vector<std::size_t>{4, 5}));
}

// Changes the sequence it hears of.
struct Meddler final : SequenceDelegate {
    void on_event(const SequenceEvent&) noexcept override {
        if (request != nullptr) {
            static_cast<void>(request->release());
        }
    }
    Request* request = nullptr;
};

TEST(SequenceDelegateDeathTest, breaks_a_contract_by_changing_the_sequence) {
    auto manager = manager_of(8);
    const auto delegate = std::make_shared<Meddler>();
    auto request = counting_request(4, 10, delegate);
    delegate->request = &request;

    EXPECT_DEATH(static_cast<void>(request.schedule_prefill(1, manager)),
                 "a delegate does not change the sequence");
}

TEST(SchedulableSequence, is_released_and_dropped_whole) {
    auto manager = manager_of(8);
    {
        auto request = prefilled(manager, 6, 7);
        for (int step = 0; step < 6; ++step) {
            decode(request, manager);
        }
        EXPECT_TRUE(request.is_complete());
        must(request.release());
        EXPECT_EQ(manager.available_blocks(), 8u);
        EXPECT_EQ(request.kv_position(), 0u);
        EXPECT_EQ(request.total_tokens(), 13u);
        EXPECT_EQ(request.generated_tokens(), 7u);
        must(request.reacquire(manager));
        EXPECT_EQ(manager.available_blocks(), 5u);
    }
    EXPECT_EQ(manager.available_blocks(), 8u);
}

TEST(SchedulableSequence, without_a_prompt_gets_its_first_token_from_elsewhere) {
    auto manager = manager_of(8);
    auto request = counting_request(0, 3);
    EXPECT_TRUE(request.is_prefill_complete());
    EXPECT_EQ(text_of(request.schedule_prefill(0, manager)), "prefill already complete");
    EXPECT_EQ(text_of(request.schedule_decode(manager)), "expected 1 dangling token(s), got 0");
    EXPECT_EQ(must(request.match_and_add_prefix(manager)), 0u);

    must(request.append_tokens({7}));
    EXPECT_EQ(decode(request, manager), DecodeOutcome::continue_);

    EXPECT_EQ(request.kv_position(), 1u);
}

TEST(SchedulableSequence, that_may_generate_nothing_is_prefilled_without_a_token) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 0);
    must(request.schedule_prefill(8, manager));

    EXPECT_EQ(text_of(request.apply_prefill(1, manager)),
              "append requested 1 tokens but only 0 remain");
    EXPECT_EQ(request.assigned_blocks(), 0u);
    must(request.apply_prefill(std::nullopt, manager));

    EXPECT_EQ(request.assigned_blocks(), 2u);
    EXPECT_EQ(text_of(request.schedule_decode(manager)), "generation complete: 0 >= 0");
    EXPECT_EQ(text_of(request.append_tokens({})), "ok");
}

TEST(SchedulableSequence, takes_two_dangling_tokens_with_a_prefill) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, 10);
    must(request.append_tokens({9, 10}));
    EXPECT_EQ(request.tail_tokens(), 3u);
    EXPECT_EQ(text_of(request.schedule_decode(manager)), "expected 1 dangling token(s), got 3");
    EXPECT_EQ(request.prefill_remaining(), 3u);

    must(request.schedule_prefill(2, manager));
    must(request.apply_prefill(std::nullopt, manager));

    EXPECT_EQ(request.tail_tokens(), 1u);
    EXPECT_EQ(request.prefill_remaining(), 0u);
    EXPECT_EQ(decode(request, manager), DecodeOutcome::block_completed);
    EXPECT_EQ(request.kv_position(), 11u);
}

TEST(SchedulableSequence, goes_on_with_tokens_appended_before_its_prefill) {
    auto manager = manager_of(8);
    auto request = counting_request(6, 2);
    must(request.append_tokens({6, 7}));
    EXPECT_EQ(text_of(request.append_tokens({8})), "append requested 1 tokens but only 0 remain");
    must(request.schedule_prefill(8, manager));

    EXPECT_EQ(text_of(request.apply_prefill(8, manager)),
              "append requested 1 tokens but only 0 remain");
    must(request.apply_prefill(std::nullopt, manager));

    EXPECT_EQ(request.assigned_blocks(), 2u);
    EXPECT_EQ(request.tail_tokens(), 0u);
    EXPECT_TRUE(request.is_complete());
}

TEST(SchedulableSequence, after_release_has_its_prompt_to_compute_again) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, 10);
    must(request.release());

    EXPECT_EQ(text_of(request.schedule_decode(manager)),
              "prefill not yet complete (position 0 < 8)");
    EXPECT_EQ(request.prefill_remaining(), 9u);
    EXPECT_EQ(must(request.match_and_add_prefix(manager)), 2u);
    EXPECT_EQ(request.kv_position(), 8u);
    EXPECT_EQ(decode(request, manager), DecodeOutcome::continue_);
}

}  // namespace
