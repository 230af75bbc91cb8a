// Laws of scheduled requests: what reverting, chunking, caching, preempting, speculating and
// sharing a pool do not change. S1 to S8, S10 to S12, S14, S15, S17 of requests.md 10; S9, S13 and
// S16 are checked at each step of request_model_prop.cpp.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using kvbm::testing::RecordingDelegate;
using kvbm::testing::requests::make_manager;
using kvbm::testing::requests::Options;
using kvbm::testing::requests::to_words;
using Request = SchedulableSequence<>;
using Ids = std::vector<BlockId>;

constexpr std::size_t ample = 512;

std::size_t draw(std::size_t from, std::size_t to) {
    return *rc::gen::resize(100, rc::gen::inRange<std::size_t>(from, to + 1));
}

// A drawn request, made as often as needed; its tokens are 0, 1, 2 ..., those it generates too.
struct Plan {
    std::size_t block_size = *rc::gen::element<std::size_t>(1, 2, 4, 8);
    std::size_t input = draw(1, 40);
    std::size_t max_output = draw(1, 40);

    Request make(std::shared_ptr<SequenceDelegate> delegate = nullptr) const {
        return Request(counting_tokens(input), max_output, block_size, std::move(delegate));
    }
    BlockManager<> manager(std::size_t blocks = ample, bool reject = false) const {
        return make_manager({.block_count = blocks, .block_size = block_size, .reject = reject});
    }
    std::size_t blocks(std::size_t tokens) const { return (tokens + block_size - 1) / block_size; }
};

std::optional<Token> token_of_chunk(const Request& request, std::size_t chunk) {
    const bool emits = chunk == request.tail_tokens() && !request.is_complete();
    return emits ? std::optional(static_cast<Token>(request.total_tokens())) : std::nullopt;
}

void prefill_chunk(Request& request, std::size_t chunk, BlockManager<>& manager) {
    const auto token = token_of_chunk(request, chunk);
    must(request.schedule_prefill(chunk, manager));
    must(request.apply_prefill(token, manager));
}

void prefill(Request& request, BlockManager<>& manager) {
    if (request.prefill_remaining() > 0) {
        prefill_chunk(request, request.tail_tokens(), manager);
    }
}

void decode(Request& request, BlockManager<>& manager) {
    must(request.schedule_decode(manager));
    must(request.apply_decode(static_cast<Token>(request.total_tokens()), manager));
}

void speculate(Request& request, std::size_t drafts, std::size_t accepted,
               BlockManager<>& manager) {
    must(request.schedule_speculative(drafts, manager));
    const std::size_t most = std::get<SpeculativeScheduled>(request.state()).num_tokens;
    must(request.apply_speculative(
        counting_tokens(std::min(accepted, most), static_cast<Token>(request.total_tokens())),
        manager));
}

// One step of a life: a chunk, a decode or a speculation.
void step(Request& request, BlockManager<>& manager) {
    if (request.prefill_remaining() > 0) {
        prefill_chunk(request, draw(1, request.prefill_remaining()), manager);
    } else if (*rc::gen::arbitrary<bool>()) {
        decode(request, manager);
    } else {
        speculate(request, draw(0, 12), draw(0, 12), manager);
    }
}

// Goes on for so many steps, or until complete.
void live(Request& request, BlockManager<>& manager, std::size_t steps) {
    for (std::size_t i = 0; i < steps && !request.is_complete(); ++i) {
        step(request, manager);
    }
}

std::vector<SequenceHash> registered(const Request& request) {
    std::vector<SequenceHash> hashes;
    for (const auto& block : request.assignments().assigned()) {
        hashes.push_back(block.sequence_hash());
    }
    return hashes;
}

Request started(const Plan& plan, BlockManager<>& manager) {
    auto request = plan.make();
    prefill(request, manager);
    live(request, manager, draw(0, 6));
    return request;
}

RC_GTEST_PROP(SchedulableSequence, schedule_then_revert_changes_nothing, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto request = plan.make();
    live(request, manager, draw(0, 8));
    RC_PRE(!request.is_complete());
    const auto words = to_words(request);
    const std::size_t available = manager.available_blocks();

    if (request.prefill_remaining() > 0) {
        must(request.schedule_prefill(draw(0, request.prefill_remaining()), manager));
    } else if (*rc::gen::arbitrary<bool>()) {
        must(request.schedule_decode(manager));
    } else {
        must(request.schedule_speculative(draw(0, 40), manager));
    }
    must(request.revert_schedule());

    RC_ASSERT(to_words(request) == words);
    RC_ASSERT(manager.available_blocks() == available);
}

RC_GTEST_PROP(SchedulableSequence, speculation_of_one_accepted_draft_equals_a_decode, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto other = plan.manager();
    auto speculating = plan.make();
    auto decoding = plan.make();
    prefill(speculating, manager);
    prefill(decoding, other);
    while (!decoding.is_complete()) {
        must(speculating.schedule_speculative(1, manager));
        must(decoding.schedule_decode(other));
        RC_ASSERT(std::get<SpeculativeScheduled>(speculating.state()).blocks_allocated ==
                  std::get<DecodeScheduled>(decoding.state()).blocks_allocated);
        const auto token = static_cast<Token>(decoding.total_tokens());
        const auto left = must(speculating.apply_speculative({token}, manager));
        const auto right = must(decoding.apply_decode(token, other));

        RC_ASSERT(left == right);
        RC_ASSERT(to_words(speculating) == to_words(decoding));
        RC_ASSERT(registered(speculating) == registered(decoding));
    }
}

RC_GTEST_PROP(SchedulableSequence, speculation_that_accepts_r_equals_r_decodes, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto other = plan.manager();
    auto speculating = plan.make();
    auto decoding = plan.make();
    prefill(speculating, manager);
    prefill(decoding, other);
    while (!speculating.is_complete()) {
        const std::size_t total = speculating.total_tokens();
        speculate(speculating, draw(1, 12), draw(0, 12), manager);
        for (std::size_t i = total; i < speculating.total_tokens(); ++i) {
            decode(decoding, other);
        }

        RC_ASSERT(speculating.kv_position() == decoding.kv_position());
        RC_ASSERT(speculating.sequence() == decoding.sequence());
        RC_ASSERT(registered(speculating) == registered(decoding));
        if (speculating.total_tokens() > total) {
            // The block kept ahead; without a decode there may be none for the dangling token.
            RC_ASSERT(speculating.unassigned_blocks() >= decoding.unassigned_blocks());
            RC_ASSERT(speculating.unassigned_blocks() <= decoding.unassigned_blocks() + 1);
        }
    }
}

RC_GTEST_PROP(SchedulableSequence, accepting_nothing_changes_no_token_and_repeats_exactly, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto request = started(plan, manager);
    RC_PRE(!request.is_complete());
    const std::size_t drafts = draw(0, 20);
    must(request.schedule_speculative(drafts, manager));
    must(request.apply_speculative({}, manager));
    const auto words = to_words(request);
    const std::size_t held = request.inner().block_ids().size();

    must(request.schedule_speculative(drafts, manager));
    const std::size_t allocated = std::get<SpeculativeScheduled>(request.state()).blocks_allocated;
    must(request.apply_speculative({}, manager));

    RC_ASSERT(request.inner().block_ids().size() == held);
    RC_ASSERT(request.check_invariants().ok());
    must(request.schedule_speculative(drafts, manager));
    RC_ASSERT(std::get<SpeculativeScheduled>(request.state()).blocks_allocated == allocated);
    must(request.revert_schedule());
    RC_ASSERT(to_words(request).substr(0, words.find(", blocks")) ==
              words.substr(0, words.find(", blocks")));
}

RC_GTEST_PROP(SchedulableSequence, any_chunking_of_a_prefill_equals_one_chunk, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto other = plan.manager();
    auto chunked = plan.make();
    auto whole = plan.make();

    while (chunked.prefill_remaining() > 0) {
        prefill_chunk(chunked, draw(0, chunked.prefill_remaining()), manager);
    }
    prefill(whole, other);

    RC_ASSERT(to_words(chunked) == to_words(whole));  // block ids included
    RC_ASSERT(registered(chunked) == registered(whole));
}

RC_GTEST_PROP(SchedulableSequence, never_holds_more_than_its_tokens_at_most_need, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto request = plan.make();
    const std::size_t most = plan.blocks(plan.input + plan.max_output);
    while (!request.is_complete()) {
        if (request.prefill_remaining() == 0) {
            must(request.schedule_speculative(draw(0, 100), manager));
            RC_ASSERT(ample - manager.available_blocks() <= most);
            must(request.revert_schedule());
        }
        step(request, manager);
        RC_ASSERT(ample - manager.available_blocks() <= most);
    }
}

RC_GTEST_PROP(SchedulableSequence, cached_prefix_changes_blocks_allocated_and_nothing_else, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto other = plan.manager();
    Request earlier(counting_tokens(draw(0, plan.input)), 0, plan.block_size);
    prefill(earlier, manager);
    const auto cached_ids = earlier.block_ids();
    auto cached = plan.make();
    auto plain = plan.make();
    const auto allocations = [](const BlockManager<>& one) {
        return one.metrics()->snapshot().allocations;
    };
    const std::uint64_t before = allocations(manager);

    const std::size_t matched = must(cached.match_and_add_prefix(manager));
    const auto matched_ids = cached.block_ids();
    prefill(cached, manager);
    prefill(plain, other);
    while (!plain.is_complete()) {
        must(cached.schedule_decode(manager));
        must(plain.schedule_decode(other));
        const auto token = static_cast<Token>(plain.total_tokens());
        RC_ASSERT(must(cached.apply_decode(token, manager)) ==
                  must(plain.apply_decode(token, other)));
    }

    RC_ASSERT(cached.sequence() == plain.sequence());
    RC_ASSERT(registered(cached) == registered(plain));
    RC_ASSERT(std::equal(matched_ids.begin(), matched_ids.end(), cached_ids.begin()));
    RC_ASSERT(allocations(manager) - before + matched == allocations(other));
}

// Preempts at a random moment, lets the cache be used up at random, and goes on.
void preempt(Request& request, BlockManager<>& manager) {
    must(request.release());
    RC_ASSERT(manager.available_blocks() == manager.total_blocks());
    RC_ASSERT(request.kv_position() == 0u);
    static_cast<void>(manager.allocate_blocks(draw(0, manager.total_blocks())));
    RC_ASSERT(must(request.reacquire(manager)));
    while (request.prefill_remaining() > 0) {
        const std::size_t chunk = draw(1, request.prefill_remaining());
        if (chunk == request.tail_tokens() && !request.is_complete()) {
            break;  // the rest with a token, as a step
        }
        prefill_chunk(request, chunk, manager);
    }
}

RC_GTEST_PROP(SchedulableSequence, preempted_ten_times_ends_as_if_undisturbed, ()) {
    const Plan plan;
    // Room for all blocks twice: a recomputed block may become the duplicate of a cached one.
    auto manager = plan.manager(160);
    auto other = plan.manager(160);
    auto disturbed = plan.make();
    auto undisturbed = plan.make();
    for (int i = 0; i < 10; ++i) {
        live(disturbed, manager, draw(0, 3));
        preempt(disturbed, manager);
    }
    live(disturbed, manager, 1000);
    prefill(undisturbed, other);
    while (!undisturbed.is_complete()) {
        decode(undisturbed, other);
    }

    RC_ASSERT(disturbed.sequence() == undisturbed.sequence());
    RC_ASSERT(disturbed.is_complete());
    if (disturbed.prefill_remaining() > 0) {
        prefill(disturbed, manager);  // it may have ended with more than the last token to compute
    }
    const auto fewer = registered(undisturbed);
    const auto more = registered(disturbed);
    RC_ASSERT(std::equal(fewer.begin(), fewer.end(), more.begin()));
}

RC_GTEST_PROP(SchedulableSequence, same_script_under_allow_and_reject_tells_the_same, ()) {
    const Plan plan;
    auto allowing = plan.manager(ample, false);
    auto rejecting = plan.manager(ample, true);
    const auto heard_allowing = std::make_shared<RecordingDelegate>();
    const auto heard_rejecting = std::make_shared<RecordingDelegate>();
    auto first_allowing = plan.make();
    auto first_rejecting = plan.make();
    prefill(first_allowing, allowing);
    prefill(first_rejecting, rejecting);
    auto left = plan.make(heard_allowing);
    auto right = plan.make(heard_rejecting);

    while (!left.is_complete()) {
        const std::size_t drafts = draw(0, 9);
        const std::size_t accepted = draw(0, 9);
        if (left.prefill_remaining() > 0) {
            const std::size_t chunk = draw(1, left.prefill_remaining());
            prefill_chunk(left, chunk, allowing);
            prefill_chunk(right, chunk, rejecting);
        } else {
            speculate(left, drafts, accepted, allowing);
            speculate(right, drafts, accepted, rejecting);
        }
    }

    RC_ASSERT(heard_allowing->events() == heard_rejecting->events());
    RC_ASSERT(registered(left) == registered(right));
    const std::size_t shared = first_rejecting.assigned_blocks();
    const auto ids = right.block_ids();
    const auto first_ids = first_rejecting.block_ids();
    RC_ASSERT(std::equal(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shared),
                         first_ids.begin()));
}

RC_GTEST_PROP(SchedulableSequence, two_requests_of_one_prompt_both_finish_and_leave_the_pool_whole,
              ()) {
    const Plan plan;
    const std::size_t blocks = 2 * plan.blocks(plan.input + plan.max_output);
    auto manager = plan.manager(blocks, *rc::gen::arbitrary<bool>());
    {
        std::vector<Request> requests;
        requests.push_back(plan.make());
        requests.push_back(plan.make());
        while (std::ranges::any_of(requests, [](const auto& one) { return !one.is_complete(); })) {
            auto& request = requests[draw(0, 1)];
            if (request.kv_position() == 0 && request.inner().block_ids().empty()) {
                must(request.match_and_add_prefix(manager));
            }
            live(request, manager, 1);
            std::multiset<BlockId> queued;
            for (const auto& one : requests) {
                for (const auto& block : one.assignments().unassigned()) {
                    queued.insert(block.block_id());
                }
            }
            RC_ASSERT(std::set(queued.begin(), queued.end()).size() == queued.size());
            RC_ASSERT(manager.check_invariants().ok());
        }
        RC_ASSERT(requests[0].sequence() == requests[1].sequence());
    }
    RC_ASSERT(manager.available_blocks() == blocks);
}

RC_GTEST_PROP(SchedulableSequence, runs_to_its_end_in_a_pool_of_exactly_its_size, ()) {
    const Plan plan;
    auto manager = plan.manager(plan.blocks(plan.input + plan.max_output));
    auto request = plan.make();

    live(request, manager, 1000);  // must() of every schedule: no AllocationFailed

    RC_ASSERT(request.is_complete());
}

RC_GTEST_PROP(SchedulableSequence, failed_schedule_works_as_if_it_had_come_after_the_release, ()) {
    const Plan plan;
    auto manager = plan.manager(plan.blocks(plan.input));
    auto other = plan.manager(plan.blocks(plan.input));
    auto busy = manager.allocate_blocks(draw(1, manager.total_blocks()));
    auto other_busy = other.allocate_blocks(busy->size());
    auto request = plan.make();
    auto later = plan.make();

    RC_ASSERT(!request.schedule_prefill(plan.input, manager).has_value());
    RC_ASSERT(!request.schedule_prefill(plan.input, manager).has_value());
    busy.reset();
    other_busy.reset();
    must(request.schedule_prefill(plan.input, manager));
    must(later.schedule_prefill(plan.input, other));

    RC_ASSERT(to_words(request) == to_words(later));
}

RC_GTEST_PROP(RequestSequence, driven_by_hand_equals_the_scheduled_one, ()) {
    const Plan plan;
    auto manager = plan.manager();
    auto other = plan.manager();
    auto scheduled = plan.make();
    RequestSequence<> by_hand(counting_tokens(plan.input), plan.max_output, plan.block_size);
    prefill(scheduled, manager);
    RC_ASSERT(by_hand.allocate_blocks(plan.blocks(plan.input), other));
    by_hand.register_computed(plan.input, other);
    must(by_hand.append_token(static_cast<Token>(plan.input)));
    while (true) {
        RC_ASSERT(by_hand.block_ids() == scheduled.block_ids());
        RC_ASSERT(by_hand.assigned_blocks() == scheduled.assigned_blocks());
        RC_ASSERT(by_hand.sequence() == scheduled.sequence());
        if (scheduled.is_complete()) {
            break;
        }
        decode(scheduled, manager);
        const std::size_t computed = by_hand.total_tokens();
        const std::size_t need = plan.blocks(computed + 1);
        const std::size_t held = by_hand.block_ids().size();
        RC_ASSERT(by_hand.allocate_blocks(need > held ? need - held : 0, other));
        must(by_hand.append_token(static_cast<Token>(computed)));
        by_hand.register_computed(computed, other);
    }
}

RC_GTEST_PROP(SchedulableSequence, dropped_in_any_state_gives_all_blocks_back, ()) {
    const Plan plan;
    auto manager = plan.manager();
    {
        auto request = plan.make();
        live(request, manager, draw(0, 10));
        if (request.prefill_remaining() > 0) {
            must(request.schedule_prefill(draw(0, request.prefill_remaining()), manager));
        } else if (!request.is_complete()) {
            must(request.schedule_speculative(draw(0, 20), manager));
        }
    }
    RC_ASSERT(manager.available_blocks() == manager.total_blocks());
    RC_ASSERT(manager.check_invariants().ok());
}

// Scripts in which calls fail, against the same scripts without the calls that failed: what a pool
// hands out afterwards is in the same order.
RC_GTEST_PROP(SchedulableSequence, failed_calls_leave_no_trace_in_the_order_of_the_pool, ()) {
    using namespace kvbm::testing::requests;
    kvbm::testing::requests::Options options;
    options.block_count = *rc::gen::element<std::size_t>(3, 5, 8);
    options.eviction = static_cast<Options::Eviction>(*rc::gen::inRange(0, 4));
    Harness with_failures(options);
    std::vector<Command> succeeded;
    const auto bytes = *rc::gen::scale(
        20.0, rc::gen::container<std::vector<std::uint8_t>>(rc::gen::arbitrary<std::uint8_t>()));
    kvbm::testing::ByteReader reader(bytes);
    while (!reader.empty()) {
        const auto command = with_failures.resolved(decode_command(reader));
        RC_ASSERT(with_failures.run(command) == std::nullopt);
        if (!with_failures.refused()) {
            succeeded.push_back(command);
        }
    }
    Harness without(options);
    for (const auto& command : succeeded) {
        RC_ASSERT(without.run(command) == std::nullopt);
    }

    RC_ASSERT(with_failures.drained() == without.drained());
}

}  // namespace
