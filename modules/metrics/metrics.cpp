module;

#include <atomic>
#include <cstddef>
#include <string>
#include <utility>

module kvbm.metrics;

namespace kvbm {

namespace detail::metrics {

std::size_t next_stripe() noexcept {
    static std::atomic<std::size_t> next{0};
    return next.fetch_add(1, std::memory_order_relaxed);
}

MetricsSnapshot PoolCounters::snapshot() const noexcept {
    // X10: what is written under the store's lock, what is written outside it, and the guards of
    // each stripe share no cache line. The lines written under the lock come first.
    static_assert(alignof(PoolCounters) == line_size && sizeof(Stripe) == line_size);
    static_assert(offsetof(PoolCounters, registrations_) % line_size == 0);
    static_assert(offsetof(PoolCounters, registrations_) >
                  offsetof(PoolCounters, allocate_atomic_rollback_));
    static_assert(offsetof(PoolCounters, stripes_) ==
                  offsetof(PoolCounters, registrations_) + line_size);

    constexpr auto relaxed = std::memory_order_relaxed;
    MetricsSnapshot values;
    // Acquire: whoever sees a registration sees its blocks. Pairs with registrations_add.
    values.registrations = registrations_.load(std::memory_order_acquire);
    values.allocations = allocations_.load(relaxed);
    values.allocations_from_reset = allocations_from_reset_.load(relaxed);
    values.evictions = evictions_.load(relaxed);
    values.duplicate_blocks = duplicate_blocks_.load(relaxed);
    values.registration_dedup = registration_dedup_.load(relaxed);
    values.stagings = stagings_.load(relaxed);
    values.match_hashes_requested = match_hashes_requested_.load(relaxed);
    values.match_blocks_returned = match_blocks_returned_.load(relaxed);
    values.scan_hashes_requested = scan_hashes_requested_.load(relaxed);
    values.scan_blocks_returned = scan_blocks_returned_.load(relaxed);
    values.eager_primary_to_inactive_total = eager_primary_to_inactive_.load(relaxed);
    values.allocate_atomic_rollback_total = allocate_atomic_rollback_.load(relaxed);
    values.release_primary_noop_total = release_primary_noop_.load(relaxed);
    values.release_duplicate_noop_total = release_duplicate_noop_.load(relaxed);
    values.inflight_mutable = inflight_mutable_.load(relaxed);
    values.reset_pool_size = reset_pool_size_.load(relaxed);
    values.inactive_pool_size = inactive_pool_size_.load(relaxed);
    for (const auto& stripe : stripes_) {
        values.inflight_immutable += stripe.guards.load(relaxed);
    }
    return values;
}

}  // namespace detail::metrics

BlockPoolMetrics::BlockPoolMetrics(std::string label) : label_(std::move(label)) {}

}  // namespace kvbm
