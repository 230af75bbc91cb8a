// Keys of any structure spread over the buckets of the index as random ones do, and hashes that
// agree in all the bits it looks at cost no more than comparing each. Source: verification.md E6.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

import kvbm.registry;

namespace {

using kvbm::detail::registry::draw_multiplier;
using kvbm::detail::registry::no_index;
using kvbm::detail::registry::Probe;
using kvbm::detail::registry::TagIndex;

constexpr std::size_t keys_count = 6000;
constexpr std::uint64_t key_mask = (std::uint64_t{1} << 38) - 1;

/// What it takes to look up each of the keys, and each once more as a miss.
struct Cost {
    std::size_t buckets = 0;   ///< looked at behind the home bucket
    std::size_t compared = 0;  ///< hashes compared
};

/// The home bucket of a probe, as index.cppm says.
std::size_t home(const TagIndex& index, Probe probe) {
    const std::size_t buckets = index.capacity() / TagIndex::load_per_bucket;
    return static_cast<std::size_t>(((probe.mixed >> 32) * buckets) >> 32);
}

/// Entries that had to go past a bucket, summed over all: what misses walk.
std::size_t overflow_of(const TagIndex& index, const std::vector<std::uint64_t>& keys) {
    const std::size_t buckets = index.capacity() / TagIndex::load_per_bucket;
    std::vector<std::size_t> fill(buckets);
    std::size_t walked = 0;
    for (const std::uint64_t key : keys) {
        std::size_t at = home(index, index.probe_chain(key));
        while (fill[at] == TagIndex::bucket_ids) {
            at = (at + 1) % buckets;
            ++walked;
        }
        ++fill[at];
    }
    return walked;
}

Cost cost_of(const std::vector<std::uint64_t>& keys, std::uint64_t multiplier) {
    TagIndex index(keys.size(), multiplier);
    for (std::uint32_t id = 0; id < keys.size(); ++id) {
        index.insert(index.probe_chain(keys[id]), id);
    }

    Cost cost;
    cost.buckets = overflow_of(index, keys);
    for (std::uint32_t wanted = 0; wanted < keys.size(); ++wanted) {
        const Probe probe = index.probe_chain(keys[wanted]);
        EXPECT_EQ(index.find(probe,
                             [&](std::uint32_t id) {
                                 ++cost.compared;
                                 return id == wanted;
                             }),
                  wanted);
        EXPECT_EQ(index.find(probe,
                             [&](std::uint32_t) {
                                 ++cost.compared;
                                 return false;
                             }),
                  no_index);
    }
    return cost;
}

std::vector<std::uint64_t> keys_by(const std::function<std::uint64_t(std::uint64_t)>& key) {
    std::vector<std::uint64_t> keys;
    for (std::uint64_t i = 0; i < keys_count; ++i) {
        keys.push_back(key(i));
    }
    return keys;
}

// Summed over multipliers, since for each structure some are worse than others: nobody outside
// knows which one a table has.
Cost cost_over_multipliers(const std::function<std::uint64_t(std::uint64_t)>& key) {
    std::mt19937_64 random(11);
    Cost sum;
    for (int draw = 0; draw < 20; ++draw) {
        const Cost cost = cost_of(keys_by(key), random());
        sum.buckets += cost.buckets;
        sum.compared += cost.compared;
    }
    return sum;
}

TEST(TagIndex, keys_of_any_structure_cost_no_more_than_ten_times_random_ones) {
    std::mt19937_64 random(7);
    const Cost ordinary = cost_over_multipliers([&](std::uint64_t) { return random(); });
    const std::size_t looked_at = 2 * 20 * keys_count;  // home buckets, hits and misses

    const std::array<std::function<std::uint64_t(std::uint64_t)>, 6> structures{
        [](std::uint64_t i) { return i; },
        [](std::uint64_t i) { return i << 12; },
        [](std::uint64_t i) { return i << 25; },
        [](std::uint64_t i) { return i * 1'000'003; },
        [](std::uint64_t i) { return (i << 20) | (i & 0xFFU); },
        [](std::uint64_t i) { return i / 12 * 0x9E37'79B9'7F4A'7C15U; }};  // 12 are equal
    for (std::size_t structure = 0; structure < structures.size(); ++structure) {
        const Cost cost = cost_over_multipliers(structures[structure]);
        EXPECT_LE(looked_at + cost.buckets, 10 * (looked_at + ordinary.buckets)) << structure;
        EXPECT_LE(cost.compared, 10 * ordinary.compared) << structure;
    }
}

TEST(TagIndex, hashes_equal_in_all_its_bits_are_compared_once_each_and_erased_apart) {
    constexpr std::uint32_t equal_count = 200;
    TagIndex index(1000, draw_multiplier());
    const auto probe_of = [&](std::uint32_t id) {
        return index.probe_chain(5 + std::uint64_t{id} * (key_mask + 1));
    };
    for (std::uint32_t id = 0; id < equal_count; ++id) {
        index.insert(probe_of(id), id);
    }

    std::size_t compared = 0;
    const auto absent = index.find(probe_of(0), [&](std::uint32_t) {
        ++compared;
        return false;
    });
    for (std::uint32_t id = 0; id < equal_count; id += 2) {
        index.erase(probe_of(id), id);
    }

    EXPECT_EQ(absent, no_index);
    EXPECT_EQ(compared, equal_count);
    for (std::uint32_t wanted = 0; wanted < equal_count; ++wanted) {
        const auto found =
            index.find(probe_of(wanted), [&](std::uint32_t id) { return id == wanted; });
        EXPECT_EQ(found, wanted % 2 == 0 ? no_index : wanted);
    }
}

TEST(TagIndex, two_tables_do_not_share_their_multiplier) {
    EXPECT_NE(draw_multiplier(), draw_multiplier());
}

}  // namespace
