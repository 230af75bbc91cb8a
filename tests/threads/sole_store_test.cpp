// A registry with one manager gives entries on demand; a second manager comes while others
// register, look, hold handles and drop. Nothing is lost, counted twice or without its entry.
// Source: blocks.md 10, 14, K1, K2, K12, R3.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
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
using detail::core::Parking;
using detail::core::Schedule;

class SoleStore : public testing::TestWithParam<BlockDuplicationPolicy> {
  protected:
    bool present() const { return registry_.check_presence<DefaultTier>({&hash_, 1})[0].second; }
    BlockManager<> make(std::size_t blocks) const {
        return make_manager({.duplication = GetParam(), .blocks = blocks}, registry_, false);
    }

    const SequenceHash hash_ = root_hash(1);
    BlockRegistry registry_;
    BlockManager<> manager_ = make(4);
};

TEST_P(SoleStore, that_gets_company_between_a_registrations_steps_enters_the_registry) {
    std::optional<ImmutableBlock<>> block;
    Parking parking("blocks.register.entered");
    std::thread other([&, staged = stage(manager_, hash_)]() mutable {
        block.emplace(std::move(*manager_.register_block(std::move(staged))));
    });
    parking.await();  // with no entry

    auto second = make(1);
    EXPECT_EQ(registry_.registered_count(), 0u);
    parking.let_go();
    other.join();

    EXPECT_TRUE(present());
    EXPECT_EQ(registry_.registered_count(), 1u);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_TRUE(block->registration_handle().has_block<DefaultTier>());
    block.reset();
    EXPECT_EQ(*manager_.reset_inactive_pool(), 1u);
    EXPECT_EQ(registry_.registered_count(), 0u);
}

TEST_P(SoleStore, that_gets_company_has_entries_for_held_and_for_cached_blocks) {
    const auto cached = root_hash(2);
    {
        const auto gone = register_hash(manager_, cached);
    }
    const auto held = register_hash(manager_, hash_);
    const auto twin = register_hash(manager_, hash_);
    EXPECT_EQ(registry_.registered_count(), 2u);

    auto second = make(1);

    EXPECT_EQ(registry_.registered_count(), 2u);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_TRUE(registry_.is_registered(cached));
    EXPECT_TRUE(held.registration_handle() == twin.registration_handle());
    {
        const auto gone = manager_.allocate_blocks(manager_.available_blocks());
        EXPECT_FALSE(registry_.is_registered(cached));
    }
    EXPECT_EQ(registry_.registered_count(), 1u);
}

TEST_P(SoleStore, whose_evicted_entry_is_not_buried_yet_gets_company) {
    std::optional<BlockRegistrationHandle> handle;
    {
        const auto gone = register_hash(manager_, hash_);
        handle.emplace(gone.registration_handle());
    }
    Parking parking("blocks.allocate.unlocked");
    std::optional<MutableBlockList<>> blocks;
    std::thread evictor([&] { blocks = manager_.allocate_blocks(4); });
    parking.await();

    auto second = make(1);
    EXPECT_TRUE(present()) << "presence follows";
    parking.let_go();
    evictor.join();

    EXPECT_FALSE(present());
    EXPECT_FALSE(handle->has_block<DefaultTier>());
    EXPECT_EQ(registry_.registered_count(), 1u);
    handle.reset();
    EXPECT_EQ(registry_.registered_count(), 0u);
}

TEST_P(SoleStore, gives_a_block_whose_old_entry_is_dying_another_one) {
    std::optional<BlockRegistrationHandle> old(registry_.register_sequence_hash(hash_));
    Parking parking("registry.entry.dying");
    std::thread other([&] { old.reset(); });
    parking.await();

    auto block = register_hash(manager_, hash_);
    EXPECT_EQ(registry_.registered_count(), 1u);
    const auto handle = block.registration_handle();
    EXPECT_TRUE(handle.has_block<DefaultTier>());
    parking.let_go();
    other.join();

    EXPECT_EQ(registry_.registered_count(), 1u);
    EXPECT_TRUE(registry_.match_sequence_hash(hash_, Touch::no) == handle);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
}

TEST_P(SoleStore, that_dies_leaves_the_entries_of_handles) {
    auto block = register_hash(manager_, hash_);
    const auto handle = block.registration_handle();
    {
        const auto dead = std::move(manager_);
        const auto gone = std::move(block);
    }
    EXPECT_FALSE(handle.has_block<DefaultTier>());
    EXPECT_EQ(registry_.registered_count(), 1u);

    manager_ = make(4);
    block = register_hash(manager_, hash_);
    EXPECT_TRUE(handle.has_block<DefaultTier>());
    EXPECT_TRUE(block.registration_handle() == handle);
    EXPECT_EQ(registry_.registered_count(), 1u);
}

/// Registers, looks up, asks for handles and drops, as a seed says.
void work(BlockManager<>& manager, BlockRegistry& registry, std::uint64_t seed, std::size_t steps) {
    std::vector<ImmutableBlock<>> held;
    std::vector<BlockRegistrationHandle> handles;
    for (std::size_t k = 0; k < steps; ++k) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        const auto drawn = static_cast<std::size_t>(seed >> 33);
        const SequenceHash hash = root_hash(1 + drawn % 3);
        switch ((drawn / 3) % 6) {
            case 0: {
                if (auto blocks = manager.allocate_blocks(1)) {
                    auto staged = std::move(*blocks->pop_back().stage(hash, 4));
                    held.push_back(std::move(*manager.register_block(std::move(staged))));
                }
                break;
            }
            case 1: {
                auto found = manager.match_blocks({&hash, 1});
                if (!found.empty()) {
                    held.push_back(found.pop_back());
                }
                break;
            }
            case 2: {
                if (!held.empty()) {
                    handles.push_back(held.back().registration_handle());
                    EXPECT_EQ(handles.back().seq_hash(), held.back().sequence_hash());
                }
                break;
            }
            case 3: {
                if (auto handle = registry.match_sequence_hash(hash, Touch::no)) {
                    handles.push_back(std::move(*handle));
                }
                break;
            }
            case 4: {
                if (!held.empty()) {
                    EXPECT_TRUE(registry.is_registered(held.front().sequence_hash()));
                    held.erase(held.begin());
                }
                break;
            }
            default:
                handles.clear();
        }
    }
}

TEST_P(SoleStore, keeps_its_registry_exact_in_any_schedule) {
    for (std::uint64_t seed = 0; seed < repeats(600); ++seed) {
        SCOPED_TRACE(seed);
        BlockRegistry registry;
        auto first =
            make_manager({.duplication = GetParam(), .blocks = 3}, registry, seed % 3 == 0);
        std::optional<BlockManager<>> second;
        std::vector<std::function<void()>> bodies;
        bodies.emplace_back([&] { work(first, registry, seed, 20); });
        bodies.emplace_back([&] { work(first, registry, ~seed, 20); });
        bodies.emplace_back([&] {
            second.emplace(make_manager({.duplication = GetParam(), .blocks = 2}, registry, false));
            work(*second, registry, seed * 3, 10);
        });

        Schedule(seed).run(bodies);

        ASSERT_EQ(first.check_invariants().to_string(), "");
        ASSERT_EQ(second->check_invariants().to_string(), "");
        ASSERT_TRUE(second->reset_inactive_pool().has_value());
        ASSERT_EQ(first.available_blocks(), 3u);
        std::size_t cached = 0;
        for (const BlockInfo& block : first.inspect()) {
            cached += block.use == BlockUse::cached ? 1 : 0;
        }
        ASSERT_EQ(registry.registered_count(), cached);
        ASSERT_TRUE(first.reset_inactive_pool().has_value());
        ASSERT_EQ(registry.registered_count(), 0u);
    }
}

TEST_P(SoleStore, keeps_its_registry_exact_on_threads) {
    for (std::uint64_t round = 0; round < repeats(40); ++round) {
        SCOPED_TRACE(round);
        BlockRegistry registry;
        auto first = make_manager({.duplication = GetParam(), .blocks = 4}, registry, false);
        std::optional<BlockManager<>> second;
        std::vector<std::thread> threads;
        for (std::uint64_t t = 0; t < 3; ++t) {
            threads.emplace_back([&, t] { work(first, registry, 100 * round + t, 400); });
        }
        threads.emplace_back([&] {
            second.emplace(make_manager({.duplication = GetParam(), .blocks = 2}, registry, false));
            work(*second, registry, round, 200);
        });
        for (auto& thread : threads) {
            thread.join();
        }

        ASSERT_EQ(first.check_invariants().to_string(), "");
        ASSERT_EQ(second->check_invariants().to_string(), "");
        ASSERT_TRUE(first.reset_inactive_pool().has_value());
        ASSERT_TRUE(second->reset_inactive_pool().has_value());
        ASSERT_EQ(registry.registered_count(), 0u);
    }
}

INSTANTIATE_TEST_SUITE_P(Duplication, SoleStore,
                         testing::Values(BlockDuplicationPolicy::allow,
                                         BlockDuplicationPolicy::reject));

}  // namespace
