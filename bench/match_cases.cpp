// Lookups in a full pool, and giving back what they found.
module;

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::array<std::size_t, 4> chain_lengths{8, 32, 128, 1024};
constexpr std::array<std::size_t, 5> scale_lengths{1, 16, 256, 4096, 16'384};
constexpr std::size_t scale_lengths_blocks = 65'536;

/// Matches and drops, both timed.
void time_round_trip(const Run& run, const Filling& filling) {
    Pool pool(filling);
    ImmutableBlockList<> matched;
    std::size_t hits = 0;
    std::size_t calls = 0;
    run.measure(filling.chain_length, [&](std::size_t operations) {
        calls += operations;
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             hits += pool.manager().match_blocks_into(hide(pool.next()), matched);
                             keep(matched);
                             matched.clear();
                         }
                     })};
    });
    expects(hits == calls * filling.chain_length, "every block is hit");
}

enum class Half { match, drop };

/// Matches, keeps the results of a round, and drops them; one half is timed.
void time_half(const Run& run, const Filling& filling, Half half) {
    constexpr std::size_t kept_blocks = 65'536;
    Pool pool(filling);
    const std::size_t round = std::min(
        pool.chains().size(), std::max<std::size_t>(kept_blocks / filling.chain_length, 1));
    std::vector<ImmutableBlockList<>> kept(round);
    run.measure(filling.chain_length, [&](std::size_t operations) {
        const std::size_t rounds = (operations + round - 1) / round;
        Timed timed{rounds * round};
        for (std::size_t i = 0; i < rounds; ++i) {
            const auto matching = time_of([&] {
                for (auto& list : kept) {
                    pool.manager().match_blocks_into(hide(pool.next()), list);
                }
            });
            expects(
                std::ranges::all_of(
                    kept, [&](const auto& list) { return list.size() == filling.chain_length; }),
                "every block is hit");
            const auto dropping = time_of([&] {
                for (auto& list : kept) {
                    list.clear();
                }
            });
            timed.time += half == Half::match ? matching : dropping;
        }
        return timed;
    });
}

void add_match_and_drop(Cases& cases, const PoolSize& size, std::string_view policy,
                        std::size_t length, bool active) {
    const Filling filling{
        .policy = policy, .blocks = size.blocks, .chain_length = length, .active = active};
    const std::string suffix =
        "/" + std::to_string(length) + "/" + std::string(policy) + "/" + std::string(size.name);
    const std::string state = active ? "active" : "inactive";
    const auto add = [&](const std::string& group, auto work) {
        cases.push_back({group + suffix, work});
    };
    add("match/" + state, [=](const Run& run) { time_round_trip(run, filling); });
    if (!active || policy != "lru_freq") {
        add("match/" + state + "_keep",
            [=](const Run& run) { time_half(run, filling, Half::match); });
    }
    if (!active || policy == "lru") {
        add(active ? "drop/shared" : "drop/bulk",
            [=](const Run& run) { time_half(run, filling, Half::drop); });
    }
}

void time_misses(const Run& run, std::size_t blocks) {
    Pool pool({.blocks = blocks});
    const auto absent = chains(seeds::fresh, blocks / 128, 128);
    Turn turn(absent.size());
    ImmutableBlockList<> matched;
    std::size_t hits = 0;
    run.measure(1, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             hits += pool.manager().match_blocks_into(hide(absent[turn.next()]),
                                                                      matched);
                             keep(matched);
                         }
                     })};
    });
    expects(hits == 0, "no block is hit");
}

/// Which of 128 hashes are in the pool.
struct Kind {
    std::string_view name;
    std::size_t hits;
};
constexpr std::array<Kind, 3> kinds{{{"half", 64}, {"hit", 128}, {"none", 0}}};

/// Lists of 128 hashes in the order of the pool: for `half`, those at odd places are absent.
std::vector<Chain> lists(Pool& pool, const Kind& kind) {
    const auto absent = chains(seeds::fresh, pool.chains().size(), 128);
    std::vector<Chain> mixed;
    for (std::size_t i = 0; i < absent.size(); ++i) {
        const std::size_t chain = pool.next_index();
        mixed.push_back(kind.hits == 0 ? absent[chain] : pool.chains()[chain]);
        if (kind.hits == 64) {
            for (std::size_t place = 1; place < 128; place += 2) {
                mixed.back()[place] = absent[chain][place];
            }
        }
    }
    return mixed;
}

/// `look` asks the manager for a list of hashes and gives what it returned.
template <class Look, class Hits>
void time_lookups(const Run& run, const Filling& filling, const Kind& kind, const Look& look,
                  const Hits& hits_of) {
    Pool pool(filling);
    const auto wanted = lists(pool, kind);
    Turn turn(wanted.size());
    std::size_t hits = 0;
    std::size_t calls = 0;
    run.measure(128, [&](std::size_t operations) {
        calls += operations;
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             const auto found = look(pool.manager(), hide(wanted[turn.next()]));
                             hits += hits_of(found);
                             keep(found);
                         }
                     })};
    });
    expects(hits == calls * kind.hits, "exactly the blocks of the pool are hit");
}

void add_lookups(Cases& cases, const PoolSize& size, bool active, const Kind& kind) {
    const Filling filling{.blocks = size.blocks, .active = active};
    const std::string suffix = "128/" + std::string(kind.name) +
                               (active ? "/active/" : "/inactive/") + std::string(size.name);
    cases.push_back({"match/scattered/" + suffix, [=](const Run& run) {
                         time_lookups(
                             run, filling, kind,
                             [](auto& manager, const Chain& hashes) {
                                 return manager.match_blocks_scattered(hashes);
                             },
                             [](const auto& found) { return found.hits(); });
                     }});
    cases.push_back({"scan/" + suffix, [=](const Run& run) {
                         time_lookups(
                             run, filling, kind,
                             [](auto& manager, const Chain& hashes) {
                                 return manager.scan_matches(hashes, Touch::no);
                             },
                             [](const auto& found) { return found.size(); });
                     }});
}

void add_scale(Cases& cases) {
    for (const std::string_view policy : scale_policies) {
        for (const std::size_t blocks : scale_sizes) {
            const Filling inactive{.policy = policy, .blocks = blocks};
            const Filling active{.policy = policy, .blocks = blocks, .active = true};
            const std::string suffix = "/" + std::string(policy) + "/" + std::to_string(blocks);
            const auto add = [&](const std::string& operation, auto work) {
                cases.push_back({"scale/" + operation + suffix, work, true});
            };
            add("match_active", [=](const Run& run) { time_round_trip(run, active); });
            add("match_inactive", [=](const Run& run) { time_round_trip(run, inactive); });
            add("drop", [=](const Run& run) { time_half(run, inactive, Half::drop); });
        }
    }
    for (const std::size_t length : scale_lengths) {
        const Filling filling{.blocks = scale_lengths_blocks, .chain_length = length};
        cases.push_back({"scale/match_inactive_chain/" + std::to_string(length),
                         [=](const Run& run) { time_round_trip(run, filling); }, true});
    }
}

}  // namespace

void add_match_cases(Cases& cases) {
    for (const PoolSize& size : pool_sizes) {
        for (const std::size_t length : chain_lengths) {
            for (const std::string_view policy : {"lru", "lru_freq", "lineage_tick"}) {
                add_match_and_drop(cases, size, policy, length, true);
            }
            for (const std::string_view policy : policies) {
                add_match_and_drop(cases, size, policy, length, false);
            }
        }
        cases.push_back({"match/miss/128/lru/" + std::string(size.name),
                         [=](const Run& run) { time_misses(run, size.blocks); }});
        for (const bool active : {true, false}) {
            for (const Kind& kind : kinds) {
                add_lookups(cases, size, active, kind);
            }
        }
    }
    add_scale(cases);
}

}  // namespace kvbm::bench
