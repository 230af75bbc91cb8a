// Touch callbacks: called by handle.touch() and by nothing else, in order, on a copy of the list.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
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

TEST(TouchCallbacks, none_is_fine) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    EXPECT_NO_THROW(handle.touch());
}

TEST(TouchCallbacks, are_called_with_the_hash_once_per_touch) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    std::vector<SequenceHash> called;
    handle.on_touch([&](const SequenceHash& touched) { called.push_back(touched); });

    handle.touch();
    EXPECT_EQ(called, std::vector{hash(1)});
    handle.touch();
    handle.touch();
    EXPECT_EQ(called.size(), 3u);
}

TEST(TouchCallbacks, are_called_in_the_order_of_their_addition_through_any_handle) {
    BlockRegistry registry;
    const auto first = registry.register_sequence_hash(hash(1));
    const auto second = registry.register_sequence_hash(hash(1));
    const auto other = registry.register_sequence_hash(hash(2));
    std::vector<int> called;
    first.on_touch([&](const SequenceHash&) { called.push_back(1); });
    second.on_touch([&](const SequenceHash&) { called.push_back(2); });
    first.on_touch([&](const SequenceHash&) { called.push_back(3); });

    other.touch();
    EXPECT_EQ(called, std::vector<int>{});
    second.touch();
    EXPECT_EQ(called, (std::vector<int>{1, 2, 3}));
}

TEST(TouchCallbacks, one_that_is_added_meanwhile_is_called_from_the_next_touch_on) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    int added = 0;
    int called = 0;
    handle.on_touch([&](const SequenceHash&) {
        ++added;
        handle.on_touch([&](const SequenceHash&) { ++called; });
    });

    handle.touch();
    EXPECT_EQ(called, 0);
    handle.touch();
    EXPECT_EQ(called, 1);
    handle.touch();
    EXPECT_EQ(called, 3);
    EXPECT_EQ(added, 3);
}

TEST(TouchCallbacks, do_not_touch_the_tracker_and_are_not_called_by_it) {
    auto registry =
        BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build();
    auto manager =
        must(BlockManager<>::builder().registry(registry).block_count(1).block_size(4).build());
    const auto block = must(
        manager.register_block(must(manager.allocate_blocks(1)->pop_back().stage(hash(1), 4))));
    const auto handle = block.registration_handle();
    int called = 0;
    handle.on_touch([&](const SequenceHash&) { ++called; });
    ASSERT_EQ(registry.count(hash(1)), 1u);

    handle.touch();
    EXPECT_EQ(called, 1);
    EXPECT_EQ(registry.count(hash(1)), 1u);

    const std::vector hashes{hash(1)};
    registry.touch(hash(1));
    static_cast<void>(registry.match_sequence_hash(hash(1), Touch::yes));
    manager.match_blocks(hashes).clear();
    static_cast<void>(manager.match_blocks_scattered(hashes));
    static_cast<void>(manager.scan_matches(hashes, Touch::yes));
    EXPECT_EQ(called, 1);
    EXPECT_EQ(registry.count(hash(1)), 6u);
}

TEST(TouchCallbacks, may_use_everything) {
    BlockRegistry registry;
    auto manager =
        must(BlockManager<>::builder().registry(registry).block_count(2).block_size(4).build());
    const auto handle = registry.register_sequence_hash(hash(1));
    int depth = 0;
    int called = 0;
    handle.on_touch([&](const SequenceHash& touched) {
        ++called;
        const auto again = registry.register_sequence_hash(touched);
        static_cast<void>(again.attach(called));
        static_cast<void>(
            again.get<int>().with_multiple([](auto values) { return values.size(); }));
        static_cast<void>(registry.register_sequence_hash(hash(7)));
        static_cast<void>(must(manager.register_block(
            must(manager.allocate_blocks(1)->pop_back().stage(hash(8), 4)))));
        if (++depth < 3) {
            again.touch();
        }
    });

    handle.touch();

    EXPECT_EQ(called, 3);
    EXPECT_EQ(manager.available_blocks(), 2u);
}

TEST(TouchCallbacks, may_give_up_the_last_handle_that_called_them) {
    BlockRegistry registry;
    std::optional handle(registry.register_sequence_hash(hash(1)));
    std::vector<SequenceHash> called;
    const auto alive = std::make_shared<int>(7);
    handle->on_touch([&](const SequenceHash& touched) {
        handle.reset();
        called.push_back(touched);
    });
    handle->on_touch([&, alive](const SequenceHash& touched) {
        EXPECT_EQ(*alive, 7);
        called.push_back(touched);
    });

    handle->touch();

    EXPECT_EQ(called, (std::vector{hash(1), hash(1)}));
    EXPECT_FALSE(registry.is_registered(hash(1)));
    EXPECT_EQ(alive.use_count(), 1);
}

TEST(TouchCallbacks, one_that_throws_ends_the_touch_and_leaves_the_rest_usable) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    int before = 0;
    int after = 0;
    handle.on_touch([&](const SequenceHash&) { ++before; });
    handle.on_touch([&](const SequenceHash&) {
        if (before == 1) {
            throw std::runtime_error("callback");
        }
    });
    handle.on_touch([&](const SequenceHash&) { ++after; });

    EXPECT_THROW(handle.touch(), std::runtime_error);
    EXPECT_EQ(before, 1);
    EXPECT_EQ(after, 0);
    EXPECT_EQ(registry.hook_failures(), 0u);

    EXPECT_NO_THROW(handle.touch());
    EXPECT_EQ(after, 1);
}

TEST(TouchCallbacks, are_destroyed_with_the_entry) {
    BlockRegistry registry;
    const auto captured = std::make_shared<int>(1);
    {
        const auto handle = registry.register_sequence_hash(hash(1));
        handle.on_touch([captured](const SequenceHash&) {});
        EXPECT_EQ(captured.use_count(), 2);
    }
    EXPECT_EQ(captured.use_count(), 1);
}

TEST(TouchCallbacksDeathTest, one_that_cannot_be_called_breaks_a_contract) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    EXPECT_DEATH(handle.on_touch(nullptr), "a touch callback can be called");
}

}  // namespace
