// Blocks of the free list, eviction, registration, and the whole turn-over.
module;

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::array<std::size_t, 3> batches{1, 8, 128};
constexpr std::size_t chain_length = 128;

/// Operations of a round: what is done of them outside the clock is done round by round.
std::size_t round_of(std::size_t blocks, std::size_t batch) {
    return std::max<std::size_t>(std::min<std::size_t>(blocks / 4, 8192) / batch, 1);
}

std::size_t rounds_for(std::size_t operations, std::size_t round) {
    return (operations + round - 1) / round;
}

void time_allocation(const Run& run, std::size_t blocks, std::size_t batch) {
    auto manager = make_manager("lru", blocks);
    shuffle_free_blocks(manager);
    MutableBlockList<> list;
    run.measure(batch, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             allocate(manager, batch, list);
                             keep(list);
                             list.clear();
                         }
                     })};
    });
    expects(manager.available_blocks() == blocks, "all blocks are back");
}

void time_drop_of_mutables(const Run& run, std::size_t blocks, std::size_t batch) {
    auto manager = make_manager("lru", blocks);
    shuffle_free_blocks(manager);
    const std::size_t round = round_of(blocks, batch);
    std::vector<MutableBlockList<>> lists(round);
    run.measure(batch, [&](std::size_t operations) {
        const std::size_t rounds = rounds_for(operations, round);
        Timed timed{rounds * round};
        for (std::size_t i = 0; i < rounds; ++i) {
            for (auto& list : lists) {
                allocate(manager, batch, list);
            }
            timed.time += time_of([&] {
                for (auto& list : lists) {
                    list.clear();
                }
            });
        }
        return timed;
    });
    expects(manager.available_blocks() == blocks, "all blocks are back");
}

/// An inactive pool, turned over once, so that it is in its steady state.
class TurningPool {
  public:
    TurningPool(std::string_view policy, std::size_t blocks)
        : pool_({.policy = policy, .blocks = blocks, .chain_length = chain_length}) {
        Lists lists;
        for (std::size_t i = 0; i < blocks / chain_length; ++i) {
            const auto hashes = fresh_.take(chain_length);
            allocate(manager(), chain_length, lists.fresh);
            publish(manager(), lists, hashes);
            lists.held.clear();
        }
    }
    BlockManager<>& manager() noexcept { return pool_.manager(); }
    /// Hashes never seen before.
    Chain fresh(std::size_t count) { return fresh_.take(count); }
    void expect_all_inactive() {
        expects(manager().available_blocks() == manager().total_blocks(), "all blocks are back");
        expects(manager().metrics()->snapshot().duplicate_blocks == 0, "no hash came twice");
    }

  private:
    Pool pool_;
    ChainStream fresh_{seeds::fresh, chain_length};
};

/// Allocates and registers in rounds; one of the two is timed.
enum class Step { allocate, publish };

void time_step(const Run& run, TurningPool& pool, std::size_t batch, Step step) {
    const std::size_t round = round_of(pool.manager().total_blocks(), batch);
    std::vector<Lists> lists(round);
    run.measure(batch, [&](std::size_t operations) {
        const std::size_t rounds = rounds_for(operations, round);
        Timed timed{rounds * round};
        for (std::size_t i = 0; i < rounds; ++i) {
            const auto hashes = pool.fresh(round * batch);
            const auto allocating = time_of([&] {
                for (auto& list : lists) {
                    allocate(pool.manager(), batch, list.fresh);
                }
            });
            const auto publishing = time_of([&] {
                for (std::size_t k = 0; k < round; ++k) {
                    publish(pool.manager(), lists[k], std::span(hashes).subspan(k * batch, batch));
                }
            });
            for (auto& list : lists) {
                list.held.clear();
            }
            timed.time += step == Step::allocate ? allocating : publishing;
        }
        return timed;
    });
    pool.expect_all_inactive();
}

void time_eviction(const Run& run, std::string_view policy, std::size_t blocks, std::size_t batch) {
    TurningPool pool(policy, blocks);
    time_step(run, pool, batch, Step::allocate);
}

void time_registration(const Run& run, std::string_view policy, std::size_t blocks,
                       std::size_t batch) {
    TurningPool pool(policy, blocks);
    time_step(run, pool, batch, Step::publish);
}

void time_churn(const Run& run, std::string_view policy, std::size_t blocks, std::size_t batch) {
    TurningPool pool(policy, blocks);
    Lists lists;
    run.measure(batch, [&](std::size_t operations) {
        const auto hashes = pool.fresh(operations * batch);
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             allocate(pool.manager(), batch, lists.fresh);
                             publish(pool.manager(), lists,
                                     std::span(hashes).subspan(i * batch, batch));
                             keep(lists);
                             lists.held.clear();
                         }
                     })};
    });
    pool.expect_all_inactive();
}

/// Registers blocks whose hashes are held already: half of the pool is active, half is free.
void time_duplicates(const Run& run, std::size_t blocks, std::size_t batch,
                     BlockDuplicationPolicy duplication) {
    Pool pool({.blocks = blocks,
               .chain_length = chain_length,
               .filled = blocks / 2,
               .active = true,
               .duplication = duplication});
    const std::size_t round = round_of(blocks, batch);
    std::vector<Lists> lists(round);
    std::vector<std::span<const SequenceHash>> known(round);
    std::span<const SequenceHash> rest;
    std::size_t registered = 0;
    run.measure(batch, [&](std::size_t operations) {
        const std::size_t rounds = rounds_for(operations, round);
        registered += rounds * round * batch;
        Timed timed{rounds * round};
        for (std::size_t i = 0; i < rounds; ++i) {
            for (std::size_t k = 0; k < round; ++k) {
                allocate(pool.manager(), batch, lists[k].fresh);
                rest = rest.empty() ? std::span(pool.next()) : rest;
                known[k] = rest.first(batch);
                rest = rest.subspan(batch);
            }
            timed.time += time_of([&] {
                for (std::size_t k = 0; k < round; ++k) {
                    publish(pool.manager(), lists[k], known[k]);
                }
            });
            for (auto& list : lists) {
                list.held.clear();
            }
        }
        return timed;
    });
    const auto counts = pool.manager().metrics()->snapshot();
    const bool allowed = duplication == BlockDuplicationPolicy::allow;
    expects((allowed ? counts.duplicate_blocks : counts.registration_dedup) == registered,
            "every block is a duplicate, or refused");
    expects(pool.manager().available_blocks() == blocks / 2, "all duplicates are back");
}

void add_scale(Cases& cases) {
    for (const std::string_view policy : scale_policies) {
        for (const std::size_t blocks : scale_sizes) {
            const std::string suffix = "/" + std::string(policy) + "/" + std::to_string(blocks);
            const auto add = [&](const std::string& operation, auto work) {
                cases.push_back({"scale/" + operation + suffix, work, true});
            };
            add("allocate_evict",
                [=](const Run& run) { time_eviction(run, policy, blocks, chain_length); });
            add("register",
                [=](const Run& run) { time_registration(run, policy, blocks, chain_length); });
            add("churn", [=](const Run& run) { time_churn(run, policy, blocks, chain_length); });
        }
    }
}

}  // namespace

void add_allocate_cases(Cases& cases) {
    for (const PoolSize& size : pool_sizes) {
        const std::size_t blocks = size.blocks;
        for (const std::size_t batch : batches) {
            const std::string number = "/" + std::to_string(batch) + "/";
            const std::string suffix = number + std::string(size.name);
            cases.push_back({"allocate/reset" + suffix,
                             [=](const Run& run) { time_allocation(run, blocks, batch); }});
            if (batch > 1) {
                cases.push_back({"drop/mutable" + suffix, [=](const Run& run) {
                                     time_drop_of_mutables(run, blocks, batch);
                                 }});
            }
            cases.push_back({"register/new" + suffix, [=](const Run& run) {
                                 time_registration(run, "lru", blocks, batch);
                             }});
            cases.push_back({"register/dup_allow" + suffix, [=](const Run& run) {
                                 time_duplicates(run, blocks, batch, BlockDuplicationPolicy::allow);
                             }});
            cases.push_back({"register/dup_reject" + suffix, [=](const Run& run) {
                                 time_duplicates(run, blocks, batch,
                                                 BlockDuplicationPolicy::reject);
                             }});
            for (const std::string_view policy : policies) {
                const std::string by_policy =
                    number + std::string(policy) + "/" + std::string(size.name);
                cases.push_back({"allocate/evict" + by_policy, [=](const Run& run) {
                                     time_eviction(run, policy, blocks, batch);
                                 }});
                cases.push_back({"churn" + by_policy,
                                 [=](const Run& run) { time_churn(run, policy, blocks, batch); }});
            }
        }
    }
    add_scale(cases);
}

}  // namespace kvbm::bench
