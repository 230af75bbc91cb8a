//! kvbm.testing:request: requests on one manager, and a dull twin that they are compared with.
//!
//! A script has up to four requests on one manager. Beside them run naive requests on a second,
//! equal manager: plain lists of single guards, moved one by one by the formulas of requests.md 1.
//! As both managers see the same uses, block ids must be equal too, at each step and when both
//! pools are emptied at the end.
//!
//! The *simulated KV* says what is written in each block: the forward pass between a schedule and
//! an apply writes a number per token that stands for the token and all before it. Fresh blocks are
//! spoiled. So a hash that can be matched before all its tokens were computed shows at once (the
//! poison test).
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.testing:request;

export import kvbm.request;

import :bytes;

namespace kvbm::testing {

/// Tokens 0, 1, 2 ...
export std::vector<Token> counting_tokens(std::size_t count, Token first = 0);

/// Writes down what it hears.
export class RecordingDelegate final : public SequenceDelegate {
  public:
    void on_event(const SequenceEvent& event) noexcept override { events_.push_back(event); }
    const std::vector<SequenceEvent>& events() const noexcept { return events_; }
    /// The events since the last call.
    std::vector<SequenceEvent> take();

  private:
    std::vector<SequenceEvent> events_;
};

/// Name and fields: `PrefillApplied 4 1 yes`.
export std::string to_string(const SequenceEvent& event);
/// What the events of a request's life add up to: all its tokens. Source: requests.md 6.
export std::size_t total_tokens_of(std::span<const SequenceEvent> events);

namespace requests {

/// The manager of a script.
export struct Options {
    enum class Eviction { lru, fifo, lineage_tick, lineage_fifo };
    std::size_t block_count = 16;
    std::size_t block_size = 4;
    bool reject = false;  ///< duplication policy
    Eviction eviction = Eviction::lru;
};
export BlockManager<> make_manager(const Options& options);
export Options decode_options(ByteReader& bytes);
export std::string to_string(const Options& options);

/// What is in the memory behind the blocks of a manager: a number per token.
export class SimulatedKv {
  public:
    SimulatedKv(std::size_t block_count, std::size_t block_size)
        : block_size_(block_size), cells_(block_count * block_size) {}

    /// What a right forward pass writes for each of these tokens.
    static std::vector<std::uint64_t> of(std::span<const Token> tokens, SaltHash salt);
    /// Overwrites a block, or tokens of a request, with what no right forward pass writes.
    void spoil(BlockId block);
    void spoil(std::span<const BlockId> page_table, IndexRange tokens);
    /// Writes the numbers of tokens [first, last) of a request into the blocks of its page table.
    void write(std::span<const BlockId> page_table, std::span<const std::uint64_t> numbers,
               IndexRange tokens);
    /// Whether the tokens [first, last) of a request are in the blocks of its page table.
    bool holds(std::span<const BlockId> page_table, std::span<const std::uint64_t> numbers,
               IndexRange tokens) const;
    /// Whether a block holds these numbers.
    bool holds(BlockId block, std::span<const std::uint64_t> numbers) const;

  private:
    std::size_t cell(std::span<const BlockId> page_table, std::size_t token) const;

    std::size_t block_size_;
    std::vector<std::uint64_t> cells_;
    std::uint64_t spoilt_ = 0;
};

export inline constexpr std::size_t slots_count = 4;
/// A count of a command that is at least so much stands for the largest number.
export inline constexpr std::size_t unlimited = 56;
export inline constexpr std::size_t counts_below = 64;

/// A request on an empty slot, or instead of the one there. Prompts of one family begin alike;
/// those of all families have their first six tokens in common.
export struct New {
    static constexpr std::string_view name = "new";
    std::size_t slot = 0, family = 0, prompt = 0, max_output = 0;
    bool salted = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.family, 3), field(c.prompt, 24);
        field(c.max_output, counts_below), field(c.salted, 2);
    }
};
export struct Destroy {
    static constexpr std::string_view name = "destroy";
    std::size_t slot = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.slot, slots_count); }
};
/// The request moves to another place in memory.
export struct Move {
    static constexpr std::string_view name = "move";
    std::size_t slot = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.slot, slots_count); }
};
export struct Match {
    static constexpr std::string_view name = "match";
    std::size_t slot = 0;
    bool everything = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.everything, 2);
    }
};
export struct SchedulePrefill {
    static constexpr std::string_view name = "schedule_prefill";
    std::size_t slot = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.count, counts_below);
    }
};
export struct ScheduleDecode {
    static constexpr std::string_view name = "schedule_decode";
    std::size_t slot = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.slot, slots_count); }
};
export struct ScheduleSpeculative {
    static constexpr std::string_view name = "schedule_speculative";
    std::size_t slot = 0, drafts = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.drafts, counts_below);
    }
};
export struct ApplyPrefill {
    static constexpr std::string_view name = "apply_prefill";
    std::size_t slot = 0;
    bool with_token = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.with_token, 2);
    }
};
export struct ApplyDecode {
    static constexpr std::string_view name = "apply_decode";
    std::size_t slot = 0, token = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.token, 3);
    }
};
export struct ApplySpeculative {
    static constexpr std::string_view name = "apply_speculative";
    std::size_t slot = 0, accepted = 0, token = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.accepted, 16), field(c.token, 3);
    }
};
export struct Revert {
    static constexpr std::string_view name = "revert";
    std::size_t slot = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.slot, slots_count); }
};
export struct DropUnassigned {
    static constexpr std::string_view name = "drop_unassigned";
    std::size_t slot = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.count, counts_below);
    }
};
export struct Release {
    static constexpr std::string_view name = "release";
    std::size_t slot = 0;
    bool leaf_first = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.leaf_first, 2);
    }
};
export struct Reacquire {
    static constexpr std::string_view name = "reacquire";
    std::size_t slot = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.slot, slots_count); }
};
export struct AppendTokens {
    static constexpr std::string_view name = "append_tokens";
    std::size_t slot = 0, count = 0, token = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.count, 8), field(c.token, 3);
    }
};
/// What a scheduler would do next with the request: match or reacquire, prefill, decode or
/// speculate, apply, release when complete. `size` is the chunk or the number of drafts.
export struct Advance {
    static constexpr std::string_view name = "advance";
    std::size_t slot = 0, size = 0;
    bool speculate = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.slot, slots_count), field(c.size, 12), field(c.speculate, 2);
    }
};

export using Command =
    std::variant<New, Destroy, Move, Match, SchedulePrefill, ScheduleDecode, ScheduleSpeculative,
                 ApplyPrefill, ApplyDecode, ApplySpeculative, Revert, DropUnassigned, Release,
                 Reacquire, AppendTokens, Advance>;

export Command decode_command(ByteReader& bytes);
/// One line of a script: the name and its values.
export std::string to_string(const Command& command);
/// The command of a line that to_string() gave; nothing for any other text.
export std::optional<Command> parse_command(std::string_view line);

/// A request as the formulas say: plain numbers, and single guards of the twin manager.
export class NaiveRequest {
  public:
    NaiveRequest(std::vector<Token> prompt, std::size_t max_output, std::size_t block_size,
                 SaltHash salt);

    std::size_t total() const { return tokens_.size(); }
    std::size_t generated() const { return tokens_.size() - input_; }
    std::size_t remaining() const { return max_output_ - generated(); }
    std::size_t tail() const { return total() - kv_; }
    std::size_t held() const { return assigned_.size() + queued_.size(); }
    bool complete() const { return generated() >= max_output_; }
    bool idle() const { return std::holds_alternative<Idle>(state_); }
    bool preempted() const { return preempted_; }
    std::size_t kv() const { return kv_; }
    const SequenceState& state() const { return state_; }
    const std::vector<Token>& tokens() const { return tokens_; }
    SaltHash salt() const { return salt_; }
    std::vector<BlockId> ids() const;
    /// The blocks of the tokens, cut anew.
    BlockSequence sequence() const { return {tokens_, block_size_, salt_}; }
    /// The state in words, for comparison with to_words() of a real request.
    std::string to_words() const;

    // Each call gives its outcome in words, and what was told in `event`.
    using Told = std::optional<SequenceEvent>;
    std::string match(BlockManager<>& manager, PrefixMatch how, Told& told);
    std::string schedule_prefill(BlockManager<>& manager, std::size_t count, Told& told);
    std::string schedule_decode(BlockManager<>& manager, Told& told);
    std::string schedule_speculative(BlockManager<>& manager, std::size_t drafts, Told& told);
    std::string apply_prefill(BlockManager<>& manager, std::optional<Token> token, Told& told);
    std::string apply_decode(BlockManager<>& manager, Token token, Told& told);
    std::string apply_speculative(BlockManager<>& manager, std::span<const Token> tokens,
                                  Told& told);
    std::string revert(Told& told);
    std::string drop_unassigned(std::size_t count, Told& told);
    std::string release(ReleaseOrder order, Told& told);
    std::string reacquire(BlockManager<>& manager, Told& told);
    std::string append_tokens(std::span<const Token> tokens, Told& told);
    /// Gives all blocks back, as the destructor of a request does.
    void drop_all(ReleaseOrder order);

  private:
    std::size_t blocks(std::size_t tokens) const {
        return (tokens + block_size_ - 1) / block_size_;
    }
    std::size_t matchable() const;
    std::size_t take_cached(BlockManager<>& manager, std::size_t at_most);
    bool allocate(BlockManager<>& manager, std::size_t count);
    bool append(std::span<const Token> tokens);
    std::size_t register_computed(BlockManager<>& manager);
    std::size_t drop_newest(std::size_t count);
    std::string refuses_decode() const;

    std::vector<Token> tokens_;
    std::size_t input_;
    std::size_t max_output_;
    std::size_t block_size_;
    SaltHash salt_;
    std::size_t kv_ = 0;
    std::size_t prefix_ = 0;
    bool preempted_ = false;
    SequenceState state_;
    std::vector<ImmutableBlock<>> assigned_;
    std::vector<MutableBlock<>> queued_;
};

/// The same words of a real request.
export std::string to_words(const SchedulableSequence<>& request);

/// Real requests beside their naive twins.
export class Harness {
  public:
    explicit Harness(const Options& options);

    /// Runs a command on both and compares outcome, events, counters, ids, pools and the simulated
    /// KV; audits. The first difference, or nothing. A command without its request is passed over.
    std::optional<std::string> run(const Command& command);
    /// Destroys all requests, then takes every block of both pools in order.
    std::optional<std::string> finish();

    /// What `command` comes to in the present state: Advance becomes the call it stands for.
    Command resolved(const Command& command) const;
    /// Whether the last command ended in an error.
    bool refused() const noexcept { return refused_; }
    /// Every block that is free or inactive, in the order in which it is handed out, and the hashes
    /// evicted for it. They stay taken.
    std::vector<std::string> drained();

  private:
    struct Pair {
        std::shared_ptr<RecordingDelegate> delegate;
        SchedulableSequence<> real;
        NaiveRequest naive;
        std::vector<SequenceEvent> told;  // all of its life
    };

    void make(const New& command);
    void destroy(std::size_t slot);
    void move(std::size_t slot);
    void compute(const Pair& pair, const Command& command);
    std::optional<std::string> call(Pair& pair, const Command& command);
    std::optional<std::string> request_difference(std::size_t slot);
    std::optional<std::string> pool_difference() const;

    Options options_;
    BlockManager<> manager_;
    BlockManager<> twin_;
    SimulatedKv kv_;
    std::optional<AllocationWithEvictions<>> drained_;
    std::array<std::optional<Pair>, slots_count> slots_;
    std::array<std::vector<BlockId>, slots_count> page_tables_;  // after the last command
    std::map<SequenceHash, std::vector<std::uint64_t>> known_;
    bool refused_ = false;
};

}  // namespace requests

}  // namespace kvbm::testing
