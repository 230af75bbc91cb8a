// Managers out of their configuration.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import kvbm.blocks;
import kvbm.core;
import kvbm.frequency;
import kvbm.metrics;
import kvbm.registry;

namespace kvbm::conformance {
namespace {

/// A backend by its name in recordings.
struct Backend {
    std::string_view name;
    void (*choose)(BlockManagerBuilder<Tier>& builder, const Fields& config);
};

void choose_multi_lru(BlockManagerBuilder<Tier>& builder, const Fields& config) {
    const std::vector<std::uint64_t> thresholds = config.numbers("thresholds");
    if (thresholds.size() != 3 || std::ranges::max(thresholds) > 15) {
        config.refuse("needs three thresholds up to 15");
        return;
    }
    const auto threshold = [&](std::size_t i) { return static_cast<std::uint32_t>(thresholds[i]); };
    builder.with_multi_lru_backend_custom_thresholds(threshold(0), threshold(1), threshold(2));
}

constexpr std::array backends{
    Backend{"hashmap", [](BlockManagerBuilder<Tier>& builder,
                          const Fields&) { builder.with_hashmap_backend(); }},
    Backend{"lineage_fifo",
            [](BlockManagerBuilder<Tier>& builder, const Fields&) {
                builder.with_lineage_backend_eviction(LineageEviction::fifo);
            }},
    Backend{"lineage_tick",
            [](BlockManagerBuilder<Tier>& builder, const Fields&) {
                builder.with_lineage_backend_eviction(LineageEviction::tick);
            }},
    Backend{"lru",
            [](BlockManagerBuilder<Tier>& builder, const Fields&) { builder.with_lru_backend(); }},
    Backend{"multi_lru", choose_multi_lru}};

using Counter = std::uint64_t MetricsSnapshot::*;
using Gauge = std::int64_t MetricsSnapshot::*;

struct Metric {
    std::string_view name;
    std::variant<Counter, Gauge> field;
};

constexpr std::array metrics{
    Metric{"allocations", &MetricsSnapshot::allocations},
    Metric{"allocations_from_reset", &MetricsSnapshot::allocations_from_reset},
    Metric{"evictions", &MetricsSnapshot::evictions},
    Metric{"registrations", &MetricsSnapshot::registrations},
    Metric{"duplicate_blocks", &MetricsSnapshot::duplicate_blocks},
    Metric{"registration_dedup", &MetricsSnapshot::registration_dedup},
    Metric{"stagings", &MetricsSnapshot::stagings},
    Metric{"match_hashes_requested", &MetricsSnapshot::match_hashes_requested},
    Metric{"match_blocks_returned", &MetricsSnapshot::match_blocks_returned},
    Metric{"scan_hashes_requested", &MetricsSnapshot::scan_hashes_requested},
    Metric{"scan_blocks_returned", &MetricsSnapshot::scan_blocks_returned},
    Metric{"eager_primary_to_inactive_total", &MetricsSnapshot::eager_primary_to_inactive_total},
    Metric{"allocate_atomic_rollback_total", &MetricsSnapshot::allocate_atomic_rollback_total},
    Metric{"release_primary_noop_total", &MetricsSnapshot::release_primary_noop_total},
    Metric{"release_duplicate_noop_total", &MetricsSnapshot::release_duplicate_noop_total},
    Metric{"inflight_mutable", &MetricsSnapshot::inflight_mutable},
    Metric{"inflight_immutable", &MetricsSnapshot::inflight_immutable},
    Metric{"reset_pool_size", &MetricsSnapshot::reset_pool_size},
    Metric{"inactive_pool_size", &MetricsSnapshot::inactive_pool_size}};

const Backend* find_backend(const Fields& config) {
    const std::string name = config.text("backend");
    const auto found = std::ranges::find(backends, name, &Backend::name);
    if (found == backends.end()) {
        config.refuse("names the unknown backend \"" + name + "\"");
        return nullptr;
    }
    return &*found;
}

std::optional<BlockDuplicationPolicy> read_policy(const Fields& config) {
    const std::string name = config.text("policy");
    if (name == "allow") {
        return BlockDuplicationPolicy::allow;
    }
    if (name == "reject") {
        return BlockDuplicationPolicy::reject;
    }
    config.refuse("names the unknown policy \"" + name + "\"");
    return std::nullopt;
}

}  // namespace

std::optional<ReplayedManager> make_manager(const Fields& config) {
    constexpr std::size_t capacity_max = std::size_t{1} << 28;
    const Backend* backend = find_backend(config);
    const auto policy = read_policy(config);
    const std::size_t block_count = config.size("block_count");
    const std::size_t block_size = config.size("block_size");
    const std::size_t capacity = config.size("tracker_capacity");
    const bool reset_on_release = config.flag("default_reset_on_release");
    if (capacity > capacity_max) {
        config.refuse("has a tracker_capacity of more than 2^28");
    }
    if (config.trouble().any()) {
        return std::nullopt;
    }
    auto tracker = std::make_shared<CountingTracker>(
        std::make_shared<TinyLfuTracker>(capacity, SketchLayout::compat));
    auto builder = BlockManager<Tier>::builder();
    builder.block_count(block_count)
        .block_size(block_size)
        .registry(BlockRegistry::builder().frequency_tracker(tracker).build())
        .duplication_policy(*policy)
        .with_default_reset_on_release(reset_on_release);
    backend->choose(builder, config);
    if (config.trouble().any()) {
        return std::nullopt;
    }
    auto manager = builder.build();
    if (!manager) {
        config.refuse("makes no manager: " + manager.error().message());
        return std::nullopt;
    }
    return ReplayedManager{std::move(tracker), std::move(*manager)};
}

MetricsOrder::MetricsOrder(const Fields& header) {
    for (const std::string& name : header.texts("metrics_order")) {
        const auto found = std::ranges::find(metrics, name, &Metric::name);
        if (found == metrics.end()) {
            header.refuse("orders the unknown metric \"" + name + "\"");
            return;
        }
        order_.push_back(static_cast<std::size_t>(found - metrics.begin()));
    }
}

Value MetricsOrder::values(const BlockManager<Tier>& manager) const {
    const MetricsSnapshot snapshot = manager.metrics()->snapshot();
    return list(order_, [&](std::size_t index) {
        return std::visit([&](auto field) { return Value(snapshot.*field); }, metrics[index].field);
    });
}

}  // namespace kvbm::conformance
