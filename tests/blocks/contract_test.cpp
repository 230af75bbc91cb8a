// What breaks a contract of kvbm.blocks, and says so: empty guards, guards of another manager,
// indices out of range, a manager that was moved from, a guard of an earlier life of its slot.
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "pool_setup.hpp"

import kvbm.blocks;

namespace {

using namespace kvbm_test;

// Something that must not be done, and the rule that is printed with the place that checks it.
struct Misuse {
    std::string name;
    std::function<void()> act;
    std::string rule;
};

class ContractDeathTest : public testing::TestWithParam<Misuse> {};

TEST_P(ContractDeathTest, aborts_with_file_line_and_rule) {
    EXPECT_DEATH(GetParam().act(), "\\.cppm?:[0-9]+: .*broken contract: " + GetParam().rule);
}

std::string name_of(const testing::TestParamInfo<Misuse>& info) {
    return info.param.name;
}

template <class T>
void use(const T&) {}

// --- guards that were moved from (example 21, INV-G2) ---

const std::string empty_guard = "a guard that is used is not empty";

// Makes a guard, moves it away, and does something with what is left.
template <class Make, class Act>
Misuse moved_from(std::string name, const Make& make, const Act& act,
                  const std::string& rule = empty_guard) {
    return {std::move(name),
            [make, act] {
                auto manager = make_manager();
                auto guard = make(manager);
                const auto kept = std::move(guard);
                act(guard);
            },
            rule};
}

const auto owned = [](BlockManager<>& manager) { return allocate_one(manager); };
const auto staged = [](BlockManager<>& manager) { return stage_one(manager, root_hash(7)); };
const auto registered = [](BlockManager<>& manager) { return register_one(manager, root_hash(7)); };
const auto pinned = [](BlockManager<>& manager) {
    return register_one(manager, root_hash(7)).pin();
};
const auto weak = [](BlockManager<>& manager) {
    return register_one(manager, root_hash(7)).downgrade();
};

INSTANTIATE_TEST_SUITE_P(
    MutableBlock, ContractDeathTest,
    testing::Values(moved_from("block_id", owned, [](auto& guard) { use(guard.block_id()); }),
                    moved_from("block_size", owned, [](auto& guard) { use(guard.block_size()); }),
                    moved_from("manager_id", owned, [](auto& guard) { use(guard.manager_id()); }),
                    moved_from("stage", owned,
                               [](auto& guard) { use(std::move(guard).stage(root_hash(7), 4)); }),
                    moved_from("stage_with_a_wrong_size", owned,
                               [](auto& guard) { use(std::move(guard).stage(root_hash(7), 8)); }),
                    moved_from("complete", owned,
                               [](auto& guard) { use(std::move(guard).complete(TokenBlock())); })),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    CompleteBlock, ContractDeathTest,
    testing::Values(moved_from("block_id", staged, [](auto& guard) { use(guard.block_id()); }),
                    moved_from("block_size", staged, [](auto& guard) { use(guard.block_size()); }),
                    moved_from("sequence_hash", staged,
                               [](auto& guard) { use(guard.sequence_hash()); }),
                    moved_from("manager_id", staged, [](auto& guard) { use(guard.manager_id()); }),
                    moved_from("reset", staged, [](auto& guard) { use(std::move(guard).reset()); }),
                    moved_from("register_block", staged,
                               [](auto& guard) {
                                   auto manager = make_manager();
                                   use(manager.register_block(std::move(guard)));
                               })),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    ImmutableBlock, ContractDeathTest,
    testing::Values(
        moved_from("block_id", registered, [](auto& guard) { use(guard.block_id()); }),
        moved_from("sequence_hash", registered, [](auto& guard) { use(guard.sequence_hash()); }),
        moved_from("manager_id", registered, [](auto& guard) { use(guard.manager_id()); }),
        moved_from("registration_handle", registered,
                   [](auto& guard) { use(guard.registration_handle()); }),
        moved_from("is_duplicate", registered, [](auto& guard) { use(guard.is_duplicate()); }),
        moved_from("use_count", registered, [](auto& guard) { use(guard.use_count()); }),
        moved_from("set_evict_on_reset", registered,
                   [](auto& guard) { guard.set_evict_on_reset(true); }),
        moved_from("downgrade", registered, [](auto& guard) { use(guard.downgrade()); }),
        moved_from("pin", registered, [](auto& guard) { use(guard.pin()); })),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    LifecyclePin, ContractDeathTest,
    testing::Values(moved_from("block_id", pinned, [](auto& guard) { use(guard.block_id()); }),
                    moved_from("sequence_hash", pinned,
                               [](auto& guard) { use(guard.sequence_hash()); }),
                    moved_from("manager_id", pinned, [](auto& guard) { use(guard.manager_id()); }),
                    moved_from("registration_handle", pinned,
                               [](auto& guard) { use(guard.registration_handle()); }),
                    moved_from("use_count", pinned, [](auto& guard) { use(guard.use_count()); })),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    WeakBlock, ContractDeathTest,
    testing::Values(moved_from("manager_id", weak, [](auto& guard) { use(guard.manager_id()); }),
                    moved_from("upgrade", weak, [](auto& guard) { use(guard.upgrade()); }),
                    moved_from("sequence_hash", weak,
                               [](auto& guard) { use(guard.sequence_hash()); })),
    name_of);

// --- lists: guards of one manager (example 30, INV-G7), within their size ---

const std::string one_manager = "a list holds guards of one manager";

// Two managers whose block ids are the same.
struct Two {
    BlockManager<> mine = make_manager();
    BlockManager<> other = make_manager();
};

INSTANTIATE_TEST_SUITE_P(
    ForeignGuard, ContractDeathTest,
    testing::Values(Misuse{"pushed_into_a_mutable_list",
                           [] {
                               Two two;
                               auto list = allocate(two.mine, 1);
                               list.push_back(allocate_one(two.other));
                           },
                           one_manager},
                    Misuse{"pushed_into_a_complete_list",
                           [] {
                               Two two;
                               auto list = stage(two.mine, roots(1));
                               list.push_back(stage_one(two.other, root_hash(2)));
                           },
                           one_manager},
                    Misuse{"pushed_into_an_immutable_list",
                           [] {
                               Two two;
                               auto list = register_all(two.mine, roots(1));
                               list.push_back(register_one(two.other, root_hash(1)));
                           },
                           one_manager},
                    Misuse{"appended",
                           [] {
                               Two two;
                               auto list = allocate(two.mine, 1);
                               list.append(allocate(two.other, 2));
                           },
                           one_manager},
                    Misuse{"allocated_into",
                           [] {
                               Two two;
                               auto list = allocate(two.mine, 1);
                               use(two.other.allocate_blocks_into(1, list));
                           },
                           one_manager},
                    Misuse{"matched_into",
                           [] {
                               Two two;
                               auto list = register_all(two.mine, roots(1));
                               use(two.other.match_blocks_into(roots(1), list));
                           },
                           one_manager},
                    Misuse{"registered_into",
                           [] {
                               Two two;
                               auto list = register_all(two.mine, roots(1));
                               auto staged_list = stage(two.other, roots(1));
                               use(two.other.register_blocks_into(staged_list, list));
                           },
                           one_manager}),
    name_of);

INSTANTIATE_TEST_SUITE_P(List, ContractDeathTest,
                         testing::Values(Misuse{"index_of_its_size",
                                                [] {
                                                    auto manager = make_manager();
                                                    const auto list = allocate(manager, 2);
                                                    use(list[2]);
                                                },
                                                "an index into a list is below its size"},
                                         Misuse{"index_behind_a_front_that_was_taken",
                                                [] {
                                                    auto manager = make_manager();
                                                    auto list = allocate(manager, 4);
                                                    const auto front = list.take_front(2);
                                                    use(list[2]);
                                                },
                                                "an index into a list is below its size"},
                                         Misuse{"index_into_a_scattered_match",
                                                [] {
                                                    auto manager = make_manager();
                                                    const auto found =
                                                        manager.match_blocks_scattered(roots(2));
                                                    use(found[2]);
                                                },
                                                "an index into a list is below its size"},
                                         Misuse{"pop_back_of_an_empty_list",
                                                [] {
                                                    MutableBlockList<> list;
                                                    use(list.pop_back());
                                                },
                                                "a list that gives a guard is not empty"},
                                         Misuse{"split_off_behind_its_end",
                                                [] {
                                                    auto manager = make_manager();
                                                    auto list = allocate(manager, 2);
                                                    use(list.split_off(3));
                                                },
                                                "a list is split within its size"},
                                         Misuse{"take_front_of_more_than_it_has",
                                                [] {
                                                    auto manager = make_manager();
                                                    auto list = allocate(manager, 2);
                                                    use(list.take_front(3));
                                                },
                                                "no more guards are taken than a list has"},
                                         Misuse{"push_back_of_an_empty_guard",
                                                [] {
                                                    auto manager = make_manager();
                                                    auto guard = allocate_one(manager);
                                                    auto list = allocate(manager, 2);
                                                    list.push_back(std::move(guard));
                                                    list.push_back(std::move(guard));
                                                },
                                                empty_guard},
                                         Misuse{"append_to_itself",
                                                [] {
                                                    auto manager = make_manager();
                                                    auto list = allocate(manager, 2);
                                                    auto& self = list;
                                                    list.append(std::move(self));
                                                },
                                                "a list is not appended to itself"}),
                         name_of);

// --- calls on many lists ---

INSTANTIATE_TEST_SUITE_P(
    MatchMany, ContractDeathTest,
    testing::Values(Misuse{"with_fewer_lists_than_requests",
                           [] {
                               auto manager = make_manager();
                               const auto hashes = roots(1);
                               const std::vector<std::span<const SequenceHash>> requests(2, hashes);
                               std::vector<ImmutableBlockList<>> out(1);
                               use(manager.match_many(requests, out));
                           },
                           "a batch of matches has a list for each request"},
                    Misuse{"with_more_lists_than_requests",
                           [] {
                               auto manager = make_manager();
                               std::vector<ImmutableBlockList<>> out(1);
                               use(manager.match_many({}, out));
                           },
                           "a batch of matches has a list for each request"},
                    Misuse{"behind_the_guards_of_another_manager",
                           [] {
                               Two two;
                               const auto hashes = roots(1);
                               const std::vector<std::span<const SequenceHash>> requests(2, hashes);
                               std::vector<ImmutableBlockList<>> out(2);
                               out[1] = register_all(two.other, hashes);
                               use(two.mine.match_many(requests, out));
                           },
                           one_manager}),
    name_of);

// --- managers ---

template <class Act>
Misuse moved_manager(std::string name, const Act& act) {
    return {std::move(name),
            [act] {
                auto manager = make_manager();
                const auto kept = std::move(manager);
                act(manager);
            },
            "a manager that is used was not moved from"};
}

INSTANTIATE_TEST_SUITE_P(
    BlockManager, ContractDeathTest,
    testing::Values(
        moved_manager("id", [](auto& manager) { use(manager.id()); }),
        moved_manager("total_blocks", [](auto& manager) { use(manager.total_blocks()); }),
        moved_manager("available_blocks", [](auto& manager) { use(manager.available_blocks()); }),
        moved_manager("metrics", [](auto& manager) { use(manager.metrics()); }),
        moved_manager("block_registry", [](auto& manager) { use(manager.block_registry()); }),
        moved_manager("allocate_blocks", [](auto& manager) { use(manager.allocate_blocks(1)); }),
        moved_manager("register_blocks",
                      [](auto& manager) { use(manager.register_blocks(CompleteBlockList<>{})); }),
        moved_manager("match_blocks", [](auto& manager) { use(manager.match_blocks({})); }),
        moved_manager("match_many", [](auto& manager) { use(manager.match_many({}, {})); }),
        moved_manager("match_blocks_scattered",
                      [](auto& manager) { use(manager.match_blocks_scattered({})); }),
        moved_manager("scan_matches",
                      [](auto& manager) { use(manager.scan_matches({}, Touch::no)); }),
        moved_manager("reset_inactive_pool",
                      [](auto& manager) { use(manager.reset_inactive_pool()); }),
        moved_manager("inspect", [](auto& manager) { use(manager.inspect()); })),
    name_of);

// --- forged guards (INV-G8): made of the record of a guard that was dropped ---

using Access = kvbm::detail::blocks::GuardAccess;

const std::string other_life = "a guard is of the slot's present life";

INSTANTIATE_TEST_SUITE_P(
    StaleGuard, ContractDeathTest,
    testing::Values(Misuse{"mutable_dropped_twice",
                           [] {
                               auto manager = make_manager({.block_count = 1});
                               auto block = allocate_one(manager);
                               const auto record = Access::raw(block);
                               drop(std::move(block));
                               const auto tenant = allocate_one(manager);
                               drop(Access::make<MutableBlock<>>(record));
                           },
                           other_life},
                    Misuse{"mutable_used_after_its_block_was_staged",
                           [] {
                               auto manager = make_manager({.block_count = 1});
                               auto block = allocate_one(manager);
                               const auto record = Access::raw(block);
                               const auto complete = must(std::move(block).stage(root_hash(7), 4));
                               use(Access::make<MutableBlock<>>(record).stage(root_hash(8), 4));
                           },
                           "a guard's slot is in the guard's state"},
                    Misuse{"staged_registered_after_it_was_reset",
                           [] {
                               auto manager = make_manager({.block_count = 1});
                               auto block = stage_one(manager, root_hash(7));
                               const auto record = Access::raw(block);
                               const auto again = must(
                                   std::move(block).reset().stage(root_hash(8), tokens_per_block));
                               use(manager.register_block(Access::make<CompleteBlock<>>(record)));
                           },
                           other_life},
                    Misuse{"immutable_copied_after_its_block_was_evicted",
                           [] {
                               auto manager = make_manager({.block_count = 1});
                               auto block = register_one(manager, root_hash(7));
                               const auto record = Access::raw(block);
                               drop(std::move(block));
                               const auto tenant = register_one(manager, root_hash(8));
                               const auto stale = Access::make<ImmutableBlock<>>(record);
                               use(ImmutableBlock<>(stale));
                           },
                           other_life}),
    name_of);

}  // namespace
