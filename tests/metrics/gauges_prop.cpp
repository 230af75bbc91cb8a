// After any script whose guards are all dropped, no guard is counted and every block is in a pool;
// after a drain the gauges are what they were at the start. Counters never fall.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;

constexpr std::size_t blocks_count = 6;

/// What a script does next; the numbers are folded into what there is.
struct Step {
    std::size_t kind = 0;
    std::size_t number = 0;
};

std::ostream& operator<<(std::ostream& out, const Step& step) {
    return out << step.kind << "(" << step.number << ")";
}

/// A manager and the guards of a script.
class Script {
  public:
    explicit Script(BlockDuplicationPolicy policy) : manager_(make(policy)) {}

    void run(const Step& step) {
        const std::size_t count = step.number % 3 + 1;
        switch (step.kind) {
            case 0:
                if (auto blocks = manager_.allocate_blocks(count)) {
                    mutable_.push_back(std::move(*blocks));
                }
                break;
            case 1:
                if (!mutable_.empty()) {
                    auto blocks = take(mutable_, step.number);
                    const auto hashes = chain(blocks.size(), step.number);
                    staged_.push_back(must(std::move(blocks).stage_all(hashes, 4)));
                }
                break;
            case 2:
                if (!staged_.empty()) {
                    held_.push_back(must(manager_.register_blocks(take(staged_, step.number))));
                }
                break;
            case 3:
                held_.push_back(manager_.match_blocks(chain(count, step.number)));
                break;
            case 4:
                if (!staged_.empty()) {
                    mutable_.push_back(take(staged_, step.number).reset_all());
                }
                break;
            case 5:
                if (!held_.empty()) {
                    take(held_, step.number).clear();
                }
                break;
            default:
                if (!held_.empty() && !held_.back().empty()) {
                    copies_.push_back(held_.back()[0]);
                }
        }
    }
    void drop_all() {
        copies_.clear();
        mutable_.clear();
        held_.clear();
        staged_.clear();
    }
    MetricsSnapshot numbers() const { return manager_.metrics()->snapshot(); }
    void drain() { must(manager_.reset_inactive_pool()); }

  private:
    static BlockManager<> make(BlockDuplicationPolicy policy) {
        auto builder = BlockManager<>::builder();
        builder.block_count(blocks_count)
            .block_size(4)
            .registry(BlockRegistry())
            .duplication_policy(policy);
        return must(builder.build());
    }
    static std::vector<SequenceHash> chain(std::size_t length, std::size_t content) {
        std::vector<SequenceHash> hashes{SequenceHash::root(BlockHash{content % 2})};
        while (hashes.size() < length) {
            hashes.push_back(must(hashes.back().extend(BlockHash{7})));
        }
        return hashes;
    }
    template <class List>
    static List take(std::vector<List>& lists, std::size_t number) {
        std::swap(lists[number % lists.size()], lists.back());
        List taken = std::move(lists.back());
        lists.pop_back();
        return taken;
    }

    BlockManager<> manager_;
    std::vector<MutableBlockList<>> mutable_;
    std::vector<CompleteBlockList<>> staged_;
    std::vector<ImmutableBlockList<>> held_;
    std::vector<ImmutableBlock<>> copies_;
};

bool no_counter_fell(const MetricsSnapshot& a, const MetricsSnapshot& b) {
    return a.allocations <= b.allocations && a.allocations_from_reset <= b.allocations_from_reset &&
           a.evictions <= b.evictions && a.registrations <= b.registrations &&
           a.duplicate_blocks <= b.duplicate_blocks &&
           a.registration_dedup <= b.registration_dedup && a.stagings <= b.stagings &&
           a.match_hashes_requested <= b.match_hashes_requested &&
           a.match_blocks_returned <= b.match_blocks_returned &&
           a.scan_hashes_requested <= b.scan_hashes_requested &&
           a.scan_blocks_returned <= b.scan_blocks_returned;
}

RC_GTEST_PROP(PoolGauges, return_to_their_start_when_all_guards_are_dropped, ()) {
    const auto steps =
        *rc::gen::container<std::vector<Step>>(
             rc::gen::build<Step>(rc::gen::set(&Step::kind, rc::gen::inRange<std::size_t>(0, 7)),
                                  rc::gen::set(&Step::number, rc::gen::inRange<std::size_t>(0, 9))))
             .as("steps");
    Script script(*rc::gen::element(BlockDuplicationPolicy::allow, BlockDuplicationPolicy::reject));
    auto numbers = script.numbers();

    for (const auto& step : steps) {
        script.run(step);
        RC_ASSERT(no_counter_fell(numbers, script.numbers()));
        numbers = script.numbers();
    }
    script.drop_all();

    const auto dropped = script.numbers();
    RC_ASSERT(no_counter_fell(numbers, dropped));
    RC_ASSERT(dropped.inflight_mutable == 0);
    RC_ASSERT(dropped.inflight_immutable == 0);
    RC_ASSERT(dropped.reset_pool_size + dropped.inactive_pool_size == std::int64_t{blocks_count});
    script.drain();
    RC_ASSERT(script.numbers().reset_pool_size == std::int64_t{blocks_count});
    RC_ASSERT(script.numbers().inactive_pool_size == 0);
}

}  // namespace
