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
//!   guard              state       moves on by                   dropped
//!   MutableBlock       mutable     stage, complete               back of the reset pool
//!   CompleteBlock      staged      register_block(s), reset      back of the reset pool
//!   ImmutableBlock     registered  downgrade, pin                last one: inactive (duplicates:
//!   reset) LifecyclePin       registered  -                             as ImmutableBlock, without
//!   a tier WeakBlock          any         upgrade                       nothing
//!
//! A call on a list takes the manager's lock once. Guards may outlive the manager object. Managers
//! are thread-safe; a guard or list is used by one thread at a time, on any thread.
//!
//! Invariants: P1 to P12, G1 to G11, R1, R5 to R8 of docs/VERIFICATION.md.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

export module kvbm.blocks;

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

/// The only friend of guards and lists: turns them into raw guards and back.
class GuardAccess {
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
    template <class Tier>
    static inline Store& store(const BlockManager<Tier>& manager) noexcept {
        return manager.store();
    }
};

/// Move-only list of guards of one manager; released as a whole under one lock. Source: blocks.md
/// G19, G20.
template <class List, class Guard, GuardKind kind>
class GuardList {
  public:
    using value_type = Guard;
    using const_iterator = const Guard*;

    GuardList() noexcept = default;
    GuardList(GuardList&& other) noexcept = default;
    GuardList& operator=(GuardList&& other) noexcept {
        if (this != &other) {
            clear();
            raw_ = std::move(other.raw_);
        }
        return *this;
    }
    ~GuardList() { clear(); }

    inline std::size_t size() const noexcept { return raw_.size(); }
    inline bool empty() const noexcept { return raw_.empty(); }
    inline const Guard& operator[](std::size_t index) const noexcept {
        expects(index < size(), "an index into a list is below its size");
        return begin()[index];
    }
    inline const Guard* begin() const noexcept {
        return GuardAccess::as_guards<Guard>(raw_.data());
    }
    inline const Guard* end() const noexcept { return begin() + size(); }

    /// Adds a guard of the same manager at the end. Amortised O(1).
    void push_back(Guard&& guard) {
        expects_own(GuardAccess::raw(guard).store);
        raw_.reserve_more(1);
        raw_.push_back(GuardAccess::take(guard));
    }
    /// Moves all guards of a list of the same manager behind the last. O(other.size()).
    void append(List&& other) {
        expects(this != &other, "a list is not appended to itself");
        expects_own(other.raw_.store());
        raw_.append(std::move(other.raw_));
    }
    /// Takes the last guard. Rule: the list is not empty. O(1).
    Guard pop_back() {
        expects(!empty(), "a list that gives a guard is not empty");
        return GuardAccess::make<Guard>(raw_.pop_back());
    }
    /// Takes the guards [first, size()). Rule: first <= size(). O(size() - first).
    List split_off(std::size_t first) {
        expects(first <= size(), "a list is split within its size");
        return GuardAccess::make_list<List>(raw_.split_off(first));
    }
    /// Takes the guards [0, count). Rule: count <= size(). Amortised O(count).
    List take_front(std::size_t count) {
        expects(count <= size(), "no more guards are taken than a list has");
        return GuardAccess::make_list<List>(raw_.take_front(count));
    }
    /// Room for this many guards in all.
    void reserve(std::size_t guards) { raw_.reserve_more(guards > size() ? guards - size() : 0); }
    /// Releases all guards under one lock, in the stated order. Keeps the memory. O(n).
    void clear(ReleaseOrder order = ReleaseOrder::root_first) noexcept {
        if (!raw_.empty()) {
            Engine::release(kind, raw_.span(), order);
        }
        raw_.forget();
    }
    /// The ids, front to back.
    std::vector<BlockId> block_ids() const {
        std::vector<BlockId> ids(size());
        std::ranges::transform(raw_.span(), ids.begin(), &RawGuard::id);
        return ids;
    }

  protected:
    friend GuardAccess;
    inline void expects_own(const Store* store) const noexcept {
        expects(empty() || store == nullptr || store == raw_.store(),
                "a list holds guards of one manager");
    }
    RawList raw_;
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
    /// A new strong handle on the registry's entry.
    BlockRegistrationHandle registration_handle() const noexcept {
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
    /// A reference that does not keep the block.
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
    BlockRegistrationHandle registration_handle() const noexcept {
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
    inline const SequenceHash& sequence_hash() const noexcept { return handle_.seq_hash(); }
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

/// Mutable blocks of one manager. Destroying or clearing it releases them under one lock. Source:
/// blocks.md G19 to G22.
export template <class Tier>
class MutableBlockList
    : public detail::blocks::GuardList<MutableBlockList<Tier>, MutableBlock<Tier>,
                                       detail::blocks::GuardKind::mutable_block> {
  public:
    /// Stages block i under hash i, all or none; a failure gives the list back. One lock. O(n), no
    /// allocation.
    [[nodiscard]] Result<CompleteBlockList<Tier>, StageAllError<MutableBlockList>> stage_all(
        std::span<const SequenceHash> hashes, std::size_t block_size) && {
        if (hashes.size() != this->size()) {
            return wrong_count(hashes.size());
        }
        if (!this->empty() && block_size != this->begin()->block_size()) {
            return wrong_size(0, block_size);
        }
        return staged([&](std::size_t i) -> const SequenceHash& { return hashes[i]; });
    }
    /// Stages block i with the hash and size of token block i, all or none.
    [[nodiscard]] Result<CompleteBlockList<Tier>, StageAllError<MutableBlockList>> complete_all(
        std::span<const TokenBlock> blocks) && {
        if (blocks.size() != this->size()) {
            return wrong_count(blocks.size());
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            if (blocks[i].block_size() != this->begin()->block_size()) {
                return wrong_size(i, blocks[i].block_size());
            }
        }
        return staged([&](std::size_t i) { return blocks[i].sequence_hash(); });
    }

  private:
    using Error = StageAllError<MutableBlockList>;
    auto wrong_count(std::size_t given) {
        const std::size_t index = std::min(given, this->size());
        return failure(
            Error{typename Error::WrongCount{this->size(), given}, index, std::move(*this)});
    }
    auto wrong_size(std::size_t index, std::size_t given) {
        const std::size_t expected = this->begin()->block_size();
        return failure(Error{typename Error::WrongSize{expected, given}, index, std::move(*this)});
    }
    template <class HashAt>
    CompleteBlockList<Tier> staged(const HashAt& hash_at) {
        using namespace detail::blocks;
        const std::span<RawGuard> guards = this->raw_.span();
        for (std::size_t i = 0; i < guards.size(); ++i) {
            Engine::set_hash(guards[i], hash_at(i));
        }
        Engine::stage(guards);
        return GuardAccess::make_list<CompleteBlockList<Tier>>(std::move(this->raw_));
    }
};

/// Staged blocks of one manager.
export template <class Tier>
class CompleteBlockList
    : public detail::blocks::GuardList<CompleteBlockList<Tier>, CompleteBlock<Tier>,
                                       detail::blocks::GuardKind::complete_block> {
  public:
    /// Back to mutable, all of them. One lock. O(n), no allocation.
    [[nodiscard]] MutableBlockList<Tier> reset_all() && {
        detail::blocks::Engine::unstage(this->raw_.span());
        return detail::blocks::GuardAccess::make_list<MutableBlockList<Tier>>(
            std::move(this->raw_));
    }
};

/// Registered blocks of one manager, each a strong reference.
export template <class Tier>
class ImmutableBlockList
    : public detail::blocks::GuardList<ImmutableBlockList<Tier>, ImmutableBlock<Tier>,
                                       detail::blocks::GuardKind::immutable_block> {
  public:
    /// A second strong reference to each block. No lock. O(n).
    [[nodiscard]] ImmutableBlockList clone() const {
        using namespace detail::blocks;
        RawList copies;
        copies.reserve_more(this->size());
        for (const RawGuard& guard : this->raw_.span()) {
            Engine::add_reference(GuardKind::immutable_block, guard);
            copies.push_back(guard);
        }
        return GuardAccess::make_list<ImmutableBlockList>(std::move(copies));
    }
};

/// What a scattered match found: a place per hash asked for, empty on a miss. Released as a list.
/// Source: blocks.md M3.
export template <class Tier>
class ScatteredBlockList {
  public:
    /// Walks the places; gives a pointer to the block, or null.
    class iterator {
      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = const ImmutableBlock<Tier>*;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = value_type;
        inline iterator() noexcept = default;
        inline iterator(const ScatteredBlockList* list, std::size_t at) noexcept
            : list_(list), at_(at) {}
        inline value_type operator*() const noexcept { return (*list_)[at_]; }
        inline iterator& operator++() noexcept {
            ++at_;
            return *this;
        }
        inline iterator operator++(int) noexcept {
            auto old = *this;
            ++at_;
            return old;
        }
        friend inline bool operator==(const iterator&, const iterator&) noexcept = default;

      private:
        const ScatteredBlockList* list_ = nullptr;
        std::size_t at_ = 0;
    };

    ScatteredBlockList() noexcept = default;
    ScatteredBlockList(ScatteredBlockList&& other) noexcept
        : raw_(std::move(other.raw_)), hits_(std::exchange(other.hits_, 0)) {}
    ScatteredBlockList& operator=(ScatteredBlockList&& other) noexcept {
        if (this != &other) {
            clear();
            raw_ = std::move(other.raw_);
            hits_ = std::exchange(other.hits_, 0);
        }
        return *this;
    }
    ~ScatteredBlockList() { clear(); }

    /// Places: one per hash asked for.
    inline std::size_t size() const noexcept { return raw_.size(); }
    /// Places with a block.
    inline std::size_t hits() const noexcept { return hits_; }
    /// The block of a place, or null on a miss.
    inline const ImmutableBlock<Tier>* operator[](std::size_t index) const noexcept {
        expects(index < size(), "an index into a list is below its size");
        const auto* record = raw_.data() + index;
        return record->store == nullptr
                   ? nullptr
                   : detail::blocks::GuardAccess::as_guards<ImmutableBlock<Tier>>(record);
    }
    inline iterator begin() const noexcept { return iterator(this, 0); }
    inline iterator end() const noexcept { return iterator(this, size()); }

    /// Releases the blocks under one lock. O(n).
    void clear(ReleaseOrder order = ReleaseOrder::root_first) noexcept {
        using namespace detail::blocks;
        if (hits_ != 0) {
            Engine::release(GuardKind::immutable_block, raw_.span(), order);
        }
        raw_.forget();
        hits_ = 0;
    }
    /// The blocks without the gaps, in order.
    [[nodiscard]] ImmutableBlockList<Tier> take_hits() && {
        using namespace detail::blocks;
        RawList hits;
        hits.reserve_more(hits_);
        for (const RawGuard& guard : raw_.span()) {
            if (guard.store != nullptr) {
                hits.push_back(guard);
            }
        }
        raw_.forget();
        hits_ = 0;
        return GuardAccess::make_list<ImmutableBlockList<Tier>>(std::move(hits));
    }

  private:
    friend class BlockManager<Tier>;
    ScatteredBlockList(detail::blocks::RawList&& raw, std::size_t hits) noexcept
        : raw_(std::move(raw)), hits_(hits) {}
    detail::blocks::RawList raw_;
    std::size_t hits_ = 0;
};

/// What a scan found: each found hash once, in order of first occurrence. Released as a list.
/// Source: blocks.md M4, M5.
export template <class Tier>
class ScanResult {
  public:
    /// A hash and its block.
    struct Found {
        const SequenceHash& hash;
        const ImmutableBlock<Tier>& block;
    };
    /// Walks what was found.
    class iterator {
      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = Found;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = Found;
        inline iterator() noexcept = default;
        inline explicit iterator(const ImmutableBlock<Tier>* at) noexcept : at_(at) {}
        inline Found operator*() const noexcept { return {at_->sequence_hash(), *at_}; }
        inline iterator& operator++() noexcept {
            ++at_;
            return *this;
        }
        inline iterator operator++(int) noexcept {
            auto old = *this;
            ++at_;
            return old;
        }
        friend inline bool operator==(const iterator&, const iterator&) noexcept = default;

      private:
        const ImmutableBlock<Tier>* at_ = nullptr;
    };

    /// Distinct hashes found.
    inline std::size_t size() const noexcept { return blocks_.size(); }
    inline bool empty() const noexcept { return blocks_.empty(); }
    inline iterator begin() const noexcept { return iterator(blocks_.begin()); }
    inline iterator end() const noexcept { return iterator(blocks_.end()); }
    /// The block of a hash, or null. O(log n).
    const ImmutableBlock<Tier>* find(const SequenceHash& hash) const noexcept {
        const auto at = std::ranges::lower_bound(by_hash_, hash, {}, hash_at());
        return at == by_hash_.end() || hash_at()(*at) != hash ? nullptr : &blocks_[*at];
    }
    /// The blocks, in order of first occurrence.
    [[nodiscard]] ImmutableBlockList<Tier> take_blocks() && {
        by_hash_.clear();
        return std::move(blocks_);
    }

  private:
    friend class BlockManager<Tier>;
    explicit ScanResult(ImmutableBlockList<Tier>&& blocks)
        : blocks_(std::move(blocks)), by_hash_(blocks_.size()) {
        std::iota(by_hash_.begin(), by_hash_.end(), std::size_t{0});
        std::ranges::sort(by_hash_, {}, hash_at());
    }
    auto hash_at() const noexcept {
        return [this](std::size_t i) -> const SequenceHash& { return blocks_[i].sequence_hash(); };
    }
    ImmutableBlockList<Tier> blocks_;
    std::vector<std::size_t> by_hash_;
};

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
        Engine::scan(store(), hashes, touch, raw);
        return ScanResult<Tier>(
            detail::blocks::GuardAccess::make_list<ImmutableBlockList<Tier>>(std::move(raw)));
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
    /// The registry to share. Required.
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
    /// Whether blocks go to the reset pool, uncached, with their last reference. Default false.
    BlockManagerBuilder& with_default_reset_on_release(bool reset) {
        options_.reset_on_release = reset;
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
