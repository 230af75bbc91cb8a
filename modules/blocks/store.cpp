module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

module kvbm.blocks;

import :store;

namespace kvbm {

namespace {

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};

}  // namespace

std::string BlockManagerBuilderError::message() const {
    using std::to_string;
    return "Builder validation failed: " +
           std::visit(
               Overloaded{
                   [](const RegistryMissing&) -> std::string { return "registry is required"; },
                   [](const BlockCountMissing&) -> std::string {
                       return "block_count is required";
                   },
                   [](const BlockCountZero&) -> std::string {
                       return "block_count must be greater than 0";
                   },
                   [](const InvalidBlockSize& e) {
                       return "Invalid block_size " + to_string(e.block_size) +
                              ": must be a power of 2 between 1 and 1024";
                   },
                   [](const ThresholdsNotAscending& e) {
                       return "Invalid thresholds [" + to_string(e.thresholds[0]) + ", " +
                              to_string(e.thresholds[1]) + ", " + to_string(e.thresholds[2]) +
                              "]: must be in ascending order";
                   },
                   [](const ThresholdTooLarge& e) {
                       return "Invalid threshold " + to_string(e.threshold) +
                              ": maximum frequency is 15 (4-bit counter)";
                   },
                   [](const ThresholdTooSmall&) -> std::string {
                       return "cold_to_warm threshold must be >= 1 to distinguish from "
                              "zero-access blocks";
                   },
                   [](const TrackerMissing&) -> std::string {
                       return "MultiLRU backend requires a registry with frequency tracking";
                   },
                   [](const TooManyBlocks& e) {
                       return "block_count " + to_string(e.block_count) +
                              " exceeds the maximum 4294967294";
                   },
               },
               reason);
}

std::string BlockManagerResetError::message() const {
    return "Reset pool count mismatch: expected " + std::to_string(expected) + ", got " +
           std::to_string(actual);
}

namespace detail::blocks {

std::string wrong_size_message(std::size_t expected, std::size_t actual) {
    return "Block size mismatch: expected " + std::to_string(expected) + " tokens, got " +
           std::to_string(actual);
}

std::string wrong_count_message(std::size_t expected, std::size_t actual) {
    return "expected " + std::to_string(expected) + " hashes, got " + std::to_string(actual);
}

std::string foreign_message(std::size_t index, ManagerId expected, ManagerId actual) {
    return "block at index " + std::to_string(index) + " belongs to manager " +
           std::to_string(actual.value()) + ", not to manager " + std::to_string(expected.value());
}

SlotArray::SlotArray(std::size_t count)
    : slots_(static_cast<Slot*>(core::allocate_table(count, sizeof(Slot)))), count_(count) {
    std::uninitialized_value_construct_n(slots_, count);
}

SlotArray::~SlotArray() {
    static_assert(std::is_trivially_destructible_v<Slot>);
    core::free_table(slots_, count_, sizeof(Slot));
}

namespace {

/// A block count from here on leaves the nearer caches.
constexpr std::size_t large_pool = 8192;

ManagerId next_manager_id() noexcept {
    static std::atomic<std::uint64_t> next{1};
    return ManagerId(next.fetch_add(1, std::memory_order_relaxed));
}

std::optional<BlockManagerBuilderError> broken_threshold_rule(const StoreOptions& options) {
    using Error = BlockManagerBuilderError;
    const auto& [cold_to_warm, warm_to_hot, hot_to_very_hot] = options.thresholds;
    if (cold_to_warm >= warm_to_hot || warm_to_hot >= hot_to_very_hot) {
        return Error{Error::ThresholdsNotAscending{options.thresholds}};
    }
    if (hot_to_very_hot > 15) {
        return Error{Error::ThresholdTooLarge{hot_to_very_hot}};
    }
    if (cold_to_warm < 1) {
        return Error{Error::ThresholdTooSmall{}};
    }
    if (!options.registry->has_frequency_tracking()) {
        return Error{Error::TrackerMissing{}};
    }
    return std::nullopt;
}

std::optional<BlockManagerBuilderError> broken_rule(const StoreOptions& options) {
    using Error = BlockManagerBuilderError;
    constexpr std::size_t block_count_max = no_index - 1;
    if (!options.registry) {
        return Error{Error::RegistryMissing{}};
    }
    if (!options.block_count) {
        return Error{Error::BlockCountMissing{}};
    }
    if (*options.block_count == 0) {
        return Error{Error::BlockCountZero{}};
    }
    if (!std::has_single_bit(options.block_size) || options.block_size > 1024) {
        return Error{Error::InvalidBlockSize{options.block_size}};
    }
    if (options.eviction == EvictionKind::multi_lru) {
        if (auto error = broken_threshold_rule(options)) {
            return error;
        }
    }
    if (*options.block_count > block_count_max) {
        return Error{Error::TooManyBlocks{*options.block_count}};
    }
    return std::nullopt;
}

}  // namespace

Store::Store(const StoreOptions& options, std::shared_ptr<BlockPoolMetrics> pool_metrics)
    : block_size(options.block_size),
      duplication(options.duplication),
      default_flag(options.reset_on_release),
      tier(options.tier),
      registry(*options.registry),
      metrics(std::move(pool_metrics)),
      counters(metrics::counters_of(*metrics)),
      prefetches(*options.block_count > large_pool),
      slots(*options.block_count),
      reset(*options.block_count),
      index(*options.block_count, registry::draw_multiplier()),
      inactive(options, slots, index, registry::draw_multiplier(),
               registry.frequency_tracker().get()) {
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        reset.push_back(static_cast<std::uint32_t>(slot));
    }
    publish_sizes();
    // Last: from here on the registry may ask this store.
    if (!EngineAccess::attach(registry, *this, slots.size())) {
        is_sole.store(false, std::memory_order_relaxed);
    }
}

Store::~Store() {
    EngineAccess::detach(registry, *this, slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        if (slots[i].state() == BlockState::inactive) {
            if (Entry* entry = entry_of(slots[i])) {
                EngineAccess::lower_presence(*entry, tier);
                EngineAccess::release_all(std::span<Entry*>(&entry, 1));
            }
        }
    }
}

void Store::give_entries(const std::function<std::uint32_t(const SequenceHash&)>& make) noexcept {
    index.for_each([&](std::uint32_t slot) {
        if (slots[slot].entry == no_index) {
            slots[slot].show_entry(make(slots[slot].hash));
        }
    });
    is_sole.store(false, std::memory_order_relaxed);
}

Result<Store*, BlockManagerBuilderError> Engine::make(const StoreOptions& options) {
    if (auto error = broken_rule(options)) {
        return failure(std::move(*error));
    }
    auto metrics = std::make_shared<BlockPoolMetrics>(options.label);
    auto store = std::make_unique<Store>(options, std::move(metrics));
    if (options.aggregator) {
        // It shares its list with this copy.
        MetricsAggregator(*options.aggregator).register_source(store->metrics);
    }
    // The id is drawn when nothing can fail any more: a failed build takes none.
    store->id = next_manager_id();
    return store.release();
}

void Engine::close(Store& store) noexcept {
    Lock lock(store.mutex);
    store.open = false;
    const bool dead = store.is_dead();
    lock.unlock();
    core::pause_point("blocks.close.unlocked");
    if (dead) {
        delete &store;
    }
}

ManagerId Engine::id(const Store& store) noexcept {
    return store.id;
}
std::size_t Engine::total_blocks(const Store& store) noexcept {
    return store.slots.size();
}
std::size_t Engine::block_size(const Store& store) noexcept {
    return store.block_size;
}
BlockDuplicationPolicy Engine::duplication_policy(const Store& store) noexcept {
    return store.duplication;
}
const BlockRegistry& Engine::registry(const Store& store) noexcept {
    return store.registry;
}
const std::shared_ptr<BlockPoolMetrics>& Engine::metrics(const Store& store) noexcept {
    return store.metrics;
}

std::uint64_t Engine::lock_count(const Store& store) {
    const Lock lock(store.mutex);
    return store.mutex.acquisitions() - ++store.uncounted_locks;
}

}  // namespace detail::blocks

}  // namespace kvbm
