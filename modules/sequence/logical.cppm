//! kvbm.sequence:logical: which guarded block serves which position of a request.
//!
//! The guard level of the trackers: a row of guards of one manager instead of ids. Entries move
//! left, from the front of a phase to the back of the next, and change their guard type on the way:
//!
//!   offset            offset+a            offset+a+s                offset+a+s+u
//!     |--- assigned ---|------ staged ------|------ unassigned -------|
//!       ImmutableBlock     CompleteBlock          MutableBlock
//!              <- register_blocks       <- stage             <- extend_blocks
//!              <- extend_assigned (cache hits)
//!
//! The row itself knows no tier: LogicalBlockAssignments is a thin typed face over it, so its
//! bodies are compiled once.
//!
//! Invariants (sequences.md 10): I1 to I5, I7, I9; I10 an error hands back exactly the guards that
//! were moved in; I14 guards put in = held + given out + released; I16 an entry's id is its
//! guard's.
module;

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.sequence:logical;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.tokens;
export import kvbm.blocks;

namespace kvbm {

/// Whether a LogicalBlockAssignments looks at the positions that hashes carry.
export enum class Positions {
    checked,  ///< the hash of entry k has position offset + k
    free,     ///< a plain ordered row: hashes may be anything, as in the parent
};

export template <class Tier = DefaultTier>
class LogicalBlockAssignments;

namespace detail::sequence {

/// The texts of the error alternatives. For the layers above, not for users.
export std::string duplicate_text(BlockId block_id);
export std::string position_text(std::size_t expected, std::size_t actual, BlockId block_id);
export std::string staged_text(std::size_t staged_count);
export std::string block_size_text(std::size_t expected, std::size_t actual);
export std::string sequence_hash_text(std::size_t position, const SequenceHash& expected,
                                      const SequenceHash& actual);

/// What the changing calls of a tracker have cost so far, for tests that count instead of timing.
/// For the layers above, not for users.
export struct TrackerCosts {
    std::uint64_t entry_moves = 0;  ///< entries written, shifted or relocated in the row
    std::uint64_t index_probes =
        0;  ///< cells of the id index, or entries of a short row, looked at
};

/// Why a row of guards refused a call; the guards themselves stay with the caller.
struct Offence {
    enum class Kind { duplicate, staged_present, misplaced, wrong_size };
    Kind kind;
    BlockId block_id = 0;
    std::size_t expected = 0;
    std::size_t actual = 0;  ///< of staged_present: how many are staged
};

/// Finds the places of an id: an open table of (id, place), at most half full.
///
/// Places are positions, so a row that gives away its front renumbers nothing. An id may stand at
/// several places; each of them is an entry.
class PlaceIndex {
  public:
    PlaceIndex() noexcept = default;
    PlaceIndex(PlaceIndex&& other) noexcept
        : cells_(std::exchange(other.cells_, {})),
          bits_(std::exchange(other.bits_, 0U)),
          size_(std::exchange(other.size_, 0)),
          probes_(std::exchange(other.probes_, 0)) {}
    PlaceIndex& operator=(PlaceIndex&& other) noexcept {
        cells_ = std::exchange(other.cells_, {});
        bits_ = std::exchange(other.bits_, 0U);
        size_ = std::exchange(other.size_, 0);
        probes_ = std::exchange(other.probes_, 0);
        return *this;
    }
    ~PlaceIndex() = default;

    inline std::size_t size() const noexcept { return size_; }
    inline std::uint64_t probes() const noexcept { return probes_; }
    /// Makes room for `count` entries in all: adding up to them neither allocates nor moves.
    void reserve(std::size_t count);
    /// The first place of an id, or nothing.
    std::optional<std::size_t> find(BlockId id) const noexcept;
    /// Whether an id is there, counted as a cost of a changing call.
    bool contains_counted(BlockId id) noexcept;
    void add(BlockId id, std::size_t place) noexcept;
    /// Rule: the entry is there, as for renumber().
    void erase(BlockId id, std::size_t place) noexcept;
    void renumber(BlockId id, std::size_t from, std::size_t to) noexcept;

  private:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    struct Cell {
        BlockId id = 0;
        std::size_t place = none;
    };
    std::size_t home_of(BlockId id) const noexcept;
    std::size_t cell_of(BlockId id, std::size_t place) noexcept;

    std::vector<Cell> cells_;
    unsigned bits_ = 0;  // cells_.size() == 1 << bits_, or no cells
    std::size_t size_ = 0;
    std::uint64_t probes_ = 0;
};

/// The row of guards under a LogicalBlockAssignments. For its typed face, not for users.
export class LogicalRow {
  public:
    using RawGuard = blocks::RawGuard;
    using RawList = blocks::RawList;
    using Store = blocks::Store;

    LogicalRow(std::size_t offset, Positions positions);
    LogicalRow(LogicalRow&& other) noexcept;
    LogicalRow& operator=(LogicalRow&& other) noexcept;
    ~LogicalRow();

    inline std::size_t offset() const noexcept { return offset_; }
    inline std::size_t size() const noexcept {
        return assigned_.size() + staged_.size() + unassigned_.size();
    }
    inline const RawList& assigned() const noexcept { return assigned_; }
    inline const RawList& staged() const noexcept { return staged_; }
    inline const RawList& unassigned() const noexcept { return unassigned_; }
    inline std::optional<std::size_t> position_of(BlockId id) const noexcept {
        return index_.find(id);
    }

    /// Takes the guards out of `guards`, or gives the first duplicate and leaves them there.
    std::optional<BlockId> extend_blocks(RawList& guards);
    /// Queues blocks of the store, all or none. False: it has fewer, and nothing has changed.
    bool allocate(Store& store, std::size_t count);
    /// Assigns the longest cached prefix of the hashes of positions offset(), offset() + 1 ...;
    /// gives its length. Rule: the row is empty.
    std::size_t match(Store& store, std::span<const SequenceHash> hashes);
    Result<std::size_t, Offence> extend_assigned(RawList& guards);
    Result<std::size_t, Offence> stage(std::span<const TokenBlock> blocks);
    std::size_t register_blocks(Store& store, std::size_t at_most);
    Result<std::size_t, Offence> stage_and_register(std::span<const TokenBlock> blocks,
                                                    Store& store);
    /// Rule: something is queued.
    RawGuard pop_last_unassigned() noexcept;
    std::size_t drop_last_unassigned(std::size_t count) noexcept;
    RawList take_assigned() noexcept;
    RawList take_staged() noexcept;
    RawList take_unassigned() noexcept;
    void clear(ReleaseOrder order) noexcept;
    InvariantReport check_invariants() const;
    inline TrackerCosts costs() const noexcept {
        return {.entry_moves = entry_moves_, .index_probes = index_.probes()};
    }

  private:
    /// Room for more entries in a phase.
    void make_room(RawList& phase, std::size_t more);
    /// Which token blocks stage() pairs with the first queued guards.
    Result<std::span<const TokenBlock>, Offence> pairs(std::span<const TokenBlock> blocks) const;
    void expects_own(const Store* store) const noexcept;
    Store* store() const noexcept;
    std::optional<BlockId> add_to_index(std::span<const RawGuard> guards,
                                        std::size_t first) noexcept;
    void erase_from_index(std::span<const RawGuard> guards, std::size_t first) noexcept;
    void renumber(std::span<const RawGuard> guards, std::size_t from, std::size_t to) noexcept;
    /// Puts the first `count` guards of a phase behind the assigned ones and registers them there.
    template <class Register>
    void move_to_assigned(RawList& phase, std::size_t count, const Register& register_guards);
    inline std::size_t next_position() const noexcept {
        return offset_ + assigned_.size() + staged_.size();
    }

    std::size_t offset_;
    std::size_t first_offset_;
    Positions positions_;
    RawList assigned_;
    RawList staged_;
    RawList unassigned_;
    PlaceIndex index_;
    std::uint64_t entry_moves_ = 0;
};

/// Leads from a tracker to its row. For the layers above, not for users.
export class RowAccess {
  public:
    template <class Tier>
    static inline LogicalRow& row(LogicalBlockAssignments<Tier>& tracker) noexcept {
        return tracker.row_;
    }
    template <class Tier>
    static inline const LogicalRow& row(const LogicalBlockAssignments<Tier>& tracker) noexcept {
        return tracker.row_;
    }
};

/// The costs of a tracker since its construction.
export template <class Tier>
TrackerCosts costs_of(const LogicalBlockAssignments<Tier>& tracker) noexcept {
    return RowAccess::row(tracker).costs();
}

}  // namespace detail::sequence

/// Why a LogicalBlockAssignments refused a call. The refused call has changed nothing, and the
/// guards that were moved into it are in the reason, in their order. Source: sequences.md 8.
export template <class Tier = DefaultTier>
struct LogicalBlockAssignmentError {
    /// A block that was to be queued is in the tracker, or occurs twice in the list.
    struct DuplicateBlockId {
        BlockId block_id;
        MutableBlockList<Tier> blocks;
        std::string message() const { return detail::sequence::duplicate_text(block_id); }
    };
    /// The same for a block that was to be assigned.
    struct DuplicateAssignedBlockId {
        BlockId block_id;
        ImmutableBlockList<Tier> blocks;
        std::string message() const { return detail::sequence::duplicate_text(block_id); }
    };
    /// A registered block is not the sequence's at its place. Raised by the request layer only.
    struct SequenceHashMismatch {
        std::size_t position;
        SequenceHash expected;
        SequenceHash actual;
        ImmutableBlockList<Tier> blocks;
        std::string message() const {
            return detail::sequence::sequence_hash_text(position, expected, actual);
        }
    };
    /// A token block has not as many tokens as the guard holds. The guards are still queued.
    struct BlockSizeMismatch {
        std::size_t expected;
        std::size_t actual;
        BlockId block_id;
        std::string message() const { return detail::sequence::block_size_text(expected, actual); }
    };
    /// A hash carries another position than the one it would have served. `block_id` is the block
    /// it would have named, or the registered block itself; `blocks` is empty when stage() failed.
    struct PositionMismatch {
        std::size_t expected;
        std::size_t actual;
        BlockId block_id;
        ImmutableBlockList<Tier> blocks;
        std::string message() const {
            return detail::sequence::position_text(expected, actual, block_id);
        }
    };
    /// Assigned entries cannot be added while something is staged: they would take its positions.
    struct StagedPresent {
        std::size_t staged_count;
        ImmutableBlockList<Tier> blocks;
        std::string message() const { return detail::sequence::staged_text(staged_count); }
    };

    std::variant<DuplicateBlockId, DuplicateAssignedBlockId, SequenceHashMismatch,
                 BlockSizeMismatch, PositionMismatch, StagedPresent>
        reason;

    /// One sentence with the values, such as `duplicate block_id 9 already present`.
    std::string message() const {
        return std::visit([](const auto& alternative) { return alternative.message(); }, reason);
    }
};

/// Assigns the blocks of one manager to positions: owns a guard for each entry, and so keeps its
/// block.
///
/// Move-only, single owner; a moved-from tracker is empty. A guard or manager other than that of
/// the first guard breaks a contract. Const calls allocate nothing unless they give a list; views,
/// pointers and spans are valid until the next change or move. A call that fails has changed
/// nothing and gives the guards back. Source: sequences.md 3, 6, 7.
export template <class Tier>
class LogicalBlockAssignments {
  public:
    using Error = LogicalBlockAssignmentError<Tier>;
    /// No limit.
    static constexpr std::size_t npos = std::numeric_limits<std::size_t>::max();

    /// An empty tracker whose first entry will serve position `offset`. An offset above 2^24 breaks
    /// a contract.
    explicit LogicalBlockAssignments(std::size_t offset = 0,
                                     Positions positions = Positions::checked)
        : row_(offset, positions) {}

    /// Position of the first entry.
    inline std::size_t offset() const noexcept { return row_.offset(); }
    inline std::size_t assigned_count() const noexcept { return row_.assigned().size(); }
    inline std::size_t staged_count() const noexcept { return row_.staged().size(); }
    inline std::size_t unassigned_count() const noexcept { return row_.unassigned().size(); }
    /// No entry in any phase.
    inline bool is_empty() const noexcept { return row_.size() == 0; }
    /// Position that the next staged entry gets: behind everything assigned and staged.
    inline std::size_t next_position() const noexcept {
        return offset() + assigned_count() + staged_count();
    }
    /// Positions by phase; an empty range still carries its place.
    inline IndexRange assigned_positions() const noexcept {
        return {offset(), offset() + assigned_count()};
    }
    inline IndexRange staged_positions() const noexcept {
        return {offset() + assigned_count(), next_position()};
    }
    inline IndexRange pending_positions() const noexcept {
        return {next_position(), offset() + row_.size()};
    }

    /// Whether the block is in the tracker, in any phase. O(1).
    inline bool contains(BlockId id) const noexcept { return row_.position_of(id).has_value(); }
    /// The position that a known block serves or will serve; the first of them. O(1).
    inline std::optional<std::size_t> position_of(BlockId id) const noexcept {
        return row_.position_of(id);
    }

    /// The guards by phase, in row order.
    inline std::span<const ImmutableBlock<Tier>> assigned() const noexcept {
        return guards<ImmutableBlock<Tier>>(row_.assigned());
    }
    inline std::span<const CompleteBlock<Tier>> staged() const noexcept {
        return guards<CompleteBlock<Tier>>(row_.staged());
    }
    inline std::span<const MutableBlock<Tier>> unassigned() const noexcept {
        return guards<MutableBlock<Tier>>(row_.unassigned());
    }
    /// Guard `index` of a phase, counted from 0; out of range gives null.
    inline const ImmutableBlock<Tier>* get_assigned(std::size_t index) const noexcept {
        return at(assigned(), index);
    }
    inline const CompleteBlock<Tier>* get_staged(std::size_t index) const noexcept {
        return at(staged(), index);
    }
    inline const MutableBlock<Tier>* get_unassigned(std::size_t index) const noexcept {
        return at(unassigned(), index);
    }
    /// The assigned guard at a position; other positions give null.
    inline const ImmutableBlock<Tier>* get_at_position(std::size_t position) const noexcept {
        return position < offset() ? nullptr : at(assigned(), position - offset());
    }
    /// The ids of the row, in order. The second form puts them into a list of the caller, whose old
    /// content goes. O(entries).
    std::vector<BlockId> all_block_ids() const {
        std::vector<BlockId> ids;
        all_block_ids(ids);
        return ids;
    }
    void all_block_ids(std::vector<BlockId>& ids) const {
        ids.clear();
        ids.reserve(row_.size());
        for (const auto* phase : {&row_.assigned(), &row_.staged(), &row_.unassigned()}) {
            for (const auto& guard : phase->span()) {
                ids.push_back(guard.id);
            }
        }
    }

    /// Queues guards in their order and gives their number. Fails with `DuplicateBlockId`.
    /// O(blocks).
    [[nodiscard]] Result<std::size_t, Error> extend_blocks(MutableBlockList<Tier> blocks) {
        const std::size_t count = blocks.size();
        if (const auto duplicate = row_.extend_blocks(Access::raw_list(blocks))) {
            return failure(Error{typename Error::DuplicateBlockId{*duplicate, std::move(blocks)}});
        }
        return count;
    }

    /// Puts registered blocks (cache hits) behind the last assigned one and gives their number.
    /// Queued entries move back by it. An empty list gives 0 and checks nothing.
    ///
    /// Fails, in this order, with `DuplicateAssignedBlockId`, `StagedPresent` while something is
    /// staged, `PositionMismatch`. O(blocks + unassigned). Source: sequences.md 6.
    [[nodiscard]] Result<std::size_t, Error> extend_assigned(ImmutableBlockList<Tier> blocks) {
        auto done = row_.extend_assigned(Access::raw_list(blocks));
        if (!done) {
            return failure(error_of(done.error(), std::move(blocks)));
        }
        return *done;
    }

    /// Pairs queued guards with token blocks, from next_position() on, and gives their number.
    ///
    /// `blocks` is the whole sequence or any contiguous run of it that does not begin after
    /// next_position(); blocks at earlier positions are skipped. Too few blocks, or none, is not an
    /// error. Fails with `BlockSizeMismatch` or `PositionMismatch`, and then all guards are still
    /// queued. With Positions::free, `blocks[i]` goes to the i-th queued guard. One lock.
    /// O(blocks paired), no allocation but growth. Source: sequences.md 6.
    [[nodiscard]] Result<std::size_t, Error> stage(std::span<const TokenBlock> blocks) {
        return staged_or_error(row_.stage(blocks));
    }

    /// Registers the first `at_most` staged blocks in position order and gives their number.
    ///
    /// Under `reject` the manager may answer with an older block of the same content: the entry's
    /// id becomes that block's, and our own has gone back to the reset pool. Callers that keep page
    /// tables read the ids again. The manager is that of the guards, or a contract is broken. One
    /// lock. Source: sequences.md 6, D17, D19.
    std::size_t register_blocks(BlockManager<Tier>& manager, std::size_t at_most = npos) {
        return row_.register_blocks(Access::store(manager), at_most);
    }

    /// stage(), then register_blocks() of everything staged; gives the number registered. One lock
    /// when nothing was staged before. Fails as stage().
    [[nodiscard]] Result<std::size_t, Error> stage_and_register(std::span<const TokenBlock> blocks,
                                                                BlockManager<Tier>& manager) {
        return staged_or_error(row_.stage_and_register(blocks, Access::store(manager)));
    }

    /// Takes the guard that was queued last, or nothing. O(1).
    [[nodiscard]] std::optional<MutableBlock<Tier>> pop_last_unassigned() {
        if (unassigned_count() == 0) {
            return std::nullopt;
        }
        return Access::make<MutableBlock<Tier>>(row_.pop_last_unassigned());
    }
    /// Releases the `count` guards that were queued last, newest first, or all queued ones if there
    /// are fewer. Gives their number. One lock. O(count).
    std::size_t drop_last_unassigned(std::size_t count) noexcept {
        return row_.drop_last_unassigned(count);
    }
    /// Takes the assigned guards; offset() grows by their number, so that the entries that stay
    /// keep their positions. O(assigned).
    [[nodiscard]] ImmutableBlockList<Tier> take_assigned() noexcept {
        return Access::make_list<ImmutableBlockList<Tier>>(row_.take_assigned());
    }
    /// Takes the staged guards; queued entries move up. O(staged + unassigned).
    [[nodiscard]] CompleteBlockList<Tier> take_staged() noexcept {
        return Access::make_list<CompleteBlockList<Tier>>(row_.take_staged());
    }
    /// Takes the queued guards. O(unassigned).
    [[nodiscard]] MutableBlockList<Tier> take_unassigned() noexcept {
        return Access::make_list<MutableBlockList<Tier>>(row_.take_unassigned());
    }

    /// Releases everything and sets offset() back to the constructed value; idempotent. Assigned,
    /// staged, unassigned, each front to back; `leaf_first` is the exact reverse. At most one lock
    /// per phase. The destructor does the same. O(entries). Source: sequences.md 7.
    void clear(ReleaseOrder order = ReleaseOrder::root_first) noexcept { row_.clear(order); }

    /// Checks what a tracker alone can show: S1, S4 and G7 of docs/VERIFICATION.md. O(entries).
    InvariantReport check_invariants() const { return row_.check_invariants(); }

  private:
    friend detail::sequence::RowAccess;
    using Access = detail::blocks::GuardAccess;
    using Offence = detail::sequence::Offence;

    template <class Guard>
    static inline std::span<const Guard> guards(const detail::blocks::RawList& phase) noexcept {
        return {Access::as_guards<Guard>(phase.data()), phase.size()};
    }
    template <class Guard>
    static inline const Guard* at(std::span<const Guard> phase, std::size_t index) noexcept {
        return index < phase.size() ? &phase[index] : nullptr;
    }
    static Error error_of(const Offence& offence, ImmutableBlockList<Tier>&& blocks) {
        switch (offence.kind) {
            case Offence::Kind::duplicate:
                return {
                    typename Error::DuplicateAssignedBlockId{offence.block_id, std::move(blocks)}};
            case Offence::Kind::staged_present:
                return {typename Error::StagedPresent{offence.actual, std::move(blocks)}};
            case Offence::Kind::misplaced:
                return {typename Error::PositionMismatch{offence.expected, offence.actual,
                                                         offence.block_id, std::move(blocks)}};
            case Offence::Kind::wrong_size:
                break;
        }
        return {
            typename Error::BlockSizeMismatch{offence.expected, offence.actual, offence.block_id}};
    }
    static Result<std::size_t, Error> staged_or_error(Result<std::size_t, Offence> staged) {
        if (!staged) {
            return failure(error_of(staged.error(), {}));
        }
        return *staged;
    }

    detail::sequence::LogicalRow row_;
};

}  // namespace kvbm
