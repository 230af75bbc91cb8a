//! kvbm.blocks:lists: guards that travel together and are released together.
//!
//! A list holds guards of one manager. Destroying or clearing it gives all of them back under one
//! lock; that is why the calls of a manager take and give lists.
module;

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.blocks:lists;

export import :guards;

namespace kvbm {

namespace detail::blocks {

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
    /// `room` is for as many places as there are blocks, so that nothing can fail any more.
    ScanResult(ImmutableBlockList<Tier>&& blocks, std::vector<std::size_t>&& room) noexcept
        : blocks_(std::move(blocks)), by_hash_(std::move(room)) {
        by_hash_.resize(blocks_.size());
        std::iota(by_hash_.begin(), by_hash_.end(), std::size_t{0});
        std::ranges::sort(by_hash_, {}, hash_at());
    }
    auto hash_at() const noexcept {
        return [this](std::size_t i) -> const SequenceHash& { return blocks_[i].sequence_hash(); };
    }
    ImmutableBlockList<Tier> blocks_;
    std::vector<std::size_t> by_hash_;
};

}  // namespace kvbm
