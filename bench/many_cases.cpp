// Several requests in one call, beside the same work in single calls.
module;

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

/// What a round asks for: so many requests of so many hashes, of which the first are cached.
struct Round {
    std::size_t length = 8;
    std::size_t requests = 16;
    std::size_t cached = 8;
};

/// The time of both halves of a round.
struct Halves {
    std::chrono::nanoseconds matching{};
    std::chrono::nanoseconds releasing{};
};

/// The least time per round of a sample, of each half.
class Least {
  public:
    void note(const Halves& sample, std::size_t rounds) {
        const auto least = [&](double& known, std::chrono::nanoseconds time) {
            known =
                std::min(known, static_cast<double>(time.count()) / static_cast<double>(rounds));
        };
        least(matching_, sample.matching);
        least(releasing_, sample.releasing);
    }
    /// Fields of a line: by what factor the others take longer.
    std::string ratios(const Least& others) const {
        return ratio("single_by_many", others.matching_ + others.releasing_,
                     matching_ + releasing_) +
               ratio("match_single_by_many", others.matching_, matching_) +
               ratio("release_single_by_many", others.releasing_, releasing_);
    }

  private:
    static std::string ratio(std::string_view name, double single, double many) {
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), ",\"%.*s\":%.2f", static_cast<int>(name.size()),
                      name.data(), single / many);
        return text.data();
    }

    double matching_ = std::numeric_limits<double>::max();
    double releasing_ = std::numeric_limits<double>::max();
};

/// One chain of the pool for each request, cut to what is cached and filled up with hashes that
/// are not.
std::vector<Chain> requests_of(Pool& pool, const Round& round) {
    const auto absent = chains(seeds::fresh, pool.chains().size(), round.length);
    std::vector<Chain> requests;
    for (const Chain& fresh : absent) {
        requests.push_back(pool.next());
        Chain& request = requests.back();
        request.resize(round.cached);
        request.insert(request.end(), fresh.begin() + static_cast<std::ptrdiff_t>(request.size()),
                       fresh.end());
    }
    return requests;
}

/// Rounds of match_many, whose results are kept as long as a server would, then as many of
/// release_many; in turn with the same in single calls. The line shows the time of the former, and
/// by what factor the latter take longer.
void time_rounds(const Run& run, const Filling& filling, const Round& round) {
    constexpr std::size_t kept_blocks = 65'536;
    Pool pool(filling);
    const auto requests = requests_of(pool, round);
    std::vector<std::vector<std::span<const SequenceHash>>> asked;
    for (std::size_t i = 0; i + round.requests <= requests.size(); i += round.requests) {
        const auto first = requests.begin() + static_cast<std::ptrdiff_t>(i);
        asked.emplace_back(first, first + static_cast<std::ptrdiff_t>(round.requests));
    }
    Turn turn(asked.size());
    const std::size_t rounds =
        std::min(asked.size(), kept_blocks / (round.cached * round.requests));
    std::vector<std::vector<ImmutableBlockList<>>> kept(rounds);
    for (auto& lists : kept) {
        lists.resize(round.requests);
        for (auto& list : lists) {
            list.reserve(round.length);
        }
    }
    std::size_t hits = 0;
    const auto match_many = [&] {
        for (auto& lists : kept) {
            hits += pool.manager().match_many(hide(asked[turn.next()]), lists);
        }
    };
    const auto release_many = [&] {
        for (auto& lists : kept) {
            BlockManager<>::release_many(lists, ReleaseOrder::root_first);
        }
    };
    const auto match_singly = [&] {
        for (auto& lists : kept) {
            const auto& hashes = hide(asked[turn.next()]);
            for (std::size_t i = 0; i < lists.size(); ++i) {
                hits += pool.manager().match_blocks_into(hashes[i], lists[i]);
            }
        }
    };
    const auto release_singly = [&] {
        for (auto& lists : kept) {
            std::ranges::for_each(lists, [](auto& list) { list.clear(); });
        }
    };
    Least many_least;
    Least single_least;
    std::size_t turns_done = 0;
    run.measure(round.cached * round.requests,
                [&](std::size_t operations) {
                    const std::size_t turns = (operations + rounds - 1) / rounds;
                    Halves many;
                    Halves single;
                    for (std::size_t i = 0; i < turns; ++i) {
                        many.matching += time_of(match_many);
                        many.releasing += time_of(release_many);
                        single.matching += time_of(match_singly);
                        single.releasing += time_of(release_singly);
                    }
                    turns_done += turns;
                    many_least.note(many, turns * rounds);
                    single_least.note(single, turns * rounds);
                    return Timed{turns * rounds, many.matching + many.releasing};
                },
                {.more = [&](double) { return many_least.ratios(single_least); }});
    expects(hits == 2 * turns_done * rounds * round.requests * round.cached,
            "exactly the cached are hit");
}

void add_rounds(Cases& cases, const PoolSize& size, std::string_view policy, bool active,
                const Round& round) {
    const Filling filling{
        .policy = policy, .blocks = size.blocks, .chain_length = round.cached, .active = active};
    const std::string length = round.cached == round.length ? std::to_string(round.length)
                                                            : std::to_string(round.cached) + "of" +
                                                                  std::to_string(round.length);
    cases.push_back({"match_many/" + std::string(active ? "active/" : "inactive/") + length + "x" +
                         std::to_string(round.requests) + "/" + std::string(policy) + "/" +
                         std::string(size.name),
                     [=](const Run& run) { time_rounds(run, filling, round); }});
}

}  // namespace

void add_many_cases(Cases& cases) {
    for (const PoolSize& size : pool_sizes) {
        for (const bool active : {true, false}) {
            add_rounds(cases, size, "lru", active, {.length = 8, .requests = 16, .cached = 8});
            add_rounds(cases, size, "lru", active, {.length = 32, .requests = 16, .cached = 8});
            add_rounds(cases, size, "lru", active, {.length = 128, .requests = 16, .cached = 128});
        }
        for (const std::string_view policy : {"lru_freq", "lineage_tick"}) {
            add_rounds(cases, size, policy, false, {.length = 8, .requests = 16, .cached = 8});
        }
    }
}

}  // namespace kvbm::bench
