// A random scheduler with 64 requests on 48 blocks for 10,000 steps: no block is lost or held by
// two requests at once, somebody always gets on, and at the end every block is available. The
// auditors run at every step.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
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
using kvbm::testing::requests::make_manager;
using kvbm::testing::requests::Options;
using Request = SchedulableSequence<>;

constexpr std::size_t requests_count = 64;
constexpr std::size_t blocks_count = 48;
constexpr std::size_t block_size = 4;
constexpr std::size_t steps_count = 10'000;
constexpr std::size_t finish_at_most = 100 * requests_count;

struct Setup {
    std::uint64_t seed;
    bool reject;
    Options::Eviction eviction;
};

void PrintTo(const Setup& setup, std::ostream* out) {
    *out << "seed " << setup.seed << (setup.reject ? ", reject" : ", allow") << ", eviction "
         << static_cast<int>(setup.eviction);
}

class Scheduler {
  public:
    explicit Scheduler(const Setup& setup)
        : random_(setup.seed),
          manager_(make_manager({.block_count = blocks_count,
                                 .block_size = block_size,
                                 .reject = setup.reject,
                                 .eviction = setup.eviction})) {
        for (std::size_t i = 0; i < requests_count; ++i) {
            requests_.push_back(fresh());
        }
    }

    // One call on a random request, with what follows from it; then the audit.
    void step() {
        // Mostly one of the first, so that some get on while others wait or thrash.
        auto& slot = requests_[below(5) == 0 ? below(requests_.size()) : below(6)];
        if (std::holds_alternative<Idle>(slot->state())) {
            go_on_when_idle(slot);
        } else {
            apply_or_revert(*slot);
        }
        audit();
    }
    // The same, oldest request first and without new ones, until all are done, or somebody does not
    // get on.
    std::size_t finish() {
        admits_ = false;
        std::size_t steps = 0;
        for (auto& slot : requests_) {
            while (slot && steps < finish_at_most) {
                if (std::holds_alternative<Idle>(slot->state())) {
                    go_on_when_idle(slot);
                } else {
                    apply(*slot);
                }
                audit();
                ++steps;
            }
        }
        return steps;
    }

    std::size_t completed() const { return completed_; }
    std::size_t preemptions() const { return preemptions_; }
    const BlockManager<>& manager() const { return manager_; }

  private:
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

    // Prompts begin alike, so that prefixes are shared.
    std::optional<Request> fresh() {
        std::vector<Token> prompt(1 + below(40));
        const std::size_t common = below(24);
        const auto family = static_cast<Token>(below(6));
        for (std::size_t i = 0; i < prompt.size(); ++i) {
            prompt[i] = i < common ? 0 : family;
        }
        return Request(prompt, below(40), block_size, nullptr, below(8) == 0 ? 42 : 0);
    }

    void go_on_when_idle(std::optional<Request>& slot) {
        Request& request = *slot;
        if (request.is_complete() && request.kv_position() >= request.num_input_tokens()) {
            ++completed_;
            slot.reset();
            if (admits_) {
                slot = fresh();
            }
            return;
        }
        if (request.inner().block_ids().empty() && below(2) == 0) {
            begin(request);
            return;
        }
        if (admits_ && below(40) == 0) {
            static_cast<void>(must(request.drop_unassigned(below(3))));
            return;
        }
        if (admits_ && request.remaining_tokens() > 2 && below(60) == 0) {
            must(request.append_tokens({1, 2}));
            return;
        }
        while (true) {
            const auto scheduled = schedule(request);
            if (scheduled) {
                return;
            }
            if (!std::holds_alternative<ScheduleError::AllocationFailed>(
                    scheduled.error().reason)) {
                ADD_FAILURE() << scheduled.error().message();
                return;
            }
            if (!preempt_one_but(request)) {
                must(request.release());  // nobody else holds anything: it holds what it lacks
                return;
            }
        }
    }

    void begin(Request& request) {
        if (below(2) == 0) {
            const auto how = below(4) == 0 ? PrefixMatch::everything : PrefixMatch::leave_one_token;
            must(request.match_and_add_prefix(manager_, how));
        } else {
            static_cast<void>(must(request.reacquire(manager_)));
        }
    }

    Result<void, ScheduleError> schedule(Request& request) {
        if (request.prefill_remaining() > 0) {
            return request.schedule_prefill(1 + below(request.prefill_remaining()), manager_);
        }
        if (request.tail_tokens() == 0) {
            must(request.append_tokens({3}));
        }
        return below(3) == 0 ? request.schedule_speculative(below(10), manager_)
                             : request.schedule_decode(manager_);
    }

    // Takes the blocks of another request, reverting its schedule first.
    bool preempt_one_but(const Request& request) {
        const std::size_t last = requests_.size() - below(4) - 1;
        for (std::size_t i = 0; i < requests_.size(); ++i) {
            auto& other = requests_[(last + requests_.size() - i) % requests_.size()];
            if (!other || &*other == &request || other->inner().block_ids().empty()) {
                continue;
            }
            if (!std::holds_alternative<Idle>(other->state())) {
                must(other->revert_schedule());
            }
            must(other->release(below(2) == 0 ? ReleaseOrder::root_first
                                              : ReleaseOrder::leaf_first));
            ++preemptions_;
            return true;
        }
        return false;
    }

    void apply_or_revert(Request& request) {
        if (below(10) == 0) {
            must(request.revert_schedule());
        } else {
            apply(request);
        }
    }

    void apply(Request& request) {
        const auto token = static_cast<Token>(below(3));
        if (const auto* prefill = std::get_if<PrefillScheduled>(&request.state())) {
            const bool emits =
                prefill->num_tokens == request.tail_tokens() && !request.is_complete();
            must(request.apply_prefill(emits ? std::optional(token) : std::nullopt, manager_));
        } else if (std::holds_alternative<DecodeScheduled>(request.state())) {
            must(request.apply_decode(token, manager_));
        } else {
            const std::size_t most = std::get<SpeculativeScheduled>(request.state()).num_tokens;
            must(request.apply_speculative(std::vector<Token>(below(most + 1), token), manager_));
        }
    }

    void audit() {
        const auto report = manager_.check_invariants();
        ASSERT_TRUE(report.ok()) << report.to_string();
        std::array<bool, blocks_count> queued{};
        std::array<std::optional<SequenceHash>, blocks_count> shared;
        for (const auto& slot : requests_) {
            if (!slot) {
                continue;
            }
            const auto broken = slot->check_invariants();
            ASSERT_TRUE(broken.ok()) << broken.to_string();
            for (const auto& block : slot->assignments().unassigned()) {
                ASSERT_FALSE(std::exchange(queued[block.block_id()], true))
                    << "block " << block.block_id() << " is queued twice";
            }
            for (const auto& block : slot->assignments().assigned()) {
                auto& hash = shared[block.block_id()];
                ASSERT_TRUE(!hash || *hash == block.sequence_hash());
                hash = block.sequence_hash();
            }
        }
        std::size_t held = 0;
        for (const BlockInfo& block : manager_.inspect()) {
            const bool free =
                block.state == BlockState::reset || block.state == BlockState::inactive;
            held += free ? 0 : 1;
            const bool assigned = shared[block.id].has_value();
            ASSERT_EQ(block.state == BlockState::mutable_block, queued[block.id]);
            ASSERT_FALSE(assigned && (free || queued[block.id]));
            // A primary that no request names is kept by its duplicates alone.
            ASSERT_TRUE(free || queued[block.id] || assigned || block.state == BlockState::primary)
                << "block " << block.id << " is lost";
        }
        ASSERT_EQ(held + manager_.available_blocks(), blocks_count);
    }

    std::mt19937_64 random_;
    BlockManager<> manager_;
    std::vector<std::optional<Request>> requests_;
    bool admits_ = true;
    std::size_t completed_ = 0;
    std::size_t preemptions_ = 0;
};

class SchedulerMachine : public ::testing::TestWithParam<Setup> {};

TEST_P(SchedulerMachine, neither_loses_nor_shares_a_block_and_always_gets_on) {
    Scheduler scheduler(GetParam());

    for (std::size_t i = 0; i < steps_count && !HasFatalFailure(); ++i) {
        scheduler.step();
    }
    const std::size_t completed = scheduler.completed();
    const std::size_t steps = scheduler.finish();

    EXPECT_GT(completed, 100u);
    EXPECT_GT(scheduler.preemptions(), 100u);
    EXPECT_EQ(scheduler.completed(), completed + requests_count);
    EXPECT_LT(steps, finish_at_most);
    EXPECT_EQ(scheduler.manager().available_blocks(), blocks_count);
    EXPECT_EQ(scheduler.manager().check_invariants().to_string(), "");
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerMachine,
                         ::testing::Values(Setup{1, false, Options::Eviction::lru},
                                           Setup{2, true, Options::Eviction::lru},
                                           Setup{3, false, Options::Eviction::lineage_tick},
                                           Setup{4, true, Options::Eviction::lineage_fifo}),
                         [](const auto& info) {
                             return "seed_" + std::to_string(info.param.seed);
                         });

}  // namespace
