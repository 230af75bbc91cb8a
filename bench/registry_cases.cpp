// What managers share: the frequency sketch and the registry.
module;

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

std::vector<SequenceHash> sketch_keys(std::size_t count) {
    SplitMix64 random(seeds::keys);
    std::vector<SequenceHash> keys(count);
    for (SequenceHash& key : keys) {
        key = sketch_key(random);
    }
    return keys;
}

void time_touches(const Run& run, std::size_t key_count) {
    const auto keys = sketch_keys(key_count);
    const auto tracker = create_tracker(FrequencyTrackingCapacity::medium, SketchLayout::compat);
    Turn turn(keys.size());
    run.measure(1, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             tracker->touch(hide(keys[turn.next()]));
                         }
                     })};
    });
    expects(tracker->count(keys.front()) > 0, "touches are counted");
}

/// What a lookup of a list does: one call for 128 keys.
void time_batches_of_touches(const Run& run, std::size_t key_count) {
    constexpr std::size_t batch = 128;
    const auto keys = sketch_keys(key_count);
    const auto tracker = create_tracker(FrequencyTrackingCapacity::medium, SketchLayout::compat);
    Turn turn(keys.size() / batch);
    run.measure(batch, [&](std::size_t operations) {
        return Timed{
            operations, time_of([&] {
                for (std::size_t i = 0; i < operations; ++i) {
                    tracker->touch_all(hide(std::span(keys).subspan(turn.next() * batch, batch)));
                }
            })};
    });
    expects(tracker->count(keys.front()) > 0, "touches are counted");
}

void time_estimates(const Run& run, std::size_t key_count) {
    const auto keys = sketch_keys(key_count);
    const auto tracker = create_tracker(FrequencyTrackingCapacity::medium, SketchLayout::compat);
    Turn turn(keys.size());
    std::uint64_t sum = 0;
    run.measure(1, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             sum += tracker->count(hide(keys[turn.next()]));
                         }
                         keep(sum);
                     })};
    });
    expects(sum == 0, "a new tracker has counted nothing");
}

using Handles = std::vector<BlockRegistrationHandle>;

/// A registry with live entries in chains of 128, and what keeps them alive.
struct FilledRegistry {
    explicit FilledRegistry(std::size_t entries)
        : resident(chains(seeds::resident, entries / 128, 128)) {
        for (const Chain& chain : resident) {
            registry.register_sequence_hashes_into(chain, held);
        }
    }
    BlockRegistry registry;
    std::vector<Chain> resident;
    Handles held;
};

void time_new_hashes(const Run& run, std::size_t entries) {
    constexpr std::size_t round = 64;
    FilledRegistry filled(entries);
    ChainStream fresh(seeds::fresh, 128);
    std::array<Handles, round> handles;
    run.measure(128, [&](std::size_t operations) {
        const std::size_t rounds = (operations + round - 1) / round;
        Timed timed{rounds * round};
        for (std::size_t i = 0; i < rounds; ++i) {
            const auto hashes = fresh.take(round * 128);
            timed.time += time_of([&] {
                for (std::size_t k = 0; k < round; ++k) {
                    filled.registry.register_sequence_hashes_into(
                        std::span(hashes).subspan(k * 128, 128), handles[k]);
                }
            });
            expects(filled.registry.registered_count() == entries + round * 128,
                    "every hash is new");
            for (Handles& list : handles) {
                list.clear();
            }
        }
        return timed;
    });
}

void time_known_hashes(const Run& run, std::size_t entries) {
    FilledRegistry filled(entries);
    const auto order = permutation(seeds::order, filled.resident.size());
    Turn turn(order.size());
    Handles handles;
    run.measure(128, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             filled.registry.register_sequence_hashes_into(
                                 hide(filled.resident[order[turn.next()]]), handles);
                             keep(handles);
                             handles.clear();
                         }
                     })};
    });
    expects(filled.registry.registered_count() == entries, "no hash is new");
}

void time_presence(const Run& run, std::size_t blocks, bool present) {
    Pool pool({.blocks = blocks});
    const auto absent = chains(seeds::fresh, pool.chains().size(), 128);
    const auto& asked = present ? pool.chains() : absent;
    std::vector<std::pair<SequenceHash, bool>> found;
    bool wrong = false;
    run.measure(128, [&](std::size_t operations) {
        return Timed{operations, time_of([&] {
                         for (std::size_t i = 0; i < operations; ++i) {
                             found.clear();
                             pool.manager().block_registry().check_presence_into<DefaultTier>(
                                 hide(asked[pool.next_index()]), found);
                             keep(found);
                             wrong = wrong || found.front().second != present;
                         }
                     })};
    });
    expects(!wrong, "the tier has the pool's blocks and no others");
}

}  // namespace

void add_registry_cases(Cases& cases) {
    struct KeySet {
        std::string_view name;
        std::size_t count;
    };
    for (const auto& [name, count] :
         std::array<KeySet, 2>{{{"hot", 4096}, {"cold", std::size_t{1} << 20}}}) {
        const std::string suffix(name);
        cases.push_back(
            {"frequency/touch/" + suffix, [=](const Run& run) { time_touches(run, count); }});
        cases.push_back({"frequency/touch_all/128/" + suffix,
                         [=](const Run& run) { time_batches_of_touches(run, count); }});
        cases.push_back(
            {"frequency/count/" + suffix, [=](const Run& run) { time_estimates(run, count); }});
    }
    for (const PoolSize& size : pool_sizes) {
        const std::string suffix(size.name);
        const std::size_t blocks = size.blocks;
        cases.push_back({"registry/register_new/128/" + suffix,
                         [=](const Run& run) { time_new_hashes(run, blocks); }});
        cases.push_back({"registry/register_known/128/" + suffix,
                         [=](const Run& run) { time_known_hashes(run, blocks); }});
        cases.push_back({"registry/check_presence/128/present/" + suffix,
                         [=](const Run& run) { time_presence(run, blocks, true); }});
        cases.push_back({"registry/check_presence/128/absent/" + suffix,
                         [=](const Run& run) { time_presence(run, blocks, false); }});
    }
}

}  // namespace kvbm::bench
