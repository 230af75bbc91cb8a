//! kvbm.replay:run: a trace against a prefix cache of a given size.
//!
//! A request is a list of block ids; the cache holds blocks by content and lineage. A hit block is
//! a block of the longest resident prefix of its request. The result of a replay is integers; rates
//! are made of them.
//!
//!   Trace --hashes, once--> TraceHashes --capacity, policy, order--> ReplayRun
//!
//! Two modes, whose hits are equal under the order `tail`:
//!   manager  the real BlockManager: match, allocate, stage, register, release in one batch
//!   ideal    the textbook cache: look up, then use every block of the request once
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.replay:run;

export import kvbm.core;
export import kvbm.frequency;
export import kvbm.hash;
export import :trace;

namespace kvbm {

/// How a replay holds blocks. Source: replay.md 4.1, 4.2.
export enum class ReplayMode { manager, ideal };

/// Which block goes when room is needed. All run in mode `manager`, `lru` in mode `ideal` as well.
/// Source: replay.md 4.3, 7.
export enum class ReplayPolicy {
    lru,           ///< the least recently used
    multi_lru,     ///< the least recently used of those used least often
    lineage_tick,  ///< of those that no cached block continues the least recently used; under the
                   ///< order `tail` the same integers as `lru`
    lineage_fifo,  ///< of those the one that has been uncontinued longest
    fifo,          ///< the one that came first into the inactive list; a hit leaves that list and
                   ///< returns at its end, so the same integers as `lru`
};

/// The order in which a request's blocks are used, or released: `tail` = deepest position first,
/// `head` = position 0 first. Source: replay.md 4.1 step 5.
export enum class ReplayOrder { tail, head };

/// The name on the command line and in reports: `manager`, `ideal`.
export std::string_view to_string(ReplayMode mode) noexcept;
/// The name on the command line and in reports: `lru`, `multi-lru`, `lineage-tick`.
export std::string_view to_string(ReplayPolicy policy) noexcept;
/// The name on the command line and in reports: `tail`, `head`.
export std::string_view to_string(ReplayOrder order) noexcept;

/// Why a trace was not replayed. Nothing has been counted.
export struct ReplayError {
    /// A cache of no block.
    struct ZeroCapacity {
        std::string message() const;
    };
    /// The policy is not one of this mode.
    struct PolicyNotInMode {
        ReplayPolicy policy;
        ReplayMode mode;
        std::string message() const;
    };
    /// Counting was to begin behind the last request.
    struct NothingToCount {
        std::size_t count_from;
        std::size_t requests;
        std::string message() const;
    };
    /// The block manager cannot be built with this capacity or block size.
    struct ManagerRefused {
        std::string reason;
        std::string message() const;
    };
    /// A request has more blocks than a sequence hash has positions.
    struct RequestTooLong {
        std::size_t request;
        std::size_t blocks;
        std::string message() const;
    };
    /// The trace has 2^32 different blocks or more.
    struct TooManyBlocks {
        std::string message() const;
    };
    /// The block manager refused what it must give. A bug of ours.
    struct AllocationFailed {
        std::size_t request;
        std::size_t blocks;
        std::string message() const;
    };

    std::variant<ZeroCapacity, PolicyNotInMode, NothingToCount, ManagerRefused, RequestTooLong,
                 TooManyBlocks, AllocationFailed>
        reason;

    /// One sentence with the values.
    std::string message() const;
};

/// The blocks of a trace by name: what every replay of it shares.
///
/// Per reference it keeps the sequence hash and the block's number; numbers are dense and given in
/// order of first appearance, so the blocks first seen by some request are those not below the
/// count seen before it. Immutable; safe to read from several threads.
export class TraceHashes {
  public:
    /// Hashes every reference of the trace. A block's content is its id as 8 little-endian bytes,
    /// seed 0; its lineage is its request. O(references), three allocations and a table.
    ///
    /// Fails with `RequestTooLong` or `TooManyBlocks`. Source: replay.md 1.
    static Result<TraceHashes, ReplayError> of(const Trace& trace);

    std::size_t block_size() const noexcept { return block_size_; }
    /// Number of requests.
    std::size_t requests() const noexcept { return input_lengths_.size(); }
    /// Number of block references, all requests together.
    std::size_t references() const noexcept { return hashes_.size(); }
    /// Number of different blocks in the first `requests` requests. O(references) of these.
    std::size_t distinct_blocks(std::size_t requests) const noexcept;

    /// Input tokens of a request.
    std::uint64_t input_length(std::size_t request) const noexcept {
        return input_lengths_[request];
    }
    /// Names of a request's blocks, front to back.
    std::span<const SequenceHash> sequence_hashes(std::size_t request) const noexcept {
        return std::span(hashes_).subspan(offsets_[request],
                                          offsets_[request + 1] - offsets_[request]);
    }
    /// Numbers of a request's blocks, front to back.
    std::span<const std::uint32_t> block_numbers(std::size_t request) const noexcept {
        return std::span(numbers_).subspan(offsets_[request],
                                           offsets_[request + 1] - offsets_[request]);
    }

  private:
    TraceHashes() = default;

    std::size_t block_size_ = 0;
    std::vector<std::uint64_t> input_lengths_;
    std::vector<std::size_t> offsets_;
    std::vector<SequenceHash> hashes_;
    std::vector<std::uint32_t> numbers_;
};

/// What to replay, and what to count of it.
export struct ReplayOptions {
    /// Blocks the cache holds. None = room for every block of the trace.
    std::optional<std::size_t> capacity = std::nullopt;
    ReplayMode mode = ReplayMode::manager;
    ReplayPolicy policy = ReplayPolicy::lru;
    ReplayOrder order = ReplayOrder::tail;
    /// How `multi_lru` counts uses; the other policies count none.
    SketchLayout sketch = SketchLayout::compat;
    /// First request to count, from 0; those before it only warm the cache.
    std::size_t count_from = 0;
    /// Requests to replay from the start of the trace. None = all.
    std::optional<std::size_t> limit = std::nullopt;
    /// If set, grows by the number of requests done, now and then.
    std::atomic<std::size_t>* progress = nullptr;
};

/// What a replay counted, from request `count_from` on. Source: replay.md 6.
export struct ReplayRun {
    ReplayMode mode = ReplayMode::manager;
    ReplayPolicy policy = ReplayPolicy::lru;
    ReplayOrder order = ReplayOrder::tail;
    std::optional<std::size_t> capacity;  ///< none = unlimited
    std::optional<SketchLayout> sketch;   ///< of `multi_lru`
    std::size_t block_size = 0;           ///< tokens per block

    std::uint64_t requests = 0;
    std::uint64_t block_references = 0;
    std::uint64_t input_tokens = 0;
    std::uint64_t block_hits = 0;
    std::uint64_t token_hits = 0;  ///< a hit block counts at most what is left of the input
    std::uint64_t requests_with_hit = 0;
    std::uint64_t cut_requests = 0;    ///< requests longer than the capacity, mode `manager`
    std::uint64_t skipped_blocks = 0;  ///< blocks left out of these
    std::uint64_t evictions = 0;
    std::uint64_t resident = 0;         ///< blocks held at the end
    std::uint64_t duplicates = 0;       ///< blocks registered beside a primary
    std::uint64_t attainable_hits = 0;  ///< block hits of a cache that forgets nothing
    double mean_block_hit_rate = 0;     ///< mean of the requests' own rates, in file order
    double mean_token_hit_rate = 0;

    /// Block hits by references; 0 without a reference.
    double block_hit_rate() const noexcept;
    /// Token hits by input tokens; 0 without a token.
    double token_hit_rate() const noexcept;
    /// Block hits times block size by input tokens: whole blocks, may exceed 1.
    double full_block_token_rate() const noexcept;
    /// Block hits by attainable block hits; 0 when nothing can be hit.
    double ceiling() const noexcept;
};

/// Replays the requests in file order, one at a time, and counts.
///
/// Deterministic. Fails as `ReplayError` says; then nothing was counted. Ideal mode: O(references +
/// distinct blocks); manager mode: O(references + the smaller of capacity and distinct blocks), and
/// no allocation per request. Any number of replays may run at once over one
/// `TraceHashes`. Source: replay.md 4.1, 4.2.
export Result<ReplayRun, ReplayError> replay(const TraceHashes& trace,
                                             const ReplayOptions& options);

/// Replays once per element of `runs`, on `jobs` threads (at least one), and gives the results in
/// that order: those of single replays. The first run in order that fails gives the error.
export Result<std::vector<ReplayRun>, ReplayError> replay_all(const TraceHashes& trace,
                                                              std::span<const ReplayOptions> runs,
                                                              std::size_t jobs);

}  // namespace kvbm
