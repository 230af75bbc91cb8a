//! kvbm.conformance:managers: the block manager that a configuration describes, and its state.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance:managers;

import kvbm.blocks;
import kvbm.conformance;
import kvbm.core;
import kvbm.frequency;
import kvbm.hash;
import kvbm.metrics;
import kvbm.registry;

namespace kvbm::conformance {

/// The tier of every replayed manager; its name is the recorded label.
struct Tier {};

/// Passes everything on to a tracker and counts the touches.
class CountingTracker final : public FrequencyTracker {
  public:
    explicit CountingTracker(std::shared_ptr<FrequencyTracker> inner) : inner_(std::move(inner)) {}

    void touch(const SequenceHash& key) override {
        ++touches_;
        inner_->touch(key);
    }
    void touch(std::uint64_t key) override {
        ++touches_;
        inner_->touch(key);
    }
    std::uint32_t count(const SequenceHash& key) const override { return inner_->count(key); }
    std::uint32_t count(std::uint64_t key) const override { return inner_->count(key); }

    std::uint64_t touches() const { return touches_; }

  private:
    std::shared_ptr<FrequencyTracker> inner_;
    std::atomic<std::uint64_t> touches_{0};
};

/// A manager with a registry of its own and a counting tracker.
struct ReplayedManager {
    std::shared_ptr<CountingTracker> tracker;
    BlockManager<Tier> manager;
};

/// The manager of a configuration. Notes trouble and gives nothing for one that cannot be built.
std::optional<ReplayedManager> make_manager(const Fields& config);

/// The metrics by the names of a header's `metrics_order`, in that order.
class MetricsOrder {
  public:
    explicit MetricsOrder(const Fields& header);
    Value values(const BlockManager<Tier>& manager) const;

  private:
    std::vector<std::size_t> order_;
};

}  // namespace kvbm::conformance
