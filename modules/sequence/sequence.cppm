//! kvbm.sequence: which physical block serves which position of a token sequence.
//!
//! A BlockSequence cuts tokens into blocks and names each block by its hash. A tracker holds a row
//! of block ids; entry k of the row serves, or will serve, position offset + k. Two partition
//! points cut the row into three phases:
//!
//!   offset            offset+a            offset+a+s                offset+a+s+u
//!     |--- assigned ---|------ staged ------|------ unassigned -------|
//!          (id,hash)         (id,hash)              (id)
//!                                            ^ next_position()
//!
//! Entries move left across the partition points only, from the front of their phase to the back
//! of the next. An id in the row is *known*, whatever its phase; *pending* is another word for
//! unassigned.
//!
//! Invariants (sequences.md 10): I1 an id is in at most one phase, once; I2 the three ranges are
//! adjacent and start at the offset; I3 the hash of entry k has position offset + k; I7 two entries
//! never change their order; I9 a call that fails changes nothing.
module;

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.sequence;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.tokens;
export import :logical;

namespace kvbm {

/// Why a BlockSequence or an ExternalBlockAssignments refused a call. The refused call has changed
/// nothing.
///
/// Source: sequences.md 8.
export struct BlockSequenceError {
    /// A list of ids names a known id after a new one. Both indices count from the start of the
    /// list; `new_id` is the list's first new id.
    struct OrderingViolation {
        BlockId known_id;
        BlockId new_id;
        std::size_t known_index;
        std::size_t first_new_index;
        friend bool operator==(const OrderingViolation&, const OrderingViolation&) = default;
    };
    /// A hash carries another position than the one it would have served. `block_id` is the id it
    /// would have gone to.
    struct PositionMismatch {
        std::size_t expected;
        std::size_t actual;
        BlockId block_id;
        friend bool operator==(const PositionMismatch&, const PositionMismatch&) = default;
    };
    /// An id that must be new is known, or occurs twice in one list.
    struct DuplicateBlockId {
        BlockId block_id;
        friend bool operator==(const DuplicateBlockId&, const DuplicateBlockId&) = default;
    };
    /// The token sequence refused the tokens; its reason is inside.
    struct TokenExtension {
        TokenBlockError error;
        friend bool operator==(const TokenExtension&, const TokenExtension&) = default;
    };
    /// Assigned entries cannot be added while something is staged: they would take its positions.
    struct StagedPresent {
        std::size_t staged_count;
        friend bool operator==(const StagedPresent&, const StagedPresent&) = default;
    };

    std::variant<OrderingViolation, PositionMismatch, DuplicateBlockId, TokenExtension,
                 StagedPresent>
        reason;

    /// One sentence with the values, such as `duplicate block_id 9 already present`.
    std::string message() const;

    friend bool operator==(const BlockSequenceError&, const BlockSequenceError&) = default;
};

export class BlockSequence;

namespace detail::sequence {

/// Takes appended tokens back when a later step of the same call fails. For the layers above, not
/// for users.
export class Rewind {
  public:
    /// Keeps the first `count` tokens of a sequence without multimodal runs.
    static void truncate(BlockSequence& sequence, std::size_t count) noexcept;
};

}  // namespace detail::sequence

/// A token sequence cut into blocks of equal size, each full block named by its hash.
///
/// A full block is closed by its last token: `total_tokens() == blocks().size() * block_size() +
/// tail` with `tail < block_size()`, after every call. It knows nothing of block ids.
/// Regular value, single owner. Spans are valid until the next change or move.
/// Source: sequences.md 2.
export class BlockSequence {
  public:
    /// Cuts `tokens` into blocks of `block_size` tokens; no salt is salt hash 0. A block size of 0
    /// and more than 2^24 blocks break a contract. O(tokens), one pass.
    BlockSequence(std::span<const Token> tokens, std::size_t block_size, SaltHash salt = 0);
    BlockSequence(std::initializer_list<Token> tokens, std::size_t block_size, SaltHash salt = 0);

    /// Takes a ready sequence as it is, multimodal runs included. O(blocks).
    explicit BlockSequence(TokenBlockSequence sequence);

    /// The constructor for foreign data: more than 2^24 blocks give
    /// `TokenExtension{PositionTooLarge}`. A block size of 0 breaks a contract.
    [[nodiscard]] static Result<BlockSequence, BlockSequenceError> create(
        std::span<const Token> tokens, std::size_t block_size, SaltHash salt = 0);
    [[nodiscard]] static Result<BlockSequence, BlockSequenceError> create(
        std::initializer_list<Token> tokens, std::size_t block_size, SaltHash salt = 0);

    /// The full blocks; `blocks()[p]` is the block at position p.
    inline std::span<const TokenBlock> blocks() const noexcept { return sequence_.blocks(); }
    /// Tokens per block.
    inline std::size_t block_size() const noexcept { return sequence_.block_size(); }
    /// All tokens, those of the unfinished tail included.
    inline std::size_t total_tokens() const noexcept { return sequence_.total_tokens(); }
    /// The token sequence itself.
    inline const TokenBlockSequence& sequence() const noexcept { return sequence_; }
    /// The hashes of `blocks()`, in the same order. Kept beside the blocks: O(1).
    inline std::span<const SequenceHash> all_sequence_hashes() const noexcept { return hashes_; }

    /// Makes room for `count` tokens in all and the blocks they fill: until there are more,
    /// appending allocates nothing. Grows to twice the room at least, so many calls cost O(tokens).
    void reserve(std::size_t count);

    /// Appends tokens. Gives the range of block indices that this call completed, or nothing if it
    /// completed none; a tail stays open for the next call.
    ///
    /// Fails with `TokenExtension{PositionTooLarge}` before anything is appended. The tokens must
    /// not be the sequence's own. O(tokens given).
    [[nodiscard]] Result<std::optional<IndexRange>, BlockSequenceError> extend_tokens(
        std::span<const Token> tokens);
    [[nodiscard]] Result<std::optional<IndexRange>, BlockSequenceError> extend_tokens(
        std::initializer_list<Token> tokens);

    /// Appends one token. Gives the index of the block it completed, or nothing. Fails as
    /// extend_tokens(). O(1) amortised.
    [[nodiscard]] Result<std::optional<std::size_t>, BlockSequenceError> append_token(Token token);

    friend bool operator==(const BlockSequence& a, const BlockSequence& b) {
        return a.sequence_ == b.sequence_;
    }

  private:
    friend detail::sequence::Rewind;

    void add_hashes_of_new_blocks() noexcept;
    void reserve_hashes(std::size_t new_tokens);

    TokenBlockSequence sequence_;
    std::vector<SequenceHash> hashes_;
};

/// A block id and the hash of the content it holds. Decomposes as `auto [id, hash]`.
export struct Assignment {
    BlockId id;
    SequenceHash hash;
    friend bool operator==(const Assignment&, const Assignment&) = default;
};

export class ExternalBlockAssignments;

namespace detail::sequence {

/// The costs of a tracker since its construction; a copy begins with those of its original.
export TrackerCosts costs_of(const ExternalBlockAssignments& tracker) noexcept;

/// Twelve ids of a table, one cache line: a tag and a place of each. Tag 0: free.
struct alignas(64) IdBucket {
    std::array<std::uint8_t, 12> tags{};
    std::uint32_t passed = 0;  ///< ids that found this bucket full and stand behind it
    std::array<std::uint32_t, 12> places{};
};
static_assert(sizeof(IdBucket) == 64);

/// Finds the place of an id in a row of entries.
///
/// A short row is scanned. A longer one has a table of buckets, at most half full. One compare
/// finds the candidates of a bucket, and a wrong one is almost never looked up in the row; so how
/// long a call takes does not depend on what a branch predictor has seen. The row is passed to each
/// call; an entry of the table is always at its place in that row unless a call says otherwise.
class IdIndex {
  public:
    static constexpr std::size_t none = ~std::size_t{0};
    static constexpr std::size_t scanned_at_most = 16;
    static constexpr std::size_t ids_at_most = std::size_t{1} << 30;
    static constexpr std::size_t ids_per_bucket = 6;

    using Row = std::vector<Assignment>;

    /// Makes room for `count` ids in all, so that adding up to them neither allocates nor moves.
    void reserve(const Row& row, std::size_t count);
    /// The place of an id, or `none`.
    std::size_t find(const Row& row, BlockId id) const noexcept;
    /// The same, counted as a cost of a changing call.
    std::size_t find_counted(const Row& row, BlockId id) noexcept;
    /// The place of a known id; a new one is added for the place row.size() and gives `none`.
    std::size_t find_or_add(const Row& row, BlockId id) noexcept;
    /// Asks for the memory that find_or_add() of this id will need, some calls ahead of it.
    void prefetch(BlockId id) const noexcept;
    /// Adds an id that is not in the table.
    void add(BlockId id, std::size_t place) noexcept;
    /// Forgets the id at a place. The ids of all places in the table must still be in the row.
    void erase(const Row& row, std::size_t place) noexcept;
    /// The id that was at `from` is at `to` now. Does not look into a row.
    void renumber(BlockId id, std::size_t from, std::size_t to) noexcept;
    /// Forgets all ids of the row. O(row), however large the table once was.
    void clear(const Row& row) noexcept;

    inline std::uint64_t probes() const noexcept { return probes_; }

  private:
    struct Key {
        std::size_t home;  // the bucket where probing starts
        std::uint8_t tag;
    };
    struct Cell {
        std::size_t bucket;
        unsigned number;
    };
    Key key_of(BlockId id) const noexcept;
    std::size_t next(std::size_t bucket) const noexcept;
    std::size_t locate(const Row& row, BlockId id, Key key, std::uint64_t& probes) const noexcept;
    void put(Key key, std::size_t place) noexcept;
    Cell cell_of(Key key, std::size_t place) noexcept;

    std::vector<IdBucket> buckets_;  // a power of two, or none: the row is scanned
    std::uint64_t probes_ = 0;
};

}  // namespace detail::sequence

/// The ids of a run of entries, in row order: a random-access view. Valid as long as the span it
/// was made of.
export class BlockIdView {
  public:
    class iterator {
      public:
        using iterator_category = std::random_access_iterator_tag;
        using value_type = BlockId;
        using difference_type = std::ptrdiff_t;
        using reference = const BlockId&;
        using pointer = const BlockId*;

        constexpr iterator() noexcept = default;
        constexpr explicit iterator(const Assignment* entry) noexcept : entry_(entry) {}
        constexpr reference operator*() const noexcept { return entry_->id; }
        constexpr pointer operator->() const noexcept { return &entry_->id; }
        constexpr reference operator[](difference_type n) const noexcept { return entry_[n].id; }
        constexpr iterator& operator++() noexcept { return *this += 1; }
        constexpr iterator operator++(int) noexcept { return std::exchange(*this, *this + 1); }
        constexpr iterator& operator--() noexcept { return *this -= 1; }
        constexpr iterator operator--(int) noexcept { return std::exchange(*this, *this - 1); }
        constexpr iterator& operator+=(difference_type n) noexcept {
            entry_ += n;
            return *this;
        }
        constexpr iterator& operator-=(difference_type n) noexcept { return *this += -n; }
        friend constexpr iterator operator+(iterator it, difference_type n) noexcept {
            return it += n;
        }
        friend constexpr iterator operator+(difference_type n, iterator it) noexcept {
            return it += n;
        }
        friend constexpr iterator operator-(iterator it, difference_type n) noexcept {
            return it -= n;
        }
        friend constexpr difference_type operator-(iterator a, iterator b) noexcept {
            return a.entry_ - b.entry_;
        }
        friend constexpr bool operator==(iterator, iterator) noexcept = default;
        friend constexpr auto operator<=>(iterator, iterator) noexcept = default;

      private:
        const Assignment* entry_ = nullptr;
    };

    constexpr explicit BlockIdView(std::span<const Assignment> entries) noexcept
        : entries_(entries) {}

    constexpr std::size_t size() const noexcept { return entries_.size(); }
    constexpr bool empty() const noexcept { return entries_.empty(); }
    /// The id of entry `index`, which breaks a contract if there is none.
    constexpr BlockId operator[](std::size_t index) const noexcept {
        expects(index < entries_.size(), "the index is less than the size of the view");
        return entries_[index].id;
    }
    constexpr iterator begin() const noexcept { return iterator(entries_.data()); }
    constexpr iterator end() const noexcept { return iterator(entries_.data() + entries_.size()); }

  private:
    std::span<const Assignment> entries_;
};

/// Assigns block ids to positions at identity level: ids and hashes, no guards.
///
/// Ids may be any 64-bit values, at most 2^30 of them at a time. Regular value (equality: offset
/// and row), single owner; a moved-from tracker is empty. Const calls allocate nothing; spans and
/// views are valid until the next change or move. A call that fails has changed nothing.
/// Source: sequences.md 3, 4.
export class ExternalBlockAssignments {
  public:
    /// An empty tracker whose first entry will serve position `offset`. An offset above 2^24 breaks
    /// a contract.
    explicit ExternalBlockAssignments(std::size_t offset = 0);
    ExternalBlockAssignments(const ExternalBlockAssignments&) = default;
    ExternalBlockAssignments& operator=(const ExternalBlockAssignments&) = default;
    ExternalBlockAssignments(ExternalBlockAssignments&& other) noexcept;
    ExternalBlockAssignments& operator=(ExternalBlockAssignments&& other) noexcept;
    ~ExternalBlockAssignments() = default;

    /// Position of the first entry.
    inline std::size_t offset() const noexcept { return offset_; }
    inline std::size_t assigned_count() const noexcept { return assigned_; }
    inline std::size_t staged_count() const noexcept { return staged_; }
    inline std::size_t unassigned_count() const noexcept {
        return row_.size() - assigned_ - staged_;
    }
    /// No entry in any phase.
    inline bool is_empty() const noexcept { return row_.empty(); }
    /// Position that the next staged entry gets: behind everything assigned and staged.
    inline std::size_t next_position() const noexcept { return offset_ + assigned_ + staged_; }
    /// Positions by phase; an empty range still carries its place.
    inline IndexRange assigned_positions() const noexcept { return {offset_, offset_ + assigned_}; }
    inline IndexRange staged_positions() const noexcept {
        return {offset_ + assigned_, next_position()};
    }
    inline IndexRange pending_positions() const noexcept {
        return {next_position(), offset_ + row_.size()};
    }

    /// Whether the id is in the tracker, in any phase. O(1).
    inline bool contains(BlockId id) const noexcept {
        return index_.find(row_, id) != detail::sequence::IdIndex::none;
    }
    /// The position that a known id serves or will serve. O(1).
    std::optional<std::size_t> position_of(BlockId id) const noexcept;

    /// The entries by phase, in row order.
    inline std::span<const Assignment> assigned() const noexcept {
        return std::span(row_).first(assigned_);
    }
    inline std::span<const Assignment> staged() const noexcept {
        return std::span(row_).subspan(assigned_, staged_);
    }
    inline BlockIdView unassigned() const noexcept {
        return BlockIdView(std::span(row_).subspan(assigned_ + staged_));
    }
    /// Entry `index` of a phase, counted from 0; out of range gives nothing.
    inline std::optional<Assignment> get_assigned(std::size_t index) const noexcept {
        return index < assigned_ ? std::optional(row_[index]) : std::nullopt;
    }
    inline std::optional<Assignment> get_staged(std::size_t index) const noexcept {
        return index < staged_ ? std::optional(row_[assigned_ + index]) : std::nullopt;
    }
    /// The assigned entry at a position; other positions give nothing.
    inline std::optional<Assignment> get_at_position(std::size_t position) const noexcept {
        return assigned_positions().contains(position) ? std::optional(row_[position - offset_])
                                                       : std::nullopt;
    }
    /// The queued id that would get a position; other positions give nothing.
    inline std::optional<BlockId> get_pending_at_position(std::size_t position) const noexcept {
        return pending_positions().contains(position) ? std::optional(row_[position - offset_].id)
                                                      : std::nullopt;
    }

    /// Queues the new ids of a list, which may begin with known ids in any order: a caller may pass
    /// a request's whole id list each time, or the new ids only.
    ///
    /// Fails at the first offence in list order: a known id behind a new one is
    /// `OrderingViolation`, a new id that occurs again is `DuplicateBlockId`. O(ids); a list that
    /// begins as the row does is compared with it, without a search. Source: sequences.md 4, D6.
    [[nodiscard]] Result<void, BlockSequenceError> extend_block_ids(std::span<const BlockId> ids);
    [[nodiscard]] Result<void, BlockSequenceError> extend_block_ids(
        std::initializer_list<BlockId> ids);

    /// Puts ids whose hash is known already (cache hits) behind the last assigned entry and gives
    /// their number. Pending entries move back by it. An empty list gives 0 and checks nothing.
    ///
    /// Fails, in this order, with `DuplicateBlockId` for the first id that is known or occurs
    /// again, `StagedPresent` while something is staged, `PositionMismatch` for the first hash that
    /// is not at its position. O(pairs + unassigned). Source: sequences.md 4, D8, D9.
    [[nodiscard]] Result<std::size_t, BlockSequenceError> extend_assigned(
        std::span<const Assignment> pairs);
    [[nodiscard]] Result<std::size_t, BlockSequenceError> extend_assigned(
        std::initializer_list<Assignment> pairs);

    /// Pairs queued ids with hashes, from next_position() on. `blocks` is the sequence from
    /// position 0, or a prefix of it; too few blocks, or none, is not an error. Gives the indices
    /// within the staged phase of the entries added.
    ///
    /// Fails with `PositionMismatch` for the first block that is not at its position. O(entries
    /// staged), no allocation. Source: sequences.md 4, D12.
    [[nodiscard]] Result<IndexRange, BlockSequenceError> stage_pending(
        std::span<const TokenBlock> blocks);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> stage_pending(
        std::initializer_list<TokenBlock> blocks);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> stage_pending(
        std::span<const SequenceHash> hashes);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> stage_pending(
        std::initializer_list<SequenceHash> hashes);

    /// Makes everything staged assigned. Gives the indices within the assigned phase of the entries
    /// added. O(1).
    IndexRange commit_staged() noexcept;

    /// stage_pending(), and commit_staged() if that succeeded: what was staged before is committed
    /// too, and the range covers it. Fails as stage_pending().
    [[nodiscard]] Result<IndexRange, BlockSequenceError> assign_pending(
        std::span<const TokenBlock> blocks);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> assign_pending(
        std::initializer_list<TokenBlock> blocks);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> assign_pending(
        std::span<const SequenceHash> hashes);
    [[nodiscard]] Result<IndexRange, BlockSequenceError> assign_pending(
        std::initializer_list<SequenceHash> hashes);

    /// Removes and gives the staged entries, in order; pending entries move up into their
    /// positions. O(staged + unassigned).
    std::vector<Assignment> take_staged();

    /// Removes everything; the offset stays. O(entries).
    void clear() noexcept;

    friend bool operator==(const ExternalBlockAssignments& a,
                           const ExternalBlockAssignments& b) noexcept;

  private:
    friend detail::sequence::TrackerCosts detail::sequence::costs_of(
        const ExternalBlockAssignments& tracker) noexcept;

    void reserve_for(std::size_t new_entries);
    void drop_last_entries_to(std::size_t size) noexcept;
    void put_last_entries_before_pending(std::size_t count) noexcept;
    template <class Block>
    Result<IndexRange, BlockSequenceError> stage(std::span<const Block> blocks) noexcept;

    std::size_t offset_ = 0;
    std::size_t assigned_ = 0;
    std::size_t staged_ = 0;
    std::vector<Assignment> row_;  // the hash of an unassigned entry means nothing
    detail::sequence::IdIndex index_;
    std::uint64_t entry_moves_ = 0;
};

/// Two blocks that serve one position, of the first and of the second tracker.
export struct ZippedBlocks {
    std::size_t position;
    BlockId first;
    BlockId second;
    friend bool operator==(const ZippedBlocks&, const ZippedBlocks&) = default;
};

/// The positions that are assigned in both trackers, ascending, with both ids.
///
/// Both trackers must describe the same sequence: positions are compared, hashes are not. O(size of
/// the result). The second form puts the result into a list of the caller, whose old content goes.
/// Source: sequences.md 5.
export std::vector<ZippedBlocks> zip_assigned(const ExternalBlockAssignments& a,
                                              const ExternalBlockAssignments& b);
export void zip_assigned(const ExternalBlockAssignments& a, const ExternalBlockAssignments& b,
                         std::vector<ZippedBlocks>& result);

/// The positions that are assigned in `source` and pending in `destination`, ascending, with both
/// ids: the plan of copies that brings blocks from one memory tier to another. Otherwise as
/// zip_assigned().
export std::vector<ZippedBlocks> zip_assigned_pending(const ExternalBlockAssignments& source,
                                                      const ExternalBlockAssignments& destination);
export void zip_assigned_pending(const ExternalBlockAssignments& source,
                                 const ExternalBlockAssignments& destination,
                                 std::vector<ZippedBlocks>& result);

}  // namespace kvbm
