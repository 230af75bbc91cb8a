module;

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

module kvbm.metrics;

namespace kvbm {

namespace {

double hit_rate(std::uint64_t returned, std::uint64_t requested) noexcept {
    return requested == 0 ? 0.0 : static_cast<double>(returned) / static_cast<double>(requested);
}

/// The counters and rates that the next sample is compared with.
struct Base {
    StatsCollector::TimePoint time;
    MetricsSnapshot values;
    double allocation_rate = 0;
    double eviction_rate = 0;
};

StatsSnapshot gauges_of(const MetricsSnapshot& values) noexcept {
    StatsSnapshot sample;
    sample.inflight_mutable = values.inflight_mutable;
    sample.inflight_immutable = values.inflight_immutable;
    sample.reset_pool_size = values.reset_pool_size;
    sample.inactive_pool_size = values.inactive_pool_size;
    return sample;
}

StatsSnapshot sample_since(const Base& base, StatsCollector::TimePoint now,
                           const MetricsSnapshot& values) noexcept {
    StatsSnapshot sample = gauges_of(values);
    const double seconds = std::chrono::duration<double>(now - base.time).count();
    if (seconds <= 0) {  // a clock that stands still, or was set back
        return sample;
    }
    const auto rate = [&](std::uint64_t MetricsSnapshot::* counter) {
        return static_cast<double>(values.*counter - base.values.*counter) / seconds;
    };
    const auto share = [&](std::uint64_t MetricsSnapshot::* returned,
                           std::uint64_t MetricsSnapshot::* requested) {
        return hit_rate(values.*returned - base.values.*returned,
                        values.*requested - base.values.*requested);
    };
    sample.allocation_rate = rate(&MetricsSnapshot::allocations);
    sample.eviction_rate = rate(&MetricsSnapshot::evictions);
    sample.match_hit_rate =
        share(&MetricsSnapshot::match_blocks_returned, &MetricsSnapshot::match_hashes_requested);
    sample.scan_hit_rate =
        share(&MetricsSnapshot::scan_blocks_returned, &MetricsSnapshot::scan_hashes_requested);
    sample.allocation_gradient = (sample.allocation_rate - base.allocation_rate) / seconds;
    sample.eviction_gradient = (sample.eviction_rate - base.eviction_rate) / seconds;
    return sample;
}

}  // namespace

struct StatsCollector::State {
    std::shared_ptr<const BlockPoolMetrics> metrics;
    StatsConfig config;
    std::atomic<bool> enabled = false;

    mutable detail::core::Mutex mutex;
    // --- with the mutex held ---
    std::optional<Base> base;            // none before the first sample
    std::vector<StatsSnapshot> samples;  // once full a ring, the oldest at `oldest`
    std::size_t oldest = 0;

    detail::core::Mutex life_mutex;  // starting and stopping; taken before `mutex`
    std::jthread thread;

    void keep(const StatsSnapshot& sample) {
        if (samples.size() < config.window_size) {
            samples.push_back(sample);
        } else if (!samples.empty()) {
            samples[oldest] = sample;
            oldest = oldest + 1 == samples.size() ? 0 : oldest + 1;
        }
    }
};

StatsCollector::StatsCollector(std::shared_ptr<const BlockPoolMetrics> metrics,
                               const StatsConfig& config)
    : state_(std::make_unique<State>()) {
    expects(metrics != nullptr, "a source of metrics is not null");
    state_->metrics = std::move(metrics);
    state_->config = config;
}

StatsCollector::~StatsCollector() {
    stop();
}

void StatsCollector::set_enabled(bool enabled) noexcept {
    state_->enabled.store(enabled, std::memory_order_relaxed);
}

bool StatsCollector::is_enabled() const noexcept {
    return state_->enabled.load(std::memory_order_relaxed);
}

void StatsCollector::sample(TimePoint now) {
    if (!is_enabled()) {
        return;
    }
    const detail::core::Lock lock(state_->mutex);
    const MetricsSnapshot values = state_->metrics->snapshot();
    const StatsSnapshot sample =
        state_->base ? sample_since(*state_->base, now, values) : gauges_of(values);
    state_->keep(sample);
    state_->base = Base{now, values, sample.allocation_rate, sample.eviction_rate};
}

std::optional<StatsSnapshot> StatsCollector::latest() const {
    const auto newest = window(1);
    return newest.empty() ? std::nullopt : std::optional(newest.front());
}

std::vector<StatsSnapshot> StatsCollector::window(std::size_t count) const {
    const detail::core::Lock lock(state_->mutex);
    const auto& samples = state_->samples;
    const std::size_t shown = std::min(count, samples.size());
    std::vector<StatsSnapshot> newest;
    newest.reserve(shown);
    for (std::size_t i = samples.size() - shown; i < samples.size(); ++i) {
        newest.push_back(samples[(state_->oldest + i) % samples.size()]);
    }
    return newest;
}

void StatsCollector::start() {
    expects(state_->config.sample_interval > std::chrono::steady_clock::duration::zero(),
            "a sampling interval is positive");
    set_enabled(true);
    const detail::core::Lock lock(state_->life_mutex);
    if (state_->thread.joinable()) {
        return;
    }
    sample();
    // A year is as good as never, and the sum of now and the interval must not overflow.
    const auto interval = std::min<std::chrono::steady_clock::duration>(
        state_->config.sample_interval, std::chrono::hours(24 * 365));
    state_->thread = std::jthread([this, interval](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock waiting(mutex);
        const auto never = [] { return false; };
        while (!stop.stop_requested()) {
            stopped.wait_for(waiting, stop, interval, never);
            if (!stop.stop_requested()) {
                sample();
            }
        }
    });
}

void StatsCollector::stop() {
    const detail::core::Lock lock(state_->life_mutex);
    state_->thread = std::jthread();  // asks the old one to stop, and waits for it
}

}  // namespace kvbm
