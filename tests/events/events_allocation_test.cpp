// Events cost no memory: no journal without a subscriber, and no allocation with one.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.events;
import kvbm.registry;

namespace {

using namespace kvbm;
using kvbm_test::AllocationScope;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block});
}

constexpr std::size_t capacity = std::size_t{1} << 16;

TEST(EventsManager, takes_the_memory_of_its_journal_with_the_first_subscriber) {
    const AllocationScope before;
    const auto manager = EventsManager::builder().capacity(capacity).build();
    EXPECT_LT(before.bytes(), 4096u);

    const AllocationScope emitting;
    for (std::uint64_t i = 0; i < 10; ++i) {
        detail::events::Emitter::emit(*manager, EventKind::stored, hash(i));
        manager->clear();
    }
    EXPECT_EQ(emitting.count(), 0u);

    const AllocationScope first;
    auto one = manager->subscribe();
    EXPECT_GE(first.bytes(), capacity * 32);
    EXPECT_LT(first.bytes(), capacity * 32 + 4096);

    const AllocationScope second;
    auto two = manager->subscribe();
    EXPECT_EQ(second.count(), 0u);
}

TEST(EventsManager, emits_and_is_read_without_allocating) {
    const auto manager = EventsManager::builder().capacity(64).build();
    auto subscription = manager->subscribe();
    std::array<CacheEvent, 16> room;
    std::size_t received = 0;

    const AllocationScope scope;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        detail::events::Emitter::emit(*manager, EventKind::stored, hash(i));
        received += std::holds_alternative<CacheEvent>(subscription.try_next()) ? 1 : 0;
        detail::events::Emitter::emit(*manager, EventKind::removed, hash(i));
        received += subscription.drain(room).count;
    }

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_EQ(received, 2000u);
}

TEST(BlockRegistry, reports_entries_that_come_and_go_without_allocating) {
    for (const bool subscribed : {false, true}) {
        const auto manager = EventsManager::builder().capacity(64).build();
        auto registry = BlockRegistry::builder().event_manager(manager).build();
        std::vector<Subscription> subscriptions;
        if (subscribed) {
            subscriptions.push_back(manager->subscribe());
        }
        std::vector<SequenceHash> hashes;
        for (std::uint64_t i = 0; i < 200; ++i) {
            hashes.push_back(hash(i));
        }
        std::vector<BlockRegistrationHandle> handles;
        registry.register_sequence_hashes_into(hashes, handles);
        handles.clear();

        const AllocationScope scope;
        registry.register_sequence_hashes_into(hashes, handles);
        handles.clear();
        static_cast<void>(registry.register_sequence_hash(hashes[0]));

        EXPECT_EQ(scope.count(), 0u) << subscribed;
    }
}

}  // namespace
