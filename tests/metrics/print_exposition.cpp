// Prints what a scraper gets of two pools with distinct values and awkward labels, for
// parse_exposition.py to read.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

import kvbm.metrics;

namespace {

std::shared_ptr<kvbm::BlockPoolMetrics> pool(const std::string& label, std::uint64_t first) {
    auto metrics = std::make_shared<kvbm::BlockPoolMetrics>(label);
    auto& counters = kvbm::detail::metrics::counters_of(*metrics);
    std::uint64_t next = first;
    counters.allocations_add(next++);
    counters.allocations_from_reset_add(next++);
    counters.evictions_add(next++);
    counters.registrations_add(next++);
    counters.duplicate_blocks_add(next++);
    counters.registration_dedup_add(next++);
    counters.stagings_add(next++);
    counters.match_hashes_requested_add(next++);
    counters.match_blocks_returned_add(next++);
    counters.scan_hashes_requested_add(next++);
    counters.scan_blocks_returned_add(next++);
    counters.eager_primary_to_inactive_add(next++);
    counters.allocate_atomic_rollback_add(next++);
    counters.release_primary_noop_add(next++);
    counters.release_duplicate_noop_add(next++);
    const auto gauge = [&next] { return static_cast<std::int64_t>(next++); };
    counters.inflight_mutable_add(gauge());
    counters.inflight_immutable_add(-gauge());
    counters.reset_pool_size_set(gauge());
    counters.inactive_pool_size_set(gauge());
    return metrics;
}

}  // namespace

int main() {
    kvbm::MetricsAggregator aggregator;
    aggregator.register_source(pool("G1", 100));
    aggregator.register_source(pool("back\\slash \"quoted\"\nline, {braces} = \xC3\xBC", 200));
    aggregator.set_external_labels({{"worker_id", "w0"}, {"path", "C:\\new"}, {"empty", ""}});
    std::fputs(aggregator.to_prometheus().c_str(), stdout);
}
