//! kvbm.conformance:scheduler: the recorded version's scheduler, spelled with plain requests and
//! two numbers, and how its results are written.
//!
//! It registers blocks by their text, not by their KV, and keeps its positions over a release.
module;

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <tl/expected.hpp>

module kvbm.conformance:scheduler;

import :managers;
import :requests;
import kvbm.blocks;
import kvbm.conformance;
import kvbm.core;
import kvbm.request;

namespace kvbm::conformance {

inline Value recorded_state(const SequenceState& state) {
    if (const auto* prefill = std::get_if<PrefillScheduled>(&state)) {
        return Object{{"kind", "PrefillScheduled"},
                      {"num_tokens", prefill->num_tokens},
                      {"blocks_allocated", prefill->blocks_allocated}};
    }
    if (const auto* decode = std::get_if<DecodeScheduled>(&state)) {
        return Object{{"kind", "DecodeScheduled"}, {"blocks_allocated", decode->blocks_allocated}};
    }
    if (const auto* speculation = std::get_if<SpeculativeScheduled>(&state)) {
        return Object{{"kind", "SpeculativeScheduled"},
                      {"num_tokens", speculation->num_tokens},
                      {"blocks_allocated", speculation->blocks_allocated}};
    }
    return Object{{"kind", "Idle"}};
}

/// Blocks that the schedule call allocated.
inline std::size_t allocated_of(const SequenceState& state) {
    return std::visit(
        [](const auto& scheduled) -> std::size_t {
            if constexpr (requires { scheduled.blocks_allocated; }) {
                return scheduled.blocks_allocated;
            }
            return 0;
        },
        state);
}

struct RecordedError {
    Object operator()(const ScheduleError::NotIdle& e) const {
        return {{"kind", "NotIdle"}, {"state", recorded_state(e.state)}};
    }
    Object operator()(const ScheduleError::PrefillOverrun& e) const {
        return {{"kind", "PrefillOverrun"},
                {"position", e.position},
                {"num_tokens", e.num_tokens},
                {"num_input_tokens", e.limit}};
    }
    Object operator()(const ScheduleError::PrefillComplete&) const {
        return {{"kind", "PrefillComplete"}};
    }
    Object operator()(const ScheduleError::PrefillNotComplete& e) const {
        return {{"kind", "PrefillNotComplete"},
                {"position", e.position},
                {"num_input_tokens", e.num_input_tokens}};
    }
    Object operator()(const ScheduleError::AllocationFailed& e) const {
        return {{"kind", "AllocationFailed"}, {"needed", e.needed}};
    }
    Object operator()(const GenerationComplete& e) const {
        return {{"kind", "GenerationComplete"},
                {"generated", e.generated},
                {"max_output", e.max_output}};
    }
    Object operator()(const ScheduleError::WrongDanglingCount& e) const {
        return {{"kind", "WrongDanglingCount"}, {"expected", e.expected}, {"actual", e.actual}};
    }
    Object operator()(const ApplyError::WrongState& e) const {
        return {{"kind", "WrongState"},
                {"expected", std::string(e.expected)},
                {"actual", recorded_state(e.actual)}};
    }
    Object operator()(const ApplyError::TokenOnNonFinalChunk&) const {
        return {{"kind", "TokenOnNonFinalChunk"}};
    }
    Object operator()(const ApplyError::MissingTokenOnFinalChunk&) const {
        return {{"kind", "MissingTokenOnFinalChunk"}};
    }
    Object operator()(const ApplyError::AcceptedExceedsScheduled& e) const {
        return {{"kind", "AcceptedExceedsScheduled"},
                {"accepted", e.accepted},
                {"scheduled", e.scheduled}};
    }
    Object operator()(const ApplyError::AppendExceedsRemaining& e) const {
        return {{"kind", "AppendExceedsRemaining"},
                {"requested", e.requested},
                {"remaining", e.remaining}};
    }
    Object operator()(const BlocksHeld&) const { return {{"kind", "BlocksHeld"}}; }
    Object operator()(const TokenExtension&) const { return {{"kind", "TokenExtension"}}; }
};

template <class Error>
Value recorded_error(const Error& error) {
    Object recorded = std::visit(RecordedError{}, error.reason);
    recorded.push_back({"msg", error.message()});
    return Object{{"err", std::move(recorded)}};
}

constexpr std::string_view outcome_name(DecodeOutcome outcome) {
    switch (outcome) {
        case DecodeOutcome::continue_:
            return "Continue";
        case DecodeOutcome::block_completed:
            return "BlockCompleted";
        case DecodeOutcome::max_length:
            return "MaxLength";
        case DecodeOutcome::block_completed_and_max_length:
            return "BlockCompletedAndMaxLength";
    }
    return "";
}

template <class T, class Error>
Value recorded_result(const Result<T, Error>& result) {
    if (!result) {
        return recorded_error(result.error());
    }
    if constexpr (std::is_void_v<T>) {
        return Object{{"ok", true}};
    } else if constexpr (std::is_same_v<T, DecodeOutcome>) {
        return Object{{"ok", std::string(outcome_name(*result))}};
    } else {
        return Object{{"ok", *result}};
    }
}

inline DecodeOutcome outcome_of(bool block_completed, bool complete) {
    if (complete) {
        return block_completed ? DecodeOutcome::block_completed_and_max_length
                               : DecodeOutcome::max_length;
    }
    return block_completed ? DecodeOutcome::block_completed : DecodeOutcome::continue_;
}

/// The recorded version's scheduled request: a plain one, a prefill position and a KV position.
class RecordedScheduler {
  public:
    RecordedScheduler(RecordedRequest request) : request_(std::move(request)) {
        tell("Created", {{"num_input_tokens", sequence().num_input_tokens()},
                         {"max_output_tokens", sequence().max_output_tokens()},
                         {"block_size", sequence().block_size()}});
    }

    const RecordedRequest& request() const { return request_; }
    Array take_events() { return std::exchange(events_, {}); }
    Object facts() const {
        Object facts = request_.facts();
        facts.push_back({"state", recorded_state(state_)});
        facts.push_back({"prefill_position", prefill_position_});
        facts.push_back({"is_prefill_complete", prefill_complete()});
        facts.push_back({"kv_position", kv_position_});
        facts.push_back({"tail_tokens", tail()});
        return facts;
    }

    Result<std::size_t, ScheduleError> match(BlockManager<Tier>& manager) {
        if (!idle()) {
            return failure(ScheduleError{ScheduleError::NotIdle{state_}});
        }
        const auto matched = request_.match(manager);
        if (!matched) {
            return failure(ScheduleError{BlocksHeld{request_.held()}});
        }
        prefill_position_ += *matched * sequence().block_size();
        if (*matched > 0) {
            kv_position_ = prefill_position_;
        }
        tell("PrefixMatched", {{"blocks_matched", *matched}});
        return *matched;
    }

    Result<void, ScheduleError> schedule_prefill(std::size_t n, BlockManager<Tier>& manager) {
        const std::size_t input = sequence().num_input_tokens();
        if (!idle()) {
            return failure(ScheduleError{ScheduleError::NotIdle{state_}});
        }
        if (prefill_complete()) {
            return failure(ScheduleError{ScheduleError::PrefillComplete{}});
        }
        if (n > input - prefill_position_) {
            return failure(
                ScheduleError{ScheduleError::PrefillOverrun{prefill_position_, n, input}});
        }
        const auto allocated = allocate_to(prefill_position_ + n, manager);
        if (!allocated) {
            return failure(allocated.error());
        }
        state_ = PrefillScheduled{n, *allocated};
        tell("PrefillScheduled", {{"num_tokens", n}, {"blocks_allocated", *allocated}});
        return {};
    }

    Result<void, ScheduleError> schedule_decode(BlockManager<Tier>& manager) {
        if (const auto refused = refuses_decode()) {
            return failure(*refused);
        }
        const auto allocated = allocate_to(sequence().total_tokens() + 1, manager);
        if (!allocated) {
            return failure(allocated.error());
        }
        state_ = DecodeScheduled{*allocated};
        tell("DecodeScheduled", {{"blocks_allocated", *allocated}});
        return {};
    }

    Result<void, ScheduleError> schedule_speculative(std::size_t n, BlockManager<Tier>& manager) {
        if (const auto refused = refuses_decode()) {
            return failure(*refused);
        }
        const std::size_t cut = std::min(n, sequence().remaining_tokens());
        const auto allocated = allocate_to(sequence().total_tokens() + cut, manager);
        if (!allocated) {
            return failure(allocated.error());
        }
        state_ = SpeculativeScheduled{cut, *allocated};
        tell("SpeculativeScheduled", {{"num_tokens", cut}, {"blocks_allocated", *allocated}});
        return {};
    }

    Result<void, ApplyError> apply_prefill(std::optional<Token> token,
                                           BlockManager<Tier>& manager) {
        const auto* scheduled = std::get_if<PrefillScheduled>(&state_);
        if (scheduled == nullptr) {
            return failure(wrong_state("PrefillScheduled"));
        }
        const std::size_t n = scheduled->num_tokens;
        const bool final_chunk = prefill_position_ + n == sequence().num_input_tokens();
        if (token && !final_chunk) {
            return failure(ApplyError{ApplyError::TokenOnNonFinalChunk{}});
        }
        if (token && sequence().is_complete()) {  // panics there, so it is not recorded
            return failure(ApplyError{ApplyError::AppendExceedsRemaining{1, 0}});
        }
        if (!token && final_chunk && sequence().max_output_tokens() > 0) {
            return failure(ApplyError{ApplyError::MissingTokenOnFinalChunk{}});
        }
        const std::size_t registered = request_.complete_and_register(manager);
        prefill_position_ += n;
        kv_position_ = prefill_position_;
        if (token) {
            append(std::span(&*token, 1));
        }
        state_ = Idle{};
        tell("PrefillApplied", {{"num_tokens", n},
                                {"blocks_registered", registered},
                                {"token_emitted", token.has_value()}});
        return {};
    }

    Result<DecodeOutcome, ApplyError> apply_decode(Token token, BlockManager<Tier>& manager) {
        if (!std::holds_alternative<DecodeScheduled>(state_)) {
            return failure(wrong_state("DecodeScheduled"));
        }
        const bool completed = append(std::span(&token, 1));
        request_.complete_and_register(manager);
        ++kv_position_;
        state_ = Idle{};
        tell("DecodeApplied", {{"token", token}, {"block_completed", completed}});
        return outcome_of(completed, sequence().is_complete());
    }

    Result<DecodeOutcome, ApplyError> apply_speculative(std::span<const Token> tokens,
                                                        BlockManager<Tier>& manager) {
        const auto* scheduled = std::get_if<SpeculativeScheduled>(&state_);
        if (scheduled == nullptr) {
            return failure(wrong_state("SpeculativeScheduled"));
        }
        const std::size_t drafts = scheduled->num_tokens;
        if (tokens.size() > drafts) {
            return failure(ApplyError{ApplyError::AcceptedExceedsScheduled{tokens.size(), drafts}});
        }
        const bool completed = append(tokens);
        request_.complete_and_register(manager);
        kv_position_ += tokens.size();
        const bool complete = sequence().is_complete();
        const std::size_t released = request_.drop_excess_unassigned(complete ? 0 : 1);
        state_ = Idle{};
        tell("SpeculativeApplied",
             {{"accepted", tokens.size()}, {"scheduled", drafts}, {"blocks_released", released}});
        return outcome_of(completed, complete);
    }

    Result<void, ApplyError> revert() {
        if (idle()) {
            return failure(wrong_state("any Scheduled state"));
        }
        const std::size_t released = drop(allocated_of(state_));
        state_ = Idle{};
        tell("ScheduleReverted", {{"blocks_released", released}});
        return {};
    }

    Result<std::size_t, ApplyError> drop_unassigned(std::size_t n) {
        if (!idle()) {
            return failure(wrong_state("Idle"));
        }
        const std::size_t dropped = drop(n);
        if (dropped > 0) {
            tell("UnassignedDropped", {{"count", dropped}});
        }
        return dropped;
    }

    Result<void, ApplyError> release() {
        if (!idle()) {
            return failure(wrong_state("Idle"));
        }
        request_.release();
        tell("Released", {});
        return {};
    }

    Result<bool, ApplyError> reacquire(BlockManager<Tier>& manager) {
        if (!idle()) {
            return failure(wrong_state("Idle"));
        }
        const auto acquired = request_.reacquire(manager);
        if (!acquired) {
            return failure(ApplyError{BlocksHeld{request_.held()}});
        }
        tell("Reacquired", {{"prefix_matched", request_.prefix_matched()}, {"success", *acquired}});
        return *acquired;
    }

    Result<void, ApplyError> append_tokens(std::span<const Token> tokens) {
        if (!idle()) {
            return failure(wrong_state("Idle"));
        }
        if (tokens.size() > sequence().remaining_tokens()) {
            return failure(ApplyError{
                ApplyError::AppendExceedsRemaining{tokens.size(), sequence().remaining_tokens()}});
        }
        append(tokens);
        return {};
    }

  private:
    const RequestSequence<Tier>& sequence() const { return request_.sequence(); }
    bool idle() const { return std::holds_alternative<Idle>(state_); }
    bool prefill_complete() const { return prefill_position_ >= sequence().num_input_tokens(); }
    std::size_t tail() const {
        return std::max(sequence().total_tokens(), kv_position_) - kv_position_;
    }
    ApplyError wrong_state(std::string_view expected) const {
        return {ApplyError::WrongState{expected, state_}};
    }
    void tell(const char* kind, Object fields) {
        fields.insert(fields.begin(), Member{"kind", kind});
        events_.emplace_back(std::move(fields));
    }
    std::optional<ScheduleError> refuses_decode() const {
        if (!idle()) {
            return ScheduleError{ScheduleError::NotIdle{state_}};
        }
        if (!prefill_complete()) {
            return ScheduleError{ScheduleError::PrefillNotComplete{prefill_position_,
                                                                   sequence().num_input_tokens()}};
        }
        if (sequence().is_complete()) {
            return ScheduleError{
                GenerationComplete{sequence().generated_tokens(), sequence().max_output_tokens()}};
        }
        if (tail() != 1) {
            return ScheduleError{ScheduleError::WrongDanglingCount{1, tail()}};
        }
        return std::nullopt;
    }
    Result<std::size_t, ScheduleError> allocate_to(std::size_t tokens,
                                                   BlockManager<Tier>& manager) {
        const std::size_t size = sequence().block_size();
        const std::size_t need = tokens / size + (tokens % size == 0 ? 0 : 1);
        const std::size_t count = need > request_.held() ? need - request_.held() : 0;
        if (!request_.allocate(count, manager)) {
            return failure(ScheduleError{ScheduleError::AllocationFailed{count}});
        }
        return count;
    }
    bool append(std::span<const Token> tokens) { return must(request_.append(tokens)).has_value(); }
    std::size_t drop(std::size_t n) {
        const std::size_t queued = sequence().unassigned_blocks();
        return request_.drop_excess_unassigned(queued - std::min(n, queued));
    }

    RecordedRequest request_;
    std::size_t prefill_position_ = 0;
    std::size_t kv_position_ = 0;
    SequenceState state_;
    Array events_;
};

}  // namespace kvbm::conformance
