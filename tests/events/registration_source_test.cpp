// Source `registration`: `stored` when the registry makes an entry, `removed` when its last handle
// goes, whoever holds it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.events;

namespace {

using namespace kvbm;

SequenceHash hash(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block});
}

constexpr EventKind stored = EventKind::stored;
constexpr EventKind removed = EventKind::removed;

using Taken = std::vector<std::pair<EventKind, SequenceHash>>;

/// A registry that reports, and who listens.
struct Reporting {
    std::shared_ptr<EventsManager> events = EventsManager::builder().build();
    Subscription subscription = events->subscribe();
    BlockRegistry registry = BlockRegistry::builder().event_manager(events).build();

    Taken taken() {
        Taken kinds;
        while (true) {
            const NextEvent next = subscription.try_next();
            const auto* event = std::get_if<CacheEvent>(&next);
            if (event == nullptr) {
                return kinds;
            }
            EXPECT_EQ(event->tier, std::nullopt);
            kinds.emplace_back(event->kind, event->hash);
        }
    }
    template <class Tier = DefaultTier>
    BlockManager<Tier> manager(std::size_t blocks) const {
        return must(BlockManager<Tier>::builder()
                        .registry(registry)
                        .block_count(blocks)
                        .block_size(4)
                        .with_lru_backend()
                        .build());
    }
};

template <class Tier>
ImmutableBlock<Tier> registered(BlockManager<Tier>& manager, const SequenceHash& hash) {
    auto block = must(manager.allocate_blocks(1)->pop_back().stage(hash, 4));
    return must(manager.register_block(std::move(block)));
}

TEST(RegistrationSource, reports_an_entry_once_however_many_handles_it_has) {
    Reporting world;

    auto first = world.registry.register_sequence_hash(hash(1));
    EXPECT_EQ(world.taken(), (Taken{{stored, hash(1)}}));

    auto second = world.registry.register_sequence_hash(hash(1));
    auto copy = second;
    first = {};
    second = {};
    EXPECT_EQ(world.taken(), Taken{});

    copy = {};
    EXPECT_EQ(world.taken(), (Taken{{removed, hash(1)}}));
}

TEST(RegistrationSource, transfer_and_match_report_nothing) {
    Reporting world;

    {
        const auto transferred = world.registry.transfer_registration(hash(1));
        const auto matched = world.registry.match_sequence_hash(hash(1), Touch::yes);
        EXPECT_TRUE(matched.has_value());
    }

    EXPECT_EQ(world.taken(), Taken{});
}

TEST(RegistrationSource, follows_a_block_through_release_match_and_eviction) {
    Reporting world;
    auto manager = world.manager(1);

    registered(manager, hash(1));
    EXPECT_EQ(world.taken(), (Taken{{stored, hash(1)}}));

    const std::vector hashes{hash(1)};
    manager.match_blocks(hashes).clear();
    EXPECT_EQ(world.taken(), Taken{});

    registered(manager, hash(2));
    EXPECT_EQ(world.taken(), (Taken{{removed, hash(1)}, {stored, hash(2)}}));

    EXPECT_TRUE(manager.reset_inactive_pool().has_value());
    EXPECT_EQ(world.taken(), (Taken{{removed, hash(2)}}));
}

TEST(RegistrationSource, reports_nothing_for_a_duplicate_and_removed_after_the_last_of_both) {
    Reporting world;
    auto manager = world.manager(2);

    std::optional primary(registered(manager, hash(1)));
    primary->set_evict_on_reset(true);
    std::optional duplicate(registered(manager, hash(1)));
    EXPECT_EQ(world.taken(), (Taken{{stored, hash(1)}}));

    primary.reset();
    EXPECT_EQ(world.taken(), Taken{});
    duplicate.reset();
    EXPECT_EQ(world.taken(), (Taken{{removed, hash(1)}}));
}

TEST(RegistrationSource, weak_blocks_handles_and_other_tiers_delay_removed) {
    Reporting world;
    auto device = world.manager<G1>(1);
    auto host = world.manager<G2>(1);
    std::optional<WeakBlock<G1>> weak;
    std::optional<BlockRegistrationHandle> handle;
    {
        const auto block = registered(device, hash(1));
        const auto copy = registered(host, hash(1));
        weak = block.downgrade();
        handle = block.registration_handle();
    }
    EXPECT_TRUE(device.reset_inactive_pool().has_value());
    EXPECT_TRUE(host.reset_inactive_pool().has_value());
    EXPECT_EQ(world.taken(), (Taken{{stored, hash(1)}}));

    weak.reset();
    EXPECT_EQ(world.taken(), Taken{});
    handle.reset();
    EXPECT_EQ(world.taken(), (Taken{{removed, hash(1)}}));
}

TEST(RegistrationSource, reports_the_victims_of_one_allocation_in_eviction_order) {
    Reporting world;
    auto manager = world.manager(3);
    for (const std::uint64_t block : {5U, 3U, 4U}) {
        registered(manager, hash(block));
    }
    world.taken();

    const auto blocks = manager.allocate_blocks(3);

    EXPECT_EQ(world.taken(), (Taken{{removed, hash(5)}, {removed, hash(3)}, {removed, hash(4)}}));
}

TEST(RegistrationSource, reports_the_cached_blocks_of_a_manager_that_ends) {
    Reporting world;
    {
        auto manager = world.manager(2);
        registered(manager, hash(1));
        registered(manager, hash(2));
        world.taken();
    }

    EXPECT_EQ(world.taken(), (Taken{{removed, hash(1)}, {removed, hash(2)}}));
}

TEST(RegistrationSource, reports_the_end_of_entries_that_outlive_their_registry_and_then_closes) {
    std::optional<BlockRegistrationHandle> handle;
    auto events = EventsManager::builder().build();
    auto subscription = events->subscribe();
    {
        auto registry = BlockRegistry::builder().event_manager(std::move(events)).build();
        handle = registry.register_sequence_hash(hash(1));
    }
    static_cast<void>(subscription.try_next());
    EXPECT_EQ(subscription.try_next(), NextEvent(Timeout{}));

    handle.reset();

    EXPECT_EQ(subscription.try_next(), NextEvent(CacheEvent{removed, 1, hash(1), std::nullopt}));
    EXPECT_EQ(subscription.try_next(), NextEvent(Closed{}));
}

TEST(RegistrationSource, a_refused_or_empty_registration_reports_nothing) {
    Reporting world;
    auto own = world.manager(1);
    auto other = world.manager(1);
    auto staged = must(std::move(*own.allocate_blocks(1)).stage_all(std::vector{hash(1)}, 4));

    EXPECT_FALSE(other.register_blocks(std::move(staged)).has_value());
    EXPECT_TRUE(own.register_blocks({}).has_value());
    EXPECT_TRUE(world.registry.register_sequence_hashes({}).empty());

    EXPECT_EQ(world.taken(), Taken{});
}

TEST(RegistrationSource, an_attachment_that_registers_its_hash_again_comes_after_removed) {
    Reporting world;
    struct Revive {
        BlockRegistry* registry;
        std::optional<BlockRegistrationHandle>* revived;
        bool armed = true;
        Revive(BlockRegistry* r, std::optional<BlockRegistrationHandle>* h)
            : registry(r), revived(h) {}
        Revive(Revive&& from) noexcept
            : registry(from.registry),
              revived(from.revived),
              armed(std::exchange(from.armed, false)) {}
        Revive& operator=(Revive&&) = delete;
        ~Revive() {
            if (armed) {
                *revived = registry->register_sequence_hash(hash(1));
            }
        }
    };
    std::optional<BlockRegistrationHandle> revived;
    {
        const auto handle = world.registry.register_sequence_hash(hash(1));
        ASSERT_TRUE(handle.attach(Revive(&world.registry, &revived)).has_value());
    }

    EXPECT_TRUE(revived.has_value());
    EXPECT_EQ(world.taken(), (Taken{{stored, hash(1)}, {removed, hash(1)}, {stored, hash(1)}}));
}

// Folding the stream gives what is registered, and per hash stored and removed take turns.
RC_GTEST_PROP(RegistrationSource, stream_folds_to_what_is_registered_and_alternates, ()) {
    constexpr std::size_t hashes_count = 5;
    const auto script = *rc::gen::container<std::vector<std::pair<std::size_t, std::size_t>>>(
        rc::gen::pair(rc::gen::inRange<std::size_t>(0, 3), rc::gen::inRange<std::size_t>(0, 64)));
    Reporting world;
    auto manager = world.manager(3);
    std::vector<BlockRegistrationHandle> handles;
    std::vector<bool> present(hashes_count, false);

    for (const auto& [kind, value] : script) {
        const SequenceHash named = hash(value % hashes_count);
        if (kind == 0) {
            handles.push_back(world.registry.register_sequence_hash(named));
        } else if (kind == 1 && !handles.empty()) {
            handles.erase(handles.begin() + static_cast<std::ptrdiff_t>(value % handles.size()));
        } else {
            registered(manager, named);
        }
        for (const auto& [event, about] : world.taken()) {
            for (std::size_t i = 0; i < hashes_count; ++i) {
                if (about == hash(i)) {
                    RC_ASSERT(present[i] == (event == removed));
                    present[i] = event == stored;
                }
            }
        }
        for (std::size_t i = 0; i < hashes_count; ++i) {
            RC_ASSERT(present[i] == world.registry.is_registered(hash(i)));
        }
    }
}

}  // namespace
