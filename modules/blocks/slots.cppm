//! kvbm.blocks:slots: the record of a block. Internal: seen by the bodies of kvbm.blocks only.
//!
//! One slot per block, a cache line, exactly full:
//!
//!   | hash 16 | prev 4 | copies 4 | next or lookups 4 | hint 4 | word 8 | entry 4 | primary 4 |
//!   | since 8 | children 4 | sibling 4 |
//!
//!   word = generation << 6 | the policy's mark << 4 | evict flag << 3 | state
//!
//! What is written where:
//!   copies      rises without a lock when a guard is copied, and falls without one while it is
//!               more than 1; becomes 0, and rises from 0, under the lock only
//!   lookups     written under the lock; atomic because a guard's owner may read it without
//!   word        likewise
//!   hash        written by the owner of a mutable block, fixed until the block is mutable again
//!   entry       likewise; none may become one under the lock, which a guard's owner may read
//!   without the rest    under the lock
//!
//! The strong references of a registered block are its copies and its lookups together: lookups of
//! a block that somebody holds come by the list, under the lock, where counting them takes no
//! locked instruction. While there is a reference there is one among the copies, so that whoever
//! takes away another copy is never the last.
//!
//! The generation rises whenever a slot stops being staged or registered, so a reference to an
//! earlier life of the slot is recognised.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks:slots;

import :raw;

namespace kvbm::detail::blocks {

using registry::no_index;

/// The packed word of a slot.
struct SlotWord {
    std::uint64_t bits = 0;

    static constexpr std::uint64_t state_mask = 7;
    static constexpr std::uint64_t flag_bit = 8;
    static constexpr unsigned mark_shift = 4;
    static constexpr std::uint64_t mark_mask = std::uint64_t{3} << mark_shift;
    static constexpr unsigned generation_shift = 6;

    constexpr BlockState state() const noexcept {
        return static_cast<BlockState>(bits & state_mask);
    }
    constexpr bool evict_on_reset() const noexcept { return (bits & flag_bit) != 0; }
    /// Two bits of the eviction policy's own.
    constexpr unsigned mark() const noexcept {
        return static_cast<unsigned>((bits & mark_mask) >> mark_shift);
    }
    constexpr SlotWord with_mark(unsigned mark) const noexcept {
        return {(bits & ~mark_mask) | (std::uint64_t{mark} << mark_shift)};
    }
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
    std::uint32_t prev = no_index;         ///< in the inactive list; a scan's mark while primary
    std::atomic<std::uint32_t> copies{0};  ///< while registered: the first reference, and copies
    std::uint32_t next = no_index;         ///< in the inactive list; while registered: lookups
    std::uint32_t hint = no_index;         ///< a slot worth prefetching when this one is evicted
    std::atomic<std::uint64_t> word_bits{0};
    std::uint32_t entry =
        no_index;  ///< the registry's, of a primary or inactive block that has one
    /// Of a duplicate: the slot it keeps alive. In a lineage forest: where the parent was last
    /// seen.
    std::uint32_t primary = no_index;
    std::uint64_t since = 0;     ///< the operation in which the block entered its state
    std::uint32_t children = 0;  ///< lineage: nodes linked to this one
    /// Lineage: the next block of the same node; lineage tick, in a node of its own: a hint.
    std::uint32_t sibling = no_index;

    inline SlotWord word() const noexcept { return {word_bits.load(std::memory_order_relaxed)}; }
    inline void set_word(SlotWord word) noexcept {
        word_bits.store(word.bits, std::memory_order_relaxed);
    }
    inline BlockState state() const noexcept { return word().state(); }

    /// Strong references that lookups made of the registered block while somebody held it.
    inline std::uint32_t lookups() noexcept {
        return std::atomic_ref(next).load(std::memory_order_relaxed);
    }
    inline void set_lookups(std::uint32_t count) noexcept {
        std::atomic_ref(next).store(count, std::memory_order_relaxed);
    }
    /// The block becomes registered or is revived: one reference.
    inline void begin_references() noexcept {
        set_lookups(0);
        copies.store(1, std::memory_order_relaxed);
    }
    /// Strong references; only a registered block has any.
    inline std::uint32_t references() noexcept {
        const BlockState now = state();
        const bool registered = now == BlockState::primary || now == BlockState::duplicate;
        return copies.load(std::memory_order_relaxed) + (registered ? lookups() : 0);
    }

    /// The entry, for a guard's owner, without the lock; and how it is written to a block that
    /// somebody may hold.
    inline std::uint32_t entry_seen() noexcept {
        // Acquire: the entry is made before it is found.
        return std::atomic_ref(entry).load(std::memory_order_acquire);
    }
    inline void show_entry(std::uint32_t index) noexcept {
        std::atomic_ref(entry).store(index, std::memory_order_release);
    }

    /// Lineage tick, which has no list: when the block became inactive, in the place of next and
    /// hint.
    inline std::uint64_t tick() const noexcept { return (std::uint64_t{hint} << 32) | next; }
    inline void set_tick(std::uint64_t tick) noexcept {
        next = static_cast<std::uint32_t>(tick);
        hint = static_cast<std::uint32_t>(tick >> 32);
    }
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
    inline std::span<Slot> span() const noexcept { return {slots_, count_}; }
    inline std::size_t size() const noexcept { return count_; }

  private:
    Slot* slots_;
    std::size_t count_;
};

}  // namespace kvbm::detail::blocks
