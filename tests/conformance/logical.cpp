// assignments_ops, machine "logical": two trackers of guards of one manager, loose guards under
// handles.
//
// The trackers look at no positions, as the recorded ones. Three accidents of the recorded version
// are spelled here, so that what follows from them can be compared: a stage that fails half-way;
// under the reject policy an entry that keeps the name of the rejected candidate; and a guard of
// another manager, which is never offered to a tracker here.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
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

import :assignments;
import :managers;
import :tables;
import kvbm.blocks;
import kvbm.core;
import kvbm.hash;
import kvbm.sequence;
import kvbm.tokens;

namespace kvbm::conformance {
namespace {

using Error = LogicalBlockAssignmentError<Tier>;

Value as_id(BlockId id) {
    return Id{id};
}

/// A tracker, and the names that the recorded version has for its assigned entries.
struct NamedTracker {
    LogicalBlockAssignments<Tier> tracker{0, Positions::free};
    std::vector<BlockId> keys;

    /// As recorded: by the names, not by the blocks.
    std::vector<BlockId> all_keys() const {
        auto all = tracker.all_block_ids();
        std::ranges::copy(keys, all.begin());
        return all;
    }
    bool knows(BlockId id) const {
        const auto all = all_keys();
        return std::ranges::find(all, id) != all.end();
    }
};

class LogicalMachine final : public Machine {
  public:
    LogicalMachine(NamedHashes hashes, BlockManager<Tier> manager, BlockManager<Tier> foreign,
                   MetricsOrder metrics)
        : hashes_(std::move(hashes)),
          managers_{std::move(manager), std::move(foreign)},
          metrics_(std::move(metrics)) {}

    Outcome perform(std::string_view operation, const Fields& args) override {
        using Self = LogicalMachine;
        constexpr std::array operations{Operation{"allocate", &Self::allocate},
                                        Operation{"match_blocks", &Self::match_blocks},
                                        Operation{"clone", &Self::clone},
                                        Operation{"drop", &Self::drop},
                                        Operation{"reset", &Self::reset},
                                        Operation{"extend_blocks", &Self::extend_blocks},
                                        Operation{"extend_assigned", &Self::extend_assigned},
                                        Operation{"stage", &Self::stage},
                                        Operation{"register", &Self::register_staged},
                                        Operation{"pop_last_unassigned", &Self::pop_last},
                                        Operation{"take_assigned", &Self::take_assigned},
                                        Operation{"take_staged", &Self::take_staged},
                                        Operation{"take_unassigned", &Self::take_unassigned},
                                        Operation{"clear", &Self::clear},
                                        Operation{"get_assigned", &Self::get_assigned},
                                        Operation{"get_staged", &Self::get_staged},
                                        Operation{"get_unassigned", &Self::get_unassigned},
                                        Operation{"contains", &Self::contains}};
        const std::size_t index = args.has("t") ? args.size("t") : 0;
        if (index >= trackers_.size()) {
            args.refuse("names a tracker that is not there");
            return {};
        }
        named_ = &trackers_[index];
        foreign_ = false;
        Value result = dispatch(operations, *this, operation, args);
        return {.res = std::move(result), .st = state(index)};
    }

    /// A foreign guard was not offered, and nothing follows from that.
    bool follow_accident(const Fields&) override { return foreign_; }

  private:
    LogicalBlockAssignments<Tier>& tracker() { return named_->tracker; }

    Value allocate(const Fields& args) {
        const std::size_t n = args.size("n");
        const std::size_t manager = args.has("mgr") ? args.size("mgr") : 0;
        if (manager >= managers_.size()) {
            args.refuse("names a manager that is not there");
        }
        if (args.trouble().any()) {
            return {};
        }
        auto blocks = managers_[manager].allocate_blocks(n);
        if (!blocks) {
            return Object{{"ok", false}};
        }
        return Object{{"ok", true}, {"blocks", guards_.keep_all(std::move(*blocks))}};
    }

    Value match_blocks(const Fields& args) {
        std::vector<SequenceHash> hashes;
        for (const Value& name : args.elements("hashes")) {
            const auto hash = hashes_.hash(name);
            if (!hash) {
                args.refuse("has a name of no hash");
                return {};
            }
            hashes.push_back(*hash);
        }
        if (args.trouble().any()) {
            return {};
        }
        return Object{{"blocks", guards_.keep_all(managers_[0].match_blocks(hashes))}};
    }

    Value clone(const Fields& args) {
        const auto* block = guards_.find_in_state<Immutable>(args, "immutable");
        if (args.trouble().any()) {
            return {};
        }
        const Id id{block->block_id()};
        return Object{{"block", Array{guards_.keep(Immutable(*block)), id}}};
    }

    Value drop(const Fields& args) {
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

    Value reset(const Fields& args) {
        auto* block = guards_.find_in_state<Complete>(args, "complete");
        if (args.trouble().any()) {
            return {};
        }
        Mutable mutable_block = std::move(*block).reset();
        const Id id{mutable_block.block_id()};
        guards_.at(args.number("h")) = std::move(mutable_block);
        return Object{{"id", id}};
    }

    /// The guards of the handles as a list, unless one is of the other manager or the recorded
    /// version knows its name: then the result says so, and the guards stay where they are.
    template <class Block, class List>
    std::optional<Value> take_guards(const Fields& args, std::string_view state, List& blocks) {
        const auto named = GuardTable::handles(args);
        std::vector<BlockId> ids;
        std::optional<Value> refused;
        for (const Handle handle : named) {
            const auto* block = guards_.find_in_state<Block>(args, handle, state);
            if (args.trouble().any()) {
                return Value();
            }
            ids.push_back(block->block_id());
            if (block->manager_id() != managers_[0].id()) {
                refused = Object{{"err", Object{{"kind", "ForeignGuard"}}}};
                foreign_ = true;
            }
        }
        for (const BlockId id : ids) {
            if (!refused && named_->knows(id) && !tracker().contains(id)) {
                // The name of a candidate that was given back, and is another block now.
                constexpr bool queued = std::is_same_v<Block, Mutable>;
                refused = duplicate(
                    queued ? "DuplicateBlockId" : "DuplicateAssignedBlockId", id, list(ids, as_id),
                    "duplicate block_id " + std::to_string(id) + " already present");
            }
        }
        if (refused) {
            return refused;
        }
        for (const Handle handle : named) {
            blocks.push_back(std::move(std::get<Block>(guards_.at(handle))));
        }
        return std::nullopt;
    }

    /// Puts guards that came back under their handles.
    template <class List>
    Array put_back(const Fields& args, List& blocks) {
        Array ids = list(blocks, [](const auto& one) { return Id{one.block_id()}; });
        const auto named = GuardTable::handles(args);
        for (auto handle = named.rbegin(); handle != named.rend() && !blocks.empty(); ++handle) {
            guards_.at(*handle) = blocks.pop_back();
        }
        return ids;
    }

    static Value duplicate(const char* kind, BlockId id, Array returned, std::string message) {
        return Object{{"err", Object{{"kind", kind},
                                     {"block_id", Id{id}},
                                     {"returned", std::move(returned)},
                                     {"msg", std::move(message)}}}};
    }

    void drop_handles(const Fields& args) {
        for (const Handle handle : GuardTable::handles(args)) {
            guards_.drop(handle);
        }
    }

    Value extend_blocks(const Fields& args) {
        MutableBlockList<Tier> blocks;
        if (auto refused = take_guards<Mutable>(args, "mutable", blocks)) {
            return *std::move(refused);
        }
        auto extended = tracker().extend_blocks(std::move(blocks));
        if (!extended) {
            auto& reason = std::get<Error::DuplicateBlockId>(extended.error().reason);
            return duplicate("DuplicateBlockId", reason.block_id, put_back(args, reason.blocks),
                             extended.error().message());
        }
        drop_handles(args);
        return Object{{"ok", *extended}};
    }

    Value extend_assigned(const Fields& args) {
        ImmutableBlockList<Tier> blocks;
        if (auto refused = take_guards<Immutable>(args, "immutable", blocks)) {
            return *std::move(refused);
        }
        const auto ids = blocks.block_ids();
        auto extended = tracker().extend_assigned(std::move(blocks));
        if (!extended) {
            auto& reason = std::get<Error::DuplicateAssignedBlockId>(extended.error().reason);
            return duplicate("DuplicateAssignedBlockId", reason.block_id,
                             put_back(args, reason.blocks), extended.error().message());
        }
        named_->keys.insert(named_->keys.end(), ids.begin(), ids.end());
        drop_handles(args);
        return Object{{"ok", *extended}};
    }

    Value stage(const Fields& args) {
        const auto blocks = hashes_.blocks(args, "blocks");
        if (args.trouble().any()) {
            return {};
        }
        const auto staged = tracker().stage(blocks);
        if (staged) {
            return Object{{"ok", *staged}};
        }
        const auto& mismatch = std::get<Error::BlockSizeMismatch>(staged.error().reason);
        const Value failing = stage_half_way(blocks, mismatch.expected);
        return Object{{"err", Object{{"kind", "BlockSizeMismatch"},
                                     {"expected", mismatch.expected},
                                     {"actual", mismatch.actual},
                                     {"block", failing},
                                     {"msg", staged.error().message()}}}};
    }

    /// As recorded: what stands before the failing block is staged, and its guard leaves the
    /// tracker.
    Value stage_half_way(std::span<const TokenBlock> blocks, std::size_t block_size) {
        const auto good = std::ranges::find_if(
            blocks, [&](const TokenBlock& block) { return block.block_size() != block_size; });
        must(tracker().stage(blocks.first(static_cast<std::size_t>(good - blocks.begin()))));
        auto queued = tracker().take_unassigned();
        auto rest = queued.split_off(1);
        Mutable failing = queued.pop_back();
        must(tracker().extend_blocks(std::move(rest)));
        const Id id{failing.block_id()};
        return Array{guards_.keep(std::move(failing)), id};
    }

    Value register_staged(const Fields&) {
        for (const auto& block : tracker().staged()) {
            named_->keys.push_back(block.block_id());
        }
        return Object{{"ok", tracker().register_blocks(managers_[0])}};
    }

    Value pop_last(const Fields&) {
        auto block = tracker().pop_last_unassigned();
        if (!block) {
            return Object{{"none", true}};
        }
        const Id id{block->block_id()};
        return Object{{"block", Array{guards_.keep(std::move(*block)), id}}};
    }

    Value take_assigned(const Fields&) {
        Array taken;
        auto blocks = tracker().take_assigned();
        for (const BlockId key : std::exchange(named_->keys, {})) {
            auto block = blocks.take_front(1).pop_back();
            const Id id{block.block_id()};
            taken.emplace_back(Array{guards_.keep(std::move(block)), Id{key}, id});
        }
        return Object{{"blocks", taken}};
    }
    Value take_staged(const Fields&) {
        return Object{{"blocks", guards_.keep_all(tracker().take_staged())}};
    }
    Value take_unassigned(const Fields&) {
        return Object{{"blocks", guards_.keep_all(tracker().take_unassigned())}};
    }
    Value clear(const Fields&) {
        tracker().clear();
        named_->keys.clear();
        return Object{{"ok", true}};
    }

    Value assigned_entry(std::size_t index) {
        const auto& block = tracker().assigned()[index];
        return Array{Id{named_->keys[index]}, Id{block.block_id()},
                     hashes_.name(block.sequence_hash())};
    }
    Value staged_entry(const Complete& block) {
        return Array{Id{block.block_id()}, hashes_.name(block.sequence_hash())};
    }
    Value get_assigned(const Fields& args) {
        const std::size_t index = args.size("index");
        return tracker().get_assigned(index) == nullptr ? Object{{"none", true}}
                                                        : Object{{"some", assigned_entry(index)}};
    }
    Value get_staged(const Fields& args) {
        const auto* block = tracker().get_staged(args.size("index"));
        return block == nullptr ? Object{{"none", true}} : Object{{"some", staged_entry(*block)}};
    }
    Value get_unassigned(const Fields& args) {
        const auto* block = tracker().get_unassigned(args.size("index"));
        return block == nullptr ? Object{{"none", true}} : Object{{"some", Id{block->block_id()}}};
    }
    Value contains(const Fields& args) {
        return Object{{"value", named_->knows(args.number("id"))}};
    }

    Value state(std::size_t index) {
        Array assigned;
        for (std::size_t i = 0; i < tracker().assigned_count(); ++i) {
            assigned.push_back(assigned_entry(i));
        }
        Object state{
            {"t", index},
            {"assigned", assigned},
            {"staged", list(tracker().staged(),
                            [this](const Complete& block) { return staged_entry(block); })},
            {"unassigned", list(tracker().unassigned(),
                                [](const Mutable& block) { return Id{block.block_id()}; })},
            {"all_block_ids", list(named_->all_keys(), as_id)},
            {"is_empty", tracker().is_empty()},
            {"avail", managers_[0].available_blocks()},
            {"m", metrics_.values(managers_[0])}};
        for (const auto& report : {managers_[0].check_invariants(), tracker().check_invariants()}) {
            if (!report.ok()) {
                state.push_back({"broken_invariants", report.to_string()});
            }
        }
        if (named_->keys == tracker().all_block_ids() &&
            !std::ranges::all_of(named_->keys,
                                 [this](BlockId id) { return tracker().contains(id); })) {
            state.push_back({"broken_invariants", "a block of the tracker is not known"});
        }
        return state;
    }

    struct Operation {
        std::string_view name;
        Value (LogicalMachine::*apply)(const Fields&);
    };

    NamedHashes hashes_;
    std::array<BlockManager<Tier>, 2> managers_;
    MetricsOrder metrics_;
    GuardTable guards_;
    std::array<NamedTracker, 2> trackers_;
    NamedTracker* named_ = nullptr;
    bool foreign_ = false;  // the last operation offered a guard of the other manager
};

/// The manager of a configuration that says nothing of flags and trackers.
std::optional<BlockManager<Tier>> make_plain_manager(const Fields& config) {
    constexpr std::uint64_t capacity = 1024;
    Object complete;
    if (const auto* members = config.value().as<Object>()) {
        complete = *members;
    }
    complete.push_back({"default_reset_on_release", false});
    complete.push_back({"tracker_capacity", capacity});
    const Value value(std::move(complete));
    auto replayed = make_manager(Fields(value, config.path(), config.trouble()));
    return replayed ? std::optional(std::move(replayed->manager)) : std::nullopt;
}

}  // namespace

Start start_logical_assignments(const Fields& header, const Fields& config) {
    Start start;
    MetricsOrder metrics(header);
    NamedHashes hashes = read_sequences(config, start);
    const Fields manager = config.object("manager");
    auto first = make_plain_manager(manager);
    auto second = make_plain_manager(manager);
    if (first && second && !config.trouble().any()) {
        start.machine = std::make_unique<LogicalMachine>(std::move(hashes), std::move(*first),
                                                         std::move(*second), std::move(metrics));
    }
    return start;
}

}  // namespace kvbm::conformance
