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
//!
//! Two readers stand on top: MetricsAggregator writes the numbers of many pools as one text for a
//! scraper, StatsCollector turns those of one pool into rates over time.
module;

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

/// The pools that a scraper sees, in order of registration. Copies share one list.
///
/// Thread-safe. Keeps the metrics of its pools alive: those of a dead manager stay, with their last
/// values, until they are removed. Source: blocks.md X5, L4, L5.
export class MetricsAggregator {
  public:
    /// No source, no external label.
    MetricsAggregator();
    // A copy is another name of the same list; there is no moved-from state.
    MetricsAggregator(const MetricsAggregator&) = default;
    MetricsAggregator& operator=(const MetricsAggregator&) = default;
    ~MetricsAggregator() = default;

    /// Adds a pool behind the others; one that is a source already keeps its place. Rule: not null.
    /// O(sources).
    void register_source(std::shared_ptr<const BlockPoolMetrics> metrics);

    /// Takes a pool out. False if it was no source. O(sources).
    bool remove_source(const std::shared_ptr<const BlockPoolMetrics>& metrics);

    /// Replaces the labels that every line has behind `pool`, in this order, from the next scrape
    /// on. Rule: names are letters, digits and underscores, begin with no digit, and are all
    /// different from each other and from `pool`; values are any text.
    void set_external_labels(std::vector<std::pair<std::string, std::string>> labels);

    /// All numbers of all sources as Prometheus exposition text 0.0.4: per family its help, its
    /// type, and a line per source in order of registration; counters first, families in the order
    /// of MetricsSnapshot. Empty without a source. Pools of one label make lines that differ in
    /// their value only. Each source is read once. O(sources). Source: blocks.md X5, X6.
    std::string to_prometheus() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

/// How a StatsCollector samples.
export struct StatsConfig {
    std::size_t window_size = 60;  ///< samples kept
    /// Time from one sample of start() to the next; positive.
    std::chrono::steady_clock::duration sample_interval = std::chrono::seconds(1);
};

/// What happened in a pool between two samples, and how it was at the second. Source: blocks.md X8.
export struct StatsSnapshot {
    double allocation_rate = 0;      ///< blocks per second
    double eviction_rate = 0;        ///< blocks per second
    double match_hit_rate = 0;       ///< blocks returned by hashes asked for, matches
    double scan_hit_rate = 0;        ///< the same of scans
    double allocation_gradient = 0;  ///< change of allocation_rate per second
    double eviction_gradient = 0;    ///< change of eviction_rate per second

    std::int64_t inflight_mutable = 0;
    std::int64_t inflight_immutable = 0;
    std::int64_t reset_pool_size = 0;
    std::int64_t inactive_pool_size = 0;

    friend bool operator==(const StatsSnapshot&, const StatsSnapshot&) = default;
};

/// Rates of one pool over time: a window of samples.
///
/// Disabled at first; then sample() does nothing. Has no thread unless start() is called.
/// Thread-safe. Source: blocks.md X7 to X9.
export class StatsCollector {
  public:
    using TimePoint = std::chrono::steady_clock::time_point;

    /// Rule: the metrics are not null.
    explicit StatsCollector(std::shared_ptr<const BlockPoolMetrics> metrics,
                            const StatsConfig& config = {});
    StatsCollector(const StatsCollector&) = delete;
    StatsCollector& operator=(const StatsCollector&) = delete;
    /// Stops the thread of start(), if there is one.
    ~StatsCollector();

    void set_enabled(bool enabled) noexcept;
    bool is_enabled() const noexcept;

    /// Adds a sample. The first one has the gauges and all rates 0, and so has one that is not
    /// later than the one before it. Only the last `window_size` are kept. O(1).
    void sample() { sample(std::chrono::steady_clock::now()); }
    /// The same as if it were that time now.
    void sample(TimePoint now);

    /// The newest sample kept.
    std::optional<StatsSnapshot> latest() const;
    /// The newest samples kept, at most `count`, oldest first.
    std::vector<StatsSnapshot> window(std::size_t count) const;

    /// Enables, takes a sample, and goes on sampling on a thread of its own, one every
    /// `sample_interval`. Nothing but enabling if it already runs. Rule: the interval is positive.
    void start();
    /// Ends the thread of start() without waiting for the interval to pass; what was sampled stays.
    /// Nothing if none runs. Rule: not called by that thread.
    void stop();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace kvbm
