// Guards that travel together: taking lists apart and putting them together, the order in which
// they let go, and staging all or none. blocks.md G19 to G22, S5, examples 27 to 29.
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

// The first `count` blocks of a fresh manager, in a list of this type.
template <class List>
List make_list(BlockManager<>& manager, std::size_t count) {
    if constexpr (std::is_same_v<List, MutableBlockList<>>) {
        return allocate(manager, count);
    } else if constexpr (std::is_same_v<List, CompleteBlockList<>>) {
        return stage(manager, roots(count));
    } else {
        return register_all(manager, roots(count));
    }
}

// The order in which a list let its blocks go, when it held all blocks of an LRU manager.
Ids release_order(BlockManager<>& manager) {
    return take(manager, manager.total_blocks());
}

template <class List>
class GuardList : public testing::Test {
  protected:
    BlockManager<> manager_ = make_manager({.block_count = 6});

    List make(std::size_t count) { return make_list<List>(manager_, count); }
};

struct ListName {
    template <class List>
    static std::string GetName(int) {
        return std::is_same_v<List, MutableBlockList<>>    ? "mutable"
               : std::is_same_v<List, CompleteBlockList<>> ? "complete"
                                                           : "immutable";
    }
};
using Lists = testing::Types<MutableBlockList<>, CompleteBlockList<>, ImmutableBlockList<>>;
TYPED_TEST_SUITE(GuardList, Lists, ListName);

TYPED_TEST(GuardList, made_empty_holds_nothing_and_lets_nothing_go) {
    TypeParam list;

    EXPECT_TRUE(list.empty());
    EXPECT_EQ(list.size(), 0u);
    EXPECT_EQ(list.begin(), list.end());
    EXPECT_EQ(list.block_ids(), Ids{});
    list.clear();
    EXPECT_TRUE(list.split_off(0).empty());
    EXPECT_TRUE(list.take_front(0).empty());
}

TYPED_TEST(GuardList, shows_its_guards_in_order) {
    const auto list = this->make(3);

    EXPECT_EQ(list.size(), 3u);
    EXPECT_FALSE(list.empty());
    EXPECT_EQ(list.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(list[2].block_id(), 2u);
    Ids walked;
    for (const auto& guard : list) {
        walked.push_back(guard.block_id());
    }
    EXPECT_EQ(walked, (Ids{0, 1, 2}));
}

TYPED_TEST(GuardList, takes_and_gives_single_guards_at_its_end) {
    auto list = this->make(3);

    auto last = list.pop_back();
    auto middle = list.pop_back();
    list.push_back(std::move(last));

    EXPECT_FALSE(static_cast<bool>(last));
    EXPECT_EQ(list.block_ids(), (Ids{0, 2}));
    EXPECT_EQ(middle.block_id(), 1u);
}

TYPED_TEST(GuardList, appends_another_and_empties_it) {
    auto list = this->make(4);
    auto tail = list.split_off(1);
    EXPECT_EQ(list.block_ids(), Ids{0});
    EXPECT_EQ(tail.block_ids(), (Ids{1, 2, 3}));

    list.append(std::move(tail));

    EXPECT_TRUE(tail.empty());
    EXPECT_EQ(list.block_ids(), (Ids{0, 1, 2, 3}));
}

TYPED_TEST(GuardList, is_the_same_after_being_split_anywhere_and_joined) {
    auto list = this->make(6);
    for (std::size_t at = 0; at <= 6; ++at) {
        auto tail = list.split_off(at);
        EXPECT_EQ(list.size(), at);
        list.append(std::move(tail));
        ASSERT_EQ(list.block_ids(), (Ids{0, 1, 2, 3, 4, 5}));
    }
}

TYPED_TEST(GuardList, gives_its_front_bit_by_bit) {
    auto list = this->make(6);

    const auto first = list.take_front(2);
    const auto none = list.take_front(0);
    const auto second = list.take_front(3);
    EXPECT_EQ(list.block_ids(), Ids{5});
    EXPECT_EQ(list[0].block_id(), 5u);
    const auto third = list.take_front(1);

    EXPECT_EQ(first.block_ids(), (Ids{0, 1}));
    EXPECT_TRUE(none.empty());
    EXPECT_EQ(second.block_ids(), (Ids{2, 3, 4}));
    EXPECT_EQ(third.block_ids(), Ids{5});
    EXPECT_TRUE(list.empty());
}

TYPED_TEST(GuardList, works_on_behind_a_front_that_was_taken) {
    auto list = this->make(6);
    const auto front = list.take_front(3);

    auto tail = list.split_off(1);
    list.push_back(tail.pop_back());
    list.append(std::move(tail));

    EXPECT_EQ(list.block_ids(), (Ids{3, 5, 4}));
    EXPECT_EQ(list.pop_back().block_id(), 4u);
}

// A queue: taken in front, filled behind, so that the room in front is used again.
TYPED_TEST(GuardList, serves_as_a_queue) {
    auto list = this->make(6);
    Ids order;
    for (int i = 0; i < 40; ++i) {
        auto first = list.take_front(1);
        order.push_back(first[0].block_id());
        list.append(std::move(first));
    }

    for (std::size_t i = 0; i < order.size(); ++i) {
        ASSERT_EQ(order[i], i % 6);
    }
    EXPECT_EQ(list.size(), 6u);
}

TYPED_TEST(GuardList, holds_the_same_guards_with_more_room) {
    auto list = this->make(2);

    list.reserve(100);
    list.reserve(1);

    EXPECT_EQ(list.block_ids(), (Ids{0, 1}));
}

// INV-G1.
TYPED_TEST(GuardList, lets_go_each_block_once_however_it_travels) {
    auto list = this->make(6);
    auto other = list.split_off(3);

    auto& self = list;
    list = std::move(self);
    EXPECT_EQ(list.size(), 3u);
    std::swap(list, other);
    EXPECT_EQ(list.block_ids(), (Ids{3, 4, 5}));
    const auto moved = std::move(other);
    EXPECT_TRUE(other.empty());
    other = std::move(list);
    EXPECT_EQ(this->manager_.available_blocks(), 0u);
    other = TypeParam{};

    EXPECT_EQ(this->manager_.available_blocks(), 3u);
    EXPECT_EQ(take(this->manager_, 3), (Ids{3, 4, 5}));
    EXPECT_EQ(moved.block_ids(), (Ids{0, 1, 2}));
}

// G20.
TYPED_TEST(GuardList, destroyed_lets_go_front_to_back) {
    {
        const auto list = this->make(6);
    }

    EXPECT_EQ(release_order(this->manager_), (Ids{0, 1, 2, 3, 4, 5}));
}

TYPED_TEST(GuardList, cleared_lets_go_root_first_by_default) {
    auto list = this->make(6);

    list.clear();

    EXPECT_TRUE(list.empty());
    EXPECT_EQ(release_order(this->manager_), (Ids{0, 1, 2, 3, 4, 5}));
}

TYPED_TEST(GuardList, cleared_leaf_first_lets_go_back_to_front) {
    auto list = this->make(6);

    list.clear(ReleaseOrder::leaf_first);

    EXPECT_TRUE(list.empty());
    EXPECT_EQ(release_order(this->manager_), (Ids{5, 4, 3, 2, 1, 0}));
}

TYPED_TEST(GuardList, assigned_over_lets_go_front_to_back) {
    auto list = this->make(6);
    auto kept = list.split_off(4);

    list = std::move(kept);

    EXPECT_EQ(take(this->manager_, 4), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(list.block_ids(), (Ids{4, 5}));
}

TYPED_TEST(GuardList, that_is_empty_again_takes_guards_of_another_manager) {
    auto list = this->make(2);
    auto other_manager = make_manager();
    auto other = make_list<TypeParam>(other_manager, 3);

    list.clear();
    list.push_back(other.pop_back());
    list.append(std::move(other));

    EXPECT_EQ(list[0].manager_id(), other_manager.id());
    EXPECT_EQ(list.block_ids(), (Ids{2, 0, 1}));
}

// Example 28, S5: a list is let go as its guards are one by one.
TYPED_TEST(GuardList, of_128_guards_ends_as_128_single_drops) {
    auto together = make_manager({.block_count = 128});
    auto one_by_one = make_manager({.block_count = 128});
    MetricsWatch together_moved(together);
    MetricsWatch one_by_one_moved(one_by_one);

    make_list<TypeParam>(together, 128).clear();
    drop_singly(make_list<TypeParam>(one_by_one, 128));

    EXPECT_EQ(together_moved.moved(), one_by_one_moved.moved());
    EXPECT_EQ(states(together), states(one_by_one));
    EXPECT_EQ(release_order(together), release_order(one_by_one));
}

// --- registered lists ---

TEST(ImmutableBlockList, cloned_holds_each_block_once_more) {
    auto manager = make_manager({.block_count = 3});
    auto list = register_all(manager, roots(2));
    MetricsWatch watch(manager);

    auto clone = list.clone();
    EXPECT_EQ(watch.moved(), "immutable +2");
    EXPECT_EQ(clone.block_ids(), list.block_ids());
    EXPECT_EQ(list[1].use_count(), 2u);
    list.clear();
    EXPECT_EQ(states(manager), "PPR");
    clone.clear();

    EXPECT_EQ(states(manager), "IIR");
    EXPECT_TRUE(ImmutableBlockList<>{}.clone().empty());
}

// One list may hold a block several times.
TEST(ImmutableBlockList, lets_a_repeated_block_go_at_its_last_place) {
    auto manager = make_manager({.block_count = 2});
    auto list = register_all(manager, roots(2));
    list.push_back(ImmutableBlock<>(list[0]));
    EXPECT_EQ(list.block_ids(), (Ids{0, 1, 0}));

    list.clear();

    EXPECT_EQ(take(manager, 2), (Ids{1, 0}));
}

// Example 29, G21, with the flag off and on.
TEST(ImmutableBlockList, of_a_primary_and_its_duplicate_ends_the_same_in_either_order) {
    for (const bool reset_on_release : {false, true}) {
        for (const bool primary_first : {true, false}) {
            auto manager = make_manager({.block_count = 4, .reset_on_release = reset_on_release});
            auto [primary, duplicate] = register_twice(manager, root_hash(7));
            ImmutableBlockList<> list;
            list.push_back(primary_first ? std::move(primary) : std::move(duplicate));
            list.push_back(primary_first ? std::move(duplicate) : std::move(primary));

            list.clear();

            EXPECT_EQ(states(manager), reset_on_release ? "RRRR" : "IRRR");
            EXPECT_EQ(take(manager, 4), (Ids{2, 3, 1, 0}));
            EXPECT_EQ(manager.check_invariants().to_string(), "");
        }
    }
}

TEST(ImmutableBlockList, a_primary_goes_at_the_place_of_its_last_duplicate) {
    auto manager = make_manager({.block_count = 5, .reset_on_release = true});
    const auto hash = root_hash(7);
    auto blocks = register_singly(manager, Hashes{hash, hash, root_hash(8), hash, root_hash(9)});

    blocks.clear();

    EXPECT_EQ(take(manager, 5), (Ids{1, 2, 3, 0, 4}));
}

// --- staging all or none ---

using StageError = StageAllError<MutableBlockList<>>;

TEST(MutableBlockList, staged_as_a_whole_has_a_hash_for_each_block) {
    auto manager = make_manager();
    auto list = allocate(manager, 3);
    MetricsWatch watch(manager);

    const auto staged = must(std::move(list).stage_all(roots(3), tokens_per_block));

    EXPECT_TRUE(list.empty());
    EXPECT_EQ(staged.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(staged[1].sequence_hash(), root_hash(2));
    EXPECT_EQ(watch.moved(), "stagings +3, mutable -3");
}

TEST(MutableBlockList, empty_is_staged_with_no_hashes) {
    EXPECT_TRUE(must(MutableBlockList<>{}.stage_all({}, tokens_per_block)).empty());
    EXPECT_TRUE(must(MutableBlockList<>{}.complete_all({})).empty());
}

TEST(MutableBlockList, completed_as_a_whole_has_the_hashes_of_the_token_blocks) {
    auto manager = make_manager();
    const std::vector<Token> tokens(12, 7);
    const TokenBlockSequence sequence(tokens, tokens_per_block);

    const auto completed = must(allocate(manager, 3).complete_all(sequence.blocks()));

    ASSERT_EQ(completed.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(completed[i].sequence_hash(), sequence.blocks()[i].sequence_hash());
    }
}

// Example 27: nothing was staged, and all blocks come back in order.
TEST(MutableBlockList, staged_with_a_wrong_size_comes_back_whole) {
    auto manager = make_manager();
    auto list = allocate(manager, 3);
    MetricsWatch watch(manager);

    auto refused = std::move(list).stage_all(roots(3), 8);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().index, 0u);
    EXPECT_EQ(refused.error().message(), "Block size mismatch: expected 4 tokens, got 8");
    EXPECT_EQ(refused.error().blocks.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(watch.moved(), "");
    EXPECT_EQ(states(manager), "MMMRRRRR");
    EXPECT_EQ(must(std::move(refused.error().blocks).stage_all(roots(3), 4)).size(), 3u);
}

TEST(MutableBlockList, staged_with_a_wrong_number_of_hashes_comes_back_whole) {
    auto manager = make_manager();

    const auto too_few = allocate(manager, 3).stage_all(roots(2), tokens_per_block);
    const auto too_many = allocate(manager, 3).stage_all(roots(5), tokens_per_block);

    ASSERT_FALSE(too_few.has_value());
    EXPECT_EQ(too_few.error().index, 2u);
    EXPECT_EQ(too_few.error().message(), "expected 3 hashes, got 2");
    EXPECT_EQ(too_few.error().blocks.block_ids(), (Ids{0, 1, 2}));
    ASSERT_FALSE(too_many.has_value());
    EXPECT_EQ(too_many.error().index, 3u);
    EXPECT_EQ(too_many.error().message(), "expected 3 hashes, got 5");
    EXPECT_TRUE(std::holds_alternative<StageError::WrongCount>(too_many.error().reason));
    EXPECT_EQ(states(manager), "MMMMMMRR");
}

TEST(MutableBlockList, completed_with_one_bad_block_comes_back_whole_and_names_it) {
    auto manager = make_manager();
    const std::vector<Token> tokens(16, 7);
    const auto good = TokenBlockSequence(tokens, tokens_per_block);
    const auto bad = TokenBlockSequence(tokens, 8);
    const std::vector<TokenBlock> blocks{good.blocks()[0], good.blocks()[1], bad.blocks()[0],
                                         bad.blocks()[1]};
    auto list = allocate(manager, 4);
    MetricsWatch watch(manager);

    const auto refused = std::move(list).complete_all(blocks);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().index, 2u);
    EXPECT_EQ(refused.error().message(), "Block size mismatch: expected 4 tokens, got 8");
    EXPECT_EQ(refused.error().blocks.block_ids(), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(watch.moved(), "");
}

TEST(MutableBlockList, completed_with_a_wrong_number_of_blocks_comes_back_whole) {
    auto manager = make_manager();
    const std::vector<Token> tokens(8, 7);

    const auto refused =
        allocate(manager, 3).complete_all(TokenBlockSequence(tokens, tokens_per_block).blocks());

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().index, 2u);
    EXPECT_EQ(refused.error().message(), "expected 3 hashes, got 2");
    EXPECT_EQ(refused.error().blocks.size(), 3u);
}

// INV-G11: an error that is dropped lets its blocks go once, front to back.
TEST(MutableBlockList, in_an_error_that_is_dropped_is_let_go) {
    auto manager = make_manager({.block_count = 3});
    {
        const auto refused = allocate(manager, 3).stage_all(roots(3), 8);
        EXPECT_EQ(states(manager), "MMM");
    }

    EXPECT_EQ(take(manager, 3), (Ids{0, 1, 2}));
}

TEST(CompleteBlockList, reset_as_a_whole_is_mutable_again) {
    auto manager = make_manager();
    auto list = stage(manager, roots(3));
    MetricsWatch watch(manager);

    const auto blocks = std::move(list).reset_all();

    EXPECT_TRUE(list.empty());
    EXPECT_EQ(blocks.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(states(manager), "MMMRRRRR");
    EXPECT_EQ(watch.moved(), "mutable +3");
    EXPECT_TRUE(CompleteBlockList<>{}.reset_all().empty());
}

}  // namespace
