//! kvbm.replay:serving: one request after the other, for this module's bodies only.
//!
//!   TraceHashes --request--> ManagerCache --Outcome--> Tally --> ReplayRun
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

module kvbm.replay:serving;

import :run;
import kvbm.blocks;

namespace kvbm::detail::replay {

/// What one request did to the cache.
struct Outcome {
    std::size_t hits = 0;
    std::size_t evicted = 0;
    std::size_t skipped = 0;
};

/// Adds up the requests of one run, each of which is added once, in order.
class Tally {
  public:
    Tally(const TraceHashes& trace, const ReplayOptions& options, std::size_t requests);
    void add(std::size_t request, Outcome outcome);
    ReplayRun finish(std::uint64_t resident, std::uint64_t duplicates);

  private:
    void count(std::size_t request, Outcome outcome, std::uint64_t attainable);
    std::uint64_t attainable_hits(std::size_t request);
    void disclose();

    const TraceHashes& trace_;
    std::size_t count_from_;
    std::atomic<std::size_t>* progress_;
    std::size_t seen_ = 0;
    std::size_t undisclosed_ = 0;
    ReplayRun run_;
};

/// The requests that these options replay, or what is wrong with them.
Result<std::size_t, ReplayError> requests_to_replay(const TraceHashes& trace,
                                                    const ReplayOptions& options);

/// A block manager that serves requests. The lists keep their memory.
class ManagerCache {
  public:
    static Result<ManagerCache, ReplayError> make(const TraceHashes& trace,
                                                  const ReplayOptions& options,
                                                  std::size_t requests);

    /// Nothing if the manager gave no blocks, which it must.
    std::optional<Outcome> serve(std::span<const SequenceHash> hashes);

    /// Blocks that hold a hash, while no request is served.
    std::uint64_t resident() const;
    std::uint64_t duplicates() const;
    std::vector<BlockInfo> inspect() const { return manager_.inspect(); }

  private:
    ManagerCache(BlockManager<> manager, std::size_t longest_request, ReleaseOrder order);

    BlockManager<> manager_;
    ReleaseOrder order_;
    ImmutableBlockList<> held_;
    MutableBlockList<> fresh_;
    std::vector<SequenceHash> evicted_;
};

/// Called after each request that was served.
using Served = std::function<void(std::size_t request, const Outcome& outcome)>;

/// Serves the first `requests` requests of the trace.
Result<ReplayRun, ReplayError> replay_through(ManagerCache& cache, const TraceHashes& trace,
                                              const ReplayOptions& options, std::size_t requests,
                                              const Served& served = {});

}  // namespace kvbm::detail::replay
