// A request by the formulas of requests.md 1, guard by guard.
module;

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.request;

namespace kvbm::testing::requests {

namespace {

namespace event = sequence_event;

std::string number(std::size_t value) {
    return std::to_string(value);
}

std::string not_idle(const SequenceState& state) {
    return "expected Idle state, got " + to_string(state);
}

std::string wrong_state(const char* expected, const SequenceState& state) {
    return std::string("expected ") + expected + ", got " + to_string(state);
}

std::string blocks_held(std::size_t count) {
    return "expected no blocks, " + number(count) + " held";
}

std::string failed(std::size_t needed) {
    return "allocation failed: needed " + number(needed) + " blocks";
}

std::string outcome(bool block_completed, bool complete) {
    return std::string("outcome") + (block_completed ? " block_completed" : "") +
           (complete ? " max_length" : "");
}

std::string ids_text(std::span<const BlockId> ids) {
    std::string text;
    for (const BlockId id : ids) {
        text += " " + number(id);
    }
    return text;
}

}  // namespace

NaiveRequest::NaiveRequest(std::vector<Token> prompt, std::size_t max_output,
                           std::size_t block_size, SaltHash salt)
    : tokens_(std::move(prompt)),
      input_(tokens_.size()),
      max_output_(max_output),
      block_size_(block_size),
      salt_(salt) {}

std::vector<BlockId> NaiveRequest::ids() const {
    std::vector<BlockId> ids;
    for (const auto& block : assigned_) {
        ids.push_back(block.block_id());
    }
    for (const auto& block : queued_) {
        ids.push_back(block.block_id());
    }
    return ids;
}

std::string NaiveRequest::to_words() const {
    const std::size_t covered = prefix_ * block_size_;
    return to_string(state_) + "; K " + number(kv_) + ", T " + number(total()) + ", G " +
           number(generated()) + ", left " + number(remaining()) + ", tail " + number(tail()) +
           ", full " + number(total() / block_size_) + ", a/s/u " + number(assigned_.size()) +
           "/0/" + number(queued_.size()) + ", prefix " + number(prefix_) + ", new " +
           number(total() > covered ? total() - covered : 0) + (complete() ? ", complete" : "") +
           ", prefill " + number(std::min(kv_, input_)) + (kv_ >= input_ ? " done" : "") +
           ", to prefill " + number(kv_ < input_ || tail() >= 2 ? tail() : 0) + ", blocks" +
           ids_text(ids());
}

std::string to_words(const SchedulableSequence<>& request) {
    const auto& r = request;
    return to_string(r.state()) + "; K " + number(r.kv_position()) + ", T " +
           number(r.total_tokens()) + ", G " + number(r.generated_tokens()) + ", left " +
           number(r.remaining_tokens()) + ", tail " + number(r.tail_tokens()) + ", full " +
           number(r.num_blocks()) + ", a/s/u " + number(r.assigned_blocks()) + "/" +
           number(r.staged_blocks()) + "/" + number(r.unassigned_blocks()) + ", prefix " +
           number(r.prefix_matched_blocks()) + ", new " + number(r.new_tokens_for_prefill()) +
           (r.is_complete() ? ", complete" : "") + ", prefill " + number(r.prefill_position()) +
           (r.is_prefill_complete() ? " done" : "") + ", to prefill " +
           number(r.prefill_remaining()) + ", blocks" + ids_text(r.block_ids());
}

std::size_t NaiveRequest::matchable() const {
    return complete() || total() == 0 ? total() / block_size_ : (total() - 1) / block_size_;
}

std::size_t NaiveRequest::take_cached(BlockManager<>& manager, std::size_t at_most) {
    const auto whole = sequence();
    const auto hashes = whole.all_sequence_hashes();
    for (std::size_t i = 0; i < std::min(at_most, hashes.size()); ++i) {
        auto found = manager.match_blocks(hashes.subspan(i, 1));
        if (found.empty()) {
            break;
        }
        assigned_.push_back(found.pop_back());
    }
    return assigned_.size();
}

bool NaiveRequest::allocate(BlockManager<>& manager, std::size_t count) {
    auto blocks = manager.allocate_blocks(count);
    if (!blocks) {
        return false;
    }
    while (!blocks->empty()) {
        queued_.push_back(blocks->take_front(1).pop_back());
    }
    return true;
}

std::size_t NaiveRequest::register_computed(BlockManager<>& manager) {
    const auto whole = sequence();
    std::size_t registered = 0;
    while (assigned_.size() < kv_ / block_size_) {
        auto named = must(std::move(queued_.front()).complete(whole.blocks()[assigned_.size()]));
        queued_.erase(queued_.begin());
        assigned_.push_back(must(manager.register_block(std::move(named))));
        ++registered;
    }
    return registered;
}

std::size_t NaiveRequest::drop_newest(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        queued_.pop_back();
    }
    return count;
}

void NaiveRequest::drop_all(ReleaseOrder order) {
    if (order == ReleaseOrder::root_first) {
        while (!assigned_.empty()) {
            assigned_.erase(assigned_.begin());
        }
        while (!queued_.empty()) {
            queued_.erase(queued_.begin());
        }
    }
    drop_newest(queued_.size());
    while (!assigned_.empty()) {
        assigned_.pop_back();
    }
}

bool NaiveRequest::append(std::span<const Token> tokens) {
    const std::size_t full = total() / block_size_;
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    return total() / block_size_ > full;
}

std::string NaiveRequest::match(BlockManager<>& manager, PrefixMatch how, Told& told) {
    if (!idle()) {
        return not_idle(state_);
    }
    if (held() > 0) {
        return blocks_held(held());
    }
    prefix_ = take_cached(manager, how == PrefixMatch::everything ? total() : matchable());
    kv_ = prefix_ * block_size_;
    preempted_ = false;
    told = event::PrefixMatched{prefix_};
    return number(prefix_);
}

std::string NaiveRequest::schedule_prefill(BlockManager<>& manager, std::size_t count, Told& told) {
    if (!idle()) {
        return not_idle(state_);
    }
    if (kv_ >= input_ && tail() < 2) {
        return "prefill already complete";
    }
    if (count > tail()) {
        return "prefill overrun: position " + number(kv_) + " + " + number(count) + " > " +
               number(total());
    }
    const std::size_t need = std::max(blocks(kv_ + count), held()) - held();
    if (!allocate(manager, need)) {
        return failed(need);
    }
    state_ = PrefillScheduled{count, need};
    told = event::PrefillScheduled{count, need};
    return "ok";
}

std::string NaiveRequest::refuses_decode() const {
    if (!idle()) {
        return not_idle(state_);
    }
    if (kv_ < input_) {
        return "prefill not yet complete (position " + number(kv_) + " < " + number(input_) + ")";
    }
    if (complete()) {
        return "generation complete: " + number(generated()) + " >= " + number(max_output_);
    }
    if (tail() != 1) {
        return "expected 1 dangling token(s), got " + number(tail());
    }
    return "";
}

std::string NaiveRequest::schedule_decode(BlockManager<>& manager, Told& told) {
    if (auto refused = refuses_decode(); !refused.empty()) {
        return refused;
    }
    const std::size_t need = std::max(blocks(total() + 1), held()) - held();
    if (!allocate(manager, need)) {
        return failed(need);
    }
    state_ = DecodeScheduled{need};
    told = event::DecodeScheduled{need};
    return "ok";
}

std::string NaiveRequest::schedule_speculative(BlockManager<>& manager, std::size_t drafts,
                                               Told& told) {
    if (auto refused = refuses_decode(); !refused.empty()) {
        return refused;
    }
    const std::size_t cut = std::min(drafts, remaining());
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    std::size_t all = blocks(total() % block_size_ + cut % block_size_) + total() / block_size_;
    all = cut / block_size_ > most - all ? most : all + cut / block_size_;
    const std::size_t need = std::max(all, held()) - held();
    if (!allocate(manager, need)) {
        return failed(need);
    }
    state_ = SpeculativeScheduled{cut, need};
    told = event::SpeculativeScheduled{cut, need};
    return "ok";
}

std::string NaiveRequest::apply_prefill(BlockManager<>& manager, std::optional<Token> token,
                                        Told& told) {
    const auto* scheduled = std::get_if<PrefillScheduled>(&state_);
    if (scheduled == nullptr) {
        return wrong_state("PrefillScheduled", state_);
    }
    const std::size_t count = scheduled->num_tokens;
    const bool final_chunk = kv_ + count == total();
    if (token && !final_chunk) {
        return "token provided but prefill not completing this chunk";
    }
    if (token && complete()) {
        return "append requested 1 tokens but only 0 remain";
    }
    if (!token && final_chunk && !complete()) {
        return "final prefill chunk requires a generated token";
    }
    kv_ += count;
    const std::size_t registered = register_computed(manager);
    if (token) {
        append(std::span(&*token, 1));
    }
    state_ = Idle{};
    told = event::PrefillApplied{count, registered, token.has_value()};
    return "ok";
}

std::string NaiveRequest::apply_decode(BlockManager<>& manager, Token token, Told& told) {
    if (!std::holds_alternative<DecodeScheduled>(state_)) {
        return wrong_state("DecodeScheduled", state_);
    }
    const bool completed = append(std::span(&token, 1));
    ++kv_;
    register_computed(manager);
    state_ = Idle{};
    told = event::DecodeApplied{token, completed};
    return outcome(completed, complete());
}

std::string NaiveRequest::apply_speculative(BlockManager<>& manager, std::span<const Token> tokens,
                                            Told& told) {
    const auto* speculation = std::get_if<SpeculativeScheduled>(&state_);
    if (speculation == nullptr) {
        return wrong_state("SpeculativeScheduled", state_);
    }
    const std::size_t scheduled = speculation->num_tokens;
    if (tokens.size() > scheduled) {
        return "accepted " + number(tokens.size()) + " tokens exceeds scheduled " +
               number(scheduled);
    }
    const bool completed = append(tokens);
    kv_ += tokens.size();
    register_computed(manager);
    const std::size_t keep = blocks(complete() ? total() : total() + 1);
    const std::size_t released = drop_newest(held() > keep ? held() - keep : 0);
    state_ = Idle{};
    told = event::SpeculativeApplied{tokens.size(), scheduled, released};
    return outcome(completed, complete());
}

std::string NaiveRequest::revert(Told& told) {
    std::size_t count = 0;
    if (idle()) {
        return wrong_state("any Scheduled state", state_);
    }
    if (const auto* prefill = std::get_if<PrefillScheduled>(&state_)) {
        count = prefill->blocks_allocated;
    } else if (const auto* decode = std::get_if<DecodeScheduled>(&state_)) {
        count = decode->blocks_allocated;
    } else {
        count = std::get<SpeculativeScheduled>(state_).blocks_allocated;
    }
    drop_newest(count);
    state_ = Idle{};
    told = event::ScheduleReverted{count};
    return "ok";
}

std::string NaiveRequest::drop_unassigned(std::size_t count, Told& told) {
    if (!idle()) {
        return wrong_state("Idle", state_);
    }
    const std::size_t dropped = drop_newest(std::min(count, held() - blocks(kv_)));
    if (dropped > 0) {
        told = event::UnassignedDropped{dropped};
    }
    return number(dropped);
}

std::string NaiveRequest::release(ReleaseOrder order, Told& told) {
    if (!idle()) {
        return wrong_state("Idle", state_);
    }
    drop_all(order);
    kv_ = 0;
    preempted_ = true;
    told = event::Released{};
    return "ok";
}

std::string NaiveRequest::reacquire(BlockManager<>& manager, Told& told) {
    if (!idle()) {
        return wrong_state("Idle", state_);
    }
    if (held() > 0) {
        return blocks_held(held());
    }
    const std::size_t matched = take_cached(manager, matchable());
    if (!allocate(manager, total() / block_size_ - matched)) {
        drop_all(ReleaseOrder::root_first);
        told = event::Reacquired{0, false};
        return "no";
    }
    prefix_ = matched;
    kv_ = matched * block_size_;
    preempted_ = false;
    told = event::Reacquired{matched, true};
    return "yes";
}

std::string NaiveRequest::append_tokens(std::span<const Token> tokens, Told& told) {
    if (!idle()) {
        return wrong_state("Idle", state_);
    }
    if (tokens.size() > remaining()) {
        return "append requested " + number(tokens.size()) + " tokens but only " +
               number(remaining()) + " remain";
    }
    append(tokens);
    if (!tokens.empty()) {
        told = event::TokensAppended{tokens.size()};
    }
    return "ok";
}

}  // namespace kvbm::testing::requests
