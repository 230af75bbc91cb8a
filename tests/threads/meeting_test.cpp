// Threads that do one thing at the same moment, many times: what each of them gets adds up. Source:
// blocks.md 14, T6, T7, T8, T13; 18, examples 47, 99, 101, 103.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "threads.h"

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;

/// `rounds` times: `prepare`, then `act(thread)` on all threads at once, then `look`; the first and
/// last on the thread of the test.
void meet(std::size_t threads_count, std::size_t rounds, const std::function<void()>& prepare,
          const std::function<void(std::size_t)>& act, const std::function<void()>& look) {
    std::barrier gate(static_cast<std::ptrdiff_t>(threads_count + 1));
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < threads_count; ++thread) {
        threads.emplace_back([&, thread] {
            for (std::size_t round = 0; round < rounds; ++round) {
                gate.arrive_and_wait();
                act(thread);
                gate.arrive_and_wait();
            }
        });
    }
    for (std::size_t round = 0; round < rounds; ++round) {
        prepare();
        gate.arrive_and_wait();
        gate.arrive_and_wait();
        look();
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

class Meeting : public testing::TestWithParam<Policy> {
  protected:
    static BlockRegistry registry() {
        return BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build();
    }
    static BlockManager<> make(std::size_t blocks, bool flag = false) {
        return make_manager({.policy = GetParam(), .blocks = blocks}, registry(), flag);
    }
    const SequenceHash hash_ = root_hash(1);
};

TEST_P(Meeting, of_a_last_drop_and_a_lookup_never_misses_a_cached_block) {
    auto manager = make(2);
    std::optional<ImmutableBlock<>> held(register_hash(manager, hash_));
    std::optional<ImmutableBlockList<>> found;

    meet(
        2, repeats(400),
        [&] {
            if (!held) {
                held.emplace(manager.match_blocks({&hash_, 1}).pop_back());
            }
            found.reset();
        },
        [&](std::size_t thread) {
            thread == 0 ? held.reset() : void(found = manager.match_blocks({&hash_, 1}));
        },
        [&] {
            ASSERT_EQ(found->size(), 1u);
            EXPECT_EQ((*found)[0].use_count(), 1u);
            EXPECT_EQ(manager.available_blocks(), 1u);
        });

    found.reset();
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.available_blocks(), 2u);
    const auto snapshot = manager.metrics()->snapshot();
    EXPECT_EQ(snapshot.eager_primary_to_inactive_total, snapshot.release_primary_noop_total);
}

TEST_P(Meeting, of_a_last_drop_and_a_lookup_gives_the_block_or_resets_it) {
    auto manager = make(2, true);
    std::optional<ImmutableBlock<>> held;
    std::optional<ImmutableBlockList<>> found;

    meet(
        2, repeats(400),
        [&] {
            found.reset();
            held.emplace(register_hash(manager, hash_));
        },
        [&](std::size_t thread) {
            thread == 0 ? held.reset() : void(found = manager.match_blocks({&hash_, 1}));
        },
        [&] {
            EXPECT_EQ(manager.available_blocks(), found->empty() ? 2u : 1u);
            EXPECT_EQ(manager.block_registry().registered_count(), found->empty() ? 0u : 1u);
        });

    found.reset();
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.available_blocks(), 2u);
    EXPECT_EQ(manager.block_registry().registered_count(), 0u);
}

TEST_P(Meeting, of_drops_of_copies_gives_the_block_back_once) {
    auto manager = make(2);
    std::vector<std::optional<ImmutableBlock<>>> copies(4);
    std::optional<ImmutableBlockList<>> list;

    meet(
        5, repeats(400),
        [&] {
            auto block = register_hash(manager, hash_);
            list.emplace();
            list->push_back(ImmutableBlock<>(block));
            std::ranges::for_each(copies, [&](auto& copy) { copy.emplace(block); });
        },
        [&](std::size_t thread) { thread == 4 ? list->clear() : copies[thread].reset(); },
        [&] {
            EXPECT_EQ(manager.available_blocks(), 2u);
            EXPECT_EQ(manager.check_invariants().to_string(), "");
            EXPECT_TRUE(manager.reset_inactive_pool().has_value());
        });
}

TEST_P(Meeting, of_lists_that_share_blocks_gives_each_back_once) {
    auto manager = make(6);
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = 0; i < 6; ++i) {
        hashes.push_back(root_hash(i + 1));
        const auto released = register_hash(manager, hashes.back());
    }
    std::vector<ImmutableBlockList<>> lists(3);

    meet(
        3, repeats(400),
        [&] {
            std::ranges::for_each(lists, [&](auto& list) { list = manager.match_blocks(hashes); });
        },
        [&](std::size_t thread) {
            lists[thread].clear(thread == 1 ? ReleaseOrder::leaf_first : ReleaseOrder::root_first);
        },
        [&] {
            EXPECT_EQ(manager.available_blocks(), 6u);
            EXPECT_EQ(manager.check_invariants().to_string(), "");
        });
    EXPECT_EQ(manager.allocate_blocks(6)->size(), 6u);
}

TEST_P(Meeting, of_eight_allocations_of_everything_is_won_by_one) {
    auto manager = make(16);
    std::vector<std::optional<MutableBlockList<>>> got(8);

    meet(
        8, repeats(60), [&] { std::ranges::for_each(got, [](auto& list) { list.reset(); }); },
        [&](std::size_t thread) { got[thread] = manager.allocate_blocks(16); },
        [&] {
            EXPECT_EQ(std::ranges::count_if(got, [](const auto& list) { return list.has_value(); }),
                      1);
            EXPECT_EQ(manager.available_blocks(), 0u);
        });

    const auto snapshot = manager.metrics()->snapshot();
    EXPECT_EQ(snapshot.allocations, 16 * repeats(60));
    EXPECT_EQ(snapshot.allocate_atomic_rollback_total, 0u);
}

TEST_P(Meeting, of_eight_registrations_of_one_hash_has_one_primary) {
    for (const auto duplication : {BlockDuplicationPolicy::allow, BlockDuplicationPolicy::reject}) {
        auto manager = make_manager({.policy = GetParam(), .duplication = duplication, .blocks = 8},
                                    registry(), false);
        std::vector<std::optional<CompleteBlock<>>> staged(8);
        std::vector<std::optional<ImmutableBlock<>>> blocks(8);

        meet(
            8, repeats(40),
            [&] {
                std::ranges::for_each(blocks, [](auto& block) { block.reset(); });
                EXPECT_TRUE(manager.reset_inactive_pool().has_value());
                std::ranges::for_each(staged,
                                      [&](auto& block) { block.emplace(stage(manager, hash_)); });
            },
            [&](std::size_t thread) {
                blocks[thread].emplace(
                    std::move(*manager.register_block(std::move(*staged[thread]))));
            },
            [&] {
                std::set<BlockId> ids;
                std::size_t duplicates = 0;
                for (const auto& block : blocks) {
                    ids.insert(block->block_id());
                    duplicates += block->is_duplicate() ? 1 : 0;
                }
                const bool allows = duplication == BlockDuplicationPolicy::allow;
                EXPECT_EQ(ids.size(), allows ? 8u : 1u);
                EXPECT_EQ(duplicates, allows ? 7u : 0u);
                EXPECT_EQ(manager.available_blocks(), allows ? 0u : 7u);
                EXPECT_EQ(manager.check_invariants().to_string(), "");
            });

        blocks.clear();
        EXPECT_EQ(manager.available_blocks(), 8u);
        EXPECT_TRUE(manager.reset_inactive_pool().has_value());
        EXPECT_EQ(manager.block_registry().registered_count(), 0u);
    }
}

TEST_P(Meeting, of_a_registration_and_a_reader_counts_no_block_that_cannot_be_found) {
    auto manager = make(2);
    std::optional<CompleteBlock<>> staged;
    std::optional<ImmutableBlock<>> block;
    std::uint64_t before = 0;
    std::atomic<std::size_t> ahead{0};

    meet(
        2, repeats(400),
        [&] {
            block.reset();
            EXPECT_TRUE(manager.reset_inactive_pool().has_value());
            staged.emplace(stage(manager, hash_));
            before = manager.metrics()->snapshot().registrations;
        },
        [&](std::size_t thread) {
            if (thread == 0) {
                block.emplace(std::move(*manager.register_block(std::move(*staged))));
                return;
            }
            const bool counted = manager.metrics()->snapshot().registrations != before;
            const bool present =
                manager.block_registry().check_presence<DefaultTier>({&hash_, 1})[0].second;
            const bool found = !manager.match_blocks({&hash_, 1}).empty();
            ahead += counted && !(present && found) ? 1 : 0;
        },
        [&] { EXPECT_EQ(manager.metrics()->snapshot().registrations, before + 1); });

    EXPECT_EQ(ahead.load(), 0u);
}

TEST_P(Meeting, of_the_last_handle_and_a_registration_leaves_the_newer_entry) {
    auto manager = make(2, true);
    auto all = manager.block_registry();
    std::optional<BlockRegistrationHandle> handle;
    std::optional<CompleteBlock<>> staged;
    std::optional<ImmutableBlock<>> block;

    meet(
        2, repeats(400),
        [&] {
            block.reset();
            handle.emplace(all.register_sequence_hash(hash_));
            staged.emplace(stage(manager, hash_));
        },
        [&](std::size_t thread) {
            if (thread == 0) {
                handle.reset();
            } else {
                block.emplace(std::move(*manager.register_block(std::move(*staged))));
            }
        },
        [&] {
            EXPECT_TRUE(all.is_registered(hash_));
            EXPECT_EQ(all.registered_count(), 1u);
            EXPECT_TRUE(all.check_presence<DefaultTier>({&hash_, 1})[0].second);
        });
}

TEST_P(Meeting, of_a_dying_manager_and_its_last_guards_leaves_nothing) {
    const auto all = registry();
    std::optional<BlockManager<>> manager;
    std::vector<std::optional<ImmutableBlock<>>> copies(3);
    std::optional<WeakBlock<>> weak;

    meet(
        4, repeats(100),
        [&] {
            manager.emplace(make_manager({.policy = GetParam(), .blocks = 2}, all, false));
            auto block = register_hash(*manager, hash_);
            weak.emplace(block.downgrade());
            std::ranges::for_each(copies, [&](auto& copy) { copy.emplace(block); });
        },
        [&](std::size_t thread) {
            switch (thread) {
                case 0:
                    manager.reset();
                    break;
                case 1: {
                    const auto upgraded = weak->upgrade();
                    weak.reset();
                    break;
                }
                case 2:
                    copies[0].reset();
                    copies[1].reset();
                    break;
                default:
                    copies[2].reset();
            }
        },
        [&] { EXPECT_EQ(all.registered_count(), 0u); });
}

INSTANTIATE_TEST_SUITE_P(Policies, Meeting,
                         testing::Values(Policy::lru, Policy::fifo, Policy::multi_lru,
                                         Policy::lineage_tick, Policy::lineage_fifo));

}  // namespace
