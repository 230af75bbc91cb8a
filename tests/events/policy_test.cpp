// A policy decides once per entry whether its events are reported: both or none.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.events;
import kvbm.registry;

namespace {

using namespace kvbm;

SequenceHash at(std::uint64_t position) {
    return must(SequenceHash::make(ChainHash{1}, ChainHash{2}, position));
}

BlockRegistry registry_of(const std::shared_ptr<EventsManager>& events) {
    return BlockRegistry::builder().event_manager(events).build();
}

/// Kinds and positions of what there is.
std::vector<std::pair<EventKind, std::size_t>> taken(Subscription& subscription) {
    std::vector<std::pair<EventKind, std::size_t>> events;
    while (true) {
        const NextEvent next = subscription.try_next();
        const auto* event = std::get_if<CacheEvent>(&next);
        if (event == nullptr) {
            return events;
        }
        events.emplace_back(event->kind, event->hash.position());
    }
}

using Taken = std::vector<std::pair<EventKind, std::size_t>>;
constexpr EventKind stored = EventKind::stored;
constexpr EventKind removed = EventKind::removed;

TEST(EventPolicy, default_reports_every_hash_when_it_comes_and_when_it_goes) {
    const auto events = EventsManager::builder().build();
    auto registry = registry_of(events);
    auto subscription = events->subscribe();

    for (const std::uint64_t position : {0U, 1U, 17U}) {
        static_cast<void>(registry.register_sequence_hash(at(position)));
    }

    EXPECT_EQ(
        taken(subscription),
        (Taken{{stored, 0}, {removed, 0}, {stored, 1}, {removed, 1}, {stored, 17}, {removed, 17}}));
}

TEST(EventPolicy, power_of_two_reports_both_events_of_its_positions_and_none_of_others) {
    const auto events = EventsManager::builder().policy(PowerOfTwoPolicy()).build();
    auto registry = registry_of(events);
    auto subscription = events->subscribe();

    for (const std::uint64_t position : {0U, 1U, 8U, 15U, 16U, 17U, 65'536U, 131'072U}) {
        static_cast<void>(registry.register_sequence_hash(at(position)));
    }

    EXPECT_EQ(taken(subscription),
              (Taken{{stored, 16}, {removed, 16}, {stored, 65'536}, {removed, 65'536}}));
}

TEST(EventPolicy, is_asked_once_per_entry_and_its_answer_is_kept) {
    std::size_t asked = 0;
    bool answer = true;
    const auto events = EventsManager::builder()
                            .policy([&](const SequenceHash&) {
                                ++asked;
                                return answer;
                            })
                            .build();
    auto registry = registry_of(events);
    auto subscription = events->subscribe();

    {
        const auto handle = registry.register_sequence_hash(at(3));
        answer = false;
        const auto again = registry.register_sequence_hash(at(3));
    }
    EXPECT_EQ(asked, 1u);
    EXPECT_EQ(taken(subscription), (Taken{{stored, 3}, {removed, 3}}));

    {
        const auto handle = registry.register_sequence_hash(at(3));
        answer = true;
    }
    EXPECT_EQ(asked, 2u);
    EXPECT_EQ(taken(subscription), Taken{});
}

TEST(EventPolicy, takes_any_callable_of_a_hash_by_value) {
    const auto events = EventsManager::builder()
                            .policy([](SequenceHash hash) { return hash.position() == 5; })
                            .build();
    auto registry = registry_of(events);
    auto subscription = events->subscribe();

    const auto five = registry.register_sequence_hash(at(5));
    const auto six = registry.register_sequence_hash(at(6));

    EXPECT_EQ(taken(subscription), (Taken{{stored, 5}}));
}

TEST(EventPolicy, that_throws_reports_nothing_and_is_counted_while_registration_goes_on) {
    const auto events =
        EventsManager::builder()
            .policy([](const SequenceHash& hash) { return hash.position() == 1 ? throw 7 : true; })
            .build();
    auto registry = registry_of(events);
    auto subscription = events->subscribe();

    {
        const std::vector hashes{at(0), at(1), at(2)};
        const auto handles = registry.register_sequence_hashes(hashes);
        EXPECT_EQ(registry.registered_count(), 3u);
        EXPECT_EQ(handles.at(1).seq_hash(), at(1));
    }

    EXPECT_EQ(registry.hook_failures(), 1u);
    EXPECT_EQ(taken(subscription), (Taken{{stored, 0}, {stored, 2}, {removed, 0}, {removed, 2}}));
}

TEST(EventPolicy, does_not_filter_cleared) {
    const auto events =
        EventsManager::builder().policy([](const SequenceHash&) { return false; }).build();
    auto subscription = events->subscribe();

    events->clear();

    EXPECT_EQ(taken(subscription), (Taken{{EventKind::cleared, 0}}));
}

TEST(EventPolicyDeathTest, that_cannot_be_called_breaks_a_contract) {
    EXPECT_DEATH(EventsManager::builder().policy(nullptr), "an event policy can be called");
}

}  // namespace
