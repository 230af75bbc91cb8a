// What the tests of kvbm.blocks set up: managers of every policy, hashes, registered blocks, and
// pictures of a manager that read well in a failure. Included last: it imports kvbm.blocks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace kvbm_test {

using namespace kvbm;

using Ids = std::vector<BlockId>;
using Hashes = std::vector<SequenceHash>;

// --- managers ---

enum class Policy { lru, fifo, multi_lru, lineage_tick, lineage_fifo };

inline constexpr std::array all_policies{Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo};

inline std::string to_string(Policy policy) {
    constexpr std::array names{"lru", "fifo", "multi_lru", "lineage_tick", "lineage_fifo"};
    return names[static_cast<std::size_t>(policy)];
}
inline void PrintTo(Policy policy, std::ostream* out) {
    *out << to_string(policy);
}
// Names the cases of a suite with one case per policy.
struct PolicyName {
    std::string operator()(const testing::TestParamInfo<Policy>& info) const {
        return to_string(info.param);
    }
};

// A registry as the examples of blocks.md 18 have it: a medium tracker.
inline BlockRegistry tracking_registry() {
    return BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::medium).build();
}

inline constexpr std::size_t tokens_per_block = 4;

struct PoolSetup {
    std::size_t block_count = 8;
    Policy policy = Policy::lru;
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    bool reset_on_release = false;
    std::array<std::uint32_t, 3> thresholds{3, 8, 15};
    std::optional<BlockRegistry> registry = std::nullopt;
};

template <class Tier = DefaultTier>
BlockManager<Tier> make_manager(const PoolSetup& setup = {}) {
    auto builder = BlockManager<Tier>::builder();
    builder.block_count(setup.block_count).block_size(tokens_per_block);
    builder.registry(setup.registry ? *setup.registry : tracking_registry());
    builder.duplication_policy(setup.duplication);
    builder.with_default_reset_on_release(setup.reset_on_release);
    const auto& [a, b, c] = setup.thresholds;
    switch (setup.policy) {
        case Policy::lru:
            builder.with_lru_backend();
            break;
        case Policy::fifo:
            builder.with_hashmap_backend();
            break;
        case Policy::multi_lru:
            builder.with_multi_lru_backend_custom_thresholds(a, b, c);
            break;
        case Policy::lineage_tick:
            builder.with_lineage_backend_eviction(LineageEviction::tick);
            break;
        case Policy::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            break;
    }
    return must(builder.build());
}

// --- a tracker that forgets nothing ---

// Counts exactly, and remembers each touch and the number of reads. For one thread.
class RecordingTracker final : public FrequencyTracker {
  public:
    Hashes touched;
    mutable std::size_t reads = 0;
    unsigned halvings = 0;

    void touch(const SequenceHash& hash) override { touched.push_back(hash); }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash& hash) const override {
        ++reads;
        const auto uses = static_cast<std::uint32_t>(std::ranges::count(touched, hash));
        return std::min<std::uint32_t>(uses, 15) >> halvings;
    }
    std::uint32_t count(std::uint64_t) const override { return 0; }
};

// A registry whose touches are seen.
struct WatchedRegistry {
    std::shared_ptr<RecordingTracker> tracker = std::make_shared<RecordingTracker>();
    BlockRegistry registry = BlockRegistry::builder().frequency_tracker(tracker).build();

    // The touches since this was last asked.
    Hashes take_touches() { return std::exchange(tracker->touched, {}); }
};

// --- hashes ---

inline SequenceHash root_hash(std::uint64_t content) {
    return SequenceHash::root(BlockHash{content});
}
inline SequenceHash child_of(const SequenceHash& parent, std::uint64_t content) {
    return must(parent.extend(BlockHash{content}));
}
// A root and what follows it, each the child of the one before.
inline Hashes chain(std::size_t length, std::uint64_t content = 1) {
    Hashes hashes{root_hash(content)};
    while (hashes.size() < length) {
        hashes.push_back(child_of(hashes.back(), ++content));
    }
    return hashes;
}
// Roots that have nothing in common.
inline Hashes roots(std::size_t count, std::uint64_t content = 1) {
    Hashes hashes;
    while (hashes.size() < count) {
        hashes.push_back(root_hash(content++));
    }
    return hashes;
}
// Both, one behind the other.
inline Hashes joined(Hashes first, const Hashes& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}
// A chain that begins at any position, behind a parent that nobody has.
inline Hashes chain_from(std::uint64_t position, std::size_t length) {
    Hashes hashes{must(SequenceHash::make(ChainHash{0xC0FFEE}, ChainHash{0xBEEF}, position))};
    while (hashes.size() < length) {
        hashes.push_back(child_of(hashes.back(), hashes.size()));
    }
    return hashes;
}
inline std::span<const SequenceHash> only(const SequenceHash& hash) {
    return {&hash, 1};
}

// --- blocks in each state ---

template <class Tier>
MutableBlockList<Tier> allocate(BlockManager<Tier>& manager, std::size_t count) {
    auto blocks = manager.allocate_blocks(count);
    EXPECT_TRUE(blocks.has_value());
    return std::move(blocks).value_or(MutableBlockList<Tier>{});
}
template <class Tier>
MutableBlock<Tier> allocate_one(BlockManager<Tier>& manager) {
    return allocate(manager, 1).pop_back();
}
template <class Tier>
CompleteBlockList<Tier> stage(BlockManager<Tier>& manager, std::span<const SequenceHash> hashes) {
    return must(allocate(manager, hashes.size()).stage_all(hashes, tokens_per_block));
}
template <class Tier>
CompleteBlock<Tier> stage_one(BlockManager<Tier>& manager, const SequenceHash& hash) {
    return must(allocate_one(manager).stage(hash, tokens_per_block));
}
template <class Tier>
ImmutableBlockList<Tier> register_all(BlockManager<Tier>& manager,
                                      std::span<const SequenceHash> hashes) {
    return must(manager.register_blocks(stage(manager, hashes)));
}
template <class Tier>
ImmutableBlock<Tier> register_one(BlockManager<Tier>& manager, const SequenceHash& hash) {
    return must(manager.register_block(stage_one(manager, hash)));
}
// The same, a block at a time.
template <class Tier>
ImmutableBlockList<Tier> register_singly(BlockManager<Tier>& manager,
                                         std::span<const SequenceHash> hashes) {
    ImmutableBlockList<Tier> blocks;
    for (const auto& hash : hashes) {
        blocks.push_back(register_one(manager, hash));
    }
    return blocks;
}
// Two blocks under one hash: primary and duplicate when the manager allows it.
template <class Tier>
std::pair<ImmutableBlock<Tier>, ImmutableBlock<Tier>> register_twice(BlockManager<Tier>& manager,
                                                                     const SequenceHash& hash) {
    auto first = register_one(manager, hash);
    auto second = register_one(manager, hash);
    return {std::move(first), std::move(second)};
}
// Registers blocks and lets them go, front to back.
template <class Tier>
void cache(BlockManager<Tier>& manager, std::span<const SequenceHash> hashes) {
    register_all(manager, hashes).clear();
}

// Drops one guard.
template <class Guard>
    requires(!std::is_reference_v<Guard>)
void drop(Guard&& guard) {
    const Guard dropped(std::move(guard));
}
// Drops the guards of a list one at a time, front to back.
template <class List>
void drop_singly(List list) {
    while (!list.empty()) {
        drop(list.take_front(1).pop_back());
    }
}

// --- pictures ---

// The order in which a manager hands out this many blocks, or all it has. They go back to its reset
// pool.
template <class Tier>
Ids take(BlockManager<Tier>& manager, std::size_t count) {
    return allocate(manager, count).block_ids();
}
template <class Tier>
Ids take_available(BlockManager<Tier>& manager) {
    return take(manager, manager.available_blocks());
}

// A letter per block: Reset, Mutable, Staged, Primary, Duplicate, Inactive.
template <class Tier>
std::string states(const BlockManager<Tier>& manager) {
    std::string letters;
    for (const BlockInfo& block : manager.inspect()) {
        letters += "RMSPDI"[static_cast<std::size_t>(block.state)];
    }
    return letters;
}

// Whether a tier of a registry claims to have a block under the hash.
template <class Tier = DefaultTier>
bool is_present(const BlockRegistry& registry, const SequenceHash& hash) {
    return registry.check_presence<Tier>(only(hash)).front().second;
}

// Ids of found places, nothing for a miss.
template <class Tier>
std::vector<std::optional<BlockId>> places(const ScatteredBlockList<Tier>& list) {
    std::vector<std::optional<BlockId>> ids;
    for (const ImmutableBlock<Tier>* block : list) {
        ids.push_back(block == nullptr ? std::nullopt : std::optional(block->block_id()));
    }
    return ids;
}

// What moved between two snapshots: "allocations +1, inflight_mutable +1"; "" when nothing did.
inline std::string difference(const MetricsSnapshot& before, const MetricsSnapshot& after) {
    std::string text;
    const auto field = [&](const char* name, auto MetricsSnapshot::* member) {
        const auto moved = static_cast<std::int64_t>(after.*member - before.*member);
        if (moved != 0) {
            text += (text.empty() ? "" : ", ") + std::string(name) + (moved > 0 ? " +" : " ") +
                    std::to_string(moved);
        }
    };
    field("allocations", &MetricsSnapshot::allocations);
    field("from_reset", &MetricsSnapshot::allocations_from_reset);
    field("evictions", &MetricsSnapshot::evictions);
    field("registrations", &MetricsSnapshot::registrations);
    field("duplicates", &MetricsSnapshot::duplicate_blocks);
    field("dedup", &MetricsSnapshot::registration_dedup);
    field("stagings", &MetricsSnapshot::stagings);
    field("match_requested", &MetricsSnapshot::match_hashes_requested);
    field("match_returned", &MetricsSnapshot::match_blocks_returned);
    field("scan_requested", &MetricsSnapshot::scan_hashes_requested);
    field("scan_returned", &MetricsSnapshot::scan_blocks_returned);
    field("eager", &MetricsSnapshot::eager_primary_to_inactive_total);
    field("rollback", &MetricsSnapshot::allocate_atomic_rollback_total);
    field("primary_noop", &MetricsSnapshot::release_primary_noop_total);
    field("duplicate_noop", &MetricsSnapshot::release_duplicate_noop_total);
    field("mutable", &MetricsSnapshot::inflight_mutable);
    field("immutable", &MetricsSnapshot::inflight_immutable);
    field("reset", &MetricsSnapshot::reset_pool_size);
    field("inactive", &MetricsSnapshot::inactive_pool_size);
    return text;
}

// Remembers the numbers of a manager, which it may outlive.
class MetricsWatch {
  public:
    template <class Tier>
    explicit MetricsWatch(const BlockManager<Tier>& manager)
        : metrics_(manager.metrics()), last_(metrics_->snapshot()) {}

    // What moved since this was last asked.
    std::string moved() {
        const MetricsSnapshot before = std::exchange(last_, metrics_->snapshot());
        return difference(before, last_);
    }

  private:
    std::shared_ptr<BlockPoolMetrics> metrics_;
    MetricsSnapshot last_;
};

}  // namespace kvbm_test
