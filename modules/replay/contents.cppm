//! kvbm.replay:contents: what the cache holds when a replay is over.
//!
//! A cached block is *reachable* if all blocks before it in its chain are cached; only then can a
//! request hit it. A *chain* ends at a cached block that no cached block continues.
module;

#include <cstddef>
#include <cstdint>
#include <vector>

export module kvbm.replay:contents;

export import kvbm.core;
export import kvbm.hash;
import :facts;
import :run;
import :trace;

namespace kvbm {

/// A block that the cache holds after a replay.
export struct CachedBlock {
    BlockId id = 0;          ///< its place in the manager
    SequenceHash hash;       ///< its name
    std::uint64_t uses = 0;  ///< requests that had it since it was last registered, that one too
    std::uint64_t age = 0;   ///< requests served after the last of them

    friend bool operator==(const CachedBlock&, const CachedBlock&) noexcept = default;
};

/// The state of a block manager after its last request.
export struct CacheContents {
    std::uint64_t blocks = 0;  ///< capacity; without a limit the distinct blocks of the trace

    // --- blocks by state; together all blocks ---
    std::uint64_t reset = 0;
    std::uint64_t mutable_blocks = 0;
    std::uint64_t staged = 0;
    std::uint64_t primary = 0;
    std::uint64_t duplicate = 0;
    std::uint64_t inactive = 0;
    std::uint64_t references = 0;  ///< strong references on blocks; between requests none

    // --- chains ---
    std::uint64_t roots = 0;        ///< cached first blocks
    std::uint64_t chains = 0;       ///< cached blocks that no cached block continues
    std::uint64_t unreachable = 0;  ///< cached behind a block that is not
    Percentiles chain_length;       ///< blocks from the first one on, of every chain

    // --- use ---
    std::uint64_t reused = 0;  ///< cached blocks with more than one use
    Percentiles uses;          ///< of cached blocks
    Percentiles age;           ///< of cached blocks
    /// The cached blocks with the most uses, in falling order; of equal ones the younger first,
    /// then the one nearer to the beginning of its chain, then the smaller id.
    std::vector<CachedBlock> most_used;
};

/// A replay, and what its cache holds in the end.
export struct InspectedReplay {
    ReplayRun run;
    CacheContents contents;
};

/// replay() of mode `manager`, and a look into the manager afterwards. `most_used` has at most so
/// many blocks. Fails as replay() does. Rule: the mode is `manager`. O(references + blocks log
/// blocks).
export Result<InspectedReplay, ReplayError> replay_and_inspect(const TraceHashes& trace,
                                                               const ReplayOptions& options,
                                                               std::size_t most_used);

}  // namespace kvbm
