// Event hook and touch of new entries: in input order, with no lock held, and never the end of a
// registration, whatever they throw.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.registry;

namespace {

using namespace kvbm;

SequenceHash at(std::uint64_t position, std::uint64_t chain = 1) {
    return must(SequenceHash::make(ChainHash{chain}, ChainHash{2}, position));
}

/// A tracker that does what a test says at each touch.
class ScriptedTracker final : public FrequencyTracker {
  public:
    std::function<void(const SequenceHash&)> on_touch = [](const SequenceHash&) {};
    std::size_t touches = 0;

    void touch(const SequenceHash& key) override {
        ++touches;
        on_touch(key);
    }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }
};

/// A registry whose policy and tracker write down "hook 3", "touch 3" with the position.
struct World {
    std::vector<std::string> log;
    std::function<void(const SequenceHash&)> on_hook = [](const SequenceHash&) {};
    std::shared_ptr<ScriptedTracker> tracker = std::make_shared<ScriptedTracker>();
    std::shared_ptr<EventsManager> events =
        EventsManager::builder()
            .policy([this](const SequenceHash& hash) {
                log.push_back("hook " + std::to_string(hash.position()));
                on_hook(hash);
                return true;
            })
            .build();
    BlockRegistry registry =
        BlockRegistry::builder().frequency_tracker(tracker).event_manager(events).build();

    World() {
        tracker->on_touch = [this](const SequenceHash& hash) {
            log.push_back("touch " + std::to_string(hash.position()));
        };
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
    std::vector<std::string> taken() { return std::exchange(log, {}); }
};

template <class Tier>
CompleteBlockList<Tier> staged(BlockManager<Tier>& manager,
                               const std::vector<SequenceHash>& hashes) {
    return must(std::move(*manager.allocate_blocks(hashes.size())).stage_all(hashes, 4));
}

using Log = std::vector<std::string>;

TEST(Hooks, of_a_batch_run_in_input_order_hook_then_touch_per_new_entry) {
    World world;
    const auto known = world.registry.register_sequence_hash(at(3));
    EXPECT_EQ(world.taken(), (Log{"hook 3", "touch 3"}));

    const std::vector hashes{at(2), at(3), at(1), at(2)};
    const auto handles = world.registry.register_sequence_hashes(hashes);

    EXPECT_EQ(world.taken(), (Log{"hook 2", "touch 2", "hook 1", "touch 1"}));
}

TEST(Hooks, of_a_registration_of_blocks_run_in_input_order) {
    World world;
    auto manager = world.manager(4);
    const auto known = world.registry.register_sequence_hash(at(3));
    world.taken();

    const auto blocks =
        must(manager.register_blocks(staged(manager, {at(2), at(3), at(1), at(2)})));

    EXPECT_EQ(world.taken(), (Log{"hook 2", "touch 2", "hook 1", "touch 1"}));
}

TEST(Hooks, of_long_batches_run_in_input_order) {
    constexpr std::size_t count = 200;
    World world;
    std::vector<SequenceHash> hashes;
    Log expected;
    for (std::uint64_t i = 0; i < count; ++i) {
        hashes.push_back(at((i * 7) % count));
        expected.push_back("hook " + std::to_string(hashes.back().position()));
        expected.push_back("touch " + std::to_string(hashes.back().position()));
    }

    world.registry.register_sequence_hashes(hashes).clear();
    EXPECT_EQ(world.taken(), expected);

    auto manager = world.manager(count);
    must(manager.register_blocks(staged(manager, hashes))).clear();
    EXPECT_EQ(world.taken(), expected);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST(Hooks, transfer_runs_none_and_match_touches_only_what_is_known) {
    World world;

    const auto transferred = world.registry.transfer_registration(at(1));
    EXPECT_EQ(world.taken(), Log{});
    EXPECT_EQ(world.registry.match_sequence_hash(at(2), Touch::yes), std::nullopt);
    EXPECT_TRUE(world.registry.match_sequence_hash(at(1), Touch::no).has_value());
    EXPECT_EQ(world.taken(), Log{});

    EXPECT_TRUE(world.registry.match_sequence_hash(at(1), Touch::yes).has_value());
    EXPECT_EQ(world.taken(), Log{"touch 1"});
    static_cast<void>(world.registry.register_sequence_hash(at(1)));
    EXPECT_EQ(world.taken(), Log{});
}

TEST(Hooks, of_two_tiers_under_one_hash_run_once) {
    World world;
    auto device = world.manager<G1>(1);
    auto host = world.manager<G2>(1);

    const auto first = must(device.register_blocks(staged(device, {at(1)})));
    const auto second = must(host.register_blocks(staged(host, {at(1)})));

    EXPECT_EQ(world.taken(), (Log{"hook 1", "touch 1"}));
    EXPECT_EQ(world.registry.registered_count(), 1u);
    EXPECT_EQ(device.match_blocks(std::vector{at(1)}).size(), 1u);
    EXPECT_EQ(device.available_blocks(), 0u);
    EXPECT_EQ(host.available_blocks(), 0u);
}

TEST(Hooks, run_when_the_entry_is_there_and_before_the_block_can_be_found) {
    World world;
    auto manager = world.manager(2);
    std::vector<bool> known;
    std::size_t found = 0;
    world.on_hook = [&](const SequenceHash& hash) {
        known.push_back(world.registry.is_registered(hash));
        found += manager.match_blocks(std::vector{hash}).size();
    };

    const auto blocks = must(manager.register_blocks(staged(manager, {at(1), at(2)})));

    EXPECT_EQ(known, (std::vector{true, true}));
    EXPECT_EQ(found, 0u);
}

/// Calls every public function of registry and manager that may be called on what is there.
void use_everything(BlockRegistry& registry, BlockManager<>& manager, const SequenceHash& hash) {
    const std::vector hashes{hash, at(900)};
    static_cast<void>(registry.transfer_registration(at(901)));
    static_cast<void>(registry.is_registered(hash));
    static_cast<void>(registry.registered_count());
    static_cast<void>(registry.check_presence<DefaultTier>(hashes));
    static_cast<void>(registry.count(hash));
    static_cast<void>(registry.hook_failures());
    if (const auto handle = registry.match_sequence_hash(hash, Touch::no)) {
        static_cast<void>(handle->attach(1));
        handle->get<int>().with_multiple_mut([](auto values) { return values.size(); });
        handle->on_touch([](const SequenceHash&) {});
        handle->touch();
        static_cast<void>(handle->has_block<DefaultTier>());
        static_cast<void>(handle->is_from_registry(registry));
    }
    static_cast<void>(manager.match_blocks(hashes));
    static_cast<void>(manager.match_blocks_scattered(hashes));
    static_cast<void>(manager.scan_matches(hashes, Touch::no));
    static_cast<void>(manager.available_blocks());
    static_cast<void>(manager.allocate_blocks(1));
    static_cast<void>(manager.reset_inactive_pool());
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST(Hooks, may_call_every_public_function_of_registry_and_manager) {
    World world;
    auto manager = world.manager(4);
    int depth = 0;
    const auto reenter = [&](const SequenceHash& hash) {
        use_everything(world.registry, manager, hash);
        if (depth++ < 2) {
            static_cast<void>(world.registry.register_sequence_hash(at(500 + hash.position())));
            static_cast<void>(world.registry.register_sequence_hashes(
                std::vector{at(600 + hash.position()), hash}));
            static_cast<void>(
                must(manager.register_blocks(staged(manager, {at(700 + hash.position())}))));
        }
        world.registry.touch(at(902));
    };
    world.on_hook = reenter;
    int touch_depth = 0;
    world.tracker->on_touch = [&](const SequenceHash& hash) {
        if (touch_depth++ == 0) {
            reenter(hash);
        }
        --touch_depth;
    };

    {
        const auto single = world.registry.register_sequence_hash(at(1));
        const auto batch =
            world.registry.register_sequence_hashes(std::vector{at(2), at(3), at(2)});
        depth = 0;
        const auto blocks = must(manager.register_blocks(staged(manager, {at(4), at(5)})));
        depth = 0;
        static_cast<void>(manager.match_blocks(std::vector{at(4), at(5)}));
        static_cast<void>(manager.match_blocks_scattered(std::vector{at(4), at(6), at(5)}));
        static_cast<void>(manager.scan_matches(std::vector{at(4), at(5)}, Touch::yes));
        static_cast<void>(world.registry.match_sequence_hash(at(4), Touch::yes));
        EXPECT_EQ(blocks.size(), 2u);
    }

    static_cast<void>(manager.reset_inactive_pool());
    EXPECT_EQ(world.registry.registered_count(), 0u);
    EXPECT_EQ(manager.available_blocks(), 4u);
}

// --- what throws is counted, and nothing else happens

TEST(FailingHooks, leave_entries_blocks_and_pools_as_after_a_good_registration) {
    World world;
    auto manager = world.manager(200);
    world.on_hook = [](const SequenceHash& hash) {
        if (hash.position() % 3 == 0) {
            throw 1;
        }
    };
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = 0; i < 150; ++i) {
        hashes.push_back(at(i));
    }

    auto blocks = must(manager.register_blocks(staged(manager, hashes)));

    EXPECT_EQ(world.registry.hook_failures(), 50u);
    EXPECT_EQ(world.tracker->touches, 150u);
    EXPECT_EQ(world.registry.registered_count(), 150u);
    EXPECT_EQ(manager.match_blocks(hashes).size(), 150u);
    blocks.clear();
    EXPECT_EQ(must(manager.reset_inactive_pool()), 150u);
    EXPECT_EQ(world.registry.registered_count(), 0u);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

class FailingTracker : public testing::Test {
  protected:
    World world;
    BlockManager<> manager = world.manager(8);
    const std::vector<SequenceHash> hashes{at(0), at(1), at(2)};

    /// The touches of these positions throw from now on.
    void fail_at(std::vector<std::size_t> positions) {
        world.tracker->on_touch = [positions = std::move(positions)](const SequenceHash& hash) {
            for (const std::size_t position : positions) {
                if (hash.position() == position) {
                    throw 1;
                }
            }
        };
    }
    void expect_sound(std::uint64_t failures) {
        EXPECT_EQ(world.registry.hook_failures(), failures);
        EXPECT_EQ(manager.check_invariants().to_string(), "");
        static_cast<void>(manager.reset_inactive_pool());
        EXPECT_EQ(manager.available_blocks(), 8u);
        EXPECT_EQ(world.registry.registered_count(), 0u);
        const auto presence = world.registry.check_presence<DefaultTier>(hashes);
        for (const auto& [hash, present] : presence) {
            EXPECT_FALSE(present) << hash.position();
        }
    }
};

TEST_F(FailingTracker, does_not_end_a_registration_of_blocks) {
    fail_at({1});

    auto blocks = must(manager.register_blocks(staged(manager, hashes)));

    EXPECT_EQ(blocks.size(), 3u);
    EXPECT_EQ(world.tracker->touches, 3u);
    EXPECT_EQ(manager.match_blocks(hashes).size(), 3u);
    blocks.clear();
    expect_sound(2);  // the registration's and the match's
}

TEST_F(FailingTracker, does_not_end_a_long_registration) {
    auto many = world.manager(300);
    std::vector<SequenceHash> long_list;
    for (std::uint64_t i = 0; i < 300; ++i) {
        long_list.push_back(at(i));
    }
    fail_at({0, 63, 64, 150, 299});

    auto blocks = must(many.register_blocks(staged(many, long_list)));
    EXPECT_EQ(world.registry.hook_failures(), 5u);
    EXPECT_EQ(world.tracker->touches, 300u);
    EXPECT_EQ(world.registry.registered_count(), 300u);

    blocks.clear();
    EXPECT_EQ(must(many.reset_inactive_pool()), 300u);
    EXPECT_EQ(world.registry.registered_count(), 0u);
    EXPECT_EQ(many.check_invariants().to_string(), "");
}

TEST_F(FailingTracker, does_not_end_registrations_of_hashes) {
    fail_at({0, 2});

    {
        const auto single = world.registry.register_sequence_hash(at(0));
        EXPECT_EQ(single.seq_hash(), at(0));
        const auto batch = world.registry.register_sequence_hashes(hashes);
        EXPECT_EQ(batch.size(), 3u);
        EXPECT_EQ(world.registry.registered_count(), 3u);
        EXPECT_EQ(world.tracker->touches, 3u);
    }

    expect_sound(2);
}

TEST_F(FailingTracker, does_not_end_lookups) {
    auto blocks = must(manager.register_blocks(staged(manager, hashes)));
    blocks.clear();
    fail_at({0, 1, 2});
    world.tracker->touches = 0;

    EXPECT_EQ(manager.match_blocks(hashes).size(), 3u);
    const std::uint64_t after_match = world.registry.hook_failures();
    EXPECT_GE(after_match, 1u);

    EXPECT_EQ(manager.match_blocks_scattered(std::vector{at(0), at(7), at(2)}).hits(), 2u);
    EXPECT_EQ(world.registry.hook_failures(), after_match + 2);
    EXPECT_EQ(manager.scan_matches(hashes, Touch::yes).size(), 3u);
    EXPECT_EQ(world.registry.hook_failures(), after_match + 5);
    EXPECT_TRUE(world.registry.match_sequence_hash(at(1), Touch::yes).has_value());
    EXPECT_EQ(world.registry.hook_failures(), after_match + 6);
    EXPECT_NO_THROW(world.registry.touch(at(1)));
    EXPECT_EQ(world.registry.hook_failures(), after_match + 7);

    expect_sound(after_match + 7);
}

}  // namespace
