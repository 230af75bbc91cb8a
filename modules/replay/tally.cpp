module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

module kvbm.replay;

import :serving;

namespace kvbm {
namespace {

double ratio(std::uint64_t part, std::uint64_t whole) noexcept {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Progress is told in steps, since several runs share one counter.
constexpr std::size_t disclosed_at_once = 64;

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

namespace detail::replay {

Tally::Tally(const TraceHashes& trace, const ReplayOptions& options, std::size_t requests)
    : trace_(trace), count_from_(options.count_from), progress_(options.progress) {
    run_.mode = options.mode;
    run_.policy = options.policy;
    run_.order = options.order;
    run_.capacity = options.capacity;
    if (options.policy == ReplayPolicy::multi_lru) {
        run_.sketch = options.sketch;
    }
    run_.block_size = trace.block_size();
    run_.requests = requests - options.count_from;
}

void Tally::add(std::size_t request, Outcome outcome) {
    const std::uint64_t attainable = attainable_hits(request);
    if (request >= count_from_) {
        count(request, outcome, attainable);
    }
    if (++undisclosed_ == disclosed_at_once) {
        disclose();
    }
}

ReplayRun Tally::finish(std::uint64_t resident, std::uint64_t duplicates) {
    disclose();
    run_.resident = resident;
    run_.duplicates = duplicates;
    run_.mean_block_hit_rate /= static_cast<double>(run_.requests);
    run_.mean_token_hit_rate /= static_cast<double>(run_.requests);
    return run_;
}

void Tally::count(std::size_t request, Outcome outcome, std::uint64_t attainable) {
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

/// Numbers are given in order of first appearance: a block is known iff its number is below the
/// count of those seen.
std::uint64_t Tally::attainable_hits(std::size_t request) {
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

void Tally::disclose() {
    if (progress_ != nullptr) {
        progress_->fetch_add(undisclosed_, std::memory_order_relaxed);
    }
    undisclosed_ = 0;
}

}  // namespace detail::replay

}  // namespace kvbm
