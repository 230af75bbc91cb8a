// User code runs with no lock of the library held: a tracker's touch may call the manager and the
// registry of the very call that touches; what it throws is counted. Source: blocks.md T3, T4, K5;
// invariants G10, R10, E2.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.stress;

namespace {

using namespace kvbm;
using namespace kvbm_test;
using detail::core::locks_held;

/// Calls a function of the test in every touch; counts exactly.
class CallingTracker final : public FrequencyTracker {
  public:
    using FrequencyTracker::touch;
    void touch(const SequenceHash&) override {
        ++touches;
        locks_in_touch += locks_held();
        if (on_touch && !busy_) {
            busy_ = true;
            const struct Done {
                bool& busy;
                ~Done() { busy = false; }
            } done{busy_};
            on_touch();
        }
    }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override {
        locks_in_count = locks_held();
        return 3;
    }
    std::uint32_t count(std::uint64_t) const override { return 0; }

    std::function<void()> on_touch;
    std::size_t touches = 0;
    std::size_t locks_in_touch = 0;
    mutable std::size_t locks_in_count = 0;

  private:
    bool busy_ = false;
};

class UserCode : public testing::TestWithParam<Policy> {
  protected:
    /// Calls everything that touches once.
    void touch_in_every_way() {
        std::optional<ImmutableBlock<>> block(register_hash(manager_, hashes_[0]));
        static_cast<void>(manager_.match_blocks(hashes_));
        static_cast<void>(manager_.match_blocks_scattered(hashes_));
        static_cast<void>(manager_.scan_matches(hashes_, Touch::yes));
        static_cast<void>(registry_.register_sequence_hash(hashes_[1]));
        static_cast<void>(registry_.register_sequence_hashes(hashes_));
        static_cast<void>(registry_.match_sequence_hash(hashes_[0], Touch::yes));
        registry_.touch(hashes_[2]);
    }
    /// Calls everything there is.
    void call_everything() {
        const auto other = root_hash(9);
        auto blocks = manager_.allocate_blocks(1);
        if (blocks) {
            auto staged = std::move(*blocks).stage_all({&other, 1}, 4);
            auto registered = manager_.register_blocks(std::move(*staged));
            auto copy = registered->clone();
            const auto weak = (*registered)[0].downgrade();
            const auto pin = (*registered)[0].pin();
            (*registered)[0].set_evict_on_reset(true);
            EXPECT_TRUE(weak.upgrade().has_value());
        }
        static_cast<void>(manager_.match_blocks(hashes_));
        static_cast<void>(manager_.match_blocks_scattered(hashes_));
        static_cast<void>(manager_.scan_matches(hashes_, Touch::yes));
        static_cast<void>(manager_.available_blocks());
        static_cast<void>(manager_.inspect());
        static_cast<void>(manager_.metrics()->snapshot());
        EXPECT_EQ(manager_.check_invariants().to_string(), "");
        static_cast<void>(registry_.register_sequence_hash(other));
        static_cast<void>(registry_.is_registered(other));
        static_cast<void>(registry_.registered_count());
        static_cast<void>(registry_.check_presence<DefaultTier>(hashes_));
        static_cast<void>(registry_.match_sequence_hash(other, Touch::yes));
        static_cast<void>(registry_.count(other));
    }

    const std::array<SequenceHash, 3> hashes_{root_hash(1), root_hash(2), root_hash(3)};
    std::shared_ptr<CallingTracker> tracker_ = std::make_shared<CallingTracker>();
    BlockRegistry registry_ = BlockRegistry::builder().frequency_tracker(tracker_).build();
    BlockManager<> manager_ = make_manager({.policy = GetParam(), .blocks = 4}, registry_, false);
};

TEST_P(UserCode, is_touched_with_no_lock_held) {
    touch_in_every_way();

    EXPECT_GE(tracker_->touches, 8u);
    EXPECT_EQ(tracker_->locks_in_touch, 0u);
}

TEST_P(UserCode, calls_back_into_manager_and_registry_from_every_touch) {
    tracker_->on_touch = [&] { call_everything(); };

    touch_in_every_way();

    EXPECT_EQ(tracker_->locks_in_touch, 0u);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_EQ(manager_.available_blocks(), 4u);
}

TEST_P(UserCode, is_asked_for_counts_under_the_store_lock_only_where_a_policy_needs_them) {
    {
        const auto released = register_hash(manager_, hashes_[0]);
    }

    EXPECT_EQ(tracker_->locks_in_count, GetParam() == Policy::multi_lru ? 1u : 0u);
}

TEST_P(UserCode, that_throws_in_a_lookup_is_counted_and_ends_nothing) {
    {
        const auto released = register_hash(manager_, hashes_[0]);
    }
    const auto failures = manager_.block_registry().hook_failures();
    tracker_->on_touch = [] { throw std::runtime_error("no"); };
    {
        ImmutableBlockList<> found;
        EXPECT_EQ(manager_.match_blocks(hashes_).size(), 1u);
        EXPECT_EQ(manager_.match_blocks_into(hashes_, found), 1u);
        EXPECT_EQ(manager_.match_blocks_scattered(hashes_).hits(), 1u);
        EXPECT_EQ(manager_.scan_matches(hashes_, Touch::yes).size(), 1u);
    }

    EXPECT_GE(manager_.block_registry().hook_failures(), failures + 4);
    EXPECT_EQ(manager_.available_blocks(), 4u);
    EXPECT_EQ(manager_.metrics()->snapshot().inflight_immutable, 0);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_EQ(locks_held(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Policies, UserCode,
                         testing::Values(Policy::lru, Policy::multi_lru, Policy::lineage_tick,
                                         Policy::lineage_fifo));

}  // namespace
