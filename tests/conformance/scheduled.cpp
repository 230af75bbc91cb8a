// scheduled_ops: the recorded version's scheduler, spelled with plain requests and two numbers.
//
// Its scheduler registers blocks by their text, not by their KV, and keeps its positions over a
// release; ours decides otherwise (requests.md 9), and most scripts meet that early. So a script is
// replayed twice: through the spelling below, which is compared with all that was recorded; and,
// request by request, through SchedulableSequence on a pool of its own, which is compared in what
// no decision touches.
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
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import :requests;
import :scheduler;
import kvbm.blocks;
import kvbm.core;
import kvbm.registry;
import kvbm.request;

namespace kvbm::conformance {
namespace {

/// The same request as a SchedulableSequence, alone on a pool of its own, as long as no decision
/// has touched it. It sees the calls that did something or failed for a reason of their own, and
/// must give the same results, states, positions, number of blocks, and allocations.
class DirectRequest {
  public:
    DirectRequest(std::vector<Token> tokens, std::size_t max_output, std::size_t block_size,
                  bool with_builder)
        : manager_(must(BlockManager<Tier>::builder()
                            .block_count(blocks_count)
                            .block_size(block_size)
                            .registry(BlockRegistry())
                            .build())),
          request_(with_builder ? must(SchedulableSequence<Tier>::builder()
                                           .tokens(tokens)
                                           .max_output_tokens(max_output)
                                           .block_size(block_size)
                                           .build())
                                : SchedulableSequence<Tier>(tokens, max_output, block_size)) {}

    bool comparable() const { return comparable_; }

    /// Makes the call, of which the recorded version's result is known.
    Value call(std::string_view operation, const Fields& args, const Value& recorded) {
        if (const Value* error = recorded.find("err");
            error != nullptr && *error->find("kind")->as<std::string>() == "AllocationFailed") {
            return recorded;  // not for want of blocks here
        }
        if (operation == "match_and_add_prefix") {
            return match(recorded);
        }
        if (operation == "schedule_prefill") {
            return recorded_result(request_.schedule_prefill(args.size("n"), manager_));
        }
        if (operation == "schedule_decode") {
            return recorded_result(request_.schedule_decode(manager_));
        }
        if (operation == "schedule_speculative") {
            return recorded_result(request_.schedule_speculative(args.size("n"), manager_));
        }
        if (operation == "apply_prefill") {
            const auto token =
                args.has("token") ? std::optional(args.token("token")) : std::nullopt;
            return recorded_result(request_.apply_prefill(token, manager_));
        }
        if (operation == "apply_decode") {
            return completing(
                recorded_result(request_.apply_decode(args.token("token"), manager_)));
        }
        if (operation == "apply_speculative") {
            return completing(
                recorded_result(request_.apply_speculative(args.tokens("tokens"), manager_)));
        }
        if (operation == "revert_schedule") {
            return recorded_result(request_.revert_schedule());
        }
        if (operation == "append_tokens") {
            const auto appended = request_.append_tokens(args.tokens("tokens"));
            // More than one token without KV is a prefill here, and stuck there.
            comparable_ = !appended || request_.tail_tokens() <= 1;
            return recorded_result(appended);
        }
        return dropping_kv(operation, args, recorded);
    }

    /// What is compared besides the result.
    Object facts() const {
        return {{"total_tokens", request_.total_tokens()},
                {"generated", request_.generated_tokens()},
                {"is_complete", request_.is_complete()},
                {"state", recorded_state(request_.state())},
                {"prefill_position", request_.prefill_position()},
                {"is_prefill_complete", request_.is_prefill_complete()},
                {"kv_position", request_.kv_position()},
                {"tail_tokens", request_.tail_tokens()},
                {"held", request_.block_ids().size()}};
    }
    InvariantReport check_invariants() const { return request_.check_invariants(); }

  private:
    static constexpr std::size_t blocks_count = 1024;

    /// Caches as many blocks as the recorded version found, and finds them.
    Value match(const Value& recorded) {
        const Value* found = recorded.find("ok");
        const auto known = request_.sequence().sequence().tokens();
        const std::size_t tokens =
            found == nullptr
                ? 0
                : static_cast<std::size_t>(*found->as<std::uint64_t>()) * request_.block_size();
        comparable_ = request_.state() != SequenceState(Idle{}) || request_.block_ids().empty();
        if (!comparable_ || tokens > known.size()) {
            return recorded;
        }
        RequestSequence<Tier> earlier(known.first(tokens), 0, request_.block_size());
        if (earlier.allocate_blocks(earlier.num_blocks(), manager_)) {
            earlier.complete_and_register_pending(manager_);
        }
        return recorded_result(request_.match_and_add_prefix(manager_, PrefixMatch::everything));
    }
    /// A complete request keeps its open block after a speculation here, and not there.
    Value completing(Value result) {
        comparable_ = !request_.is_complete();
        return result;
    }
    /// Calls after which K is another here; only what drops nothing is compared.
    Value dropping_kv(std::string_view operation, const Fields& args, const Value& recorded) {
        if (operation == "drop_unassigned") {
            const auto dropped = request_.drop_unassigned(args.size("n"));
            const Value* there = recorded.find("ok");
            comparable_ = there == nullptr || there->as<std::uint64_t>() == nullptr ||
                          *there->as<std::uint64_t>() == 0;
            return recorded_result(dropped);
        }
        comparable_ = request_.state() != SequenceState(Idle{});
        return operation == "release" ? recorded_result(request_.release())
                                      : recorded_result(request_.reacquire(manager_));
    }

    BlockManager<Tier> manager_;
    SchedulableSequence<Tier> request_;
    bool comparable_ = true;
};

class ScheduledMachine final : public Machine {
  public:
    explicit ScheduledMachine(RequestsWorld world) : world_(std::move(world)) {}

    Outcome perform(std::string_view operation, const Fields& args) override {
        using Self = ScheduledMachine;
        constexpr std::array operations{
            Operation{"match_and_add_prefix", &Self::match},
            Operation{"schedule_prefill", &Self::schedule_prefill},
            Operation{"apply_prefill", &Self::apply_prefill},
            Operation{"schedule_decode", &Self::schedule_decode},
            Operation{"apply_decode", &Self::apply_decode},
            Operation{"schedule_speculative", &Self::schedule_speculative},
            Operation{"apply_speculative", &Self::apply_speculative},
            Operation{"revert_schedule", &Self::revert},
            Operation{"drop_unassigned", &Self::drop_unassigned},
            Operation{"release", &Self::release},
            Operation{"reacquire", &Self::reacquire},
            Operation{"append_tokens", &Self::append_tokens}};
        const std::uint64_t name = args.number("r");
        if (operation == "new") {
            return {.res = make(args, name), .st = state(name, std::nullopt)};
        }
        const auto found = requests_.find(name);
        if (found == requests_.end()) {
            args.refuse("names a request that is not there");
            return {};
        }
        if (operation == "destroy") {
            requests_.erase(found);
            return {.res = Object{{"ok", true}}, .st = state(name, std::nullopt)};
        }
        recorded_ = &found->second.recorded;
        Value result = dispatch(operations, *this, operation, args);
        if (args.trouble().any()) {
            return {};
        }
        auto direct = direct_difference(found->second, operation, args, result);
        return {.res = std::move(result), .st = state(name, std::move(direct))};
    }

  private:
    struct Both {
        RecordedScheduler recorded;
        std::unique_ptr<DirectRequest> direct;
    };

    Value make(const Fields& args, std::uint64_t name) {
        auto tokens = args.tokens("tokens");
        const std::size_t max_output = args.size("max_output_tokens");
        const bool with_builder = args.has("builder") && args.flag("builder");
        const std::size_t block_size = world_.manager().block_size();
        if (requests_.contains(name)) {
            args.refuse("names a request that is there already");
        }
        if (args.trouble().any()) {
            return {};
        }
        auto direct = std::make_unique<DirectRequest>(tokens, max_output, block_size, with_builder);
        return requests_
            .emplace(
                name,
                Both{RecordedScheduler(RecordedRequest(std::move(tokens), max_output, block_size)),
                     std::move(direct)})
            .first->second.recorded.request()
            .created();
    }

    Value match(const Fields&) { return recorded_result(recorded_->match(world_.manager())); }
    Value schedule_prefill(const Fields& args) {
        const std::size_t n = args.size("n");
        return args.trouble().any()
                   ? Value()
                   : recorded_result(recorded_->schedule_prefill(n, world_.manager()));
    }
    Value schedule_decode(const Fields&) {
        return recorded_result(recorded_->schedule_decode(world_.manager()));
    }
    Value schedule_speculative(const Fields& args) {
        const std::size_t n = args.size("n");
        return args.trouble().any()
                   ? Value()
                   : recorded_result(recorded_->schedule_speculative(n, world_.manager()));
    }
    Value apply_prefill(const Fields& args) {
        const auto token = args.has("token") ? std::optional(args.token("token")) : std::nullopt;
        return args.trouble().any()
                   ? Value()
                   : recorded_result(recorded_->apply_prefill(token, world_.manager()));
    }
    Value apply_decode(const Fields& args) {
        const Token token = args.token("token");
        return args.trouble().any()
                   ? Value()
                   : recorded_result(recorded_->apply_decode(token, world_.manager()));
    }
    Value apply_speculative(const Fields& args) {
        const auto tokens = args.tokens("tokens");
        return args.trouble().any()
                   ? Value()
                   : recorded_result(recorded_->apply_speculative(tokens, world_.manager()));
    }
    Value revert(const Fields&) { return recorded_result(recorded_->revert()); }
    Value drop_unassigned(const Fields& args) {
        const std::size_t n = args.size("n");
        return args.trouble().any() ? Value() : recorded_result(recorded_->drop_unassigned(n));
    }
    Value release(const Fields&) { return recorded_result(recorded_->release()); }
    Value reacquire(const Fields&) {
        return recorded_result(recorded_->reacquire(world_.manager()));
    }
    Value append_tokens(const Fields& args) {
        const auto tokens = args.tokens("tokens");
        return args.trouble().any() ? Value() : recorded_result(recorded_->append_tokens(tokens));
    }

    /// Where a SchedulableSequence differs from what the spelling gave.
    static std::optional<std::string> direct_difference(Both& both, std::string_view operation,
                                                        const Fields& args, const Value& result) {
        if (both.direct == nullptr) {
            return std::nullopt;
        }
        const Value direct = both.direct->call(operation, args, result);
        if (!both.direct->comparable()) {
            both.direct.reset();
            return std::nullopt;
        }
        Object expected;
        const Object recorded = both.recorded.facts();
        const Object found = both.direct->facts();
        for (const Member& member : recorded) {
            if (std::ranges::find(found, member.name, &Member::name) != found.end()) {
                expected.push_back(member);
            }
        }
        expected.push_back({"held", both.recorded.request().held()});
        auto all = differences(Object{{"res", result}, {"r", expected}},
                               Object{{"res", direct}, {"r", found}}, Ids::compared);
        if (const auto report = both.direct->check_invariants(); !report.ok()) {
            return report.to_string();
        }
        return all.empty() ? std::nullopt
                           : std::optional(all.front().path + ": expected " + all.front().expected +
                                           ", got " + all.front().got);
    }

    Value state(std::uint64_t name, std::optional<std::string> direct) {
        const auto found = requests_.find(name);
        const bool there = found != requests_.end();
        Object state =
            world_.state(there ? found->second.recorded.request().sequence().check_invariants()
                               : InvariantReport{});
        if (there) {
            state.push_back({"r", found->second.recorded.facts()});
            state.push_back({"events", found->second.recorded.take_events()});
        }
        if (direct) {
            state.push_back({"schedulable_sequence", *direct});
        }
        return state;
    }

    struct Operation {
        std::string_view name;
        Value (ScheduledMachine::*apply)(const Fields&);
    };

    RequestsWorld world_;
    std::map<std::uint64_t, Both> requests_;
    RecordedScheduler* recorded_ = nullptr;
};

}  // namespace

Start start_scheduled(const Fields& header, const Fields& config) {
    Start start;
    if (auto world = make_world(header, config)) {
        start.machine = std::make_unique<ScheduledMachine>(std::move(*world));
    }
    return start;
}

}  // namespace kvbm::conformance
