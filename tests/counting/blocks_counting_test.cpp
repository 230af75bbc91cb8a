// A warm manager asks nothing of the heap and takes its lock once per call, under every policy,
// with and without a tracker. Source: blocks.md B14, S5, G10, C4; 18, examples 28, 89, 107.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.blocks;
import kvbm.sequence;

namespace {

using namespace kvbm;
using kvbm_test::AllocationScope;
using kvbm_test::live_bytes;

enum class Policy { lru, fifo, multi_lru, lineage_tick, lineage_fifo };

struct Case {
    Policy policy = Policy::lru;
    bool tracker = false;
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    bool shared = false;  ///< another manager has the same registry
};

constexpr std::size_t block_size = 4;
constexpr std::size_t chain_length = 16;
constexpr std::size_t block_count = 2 * chain_length;

BlockManager<> make_manager(const Case& chosen, std::size_t blocks = block_count) {
    auto registry = BlockRegistry::builder();
    if (chosen.tracker) {
        registry.frequency_tracker(FrequencyTrackingCapacity::small);
    }
    auto builder = BlockManager<>::builder();
    builder.block_count(blocks).block_size(block_size).registry(registry.build());
    builder.duplication_policy(chosen.duplication);
    switch (chosen.policy) {
        case Policy::lru:
            builder.with_lru_backend();
            break;
        case Policy::fifo:
            builder.with_hashmap_backend();
            break;
        case Policy::multi_lru:
            builder.with_multi_lru_backend();
            break;
        case Policy::lineage_tick:
            builder.with_lineage_backend();
            break;
        case Policy::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            break;
    }
    return must(builder.build());
}

std::vector<SequenceHash> make_chain(std::uint64_t root, std::size_t length = chain_length) {
    std::vector<SequenceHash> hashes{SequenceHash::root(BlockHash{root})};
    while (hashes.size() < length) {
        hashes.push_back(must(hashes.back().extend(BlockHash{root + hashes.size()})));
    }
    return hashes;
}

/// What a call took: locks of the manager, and calls of the heap.
struct Cost {
    std::uint64_t locks = 0;
    std::uint64_t allocations = 0;
    friend bool operator==(const Cost&, const Cost&) = default;
    friend void PrintTo(const Cost& cost, std::ostream* out) {
        *out << cost.locks << " locks, " << cost.allocations << " allocations";
    }
};

constexpr Cost free_of_charge{0, 0};
constexpr Cost one_lock{1, 0};

class SteadyState : public testing::TestWithParam<Case> {
  protected:
    SteadyState() : manager_(make_manager(GetParam())) {
        if (GetParam().shared) {
            auto builder = BlockManager<>::builder();
            builder.block_count(1).block_size(block_size).registry(manager_.block_registry());
            second_.emplace(must(builder.build()));
        }
        blocks_.reserve(block_count + 1);
        found_.reserve(2 * block_count);
        evicted_.reserve(block_count);
        presence_.reserve(block_count);
        // Warm: each chain was cached and evicted once.
        for (int i = 0; i < 2; ++i) {
            cache(chain_);
            cache(other_);
            cache(third_);
        }
        cache(chain_);
    }

    /// The chain in its blocks, nobody holding them, the last block given back first.
    void cache(std::span<const SequenceHash> hashes) {
        auto blocks = hold(hashes);
        blocks.clear(ReleaseOrder::leaf_first);
    }
    /// The same, held.
    ImmutableBlockList<> hold(std::span<const SequenceHash> hashes) {
        auto staged = stage(hashes);
        return std::move(*manager_.register_blocks(std::move(staged)));
    }
    CompleteBlockList<> stage(std::span<const SequenceHash> hashes) {
        return std::move(
            *std::move(*manager_.allocate_blocks(hashes.size())).stage_all(hashes, block_size));
    }

    template <class Call>
    Cost cost_of(const Call& call) {
        const std::uint64_t locks = detail::blocks::lock_count(manager_);
        const AllocationScope scope;
        call();
        const std::uint64_t allocations = scope.count();
        return {detail::blocks::lock_count(manager_) - locks, allocations};
    }

    const std::vector<SequenceHash> chain_ = make_chain(100);
    const std::vector<SequenceHash> other_ = make_chain(200);
    const std::vector<SequenceHash> third_ = make_chain(300);
    const std::vector<SequenceHash> unknown_ = make_chain(400);
    BlockManager<> manager_;
    std::optional<BlockManager<>> second_;
    MutableBlockList<> blocks_;
    ImmutableBlockList<> found_;
    std::vector<SequenceHash> evicted_;
    std::vector<std::pair<SequenceHash, bool>> presence_;
};

TEST_P(SteadyState, match_takes_one_lock) {
    EXPECT_EQ(cost_of([&] { manager_.match_blocks_into(chain_, found_); }), one_lock);
    ASSERT_EQ(found_.size(), chain_length);
    EXPECT_EQ(cost_of([&] { manager_.match_blocks_into(chain_, found_); }), one_lock) << "active";
    EXPECT_EQ(cost_of([&] { manager_.match_blocks_into(unknown_, found_); }), one_lock) << "a miss";
}

TEST_P(SteadyState, match_into_a_new_list_allocates_the_list) {
    EXPECT_EQ(cost_of([&] { static_cast<void>(manager_.match_blocks(unknown_)); }), (Cost{1, 1}));
    std::optional<ImmutableBlockList<>> found;
    EXPECT_EQ(cost_of([&] { found = manager_.match_blocks(chain_); }), (Cost{1, 1}));
}

TEST_P(SteadyState, matches_of_many_requests_take_one_lock) {
    const std::array<std::span<const SequenceHash>, 4> requests{chain_, unknown_, {}, chain_};
    const std::array<std::span<const SequenceHash>, 4> no_hashes{};
    std::vector<ImmutableBlockList<>> lists(requests.size());
    for (auto& list : lists) {
        list.reserve(chain_length);  // no more than a request has hashes
    }
    std::size_t hits = 0;

    EXPECT_EQ(cost_of([&] { hits = manager_.match_many(requests, lists); }), one_lock);
    EXPECT_EQ(hits, 2 * chain_length);
    EXPECT_EQ(cost_of([&] { manager_.match_many(no_hashes, lists); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { BlockManager<>::release_many(lists, ReleaseOrder::leaf_first); }),
              one_lock);
    EXPECT_EQ(cost_of([&] { manager_.match_many(requests, lists); }), one_lock)
        << "lists keep their memory";
    EXPECT_EQ(cost_of([&] {
                  BlockManager<>::release_many(lists, ReleaseOrder::root_first);
                  BlockManager<>::release_many(lists, ReleaseOrder::root_first);
              }),
              one_lock);
}

TEST_P(SteadyState, lists_of_two_managers_are_released_under_a_lock_per_row_of_each) {
    auto elsewhere = make_manager(GetParam());
    auto foreign = std::move(*elsewhere.register_blocks(std::move(
        *std::move(*elsewhere.allocate_blocks(chain_length)).stage_all(other_, block_size))));
    std::vector<ImmutableBlockList<>> lists(6);
    lists[0] = hold({other_.data(), 1});
    lists[2] = hold({other_.data() + 1, 1});
    lists[3] = std::move(foreign);
    lists[5] = hold({other_.data() + 2, 1});
    const std::uint64_t before = detail::blocks::lock_count(elsewhere);

    EXPECT_EQ(cost_of([&] { BlockManager<>::release_many(lists, ReleaseOrder::root_first); }),
              (Cost{2, 0}));

    EXPECT_EQ(detail::blocks::lock_count(elsewhere) - before, 1u);
}

TEST_P(SteadyState, scattered_match_allocates_its_places) {
    std::optional<ScatteredBlockList<>> found;
    EXPECT_EQ(cost_of([&] { found.emplace(manager_.match_blocks_scattered(chain_)); }),
              (Cost{1, 1}));
    EXPECT_EQ(cost_of([&] { found->clear(); }), one_lock);
}

TEST_P(SteadyState, scan_allocates_its_list_and_its_order) {
    std::optional<ScanResult<>> found;
    EXPECT_EQ(cost_of([&] { found.emplace(manager_.scan_matches(chain_, Touch::yes)); }),
              (Cost{1, 2}));
    EXPECT_EQ(cost_of([&] { found.reset(); }), one_lock);
}

TEST_P(SteadyState, allocation_takes_one_lock_whether_it_evicts_or_not) {
    EXPECT_EQ(cost_of([&] { EXPECT_TRUE(manager_.allocate_blocks_into(chain_length, blocks_)); }),
              one_lock);
    evicted_.clear();
    EXPECT_EQ(cost_of([&] {
                  EXPECT_TRUE(manager_.allocate_blocks_into(chain_length, blocks_, &evicted_));
              }),
              one_lock);
    EXPECT_EQ(evicted_.size(), chain_length);
    EXPECT_EQ(cost_of([&] { EXPECT_FALSE(manager_.allocate_blocks_into(1, blocks_)); }), one_lock)
        << "refused";
    EXPECT_EQ(cost_of([&] { blocks_.clear(); }), one_lock);
}

TEST_P(SteadyState, staging_and_unstaging_take_one_lock) {
    auto blocks = manager_.allocate_blocks(chain_length);
    std::optional<CompleteBlockList<>> staged;
    EXPECT_EQ(cost_of([&] {
                  staged.emplace(std::move(*std::move(*blocks).stage_all(other_, block_size)));
              }),
              one_lock);
    EXPECT_EQ(cost_of([&] { blocks.emplace(std::move(*staged).reset_all()); }), one_lock);
    auto block = blocks->pop_back();
    std::optional<CompleteBlock<>> complete;
    EXPECT_EQ(cost_of([&] {
                  complete.emplace(std::move(*std::move(block).stage(other_[0], block_size)));
              }),
              one_lock);
    EXPECT_EQ(cost_of([&] { block = std::move(*complete).reset(); }), one_lock);
    EXPECT_EQ(cost_of([&] {
                  auto refused = std::move(block).stage(other_[0], 2 * block_size);
                  block = std::move(refused.error().block);
              }),
              free_of_charge)
        << "a wrong size";
}

TEST_P(SteadyState, registration_takes_one_lock) {
    auto fresh = stage(other_);
    auto again = stage(chain_);
    EXPECT_EQ(
        cost_of([&] { EXPECT_TRUE(manager_.register_blocks_into(fresh, found_).has_value()); }),
        one_lock)
        << "hashes that are new";
    EXPECT_EQ(
        cost_of([&] { EXPECT_TRUE(manager_.register_blocks_into(again, found_).has_value()); }),
        one_lock)
        << "hashes that are cached";
    EXPECT_EQ(found_.size(), 2 * chain_length);
    EXPECT_EQ(cost_of([&] { found_.clear(); }), one_lock);
}

TEST_P(SteadyState, registration_of_one_block_takes_one_lock) {
    auto staged = stage({other_.data(), 1});
    auto block = staged.pop_back();
    std::optional<ImmutableBlock<>> registered;
    EXPECT_EQ(
        cost_of([&] { registered.emplace(std::move(*manager_.register_block(std::move(block)))); }),
        one_lock);
    EXPECT_EQ(cost_of([&] { registered.reset(); }), one_lock);
}

TEST_P(SteadyState, registration_in_the_wrong_manager_takes_no_lock) {
    auto elsewhere = make_manager(GetParam());
    auto staged = std::move(
        *std::move(*elsewhere.allocate_blocks(chain_length)).stage_all(other_, block_size));
    EXPECT_EQ(
        cost_of([&] { EXPECT_FALSE(manager_.register_blocks(std::move(staged)).has_value()); }),
        free_of_charge);
}

TEST_P(SteadyState, list_of_any_length_is_dropped_under_one_lock) {
    for (const std::size_t size : {std::size_t{1}, chain_length}) {
        auto blocks = hold({other_.data(), size});
        EXPECT_EQ(cost_of([&] { blocks.clear(); }), one_lock);
        blocks = hold({third_.data(), size});
        EXPECT_EQ(cost_of([&] { blocks.clear(ReleaseOrder::leaf_first); }), one_lock);
        auto staged = stage({other_.data(), size});
        EXPECT_EQ(cost_of([&] { staged.clear(); }), one_lock);
        auto free = *manager_.allocate_blocks(size);
        EXPECT_EQ(cost_of([&] { const auto gone = std::move(free); }), one_lock);
    }
}

TEST_P(SteadyState, list_that_resets_its_blocks_is_dropped_under_one_lock) {
    auto blocks = hold(other_);
    for (const auto& block : blocks) {
        block.set_evict_on_reset(true);
    }
    EXPECT_EQ(cost_of([&] { blocks.clear(); }), one_lock);
    EXPECT_FALSE(manager_.block_registry().is_registered(other_[0]));
}

TEST_P(SteadyState, copies_and_drops_that_are_not_the_last_take_no_lock) {
    std::optional<ImmutableBlock<>> block(hold({other_.data(), 1}).pop_back());
    std::optional<ImmutableBlock<>> copy;
    std::optional<LifecyclePin> pin;
    std::optional<LifecyclePin> second_pin;
    EXPECT_EQ(cost_of([&] { copy.emplace(*block); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { pin.emplace(block->pin()); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { second_pin.emplace(*pin); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { copy.reset(); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { second_pin.reset(); }), free_of_charge);
    EXPECT_EQ(cost_of([&] { block.reset(); }), free_of_charge) << "the pin is left";
    EXPECT_EQ(cost_of([&] { pin.reset(); }), one_lock) << "the last";
}

TEST_P(SteadyState, clone_of_a_list_allocates_the_list_and_takes_no_lock) {
    auto blocks = hold(other_);
    std::optional<ImmutableBlockList<>> copies;
    EXPECT_EQ(cost_of([&] { copies.emplace(blocks.clone()); }), (Cost{0, 1}));
    EXPECT_EQ(cost_of([&] { copies.reset(); }), one_lock);
}

TEST_P(SteadyState, facts_of_a_guard_are_free) {
    const auto block = hold({unknown_.data(), 1}).pop_back();
    std::optional<BlockRegistrationHandle> handle;
    EXPECT_EQ(cost_of([&] { handle.emplace(block.registration_handle()); }).locks,
              GetParam().shared ? 0u : 1u)
        << "the first makes the entry";
    EXPECT_EQ(cost_of([&] {
                  EXPECT_EQ(block.use_count(), 1u);
                  EXPECT_FALSE(block.is_duplicate());
                  EXPECT_EQ(block.sequence_hash(), unknown_[0]);
                  EXPECT_EQ(block.manager_id(), manager_.id());
                  handle.emplace(block.registration_handle());
                  EXPECT_TRUE(handle->has_block<DefaultTier>());
              }),
              free_of_charge);
    EXPECT_EQ(cost_of([&] { block.set_evict_on_reset(true); }), one_lock);
}

TEST_P(SteadyState, weak_blocks_take_one_lock_per_call) {
    auto block = hold({other_.data(), 1}).pop_back();
    std::optional<WeakBlock<>> weak;
    std::optional<WeakBlock<>> second;
    std::optional<ImmutableBlock<>> upgraded;
    const auto handle = block.registration_handle();
    EXPECT_EQ(cost_of([&] { weak.emplace(block.downgrade()); }), one_lock);
    EXPECT_EQ(cost_of([&] { second.emplace(*weak); }), one_lock);
    EXPECT_EQ(cost_of([&] { upgraded = weak->upgrade(); }), one_lock) << "active";
    upgraded.reset();
    {
        const auto gone = std::move(block);
    }
    EXPECT_EQ(cost_of([&] { upgraded = weak->upgrade(); }), one_lock) << "inactive";
    EXPECT_TRUE(upgraded.has_value());
    EXPECT_EQ(cost_of([&] { second.reset(); }), one_lock);
}

TEST_P(SteadyState, registry_reads_take_no_store_lock_but_that_of_an_only_store_once) {
    const Cost read = GetParam().shared ? free_of_charge : one_lock;
    auto registry = manager_.block_registry();
    const auto handle = registry.match_sequence_hash(chain_[0], Touch::no);
    EXPECT_EQ(cost_of([&] { registry.check_presence_into<DefaultTier>(chain_, presence_); }), read);
    EXPECT_TRUE(presence_[0].second);
    EXPECT_EQ(cost_of([&] { EXPECT_TRUE(registry.is_registered(chain_[0])); }), read);
    EXPECT_EQ(
        cost_of([&] { EXPECT_FALSE(registry.is_registered(SequenceHash::root(BlockHash{7}))); }),
        read);
    EXPECT_EQ(cost_of([&] { EXPECT_NE(registry.registered_count(), 0u); }), read);
    EXPECT_EQ(cost_of([&] {
                  EXPECT_TRUE(registry.match_sequence_hash(chain_[0], Touch::yes).has_value());
              }),
              read);
    EXPECT_EQ(cost_of([&] {
                  registry.touch(chain_[0]);
                  static_cast<void>(registry.count(chain_[0]));
              }),
              free_of_charge);
}

TEST_P(SteadyState, sizes_take_one_lock_and_metrics_none) {
    EXPECT_EQ(cost_of([&] { static_cast<void>(manager_.available_blocks()); }), one_lock);
    EXPECT_EQ(cost_of([&] {
                  static_cast<void>(manager_.total_blocks());
                  static_cast<void>(manager_.block_size());
                  static_cast<void>(manager_.id());
                  static_cast<void>(manager_.metrics()->snapshot());
              }),
              free_of_charge);
}

TEST_P(SteadyState, drain_takes_one_lock) {
    const auto cost = cost_of([&] { EXPECT_TRUE(manager_.reset_inactive_pool().has_value()); });

    EXPECT_EQ(cost.locks, 1u);
}

TEST_P(SteadyState, rounds_of_everything_ask_nothing_of_the_heap) {
    CompleteBlockList<> staged;
    const auto round = [&](std::span<const SequenceHash> hashes) {
        manager_.match_blocks_into(hashes, found_);
        found_.clear(ReleaseOrder::leaf_first);
        if (!manager_.allocate_blocks_into(chain_length, blocks_)) {
            return;
        }
        staged = std::move(*std::move(blocks_).stage_all(hashes, block_size));
        EXPECT_TRUE(manager_.register_blocks_into(staged, found_).has_value());
        found_.clear(ReleaseOrder::leaf_first);
        blocks_ = std::move(staged).reset_all();  // empty, with its memory
    };
    const std::array<std::span<const SequenceHash>, 3> chains{chain_, other_, third_};
    for (std::size_t i = 0; i < 6; ++i) {
        round(chains[i % 3]);
    }
    const std::int64_t before = live_bytes();
    const AllocationScope scope;

    for (std::size_t i = 0; i < 300; ++i) {
        round(chains[i % 3]);
    }

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_EQ(live_bytes(), before);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
}

TEST_P(SteadyState, end_of_everything_gives_all_memory_back) {
    const std::int64_t before = live_bytes();
    {
        auto manager = make_manager(GetParam());
        for (const auto& hashes : {chain_, other_, third_}) {
            auto blocks = must(
                std::move(*manager.allocate_blocks(chain_length)).stage_all(hashes, block_size));
            auto held = must(manager.register_blocks(std::move(blocks)));
            held.clear(ReleaseOrder::leaf_first);
        }
    }
    EXPECT_EQ(live_bytes(), before);
}

TEST_P(SteadyState, misses_by_the_hundred_thousand_keep_no_memory) {
    auto registry = manager_.block_registry();
    const std::size_t known = registry.registered_count();
    const std::int64_t before = live_bytes();
    std::array<SequenceHash, 10> unknown{};

    for (std::uint64_t i = 0; i < 10'000; ++i) {
        for (std::uint64_t k = 0; k < unknown.size(); ++k) {
            unknown[k] = SequenceHash::root(BlockHash{1'000'000 + 10 * i + k});
        }
        manager_.match_blocks_into(unknown, found_);
        static_cast<void>(manager_.match_blocks_scattered(unknown));
        static_cast<void>(manager_.scan_matches(unknown, Touch::yes));
        presence_.clear();
        registry.check_presence_into<DefaultTier>(unknown, presence_);
        for (const SequenceHash& hash : unknown) {
            static_cast<void>(registry.is_registered(hash));
            static_cast<void>(registry.match_sequence_hash(hash, Touch::yes));
        }
    }

    EXPECT_TRUE(found_.empty());
    EXPECT_EQ(live_bytes(), before);
    EXPECT_EQ(registry.registered_count(), known);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
    static constexpr std::array names{"lru", "fifo", "multi_lru", "lineage_tick", "lineage_fifo"};
    return std::string(names[static_cast<std::size_t>(info.param.policy)]) +
           (info.param.tracker ? "_tracker" : "") +
           (info.param.duplication == BlockDuplicationPolicy::allow ? "_allow" : "_reject") +
           (info.param.shared ? "_shared" : "");
}

constexpr auto allow = BlockDuplicationPolicy::allow;
constexpr auto reject = BlockDuplicationPolicy::reject;
INSTANTIATE_TEST_SUITE_P(
    Policies, SteadyState,
    testing::Values(Case{Policy::lru, false, allow}, Case{Policy::lru, true, reject},
                    Case{Policy::fifo, false, reject}, Case{Policy::fifo, true, allow},
                    Case{Policy::multi_lru, true, allow}, Case{Policy::multi_lru, true, reject},
                    Case{Policy::lineage_tick, false, allow},
                    Case{Policy::lineage_tick, true, reject},
                    Case{Policy::lineage_fifo, false, reject},
                    Case{Policy::lineage_fifo, true, allow}, Case{Policy::lru, false, allow, true},
                    Case{Policy::multi_lru, true, reject, true},
                    Case{Policy::lineage_tick, true, allow, true}),
    name_of);

// --- lists and trackers ---

TEST(MutableBlockList, of_128_is_dropped_under_one_lock_in_the_order_of_128_single_drops) {
    auto by_list = make_manager({}, 200);
    auto one_by_one = make_manager({}, 200);
    auto list = by_list.allocate_blocks(128);
    auto singles = one_by_one.allocate_blocks(128);
    const std::uint64_t before = detail::blocks::lock_count(by_list);
    const std::uint64_t singles_before = detail::blocks::lock_count(one_by_one);

    list->clear();
    while (!singles->empty()) {
        auto front = singles->take_front(1);
        const auto gone = front.pop_back();
    }

    EXPECT_EQ(detail::blocks::lock_count(by_list) - before, 1u);
    EXPECT_EQ(detail::blocks::lock_count(one_by_one) - singles_before, 128u);
    EXPECT_EQ(by_list.allocate_blocks(200)->block_ids(),
              one_by_one.allocate_blocks(200)->block_ids());
}

TEST(ImmutableBlockList, of_128_is_dropped_under_one_lock_in_the_order_of_128_single_drops) {
    const auto hashes = make_chain(1, 128);
    for (const Policy policy :
         {Policy::lru, Policy::fifo, Policy::lineage_tick, Policy::lineage_fifo}) {
        auto by_list = make_manager({policy}, 128);
        auto one_by_one = make_manager({policy}, 128);
        const auto hold = [&](BlockManager<>& manager) {
            auto staged =
                std::move(*std::move(*manager.allocate_blocks(128)).stage_all(hashes, block_size));
            return std::move(*manager.register_blocks(std::move(staged)));
        };
        auto list = hold(by_list);
        auto singles = hold(one_by_one);
        const std::uint64_t before = detail::blocks::lock_count(by_list);

        list.clear();
        while (!singles.empty()) {
            auto front = singles.take_front(1);
            const auto gone = front.pop_back();
        }

        EXPECT_EQ(detail::blocks::lock_count(by_list) - before, 1u);
        EXPECT_EQ(by_list.allocate_blocks(128)->block_ids(),
                  one_by_one.allocate_blocks(128)->block_ids());
    }
}

TEST(LogicalBlockAssignments, take_one_lock_per_batch) {
    auto manager = make_manager({}, 64);
    const std::vector<Token> tokens(64 * block_size, 7);
    const BlockSequence sequence(tokens, block_size);
    LogicalBlockAssignments<> assignments;
    must(assignments.extend_blocks(std::move(*manager.allocate_blocks(64))));
    const auto locks = [&](const auto& call) {
        const std::uint64_t before = detail::blocks::lock_count(manager);
        call();
        return detail::blocks::lock_count(manager) - before;
    };

    EXPECT_EQ(locks([&] { must(assignments.stage(sequence.blocks())); }), 1u);
    EXPECT_EQ(locks([&] { static_cast<void>(assignments.register_blocks(manager)); }), 1u);
    EXPECT_EQ(locks([&] { assignments.clear(); }), 1u);
    EXPECT_EQ(manager.available_blocks(), 64u);
}

}  // namespace
