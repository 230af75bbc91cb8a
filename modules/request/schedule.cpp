module;

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.request;

namespace kvbm::detail::request {

namespace event = sequence_event;

namespace {

ApplyError wrong_state(std::string_view expected, const SequenceState& actual) {
    return {ApplyError::WrongState{expected, actual}};
}

/// Blocks of `tokens` and `more` tokens, whose sum may not be a number.
std::size_t blocks_for_sum(const RequestCore& request, std::size_t tokens,
                           std::size_t more) noexcept {
    const std::size_t size = request.block_size();
    const std::size_t rest = request.blocks_for(tokens % size + more % size);
    const std::size_t full = more / size;
    const std::size_t known = tokens / size + rest;
    return full > std::numeric_limits<std::size_t>::max() - known
               ? std::numeric_limits<std::size_t>::max()
               : full + known;
}

/// Full blocks that a match may take so that a token is left to compute.
std::size_t matchable_blocks(const RequestCore& request) {
    if (request.is_complete() || request.total_tokens() == 0) {
        return request.num_blocks();
    }
    return (request.total_tokens() - 1) / request.block_size();
}

DecodeOutcome outcome_of(bool block_completed, bool complete) {
    if (complete) {
        return block_completed ? DecodeOutcome::block_completed_and_max_length
                               : DecodeOutcome::max_length;
    }
    return block_completed ? DecodeOutcome::block_completed : DecodeOutcome::continue_;
}

}  // namespace

void ScheduleCore::expects_no_event() const noexcept {
    expects(!emitting_, "a delegate does not change the sequence that it hears of");
}

template <class Event>
void ScheduleCore::tell(const Event& event) {
    if (delegate_ != nullptr) {
        emitting_ = true;
        delegate_->on_event(SequenceEvent(event));
        emitting_ = false;
    }
}

void ScheduleCore::created(const RequestCore& request) {
    tell(event::Created{request.num_input_tokens(), request.max_output_tokens(),
                        request.block_size()});
}

Result<std::size_t, ScheduleError> ScheduleCore::match(Parts on, Store& store, PrefixMatch how) {
    expects_no_event();
    on.request.use(store);
    if (!idle()) {
        return failure(ScheduleError{ScheduleError::NotIdle{state_}});
    }
    const std::size_t at_most =
        how == PrefixMatch::everything ? RequestCore::npos : matchable_blocks(on.request);
    const auto matched = on.request.match(on.row, store, at_most);
    if (!matched) {
        return failure(ScheduleError{matched.error()});
    }
    kv_position_ = *matched * on.request.block_size();
    tell(event::PrefixMatched{*matched});
    return *matched;
}

Result<std::size_t, ScheduleError> ScheduleCore::allocate_to(Parts on, std::size_t need,
                                                             Store& store) {
    const std::size_t held = on.row.size();
    const std::size_t count = need > held ? need - held : 0;
    if (count > 0 && !on.request.allocate(on.row, store, count)) {
        return failure(ScheduleError{ScheduleError::AllocationFailed{count}});
    }
    return count;
}

Result<void, ScheduleError> ScheduleCore::schedule_prefill(Parts on, std::size_t count,
                                                           Store& store) {
    expects_no_event();
    on.request.use(store);
    if (!idle()) {
        return failure(ScheduleError{ScheduleError::NotIdle{state_}});
    }
    const std::size_t missing = tail(on.request);
    if (kv_position_ >= on.request.num_input_tokens() && missing < 2) {
        return failure(ScheduleError{ScheduleError::PrefillComplete{}});
    }
    if (count > missing) {
        return failure(ScheduleError{
            ScheduleError::PrefillOverrun{kv_position_, count, on.request.total_tokens()}});
    }
    const auto allocated = allocate_to(on, on.request.blocks_for(kv_position_ + count), store);
    if (!allocated) {
        return failure(allocated.error());
    }
    state_ = PrefillScheduled{count, *allocated};
    tell(event::PrefillScheduled{count, *allocated});
    return {};
}

std::optional<ScheduleError> ScheduleCore::refuses_decode(const RequestCore& request) const {
    if (!idle()) {
        return ScheduleError{ScheduleError::NotIdle{state_}};
    }
    if (kv_position_ < request.num_input_tokens()) {
        return ScheduleError{
            ScheduleError::PrefillNotComplete{kv_position_, request.num_input_tokens()}};
    }
    if (request.is_complete()) {
        return ScheduleError{
            GenerationComplete{request.generated_tokens(), request.max_output_tokens()}};
    }
    if (tail(request) != 1) {
        return ScheduleError{ScheduleError::WrongDanglingCount{1, tail(request)}};
    }
    return std::nullopt;
}

Result<void, ScheduleError> ScheduleCore::schedule_decode(Parts on, Store& store) {
    expects_no_event();
    on.request.use(store);
    if (auto refused = refuses_decode(on.request)) {
        return failure(*std::move(refused));
    }
    const auto allocated =
        allocate_to(on, on.request.blocks_for(on.request.total_tokens() + 1), store);
    if (!allocated) {
        return failure(allocated.error());
    }
    state_ = DecodeScheduled{*allocated};
    tell(event::DecodeScheduled{*allocated});
    return {};
}

Result<void, ScheduleError> ScheduleCore::schedule_speculative(Parts on, std::size_t drafts,
                                                               Store& store) {
    expects_no_event();
    on.request.use(store);
    if (auto refused = refuses_decode(on.request)) {
        return failure(*std::move(refused));
    }
    const std::size_t cut = std::min(drafts, on.request.remaining_tokens());
    const auto allocated =
        allocate_to(on, blocks_for_sum(on.request, on.request.total_tokens(), cut), store);
    if (!allocated) {
        return failure(allocated.error());
    }
    state_ = SpeculativeScheduled{cut, *allocated};
    tell(event::SpeculativeScheduled{cut, *allocated});
    return {};
}

Result<ScheduleCore::Advance, ApplyError> ScheduleCore::advance(Parts on,
                                                                std::span<const Token> tokens,
                                                                std::size_t computed,
                                                                Store& store) {
    const auto completed = on.request.append(tokens);
    if (!completed) {
        return failure(ApplyError{completed.error()});
    }
    std::size_t registered = 0;
    try {
        registered = on.request.register_below(on.row, store,
                                               (kv_position_ + computed) / on.request.block_size());
    } catch (...) {
        on.request.take_back(tokens.size());
        throw;
    }
    kv_position_ += computed;
    state_ = Idle{};
    return Advance{completed->has_value(), registered};
}

Result<void, ApplyError> ScheduleCore::apply_prefill(Parts on, std::optional<Token> token,
                                                     Store& store) {
    expects_no_event();
    on.request.use(store);
    const auto* scheduled = std::get_if<PrefillScheduled>(&state_);
    if (scheduled == nullptr) {
        return failure(wrong_state("PrefillScheduled", state_));
    }
    const std::size_t computed = scheduled->num_tokens;
    const bool final_chunk = computed == tail(on.request);
    if (token && !final_chunk) {
        return failure(ApplyError{ApplyError::TokenOnNonFinalChunk{}});
    }
    if (token && on.request.is_complete()) {
        return failure(ApplyError{ApplyError::AppendExceedsRemaining{1, 0}});
    }
    if (!token && final_chunk && !on.request.is_complete()) {
        return failure(ApplyError{ApplyError::MissingTokenOnFinalChunk{}});
    }
    const auto emitted = token ? std::span<const Token>(&*token, 1) : std::span<const Token>();
    const auto advanced = advance(on, emitted, computed, store);
    if (!advanced) {
        return failure(advanced.error());
    }
    tell(event::PrefillApplied{computed, advanced->registered, token.has_value()});
    return {};
}

Result<DecodeOutcome, ApplyError> ScheduleCore::apply_decode(Parts on, Token token, Store& store) {
    expects_no_event();
    on.request.use(store);
    if (!std::holds_alternative<DecodeScheduled>(state_)) {
        return failure(wrong_state("DecodeScheduled", state_));
    }
    const auto advanced = advance(on, std::span(&token, 1), 1, store);
    if (!advanced) {
        return failure(advanced.error());
    }
    tell(event::DecodeApplied{token, advanced->block_completed});
    return outcome_of(advanced->block_completed, on.request.is_complete());
}

Result<DecodeOutcome, ApplyError> ScheduleCore::apply_speculative(Parts on,
                                                                  std::span<const Token> tokens,
                                                                  Store& store) {
    expects_no_event();
    on.request.use(store);
    const auto* speculation = std::get_if<SpeculativeScheduled>(&state_);
    if (speculation == nullptr) {
        return failure(wrong_state("SpeculativeScheduled", state_));
    }
    const std::size_t scheduled = speculation->num_tokens;
    if (tokens.size() > scheduled) {
        return failure(ApplyError{ApplyError::AcceptedExceedsScheduled{tokens.size(), scheduled}});
    }
    const auto advanced = advance(on, tokens, tokens.size(), store);
    if (!advanced) {
        return failure(advanced.error());
    }
    const bool complete = on.request.is_complete();
    const std::size_t keep = on.request.blocks_for(on.request.total_tokens() + (complete ? 0 : 1));
    const std::size_t excess = on.row.size() - std::min(on.row.size(), keep);
    const std::size_t released = on.row.drop_last_unassigned(excess);
    tell(event::SpeculativeApplied{tokens.size(), scheduled, released});
    return outcome_of(advanced->block_completed, complete);
}

Result<void, ApplyError> ScheduleCore::revert(Parts on) {
    expects_no_event();
    std::size_t allocated = 0;
    if (const auto* prefill = std::get_if<PrefillScheduled>(&state_)) {
        allocated = prefill->blocks_allocated;
    } else if (const auto* decode = std::get_if<DecodeScheduled>(&state_)) {
        allocated = decode->blocks_allocated;
    } else if (const auto* speculation = std::get_if<SpeculativeScheduled>(&state_)) {
        allocated = speculation->blocks_allocated;
    } else {
        return failure(wrong_state("any Scheduled state", state_));
    }
    const std::size_t released = on.row.drop_last_unassigned(allocated);
    state_ = Idle{};
    tell(event::ScheduleReverted{released});
    return {};
}

Result<std::size_t, ApplyError> ScheduleCore::drop_unassigned(Parts on, std::size_t count) {
    expects_no_event();
    if (!idle()) {
        return failure(wrong_state("Idle", state_));
    }
    const std::size_t blank = on.row.size() - on.request.blocks_for(kv_position_);
    const std::size_t dropped = on.row.drop_last_unassigned(std::min(count, blank));
    if (dropped > 0) {
        tell(event::UnassignedDropped{dropped});
    }
    return dropped;
}

Result<void, ApplyError> ScheduleCore::release(Parts on, ReleaseOrder order) {
    expects_no_event();
    if (!idle()) {
        return failure(wrong_state("Idle", state_));
    }
    on.request.release(on.row, order);
    kv_position_ = 0;
    tell(event::Released{});
    return {};
}

Result<bool, ApplyError> ScheduleCore::reacquire(Parts on, Store& store) {
    expects_no_event();
    on.request.use(store);
    if (!idle()) {
        return failure(wrong_state("Idle", state_));
    }
    const auto acquired = on.request.reacquire(on.row, store, matchable_blocks(on.request));
    if (!acquired) {
        return failure(ApplyError{acquired.error()});
    }
    const std::size_t matched = on.row.assigned().size();
    kv_position_ = matched * on.request.block_size();
    tell(event::Reacquired{matched, *acquired});
    return *acquired;
}

Result<void, ApplyError> ScheduleCore::append_tokens(Parts on, std::span<const Token> tokens) {
    expects_no_event();
    if (!idle()) {
        return failure(wrong_state("Idle", state_));
    }
    if (tokens.size() > on.request.remaining_tokens()) {
        return failure(ApplyError{
            ApplyError::AppendExceedsRemaining{tokens.size(), on.request.remaining_tokens()}});
    }
    const auto appended = on.request.append(tokens);
    if (!appended) {
        return failure(ApplyError{appended.error()});
    }
    if (!tokens.empty()) {
        tell(event::TokensAppended{tokens.size()});
    }
    return {};
}

InvariantReport ScheduleCore::check_invariants(const RequestCore& request,
                                               const sequence::LogicalRow& row) const {
    InvariantReport report = request.check_invariants(row);
    const auto check = [&](bool holds, const char* id, const char* text) {
        if (!holds) {
            report.violations.push_back({id, {}, text});
        }
    };
    const std::size_t held = row.size();
    const std::size_t total = request.total_tokens();
    check(kv_position_ <= total, "R1", "only known tokens have KV");
    check(held >= request.blocks_for(kv_position_), "R2", "what has KV is held");
    check(row.assigned().size() == kv_position_ / request.block_size() && row.staged().empty(),
          "R3", "exactly the blocks whose tokens all have KV are registered");
    std::size_t need = 0;
    std::size_t allocated = 0;
    if (const auto* prefill = std::get_if<PrefillScheduled>(&state_)) {
        need = request.blocks_for(kv_position_ + prefill->num_tokens);
        allocated = prefill->blocks_allocated;
    } else if (const auto* decode = std::get_if<DecodeScheduled>(&state_)) {
        need = request.blocks_for(total + 1);
        allocated = decode->blocks_allocated;
    } else if (const auto* speculation = std::get_if<SpeculativeScheduled>(&state_)) {
        need = blocks_for_sum(request, total, speculation->num_tokens);
        allocated = speculation->blocks_allocated;
    }
    check(held >= need, "R5", "what is scheduled has its blocks");
    check(row.unassigned().size() >= allocated, "R6", "what a schedule allocated is queued");
    check(
        !idle() || request.is_complete() || kv_position_ < total || request.remaining_tokens() > 0,
        "R10", "a request that is not complete can go on");
    return report;
}

}  // namespace kvbm::detail::request
