//! kvbm.request:sequence: a request without a policy: its tokens, its blocks, its counters.
//!
//! What changes is in two tier-free classes, RequestCore here and LogicalRow in kvbm.sequence, so
//! that bodies are compiled once; RequestSequence is their typed face.
module;

#include <cstddef>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.request:sequence;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.tokens;
export import kvbm.blocks;
export import kvbm.sequence;

namespace kvbm {

/// The request still holds blocks where it must hold none.
export struct BlocksHeld {
    std::size_t count;
    std::string message() const;
    friend constexpr bool operator==(const BlocksHeld&, const BlocksHeld&) noexcept = default;
};

/// The request has all the tokens it may generate; `generated` is how many that are.
export struct GenerationComplete {
    std::size_t generated;
    std::size_t max_output;
    std::string message() const;
    friend constexpr bool operator==(const GenerationComplete&,
                                     const GenerationComplete&) noexcept = default;
};

/// The token sequence refused the tokens: it has no position for another block.
export struct TokenExtension {
    TokenBlockError error;
    std::string message() const;
    friend constexpr bool operator==(const TokenExtension&,
                                     const TokenExtension&) noexcept = default;
};

namespace detail::request {

/// A matched block that is not the sequence's at its place.
export struct Misfit {
    std::size_t position;
    SequenceHash expected;
    SequenceHash actual;
};

/// Tokens and counters of a request; its blocks are in the row that calls are given. For the typed
/// faces, not for users.
export class RequestCore {
  public:
    using Row = sequence::LogicalRow;
    using Store = blocks::Store;
    static constexpr std::size_t npos = std::numeric_limits<std::size_t>::max();

    RequestCore(std::span<const Token> tokens, std::size_t max_output, std::size_t block_size,
                SaltHash salt);

    inline const BlockSequence& sequence() const noexcept { return sequence_; }
    inline std::size_t block_size() const noexcept { return sequence_.block_size(); }
    inline std::size_t num_input_tokens() const noexcept { return num_input_tokens_; }
    inline std::size_t max_output_tokens() const noexcept { return max_output_tokens_; }
    inline std::size_t total_tokens() const noexcept { return sequence_.total_tokens(); }
    inline std::size_t generated_tokens() const noexcept {
        return total_tokens() - num_input_tokens_;
    }
    inline std::size_t remaining_tokens() const noexcept {
        return max_output_tokens_ - generated_tokens();
    }
    inline bool is_complete() const noexcept { return generated_tokens() >= max_output_tokens_; }
    inline std::size_t num_blocks() const noexcept { return sequence_.blocks().size(); }
    inline std::size_t prefix_matched_blocks() const noexcept { return prefix_matched_; }
    inline std::size_t new_tokens_for_prefill() const noexcept {
        const std::size_t matched = prefix_matched_ * block_size();
        return total_tokens() > matched ? total_tokens() - matched : 0;
    }
    /// Blocks that so many tokens need.
    inline std::size_t blocks_for(std::size_t tokens) const noexcept {
        return tokens / block_size() + (tokens % block_size() == 0 ? 0 : 1);
    }

    /// The contracts of every call that is given a manager.
    void use(const Store& store) noexcept;
    Result<std::size_t, BlocksHeld> match(Row& row, Store& store, std::size_t at_most);
    std::optional<Misfit> misfit(const Row& row,
                                 std::span<const blocks::RawGuard> guards) const noexcept;
    inline void add_to_prefix(std::size_t count) noexcept {
        prefix_matched_ += count;
        prefix_held_ = true;
    }
    /// Also makes room for the tokens that these blocks will hold, so that appending them cannot
    /// fail for memory.
    bool allocate(Row& row, Store& store, std::size_t count);
    /// The blocks below `limit`: stages what is queued of them, registers what is staged of them.
    std::size_t register_below(Row& row, Store& store, std::size_t limit);
    Result<bool, BlocksHeld> reacquire(Row& row, Store& store, std::size_t at_most);
    void release(Row& row, ReleaseOrder order) noexcept;
    /// Appends all tokens or, with the reason, none. Looks at no limit but that of positions.
    Result<std::optional<IndexRange>, TokenExtension> append(std::span<const Token> tokens);
    /// Takes back what append() appended last.
    void take_back(std::size_t count) noexcept;
    /// R1, R4, R11, R15 and those of the row.
    InvariantReport check_invariants(const Row& row) const;

  private:
    BlockSequence sequence_;
    std::size_t num_input_tokens_;
    std::size_t max_output_tokens_;
    std::size_t prefix_matched_ = 0;
    bool prefix_held_ = true;  // not released since the prefix was matched
    ManagerId manager_ = ManagerId::null();
};

/// Leads from a request to its parts. For the typed faces, not for users.
export class RequestAccess {
  public:
    template <class Request>
    static inline auto& core(Request& request) noexcept {
        return request.core_;
    }
    template <class Request>
    static inline auto& row(Request& request) noexcept {
        return sequence::RowAccess::row(request.assignments_);
    }
};

}  // namespace detail::request

/// Why a RequestSequence refused a call. The refused call has changed nothing, and the guards that
/// were moved into it are in the reason. Source: requests.md 5.
export template <class Tier = DefaultTier>
struct RequestError {
    using BlocksHeld = kvbm::BlocksHeld;
    using GenerationComplete = kvbm::GenerationComplete;
    using TokenExtension = kvbm::TokenExtension;
    /// More blocks were matched than the sequence has full blocks without one.
    struct MatchExceedsSequence {
        std::size_t matched;
        std::size_t available;
        ImmutableBlockList<Tier> blocks;
        std::string message() const { return "matched blocks exceed completed sequence blocks"; }
    };
    using Tracker = LogicalBlockAssignmentError<Tier>;
    using DuplicateBlockId = typename Tracker::DuplicateBlockId;
    using DuplicateAssignedBlockId = typename Tracker::DuplicateAssignedBlockId;
    using SequenceHashMismatch = typename Tracker::SequenceHashMismatch;
    using BlockSizeMismatch = typename Tracker::BlockSizeMismatch;
    using PositionMismatch = typename Tracker::PositionMismatch;
    using StagedPresent = typename Tracker::StagedPresent;

    std::variant<BlocksHeld, GenerationComplete, TokenExtension, MatchExceedsSequence,
                 DuplicateBlockId, DuplicateAssignedBlockId, SequenceHashMismatch,
                 BlockSizeMismatch, PositionMismatch, StagedPresent>
        reason;

    /// One sentence with the values, such as `generation complete: 3 >= 3`.
    std::string message() const {
        return std::visit([](const auto& alternative) { return alternative.message(); }, reason);
    }
};

/// A request and its blocks, without a policy: the caller decides what to allocate, and vouches for
/// what has been computed.
///
/// Move-only, single owner; a moved-from request may only be assigned or destroyed. Every call that
/// takes a manager takes the same one throughout, of the request's block size, or breaks a
/// contract. A call that fails has changed nothing. Source: requests.md 2.
export template <class Tier = DefaultTier>
class RequestSequence {
  public:
    using Error = RequestError<Tier>;
    using Manager = BlockManager<Tier>;
    /// No limit.
    static constexpr std::size_t npos = std::numeric_limits<std::size_t>::max();

    /// A request of these tokens that may generate `max_output` more, 0 included. Cuts and hashes;
    /// holds no block. A block size of 0 and more than 2^24 blocks break a contract. O(tokens).
    RequestSequence(std::span<const Token> tokens, std::size_t max_output, std::size_t block_size,
                    SaltHash salt = 0)
        : core_(tokens, max_output, block_size, salt) {}
    RequestSequence(std::initializer_list<Token> tokens, std::size_t max_output,
                    std::size_t block_size, SaltHash salt = 0)
        : RequestSequence(std::span(tokens.begin(), tokens.size()), max_output, block_size, salt) {}

    /// Tokens per block.
    inline std::size_t block_size() const noexcept { return core_.block_size(); }
    /// Tokens of the prompt.
    inline std::size_t num_input_tokens() const noexcept { return core_.num_input_tokens(); }
    /// Tokens appended since.
    inline std::size_t generated_tokens() const noexcept { return core_.generated_tokens(); }
    inline std::size_t max_output_tokens() const noexcept { return core_.max_output_tokens(); }
    /// Tokens that may still be appended.
    inline std::size_t remaining_tokens() const noexcept { return core_.remaining_tokens(); }
    inline std::size_t total_tokens() const noexcept { return core_.total_tokens(); }
    /// No token may be appended any more.
    inline bool is_complete() const noexcept { return core_.is_complete(); }
    /// Blocks whose tokens are all known.
    inline std::size_t num_blocks() const noexcept { return core_.num_blocks(); }
    /// Blocks held, by phase.
    inline std::size_t assigned_blocks() const noexcept { return assignments_.assigned_count(); }
    inline std::size_t staged_blocks() const noexcept { return assignments_.staged_count(); }
    inline std::size_t unassigned_blocks() const noexcept {
        return assignments_.unassigned_count();
    }
    /// Blocks adopted by the last match or reacquire, and by add_matched_blocks() since. Stays when
    /// the blocks are released.
    inline std::size_t prefix_matched_blocks() const noexcept {
        return core_.prefix_matched_blocks();
    }
    /// Known tokens that the matched prefix does not cover.
    inline std::size_t new_tokens_for_prefill() const noexcept {
        return core_.new_tokens_for_prefill();
    }
    inline const BlockSequence& sequence() const noexcept { return core_.sequence(); }
    inline const LogicalBlockAssignments<Tier>& assignments() const noexcept {
        return assignments_;
    }
    /// The page table: ids of the blocks assigned, staged, unassigned, each in order. Registering
    /// under BlockDuplicationPolicy::reject may change it. The second form puts it into a list of
    /// the caller, whose old content goes. O(blocks).
    std::vector<BlockId> block_ids() const { return assignments_.all_block_ids(); }
    void block_ids(std::vector<BlockId>& ids) const { assignments_.all_block_ids(ids); }

    /// Adopts the longest cached prefix of the first `at_most` full blocks as assigned; gives its
    /// length in blocks, which becomes prefix_matched_blocks(). Fails with `BlocksHeld`. One lock.
    [[nodiscard]] Result<std::size_t, Error> match_and_add_prefix(Manager& manager,
                                                                  std::size_t at_most = npos) {
        return or_error(core_.match(row(), used(manager), at_most));
    }
    /// Adopts registered blocks found by other means behind the assigned ones; gives their number,
    /// which is added to prefix_matched_blocks().
    ///
    /// Fails with `MatchExceedsSequence`, `SequenceHashMismatch`, or as
    /// LogicalBlockAssignments::extend_assigned(); every error gives all guards back. O(blocks).
    [[nodiscard]] Result<std::size_t, Error> add_matched_blocks(ImmutableBlockList<Tier> blocks) {
        const auto& raw = Access::raw_list(blocks);
        if (raw.store() != nullptr) {
            core_.use(*raw.store());
        }
        const std::size_t available = core_.num_blocks() - assigned_blocks();
        if (blocks.size() > available) {
            return failure(Error{
                typename Error::MatchExceedsSequence{blocks.size(), available, std::move(blocks)}});
        }
        if (const auto misfit = core_.misfit(row(), raw.span())) {
            return failure(Error{typename Error::SequenceHashMismatch{
                misfit->position, misfit->expected, misfit->actual, std::move(blocks)}});
        }
        auto added = assignments_.extend_assigned(std::move(blocks));
        if (!added) {
            return failure(
                std::visit([](auto& alternative) { return Error{std::move(alternative)}; },
                           added.error().reason));
        }
        core_.add_to_prefix(*added);
        return *added;
    }

    /// Queues `count` fresh blocks, all or none. False: the manager has fewer, and nothing has
    /// changed. 0 is true. At most one lock. O(count).
    [[nodiscard]] bool allocate_blocks(std::size_t count, Manager& manager) {
        return core_.allocate(row(), used(manager), count);
    }
    /// Pairs queued blocks with full token blocks; gives their number. A block without a full token
    /// block stays queued. At most one lock. O(paired).
    std::size_t stage_pending() { return *row().stage(core_.sequence().blocks()); }
    /// Registers all staged blocks; gives their number. Under BlockDuplicationPolicy::reject ids
    /// may change. At most one lock. O(staged).
    std::size_t register_staged(Manager& manager) {
        return row().register_blocks(used(manager), npos);
    }
    /// stage_pending(), then register_staged(): the caller vouches that the KV of all these tokens
    /// has been computed. Gives the number registered. One lock if nothing was staged.
    std::size_t complete_and_register_pending(Manager& manager) {
        return core_.register_below(row(), used(manager), npos);
    }
    /// The same for what the KV rule allows: the blocks whose tokens are all below `kv_position`.
    std::size_t register_computed(std::size_t kv_position, Manager& manager) {
        return core_.register_below(row(), used(manager), kv_position / block_size());
    }

    /// Appends a generated token; gives the index of the block whose text it completed, if any.
    /// Touches no block. Fails with `GenerationComplete`, then `TokenExtension`. O(1) amortised.
    [[nodiscard]] Result<std::optional<std::size_t>, Error> append_token(Token token) {
        return append_tokens(std::span(&token, 1)).map([](const std::optional<IndexRange>& range) {
            return range ? std::optional(range->first) : std::nullopt;
        });
    }
    /// The same with all of these tokens or none; gives the blocks they completed.
    /// `GenerationComplete` is what the first token beyond the limit would have met.
    [[nodiscard]] Result<std::optional<IndexRange>, Error> append_tokens(
        std::span<const Token> tokens) {
        if (tokens.size() > core_.remaining_tokens()) {
            return failure(Error{GenerationComplete{max_output_tokens(), max_output_tokens()}});
        }
        return or_error(core_.append(tokens));
    }
    [[nodiscard]] Result<std::optional<IndexRange>, Error> append_tokens(
        std::initializer_list<Token> tokens) {
        return append_tokens(std::span(tokens.begin(), tokens.size()));
    }

    /// Drops all blocks; tokens and counters stay. Idempotent. The destructor does the same. At
    /// most one lock per phase.
    void release(ReleaseOrder order = ReleaseOrder::root_first) noexcept {
        core_.release(row(), order);
    }
    /// After release(): adopts the cached prefix of the first `at_most` full blocks and queues
    /// fresh ones for the other full blocks; nothing is in those, and nothing is registered.
    ///
    /// False: the pool is too small; what was matched is released again, and the request is as it
    /// was (in the pool the matched blocks count as just used). Fails with `BlocksHeld`. Two locks.
    [[nodiscard]] Result<bool, Error> reacquire(Manager& manager, std::size_t at_most = npos) {
        return or_error(core_.reacquire(row(), used(manager), at_most));
    }
    /// Drops queued blocks, newest first, until `keep` are left; gives how many. At most one lock.
    std::size_t drop_excess_unassigned(std::size_t keep) {
        const std::size_t queued = unassigned_blocks();
        return queued > keep ? row().drop_last_unassigned(queued - keep) : 0;
    }

    /// Checks R1, R4, R11 and R15 of requests.md 8 and the invariants of the tracker. O(blocks).
    InvariantReport check_invariants() const { return core_.check_invariants(row()); }

  private:
    friend detail::request::RequestAccess;
    using Access = detail::blocks::GuardAccess;

    inline detail::sequence::LogicalRow& row() noexcept {
        return detail::sequence::RowAccess::row(assignments_);
    }
    inline const detail::sequence::LogicalRow& row() const noexcept {
        return detail::sequence::RowAccess::row(assignments_);
    }
    inline detail::blocks::Store& used(Manager& manager) noexcept {
        auto& store = Access::store(manager);
        core_.use(store);
        return store;
    }
    template <class T, class Reason>
    static Result<T, Error> or_error(Result<T, Reason> result) {
        if (!result) {
            return failure(Error{std::move(result.error())});
        }
        return *std::move(result);
    }

    detail::request::RequestCore core_;
    LogicalBlockAssignments<Tier> assignments_;
};

}  // namespace kvbm
