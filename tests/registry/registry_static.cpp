// An entry is one cache line; handles move for nothing; what cannot be attached is refused by the
// compiler.
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.registry;

namespace {

using namespace kvbm;

static_assert(sizeof(detail::registry::Entry) == 64);
static_assert(alignof(detail::registry::Entry) == 64);
static_assert(sizeof(BlockRegistrationHandle) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<BlockRegistrationHandle>);
static_assert(std::is_nothrow_move_assignable_v<BlockRegistrationHandle>);
static_assert(std::is_nothrow_copy_constructible_v<BlockRegistrationHandle>);
static_assert(std::is_nothrow_move_constructible_v<BlockRegistry>);

struct Immovable {
    Immovable() = default;
    Immovable(Immovable&&) = delete;
};
static_assert(Attachable<int> && Attachable<std::string> && Attachable<std::unique_ptr<int>>);
static_assert(Attachable<std::vector<bool>> && Attachable<const char*>);
static_assert(!Attachable<Immovable> && !Attachable<int&> && !Attachable<const int>);
static_assert(!Attachable<bool> && !Attachable<void>);

}  // namespace
