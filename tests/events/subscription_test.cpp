// What a subscriber gets: every event from its first on, or how many it has lost.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.events;

namespace {

using namespace kvbm;
using namespace std::chrono_literals;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block});
}

std::shared_ptr<EventsManager> manager_of(std::size_t capacity) {
    return EventsManager::builder().capacity(capacity).build();
}

/// `stored` of the hashes first, first + 1 ...
void emit(EventsManager& manager, std::uint64_t first, std::uint64_t count = 1) {
    for (std::uint64_t block = first; block < first + count; ++block) {
        detail::events::Emitter::emit(manager, EventKind::stored, hash(block));
    }
}

NextEvent stored(std::uint64_t number, std::uint64_t block) {
    return CacheEvent{EventKind::stored, number, hash(block), std::nullopt};
}

TEST(Subscription, sees_the_events_from_the_next_one_on_in_order) {
    const auto manager = manager_of(8);
    emit(*manager, 100, 3);  // nobody listens

    auto subscription = manager->subscribe();
    emit(*manager, 7, 2);
    detail::events::Emitter::emit(*manager, EventKind::removed, hash(7));

    EXPECT_EQ(subscription.try_next(), stored(0, 7));
    EXPECT_EQ(subscription.try_next(), stored(1, 8));
    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{EventKind::removed, 2, hash(7), std::nullopt}));
    EXPECT_EQ(subscription.try_next(), NextEvent(Timeout{}));
}

TEST(Subscription, of_a_late_joiner_starts_where_it_joined) {
    const auto manager = manager_of(8);
    auto early = manager->subscribe();
    emit(*manager, 0, 3);

    auto late = manager->subscribe();
    emit(*manager, 3);

    EXPECT_EQ(late.next_number(), 3u);
    EXPECT_EQ(late.try_next(), stored(3, 3));
    EXPECT_EQ(late.try_next(), NextEvent(Timeout{}));
    EXPECT_EQ(early.try_next(), stored(0, 0));
}

TEST(Subscription, does_not_take_events_from_another) {
    const auto manager = manager_of(8);
    auto one = manager->subscribe();
    auto other = manager->subscribe();

    emit(*manager, 0, 2);

    for (Subscription* each : {&one, &other}) {
        EXPECT_EQ(each->try_next(), stored(0, 0));
        EXPECT_EQ(each->try_next(), stored(1, 1));
        EXPECT_EQ(each->try_next(), NextEvent(Timeout{}));
    }
}

TEST(Subscription, that_ends_leaves_the_others_alone_and_numbers_go_on) {
    const auto manager = manager_of(8);
    auto stays = manager->subscribe();
    {
        auto ends = manager->subscribe();
        emit(*manager, 0);
    }
    emit(*manager, 1);

    EXPECT_EQ(stays.try_next(), stored(0, 0));
    EXPECT_EQ(stays.try_next(), stored(1, 1));

    stays = manager->subscribe();
    emit(*manager, 2);
    EXPECT_EQ(stays.try_next(), stored(2, 2));
}

TEST(Subscription, events_without_any_subscriber_take_no_number) {
    const auto manager = manager_of(8);
    {
        auto first = manager->subscribe();
        emit(*manager, 0);
    }
    emit(*manager, 1, 5);

    auto second = manager->subscribe();
    emit(*manager, 6);

    EXPECT_EQ(second.try_next(), stored(1, 6));
}

TEST(Subscription, at_the_capacity_loses_nothing_and_one_beyond_loses_the_oldest) {
    for (const std::size_t capacity : {1U, 2U, 4U, 64U}) {
        const auto manager = manager_of(capacity);
        auto exact = manager->subscribe();
        emit(*manager, 0, capacity);
        EXPECT_EQ(exact.try_next(), stored(0, 0)) << capacity;

        auto beyond = manager->subscribe();
        emit(*manager, 1000, capacity + 1);
        EXPECT_EQ(beyond.try_next(), NextEvent(Lagged{1})) << capacity;
        EXPECT_EQ(beyond.try_next(), stored(capacity + 1, 1001)) << capacity;
    }
}

TEST(Subscription, with_capacity_1_gets_the_exact_loss_and_then_the_last_event) {
    const auto manager = manager_of(1);
    auto subscription = manager->subscribe();

    emit(*manager, 0, 10);

    EXPECT_EQ(subscription.try_next(), NextEvent(Lagged{9}));
    EXPECT_EQ(subscription.try_next(), stored(9, 9));
    EXPECT_EQ(subscription.try_next(), NextEvent(Timeout{}));
}

TEST(Subscription, with_capacity_2_gets_the_exact_loss_at_each_wrap_of_the_ring) {
    const auto manager = manager_of(2);
    auto subscription = manager->subscribe();
    std::uint64_t number = 0;
    for (std::uint64_t emitted = 1; emitted <= 7; ++emitted) {
        emit(*manager, number, emitted);
        const std::uint64_t lost = emitted > 2 ? emitted - 2 : 0;
        if (lost != 0) {
            EXPECT_EQ(subscription.try_next(), NextEvent(Lagged{lost}));
        }
        for (std::uint64_t i = lost; i < emitted; ++i) {
            EXPECT_EQ(subscription.try_next(), stored(number + i, number + i));
        }
        EXPECT_EQ(subscription.try_next(), NextEvent(Timeout{}));
        number += emitted;
        EXPECT_EQ(subscription.next_number(), number);
    }
}

TEST(Subscription, gets_what_is_left_and_then_closed_when_the_manager_is_gone) {
    auto manager = manager_of(8);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 2);

    manager.reset();

    EXPECT_EQ(subscription.try_next(), stored(0, 0));
    EXPECT_EQ(subscription.next(1h), stored(1, 1));
    EXPECT_EQ(subscription.next(1h), NextEvent(Closed{}));
    EXPECT_EQ(subscription.try_next(), NextEvent(Closed{}));
}

TEST(Subscription, with_a_loss_is_told_of_it_before_closed) {
    auto manager = manager_of(1);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 3);

    manager.reset();

    EXPECT_EQ(subscription.try_next(), NextEvent(Lagged{2}));
    EXPECT_EQ(subscription.try_next(), stored(2, 2));
    EXPECT_EQ(subscription.try_next(), NextEvent(Closed{}));
}

TEST(Subscription, next_gives_timeout_at_once_when_the_timeout_is_not_positive) {
    const auto manager = manager_of(8);
    auto subscription = manager->subscribe();

    EXPECT_EQ(subscription.next(0ns), NextEvent(Timeout{}));
    EXPECT_EQ(subscription.next(-1h), NextEvent(Timeout{}));
    EXPECT_EQ(subscription.next(std::chrono::nanoseconds::min()), NextEvent(Timeout{}));
}

TEST(Subscription, next_gives_timeout_when_nothing_comes) {
    const auto manager = manager_of(8);
    auto subscription = manager->subscribe();

    EXPECT_EQ(subscription.next(1us), NextEvent(Timeout{}));
}

TEST(Subscription, next_gives_what_is_there_without_waiting) {
    const auto manager = manager_of(1);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 2);

    EXPECT_EQ(subscription.next(std::chrono::nanoseconds::max()), NextEvent(Lagged{1}));
    EXPECT_EQ(subscription.next(std::chrono::nanoseconds::max()), stored(1, 1));
}

TEST(Subscription, drain_takes_as_much_as_there_is_room_for) {
    const auto manager = manager_of(8);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 5);
    std::array<CacheEvent, 3> room;

    EXPECT_EQ(subscription.drain(room), (Drained{.count = 3}));
    EXPECT_EQ(NextEvent(room[0]), stored(0, 0));
    EXPECT_EQ(NextEvent(room[2]), stored(2, 2));
    EXPECT_EQ(subscription.drain({}), Drained{});
    EXPECT_EQ(subscription.drain(room), (Drained{.count = 2}));
    EXPECT_EQ(NextEvent(room[1]), stored(4, 4));
    EXPECT_EQ(subscription.drain(room), Drained{});
}

TEST(Subscription, drain_tells_the_exact_loss_before_its_first_event) {
    const auto manager = manager_of(4);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 9);
    std::array<CacheEvent, 8> room;

    EXPECT_EQ(subscription.drain(room), (Drained{.count = 4, .missed = 5}));
    EXPECT_EQ(NextEvent(room[0]), stored(5, 5));
    EXPECT_EQ(NextEvent(room[3]), stored(8, 8));
}

TEST(Subscription, drain_tells_when_nothing_will_come_any_more) {
    auto manager = manager_of(4);
    auto subscription = manager->subscribe();
    emit(*manager, 0, 2);
    manager.reset();
    std::array<CacheEvent, 2> room;

    EXPECT_EQ(subscription.drain(room), (Drained{.count = 2, .closed = false}));
    EXPECT_EQ(subscription.drain(room), (Drained{.count = 0, .closed = true}));
}

TEST(Subscription, that_is_moved_goes_on_where_it_was) {
    const auto manager = manager_of(4);
    auto first = manager->subscribe();
    emit(*manager, 0, 2);
    EXPECT_EQ(first.try_next(), stored(0, 0));

    Subscription second(std::move(first));
    auto third = manager->subscribe();
    third = std::move(second);

    EXPECT_EQ(third.try_next(), stored(1, 1));
}

TEST(SubscriptionDeathTest, that_was_moved_from_breaks_a_contract_when_used) {
    const auto manager = manager_of(4);
    auto first = manager->subscribe();
    const Subscription second(std::move(first));

    EXPECT_DEATH(static_cast<void>(first.try_next()),
                 "a subscription that is used was not moved from");
}

TEST(EventsManager, rounds_its_capacity_up_to_a_power_of_two) {
    EXPECT_EQ(EventsManager::builder().build()->capacity(), 65'536u);
    EXPECT_EQ(manager_of(0)->capacity(), 1u);
    EXPECT_EQ(manager_of(1)->capacity(), 1u);
    EXPECT_EQ(manager_of(3)->capacity(), 4u);
    EXPECT_EQ(manager_of(4)->capacity(), 4u);
    EXPECT_EQ(manager_of(SIZE_MAX)->capacity(), EventsManagerBuilder::capacity_max);
}

TEST(EventsManager, clears_one_tier_or_all) {
    const auto manager = manager_of(4);
    auto subscription = manager->subscribe();

    manager->clear<G2>();
    manager->clear(tier_id<G1>());
    manager->clear();

    constexpr EventKind cleared = EventKind::cleared;
    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{cleared, 0, SequenceHash(), tier_id<G2>()}));
    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{cleared, 1, SequenceHash(), tier_id<G1>()}));
    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{cleared, 2, SequenceHash(), std::nullopt}));
}

TEST(EventsManager, keeps_all_128_bits_of_a_hash_and_all_32_of_a_tier) {
    const auto manager = manager_of(4);
    auto subscription = manager->subscribe();
    const auto wide = must(SequenceHash::from_bits(0xBFED'CBA9'8765'4321U, 0xFEDC'BA98'7654'3210U));

    detail::events::Emitter::emit(*manager, EventKind::removed, wide);
    manager->clear(TierId(0xFFFF'FFFFU));

    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{EventKind::removed, 0, wide, std::nullopt}));
    EXPECT_EQ(subscription.try_next(),
              NextEvent(CacheEvent{EventKind::cleared, 1, SequenceHash(), TierId(0xFFFF'FFFFU)}));
}

TEST(EventsManager, reports_registrations) {
    EXPECT_EQ(manager_of(1)->source(), EventSource::registration);
}

}  // namespace
