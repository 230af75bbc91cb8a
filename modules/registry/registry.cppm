//! kvbm.registry: which sequence hashes are known, to whom, and in which memory tiers.
//!
//! A BlockRegistry is a shared table from hash to *entry*. An entry lives exactly as long as one of
//! its handles: those given to users, and those inside every registered or inactive block and every
//! weak block of the managers that share the registry. An entry counts, per tier, the blocks under
//! its hash (its *presence*).
//!
//!   unknown --first handle--> live (references, presence per tier) --last handle--> unknown
//!
//! Everything here is thread-safe. Lookups share a lock, registrations take it once per batch. The
//! tracker is called with no lock held.
//!
//! Invariants: R2 (one live entry per hash), R3, R4 (presence counts, never below zero).
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

export module kvbm.registry;

export import kvbm.core;
export import kvbm.frequency;
export import kvbm.hash;
export import :entry;
export import :index;

namespace kvbm {

export class BlockRegistry;
export class BlockRegistrationHandle;
export class BlockRegistryBuilder;

namespace detail::registry {

/// What the block engine needs of a registry. For the layers above, not for users.
export class EngineAccess {
  public:
    /// Hashes that one table lock registers at most; longer batches are cut.
    static constexpr std::size_t batch_max = 64;

    /// Room for this many more entries, so that registering them allocates nothing.
    static void reserve(const BlockRegistry& registry, std::size_t entries);

    /// Registers up to batch_max hashes in order under one table lock, each item getting an entry
    /// with one reference and a cell for the tier; then touches the new ones in order. May throw
    /// bad_alloc, with nothing changed.
    static void register_all(const BlockRegistry& registry, TierId tier,
                             std::span<Registration> items);

    /// Gives up one reference of each entry, in order. The span is scratch afterwards. Takes the
    /// table lock once if an entry dies. Never allocates.
    static void release_all(std::span<Entry*> entries) noexcept;

    /// Gives up a reference that is not the entry's last.
    static void release_shared(Entry& entry) noexcept;

    /// Moves the presence of a tier that the entry was registered for. Rule: it never falls below
    /// zero.
    static void raise_presence(Entry& entry, TierId tier) noexcept;
    static void lower_presence(Entry& entry, TierId tier) noexcept;

    /// One more handle on an entry that is alive.
    static BlockRegistrationHandle handle(Entry& entry) noexcept;

    /// The entry with this number. O(1), no lock.
    static Entry& entry_at(const BlockRegistry& registry, std::uint32_t index) noexcept;

    /// Touches, in order, each hash that has a live entry.
    static void touch_live(const BlockRegistry& registry, std::span<const SequenceHash> hashes);
};

}  // namespace detail::registry

/// A strong reference to the entry of one hash: while it lives, the registry knows the hash.
///
/// Copyable and movable; a moved-from handle is empty, and using it (but to assign, destroy or test
/// it) breaks a contract. One handle is used by one thread at a time. Source: blocks.md K2, K6, K7.
export class BlockRegistrationHandle {
  public:
    BlockRegistrationHandle() noexcept = default;
    BlockRegistrationHandle(const BlockRegistrationHandle& other) noexcept;
    BlockRegistrationHandle& operator=(const BlockRegistrationHandle& other) noexcept;
    inline BlockRegistrationHandle(BlockRegistrationHandle&& other) noexcept
        : entry_(std::exchange(other.entry_, nullptr)) {}
    BlockRegistrationHandle& operator=(BlockRegistrationHandle&& other) noexcept;
    ~BlockRegistrationHandle();

    /// False for a moved-from or default-made handle.
    inline explicit operator bool() const noexcept { return entry_ != nullptr; }

    /// The hash of the entry.
    inline const SequenceHash& seq_hash() const noexcept { return entry().hash; }

    /// Whether the entry belongs to this registry.
    bool is_from_registry(const BlockRegistry& registry) const noexcept;

    /// Whether a block under this hash is in the tier. A shadow of the managers that follows them
    /// (blocks.md K8).
    template <class Tier>
    bool has_block() const {
        return has_block(tier_id<Tier>());
    }
    /// The same for a tier known at run time.
    bool has_block(TierId tier) const;
    /// Whether a block under this hash is in any of the tiers; false for an empty list.
    bool has_any_block(std::span<const TierId> tiers) const;

    /// Same entry.
    friend bool operator==(const BlockRegistrationHandle& a,
                           const BlockRegistrationHandle& b) noexcept = default;

  private:
    friend class BlockRegistry;
    friend class detail::registry::EngineAccess;
    inline explicit BlockRegistrationHandle(detail::registry::Entry* adopted) noexcept
        : entry_(adopted) {}
    inline detail::registry::Entry& entry() const noexcept {
        expects(entry_ != nullptr, "a registration handle that is used is not empty");
        return *entry_;
    }

    detail::registry::Entry* entry_ = nullptr;
};

/// A shared reference to one table of known hashes, with an optional frequency tracker.
///
/// Several managers, of equal or different tiers, may share one: they then share entries, presence
/// and touches, not blocks. Copies refer to the same table; a moved-from registry may only be
/// assigned or destroyed. Thread-safe. Source: blocks.md K1 to K13.
export class BlockRegistry {
  public:
    /// Options of a registry.
    static BlockRegistryBuilder builder();

    /// A registry without a tracker.
    BlockRegistry();
    BlockRegistry(const BlockRegistry& other) noexcept;
    BlockRegistry& operator=(const BlockRegistry& other) noexcept;
    inline BlockRegistry(BlockRegistry&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)) {}
    BlockRegistry& operator=(BlockRegistry&& other) noexcept;
    ~BlockRegistry();

    /// The handle of a hash; a new entry is touched once. O(1).
    [[nodiscard]] BlockRegistrationHandle register_sequence_hash(const SequenceHash& hash);

    /// A handle per hash, in input order; a repeated hash gives the same entry. New entries are
    /// touched once, in input order. O(n). Source: blocks.md K3.
    [[nodiscard]] std::vector<BlockRegistrationHandle> register_sequence_hashes(
        std::span<const SequenceHash> hashes);
    /// The same, appended to a caller's list.
    void register_sequence_hashes_into(std::span<const SequenceHash> hashes,
                                       std::vector<BlockRegistrationHandle>& out);

    /// The handle of a hash, made if absent, without touching.
    [[nodiscard]] BlockRegistrationHandle transfer_registration(const SequenceHash& hash);

    /// The handle of a hash if it is known; touches it if asked and known.
    [[nodiscard]] std::optional<BlockRegistrationHandle> match_sequence_hash(
        const SequenceHash& hash, Touch touch);

    /// Whether the hash has a live entry.
    bool is_registered(const SequenceHash& hash) const;

    /// Number of live entries; exact when no operation is in flight. O(1).
    std::size_t registered_count() const;

    /// For each hash, in input order, whether the tier holds a block under it. Allocates the result
    /// only.
    template <class Tier>
    std::vector<std::pair<SequenceHash, bool>> check_presence(
        std::span<const SequenceHash> hashes) const {
        const TierId tier = tier_id<Tier>();
        return check_presence_any(hashes, std::span<const TierId>(&tier, 1));
    }
    /// The same, appended to a caller's list.
    template <class Tier>
    void check_presence_into(std::span<const SequenceHash> hashes,
                             std::vector<std::pair<SequenceHash, bool>>& out) const {
        const TierId tier = tier_id<Tier>();
        check_presence_any_into(hashes, std::span<const TierId>(&tier, 1), out);
    }
    /// For each hash, in input order, whether any of the tiers holds a block under it.
    std::vector<std::pair<SequenceHash, bool>> check_presence_any(
        std::span<const SequenceHash> hashes, std::span<const TierId> tiers) const;
    /// The same, appended to a caller's list.
    void check_presence_any_into(std::span<const SequenceHash> hashes,
                                 std::span<const TierId> tiers,
                                 std::vector<std::pair<SequenceHash, bool>>& out) const;

    /// Touches the hash in the tracker, known or not; nothing without a tracker.
    void touch(const SequenceHash& hash) const;
    /// The tracker's estimate of the hash; 0 without a tracker.
    std::uint32_t count(const SequenceHash& hash) const;
    bool has_frequency_tracking() const noexcept;
    /// The tracker, or null.
    const std::shared_ptr<FrequencyTracker>& frequency_tracker() const noexcept;

    /// Same table.
    friend bool operator==(const BlockRegistry& a, const BlockRegistry& b) noexcept = default;

  private:
    friend class BlockRegistryBuilder;
    friend class BlockRegistrationHandle;
    friend class detail::registry::EngineAccess;
    explicit BlockRegistry(std::shared_ptr<FrequencyTracker> tracker);
    detail::registry::Core& core() const noexcept;

    detail::registry::Core* core_ = nullptr;
};

/// Options of a BlockRegistry.
export class BlockRegistryBuilder {
  public:
    /// A TinyLFU sketch of this capacity as the tracker.
    BlockRegistryBuilder& frequency_tracker(FrequencyTrackingCapacity capacity,
                                            SketchLayout layout = SketchLayout::blocked);
    /// A tracker of the caller's; its methods must be thread-safe. Null: none.
    BlockRegistryBuilder& frequency_tracker(std::shared_ptr<FrequencyTracker> tracker) noexcept;
    [[nodiscard]] BlockRegistry build() const;

  private:
    std::shared_ptr<FrequencyTracker> tracker_;
};

}  // namespace kvbm
