//! kvbm.replay:request_run: a trace as whole requests, through SchedulableSequence and one manager.
//!
//! Mode `request`. At most so many requests run at once; a step gives each of them one turn, oldest
//! admission first: a chunk of prefill, or one decode. When blocks run out, the request admitted
//! last is preempted: it gives all its blocks back, waits at the head of the queue, and computes
//! what it lost when it is admitted again.
//!
//!   file order --admit: match--> running --turn: prefill chunk | decode--> complete, released
//!                    ^                 |
//!                    +--- reacquire --- preempted (AllocationFailed; the last one admitted)
//!
//! Tokens are made of the trace's ids; times are not used. The result is integers and
//! deterministic.
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

export module kvbm.replay:request_run;

export import kvbm.core;
import :trace;

namespace kvbm {

/// Why requests were not replayed.
export struct RequestReplayError {
    /// A cache of no block.
    struct ZeroCapacity {
        std::string message() const;
    };
    /// No request may run, or no token may be computed.
    struct ZeroLimit {
        std::string_view option;  ///< `concurrency` or `chunk`
        std::string message() const;
    };
    struct UnknownPolicy {
        std::string name;
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
        std::uint64_t blocks;
        std::string message() const;
    };
    /// Not all blocks were available at the end. A bug of ours.
    struct BlocksLost {
        std::size_t available;
        std::size_t capacity;
        std::string message() const;
    };

    std::variant<ZeroCapacity, ZeroLimit, UnknownPolicy, ManagerRefused, RequestTooLong, BlocksLost>
        reason;

    /// One sentence with the values.
    std::string message() const;
};

/// What to replay, and how.
export struct RequestReplayOptions {
    /// Blocks of the manager. None = room for every request at once.
    std::optional<std::size_t> capacity = std::nullopt;
    /// The policy's name on the command line: lru, fifo, multi-lru, lineage-tick, lineage-fifo.
    std::string_view policy = "lru";
    /// Requests that run at once, at least 1.
    std::size_t concurrency = 16;
    /// Tokens of a prefill in one turn, at least 1.
    std::size_t chunk = 2048;
    /// Tokens of a request's output, at least 1 all the same. None = as recorded.
    std::optional<std::uint64_t> limit_output = std::nullopt;
    /// Requests to replay from the start of the trace. None = all.
    std::optional<std::size_t> limit = std::nullopt;
    /// Most samples of the pool to keep, 0 for none; see RequestReplayRun::samples.
    std::size_t samples_at_most = 0;
    /// If set, grows by the number of requests done.
    std::atomic<std::size_t>* progress = nullptr;
};

/// The blocks of the manager by state, at the end of a step.
export struct BlockSample {
    std::uint64_t step = 0;
    std::size_t registered = 0;  ///< held, and others may match them
    std::size_t queued = 0;      ///< held, being written
    std::size_t inactive = 0;    ///< cached, evictable
    std::size_t free = 0;
    friend bool operator==(const BlockSample&, const BlockSample&) noexcept = default;
};

/// What a replay of requests counted. Source: replay.md 4.4.
export struct RequestReplayRun {
    std::string policy;
    std::optional<std::size_t> capacity;  ///< none = unlimited
    std::size_t block_size = 0;           ///< tokens per block
    std::size_t concurrency = 0;
    std::size_t chunk = 0;

    std::uint64_t completed = 0;
    std::uint64_t rejected = 0;  ///< requests that do not fit into the manager alone
    std::uint64_t preemptions = 0;
    std::uint64_t steps = 0;
    std::uint64_t prompt_tokens = 0;          ///< of the requests that were admitted
    std::uint64_t prompt_tokens_cached = 0;   ///< matched at their first admission
    std::uint64_t recomputed_tokens = 0;      ///< computed though the request had had their KV
    std::uint64_t resumed_tokens_cached = 0;  ///< matched when a request was admitted again
    std::uint64_t output_tokens = 0;
    std::uint64_t evictions = 0;
    std::uint64_t peak_active_blocks = 0;  ///< most blocks held at any moment

    /// At most as many as asked for, evenly spaced over the steps from the first on; the spacing is
    /// a power of two.
    std::vector<BlockSample> samples;

    /// Cached prompt tokens by prompt tokens; 0 without a token.
    double prompt_cache_rate() const noexcept;

    friend bool operator==(const RequestReplayRun&, const RequestReplayRun&) = default;
};

/// Replays the requests of a trace to their ends.
///
/// Token j of block id x is the low 32 bits of mix(mix(x) ^ j), token k of the output of request r
/// those of mix(mix(2^63 + r) ^ k); input tokens behind the last id are of a block id of their own,
/// 2^64 - 1 - r. Fails as RequestReplayError says. O(tokens + steps), memory for the requests that
/// run. Source: replay.md 4.4.
export [[nodiscard]] Result<RequestReplayRun, RequestReplayError> replay_requests(
    const Trace& trace, const RequestReplayOptions& options = {});

/// Replays once per element of `runs`, on `jobs` threads (at least one), and gives the results in
/// that order: those of single replays. The first run in order that fails gives the error.
export [[nodiscard]] Result<std::vector<RequestReplayRun>, RequestReplayError> replay_all_requests(
    const Trace& trace, std::span<const RequestReplayOptions> runs, std::size_t jobs);

}  // namespace kvbm
