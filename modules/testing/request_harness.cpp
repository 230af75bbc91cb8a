// Runs scripts on real requests and their naive twins.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.request;

namespace kvbm::testing::requests {

namespace {

constexpr SaltHash salt_hash = 42;

std::size_t counted(std::size_t drawn) {
    return drawn >= unlimited ? std::numeric_limits<std::size_t>::max() : drawn;
}

std::vector<Token> prompt_of(const New& command) {
    constexpr std::size_t common = 6;
    std::vector<Token> tokens;
    for (std::size_t i = 0; i < command.prompt; ++i) {
        tokens.push_back(static_cast<Token>(i < common ? i : i + 100 * command.family));
    }
    return tokens;
}

std::vector<Token> repeated(std::size_t token, std::size_t count) {
    return std::vector<Token>(count, static_cast<Token>(token));
}

std::size_t slot_of(const Command& command) {
    return std::visit([](const auto& c) { return c.slot; }, command);
}

template <class E>
std::string words(const Result<void, E>& result) {
    return result ? "ok" : result.error().message();
}
template <class E>
std::string words(const Result<std::size_t, E>& result) {
    return result ? std::to_string(*result) : result.error().message();
}
template <class E>
std::string words(const Result<bool, E>& result) {
    return result ? (*result ? "yes" : "no") : result.error().message();
}
template <class E>
std::string words(const Result<DecodeOutcome, E>& result) {
    if (!result) {
        return result.error().message();
    }
    switch (*result) {
        case DecodeOutcome::continue_:
            return "outcome";
        case DecodeOutcome::block_completed:
            return "outcome block_completed";
        case DecodeOutcome::max_length:
            return "outcome max_length";
        case DecodeOutcome::block_completed_and_max_length:
            return "outcome block_completed max_length";
    }
    return "no outcome";
}

/// Blocks that the events say are held, until the first reacquire.
std::optional<std::size_t> blocks_told(std::span<const SequenceEvent> events) {
    std::size_t held = 0;
    for (const SequenceEvent& any : events) {
        if (const auto* matched = std::get_if<sequence_event::PrefixMatched>(&any)) {
            held += matched->blocks_matched;
        } else if (const auto* prefill = std::get_if<sequence_event::PrefillScheduled>(&any)) {
            held += prefill->blocks_allocated;
        } else if (const auto* decode = std::get_if<sequence_event::DecodeScheduled>(&any)) {
            held += decode->blocks_allocated;
        } else if (const auto* drafts = std::get_if<sequence_event::SpeculativeScheduled>(&any)) {
            held += drafts->blocks_allocated;
        } else if (const auto* applied = std::get_if<sequence_event::SpeculativeApplied>(&any)) {
            held -= applied->blocks_released;
        } else if (const auto* reverted = std::get_if<sequence_event::ScheduleReverted>(&any)) {
            held -= reverted->blocks_released;
        } else if (const auto* dropped = std::get_if<sequence_event::UnassignedDropped>(&any)) {
            held -= dropped->count;
        } else if (std::holds_alternative<sequence_event::Released>(any)) {
            held = 0;
        } else if (std::holds_alternative<sequence_event::Reacquired>(any)) {
            return std::nullopt;
        }
    }
    return held;
}

/// Runs a call on a real request and on its twin.
struct Call {
    SchedulableSequence<>& real;
    NaiveRequest& naive;
    BlockManager<>& manager;
    BlockManager<>& twin;
    NaiveRequest::Told& told;
    using Both = std::pair<std::string, std::string>;

    Both operator()(const Match& c) const {
        const auto how = c.everything ? PrefixMatch::everything : PrefixMatch::leave_one_token;
        return {words(real.match_and_add_prefix(manager, how)), naive.match(twin, how, told)};
    }
    Both operator()(const SchedulePrefill& c) const {
        const std::size_t count = counted(c.count);
        return {words(real.schedule_prefill(count, manager)),
                naive.schedule_prefill(twin, count, told)};
    }
    Both operator()(const ScheduleDecode&) const {
        return {words(real.schedule_decode(manager)), naive.schedule_decode(twin, told)};
    }
    Both operator()(const ScheduleSpeculative& c) const {
        const std::size_t drafts = counted(c.drafts);
        return {words(real.schedule_speculative(drafts, manager)),
                naive.schedule_speculative(twin, drafts, told)};
    }
    Both operator()(const ApplyPrefill& c) const {
        const auto token = c.with_token ? std::optional(Token{7}) : std::nullopt;
        return {words(real.apply_prefill(token, manager)), naive.apply_prefill(twin, token, told)};
    }
    Both operator()(const ApplyDecode& c) const {
        const auto token = static_cast<Token>(c.token);
        return {words(real.apply_decode(token, manager)), naive.apply_decode(twin, token, told)};
    }
    Both operator()(const ApplySpeculative& c) const {
        const auto tokens = repeated(c.token, c.accepted);
        return {words(real.apply_speculative(tokens, manager)),
                naive.apply_speculative(twin, tokens, told)};
    }
    Both operator()(const Revert&) const {
        return {words(real.revert_schedule()), naive.revert(told)};
    }
    Both operator()(const DropUnassigned& c) const {
        const std::size_t count = counted(c.count);
        return {words(real.drop_unassigned(count)), naive.drop_unassigned(count, told)};
    }
    Both operator()(const Release& c) const {
        const auto order = c.leaf_first ? ReleaseOrder::leaf_first : ReleaseOrder::root_first;
        return {words(real.release(order)), naive.release(order, told)};
    }
    Both operator()(const Reacquire&) const {
        return {words(real.reacquire(manager)), naive.reacquire(twin, told)};
    }
    Both operator()(const AppendTokens& c) const {
        const auto tokens = repeated(c.token, c.count);
        return {words(real.append_tokens(tokens)), naive.append_tokens(tokens, told)};
    }
    template <class Other>
    Both operator()(const Other&) const {
        return {"ok", "ok"};
    }
};

bool succeeded(const std::string& outcome) {
    return outcome == "ok" || outcome == "yes" || outcome == "no" ||
           outcome.starts_with("outcome") ||
           outcome.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Harness::Harness(const Options& options)
    : options_(options),
      manager_(make_manager(options)),
      twin_(make_manager(options)),
      kv_(options.block_count, options.block_size) {}

std::vector<std::string> Harness::drained() {
    std::vector<std::string> order;
    drained_ = manager_.allocate_blocks_with_evictions(manager_.available_blocks());
    for (const auto& block : drained_->blocks) {
        order.push_back(std::to_string(block.block_id()));
    }
    for (const auto& hash : drained_->evicted) {
        order.push_back(hash.to_hex());
    }
    return order;
}

Command Harness::resolved(const Command& command) const {
    const auto* advance = std::get_if<Advance>(&command);
    if (advance == nullptr || !slots_[advance->slot]) {
        return command;
    }
    const std::size_t slot = advance->slot;
    const NaiveRequest& request = slots_[slot]->naive;
    if (const auto* prefill = std::get_if<PrefillScheduled>(&request.state())) {
        const bool final_chunk = request.kv() + prefill->num_tokens == request.total();
        return ApplyPrefill{slot, final_chunk && !request.complete()};
    }
    if (std::holds_alternative<DecodeScheduled>(request.state())) {
        return ApplyDecode{slot, advance->size % 3};
    }
    if (const auto* speculation = std::get_if<SpeculativeScheduled>(&request.state())) {
        return ApplySpeculative{slot, advance->size % (speculation->num_tokens + 1),
                                advance->size % 3};
    }
    if (request.held() == 0 && request.preempted()) {
        return Reacquire{slot};
    }
    if (request.held() == 0 && advance->speculate) {
        return Match{slot, advance->size % 4 == 0};
    }
    if (request.kv() == 0 || request.tail() >= 2) {
        return SchedulePrefill{slot, std::min(advance->size + 1, request.tail())};
    }
    if (request.complete()) {
        return advance->speculate ? Command(Destroy{slot}) : Command(Release{slot, false});
    }
    if (request.tail() == 0) {
        return AppendTokens{slot, 1, advance->size % 3};
    }
    return advance->speculate ? Command(ScheduleSpeculative{slot, advance->size})
                              : Command(ScheduleDecode{slot});
}

void Harness::make(const New& command) {
    auto prompt = prompt_of(command);
    const std::size_t max_output = counted(command.max_output);
    const SaltHash salt = command.salted ? salt_hash : 0;
    auto delegate = std::make_shared<RecordingDelegate>();
    SchedulableSequence<> real(prompt, max_output, options_.block_size, delegate, salt);
    slots_[command.slot].emplace(
        Pair{.delegate = std::move(delegate),
             .real = std::move(real),
             .naive = {std::move(prompt), max_output, options_.block_size, salt},
             .told = {}});
}

void Harness::destroy(std::size_t slot) {
    if (slots_[slot]) {
        // As the destructor of the real one does; the members of the naive one would die in another
        // order.
        slots_[slot]->naive.drop_all(ReleaseOrder::root_first);
    }
    slots_[slot].reset();
    page_tables_[slot].clear();
}

void Harness::move(std::size_t slot) {
    SchedulableSequence<>& real = slots_[slot]->real;
    SchedulableSequence<> elsewhere(std::move(real));
    real = std::move(elsewhere);
}

/// The forward pass that a right apply call has behind it.
void Harness::compute(const Pair& pair, const Command& command) {
    const std::size_t kv = pair.naive.kv();
    const auto ids = pair.real.block_ids();
    if (const auto* prefill = std::get_if<PrefillScheduled>(&pair.naive.state());
        prefill != nullptr && std::holds_alternative<ApplyPrefill>(command)) {
        kv_.write(ids, SimulatedKv::of(pair.naive.tokens(), pair.naive.salt()),
                  {kv, kv + prefill->num_tokens});
    } else if (std::holds_alternative<DecodeScheduled>(pair.naive.state()) &&
               std::holds_alternative<ApplyDecode>(command)) {
        kv_.write(ids, SimulatedKv::of(pair.naive.tokens(), pair.naive.salt()), {kv, kv + 1});
    } else if (const auto* speculation = std::get_if<SpeculativeScheduled>(&pair.naive.state());
               speculation != nullptr && std::holds_alternative<ApplySpeculative>(command)) {
        const auto& apply = std::get<ApplySpeculative>(command);
        const std::size_t right = std::min(apply.accepted, speculation->num_tokens);
        auto tokens = pair.naive.tokens();
        tokens.insert(tokens.end(), right, static_cast<Token>(apply.token));
        kv_.spoil(ids, {kv, kv + speculation->num_tokens + 1});
        kv_.write(ids, SimulatedKv::of(tokens, pair.naive.salt()), {kv, kv + right});
    }
}

std::optional<std::string> Harness::call(Pair& pair, const Command& command) {
    const auto words_before = to_words(pair.real);
    NaiveRequest::Told told;
    const auto [found, expected] =
        std::visit(Call{pair.real, pair.naive, manager_, twin_, told}, command);
    if (found != expected) {
        return "gave \"" + found + "\" instead of \"" + expected + "\"";
    }
    refused_ = !succeeded(found);
    const auto heard = pair.delegate->take();
    pair.told.insert(pair.told.end(), heard.begin(), heard.end());
    const bool created = std::holds_alternative<New>(command);
    if (!created && heard.size() != (told ? 1U : 0U)) {
        return std::to_string(heard.size()) + " events";
    }
    if (told && heard.front() != *told) {
        return "told " + testing::to_string(heard.front()) + " instead of " +
               testing::to_string(*told);
    }
    if (refused_ && to_words(pair.real) != words_before) {
        return "a failed call has changed the request from " + words_before;
    }
    return std::nullopt;
}

std::optional<std::string> Harness::request_difference(std::size_t slot) {
    const Pair& pair = *slots_[slot];
    if (const auto found = to_words(pair.real), expected = pair.naive.to_words();
        found != expected) {
        return "is\n  " + found + "\ninstead of\n  " + expected;
    }
    if (const auto report = pair.real.check_invariants(); !report.ok()) {
        return report.to_string();
    }
    if (total_tokens_of(pair.told) != pair.real.total_tokens()) {
        return "the events do not add up to the tokens";
    }
    if (const auto held = blocks_told(pair.told); held && *held != pair.naive.held()) {
        return "the events do not add up to the blocks";
    }
    auto& table = page_tables_[slot];
    auto ids = pair.real.block_ids();
    for (const BlockId id : std::span(ids).subspan(pair.real.assigned_blocks())) {
        if (std::ranges::find(table, id) == table.end()) {
            kv_.spoil(id);
        }
    }
    table = std::move(ids);
    const auto numbers = SimulatedKv::of(pair.naive.tokens(), pair.naive.salt());
    if (!kv_.holds(table, numbers, {0, pair.real.kv_position()})) {
        return "KV below the KV position is not in the blocks of the page table";
    }
    for (std::size_t i = 0; (i + 1) * options_.block_size <= numbers.size(); ++i) {
        const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(i * options_.block_size);
        known_.try_emplace(pair.real.sequence().all_sequence_hashes()[i], first,
                           first + static_cast<std::ptrdiff_t>(options_.block_size));
    }
    return std::nullopt;
}

std::optional<std::string> Harness::pool_difference() const {
    for (const auto* manager : {&manager_, &twin_}) {
        if (const auto report = manager->check_invariants(); !report.ok()) {
            return report.to_string();
        }
    }
    std::vector<std::size_t> holders(options_.block_count);
    for (std::size_t slot = 0; slot < slots_count; ++slot) {
        for (const BlockId id : page_tables_[slot]) {
            ++holders.at(id);
        }
    }
    const auto found = manager_.inspect();
    const auto expected = twin_.inspect();
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto block = [i](const char* text) { return "block " + std::to_string(i) + text; };
        if (found[i].state != expected[i].state || found[i].hash != expected[i].hash ||
            found[i].references != expected[i].references) {
            return block(" is not in the state of its twin");
        }
        const bool free =
            found[i].state == BlockState::reset || found[i].state == BlockState::inactive;
        if (free && holders[i] != 0) {
            return block(" is held and free");
        }
        if ((found[i].state == BlockState::mutable_block || found[i].state == BlockState::staged ||
             found[i].state == BlockState::duplicate) &&
            holders[i] != 1) {
            return block(" has not one holder");
        }
        const bool registered = found[i].state == BlockState::primary ||
                                found[i].state == BlockState::duplicate ||
                                found[i].state == BlockState::inactive;
        if (registered && !kv_.holds(i, known_.at(found[i].hash))) {
            return block(" is registered without the KV of all its tokens");
        }
    }
    const auto ours = manager_.metrics()->snapshot();
    const auto theirs = twin_.metrics()->snapshot();
    if (ours.allocations != theirs.allocations || ours.evictions != theirs.evictions ||
        ours.registrations != theirs.registrations || ours.stagings != theirs.stagings ||
        ours.duplicate_blocks != theirs.duplicate_blocks ||
        ours.registration_dedup != theirs.registration_dedup ||
        ours.match_blocks_returned != theirs.match_blocks_returned) {
        return "the counters of the managers differ";
    }
    return std::nullopt;
}

std::optional<std::string> Harness::run(const Command& given) {
    const Command command = resolved(given);
    const std::size_t slot = slot_of(command);
    const auto with_name = [&](const std::optional<std::string>& difference) {
        return difference ? std::optional(to_string(command) + ": " + *difference) : std::nullopt;
    };
    refused_ = false;
    if (const auto* created = std::get_if<New>(&command)) {
        destroy(slot);
        make(*created);
    } else if (!slots_[slot] || std::holds_alternative<Advance>(command)) {
        return std::nullopt;
    }
    if (std::holds_alternative<Destroy>(command)) {
        destroy(slot);
        return with_name(pool_difference());
    }
    if (std::holds_alternative<Move>(command)) {
        move(slot);
    }
    compute(*slots_[slot], command);
    if (auto difference = call(*slots_[slot], command)) {
        return with_name(difference);
    }
    if (auto difference = request_difference(slot)) {
        return with_name(difference);
    }
    return with_name(pool_difference());
}

std::optional<std::string> Harness::finish() {
    for (std::size_t slot = 0; slot < slots_count; ++slot) {
        if (auto difference = run(Destroy{slot})) {
            return difference;
        }
    }
    if (manager_.available_blocks() != manager_.total_blocks()) {
        return "blocks are lost at the end";
    }
    const auto ours = manager_.allocate_blocks_with_evictions(manager_.total_blocks());
    const auto theirs = twin_.allocate_blocks_with_evictions(twin_.total_blocks());
    if (!ours || !theirs || ours->blocks.block_ids() != theirs->blocks.block_ids() ||
        ours->evicted != theirs->evicted) {
        return "the pools end in another order";
    }
    return std::nullopt;
}

}  // namespace kvbm::testing::requests
