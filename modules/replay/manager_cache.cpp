module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

module kvbm.replay;

import :serving;
import kvbm.blocks;
import kvbm.core;
import kvbm.frequency;
import kvbm.hash;
import kvbm.registry;

namespace kvbm::detail::replay {
namespace {

/// Chooses the policy; multi-LRU brings the tracker that it reads, of the size that the parent's
/// figures are for (replay.md 7).
void set_policy(BlockManagerBuilder<DefaultTier>& builder, const ReplayOptions& options) {
    auto registry = BlockRegistry::builder();
    switch (options.policy) {
        case ReplayPolicy::lru:
            builder.with_lru_backend();
            break;
        case ReplayPolicy::multi_lru:
            registry.frequency_tracker(FrequencyTrackingCapacity::medium, options.sketch);
            builder.with_multi_lru_backend();
            break;
        case ReplayPolicy::lineage_tick:
            builder.with_lineage_backend_eviction(LineageEviction::tick);
            break;
        case ReplayPolicy::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            break;
        case ReplayPolicy::fifo:
            builder.with_hashmap_backend();
            break;
    }
    builder.registry(registry.build());
}

std::size_t longest_request(const TraceHashes& trace, std::size_t requests) {
    std::size_t longest = 0;
    for (std::size_t request = 0; request < requests; ++request) {
        longest = std::max(longest, trace.sequence_hashes(request).size());
    }
    return longest;
}

}  // namespace

Result<ManagerCache, ReplayError> ManagerCache::make(const TraceHashes& trace,
                                                     const ReplayOptions& options,
                                                     std::size_t requests) {
    // A manager with more blocks than the trace does what one of just as many does, and a trace
    // without blocks needs a manager all the same.
    const std::size_t blocks = std::max<std::size_t>(trace.distinct_blocks(requests), 1);
    auto builder = BlockManager<>::builder();
    builder.block_count(std::min(options.capacity.value_or(blocks), blocks))
        .block_size(trace.block_size());
    set_policy(builder, options);
    auto manager = builder.build();
    if (!manager) {
        return failure(ReplayError{ReplayError::ManagerRefused{manager.error().message()}});
    }
    return ManagerCache(
        std::move(*manager), longest_request(trace, requests),
        options.order == ReplayOrder::tail ? ReleaseOrder::leaf_first : ReleaseOrder::root_first);
}

ManagerCache::ManagerCache(BlockManager<> manager, std::size_t longest_request, ReleaseOrder order)
    : manager_(std::move(manager)), order_(order) {
    const std::size_t most = std::min(longest_request, manager_.total_blocks());
    held_.reserve(most);
    fresh_.reserve(most);
    evicted_.reserve(most);
}

std::optional<Outcome> ManagerCache::serve(std::span<const SequenceHash> hashes) {
    Outcome outcome;
    outcome.hits = manager_.match_blocks_into(hashes, held_);
    const std::size_t kept = std::min(hashes.size(), manager_.total_blocks());
    outcome.skipped = hashes.size() - kept;
    const auto missing = hashes.subspan(outcome.hits, kept - outcome.hits);
    evicted_.clear();
    if (!manager_.allocate_blocks_into(missing.size(), fresh_, &evicted_)) {
        return std::nullopt;
    }
    outcome.evicted = evicted_.size();
    auto staged = must(std::move(fresh_).stage_all(missing, manager_.block_size()));
    must(manager_.register_blocks_into(staged, held_));
    fresh_ = std::move(staged).reset_all();  // an empty list: only its memory comes back
    held_.clear(order_);
    return outcome;
}

std::uint64_t ManagerCache::resident() const {
    return static_cast<std::uint64_t>(manager_.metrics()->snapshot().inactive_pool_size);
}

std::uint64_t ManagerCache::duplicates() const {
    return manager_.metrics()->snapshot().duplicate_blocks;
}

}  // namespace kvbm::detail::replay
