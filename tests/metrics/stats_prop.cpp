// On any script of samples the rates are what blocks.md X8 defines, computed here from the whole
// history.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

import kvbm.metrics;

namespace {

using namespace kvbm;
using kvbm::detail::metrics::counters_of;

/// What happened before a sample, and how long after the one before it is taken.
struct Step {
    std::int64_t milliseconds = 0;
    std::uint64_t allocated = 0;
    std::uint64_t evicted = 0;
    std::uint64_t asked = 0;
    std::uint64_t matched = 0;
    std::uint64_t scanned = 0;
    std::uint64_t found = 0;
    std::int64_t free = 0;
};

std::ostream& operator<<(std::ostream& out, const Step& step) {
    return out << step.milliseconds << " ms: allocated " << step.allocated << ", evicted "
               << step.evicted << ", matched " << step.matched << " of " << step.asked << ", found "
               << step.found << " of " << step.scanned << ", " << step.free << " free";
}

rc::Gen<Step> any_step() {
    const auto count = rc::gen::inRange<std::uint64_t>(0, 1000);
    return rc::gen::build<Step>(
        rc::gen::set(&Step::milliseconds, rc::gen::weightedOneOf<std::int64_t>(
                                              {{4, rc::gen::inRange<std::int64_t>(-20, 2000)},
                                               {1, rc::gen::just<std::int64_t>(0)}})),
        rc::gen::set(&Step::allocated, count), rc::gen::set(&Step::evicted, count),
        rc::gen::set(&Step::asked, count), rc::gen::set(&Step::matched, count),
        rc::gen::set(&Step::scanned, count), rc::gen::set(&Step::found, count),
        rc::gen::set(&Step::free, rc::gen::inRange<std::int64_t>(0, 100)));
}

double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::vector<StatsSnapshot> by_definition(const std::vector<Step>& steps) {
    std::vector<StatsSnapshot> samples;
    for (const auto& step : steps) {
        StatsSnapshot sample;
        sample.reset_pool_size = step.free;
        if (!samples.empty() && step.milliseconds > 0) {
            const double seconds = static_cast<double>(step.milliseconds) / 1000;
            sample.allocation_rate = static_cast<double>(step.allocated) / seconds;
            sample.eviction_rate = static_cast<double>(step.evicted) / seconds;
            sample.match_hit_rate = share(step.matched, step.asked);
            sample.scan_hit_rate = share(step.found, step.scanned);
            sample.allocation_gradient =
                (sample.allocation_rate - samples.back().allocation_rate) / seconds;
            sample.eviction_gradient =
                (sample.eviction_rate - samples.back().eviction_rate) / seconds;
        }
        samples.push_back(sample);
    }
    return samples;
}

bool almost_equal(const StatsSnapshot& a, const StatsSnapshot& b) {
    const auto near = [](double x, double y) {
        const double largest = std::max({std::abs(x), std::abs(y), 1.0});
        return std::abs(x - y) <= 1e-9 * largest;
    };
    return near(a.allocation_rate, b.allocation_rate) && near(a.eviction_rate, b.eviction_rate) &&
           near(a.match_hit_rate, b.match_hit_rate) && near(a.scan_hit_rate, b.scan_hit_rate) &&
           near(a.allocation_gradient, b.allocation_gradient) &&
           near(a.eviction_gradient, b.eviction_gradient) &&
           a.inflight_mutable == b.inflight_mutable &&
           a.inflight_immutable == b.inflight_immutable && a.reset_pool_size == b.reset_pool_size &&
           a.inactive_pool_size == b.inactive_pool_size;
}

RC_GTEST_PROP(StatsCollector, has_the_rates_of_the_definition, ()) {
    const auto steps = *rc::gen::container<std::vector<Step>>(any_step()).as("steps");
    const auto window_size = *rc::gen::inRange<std::size_t>(0, 10).as("window size");
    const auto metrics = std::make_shared<BlockPoolMetrics>("pool");
    auto& counters = counters_of(*metrics);
    StatsCollector stats(metrics, {.window_size = window_size});
    stats.set_enabled(true);
    StatsCollector::TimePoint now;

    for (const auto& step : steps) {
        counters.allocations_add(step.allocated);
        counters.evictions_add(step.evicted);
        counters.match_hashes_requested_add(step.asked);
        counters.match_blocks_returned_add(step.matched);
        counters.scan_hashes_requested_add(step.scanned);
        counters.scan_blocks_returned_add(step.found);
        counters.reset_pool_size_set(step.free);
        now += std::chrono::milliseconds(step.milliseconds);
        stats.sample(now);
    }

    const auto expected = by_definition(steps);
    const auto kept = stats.window(steps.size());
    RC_ASSERT(kept.size() == std::min(steps.size(), window_size));
    for (std::size_t i = 0; i < kept.size(); ++i) {
        RC_ASSERT(almost_equal(kept[i], expected[expected.size() - kept.size() + i]));
    }
}

}  // namespace
