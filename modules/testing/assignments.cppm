//! kvbm.testing:assignments: what a tracker of block assignments must do, and scripts that try it.
//!
//!   bytes --decode--> AssignmentCommand --apply--> AssignmentModel (a row and two numbers)
//!                                       --apply--> ExternalBlockAssignments
//!                                       compare: result, then everything that can be asked
//!
//! A workload is two token sequences and two trackers, so that zips, copies and blocks of a foreign
//! sequence are part of a script. Ids come from a small set and its extremes: collisions are
//! common. Source: sequences.md 3 to 5, invariants I1 to I13.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.testing:assignments;

export import kvbm.sequence;

import :bytes;

namespace kvbm::testing {

/// Tokens 0, 1, 2 ...: `blocks` full blocks and `tail` tokens behind them.
export BlockSequence counting_sequence(std::size_t blocks, std::size_t tail = 0,
                                       std::size_t block_size = 4, SaltHash salt = 0);

/// The ids of entries, and of the whole row of a tracker, in order.
export std::vector<BlockId> ids_of(std::span<const Assignment> entries);
export std::vector<BlockId> ids_of(BlockIdView ids);
export std::vector<BlockId> row_ids(const ExternalBlockAssignments& tracker);

/// The dullest tracker that is right: one row of (id, optional hash), linear search, and how many
/// entries stand before each partition point. Results and errors are those of
/// ExternalBlockAssignments.
export class AssignmentModel {
  public:
    struct Entry {
        BlockId id;
        std::optional<SequenceHash> hash;
        friend bool operator==(const Entry&, const Entry&) = default;
    };

    explicit AssignmentModel(std::size_t offset = 0) : offset_(offset) {}

    std::size_t offset() const { return offset_; }
    std::size_t assigned_count() const { return assigned_; }
    std::size_t staged_count() const { return staged_; }
    const std::vector<Entry>& row() const { return row_; }

    Result<void, BlockSequenceError> extend_block_ids(std::span<const BlockId> ids);
    Result<std::size_t, BlockSequenceError> extend_assigned(std::span<const Assignment> pairs);
    Result<IndexRange, BlockSequenceError> stage_pending(std::span<const SequenceHash> hashes);
    Result<IndexRange, BlockSequenceError> stage_pending(std::span<const TokenBlock> blocks);
    Result<IndexRange, BlockSequenceError> assign_pending(std::span<const SequenceHash> hashes);
    Result<IndexRange, BlockSequenceError> assign_pending(std::span<const TokenBlock> blocks);
    IndexRange commit_staged();
    std::vector<Assignment> take_staged();
    void clear();

    bool contains(BlockId id) const { return position_of(id).has_value(); }
    std::optional<std::size_t> position_of(BlockId id) const;
    std::optional<Assignment> get_assigned(std::size_t index) const;
    std::optional<Assignment> get_staged(std::size_t index) const;
    std::optional<Assignment> get_at_position(std::size_t position) const;
    std::optional<BlockId> get_pending_at_position(std::size_t position) const;

    friend bool operator==(const AssignmentModel&, const AssignmentModel&) = default;

  private:
    Assignment at(std::size_t place) const { return {row_[place].id, row_[place].hash.value()}; }

    std::size_t offset_ = 0;
    std::size_t assigned_ = 0;
    std::size_t staged_ = 0;
    std::vector<Entry> row_;
};

/// zip_assigned() and zip_assigned_pending() by asking every position.
export std::vector<ZippedBlocks> zip_assigned(const AssignmentModel& a, const AssignmentModel& b);
export std::vector<ZippedBlocks> zip_assigned_pending(const AssignmentModel& source,
                                                      const AssignmentModel& destination);

/// What a script works on: offsets of the two trackers, and two sequences of different tokens.
export struct AssignmentOptions {
    std::array<std::size_t, 2> offsets{0, 0};
    std::array<std::size_t, 2> block_counts{8, 3};
    std::size_t block_size = 4;
};

/// The sequences of a script.
export class AssignmentWorkload {
  public:
    explicit AssignmentWorkload(const AssignmentOptions& options);

    const std::array<BlockSequence, 2>& sequences() const { return sequences_; }

  private:
    std::array<BlockSequence, 2> sequences_;
};

/// Blocks `first` to `first + count` of a sequence, cut to what there is.
export struct BlockSlice {
    std::size_t sequence;
    std::size_t first;
    std::size_t count;
};

/// An id for extend_assigned(). Its hash is that of the block at its position moved by `shift`,
/// around the end of the sequence.
export struct PairDraw {
    BlockId id;
    std::size_t sequence;
    std::size_t shift;
};

/// The public operations of a tracker. `tracker` is 0 or 1, slices are concatenated.
export struct ExtendBlockIds {
    std::size_t tracker;
    std::size_t repeated;  ///< entries of the row whose ids stand before `ids` in the list
    std::vector<BlockId> ids;
};
export struct ExtendAssigned {
    std::size_t tracker;
    std::vector<PairDraw> pairs;
};
export struct StagePending {
    std::size_t tracker;
    std::vector<BlockSlice> slices;
    bool as_hashes;
};
export struct AssignPending {
    std::size_t tracker;
    std::vector<BlockSlice> slices;
    bool as_hashes;
};
export struct CommitStaged {
    std::size_t tracker;
};
export struct TakeStaged {
    std::size_t tracker;
};
export struct Clear {
    std::size_t tracker;
};
export struct AskForId {
    std::size_t tracker;
    BlockId id;
};
export struct AskForPlace {
    std::size_t tracker;
    std::size_t index;
};
export struct ZipBoth {
    std::size_t first;
    std::size_t second;
};
/// `to` becomes a copy of `from`, or takes over its content.
export struct CopyTracker {
    std::size_t from;
    std::size_t to;
    bool move;
};

export using AssignmentCommand =
    std::variant<ExtendBlockIds, ExtendAssigned, StagePending, AssignPending, CommitStaged,
                 TakeStaged, Clear, AskForId, AskForPlace, ZipBoth, CopyTracker>;

/// An id of the small set that scripts draw from: 0 to 39, powers of two and the largest numbers.
export BlockId assignment_id(std::size_t drawn);

/// Any bytes are legal options and commands.
export AssignmentOptions decode_assignment_options(ByteReader& bytes);
export AssignmentCommand decode_assignment_command(ByteReader& bytes);

/// One line that says what the command does.
export std::string to_string(const AssignmentCommand& command);

/// The state that a script should lead to.
export struct AssignmentModels {
    explicit AssignmentModels(const AssignmentOptions& options)
        : trackers{AssignmentModel(options.offsets[0]), AssignmentModel(options.offsets[1])} {}

    void apply(const AssignmentWorkload& workload, const AssignmentCommand& command);

    std::array<AssignmentModel, 2> trackers;
};

/// Two real trackers, compared with their models at each step.
export class AssignmentHarness {
  public:
    explicit AssignmentHarness(const AssignmentOptions& options);

    const AssignmentWorkload& workload() const { return workload_; }
    const std::array<ExternalBlockAssignments, 2>& trackers() const { return trackers_; }

    /// Runs a command. `before` is what the trackers should have been before it. Gives the first
    /// difference between what happened and what should have, or nothing.
    std::optional<std::string> run(const AssignmentCommand& command,
                                   const AssignmentModels& before);

  private:
    AssignmentWorkload workload_;
    std::array<ExternalBlockAssignments, 2> trackers_;
};

/// The invariants that a tracker alone can show: I1 to I5 and I11 of sequences.md.
export InvariantReport audit(const ExternalBlockAssignments& tracker);

/// What the tracker itself does not check: that each hash is the one that `sequence` has at that
/// position, and so each block the child of the one before it.
export InvariantReport audit_against(const ExternalBlockAssignments& tracker,
                                     std::span<const SequenceHash> sequence);

}  // namespace kvbm::testing
