// What the types of kvbm.sequence promise at compile time.
#include <concepts>
#include <cstddef>
#include <iterator>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

import kvbm.sequence;

namespace {

using namespace kvbm;

static_assert(std::regular<ExternalBlockAssignments>);
static_assert(std::is_nothrow_move_constructible_v<ExternalBlockAssignments>);
static_assert(std::is_nothrow_move_assignable_v<ExternalBlockAssignments>);
static_assert(std::copyable<BlockSequence> && std::equality_comparable<BlockSequence>);
static_assert(std::is_nothrow_move_constructible_v<BlockSequence>);

static_assert(!std::is_convertible_v<std::size_t, ExternalBlockAssignments>);
static_assert(!std::is_convertible_v<TokenBlockSequence, BlockSequence>);
static_assert(std::is_constructible_v<BlockSequence, TokenBlockSequence>);

static_assert(std::is_aggregate_v<Assignment> && sizeof(Assignment) == 24);
static_assert(std::is_trivially_copyable_v<Assignment> &&
              std::is_trivially_copyable_v<ZippedBlocks>);

static_assert(std::random_access_iterator<BlockIdView::iterator>);
static_assert(std::ranges::random_access_range<const BlockIdView>);
static_assert(std::ranges::sized_range<const BlockIdView>);
static_assert(std::same_as<std::ranges::range_value_t<BlockIdView>, BlockId>);

template <class Tracker>
concept ConstQueriesAreNoexcept = requires(const Tracker& t, std::size_t i, BlockId id) {
    { t.offset() } noexcept -> std::same_as<std::size_t>;
    { t.assigned_count() } noexcept -> std::same_as<std::size_t>;
    { t.staged_count() } noexcept -> std::same_as<std::size_t>;
    { t.unassigned_count() } noexcept -> std::same_as<std::size_t>;
    { t.is_empty() } noexcept -> std::same_as<bool>;
    { t.next_position() } noexcept -> std::same_as<std::size_t>;
    { t.assigned_positions() } noexcept -> std::same_as<IndexRange>;
    { t.staged_positions() } noexcept -> std::same_as<IndexRange>;
    { t.pending_positions() } noexcept -> std::same_as<IndexRange>;
    { t.contains(id) } noexcept -> std::same_as<bool>;
    { t.position_of(id) } noexcept -> std::same_as<std::optional<std::size_t>>;
    { t.assigned() } noexcept -> std::same_as<std::span<const Assignment>>;
    { t.staged() } noexcept -> std::same_as<std::span<const Assignment>>;
    { t.unassigned() } noexcept -> std::same_as<BlockIdView>;
    { t.get_assigned(i) } noexcept -> std::same_as<std::optional<Assignment>>;
    { t.get_staged(i) } noexcept -> std::same_as<std::optional<Assignment>>;
    { t.get_at_position(i) } noexcept -> std::same_as<std::optional<Assignment>>;
    { t.get_pending_at_position(i) } noexcept -> std::same_as<std::optional<BlockId>>;
};
static_assert(ConstQueriesAreNoexcept<ExternalBlockAssignments>);
static_assert(noexcept(std::declval<ExternalBlockAssignments&>().commit_staged()));
static_assert(noexcept(std::declval<ExternalBlockAssignments&>().clear()));

// Lists of literals, vectors and spans are all taken as they are written.
template <class Tracker>
concept TakesLists =
    requires(Tracker& t, const std::vector<BlockId>& ids, const std::vector<Assignment>& pairs,
             const std::vector<SequenceHash>& hashes, const std::vector<TokenBlock>& blocks) {
        { t.extend_block_ids({1, 2}) } -> std::same_as<Result<void, BlockSequenceError>>;
        { t.extend_block_ids(ids) } -> std::same_as<Result<void, BlockSequenceError>>;
        { t.extend_assigned({pairs[0]}) } -> std::same_as<Result<std::size_t, BlockSequenceError>>;
        { t.extend_assigned(pairs) } -> std::same_as<Result<std::size_t, BlockSequenceError>>;
        { t.stage_pending({hashes[0]}) } -> std::same_as<Result<IndexRange, BlockSequenceError>>;
        { t.stage_pending({blocks[0]}) } -> std::same_as<Result<IndexRange, BlockSequenceError>>;
        { t.stage_pending(hashes) } -> std::same_as<Result<IndexRange, BlockSequenceError>>;
        { t.assign_pending(blocks) } -> std::same_as<Result<IndexRange, BlockSequenceError>>;
        { t.assign_pending({hashes[0]}) } -> std::same_as<Result<IndexRange, BlockSequenceError>>;
        { t.take_staged() } -> std::same_as<std::vector<Assignment>>;
    };
static_assert(TakesLists<ExternalBlockAssignments>);

}  // namespace
