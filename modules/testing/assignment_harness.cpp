module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

namespace kvbm::testing {

namespace {

using Error = BlockSequenceError;

// What a command gave. Two outcomes are equal only if they are of one kind.
struct IdAnswer {
    bool contains;
    std::optional<std::size_t> position;
    friend bool operator==(const IdAnswer&, const IdAnswer&) = default;
};
struct PlaceAnswer {
    std::optional<Assignment> assigned;
    std::optional<Assignment> staged;
    std::optional<Assignment> at_position;
    std::optional<BlockId> pending;
    friend bool operator==(const PlaceAnswer&, const PlaceAnswer&) = default;
};
struct ZipAnswer {
    std::vector<ZippedBlocks> assigned;
    std::vector<ZippedBlocks> pending;
    friend bool operator==(const ZipAnswer&, const ZipAnswer&) = default;
};
using Outcome = std::variant<std::monostate, std::optional<Error>, Result<std::size_t, Error>,
                             Result<IndexRange, Error>, IndexRange, std::vector<Assignment>,
                             IdAnswer, PlaceAnswer, ZipAnswer>;

std::vector<TokenBlock> blocks_of(const AssignmentWorkload& workload,
                                  const std::vector<BlockSlice>& slices) {
    std::vector<TokenBlock> list;
    for (const BlockSlice& slice : slices) {
        const auto all = workload.sequences()[slice.sequence].blocks();
        const auto tail = all.subspan(std::min(slice.first, all.size()));
        const auto run = tail.first(std::min(slice.count, tail.size()));
        list.insert(list.end(), run.begin(), run.end());
    }
    return list;
}

std::vector<SequenceHash> hashes_of(const std::vector<TokenBlock>& blocks) {
    std::vector<SequenceHash> hashes;
    for (const TokenBlock& block : blocks) {
        hashes.push_back(block.sequence_hash());
    }
    return hashes;
}

// Runs a command on a pair of trackers: the model's or the real ones, which answer to the same
// names.
template <class Tracker>
struct Apply {
    const AssignmentWorkload& workload;
    std::array<Tracker, 2>& trackers;

    Outcome operator()(const ExtendBlockIds& command) const {
        Tracker& tracker = trackers[command.tracker];
        auto ids = all_ids(tracker);
        ids.resize(std::min(command.repeated, ids.size()));
        ids.insert(ids.end(), command.ids.begin(), command.ids.end());
        const auto result = tracker.extend_block_ids(std::span<const BlockId>(ids));
        return result ? std::nullopt : std::optional(result.error());
    }
    Outcome operator()(const ExtendAssigned& command) const {
        Tracker& tracker = trackers[command.tracker];
        std::size_t position = tracker.offset() + tracker.assigned_count();
        std::vector<Assignment> pairs;
        for (const PairDraw& draw : command.pairs) {
            const auto hashes = workload.sequences()[draw.sequence].all_sequence_hashes();
            const auto hash =
                hashes.empty() ? SequenceHash{} : hashes[(position + draw.shift) % hashes.size()];
            pairs.push_back({.id = draw.id, .hash = hash});
            ++position;
        }
        return tracker.extend_assigned(std::span<const Assignment>(pairs));
    }
    Outcome operator()(const StagePending& command) const {
        Tracker& tracker = trackers[command.tracker];
        const auto blocks = blocks_of(workload, command.slices);
        if (command.as_hashes) {
            return tracker.stage_pending(std::span<const SequenceHash>(hashes_of(blocks)));
        }
        return tracker.stage_pending(std::span<const TokenBlock>(blocks));
    }
    Outcome operator()(const AssignPending& command) const {
        Tracker& tracker = trackers[command.tracker];
        const auto blocks = blocks_of(workload, command.slices);
        if (command.as_hashes) {
            return tracker.assign_pending(std::span<const SequenceHash>(hashes_of(blocks)));
        }
        return tracker.assign_pending(std::span<const TokenBlock>(blocks));
    }
    Outcome operator()(const CommitStaged& command) const {
        return trackers[command.tracker].commit_staged();
    }
    Outcome operator()(const TakeStaged& command) const {
        return trackers[command.tracker].take_staged();
    }
    Outcome operator()(const Clear& command) const {
        trackers[command.tracker].clear();
        return std::monostate{};
    }
    Outcome operator()(const AskForId& command) const {
        const Tracker& tracker = trackers[command.tracker];
        return IdAnswer{tracker.contains(command.id), tracker.position_of(command.id)};
    }
    Outcome operator()(const AskForPlace& command) const {
        const Tracker& tracker = trackers[command.tracker];
        return PlaceAnswer{tracker.get_assigned(command.index), tracker.get_staged(command.index),
                           tracker.get_at_position(command.index),
                           tracker.get_pending_at_position(command.index)};
    }
    Outcome operator()(const ZipBoth& command) const {
        const Tracker& first = trackers[command.first];
        const Tracker& second = trackers[command.second];
        return ZipAnswer{zip_assigned(first, second), zip_assigned_pending(first, second)};
    }
    Outcome operator()(const CopyTracker& command) const {
        Tracker& to = trackers[command.to];
        Tracker& from = trackers[command.from];
        to = Tracker(from);
        if (command.move && command.from != command.to) {
            empty_by_moving(from);
        }
        return std::monostate{};
    }

    static std::vector<BlockId> all_ids(const AssignmentModel& tracker) {
        std::vector<BlockId> ids;
        for (const AssignmentModel::Entry& entry : tracker.row()) {
            ids.push_back(entry.id);
        }
        return ids;
    }
    static std::vector<BlockId> all_ids(const ExternalBlockAssignments& tracker) {
        return row_ids(tracker);
    }
    static void empty_by_moving(AssignmentModel& tracker) { tracker.clear(); }
    static void empty_by_moving(ExternalBlockAssignments& tracker) {
        const ExternalBlockAssignments taken(std::move(tracker));
    }
};

struct ShowError {
    std::string operator()(const std::optional<Error>& error) const {
        return error ? error->message() : "success";
    }
    template <class Answer>
    std::string operator()(const Result<Answer, Error>& result) const {
        return result ? "success" : result.error().message();
    }
    template <class Answer>
    std::string operator()(const Answer&) const {
        return "an answer";
    }
};

std::optional<std::string> outcome_difference(const Outcome& expected, const Outcome& actual) {
    return expected == actual ? std::nullopt
                              : std::optional("differs in the result; expected: " +
                                              std::visit(ShowError{}, expected) +
                                              ", actual: " + std::visit(ShowError{}, actual));
}

// Everything that can be asked about a tracker.
std::optional<std::string> picture_difference(const AssignmentModel& model,
                                              const ExternalBlockAssignments& tracker) {
    const auto ids = row_ids(tracker);
    if (model.row().size() != ids.size() || model.offset() != tracker.offset() ||
        model.assigned_count() != tracker.assigned_count() ||
        model.staged_count() != tracker.staged_count()) {
        return "differs in the counts";
    }
    for (std::size_t place = 0; place < model.row().size(); ++place) {
        const std::string where = "entry " + std::to_string(place);
        const auto& [id, hash] = model.row()[place];
        if (ids[place] != id) {
            return "differs in the id of " + where;
        }
        if (tracker.position_of(id) != model.offset() + place || !tracker.contains(id)) {
            return "the id index does not find " + where;
        }
        const auto seen = place < model.assigned_count()
                              ? tracker.get_assigned(place)
                              : tracker.get_staged(place - model.assigned_count());
        if (seen != (hash ? std::optional(Assignment{id, *hash}) : std::nullopt)) {
            return "differs in the hash of " + where;
        }
    }
    const auto report = audit(tracker);
    return report.ok() ? std::nullopt : std::optional(report.to_string());
}

}  // namespace

BlockSequence counting_sequence(std::size_t blocks, std::size_t tail, std::size_t block_size,
                                SaltHash salt) {
    std::vector<Token> tokens(blocks * block_size + tail);
    std::iota(tokens.begin(), tokens.end(), Token{0});
    return BlockSequence(tokens, block_size, salt);
}

std::vector<BlockId> ids_of(std::span<const Assignment> entries) {
    return ids_of(BlockIdView(entries));
}

std::vector<BlockId> ids_of(BlockIdView ids) {
    return std::vector<BlockId>(ids.begin(), ids.end());
}

std::vector<BlockId> row_ids(const ExternalBlockAssignments& tracker) {
    auto ids = ids_of(tracker.assigned());
    for (const auto& more : {ids_of(tracker.staged()), ids_of(tracker.unassigned())}) {
        ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
}

AssignmentWorkload::AssignmentWorkload(const AssignmentOptions& options)
    : sequences_{counting_sequence(options.block_counts[0], 0, options.block_size),
                 counting_sequence(options.block_counts[1], 0, options.block_size, 42)} {}

void AssignmentModels::apply(const AssignmentWorkload& workload, const AssignmentCommand& command) {
    std::visit(Apply<AssignmentModel>{workload, trackers}, command);
}

AssignmentHarness::AssignmentHarness(const AssignmentOptions& options)
    : workload_(options),
      trackers_{ExternalBlockAssignments(options.offsets[0]),
                ExternalBlockAssignments(options.offsets[1])} {}

std::optional<std::string> AssignmentHarness::run(const AssignmentCommand& command,
                                                  const AssignmentModels& before) {
    auto models = before.trackers;
    const auto old = trackers_;
    const auto expected = std::visit(Apply<AssignmentModel>{workload_, models}, command);
    const auto actual = std::visit(Apply<ExternalBlockAssignments>{workload_, trackers_}, command);
    auto difference = outcome_difference(expected, actual);
    for (std::size_t t = 0; !difference && t < models.size(); ++t) {
        difference = picture_difference(models[t], trackers_[t]);
        if (!difference && (models[t] == before.trackers[t]) != (trackers_[t] == old[t])) {
            difference = "equality does not tell whether the tracker has changed";
        }
    }
    return difference ? std::optional(to_string(command) + ": " + *difference) : std::nullopt;
}

InvariantReport audit(const ExternalBlockAssignments& tracker) {
    InvariantReport report;
    const auto broken = [&report](std::string id, std::vector<BlockId> blocks, std::string text) {
        report.violations.push_back({std::move(id), std::move(blocks), std::move(text)});
    };
    const std::size_t offset = tracker.offset();
    const auto ids = row_ids(tracker);
    const std::size_t size = ids.size();
    auto sorted = ids;
    std::ranges::sort(sorted);
    if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end()) {
        broken("I1", {*twice}, "an id stands twice in the row");
    }
    const auto assigned = tracker.assigned_positions();
    const auto staged = tracker.staged_positions();
    const auto pending = tracker.pending_positions();
    if (assigned.first != offset || assigned.last != staged.first || staged.last != pending.first ||
        pending.first != tracker.next_position() || pending.last != offset + size ||
        assigned.size() != tracker.assigned_count() || staged.size() != tracker.staged_count() ||
        pending.size() != tracker.unassigned_count()) {
        broken("I2", {}, "the three ranges are not adjacent from the offset on");
    }
    for (std::size_t place = 0; place < size; ++place) {
        const std::size_t position = offset + place;
        const auto entry = tracker.get_at_position(position);
        const auto queued = tracker.get_pending_at_position(position);
        const auto hashed = entry ? entry : tracker.get_staged(place - tracker.assigned_count());
        if (hashed && hashed->hash.position() != position) {
            broken("I3", {ids[place]}, "the hash is not of position " + std::to_string(position));
        }
        if (!tracker.contains(ids[place])) {
            broken("I4", {ids[place]}, "an id of the row is not known");
        }
        if (tracker.position_of(ids[place]) != position) {
            broken("I5", {ids[place]}, "position_of is not " + std::to_string(position));
        }
        if (entry && queued) {
            broken("I11", {ids[place]}, "a position is assigned and pending");
        }
    }
    return report;
}

InvariantReport audit_against(const ExternalBlockAssignments& tracker,
                              std::span<const SequenceHash> sequence) {
    InvariantReport report;
    for (const auto phase : {tracker.assigned(), tracker.staged()}) {
        for (const Assignment& entry : phase) {
            const std::size_t position = entry.hash.position();
            if (position >= sequence.size() || sequence[position] != entry.hash) {
                report.violations.push_back(
                    {"S4", {entry.id}, "not a hash of the sequence: " + entry.hash.to_string()});
            }
        }
    }
    return report;
}

}  // namespace kvbm::testing
