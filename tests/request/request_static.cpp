// What requests are as types.
#include <concepts>
#include <memory>
#include <type_traits>
#include <variant>

import kvbm.request;

namespace {

using namespace kvbm;

template <class Request>
constexpr bool is_single_owner =
    std::is_nothrow_move_constructible_v<Request> && std::is_nothrow_move_assignable_v<Request> &&
    std::is_nothrow_destructible_v<Request> && !std::is_copy_constructible_v<Request> &&
    !std::is_copy_assignable_v<Request>;

static_assert(is_single_owner<RequestSequence<>>);
static_assert(is_single_owner<SchedulableSequence<>>);
static_assert(is_single_owner<SchedulableSequence<G2>>);
static_assert(std::copyable<SchedulableSequenceBuilder<>>);

// A request of one tier takes no manager of another.
static_assert(requires(RequestSequence<G1>& request, BlockManager<G1>& manager) {
    request.match_and_add_prefix(manager);
});
template <class Request, class Manager>
constexpr bool matches_with =
    requires(Request& request, Manager& manager) { request.match_and_add_prefix(manager); };
static_assert(!matches_with<RequestSequence<G1>, BlockManager<G2>>);
static_assert(!matches_with<SchedulableSequence<G1>, BlockManager<G2>>);

// States, events and errors are values.
static_assert(std::is_trivially_copyable_v<SequenceState>);
static_assert(std::is_trivially_copyable_v<SequenceEvent>);
static_assert(std::regular<SequenceState>);
static_assert(std::copyable<ScheduleError> && std::copyable<ApplyError>);
static_assert(std::is_same_v<std::variant_alternative_t<0, SequenceState>, Idle>);
static_assert(std::variant_size_v<SequenceEvent> == 13);
static_assert(std::is_abstract_v<SequenceDelegate>);
static_assert(std::has_virtual_destructor_v<SequenceDelegate>);

}  // namespace
