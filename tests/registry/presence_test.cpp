// Presence: how many blocks of a tier stand under a hash, as the registry sees it.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
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

template <class Tier>
BlockManager<Tier> manager_of(const BlockRegistry& registry, std::size_t blocks) {
    return must(BlockManager<Tier>::builder()
                    .registry(registry)
                    .block_count(blocks)
                    .block_size(4)
                    .with_lru_backend()
                    .build());
}

template <class Tier>
ImmutableBlock<Tier> registered(BlockManager<Tier>& manager, const SequenceHash& hash) {
    auto block = must(manager.allocate_blocks(1)->pop_back().stage(hash, 4));
    return must(manager.register_block(std::move(block)));
}

template <class Tier>
bool present(const BlockRegistry& registry, const SequenceHash& hash) {
    return registry.check_presence<Tier>(std::vector{hash}).front().second;
}

TEST(Presence, begins_with_registration_and_ends_with_eviction) {
    BlockRegistry registry;
    auto manager = manager_of<G1>(registry, 1);
    EXPECT_FALSE(present<G1>(registry, hash(1)));

    std::optional block(registered(manager, hash(1)));
    EXPECT_TRUE(present<G1>(registry, hash(1)));
    block.reset();
    EXPECT_TRUE(present<G1>(registry, hash(1)));
    manager.match_blocks(std::vector{hash(1)}).clear();
    EXPECT_TRUE(present<G1>(registry, hash(1)));

    const auto evicting = manager.allocate_blocks(1);
    EXPECT_FALSE(present<G1>(registry, hash(1)));
}

TEST(Presence, of_tiers_is_apart) {
    BlockRegistry registry;
    auto device = manager_of<G1>(registry, 1);
    auto host = manager_of<G2>(registry, 1);

    const auto in_device = registered(device, hash(1));
    EXPECT_TRUE(present<G1>(registry, hash(1)));
    EXPECT_FALSE(present<G2>(registry, hash(1)));

    std::optional in_host(registered(host, hash(1)));
    EXPECT_TRUE(present<G2>(registry, hash(1)));

    in_host->set_evict_on_reset(true);
    in_host.reset();
    EXPECT_TRUE(present<G1>(registry, hash(1)));
    EXPECT_FALSE(present<G2>(registry, hash(1)));
}

TEST(Presence, keeps_input_order_and_repetitions) {
    BlockRegistry registry;
    auto manager = manager_of<G1>(registry, 2);
    const auto block = registered(manager, hash(1));
    const auto handle = registry.register_sequence_hash(hash(2));
    const std::vector hashes{hash(2), hash(1), hash(3), hash(1)};

    const auto presence = registry.check_presence<G1>(hashes);
    auto behind = registry.check_presence<G1>(std::vector{hash(9)});
    registry.check_presence_into<G1>(hashes, behind);

    const std::vector expected{std::pair(hash(2), false), std::pair(hash(1), true),
                               std::pair(hash(3), false), std::pair(hash(1), true)};
    EXPECT_EQ(presence, expected);
    ASSERT_EQ(behind.size(), 5u);
    EXPECT_EQ(behind[0], std::pair(hash(9), false));
    EXPECT_EQ(behind[2], expected[1]);
}

TEST(Presence, in_any_of_tiers_is_the_or_of_them_and_of_none_is_false) {
    BlockRegistry registry;
    auto device = manager_of<G1>(registry, 1);
    auto host = manager_of<G2>(registry, 1);
    const auto in_device = registered(device, hash(1));
    const auto in_host = registered(host, hash(2));
    const std::vector hashes{hash(1), hash(2), hash(3)};
    const std::array both{tier_id<G1>(), tier_id<G2>()};
    const std::array other{tier_id<G3>()};
    const auto flags = [&](std::span<const TierId> tiers) {
        std::vector<bool> found;
        for (const auto& [of, is_present] : registry.check_presence_any(hashes, tiers)) {
            found.push_back(is_present);
        }
        return found;
    };

    EXPECT_EQ(flags(both), (std::vector{true, true, false}));
    EXPECT_EQ(flags(std::span(both).first(1)), (std::vector{true, false, false}));
    EXPECT_EQ(flags(other), (std::vector{false, false, false}));
    EXPECT_EQ(flags({}), (std::vector{false, false, false}));

    const auto handle = in_device.registration_handle();
    EXPECT_TRUE(handle.has_block<G1>());
    EXPECT_FALSE(handle.has_block<G2>());
    EXPECT_TRUE(handle.has_any_block(both));
    EXPECT_FALSE(handle.has_any_block(other));
    EXPECT_FALSE(handle.has_any_block({}));
}

TEST(Presence, of_two_managers_of_one_tier_is_counted_together) {
    BlockRegistry registry;
    auto one = manager_of<G1>(registry, 1);
    auto other = manager_of<G1>(registry, 1);
    std::optional first(registered(one, hash(1)));
    std::optional second(registered(other, hash(1)));
    first->set_evict_on_reset(true);
    second->set_evict_on_reset(true);

    first.reset();
    EXPECT_TRUE(present<G1>(registry, hash(1)));
    second.reset();
    EXPECT_FALSE(present<G1>(registry, hash(1)));
}

TEST(Presence, of_a_dead_manager_is_gone_while_another_tier_keeps_the_entry) {
    BlockRegistry registry;
    auto host = manager_of<G2>(registry, 1);
    const auto in_host = registered(host, hash(1));
    {
        auto device = manager_of<G1>(registry, 2);
        registered(device, hash(1));
        registered(device, hash(2));
        EXPECT_TRUE(present<G1>(registry, hash(1)));
        EXPECT_EQ(registry.registered_count(), 2u);
    }

    EXPECT_FALSE(present<G1>(registry, hash(1)));
    EXPECT_TRUE(present<G2>(registry, hash(1)));
    EXPECT_FALSE(registry.is_registered(hash(2)));
    EXPECT_EQ(registry.registered_count(), 1u);
}

template <int number>
struct NumberedTier {};

/// Managers of many tiers on one registry, each with a block under the hash.
template <int... number>
void hold_in_tiers(std::integer_sequence<int, number...>) {
    constexpr std::size_t tiers_count = sizeof...(number);
    BlockRegistry registry;
    auto managers = std::tuple(manager_of<NumberedTier<number>>(registry, 1)...);
    auto blocks = std::tuple(std::optional(registered(std::get<number>(managers), hash(1)))...);
    const BlockRegistrationHandle handle = std::get<0>(blocks)->registration_handle();
    const auto present_in = [&] {
        return std::vector<bool>{handle.has_block<NumberedTier<number>>()...};
    };

    EXPECT_EQ(present_in(), std::vector<bool>(tiers_count, true));
    EXPECT_FALSE(handle.has_block<G4>());
    EXPECT_EQ(registry.registered_count(), 1u);

    // One after the other, the middle ones first.
    std::vector<bool> expected(tiers_count, true);
    const auto drop = [&]<std::size_t which> {
        std::get<which>(blocks)->set_evict_on_reset(true);
        std::get<which>(blocks).reset();
        expected[which] = false;
        EXPECT_EQ(present_in(), expected) << which;
    };
    drop.template operator()<tiers_count / 2>();
    drop.template operator()<tiers_count - 1>();
    drop.template operator()<0>();
    EXPECT_EQ(registry.check_presence<NumberedTier<1>>(std::vector{hash(1)}).front().second, true);
    ASSERT_TRUE(handle.attach_unique(7).has_value());
    EXPECT_EQ(handle.get<int>().with_unique([](int value) { return value; }), 7);

    // A tier that comes back takes its own place again.
    auto again = registered(std::get<tiers_count - 1>(managers), hash(1));
    expected.back() = true;
    EXPECT_EQ(present_in(), expected);
}

TEST(Presence, of_four_to_twenty_tiers_is_apart) {
    hold_in_tiers(std::make_integer_sequence<int, 4>{});
    hold_in_tiers(std::make_integer_sequence<int, 5>{});
    hold_in_tiers(std::make_integer_sequence<int, 10>{});
    hold_in_tiers(std::make_integer_sequence<int, 11>{});
    hold_in_tiers(std::make_integer_sequence<int, 20>{});
}

TEST(Presence, of_a_new_entry_in_a_used_record_starts_at_zero) {
    BlockRegistry registry;
    auto device = manager_of<G1>(registry, 1);
    for (std::uint64_t i = 0; i < 5; ++i) {
        auto block = registered(device, hash(i));
        block.set_evict_on_reset(true);
    }

    const auto handle = registry.register_sequence_hash(hash(100));

    EXPECT_FALSE(handle.has_block<G1>());
    EXPECT_FALSE(handle.has_block<G2>());
}

}  // namespace
