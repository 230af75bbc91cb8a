// The sketch's numbers, as blocks.md Q8 to Q11 print them, and its behaviour at the edges.
#include <algorithm>
#include <array>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.frequency;

namespace {

using kvbm::FixedDecayPolicy;
using kvbm::SequenceHash;
using kvbm::SketchLayout;
using kvbm::TinyLfuSketch;

using Estimates = std::vector<std::uint32_t>;

// k * 0x9E3779B97F4A7C15 as a 128-bit product.
SequenceHash product_key(std::uint64_t k) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide{k} * 0x9E37'79B9'7F4A'7C15U;
    return must(SequenceHash::from_bits(static_cast<std::uint64_t>(product >> 64),
                                        static_cast<std::uint64_t>(product)));
}

void increment(TinyLfuSketch& sketch, const auto& key, std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) {
        sketch.increment(key);
    }
}

// Keys 0 .. 199, each k mod 20 times in order; estimates of keys 0 .. 23.
Estimates check_run(TinyLfuSketch& sketch) {
    for (std::uint64_t k = 0; k < 200; ++k) {
        increment(sketch, product_key(k), k % 20);
    }
    Estimates estimates;
    for (std::uint64_t k = 0; k < 24; ++k) {
        estimates.push_back(sketch.estimate(product_key(k)));
    }
    return estimates;
}

const Estimates uncrowded{0,  1,  2,  3,  4,  5,  6,  7,  8, 9, 10, 11,
                          12, 13, 14, 15, 15, 15, 15, 15, 0, 1, 2,  3};

struct CheckRow {
    SketchLayout layout;
    std::size_t capacity;
    Estimates estimates;
};

class CheckValues : public testing::TestWithParam<CheckRow> {};

TEST_P(CheckValues, are_reproduced) {
    TinyLfuSketch sketch(GetParam().capacity, GetParam().layout);

    EXPECT_EQ(check_run(sketch), GetParam().estimates);
}

INSTANTIATE_TEST_SUITE_P(
    TinyLfuSketch, CheckValues,
    testing::Values(CheckRow{SketchLayout::compat, 3, {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
                                                       1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}},
                    CheckRow{
                        SketchLayout::compat, 10, {15, 15, 15, 15, 15, 15, 15, 7,  15, 7, 15, 15,
                                                   15, 15, 7,  15, 15, 15, 15, 15, 7,  7, 7,  15}},
                    CheckRow{SketchLayout::compat, 100, {0, 3, 6, 0, 1, 3, 1, 3, 3, 3, 3, 7,
                                                         3, 3, 3, 4, 3, 3, 3, 3, 0, 0, 3, 3}},
                    CheckRow{SketchLayout::compat, 1 << 18, uncrowded},
                    CheckRow{SketchLayout::blocked, 100, {0, 2, 0, 0, 1, 1, 1, 1, 2, 3, 3, 2,
                                                          3, 3, 3, 3, 3, 3, 3, 4, 0, 0, 0, 3}},
                    CheckRow{SketchLayout::blocked, 1000, uncrowded}));

TEST(TinyLfuSketch, has_the_size_of_the_check_values) {
    TinyLfuSketch crowded(100);
    TinyLfuSketch roomy(1000);

    check_run(crowded);
    check_run(roomy);

    EXPECT_EQ(crowded.size(), 652u);
    EXPECT_EQ(roomy.size(), 1800u);
}

TEST(TinyLfuSketch, counts_numbers_by_their_eight_bytes) {
    TinyLfuSketch sketch(100, SketchLayout::compat);
    for (std::uint64_t k = 0; k < 50; ++k) {
        increment(sketch, k, k % 16);
    }

    Estimates estimates;
    for (std::uint64_t k = 0; k < 24; ++k) {
        estimates.push_back(sketch.estimate(k));
    }

    EXPECT_EQ(estimates, (Estimates{0,  1,  2,  3,  4, 5, 6, 7, 8, 9, 10, 11,
                                    12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6,  7}));
}

TEST(TinyLfuSketch, compat_hashes_a_key_under_four_secrets) {
    const std::array<std::uint8_t, 16> wide{1};
    const std::array<std::uint8_t, 8> narrow{1};

    EXPECT_EQ(kvbm::detail::frequency::compat_hashes(wide),
              (std::array<std::uint64_t, 4>{0x26f2a1148cf52011, 0xfa252ff6576b72fa,
                                            0x6fa99e251541a1f6, 0xd96ece548a2b453d}));
    EXPECT_EQ(kvbm::detail::frequency::compat_hashes(narrow),
              (std::array<std::uint64_t, 4>{0x2fbc593564db792e, 0x0676f49e978f6311,
                                            0x3f33b8f5a4658aeb, 0x78319665979e6a46}));
}

std::array<std::uint8_t, 16> bytes_of(const SequenceHash& hash) {
    std::array<std::uint8_t, 16> bytes{};
    for (unsigned i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::uint8_t>(hash.low() >> (8 * i));
        bytes[8 + i] = static_cast<std::uint8_t>(hash.high() >> (8 * i));
    }
    return bytes;
}

// A sequence hash has a way of its own to its counters, bytes go by the library of the hash.
TEST(TinyLfuSketch, a_sequence_hash_counts_as_its_sixteen_bytes) {
    // Words: one, a power of two, and not.
    for (const std::size_t capacity : {1U, 1U << 12, 5000U}) {
        for (const auto layout : {SketchLayout::compat, SketchLayout::blocked}) {
            TinyLfuSketch hashes(capacity, layout, [](std::uint32_t) { return false; });
            TinyLfuSketch bytes(capacity, layout, [](std::uint32_t) { return false; });
            std::mt19937_64 random(capacity);
            for (int i = 0; i < 3000; ++i) {
                const std::uint64_t high = random() >> 2;
                const SequenceHash key = must(SequenceHash::from_bits(high, random()));

                ASSERT_EQ(hashes.estimate(key), bytes.estimate(bytes_of(key)));
                hashes.increment(key);
                bytes.increment(bytes_of(key));
            }
            EXPECT_EQ(hashes.words(), bytes.words()) << capacity;
        }
    }
}

// (word, nibble) of each counter that is not 0.
std::vector<std::pair<std::size_t, unsigned>> raised_counters(const TinyLfuSketch& sketch) {
    std::vector<std::pair<std::size_t, unsigned>> raised;
    const auto words = sketch.words();
    for (std::size_t word = 0; word < words.size(); ++word) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            if ((words[word] >> (4 * nibble) & 15U) != 0) {
                raised.emplace_back(word, nibble);
            }
        }
    }
    return raised;
}

SequenceHash small_key(std::uint64_t low) {
    return must(SequenceHash::from_bits(0, low));
}

TEST(TinyLfuSketch, blocked_keeps_a_keys_counters_in_one_line) {
    using Places = std::vector<std::pair<std::size_t, unsigned>>;
    TinyLfuSketch first(entries(kvbm::FrequencyTrackingCapacity::small));
    TinyLfuSketch second(entries(kvbm::FrequencyTrackingCapacity::small));

    first.increment(small_key(1));
    second.increment(small_key(2));

    EXPECT_EQ(raised_counters(first),
              (Places{{4510 * 8 + 1, 4}, {4510 * 8 + 2, 1}, {4510 * 8 + 5, 2}, {4510 * 8 + 6, 6}}));
    EXPECT_EQ(
        raised_counters(second),
        (Places{{3301 * 8 + 0, 5}, {3301 * 8 + 2, 10}, {3301 * 8 + 4, 15}, {3301 * 8 + 6, 12}}));
}

TEST(TinyLfuSketch, compat_uses_one_counter_per_word_and_blocked_all) {
    TinyLfuSketch compat(1 << 12, SketchLayout::compat);
    TinyLfuSketch blocked(1 << 12, SketchLayout::blocked);
    for (std::uint64_t k = 0; k < 3000; ++k) {
        compat.increment(product_key(k));
        blocked.increment(product_key(k));
    }

    const auto on_diagonal = [](const auto& place) { return place.first % 16 == place.second; };
    std::set<unsigned> nibbles;
    for (const auto& [word, nibble] : raised_counters(blocked)) {
        nibbles.insert(nibble);
    }

    EXPECT_TRUE(std::ranges::all_of(raised_counters(compat), on_diagonal));
    EXPECT_EQ(nibbles.size(), 16u);
}

// B10: of 100,000 random keys, each in four of a line's counters. Compat is exempt: it reaches one
// counter of each word.
TEST(TinyLfuSketch, random_keys_reach_as_many_counters_as_chance_allows) {
    constexpr std::size_t keys_count = 100'000;
    constexpr std::size_t rows = 4;
    TinyLfuSketch sketch(std::size_t{1} << 17, SketchLayout::blocked,
                         [](std::uint32_t) { return false; });
    std::mt19937_64 random(7);

    for (std::size_t i = 0; i < keys_count; ++i) {
        const std::uint64_t high = random() & 0x3FFF'FFFF'FFFF'FFFFU;
        sketch.increment(must(SequenceHash::from_bits(high, random())));
    }

    const auto per_row = static_cast<double>(sketch.words().size() * 16) / rows;
    const double expected =
        rows * per_row * -std::expm1(-static_cast<double>(keys_count) / per_row);
    EXPECT_GE(static_cast<double>(raised_counters(sketch).size()), 0.95 * expected);
}

TEST(TinyLfuSketch, keys_never_touched_look_used_in_a_full_compat_table_only) {
    const auto mean_of_strangers = [](SketchLayout layout) {
        constexpr std::uint64_t keys_count = 1 << 18;
        TinyLfuSketch sketch(keys_count, layout);
        for (std::uint64_t k = 0; k < keys_count; ++k) {
            sketch.increment(k);
        }
        std::uint64_t sum = 0;
        for (std::uint64_t k = keys_count; k < 2 * keys_count; ++k) {
            sum += sketch.estimate(k);
        }
        return static_cast<double>(sum) / keys_count;
    };

    EXPECT_NEAR(mean_of_strangers(SketchLayout::compat), 11.9, 0.1);
    EXPECT_NEAR(mean_of_strangers(SketchLayout::blocked), 0.18, 0.01);
}

TEST(TinyLfuSketch, counts_to_fifteen_and_no_further) {
    TinyLfuSketch sketch(1000);

    sketch.increment(small_key(7));
    const auto once = sketch.estimate(small_key(7));
    increment(sketch, small_key(7), 2);
    const auto thrice = sketch.estimate(small_key(7));
    increment(sketch, small_key(7), 30);

    EXPECT_EQ(once, 1u);
    EXPECT_EQ(thrice, 3u);
    EXPECT_EQ(sketch.estimate(small_key(7)), 15u);
    EXPECT_EQ(sketch.estimate(small_key(8)), 0u);
    EXPECT_EQ(sketch.size(), 15u);
}

TEST(TinyLfuSketch, capacity_zero_has_one_word_and_decays_at_once) {
    TinyLfuSketch sketch(0, SketchLayout::compat);

    increment(sketch, small_key(1), 5);

    EXPECT_EQ(sketch.words().size(), 1u);
    EXPECT_EQ(sketch.size(), 0u);
    EXPECT_LE(sketch.estimate(small_key(1)), 1u);
}

TEST(TinyLfuSketch, capacity_one_has_one_word_and_decays_at_ten) {
    TinyLfuSketch sketch(1, SketchLayout::compat);

    increment(sketch, small_key(1), 9);
    const auto before = sketch.estimate(small_key(1));
    sketch.increment(small_key(1));

    EXPECT_EQ(sketch.words().size(), 1u);
    EXPECT_EQ(before, 9u);
    EXPECT_EQ(sketch.estimate(small_key(1)), 5u);
    EXPECT_EQ(sketch.size(), 5u);
}

TEST(TinyLfuSketch, blocked_rounds_its_words_up_to_whole_lines) {
    EXPECT_EQ(TinyLfuSketch(0).words().size(), 8u);
    EXPECT_EQ(TinyLfuSketch(1).words().size(), 8u);
    EXPECT_EQ(TinyLfuSketch(33).words().size(), 16u);
    EXPECT_EQ(TinyLfuSketch(1 << 18).words().size(), std::size_t{1} << 16);
}

TEST(TinyLfuSketch, policy_of_the_user_halves_counters) {
    std::uint32_t fire_at = 4;
    TinyLfuSketch sketch(1000, SketchLayout::blocked,
                         [&](std::uint32_t size) { return size == fire_at; });

    increment(sketch, small_key(7), 4);

    EXPECT_EQ(sketch.estimate(small_key(7)), 2u);
    EXPECT_EQ(sketch.size(), 2u);
}

TEST(TinyLfuSketch, policy_is_asked_after_counted_increments_only) {
    Estimates asked;
    TinyLfuSketch sketch(1000, SketchLayout::blocked, [&](std::uint32_t size) {
        asked.push_back(size);
        return false;
    });

    increment(sketch, small_key(7), 17);

    EXPECT_EQ(asked, (Estimates{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
}

TEST(TinyLfuSketch, default_fires_at_ten_increments_per_entry) {
    TinyLfuSketch sketch(100, SketchLayout::compat);
    std::uint64_t before = 0;
    std::uint64_t k = 0;
    while (sketch.size() >= before) {
        before = sketch.size();
        sketch.increment(k++);
    }

    EXPECT_EQ(before, 999u);
}

TEST(TinyLfuSketch, size_never_falls_below_zero) {
    TinyLfuSketch sketch(64, SketchLayout::compat, FixedDecayPolicy(1));

    increment(sketch, small_key(3), 10);

    EXPECT_EQ(sketch.size(), 0u);
}

TEST(FixedDecayPolicy, fires_from_its_sample_size_on) {
    const FixedDecayPolicy policy(100);

    EXPECT_FALSE(policy(99));
    EXPECT_TRUE(policy(100));
    EXPECT_TRUE(policy(101));
}

TEST(FixedDecayPolicy, of_a_capacity_is_ten_times_it_up_to_the_largest_size) {
    using kvbm::FrequencyTrackingCapacity;

    EXPECT_EQ(FixedDecayPolicy::from_capacity(0).sample_size(), 0u);
    EXPECT_EQ(
        FixedDecayPolicy::from_capacity(entries(FrequencyTrackingCapacity::small)).sample_size(),
        2'621'440u);
    EXPECT_EQ(
        FixedDecayPolicy::from_capacity(entries(FrequencyTrackingCapacity::medium)).sample_size(),
        20'971'520u);
    EXPECT_EQ(
        FixedDecayPolicy::from_capacity(entries(FrequencyTrackingCapacity::large)).sample_size(),
        167'772'160u);
    EXPECT_EQ(FixedDecayPolicy::from_capacity(~std::size_t{0}).sample_size(), 0xFFFF'FFFFu);
}

TEST(TinyLfuSketch, increment_all_counts_and_decays_as_single_increments_do) {
    for (const auto layout : {SketchLayout::compat, SketchLayout::blocked}) {
        // Decays at sizes within a list, at one, and at none for lists on end.
        for (const std::size_t capacity : {1U, 20U, 100U, 1000U}) {
            TinyLfuSketch singly(capacity, layout);
            TinyLfuSketch at_once(capacity, layout);
            std::vector<SequenceHash> keys;
            for (const std::size_t count :
                 {0U, 1U, 7U, 8U, 9U, 127U, 128U, 129U, 300U, 999U, 1000U, 1001U}) {
                keys.clear();
                for (std::size_t i = 0; i < count; ++i) {
                    keys.push_back(product_key(i * i % 977));
                    singly.increment(keys.back());
                }

                at_once.increment_all(keys);

                ASSERT_EQ(at_once.size(), singly.size()) << capacity << ' ' << count;
                ASSERT_EQ(at_once.words(), singly.words()) << capacity << ' ' << count;
            }
        }
    }
}

TEST(TinyLfuSketch, increment_all_shows_each_size_to_a_policy_of_the_user) {
    Estimates asked;
    TinyLfuSketch sketch(1000, SketchLayout::blocked, [&](std::uint32_t size) {
        asked.push_back(size);
        return false;
    });
    const std::vector<SequenceHash> keys(17, small_key(7));

    sketch.increment_all(keys);

    EXPECT_EQ(asked, (Estimates{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
}

// Lists of distinct keys, each for one thread and none counted often enough to saturate.
TEST(TinyLfuSketch, lists_of_eight_threads_lose_no_touch) {
    TinyLfuSketch sketch(std::size_t{1} << 16, SketchLayout::blocked);
    constexpr std::uint64_t lists = 20;
    constexpr std::uint64_t list_size = 150;

    {
        std::vector<std::jthread> threads;
        for (std::uint64_t i = 0; i < 8; ++i) {
            threads.emplace_back([&sketch, i] {
                std::vector<SequenceHash> keys;
                for (std::uint64_t list = 0; list < lists; ++list) {
                    keys.clear();
                    for (std::uint64_t k = 0; k < list_size; ++k) {
                        keys.push_back(product_key(((i * lists + list) * list_size) + k));
                    }
                    sketch.increment_all(keys);
                }
            });
        }
    }

    std::uint64_t sum = 0;
    for (const std::uint64_t word : sketch.words()) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            sum += word >> (4 * nibble) & 15U;
        }
    }
    EXPECT_EQ(sketch.size(), 8 * lists * list_size);
    EXPECT_EQ(sum, 4 * 8 * lists * list_size);
}

// Neither list reaches the size at which the table decays, both together do.
TEST(TinyLfuSketch, lists_of_two_threads_reach_a_decay_together) {
    constexpr std::uint64_t decays_at = 10'000;
    constexpr std::uint64_t list_size = 128;
    for (int round = 0; round < 100; ++round) {
        TinyLfuSketch sketch(decays_at / 10, SketchLayout::blocked);
        std::uint64_t key = 0;
        while (sketch.size() + list_size + 1 < decays_at) {
            sketch.increment(key++);
        }
        std::barrier start(2);
        {
            std::vector<std::jthread> threads;
            for (std::uint64_t i = 0; i < 2; ++i) {
                threads.emplace_back([&, i] {
                    std::vector<SequenceHash> keys;
                    for (std::uint64_t k = 0; k < list_size; ++k) {
                        keys.push_back(product_key(i * list_size + k));
                    }
                    start.arrive_and_wait();
                    sketch.increment_all(keys);
                });
            }
        }
        ASSERT_LT(sketch.size(), decays_at) << round;
    }
}

TEST(TinyLfuSketch, loses_no_touch_of_eight_threads) {
    TinyLfuSketch eight(1000);
    TinyLfuSketch many(1000);

    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] {
                eight.increment(small_key(7));
                increment(many, small_key(7), 100);
            });
        }
    }

    EXPECT_EQ(eight.estimate(small_key(7)), 8u);
    EXPECT_EQ(many.estimate(small_key(7)), 15u);
    EXPECT_EQ(raised_counters(many).size(), 4u);
}

TEST(TinyLfuSketch, decays_of_many_threads_keep_counters_in_their_nibbles) {
    TinyLfuSketch sketch(64, SketchLayout::blocked, FixedDecayPolicy(20));

    {
        std::vector<std::jthread> threads;
        for (std::uint64_t i = 0; i < 4; ++i) {
            threads.emplace_back([&sketch, i] { increment(sketch, small_key(i / 2), 5000); });
        }
    }

    TinyLfuSketch lone(64, SketchLayout::blocked);
    lone.increment(small_key(0));
    lone.increment(small_key(1));
    const auto places = raised_counters(lone);
    EXPECT_TRUE(std::ranges::all_of(raised_counters(sketch), [&](const auto& place) {
        return std::ranges::find(places, place) != places.end();
    }));
    EXPECT_LE(sketch.size(), 20u + 4u);
}

}  // namespace
