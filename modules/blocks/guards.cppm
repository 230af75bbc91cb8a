//! kvbm.blocks:guards: one type per state of a block that somebody owns.
//!
//! A guard is a thin typed face over a RawGuard; the engine does the work. MutableBlock,
//! CompleteBlock and WeakBlock own alone what they own; ImmutableBlock and LifecyclePin share it.
module;

#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <tl/expected.hpp>

export module kvbm.blocks:guards;

export import :raw;
export import kvbm.tokens;

namespace kvbm {

export template <class Tier = DefaultTier>
class MutableBlock;
export template <class Tier = DefaultTier>
class CompleteBlock;
export template <class Tier = DefaultTier>
class ImmutableBlock;
export template <class Tier = DefaultTier>
class WeakBlock;
export template <class Tier = DefaultTier>
class MutableBlockList;
export template <class Tier = DefaultTier>
class CompleteBlockList;
export template <class Tier = DefaultTier>
class ImmutableBlockList;
export template <class Tier = DefaultTier>
class ScatteredBlockList;
export template <class Tier = DefaultTier>
class ScanResult;
export template <class Tier = DefaultTier>
class BlockManager;
export template <class Tier = DefaultTier>
class BlockManagerBuilder;
export class LifecyclePin;

namespace detail::blocks {

/// Owns one slot in one state; empty after a move. The body of every guard.
template <GuardKind kind>
class Owned {
  public:
    static constexpr bool shared = kind == GuardKind::immutable_block || kind == GuardKind::pin;

    Owned() noexcept = default;
    inline explicit Owned(const RawGuard& adopted) noexcept : raw_(adopted) {}
    inline Owned(Owned&& other) noexcept : raw_(std::exchange(other.raw_, RawGuard{})) {}
    inline Owned(const Owned& other) noexcept
        requires shared
        : raw_(other.raw_) {
        if (raw_.store != nullptr) {
            Engine::add_reference(kind, raw_);
        }
    }
    inline Owned& operator=(Owned&& other) noexcept {
        if (this != &other) {
            const Owned previous(std::exchange(raw_, std::exchange(other.raw_, RawGuard{})));
        }
        return *this;
    }
    inline Owned& operator=(const Owned& other) noexcept
        requires shared
    {
        if (this != &other) {
            *this = Owned(other);
        }
        return *this;
    }
    inline ~Owned() {
        if (raw_.store != nullptr) {
            Engine::release(kind, raw_);
        }
    }

    inline bool armed() const noexcept { return raw_.store != nullptr; }
    inline const RawGuard& get() const noexcept {
        expects(raw_.store != nullptr, "a guard that is used is not empty");
        return raw_;
    }
    inline RawGuard take() noexcept { return std::exchange(raw_, RawGuard{}); }

  private:
    RawGuard raw_;
};

/// The only friend of guards and lists: turns them into raw guards and back. For the layers above,
/// not for users.
export class GuardAccess {
  public:
    template <class Guard>
    static inline Guard make(const RawGuard& raw) noexcept {
        return Guard(raw);
    }
    template <class Guard>
    static inline const RawGuard& raw(const Guard& guard) noexcept {
        return guard.owned_.get();
    }
    template <class Guard>
    static inline RawGuard take(Guard& guard) noexcept {
        static_cast<void>(guard.owned_.get());
        return guard.owned_.take();
    }
    template <class List>
    static inline RawList& raw_list(List& list) noexcept {
        return list.raw_;
    }
    template <class List>
    static inline List make_list(RawList&& raw) noexcept {
        List list;
        list.raw_ = std::move(raw);
        return list;
    }
    /// A record of a list seen as its guard. A guard is a standard-layout class around nothing but
    /// its record.
    template <class Guard>
    static inline const Guard* as_guards(const RawGuard* records) noexcept {
        static_assert(std::is_standard_layout_v<Guard> && sizeof(Guard) == sizeof(RawGuard));
        return reinterpret_cast<const Guard*>(records);
    }
    /// Lists seen as what they hold. A list is a standard-layout class around nothing but that.
    template <class List>
    static inline std::span<RawList> raw_lists(std::span<List> lists) noexcept {
        static_assert(std::is_standard_layout_v<List> && sizeof(List) == sizeof(RawList));
        return {reinterpret_cast<RawList*>(lists.data()), lists.size()};
    }
    template <class Tier>
    static inline Store& store(const BlockManager<Tier>& manager) noexcept {
        return manager.store();
    }
};

}  // namespace detail::blocks

/// Owns a block in state mutable: its contents may be written, nobody else sees it.
///
/// Move-only; a moved-from guard is empty, and using it (but to assign, destroy or test it) breaks
/// a contract. Dropping it gives the block to the back of the reset pool. Source: blocks.md G1 to
/// G4.
export template <class Tier>
class MutableBlock {
  public:
    inline explicit operator bool() const noexcept { return owned_.armed(); }
    /// The block's id in its manager.
    inline BlockId block_id() const noexcept { return owned_.get().id; }
    /// Tokens per block.
    inline std::size_t block_size() const noexcept {
        return detail::blocks::Engine::block_size(*owned_.get().store);
    }
    inline ManagerId manager_id() const noexcept {
        return detail::blocks::Engine::id(*owned_.get().store);
    }

    /// Names the block's contents: mutable -> staged. Fails with the guard, unchanged, when
    /// `block_size` is not the manager's. One lock. O(1).
    [[nodiscard]] Result<CompleteBlock<Tier>, BlockSizeMismatch<MutableBlock>> stage(
        const SequenceHash& hash, std::size_t block_size) && {
        if (block_size != this->block_size()) {
            return failure(
                BlockSizeMismatch<MutableBlock>{this->block_size(), block_size, std::move(*this)});
        }
        using detail::blocks::Engine;
        auto raw = detail::blocks::GuardAccess::take(*this);
        Engine::set_hash(raw, hash);
        Engine::stage(std::span(&raw, 1));
        return detail::blocks::GuardAccess::make<CompleteBlock<Tier>>(raw);
    }
    /// stage() with the hash and size of a token block; contents are not compared.
    [[nodiscard]] Result<CompleteBlock<Tier>, BlockSizeMismatch<MutableBlock>> complete(
        const TokenBlock& block) && {
        return std::move(*this).stage(block.sequence_hash(), block.block_size());
    }

  private:
    friend detail::blocks::GuardAccess;
    inline explicit MutableBlock(const detail::blocks::RawGuard& raw) noexcept : owned_(raw) {}
    detail::blocks::Owned<detail::blocks::GuardKind::mutable_block> owned_;
};

/// Owns a block in state staged: it has a hash, but no lookup finds it.
///
/// Move-only, as MutableBlock. Dropping it gives the block to the back of the reset pool. Source:
/// blocks.md G5 to G7.
export template <class Tier>
class CompleteBlock {
  public:
    inline explicit operator bool() const noexcept { return owned_.armed(); }
    inline BlockId block_id() const noexcept { return owned_.get().id; }
    /// Tokens per block.
    inline std::size_t block_size() const noexcept {
        return detail::blocks::Engine::block_size(*owned_.get().store);
    }
    inline const SequenceHash& sequence_hash() const noexcept {
        return detail::blocks::Engine::hash(owned_.get());
    }
    inline ManagerId manager_id() const noexcept {
        return detail::blocks::Engine::id(*owned_.get().store);
    }

    /// Back to mutable, same id; reset-on-release returns to the manager's default. One lock. O(1).
    [[nodiscard]] MutableBlock<Tier> reset() && {
        auto raw = detail::blocks::GuardAccess::take(*this);
        detail::blocks::Engine::unstage(std::span(&raw, 1));
        return detail::blocks::GuardAccess::make<MutableBlock<Tier>>(raw);
    }

  private:
    friend detail::blocks::GuardAccess;
    inline explicit CompleteBlock(const detail::blocks::RawGuard& raw) noexcept : owned_(raw) {}
    detail::blocks::Owned<detail::blocks::GuardKind::complete_block> owned_;
};

/// A strong reference to a registered block (primary or duplicate): it is not evicted while one
/// lives.
///
/// Copying, and dropping one that is not the last, take no lock. The last one makes a primary
/// inactive (or reset, see set_evict_on_reset) and a duplicate reset. Source: blocks.md G8 to G13.
export template <class Tier>
class ImmutableBlock {
  public:
    inline explicit operator bool() const noexcept { return owned_.armed(); }
    /// A duplicate's own id.
    inline BlockId block_id() const noexcept { return owned_.get().id; }
    inline const SequenceHash& sequence_hash() const noexcept {
        return detail::blocks::Engine::hash(owned_.get());
    }
    inline ManagerId manager_id() const noexcept {
        return detail::blocks::Engine::id(*owned_.get().store);
    }
    /// A new strong handle on the registry's entry of the hash, which may have to be made: may
    /// throw bad_alloc, with nothing changed.
    BlockRegistrationHandle registration_handle() const {
        return detail::blocks::Engine::registration_handle(owned_.get());
    }
    /// Another slot is the primary of this hash.
    bool is_duplicate() const noexcept {
        return detail::blocks::Engine::is_duplicate(owned_.get());
    }
    /// Strong references on this slot: guards, pins, and for a primary one per live duplicate.
    std::size_t use_count() const noexcept {
        return detail::blocks::Engine::use_count(owned_.get());
    }
    /// Whether the block goes to the reset pool, uncached, with its last reference. All copies
    /// share it; the last writer wins. Without effect on duplicates, which always do. One lock.
    /// Source: blocks.md F3, F4.
    void set_evict_on_reset(bool value) const {
        detail::blocks::Engine::set_evict_on_reset(owned_.get(), value);
    }
    /// A reference that does not keep the block, but its registry entry: may throw as
    /// registration_handle().
    WeakBlock<Tier> downgrade() const {
        return WeakBlock<Tier>(owned_.get(), registration_handle());
    }
    /// A strong reference without a tier.
    LifecyclePin pin() const noexcept;

  private:
    friend detail::blocks::GuardAccess;
    inline explicit ImmutableBlock(const detail::blocks::RawGuard& raw) noexcept : owned_(raw) {}
    detail::blocks::Owned<detail::blocks::GuardKind::immutable_block> owned_;
};

/// A strong reference to a registered block without its tier type; not counted in
/// `inflight_immutable`.
///
/// Copyable without allocation. Source: blocks.md G17, G18.
export class LifecyclePin {
  public:
    inline explicit operator bool() const noexcept { return owned_.armed(); }
    inline BlockId block_id() const noexcept { return owned_.get().id; }
    inline const SequenceHash& sequence_hash() const noexcept {
        return detail::blocks::Engine::hash(owned_.get());
    }
    inline ManagerId manager_id() const noexcept {
        return detail::blocks::Engine::id(*owned_.get().store);
    }
    BlockRegistrationHandle registration_handle() const {
        return detail::blocks::Engine::registration_handle(owned_.get());
    }
    /// The same number as ImmutableBlock::use_count().
    std::size_t use_count() const noexcept {
        return detail::blocks::Engine::use_count(owned_.get());
    }

  private:
    friend detail::blocks::GuardAccess;
    inline explicit LifecyclePin(const detail::blocks::RawGuard& raw) noexcept : owned_(raw) {}
    detail::blocks::Owned<detail::blocks::GuardKind::pin> owned_;
};

template <class Tier>
LifecyclePin ImmutableBlock<Tier>::pin() const noexcept {
    using namespace detail::blocks;
    Engine::add_reference(GuardKind::pin, owned_.get());
    return GuardAccess::make<LifecyclePin>(owned_.get());
}

/// Remembers a block without keeping it. Keeps the registry's entry of its hash and the manager's
/// store alive.
///
/// Copyable. Source: blocks.md G14 to G16.
export template <class Tier>
class WeakBlock {
  public:
    inline WeakBlock(WeakBlock&& other) noexcept
        : raw_(std::exchange(other.raw_, {})), handle_(std::move(other.handle_)) {}
    inline WeakBlock(const WeakBlock& other) noexcept : raw_(other.raw_), handle_(other.handle_) {
        if (raw_.store != nullptr) {
            detail::blocks::Engine::hold_weak(*raw_.store);
        }
    }
    inline WeakBlock& operator=(WeakBlock&& other) noexcept {
        if (this != &other) {
            std::swap(raw_, other.raw_);
            std::swap(handle_, other.handle_);
            const WeakBlock previous(std::move(other));
        }
        return *this;
    }
    inline WeakBlock& operator=(const WeakBlock& other) noexcept {
        if (this != &other) {
            *this = WeakBlock(other);
        }
        return *this;
    }
    inline ~WeakBlock() {
        if (raw_.store != nullptr) {
            detail::blocks::Engine::let_go_weak(*raw_.store);
        }
    }

    inline explicit operator bool() const noexcept { return raw_.store != nullptr; }
    inline const SequenceHash& sequence_hash() const noexcept {
        expects(raw_.store != nullptr, "a guard that is used is not empty");
        return handle_.seq_hash();
    }
    inline ManagerId manager_id() const noexcept {
        expects(raw_.store != nullptr, "a guard that is used is not empty");
        return detail::blocks::Engine::id(*raw_.store);
    }

    /// The very block it came from if that is still held; else whatever block now holds the hash,
    /// an inactive one included; else nothing. Touches and counts nothing. One lock. Source:
    /// blocks.md G15.
    std::optional<ImmutableBlock<Tier>> upgrade() const {
        expects(raw_.store != nullptr, "a guard that is used is not empty");
        const auto raw = detail::blocks::Engine::upgrade(raw_, sequence_hash());
        if (!raw) {
            return std::nullopt;
        }
        return detail::blocks::GuardAccess::make<ImmutableBlock<Tier>>(*raw);
    }

  private:
    friend class ImmutableBlock<Tier>;
    inline WeakBlock(const detail::blocks::RawGuard& raw, BlockRegistrationHandle handle) noexcept
        : raw_(raw), handle_(std::move(handle)) {
        detail::blocks::Engine::hold_weak(*raw_.store);
    }
    detail::blocks::RawGuard raw_;
    BlockRegistrationHandle handle_;
};

}  // namespace kvbm
