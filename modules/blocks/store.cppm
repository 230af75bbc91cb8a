//! kvbm.blocks:store: the pool behind a manager and its guards. Internal: seen by the bodies of
//! kvbm.blocks only.
//!
//! One slot per block, one index for all hashes, active and inactive alike, one lock.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

module kvbm.blocks:store;

import :eviction;
import :raw;
import :slots;

namespace kvbm::detail::blocks {

using core::Lock;
using core::Mutex;
using registry::EngineAccess;
using registry::Entry;
using registry::Probe;
using registry::RegistrationRoom;
using registry::SoleStore;
using registry::TagIndex;

/// Free slots, first in first out. Never holds more than its capacity.
class ResetPool {
  public:
    explicit ResetPool(std::size_t capacity) : ring_(capacity) {}
    inline std::size_t size() const noexcept { return size_; }
    inline void push_back(std::uint32_t slot) noexcept {
        expects(size_ < ring_.size(), "the reset pool holds each block once");
        std::size_t at = head_ + size_;
        at -= at >= ring_.size() ? ring_.size() : 0;
        ring_[at] = slot;
        ++size_;
    }
    inline std::uint32_t pop_front() noexcept {
        expects(size_ > 0, "a reset pool that gives a block is not empty");
        const std::uint32_t slot = ring_[head_];
        head_ = head_ + 1 == ring_.size() ? 0 : head_ + 1;
        --size_;
        return slot;
    }
    /// The slot handed out so many places after the next, or any if there is none. Rule: fewer
    /// places than the pool has.
    inline std::uint32_t ahead(std::size_t places) const noexcept {
        const std::size_t at = head_ + places;
        return ring_[at < ring_.size() ? at : at - ring_.size()];
    }
    /// The i-th to be handed out.
    inline std::uint32_t operator[](std::size_t i) const noexcept {
        return ring_[(head_ + i) % ring_.size()];
    }

  private:
    std::vector<std::uint32_t> ring_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

/// A pool of blocks: its slots, what leads to them, and the lock that guards both.
class Store final : public SoleStore {
  public:
    Store(const StoreOptions& options, std::shared_ptr<BlockPoolMetrics> metrics);
    /// Inactive slots give up their presence and entries, in id order.
    ~Store();

    // --- constants once made ---
    ManagerId id = ManagerId::null();
    const std::size_t block_size;
    const BlockDuplicationPolicy duplication;
    const bool default_flag;
    const TierId tier;
    const BlockRegistry registry;
    const std::shared_ptr<BlockPoolMetrics> metrics;
    metrics::PoolCounters& counters;
    /// Pools beyond the caches look ahead; in small ones that costs more than it brings.
    const bool prefetches;

    mutable Mutex mutex;

    // --- everything below: with the lock held ---
    SlotArray slots;
    ResetPool reset;
    TagIndex index;
    InactivePool inactive;
    std::size_t weak_count = 0;
    bool open = true;                           ///< the manager object lives
    std::uint64_t registered = 0;               ///< blocks that a registration has entered
    mutable std::uint64_t uncounted_locks = 0;  ///< taken by those who count locks
    std::size_t linked = 0;                     ///< while sole: hashes of the index with an entry

    /// The registry has no other store: blocks have entries only where somebody asked for one.
    /// Becomes false with the lock held, and stays so.
    std::atomic<bool> is_sole = true;

    // --- for the registry, see SoleStore ---
    Mutex& mutex_of_store() const noexcept override { return mutex; }
    TierId tier_of_store() const noexcept override { return tier; }
    bool holds(const SequenceHash& hash) const noexcept override { return find(hash) != no_index; }
    std::size_t without_entry() const noexcept override { return index.size() - linked; }
    void give_entry(const SequenceHash& hash, std::uint32_t entry) noexcept override {
        slots[find(hash)].show_entry(entry);
        ++linked;
    }
    void give_entries(
        const std::function<std::uint32_t(const SequenceHash&)>& make) noexcept override;

    /// Slots that somebody holds.
    inline std::size_t held() const noexcept {
        return slots.size() - reset.size() - inactive.size();
    }
    /// Nobody can reach the store any more, so whoever sees this under the lock deletes it after
    /// unlocking.
    inline bool is_dead() const noexcept { return !open && weak_count == 0 && held() == 0; }

    /// Writes the word of a slot that enters a state in this operation.
    inline void enter(Slot& slot, SlotWord word) const noexcept {
        slot.since = mutex.acquisitions();
        slot.set_word(word);
    }

    /// A primary that nobody holds any more becomes inactive.
    inline void enter_inactive(std::uint32_t slot_index) noexcept {
        slots[slot_index].since = mutex.acquisitions();
        inactive.insert(slot_index);
    }

    /// The primary or inactive slot of a hash, or no_index.
    inline std::uint32_t find(const SequenceHash& hash, Probe probe) const noexcept {
        return index.find(probe, [&](std::uint32_t slot) { return slots[slot].hash == hash; });
    }
    inline std::uint32_t find(const SequenceHash& hash) const noexcept {
        return find(hash, index.probe(hash));
    }

    /// Step M1 for a slot that find() gave: one more strong reference, an inactive slot becomes
    /// primary.
    inline void acquire(std::uint32_t slot_index) noexcept {
        Slot& slot = slots[slot_index];
        if (slot.state() == BlockState::inactive) {
            inactive.remove(slot_index);
            enter(slot, slot.word().with(BlockState::primary));
            slot.begin_references();
        } else {
            slot.set_lookups(slot.lookups() + 1);
        }
    }

    inline RawGuard guard_of(std::uint32_t slot) noexcept {
        return {this, slots[slot].word().generation(), slot};
    }

    /// A slot's life ends: it goes to the back of the reset pool.
    inline void to_reset(std::uint32_t slot_index) noexcept {
        Slot& slot = slots[slot_index];
        enter(slot, slot.word().with(BlockState::reset).next_generation());
        reset.push_back(slot_index);
    }

    /// The hash of a slot no longer leads to it.
    inline void leave_index(std::uint32_t slot_index) noexcept {
        const Slot& slot = slots[slot_index];
        index.erase(index.probe(slot.hash), slot_index);
        linked -= is_sole.load(std::memory_order_relaxed) && slot.entry != no_index ? 1 : 0;
    }

    /// Brings the pool gauges up to date.
    inline void publish_sizes() noexcept {
        counters.reset_pool_size_set(static_cast<std::int64_t>(reset.size()));
        counters.inactive_pool_size_set(static_cast<std::int64_t>(inactive.size()));
    }

    /// The entry of a primary or inactive slot, or of one that was until now; null if it has none.
    inline Entry* entry_of(const Slot& slot) const noexcept {
        return slot.entry == no_index ? nullptr : &EngineAccess::entry_at(registry, slot.entry);
    }
};

/// The slot of a guard, checked to be in the guard's life and state. With the lock held, or by the
/// guard's owner.
inline Slot& slot_of(const RawGuard& guard, BlockState state) noexcept {
    Slot& slot = guard.store->slots[guard.id];
    const SlotWord word = slot.word();
    expects(word.generation() == guard.generation, "a guard is of the slot's present life");
    expects(word.state() == state, "a guard's slot is in the guard's state");
    return slot;
}

/// The same for a registered block: primary or duplicate.
inline Slot& registered_slot_of(const RawGuard& guard) noexcept {
    Slot& slot = guard.store->slots[guard.id];
    const SlotWord word = slot.word();
    expects(word.generation() == guard.generation, "a guard is of the slot's present life");
    expects(word.state() == BlockState::primary || word.state() == BlockState::duplicate,
            "a registered guard's slot is primary or duplicate");
    return slot;
}

}  // namespace kvbm::detail::blocks
