//! kvbm.blocks:raw: what the guards of every tier share, and the calls they make into the engine.
//!
//! The engine is no template and knows no tier type: the guards and lists of kvbm.blocks are thin
//! typed faces over the records and functions here, so the compile cost is paid once.
module;

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.blocks:raw;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.metrics;
export import kvbm.registry;

namespace kvbm {

/// What registering a hash does when the manager already holds a block under it. Source: blocks.md
/// D1.
export enum class BlockDuplicationPolicy {
    allow,   ///< the new block is registered as a duplicate beside the primary
    reject,  ///< the new block is given back and the existing one is returned
};

/// Which leaf the lineage policies evict first. Source: blocks.md E11, E12.
export enum class LineageEviction {
    tick,  ///< the one whose block has been inactive longest
    fifo,  ///< the one that has been a leaf longest
};

/// In which order a list or tracker gives its blocks back. Source: blocks.md G20.
export enum class ReleaseOrder {
    root_first,  ///< front to back
    leaf_first,  ///< back to front: better for age-based eviction, a prefix is useless without root
};

/// What a block is used for, as inspect() tells. Source: blocks.md 2.
export enum class BlockState : std::uint8_t {
    reset,          ///< free
    mutable_block,  ///< owned by one MutableBlock
    staged,         ///< owned by one CompleteBlock
    primary,        ///< registered, what lookups return
    duplicate,      ///< registered beside a primary of the same hash
    inactive,       ///< cached, unused, evictable
};

/// Names a manager for the life of the process. Never reused. Source: blocks.md V12.
export class ManagerId {
  public:
    /// The id no manager has.
    static constexpr ManagerId null() noexcept { return ManagerId(0); }
    /// 1, 2, 3 ... in the order in which managers were built; 0 for null().
    constexpr std::uint64_t value() const noexcept { return value_; }
    friend constexpr bool operator==(ManagerId, ManagerId) noexcept = default;
    friend constexpr auto operator<=>(ManagerId, ManagerId) noexcept = default;

    /// For the engine, not for users.
    constexpr explicit ManagerId(std::uint64_t value) noexcept : value_(value) {}

  private:
    std::uint64_t value_;
};

/// Why a manager could not be built; the first broken rule in the order of blocks.md C1. Nothing
/// has been made.
export struct BlockManagerBuilderError {
    /// No registry was given.
    struct RegistryMissing {};
    /// No block count was given.
    struct BlockCountMissing {};
    /// The block count is 0.
    struct BlockCountZero {};
    /// Not a power of two, or not within 1 .. 1024 tokens.
    struct InvalidBlockSize {
        std::size_t block_size = 0;
    };
    /// Multi-LRU thresholds that do not rise.
    struct ThresholdsNotAscending {
        std::array<std::uint32_t, 3> thresholds{};
    };
    /// A multi-LRU threshold that no 4-bit counter reaches.
    struct ThresholdTooLarge {
        std::uint32_t threshold = 0;
    };
    /// A first multi-LRU threshold of 0.
    struct ThresholdTooSmall {};
    /// Multi-LRU without a tracker that counts uses.
    struct TrackerMissing {};
    /// More blocks than 32-bit slot numbers name.
    struct TooManyBlocks {
        std::size_t block_count = 0;
    };
    std::variant<RegistryMissing, BlockCountMissing, BlockCountZero, InvalidBlockSize,
                 ThresholdsNotAscending, ThresholdTooLarge, ThresholdTooSmall, TrackerMissing,
                 TooManyBlocks>
        reason;
    /// The parent's text, where the parent has the rule.
    std::string message() const;
};

/// After reset_inactive_pool(): blocks are still in use. The inactive blocks were drained all the
/// same. Source: blocks.md A5.
export struct BlockManagerResetError {
    std::size_t expected = 0;  ///< all blocks of the manager
    std::size_t actual = 0;    ///< blocks in the reset pool afterwards
    std::size_t drained = 0;   ///< inactive blocks that went back to it
    std::string message() const;
};

/// A staging with a wrong block size. Nothing has changed; `block` is the guard, still armed.
/// Source: blocks.md G2.
export template <class Guard>
struct BlockSizeMismatch {
    std::size_t expected = 0;  ///< tokens per block of the manager
    std::size_t actual = 0;    ///< tokens per block that were offered
    Guard block;
    std::string message() const;
};

/// Why a whole list was not staged. Nothing has changed; `blocks` is the list, unchanged. Source:
/// blocks.md G22.
export template <class List>
struct StageAllError {
    /// A block of another size.
    struct WrongSize {
        std::size_t expected = 0, actual = 0;
    };
    /// Not one hash per block.
    struct WrongCount {
        std::size_t expected = 0, actual = 0;
    };
    std::variant<WrongSize, WrongCount> reason;
    std::size_t index = 0;  ///< the first bad one
    List blocks;
    std::string message() const;
};

/// Blocks were offered to a manager they do not belong to. Nothing has changed. Source: blocks.md
/// R2.
export template <class Blocks>
struct ForeignBlocks {
    std::size_t index = 0;  ///< the first foreign block
    ManagerId expected;     ///< the manager that was asked
    ManagerId actual;       ///< the block's own
    Blocks blocks;          ///< what was offered, unchanged
    std::string message() const;
};

/// Whether a block serves somebody, as inspect() tells.
export enum class BlockUse : std::uint8_t {
    live,    ///< somebody holds it: mutable, staged, primary or duplicate
    cached,  ///< inactive: nobody holds it, a lookup may
    free,    ///< reset
};

/// One block of a manager, as inspect() sees it.
export struct BlockInfo {
    BlockId id = 0;
    BlockState state = BlockState::reset;
    SequenceHash hash;            ///< of a staged, registered or inactive block; else all zero
    std::size_t references = 0;   ///< strong references of a registered block
    bool evict_on_reset = false;  ///< goes to the reset pool with its last reference
    BlockUse use = BlockUse::free;
    /// The number of the operation in which the block entered its state; 0 for one that was never
    /// allocated. Operations are the calls that take the manager's lock, its own and those of its
    /// guards and lists, counted from 1; blocks that moved in one call agree.
    std::uint64_t since = 0;
};

namespace detail::blocks {

/// The pool behind a manager. For the layers above, not for users.
export class Store;

/// What a guard owns: a slot of a store in one of its lives. For the layers above, not for users.
export struct RawGuard {
    Store* store = nullptr;
    std::uint64_t generation = 0;
    BlockId id = 0;
};

/// The guard types of the engine. For the layers above, not for users.
export enum class GuardKind { mutable_block, complete_block, immutable_block, pin };

/// The guards of a list, consumed from either end. For the layers above, not for users.
///
/// Owns no slot itself: whoever holds it releases them.
export class RawList {
  public:
    RawList() noexcept = default;
    RawList(RawList&& other) noexcept
        : guards_(std::move(other.guards_)), head_(std::exchange(other.head_, 0)) {
        other.guards_.clear();
    }
    RawList& operator=(RawList&& other) noexcept {
        guards_ = std::move(other.guards_);
        head_ = std::exchange(other.head_, 0);
        other.guards_.clear();
        return *this;
    }
    RawList(const RawList&) = delete;
    RawList& operator=(const RawList&) = delete;
    ~RawList() = default;

    inline std::size_t size() const noexcept { return guards_.size() - head_; }
    inline bool empty() const noexcept { return guards_.size() == head_; }
    inline RawGuard* data() noexcept { return guards_.data() + head_; }
    inline const RawGuard* data() const noexcept { return guards_.data() + head_; }
    inline std::span<RawGuard> span() noexcept { return {data(), size()}; }
    inline std::span<const RawGuard> span() const noexcept { return {data(), size()}; }
    inline Store* store() const noexcept { return empty() ? nullptr : data()->store; }

    /// Room for `more` guards behind the last, without moving the capacity of a steady state. May
    /// throw bad_alloc.
    void reserve_more(std::size_t more);
    inline void push_back(const RawGuard& guard) { guards_.push_back(guard); }
    RawGuard pop_back() noexcept;
    void append(RawList&& other);
    RawList split_off(std::size_t first);
    RawList take_front(std::size_t count);
    /// Forgets the first guards, of which somebody else has the records now. Rule: there are so
    /// many.
    inline void forget_front(std::size_t count) noexcept {
        head_ += count;
        if (empty()) {
            forget();
        }
    }
    /// Forgets the last guards, likewise.
    inline void forget_back(std::size_t count) noexcept { guards_.resize(guards_.size() - count); }
    /// Forgets the guards; keeps the memory.
    inline void forget() noexcept {
        guards_.clear();
        head_ = 0;
    }

  private:
    std::vector<RawGuard> guards_;
    std::size_t head_ = 0;
};

/// Which blocks are evicted first. For the layers above, not for users.
export enum class EvictionKind { lru, fifo, multi_lru, lineage_tick, lineage_fifo };

/// What a store is made of. For the layers above, not for users.
export struct StoreOptions {
    std::optional<std::size_t> block_count;
    std::size_t block_size = 16;
    std::optional<BlockRegistry> registry;
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    EvictionKind eviction = EvictionKind::lineage_tick;
    std::array<std::uint32_t, 3> thresholds{3, 8, 15};  ///< of multi_lru
    bool reset_on_release = false;
    std::string label;
    std::optional<MetricsAggregator> aggregator;
    TierId tier{0};
};

/// The calls of managers, guards and lists into the engine. For the layers above, not for users.
export class Engine {
  public:
    static Result<Store*, BlockManagerBuilderError> make(const StoreOptions& options);
    /// The manager object is gone; the store dies with its last guard.
    static void close(Store& store) noexcept;

    // --- constants of a store ---
    static ManagerId id(const Store& store) noexcept;
    static std::size_t total_blocks(const Store& store) noexcept;
    static std::size_t block_size(const Store& store) noexcept;
    static BlockDuplicationPolicy duplication_policy(const Store& store) noexcept;
    static const BlockRegistry& registry(const Store& store) noexcept;
    static const std::shared_ptr<BlockPoolMetrics>& metrics(const Store& store) noexcept;

    // --- the pools ---
    static std::size_t available_blocks(const Store& store);
    static bool allocate(Store& store, std::size_t count, RawList& out,
                         std::vector<SequenceHash>* evicted);
    static Result<std::size_t, BlockManagerResetError> reset_inactive(Store& store);

    // --- lists: one lock per call ---
    static void release(GuardKind kind, std::span<RawGuard> guards, ReleaseOrder order) noexcept;
    /// Writes the hash of a mutable block, before it is staged. Takes no lock: nobody else looks.
    static void set_hash(const RawGuard& guard, const SequenceHash& hash) noexcept;
    static void stage(std::span<RawGuard> guards);
    static void unstage(std::span<RawGuard> guards);
    static void register_all(Store& store, std::span<RawGuard> guards);
    /// stage() and register_all() of mutable blocks whose hashes are written, under one lock.
    static void stage_and_register(Store& store, std::span<RawGuard> guards);
    static std::size_t match(Store& store, std::span<const SequenceHash> hashes, RawList& out);
    /// One guard per hash, an empty one for a miss. Gives the number of hits.
    static std::size_t match_scattered(Store& store, std::span<const SequenceHash> hashes,
                                       RawList& out);
    static void scan(Store& store, std::span<const SequenceHash> hashes, Touch touch, RawList& out);

    // --- several lists: one lock per call ---
    /// match() of each request behind the list at its place. Gives all hits.
    static std::size_t match_many(Store& store,
                                  std::span<const std::span<const SequenceHash>> requests,
                                  std::span<RawList> out);
    /// release() of the registered guards of each list, one lock for neighbours of one store. The
    /// lists stay, empty.
    static void release_many(std::span<RawList> lists, ReleaseOrder order) noexcept;

    // --- one guard ---
    static void release(GuardKind kind, RawGuard guard) noexcept;
    static void add_reference(GuardKind kind, const RawGuard& guard) noexcept;
    static const SequenceHash& hash(const RawGuard& guard) noexcept;
    static std::size_t use_count(const RawGuard& guard) noexcept;
    static bool is_duplicate(const RawGuard& guard) noexcept;
    static void set_evict_on_reset(const RawGuard& guard, bool value);
    static BlockRegistrationHandle registration_handle(const RawGuard& guard);

    // --- weak blocks: they keep the store alive, not the slot ---
    static void hold_weak(Store& store) noexcept;
    static void let_go_weak(Store& store) noexcept;
    static std::optional<RawGuard> upgrade(const RawGuard& weak, const SequenceHash& hash);

    // --- looking on ---
    static InvariantReport check_invariants(const Store& store);
    static std::vector<BlockInfo> inspect(const Store& store);
    /// Times the store's lock was taken so far, this call left out.
    static std::uint64_t lock_count(const Store& store);
};

/// The texts of the error templates. For the layers above, not for users.
export std::string wrong_size_message(std::size_t expected, std::size_t actual);
export std::string wrong_count_message(std::size_t expected, std::size_t actual);
export std::string foreign_message(std::size_t index, ManagerId expected, ManagerId actual);

}  // namespace detail::blocks

template <class Guard>
std::string BlockSizeMismatch<Guard>::message() const {
    return detail::blocks::wrong_size_message(expected, actual);
}

template <class List>
std::string StageAllError<List>::message() const {
    if (const auto* size = std::get_if<WrongSize>(&reason)) {
        return detail::blocks::wrong_size_message(size->expected, size->actual);
    }
    const auto& count = std::get<WrongCount>(reason);
    return detail::blocks::wrong_count_message(count.expected, count.actual);
}

template <class Blocks>
std::string ForeignBlocks<Blocks>::message() const {
    return detail::blocks::foreign_message(index, expected, actual);
}

}  // namespace kvbm

template <>
struct std::hash<kvbm::ManagerId> {
    std::size_t operator()(kvbm::ManagerId id) const noexcept {
        return static_cast<std::size_t>(id.value());
    }
};
