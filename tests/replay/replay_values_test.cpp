// The sentences of errors, and values that differ in one field.
#include <cstddef>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "../flows/told_apart.h"

import kvbm.replay;

namespace {

using namespace kvbm;
using kvbm_test::expect_told_apart_by;

TEST(ReplayError, says_which_input_broke_which_rule) {
    struct Row {
        ReplayError error;
        std::string message;
    };
    for (const auto& [error, message] :
         {Row{{ReplayError::ZeroCapacity{}},
              "a cache of 0 blocks holds nothing: the capacity must be at least 1"},
          Row{{ReplayError::PolicyNotInMode{ReplayPolicy::fifo, ReplayMode::ideal}},
              "policy \"fifo\" does not run in mode \"ideal\""},
          Row{{ReplayError::NothingToCount{7, 7}},
              "counting from request 7 of 7 leaves nothing to count"},
          Row{{ReplayError::ManagerRefused{"no"}}, "no"},
          Row{{ReplayError::RequestTooLong{3, 16'777'217}},
              "request 3 has 16777217 blocks, more than a sequence hash has positions"},
          Row{{ReplayError::TooManyBlocks{}}, "the trace has 2^32 different blocks or more"},
          Row{{ReplayError::AllocationFailed{3, 24}},
              "request 3: the block manager gave none of 24 blocks it must have"}}) {
        EXPECT_EQ(error.message(), message);
    }
}

TEST(RequestReplayError, says_what_was_lost) {
    const RequestReplayError error{RequestReplayError::BlocksLost{98, 100}};
    EXPECT_EQ(error.message(), "only 98 of 100 blocks are available at the end");
}

TEST(ReplayValues, are_told_apart_by_each_field) {
    expect_told_apart_by(
        Percentiles{1, 2, 3, 4}, [](auto& p) { p.p50 = 0; }, [](auto& p) { p.p90 = 0; },
        [](auto& p) { p.p99 = 0; }, [](auto& p) { p.max = 0; });
    expect_told_apart_by(
        ReferenceHistogram{1, 2, 3, 4}, [](auto& h) { h.once = 0; }, [](auto& h) { h.twice = 0; },
        [](auto& h) { h.three_to_nine = 0; }, [](auto& h) { h.ten_or_more = 0; });
    expect_told_apart_by(
        Request{1, 2, 3, 4, 5}, [](auto& r) { r.time_ms = 0; }, [](auto& r) { r.input_length = 0; },
        [](auto& r) { r.output_length = 0; }, [](auto& r) { r.first = 0; },
        [](auto& r) { r.count = 0; });
    expect_told_apart_by(
        BlockSample{1, 2, 3, 4, 5}, [](auto& s) { s.step = 0; }, [](auto& s) { s.registered = 0; },
        [](auto& s) { s.queued = 0; }, [](auto& s) { s.inactive = 0; },
        [](auto& s) { s.free = 0; });
    expect_told_apart_by(
        RequestReplayRun{}, [](auto& r) { r.policy = "lru"; }, [](auto& r) { r.capacity = 1; },
        [](auto& r) { r.block_size = 1; }, [](auto& r) { r.concurrency = 1; },
        [](auto& r) { r.chunk = 1; }, [](auto& r) { r.completed = 1; },
        [](auto& r) { r.rejected = 1; }, [](auto& r) { r.preemptions = 1; },
        [](auto& r) { r.steps = 1; }, [](auto& r) { r.prompt_tokens = 1; },
        [](auto& r) { r.prompt_tokens_cached = 1; }, [](auto& r) { r.recomputed_tokens = 1; },
        [](auto& r) { r.resumed_tokens_cached = 1; }, [](auto& r) { r.output_tokens = 1; },
        [](auto& r) { r.evictions = 1; }, [](auto& r) { r.peak_active_blocks = 1; },
        [](auto& r) { r.samples.emplace_back(); });
}

TEST(RequestReplayRun, without_a_prompt_has_a_rate_of_0) {
    RequestReplayRun run;
    EXPECT_EQ(run.prompt_cache_rate(), 0.0);
    run.prompt_tokens = 4;
    run.prompt_tokens_cached = 1;
    EXPECT_EQ(run.prompt_cache_rate(), 0.25);
}

}  // namespace
