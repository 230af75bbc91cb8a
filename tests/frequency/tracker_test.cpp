// Trackers are one interface over a sketch, nothing, or whatever a user counts with.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.frequency;

namespace {

using kvbm::FrequencyTrackingCapacity;
using kvbm::NoOpTracker;
using kvbm::SequenceHash;
using kvbm::SketchLayout;
using kvbm::TinyLfuSettings;
using kvbm::TinyLfuSettingsError;
using kvbm::TinyLfuSketch;

SequenceHash key(std::uint64_t low) {
    return must(SequenceHash::from_bits(0, low));
}

class RecordingTracker final : public kvbm::FrequencyTracker {
  public:
    std::vector<std::uint64_t> touched;
    void touch(const SequenceHash& hash) override { touched.push_back(hash.low()); }
    void touch(std::uint64_t number) override { touched.push_back(number); }
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }
};

TEST(FrequencyTracker, touch_all_touches_each_key_in_order_by_default) {
    RecordingTracker tracker;
    const std::vector keys{key(3), key(1), key(3)};

    tracker.touch_all(keys);

    EXPECT_EQ(tracker.touched, (std::vector<std::uint64_t>{3, 1, 3}));
}

TEST(NoOpTracker, counts_nothing) {
    NoOpTracker tracker;
    const std::vector keys{key(1)};

    tracker.touch(key(1));
    tracker.touch(1);
    tracker.touch_all(keys);

    EXPECT_EQ(tracker.count(key(1)), 0u);
    EXPECT_EQ(tracker.count(1), 0u);
}

TEST(TinyLfuTracker, touch_all_counts_as_single_touches_do) {
    kvbm::TinyLfuTracker singly(100, SketchLayout::compat);
    kvbm::TinyLfuTracker at_once(100, SketchLayout::compat);
    std::vector<SequenceHash> keys;
    for (std::uint64_t i = 0; i < 1500; ++i) {
        keys.push_back(key(i * i % 97));
    }

    for (const auto& k : keys) {
        singly.touch(k);
    }
    at_once.touch_all(keys);

    EXPECT_EQ(at_once.sketch().words(), singly.sketch().words());
    EXPECT_EQ(at_once.sketch().size(), singly.sketch().size());
}

TEST(FrequencyTrackingCapacity, names_powers_of_two) {
    EXPECT_EQ(entries(FrequencyTrackingCapacity::small), 262'144u);
    EXPECT_EQ(entries(FrequencyTrackingCapacity::medium), 2'097'152u);
    EXPECT_EQ(entries(FrequencyTrackingCapacity::large), 16'777'216u);
}

TEST(FrequencyTrackingCapacity, creates_a_tracker_that_counts) {
    const auto tracker = create_tracker(FrequencyTrackingCapacity::small, SketchLayout::compat);

    tracker->touch(key(1));
    tracker->touch(key(1));

    EXPECT_EQ(tracker->count(key(1)), 2u);
}

TEST(TinyLfuSketch, tells_what_it_was_made_of) {
    const TinyLfuSketch blocked(100);
    const TinyLfuSketch compat(7, SketchLayout::compat);

    EXPECT_EQ(blocked.capacity(), 100u);
    EXPECT_EQ(blocked.layout(), SketchLayout::blocked);
    EXPECT_EQ(compat.capacity(), 7u);
    EXPECT_EQ(compat.layout(), SketchLayout::compat);
}

TEST(TinyLfuSettings, without_capacity_are_an_error) {
    const auto settings = TinyLfuSettings::builder().layout(SketchLayout::compat).build();

    ASSERT_FALSE(settings.has_value());
    EXPECT_EQ(settings.error().message(), "Field not initialized: capacity");
}

TEST(TinyLfuSettings, make_a_sketch_with_what_was_set) {
    const auto settings = must(TinyLfuSettings::builder()
                                   .capacity(1000)
                                   .layout(SketchLayout::compat)
                                   .decay_policy(kvbm::FixedDecayPolicy(4))
                                   .build());

    EXPECT_EQ(settings.capacity(), 1000u);
    EXPECT_EQ(settings.layout(), SketchLayout::compat);
    auto sketch = settings.into_sketch();
    for (int i = 0; i < 4; ++i) {
        sketch.increment(key(7));
    }

    EXPECT_EQ(sketch.layout(), SketchLayout::compat);
    EXPECT_EQ(sketch.words().size(), 250u);
    EXPECT_EQ(sketch.estimate(key(7)), 2u);
}

TEST(TinyLfuSettings, make_a_tracker_with_what_was_set_and_a_sketch_with_defaults) {
    auto builder = TinyLfuSettings::builder();
    builder.capacity(1000);
    const auto sketch = must(builder.build()).into_sketch();
    const auto tracker =
        must(builder.decay_policy(kvbm::FixedDecayPolicy(4)).build()).into_tracker();
    for (int i = 0; i < 4; ++i) {
        tracker->touch(key(7));
    }

    EXPECT_EQ(sketch.layout(), SketchLayout::blocked);
    EXPECT_EQ(sketch.capacity(), 1000u);
    EXPECT_EQ(tracker->count(key(7)), 2u);
}

TEST(TinyLfuSettings, make_a_blocked_tracker_with_default_decay_by_default) {
    const auto tracker = must(TinyLfuSettings::builder().capacity(1).build()).into_tracker();

    for (std::uint64_t i = 0; i < 9; ++i) {
        tracker->touch(i);
    }
    const auto before = tracker->sketch().size();
    tracker->touch(9);

    EXPECT_EQ(tracker->sketch().layout(), SketchLayout::blocked);
    EXPECT_EQ(before, 9u);
    EXPECT_LT(tracker->sketch().size(), 9u);
}

}  // namespace
