// A call that runs out of memory, wherever it does: the request, its events and its pool are as
// they were, and the same call works afterwards.
#include "allocation_counter.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using Request = SchedulableSequence<>;

// Counts events and asks for no memory.
class CountingDelegate final : public SequenceDelegate {
  public:
    void on_event(const SequenceEvent&) noexcept override { ++events; }
    std::size_t events = 0;
};

struct World {
    BlockManager<> manager = must(BlockManager<>::builder()
                                      .block_count(16)
                                      .block_size(4)
                                      .registry(BlockRegistry())
                                      .with_lru_backend()
                                      .build());
    std::shared_ptr<CountingDelegate> delegate = std::make_shared<CountingDelegate>();
    Request request{counting_tokens(12), 20, 4, delegate};

    std::string picture() const {
        std::string text = kvbm::testing::requests::to_words(request) + "\n";
        for (const BlockInfo& block : manager.inspect()) {
            text += std::to_string(static_cast<int>(block.state)) + " " +
                    (block.state == BlockState::mutable_block ? "" : block.hash.to_hex()) + " " +
                    std::to_string(block.references) + "\n";
        }
        return text + std::to_string(delegate->events) + " events";
    }
};

// Lets the call fail at each allocation in turn until it goes through; gives how often it failed.
std::size_t failures_of(World& world, const std::function<void()>& call) {
    const std::string before = world.picture();
    std::size_t failures = 0;
    while (kvbm_test::runs_out_of_memory(failures, call)) {
        EXPECT_EQ(world.picture(), before);
        EXPECT_EQ(world.manager.check_invariants().to_string(), "");
        EXPECT_EQ(world.request.check_invariants().to_string(), "");
        ++failures;
    }
    EXPECT_EQ(world.request.check_invariants().to_string(), "");
    return failures;
}

TEST(SchedulableSequence, a_prefill_that_cannot_register_is_still_to_be_applied) {
    World world;
    must(world.request.schedule_prefill(12, world.manager));

    EXPECT_GE(
        failures_of(world, [&] { must(world.request.apply_prefill(Token{12}, world.manager)); }),
        1u);

    EXPECT_EQ(world.request.total_tokens(), 13u);
    EXPECT_EQ(world.request.assigned_blocks(), 3u);
}

TEST(SchedulableSequence, a_speculation_that_cannot_register_takes_its_tokens_back) {
    World world;
    must(world.request.schedule_prefill(12, world.manager));
    must(world.request.apply_prefill(Token{12}, world.manager));
    must(world.request.schedule_speculative(9, world.manager));

    EXPECT_GE(
        failures_of(
            world,
            [&] { must(world.request.apply_speculative(counting_tokens(9, 13), world.manager)); }),
        1u);

    EXPECT_EQ(world.request.sequence(), BlockSequence(counting_tokens(22), 4));
    EXPECT_EQ(world.request.kv_position(), 21u);
}

TEST(SchedulableSequence, a_match_that_runs_out_of_memory_holds_nothing) {
    World world;
    must(world.request.schedule_prefill(12, world.manager));
    must(world.request.apply_prefill(Token{12}, world.manager));
    world.request = Request(counting_tokens(12), 20, 4, world.delegate);

    EXPECT_GE(failures_of(world, [&] { must(world.request.match_and_add_prefix(world.manager)); }),
              1u);

    EXPECT_EQ(world.request.assigned_blocks(), 2u);
}

TEST(SchedulableSequence, a_reacquire_that_runs_out_of_memory_holds_nothing) {
    World world;
    must(world.request.schedule_prefill(12, world.manager));
    must(world.request.apply_prefill(Token{12}, world.manager));
    world.request = Request(counting_tokens(12), 20, 4, world.delegate);

    EXPECT_GE(failures_of(world, [&] { must(world.request.reacquire(world.manager)); }), 1u);

    EXPECT_EQ(world.request.assigned_blocks(), 2u);
    EXPECT_EQ(world.request.unassigned_blocks(), 1u);
}

}  // namespace
