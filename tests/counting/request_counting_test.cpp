// What a scheduled request costs in a steady state: a decode step that neither needs a new block
// nor fills one asks neither heap nor lock; otherwise each of its calls takes the lock at most
// once.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.request;

namespace {

using namespace kvbm;
using kvbm_test::AllocationScope;
using Request = SchedulableSequence<>;

constexpr std::size_t block_size = 4;

BlockManager<> make_manager() {
    return must(BlockManager<>::builder()
                    .block_count(4096)
                    .block_size(block_size)
                    .registry(BlockRegistry())
                    .build());
}

std::vector<Token> counting_tokens(std::size_t count) {
    std::vector<Token> tokens(count);
    std::iota(tokens.begin(), tokens.end(), Token{0});
    return tokens;
}

void prefill(Request& request, BlockManager<>& manager) {
    must(request.schedule_prefill(request.tail_tokens(), manager));
    must(request.apply_prefill(Token{7}, manager));
}

struct Cost {
    std::uint64_t allocations;
    std::uint64_t locks;
};

template <class Call>
Cost cost_of(const BlockManager<>& manager, const Call& call) {
    const auto locks_before = detail::blocks::lock_count(manager);
    const AllocationScope scope;
    const auto result = call();
    const std::uint64_t allocations = scope.count();
    EXPECT_TRUE(result.has_value());
    return {allocations, detail::blocks::lock_count(manager) - locks_before};
}

class DecodeStep : public testing::TestWithParam<std::size_t> {};

TEST_P(DecodeStep, asks_heap_and_lock_only_where_it_needs_or_fills_a_block) {
    auto manager = make_manager();
    Request request(counting_tokens(GetParam()), 10000, block_size);
    prefill(request, manager);
    std::size_t quiet = 0;
    for (int step = 0; step < 2000; ++step) {
        const std::size_t computed = request.kv_position() + 1;
        const bool fills = computed % block_size == 0;

        const auto schedule = cost_of(manager, [&] { return request.schedule_decode(manager); });
        const bool needs = std::get<DecodeScheduled>(request.state()).blocks_allocated > 0;
        const auto apply = cost_of(manager, [&] { return request.apply_decode(7, manager); });

        EXPECT_EQ(schedule.locks, needs ? 1u : 0u) << "step " << step;
        EXPECT_EQ(apply.locks, fills ? 1u : 0u) << "step " << step;
        if (!needs) {
            EXPECT_EQ(schedule.allocations, 0u) << "step " << step;
        }
        if (!fills) {
            EXPECT_EQ(apply.allocations, 0u) << "step " << step;
        }
        quiet += !needs && !fills ? 1 : 0;
    }
    EXPECT_GE(quiet, 1000u);
}

INSTANTIATE_TEST_SUITE_P(PromptsOf, DecodeStep, testing::Values(1, 4, 7, 8, 1024));

TEST(SchedulableSequence, in_a_warm_registry_decodes_for_hundreds_of_blocks_on_few_allocations) {
    auto manager = make_manager();
    Request request(counting_tokens(8), 4000, block_size);
    prefill(request, manager);
    const AllocationScope scope;

    for (int step = 0; step < 3000; ++step) {
        must(request.schedule_decode(manager));
        must(request.apply_decode(7, manager));
    }

    EXPECT_LT(scope.count(), 100u);  // lists that double, slabs of registry entries
}

TEST(SchedulableSequence, with_a_delegate_allocates_no_event) {
    struct Counter final : SequenceDelegate {
        void on_event(const SequenceEvent&) noexcept override { ++events; }
        std::size_t events = 0;
    };
    auto manager = make_manager();
    const auto delegate = std::make_shared<Counter>();
    Request request(counting_tokens(8), 100, block_size, delegate);
    prefill(request, manager);
    must(request.schedule_decode(manager));
    must(request.apply_decode(7, manager));
    const AllocationScope scope;

    must(request.schedule_decode(manager));
    must(request.apply_decode(7, manager));

    EXPECT_EQ(scope.count(), 0u);
    EXPECT_EQ(delegate->events, 7u);
}

TEST(SchedulableSequence, takes_the_lock_once_for_any_number_of_blocks) {
    auto manager = make_manager();
    Request request(counting_tokens(1024), 2000, block_size);
    const auto locks = [&] { return detail::blocks::lock_count(manager); };

    auto before = locks();
    must(request.match_and_add_prefix(manager));
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    must(request.schedule_prefill(1024, manager));
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    must(request.apply_prefill(Token{7}, manager));
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    must(request.schedule_speculative(1000, manager));
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    must(request.apply_speculative(counting_tokens(500), manager));
    EXPECT_EQ(locks() - before, 2u);  // registers, and drops the rest
    before = locks();
    must(request.schedule_speculative(1000, manager));
    must(request.revert_schedule());
    EXPECT_EQ(locks() - before, 2u);
    before = locks();
    must(request.release());
    EXPECT_EQ(locks() - before, 2u);  // assigned and queued
    before = locks();
    EXPECT_TRUE(must(request.reacquire(manager)));
    EXPECT_EQ(locks() - before, 1u);  // all full blocks were cached
}

TEST(RequestSequence, takes_the_lock_once_for_any_number_of_blocks) {
    auto manager = make_manager();
    RequestSequence<> request(counting_tokens(1024), 100, block_size);
    const auto locks = [&] { return detail::blocks::lock_count(manager); };

    auto before = locks();
    EXPECT_TRUE(request.allocate_blocks(300, manager));
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    EXPECT_EQ(request.complete_and_register_pending(manager), 256u);
    EXPECT_EQ(locks() - before, 1u);
    before = locks();
    EXPECT_EQ(request.register_computed(2000, manager), 0u);
    EXPECT_EQ(request.register_staged(manager), 0u);
    EXPECT_EQ(request.stage_pending(), 0u);
    EXPECT_TRUE(request.allocate_blocks(0, manager));
    EXPECT_EQ(locks() - before, 0u);
    EXPECT_EQ(request.drop_excess_unassigned(1), 43u);
    EXPECT_EQ(locks() - before, 1u);
}

}  // namespace
