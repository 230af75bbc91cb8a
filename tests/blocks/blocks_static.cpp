// What the types of kvbm.blocks promise at compile time: who can be copied, that moves do not
// throw, sizes, and that wrong states, tiers and values are not to be spelled.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;

template <class T>
constexpr bool moves_without_throwing =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
    std::is_nothrow_destructible_v<T> && std::is_nothrow_swappable_v<T>;

template <class T>
constexpr bool move_only =
    moves_without_throwing<T> && !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

// Copies of guards take a reference that is there already: nothing can fail.
template <class T>
constexpr bool copied_without_throwing =
    moves_without_throwing<T> && std::is_nothrow_copy_constructible_v<T> &&
    std::is_nothrow_copy_assignable_v<T>;

// blocks.md 3: who can be copied.
static_assert(move_only<MutableBlock<>> && move_only<CompleteBlock<>>);
static_assert(copied_without_throwing<ImmutableBlock<>>);
static_assert(copied_without_throwing<LifecyclePin>);
static_assert(copied_without_throwing<WeakBlock<>>);
static_assert(move_only<MutableBlockList<>> && move_only<CompleteBlockList<>>);
static_assert(move_only<ImmutableBlockList<>>);
static_assert(move_only<ScatteredBlockList<>> && move_only<ScanResult<>>);
static_assert(move_only<BlockManager<>> && move_only<BlockManager<G2>>);
static_assert(move_only<AllocationWithEvictions<>>);
static_assert(std::copyable<BlockManagerBuilder<DefaultTier>>);

// Errors carry guards, and move as they do.
static_assert(move_only<BlockSizeMismatch<MutableBlock<>>>);
static_assert(move_only<StageAllError<MutableBlockList<>>>);
static_assert(move_only<ForeignBlocks<CompleteBlockList<>>>);
static_assert(move_only<ForeignBlocks<CompleteBlock<>>>);
static_assert(std::copyable<BlockManagerBuilderError> && std::copyable<BlockManagerResetError>);

// Guards own something from the start; lists may be empty.
static_assert(!std::is_default_constructible_v<MutableBlock<>>);
static_assert(!std::is_default_constructible_v<CompleteBlock<>>);
static_assert(!std::is_default_constructible_v<ImmutableBlock<>>);
static_assert(!std::is_default_constructible_v<LifecyclePin>);
static_assert(!std::is_default_constructible_v<WeakBlock<>>);
static_assert(!std::is_default_constructible_v<BlockManager<>>);
static_assert(std::is_nothrow_default_constructible_v<MutableBlockList<>>);
static_assert(std::is_nothrow_default_constructible_v<CompleteBlockList<>>);
static_assert(std::is_nothrow_default_constructible_v<ImmutableBlockList<>>);

// A guard is a pointer, a generation and an id; a list is a vector of them and where it begins.
static_assert(sizeof(MutableBlock<>) == 24 && sizeof(CompleteBlock<>) == 24);
static_assert(sizeof(ImmutableBlock<>) == 24 && sizeof(LifecyclePin) == 24);
static_assert(sizeof(WeakBlock<>) == 32);
static_assert(sizeof(MutableBlockList<>) == 32 && sizeof(ImmutableBlockList<G4>) == 32);
static_assert(sizeof(BlockManager<>) == sizeof(void*));
static_assert(std::is_standard_layout_v<MutableBlock<>> &&
              std::is_standard_layout_v<ImmutableBlock<>>);

// Ids are values.
static_assert(std::totally_ordered<ManagerId> && std::copyable<ManagerId>);
static_assert(!std::is_default_constructible_v<ManagerId>);
static_assert(!std::is_convertible_v<std::uint64_t, ManagerId>);
static_assert(ManagerId::null().value() == 0 && ManagerId::null() < ManagerId(1));
static_assert(std::is_trivially_copyable_v<ManagerId> && sizeof(ManagerId) == 8);
static_assert(std::copyable<BlockInfo>);

// Lists are walked as arrays of constant guards.
static_assert(std::ranges::contiguous_range<const MutableBlockList<>>);
static_assert(std::ranges::sized_range<const ImmutableBlockList<>>);
static_assert(
    std::same_as<std::ranges::range_reference_t<MutableBlockList<>&>, const MutableBlock<>&>);
static_assert(std::forward_iterator<ScatteredBlockList<>::iterator>);
static_assert(std::ranges::forward_range<const ScatteredBlockList<>>);
static_assert(std::forward_iterator<ScanResult<>::iterator>);
static_assert(std::ranges::forward_range<const ScanResult<>>);

// A test for emptiness is asked for, never implied.
template <class Guard>
constexpr bool tested_explicitly =
    std::is_constructible_v<bool, const Guard&> && !std::is_convertible_v<const Guard&, bool>;
static_assert(tested_explicitly<MutableBlock<>> && tested_explicitly<CompleteBlock<>>);
static_assert(tested_explicitly<ImmutableBlock<>> && tested_explicitly<LifecyclePin>);
static_assert(tested_explicitly<WeakBlock<>>);

// --- each call in its state only (blocks.md 2) ---

template <class Guard>
concept Stageable = requires(Guard&& guard, const SequenceHash& hash) {
    std::forward<Guard>(guard).stage(hash, std::size_t{4});
};
template <class Guard>
concept Completable = requires(Guard&& guard, const TokenBlock& block) {
    std::forward<Guard>(guard).complete(block);
};
template <class Guard>
concept Resettable = requires(Guard&& guard) { std::forward<Guard>(guard).reset(); };
template <class Guard, class Manager = BlockManager<>>
concept Registrable = requires(Guard&& guard, Manager& manager) {
    manager.register_block(std::forward<Guard>(guard));
};
template <class List, class Manager = BlockManager<>>
concept RegistrableList =
    requires(List&& list, Manager& manager) { manager.register_blocks(std::forward<List>(list)); };

static_assert(Stageable<MutableBlock<>> && Completable<MutableBlock<>>);
static_assert(!Stageable<MutableBlock<>&> && !Completable<MutableBlock<>&>);
static_assert(!Stageable<const MutableBlock<>>);
static_assert(!Stageable<CompleteBlock<>> && !Stageable<ImmutableBlock<>>);
static_assert(!Stageable<WeakBlock<>> && !Stageable<LifecyclePin>);
static_assert(Resettable<CompleteBlock<>> && !Resettable<CompleteBlock<>&>);
static_assert(!Resettable<MutableBlock<>> && !Resettable<ImmutableBlock<>>);
static_assert(Registrable<CompleteBlock<>> && !Registrable<CompleteBlock<>&>);
static_assert(!Registrable<MutableBlock<>> && !Registrable<ImmutableBlock<>>);
static_assert(!Registrable<LifecyclePin> && !Registrable<WeakBlock<>>);
static_assert(RegistrableList<CompleteBlockList<>> && !RegistrableList<CompleteBlockList<>&>);
static_assert(!RegistrableList<MutableBlockList<>> && !RegistrableList<ImmutableBlockList<>>);

// --- tiers do not mix (V8) ---

static_assert(Registrable<CompleteBlock<G1>, BlockManager<G1>>);
static_assert(!Registrable<CompleteBlock<G1>, BlockManager<G2>>);
static_assert(!RegistrableList<CompleteBlockList<G1>, BlockManager<G2>>);
static_assert(!std::is_convertible_v<ImmutableBlock<G1>, ImmutableBlock<G2>>);
static_assert(!std::is_constructible_v<MutableBlock<G2>, MutableBlock<G1>>);
static_assert(!std::is_assignable_v<ImmutableBlockList<G2>&, ImmutableBlockList<G1>>);
static_assert(!std::is_constructible_v<BlockManager<G2>, BlockManager<G1>>);

template <class List, class Guard>
concept Takes = requires(List& list, Guard&& guard) { list.push_back(std::forward<Guard>(guard)); };
static_assert(Takes<ImmutableBlockList<G1>, ImmutableBlock<G1>>);
static_assert(!Takes<ImmutableBlockList<G1>, ImmutableBlock<G2>>);
static_assert(!Takes<ImmutableBlockList<G1>, ImmutableBlock<G1>&>);
static_assert(!Takes<MutableBlockList<>, CompleteBlock<>>);

// --- results, as blocks.md 17.1 has them ---

template <class Manager>
concept Interface = requires(
    Manager& manager, const Manager& looked_at, std::size_t n, std::span<const SequenceHash> hashes,
    MutableBlockList<>& blocks, std::vector<SequenceHash>* evicted, ImmutableBlockList<>& found,
    CompleteBlockList<>& staged, std::span<const std::span<const SequenceHash>> requests,
    std::span<ImmutableBlockList<>> lists) {
    { looked_at.id() } noexcept -> std::same_as<ManagerId>;
    { looked_at.total_blocks() } noexcept -> std::same_as<std::size_t>;
    { looked_at.available_blocks() } -> std::same_as<std::size_t>;
    { looked_at.block_size() } noexcept -> std::same_as<std::size_t>;
    { looked_at.duplication_policy() } noexcept -> std::same_as<BlockDuplicationPolicy>;
    { looked_at.block_registry() } noexcept -> std::same_as<const BlockRegistry&>;
    { manager.allocate_blocks(n) } -> std::same_as<std::optional<MutableBlockList<>>>;
    { manager.allocate_blocks_into(n, blocks, evicted) } -> std::same_as<bool>;
    {
        manager.allocate_blocks_with_evictions(n)
    } -> std::same_as<std::optional<AllocationWithEvictions<>>>;
    { manager.reset_inactive_pool() } -> std::same_as<Result<std::size_t, BlockManagerResetError>>;
    {
        manager.register_blocks(std::move(staged))
    } -> std::same_as<Result<ImmutableBlockList<>, ForeignBlocks<CompleteBlockList<>>>>;
    {
        manager.register_block(std::declval<CompleteBlock<>>())
    } -> std::same_as<Result<ImmutableBlock<>, ForeignBlocks<CompleteBlock<>>>>;
    { manager.match_blocks(hashes) } -> std::same_as<ImmutableBlockList<>>;
    { manager.match_blocks_into(hashes, found) } -> std::same_as<std::size_t>;
    { manager.match_many(requests, lists) } -> std::same_as<std::size_t>;
    { Manager::release_many(lists, ReleaseOrder::root_first) } noexcept -> std::same_as<void>;
    { manager.match_blocks_scattered(hashes) } -> std::same_as<ScatteredBlockList<>>;
    { manager.scan_matches(hashes, Touch::no) } -> std::same_as<ScanResult<>>;
    { looked_at.check_invariants() } -> std::same_as<InvariantReport>;
    { looked_at.inspect() } -> std::same_as<std::vector<BlockInfo>>;
};
static_assert(Interface<BlockManager<>>);
static_assert(noexcept(std::declval<ImmutableBlockList<>&>().clear(ReleaseOrder::leaf_first)));

}  // namespace
