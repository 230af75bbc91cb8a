// Events are plain values; policies decide at compile time, too; a subscription has one owner.
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <variant>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.events;

namespace {

using namespace kvbm;

static_assert(std::is_trivially_copyable_v<CacheEvent>);
static_assert(sizeof(CacheEvent) <= 48);
static_assert(std::is_same_v<std::variant_alternative_t<0, NextEvent>, CacheEvent> &&
              std::is_same_v<std::variant_alternative_t<1, NextEvent>, Lagged> &&
              std::is_same_v<std::variant_alternative_t<2, NextEvent>, Timeout> &&
              std::is_same_v<std::variant_alternative_t<3, NextEvent>, Closed> &&
              std::variant_size_v<NextEvent> == 4);

static_assert(std::is_nothrow_move_constructible_v<Subscription>);
static_assert(std::is_nothrow_move_assignable_v<Subscription>);
static_assert(!std::is_copy_constructible_v<Subscription>);
static_assert(!std::is_copy_constructible_v<EventsManager>);
static_assert(!std::is_move_constructible_v<EventsManager>);

constexpr SequenceHash at(std::uint64_t position) {
    return *SequenceHash::make(ChainHash{7}, ChainHash{8}, position);
}
constexpr bool reports(std::uint64_t position) {
    return PowerOfTwoPolicy()(at(position));
}
static_assert(!reports(0) && !reports(1) && !reports(8) && !reports(15));
static_assert(reports(16) && !reports(17) && reports(32) && !reports(48));
static_assert(reports(32'768) && !reports(65'535) && reports(65'536) && !reports(131'072));

static_assert(!PowerOfTwoPolicy{.min = 0}(at(0)));
static_assert(PowerOfTwoPolicy{.min = 0}(at(1)));
static_assert(PowerOfTwoPolicy{.min = 8, .max = 8}(at(8)));
static_assert(!PowerOfTwoPolicy{.min = 9, .max = 15}(at(8)));
static_assert(!PowerOfTwoPolicy{.min = 65'536, .max = 16}(at(64)));
static_assert(PowerOfTwoPolicy{.max = std::numeric_limits<std::size_t>::max()}(at(1U << 23)));
static_assert(AllEventsPolicy()(at(0)) && AllEventsPolicy()(at(17)));

}  // namespace
