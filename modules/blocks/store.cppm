//! kvbm.blocks:store: the records of the engine. Internal: seen by the bodies of kvbm.blocks only.
//!
//! One slot per block, one index for all hashes, one lock. A slot is a cache line:
//!
//!   | hash 16 | prev next 8 | references 4 | hint 4 | word 8 | entry 4 | primary 4 |
//!
//!   word = generation << 6 | level << 4 | evict flag << 3 | state
//!
//! What is written where:
//!   references  rises without a lock when a guard is copied; falls to 0, and rises from 0, under
//!   the lock only word        written under the lock; atomic because a guard's owner may read it
//!   without hash        written by the owner of a mutable block, fixed until the block is mutable
//!   again the rest    under the lock
//!
//! The generation rises whenever a slot stops being staged or registered, so a reference to an
//! earlier life of the slot is recognised.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

module kvbm.blocks:store;

import :raw;

namespace kvbm::detail::blocks {

using core::Lock;
using core::Mutex;
using registry::EngineAccess;
using registry::Entry;
using registry::no_index;
using registry::Probe;
using registry::Registration;
using registry::TagIndex;

/// The packed word of a slot.
struct SlotWord {
    std::uint64_t bits = 0;

    static constexpr std::uint64_t state_mask = 7;
    static constexpr std::uint64_t flag_bit = 8;
    static constexpr unsigned generation_shift = 6;

    constexpr BlockState state() const noexcept {
        return static_cast<BlockState>(bits & state_mask);
    }
    constexpr bool evict_on_reset() const noexcept { return (bits & flag_bit) != 0; }
    constexpr std::uint64_t generation() const noexcept { return bits >> generation_shift; }
    constexpr SlotWord with(BlockState state) const noexcept {
        return {(bits & ~state_mask) | static_cast<std::uint64_t>(state)};
    }
    constexpr SlotWord with_flag(bool flag) const noexcept {
        return {(bits & ~flag_bit) | (flag ? flag_bit : 0)};
    }
    constexpr SlotWord next_generation() const noexcept {
        return {bits + (std::uint64_t{1} << generation_shift)};
    }
};

/// The record of one block id.
struct alignas(64) Slot {
    SequenceHash hash;
    std::uint32_t prev = no_index;  ///< in the inactive list; a scan's mark while primary
    std::uint32_t next = no_index;
    std::atomic<std::uint32_t> references{0};  ///< strong references while registered
    std::uint32_t hint = no_index;  ///< a slot worth prefetching when this one is evicted
    std::atomic<std::uint64_t> word_bits{0};
    std::uint32_t entry = no_index;    ///< the registry's entry while registered or inactive
    std::uint32_t primary = no_index;  ///< of a duplicate: the slot it keeps alive

    inline SlotWord word() const noexcept { return {word_bits.load(std::memory_order_relaxed)}; }
    inline void set_word(SlotWord word) noexcept {
        word_bits.store(word.bits, std::memory_order_relaxed);
    }
    inline BlockState state() const noexcept { return word().state(); }
};
static_assert(sizeof(Slot) == 64);

/// The slots of a store, on large pages where the system offers them.
class SlotArray {
  public:
    explicit SlotArray(std::size_t count);
    SlotArray(const SlotArray&) = delete;
    SlotArray& operator=(const SlotArray&) = delete;
    ~SlotArray();
    inline Slot& operator[](std::size_t index) const noexcept { return slots_[index]; }
    inline std::size_t size() const noexcept { return count_; }

  private:
    Slot* slots_;
    std::size_t count_;
};

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
    /// The i-th to be handed out.
    inline std::uint32_t operator[](std::size_t i) const noexcept {
        return ring_[(head_ + i) % ring_.size()];
    }

  private:
    std::vector<std::uint32_t> ring_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

/// Inactive slots in the order in which they became inactive: the eviction order of LRU and of
/// FIFO.
///
/// A pop is a miss in memory, and a chain of them would be a chain of dependent misses. So a slot
/// that enters writes its number into the one that entered `distance` before it, which is still in
/// the cache, and whoever pops that one prefetches it. A stale hint is harmless: nothing but a
/// prefetch uses it.
class InactiveList {
  public:
    explicit InactiveList(const SlotArray& slots) noexcept : slots_(slots) {
        recent_.fill(no_index);
    }
    inline std::size_t size() const noexcept { return size_; }
    inline std::uint32_t front() const noexcept { return head_; }

    inline void push_back(std::uint32_t index) noexcept {
        Slot& slot = slots_[index];
        slot.prev = tail_;
        slot.next = no_index;
        slot.hint = no_index;
        if (tail_ == no_index) {
            head_ = index;
        } else {
            slots_[tail_].next = index;
        }
        tail_ = index;
        ++size_;
        std::uint32_t& earlier = recent_[entered_++ % distance];
        if (earlier != no_index) {
            slots_[earlier].hint = index;
        }
        earlier = index;
    }
    inline void remove(std::uint32_t index) noexcept {
        const Slot& slot = slots_[index];
        (slot.prev == no_index ? head_ : slots_[slot.prev].next) = slot.next;
        (slot.next == no_index ? tail_ : slots_[slot.next].prev) = slot.prev;
        --size_;
    }
    inline std::uint32_t pop_front() noexcept {
        const std::uint32_t index = head_;
        expects(index != no_index, "a policy that holds n blocks yields n");
        const std::uint32_t hint = slots_[index].hint;
        if (hint != no_index) {
            __builtin_prefetch(&slots_[hint], 1);
        }
        remove(index);
        return index;
    }

  private:
    static constexpr std::size_t distance = 8;

    const SlotArray& slots_;
    std::uint32_t head_ = no_index;
    std::uint32_t tail_ = no_index;
    std::size_t size_ = 0;
    std::array<std::uint32_t, distance> recent_{};
    std::size_t entered_ = 0;
};

/// A pool of blocks: its slots, what leads to them, and the lock that guards both.
class Store {
  public:
    Store(const StoreOptions& options, std::shared_ptr<BlockPoolMetrics> metrics);
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
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
    InactiveList inactive;
    TagIndex index;
    std::size_t weak_count = 0;
    bool open = true;                           ///< the manager object lives
    mutable std::uint64_t uncounted_locks = 0;  ///< taken by those who count locks

    /// Slots that somebody holds.
    inline std::size_t held() const noexcept {
        return slots.size() - reset.size() - inactive.size();
    }
    /// Nobody can reach the store any more, so whoever sees this under the lock deletes it after
    /// unlocking.
    inline bool is_dead() const noexcept { return !open && weak_count == 0 && held() == 0; }

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
            slot.set_word(slot.word().with(BlockState::primary));
            slot.references.store(1, std::memory_order_relaxed);
        } else {
            slot.references.fetch_add(1, std::memory_order_relaxed);
        }
    }

    inline RawGuard guard_of(std::uint32_t slot) noexcept {
        return {this, slots[slot].word().generation(), slot};
    }

    /// A slot's life ends: it goes to the back of the reset pool.
    inline void to_reset(std::uint32_t slot_index) noexcept {
        Slot& slot = slots[slot_index];
        slot.set_word(slot.word().with(BlockState::reset).next_generation());
        reset.push_back(slot_index);
    }

    /// Brings the pool gauges up to date.
    inline void publish_sizes() noexcept {
        counters.reset_pool_size_set(static_cast<std::int64_t>(reset.size()));
        counters.inactive_pool_size_set(static_cast<std::int64_t>(inactive.size()));
    }

    inline Entry& entry_of(const Slot& slot) const noexcept {
        return EngineAccess::entry_at(registry, slot.entry);
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
