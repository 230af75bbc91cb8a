// Threads that share a manager. Not pinned; as many cores must be free as there are threads.
module;

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::size_t operations_per_thread = 20'000;
constexpr std::size_t chain_length = 32;

struct Sharing {
    std::size_t threads;
    bool same_chain;  ///< all threads match one chain, instead of a half of all chains each
    bool active;
};

Timed run_threads(BlockManager<>& manager, const std::vector<Chain>& chains,
                  const Sharing& sharing) {
    // The last to come reads the clock: were it a thread that waits, it could wake up when the
    // others have worked for a while.
    std::array<std::chrono::steady_clock::time_point, 2> times{};
    std::size_t phase = 0;
    std::barrier barrier(static_cast<std::ptrdiff_t>(sharing.threads),
                         [&]() noexcept { times[phase++] = std::chrono::steady_clock::now(); });
    std::atomic<std::size_t> hits{0};
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < sharing.threads; ++thread) {
        threads.emplace_back([&, thread] {
            const std::size_t share = chains.size() / 2;
            Turn turn(share);
            ImmutableBlockList<> matched;
            std::size_t own_hits = 0;
            barrier.arrive_and_wait();
            for (std::size_t i = 0; i < operations_per_thread; ++i) {
                const std::size_t chain = sharing.same_chain ? 0 : thread * share + turn.next();
                own_hits += manager.match_blocks_into(hide(chains[chain]), matched);
                matched.clear();
            }
            hits.fetch_add(own_hits);
            barrier.arrive_and_wait();
        });
    }
    threads.clear();
    const std::size_t operations = operations_per_thread * sharing.threads;
    expects(hits.load() == operations * chain_length, "every block is hit");
    return {operations, times[1] - times[0]};
}

void time_threads(const Run& run, const Sharing& sharing) {
    Pool pool({.blocks = pool_sizes.front().blocks,
               .chain_length = chain_length,
               .active = sharing.active});
    run.measure(
        chain_length,
        [&](std::size_t) { return run_threads(pool.manager(), pool.chains(), sharing); },
        {.unit = "ns/op (wall / all threads' ops)", .whole = true, .more = [&](double median) {
             return ",\"threads\":" + std::to_string(sharing.threads) +
                    ",\"ops_per_s\":" + std::to_string(static_cast<std::size_t>(1e9 / median));
         }});
}

}  // namespace

void add_thread_cases(Cases& cases) {
    for (const bool active : {true, false}) {
        for (const bool same : {false, true}) {
            for (const auto threads : std::initializer_list<std::size_t>{1, 2}) {
                if (same && !active) {
                    continue;
                }
                cases.push_back(
                    {std::string("mt/match_") + (active ? "active" : "inactive") + "/32/" +
                         (same ? "same" : "disjoint") + "/threads" + std::to_string(threads),
                     [=](const Run& run) { time_threads(run, {threads, same, active}); }});
            }
        }
    }
}

}  // namespace kvbm::bench
