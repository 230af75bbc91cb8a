//! kvbm.blocks: hands out the blocks of one memory tier, keeps the used ones alive, finds the
//! cached ones, evicts.
//!
//! A block id is in one state at a time, and each state that somebody owns is a guard type, so that
//! a wrong order does not compile. Dropping a guard gives the block back.
//!
//!             allocate            stage               register (hash is new)
//!    reset ------------> mutable -------> staged ---------------------------> primary
//!      ^                    |  <--------    |                                  |   ^
//!      |<------- drop ------+    reset      |  register (hash is known)        |   | match
//!      |<------- drop ----------------------+-----------> duplicate            |   |
//!      |<------------------- last reference -----------------+      last ref.  v   |
//!      |<------------------- evicted by allocate ------------------------- inactive
//!
//!   guard            state        moves on by                 dropped
//!   MutableBlock     mutable      stage, complete             back of the reset pool
//!   CompleteBlock    staged       register_block(s), reset    back of the reset pool
//!   ImmutableBlock   registered   downgrade, pin              last one: inactive, or reset
//!   LifecyclePin     registered   -                           the same, without a tier type
//!   WeakBlock        any          upgrade                     nothing
//!
//! A call on a list takes the manager's lock once. Guards may outlive the manager object. Managers
//! are thread-safe; a guard or list is used by one thread at a time, on any thread.
//!
//! Invariants: P1 to P12, G1 to G11, R1, R5 to R8 of docs/VERIFICATION.md.
module;

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.blocks;

export import :lists;

namespace kvbm {

/// What an allocation took, and whom it evicted for it. Source: blocks.md A3.
export template <class Tier = DefaultTier>
struct AllocationWithEvictions {
    MutableBlockList<Tier> blocks;
    /// In eviction order; the last evicted.size() blocks held these hashes.
    std::vector<SequenceHash> evicted;
};

/// Hands out the blocks of one pool, finds the cached ones, evicts the unused ones.
///
/// Movable; moving disturbs no guard, and a moved-from manager may only be assigned or destroyed.
/// Guards may outlive the manager. All calls are thread-safe and take the manager's lock once.
/// Source: blocks.md 4 to 9, 17.1.
export template <class Tier>
class BlockManager {
  public:
    static BlockManagerBuilder<Tier> builder() { return {}; }

    inline BlockManager(BlockManager&& other) noexcept
        : store_(std::exchange(other.store_, nullptr)) {}
    inline BlockManager& operator=(BlockManager&& other) noexcept {
        if (this != &other) {
            std::swap(store_, other.store_);
            const BlockManager previous(std::move(other));
        }
        return *this;
    }
    inline ~BlockManager() {
        if (store_ != nullptr) {
            Engine::close(*store_);
        }
    }

    ManagerId id() const noexcept { return Engine::id(store()); }
    std::size_t total_blocks() const noexcept { return Engine::total_blocks(store()); }
    /// Blocks that an allocation could get now: reset + inactive, read under one lock.
    std::size_t available_blocks() const { return Engine::available_blocks(store()); }
    /// Tokens per block.
    std::size_t block_size() const noexcept { return Engine::block_size(store()); }
    BlockDuplicationPolicy duplication_policy() const noexcept {
        return Engine::duplication_policy(store());
    }
    const BlockRegistry& block_registry() const noexcept { return Engine::registry(store()); }
    const std::shared_ptr<BlockPoolMetrics>& metrics() const noexcept {
        return Engine::metrics(store());
    }

    /// Exactly `count` blocks, or nothing and nothing has changed. Free blocks first, oldest first;
    /// then the victims of the eviction policy. O(count). Source: blocks.md A1, A2.
    [[nodiscard]] std::optional<MutableBlockList<Tier>> allocate_blocks(std::size_t count) {
        MutableBlockList<Tier> blocks;
        if (!allocate_blocks_into(count, blocks)) {
            return std::nullopt;
        }
        return blocks;
    }
    /// The same behind a caller's blocks; the hashes of the victims go behind `*evicted` if given.
    /// Allocates nothing once both have room. False: both lists are as they were.
    [[nodiscard]] bool allocate_blocks_into(std::size_t count, MutableBlockList<Tier>& out,
                                            std::vector<SequenceHash>* evicted = nullptr) {
        return Engine::allocate(store(), count, own_list(out), evicted);
    }
    /// allocate_blocks() and the hashes of the victims. Source: blocks.md A3.
    [[nodiscard]] std::optional<AllocationWithEvictions<Tier>> allocate_blocks_with_evictions(
        std::size_t count) {
        AllocationWithEvictions<Tier> allocation;
        if (!allocate_blocks_into(count, allocation.blocks, &allocation.evicted)) {
            return std::nullopt;
        }
        return allocation;
    }
    /// Uncaches every inactive block. Gives their number. Fails when blocks are still in use; the
    /// inactive ones are drained all the same. O(inactive). Source: blocks.md A5.
    Result<std::size_t, BlockManagerResetError> reset_inactive_pool() {
        return Engine::reset_inactive(store());
    }

    /// Registers staged blocks in order; the result has the same length and order. Under `reject` a
    /// block whose hash is known comes back as the existing block. Fails, with the list, when the
    /// blocks are another manager's. O(n), no allocation. Source: blocks.md R1 to R8.
    [[nodiscard]] Result<ImmutableBlockList<Tier>, ForeignBlocks<CompleteBlockList<Tier>>>
    register_blocks(CompleteBlockList<Tier>&& blocks) {
        using detail::blocks::GuardAccess;
        auto& raw = GuardAccess::raw_list(blocks);
        if (raw.store() != nullptr && raw.store() != &store()) {
            const ManagerId actual = Engine::id(*raw.store());
            return failure(
                ForeignBlocks<CompleteBlockList<Tier>>{0, id(), actual, std::move(blocks)});
        }
        Engine::register_all(store(), raw.span());
        return GuardAccess::make_list<ImmutableBlockList<Tier>>(std::move(raw));
    }
    /// The same behind a caller's blocks of this manager; the staged list stays, empty, with its
    /// memory. Gives the number registered. Allocates nothing once `out` has room. On failure the
    /// error has the staged blocks.
    [[nodiscard]] Result<std::size_t, ForeignBlocks<CompleteBlockList<Tier>>> register_blocks_into(
        CompleteBlockList<Tier>& blocks, ImmutableBlockList<Tier>& out) {
        auto& raw = detail::blocks::GuardAccess::raw_list(blocks);
        if (raw.store() != nullptr && raw.store() != &store()) {
            const ManagerId actual = Engine::id(*raw.store());
            return failure(
                ForeignBlocks<CompleteBlockList<Tier>>{0, id(), actual, std::move(blocks)});
        }
        auto& registered = own_list(out);
        const std::size_t count = raw.size();
        registered.reserve_more(count);
        Engine::register_all(store(), raw.span());
        registered.append(std::move(raw));
        return count;
    }
    /// register_blocks() with one block.
    [[nodiscard]] Result<ImmutableBlock<Tier>, ForeignBlocks<CompleteBlock<Tier>>> register_block(
        CompleteBlock<Tier>&& block) {
        using detail::blocks::GuardAccess;
        auto raw = GuardAccess::raw(block);
        if (raw.store != &store()) {
            return failure(
                ForeignBlocks<CompleteBlock<Tier>>{0, id(), block.manager_id(), std::move(block)});
        }
        Engine::register_all(store(), std::span(&raw, 1));
        static_cast<void>(GuardAccess::take(block));
        return GuardAccess::make<ImmutableBlock<Tier>>(raw);
    }

    /// The longest prefix of the hashes that is cached, each block held. Active and inactive blocks
    /// alike; stops at the first miss. Touches each returned block. O(n). Source: blocks.md M1, M2.
    [[nodiscard]] ImmutableBlockList<Tier> match_blocks(std::span<const SequenceHash> hashes) {
        ImmutableBlockList<Tier> blocks;
        match_blocks_into(hashes, blocks);
        return blocks;
    }
    /// The same behind a caller's blocks of this manager. Gives the number matched. Allocates
    /// nothing once the list has room.
    std::size_t match_blocks_into(std::span<const SequenceHash> hashes,
                                  ImmutableBlockList<Tier>& out) {
        return Engine::match(store(), hashes, own_list(out));
    }
    /// match_blocks_into() of each request behind the list at its place, in order, as one call: the
    /// results, counters, touches and the order of the pool are those of the single calls, but the
    /// lock is taken once, if there is a hash at all, and so the blocks moved in one operation. A
    /// miss ends its own request only. Gives the number of all blocks matched.
    ///
    /// Rule: as many lists as requests, each empty or of this manager. In a large pool the first
    /// misses of a request overlap with the requests before it. Allocates nothing once the lists
    /// have room; without memory for them nothing has changed. O(hashes). Source: blocks.md 17.1.
    std::size_t match_many(std::span<const std::span<const SequenceHash>> requests,
                           std::span<ImmutableBlockList<Tier>> out) {
        auto& own = store();
        expects(out.size() == requests.size(), "a batch of matches has a list for each request");
        for (auto& list : out) {
            static_cast<void>(own_list(list));
        }
        return Engine::match_many(own, requests, detail::blocks::GuardAccess::raw_lists(out));
    }
    /// Clears each list in the stated order, front list first, as one call: the order of the pools
    /// and the counters are those of the single calls, but neighbours of one manager are released
    /// under one lock. The lists may be of several managers, and may be empty; they keep their
    /// memory. Allocates nothing. O(blocks). Source: blocks.md 17.1, G20.
    static void release_many(std::span<ImmutableBlockList<Tier>> lists,
                             ReleaseOrder order) noexcept {
        Engine::release_many(detail::blocks::GuardAccess::raw_lists(lists), order);
    }
    /// A place per hash, empty on a miss; goes on over misses. Source: blocks.md M3.
    [[nodiscard]] ScatteredBlockList<Tier> match_blocks_scattered(
        std::span<const SequenceHash> hashes) {
        detail::blocks::RawList raw;
        const std::size_t hits = Engine::match_scattered(store(), hashes, raw);
        return ScatteredBlockList<Tier>(std::move(raw), hits);
    }
    /// Each hash that is cached, once. With Touch::yes also touches, per occurrence, what the
    /// registry knows. Source: blocks.md M4, M5.
    [[nodiscard]] ScanResult<Tier> scan_matches(std::span<const SequenceHash> hashes, Touch touch) {
        detail::blocks::RawList raw;
        std::vector<std::size_t> places;
        places.reserve(hashes.size());
        Engine::scan(store(), hashes, touch, raw);
        return ScanResult<Tier>(
            detail::blocks::GuardAccess::make_list<ImmutableBlockList<Tier>>(std::move(raw)),
            std::move(places));
    }

    /// Checks every invariant of the pools at this moment. O(blocks), one lock.
    InvariantReport check_invariants() const { return Engine::check_invariants(store()); }
    /// Every block, in id order. O(blocks), one lock.
    std::vector<BlockInfo> inspect() const { return Engine::inspect(store()); }

  private:
    using Engine = detail::blocks::Engine;
    friend class BlockManagerBuilder<Tier>;
    friend detail::blocks::GuardAccess;

    inline explicit BlockManager(detail::blocks::Store* store) noexcept : store_(store) {}
    inline detail::blocks::Store& store() const noexcept {
        expects(store_ != nullptr, "a manager that is used was not moved from");
        return *store_;
    }
    template <class List>
    inline detail::blocks::RawList& own_list(List& list) const noexcept {
        auto& raw = detail::blocks::GuardAccess::raw_list(list);
        expects(raw.empty() || raw.store() == store_, "a list holds guards of one manager");
        return raw;
    }

    detail::blocks::Store* store_ = nullptr;
};

/// Options of a BlockManager. Setters never fail; build() checks. Source: blocks.md 12.
export template <class Tier>
class BlockManagerBuilder {
  public:
    /// Blocks of the pool, at least 1. Required.
    BlockManagerBuilder& block_count(std::size_t blocks) {
        options_.block_count = blocks;
        return *this;
    }
    /// Tokens per block: a power of two, 1 .. 1024. Default 16.
    BlockManagerBuilder& block_size(std::size_t tokens) {
        options_.block_size = tokens;
        return *this;
    }
    /// The registry to share. Required. The blocks of its only manager have entries on demand; when
    /// a second one is built, each registered block of the first gets its own, under both locks:
    /// O(blocks), once.
    BlockManagerBuilder& registry(BlockRegistry registry) {
        options_.registry = std::move(registry);
        return *this;
    }
    BlockManagerBuilder& duplication_policy(BlockDuplicationPolicy policy) {
        options_.duplication = policy;
        return *this;
    }
    /// Evicts the block that became inactive first. The last with_*_backend call wins.
    BlockManagerBuilder& with_lru_backend() {
        options_.eviction = detail::blocks::EvictionKind::lru;
        return *this;
    }
    /// First in, first out over the inactive blocks; the same order as LRU (blocks.md E4).
    BlockManagerBuilder& with_hashmap_backend() {
        options_.eviction = detail::blocks::EvictionKind::fifo;
        return *this;
    }
    /// Four lists by the uses counted when a block becomes inactive, the coldest evicted first;
    /// needs a registry with a tracker. Source: blocks.md E5, E6.
    BlockManagerBuilder& with_multi_lru_backend() {
        return with_multi_lru_backend_custom_thresholds(3, 8, 15);
    }
    /// The same with the least uses of the second, third and fourth list: 1 <= a < b < c <= 15.
    BlockManagerBuilder& with_multi_lru_backend_custom_thresholds(std::uint32_t a, std::uint32_t b,
                                                                  std::uint32_t c) {
        options_.eviction = detail::blocks::EvictionKind::multi_lru;
        options_.thresholds = {a, b, c};
        return *this;
    }
    /// Evicts leaves only, so that no cached block loses its prefix; the longest inactive first.
    /// The default.
    BlockManagerBuilder& with_lineage_backend() {
        return with_lineage_backend_eviction(LineageEviction::tick);
    }
    /// The same with a choice of the leaf. Source: blocks.md E7 to E16.
    BlockManagerBuilder& with_lineage_backend_eviction(LineageEviction eviction) {
        options_.eviction = eviction == LineageEviction::tick
                                ? detail::blocks::EvictionKind::lineage_tick
                                : detail::blocks::EvictionKind::lineage_fifo;
        return *this;
    }
    /// Whether blocks go to the reset pool, uncached, with their last reference. Default false.
    BlockManagerBuilder& with_default_reset_on_release(bool reset) {
        options_.reset_on_release = reset;
        return *this;
    }
    /// Who shows the manager's metrics, from a successful build on. Source: blocks.md C3.
    BlockManagerBuilder& aggregator(MetricsAggregator aggregator) {
        options_.aggregator = std::move(aggregator);
        return *this;
    }
    /// Label of the metrics instead of the tier's.
    BlockManagerBuilder& pool_label(std::string label) {
        label_ = std::move(label);
        return *this;
    }

    /// The manager, or the first broken rule. Takes all memory the manager will need.
    /// O(block_count).
    [[nodiscard]] Result<BlockManager<Tier>, BlockManagerBuilderError> build() const {
        auto options = options_;
        options.label = label_.value_or(std::string(tier_label<Tier>()));
        options.tier = tier_id<Tier>();
        return detail::blocks::Engine::make(options).map(
            [](detail::blocks::Store* store) { return BlockManager<Tier>(store); });
    }

  private:
    detail::blocks::StoreOptions options_;
    std::optional<std::string> label_;
};

/// The key of a token block in generic code.
export inline SequenceHash sequence_hash_of(const TokenBlock& block) noexcept {
    return block.sequence_hash();
}

namespace detail::blocks {

/// Times the lock of a manager was taken so far. For tests and benchmarks that count, not for
/// users.
export template <class Tier>
std::uint64_t lock_count(const BlockManager<Tier>& manager) {
    return Engine::lock_count(GuardAccess::store(manager));
}

}  // namespace detail::blocks

}  // namespace kvbm