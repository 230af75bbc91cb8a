// What each eviction policy does to any hashes, through a real manager: the order of the naive
// policy, each block once, prefixes last, and for lineage one forest whatever the order
// of insertion.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <tuple>
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

constexpr std::size_t block_size = 1;

rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::inRange<std::size_t>(0, limit);
}

// Children as often as all other kinds together.
rc::Gen<HashDraw> gen_draw() {
    return rc::gen::map(rc::gen::tuple(below(2 * kinships_count), below(32), below(20)),
                        [](const std::tuple<std::size_t, std::size_t, std::size_t>& drawn) {
                            const auto [kind, of, salt] = drawn;
                            return HashDraw{
                                kind < kinships_count ? static_cast<Kinship>(kind) : Kinship::child,
                                of, salt};
                        });
}

// Hashes that no two keys of a forest confuse: roots and children.
rc::Gen<HashDraw> gen_plain_draw() {
    return rc::gen::map(gen_draw(), [](HashDraw draw) {
        const bool plain = draw.kinship == Kinship::root || draw.kinship == Kinship::orphan;
        draw.kinship = plain ? draw.kinship : Kinship::child;
        return draw;
    });
}

std::vector<SequenceHash> draw_hashes(const rc::Gen<HashDraw>& draw, std::size_t count) {
    return make_hashes(*rc::gen::container<std::vector<HashDraw>>(1 + *below(count), draw));
}

rc::Gen<PolicyCommand> gen_command() {
    return rc::gen::map(
        rc::gen::tuple(below(20), below(32), below(66)),
        [](const std::tuple<std::size_t, std::size_t, std::size_t>& drawn) -> PolicyCommand {
            const auto [kind, which, count] = drawn;
            switch (kind) {
                default:
                    return CacheHash{which};
                case 10:
                case 11:
                    return UseHash{which};
                case 12:
                case 13:
                    return HoldHash{which};
                case 14:
                case 15:
                    return LetGo{which, false};
                case 16:
                    return LetGo{which, true};
                case 17:
                    return TakeBlocks{count};
                case 18:
                    return TouchTimes{which, count % 16};
                case 19:
                    return count % 8 == 0 ? PolicyCommand(DrainBlocks{}) : TakeBlocks{1};
            }
        });
}

PolicyConfig draw_config(Policy policy) {
    PolicyConfig config{policy};
    const auto low = *rc::gen::inRange<std::uint32_t>(1, 5);
    if (policy == Policy::multi_lru && *rc::gen::arbitrary<bool>()) {
        config.thresholds = {low, low + 1, low + 3};
    }
    return config;
}

BlockManager<> make_manager(const PolicyConfig& policy, std::size_t blocks) {
    auto builder = BlockManager<>::builder();
    builder.block_count(blocks).block_size(block_size);
    builder.registry(
        BlockRegistry::builder().frequency_tracker(std::make_shared<RecordingTracker>()).build());
    choose_backend(builder, policy);
    return must(builder.build());
}

// Blocks 0, 1, 2 ... of a fresh manager under these hashes.
ImmutableBlockList<> register_all(BlockManager<>& manager, std::span<const SequenceHash> hashes) {
    auto staged =
        must(std::move(*manager.allocate_blocks(hashes.size())).stage_all(hashes, block_size));
    return must(manager.register_blocks(std::move(staged)));
}

std::vector<BlockId> ids_of(const std::vector<CachedBlock>& blocks) {
    std::vector<BlockId> ids;
    for (const auto& block : blocks) {
        ids.push_back(block.id);
    }
    return ids;
}

template <class T>
std::vector<T> shuffled(std::vector<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) {
        std::swap(items[i - 1], items[*below(i)]);
    }
    return items;
}

class EvictionPolicy : public ::testing::TestWithParam<Policy> {
  protected:
    static std::string law(const char* words) {
        return std::string(name_of(GetParam())) + " " + words;
    }
};

// B1, B4, B5, P12: ids, victims and counts of any script, and an audit after each command.
TEST_P(EvictionPolicy, agrees_with_the_naive_policy) {
    constexpr int commands_max = 400;
    EXPECT_TRUE(rc::check(law("agrees with the naive policy"), [] {
        PolicyOptions options;
        options.policy = draw_config(GetParam());
        options.block_count = *rc::gen::element<std::size_t>(1, 2, 4, 8, 16, 32, 64);
        options.hashes = draw_hashes(gen_draw(), 32);
        RC_LOG() << to_string(options) << "\n";
        const auto commands = *rc::gen::resize(
            commands_max, rc::gen::container<std::vector<PolicyCommand>>(gen_command()));
        PolicyHarness harness(options);

        for (const auto& command : commands) {
            RC_LOG() << to_string(command) << "\n";
            if (const auto difference = harness.run(command)) {
                RC_FAIL(*difference);
            }
        }

        if (const auto difference = harness.finish()) {
            RC_FAIL(*difference);
        }
    }));
}

// The n blocks released are the n allocated next, in the order of the naive policy, however many
// are asked for at a time.
TEST_P(EvictionPolicy, evicts_each_block_once_in_the_naive_order) {
    EXPECT_TRUE(rc::check(law("evicts a permutation"), [] {
        const auto policy = draw_config(GetParam());
        const auto hashes = draw_hashes(gen_draw(), 64);
        auto manager = make_manager(policy, hashes.size());
        auto blocks = register_all(manager, hashes);
        std::vector<ImmutableBlockList<>> singles(hashes.size());
        for (std::size_t i = hashes.size(); i-- > 0;) {
            singles[i].push_back(blocks.pop_back());
        }
        std::vector<BlockId> order(hashes.size());
        std::iota(order.begin(), order.end(), BlockId{0});
        order = shuffled(order);
        PolicyModel model(policy);

        for (const BlockId id : order) {
            const std::uint32_t touches = *rc::gen::inRange<std::uint32_t>(0, uses_max);
            for (std::uint32_t i = 0; i < touches; ++i) {
                manager.block_registry().touch(hashes[id]);
            }
            singles[id].clear();
            model.insert({hashes[id], id}, 1 + touches);
        }

        std::vector<BlockId> victims;
        MutableBlockList<> taken;
        while (victims.size() < hashes.size()) {
            const std::size_t count = 1 + *below(hashes.size() - victims.size());
            auto allocation = manager.allocate_blocks_with_evictions(count);
            RC_ASSERT(allocation->evicted.size() == count);
            for (std::size_t i = 0; i < count; ++i) {
                victims.push_back(allocation->blocks[i].block_id());
                RC_ASSERT(allocation->evicted[i] == hashes[victims.back()]);
            }
            taken.append(std::move(allocation->blocks));
        }
        RC_ASSERT(victims == ids_of(model.order()));
        std::ranges::sort(victims);
        std::ranges::sort(order);
        RC_ASSERT(victims == order);
    }));
}

// B2: who is asked how many there are, or whether it is there, is not used.
TEST_P(EvictionPolicy, is_not_disturbed_by_questions) {
    EXPECT_TRUE(rc::check(law("is not disturbed by questions"), [] {
        const auto policy = draw_config(GetParam());
        const auto hashes = draw_hashes(gen_draw(), 32);
        auto asked = make_manager(policy, hashes.size());
        auto left_alone = make_manager(policy, hashes.size());
        auto blocks = register_all(asked, hashes);
        register_all(left_alone, hashes).clear();

        while (!blocks.empty()) {
            blocks.take_front(1).clear();
            static_cast<void>(asked.block_registry().check_presence<DefaultTier>(hashes));
            static_cast<void>(asked.available_blocks());
            static_cast<void>(asked.inspect());
            RC_ASSERT(asked.check_invariants().ok());
            RC_ASSERT(asked.block_registry().is_registered(hashes.front()));
            RC_ASSERT(!asked.allocate_blocks(hashes.size() + 1));
        }

        RC_ASSERT(asked.allocate_blocks(hashes.size())->block_ids() ==
                  left_alone.allocate_blocks(hashes.size())->block_ids());
    }));
}

// Prompts are paths from a root: what is cached of one is matched, the rest registered, and the
// list released leaf first, some of them later than others. Then no cached block lacks its parent.
// Under lru and fifo a prefix is never older than what follows it, under multi-LRU never used
// less.
TEST_P(EvictionPolicy, leaves_no_cached_block_without_its_prefix) {
    EXPECT_TRUE(rc::check(law("leaves no cached block without its prefix"), [] {
        constexpr std::size_t tree_max = 24;
        constexpr std::size_t held_max = 2;
        std::vector<std::size_t> parents;  // of hash i; its own number for a root
        std::vector<SequenceHash> hashes;
        for (std::size_t i = 0; i < tree_max; ++i) {
            parents.push_back(*below(8) == 0 ? i : *below(i + 1));
            const BlockHash content{i + 1};
            hashes.push_back(parents[i] == i ? SequenceHash::root(content)
                                             : must(hashes[parents[i]].extend(content)));
        }
        auto manager = make_manager({GetParam()}, *rc::gen::inRange<std::size_t>(2, tree_max));
        std::vector<ImmutableBlockList<>> held;

        for (const std::size_t tail :
             *rc::gen::resize(100, rc::gen::container<std::vector<std::size_t>>(below(tree_max)))) {
            std::vector<SequenceHash> prompt{hashes[tail]};
            for (std::size_t at = tail; parents[at] != at; at = parents[at]) {
                prompt.insert(prompt.begin(), hashes[parents[at]]);
            }
            auto blocks = manager.match_blocks(prompt);
            auto fresh = manager.allocate_blocks(prompt.size() - blocks.size());
            if (fresh) {
                const auto missing = std::span(prompt).subspan(blocks.size());
                blocks.append(must(manager.register_blocks(
                    must(std::move(*fresh).stage_all(missing, block_size)))));
                held.push_back(std::move(blocks));
            }
            blocks.clear(ReleaseOrder::leaf_first);
            while (held.size() > (fresh ? held_max : 0)) {
                held.front().clear(ReleaseOrder::leaf_first);
                held.erase(held.begin());
            }

            const auto present = manager.block_registry().check_presence<DefaultTier>(hashes);
            for (std::size_t i = 0; i < hashes.size(); ++i) {
                if (present[i].second) {
                    RC_ASSERT(present[parents[i]].second);
                }
            }
        }
    }));
}

INSTANTIATE_TEST_SUITE_P(Policies, EvictionPolicy, ::testing::ValuesIn(all_policies),
                         [](const auto& info) { return std::string(name_of(info.param)); });

class LineagePolicy : public EvictionPolicy {};

// B3, B7, without a model: among hashes that no key confuses, no victim leaves a cached child.
TEST_P(LineagePolicy, evicts_no_block_before_its_cached_children) {
    EXPECT_TRUE(rc::check(law("evicts children first"), [] {
        const auto hashes = draw_hashes(gen_plain_draw(), 64);
        auto manager = make_manager({GetParam()}, hashes.size());
        register_all(manager, hashes).clear();
        for (const std::size_t used : *rc::gen::container<std::vector<std::size_t>>(below(64))) {
            manager.match_blocks(std::span(&hashes[used % hashes.size()], 1)).clear();
        }

        MutableBlockList<> taken;
        std::vector<SequenceHash> evicted;
        while (manager.available_blocks() > 0) {
            RC_ASSERT(manager.allocate_blocks_into(1, taken, &evicted));
            RC_ASSERT(evicted.size() == taken.size());
            const auto present = manager.block_registry().check_presence<DefaultTier>(hashes);
            for (const auto& [hash, cached] : present) {
                if (cached) {
                    RC_ASSERT(!evicted.back().is_parent_of(hash));
                }
            }
        }

        RC_ASSERT(evicted.size() == hashes.size());
    }));
}

// Sets of up to five hashes whose nodes have one parent each. A gap is a block that is not there.
std::vector<std::vector<SequenceHash>> small_sets() {
    const auto hash = [](std::uint64_t chain, std::uint64_t parent, std::size_t position) {
        return must(SequenceHash::make(ChainHash{chain}, ChainHash{parent}, position));
    };
    const auto chain = [&](std::size_t first) {
        return std::vector{hash(10, 1, first), hash(11, 10, first + 1), hash(12, 11, first + 2),
                           hash(13, 12, first + 3), hash(14, 13, first + 4)};
    };
    auto gap = chain(0);
    gap.erase(gap.begin() + 2);
    return {chain(0),
            chain(253),
            chain(65533),
            gap,
            // a root with four children
            {hash(10, 0, 0), hash(21, 10, 1), hash(22, 10, 1), hash(23, 10, 1), hash(24, 10, 1)},
            // two branches
            {hash(10, 0, 0), hash(21, 10, 1), hash(22, 21, 2), hash(31, 10, 1), hash(32, 31, 2)},
            // two hashes of one key under one parent, and children below
            {hash(10, 0, 0), hash(0xAA, 10, 1), hash(std::uint64_t{1} << 54 | 0xAA, 10, 1),
             hash(41, 0xAA, 2), hash(42, 0xAA, 2)}};
}

// B6. Inserted in any order the forest is the same: after every block was used once, in a fixed
// order, victims are the same. And in any order they are those of the naive policy.
TEST_P(LineagePolicy, has_one_forest_for_all_orders_of_insertion) {
    for (const auto& hashes : small_sets()) {
        std::vector<std::size_t> order(hashes.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::optional<std::vector<SequenceHash>> first;
        do {
            SCOPED_TRACE(::testing::PrintToString(order));
            std::vector<SequenceHash> in_order;
            PolicyModel model({GetParam()});
            for (const std::size_t i : order) {
                model.insert({hashes[i], in_order.size()}, 0);
                in_order.push_back(hashes[i]);
            }
            auto manager = make_manager({GetParam()}, hashes.size());
            auto settled = make_manager({GetParam()}, hashes.size());
            register_all(manager, in_order).clear();
            register_all(settled, in_order).clear();
            for (const auto& hash : hashes) {
                settled.match_blocks(std::span(&hash, 1)).clear();
            }

            EXPECT_EQ(manager.check_invariants().to_string(), "");
            EXPECT_EQ(manager.allocate_blocks(hashes.size())->block_ids(), ids_of(model.order()));
            const auto evicted = settled.allocate_blocks_with_evictions(hashes.size())->evicted;
            EXPECT_EQ(evicted, first.value_or(evicted));
            first = evicted;
        } while (std::ranges::next_permutation(order).found);
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, LineagePolicy,
                         ::testing::Values(Policy::lineage_tick, Policy::lineage_fifo),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
