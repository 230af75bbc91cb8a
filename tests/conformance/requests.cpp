// request_ops: plain requests on one manager.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import :requests;
import kvbm.blocks;
import kvbm.core;
import kvbm.hash;
import kvbm.request;
import kvbm.sequence;

namespace kvbm::conformance {

Result<std::size_t, RequestError<Tier>> RecordedRequest::match(BlockManager<Tier>& manager) {
    auto matched = request_.match_and_add_prefix(manager);
    if (!matched) {
        return matched;
    }
    prefix_matched_ += *matched;
    keys_ = request_.block_ids();
    return matched;
}

bool RecordedRequest::allocate(std::size_t count, BlockManager<Tier>& manager) {
    return request_.allocate_blocks(count, manager);
}

/// A block that is registered keeps the name of the candidate that was.
template <class Register>
std::size_t RecordedRequest::registered(const Register& register_blocks) {
    const auto candidates = request_.block_ids();
    const std::size_t first = request_.assigned_blocks();
    const std::size_t count = register_blocks();
    for (std::size_t i = 0; i < count; ++i) {
        keys_.push_back(candidates[first + i]);
    }
    return count;
}

std::size_t RecordedRequest::register_staged(BlockManager<Tier>& manager) {
    return registered([&] { return request_.register_staged(manager); });
}

std::size_t RecordedRequest::complete_and_register(BlockManager<Tier>& manager) {
    return registered([&] { return request_.complete_and_register_pending(manager); });
}

void RecordedRequest::release() {
    request_.release();
    keys_.clear();
}

Result<bool, RequestError<Tier>> RecordedRequest::reacquire(BlockManager<Tier>& manager) {
    auto acquired = request_.reacquire(manager);
    if (acquired && *acquired) {
        prefix_matched_ = request_.assigned_blocks();
        const auto ids = request_.block_ids();
        keys_.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(prefix_matched_));
        complete_and_register(manager);
    }
    return acquired;
}

Object RecordedRequest::created() const {
    return {{"num_input_tokens", request_.num_input_tokens()},
            {"max_output_tokens", request_.max_output_tokens()},
            {"block_size", request_.block_size()},
            {"hashes", list(request_.sequence().all_sequence_hashes(),
                            [](const SequenceHash& hash) { return hex(hash); })}};
}

Object RecordedRequest::facts() const {
    const auto ids = request_.block_ids();
    const std::span all(ids);
    const std::size_t assigned = request_.assigned_blocks();
    const auto as_ids = [](BlockId id) { return Id{id}; };
    const std::size_t covered = prefix_matched_ * request_.block_size();
    const std::size_t total = request_.total_tokens();
    const auto guards = request_.assignments().assigned();
    Object facts{{"total_tokens", total},
                 {"generated", request_.generated_tokens()},
                 {"remaining", request_.remaining_tokens()},
                 {"num_blocks", request_.num_blocks()},
                 {"prefix_matched", prefix_matched_},
                 {"new_tokens_for_prefill", total > covered ? total - covered : 0},
                 {"is_complete", request_.is_complete()},
                 {"assigned", list(keys_, as_ids)},
                 {"staged", list(all.subspan(assigned, request_.staged_blocks()), as_ids)},
                 {"unassigned", list(all.subspan(assigned + request_.staged_blocks()), as_ids)},
                 {"last_assigned_hash",
                  guards.empty() ? Value() : Value(hex(guards.back().sequence_hash()))}};
    if (!std::ranges::equal(keys_, all.first(assigned))) {
        facts.push_back({"guard_ids", list(all.first(assigned), as_ids)});
    }
    return facts;
}

Object RequestsWorld::state(const InvariantReport& of_request) const {
    const auto& manager = replayed_.manager;
    Object state{{"mgr", Object{{"avail", manager.available_blocks()},
                                {"reg", manager.block_registry().registered_count()},
                                {"m", metrics_.values(manager)}}}};
    for (const auto& report : {manager.check_invariants(), of_request}) {
        if (!report.ok()) {
            state.push_back({"broken_invariants", report.to_string()});
        }
    }
    return state;
}

std::optional<RequestsWorld> make_world(const Fields& header, const Fields& config) {
    MetricsOrder metrics(header);
    auto manager = make_manager(config.object("manager"));
    if (!manager || config.trouble().any()) {
        return std::nullopt;
    }
    return RequestsWorld(std::move(*manager), std::move(metrics));
}

namespace {

class RequestMachine final : public Machine {
  public:
    explicit RequestMachine(RequestsWorld world) : world_(std::move(world)) {}

    Outcome perform(std::string_view operation, const Fields& args) override {
        using Self = RequestMachine;
        constexpr std::array operations{
            Operation{"destroy", &Self::destroy},
            Operation{"match_and_add_prefix", &Self::match},
            Operation{"allocate_blocks", &Self::allocate},
            Operation{"stage_pending", &Self::stage_pending},
            Operation{"register_staged", &Self::register_staged},
            Operation{"complete_and_register_pending", &Self::complete_and_register},
            Operation{"append_token", &Self::append_token},
            Operation{"release", &Self::release},
            Operation{"reacquire", &Self::reacquire},
            Operation{"drop_excess_unassigned", &Self::drop_excess}};
        const std::uint64_t name = args.number("r");
        if (operation == "new") {
            return {.res = make(args, name), .st = state(name)};
        }
        const auto found = requests_.find(name);
        if (found == requests_.end()) {
            args.refuse("names a request that is not there");
            return {};
        }
        request_ = &found->second;
        Value result = dispatch(operations, *this, operation, args);
        return {.res = std::move(result), .st = state(name)};
    }

  private:
    Value make(const Fields& args, std::uint64_t name) {
        auto tokens = args.tokens("tokens");
        const std::size_t max_output = args.size("max_output_tokens");
        if (requests_.contains(name)) {
            args.refuse("names a request that is there already");
        }
        if (args.trouble().any()) {
            return {};
        }
        return requests_
            .emplace(name,
                     RecordedRequest(std::move(tokens), max_output, world_.manager().block_size()))
            .first->second.created();
    }

    Value destroy(const Fields& args) {
        requests_.erase(args.number("r"));
        return Object{{"ok", true}};
    }
    Value match(const Fields&) {
        const auto matched = request_->match(world_.manager());
        return matched ? Object{{"ok", *matched}}
                       : Object{{"err", Object{{"msg", matched.error().message()}}}};
    }
    Value allocate(const Fields& args) {
        const std::size_t n = args.size("n");
        return args.trouble().any() ? Value()
                                    : Object{{"ok", request_->allocate(n, world_.manager())}};
    }
    Value stage_pending(const Fields&) {
        request_->stage_pending();
        return Object{{"ok", true}};
    }
    Value register_staged(const Fields&) {
        return Object{{"ok", request_->register_staged(world_.manager())}};
    }
    Value complete_and_register(const Fields&) {
        request_->complete_and_register(world_.manager());
        return Object{{"ok", true}};
    }
    Value append_token(const Fields& args) {
        const std::array tokens{args.token("token")};
        if (args.trouble().any()) {
            return {};
        }
        const auto completed = request_->append(tokens);
        if (!completed) {
            return Object{{"err", Object{{"msg", completed.error().message()}}}};
        }
        return Object{{"completed_block", *completed ? Value((*completed)->first) : Value()}};
    }
    Value release(const Fields&) {
        request_->release();
        return Object{{"ok", true}};
    }
    Value reacquire(const Fields&) {
        const auto acquired = request_->reacquire(world_.manager());
        return acquired ? Object{{"ok", *acquired}}
                        : Object{{"err", Object{{"msg", acquired.error().message()}}}};
    }
    Value drop_excess(const Fields& args) {
        const std::size_t keep = args.size("keep");
        return args.trouble().any() ? Value()
                                    : Object{{"ok", request_->drop_excess_unassigned(keep)}};
    }

    Value state(std::uint64_t name) {
        const auto found = requests_.find(name);
        const bool there = found != requests_.end();
        Object state =
            world_.state(there ? found->second.sequence().check_invariants() : InvariantReport{});
        if (there) {
            state.push_back({"r", found->second.facts()});
        }
        return state;
    }

    struct Operation {
        std::string_view name;
        Value (RequestMachine::*apply)(const Fields&);
    };

    RequestsWorld world_;
    std::map<std::uint64_t, RecordedRequest> requests_;
    RecordedRequest* request_ = nullptr;
};

}  // namespace

Start start_requests(const Fields& header, const Fields& config) {
    Start start;
    if (auto world = make_world(header, config)) {
        start.machine = std::make_unique<RequestMachine>(std::move(*world));
    }
    return start;
}

}  // namespace kvbm::conformance
