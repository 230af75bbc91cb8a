module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

module kvbm.replay;

import :parallel;
import :serving;
import kvbm.core;
import kvbm.hash;

namespace kvbm {
namespace {

using detail::replay::Outcome;
using detail::replay::Tally;

/// The textbook cache over block numbers: an intrusive ring from the least to the most recent use.
class LruRing {
  public:
    LruRing(std::size_t capacity, std::size_t blocks)
        : capacity_(capacity), links_(blocks + 1), ring_(static_cast<std::uint32_t>(blocks)) {
        links_[ring_] = {ring_, ring_};
    }

    bool contains(std::uint32_t block) const noexcept { return links_[block].next != absent; }
    std::size_t size() const noexcept { return size_; }

    /// Makes the block the most recent. Gives the number of blocks evicted for it, 0 or 1.
    std::size_t use(std::uint32_t block) noexcept {
        if (contains(block)) {
            unlink(block);
            append(block);
            return 0;
        }
        append(block);
        if (++size_ <= capacity_) {
            return 0;
        }
        const std::uint32_t victim = links_[ring_].next;
        unlink(victim);
        links_[victim].next = absent;
        --size_;
        return 1;
    }

  private:
    static constexpr std::uint32_t absent = std::numeric_limits<std::uint32_t>::max();
    struct Link {
        std::uint32_t previous = absent;
        std::uint32_t next = absent;
    };

    void unlink(std::uint32_t block) noexcept {
        const Link link = links_[block];
        links_[link.previous].next = link.next;
        links_[link.next].previous = link.previous;
    }
    void append(std::uint32_t block) noexcept {
        const std::uint32_t last = links_[ring_].previous;
        links_[block] = {last, ring_};
        links_[last].next = block;
        links_[ring_].previous = block;
    }

    std::size_t capacity_;
    std::size_t size_ = 0;
    std::vector<Link> links_;
    std::uint32_t ring_;
};

ReplayRun replay_ideal(const TraceHashes& trace, const ReplayOptions& options,
                       std::size_t requests) {
    const std::size_t blocks = trace.distinct_blocks(requests);
    LruRing cache(options.capacity.value_or(blocks), blocks);
    Tally tally(trace, options, requests);
    for (std::size_t request = 0; request < requests; ++request) {
        const std::span<const std::uint32_t> numbers = trace.block_numbers(request);
        Outcome outcome;
        while (outcome.hits < numbers.size() && cache.contains(numbers[outcome.hits])) {
            ++outcome.hits;
        }
        if (options.order == ReplayOrder::head) {
            for (std::size_t i = 0; i < numbers.size(); ++i) {
                outcome.evicted += cache.use(numbers[i]);
            }
        } else {
            for (std::size_t i = numbers.size(); i > 0; --i) {
                outcome.evicted += cache.use(numbers[i - 1]);
            }
        }
        tally.add(request, outcome);
    }
    return tally.finish(cache.size(), 0);
}

}  // namespace

namespace detail::replay {

Result<std::size_t, ReplayError> requests_to_replay(const TraceHashes& trace,
                                                    const ReplayOptions& options) {
    const std::size_t requests =
        std::min(options.limit.value_or(trace.requests()), trace.requests());
    if (options.capacity == std::size_t{0}) {
        return failure(ReplayError{ReplayError::ZeroCapacity{}});
    }
    if (options.mode == ReplayMode::ideal && options.policy != ReplayPolicy::lru) {
        return failure(ReplayError{ReplayError::PolicyNotInMode{options.policy, options.mode}});
    }
    if (options.count_from >= requests) {
        return failure(ReplayError{ReplayError::NothingToCount{options.count_from, requests}});
    }
    return requests;
}

Result<ReplayRun, ReplayError> replay_through(ManagerCache& cache, const TraceHashes& trace,
                                              const ReplayOptions& options, std::size_t requests,
                                              const Served& served) {
    Tally tally(trace, options, requests);
    for (std::size_t request = 0; request < requests; ++request) {
        const auto outcome = cache.serve(trace.sequence_hashes(request));
        if (!outcome) {
            return failure(ReplayError{
                ReplayError::AllocationFailed{request, trace.sequence_hashes(request).size()}});
        }
        tally.add(request, *outcome);
        if (served) {
            served(request, *outcome);
        }
    }
    return tally.finish(cache.resident(), cache.duplicates());
}

}  // namespace detail::replay

Result<ReplayRun, ReplayError> replay(const TraceHashes& trace, const ReplayOptions& options) {
    const auto requests = detail::replay::requests_to_replay(trace, options);
    if (!requests) {
        return failure(requests.error());
    }
    if (options.mode == ReplayMode::ideal) {
        return replay_ideal(trace, options, *requests);
    }
    auto cache = detail::replay::ManagerCache::make(trace, options, *requests);
    if (!cache) {
        return failure(cache.error());
    }
    return detail::replay::replay_through(*cache, trace, options, *requests);
}

Result<std::vector<ReplayRun>, ReplayError> replay_all(const TraceHashes& trace,
                                                       std::span<const ReplayOptions> runs,
                                                       std::size_t jobs) {
    return detail::replay::all_of<ReplayRun, ReplayError>(
        runs.size(), jobs, [&](std::size_t i) { return replay(trace, runs[i]); });
}

}  // namespace kvbm
