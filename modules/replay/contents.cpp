module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

module kvbm.replay;

import :serving;
import kvbm.blocks;
import kvbm.core;
import kvbm.hash;

namespace kvbm {
namespace {

using detail::replay::Outcome;
using detail::replay::percentiles_of;

constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

/// What the requests tell about a block, by its number.
struct Usage {
    std::uint32_t parent = none;
    std::uint64_t uses = 0;
    std::size_t last = 0;  ///< request
};

/// Follows a replay from request to request.
class UsageLog {
  public:
    UsageLog(const TraceHashes& trace, std::size_t requests)
        : trace_(trace), usage_(trace.distinct_blocks(requests)) {}

    void served(std::size_t request, const Outcome& outcome) {
        const auto numbers = trace_.block_numbers(request);
        const auto kept = numbers.first(numbers.size() - outcome.skipped);
        std::uint32_t parent = none;
        for (std::size_t i = 0; i < kept.size(); ++i) {
            Usage& usage = usage_[kept[i]];
            usage.parent = parent;
            usage.uses = i < outcome.hits ? usage.uses + 1 : 1;
            usage.last = request;
            parent = kept[i];
        }
    }

    std::span<const Usage> usage() const noexcept { return usage_; }

  private:
    const TraceHashes& trace_;
    std::vector<Usage> usage_;
};

std::uint64_t& place_of(BlockState state, CacheContents& contents) {
    switch (state) {
        case BlockState::reset:
            return contents.reset;
        case BlockState::mutable_block:
            return contents.mutable_blocks;
        case BlockState::staged:
            return contents.staged;
        case BlockState::primary:
            return contents.primary;
        case BlockState::duplicate:
            return contents.duplicate;
        case BlockState::inactive:
            break;
    }
    return contents.inactive;
}

/// The cached blocks and their numbers, in rising order of number: parents before children.
std::vector<std::pair<std::uint32_t, BlockInfo>> cached_blocks(const TraceHashes& trace,
                                                               std::size_t requests,
                                                               std::span<const BlockInfo> blocks) {
    boost::unordered_flat_map<SequenceHash, std::uint32_t, std::hash<SequenceHash>> numbers;
    for (std::size_t request = 0; request < requests; ++request) {
        const auto hashes = trace.sequence_hashes(request);
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            numbers.try_emplace(hashes[i], trace.block_numbers(request)[i]);
        }
    }
    std::vector<std::pair<std::uint32_t, BlockInfo>> cached;
    for (const BlockInfo& block : blocks) {
        if (block.state == BlockState::primary || block.state == BlockState::inactive) {
            cached.emplace_back(numbers.at(block.hash), block);
        }
    }
    std::ranges::sort(cached, {}, [](const auto& entry) { return entry.first; });
    return cached;
}

using Cached = std::span<const std::pair<std::uint32_t, BlockInfo>>;

void count_chains(Cached cached, std::span<const Usage> usage, CacheContents& contents) {
    std::vector<bool> reachable(usage.size());
    std::vector<bool> continued(usage.size());
    for (const auto& [number, block] : cached) {
        const std::uint32_t parent = usage[number].parent;
        contents.roots += parent == none ? 1 : 0;
        reachable[number] = parent == none || reachable[parent];
        contents.unreachable += reachable[number] ? 0 : 1;
        if (parent != none) {
            continued[parent] = true;
        }
    }
    std::vector<std::uint64_t> lengths;
    for (const auto& [number, block] : cached) {
        if (!continued[number]) {
            lengths.push_back(block.hash.position() + 1);
        }
    }
    contents.chains = lengths.size();
    contents.chain_length = percentiles_of(std::move(lengths));
}

void count_uses(Cached cached, std::span<const Usage> usage, std::size_t requests,
                std::size_t most_used, CacheContents& contents) {
    std::vector<std::uint64_t> uses;
    std::vector<std::uint64_t> ages;
    std::vector<CachedBlock> blocks;
    for (const auto& [number, block] : cached) {
        const Usage& used = usage[number];
        contents.reused += used.uses > 1 ? 1 : 0;
        blocks.push_back({block.id, block.hash, used.uses, requests - 1 - used.last});
        uses.push_back(used.uses);
        ages.push_back(blocks.back().age);
    }
    contents.uses = percentiles_of(std::move(uses));
    contents.age = percentiles_of(std::move(ages));
    const std::size_t shown = std::min(most_used, blocks.size());
    std::ranges::partial_sort(blocks, blocks.begin() + static_cast<std::ptrdiff_t>(shown),
                              [](const CachedBlock& a, const CachedBlock& b) {
                                  return std::tuple(b.uses, a.age, a.hash.position(), a.id) <
                                         std::tuple(a.uses, b.age, b.hash.position(), b.id);
                              });
    blocks.resize(shown);
    contents.most_used = std::move(blocks);
}

CacheContents contents_of(const TraceHashes& trace, const ReplayOptions& options,
                          std::size_t requests, std::span<const BlockInfo> blocks,
                          std::span<const Usage> usage, std::size_t most_used) {
    CacheContents contents;
    contents.blocks = options.capacity.value_or(blocks.size());
    // The manager was built no larger than the trace needs.
    contents.reset = contents.blocks - blocks.size();
    for (const BlockInfo& block : blocks) {
        ++place_of(block.state, contents);
        contents.references += block.references;
    }
    const auto cached = cached_blocks(trace, requests, blocks);
    count_chains(cached, usage, contents);
    count_uses(cached, usage, requests, most_used, contents);
    return contents;
}

}  // namespace

Result<InspectedReplay, ReplayError> replay_and_inspect(const TraceHashes& trace,
                                                        const ReplayOptions& options,
                                                        std::size_t most_used) {
    expects(options.mode == ReplayMode::manager, "a cache to look into is a block manager");
    const auto requests = detail::replay::requests_to_replay(trace, options);
    if (!requests) {
        return failure(requests.error());
    }
    auto cache = detail::replay::ManagerCache::make(trace, options, *requests);
    if (!cache) {
        return failure(cache.error());
    }
    UsageLog log(trace, *requests);
    const auto run = detail::replay::replay_through(
        *cache, trace, options, *requests,
        [&log](std::size_t request, const Outcome& outcome) { log.served(request, outcome); });
    if (!run) {
        return failure(run.error());
    }
    return InspectedReplay{
        *run, contents_of(trace, options, *requests, cache->inspect(), log.usage(), most_used)};
}

}  // namespace kvbm
