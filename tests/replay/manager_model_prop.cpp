// Mode `manager` is the procedure of replay.md 4.1. A slot model (a queue of free slots, a list of
// inactive ones) counts the same on any trace, and so does the procedure spelled with the plain
// calls of a block manager, whatever its duplication policy.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.blocks;
import kvbm.replay;

namespace {

using namespace kvbm_test;

/// Slots that are free, in the order in which they will be taken, and slots that hold a block that
/// nobody uses, the one unused longest first.
class SlotModel {
  public:
    explicit SlotModel(std::size_t capacity) : capacity_(capacity), content_(capacity) {
        for (std::size_t slot = 0; slot < capacity; ++slot) {
            free_.push_back(slot);
        }
    }

    void serve(const Ids& ids, kvbm::ReplayOrder order, Counts& counts) {
        const auto blocks = lineages_of(ids);
        std::vector<std::size_t> held;
        while (held.size() < blocks.size() && slot_of_.contains(blocks[held.size()])) {
            held.push_back(slot_of_.at(blocks[held.size()]));
            std::erase(inactive_, held.back());
        }
        counts.add_hits(held.size(), tokens_of(ids));
        const auto kept = std::min(blocks.size(), capacity_);
        counts.skipped_blocks += blocks.size() - kept;
        counts.cut_requests += kept < blocks.size() ? 1 : 0;
        std::vector<std::size_t> fresh;
        while (held.size() + fresh.size() < kept) {
            fresh.push_back(take(counts));
        }
        for (const auto slot : fresh) {
            const auto& block = blocks[held.size()];
            RC_ASSERT(!slot_of_.contains(block));  // no duplicate arises
            slot_of_[block] = slot;
            content_[slot] = block;
            held.push_back(slot);
        }
        if (order == kvbm::ReplayOrder::tail) {
            std::reverse(held.begin(), held.end());
        }
        inactive_.insert(inactive_.end(), held.begin(), held.end());
    }

    std::size_t resident() const { return inactive_.size(); }

  private:
    std::size_t take(Counts& counts) {
        auto& from = free_.empty() ? inactive_ : free_;
        RC_ASSERT(!from.empty());
        const auto slot = from.front();
        from.pop_front();
        if (content_[slot]) {
            slot_of_.erase(*content_[slot]);
            content_[slot].reset();
            ++counts.evictions;
        }
        return slot;
    }

    std::size_t capacity_;
    std::vector<std::optional<Lineage>> content_;
    std::map<Lineage, std::size_t> slot_of_;
    std::deque<std::size_t> free_;
    std::deque<std::size_t> inactive_;
};

Counts by_slots(const Requests& requests, std::size_t capacity, kvbm::ReplayOrder order) {
    SlotModel model(capacity);
    Counts counts;
    for (const auto& ids : requests.ids) {
        model.serve(ids, order, counts);
    }
    counts.resident = model.resident();
    return counts;
}

RC_GTEST_PROP(ReplayManager, counts_what_the_slot_model_counts, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");
    const auto order = *any_order().as("order");
    const auto policy =
        *rc::gen::element(kvbm::ReplayPolicy::lru, kvbm::ReplayPolicy::fifo).as("policy");

    const auto run = kvbm::must(kvbm::replay(
        hashes_of(requests), {.capacity = capacity, .policy = policy, .order = order}));

    RC_ASSERT(counts_of(run) == by_slots(requests, capacity, order));
}

RC_GTEST_PROP(ReplayManager, without_a_limit_has_a_slot_for_every_block, ()) {
    const auto requests = *any_requests().as("requests");
    const auto order = *any_order().as("order");

    const auto run = kvbm::must(kvbm::replay(hashes_of(requests), {.order = order}));

    RC_ASSERT(counts_of(run) == by_slots(requests, 10'000, order));
}

/// The policies that need no tracker, by how a manager is told.
void set_policy(kvbm::BlockManagerBuilder<>& builder, kvbm::ReplayPolicy policy) {
    if (policy == kvbm::ReplayPolicy::lru) {
        builder.with_lru_backend();
    } else if (policy == kvbm::ReplayPolicy::fifo) {
        builder.with_hashmap_backend();
    } else {
        builder.with_lineage_backend_eviction(policy == kvbm::ReplayPolicy::lineage_tick
                                                  ? kvbm::LineageEviction::tick
                                                  : kvbm::LineageEviction::fifo);
    }
}

/// Section 4.1, step by step.
Counts by_plain_calls(const kvbm::TraceHashes& trace, const kvbm::ReplayOptions& options,
                      kvbm::BlockDuplicationPolicy duplicates) {
    auto builder = kvbm::BlockManager<>::builder();
    builder.block_count(*options.capacity)
        .block_size(trace.block_size())
        .registry(kvbm::BlockRegistry())
        .duplication_policy(duplicates);
    set_policy(builder, options.policy);
    auto manager = kvbm::must(builder.build());
    Counts counts;
    for (std::size_t request = 0; request < trace.requests(); ++request) {
        const auto hashes = trace.sequence_hashes(request);
        auto held = manager.match_blocks(hashes);
        counts.add_hits(held.size(), trace.input_length(request));
        const auto kept = std::min(hashes.size(), *options.capacity);
        counts.skipped_blocks += hashes.size() - kept;
        counts.cut_requests += kept < hashes.size() ? 1 : 0;
        const auto missing = hashes.subspan(held.size(), kept - held.size());
        auto fresh = manager.allocate_blocks(missing.size());
        RC_ASSERT(fresh.has_value());
        auto staged = kvbm::must(std::move(*fresh).stage_all(missing, block_size));
        held.append(kvbm::must(manager.register_blocks(std::move(staged))));
        held.clear(options.order == kvbm::ReplayOrder::tail ? kvbm::ReleaseOrder::leaf_first
                                                            : kvbm::ReleaseOrder::root_first);
    }
    const auto metrics = manager.metrics()->snapshot();
    counts.evictions = metrics.evictions;
    counts.resident = static_cast<std::uint64_t>(metrics.inactive_pool_size);
    counts.duplicates = metrics.duplicate_blocks;
    return counts;
}

RC_GTEST_PROP(ReplayManager, counts_what_the_plain_calls_count_with_either_duplication_policy, ()) {
    const auto requests = *any_requests().as("requests");
    kvbm::ReplayOptions options;
    options.capacity = *any_capacity().as("capacity");
    options.order = *any_order().as("order");
    options.policy =
        *rc::gen::element(kvbm::ReplayPolicy::lru, kvbm::ReplayPolicy::fifo,
                          kvbm::ReplayPolicy::lineage_tick, kvbm::ReplayPolicy::lineage_fifo)
             .as("policy");
    const auto hashes = hashes_of(requests);

    const auto counts = counts_of(kvbm::must(kvbm::replay(hashes, options)));

    RC_ASSERT(counts == by_plain_calls(hashes, options, kvbm::BlockDuplicationPolicy::allow));
    RC_ASSERT(counts == by_plain_calls(hashes, options, kvbm::BlockDuplicationPolicy::reject));
}

}  // namespace
