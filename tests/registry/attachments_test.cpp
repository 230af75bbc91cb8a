// Values hung on an entry: one of a type or many, fixed by the first, gone with the entry.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
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

std::optional<int> unique_of(const BlockRegistrationHandle& handle) {
    return handle.get<int>().with_unique([](const int& value) { return value; });
}
std::vector<int> multiple_of(const BlockRegistrationHandle& handle) {
    return handle.get<int>().with_multiple(
        [](std::span<const int> values) { return std::vector(values.begin(), values.end()); });
}

/// Writes down when it is destroyed, and does something then.
class Logged {
  public:
    Logged(int name, std::vector<int>* log) : name_(name), log_(log) {}
    Logged(Logged&& other) noexcept
        : name_(other.name_), log_(std::exchange(other.log_, nullptr)) {}
    Logged& operator=(Logged&&) = delete;
    ~Logged() {
        if (log_ != nullptr) {
            log_->push_back(name_);
        }
    }

  private:
    int name_;
    std::vector<int>* log_;
};

TEST(Attachments, unique_replaces_silently) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    EXPECT_EQ(unique_of(handle), std::nullopt);
    EXPECT_TRUE(handle.attach_unique(1).has_value());
    EXPECT_TRUE(handle.attach_unique(2).has_value());

    EXPECT_EQ(unique_of(handle), 2);
    EXPECT_EQ(multiple_of(handle), std::vector<int>{});
}

TEST(Attachments, multiple_appends_in_order) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    for (int value = 0; value < 20; ++value) {
        EXPECT_TRUE(handle.attach(value).has_value());
    }

    std::vector<int> expected(20);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(multiple_of(handle), expected);
    EXPECT_EQ(unique_of(handle), std::nullopt);
}

TEST(Attachments, unique_first_refuses_multiple_and_changes_nothing) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach_unique(1).has_value());

    const auto refused = handle.attach(2);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().message(), "Type int is already registered as unique attachment");
    const auto* reason =
        std::get_if<AttachmentError::TypeAlreadyRegisteredAsUnique>(&refused.error().reason);
    ASSERT_NE(reason, nullptr);
    EXPECT_EQ(reason->type, "int");
    EXPECT_EQ(unique_of(handle), 1);
    EXPECT_EQ(multiple_of(handle), std::vector<int>{});
    EXPECT_TRUE(handle.attach_unique(3).has_value());
}

TEST(Attachments, multiple_first_refuses_unique_and_changes_nothing) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach(1).has_value());

    const auto refused = handle.attach_unique(2);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().message(), "Type int is already registered as multiple attachment");
    EXPECT_TRUE(std::holds_alternative<AttachmentError::TypeAlreadyRegisteredAsMultiple>(
        refused.error().reason));
    EXPECT_EQ(unique_of(handle), std::nullopt);
    EXPECT_EQ(multiple_of(handle), std::vector<int>{1});
    EXPECT_TRUE(handle.attach(3).has_value());
}

TEST(Attachments, mode_is_the_entrys_not_the_handles) {
    BlockRegistry registry;
    const auto first = registry.register_sequence_hash(hash(1));
    const auto second = registry.register_sequence_hash(hash(1));
    const auto other = registry.register_sequence_hash(hash(2));
    ASSERT_TRUE(first.attach_unique(1).has_value());

    EXPECT_FALSE(second.attach(2).has_value());
    EXPECT_TRUE(other.attach(2).has_value());
    EXPECT_EQ(unique_of(second), 1);
}

TEST(Attachments, types_do_not_know_of_each_other) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    EXPECT_TRUE(handle.attach_unique(1).has_value());
    EXPECT_TRUE(handle.attach(2L).has_value());
    EXPECT_TRUE(handle.attach(3U).has_value());
    EXPECT_TRUE(handle.attach_unique(std::string("four")).has_value());

    EXPECT_EQ(unique_of(handle), 1);
    EXPECT_EQ(handle.get<long>().with_multiple([](auto values) { return values.size(); }), 1u);
    EXPECT_EQ(handle.get<unsigned>().with_multiple([](auto values) { return values[0]; }), 3u);
    EXPECT_EQ(handle.get<std::string>().with_unique([](const auto& text) { return text; }), "four");
    EXPECT_EQ(handle.get<short>().with_unique([](short value) { return value; }), std::nullopt);
}

TEST(Attachments, names_of_types_are_spelled_out) {
    struct Local {};
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach(std::vector<int>{}).has_value());
    ASSERT_TRUE(handle.attach(Local{}).has_value());

    EXPECT_EQ(handle.attach_unique(std::vector<int>{}).error().message(),
              "Type std::vector<int> is already registered as multiple attachment");
    EXPECT_NE(handle.attach_unique(Local{}).error().message().find("Local is already registered"),
              std::string::npos);
}

TEST(Attachments, mutable_access_changes_what_is_attached) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach_unique(std::uint32_t{1}).has_value());
    ASSERT_TRUE(handle.attach(std::uint64_t{4}).has_value());
    ASSERT_TRUE(handle.attach(std::uint64_t{12}).has_value());

    EXPECT_EQ(handle.get<std::uint32_t>().with_unique_mut([](std::uint32_t& value) {
        value += 1;
        return value;
    }),
              2u);
    handle.get<std::uint64_t>().with_multiple_mut([](std::span<std::uint64_t> values) {
        for (std::uint64_t& value : values) {
            value *= 2;
        }
    });

    EXPECT_EQ(handle.get<std::uint32_t>().with_unique([](auto value) { return value; }), 2u);
    EXPECT_EQ(handle.get<std::uint64_t>().with_multiple([](auto values) {
        return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
    }),
              32u);
}

TEST(Attachments, with_all_gives_the_unique_value_or_the_multiple_ones_or_neither) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach_unique(1).has_value());
    ASSERT_TRUE(handle.attach(2L).has_value());
    ASSERT_TRUE(handle.attach(3L).has_value());
    const auto shape = [](const auto* unique, auto multiple) {
        return std::pair(unique != nullptr, multiple.size());
    };

    EXPECT_EQ(handle.get<int>().with_all(shape), std::pair(true, std::size_t{0}));
    EXPECT_EQ(handle.get<long>().with_all(shape), std::pair(false, std::size_t{2}));
    EXPECT_EQ(handle.get<short>().with_all(shape), std::pair(false, std::size_t{0}));
    EXPECT_EQ(handle.get<int>().with_all_mut(shape), std::pair(true, std::size_t{0}));
    EXPECT_EQ(handle.get<long>().with_all_mut(shape), std::pair(false, std::size_t{2}));
    EXPECT_EQ(handle.get<short>().with_all_mut(shape), std::pair(false, std::size_t{0}));

    handle.get<int>().with_all_mut([](int* unique, std::span<int>) { *unique = 10; });
    handle.get<long>().with_all_mut([](long*, std::span<long> multiple) { multiple[1] = 30; });
    EXPECT_EQ(unique_of(handle), 10);
    EXPECT_EQ(handle.get<long>().with_multiple([](auto values) { return values[1]; }), 30);
}

TEST(Attachments, results_are_values_and_a_call_without_one_says_whether_it_was_made) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    int called = 0;
    const auto count = [&](const auto&) { ++called; };
    EXPECT_FALSE(handle.get<int>().with_unique(count));
    EXPECT_EQ(called, 0);

    ASSERT_TRUE(handle.attach_unique(1).has_value());
    EXPECT_TRUE(handle.get<int>().with_unique(count));
    EXPECT_EQ(called, 1);

    const auto reference =
        handle.get<int>().with_unique([](const int& v) -> const int& { return v; });
    static_assert(std::is_same_v<decltype(reference), const std::optional<int>>);
    const auto nested =
        handle.get<int>().with_unique([](int value) { return std::optional(value); });
    EXPECT_EQ(nested, std::optional(std::optional(1)));
}

TEST(Attachments, values_that_can_only_be_moved_are_held_and_reached) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));

    ASSERT_TRUE(handle.attach(std::make_unique<int>(1)).has_value());
    ASSERT_TRUE(handle.attach(std::make_unique<int>(2)).has_value());
    const auto moved_out = handle.get<std::unique_ptr<int>>().with_multiple_mut(
        [](std::span<std::unique_ptr<int>> values) { return std::move(values[0]); });

    EXPECT_EQ(*moved_out, 1);
    EXPECT_EQ(handle.get<std::unique_ptr<int>>().with_multiple(
                  [](auto values) { return values[0] == nullptr && *values[1] == 2; }),
              true);
}

TEST(Attachments, go_with_the_last_handle_and_no_sooner) {
    BlockRegistry registry;
    std::vector<int> log;
    auto first = registry.register_sequence_hash(hash(1));
    auto second = first;
    ASSERT_TRUE(first.attach(Logged(1, &log)).has_value());
    ASSERT_TRUE(first.attach(Logged(2, &log)).has_value());
    std::optional access(second.get<Logged>());

    first = {};
    second = {};
    EXPECT_EQ(log, std::vector<int>{});
    EXPECT_TRUE(registry.is_registered(hash(1)));

    access.reset();
    EXPECT_EQ(log, (std::vector<int>{1, 2}));
    EXPECT_FALSE(registry.is_registered(hash(1)));
}

TEST(Attachments, a_replaced_value_is_destroyed_once_and_at_once) {
    BlockRegistry registry;
    std::vector<int> log;
    {
        const auto handle = registry.register_sequence_hash(hash(1));
        ASSERT_TRUE(handle.attach_unique(Logged(1, &log)).has_value());
        ASSERT_TRUE(handle.attach_unique(Logged(2, &log)).has_value());
        EXPECT_EQ(log, std::vector<int>{1});
        EXPECT_FALSE(handle.attach(Logged(3, &log)).has_value());
        EXPECT_EQ(log, (std::vector<int>{1, 3}));
    }
    EXPECT_EQ(log, (std::vector<int>{1, 3, 2}));
}

TEST(Attachments, follow_a_block_until_it_is_evicted) {
    const BlockRegistry registry;
    auto manager =
        must(BlockManager<>::builder().registry(registry).block_count(1).block_size(4).build());
    std::vector<int> log;
    {
        const auto block = must(
            manager.register_block(must(manager.allocate_blocks(1)->pop_back().stage(hash(1), 4))));
        ASSERT_TRUE(block.registration_handle().attach(Logged(1, &log)).has_value());
    }
    EXPECT_EQ(log, std::vector<int>{});

    const auto evicting = manager.allocate_blocks(1);
    EXPECT_EQ(log, std::vector<int>{1});
}

TEST(Attachments, of_the_victims_of_one_allocation_are_destroyed_each_and_in_order) {
    const BlockRegistry registry;
    auto manager = must(BlockManager<>::builder()
                            .registry(registry)
                            .block_count(4)
                            .block_size(4)
                            .with_lru_backend()
                            .build());
    std::vector<int> log;
    for (const int name : {3, 1, 4, 2}) {
        const auto block = must(manager.register_block(
            must(manager.allocate_blocks(1)->pop_back().stage(hash(std::uint64_t(name)), 4))));
        ASSERT_TRUE(block.registration_handle().attach(Logged(name, &log)).has_value());
    }

    const auto blocks = manager.allocate_blocks(4);

    EXPECT_EQ(log, (std::vector<int>{3, 1, 4, 2}));
}

/// Uses registry, manager and attachments of its own hash when it is destroyed.
class Reentrant {
  public:
    Reentrant(BlockRegistry* registry, BlockManager<>* manager, std::size_t* seen)
        : registry_(registry), manager_(manager), seen_(seen) {}
    Reentrant(Reentrant&& other) noexcept
        : registry_(std::exchange(other.registry_, nullptr)),
          manager_(other.manager_),
          seen_(other.seen_) {}
    Reentrant& operator=(Reentrant&&) = delete;
    ~Reentrant() {
        if (registry_ == nullptr) {
            return;
        }
        *seen_ = registry_->registered_count();
        const auto handle = registry_->register_sequence_hash(hash(1));
        static_cast<void>(handle.attach(1));
        handle.touch();
        if (manager_ != nullptr) {
            static_cast<void>(manager_->available_blocks());
            static_cast<void>(manager_->match_blocks(std::vector{hash(1)}));
            static_cast<void>(manager_->check_invariants());
        }
    }

  private:
    BlockRegistry* registry_;
    BlockManager<>* manager_;
    std::size_t* seen_;
};

TEST(Attachments, are_destroyed_with_no_lock_held_and_the_entry_gone) {
    BlockRegistry registry;
    auto manager =
        must(BlockManager<>::builder().registry(registry).block_count(2).block_size(4).build());
    std::size_t seen = 99;

    auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach_unique(Reentrant(&registry, nullptr, &seen)).has_value());
    ASSERT_TRUE(handle.attach_unique(Reentrant(&registry, nullptr, &seen)).has_value());
    EXPECT_EQ(seen, 1u);  // replaced: its entry lives
    handle = {};
    EXPECT_EQ(seen, 0u);

    for (const bool evict : {true, false}) {
        seen = 99;
        {
            const auto block = must(manager.register_block(
                must(manager.allocate_blocks(1)->pop_back().stage(hash(2), 4))));
            block.set_evict_on_reset(evict);
            ASSERT_TRUE(block.registration_handle()
                            .attach(Reentrant(&registry, &manager, &seen))
                            .has_value());
        }
        if (!evict) {
            static_cast<void>(manager.allocate_blocks(2));
        }
        EXPECT_EQ(seen, 0u) << evict;
    }
}

TEST(Attachments, an_exception_of_the_visitor_passes_through_and_leaves_the_lock_free) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(1));
    ASSERT_TRUE(handle.attach_unique(1).has_value());

    EXPECT_THROW(
        handle.get<int>().with_unique([](int) -> int { throw std::runtime_error("visitor"); }),
        std::runtime_error);

    EXPECT_TRUE(handle.attach_unique(2).has_value());
    EXPECT_EQ(unique_of(handle), 2);
}

TEST(Attachments, visitor_may_use_registry_manager_and_other_handles) {
    BlockRegistry registry;
    auto manager =
        must(BlockManager<>::builder().registry(registry).block_count(2).block_size(4).build());
    const auto handle = registry.register_sequence_hash(hash(1));
    const auto other = registry.register_sequence_hash(hash(2));
    ASSERT_TRUE(handle.attach_unique(1).has_value());
    ASSERT_TRUE(other.attach_unique(2).has_value());
    int touched = 0;
    handle.on_touch([&](const SequenceHash&) { ++touched; });

    const auto sum = handle.get<int>().with_unique([&](int value) {
        static_cast<void>(manager.allocate_blocks(1));
        static_cast<void>(registry.register_sequence_hash(hash(3)));
        static_cast<void>(registry.is_registered(hash(1)));
        handle.on_touch([](const SequenceHash&) {});
        handle.touch();
        return value + unique_of(other).value_or(0);
    });

    EXPECT_EQ(sum, 3);
    EXPECT_EQ(touched, 1);
}

}  // namespace
