// Registrations, last handles and attachments of the same few hashes on many threads: what somebody
// holds is always found, and in the end nothing is left.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.registry;

namespace {

using namespace kvbm;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block});
}

/// Runs `work(thread number)` on so many threads that start together.
template <class Work>
void on_threads(std::size_t count, const Work& work) {
    std::latch start(static_cast<std::ptrdiff_t>(count));
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < count; ++thread) {
        threads.emplace_back([&, thread] {
            start.arrive_and_wait();
            work(thread);
        });
    }
}

// A late burial of the old entry must leave the new one in the table (K12).
TEST(BlockRegistryThreads, find_what_they_hold_while_others_drop_the_same_hash) {
    BlockRegistry registry;
    std::atomic<std::uint64_t> lost{0};
    on_threads(3, [&](std::size_t) {
        for (int round = 0; round < 60'000; ++round) {
            const auto handle = registry.register_sequence_hash(hash(1));
            const auto matched = registry.match_sequence_hash(hash(1), Touch::no);
            lost += !matched || *matched != handle ? 1 : 0;
            lost += registry.is_registered(hash(1)) ? 0 : 1;
        }
    });

    EXPECT_EQ(lost, 0u);
    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockRegistryThreads, share_one_entry_per_hash_and_destroy_each_attachment_once) {
    struct Counted {
        std::atomic<std::int64_t>* alive;
        explicit Counted(std::atomic<std::int64_t>& count) : alive(&count) { ++count; }
        Counted(Counted&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
        Counted& operator=(Counted&&) = delete;
        ~Counted() {
            if (alive != nullptr) {
                --*alive;
            }
        }
    };
    BlockRegistry registry;
    std::atomic<std::int64_t> alive{0};
    std::atomic<std::uint64_t> made{0};
    std::atomic<std::uint64_t> lost{0};
    on_threads(4, [&](std::size_t thread) {
        for (std::uint64_t round = 0; round < 5'000; ++round) {
            const auto handle = registry.register_sequence_hash(hash(round % 3));
            if (thread % 2 == 0) {
                made += handle.attach_unique(Counted(alive)).has_value() ? 1 : 0;
                handle.get<Counted>().with_unique_mut([](Counted& value) { return value.alive; });
            } else {
                const bool attached = handle.attach(thread).has_value();
                const auto values =
                    handle.get<std::size_t>().with_multiple([](auto span) { return span.size(); });
                lost += attached && values == 0 ? 1 : 0;
            }
        }
    });

    EXPECT_EQ(lost, 0u);
    EXPECT_GT(made, 0u);
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockRegistryThreads, call_callbacks_while_others_add_them) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    std::atomic<std::uint64_t> called{0};
    on_threads(4, [&](std::size_t thread) {
        const auto own = registry.register_sequence_hash(hash(1));
        for (int round = 0; round < 200; ++round) {
            if (thread == 0) {
                own.on_touch([&](const SequenceHash&) { ++called; });
            } else {
                own.touch();
            }
        }
    });

    called = 0;
    handle.touch();
    EXPECT_EQ(called, 200u);
}

TEST(BlockRegistryThreads, decide_each_entry_once_and_pair_its_events) {
    std::atomic<std::uint64_t> asked{0};
    const auto events = EventsManager::builder()
                            .capacity(1U << 18)
                            .policy([&](const SequenceHash&) {
                                ++asked;
                                return true;
                            })
                            .build();
    auto registry = BlockRegistry::builder().event_manager(events).build();
    auto subscription = events->subscribe();
    on_threads(4, [&](std::size_t thread) {
        for (std::uint64_t round = 0; round < 10'000; ++round) {
            if ((round + thread) % 3 == 0) {
                const auto batch = registry.register_sequence_hashes(
                    std::array{hash(round % 4), hash(4), hash(round % 4)});
            } else {
                const auto one = registry.register_sequence_hash(hash(round % 4));
            }
        }
    });

    std::array<std::int64_t, 5> balance{};
    std::uint64_t stored = 0;
    std::uint64_t missed = 0;
    while (true) {
        const NextEvent next = subscription.try_next();
        if (const auto* event = std::get_if<CacheEvent>(&next)) {
            for (std::uint64_t block = 0; block < balance.size(); ++block) {
                if (event->hash == hash(block)) {
                    balance.at(block) += event->kind == EventKind::stored ? 1 : -1;
                }
            }
            stored += event->kind == EventKind::stored ? 1 : 0;
        } else if (const auto* lagged = std::get_if<Lagged>(&next)) {
            missed += lagged->missed;
        } else {
            break;
        }
    }
    EXPECT_EQ(missed, 0u);
    EXPECT_EQ(stored, asked);
    for (const std::int64_t each : balance) {
        EXPECT_EQ(each, 0);
    }
}

template <int number>
struct NumberedTier {};

/// Registers and releases blocks of few hashes in a small pool of its own tier.
template <int tier>
void live(const BlockRegistry& registry, std::atomic<std::uint64_t>& wrong) {
    auto manager = must(BlockManager<NumberedTier<tier>>::builder()
                            .registry(registry)
                            .block_count(3)
                            .block_size(4)
                            .with_lru_backend()
                            .build());
    for (std::uint64_t round = 0; round < 4'000; ++round) {
        auto blocks = manager.allocate_blocks(1);
        const SequenceHash named = hash(round % 5);
        auto block = must(manager.register_block(must(blocks->pop_back().stage(named, 4))));
        block.set_evict_on_reset(round % 3 == 0);
        const BlockRegistrationHandle handle = block.registration_handle();
        wrong += handle.has_block<NumberedTier<tier>>() ? 0 : 1;
        wrong +=
            registry.check_presence<NumberedTier<tier>>(std::array{named}).front().second ? 0 : 1;
        static_cast<void>(handle.attach_unique(round));
    }
}

TEST(BlockRegistryThreads, of_six_tiers_see_their_own_blocks_present_and_leave_none) {
    const BlockRegistry registry;
    std::atomic<std::uint64_t> wrong{0};
    on_threads(6, [&](std::size_t thread) {
        constexpr std::array lives{&live<0>, &live<1>, &live<2>, &live<3>, &live<4>, &live<5>};
        lives.at(thread)(registry, wrong);
    });

    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(registry.registered_count(), 0u);
}

}  // namespace
