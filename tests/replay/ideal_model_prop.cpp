// Mode `ideal` is the textbook cache: a plain LRU over two ordered maps counts the same on any
// trace, in both orders, at any capacity.
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.replay;

namespace {

using namespace kvbm_test;

/// Blocks by the time of their last use, and times by block.
class TextbookLru {
  public:
    explicit TextbookLru(std::size_t capacity) : capacity_(capacity) {}

    bool has(const Lineage& block) const { return time_of_.contains(block); }
    std::size_t size() const { return time_of_.size(); }

    /// Gives the number of blocks that went for it.
    std::size_t use(const Lineage& block) {
        if (const auto found = time_of_.find(block); found != time_of_.end()) {
            block_at_.erase(found->second);
        }
        time_of_[block] = ++now_;
        block_at_[now_] = block;
        if (time_of_.size() <= capacity_) {
            return 0;
        }
        const auto oldest = block_at_.begin();
        time_of_.erase(oldest->second);
        block_at_.erase(oldest);
        return 1;
    }

  private:
    std::size_t capacity_;
    std::uint64_t now_ = 0;
    std::map<Lineage, std::uint64_t> time_of_;
    std::map<std::uint64_t, Lineage> block_at_;
};

Counts textbook(const Requests& requests, std::size_t capacity, kvbm::ReplayOrder order) {
    TextbookLru cache(capacity);
    Counts counts;
    for (const auto& ids : requests.ids) {
        auto blocks = lineages_of(ids);
        std::size_t hits = 0;
        while (hits < blocks.size() && cache.has(blocks[hits])) {
            ++hits;
        }
        counts.add_hits(hits, tokens_of(ids));
        if (order == kvbm::ReplayOrder::tail) {
            blocks = {blocks.rbegin(), blocks.rend()};
        }
        for (const auto& block : blocks) {
            counts.evictions += cache.use(block);
        }
    }
    counts.resident = cache.size();
    return counts;
}

RC_GTEST_PROP(ReplayIdeal, counts_what_the_textbook_cache_counts, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");
    const auto order = *any_order().as("order");

    const auto run = kvbm::must(
        kvbm::replay(hashes_of(requests),
                     {.capacity = capacity, .mode = kvbm::ReplayMode::ideal, .order = order}));

    RC_ASSERT(counts_of(run) == textbook(requests, capacity, order));
}

RC_GTEST_PROP(ReplayIdeal, without_a_limit_never_evicts, ()) {
    const auto requests = *any_requests().as("requests");
    const auto order = *any_order().as("order");

    const auto run = kvbm::must(
        kvbm::replay(hashes_of(requests), {.mode = kvbm::ReplayMode::ideal, .order = order}));

    RC_ASSERT(counts_of(run) == textbook(requests, 1'000'000, order));
    RC_ASSERT(run.evictions == 0u);
}

}  // namespace
