module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

module kvbm.replay;

import kvbm.blocks;
import kvbm.core;
import kvbm.hash;
import kvbm.registry;

namespace kvbm {
namespace {

double ratio(std::uint64_t part, std::uint64_t whole) noexcept {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// What one request did to the cache.
struct Outcome {
    std::size_t hits = 0;
    std::size_t evicted = 0;
    std::size_t skipped = 0;
};

/// Adds up the requests of one run.
class Tally {
  public:
    Tally(const TraceHashes& trace, const ReplayOptions& options, std::size_t requests)
        : trace_(trace), count_from_(options.count_from), progress_(options.progress) {
        run_.mode = options.mode;
        run_.policy = options.policy;
        run_.order = options.order;
        run_.capacity = options.capacity;
        run_.block_size = trace.block_size();
        run_.requests = requests - options.count_from;
    }

    void add(std::size_t request, Outcome outcome) {
        const std::uint64_t attainable = attainable_hits(request);
        if (request >= count_from_) {
            count(request, outcome, attainable);
        }
        if (++undisclosed_ == disclosed_at_once) {
            disclose();
        }
    }

    ReplayRun finish(std::uint64_t resident, std::uint64_t duplicates) {
        disclose();
        run_.resident = resident;
        run_.duplicates = duplicates;
        run_.mean_block_hit_rate /= static_cast<double>(run_.requests);
        run_.mean_token_hit_rate /= static_cast<double>(run_.requests);
        return run_;
    }

  private:
    static constexpr std::size_t disclosed_at_once = 64;

    void count(std::size_t request, Outcome outcome, std::uint64_t attainable) {
        const std::uint64_t references = trace_.block_numbers(request).size();
        const std::uint64_t tokens = trace_.input_length(request);
        const std::uint64_t token_hits =
            std::min<std::uint64_t>(outcome.hits * trace_.block_size(), tokens);
        run_.block_references += references;
        run_.input_tokens += tokens;
        run_.block_hits += outcome.hits;
        run_.token_hits += token_hits;
        run_.requests_with_hit += outcome.hits > 0 ? 1 : 0;
        run_.cut_requests += outcome.skipped > 0 ? 1 : 0;
        run_.skipped_blocks += outcome.skipped;
        run_.evictions += outcome.evicted;
        run_.attainable_hits += attainable;
        run_.mean_block_hit_rate += ratio(outcome.hits, references);
        run_.mean_token_hit_rate += ratio(token_hits, tokens);
    }

    /// Numbers are given in order of first appearance: a block is known iff its number is below
    /// the count of those seen.
    std::uint64_t attainable_hits(std::size_t request) {
        const std::size_t known = seen_;
        std::uint64_t hits = 0;
        bool whole = true;
        for (const std::uint32_t number : trace_.block_numbers(request)) {
            whole = whole && number < known;
            hits += whole ? 1 : 0;
            seen_ = std::max<std::size_t>(seen_, std::size_t{number} + 1);
        }
        return hits;
    }

    void disclose() {
        if (progress_ != nullptr) {
            progress_->fetch_add(undisclosed_, std::memory_order_relaxed);
        }
        undisclosed_ = 0;
    }

    const TraceHashes& trace_;
    std::size_t count_from_;
    std::atomic<std::size_t>* progress_;
    std::size_t seen_ = 0;
    std::size_t undisclosed_ = 0;
    ReplayRun run_;
};

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

Result<BlockManager<>, ReplayError> build_manager(const ReplayOptions& options,
                                                  std::size_t block_count, std::size_t block_size) {
    auto builder = BlockManager<>::builder();
    builder.block_count(block_count)
        .block_size(block_size)
        .registry(BlockRegistry::builder().build());
    if (options.policy == ReplayPolicy::lru) {
        builder.with_lru_backend();
    } else {
        builder.with_hashmap_backend();
    }
    auto manager = builder.build();
    if (!manager) {
        return failure(ReplayError{ReplayError::ManagerRefused{manager.error().message()}});
    }
    return std::move(*manager);
}

/// One request after the other through a block manager. The lists keep their memory.
class ManagerCache {
  public:
    ManagerCache(BlockManager<> manager, std::size_t longest_request, ReleaseOrder order)
        : manager_(std::move(manager)), order_(order) {
        const std::size_t most = std::min(longest_request, manager_.total_blocks());
        held_.reserve(most);
        fresh_.reserve(most);
        evicted_.reserve(most);
    }

    /// Nothing if the manager gave no blocks, which it must.
    std::optional<Outcome> serve(std::span<const SequenceHash> hashes) {
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

    /// Blocks that hold a hash, while no request is served.
    std::uint64_t resident() const {
        return static_cast<std::uint64_t>(manager_.metrics()->snapshot().inactive_pool_size);
    }
    std::uint64_t duplicates() const { return manager_.metrics()->snapshot().duplicate_blocks; }

  private:
    BlockManager<> manager_;
    ReleaseOrder order_;
    ImmutableBlockList<> held_;
    MutableBlockList<> fresh_;
    std::vector<SequenceHash> evicted_;
};

std::size_t longest_request(const TraceHashes& trace, std::size_t requests) {
    std::size_t longest = 0;
    for (std::size_t request = 0; request < requests; ++request) {
        longest = std::max(longest, trace.sequence_hashes(request).size());
    }
    return longest;
}

Result<ReplayRun, ReplayError> replay_manager(const TraceHashes& trace,
                                              const ReplayOptions& options, std::size_t requests) {
    // A trace without blocks needs a manager all the same.
    const std::size_t blocks = std::max<std::size_t>(trace.distinct_blocks(requests), 1);
    auto manager = build_manager(options, options.capacity.value_or(blocks), trace.block_size());
    if (!manager) {
        return failure(std::move(manager.error()));
    }
    ManagerCache cache(
        std::move(*manager), longest_request(trace, requests),
        options.order == ReplayOrder::tail ? ReleaseOrder::leaf_first : ReleaseOrder::root_first);
    Tally tally(trace, options, requests);
    for (std::size_t request = 0; request < requests; ++request) {
        const auto outcome = cache.serve(trace.sequence_hashes(request));
        if (!outcome) {
            return failure(ReplayError{
                ReplayError::AllocationFailed{request, trace.sequence_hashes(request).size()}});
        }
        tally.add(request, *outcome);
    }
    return tally.finish(cache.resident(), cache.duplicates());
}

/// What is wrong with the options, if anything.
std::optional<ReplayError> refusal(const ReplayOptions& options, std::size_t requests) {
    if (options.capacity == std::size_t{0}) {
        return ReplayError{ReplayError::ZeroCapacity{}};
    }
    if (options.mode == ReplayMode::ideal && options.policy != ReplayPolicy::lru) {
        return ReplayError{ReplayError::PolicyNotInMode{options.policy, options.mode}};
    }
    if (options.count_from >= requests) {
        return ReplayError{ReplayError::NothingToCount{options.count_from, requests}};
    }
    return std::nullopt;
}

}  // namespace

double ReplayRun::block_hit_rate() const noexcept {
    return ratio(block_hits, block_references);
}
double ReplayRun::token_hit_rate() const noexcept {
    return ratio(token_hits, input_tokens);
}
double ReplayRun::full_block_token_rate() const noexcept {
    return ratio(block_hits * block_size, input_tokens);
}
double ReplayRun::ceiling() const noexcept {
    return ratio(block_hits, attainable_hits);
}

Result<ReplayRun, ReplayError> replay(const TraceHashes& trace, const ReplayOptions& options) {
    const std::size_t requests =
        std::min(options.limit.value_or(trace.requests()), trace.requests());
    if (auto error = refusal(options, requests)) {
        return failure(std::move(*error));
    }
    if (options.mode == ReplayMode::ideal) {
        return replay_ideal(trace, options, requests);
    }
    return replay_manager(trace, options, requests);
}

Result<std::vector<ReplayRun>, ReplayError> replay_all(const TraceHashes& trace,
                                                       std::span<const ReplayOptions> runs,
                                                       std::size_t jobs) {
    std::vector<std::optional<Result<ReplayRun, ReplayError>>> results(runs.size());
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
        for (std::size_t i = next++; i < runs.size(); i = next++) {
            results[i].emplace(replay(trace, runs[i]));
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1; i < std::min(jobs, runs.size()); ++i) {
            threads.emplace_back(work);
        }
        work();
    }
    std::vector<ReplayRun> done;
    done.reserve(runs.size());
    for (auto& result : results) {
        if (!result->has_value()) {
            return failure(std::move(result->error()));
        }
        done.push_back(**result);
    }
    return done;
}

}  // namespace kvbm
