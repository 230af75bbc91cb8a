// The auditor names the invariant that a damaged store breaks, and the blocks concerned. Each case
// damages one record of a sound store, looks, and puts it back. Sees the store from inside.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

module kvbm.blocks;

import :store;

namespace kvbm {

namespace {

using detail::blocks::GuardAccess;
using detail::blocks::Slot;
using detail::blocks::SlotWord;
using detail::blocks::Store;
using detail::registry::EngineAccess;

enum class Backend { lru, multi_lru, lineage_tick, lineage_fifo };

/// A store in which each state occurs:
///   0, 1   inactive, 1 a child of 0        3      duplicate of 2
///   2      primary                         4      mutable
///   5      staged                          6, 7   reset
class Audit : public testing::TestWithParam<Backend> {
  protected:
    Audit() : registry_(make_registry()), manager_(make(registry_)) {
        const auto root = SequenceHash::root(BlockHash{1});
        const std::vector chain{root, must(root.extend(BlockHash{2}))};
        auto inactive = *register_all(chain);
        const std::array other{SequenceHash::root(BlockHash{9})};
        primary_ = register_all(other);
        duplicate_ = register_all(other);
        inactive.clear();
        mutable_ = manager_.allocate_blocks(1);
        auto staged = manager_.allocate_blocks(1);
        staged_.emplace(std::move(*std::move(*staged).stage_all({other.data(), 1}, 4)));
        static_cast<void>(manager_.allocate_blocks(2));
    }

    static BlockRegistry make_registry() {
        return BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build();
    }
    static BlockManager<> make(const BlockRegistry& registry) {
        auto builder = BlockManager<>::builder();
        builder.block_count(8).block_size(4).registry(registry);
        switch (GetParam()) {
            case Backend::lru:
                builder.with_lru_backend();
                break;
            case Backend::multi_lru:
                builder.with_multi_lru_backend();
                break;
            case Backend::lineage_tick:
                builder.with_lineage_backend();
                break;
            case Backend::lineage_fifo:
                builder.with_lineage_backend_eviction(LineageEviction::fifo);
                break;
        }
        return must(builder.build());
    }
    std::optional<ImmutableBlockList<>> register_all(std::span<const SequenceHash> hashes) {
        auto staged = std::move(*manager_.allocate_blocks(hashes.size())).stage_all(hashes, 4);
        return std::move(*manager_.register_blocks(std::move(*staged)));
    }

    /// A second manager comes to the registry: every registered hash has an entry from now on.
    void share_registry() { second_.emplace(make(registry_)); }

    Store& store() { return GuardAccess::store(manager_); }
    Slot& slot(std::size_t id) { return store().slots[id]; }

    /// Invariants that are reported while the damage is there, each once, in order.
    std::string broken_by(const std::function<void()>& damage,
                          const std::function<void()>& repair) {
        EXPECT_EQ(manager_.check_invariants().to_string(), "") << "before";
        damage();
        std::vector<std::string> ids;
        for (const Violation& violation : manager_.check_invariants().violations) {
            ids.push_back(violation.id);
        }
        repair();
        EXPECT_EQ(manager_.check_invariants().to_string(), "") << "after";
        std::ranges::sort(ids);
        const auto repeated = std::ranges::unique(ids);
        ids.erase(repeated.begin(), repeated.end());
        std::string text;
        for (const auto& id : ids) {
            text += (text.empty() ? "" : " ") + id;
        }
        return text;
    }
    /// The same for a value that is put back.
    template <class T>
    std::string broken_by_value(T& place, T wrong) {
        const T right = place;
        return broken_by([&] { place = wrong; }, [&] { place = right; });
    }
    std::string broken_by_word(std::size_t id, const std::function<SlotWord(SlotWord)>& change) {
        const SlotWord right = slot(id).word();
        return broken_by([&] { slot(id).set_word(change(right)); },
                         [&] { slot(id).set_word(right); });
    }
    std::string broken_by_references(std::size_t id, std::uint32_t wrong) {
        const std::uint32_t right = slot(id).copies.load();
        return broken_by([&] { slot(id).copies.store(wrong); },
                         [&] { slot(id).copies.store(right); });
    }

    BlockRegistry registry_;
    std::optional<BlockManager<>> second_;
    BlockManager<> manager_;
    std::optional<ImmutableBlockList<>> primary_;
    std::optional<ImmutableBlockList<>> duplicate_;
    std::optional<MutableBlockList<>> mutable_;
    std::optional<CompleteBlockList<>> staged_;
};

class ListAudit : public Audit {};
class ForestAudit : public Audit {};
class HeapAudit : public Audit {};

TEST_P(Audit, finds_a_sound_store_sound) {
    std::vector<BlockState> states;
    for (const BlockInfo& info : manager_.inspect()) {
        states.push_back(info.state);
    }

    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EXPECT_EQ(states, (std::vector{BlockState::inactive, BlockState::inactive, BlockState::primary,
                                   BlockState::duplicate, BlockState::mutable_block,
                                   BlockState::staged, BlockState::reset, BlockState::reset}));
}

TEST_P(Audit, finds_a_free_block_in_another_state) {
    EXPECT_EQ(broken_by_word(6, [](SlotWord word) { return word.with(BlockState::staged); }),
              "P1 P2 P3");
}

TEST_P(Audit, finds_a_free_block_twice_in_the_reset_pool) {
    EXPECT_EQ(broken_by([&] { store().reset.push_back(6); },
                        [&] {
                            // Three are in it: once round, without the last.
                            for (int i = 0; i < 2; ++i) {
                                store().reset.push_back(store().reset.pop_front());
                            }
                            static_cast<void>(store().reset.pop_front());
                        }),
              "P2 P3 V8");
}

TEST_P(Audit, finds_a_lost_free_block) {
    EXPECT_EQ(broken_by([&] { static_cast<void>(store().reset.pop_front()); },
                        [&] {
                            store().reset.push_back(6);
                            store().reset.push_back(store().reset.pop_front());
                        }),
              "P1 P3 V8");
}

TEST_P(Audit, finds_a_number_that_is_no_block_in_the_reset_pool) {
    EXPECT_EQ(broken_by(
                  [&] {
                      static_cast<void>(store().reset.pop_front());
                      store().reset.push_back(99);
                  },
                  [&] {
                      const auto seven = store().reset.pop_front();
                      static_cast<void>(store().reset.pop_front());
                      store().reset.push_back(6);
                      store().reset.push_back(seven);
                  }),
              "P1 P2");
}

TEST_P(Audit, finds_free_blocks_out_of_order) {
    EXPECT_EQ(broken_by_value(slot(6).since, slot(7).since + 1), "P5");
}

TEST_P(Audit, finds_an_inactive_block_in_no_pool) {
    EXPECT_EQ(broken_by([&] { store().inactive.remove(1); }, [&] { store().inactive.insert(1); }),
              "P2 P3 V8");
}

TEST_P(Audit, finds_an_evictable_block_that_somebody_holds) {
    EXPECT_EQ(broken_by_references(0, 1), "P7");
}

TEST_P(Audit, finds_a_held_block_in_a_pool) {
    EXPECT_EQ(broken_by([&] { store().reset.push_back(2); },
                        [&] {
                            for (int i = 0; i < 2; ++i) {
                                store().reset.push_back(store().reset.pop_front());
                            }
                            static_cast<void>(store().reset.pop_front());
                        }),
              "P2 P3 P5 P7 V8");
}

TEST_P(Audit, finds_a_registered_block_that_nobody_holds) {
    EXPECT_EQ(broken_by_references(3, 0), "G4");
}

TEST_P(Audit, finds_references_to_a_block_that_is_not_registered) {
    EXPECT_EQ(broken_by_references(5, 1), "G4");
}

TEST_P(Audit, finds_a_primary_with_fewer_references_than_duplicates) {
    const std::uint32_t right = slot(2).lookups();
    slot(2).set_lookups(0);
    EXPECT_EQ(broken_by_references(2, 0), "G4 G5");
    slot(2).set_lookups(right);
}

TEST_P(Audit, finds_a_duplicate_of_another_block) {
    EXPECT_EQ(broken_by_value(slot(3).primary, std::uint32_t{0}), "G5");
    EXPECT_EQ(broken_by_value(slot(3).primary, detail::registry::no_index), "G5");
}

TEST_P(Audit, finds_a_hash_that_leads_nowhere) {
    const auto probe = store().index.probe(slot(2).hash);

    EXPECT_EQ(
        broken_by([&] { store().index.erase(probe, 2); }, [&] { store().index.insert(probe, 2); }),
        "R1");
}

TEST_P(Audit, finds_a_hash_that_leads_to_a_free_block) {
    const auto probe = store().index.probe(slot(2).hash);

    EXPECT_EQ(
        broken_by([&] { store().index.insert(probe, 6); }, [&] { store().index.erase(probe, 6); }),
        "R1");
    EXPECT_EQ(broken_by([&] { store().index.insert(probe, 99); },
                        [&] { store().index.erase(probe, 99); }),
              "R1");
}

TEST_P(Audit, finds_a_block_that_does_not_hold_the_entry_somebody_asked_for) {
    const auto handle = (*primary_)[0].registration_handle();

    EXPECT_NE(slot(2).entry, detail::registry::no_index);
    EXPECT_EQ(broken_by_value(slot(2).entry, detail::registry::no_index), "R4");
    EXPECT_EQ(broken_by_value(slot(0).entry, slot(2).entry), "R4");
}

TEST_P(Audit, finds_entries_of_blocks_that_are_miscounted) {
    EXPECT_EQ(broken_by_value(store().linked, std::size_t{1}), "R4");
}

TEST_P(Audit, finds_a_duplicate_with_the_entry_of_another_hash) {
    share_registry();

    EXPECT_EQ(broken_by_value(slot(3).entry, slot(0).entry), "R4");
}

TEST_P(Audit, finds_a_block_without_its_registry_entry) {
    share_registry();

    EXPECT_EQ(broken_by_value(slot(2).entry, detail::registry::no_index), "R4");
    EXPECT_EQ(broken_by_value(slot(2).entry, slot(0).entry), "R4");
}

TEST_P(Audit, finds_a_block_that_is_not_present) {
    share_registry();
    auto& entry = *store().entry_of(slot(0));

    EXPECT_EQ(broken_by([&] { EngineAccess::lower_presence(entry, store().tier); },
                        [&] { EngineAccess::raise_presence(entry, store().tier); }),
              "R3");
}

TEST_P(Audit, leaves_presence_alone_while_a_registration_is_under_way) {
    share_registry();
    auto& entry = *store().entry_of(slot(0));
    ++store().registered;

    EngineAccess::lower_presence(entry, store().tier);
    EXPECT_EQ(manager_.check_invariants().to_string(), "");
    EngineAccess::raise_presence(entry, store().tier);
    --store().registered;
}

TEST_P(Audit, finds_a_duplicate_where_none_may_be) {
    const_cast<BlockDuplicationPolicy&>(store().duplication) = BlockDuplicationPolicy::reject;

    const auto report = manager_.check_invariants();

    EXPECT_EQ(report.to_string(), "R8 [3]: a manager that rejects has no duplicates\n");
}

TEST_P(Audit, finds_a_flag_left_by_an_earlier_tenant) {
    EXPECT_EQ(broken_by_word(4, [](SlotWord word) { return word.with_flag(true); }), "P11");
    EXPECT_EQ(broken_by_word(2, [](SlotWord word) { return word.with_flag(true); }), "")
        << "a registered block's is its own";
}

TEST_P(Audit, finds_gauges_and_counters_that_do_not_add_up) {
    auto& counters = store().counters;

    EXPECT_EQ(broken_by([&] { counters.reset_pool_size_set(3); },
                        [&] { counters.reset_pool_size_set(2); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.inactive_pool_size_set(0); },
                        [&] { counters.inactive_pool_size_set(2); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.inflight_mutable_add(1); },
                        [&] { counters.inflight_mutable_add(-1); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.evictions_add(1); },
                        [&] { counters.evictions_add(~std::uint64_t{0}); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.registrations_add(1); },
                        [&] { counters.registrations_add(~std::uint64_t{0}); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.duplicate_blocks_add(9); },
                        [&] { counters.duplicate_blocks_add(~std::uint64_t{8}); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.match_blocks_returned_add(1); },
                        [&] { counters.match_blocks_returned_add(~std::uint64_t{0}); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.eager_primary_to_inactive_add(1); },
                        [&] { counters.eager_primary_to_inactive_add(~std::uint64_t{0}); }),
              "V8");
    EXPECT_EQ(broken_by([&] { counters.release_duplicate_noop_add(1); },
                        [&] { counters.release_duplicate_noop_add(~std::uint64_t{0}); }),
              "V8");
}

TEST_P(ListAudit, finds_broken_links_of_an_inactive_list) {
    const auto none = detail::registry::no_index;
    const std::uint32_t first = slot(0).prev == none ? 0 : 1;
    const std::uint32_t second = 1 - first;

    EXPECT_EQ(broken_by_value(slot(second).prev, none), "P2");
    EXPECT_EQ(broken_by_value(slot(first).next, none), "P12");
    EXPECT_EQ(broken_by_value(slot(second).next, first), "P12");
    EXPECT_EQ(broken_by_value(slot(first).since, slot(second).since + 1), "P5");
    EXPECT_EQ(broken_by_word(first, [](SlotWord word) { return word.with_mark(3); }), "P2");
}

TEST_P(ForestAudit, finds_a_forest_whose_children_do_not_add_up) {
    EXPECT_EQ(broken_by_value(slot(0).children, 2U), "B5");
    EXPECT_EQ(broken_by_value(slot(0).children, 0U),
              GetParam() == Backend::lineage_tick ? "B3 B5 P12" : "B5 P12");
    EXPECT_EQ(broken_by_value(slot(1).children, 1U), "B3 B5 P12");
    EXPECT_EQ(broken_by_word(1, [](SlotWord word) { return word.with_mark(1); }), "B5")
        << "a node that is not linked to its parent";
}

TEST_P(ForestAudit, finds_blocks_that_are_in_no_node_and_nodes_in_no_block) {
    EXPECT_EQ(broken_by_word(1, [](SlotWord word) { return word.with_mark(0); }), "B3 B5 P12 P2");
    EXPECT_EQ(broken_by_word(2, [](SlotWord word) { return word.with_mark(1); }), "B4")
        << "a ghost without children";
    EXPECT_EQ(broken_by_word(3, [](SlotWord word) { return word.with_mark(1); }), "B4")
        << "a node in a duplicate";
    EXPECT_EQ(broken_by_word(2, [](SlotWord word) { return word.with_mark(2); }), "P2");
}

TEST_P(HeapAudit, finds_a_leaf_out_of_its_place) {
    const std::uint64_t tick = slot(1).tick();

    EXPECT_EQ(broken_by_value(slot(1).prev, std::uint32_t{7}), "B3 P5");
    EXPECT_EQ(broken_by([&] { slot(1).set_tick(tick + 1); }, [&] { slot(1).set_tick(tick); }),
              "P5");
}

INSTANTIATE_TEST_SUITE_P(Backends, Audit,
                         testing::Values(Backend::lru, Backend::multi_lru, Backend::lineage_tick,
                                         Backend::lineage_fifo));
INSTANTIATE_TEST_SUITE_P(Backends, ListAudit, testing::Values(Backend::lru, Backend::multi_lru));
INSTANTIATE_TEST_SUITE_P(Backends, ForestAudit,
                         testing::Values(Backend::lineage_tick, Backend::lineage_fifo));
INSTANTIATE_TEST_SUITE_P(Backends, HeapAudit, testing::Values(Backend::lineage_tick));

}  // namespace

}  // namespace kvbm
