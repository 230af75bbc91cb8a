// The second thread that touches a sketch ends the first one's right to write alone, wherever the
// first one is. Source: blocks.md Q12.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <thread>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.frequency;

namespace {

using kvbm::SketchLayout;
using kvbm::TinyLfuSketch;
using kvbm::detail::core::Parking;

constexpr std::uint64_t key = 7;
constexpr std::size_t never = std::numeric_limits<std::size_t>::max() - 1;

class SketchOwner : public testing::TestWithParam<SketchLayout> {
  protected:
    void SetUp() override {
        const Parking alone("frequency.touch.alone", never);
        TinyLfuSketch(64).increment(key);
        if (alone.arrivals() == 0) {
            GTEST_SKIP() << "this system has no membarrier: a sketch belongs to everybody";
        }
    }
    std::thread touch_on_a_thread() {
        return std::thread([this] { sketch_.increment(key); });
    }
    void expect_touches(std::uint32_t touches) {
        EXPECT_EQ(sketch_.estimate(key), touches);
        EXPECT_EQ(sketch_.size(), touches);
    }

    TinyLfuSketch sketch_{1024, GetParam()};
};

TEST_P(SketchOwner, is_waited_for_while_it_writes) {
    Parking owner_writes("frequency.touch.alone");
    auto owner = touch_on_a_thread();
    owner_writes.await();

    Parking second_waits("frequency.withdraw.waits");
    auto second = touch_on_a_thread();
    second_waits.await();
    Parking third_waits("frequency.withdraw.beside");
    auto third = touch_on_a_thread();
    third_waits.await();
    EXPECT_EQ(sketch_.estimate(key), 0u);

    third_waits.let_go();
    second_waits.let_go();
    owner_writes.let_go();
    owner.join();
    second.join();
    third.join();
    expect_touches(3);
}

TEST_P(SketchOwner, writes_as_all_do_when_another_came_before_it_began) {
    Parking owner_looked("frequency.enter.looked");
    auto owner = touch_on_a_thread();
    owner_looked.await();

    const Parking alone("frequency.touch.alone", never);
    touch_on_a_thread().join();
    expect_touches(1);
    owner_looked.let_go();
    owner.join();

    EXPECT_EQ(alone.arrivals(), 0u);
    expect_touches(2);
}

TEST_P(SketchOwner, is_nobody_any_more_once_a_second_thread_came) {
    sketch_.increment(key);
    touch_on_a_thread().join();

    const Parking alone("frequency.touch.alone", never);
    sketch_.increment(key);

    EXPECT_EQ(alone.arrivals(), 0u);
    expect_touches(3);
}

TEST_P(SketchOwner, stays_it_as_long_as_it_is_the_only_one_to_touch) {
    const Parking alone("frequency.touch.alone", never);
    sketch_.increment(key);
    std::thread([this] { EXPECT_EQ(sketch_.estimate(key), 1u); }).join();
    sketch_.increment(key);

    EXPECT_EQ(alone.arrivals(), 8u) << "four counters, twice";
    expect_touches(2);
}

INSTANTIATE_TEST_SUITE_P(Layouts, SketchOwner,
                         testing::Values(SketchLayout::blocked, SketchLayout::compat),
                         [](const auto& info) {
                             return info.param == SketchLayout::blocked ? "blocked" : "compat";
                         });

}  // namespace
