// match_many and release_many equal the single calls in order: the same blocks, counters, touches,
// uses counted and order of the pool, under each policy, in pools that look ahead and in such that
// do not, for requests of any length that miss anywhere. Short scripts among all other calls are in
// block_manager_prop.cpp.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;
using List = ImmutableBlockList<>;

constexpr std::size_t chain_length = 40;

// Counts exactly up to 15 and remembers the touches; quick with many of them.
class ExactTracker final : public FrequencyTracker {
  public:
    Hashes touched;

    void touch(const SequenceHash& hash) override {
        touched.push_back(hash);
        ++uses_[hash];
    }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash& hash) const override {
        const auto at = uses_.find(hash);
        return at == uses_.end() ? 0 : std::min<std::uint32_t>(at->second, 15);
    }
    std::uint32_t count(std::uint64_t) const override { return 0; }

  private:
    std::map<SequenceHash, std::uint32_t> uses_;
};

// A manager of some chains: of each a part is cached, of some another part is held.
struct Side {
    Side(Policy policy, std::size_t blocks, std::span<const Hashes> chains)
        : manager(make_manager({.block_count = blocks, .policy = policy, .registry = registry})) {
        for (const Hashes& hashes : chains) {
            held.push_back(register_all(manager, hashes));
            held.back().take_front(chain_length / 2).clear(ReleaseOrder::leaf_first);
            if (held.size() % 3 != 0) {
                held.back().clear();
            }
        }
    }
    // Everything that is seen from outside, but for the number of operations.
    std::string picture() const {
        std::string text = difference({}, manager.metrics()->snapshot()) + "\n";
        for (const BlockInfo& block : manager.inspect()) {
            if (block.state != BlockState::reset) {
                text += "RMSPDI"[static_cast<std::size_t>(block.state)];
                text += std::to_string(block.references) + block.hash.to_hex() + " used " +
                        std::to_string(registry.count(block.hash)) + "\n";
            }
        }
        return text;
    }

    std::shared_ptr<ExactTracker> tracker = std::make_shared<ExactTracker>();
    BlockRegistry registry = BlockRegistry::builder().frequency_tracker(tracker).build();
    BlockManager<> manager;
    std::vector<List> held;
    std::vector<List> lists = std::vector<List>(8);
};

rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::inRange<std::size_t>(0, limit);
}

// A piece of the chains, which goes on in the next one: no lookup checks that hashes form a chain.
// It is none at all, short, or longer than what is looked ahead; a stranger stands somewhere in it
// or behind it.
Hashes draw_request(std::span<const Hashes> chains) {
    const std::size_t first = *below(chains.size() * chain_length);
    const std::size_t length = *rc::gen::oneOf(below(3), below(12), below(3 * chain_length));
    const std::size_t miss = *rc::gen::oneOf(below(4), below(6 * chain_length));
    Hashes hashes;
    for (std::size_t i = first; i < first + length; ++i) {
        hashes.push_back(chains[i / chain_length % chains.size()][i % chain_length]);
    }
    if (miss < length) {
        hashes[miss] = root_hash(0xDEAD'0000 + miss);
    }
    return hashes;
}

void match_in_both(Side& many, Side& single, std::span<const Hashes> requests) {
    const std::vector<std::span<const SequenceHash>> asked(requests.begin(), requests.end());

    const std::size_t hits =
        many.manager.match_many(asked, std::span(many.lists).first(asked.size()));
    std::size_t hits_of_singles = 0;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        hits_of_singles += single.manager.match_blocks_into(asked[i], single.lists[i]);
    }

    RC_ASSERT(hits == hits_of_singles);
    for (std::size_t i = 0; i < asked.size(); ++i) {
        RC_ASSERT(many.lists[i].block_ids() == single.lists[i].block_ids());
    }
    RC_ASSERT(many.tracker->touched == single.tracker->touched);
}

void release_in_both(Side& many, Side& single, std::size_t count, ReleaseOrder order) {
    BlockManager<>::release_many(std::span(many.lists).first(count), order);
    for (List& list : std::span(single.lists).first(count)) {
        list.clear(order);
    }
}

struct Size {
    std::size_t blocks;
    std::size_t chains;
};
void PrintTo(const Size& size, std::ostream* out) {
    *out << size.blocks << " blocks";
}

class Many : public testing::TestWithParam<std::tuple<Policy, Size>> {};

TEST_P(Many, equals_the_single_calls_in_order) {
    EXPECT_TRUE(rc::check([] {
        const auto& [policy, size] = GetParam();
        std::vector<Hashes> chains;
        for (std::size_t i = 0; i < size.chains; ++i) {
            chains.push_back(chain(chain_length, 1'000 * (i + 1)));
        }
        Side many(policy, size.blocks, chains);
        Side single(policy, size.blocks, chains);
        const auto any_order = rc::gen::element(ReleaseOrder::root_first, ReleaseOrder::leaf_first);

        constexpr int rounds = 4;
        for (int round = 0; round < rounds; ++round) {
            std::vector<Hashes> requests(*below(many.lists.size() + 1));
            for (Hashes& request : requests) {
                request = draw_request(chains);
            }
            match_in_both(many, single, requests);
            // Lists that stay are filled on by a later round.
            release_in_both(many, single, *below(many.lists.size() + 1), *any_order);
            RC_ASSERT(many.picture() == single.picture());
        }
        release_in_both(many, single, many.lists.size(), *any_order);
        many.held.clear();
        single.held.clear();

        RC_ASSERT(many.picture() == single.picture());
        RC_ASSERT(many.manager.check_invariants().to_string() == "");
        RC_ASSERT(take_available(many.manager) == take_available(single.manager));
    }));
}

INSTANTIATE_TEST_SUITE_P(BlockManager, Many,
                         testing::Combine(testing::ValuesIn(all_policies),
                                          testing::Values(Size{170, 4}, Size{9'000, 6})),
                         [](const auto& info) {
                             return to_string(std::get<0>(info.param)) + "_" +
                                    std::to_string(std::get<1>(info.param).blocks);
                         });

}  // namespace
