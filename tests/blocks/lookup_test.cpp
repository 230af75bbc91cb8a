// What match, scattered match and scan find, whom they touch, and what they count. blocks.md M1 to
// M6, examples 48 to 56.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;
using Places = std::vector<std::optional<BlockId>>;

constexpr auto miss = std::nullopt;

// A hash nobody registers.
SequenceHash stranger() {
    return root_hash(0xDEAD);
}

// --- match ---

// Example 48.
TEST(BlockManager, matches_nothing_when_nothing_is_registered) {
    auto manager = make_manager();
    MetricsWatch watch(manager);

    EXPECT_TRUE(manager.match_blocks(roots(3)).empty());

    EXPECT_EQ(watch.moved(), "match_requested +3");
}

// M1.
TEST(BlockManager, matching_a_held_block_gives_one_more_reference) {
    auto manager = make_manager();
    const auto held = register_one(manager, root_hash(7));
    MetricsWatch watch(manager);

    const auto hit = manager.match_blocks(only(root_hash(7)));

    EXPECT_EQ(hit.block_ids(), Ids{0});
    EXPECT_EQ(hit[0].use_count(), 2u);
    EXPECT_EQ(watch.moved(), "match_requested +1, match_returned +1, immutable +1");
}

TEST(BlockManager, matching_a_cached_block_takes_it_out_of_the_inactive_pool) {
    auto manager = make_manager();
    cache(manager, only(root_hash(7)));
    MetricsWatch watch(manager);

    const auto hit = manager.match_blocks(only(root_hash(7)));

    EXPECT_EQ(hit.block_ids(), Ids{0});
    EXPECT_EQ(hit[0].use_count(), 1u);
    EXPECT_EQ(watch.moved(), "match_requested +1, match_returned +1, immutable +1, inactive -1");
}

// M1: a duplicate is never returned.
TEST(BlockManager, matching_gives_the_primary_and_never_a_duplicate) {
    auto manager = make_manager();
    const auto [primary, duplicate] = register_twice(manager, root_hash(7));

    EXPECT_EQ(manager.match_blocks(only(root_hash(7))).block_ids(), Ids{0});
    EXPECT_EQ(places(manager.match_blocks_scattered(only(root_hash(7)))), Places{0});
    EXPECT_EQ(manager.scan_matches(only(root_hash(7)), Touch::no).find(root_hash(7))->block_id(),
              0u);
}

// How the blocks stand before a match, a letter each: Active, Inactive, - unknown; and how many are
// matched.
struct Row {
    std::string blocks;
    std::size_t matched;
};
void PrintTo(const Row& row, std::ostream* out) {
    *out << row.blocks;
}

class MatchedPrefix : public testing::TestWithParam<std::tuple<Policy, Row>> {};

// Examples 48 and 49, M2, INV-R5.
TEST_P(MatchedPrefix, goes_up_to_the_first_unknown_hash) {
    const auto& [policy, row] = GetParam();
    auto manager = make_manager({.policy = policy});
    const auto hashes = chain(row.blocks.size());
    std::vector<ImmutableBlock<>> active;
    Ids ids;
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        if (row.blocks[i] != '-') {
            auto block = register_one(manager, hashes[i]);
            ids.push_back(block.block_id());
            if (row.blocks[i] == 'A') {
                active.push_back(std::move(block));
            }
        }
    }
    const auto before = states(manager);
    MetricsWatch watch(manager);

    auto matched = manager.match_blocks(hashes);

    ids.resize(row.matched);
    EXPECT_EQ(matched.block_ids(), ids);
    EXPECT_EQ(manager.check_invariants().to_string(), "");
    matched.clear();
    EXPECT_EQ(states(manager), before);
    EXPECT_EQ(manager.metrics()->snapshot().match_hashes_requested, hashes.size());
    EXPECT_EQ(manager.metrics()->snapshot().match_blocks_returned, row.matched);
}

INSTANTIATE_TEST_SUITE_P(
    BlockManager, MatchedPrefix,
    testing::Combine(testing::ValuesIn(all_policies),
                     testing::Values(Row{"A", 1}, Row{"I", 1}, Row{"AAAA", 4}, Row{"IIII", 4},
                                     Row{"AAIIAA", 6}, Row{"IA", 2}, Row{"AIA", 3}, Row{"II-", 2},
                                     Row{"AI-AI", 2}, Row{"-AI", 0}, Row{"---", 0})));

// Example 50.
TEST(BlockManager, matching_no_hashes_touches_and_counts_nothing) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    cache(manager, roots(2));
    watched.take_touches();
    MetricsWatch watch(manager);

    EXPECT_TRUE(manager.match_blocks({}).empty());
    EXPECT_EQ(manager.match_blocks_scattered({}).size(), 0u);
    EXPECT_TRUE(manager.scan_matches({}, Touch::yes).empty());

    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(watched.take_touches(), Hashes{});
}

TEST(BlockManager, matches_hashes_that_form_no_chain) {
    auto manager = make_manager();
    cache(manager, roots(3));

    const auto hits = manager.match_blocks(Hashes{root_hash(3), root_hash(1), root_hash(2)});

    EXPECT_EQ(hits.block_ids(), (Ids{2, 0, 1}));
}

TEST(BlockManager, matching_a_hash_twice_gives_its_block_twice) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    cache(manager, roots(1));
    watched.take_touches();
    MetricsWatch watch(manager);

    const auto hits = manager.match_blocks(Hashes{root_hash(1), root_hash(1)});

    EXPECT_EQ(hits.block_ids(), (Ids{0, 0}));
    EXPECT_EQ(hits[0].use_count(), 2u);
    EXPECT_EQ(watch.moved(), "match_requested +2, match_returned +2, immutable +2, inactive -1");
    EXPECT_EQ(watched.take_touches(), (Hashes{root_hash(1), root_hash(1)}));
}

TEST(BlockManager, matching_into_a_list_appends_the_hits) {
    auto manager = make_manager();
    cache(manager, roots(3));
    auto held = manager.match_blocks(roots(1));

    const auto count = manager.match_blocks_into(Hashes{root_hash(2), stranger()}, held);

    EXPECT_EQ(count, 1u);
    EXPECT_EQ(held.block_ids(), (Ids{0, 1}));
}

// --- touches ---

// Example 51.
TEST(BlockManager, a_match_touches_what_it_returns_in_order_and_no_more) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    const auto hashes = chain(5);
    cache(manager, hashes);
    const auto active = manager.match_blocks({hashes.data(), 2});
    watched.take_touches();

    manager.match_blocks(hashes).clear();
    EXPECT_EQ(watched.take_touches(), hashes);
    manager.match_blocks(only(stranger())).clear();
    EXPECT_EQ(watched.take_touches(), Hashes{});
    manager.match_blocks(only(hashes[4])).clear();
    EXPECT_EQ(watched.take_touches(), Hashes{hashes[4]});
    manager.match_blocks(only(hashes[0])).clear();
    EXPECT_EQ(watched.take_touches(), Hashes{hashes[0]});
    manager.match_blocks(Hashes{hashes[0], stranger(), hashes[1]}).clear();

    EXPECT_EQ(watched.take_touches(), Hashes{hashes[0]});
}

// What is done to a manager with a held block 1, a cached block 2 and an evicted hash 3 that a
// handle keeps known; and whom it touches.
struct TouchRow {
    std::string name;
    std::function<void(BlockManager<>&, BlockRegistry&)> act;
    std::vector<std::uint64_t> touched;
};

class Touches : public testing::TestWithParam<TouchRow> {};

// The table of M6.
TEST_P(Touches, are_those_of_the_table) {
    WatchedRegistry watched;
    auto manager = make_manager({.block_count = 4, .registry = watched.registry});
    const auto held = register_one(manager, root_hash(1));
    cache(manager, only(root_hash(2)));
    const auto known = watched.registry.register_sequence_hash(root_hash(3));
    watched.take_touches();

    GetParam().act(manager, watched.registry);

    Hashes expected;
    for (const auto content : GetParam().touched) {
        expected.push_back(root_hash(content));
    }
    EXPECT_EQ(watched.take_touches(), expected);
}

INSTANTIATE_TEST_SUITE_P(
    BlockManager, Touches,
    testing::Values(
        TouchRow{"register_new_and_known",
                 [](auto& m, auto&) { cache(m, Hashes{root_hash(4), root_hash(2)}); },
                 {4}},
        TouchRow{"match", [](auto& m, auto&) { m.match_blocks(roots(3)).clear(); }, {1, 2}},
        TouchRow{
            "match_scattered",
            [](auto& m, auto&) {
                m.match_blocks_scattered(Hashes{root_hash(3), root_hash(2), root_hash(2)}).clear();
            },
            {2, 2}},
        TouchRow{"scan_with_touch",
                 [](auto& m, auto&) {
                     drop(m.scan_matches(
                         Hashes{root_hash(3), stranger(), root_hash(2), root_hash(3)}, Touch::yes));
                 },
                 {3, 2, 3}},
        TouchRow{"scan_without_touch",
                 [](auto& m, auto&) { drop(m.scan_matches(roots(3), Touch::no)); },
                 {}},
        TouchRow{"match_sequence_hash_with_touch",
                 [](auto&, auto& r) {
                     drop(r.match_sequence_hash(root_hash(3), Touch::yes));
                     drop(r.match_sequence_hash(stranger(), Touch::yes));
                     drop(r.match_sequence_hash(root_hash(1), Touch::no));
                 },
                 {3}},
        TouchRow{"touch_of_the_registry", [](auto&, auto& r) { r.touch(root_hash(9)); }, {9}},
        TouchRow{"upgrade",
                 [](auto& m, auto&) {
                     const auto weak = register_one(m, root_hash(1)).downgrade();
                     drop(weak.upgrade());
                 },
                 {}},
        TouchRow{"presence_and_is_registered",
                 [](auto&, auto& r) {
                     EXPECT_TRUE(is_present(r, root_hash(1)));
                     EXPECT_TRUE(r.is_registered(root_hash(2)));
                     EXPECT_EQ(r.count(root_hash(2)), 0u);
                 },
                 {}},
        TouchRow{
            "eviction", [](auto& m, auto&) { EXPECT_EQ(take_available(m), (Ids{2, 3, 1})); }, {}},
        TouchRow{
            "drain", [](auto& m, auto&) { EXPECT_FALSE(m.reset_inactive_pool().has_value()); }, {}},
        TouchRow{"transfer_registration",
                 [](auto&, auto& r) { drop(r.transfer_registration(root_hash(9))); },
                 {}}),
    [](const auto& info) { return info.param.name; });

// --- scattered match ---

class ScatteredMatch : public testing::TestWithParam<Policy> {};

// Example 52: the worked example of M3.
TEST_P(ScatteredMatch, goes_on_over_misses_and_feeds_the_match_counters) {
    WatchedRegistry watched;
    auto manager = make_manager({.policy = GetParam(), .registry = watched.registry});
    const auto hashes = chain(3);
    cache(manager, hashes);
    watched.take_touches();
    MetricsWatch watch(manager);

    const auto found =
        manager.match_blocks_scattered(Hashes{hashes[0], stranger(), hashes[0], hashes[2]});

    EXPECT_EQ(places(found), (Places{0, miss, 0, 2}));
    EXPECT_EQ(found.size(), 4u);
    EXPECT_EQ(found.hits(), 3u);
    EXPECT_EQ(watch.moved(), "match_requested +4, match_returned +3, immutable +3, inactive -2");
    EXPECT_EQ(watched.take_touches(), (Hashes{hashes[0], hashes[0], hashes[2]}));
}

// Example 53, INV-R6.
TEST_P(ScatteredMatch, resolves_a_repeated_cached_hash_to_one_block) {
    auto manager = make_manager({.policy = GetParam()});
    cache(manager, roots(1));
    MetricsWatch watch(manager);

    const auto found = manager.match_blocks_scattered(Hashes{root_hash(1), root_hash(1)});

    EXPECT_EQ(places(found), (Places{0, 0}));
    EXPECT_EQ(found[0]->use_count(), 2u);
    EXPECT_EQ(watch.moved(), "match_requested +2, match_returned +2, immutable +2, inactive -1");
}

TEST_P(ScatteredMatch, lets_go_of_what_it_found_front_to_back) {
    auto manager = make_manager({.block_count = 4, .policy = GetParam()});
    const auto hashes = roots(4);
    cache(manager, hashes);

    {
        const auto found = manager.match_blocks_scattered(Hashes{hashes[2], stranger(), hashes[0]});
        EXPECT_EQ(states(manager), "PIPI");
    }

    EXPECT_EQ(take(manager, 4), (Ids{1, 3, 2, 0}));
}

INSTANTIATE_TEST_SUITE_P(BlockManager, ScatteredMatch, testing::ValuesIn(all_policies),
                         PolicyName());

TEST(ScatteredBlockList, cleared_leaf_first_lets_go_back_to_front) {
    auto manager = make_manager({.block_count = 3});
    const auto hashes = roots(3);
    cache(manager, hashes);

    auto found = manager.match_blocks_scattered(hashes);
    found.clear(ReleaseOrder::leaf_first);

    EXPECT_EQ(found.size(), 0u);
    EXPECT_EQ(found.hits(), 0u);
    EXPECT_EQ(take(manager, 3), (Ids{2, 1, 0}));
}

TEST(ScatteredBlockList, gives_its_hits_as_a_list_without_the_gaps) {
    auto manager = make_manager();
    cache(manager, roots(3));
    auto found = manager.match_blocks_scattered(
        Hashes{stranger(), root_hash(3), stranger(), root_hash(1), stranger()});
    MetricsWatch watch(manager);

    const auto hits = std::move(found).take_hits();

    EXPECT_EQ(hits.block_ids(), (Ids{2, 0}));
    EXPECT_EQ(watch.moved(), "");
}

TEST(ScatteredBlockList, moved_and_assigned_holds_each_block_once) {
    auto manager = make_manager();
    cache(manager, roots(2));
    auto first = manager.match_blocks_scattered(roots(1));
    auto second = manager.match_blocks_scattered(only(root_hash(2)));

    first = std::move(second);
    EXPECT_EQ(states(manager), "IPRRRRRR");
    const auto moved = std::move(first);

    EXPECT_EQ(moved.hits(), 1u);
    EXPECT_EQ(first.hits(), 0u);
    EXPECT_EQ(places(moved), Places{1});
}

TEST(ScatteredBlockList, of_misses_alone_holds_nothing) {
    auto manager = make_manager();

    const auto found = manager.match_blocks_scattered(Hashes{stranger(), stranger()});

    EXPECT_EQ(places(found), (Places{miss, miss}));
    EXPECT_EQ(found.hits(), 0u);
}

// --- scan ---

Hashes hashes_of(const ScanResult<>& result) {
    Hashes hashes;
    for (const auto& found : result) {
        EXPECT_EQ(found.hash, found.block.sequence_hash());
        hashes.push_back(found.hash);
    }
    return hashes;
}

// Example 54, M4.
TEST(BlockManager, a_scan_holds_each_found_hash_once) {
    auto manager = make_manager();
    cache(manager, roots(1));
    MetricsWatch watch(manager);

    const auto result =
        manager.scan_matches(Hashes{root_hash(1), root_hash(1), root_hash(1)}, Touch::no);

    EXPECT_EQ(result.size(), 1u);
    EXPECT_EQ(watch.moved(), "scan_requested +3, scan_returned +1, immutable +1, inactive -1");
}

// Example 55.
TEST(BlockManager, a_scan_touches_each_occurrence_of_a_live_hash_when_asked_to) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    cache(manager, roots(1));
    watched.take_touches();
    const Hashes twice{root_hash(1), root_hash(1)};

    drop(manager.scan_matches(twice, Touch::yes));
    EXPECT_EQ(watched.take_touches(), twice);
    drop(manager.scan_matches(twice, Touch::no));

    EXPECT_EQ(watched.take_touches(), Hashes{});
}

TEST(BlockManager, a_scan_touches_hashes_that_another_tier_holds_and_finds_no_block) {
    WatchedRegistry watched;
    auto manager = make_manager({.registry = watched.registry});
    auto host = make_manager<G2>({.registry = watched.registry});
    const auto elsewhere = register_one(host, root_hash(7));
    watched.take_touches();
    MetricsWatch watch(manager);

    const auto result =
        manager.scan_matches(Hashes{root_hash(7), stranger(), root_hash(7)}, Touch::yes);

    EXPECT_TRUE(result.empty());
    EXPECT_EQ(watched.take_touches(), (Hashes{root_hash(7), root_hash(7)}));
    EXPECT_EQ(watch.moved(), "scan_requested +3");
    drop(manager.scan_matches(only(root_hash(7)), Touch::no));
    EXPECT_EQ(watched.take_touches(), Hashes{});
}

// M4: touches of a long scan, past what the registry answers at a time.
TEST(BlockManager, a_long_scan_touches_in_input_order) {
    WatchedRegistry watched;
    auto manager = make_manager({.block_count = 200, .registry = watched.registry});
    const auto hashes = roots(200);
    cache(manager, hashes);
    watched.take_touches();

    const auto result = manager.scan_matches(hashes, Touch::yes);

    EXPECT_EQ(result.size(), 200u);
    EXPECT_EQ(watched.take_touches(), hashes);
}

// The same where the registry has one manager and the library's sketch, and knows of blocks by this
// manager's index alone.
TEST(BlockManager, a_long_scan_in_a_sole_store_touches_each_live_hash_once) {
    auto registry = tracking_registry();
    auto manager = make_manager({.block_count = 3000, .registry = registry});
    const auto hashes = roots(3000);
    const std::span all(hashes);
    cache(manager, hashes);
    drop(manager.allocate_blocks(1500));                             // evicts the first half
    const auto handle = registry.register_sequence_hash(hashes[7]);  // live, without a block
    const auto counts_before = registry.count(hashes[7]);

    const auto result = manager.scan_matches(all, Touch::yes);

    EXPECT_EQ(result.size(), 1500u);
    EXPECT_EQ(registry.count(hashes[7]), counts_before + 1);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        if (i != 7) {
            ASSERT_EQ(registry.count(hashes[i]), i < 1500 ? 1u : 2u) << i;
        }
    }
}

// Example 56, M5.
TEST(BlockManager, a_scan_is_ordered_by_first_occurrence_and_misses_leave_no_gap) {
    auto manager = make_manager();
    cache(manager, roots(4));
    const Hashes asked{root_hash(3), stranger(), root_hash(1), root_hash(3), root_hash(4)};

    const auto result = manager.scan_matches(asked, Touch::no);

    EXPECT_EQ(hashes_of(result), (Hashes{root_hash(3), root_hash(1), root_hash(4)}));
    EXPECT_EQ(result.find(root_hash(4))->block_id(), 3u);
    EXPECT_EQ(result.find(stranger()), nullptr);
    EXPECT_EQ(result.find(root_hash(2)), nullptr);
}

TEST(BlockManager, guards_of_scans_and_lists_are_counted_as_they_come_and_go) {
    auto manager = make_manager();
    const auto guards = [&] { return manager.metrics()->snapshot().inflight_immutable; };
    auto held = register_all(manager, roots(3));
    EXPECT_EQ(guards(), 3);

    drop(held.pop_back());
    drop(held.pop_back());
    EXPECT_EQ(guards(), 1);
    held.clear();
    const auto result = manager.scan_matches(joined(roots(3), {stranger()}), Touch::no);

    EXPECT_EQ(guards(), 3);
}

TEST(BlockManager, a_second_scan_of_the_same_blocks_holds_them_again) {
    auto manager = make_manager();
    cache(manager, roots(3));

    const auto first = manager.scan_matches(roots(3), Touch::no);
    const auto second = manager.scan_matches(Hashes{root_hash(2), root_hash(2)}, Touch::no);

    EXPECT_EQ(second.size(), 1u);
    EXPECT_EQ(second.find(root_hash(2))->use_count(), 2u);
    EXPECT_EQ(first.find(root_hash(1))->use_count(), 1u);
}

TEST(ScanResult, gives_its_blocks_as_a_list_in_order) {
    auto manager = make_manager();
    cache(manager, roots(3));
    auto result = manager.scan_matches(Hashes{root_hash(3), root_hash(1)}, Touch::no);

    const auto blocks = std::move(result).take_blocks();

    EXPECT_EQ(blocks.block_ids(), (Ids{2, 0}));
    EXPECT_EQ(states(manager), "PIPRRRRR");
}

}  // namespace
