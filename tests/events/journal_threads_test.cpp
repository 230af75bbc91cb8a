// Many producers, slow and waiting subscribers: nothing is lost untold, nothing is torn, nobody
// sleeps through an event. A hang is a failure.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <thread>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.events;

namespace {

using namespace kvbm;
using namespace std::chrono_literals;

constexpr std::size_t producers_count = 8;

/// A hash that shows when words of two events are mixed: every part follows from producer and turn.
SequenceHash hash_of(std::uint64_t producer, std::uint64_t turn) {
    const std::uint64_t word = producer << 32 | turn;
    return must(SequenceHash::from_bits(word, ~word));
}

std::vector<std::jthread> start_producers(EventsManager& manager, std::uint64_t events_each,
                                          std::latch& start) {
    std::vector<std::jthread> producers;
    for (std::uint64_t producer = 0; producer < producers_count; ++producer) {
        producers.emplace_back([&manager, &start, producer, events_each] {
            start.arrive_and_wait();
            for (std::uint64_t turn = 0; turn < events_each; ++turn) {
                const EventKind kind = turn % 2 == 0 ? EventKind::stored : EventKind::removed;
                detail::events::Emitter::emit(manager, kind, hash_of(producer, turn));
            }
        });
    }
    return producers;
}

/// What one subscriber saw.
struct Seen {
    std::uint64_t received = 0;
    std::uint64_t missed = 0;
    std::uint64_t out_of_place = 0;  ///< numbers that are not first + received + missed
    std::uint64_t torn = 0;          ///< events nobody sent
    std::uint64_t backwards = 0;     ///< events of one producer in a wrong order
    std::array<std::uint64_t, producers_count> next_turn{};

    void take(const CacheEvent& event) {
        out_of_place += event.number != received + missed ? 1 : 0;
        ++received;
        const std::uint64_t producer = event.hash.high() >> 32;
        const std::uint64_t turn = event.hash.high() & 0xFFFF'FFFFU;
        const EventKind kind = turn % 2 == 0 ? EventKind::stored : EventKind::removed;
        if (event.hash.low() != ~event.hash.high() || producer >= producers_count ||
            event.kind != kind || event.tier.has_value()) {
            ++torn;
            return;
        }
        backwards += turn < next_turn[producer] ? 1 : 0;
        next_turn[producer] = turn + 1;
    }
};

void expect_sound(const Seen& seen, std::uint64_t emitted) {
    EXPECT_EQ(seen.received + seen.missed, emitted);
    EXPECT_EQ(seen.out_of_place, 0u);
    EXPECT_EQ(seen.torn, 0u);
    EXPECT_EQ(seen.backwards, 0u);
}

/// Reads until the manager is gone; a slow reader gives its turn away now and then.
Seen read_all(Subscription& subscription, bool slow) {
    Seen seen;
    while (true) {
        const NextEvent next = subscription.next(1h);
        if (std::holds_alternative<Closed>(next)) {
            return seen;
        }
        if (const auto* event = std::get_if<CacheEvent>(&next)) {
            seen.take(*event);
        } else if (const auto* lagged = std::get_if<Lagged>(&next)) {
            seen.missed += lagged->missed;
        }
        if (slow && seen.received % 256 == 0) {
            std::this_thread::yield();
        }
    }
}

TEST(Journal, with_eight_producers_tells_a_slow_and_a_quick_subscriber_every_loss) {
    constexpr std::uint64_t events_each = 20'000;
    for (const std::size_t capacity : {1U, 2U, 64U, 65'536U}) {
        auto manager = EventsManager::builder().capacity(capacity).build();
        auto slow = manager->subscribe();
        auto quick = manager->subscribe();
        std::latch start(producers_count + 2);
        Seen seen_slow;
        Seen seen_quick;
        std::jthread slow_reader([&] {
            start.arrive_and_wait();
            seen_slow = read_all(slow, true);
        });
        std::jthread quick_reader([&] {
            start.arrive_and_wait();
            seen_quick = read_all(quick, false);
        });

        start_producers(*manager, events_each, start).clear();
        manager.reset();
        slow_reader.join();
        quick_reader.join();

        SCOPED_TRACE(capacity);
        expect_sound(seen_slow, producers_count * events_each);
        expect_sound(seen_quick, producers_count * events_each);
    }
}

TEST(Journal, numbers_every_event_of_eight_producers_once) {
    constexpr std::uint64_t events_each = 100'000;
    auto manager = EventsManager::builder().capacity(64).build();
    auto subscription = manager->subscribe();
    std::latch start(producers_count);
    std::array<CacheEvent, 65> room;

    start_producers(*manager, events_each, start).clear();

    const Drained drained = subscription.drain(room);
    EXPECT_EQ(drained.count, 64u);
    EXPECT_EQ(drained.missed, producers_count * events_each - 64);
}

/// Emits without a pause, so that the reader meets slots that are being written.
std::jthread start_tight_producer(EventsManager& manager, std::uint64_t events_count,
                                  std::latch& start) {
    return std::jthread([&manager, &start, events_count] {
        start.arrive_and_wait();
        for (std::uint64_t turn = 0; turn < events_count; ++turn) {
            const EventKind kind = turn % 2 == 0 ? EventKind::stored : EventKind::removed;
            detail::events::Emitter::emit(manager, kind, hash_of(0, turn));
        }
    });
}

TEST(Journal, gives_no_torn_event_of_a_slot_that_is_being_written) {
    constexpr std::uint64_t events_count = 1'000'000;
    for (const std::size_t capacity : {1U, 2U}) {
        auto manager = EventsManager::builder().capacity(capacity).build();
        auto subscription = manager->subscribe();
        std::latch start(2);
        auto producer = start_tight_producer(*manager, events_count, start);
        Seen seen;

        start.arrive_and_wait();
        while (seen.received + seen.missed < events_count) {
            const NextEvent next = subscription.try_next();
            if (const auto* event = std::get_if<CacheEvent>(&next)) {
                seen.take(*event);
            } else if (const auto* lagged = std::get_if<Lagged>(&next)) {
                seen.missed += lagged->missed;
            }
        }

        SCOPED_TRACE(capacity);
        expect_sound(seen, events_count);
    }
}

TEST(Journal, that_is_overrun_during_a_drain_tells_the_loss_in_its_place) {
    constexpr std::uint64_t events_count = 1'000'000;
    for (const std::size_t capacity : {1U, 2U}) {
        auto manager = EventsManager::builder().capacity(capacity).build();
        auto subscription = manager->subscribe();
        std::latch start(2);
        auto producer = start_tight_producer(*manager, events_count, start);
        std::array<CacheEvent, 8> room;
        Seen seen;

        start.arrive_and_wait();
        while (seen.received + seen.missed < events_count &&
               subscription.next_number() == seen.received + seen.missed) {
            const Drained drained = subscription.drain(room);
            seen.missed += drained.missed;
            for (std::size_t i = 0; i < drained.count; ++i) {
                seen.take(room[i]);
            }
        }

        SCOPED_TRACE(capacity);
        expect_sound(seen, events_count);
    }
}

TEST(Journal, drained_while_eight_producers_overrun_it_tells_every_loss) {
    constexpr std::uint64_t events_each = 40'000;
    auto manager = EventsManager::builder().capacity(16).build();
    auto subscription = manager->subscribe();
    std::latch start(producers_count + 1);
    Seen seen;
    std::jthread reader([&] {
        std::array<CacheEvent, 64> room;
        start.arrive_and_wait();
        for (Drained drained; !drained.closed;) {
            drained = subscription.drain(room);
            seen.missed += drained.missed;
            for (std::size_t i = 0; i < drained.count; ++i) {
                seen.take(room[i]);
            }
        }
    });

    start_producers(*manager, events_each, start).clear();
    manager.reset();
    reader.join();

    expect_sound(seen, producers_count * events_each);
}

// Each answers the other, so that one of the two is always about to fall asleep.
TEST(Journal, wakes_who_waits_for_each_event) {
    constexpr std::uint64_t rounds = 20'000;
    const auto ping = EventsManager::builder().capacity(4).build();
    const auto pong = EventsManager::builder().capacity(4).build();
    auto pings = ping->subscribe();
    auto pongs = pong->subscribe();
    std::uint64_t answered = 0;
    std::jthread other([&] {
        for (std::uint64_t i = 0; i < rounds; ++i) {
            answered += std::holds_alternative<CacheEvent>(pings.next(1h)) ? 1 : 0;
            pong->clear();
        }
    });

    std::uint64_t received = 0;
    for (std::uint64_t i = 0; i < rounds; ++i) {
        ping->clear();
        received += std::holds_alternative<CacheEvent>(pongs.next(1h)) ? 1 : 0;
    }
    other.join();

    EXPECT_EQ(received, rounds);
    EXPECT_EQ(answered, rounds);
}

TEST(Journal, wakes_everybody_who_waits_when_the_manager_ends) {
    for (int round = 0; round < 200; ++round) {
        auto manager = EventsManager::builder().capacity(4).build();
        auto one = manager->subscribe();
        auto other = manager->subscribe();
        std::latch start(3);
        std::atomic<int> closed{0};
        const auto wait_in = [&](Subscription& subscription) {
            start.arrive_and_wait();
            closed += std::holds_alternative<Closed>(subscription.next(1h)) ? 1 : 0;
        };
        {
            const std::jthread first([&] { wait_in(one); });
            const std::jthread second([&] { wait_in(other); });
            start.arrive_and_wait();
            manager.reset();
        }
        EXPECT_EQ(closed, 2);
    }
}

TEST(Journal, lets_subscribers_come_and_go_while_producers_run) {
    constexpr std::uint64_t events_each = 20'000;
    auto manager = EventsManager::builder().capacity(8).build();
    std::latch start(producers_count + 2);
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> wrong{0};
    const auto come_and_go = [&] {
        start.arrive_and_wait();
        while (!done) {
            auto subscription = manager->subscribe();
            std::uint64_t expected = subscription.next_number();
            for (int i = 0; i < 20; ++i) {
                const NextEvent next = subscription.try_next();
                if (const auto* event = std::get_if<CacheEvent>(&next)) {
                    wrong += event->number != expected++ ? 1 : 0;
                    wrong += event->hash.low() != ~event->hash.high() ? 1 : 0;
                } else if (const auto* lagged = std::get_if<Lagged>(&next)) {
                    expected += lagged->missed;
                }
            }
        }
    };
    {
        const std::jthread first(come_and_go);
        const std::jthread second(come_and_go);
        start_producers(*manager, events_each, start).clear();
        done = true;
    }

    EXPECT_EQ(wrong, 0u);
}

}  // namespace
