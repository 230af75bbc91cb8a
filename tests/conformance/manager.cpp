// manager_ops: one block manager, and a table of guards under integer handles.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import :tables;
import kvbm.blocks;
import kvbm.core;
import kvbm.hash;
import kvbm.registry;
import kvbm.tokens;

namespace kvbm::conformance {
namespace {

class ManagerMachine final : public Machine {
  public:
    ManagerMachine(ReplayedManager replayed, MetricsOrder metrics, Forest forest,
                   bool drain_order_fixed)
        : replayed_(std::move(replayed)),
          metrics_(std::move(metrics)),
          forest_(std::move(forest)),
          drain_order_fixed_(drain_order_fixed) {}

    Outcome perform(std::string_view operation, const Fields& args) override;
    Ids ids() const override { return ids_; }

  private:
    BlockManager<Tier>& manager() { return replayed_.manager; }
    const BlockRegistry& registry() const { return replayed_.manager.block_registry(); }

    Value allocate(const Fields& args);
    Value allocate_with_evictions(const Fields& args);
    Value stage(const Fields& args);
    Value complete(const Fields& args);
    Value stage_many(const Fields& args);
    Value reset(const Fields& args);
    Value register_one(const Fields& args);
    Value register_many(const Fields& args);
    Value drop(const Fields& args);
    Value clone(const Fields& args);
    Value downgrade(const Fields& args);
    Value upgrade(const Fields& args);
    Value pin(const Fields& args);
    Value handle(const Fields& args);
    Value set_evict(const Fields& args);
    Value use_count(const Fields& args);
    Value match(const Fields& args);
    Value match_scattered(const Fields& args);
    Value scan(const Fields& args);
    Value reset_inactive_pool(const Fields& args);
    Value is_registered(const Fields& args);
    Value presence(const Fields& args);
    Value touch(const Fields& args);
    Value count(const Fields& args);
    Value registry_match(const Fields& args);
    Value registry_register(const Fields& args);
    Value has_block(const Fields& args);

    Value staged(Guard& guard, Result<Complete, BlockSizeMismatch<Mutable>> result);
    Value state();

    struct Operation {
        std::string_view name;
        Value (ManagerMachine::*apply)(const Fields&);
    };

    ReplayedManager replayed_;
    MetricsOrder metrics_;
    Forest forest_;
    GuardTable guards_;
    bool drain_order_fixed_;
    Ids ids_ = Ids::compared;
};

Outcome ManagerMachine::perform(std::string_view operation, const Fields& args) {
    using Self = ManagerMachine;
    constexpr std::array operations{Operation{"allocate", &Self::allocate},
                                    Operation{"allocate_ev", &Self::allocate_with_evictions},
                                    Operation{"stage", &Self::stage},
                                    Operation{"complete", &Self::complete},
                                    Operation{"stage_many", &Self::stage_many},
                                    Operation{"reset", &Self::reset},
                                    Operation{"register", &Self::register_one},
                                    Operation{"register_many", &Self::register_many},
                                    Operation{"drop", &Self::drop},
                                    Operation{"clone", &Self::clone},
                                    Operation{"downgrade", &Self::downgrade},
                                    Operation{"upgrade", &Self::upgrade},
                                    Operation{"pin", &Self::pin},
                                    Operation{"handle", &Self::handle},
                                    Operation{"set_evict", &Self::set_evict},
                                    Operation{"use_count", &Self::use_count},
                                    Operation{"match", &Self::match},
                                    Operation{"match_scattered", &Self::match_scattered},
                                    Operation{"scan", &Self::scan},
                                    Operation{"reset_inactive_pool", &Self::reset_inactive_pool},
                                    Operation{"is_registered", &Self::is_registered},
                                    Operation{"presence", &Self::presence},
                                    Operation{"touch", &Self::touch},
                                    Operation{"count", &Self::count},
                                    Operation{"reg_match", &Self::registry_match},
                                    Operation{"reg_register", &Self::registry_register},
                                    Operation{"has_block", &Self::has_block}};
    Value result = dispatch(operations, *this, operation, args);
    return {.res = std::move(result), .st = state()};
}

/// As recorded, and the broken invariants, which no recording has.
Value ManagerMachine::state() {
    Object state{{"avail", manager().available_blocks()},
                 {"reg", registry().registered_count()},
                 {"touches", replayed_.tracker->touches()},
                 {"m", metrics_.values(manager())}};
    const InvariantReport report = manager().check_invariants();
    if (!report.ok()) {
        state.push_back({"broken_invariants", report.to_string()});
    }
    return state;
}

Value ManagerMachine::allocate(const Fields& args) {
    const std::size_t n = args.size("n");
    if (args.trouble().any()) {
        return {};
    }
    auto blocks = manager().allocate_blocks(n);
    if (!blocks) {
        return Object{{"ok", false}};
    }
    return Object{{"ok", true}, {"blocks", guards_.keep_all(std::move(*blocks))}};
}

Value ManagerMachine::allocate_with_evictions(const Fields& args) {
    const std::size_t n = args.size("n");
    if (args.trouble().any()) {
        return {};
    }
    auto allocation = manager().allocate_blocks_with_evictions(n);
    if (!allocation) {
        return Object{{"ok", false}};
    }
    return Object{{"ok", true},
                  {"blocks", guards_.keep_all(std::move(allocation->blocks))},
                  {"evicted", list(allocation->evicted, [this](const SequenceHash& hash) {
                       return forest_.name(hash);
                   })}};
}

Value ManagerMachine::staged(Guard& guard, Result<Complete, BlockSizeMismatch<Mutable>> result) {
    if (!result) {
        auto& error = result.error();
        const Object recorded{{"kind", "BlockSizeMismatch"},
                              {"expected", error.expected},
                              {"actual", error.actual},
                              {"id", Id{error.block.block_id()}},
                              {"msg", error.message()}};
        guard = std::move(error.block);
        return Object{{"err", recorded}};
    }
    const Id id{result->block_id()};
    const Value hash = forest_.name(result->sequence_hash());
    guard = std::move(*result);
    return Object{{"ok", true}, {"id", id}, {"x", hash}};
}

Value ManagerMachine::stage(const Fields& args) {
    auto* block = guards_.find_in_state<Mutable>(args, "mutable");
    const Node* named = forest_.find(args);
    const std::size_t size = args.size("size");
    if (args.trouble().any()) {
        return {};
    }
    return staged(guards_.at(args.number("h")), std::move(*block).stage(named->hash, size));
}

Value ManagerMachine::complete(const Fields& args) {
    constexpr std::size_t size_max = 1U << 16;
    auto* block = guards_.find_in_state<Mutable>(args, "mutable");
    const Node* named = forest_.find(args);
    const std::size_t size = args.size("size");
    if (size == 0 || size > size_max) {
        args.refuse("has a size that is not within 1 .. 65536");
    }
    if (args.trouble().any()) {
        return {};
    }
    TokenBlock contents = named->block;
    if (size != contents.block_size()) {
        const std::vector<Token> tokens(size);
        contents = TokenBlockSequence(tokens, size).blocks().front();
    }
    return staged(guards_.at(args.number("h")), std::move(*block).complete(contents));
}

Value ManagerMachine::stage_many(const Fields& args) {
    const auto named = GuardTable::handles(args);
    const auto indices = forest_.indices(args);
    if (named.size() != indices.size()) {
        args.refuse("has not as many nodes as guards");
    }
    for (const Handle handle : named) {
        guards_.find_in_state<Mutable>(args, handle, "mutable");
    }
    if (args.trouble().any()) {
        return {};
    }
    Array ids;
    for (std::size_t i = 0; i < named.size(); ++i) {
        Guard& entry = guards_.at(named[i]);
        const Value result =
            staged(entry, std::move(std::get<Mutable>(entry)).complete(forest_[indices[i]].block));
        const Value* id = result.find("id");
        ids.push_back(id != nullptr ? *id : result);
    }
    return Object{{"ids", ids}};
}

Value ManagerMachine::reset(const Fields& args) {
    auto* block = guards_.find_in_state<Complete>(args, "complete");
    if (args.trouble().any()) {
        return {};
    }
    Mutable mutable_block = std::move(*block).reset();
    const Id id{mutable_block.block_id()};
    guards_.at(args.number("h")) = std::move(mutable_block);
    return Object{{"id", id}};
}

Value ManagerMachine::register_one(const Fields& args) {
    auto* block = guards_.find_in_state<Complete>(args, "complete");
    if (args.trouble().any()) {
        return {};
    }
    Immutable registered = must(manager().register_block(std::move(*block)));
    const Object result{{"id", Id{registered.block_id()}},
                        {"x", forest_.name(registered.sequence_hash())}};
    guards_.at(args.number("h")) = std::move(registered);
    return result;
}

Value ManagerMachine::register_many(const Fields& args) {
    const auto named = GuardTable::handles(args);
    for (const Handle handle : named) {
        guards_.find_in_state<Complete>(args, handle, "complete");
    }
    if (args.trouble().any()) {
        return {};
    }
    CompleteBlockList<Tier> blocks;
    for (const Handle handle : named) {
        blocks.push_back(std::move(std::get<Complete>(guards_.at(handle))));
    }
    auto registered = must(manager().register_blocks(std::move(blocks)));
    const Value ids = list(registered, [](const Immutable& one) { return Id{one.block_id()}; });
    for (auto handle = named.rbegin(); handle != named.rend() && !registered.empty(); ++handle) {
        guards_.at(*handle) = registered.pop_back();
    }
    return Object{{"ids", ids}};
}

Value ManagerMachine::drop(const Fields& args) {
    const auto named = GuardTable::handles(args);
    for (const Handle handle : named) {
        guards_.find(args, handle);
    }
    if (args.trouble().any()) {
        return {};
    }
    for (const Handle handle : named) {
        guards_.drop(handle);
    }
    return Object{{"ok", true}};
}

Value ManagerMachine::clone(const Fields& args) {
    const Guard* original = guards_.find(args, args.number("h"));
    if (original == nullptr) {
        return {};
    }
    return std::visit(
        [&](const auto& one) -> Value {
            if constexpr (std::is_copy_constructible_v<std::decay_t<decltype(one)>>) {
                return Object{{"h", guards_.keep(Guard(one))}};
            } else {
                args.refuse("clones a guard that has one owner");
                return {};
            }
        },
        *original);
}

Value ManagerMachine::downgrade(const Fields& args) {
    const auto* block = guards_.find_in_state<Immutable>(args, "immutable");
    if (args.trouble().any()) {
        return {};
    }
    Weak weak = block->downgrade();
    const Value hash = forest_.name(weak.sequence_hash());
    return Object{{"h", guards_.keep(std::move(weak))}, {"x", hash}};
}

Value ManagerMachine::upgrade(const Fields& args) {
    const auto* weak = guards_.find_in_state<Weak>(args, "weak");
    if (args.trouble().any()) {
        return {};
    }
    auto block = weak->upgrade();
    if (!block) {
        return Object{{"none", true}};
    }
    const Id id{block->block_id()};
    return Object{{"some", Array{guards_.keep(std::move(*block)), id}}};
}

Value ManagerMachine::pin(const Fields& args) {
    const auto* block = guards_.find_in_state<Immutable>(args, "immutable");
    if (args.trouble().any()) {
        return {};
    }
    LifecyclePin pinned = block->pin();
    const Id id{pinned.block_id()};
    const Value hash = forest_.name(pinned.sequence_hash());
    return Object{{"h", guards_.keep(std::move(pinned))}, {"id", id}, {"x", hash}};
}

Value ManagerMachine::handle(const Fields& args) {
    const Guard* found = guards_.find(args, args.number("h"));
    if (found == nullptr) {
        return {};
    }
    if (const auto* block = std::get_if<Immutable>(found)) {
        return Object{{"h", guards_.keep(block->registration_handle())}};
    }
    if (const auto* pinned = std::get_if<LifecyclePin>(found)) {
        return Object{{"h", guards_.keep(pinned->registration_handle())}};
    }
    args.refuse("asks a guard for its entry that is neither immutable nor a pin");
    return {};
}

Value ManagerMachine::set_evict(const Fields& args) {
    const auto* block = guards_.find_in_state<Immutable>(args, "immutable");
    const bool value = args.flag("value");
    if (args.trouble().any()) {
        return {};
    }
    block->set_evict_on_reset(value);
    return Object{{"ok", true}};
}

Value ManagerMachine::use_count(const Fields& args) {
    const Guard* found = guards_.find(args, args.number("h"));
    if (found == nullptr) {
        return {};
    }
    if (const auto* block = std::get_if<Immutable>(found)) {
        return Object{{"value", block->use_count()}};
    }
    if (const auto* pinned = std::get_if<LifecyclePin>(found)) {
        return Object{{"value", pinned->use_count()}};
    }
    args.refuse("counts the uses of a guard that is neither immutable nor a pin");
    return {};
}

Value ManagerMachine::match(const Fields& args) {
    const auto hashes = forest_.hashes(args);
    if (args.trouble().any()) {
        return {};
    }
    return Object{{"blocks", guards_.keep_all(manager().match_blocks(hashes))}};
}

Value ManagerMachine::match_scattered(const Fields& args) {
    const auto hashes = forest_.hashes(args);
    if (args.trouble().any()) {
        return {};
    }
    auto found = manager().match_blocks_scattered(hashes);
    const auto hits = list(found, [](const Immutable* block) { return block != nullptr; });
    const Value kept = guards_.keep_all(std::move(found).take_hits());
    Array blocks;
    std::size_t next = 0;
    for (const Value& hit : hits) {
        blocks.push_back(*hit.as<bool>() ? (*kept.as<Array>())[next++] : Value());
    }
    return Object{{"blocks", blocks}};
}

Value ManagerMachine::scan(const Fields& args) {
    const auto hashes = forest_.hashes(args);
    const Touch touch = args.flag("touch") ? Touch::yes : Touch::no;
    if (args.trouble().any()) {
        return {};
    }
    auto result = manager().scan_matches(hashes, touch);
    Array names;
    for (const auto& [hash, block] : result) {
        names.push_back(forest_.name(hash));
    }
    const Value kept = guards_.keep_all(std::move(result).take_blocks());
    Array found;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const Array& pair = *(*kept.as<Array>())[i].as<Array>();
        found.emplace_back(Array{names[i], pair[0], pair[1]});
    }
    return Object{{"found", found}};
}

Value ManagerMachine::reset_inactive_pool(const Fields&) {
    const auto result = manager().reset_inactive_pool();
    const std::size_t drained = result ? *result : result.error().drained;
    if (!drain_order_fixed_ && drained >= 2) {
        ids_ = Ids::free;
    }
    if (result) {
        return Object{{"ok", true}};
    }
    return Object{{"err", Object{{"kind", "BlockCountMismatch"},
                                 {"expected", result.error().expected},
                                 {"actual", result.error().actual},
                                 {"msg", result.error().message()}}}};
}

Value ManagerMachine::is_registered(const Fields& args) {
    const Node* named = forest_.find(args);
    return named == nullptr ? Value() : Object{{"value", registry().is_registered(named->hash)}};
}

Value ManagerMachine::presence(const Fields& args) {
    const auto hashes = forest_.hashes(args);
    const std::array tiers{tier_id<Tier>()};
    const auto values = [](const auto& pairs) {
        return list(pairs, [](const auto& pair) { return pair.second; });
    };
    const Array by_type = values(registry().check_presence<Tier>(hashes));
    const Array by_any = values(registry().check_presence_any(hashes, tiers));
    Object result{{"values", by_type}};
    if (!differences(by_type, by_any, Ids::compared).empty()) {
        result.push_back({"values_of_any_type", by_any});
    }
    return result;
}

Value ManagerMachine::touch(const Fields& args) {
    constexpr std::uint64_t times_max = 1U << 24;
    const Node* named = forest_.find(args);
    const std::uint64_t times = args.number("times");
    if (times > times_max) {
        args.refuse("touches more than 2^24 times");
    }
    if (args.trouble().any()) {
        return {};
    }
    for (std::uint64_t i = 0; i < times; ++i) {
        registry().touch(named->hash);
    }
    return Object{{"ok", true}};
}

Value ManagerMachine::count(const Fields& args) {
    const Node* named = forest_.find(args);
    return named == nullptr ? Value() : Object{{"value", registry().count(named->hash)}};
}

Value ManagerMachine::registry_match(const Fields& args) {
    const Node* named = forest_.find(args);
    const Touch touch = args.flag("touch") ? Touch::yes : Touch::no;
    if (args.trouble().any()) {
        return {};
    }
    BlockRegistry shared = registry();
    auto found = shared.match_sequence_hash(named->hash, touch);
    return found ? Object{{"some", guards_.keep(std::move(*found))}} : Object{{"none", true}};
}

Value ManagerMachine::registry_register(const Fields& args) {
    const Node* named = forest_.find(args);
    if (named == nullptr) {
        return {};
    }
    BlockRegistry shared = registry();
    return Object{{"h", guards_.keep(shared.register_sequence_hash(named->hash))}};
}

Value ManagerMachine::has_block(const Fields& args) {
    const auto* entry =
        guards_.find_in_state<BlockRegistrationHandle>(args, "a registration handle");
    if (args.trouble().any()) {
        return {};
    }
    return Object{{"value", entry->has_block<Tier>()}, {"x", forest_.name(entry->seq_hash())}};
}

}  // namespace

Start start_manager(const Fields& header, const Fields& config) {
    Start start;
    MetricsOrder metrics(header);
    Forest forest(config, start);
    auto manager = make_manager(config);
    if (manager && !config.trouble().any()) {
        const bool drain_order_fixed = config.text("backend") != "hashmap";
        start.machine = std::make_unique<ManagerMachine>(std::move(*manager), std::move(metrics),
                                                         std::move(forest), drain_order_fixed);
    }
    return start;
}

}  // namespace kvbm::conformance
