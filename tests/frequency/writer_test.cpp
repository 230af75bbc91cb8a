// A sketch belongs to the first thread that touches it until a second one comes: no touch may be
// lost at that moment, which comes once in the life of a sketch.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.frequency;

namespace {

using kvbm::DecayPolicy;
using kvbm::SequenceHash;
using kvbm::SketchLayout;
using kvbm::TinyLfuSketch;

std::vector<SequenceHash> random_keys(std::size_t count) {
    std::mt19937_64 random(7);
    std::vector<SequenceHash> keys;
    for (std::size_t i = 0; i < count; ++i) {
        keys.push_back(must(SequenceHash::from_bits(random() >> 2, random())));
    }
    return keys;
}

std::uint64_t sum_of_counters(const TinyLfuSketch& sketch) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : sketch.words()) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            sum += word >> (4 * nibble) & 15U;
        }
    }
    return sum;
}

// All counters are in one line, so that two threads meet in every word; 97 touches of random keys
// leave them below 15.
constexpr std::size_t capacity = 32;
constexpr std::size_t keys_per_list = 48;
constexpr std::size_t rounds = 5000;

// Lets two threads go at the same moment, nearly: without a wake-up by the kernel.
class Meeting {
  public:
    void arrive_and_wait() {
        const unsigned round = arrived_.fetch_add(1) / 2;
        for (unsigned spins = 0; arrived_.load() < 2 * (round + 1); ++spins) {
            if (spins > 1000) {
                std::this_thread::yield();
            }
        }
    }

  private:
    std::atomic<unsigned> arrived_{0};
};

struct Way {
    const char* name;
    void (*touch)(TinyLfuSketch&, const std::vector<SequenceHash>&);
    bool has_policy;  // of the caller's: then a list is touched key by key
};

class Takeover : public testing::TestWithParam<Way> {};

// Two threads that live through all rounds. The first has touched when they start together; the
// second comes a random moment later.
TEST_P(Takeover, loses_no_touch) {
    const Way way = GetParam();
    const auto keys = random_keys(keys_per_list);
    std::vector<std::unique_ptr<TinyLfuSketch>> sketches(rounds);
    for (auto& sketch : sketches) {
        sketch = way.has_policy
                     ? std::make_unique<TinyLfuSketch>(capacity, SketchLayout::blocked,
                                                       DecayPolicy([](auto) { return false; }))
                     : std::make_unique<TinyLfuSketch>(capacity, SketchLayout::blocked);
    }

    Meeting meeting;
    const auto work = [&](bool is_first) {
        std::mt19937 random(11);
        std::atomic<unsigned> spent{0};
        for (auto& sketch : sketches) {
            if (is_first) {
                sketch->increment(keys.front());
            }
            meeting.arrive_and_wait();
            for (unsigned delay = is_first ? 0 : random() % 400; delay != 0; --delay) {
                spent.store(delay, std::memory_order_relaxed);
            }
            way.touch(*sketch, keys);
        }
    };
    {
        const std::jthread first([&] { work(true); });
        const std::jthread second([&] { work(false); });
    }

    constexpr std::uint64_t touches = 1 + 2 * keys_per_list;
    std::size_t inexact = 0;
    for (const auto& sketch : sketches) {
        inexact += sum_of_counters(*sketch) == 4 * touches ? 0 : 1;
        ASSERT_EQ(sketch->size(), touches);
    }
    EXPECT_EQ(inexact, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Takeover,
    testing::Values(Way{"lists",
                        [](TinyLfuSketch& sketch, const std::vector<SequenceHash>& keys) {
                            sketch.increment_all(keys);
                        },
                        false},
                    Way{"keys",
                        [](TinyLfuSketch& sketch, const std::vector<SequenceHash>& keys) {
                            for (const SequenceHash& key : keys) {
                                sketch.increment(key);
                            }
                        },
                        false},
                    Way{"lists_under_a_policy",
                        [](TinyLfuSketch& sketch, const std::vector<SequenceHash>& keys) {
                            sketch.increment_all(keys);
                        },
                        true}),
    [](const auto& info) { return info.param.name; });

TEST(TinyLfuSketch, goes_from_a_thread_that_ended_to_the_next) {
    const auto keys = random_keys(24);
    TinyLfuSketch sketch(1000, SketchLayout::blocked);

    for (int i = 0; i < 5; ++i) {
        const std::jthread thread([&] { sketch.increment_all(keys); });
    }
    sketch.increment_all(keys);

    EXPECT_EQ(sketch.size(), 6 * keys.size());
    EXPECT_EQ(sum_of_counters(sketch), 4 * 6 * keys.size());
}

// A policy of the caller's may touch the sketch that asks it.
TEST(TinyLfuSketch, policy_may_touch_the_sketch_that_asks_it) {
    const auto keys = random_keys(2);
    TinyLfuSketch* asking = nullptr;
    int nested = 0;
    TinyLfuSketch sketch(1000, SketchLayout::blocked, DecayPolicy([&](auto) {
                             if (nested++ == 0) {
                                 asking->increment(keys[1]);
                             }
                             return false;
                         }));
    asking = &sketch;

    sketch.increment(keys[0]);

    EXPECT_EQ(sketch.estimate(keys[0]), 1u);
    EXPECT_EQ(sketch.estimate(keys[1]), 1u);
    EXPECT_EQ(sketch.size(), 2u);
}

}  // namespace
