module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.replay;

import :parallel;
import kvbm.blocks;
import kvbm.core;
import kvbm.frequency;
import kvbm.registry;
import kvbm.request;
import kvbm.tokens;

namespace kvbm {
namespace {

using Sequence = SchedulableSequence<>;

struct PolicyName {
    std::string_view name;
    void (*choose)(BlockManagerBuilder<>& builder);
};

constexpr std::array policies{
    PolicyName{"lru", [](BlockManagerBuilder<>& builder) { builder.with_lru_backend(); }},
    PolicyName{"fifo", [](BlockManagerBuilder<>& builder) { builder.with_hashmap_backend(); }},
    PolicyName{"multi-lru",
               [](BlockManagerBuilder<>& builder) { builder.with_multi_lru_backend(); }},
    PolicyName{"lineage-tick",
               [](BlockManagerBuilder<>& builder) {
                   builder.with_lineage_backend_eviction(LineageEviction::tick);
               }},
    PolicyName{"lineage-fifo", [](BlockManagerBuilder<>& builder) {
                   builder.with_lineage_backend_eviction(LineageEviction::fifo);
               }}};

constexpr Token token_of(std::uint64_t id, std::uint64_t index) noexcept {
    return static_cast<Token>(mix(mix(id) ^ index));
}

constexpr Token output_token(std::size_t request, std::uint64_t index) noexcept {
    return token_of((std::uint64_t{1} << 63U) + request, index);
}

/// Samples of the pool: every step at first, and half as often whenever the list is full.
class Samples {
  public:
    explicit Samples(std::size_t at_most) : at_most_(at_most) {}

    void add(std::uint64_t step, const BlockManager<>& manager) {
        if (at_most_ == 0 || step % spacing_ != 0) {
            return;
        }
        if (samples_.size() == at_most_) {
            spacing_ *= 2;
            std::erase_if(samples_,
                          [this](const BlockSample& one) { return one.step % spacing_ != 0; });
            if (step % spacing_ != 0 || samples_.size() == at_most_) {
                return;
            }
        }
        const MetricsSnapshot pool = manager.metrics()->snapshot();
        BlockSample sample{.step = step,
                           .queued = static_cast<std::size_t>(pool.inflight_mutable),
                           .inactive = static_cast<std::size_t>(pool.inactive_pool_size),
                           .free = static_cast<std::size_t>(pool.reset_pool_size)};
        sample.registered = manager.total_blocks() - sample.queued - sample.inactive - sample.free;
        samples_.push_back(sample);
    }
    std::vector<BlockSample> take() { return std::move(samples_); }

  private:
    std::size_t at_most_;
    std::uint64_t spacing_ = 1;
    std::vector<BlockSample> samples_;
};

class RequestReplay {
  public:
    RequestReplay(const Trace& trace, const RequestReplayOptions& options, std::size_t requests,
                  BlockManager<> manager)
        : trace_(trace),
          options_(options),
          requests_(requests),
          manager_(std::move(manager)),
          samples_(options.samples_at_most) {
        run_.policy = options.policy;
        run_.capacity = options.capacity;
        run_.block_size = manager_.block_size();
        run_.concurrency = options.concurrency;
        run_.chunk = options.chunk;
    }

    Result<RequestReplayRun, RequestReplayError> run() {
        for (admit(); !running_.empty(); admit()) {
            step();
        }
        run_.evictions = manager_.metrics()->snapshot().evictions;
        run_.samples = samples_.take();
        if (manager_.available_blocks() != manager_.total_blocks()) {
            return failure(RequestReplayError{RequestReplayError::BlocksLost{
                manager_.available_blocks(), manager_.total_blocks()}});
        }
        return std::move(run_);
    }

  private:
    struct Running {
        std::size_t request;
        Sequence sequence;
        std::size_t computed_before = 0;  // the largest KV position it has had
    };

    /// Fills the free places: what was preempted first, then the next of the file.
    void admit() {
        while (running_.size() < options_.concurrency) {
            if (!preempted_.empty()) {
                Running& first = preempted_.front();
                if (!must(first.sequence.reacquire(manager_))) {
                    return;  // it keeps its place at the head of the queue
                }
                run_.resumed_tokens_cached += first.sequence.kv_position();
                running_.push_back(std::move(first));
                preempted_.pop_front();
            } else if (next_ < requests_) {
                admit_new(next_++);
            } else {
                return;
            }
            note_held();
        }
    }

    void admit_new(std::size_t index) {
        const Request& request = trace_.requests[index];
        const std::uint64_t output = std::max<std::uint64_t>(
            1,
            std::min(request.output_length, options_.limit_output.value_or(request.output_length)));
        const std::uint64_t size = manager_.block_size();
        const std::uint64_t blocks = (request.input_length + output + size - 1) / size;
        if (blocks > manager_.total_blocks()) {
            ++run_.rejected;
            disclose();
            return;
        }
        Running fresh{.request = index,
                      .sequence = Sequence(prompt_of(index), static_cast<std::size_t>(output),
                                           manager_.block_size())};
        run_.prompt_tokens += request.input_length;
        must(fresh.sequence.match_and_add_prefix(manager_));
        fresh.computed_before = fresh.sequence.kv_position();
        run_.prompt_tokens_cached += fresh.computed_before;
        if (fresh.sequence.total_tokens() == 0) {
            generate(fresh);  // nothing to compute: the first token comes from nowhere
        }
        running_.push_back(std::move(fresh));
    }

    std::vector<Token> prompt_of(std::size_t index) const {
        const Request& request = trace_.requests[index];
        const auto ids = trace_.ids_of(request);
        std::vector<Token> tokens(static_cast<std::size_t>(request.input_length));
        const std::size_t size = manager_.block_size();
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            const std::size_t block = i / size;
            const std::uint64_t id =
                block < ids.size() ? ids[block] : std::numeric_limits<std::uint64_t>::max() - index;
            tokens[i] = token_of(id, i % size);
        }
        return tokens;
    }

    Token next_token(const Running& running) const {
        return output_token(running.request, running.sequence.generated_tokens());
    }
    void generate(Running& running) {
        must(running.sequence.append_tokens({next_token(running)}));
        ++run_.output_tokens;
    }

    void step() {
        for (std::size_t i = 0; i < running_.size();) {
            // A prompt without tokens may be complete before its first turn.
            if (!running_[i].sequence.is_complete() && !turn(i)) {
                break;  // it was the last, and preempted itself
            }
            if (running_[i].sequence.is_complete()) {
                must(running_[i].sequence.release(ReleaseOrder::leaf_first));
                running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
                ++run_.completed;
                disclose();
            } else {
                ++i;
            }
        }
        samples_.add(run_.steps, manager_);
        ++run_.steps;
    }

    /// One chunk or one decode. False: the request was preempted for want of blocks.
    bool turn(std::size_t i) {
        while (!schedule(running_[i].sequence)) {
            const bool itself = i + 1 == running_.size();
            preempt_last();
            if (itself) {
                return false;
            }
        }
        note_held();
        apply(running_[i]);
        return true;
    }

    /// False: blocks are missing.
    bool schedule(Sequence& sequence) {
        const std::size_t remaining = sequence.prefill_remaining();
        const auto scheduled =
            remaining > 0 ? sequence.schedule_prefill(std::min(remaining, options_.chunk), manager_)
                          : sequence.schedule_decode(manager_);
        if (!scheduled &&
            !std::holds_alternative<ScheduleError::AllocationFailed>(scheduled.error().reason)) {
            must(scheduled);  // a bug of ours
        }
        return scheduled.has_value();
    }

    void apply(Running& running) {
        Sequence& sequence = running.sequence;
        const std::size_t before = sequence.kv_position();
        const std::size_t generated = sequence.generated_tokens();
        const Token token = next_token(running);
        if (const auto* prefill = std::get_if<PrefillScheduled>(&sequence.state())) {
            const bool final_chunk = prefill->num_tokens == sequence.tail_tokens();
            must(sequence.apply_prefill(final_chunk ? std::optional(token) : std::nullopt,
                                        manager_));
        } else {
            must(sequence.apply_decode(token, manager_));
        }
        run_.output_tokens += sequence.generated_tokens() - generated;
        const std::size_t after = sequence.kv_position();
        run_.recomputed_tokens +=
            std::min(after, running.computed_before) - std::min(before, running.computed_before);
        running.computed_before = std::max(running.computed_before, after);
    }

    void preempt_last() {
        must(running_.back().sequence.release());
        preempted_.push_front(std::move(running_.back()));
        running_.pop_back();
        ++run_.preemptions;
    }

    void note_held() {
        const std::uint64_t held = manager_.total_blocks() - manager_.available_blocks();
        run_.peak_active_blocks = std::max(run_.peak_active_blocks, held);
    }
    void disclose() {
        if (options_.progress != nullptr) {
            options_.progress->fetch_add(1, std::memory_order_relaxed);
        }
    }

    const Trace& trace_;
    const RequestReplayOptions& options_;
    std::size_t requests_;
    BlockManager<> manager_;
    Samples samples_;
    std::vector<Running> running_;  // by admission, oldest first
    std::deque<Running> preempted_;
    std::size_t next_ = 0;
    RequestReplayRun run_;
};

RequestReplayError refused(std::string reason) {
    return {RequestReplayError::ManagerRefused{std::move(reason)}};
}

Result<BlockManager<>, RequestReplayError> build_manager(const RequestReplayOptions& options,
                                                         std::size_t block_count,
                                                         std::size_t block_size) {
    const auto policy = std::ranges::find(policies, options.policy, &PolicyName::name);
    if (policy == policies.end()) {
        return failure(
            RequestReplayError{RequestReplayError::UnknownPolicy{std::string(options.policy)}});
    }
    auto registry = BlockRegistry::builder();
    if (options.policy == "multi-lru") {
        registry.frequency_tracker(FrequencyTrackingCapacity::medium);
    }
    auto builder = BlockManager<>::builder();
    builder.block_count(block_count).block_size(block_size).registry(registry.build());
    policy->choose(builder);
    auto manager = builder.build();
    if (!manager) {
        return failure(refused(manager.error().message()));
    }
    return std::move(*manager);
}

/// Blocks that all requests need at once, or the first that no sequence can hold.
Result<std::size_t, RequestReplayError> blocks_of_all(const Trace& trace,
                                                      const RequestReplayOptions& options,
                                                      std::size_t requests) {
    const std::uint64_t size = std::max<std::uint64_t>(1, trace.block_size);
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < requests; ++i) {
        const Request& request = trace.requests[i];
        const std::uint64_t output = std::max<std::uint64_t>(
            1,
            std::min(request.output_length, options.limit_output.value_or(request.output_length)));
        // Lengths are at most 2^53, so that sums do not wrap.
        const std::uint64_t blocks = (request.input_length + output + size - 1) / size;
        if (blocks > max_block_count) {
            return failure(RequestReplayError{RequestReplayError::RequestTooLong{i, blocks}});
        }
        all += blocks;
    }
    return static_cast<std::size_t>(std::max<std::uint64_t>(all, 1));
}

}  // namespace

std::string RequestReplayError::ZeroCapacity::message() const {
    return "a cache of 0 blocks holds nothing: the capacity must be at least 1";
}
std::string RequestReplayError::ZeroLimit::message() const {
    return std::string(option) + " must be greater than 0";
}
std::string RequestReplayError::UnknownPolicy::message() const {
    return "unknown policy: " + name;
}
std::string RequestReplayError::ManagerRefused::message() const {
    return reason;
}
std::string RequestReplayError::RequestTooLong::message() const {
    return "request " + std::to_string(request) + " has " + std::to_string(blocks) +
           " blocks, more than " + std::to_string(max_block_count);
}
std::string RequestReplayError::BlocksLost::message() const {
    return "only " + std::to_string(available) + " of " + std::to_string(capacity) +
           " blocks are available at the end";
}
std::string RequestReplayError::message() const {
    return std::visit([](const auto& alternative) { return alternative.message(); }, reason);
}

double RequestReplayRun::prompt_cache_rate() const noexcept {
    return prompt_tokens == 0
               ? 0.0
               : static_cast<double>(prompt_tokens_cached) / static_cast<double>(prompt_tokens);
}

Result<RequestReplayRun, RequestReplayError> replay_requests(const Trace& trace,
                                                             const RequestReplayOptions& options) {
    using Error = RequestReplayError;
    if (options.capacity == std::size_t{0}) {
        return failure(Error{Error::ZeroCapacity{}});
    }
    if (options.concurrency == 0) {
        return failure(Error{Error::ZeroLimit{"concurrency"}});
    }
    if (options.chunk == 0) {
        return failure(Error{Error::ZeroLimit{"chunk"}});
    }
    const std::size_t requests =
        std::min(options.limit.value_or(trace.requests.size()), trace.requests.size());
    const auto all = blocks_of_all(trace, options, requests);
    if (!all) {
        return failure(all.error());
    }
    auto manager = build_manager(options, options.capacity.value_or(*all),
                                 static_cast<std::size_t>(trace.block_size));
    if (!manager) {
        return failure(std::move(manager.error()));
    }
    return RequestReplay(trace, options, requests, std::move(*manager)).run();
}

Result<std::vector<RequestReplayRun>, RequestReplayError> replay_all_requests(
    const Trace& trace, std::span<const RequestReplayOptions> runs, std::size_t jobs) {
    return detail::replay::all_of<RequestReplayRun, RequestReplayError>(
        runs.size(), jobs, [&](std::size_t i) { return replay_requests(trace, runs[i]); });
}

}  // namespace kvbm
