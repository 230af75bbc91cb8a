// A tracker of uses that throws in the middle of a call: the request, its events and its pool are
// as they were, and the same call works afterwards.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.request;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_tokens;
using kvbm::testing::RecordingDelegate;
using Request = SchedulableSequence<>;

// Throws at the touch that the countdown names; 0: never.
class ThrowingTracker final : public FrequencyTracker {
  public:
    void touch(const SequenceHash&) override {
        if (countdown > 0 && --countdown == 0) {
            throw std::runtime_error("the tracker fails");
        }
    }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }

    std::size_t countdown = 0;
};

struct World {
    std::shared_ptr<ThrowingTracker> tracker = std::make_shared<ThrowingTracker>();
    BlockManager<> manager =
        must(BlockManager<>::builder()
                 .block_count(16)
                 .block_size(4)
                 .registry(BlockRegistry::builder().frequency_tracker(tracker).build())
                 .with_lru_backend()
                 .build());
    std::shared_ptr<RecordingDelegate> delegate = std::make_shared<RecordingDelegate>();
    Request request{counting_tokens(12), 20, 4, delegate};

    std::string picture() const {
        std::string text = kvbm::testing::requests::to_words(request) + "\n";
        for (const BlockInfo& block : manager.inspect()) {
            text += std::to_string(static_cast<int>(block.state)) + " " +
                    (block.state == BlockState::mutable_block ? "" : block.hash.to_hex()) + " " +
                    std::to_string(block.references) + "\n";
        }
        return text + std::to_string(delegate->events().size()) + " events";
    }
};

// Lets the call fail at each touch in turn until it goes through; gives how often it failed.
std::size_t failures_of(World& world, const std::function<void()>& call) {
    const std::string before = world.picture();
    for (std::size_t failures = 0;; ++failures) {
        world.tracker->countdown = failures + 1;
        try {
            call();
        } catch (const std::runtime_error&) {
            EXPECT_EQ(world.picture(), before);
            EXPECT_EQ(world.manager.check_invariants().to_string(), "");
            EXPECT_EQ(world.request.check_invariants().to_string(), "");
            continue;
        }
        world.tracker->countdown = 0;
        EXPECT_EQ(world.request.check_invariants().to_string(), "");
        return failures;
    }
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

TEST(SchedulableSequence, a_match_or_reacquire_that_throws_holds_nothing) {
    World world;
    must(world.request.schedule_prefill(12, world.manager));
    must(world.request.apply_prefill(Token{12}, world.manager));
    must(world.request.release());

    EXPECT_GE(failures_of(world, [&] { must(world.request.match_and_add_prefix(world.manager)); }),
              1u);
    must(world.request.release());
    EXPECT_GE(failures_of(world, [&] { must(world.request.reacquire(world.manager)); }), 1u);
}

}  // namespace
