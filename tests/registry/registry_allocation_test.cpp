// Asking costs no memory, and a registry that is warm registers without any.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.blocks;
import kvbm.registry;

namespace {

using namespace kvbm;
using kvbm_test::AllocationScope;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block * 0x9E37'79B9'7F4A'7C15U});
}

TEST(BlockRegistry, misses_allocate_nothing) {
    BlockRegistry registry;
    const auto known = registry.register_sequence_hash(hash(1'000'000));
    std::vector<std::pair<SequenceHash, bool>> presence;
    presence.reserve(1);
    std::size_t found = 0;

    const AllocationScope scope;
    for (std::uint64_t i = 0; i < 100'000; ++i) {
        const SequenceHash missing = must(
            SequenceHash::make(ChainHash{i}, ChainHash{i}, i % (SequenceHash::max_position + 1)));
        found += registry.match_sequence_hash(missing, Touch::yes).has_value() ? 1 : 0;
        found += registry.is_registered(missing) ? 1 : 0;
        presence.clear();
        registry.check_presence_into<G1>(std::span(&missing, 1), presence);
        found += presence.front().second ? 1 : 0;
        registry.touch(missing);
        found += registry.count(missing);
    }

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_EQ(found, 0u);
    EXPECT_EQ(registry.registered_count(), 1u);
}

TEST(BlockRegistry, warm_registers_and_forgets_without_allocating) {
    BlockRegistry registry;
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = 0; i < 500; ++i) {
        hashes.push_back(hash(i));
    }
    std::vector<BlockRegistrationHandle> handles;
    registry.register_sequence_hashes_into(hashes, handles);
    handles.clear();

    const AllocationScope scope;
    for (int round = 0; round < 20; ++round) {
        registry.register_sequence_hashes_into(hashes, handles);
        handles.clear();
        auto one = registry.register_sequence_hash(hashes[0]);
        const auto copy = one;
        const auto matched = registry.match_sequence_hash(hashes[0], Touch::no);
    }

    EXPECT_EQ(scope.count(), 0u);
}

TEST(BlockManager, with_tracker_and_events_registers_and_evicts_without_allocating) {
    for (const bool subscribed : {false, true}) {
        const auto events = EventsManager::builder().capacity(256).build();
        const auto registry = BlockRegistry::builder()
                                  .frequency_tracker(FrequencyTrackingCapacity::small)
                                  .event_manager(events)
                                  .build();
        std::vector<Subscription> subscriptions;
        if (subscribed) {
            subscriptions.push_back(events->subscribe());
        }
        auto manager = must(BlockManager<>::builder()
                                .registry(registry)
                                .block_count(100)
                                .block_size(4)
                                .with_lru_backend()
                                .build());
        std::vector<SequenceHash> hashes(100);
        std::uint64_t next = 0;
        const auto churn = [&] {
            for (SequenceHash& each : hashes) {
                each = hash(next++);
            }
            auto staged = must(std::move(*manager.allocate_blocks(100)).stage_all(hashes, 4));
            must(manager.register_blocks(std::move(staged))).clear();
        };
        churn();
        const AllocationScope list_only;
        manager.allocate_blocks(100)->clear();
        const std::uint64_t of_the_list = list_only.count();

        const AllocationScope scope;
        for (int round = 0; round < 10; ++round) {
            churn();
        }

        EXPECT_EQ(scope.count(), 10 * of_the_list) << subscribed;
    }
}

TEST(BlockRegistry, an_entry_without_attachments_owns_no_memory_and_one_with_gives_it_back) {
    BlockRegistry registry;
    auto handle = registry.register_sequence_hash(hash(1));
    handle = {};

    const std::uint64_t released_before = kvbm_test::releases_count();
    const AllocationScope plain;
    handle = registry.register_sequence_hash(hash(2));
    static_cast<void>(handle.get<int>().with_unique([](int value) { return value; }));
    handle.touch();
    handle = {};
    EXPECT_EQ(plain.count(), 0u);
    EXPECT_EQ(kvbm_test::releases_count(), released_before);

    const AllocationScope attached;
    handle = registry.register_sequence_hash(hash(2));
    static_cast<void>(handle.attach(1));
    static_cast<void>(handle.attach(2));
    handle.on_touch([](const SequenceHash&) {});
    handle = {};
    EXPECT_GT(attached.count(), 0u);
    EXPECT_EQ(kvbm_test::releases_count() - released_before, attached.count());
}

TEST(BlockRegistry, room_for_managers_that_are_gone_is_used_again) {
    BlockRegistry registry;
    const auto build = [&] {
        return must(BlockManager<>::builder()
                        .registry(registry)
                        .block_count(5000)
                        .block_size(4)
                        .with_lru_backend()
                        .build());
    };
    build();
    const AllocationScope second;
    build();
    const std::uint64_t of_a_manager = second.bytes();

    const AllocationScope scope;
    for (int i = 0; i < 20; ++i) {
        build();
    }

    EXPECT_EQ(scope.bytes(), 20 * of_a_manager);
}

}  // namespace
