//! kvbm.registry:table: the table of a registry and the memory of its entries. Internal: seen by
//! the bodies of kvbm.registry only.
//!
//! References to an entry rise and fall without a lock; the last one that goes takes the lock to
//! bury the entry. Between the two the entry is dying: lookups pass it by, and a registration of
//! its hash replaces it in the table.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

module kvbm.registry:table;

import kvbm.frequency;
import :entry;
import :index;

namespace kvbm::detail::registry {

struct MoreTiers {
    std::array<TierCell, 7> tiers{};
    std::atomic<MoreTiers*> next{nullptr};
};

constexpr std::uint64_t cell_mark(TierId tier) noexcept {
    return (std::uint64_t{tier.value()} + 1) << 32;
}
constexpr bool is_cell_of(std::uint64_t cell, TierId tier) noexcept {
    return (cell >> 32) == std::uint64_t{tier.value()} + 1;
}
constexpr std::uint32_t blocks_in(std::uint64_t cell) noexcept {
    return static_cast<std::uint32_t>(cell);
}

inline TierCell* find_cell(Entry& entry, TierId tier) noexcept {
    for (TierCell& cell : entry.tiers) {
        if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
            return &cell;
        }
    }
    for (MoreTiers* more = entry.more_tiers.load(std::memory_order_acquire); more != nullptr;
         more = more->next.load(std::memory_order_acquire)) {
        for (TierCell& cell : more->tiers) {
            if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
                return &cell;
            }
        }
    }
    return nullptr;
}

/// Takes a free cell of the list for the tier. Callers hold the table lock, so no other tier takes
/// one meanwhile.
template <std::size_t n>
bool take_cell(std::array<TierCell, n>& cells, TierId tier) noexcept {
    for (TierCell& cell : cells) {
        if (cell.load(std::memory_order_relaxed) == 0) {
            cell.store(cell_mark(tier), std::memory_order_relaxed);
            return true;
        }
    }
    return false;
}

/// Makes sure the tier has a cell. With the table lock held.
inline void make_cell(Entry& entry, TierId tier) {
    if (find_cell(entry, tier) != nullptr || take_cell(entry.tiers, tier)) {
        return;
    }
    std::atomic<MoreTiers*>* link = &entry.more_tiers;
    for (MoreTiers* more = link->load(std::memory_order_relaxed); more != nullptr;
         more = link->load(std::memory_order_relaxed)) {
        if (take_cell(more->tiers, tier)) {
            return;
        }
        link = &more->next;
    }
    auto more = std::make_unique<MoreTiers>();
    take_cell(more->tiers, tier);
    link->store(more.release(), std::memory_order_release);
}

inline bool holds_blocks(Entry& entry, std::span<const TierId> tiers) noexcept {
    for (const TierId tier : tiers) {
        const TierCell* cell = find_cell(entry, tier);
        if (cell != nullptr && blocks_in(cell->load(std::memory_order_acquire)) != 0) {
            return true;
        }
    }
    return false;
}

inline void add_reference(Entry& entry) noexcept {
    entry.references.fetch_add(1, std::memory_order_relaxed);
}

/// A reference to an entry that may be dying. False: it is.
inline bool try_add_reference(Entry& entry) noexcept {
    std::uint32_t references = entry.references.load(std::memory_order_relaxed);
    while (references != 0) {
        if (entry.references.compare_exchange_weak(
                references, references + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/// The table and the memory of the entries. Lives while a registry object or a live entry refers to
/// it.
class Core {
  public:
    explicit Core(std::shared_ptr<FrequencyTracker> tracker) : tracker_(std::move(tracker)) {}
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;
    ~Core() {
        for (std::size_t k = 0; k < chunks_.size(); ++k) {
            delete[] chunks_[k].load(std::memory_order_relaxed);
        }
    }

    void hold(std::uint64_t more) noexcept { holders_.fetch_add(more, std::memory_order_relaxed); }
    void let_go(std::uint64_t fewer) noexcept {
        // Release: what this holder did happens before the deletion. Acquire: the deleter sees what
        // all did.
        if (holders_.fetch_sub(fewer, std::memory_order_acq_rel) == fewer) {
            delete this;
        }
    }

    const std::shared_ptr<FrequencyTracker>& tracker() const noexcept { return tracker_; }

    std::size_t size() const {
        const core::SharedLock lock(mutex_);
        return table_.size();
    }

    /// The live or dying entry of a hash, or null. With the lock held.
    Entry* find(const SequenceHash& hash) const noexcept {
        const std::uint32_t index = table_.find(
            table_.probe(hash), [&](std::uint32_t id) { return entry_at(id).hash == hash; });
        return index == no_index ? nullptr : &entry_at(index);
    }

    Entry& entry_at(std::uint32_t index) const noexcept {
        const std::uint32_t scaled = (index >> first_chunk_bits) + 1;
        const auto chunk = static_cast<unsigned>(std::bit_width(scaled)) - 1;
        const std::uint32_t chunk_first = ((std::uint32_t{1} << chunk) - 1) << first_chunk_bits;
        return chunks_[chunk].load(std::memory_order_acquire)[index - chunk_first];
    }

    void reserve(std::size_t entries) {
        const core::ExclusiveLock lock(mutex_);
        reserved_ += entries;
        make_room(reserved_ > table_.size() ? reserved_ - table_.size() : 0);
    }

    /// Registers each item. Fails before anything has changed, or not at all.
    void register_all(TierId const* tier, std::span<Registration> items) {
        const core::ExclusiveLock lock(mutex_);
        make_room(items.size());
        for (const Registration& item : items) {
            table_.prefetch(table_.probe(item.hash));
        }
        std::size_t done = 0;
        try {
            for (; done < items.size(); ++done) {
                register_one(items[done]);
                if (tier != nullptr) {
                    make_cell(*items[done].entry, *tier);
                }
            }
            hold(static_cast<std::uint64_t>(std::ranges::count_if(items, &Registration::is_new)));
        } catch (...) {
            undo(items.first(done + 1));
            throw;
        }
    }

    /// Takes entries whose last reference has gone out of the table and frees them.
    void bury(std::span<Entry* const> dead) noexcept {
        const core::ExclusiveLock lock(mutex_);
        for (Entry* entry : dead) {
            bury_one(*entry);
        }
    }

    core::SharedMutex& mutex() const noexcept { return mutex_; }

  private:
    static constexpr unsigned first_chunk_bits = 10;
    static constexpr std::size_t chunk_count = 32 - first_chunk_bits;

    void register_one(Registration& item) noexcept {
        const Probe probe = table_.probe(item.hash);
        if (Entry* known = find(item.hash)) {
            if (try_add_reference(*known)) {
                item.entry = known;
                item.is_new = false;
                return;
            }
            table_.erase(probe, known->index);  // dying: its last handle will find itself replaced
        }
        Entry& entry = take_free();
        entry.hash = item.hash;
        entry.core = this;
        entry.references.store(1, std::memory_order_relaxed);
        table_.insert(probe, entry.index);
        item.entry = &entry;
        item.is_new = true;
    }

    void undo(std::span<Registration> items) noexcept {
        for (const Registration& item : items) {
            if (item.entry->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                bury_one(*item.entry);
            }
        }
    }

    void bury_one(Entry& entry) noexcept {
        const Probe probe = table_.probe(entry.hash);
        if (table_.find(probe, [&](std::uint32_t id) { return id == entry.index; }) != no_index) {
            table_.erase(probe, entry.index);
        }
        MoreTiers* more = entry.more_tiers.exchange(nullptr, std::memory_order_acquire);
        while (more != nullptr) {
            const std::unique_ptr<MoreTiers> owned(more);
            more = owned->next.load(std::memory_order_relaxed);
        }
        for (TierCell& cell : entry.tiers) {
            cell.store(0, std::memory_order_relaxed);
        }
        // A free entry keeps the number of the next free one in its first cell.
        entry.tiers[0].store(first_free_, std::memory_order_relaxed);
        first_free_ = entry.index;
        ++free_;
    }

    Entry& take_free() noexcept {
        Entry& entry = entry_at(first_free_);
        first_free_ =
            static_cast<std::uint32_t>(entry.tiers[0].exchange(0, std::memory_order_relaxed));
        --free_;
        return entry;
    }

    /// Room in the table and in the free list for `more` entries. Strong guarantee.
    void make_room(std::size_t more) {
        while (free_ < more) {
            add_chunk();
        }
        if (table_.size() + more > table_.capacity()) {
            const std::size_t doubled = table_.capacity() * 2;
            const std::size_t wanted = table_.size() + more;
            table_.reserve(doubled > wanted ? doubled : wanted,
                           [&](std::uint32_t id) -> const auto& { return entry_at(id).hash; });
        }
    }

    void add_chunk() {
        expects(chunks_used_ < chunk_count, "a registry holds fewer than 2^32 entries");
        const std::size_t count = std::size_t{1} << (chunks_used_ + first_chunk_bits);
        const auto first = static_cast<std::uint32_t>(count - (std::size_t{1} << first_chunk_bits));
        Entry* entries = new Entry[count];
        chunks_[chunks_used_].store(entries, std::memory_order_release);
        ++chunks_used_;
        for (std::size_t k = count; k-- > 0;) {
            entries[k].index = first + static_cast<std::uint32_t>(k);
            entries[k].tiers[0].store(first_free_, std::memory_order_relaxed);
            first_free_ = entries[k].index;
        }
        free_ += count;
    }

    std::shared_ptr<FrequencyTracker> tracker_;
    std::atomic<std::uint64_t> holders_{1};  // registry objects and live entries
    mutable core::SharedMutex mutex_;        // guards everything below
    TagIndex table_{TagIndex::load_per_bucket, draw_multiplier()};
    std::array<std::atomic<Entry*>, chunk_count> chunks_{};  // chunk k has 1,024 * 2^k entries
    std::size_t chunks_used_ = 0;
    std::size_t reserved_ = 0;
    std::size_t free_ = 0;
    std::uint32_t first_free_ = no_index;
};

inline void touch_new(const Core& core, std::span<const Registration> items) {
    if (core.tracker() == nullptr) {
        return;
    }
    for (const Registration& item : items) {
        if (item.is_new) {
            core.tracker()->touch(item.hash);
        }
    }
}

}  // namespace kvbm::detail::registry
