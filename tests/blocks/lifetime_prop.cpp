// Manager, lists, guards, weak blocks, pins, handles and registry may die in any order: no block is
// counted twice or forgotten, presence ends at 0, and nothing dead is touched (the sanitizers
// look).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.testing;

namespace {

using namespace kvbm;
using namespace kvbm::testing;

constexpr std::size_t block_size = 4;
constexpr std::size_t blocks_count = 24;

rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::inRange<std::size_t>(0, limit);
}

// Things of any type; each dies with its pointer.
class Things {
  public:
    template <class T>
    void add(T thing) {
        things_.push_back(std::make_shared<T>(std::move(thing)));
    }
    bool empty() const { return things_.empty(); }
    void kill_any() {
        std::swap(things_[*below(things_.size())], things_.back());
        things_.pop_back();
    }

  private:
    std::vector<std::shared_ptr<void>> things_;
};

BlockManager<> make_manager(const PolicyConfig& policy, const BlockRegistry& registry) {
    auto builder = BlockManager<>::builder();
    builder.block_count(blocks_count).block_size(block_size).registry(registry);
    builder.duplication_policy(*rc::gen::arbitrary<bool>() ? BlockDuplicationPolicy::allow
                                                           : BlockDuplicationPolicy::reject);
    choose_backend(builder, policy);
    return must(builder.build());
}

std::vector<SequenceHash> draw_run() {
    const std::size_t first = *below(pool_hashes_count);
    std::vector<SequenceHash> run;
    for (std::size_t i = 0; i < 4; ++i) {
        run.push_back(pool_hash(first + i));
    }
    return run;
}

CompleteBlockList<> stage(MutableBlockList<> blocks) {
    return must(std::move(blocks).stage_all(draw_run(), block_size));
}

// A manager in some state, taken apart into what somebody may own of it.
void add_manager(Things& things, const PolicyConfig& policy, const BlockRegistry& registry) {
    auto manager = make_manager(policy, registry);
    for (int i = 0; i < 2; ++i) {
        must(manager.register_blocks(stage(*manager.allocate_blocks(4)))).clear();
        auto held = must(manager.register_blocks(stage(*manager.allocate_blocks(4))));
        for (const auto& block : held) {
            switch (*below(6)) {
                case 0:
                    things.add(ImmutableBlock<>(block));
                    break;
                case 1:
                    things.add(block.pin());
                    break;
                case 2:
                    things.add(block.downgrade());
                    break;
                case 3:
                    things.add(block.registration_handle());
                    break;
                case 4:
                    block.set_evict_on_reset(true);
                    break;
                default:
                    break;
            }
        }
        things.add(held.clone());
        things.add(std::move(held));
    }
    things.add(manager.match_blocks_scattered(draw_run()));
    things.add(manager.scan_matches(draw_run(), Touch::no));
    things.add(*manager.allocate_blocks(2));
    things.add(stage(*manager.allocate_blocks(4)));
    things.add(std::move(manager));
}

class Lifetime : public ::testing::TestWithParam<Policy> {};

TEST_P(Lifetime, ends_with_presence_0_in_any_order_of_death) {
    EXPECT_TRUE(rc::check(std::string(name_of(GetParam())) + " dies in any order", [] {
        Things things;
        std::optional<BlockRegistry> observer;
        {
            const auto registry = BlockRegistry::builder()
                                      .frequency_tracker(std::make_shared<RecordingTracker>())
                                      .build();
            add_manager(things, {GetParam()}, registry);
            add_manager(things, {GetParam()}, registry);
            if (*rc::gen::arbitrary<bool>()) {
                observer = registry;
            }
            things.add(registry);
        }

        while (!things.empty()) {
            things.kill_any();
        }

        if (observer) {
            std::vector<SequenceHash> all;
            for (std::size_t i = 0; i < pool_hashes_count; ++i) {
                all.push_back(pool_hash(i));
            }
            RC_ASSERT(observer->registered_count() == 0u);
            for (const auto& [hash, present] : observer->check_presence<DefaultTier>(all)) {
                RC_ASSERT(!present);
            }
        }
    }));
}

// While the manager lives, what the others leave behind is whole at each moment.
TEST_P(Lifetime, leaves_a_living_manager_whole) {
    EXPECT_TRUE(rc::check(std::string(name_of(GetParam())) + " leaves a manager whole", [] {
        const auto registry = BlockRegistry::builder()
                                  .frequency_tracker(std::make_shared<RecordingTracker>())
                                  .build();
        auto manager = make_manager({GetParam()}, registry);
        Things things;
        for (int i = 0; i < 3; ++i) {
            auto held = must(manager.register_blocks(stage(*manager.allocate_blocks(4))));
            things.add(held.clone());
            things.add(held[0].pin());
            things.add(held[*below(4)].downgrade());
            things.add(std::move(held));
        }
        things.add(*manager.allocate_blocks(2));

        while (!things.empty()) {
            things.kill_any();
            RC_ASSERT(manager.check_invariants().to_string() == "");
        }

        const auto values = manager.metrics()->snapshot();
        RC_ASSERT(manager.available_blocks() == blocks_count);
        RC_ASSERT(values.inflight_immutable == 0);
        RC_ASSERT(values.inflight_mutable == 0);
        RC_ASSERT(registry.registered_count() ==
                  static_cast<std::size_t>(values.inactive_pool_size));
    }));
}

INSTANTIATE_TEST_SUITE_P(Policies, Lifetime, ::testing::ValuesIn(all_policies),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
