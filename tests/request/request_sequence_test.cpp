// The plain request by example: matching, allocating, registering, appending, preemption. E1 to E10
// of requests.md 11.
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using kvbm::testing::requests::make_manager;
using kvbm::testing::requests::Options;
using Request = RequestSequence<>;
using Error = RequestError<>;
using Ids = std::vector<BlockId>;

BlockManager<> manager_of(std::size_t blocks, bool reject = false) {
    return make_manager({.block_count = blocks, .reject = reject});
}

Request counting_request(std::size_t tokens, std::size_t max_output) {
    return Request(counting_tokens(tokens), max_output, 4);
}

// A request that holds and has registered its full blocks, and `more` blocks behind them.
Request prefilled(BlockManager<>& manager, std::size_t tokens, std::size_t max_output,
                  std::size_t more) {
    auto request = counting_request(tokens, max_output);
    EXPECT_TRUE(request.allocate_blocks(tokens / 4 + more, manager));
    EXPECT_EQ(request.register_computed(tokens, manager), tokens / 4);
    return request;
}

void fill_cache(BlockManager<>& manager, std::size_t tokens) {
    static_cast<void>(prefilled(manager, tokens, 0, 0));
}

template <class Alternative>
Alternative& reason_of(Error& error) {
    EXPECT_TRUE(std::holds_alternative<Alternative>(error.reason)) << error.message();
    return std::get<Alternative>(error.reason);
}

TEST(RequestSequence, begins_with_named_blocks_and_holds_none) {
    const auto request = counting_request(8, 3);

    EXPECT_EQ(request.num_blocks(), 2u);
    EXPECT_EQ(request.num_input_tokens(), 8u);
    EXPECT_EQ(request.total_tokens(), 8u);
    EXPECT_EQ(request.generated_tokens(), 0u);
    EXPECT_EQ(request.remaining_tokens(), 3u);
    EXPECT_EQ(request.block_ids(), Ids{});
    EXPECT_FALSE(request.is_complete());
    EXPECT_EQ(request.new_tokens_for_prefill(), 8u);
    EXPECT_EQ(request.check_invariants().to_string(), "");
}

TEST(RequestSequence, that_may_generate_nothing_is_complete_at_once) {
    EXPECT_TRUE(counting_request(8, 0).is_complete());
}

TEST(RequestSequence, names_its_blocks_under_its_salt) {
    const auto tokens = counting_tokens(8);
    const Request plain(tokens, 1, 4);
    const Request salted(tokens, 1, 4, 42);

    EXPECT_EQ(salted.sequence(), BlockSequence(tokens, 4, 42));
    EXPECT_NE(salted.sequence().all_sequence_hashes()[0],
              plain.sequence().all_sequence_hashes()[0]);
}

TEST(RequestSequence, prefilled_by_hand_keeps_the_generation_block_queued) {
    auto manager = manager_of(8);
    const auto eight = prefilled(manager, 8, 4, 1);
    const auto six = prefilled(manager, 6, 4, 1);
    const auto none = prefilled(manager, 0, 4, 1);
    const auto silent = prefilled(manager, 8, 0, 0);

    EXPECT_EQ(eight.assigned_blocks(), 2u);
    EXPECT_EQ(eight.unassigned_blocks(), 1u);
    EXPECT_EQ(six.assigned_blocks(), 1u);
    EXPECT_EQ(six.unassigned_blocks(), 1u);
    EXPECT_EQ(none.assigned_blocks(), 0u);
    EXPECT_EQ(none.unassigned_blocks(), 1u);
    EXPECT_EQ(silent.unassigned_blocks(), 0u);
    EXPECT_EQ(manager.available_blocks(), 0u);
}

TEST(RequestSequence, allocation_takes_all_or_nothing) {
    auto manager = manager_of(2);
    auto request = counting_request(8, 1);

    EXPECT_FALSE(request.allocate_blocks(3, manager));
    EXPECT_FALSE(request.allocate_blocks(Request::npos, manager));
    EXPECT_EQ(manager.available_blocks(), 2u);
    EXPECT_EQ(request.unassigned_blocks(), 0u);
    EXPECT_TRUE(request.allocate_blocks(0, manager));
    EXPECT_TRUE(request.allocate_blocks(2, manager));
    EXPECT_EQ(request.block_ids(), (Ids{0, 1}));
}

TEST(RequestSequence, match_adopts_the_cached_prefix) {
    auto manager = manager_of(8);
    fill_cache(manager, 4);
    auto both = counting_request(8, 1);
    auto stranger = Request(counting_tokens(8, 100), 1, 4);

    EXPECT_EQ(must(both.match_and_add_prefix(manager)), 1u);
    EXPECT_EQ(must(stranger.match_and_add_prefix(manager)), 0u);

    EXPECT_EQ(both.assigned_blocks(), 1u);
    EXPECT_EQ(both.prefix_matched_blocks(), 1u);
    EXPECT_EQ(both.new_tokens_for_prefill(), 4u);
    EXPECT_EQ(stranger.prefix_matched_blocks(), 0u);
    EXPECT_EQ(both.check_invariants().to_string(), "");
}

TEST(RequestSequence, match_of_one_block_of_three_leaves_eight_tokens_of_twelve) {
    auto manager = manager_of(8);
    fill_cache(manager, 4);
    auto request = counting_request(12, 1);

    EXPECT_EQ(must(request.match_and_add_prefix(manager)), 1u);

    EXPECT_EQ(request.new_tokens_for_prefill(), 8u);
}

TEST(RequestSequence, match_asks_for_no_more_blocks_than_it_is_told) {
    auto manager = manager_of(8);
    fill_cache(manager, 12);
    auto request = counting_request(12, 1);

    EXPECT_EQ(must(request.match_and_add_prefix(manager, 2)), 2u);

    EXPECT_EQ(manager.metrics()->snapshot().match_hashes_requested, 2u);
}

TEST(RequestSequence, match_is_refused_while_blocks_are_held) {
    auto manager = manager_of(8);
    auto request = counting_request(8, 1);
    EXPECT_TRUE(request.allocate_blocks(2, manager));

    auto matched = request.match_and_add_prefix(manager);

    ASSERT_FALSE(matched.has_value());
    EXPECT_EQ(reason_of<BlocksHeld>(matched.error()).count, 2u);
    EXPECT_EQ(matched.error().message(), "expected no blocks, 2 held");
}

TEST(RequestSequence, blocks_found_by_other_means_go_behind_the_assigned_ones) {
    auto manager = manager_of(8);
    fill_cache(manager, 12);
    auto request = counting_request(12, 1);
    auto hits = manager.match_blocks(request.sequence().all_sequence_hashes());

    EXPECT_EQ(must(request.add_matched_blocks(hits.take_front(1))), 1u);
    EXPECT_EQ(must(request.add_matched_blocks(std::move(hits))), 2u);
    EXPECT_EQ(must(request.add_matched_blocks({})), 0u);

    EXPECT_EQ(request.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(request.prefix_matched_blocks(), 3u);
    EXPECT_EQ(request.check_invariants().to_string(), "");
}

TEST(RequestSequence, more_matched_blocks_than_it_has_come_back) {
    auto manager = manager_of(8);
    fill_cache(manager, 12);
    auto request = counting_request(11, 1);
    auto hits = manager.match_blocks(counting_request(12, 0).sequence().all_sequence_hashes());

    auto added = request.add_matched_blocks(std::move(hits));

    ASSERT_FALSE(added.has_value());
    const auto& excess = reason_of<Error::MatchExceedsSequence>(added.error());
    EXPECT_EQ(excess.matched, 3u);
    EXPECT_EQ(excess.available, 2u);
    EXPECT_EQ(excess.blocks.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(added.error().message(), "matched blocks exceed completed sequence blocks");
    EXPECT_EQ(request.assigned_blocks(), 0u);
}

TEST(RequestSequence, a_matched_block_of_another_hash_comes_back) {
    auto manager = manager_of(8);
    fill_cache(manager, 8);
    auto request = Request(counting_tokens(8, 100), 1, 4);
    const auto others = counting_request(8, 0);
    const auto hashes = others.sequence().all_sequence_hashes();

    auto added = request.add_matched_blocks(manager.match_blocks(hashes));

    ASSERT_FALSE(added.has_value());
    const auto& mismatch = reason_of<Error::SequenceHashMismatch>(added.error());
    EXPECT_EQ(mismatch.position, 0u);
    EXPECT_EQ(mismatch.expected, request.sequence().all_sequence_hashes()[0]);
    EXPECT_EQ(mismatch.actual, hashes[0]);
    EXPECT_EQ(mismatch.blocks.size(), 2u);
    EXPECT_EQ(added.error().message(), "sequence hash mismatch at position 0: expected " +
                                           mismatch.expected.to_string() + ", got 0:U4p6aEVXZkX");
    EXPECT_EQ(request.prefix_matched_blocks(), 0u);
}

TEST(RequestSequence, matched_blocks_are_refused_while_something_is_staged) {
    auto manager = manager_of(8);
    fill_cache(manager, 4);
    auto request = counting_request(8, 1);
    auto hits = manager.match_blocks(request.sequence().all_sequence_hashes());
    EXPECT_TRUE(request.allocate_blocks(1, manager));
    EXPECT_EQ(request.stage_pending(), 1u);

    auto added = request.add_matched_blocks(std::move(hits));

    ASSERT_FALSE(added.has_value());
    EXPECT_EQ(reason_of<Error::StagedPresent>(added.error()).blocks.size(), 1u);
    EXPECT_EQ(request.staged_blocks(), 1u);
}

TEST(RequestSequence, append_tells_which_block_a_token_completed_and_stops_at_the_limit) {
    auto request = counting_request(6, 3);

    EXPECT_EQ(must(request.append_token(6)), std::nullopt);
    EXPECT_EQ(must(request.append_token(7)), 1u);
    EXPECT_FALSE(request.is_complete());
    EXPECT_EQ(must(request.append_token(8)), std::nullopt);
    EXPECT_TRUE(request.is_complete());
    auto refused = request.append_token(9);

    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(reason_of<GenerationComplete>(refused.error()).generated, 3u);
    EXPECT_EQ(refused.error().message(), "generation complete: 3 >= 3");
    EXPECT_EQ(request.total_tokens(), 9u);
    EXPECT_EQ(request.generated_tokens(), 3u);
}

TEST(RequestSequence, append_of_many_takes_all_or_none) {
    auto request = counting_request(6, 6);

    EXPECT_EQ(must(request.append_tokens({6, 7, 8, 9, 10})), (IndexRange{1, 2}));
    EXPECT_FALSE(request.append_tokens({11, 12}).has_value());
    EXPECT_EQ(request.total_tokens(), 11u);
    EXPECT_EQ(must(request.append_tokens({})), std::nullopt);
    EXPECT_EQ(must(request.append_tokens({11})), (IndexRange{2, 3}));
    EXPECT_EQ(request.sequence(), counting_request(12, 0).sequence());
}

// Four tokens and eight generated ones: registered as computed, a new block at each boundary.
void generate_by_hand(BlockManager<>& manager, Request& request) {
    while (!request.is_complete()) {
        const std::size_t computed = request.total_tokens();
        must(request.append_token(static_cast<Token>(computed)));
        if (request.register_computed(computed, manager) > 0) {
            EXPECT_TRUE(request.allocate_blocks(1, manager));
        }
    }
}

TEST(RequestSequence, generation_loop_registers_each_block_one_pass_after_its_text) {
    auto manager = manager_of(8);
    auto request = counting_request(4, 8);
    EXPECT_TRUE(request.allocate_blocks(2, manager));

    generate_by_hand(manager, request);

    EXPECT_EQ(request.assigned_blocks(), 2u);  // the last token was never computed
    EXPECT_EQ(request.unassigned_blocks(), 2u);
    EXPECT_EQ(request.drop_excess_unassigned(1), 1u);
    EXPECT_EQ(request.block_ids(), (Ids{0, 1, 2}));
    EXPECT_EQ(manager.match_blocks(request.sequence().all_sequence_hashes()).size(), 2u);
}

TEST(RequestSequence, generation_loop_goes_on_behind_a_cached_block) {
    auto manager = manager_of(8);
    fill_cache(manager, 4);
    auto request = counting_request(8, 4);
    EXPECT_EQ(must(request.match_and_add_prefix(manager)), 1u);
    EXPECT_TRUE(request.allocate_blocks(2, manager));
    EXPECT_EQ(request.register_computed(8, manager), 1u);

    generate_by_hand(manager, request);

    EXPECT_EQ(request.sequence(), counting_request(12, 0).sequence());
    EXPECT_EQ(request.assigned_blocks(), 2u);
}

TEST(RequestSequence, registers_only_blocks_below_the_kv_position) {
    auto manager = manager_of(8);
    auto request = counting_request(12, 1);
    EXPECT_TRUE(request.allocate_blocks(3, manager));

    EXPECT_EQ(request.register_computed(3, manager), 0u);
    EXPECT_EQ(request.register_computed(7, manager), 1u);
    EXPECT_EQ(request.stage_pending(), 2u);
    EXPECT_EQ(request.register_computed(11, manager), 1u);
    EXPECT_EQ(request.staged_blocks(), 1u);
    EXPECT_EQ(manager.match_blocks(request.sequence().all_sequence_hashes()).size(), 2u);
    EXPECT_EQ(request.register_computed(Request::npos, manager), 1u);
    EXPECT_EQ(request.assigned_blocks(), 3u);
}

TEST(RequestSequence, stages_and_registers_in_two_steps_as_in_one) {
    auto manager = manager_of(8);
    auto two_steps = counting_request(10, 1);
    EXPECT_TRUE(two_steps.allocate_blocks(3, manager));
    auto one_step = Request(counting_tokens(10, 100), 1, 4);
    EXPECT_TRUE(one_step.allocate_blocks(3, manager));

    EXPECT_EQ(two_steps.stage_pending(), 2u);
    EXPECT_EQ(two_steps.staged_blocks(), 2u);
    EXPECT_EQ(two_steps.register_staged(manager), 2u);
    EXPECT_EQ(one_step.complete_and_register_pending(manager), 2u);

    EXPECT_EQ(two_steps.assigned_blocks(), one_step.assigned_blocks());
    EXPECT_EQ(two_steps.unassigned_blocks(), one_step.unassigned_blocks());
    EXPECT_EQ(one_step.complete_and_register_pending(manager), 0u);
}

TEST(RequestSequence, release_gives_all_blocks_back_and_may_be_repeated) {
    auto manager = manager_of(20);
    auto request = prefilled(manager, 8, 4, 1);
    EXPECT_EQ(manager.available_blocks(), 17u);

    request.release();
    request.release();

    EXPECT_EQ(manager.available_blocks(), 20u);
    EXPECT_EQ(request.total_tokens(), 8u);
    EXPECT_EQ(request.block_ids(), Ids{});
}

TEST(RequestSequence, releases_root_first_or_leaf_first) {
    auto root_first = manager_of(3);
    prefilled(root_first, 12, 0, 0).release();
    EXPECT_EQ(root_first.allocate_blocks(3)->block_ids(), (Ids{0, 1, 2}));

    auto leaf_first = manager_of(3);
    prefilled(leaf_first, 12, 0, 0).release(ReleaseOrder::leaf_first);
    EXPECT_EQ(leaf_first.allocate_blocks(3)->block_ids(), (Ids{2, 1, 0}));
}

TEST(RequestSequence, reacquire_takes_cached_blocks_and_queues_fresh_ones_unregistered) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, 8, 1);
    must(request.append_tokens({8, 9, 10, 11}));
    request.release();

    EXPECT_TRUE(must(request.reacquire(manager)));

    EXPECT_EQ(request.assigned_blocks(), 2u);
    EXPECT_EQ(request.unassigned_blocks(), 1u);
    EXPECT_EQ(request.prefix_matched_blocks(), 2u);
    EXPECT_EQ(manager.match_blocks(request.sequence().all_sequence_hashes()).size(), 2u);
    auto again = request.reacquire(manager);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(reason_of<BlocksHeld>(again.error()).count, 3u);
}

TEST(RequestSequence, reacquire_on_an_emptied_cache_registers_nothing) {
    auto manager = manager_of(4);
    auto request = prefilled(manager, 10, 4, 1);
    request.release();
    EXPECT_EQ(manager.reset_inactive_pool().value(), 2u);

    EXPECT_TRUE(must(request.reacquire(manager)));

    EXPECT_EQ(request.assigned_blocks(), 0u);
    EXPECT_EQ(request.unassigned_blocks(), 2u);
    EXPECT_EQ(request.prefix_matched_blocks(), 0u);
    EXPECT_TRUE(manager.match_blocks(request.sequence().all_sequence_hashes()).empty());
}

TEST(RequestSequence, reacquire_without_room_holds_nothing_and_changes_no_counter) {
    auto manager = manager_of(4);
    auto request = prefilled(manager, 12, 4, 0);
    request.release();
    EXPECT_EQ(must(request.match_and_add_prefix(manager)), 3u);
    request.release();
    const auto others = manager.allocate_blocks(2);  // the free one and the root

    EXPECT_FALSE(must(request.reacquire(manager)));

    EXPECT_EQ(request.block_ids(), Ids{});
    EXPECT_EQ(request.prefix_matched_blocks(), 3u);
    EXPECT_EQ(manager.available_blocks(), 2u);
    EXPECT_EQ(request.check_invariants().to_string(), "");
}

TEST(RequestSequence, failed_reacquire_leaves_what_it_matched_just_used) {
    auto manager = manager_of(3);
    prefilled(manager, 8, 0, 0).release();
    auto stranger = Request(counting_tokens(4, 100), 0, 4);
    EXPECT_TRUE(stranger.allocate_blocks(1, manager));
    EXPECT_EQ(stranger.register_computed(4, manager), 1u);
    stranger.release();
    auto longer = counting_request(20, 0);

    EXPECT_FALSE(must(longer.reacquire(manager)));

    EXPECT_EQ(manager.allocate_blocks(3)->block_ids(), (Ids{2, 0, 1}));
}

TEST(RequestSequence, prefix_counter_is_set_by_each_match) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 8, 4, 0);
    for (int round = 0; round < 2; ++round) {
        request.release();

        EXPECT_EQ(must(request.match_and_add_prefix(manager)), 2u);

        EXPECT_EQ(request.prefix_matched_blocks(), 2u);
        EXPECT_EQ(request.new_tokens_for_prefill(), 0u);
    }
}

TEST(RequestSequence, drops_the_newest_queued_blocks) {
    auto manager = manager_of(8);
    auto request = prefilled(manager, 4, 4, 3);

    EXPECT_EQ(request.drop_excess_unassigned(5), 0u);
    EXPECT_EQ(request.drop_excess_unassigned(1), 2u);
    EXPECT_EQ(request.block_ids(), (Ids{0, 1}));
    EXPECT_EQ(request.drop_excess_unassigned(0), 1u);
    EXPECT_EQ(manager.allocate_blocks(7)->block_ids(), (Ids{4, 5, 6, 7, 3, 2, 1}));
}

TEST(RequestSequence, under_reject_two_requests_share_their_pages_and_the_pool_is_all_there) {
    auto manager = manager_of(6, true);
    const auto first = prefilled(manager, 8, 4, 0);
    auto second = prefilled(manager, 8, 4, 0);

    EXPECT_EQ(second.block_ids(), first.block_ids());
    EXPECT_EQ(manager.available_blocks(), 4u);
    EXPECT_TRUE(second.allocate_blocks(4, manager));
    EXPECT_EQ(second.check_invariants().to_string(), "");
}

TEST(RequestSequence, page_table_can_be_put_into_a_list_of_the_caller) {
    auto manager = manager_of(4);
    const auto request = prefilled(manager, 8, 4, 1);
    Ids ids{77};

    request.block_ids(ids);

    EXPECT_EQ(ids, (Ids{0, 1, 2}));
    EXPECT_EQ(ids, request.assignments().all_block_ids());
}

TEST(RequestSequence, moves_with_its_blocks) {
    auto manager = manager_of(4);
    auto request = prefilled(manager, 8, 4, 1);

    Request moved = std::move(request);
    EXPECT_EQ(moved.block_ids(), (Ids{0, 1, 2}));
    moved = counting_request(4, 1);

    EXPECT_EQ(manager.available_blocks(), 4u);
}

TEST(RequestSequenceDeathTest, a_manager_of_another_block_size_breaks_a_contract) {
    auto manager = make_manager({.block_count = 4, .block_size = 8});
    auto request = counting_request(8, 1);

    EXPECT_DEATH(static_cast<void>(request.allocate_blocks(1, manager)), "one block size");
    EXPECT_DEATH(static_cast<void>(request.match_and_add_prefix(manager)), "one block size");
    EXPECT_DEATH(request.register_staged(manager), "one block size");
}

TEST(RequestSequenceDeathTest, another_manager_breaks_a_contract_even_after_release) {
    auto manager = manager_of(4);
    auto other = manager_of(4);
    auto request = prefilled(manager, 4, 1, 0);
    request.release();

    EXPECT_DEATH(static_cast<void>(request.reacquire(other)), "stays with one manager");
    EXPECT_DEATH(
        static_cast<void>(request.add_matched_blocks(must(other.register_blocks(must(
            std::move(*other.allocate_blocks(1)).complete_all(request.sequence().blocks())))))),
        "stays with one manager");
}

TEST(RequestSequenceDeathTest, a_block_size_of_0_breaks_a_contract) {
    EXPECT_DEATH(Request({1, 2, 3}, 1, 0), "a block holds at least one token");
}

}  // namespace
