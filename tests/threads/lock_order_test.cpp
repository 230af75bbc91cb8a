// kvbm_sim itself: locks taken in circles, twice, or never given back stop the program with the
// circle; a schedule repeats its run, switches everywhere, and knows a deadlock. Source:
// verification.md 6, blocks.md 18 example 106.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

import kvbm.core;

namespace {

using namespace kvbm::detail::core;

Mutex make_store_lock() {
    return Mutex();
}
Mutex make_other_lock() {
    return Mutex();
}

TEST(LockOrderDeathTest, inverted_between_two_kinds_is_fatal) {
    Mutex first = make_store_lock();
    Mutex second = make_other_lock();
    {
        const Lock outer(first);
        const Lock inner(second);
    }

    EXPECT_DEATH(
        {
            const Lock outer(second);
            const Lock inner(first);
        },
        "lock order closes a circle: lock_order_test.cpp:.* > lock_order_test.cpp:");
}

TEST(LockOrderDeathTest, inverted_between_other_locks_of_the_same_kinds_is_fatal) {
    Mutex first = make_store_lock();
    Mutex second = make_other_lock();
    {
        const Lock outer(first);
        const Lock inner(second);
    }
    Mutex third = make_store_lock();
    Mutex fourth = make_other_lock();

    EXPECT_DEATH(
        {
            const Lock outer(fourth);
            const Lock inner(third);
        },
        "lock order closes a circle");
}

TEST(LockOrderDeathTest, inverted_within_one_kind_is_fatal) {
    std::array<Mutex, 3> locks{make_store_lock(), make_store_lock(), make_store_lock()};
    for (std::size_t i = 0; i < 2; ++i) {
        const Lock outer(locks[i]);
        const Lock inner(locks[i + 1]);
    }

    EXPECT_DEATH(
        {
            const Lock outer(locks[2]);
            const Lock inner(locks[0]);
        },
        "lock order closes a circle: .*lock .* > .*lock .* > .*lock ");
}

TEST(LockOrderDeathTest, inverted_by_another_thread_at_another_time_is_fatal) {
    Mutex first = make_store_lock();
    SharedMutex second;
    std::thread other([&] {
        const Lock outer(first);
        const SharedLock inner(second);
    });
    other.join();

    EXPECT_DEATH(
        {
            const ExclusiveLock outer(second);
            const Lock inner(first);
        },
        "lock order closes a circle");
}

TEST(LockOrderDeathTest, of_a_lock_with_itself_is_fatal) {
    Mutex mutex;
    SharedMutex shared;

    EXPECT_DEATH(
        {
            const Lock outer(mutex);
            const Lock inner(mutex);
        },
        "takes a lock that it has");
    EXPECT_DEATH(
        {
            const SharedLock outer(shared);
            const SharedLock inner(shared);
        },
        "takes a lock that it has");
}

TEST(LockOrderDeathTest, of_a_lock_given_back_by_another_is_fatal) {
    Mutex mutex;

    EXPECT_DEATH(mutex.unlock(), "gives back a lock that it does not have");
}

TEST(LocksHeld, counts_the_locks_of_this_thread) {
    Mutex mutex;
    SharedMutex shared;
    std::size_t in_another = 1;

    const Lock outer(mutex);
    {
        const SharedLock inner(shared);
        EXPECT_EQ(locks_held(), 2u);
        std::thread other([&] { in_another = locks_held(); });
        other.join();
    }

    EXPECT_EQ(locks_held(), 1u);
    EXPECT_EQ(in_another, 0u);
}

TEST(Parking, stops_the_thread_that_comes_after_those_it_lets_pass) {
    std::vector<int> order;
    Parking parking("test.point", 1);
    std::thread other([&] {
        pause_point("test.point");
        order.push_back(1);
        pause_point("test.other");
        pause_point("test.point");
        order.push_back(3);
        pause_point("test.point");
    });
    parking.await();

    order.push_back(2);
    parking.let_go();
    other.join();

    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(parking.arrivals(), 3u);
}

/// The order in which two threads of three steps each ran under a seed.
std::vector<int> order_of(std::uint64_t seed) {
    std::vector<int> order;
    Mutex mutex;
    const auto body = [&](int name) {
        return [&, name] {
            for (int i = 0; i < 3; ++i) {
                const Lock lock(mutex);
                order.push_back(name);
            }
        };
    };
    const std::array<std::function<void()>, 2> bodies{body(1), body(2)};
    Schedule(seed).run(bodies);
    return order;
}

TEST(Schedule, repeats_its_run) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        EXPECT_EQ(order_of(seed), order_of(seed));
    }
}

TEST(Schedule, finds_every_order_of_two_threads) {
    std::set<std::vector<int>> orders;
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
        orders.insert(order_of(2 * seed + 1));
    }

    EXPECT_EQ(orders.size(), 20u) << "6 choose 3";
}

TEST(Schedule, finds_a_check_that_is_torn_from_its_effect) {
    bool found = false;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        std::size_t blocks = 1;
        std::size_t taken = 0;
        Mutex mutex;
        const auto take = [&] {
            mutex.lock();
            const bool any = blocks != 0;
            mutex.unlock();
            if (any) {
                const Lock lock(mutex);
                --blocks;
                ++taken;
            }
        };
        const std::array<std::function<void()>, 2> bodies{take, take};
        Schedule(seed).run(bodies);
        found = found || taken == 2;
    }

    EXPECT_TRUE(found);
}

TEST(ScheduleDeathTest, in_which_all_wait_is_fatal) {
    const auto take_and_end = [] {
        Mutex mutex;
        const auto keep = [&] { mutex.lock(); };
        const std::array<std::function<void()>, 2> bodies{keep, keep};
        Schedule(1).run(bodies);
    };

    EXPECT_DEATH(take_and_end(), "deadlock: every thread of the schedule waits for a lock");
}

}  // namespace
