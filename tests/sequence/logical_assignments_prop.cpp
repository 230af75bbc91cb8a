// Laws of the tracker of guards, each on a tracker reached by a random script: P1, P4 to P7, P9,
// P11, P12, P19 to P23 of sequences.md 11, as far as they speak of guards.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;
import kvbm.testing;

namespace {

using namespace kvbm;
using kvbm::testing::counting_sequence;
using kvbm::testing::logical::to_words;
using Tracker = LogicalBlockAssignments<>;

constexpr std::size_t pool_blocks = 64;

std::size_t draw(std::size_t from, std::size_t to) {
    return *rc::gen::resize(100, rc::gen::inRange<std::size_t>(from, to + 1));
}

BlockManager<> make_manager(bool reject = false, std::size_t blocks = pool_blocks) {
    return must(BlockManager<>::builder()
                    .block_count(blocks)
                    .block_size(4)
                    .registry(BlockRegistry())
                    .duplication_policy(reject ? BlockDuplicationPolicy::reject
                                               : BlockDuplicationPolicy::allow)
                    .with_lru_backend()
                    .build());
}

void queue(Tracker& tracker, BlockManager<>& manager, std::size_t count) {
    must(tracker.extend_blocks(std::move(manager.allocate_blocks(count)).value()));
}

// A script that can be run again on a tracker made alike.
struct Script {
    struct Step {
        int kind;
        std::size_t count;
    };
    std::size_t offset = draw(0, 1) * draw(0, 4);
    std::size_t sequence_blocks = offset + draw(1, 24);
    std::vector<Step> steps = drawn_steps();

    static std::vector<Step> drawn_steps() {
        std::vector<Step> steps(draw(0, 10));
        for (auto& step : steps) {
            step = {*rc::gen::inRange(0, 4), draw(0, 6)};
        }
        return steps;
    }

    void run(Tracker& tracker, BlockManager<>& manager) const {
        const auto sequence = counting_sequence(sequence_blocks);
        for (const Step& step : steps) {
            switch (step.kind) {
                case 0:
                    if (manager.available_blocks() >= step.count) {
                        queue(tracker, manager, step.count);
                    }
                    break;
                case 1:
                    must(tracker.stage(sequence.blocks().first(
                        std::min(tracker.next_position() + step.count, sequence_blocks))));
                    break;
                case 2:
                    tracker.register_blocks(manager, step.count);
                    break;
                default:
                    tracker.drop_last_unassigned(step.count / 2);
            }
        }
    }
};

// A tracker and its manager, in a random state; equal to any other made of the same script.
struct World {
    explicit World(const Script& script)
        : sequence(counting_sequence(script.sequence_blocks)), tracker(script.offset) {
        script.run(tracker, manager);
    }
    BlockManager<> manager = make_manager();
    BlockSequence sequence;
    Tracker tracker;
};

RC_GTEST_PROP(LogicalBlockAssignments, stage_and_register_equals_stage_then_register_P1, ()) {
    const Script script;
    World both(script);
    World steps(script);
    const auto blocks = both.sequence.blocks();

    const auto registered = must(both.tracker.stage_and_register(blocks, both.manager));
    must(steps.tracker.stage(blocks));
    const auto in_steps = steps.tracker.register_blocks(steps.manager);

    RC_ASSERT(registered == in_steps);
    RC_ASSERT(to_words(both.tracker) == to_words(steps.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, extend_by_two_lists_equals_by_their_sum_P2, ()) {
    const Script script;
    World two(script);
    World one(script);
    RC_PRE(two.manager.available_blocks() >= 10);
    const std::size_t first = draw(0, 5);
    const std::size_t second = draw(0, 5);

    queue(two.tracker, two.manager, first);
    queue(two.tracker, two.manager, second);
    queue(one.tracker, one.manager, first + second);

    RC_ASSERT(to_words(two.tracker) == to_words(one.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, stage_with_a_prefix_first_changes_nothing_P4, ()) {
    const Script script;
    World once(script);
    World twice(script);
    const auto blocks = once.sequence.blocks();
    const std::size_t m = draw(0, blocks.size());
    const std::size_t n = draw(0, m);

    must(twice.tracker.stage(blocks.first(n)));
    must(twice.tracker.stage(blocks.first(m)));
    must(once.tracker.stage(blocks.first(m)));

    RC_ASSERT(to_words(twice.tracker) == to_words(once.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, one_block_at_a_time_equals_all_at_once_P5, ()) {
    const Script script;
    World singly(script);
    World at_once(script);
    const auto blocks = singly.sequence.blocks();

    for (std::size_t n = 0; n <= blocks.size(); ++n) {
        must(singly.tracker.stage(blocks.first(n)));
        while (singly.tracker.register_blocks(singly.manager, 1) > 0) {
        }
    }
    must(at_once.tracker.stage_and_register(blocks, at_once.manager));

    RC_ASSERT(to_words(singly.tracker) == to_words(at_once.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, register_twice_equals_once_P6, ()) {
    const Script script;
    World world(script);
    world.tracker.register_blocks(world.manager);
    const auto words = to_words(world.tracker);

    RC_ASSERT(world.tracker.register_blocks(world.manager) == 0u);

    RC_ASSERT(to_words(world.tracker) == words);
}

RC_GTEST_PROP(LogicalBlockAssignments, ranges_are_adjacent_and_begin_at_the_offset_P7, ()) {
    const Script script;
    World world(script);
    const Tracker& tracker = world.tracker;

    RC_ASSERT(tracker.assigned_positions().first == script.offset);
    RC_ASSERT(tracker.assigned_positions().last == tracker.staged_positions().first);
    RC_ASSERT(tracker.staged_positions().last == tracker.pending_positions().first);
    RC_ASSERT(tracker.pending_positions().last == script.offset + tracker.all_block_ids().size());
    for (const auto& block : tracker.staged()) {
        RC_ASSERT(block.sequence_hash() ==
                  world.sequence.all_sequence_hashes()[*tracker.position_of(block.block_id())]);
    }
}

RC_GTEST_PROP(LogicalBlockAssignments, taken_staged_blocks_registered_and_given_back_P9, ()) {
    const Script script;
    World around(script);
    World direct(script);

    auto registered = must(around.manager.register_blocks(around.tracker.take_staged()));
    must(around.tracker.extend_assigned(std::move(registered)));
    direct.tracker.register_blocks(direct.manager);

    RC_ASSERT(to_words(around.tracker) == to_words(direct.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, adopting_cached_blocks_equals_registering_them_P11, ()) {
    const std::size_t count = draw(0, 20);
    const auto sequence = counting_sequence(count);
    auto manager = make_manager();
    {
        Tracker earlier;
        queue(earlier, manager, count);
        must(earlier.stage_and_register(sequence.blocks(), manager));
    }
    auto other = make_manager();
    Tracker registering;
    queue(registering, other, count);
    must(registering.stage_and_register(sequence.blocks(), other));
    Tracker adopting;

    RC_ASSERT(must(adopting.extend_assigned(
                  manager.match_blocks(sequence.all_sequence_hashes()))) == count);

    RC_ASSERT(to_words(adopting) == to_words(registering));
}

RC_GTEST_PROP(LogicalBlockAssignments, clear_and_again_equals_a_fresh_tracker_P12, ()) {
    const Script before;
    const Script script;
    auto manager = make_manager();
    Tracker reused(script.offset);
    before.run(reused, manager);
    reused.clear();
    RC_ASSERT(reused.offset() == script.offset);
    RC_ASSERT(manager.available_blocks() == pool_blocks);
    // The pool has another order and a cache now: the fresh tracker starts from a pool made alike.
    auto other = make_manager();
    {
        Tracker earlier(script.offset);
        before.run(earlier, other);
    }
    Tracker fresh(script.offset);

    script.run(reused, manager);
    script.run(fresh, other);

    RC_ASSERT(to_words(reused) == to_words(fresh));
}

RC_GTEST_PROP(LogicalBlockAssignments, rows_equal_those_of_the_external_tracker_P19, ()) {
    const std::size_t offset = draw(0, 4);
    const auto sequence = counting_sequence(offset + draw(0, 24));
    auto manager = make_manager();
    Tracker logical(offset);
    ExternalBlockAssignments external(offset);
    for (std::size_t step = draw(0, 30); step > 0; --step) {
        switch (*rc::gen::inRange(0, 5)) {
            case 0: {
                auto blocks = manager.allocate_blocks(draw(0, 4));
                if (blocks) {
                    must(external.extend_block_ids(blocks->block_ids()));
                    must(logical.extend_blocks(std::move(*blocks)));
                }
                break;
            }
            case 1: {
                const auto blocks = sequence.blocks().first(draw(0, sequence.blocks().size()));
                const auto staged = must(external.stage_pending(blocks));
                RC_ASSERT(must(logical.stage(blocks)) == staged.size());
                break;
            }
            case 2: {
                const auto committed = external.commit_staged();
                RC_ASSERT(logical.register_blocks(manager) == committed.size());
                break;
            }
            case 3: {
                auto taken = logical.take_staged();
                const auto entries = external.take_staged();
                RC_ASSERT(taken.block_ids() == kvbm::testing::ids_of(std::span(entries)));
                // Back to where they were: as cache hits on one side, registered on the other.
                must(external.extend_assigned(entries));
                must(logical.extend_assigned(must(manager.register_blocks(std::move(taken)))));
                break;
            }
            default:
                if (*rc::gen::inRange(0, 6) == 0) {
                    logical.clear();
                    external.clear();
                }
        }
        RC_ASSERT(logical.all_block_ids() == kvbm::testing::row_ids(external));
        RC_ASSERT(logical.assigned_positions() == external.assigned_positions());
        RC_ASSERT(logical.staged_positions() == external.staged_positions());
        RC_ASSERT(logical.pending_positions() == external.pending_positions());
        for (std::size_t i = 0; i < external.assigned_count(); ++i) {
            RC_ASSERT(logical.get_assigned(i)->sequence_hash() == external.get_assigned(i)->hash);
        }
        for (std::size_t i = 0; i < external.staged_count(); ++i) {
            RC_ASSERT(logical.get_staged(i)->sequence_hash() == external.get_staged(i)->hash);
        }
        for (const BlockId id : logical.all_block_ids()) {
            RC_ASSERT(logical.position_of(id) == external.position_of(id));
        }
    }
}

RC_GTEST_PROP(LogicalBlockAssignments, any_run_around_the_next_position_stages_the_same_P20, ()) {
    const Script script;
    World whole(script);
    World part(script);
    const auto blocks = whole.sequence.blocks();
    const std::size_t first = draw(0, std::min(part.tracker.next_position(), blocks.size()));

    const auto staged = must(whole.tracker.stage(blocks));

    RC_ASSERT(must(part.tracker.stage(blocks.subspan(first))) == staged);
    RC_ASSERT(to_words(part.tracker) == to_words(whole.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, registering_in_two_parts_equals_in_one_P21, ()) {
    const Script script;
    World parts(script);
    World whole(script);
    const std::size_t some = draw(0, 10);

    const auto first = parts.tracker.register_blocks(parts.manager, some);
    const auto second = parts.tracker.register_blocks(parts.manager);

    RC_ASSERT(first + second == whole.tracker.register_blocks(whole.manager));
    RC_ASSERT(first <= some);
    RC_ASSERT(to_words(parts.tracker) == to_words(whole.tracker));
}

RC_GTEST_PROP(LogicalBlockAssignments, dropped_at_any_step_leaves_what_was_assigned_cached_P22,
              ()) {
    const Script script;
    auto manager = make_manager();
    const auto sequence = counting_sequence(script.sequence_blocks);
    std::size_t assigned = 0;
    {
        Tracker tracker(script.offset);
        script.run(tracker, manager);
        assigned = tracker.assigned_count();
        RC_ASSERT(manager.available_blocks() + tracker.all_block_ids().size() == pool_blocks);
    }

    RC_ASSERT(manager.available_blocks() == pool_blocks);
    const auto hashes = sequence.all_sequence_hashes();
    for (std::size_t p = 0; p < hashes.size(); ++p) {
        const bool cached = p >= script.offset && p < script.offset + assigned;
        RC_ASSERT(manager.match_blocks(hashes.subspan(p, 1)).empty() != cached);
    }
}

RC_GTEST_PROP(LogicalBlockAssignments, under_reject_a_second_tracker_takes_the_ids_of_the_first_P23,
              ()) {
    const std::size_t count = draw(1, 20);
    const std::size_t blocks = 2 * count + draw(0, 4);
    auto manager = make_manager(true, blocks);
    const auto sequence = counting_sequence(count);
    Tracker first;
    Tracker second;
    queue(first, manager, count);
    queue(second, manager, count);
    const auto own = second.all_block_ids();
    must(first.stage_and_register(sequence.blocks(), manager));

    must(second.stage_and_register(sequence.blocks(), manager));

    RC_ASSERT(second.all_block_ids() == first.all_block_ids());
    queue(second, manager, blocks - count);
    const auto all = second.all_block_ids();
    RC_ASSERT(std::equal(own.begin(), own.end(), all.end() - static_cast<std::ptrdiff_t>(count)));
    RC_ASSERT(second.check_invariants().ok());
}

}  // namespace
