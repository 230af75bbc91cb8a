//! kvbm.metrics: what a block manager did, in numbers.
//!
//!   counter   never falls; moved by successful operations only
//!   gauge     a size of this moment: guards alive, blocks in a pool
//!
//!   | written            | where                                  | how                          |
//!   |--------------------|----------------------------------------|------------------------------|
//!   | under the store's  | counters, pool gauges, mutable guards  | relaxed load and store       |
//!   | lock               |                                        |                              |
//!   | after it           | registrations                          | fetch_add, release           |
//!   | with no lock       | immutable guards                       | fetch_add on a line that few |
//!   |                    |                                        | threads share                |
//!
//! The three kinds live on separate cache lines. When no operation is in flight every value is
//! exact; invariant V8 compares them with the reference model.
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

export module kvbm.metrics;

export import kvbm.core;

namespace kvbm {

/// All values of one pool, each read once. Source: blocks.md 13, X3.
///
/// Exact when no operation is in flight; otherwise the values may disagree by what is in flight.
export struct MetricsSnapshot {
    std::uint64_t allocations = 0;             ///< blocks handed out
    std::uint64_t allocations_from_reset = 0;  ///< of them, from the reset pool
    std::uint64_t evictions = 0;               ///< of them, taken from the inactive pool
    std::uint64_t registrations = 0;       ///< blocks registered, duplicates and rejects included
    std::uint64_t duplicate_blocks = 0;    ///< registered beside a primary of the same hash
    std::uint64_t registration_dedup = 0;  ///< rejected in favour of the block already there
    std::uint64_t stagings = 0;            ///< blocks that got a hash; never taken back
    std::uint64_t match_hashes_requested = 0;  ///< hashes asked of match and scattered match
    std::uint64_t match_blocks_returned = 0;   ///< blocks these returned, repetitions included
    std::uint64_t scan_hashes_requested = 0;   ///< hashes asked of scans
    std::uint64_t scan_blocks_returned = 0;    ///< distinct hashes these found
    std::uint64_t eager_primary_to_inactive_total = 0;  ///< revivals between last drop and release
    std::uint64_t allocate_atomic_rollback_total = 0;   ///< always 0
    std::uint64_t release_primary_noop_total = 0;       ///< last drops that found their work done
    std::uint64_t release_duplicate_noop_total = 0;     ///< always 0

    std::int64_t inflight_mutable = 0;    ///< MutableBlock guards alive
    std::int64_t inflight_immutable = 0;  ///< ImmutableBlock guards alive; no pins, no weak blocks
    std::int64_t reset_pool_size = 0;     ///< free blocks
    std::int64_t inactive_pool_size = 0;  ///< cached blocks that nobody holds

    friend bool operator==(const MetricsSnapshot&, const MetricsSnapshot&) = default;
};

export class BlockPoolMetrics;

namespace detail::metrics {

/// Draws the stripe of a thread that has none. For PoolCounters, not for users.
export std::size_t next_stripe() noexcept;

/// Where the engine writes its numbers. For the layers above, not for users.
///
/// Except registrations_add and inflight_immutable_add, each member is called with the lock of the
/// one store held that owns the metrics: it reads and writes without a locked instruction.
export class PoolCounters {
  public:
    inline void allocations_add(std::uint64_t n) noexcept { add(allocations_, n); }
    inline void allocations_from_reset_add(std::uint64_t n) noexcept {
        add(allocations_from_reset_, n);
    }
    inline void evictions_add(std::uint64_t n) noexcept { add(evictions_, n); }
    inline void duplicate_blocks_add(std::uint64_t n) noexcept { add(duplicate_blocks_, n); }
    inline void registration_dedup_add(std::uint64_t n) noexcept { add(registration_dedup_, n); }
    inline void stagings_add(std::uint64_t n) noexcept { add(stagings_, n); }
    inline void match_hashes_requested_add(std::uint64_t n) noexcept {
        add(match_hashes_requested_, n);
    }
    inline void match_blocks_returned_add(std::uint64_t n) noexcept {
        add(match_blocks_returned_, n);
    }
    inline void scan_hashes_requested_add(std::uint64_t n) noexcept {
        add(scan_hashes_requested_, n);
    }
    inline void scan_blocks_returned_add(std::uint64_t n) noexcept {
        add(scan_blocks_returned_, n);
    }
    inline void eager_primary_to_inactive_add(std::uint64_t n) noexcept {
        add(eager_primary_to_inactive_, n);
    }
    inline void allocate_atomic_rollback_add(std::uint64_t n) noexcept {
        add(allocate_atomic_rollback_, n);
    }
    inline void release_primary_noop_add(std::uint64_t n) noexcept {
        add(release_primary_noop_, n);
    }
    inline void release_duplicate_noop_add(std::uint64_t n) noexcept {
        add(release_duplicate_noop_, n);
    }

    inline void inflight_mutable_add(std::int64_t n) noexcept { add(inflight_mutable_, n); }
    inline void reset_pool_size_set(std::int64_t n) noexcept {
        reset_pool_size_.store(n, std::memory_order_relaxed);
    }
    inline void inactive_pool_size_set(std::int64_t n) noexcept {
        inactive_pool_size_.store(n, std::memory_order_relaxed);
    }

    /// With no lock held, as the last effect of a registration. Release: whoever reads the count
    /// also sees the blocks and presences it counts. Pairs with snapshot().
    inline void registrations_add(std::uint64_t n) noexcept {
        registrations_.fetch_add(n, std::memory_order_release);
    }

    /// From any thread, with or without a lock: adds to the line of the calling thread.
    inline void inflight_immutable_add(std::int64_t n) noexcept {
        static thread_local const std::size_t stripe = next_stripe() % stripe_count;
        stripes_[stripe].guards.fetch_add(n, std::memory_order_relaxed);
    }

    /// Reads each value once, without a lock.
    MetricsSnapshot snapshot() const noexcept;

  private:
    static constexpr std::size_t stripe_count = 16;
    static constexpr std::size_t line_size = 64;

    struct alignas(line_size) Stripe {
        std::atomic<std::int64_t> guards{0};
    };

    template <class T>
    static constexpr void add(std::atomic<T>& value, T n) noexcept {
        // One writer at a time, under the store's lock: no locked instruction is needed. Atomic so
        // that snapshots may read meanwhile.
        value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }

    // Grouped by the operations that move them together.
    alignas(line_size) std::atomic<std::int64_t> reset_pool_size_{0};
    std::atomic<std::int64_t> inactive_pool_size_{0};
    std::atomic<std::int64_t> inflight_mutable_{0};
    std::atomic<std::uint64_t> allocations_{0};
    std::atomic<std::uint64_t> allocations_from_reset_{0};
    std::atomic<std::uint64_t> evictions_{0};
    std::atomic<std::uint64_t> stagings_{0};
    std::atomic<std::uint64_t> duplicate_blocks_{0};

    alignas(line_size) std::atomic<std::uint64_t> match_hashes_requested_{0};
    std::atomic<std::uint64_t> match_blocks_returned_{0};
    std::atomic<std::uint64_t> scan_hashes_requested_{0};
    std::atomic<std::uint64_t> scan_blocks_returned_{0};
    std::atomic<std::uint64_t> registration_dedup_{0};
    std::atomic<std::uint64_t> eager_primary_to_inactive_{0};
    std::atomic<std::uint64_t> release_primary_noop_{0};
    std::atomic<std::uint64_t> release_duplicate_noop_{0};

    alignas(line_size) std::atomic<std::uint64_t> allocate_atomic_rollback_{0};

    alignas(line_size) std::atomic<std::uint64_t> registrations_{0};
    std::array<Stripe, stripe_count> stripes_{};
};

/// The counters behind a pool's metrics. For the layers above, not for users.
export inline PoolCounters& counters_of(BlockPoolMetrics& metrics) noexcept;

}  // namespace detail::metrics

/// The numbers of one block manager, shared by it and whoever reads them; they outlive it.
///
/// Reading is thread-safe and takes no lock. Source: blocks.md 13, L4.
export class BlockPoolMetrics {
  public:
    /// All values start at 0. `label` names the pool to the reader, by default the tier's label.
    explicit BlockPoolMetrics(std::string label);
    BlockPoolMetrics(const BlockPoolMetrics&) = delete;
    BlockPoolMetrics& operator=(const BlockPoolMetrics&) = delete;

    /// The label of the pool (blocks.md X4).
    const std::string& type_label() const noexcept { return label_; }

    /// All values, each read once.
    MetricsSnapshot snapshot() const noexcept { return counters_.snapshot(); }

  private:
    friend detail::metrics::PoolCounters& detail::metrics::counters_of(BlockPoolMetrics&) noexcept;

    std::string label_;
    detail::metrics::PoolCounters counters_;
};

namespace detail::metrics {

inline PoolCounters& counters_of(BlockPoolMetrics& metrics) noexcept {
    return metrics.counters_;
}

}  // namespace detail::metrics

}  // namespace kvbm
