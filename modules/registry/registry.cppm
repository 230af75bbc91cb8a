//! kvbm.registry: which sequence hashes are known, to whom, and in which memory tiers.
//!
//! A BlockRegistry is a shared table from hash to *entry*. An entry lives exactly as long as one of
//! its handles: those given to users, and those inside every registered or inactive block and every
//! weak block of the managers that share the registry. An entry counts, per tier, the blocks under
//! its hash (its *presence*).
//!
//!   unknown --first handle--> live (references, presence per tier) --last handle--> unknown
//!           hook, then touch        attachments, touch callbacks      `removed`, destructors
//!
//! Everything here is thread-safe. Lookups share a lock and allocate nothing, registrations take it
//! once per 64 hashes. User code (event policies, trackers, callbacks, destructors of attachments)
//! runs with no lock held and may call registry and managers; what policies and trackers throw is
//! counted and otherwise ignored.
//!
//! Invariants: R2 (one live entry per hash), R3, R4 (presence counts, never below zero), R9 (an
//! attachment type keeps its mode), R10 (no lock around user code).
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.registry;

export import kvbm.core;
export import kvbm.events;
export import kvbm.frequency;
export import kvbm.hash;
export import :attachments;
export import :entry;
export import :index;
export import :sole_store;

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

    /// A store of so many blocks comes. True: it is the only one, and its blocks need no entries;
    /// until it is told to give them, it uses the members marked *sole* instead of those marked
    /// *shared*. Else there is room for its entries, so that registering allocates nothing. May
    /// throw bad_alloc, with nothing changed. With no lock held.
    static bool attach(const BlockRegistry& registry, SoleStore& store, std::size_t blocks);
    /// The store goes, with the number of blocks it came with. With no lock held.
    static void detach(const BlockRegistry& registry, const SoleStore& store,
                       std::size_t blocks) noexcept;

    /// Sole, with the store's lock held: entries there are, of handles mostly. With none, adopt()
    /// finds none.
    static std::size_t entry_count(const BlockRegistry& registry) noexcept;
    /// Sole, with the store's lock held: whether the hash has a live entry.
    static bool has_live_entry(const BlockRegistry& registry, const SequenceHash& hash) noexcept;
    /// Sole, with the store's lock held: one more reference to the live entry of a hash, or null.
    static Entry* adopt(const BlockRegistry& registry, const SequenceHash& hash) noexcept;
    /// Sole, with the store's lock held: makes sure the entry has a cell for the tier. May throw
    /// bad_alloc.
    static void make_cell(Entry& entry, TierId tier);

    /// Shared: registers up to batch_max hashes in order under one table lock, each item getting an
    /// entry with one reference and a cell for the tier. Tells nobody: see announce(). May throw
    /// bad_alloc, with nothing changed.
    static void register_all(const BlockRegistry& registry, TierId tier,
                             std::span<Registration> items);

    /// Whether there is an event manager or a tracker, to which new entries are announced.
    static bool announces(const BlockRegistry& registry) noexcept;
    /// Runs the event hook and then touches, for an entry that this caller's registration made. To
    /// be called in input order, once nothing can fail any more, with no lock held: it runs user
    /// code.
    static void announce(Entry& entry) noexcept;

    /// Gives up one reference of each entry, in order. The span is scratch afterwards. Takes the
    /// table lock once if an entry dies, and then runs destructors of users' attachments: to be
    /// called with no lock held. Never allocates.
    static void release_all(std::span<Entry*> entries) noexcept;

    /// Gives up a reference that is not the entry's last.
    static void release_shared(Entry& entry) noexcept;

    /// Moves the presence of a tier that the entry was registered for. Rule: it never falls below
    /// zero.
    static void raise_presence(Entry& entry, TierId tier) noexcept;
    static void lower_presence(Entry& entry, TierId tier) noexcept;
    /// raise_presence() of entries of one registry, in order, under one table lock, which is worth
    /// its price from a few entries on. Each has a block of the caller's.
    static void raise_presence_all(const BlockRegistry& registry, std::span<Entry* const> entries,
                                   TierId tier) noexcept;

    /// lower_presence() and release_all() of up to batch_max blocks, each of another entry of the
    /// registry. The span is scratch afterwards. With no lock held, as release_all().
    static void let_go_blocks(const BlockRegistry& registry, std::span<Entry*> entries,
                              TierId tier) noexcept;

    /// One more handle on an entry that is alive.
    static BlockRegistrationHandle handle(Entry& entry) noexcept;
    /// A handle on the entry of a registered block's hash, made if there is none. May throw
    /// bad_alloc. With no lock held.
    static BlockRegistrationHandle handle(const BlockRegistry& registry, const SequenceHash& hash);

    /// The entry with this number. O(1), no lock.
    static Entry& entry_at(const BlockRegistry& registry, std::uint32_t index) noexcept;

    /// Touch the tracker, if there is one, in order. What it throws is counted; touch_all() leaves
    /// out then what the tracker's own left out.
    static void touch(const BlockRegistry& registry, const SequenceHash& hash) noexcept;
    static void touch_all(const BlockRegistry& registry,
                          std::span<const SequenceHash> hashes) noexcept;
    /// Touches, in order, each hash that has a live entry.
    static void touch_live(const BlockRegistry& registry, std::span<const SequenceHash> hashes);
};

}  // namespace detail::registry

export template <Attachable T>
class TypedAttachments;

/// A strong reference to the entry of one hash: while it lives, the registry knows the hash.
///
/// Copyable and movable; a moved-from handle is empty, and using it (but to assign, destroy or test
/// it) breaks a contract. One handle is used by one thread at a time; handles of one entry may be
/// used at the same time. Values and callbacks belong to the entry: each of its handles sees them,
/// and they are destroyed after its last one. Source: blocks.md K2, K6, K7, K9, K10.
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

    /// Whether the entry is in this registry's table. False for every registry once its own is
    /// gone.
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

    /// Attaches a value that the next unique one of its type replaces. Fails when the type has
    /// multiple values; the first value of a type decides, for the life of the entry. The entry
    /// owns the value. O(types attached). Source: blocks.md K9.
    template <Attachable T>
    [[nodiscard]] Result<void, AttachmentError> attach_unique(T value) const {
        return detail::registry::attach(
            entry(), std::make_unique<detail::registry::ValuesOf<T>>(std::move(value), true));
    }
    /// Attaches a value behind the others of its type. Fails when the type has a unique value.
    template <Attachable T>
    [[nodiscard]] Result<void, AttachmentError> attach(T value) const {
        return detail::registry::attach(
            entry(), std::make_unique<detail::registry::ValuesOf<T>>(std::move(value), false));
    }
    /// Access to the values of one type.
    template <Attachable T>
    [[nodiscard]] TypedAttachments<T> get() const {
        return TypedAttachments<T>(*this);
    }

    /// Adds a callback for touch(). It may do everything: use this handle, add callbacks, call
    /// registry and managers. Rule: it can be called. Source: blocks.md K10.
    void on_touch(TouchCallback callback) const;
    /// Calls the callbacks that there are at this moment with the hash, in the order of their
    /// addition, with no lock held. Not the tracker. What a callback throws passes through, and
    /// later ones are not called.
    void touch() const;

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

    template <Attachable T>
    friend class TypedAttachments;

    detail::registry::Entry* entry_ = nullptr;
};

/// The values of type T that are attached to an entry; holds a handle on it.
///
/// Each `f` is called once at most, under the lock of the entry's attachments: it must not use
/// attachments of the same entry. Its result is given by value; what it throws passes through.
/// Source: blocks.md K9.
export template <Attachable T>
class TypedAttachments {
  public:
    /// f(const T&) with the unique value: an optional result, empty without one. When f gives
    /// nothing: whether it was called.
    template <class F>
    auto with_unique(F&& f) const {
        return call_on_unique<const T>(f);
    }
    /// The same with T&.
    template <class F>
    auto with_unique_mut(F&& f) const {
        return call_on_unique<T>(f);
    }
    /// f(std::span<const T>) with the multiple values in the order of their addition, or with none.
    template <class F>
    auto with_multiple(F&& f) const {
        return call_on_all<const T>([&](const T*, std::span<const T> values) { return f(values); });
    }
    /// The same with std::span<T>.
    template <class F>
    auto with_multiple_mut(F&& f) const {
        return call_on_all<T>([&](T*, std::span<T> values) { return f(values); });
    }
    /// f(const T*, std::span<const T>) with the unique value or null, and the multiple ones.
    template <class F>
    auto with_all(F&& f) const {
        return call_on_all<const T>(f);
    }
    /// The same with T* and std::span<T>.
    template <class F>
    auto with_all_mut(F&& f) const {
        return call_on_all<T>(f);
    }

  private:
    using Values = detail::registry::ValuesOf<T>;
    friend class BlockRegistrationHandle;
    explicit TypedAttachments(BlockRegistrationHandle handle) : handle_(std::move(handle)) {}

    /// Value is T or const T.
    template <class Value, class F>
    auto call_on_all(F&& f) const {
        const detail::registry::AttachmentsInUse in_use(handle_.entry());
        auto* attached = static_cast<Values*>(in_use.find(typeid(T)));
        if (attached == nullptr) {
            return f(static_cast<Value*>(nullptr), std::span<Value>());
        }
        return attached->is_unique()
                   ? f(static_cast<Value*>(attached->values.data()), std::span<Value>())
                   : f(static_cast<Value*>(nullptr), std::span<Value>(attached->values));
    }
    template <class Value, class F>
    auto call_on_unique(F& f) const {
        using Answer = std::invoke_result_t<F&, Value&>;
        return call_on_all<Value>([&](Value* value, std::span<Value>) {
            if constexpr (std::is_void_v<Answer>) {
                if (value != nullptr) {
                    f(*value);
                }
                return value != nullptr;
            } else {
                using Answered = std::optional<std::remove_cvref_t<Answer>>;
                return value != nullptr ? Answered(std::in_place, f(*value)) : Answered();
            }
        });
    }

    BlockRegistrationHandle handle_;
};

/// A shared reference to one table of known hashes, with an optional frequency tracker and an
/// optional event manager.
///
/// Several managers, of equal or different tiers, may share one: they then share entries, with
/// their presence, attachments and touches, not blocks. Copies refer to the same table; a
/// moved-from registry may only be assigned or destroyed. Thread-safe: a lock that readers share,
/// and the lock of its manager as long as there is one only, whose blocks have entries on demand.
/// Source: blocks.md K1 to K13.
export class BlockRegistry {
  public:
    /// Options of a registry.
    static BlockRegistryBuilder builder();

    /// A registry without a tracker and without events.
    BlockRegistry();
    BlockRegistry(const BlockRegistry& other) noexcept;
    BlockRegistry& operator=(const BlockRegistry& other) noexcept;
    inline BlockRegistry(BlockRegistry&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)) {}
    BlockRegistry& operator=(BlockRegistry&& other) noexcept;
    ~BlockRegistry();

    /// The handle of a hash. For a new entry the event hook runs, then it is touched once. O(1).
    [[nodiscard]] BlockRegistrationHandle register_sequence_hash(const SequenceHash& hash);

    /// A handle per hash, in input order; a repeated hash gives the same entry. For each new entry,
    /// in input order: the event hook, then one touch. May throw bad_alloc, with nothing changed
    /// and nobody told. O(n). Source: blocks.md K3.
    [[nodiscard]] std::vector<BlockRegistrationHandle> register_sequence_hashes(
        std::span<const SequenceHash> hashes);
    /// The same, appended to a caller's list.
    void register_sequence_hashes_into(std::span<const SequenceHash> hashes,
                                       std::vector<BlockRegistrationHandle>& out);

    /// The handle of a hash, made if absent, without the event hook and without a touch.
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
    void touch(const SequenceHash& hash) const noexcept;
    /// The tracker's estimate of the hash; 0 without a tracker.
    std::uint32_t count(const SequenceHash& hash) const;
    bool has_frequency_tracking() const noexcept;
    /// The tracker, or null.
    const std::shared_ptr<FrequencyTracker>& frequency_tracker() const noexcept;
    /// The event manager, or null.
    const std::shared_ptr<EventsManager>& event_manager() const noexcept;

    /// Calls of the event policy, and of the tracker's touch(), that threw. They report nothing,
    /// and what they belong to goes on: a registration, a match, a scan. Source: blocks.md K4.
    std::uint64_t hook_failures() const noexcept;

    /// Same table.
    friend bool operator==(const BlockRegistry& a, const BlockRegistry& b) noexcept = default;

  private:
    friend class BlockRegistryBuilder;
    friend class BlockRegistrationHandle;
    friend class detail::registry::EngineAccess;
    explicit BlockRegistry(detail::registry::Core* core) noexcept : core_(core) {}
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
    /// Who is told of new and of ended entries. Null: nobody.
    BlockRegistryBuilder& event_manager(std::shared_ptr<EventsManager> manager) noexcept;
    [[nodiscard]] BlockRegistry build() const;

  private:
    std::shared_ptr<FrequencyTracker> tracker_;
    std::shared_ptr<EventsManager> events_;
};

}  // namespace kvbm
