// assignments_ops: two external trackers over shared token sequences.
//
// A hash is named by sequence and block; equal hashes have the name with the smallest sequence.
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
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :assignments;
import kvbm.core;
import kvbm.hash;
import kvbm.sequence;
import kvbm.tokens;

namespace kvbm::conformance {

void NamedHashes::add(TokenBlockSequence sequence) {
    for (const TokenBlock& block : sequence.blocks()) {
        names_.try_emplace(block.sequence_hash(), std::pair(sequences_.size(), block.position()));
    }
    sequences_.push_back(std::move(sequence));
}

Value NamedHashes::name(const SequenceHash& hash) const {
    const auto found = names_.find(hash);
    return found == names_.end() ? Value(hex(hash))
                                 : Value(Array{found->second.first, found->second.second});
}

std::optional<SequenceHash> NamedHashes::hash(const Value& name) const {
    const auto* pair = name.as<Array>();
    if (pair == nullptr || pair->size() != 2) {
        return std::nullopt;
    }
    const auto* sequence = (*pair)[0].as<std::uint64_t>();
    const auto* block = (*pair)[1].as<std::uint64_t>();
    if (sequence == nullptr || block == nullptr || *sequence >= sequences_.size() ||
        *block >= sequences_[*sequence].blocks().size()) {
        return std::nullopt;
    }
    return sequences_[*sequence].blocks()[*block].sequence_hash();
}

std::vector<TokenBlock> NamedHashes::blocks(const Fields& args, std::string_view name) const {
    std::vector<TokenBlock> all;
    for (const Fields& slice : args.objects(name)) {
        const std::size_t sequence = slice.size("seq");
        const IndexRange range{slice.size("lo"), slice.size("hi")};
        if (sequence >= sequences_.size() || range.first > range.last ||
            range.last > sequences_[sequence].blocks().size()) {
            slice.refuse("is no slice of the sequences' blocks");
            break;
        }
        const auto part = sequences_[sequence].blocks().subspan(range.first, range.size());
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

NamedHashes read_sequences(const Fields& config, Start& start) {
    NamedHashes hashes;
    for (const Fields& recorded : config.objects("sequences")) {
        const auto tokens = recorded.tokens("tokens");
        const std::size_t block_size = recorded.size("block_size");
        const SaltHash salt = recorded.salt("salt");
        if (block_size == 0) {
            recorded.refuse("has block_size 0");
        }
        if (config.trouble().any()) {
            break;
        }
        auto sequence = TokenBlockSequence::create(tokens, block_size, salt);
        if (!sequence) {
            recorded.refuse("makes no sequence: " + sequence.error().message());
            break;
        }
        const Value expected = recorded.elements("hashes");
        const Value actual = list(
            sequence->blocks(), [](const TokenBlock& block) { return hex(block.sequence_hash()); });
        for (Difference& difference : differences(expected, actual, Ids::compared)) {
            difference.path = recorded.path() + ".hashes" + difference.path;
            start.differences.push_back(std::move(difference));
        }
        hashes.add(std::move(*sequence));
    }
    return hashes;
}

namespace {

Object recorded_error(const BlockSequenceError& error) {
    Object recorded = std::visit(
        [](const auto& reason) -> Object {
            using Reason = std::decay_t<decltype(reason)>;
            if constexpr (std::is_same_v<Reason, BlockSequenceError::OrderingViolation>) {
                return {{"kind", "OrderingViolation"},
                        {"known_id", reason.known_id},
                        {"new_id", reason.new_id},
                        {"known_index", reason.known_index},
                        {"first_new_index", reason.first_new_index}};
            } else if constexpr (std::is_same_v<Reason, BlockSequenceError::PositionMismatch>) {
                return {{"kind", "PositionMismatch"},
                        {"expected", reason.expected},
                        {"actual", reason.actual},
                        {"block_id", reason.block_id}};
            } else if constexpr (std::is_same_v<Reason, BlockSequenceError::DuplicateBlockId>) {
                return {{"kind", "DuplicateBlockId"}, {"block_id", reason.block_id}};
            } else if constexpr (std::is_same_v<Reason, BlockSequenceError::StagedPresent>) {
                return {{"kind", "StagedPresent"}, {"staged_count", reason.staged_count}};
            } else {
                return {{"kind", "TokenExtension"}};
            }
        },
        error.reason);
    recorded.push_back({"msg", error.message()});
    return recorded;
}

template <class T>
Value recorded_result(const Result<T, BlockSequenceError>& result) {
    if (!result) {
        return Object{{"err", recorded_error(result.error())}};
    }
    if constexpr (std::is_void_v<T>) {
        return Object{{"ok", true}};
    } else {
        return Object{{"ok", *result}};
    }
}

class ExternalMachine final : public Machine {
  public:
    ExternalMachine(NamedHashes hashes, std::span<const std::uint64_t> offsets)
        : hashes_(std::move(hashes)) {
        for (const std::uint64_t offset : offsets) {
            trackers_.emplace_back(static_cast<std::size_t>(offset));
        }
        after_accident_.resize(trackers_.size());
    }

    Outcome perform(std::string_view operation, const Fields& args) override {
        const std::size_t index = tracker_index(args, "t");
        const bool with_other = args.has("other");
        const std::size_t other = with_other ? tracker_index(args, "other") : index;
        if (args.trouble().any()) {
            return {};
        }
        tracker_ = &trackers_[index];
        const bool follows = after_accident_[index] || after_accident_[other];
        if (operation == "clear") {
            after_accident_[index] = false;  // empty here and there
        }
        Value result = apply(operation, args);
        return {.res = std::move(result),
                .st = state(index),
                .follows_accident = follows && operation != "clear"};
    }

    bool follow_accident(const Fields& args) override {
        after_accident_[tracker_index(args, "t")] = true;
        return true;
    }

  private:
    Value apply(std::string_view operation, const Fields& args) {
        using Self = ExternalMachine;
        constexpr std::array operations{
            Operation{"extend_block_ids", &Self::extend_block_ids},
            Operation{"extend_assigned", &Self::extend_assigned},
            Operation{"stage_pending", &Self::stage_pending},
            Operation{"assign_pending", &Self::assign_pending},
            Operation{"commit_staged", &Self::commit_staged},
            Operation{"take_staged", &Self::take_staged},
            Operation{"clear", &Self::clear},
            Operation{"contains", &Self::contains},
            Operation{"get_assigned", &Self::get_assigned},
            Operation{"get_staged", &Self::get_staged},
            Operation{"get_at_position", &Self::get_at_position},
            Operation{"get_pending_at_position", &Self::get_pending_at_position},
            Operation{"zip_assigned", &Self::zip},
            Operation{"zip_assigned_pending", &Self::zip_pending}};
        return dispatch(operations, *this, operation, args);
    }

    std::size_t tracker_index(const Fields& args, std::string_view name) const {
        const std::size_t index = args.size(name);
        if (index >= trackers_.size()) {
            args.refuse("names a tracker that is not there");
            return 0;
        }
        return index;
    }

    Value entry(const Assignment& assignment) const {
        return Array{assignment.id, hashes_.name(assignment.hash)};
    }
    Value entries(std::span<const Assignment> assignments) const {
        return list(assignments, [this](const Assignment& one) { return entry(one); });
    }
    Value maybe(const std::optional<Assignment>& assignment) const {
        return assignment ? Object{{"some", entry(*assignment)}} : Object{{"none", true}};
    }

    Value extend_block_ids(const Fields& args) {
        const auto ids = args.numbers("ids");
        return args.trouble().any() ? Value() : recorded_result(tracker_->extend_block_ids(ids));
    }

    Value extend_assigned(const Fields& args) {
        std::vector<Assignment> pairs;
        for (const Value& item : args.elements("items")) {
            const auto* pair = item.as<Array>();
            const bool both = pair != nullptr && pair->size() == 2;
            const auto id = both ? as_number((*pair)[0]) : std::nullopt;
            const auto hash = both ? hashes_.hash((*pair)[1]) : std::nullopt;
            if (!id || !hash) {
                args.refuse("has an item that is not an id and the name of a hash");
                return {};
            }
            pairs.push_back({*id, *hash});
        }
        return args.trouble().any() ? Value() : recorded_result(tracker_->extend_assigned(pairs));
    }

    Value stage_pending(const Fields& args) {
        const auto blocks = hashes_.blocks(args, "blocks");
        return args.trouble().any() ? Value() : recorded_result(tracker_->stage_pending(blocks));
    }

    Value assign_pending(const Fields& args) {
        const auto blocks = hashes_.blocks(args, "blocks");
        return args.trouble().any() ? Value() : recorded_result(tracker_->assign_pending(blocks));
    }

    Value commit_staged(const Fields&) { return Object{{"ok", tracker_->commit_staged()}}; }

    Value take_staged(const Fields&) { return Object{{"ok", entries(tracker_->take_staged())}}; }

    Value clear(const Fields&) {
        tracker_->clear();
        return Object{{"ok", true}};
    }

    Value contains(const Fields& args) {
        return Object{{"value", tracker_->contains(args.number("id"))}};
    }

    Value get_assigned(const Fields& args) {
        return maybe(tracker_->get_assigned(args.size("index")));
    }

    Value get_staged(const Fields& args) { return maybe(tracker_->get_staged(args.size("index"))); }

    Value get_at_position(const Fields& args) {
        return maybe(tracker_->get_at_position(args.size("position")));
    }

    Value get_pending_at_position(const Fields& args) {
        const auto id = tracker_->get_pending_at_position(args.size("position"));
        return id ? Object{{"some", *id}} : Object{{"none", true}};
    }

    static Value zipped(const std::vector<ZippedBlocks>& blocks) {
        return Object{{"ok", list(blocks, [](const ZippedBlocks& both) {
                           return Array{both.position, both.first, both.second};
                       })}};
    }

    Value zip(const Fields& args) {
        return zipped(zip_assigned(*tracker_, trackers_[tracker_index(args, "other")]));
    }

    Value zip_pending(const Fields& args) {
        return zipped(zip_assigned_pending(*tracker_, trackers_[tracker_index(args, "other")]));
    }

    Value state(std::size_t index) const {
        return Object{{"t", index},
                      {"offset", tracker_->offset()},
                      {"assigned", entries(tracker_->assigned())},
                      {"staged", entries(tracker_->staged())},
                      {"unassigned", list(tracker_->unassigned())},
                      {"next_position", tracker_->next_position()},
                      {"assigned_positions", tracker_->assigned_positions()},
                      {"staged_positions", tracker_->staged_positions()},
                      {"pending_positions", tracker_->pending_positions()}};
    }

    struct Operation {
        std::string_view name;
        Value (ExternalMachine::*apply)(const Fields&);
    };

    NamedHashes hashes_;
    std::vector<ExternalBlockAssignments> trackers_;
    std::vector<bool> after_accident_;
    ExternalBlockAssignments* tracker_ = nullptr;
};

}  // namespace

Start start_assignments(const Fields& header, const Fields& config) {
    constexpr std::size_t offset_max = std::size_t{1} << 24;
    Start start;
    const std::string machine = config.text("machine");
    if (machine == "logical") {
        return start_logical_assignments(header, config);
    }
    if (machine != "external") {
        config.refuse("names the unknown machine \"" + machine + "\"");
        return start;
    }
    const auto offsets = config.numbers("offsets");
    if (std::ranges::any_of(offsets, [](auto offset) { return offset > offset_max; })) {
        config.refuse("has an offset above 2^24");
    }
    NamedHashes hashes = read_sequences(config, start);
    if (!config.trouble().any()) {
        start.machine = std::make_unique<ExternalMachine>(std::move(hashes), offsets);
    }
    return start;
}

}  // namespace kvbm::conformance
