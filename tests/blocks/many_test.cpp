// Several matches, and several releases, in one call: what they find, whom they touch, what they
// count, and in which order the pool is afterwards. blocks.md 17.1, M1, M2, G20, G21.
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;
using Requests = std::vector<std::span<const SequenceHash>>;
using List = ImmutableBlockList<>;

// Room for lists whose guards are not copied.
template <class... Lists>
std::vector<List> lists_of(Lists&&... lists) {
    std::vector<List> all;
    (all.push_back(std::forward<Lists>(lists)), ...);
    return all;
}
std::vector<Ids> ids_of(std::span<const List> lists) {
    std::vector<Ids> ids;
    for (const List& list : lists) {
        ids.push_back(list.block_ids());
    }
    return ids;
}

// --- match_many ---

class MatchMany : public testing::TestWithParam<Policy> {};

TEST_P(MatchMany, gives_each_request_its_longest_prefix) {
    WatchedRegistry watched;
    auto manager = make_manager({.policy = GetParam(), .registry = watched.registry});
    const auto first = chain(3, 100);
    const auto second = chain(2, 200);
    const auto missing = roots(1, 900);
    cache(manager, first);
    const auto held = register_all(manager, second);
    watched.take_touches();
    MetricsWatch watch(manager);
    const auto past_the_end = joined(second, missing);
    const Hashes gap{first[0], missing[0], first[1]};
    const Requests requests{first, {}, past_the_end, missing, gap};
    std::vector<List> out(requests.size());

    EXPECT_EQ(manager.match_many(requests, out), 6u);

    EXPECT_EQ(ids_of(out), (std::vector<Ids>{{0, 1, 2}, {}, {3, 4}, {}, {0}}));
    EXPECT_EQ(watch.moved(), "match_requested +10, match_returned +6, immutable +6, inactive -3");
    EXPECT_EQ(watched.take_touches(), joined(joined(first, second), roots(1, 100)));
    EXPECT_EQ(manager.check_invariants().to_string(), "");
}

TEST_P(MatchMany, a_block_that_two_requests_share_is_held_twice) {
    auto manager = make_manager({.policy = GetParam()});
    const auto hashes = chain(2);
    cache(manager, hashes);
    std::vector<List> out(2);

    EXPECT_EQ(manager.match_many(Requests{hashes, only(hashes[0])}, out), 3u);

    EXPECT_EQ(out[1].block_ids(), Ids{0});
    EXPECT_EQ(out[1][0].use_count(), 2u);
    EXPECT_EQ(out[0][1].use_count(), 1u);
}

INSTANTIATE_TEST_SUITE_P(BlockManager, MatchMany, testing::ValuesIn(all_policies), PolicyName());

TEST(BlockManager, match_many_appends_behind_what_the_lists_hold) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto hashes = roots(4);
    cache(manager, hashes);
    auto whole = manager.match_blocks({&hashes[3], 1});
    auto short_of = manager.match_blocks({&hashes[2], 1});
    List moved_from = manager.match_blocks({&hashes[2], 1});
    const auto elsewhere = std::move(moved_from);
    watched.take_touches();
    auto out = lists_of(std::move(whole), std::move(short_of), std::move(moved_from));
    const Hashes gap{hashes[1], root_hash(900), hashes[0]};

    EXPECT_EQ(manager.match_many(Requests{only(hashes[0]), gap, only(hashes[1])}, out), 3u);

    EXPECT_EQ(ids_of(out), (std::vector<Ids>{{3, 0}, {2, 1}, {1}}));
    EXPECT_EQ(watched.take_touches(), (Hashes{hashes[0], hashes[1], hashes[1]}));
}

TEST(BlockManager, match_many_of_no_hashes_changes_nothing) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto hashes = roots(2);
    cache(manager, hashes);
    auto held = manager.match_blocks(only(hashes[0]));
    watched.take_touches();
    MetricsWatch watch(manager);
    auto out = lists_of(std::move(held), List());

    EXPECT_EQ(manager.match_many({}, {}), 0u);
    EXPECT_EQ(manager.match_many(Requests{{}, {}}, out), 0u);

    EXPECT_EQ(ids_of(out), (std::vector<Ids>{{0}, {}}));
    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(watched.take_touches(), Hashes{});
}

TEST(BlockManager, blocks_of_match_many_become_primary_in_one_operation) {
    auto manager = make_manager();
    const auto hashes = roots(2);
    cache(manager, hashes);
    std::vector<List> out(2);

    manager.match_many(Requests{only(hashes[0]), only(hashes[1])}, out);

    const auto blocks = manager.inspect();
    EXPECT_EQ(blocks[0].since, blocks[1].since);
    EXPECT_EQ(blocks[0].state, BlockState::primary);
}

// Touches that throw leave out the rest of their own request, as in single calls.
class ThrowingTracker final : public FrequencyTracker {
  public:
    explicit ThrowingTracker(const SequenceHash& poison) : poison_(poison) {}
    Hashes touched;
    std::size_t calls = 0;

    void touch(const SequenceHash& hash) override {
        if (hash == poison_) {
            throw std::runtime_error("no");
        }
        touched.push_back(hash);
    }
    void touch(std::uint64_t) override {}
    void touch_all(std::span<const SequenceHash> hashes) override {
        ++calls;
        FrequencyTracker::touch_all(hashes);
    }
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }

  private:
    SequenceHash poison_;
};

TEST(BlockManager, match_many_touches_request_by_request) {
    const auto first = chain(3, 100);
    const auto second = chain(2, 200);
    auto tracker = std::make_shared<ThrowingTracker>(first[1]);
    auto manager =
        make_manager({.registry = BlockRegistry::builder().frequency_tracker(tracker).build()});
    cache(manager, first);
    cache(manager, second);
    tracker->touched.clear();
    const auto missing = roots(1, 900);
    std::vector<List> out(3);

    EXPECT_EQ(manager.match_many(Requests{first, missing, second}, out), 5u);

    EXPECT_EQ(tracker->touched, (Hashes{first[0], second[0], second[1]}));
    EXPECT_EQ(tracker->calls, 2u) << "nobody is told of a request without a hit";
    EXPECT_EQ(ids_of(out), (std::vector<Ids>{{0, 1, 2}, {}, {3, 4}}));
}

TEST(BlockManager, match_many_without_a_tracker_leaves_no_mark_of_a_miss) {
    auto manager = make_manager({.registry = BlockRegistry()});
    const auto hashes = roots(2);
    cache(manager, hashes);
    const Hashes gap{hashes[1], root_hash(900)};
    std::vector<List> out(2);

    EXPECT_EQ(manager.match_many(Requests{gap, only(hashes[0])}, out), 2u);

    EXPECT_EQ(ids_of(out), (std::vector<Ids>{{1}, {0}}));
}

// --- release_many ---

TEST(BlockManager, release_many_gives_back_list_by_list_in_the_order_told) {
    const auto hashes = roots(5);
    const auto order_after = [&](ReleaseOrder order) {
        auto manager = make_manager({.block_count = 5});
        cache(manager, hashes);
        std::vector<List> lists(3);
        manager.match_many(Requests{{&hashes[3], 2}, {}, {&hashes[0], 3}}, lists);
        MetricsWatch watch(manager);

        BlockManager<>::release_many(lists, order);

        EXPECT_EQ(watch.moved(), "immutable -5, inactive +5");
        EXPECT_EQ(ids_of(lists), std::vector<Ids>(3));
        return take(manager, 5);
    };

    EXPECT_EQ(order_after(ReleaseOrder::root_first), (Ids{3, 4, 0, 1, 2}));
    EXPECT_EQ(order_after(ReleaseOrder::leaf_first), (Ids{4, 3, 2, 1, 0}));
}

TEST(BlockManager, release_many_of_nothing_does_nothing) {
    auto manager = make_manager();
    cache(manager, roots(1));
    List moved_from = manager.match_blocks(roots(1));
    const auto elsewhere = std::move(moved_from);
    MetricsWatch watch(manager);
    auto lists = lists_of(List(), std::move(moved_from));

    BlockManager<>::release_many({}, ReleaseOrder::root_first);
    BlockManager<>::release_many(lists, ReleaseOrder::leaf_first);

    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(elsewhere.block_ids(), Ids{0});
}

TEST(BlockManager, release_many_takes_lists_of_several_managers) {
    auto registry = tracking_registry();
    auto one = make_manager({.block_count = 4, .registry = registry});
    auto other = make_manager({.block_count = 4, .registry = registry});
    const auto hashes = roots(4);
    cache(one, hashes);
    cache(other, hashes);
    auto lists =
        lists_of(one.match_blocks({&hashes[2], 2}), other.match_blocks({&hashes[1], 1}), List(),
                 other.match_blocks({&hashes[3], 1}), one.match_blocks({&hashes[0], 1}), List());

    BlockManager<>::release_many(lists, ReleaseOrder::root_first);

    EXPECT_EQ(take(one, 4), (Ids{1, 2, 3, 0}));
    EXPECT_EQ(take(other, 4), (Ids{0, 2, 1, 3}));
    EXPECT_EQ(one.check_invariants().to_string() + other.check_invariants().to_string(), "");
}

// G11, G21: over the ends of lists.
TEST(BlockManager, a_primary_is_released_behind_its_duplicates_in_other_lists) {
    auto manager = make_manager({.block_count = 3});
    auto [primary, duplicate] = register_twice(manager, root_hash(1));
    auto other = register_one(manager, root_hash(2));
    std::vector<List> lists(3);
    lists[0].push_back(std::move(primary));
    lists[1].push_back(std::move(other));
    lists[2].push_back(std::move(duplicate));

    BlockManager<>::release_many(lists, ReleaseOrder::root_first);

    EXPECT_EQ(states(manager), "IRI");
    EXPECT_EQ(take(manager, 3), (Ids{1, 2, 0}));
}

TEST(BlockManager, release_many_ends_presence_and_entries_of_blocks_that_are_reset) {
    auto registry = tracking_registry();
    auto manager = make_manager({.reset_on_release = true, .registry = registry});
    const auto hashes = roots(3);
    auto lists = lists_of(register_all(manager, {&hashes[0], 2}), List(),
                          register_all(manager, {&hashes[2], 1}));
    const auto kept = lists[0][1];
    MetricsWatch watch(manager);

    BlockManager<>::release_many(lists, ReleaseOrder::leaf_first);

    EXPECT_EQ(watch.moved(), "immutable -3, reset +2");
    EXPECT_EQ(registry.registered_count(), 1u);
    EXPECT_FALSE(is_present(registry, hashes[0]));
    EXPECT_TRUE(is_present(registry, hashes[1]));
    EXPECT_FALSE(is_present(registry, hashes[2]));
}

TEST(BlockManager, release_many_ends_stores_whose_managers_are_gone) {
    auto registry = tracking_registry();
    const auto hashes = roots(4);
    std::vector<List> lists(4);
    {
        auto first = make_manager({.registry = registry});
        auto second = make_manager({.registry = registry});
        lists[0] = register_all(first, {&hashes[0], 1});
        lists[1] = register_all(first, {&hashes[1], 1});
        lists[2] = register_all(second, {&hashes[2], 1});
        lists[3] = register_all(first, {&hashes[3], 1});
    }
    EXPECT_EQ(registry.registered_count(), 4u);

    BlockManager<>::release_many(lists, ReleaseOrder::root_first);

    EXPECT_EQ(registry.registered_count(), 0u);
}

TEST(BlockManager, lists_of_release_many_are_used_again) {
    auto manager = make_manager();
    const auto hashes = roots(2);
    cache(manager, hashes);
    std::vector<List> lists(1);
    manager.match_many(Requests{hashes}, lists);
    const auto front = lists[0].take_front(1);

    BlockManager<>::release_many(lists, ReleaseOrder::root_first);

    EXPECT_EQ(manager.match_many(Requests{only(hashes[1])}, lists), 1u);
    EXPECT_EQ(lists[0].block_ids(), Ids{1});
}

}  // namespace
