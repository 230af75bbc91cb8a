// One entry per hash, for as long as somebody has a handle of it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.registry;

namespace {

using namespace kvbm;

SequenceHash at(std::uint64_t position, std::uint64_t chain = 1) {
    return must(SequenceHash::make(ChainHash{chain}, ChainHash{2}, position));
}

TEST(BlockRegistry, two_registrations_of_a_hash_share_one_entry) {
    BlockRegistry registry;

    auto first = registry.register_sequence_hash(at(3));
    auto second = registry.register_sequence_hash(at(3));

    EXPECT_EQ(first, second);
    EXPECT_EQ(first.seq_hash(), at(3));
    EXPECT_EQ(registry.registered_count(), 1u);

    first = {};
    EXPECT_TRUE(registry.is_registered(at(3)));
    second = {};
    EXPECT_FALSE(registry.is_registered(at(3)));
    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockRegistry, copied_and_assigned_is_one_table_to_all) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(at(3));
    BlockRegistry other;
    const auto elsewhere = other.register_sequence_hash(at(4));

    other = registry;
    auto& self = other;
    other = self;
    other = std::move(self);

    EXPECT_EQ(other, registry);
    EXPECT_TRUE(other.is_registered(at(3)));
    EXPECT_FALSE(other.is_registered(at(4)));
    EXPECT_TRUE(handle.is_from_registry(other));
    EXPECT_FALSE(elsewhere.is_from_registry(other));
}

TEST(BlockRegistrationHandle, assigned_is_one_more_of_its_entry_and_lets_the_last_one_go) {
    BlockRegistry registry;
    auto three = registry.register_sequence_hash(at(3));
    auto four = registry.register_sequence_hash(at(4));

    four = three;
    auto& self = four;
    four = self;
    four = std::move(self);

    EXPECT_EQ(four, three);
    EXPECT_FALSE(registry.is_registered(at(4)));
    three = {};
    EXPECT_TRUE(registry.is_registered(at(3)));
    four = {};
    EXPECT_FALSE(registry.is_registered(at(3)));
}

TEST(BlockRegistry, tells_hashes_apart_that_differ_in_any_of_their_parts) {
    BlockRegistry registry;
    const std::vector hashes{must(SequenceHash::make(ChainHash{1}, ChainHash{2}, 5)),
                             must(SequenceHash::make(ChainHash{1}, ChainHash{3}, 5)),
                             must(SequenceHash::make(ChainHash{1}, ChainHash{2}, 6)),
                             must(SequenceHash::make(ChainHash{1ULL << 63 | 1}, ChainHash{2}, 5))};

    const auto handles = registry.register_sequence_hashes(hashes);

    EXPECT_EQ(registry.registered_count(), 4u);
    EXPECT_NE(handles[0], handles[1]);
    EXPECT_NE(handles[0], handles[2]);
    EXPECT_NE(handles[0], handles[3]);
}

TEST(BlockRegistry, batch_gives_handles_in_input_order_whatever_the_positions) {
    for (const std::vector<std::uint64_t>& positions :
         {std::vector<std::uint64_t>{0, 1, 2, 3}, {7, 7, 7, 7}, {300, 70'000, 2, 0}}) {
        BlockRegistry registry;
        std::vector<SequenceHash> hashes;
        for (std::size_t i = 0; i < positions.size(); ++i) {
            hashes.push_back(at(positions[i], i + 1));
        }

        const auto handles = registry.register_sequence_hashes(hashes);

        ASSERT_EQ(handles.size(), hashes.size());
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            EXPECT_EQ(handles[i].seq_hash(), hashes[i]);
        }
    }
}

TEST(BlockRegistry, repeats_of_a_batch_share_the_entry_and_its_attachments) {
    BlockRegistry registry;
    const std::vector hashes{at(1), at(2), at(1)};

    const auto handles = registry.register_sequence_hashes(hashes);
    ASSERT_TRUE(handles[0].attach_unique(42).has_value());

    EXPECT_EQ(handles[0], handles[2]);
    EXPECT_NE(handles[0], handles[1]);
    EXPECT_EQ(handles[2].get<int>().with_unique([](int value) { return value; }), 42);
    EXPECT_EQ(handles[1].get<int>().with_unique([](int value) { return value; }), std::nullopt);
    EXPECT_EQ(registry.registered_count(), 2u);
}

TEST(BlockRegistry, batch_appends_behind_a_callers_handles) {
    BlockRegistry registry;
    std::vector<BlockRegistrationHandle> handles{registry.register_sequence_hash(at(9))};
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = 0; i < 200; ++i) {
        hashes.push_back(at(i % 150, 7));
    }

    registry.register_sequence_hashes_into(hashes, handles);
    registry.register_sequence_hashes_into({}, handles);

    ASSERT_EQ(handles.size(), 201u);
    EXPECT_EQ(handles[0].seq_hash(), at(9));
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        EXPECT_EQ(handles[i + 1].seq_hash(), hashes[i]);
    }
    EXPECT_EQ(registry.registered_count(), 151u);
}

TEST(BlockRegistry, match_gives_a_handle_of_what_is_known_only) {
    BlockRegistry registry;
    EXPECT_EQ(registry.match_sequence_hash(at(1), Touch::no), std::nullopt);

    auto known = registry.register_sequence_hash(at(1));
    auto matched = registry.match_sequence_hash(at(1), Touch::no);
    ASSERT_TRUE(matched.has_value());
    EXPECT_EQ(*matched, known);

    known = {};
    EXPECT_TRUE(registry.is_registered(at(1)));
    matched.reset();
    EXPECT_FALSE(registry.is_registered(at(1)));
}

TEST(BlockRegistry, an_entry_that_comes_again_is_another_one) {
    BlockRegistry registry;
    {
        const auto handle = registry.register_sequence_hash(at(1));
        ASSERT_TRUE(handle.attach_unique(1).has_value());
    }

    const auto handle = registry.register_sequence_hash(at(1));

    EXPECT_EQ(handle.get<int>().with_unique([](int value) { return value; }), std::nullopt);
    EXPECT_TRUE(handle.attach(2).has_value());
}

TEST(BlockRegistry, knows_its_own_handles_and_no_others) {
    BlockRegistry own;
    const BlockRegistry copy = own;
    const BlockRegistry other;
    const auto handle = own.register_sequence_hash(at(1));

    EXPECT_TRUE(handle.is_from_registry(own));
    EXPECT_TRUE(handle.is_from_registry(copy));
    EXPECT_FALSE(handle.is_from_registry(other));
}

TEST(BlockRegistry, that_is_gone_has_no_handles) {
    std::optional<BlockRegistry> registry(std::in_place);
    const auto handle = registry->register_sequence_hash(at(1));

    registry.reset();

    // Many, so that one would stand where the old table stood, were that freed.
    std::vector<BlockRegistry> later(64);
    for (const BlockRegistry& another : later) {
        EXPECT_FALSE(handle.is_from_registry(another));
    }
    const BlockRegistry moved_to = std::move(later[0]);
    EXPECT_FALSE(handle.is_from_registry(later[0]));  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(handle.seq_hash(), at(1));
    EXPECT_FALSE(handle.has_block<G1>());
    EXPECT_TRUE(handle.attach_unique(1).has_value());
}

TEST(BlockRegistry, grows_and_shrinks_by_many_entries) {
    BlockRegistry registry;
    std::vector<SequenceHash> hashes;
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        hashes.push_back(SequenceHash::root(BlockHash{i * 0x9E37'79B9'7F4A'7C15U}));
    }
    for (int round = 0; round < 3; ++round) {
        auto handles = registry.register_sequence_hashes(hashes);
        EXPECT_EQ(registry.registered_count(), hashes.size());
        handles.resize(handles.size() / 2);
        EXPECT_EQ(registry.registered_count(), hashes.size() / 2);
        EXPECT_TRUE(registry.is_registered(hashes.front()));
        EXPECT_FALSE(registry.is_registered(hashes.back()));
    }
    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockRegistry, without_a_tracker_counts_nothing) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(at(1));

    registry.touch(at(1));

    EXPECT_FALSE(registry.has_frequency_tracking());
    EXPECT_EQ(registry.frequency_tracker(), nullptr);
    EXPECT_EQ(registry.event_manager(), nullptr);
    EXPECT_EQ(registry.count(at(1)), 0u);
    EXPECT_EQ(registry.hook_failures(), 0u);
}

TEST(BlockRegistry, gives_its_tracker_and_event_manager) {
    const auto tracker = create_tracker(FrequencyTrackingCapacity::small, SketchLayout::blocked);
    const auto events = EventsManager::builder().build();

    const auto registry =
        BlockRegistry::builder().frequency_tracker(tracker).event_manager(events).build();

    EXPECT_EQ(registry.frequency_tracker(), tracker);
    EXPECT_EQ(registry.event_manager(), events);
    registry.touch(at(1));
    EXPECT_EQ(registry.count(at(1)), 1u);
}

TEST(BlockRegistrationHandleDeathTest, that_was_moved_from_breaks_a_contract_when_used) {
    BlockRegistry registry;
    auto handle = registry.register_sequence_hash(at(1));
    const auto moved = std::move(handle);

    EXPECT_FALSE(handle);  // NOLINT(bugprone-use-after-move)
    EXPECT_DEATH(static_cast<void>(handle.seq_hash()),
                 "a registration handle that is used is not empty");
    EXPECT_DEATH(handle.touch(), "a registration handle that is used is not empty");
    EXPECT_DEATH(static_cast<void>(handle.attach(1)),
                 "a registration handle that is used is not empty");
}

}  // namespace
