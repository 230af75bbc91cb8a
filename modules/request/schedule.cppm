//! kvbm.request:schedule: a request with a schedule and an apply call around each forward pass.
//!
//!                 schedule_prefill(n)     apply_prefill(token?)    K + n, registers up to K / B
//!   Idle (K, T) --schedule_decode-------> apply_decode(token)----> K + 1, T + 1, likewise
//!                 schedule_speculative(d) apply_speculative(r)     K + r, T + r, drops the excess
//!        \------------------------------ revert_schedule --------> as before
//!
//! Schedule calls allocate and never register; apply calls register and never allocate, so that an
//! apply cannot fail for want of blocks. Between the two the engine runs its forward pass and
//! writes KV into the queued blocks.
module;

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.request:schedule;

export import :sequence;

namespace kvbm {

/// Nothing is scheduled.
export struct Idle {
    friend constexpr bool operator==(const Idle&, const Idle&) noexcept = default;
};
/// A chunk of known tokens is to be computed.
export struct PrefillScheduled {
    std::size_t num_tokens;
    std::size_t blocks_allocated;  ///< by the schedule call
    friend constexpr bool operator==(const PrefillScheduled&,
                                     const PrefillScheduled&) noexcept = default;
};
/// The dangling token is to be computed, and the next one to come out.
export struct DecodeScheduled {
    std::size_t blocks_allocated;
    friend constexpr bool operator==(const DecodeScheduled&,
                                     const DecodeScheduled&) noexcept = default;
};
/// The dangling token and so many drafts are to be computed.
export struct SpeculativeScheduled {
    std::size_t num_tokens;  ///< drafts, cut down to what may still be generated
    std::size_t blocks_allocated;
    friend constexpr bool operator==(const SpeculativeScheduled&,
                                     const SpeculativeScheduled&) noexcept = default;
};
/// Where a SchedulableSequence stands between its calls. Source: requests.md 3.
export using SequenceState =
    std::variant<Idle, PrefillScheduled, DecodeScheduled, SpeculativeScheduled>;

/// As in error texts: `PrefillScheduled { num_tokens: 4, blocks_allocated: 1 }`.
export std::string to_string(const SequenceState& state);

/// Whether one of the tokens of a call completed the text of a block, and whether the request is
/// complete now. Says nothing about registration.
export enum class DecodeOutcome {
    continue_,
    block_completed,
    max_length,
    block_completed_and_max_length,
};

/// How much of a cached prompt a match may take.
export enum class PrefixMatch {
    leave_one_token,  ///< at least one token is left to compute, so that a next one can come out
    everything,       ///< all full blocks; the engine gets the next token from elsewhere
};

/// What happened to a SchedulableSequence, one type per successful call. Source: requests.md 6.
namespace sequence_event {
export struct Created {
    std::size_t num_input_tokens;
    std::size_t max_output_tokens;
    std::size_t block_size;
    friend constexpr bool operator==(const Created&, const Created&) noexcept = default;
};
export struct PrefixMatched {
    std::size_t blocks_matched;
    friend constexpr bool operator==(const PrefixMatched&, const PrefixMatched&) noexcept = default;
};
export struct PrefillScheduled {
    std::size_t num_tokens;
    std::size_t blocks_allocated;
    friend constexpr bool operator==(const PrefillScheduled&,
                                     const PrefillScheduled&) noexcept = default;
};
export struct PrefillApplied {
    std::size_t num_tokens;
    std::size_t blocks_registered;  ///< by this call
    bool token_emitted;
    friend constexpr bool operator==(const PrefillApplied&,
                                     const PrefillApplied&) noexcept = default;
};
export struct DecodeScheduled {
    std::size_t blocks_allocated;
    friend constexpr bool operator==(const DecodeScheduled&,
                                     const DecodeScheduled&) noexcept = default;
};
export struct DecodeApplied {
    Token token;
    bool block_completed;
    friend constexpr bool operator==(const DecodeApplied&, const DecodeApplied&) noexcept = default;
};
export struct SpeculativeScheduled {
    std::size_t num_tokens;  ///< after the cut to what may still be generated
    std::size_t blocks_allocated;
    friend constexpr bool operator==(const SpeculativeScheduled&,
                                     const SpeculativeScheduled&) noexcept = default;
};
export struct SpeculativeApplied {
    std::size_t accepted;
    std::size_t scheduled;
    std::size_t blocks_released;
    friend constexpr bool operator==(const SpeculativeApplied&,
                                     const SpeculativeApplied&) noexcept = default;
};
export struct ScheduleReverted {
    std::size_t blocks_released;
    friend constexpr bool operator==(const ScheduleReverted&,
                                     const ScheduleReverted&) noexcept = default;
};
/// Only if tokens were appended.
export struct TokensAppended {
    std::size_t count;
    friend constexpr bool operator==(const TokensAppended&,
                                     const TokensAppended&) noexcept = default;
};
/// Only if blocks were dropped.
export struct UnassignedDropped {
    std::size_t count;
    friend constexpr bool operator==(const UnassignedDropped&,
                                     const UnassignedDropped&) noexcept = default;
};
/// Also with nothing held.
export struct Released {
    friend constexpr bool operator==(const Released&, const Released&) noexcept = default;
};
/// Also of an attempt for which the pool was too small; then `prefix_matched` is 0.
export struct Reacquired {
    std::size_t prefix_matched;
    bool success;
    friend constexpr bool operator==(const Reacquired&, const Reacquired&) noexcept = default;
};
}  // namespace sequence_event

export using SequenceEvent = std::variant<
    sequence_event::Created, sequence_event::PrefixMatched, sequence_event::PrefillScheduled,
    sequence_event::PrefillApplied, sequence_event::DecodeScheduled, sequence_event::DecodeApplied,
    sequence_event::SpeculativeScheduled, sequence_event::SpeculativeApplied,
    sequence_event::ScheduleReverted, sequence_event::TokensAppended,
    sequence_event::UnassignedDropped, sequence_event::Released, sequence_event::Reacquired>;

/// Hears of each successful call on the sequences that hold it, as the call's last act.
///
/// May read the sequence, but changing it breaks a contract. One delegate may serve sequences on
/// many threads, and then must be thread-safe. Source: requests.md 6.
export struct SequenceDelegate {
    SequenceDelegate() = default;
    SequenceDelegate(const SequenceDelegate&) = default;
    SequenceDelegate& operator=(const SequenceDelegate&) = default;
    virtual ~SequenceDelegate() = default;
    virtual void on_event(const SequenceEvent& event) noexcept = 0;
};

/// Why nothing was scheduled or matched. Nothing has changed. Source: requests.md 5.
export struct ScheduleError {
    using BlocksHeld = kvbm::BlocksHeld;
    using GenerationComplete = kvbm::GenerationComplete;
    /// Something is scheduled.
    struct NotIdle {
        SequenceState state;
        std::string message() const;
    };
    /// The chunk reaches beyond the known tokens. `position` is the KV position.
    struct PrefillOverrun {
        std::size_t position;
        std::size_t num_tokens;
        std::size_t limit;
        std::string message() const;
    };
    /// No known token lacks KV but the one that a decode computes.
    struct PrefillComplete {
        std::string message() const;
    };
    /// The prompt lacks KV.
    struct PrefillNotComplete {
        std::size_t position;
        std::size_t num_input_tokens;
        std::string message() const;
    };
    /// The manager has not as many blocks as were asked of it.
    struct AllocationFailed {
        std::size_t needed;
        std::string message() const;
    };
    /// A decode computes exactly one known token.
    struct WrongDanglingCount {
        std::size_t expected;
        std::size_t actual;
        std::string message() const;
    };

    std::variant<NotIdle, PrefillOverrun, PrefillComplete, PrefillNotComplete, AllocationFailed,
                 GenerationComplete, WrongDanglingCount, BlocksHeld>
        reason;
    /// One sentence with the values, such as `allocation failed: needed 4 blocks`.
    std::string message() const;
};

/// Why nothing was applied, dropped, released or appended. Nothing has changed. Source:
/// requests.md 5.
export struct ApplyError {
    using BlocksHeld = kvbm::BlocksHeld;
    using TokenExtension = kvbm::TokenExtension;
    /// The call belongs to another state; `expected` names it.
    struct WrongState {
        std::string_view expected;
        SequenceState actual;
        std::string message() const;
    };
    /// Known tokens are left after this chunk, so none can come out of it.
    struct TokenOnNonFinalChunk {
        std::string message() const;
    };
    /// The chunk computes the last known token, and the request may generate more.
    struct MissingTokenOnFinalChunk {
        std::string message() const;
    };
    struct AcceptedExceedsScheduled {
        std::size_t accepted;
        std::size_t scheduled;
        std::string message() const;
    };
    struct AppendExceedsRemaining {
        std::size_t requested;
        std::size_t remaining;
        std::string message() const;
    };

    std::variant<WrongState, TokenOnNonFinalChunk, MissingTokenOnFinalChunk,
                 AcceptedExceedsScheduled, AppendExceedsRemaining, BlocksHeld, TokenExtension>
        reason;
    /// One sentence with the values, such as `expected Idle, got DecodeScheduled {
    /// blocks_allocated: 1 }`.
    std::string message() const;
};

/// Why a SchedulableSequenceBuilder built nothing.
export struct SequenceBuilderError {
    struct MissingField {
        std::string_view name;
        std::string message() const;
    };
    struct ZeroBlockSize {
        std::string message() const;
    };
    std::variant<MissingField, ZeroBlockSize> reason;
    std::string message() const;
};

namespace detail::request {

/// What a call of the scheduler works on: a request's tokens, and its blocks.
export struct RequestParts {
    RequestCore& request;
    sequence::LogicalRow& row;
};

/// State, KV position and delegate of a SchedulableSequence. For its typed face, not for users.
export class ScheduleCore {
  public:
    using Store = blocks::Store;
    using Parts = RequestParts;

    explicit ScheduleCore(std::shared_ptr<SequenceDelegate> delegate) noexcept
        : delegate_(std::move(delegate)) {}

    inline const SequenceState& state() const noexcept { return state_; }
    inline std::size_t kv_position() const noexcept { return kv_position_; }
    inline const std::shared_ptr<SequenceDelegate>& delegate() const noexcept { return delegate_; }

    void created(const RequestCore& request);
    Result<std::size_t, ScheduleError> match(Parts on, Store& store, PrefixMatch how);
    Result<void, ScheduleError> schedule_prefill(Parts on, std::size_t count, Store& store);
    Result<void, ScheduleError> schedule_decode(Parts on, Store& store);
    Result<void, ScheduleError> schedule_speculative(Parts on, std::size_t drafts, Store& store);
    Result<void, ApplyError> apply_prefill(Parts on, std::optional<Token> token, Store& store);
    Result<DecodeOutcome, ApplyError> apply_decode(Parts on, Token token, Store& store);
    Result<DecodeOutcome, ApplyError> apply_speculative(Parts on, std::span<const Token> tokens,
                                                        Store& store);
    Result<void, ApplyError> revert(Parts on);
    Result<std::size_t, ApplyError> drop_unassigned(Parts on, std::size_t count);
    Result<void, ApplyError> release(Parts on, ReleaseOrder order);
    Result<bool, ApplyError> reacquire(Parts on, Store& store);
    Result<void, ApplyError> append_tokens(Parts on, std::span<const Token> tokens);
    InvariantReport check_invariants(const RequestCore& request,
                                     const sequence::LogicalRow& row) const;

  private:
    /// What appending and registering came to.
    struct Advance {
        bool block_completed;
        std::size_t registered;
    };

    /// The contract of every changing call.
    void expects_no_event() const noexcept;
    /// Without a delegate no event is built.
    template <class Event>
    void tell(const Event& event);
    std::optional<ScheduleError> refuses_decode(const RequestCore& request) const;
    Result<std::size_t, ScheduleError> allocate_to(Parts on, std::size_t need, Store& store);
    Result<Advance, ApplyError> advance(Parts on, std::span<const Token> tokens,
                                        std::size_t computed, Store& store);
    inline bool idle() const noexcept { return std::holds_alternative<Idle>(state_); }
    inline std::size_t tail(const RequestCore& request) const noexcept {
        return request.total_tokens() - kv_position_;
    }

    std::size_t kv_position_ = 0;
    SequenceState state_;
    std::shared_ptr<SequenceDelegate> delegate_;
    bool emitting_ = false;
};

}  // namespace detail::request

export template <class Tier = DefaultTier>
class SchedulableSequenceBuilder;

/// A request that is driven step by step: schedule, forward pass, apply.
///
/// Move-only, single owner; a moved-from request may only be assigned or destroyed. Every call that
/// takes a manager takes the same one throughout, of the request's block size, or breaks a
/// contract. A call that fails has changed nothing; any pair of state and call that is not in the
/// picture above fails with `NotIdle` or `WrongState`. A decode step that neither needs a new block
/// nor fills one allocates nothing and takes no lock. Source: requests.md 3, 4.
export template <class Tier = DefaultTier>
class SchedulableSequence {
  public:
    using Manager = BlockManager<Tier>;

    /// A request of these tokens that may generate `max_output` more, 0 included; holds no block.
    /// The delegate may be null. A block size of 0 and more than 2^24 blocks break a contract.
    SchedulableSequence(std::span<const Token> tokens, std::size_t max_output,
                        std::size_t block_size,
                        std::shared_ptr<SequenceDelegate> delegate = nullptr, SaltHash salt = 0)
        : inner_(tokens, max_output, block_size, salt), schedule_(std::move(delegate)) {
        schedule_.created(Access::core(inner_));
    }
    SchedulableSequence(std::initializer_list<Token> tokens, std::size_t max_output,
                        std::size_t block_size,
                        std::shared_ptr<SequenceDelegate> delegate = nullptr, SaltHash salt = 0)
        : SchedulableSequence(std::span(tokens.begin(), tokens.size()), max_output, block_size,
                              std::move(delegate), salt) {}
    static SchedulableSequenceBuilder<Tier> builder() { return {}; }

    inline const SequenceState& state() const noexcept { return schedule_.state(); }
    /// Tokens 0 .. kv_position() - 1 have their KV computed, in blocks that the request holds.
    inline std::size_t kv_position() const noexcept { return schedule_.kv_position(); }
    /// Known tokens without KV.
    inline std::size_t tail_tokens() const noexcept { return total_tokens() - kv_position(); }
    /// Prompt tokens with KV.
    inline std::size_t prefill_position() const noexcept {
        return kv_position() < num_input_tokens() ? kv_position() : num_input_tokens();
    }
    inline bool is_prefill_complete() const noexcept { return kv_position() >= num_input_tokens(); }
    /// Known tokens that schedule_prefill() may take: all without KV, but for the one that a decode
    /// computes.
    inline std::size_t prefill_remaining() const noexcept {
        return !is_prefill_complete() || tail_tokens() >= 2 ? tail_tokens() : 0;
    }
    inline const std::shared_ptr<SequenceDelegate>& delegate() const noexcept {
        return schedule_.delegate();
    }
    /// The request without its schedule.
    inline const RequestSequence<Tier>& inner() const noexcept { return inner_; }

    inline std::size_t block_size() const noexcept { return inner_.block_size(); }
    inline std::size_t num_input_tokens() const noexcept { return inner_.num_input_tokens(); }
    inline std::size_t generated_tokens() const noexcept { return inner_.generated_tokens(); }
    inline std::size_t max_output_tokens() const noexcept { return inner_.max_output_tokens(); }
    inline std::size_t remaining_tokens() const noexcept { return inner_.remaining_tokens(); }
    inline std::size_t total_tokens() const noexcept { return inner_.total_tokens(); }
    inline bool is_complete() const noexcept { return inner_.is_complete(); }
    inline std::size_t num_blocks() const noexcept { return inner_.num_blocks(); }
    inline std::size_t assigned_blocks() const noexcept { return inner_.assigned_blocks(); }
    inline std::size_t staged_blocks() const noexcept { return inner_.staged_blocks(); }
    inline std::size_t unassigned_blocks() const noexcept { return inner_.unassigned_blocks(); }
    inline std::size_t prefix_matched_blocks() const noexcept {
        return inner_.prefix_matched_blocks();
    }
    inline std::size_t new_tokens_for_prefill() const noexcept {
        return inner_.new_tokens_for_prefill();
    }
    inline const BlockSequence& sequence() const noexcept { return inner_.sequence(); }
    inline const LogicalBlockAssignments<Tier>& assignments() const noexcept {
        return inner_.assignments();
    }
    /// The page table, as RequestSequence::block_ids(). Read it again after each apply.
    std::vector<BlockId> block_ids() const { return inner_.block_ids(); }
    void block_ids(std::vector<BlockId>& ids) const { inner_.block_ids(ids); }

    /// Adopts the cached prefix; its tokens need no prefill. Gives its length in blocks.
    ///
    /// Fails with `NotIdle`, `BlocksHeld`. One lock. O(blocks).
    [[nodiscard]] Result<std::size_t, ScheduleError> match_and_add_prefix(
        Manager& manager, PrefixMatch how = PrefixMatch::leave_one_token) {
        return schedule_.match(parts(), store_of(manager), how);
    }
    /// Allocates the blocks that the next `count` known tokens need. May be 0, and no multiple of
    /// the block size. Takes the prompt, or after a preemption or append_tokens() whatever lacks
    /// KV.
    ///
    /// Fails with `NotIdle`, `PrefillComplete`, `PrefillOverrun`, `AllocationFailed`. At most one
    /// lock. O(blocks allocated), as the other schedule calls.
    [[nodiscard]] Result<void, ScheduleError> schedule_prefill(std::size_t count,
                                                               Manager& manager) {
        return schedule_.schedule_prefill(parts(), count, store_of(manager));
    }
    /// Allocates what the one token without KV and the next token need.
    ///
    /// Fails with `NotIdle`, `PrefillNotComplete`, `GenerationComplete`, `WrongDanglingCount`,
    /// `AllocationFailed`. At most one lock.
    [[nodiscard]] Result<void, ScheduleError> schedule_decode(Manager& manager) {
        return schedule_.schedule_decode(parts(), store_of(manager));
    }
    /// Allocates what the one token without KV and `drafts` further ones need. Drafts beyond what
    /// may still be generated are left out; the state shows the number. May be 0. Fails as
    /// schedule_decode().
    [[nodiscard]] Result<void, ScheduleError> schedule_speculative(std::size_t drafts,
                                                                   Manager& manager) {
        return schedule_.schedule_speculative(parts(), drafts, store_of(manager));
    }
    /// The scheduled chunk has been computed: registers the blocks it filled, appends the token
    /// that came out if the chunk was final, that is, computed the last known token.
    ///
    /// Fails with `WrongState`; with a token on a chunk that is not final `TokenOnNonFinalChunk`,
    /// on a final one of a complete request `AppendExceedsRemaining`; without one on a final chunk
    /// of a request that is not complete `MissingTokenOnFinalChunk`; `TokenExtension`. The call may
    /// be repeated. At most one lock.
    [[nodiscard]] Result<void, ApplyError> apply_prefill(std::optional<Token> token,
                                                         Manager& manager) {
        return schedule_.apply_prefill(parts(), token, store_of(manager));
    }
    /// The dangling token has been computed and this one came out. Fails with `WrongState`,
    /// `TokenExtension`. At most one lock. O(1), but for a token that fills a block.
    [[nodiscard]] Result<DecodeOutcome, ApplyError> apply_decode(Token token, Manager& manager) {
        return schedule_.apply_decode(parts(), token, store_of(manager));
    }
    /// So many drafts were accepted. Blocks that are not needed then are dropped, newest first.
    ///
    /// Fails with `WrongState`, `AcceptedExceedsScheduled`, `TokenExtension`. At most two locks.
    [[nodiscard]] Result<DecodeOutcome, ApplyError> apply_speculative(std::span<const Token> tokens,
                                                                      Manager& manager) {
        return schedule_.apply_speculative(parts(), tokens, store_of(manager));
    }
    [[nodiscard]] Result<DecodeOutcome, ApplyError> apply_speculative(
        std::initializer_list<Token> tokens, Manager& manager) {
        return apply_speculative(std::span(tokens.begin(), tokens.size()), manager);
    }
    /// Drops the blocks that the schedule call allocated, newest first. In the pool stay undone:
    /// evictions, and the order of the reset pool. Fails with `WrongState` if nothing is scheduled.
    [[nodiscard]] Result<void, ApplyError> revert_schedule() { return schedule_.revert(parts()); }

    /// Drops up to `count` queued blocks without computed KV, newest first; gives how many. Fails
    /// with `WrongState` unless Idle.
    [[nodiscard]] Result<std::size_t, ApplyError> drop_unassigned(std::size_t count) {
        return schedule_.drop_unassigned(parts(), count);
    }
    /// Preempts: drops all blocks, and with them all KV; tokens stay. Fails with `WrongState`
    /// unless Idle. At most one lock per phase.
    [[nodiscard]] Result<void, ApplyError> release(ReleaseOrder order = ReleaseOrder::root_first) {
        return schedule_.release(parts(), order);
    }
    /// Resumes: adopts the cached prefix and queues fresh blocks for the other full ones. The
    /// tokens from kv_position() on are computed again with schedule_prefill().
    ///
    /// False: the pool is too small, nothing is held. Fails with `WrongState` unless Idle,
    /// `BlocksHeld`. Two locks.
    [[nodiscard]] Result<bool, ApplyError> reacquire(Manager& manager) {
        return schedule_.reacquire(parts(), store_of(manager));
    }
    /// Appends tokens that were generated elsewhere; they lack KV. Fails with `WrongState` unless
    /// Idle, `AppendExceedsRemaining`, `TokenExtension`.
    [[nodiscard]] Result<void, ApplyError> append_tokens(std::span<const Token> tokens) {
        return schedule_.append_tokens(parts(), tokens);
    }
    [[nodiscard]] Result<void, ApplyError> append_tokens(std::initializer_list<Token> tokens) {
        return append_tokens(std::span(tokens.begin(), tokens.size()));
    }

    /// Checks R1 to R6, R10, R11 and R15 of requests.md 8 and the invariants of the tracker.
    /// O(blocks).
    InvariantReport check_invariants() const {
        return schedule_.check_invariants(Access::core(inner_), Access::row(inner_));
    }

  private:
    using Access = detail::request::RequestAccess;

    inline detail::request::RequestParts parts() noexcept {
        return {Access::core(inner_), Access::row(inner_)};
    }
    static inline detail::blocks::Store& store_of(Manager& manager) noexcept {
        return detail::blocks::GuardAccess::store(manager);
    }

    RequestSequence<Tier> inner_;
    detail::request::ScheduleCore schedule_;
};

/// Options of a SchedulableSequence. Setters never fail; build() checks. Source: requests.md 4.
export template <class Tier>
class SchedulableSequenceBuilder {
  public:
    /// The prompt. Required.
    SchedulableSequenceBuilder& tokens(std::vector<Token> tokens) {
        tokens_ = std::move(tokens);
        return *this;
    }
    /// Tokens it may generate. Required.
    SchedulableSequenceBuilder& max_output_tokens(std::size_t count) {
        max_output_tokens_ = count;
        return *this;
    }
    /// Tokens per block, those of the manager. Required.
    SchedulableSequenceBuilder& block_size(std::size_t tokens) {
        block_size_ = tokens;
        return *this;
    }
    /// Requests of different salts share no block. Default: none, which is 0.
    SchedulableSequenceBuilder& salt(SaltHash salt) {
        salt_ = salt;
        return *this;
    }
    /// Who hears of what happens. Default: nobody.
    SchedulableSequenceBuilder& delegate(std::shared_ptr<SequenceDelegate> delegate) {
        delegate_ = std::move(delegate);
        return *this;
    }

    /// The request, or the first field that is missing in the order above, then a block size of 0.
    /// More than 2^24 blocks break a contract.
    [[nodiscard]] Result<SchedulableSequence<Tier>, SequenceBuilderError> build() const {
        using Error = SequenceBuilderError;
        for (const auto& [missing, name] :
             {std::pair{!tokens_, "tokens"}, std::pair{!max_output_tokens_, "max_output_tokens"},
              std::pair{!block_size_, "block_size"}}) {
            if (missing) {
                return failure(Error{Error::MissingField{name}});
            }
        }
        if (*block_size_ == 0) {
            return failure(Error{Error::ZeroBlockSize{}});
        }
        return SchedulableSequence<Tier>(*tokens_, *max_output_tokens_, *block_size_, delegate_,
                                         salt_);
    }

  private:
    std::optional<std::vector<Token>> tokens_;
    std::optional<std::size_t> max_output_tokens_;
    std::optional<std::size_t> block_size_;
    SaltHash salt_ = 0;
    std::shared_ptr<SequenceDelegate> delegate_;
};

}  // namespace kvbm
