//! kvbm.registry:table: the table of a registry and the memory of its entries. Internal: seen by
//! the bodies of kvbm.registry only.
//!
//! References to an entry rise and fall without a lock. The life of an entry:
//!
//!   register_all()   under the table lock: in the table, one reference
//!   announce()       no lock: policy, `stored`, touch; by the call that made the entry, which
//!   still
//!                    has its reference
//!   last reference   no lock: the count falls to 0 and never rises again. The entry is *dying*:
//!                    lookups pass it by, and a registration of its hash replaces it in the table
//!   end()            no lock: `removed`, if `stored` was reported
//!                    under the table lock: out of the table if that still names this entry (a
//!                    number names one entry, so a successor of the same hash stays), into the free
//!                    list; readers of the table that saw it dying are gone now
//!                    no lock: attachments and callbacks are destroyed
//!
//! All of it happens with no store lock held. An entry that another thread took over from a
//! registration that ran out of memory was never announced, and so is never reported removed.
//!
//! With a *sole store* (see :sole_store) a registered hash may have no entry. Then the table lock
//! is two locks, the registry's and then that store's, and the store uses the table under its own
//! alone. A hash that the store holds and that has a live entry is linked to it: the store has one
//! of its references, and its block is counted there.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

module kvbm.registry:table;

import kvbm.events;
import kvbm.frequency;
import :entry;
import :extras;
import :index;
import :sole_store;

namespace kvbm::detail::registry {

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
    Core(std::shared_ptr<FrequencyTracker> tracker, std::shared_ptr<EventsManager> events)
        : tracker_(std::move(tracker)), events_(std::move(events)) {}
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;
    ~Core() {
        for (const auto& chunk : chunks_) {
            ::operator delete(chunk.load(std::memory_order_relaxed), entry_alignment);
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
    const std::shared_ptr<EventsManager>& events() const noexcept { return events_; }
    std::uint64_t hook_failures() const noexcept {
        return hook_failures_.load(std::memory_order_relaxed);
    }

    /// Calls user code: what it throws is counted and otherwise ignored.
    template <class Call>
    void guarded(const Call& call) noexcept {
        try {
            call();
        } catch (...) {
            hook_failures_.fetch_add(1, std::memory_order_relaxed);
        }
    }

    /// Whether new entries are told to anybody.
    bool announces() const noexcept { return tracker_ != nullptr || events_ != nullptr; }
    /// Tells of a new entry: hook, then touch. With no lock held, by the call that made it.
    void announce(Entry& entry) noexcept {
        if (events_ != nullptr) {
            guarded([&] {
                if (events::Emitter::reports(*events_, entry.hash)) {
                    // Relaxed: the last reference, given up later, brings it to end().
                    entry.extras.fetch_or(reported_bit, std::memory_order_relaxed);
                    events::Emitter::emit(*events_, EventKind::stored, entry.hash);
                }
            });
        }
        touch(entry.hash);
    }
    void touch(const SequenceHash& hash) noexcept {
        if (tracker_ != nullptr) {
            guarded([&] { tracker_->touch(hash); });
        }
    }
    void touch_all(std::span<const SequenceHash> hashes) noexcept {
        if (tracker_ != nullptr) {
            guarded([&] { tracker_->touch_all(hashes); });
        }
    }

    /// The lock on the table for a scope: the registry's own, and that of a sole store.
    template <class OwnLock>
    class TableLock {
      public:
        explicit TableLock(const Core& core) : own_(core.mutex_) {
            if (core.sole_ != nullptr) {
                sole_stores_ = core::Lock(core.sole_->mutex_of_store());
            }
        }
        void unlock() {
            if (sole_stores_.owns_lock()) {
                sole_stores_.unlock();
            }
            own_.unlock();
        }

      private:
        OwnLock own_;
        core::Lock sole_stores_;
    };
    using SharedTable = TableLock<core::SharedLock>;
    using ExclusiveTable = TableLock<core::ExclusiveLock>;

    /// Registered hashes.
    std::size_t size() const {
        const SharedTable lock(*this);
        return table_.size() + (sole_ != nullptr ? sole_->without_entry() : 0);
    }

    /// Whether the hash has a live entry. With the lock held.
    bool has_live_entry(const SequenceHash& hash) const noexcept {
        const Entry* entry = find(hash);
        return entry != nullptr && entry->references.load(std::memory_order_acquire) != 0;
    }
    /// Whether the hash is registered. With the lock held.
    bool knows(const SequenceHash& hash) const noexcept {
        return has_live_entry(hash) || (sole_ != nullptr && sole_->holds(hash));
    }

    /// Whether any of the tiers holds a block under the hash. With the lock held.
    bool is_present(const SequenceHash& hash, std::span<const TierId> tiers) const noexcept {
        Entry* entry = find(hash);
        return (entry != nullptr && holds_blocks(*entry, tiers)) ||
               (sole_ != nullptr &&
                std::ranges::find(tiers, sole_->tier_of_store()) != tiers.end() &&
                sole_->holds(hash));
    }

    /// One more reference to the entry of a registered hash, made if it has none; null if the hash
    /// is not registered. May throw bad_alloc, with nothing changed.
    Entry* hold_registered(const SequenceHash& hash) {
        const SharedTable lock(*this);
        Entry* entry = find(hash);
        if (entry != nullptr && try_add_reference(*entry)) {
            return entry;
        }
        if (sole_ == nullptr || !sole_->holds(hash)) {
            return nullptr;
        }
        // The store's lock is enough to write, so readers of one without a sole store share.
        make_room(1);
        if (entry != nullptr) {
            table_.erase(table_.probe(hash), entry->index);  // dying
        }
        Entry& made = make_entry(hash);
        link(made);
        hold(1);
        return &made;
    }

    /// A sole store registers the hash, with its lock held: one more reference to its entry, or
    /// null if it has none. The entry needs a cell for the tier: see make_cell().
    Entry* adopt(const SequenceHash& hash) noexcept {
        Entry* entry = find(hash);
        if (entry == nullptr || try_add_reference(*entry)) {
            return entry;
        }
        table_.erase(table_.probe(hash), entry->index);  // dying
        return nullptr;
    }
    /// Entries in the table, live or dying. With the lock held.
    std::size_t entry_count() const noexcept { return table_.size(); }

    /// A store of so many blocks comes. True: it is the sole one, and its blocks need no entries.
    /// Else registering them allocates nothing, and a store that was alone until now has its
    /// entries. May throw bad_alloc, with nothing changed.
    bool attach(SoleStore& store, std::size_t blocks) {
        const ExclusiveTable lock(*this);
        const bool is_sole = stores_ == 0 && needs_no_entries();
        if (!is_sole) {
            const std::size_t unknown = sole_ != nullptr ? sole_->without_entry() : 0;
            const std::size_t wanted = reserved_ + blocks;
            make_room(std::max(unknown, wanted > table_.size() ? wanted - table_.size() : 0));
            if (sole_ != nullptr) {
                give_entries(unknown);
            }
        }
        sole_ = is_sole ? &store : nullptr;
        reserved_ += blocks;
        ++stores_;
        return is_sole;
    }
    /// The store of so many blocks goes. A sole one's hashes without an entry are forgotten.
    void detach(const SoleStore& store, std::size_t blocks) noexcept {
        const ExclusiveTable lock(*this);
        expects(stores_ > 0 && blocks <= reserved_, "a store that goes had come");
        --stores_;
        reserved_ -= blocks;
        if (sole_ == &store) {
            sole_ = nullptr;
        }
    }

    /// The live or dying entry of a hash, or null. With the lock held.
    Entry* find(const SequenceHash& hash) const noexcept {
        const std::uint32_t index = table_.find(
            table_.probe(hash), [&](std::uint32_t id) { return entry_at(id).hash == hash; });
        return index == no_index ? nullptr : &entry_at(index);
    }

    Entry& entry_at(std::uint32_t index) const noexcept {
        const auto chunk = static_cast<unsigned>(std::bit_width(index >> first_chunk_bits));
        return chunks_[chunk].load(std::memory_order_acquire)[index - chunk_first(chunk)];
    }

    /// Registers each item and tells nobody. Fails with nothing changed.
    void register_all(TierId const* tier, std::span<Registration> items) {
        ExclusiveTable lock(*this);
        make_room(items.size());
        for (const Registration& item : items) {
            table_.prefetch(table_.probe(item.hash));
        }
        std::uint64_t made = 0;
        for (std::size_t done = 0; done < items.size(); ++done) {
            made += register_one(items[done]) ? 1 : 0;
            if (tier == nullptr) {
                continue;
            }
            try {
                make_cell(*items[done].entry, *tier);
            } catch (...) {
                const auto registered = items.first(done + 1);
                hold(made);
                lock.unlock();
                for (const Registration& item : registered) {
                    Entry* entry = item.entry;
                    release_all(std::span<Entry*>(&entry, 1));
                }
                throw;
            }
        }
        hold(made);
    }

    /// One more block of a tier in each entry, which the caller's block keeps alive.
    void raise_all(std::span<Entry* const> entries, TierId tier) noexcept {
        const ExclusiveTable lock(*this);
        for (Entry* entry : entries) {
            TierCell& cell = registered_cell(*entry, tier);
            // With a lone reference, the caller's, no other block counts here, and none comes
            // without the lock of the table: no locked instruction is needed.
            if (entry->references.load(std::memory_order_acquire) == 1) {
                cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_release);
            } else {
                cell.fetch_add(1, std::memory_order_release);
            }
        }
    }

    /// Blocks of a tier are gone, each of another entry of this registry: lowers its presence and
    /// gives up a reference, in order. The span is scratch afterwards.
    void let_go_blocks(std::span<Entry*> entries, TierId tier) noexcept {
        if (events_ != nullptr) {
            for (Entry* entry : entries) {
                lower_presence(*entry, tier);
            }
            release_all(entries);
            return;
        }
        DeadExtras extras;
        std::size_t dead = 0;
        {
            const ExclusiveTable lock(*this);
            for (const Entry* entry : entries) {
                table_.prefetch(table_.probe(entry->hash));
            }
            for (Entry* entry : entries) {
                // A lone reference stays alone: it is this caller's, and others are made of the
                // table under its lock. So the end of an entry takes no locked instruction.
                if (entry->references.load(std::memory_order_acquire) == 1) {
                    expects(holds_blocks(*entry, std::span(&tier, 1)),
                            "presence never falls below zero");
                    entry->references.store(0, std::memory_order_relaxed);
                } else {
                    lower_presence(*entry, tier);
                    if (entry->references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
                        continue;
                    }
                }
                extras.take_of(*entry);
                bury_one(*entry);
                ++dead;
            }
        }
        extras.destroy();
        if (dead != 0) {
            let_go(dead);
        }
    }

    /// Gives up one reference of each entry, of whatever registry, in order. The span is scratch
    /// afterwards.
    static void release_all(std::span<Entry*> entries) noexcept {
        std::size_t dead = 0;
        for (Entry* entry : entries) {
            // Release: this holder's work on the entry happens before its reuse. Acquire: pairs
            // with the others' release.
            if (entry->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                entries[dead++] = entry;
            }
        }
        if (dead != 0) {
            core::pause_point("registry.entry.dying");
            entries[0]->core->end(entries.first(dead));
        }
    }

  private:
    static constexpr unsigned first_chunk_bits = 10;
    static constexpr std::size_t chunk_count = 32 - first_chunk_bits + 1;
    static constexpr std::align_val_t entry_alignment{alignof(Entry)};

    /// The first number of a chunk. Chunks 0 and 1 have 1,024 entries, each later one as many as
    /// all before it, so that a registry of a power of two is full.
    static constexpr std::uint32_t chunk_first(unsigned chunk) noexcept {
        return chunk == 0 ? 0 : std::uint32_t{1} << (first_chunk_bits + chunk - 1);
    }

    /// Whether a block's registration may be seen by nobody but who asks: no event is sent, and no
    /// tracker of a user's is touched, whose touch must come before the block can be found.
    bool needs_no_entries() const noexcept {
        return events_ == nullptr && (tracker_ == nullptr || dynamic_cast<const TinyLfuTracker*>(
                                                                 tracker_.get()) != nullptr);
    }

    /// Gives whether an entry was made.
    bool register_one(Registration& item) noexcept {
        if (Entry* known = find(item.hash)) {
            if (try_add_reference(*known)) {
                item.entry = known;
                item.is_new = false;
                return false;
            }
            // Dying: its burial will find itself replaced.
            table_.erase(table_.probe(item.hash), known->index);
        }
        Entry& entry = make_entry(item.hash);
        item.entry = &entry;
        item.is_new = sole_ == nullptr || !sole_->holds(item.hash);
        if (!item.is_new) {
            link(entry);
        }
        return true;
    }

    /// An entry with one reference, the caller's. Rule: there is room.
    Entry& make_entry(const SequenceHash& hash) noexcept {
        Entry& entry = take_free();
        entry.hash = hash;
        entry.core = this;
        entry.references.store(1, std::memory_order_relaxed);
        table_.insert(table_.probe(hash), entry.index);
        return entry;
    }

    /// A block of the sole store in a new entry.
    void count_block(Entry& entry) const noexcept {
        entry.tiers[0].store(cell_mark(sole_->tier_of_store()) | 1, std::memory_order_relaxed);
    }

    /// The sole store's block of this hash gets the new entry, and a reference of its own.
    void link(Entry& entry) noexcept {
        count_block(entry);
        add_reference(entry);
        sole_->give_entry(entry.hash, entry.index);
    }

    /// The sole store is no longer alone. Rule: there is room.
    void give_entries(std::size_t unknown) noexcept {
        sole_->give_entries([this](const SequenceHash& hash) {
            Entry& entry = make_entry(hash);
            count_block(entry);
            return entry.index;
        });
        hold(unknown);
    }

    /// The end of entries whose last reference has gone.
    void end(std::span<Entry* const> dead) noexcept {
        DeadExtras extras;
        for (Entry* entry : dead) {
            if ((entry->extras.load(std::memory_order_relaxed) & reported_bit) != 0) {
                events::Emitter::emit(*events_, EventKind::removed, entry->hash);
            }
            extras.take_of(*entry);
        }
        {
            const ExclusiveTable lock(*this);
            for (const Entry* entry : dead) {
                table_.prefetch(table_.probe(entry->hash));
            }
            for (Entry* entry : dead) {
                bury_one(*entry);
            }
        }
        extras.destroy();
        let_go(dead.size());
    }

    void bury_one(Entry& entry) noexcept {
        const Probe probe = table_.probe(entry.hash);
        if (table_.find(probe, [&](std::uint32_t id) { return id == entry.index; }) != no_index) {
            table_.erase(probe, entry.index);
        }
        entry.extras.store(0, std::memory_order_relaxed);
        for (TierCell& cell : entry.tiers) {
            cell.store(0, std::memory_order_relaxed);
        }
        // A free entry keeps the number of the next free one in its first cell.
        entry.tiers[0].store(first_free_, std::memory_order_relaxed);
        first_free_ = entry.index;
        ++free_;
    }

    Entry& take_free() noexcept {
        --free_;
        if (first_free_ == no_index) {
            // Memory that was never an entry is not touched before it is needed, and costs nothing.
            const std::uint32_t index = used_++;
            Entry& entry = *new (&entry_at(index)) Entry;
            entry.index = index;
            return entry;
        }
        Entry& entry = entry_at(first_free_);
        // Nobody else writes to a free entry.
        first_free_ = static_cast<std::uint32_t>(entry.tiers[0].load(std::memory_order_relaxed));
        entry.tiers[0].store(0, std::memory_order_relaxed);
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
        static_assert(std::is_trivially_destructible_v<Entry>);
        const std::size_t first_count = std::size_t{1} << first_chunk_bits;
        const std::size_t count =
            chunks_used_ == 0 ? first_count : first_count << (chunks_used_ - 1);
        void* memory = ::operator new(count * sizeof(Entry), entry_alignment);
        chunks_[chunks_used_].store(static_cast<Entry*>(memory), std::memory_order_release);
        ++chunks_used_;
        free_ += count;
    }

    const std::shared_ptr<FrequencyTracker> tracker_;
    const std::shared_ptr<EventsManager> events_;
    std::atomic<std::uint64_t> hook_failures_{0};
    std::atomic<std::uint64_t> holders_{1};  // registry objects and live entries
    mutable core::SharedMutex mutex_;        // guards everything below, see TableLock
    SoleStore* sole_ = nullptr;
    std::size_t stores_ = 0;
    TagIndex table_{TagIndex::load_per_bucket, draw_multiplier()};
    std::array<std::atomic<Entry*>, chunk_count> chunks_{};
    std::size_t chunks_used_ = 0;
    std::size_t reserved_ = 0;             // blocks of all stores
    std::size_t free_ = 0;                 // entries that were given back or never used
    std::uint32_t used_ = 0;               // entries that were ever used
    std::uint32_t first_free_ = no_index;  // of those that were given back
};

}  // namespace kvbm::detail::registry
