module;

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.metrics;

namespace kvbm {

struct MetricsAggregator::State {
    mutable detail::core::Mutex mutex;
    std::vector<std::shared_ptr<const BlockPoolMetrics>> sources;
    std::vector<std::pair<std::string, std::string>> external_labels;
};

namespace {

/// A number of a snapshot as scrapers know it.
template <class Value>
struct Family {
    std::string_view name;
    std::string_view help;
    Value MetricsSnapshot::* value;
};

constexpr std::array<Family<std::uint64_t>, 15> counters{{
    {"kvbm_allocations_total", "Blocks handed out.", &MetricsSnapshot::allocations},
    {"kvbm_allocations_from_reset_total", "Blocks handed out that were free.",
     &MetricsSnapshot::allocations_from_reset},
    {"kvbm_evictions_total", "Blocks handed out that were cached until then.",
     &MetricsSnapshot::evictions},
    {"kvbm_registrations_total", "Blocks registered, duplicates and rejects included.",
     &MetricsSnapshot::registrations},
    {"kvbm_duplicate_blocks_total", "Blocks registered beside another one of the same hash.",
     &MetricsSnapshot::duplicate_blocks},
    {"kvbm_registration_dedup_total",
     "Blocks rejected at registration in favour of the one already there.",
     &MetricsSnapshot::registration_dedup},
    {"kvbm_stagings_total", "Blocks that were given a hash.", &MetricsSnapshot::stagings},
    {"kvbm_match_hashes_requested_total", "Hashes that matches were asked for.",
     &MetricsSnapshot::match_hashes_requested},
    {"kvbm_match_blocks_returned_total", "Blocks that matches returned.",
     &MetricsSnapshot::match_blocks_returned},
    {"kvbm_scan_hashes_requested_total", "Hashes that scans were asked for.",
     &MetricsSnapshot::scan_hashes_requested},
    {"kvbm_scan_blocks_returned_total", "Distinct hashes that scans found.",
     &MetricsSnapshot::scan_blocks_returned},
    {"kvbm_eager_primary_to_inactive_total",
     "Lookups that revived a block between its last drop and its release.",
     &MetricsSnapshot::eager_primary_to_inactive_total},
    {"kvbm_allocate_atomic_rollback_total",
     "Allocations for which the eviction policy gave fewer blocks than it held.",
     &MetricsSnapshot::allocate_atomic_rollback_total},
    {"kvbm_release_primary_noop_total",
     "Last drops of a block that found it released or revived already.",
     &MetricsSnapshot::release_primary_noop_total},
    {"kvbm_release_duplicate_noop_total",
     "Last drops of a duplicate that found it released or revived already.",
     &MetricsSnapshot::release_duplicate_noop_total},
}};

constexpr std::array<Family<std::int64_t>, 4> gauges{{
    {"kvbm_inflight_mutable", "Guards of mutable blocks alive.",
     &MetricsSnapshot::inflight_mutable},
    {"kvbm_inflight_immutable", "Guards of registered blocks alive.",
     &MetricsSnapshot::inflight_immutable},
    {"kvbm_reset_pool_size", "Free blocks.", &MetricsSnapshot::reset_pool_size},
    {"kvbm_inactive_pool_size", "Cached blocks that nobody holds.",
     &MetricsSnapshot::inactive_pool_size},
}};

void append_label(std::string& text, std::string_view name, std::string_view value) {
    text += name;
    text += "=\"";
    for (const char c : value) {
        if (c == '\n') {
            text += "\\n";
            continue;
        }
        if (c == '\\' || c == '"') {
            text += '\\';
        }
        text += c;
    }
    text += '"';
}

/// One pool at the moment of the scrape.
struct Scraped {
    std::string labels;  ///< `{pool="G1",worker_id="w0"}`
    MetricsSnapshot values;
};

template <class Value>
void append_family(std::string& text, std::string_view type, const Family<Value>& family,
                   const std::vector<Scraped>& pools) {
    text += "# HELP ";
    text.append(family.name).append(" ").append(family.help).append("\n# TYPE ");
    text.append(family.name).append(" ").append(type).append("\n");
    for (const auto& pool : pools) {
        text.append(family.name).append(pool.labels).append(" ");
        text.append(std::to_string(pool.values.*family.value)).append("\n");
    }
}

bool is_label_name(std::string_view name) noexcept {
    const auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    return !name.empty() && is_letter(name.front()) && std::ranges::all_of(name, [&](char c) {
        return is_letter(c) || (c >= '0' && c <= '9');
    });
}

}  // namespace

MetricsAggregator::MetricsAggregator() : state_(std::make_shared<State>()) {}

void MetricsAggregator::register_source(std::shared_ptr<const BlockPoolMetrics> metrics) {
    expects(metrics != nullptr, "a source of metrics is not null");
    const detail::core::Lock lock(state_->mutex);
    if (std::ranges::find(state_->sources, metrics) == state_->sources.end()) {
        state_->sources.push_back(std::move(metrics));
    }
}

bool MetricsAggregator::remove_source(const std::shared_ptr<const BlockPoolMetrics>& metrics) {
    const detail::core::Lock lock(state_->mutex);
    return std::erase(state_->sources, metrics) > 0;
}

void MetricsAggregator::set_external_labels(
    std::vector<std::pair<std::string, std::string>> labels) {
    for (auto label = labels.begin(); label != labels.end(); ++label) {
        expects(is_label_name(label->first),
                "a label name is letters, digits and underscores, and begins with no digit");
        expects(label->first != "pool", "an external label is not named pool");
        expects(std::none_of(labels.begin(), label,
                             [&](const auto& earlier) { return earlier.first == label->first; }),
                "external labels have different names");
    }
    const detail::core::Lock lock(state_->mutex);
    state_->external_labels = std::move(labels);
}

std::string MetricsAggregator::to_prometheus() const {
    std::vector<Scraped> pools;
    {
        const detail::core::Lock lock(state_->mutex);
        for (const auto& source : state_->sources) {
            std::string labels = "{";
            append_label(labels, "pool", source->type_label());
            for (const auto& [name, value] : state_->external_labels) {
                labels += ',';
                append_label(labels, name, value);
            }
            labels += '}';
            pools.push_back({std::move(labels), source->snapshot()});
        }
    }
    std::string text;
    if (pools.empty()) {
        return text;
    }
    for (const auto& family : counters) {
        append_family(text, "counter", family, pools);
    }
    for (const auto& family : gauges) {
        append_family(text, "gauge", family, pools);
    }
    return text;
}

}  // namespace kvbm
