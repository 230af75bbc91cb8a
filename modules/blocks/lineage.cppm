//! kvbm.blocks:lineage: evicts leaves of the forest that hashes form, so that no cached block loses
//! its prefix. Internal: seen by the bodies of kvbm.blocks only.
//!
//! A node stands for a *lineage key*: a position, and the bits of the chain hash that a child there
//! stores of its parent. A node has blocks (inactive slots), or is a *ghost* that only its children
//! keep. It links to its parent's node once, by the first of its blocks that has one.
//!
//!   A (ghost, its block is in use)     order of eviction: leaves only,
//!   |-- B   inner, not evictable         tick  by the time their block became inactive
//!   |   `-- C   leaf                     fifo  by the time they became leaves
//!   `-- D   leaf
//!
//! Where a node is kept:
//!   in a slot   the one block of its key that is inactive, or active with inactive children: no
//!               memory of its own. The mark of the slot's word says so.
//!   in a ghost  anything else: the parent block is not in the pool at all, two different hashes
//!   share
//!               a key, or an active block was reset under its children. Rare; kept until it dies.
//!
//! Children do not point at their parent but remember the slot where they saw it last; whoever
//! follows checks the key there, and asks the index otherwise. So a node can move freely.
//!
//! Invariants: B3 to B7 of docs/VERIFICATION.md. Source: blocks.md 8.3.
module;

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

module kvbm.blocks:lineage;

import :raw;
import :slot_list;
import :slots;

namespace kvbm::detail::blocks {

using registry::Probe;
using registry::TagIndex;

/// What names a node.
struct LineageKey {
    std::size_t position = 0;
    std::uint64_t fragment = 0;
    friend constexpr auto operator<=>(const LineageKey&, const LineageKey&) noexcept = default;
};

inline LineageKey key_of(const SequenceHash& hash) noexcept {
    return {hash.position(), hash.parent_fragment_for_child_position(hash.position() + 1)};
}
/// The key of the parent. Rule: the position is not 0.
inline LineageKey parent_key_of(const SequenceHash& hash) noexcept {
    return {hash.position() - 1, hash.parent_hash_fragment()};
}

/// Leaves by tick, smallest on top: a heap of four children per place. A slot knows its place. Its
/// tick is handed over, because that of a slot written just now is slow to read back.
class TickHeap {
  public:
    TickHeap(const SlotArray& slots, std::size_t capacity) : slots_(slots.span()) {
        items_.reserve(capacity);
    }
    std::size_t size() const noexcept { return items_.size(); }
    std::uint32_t top() const noexcept { return items_.front().slot; }
    bool holds(std::uint32_t slot) const noexcept {
        const std::size_t at = slots_[slot].prev;
        return at < items_.size() && items_[at].slot == slot;
    }
    void push(std::uint32_t slot, std::uint64_t tick) noexcept {
        items_.push_back({tick, slot});
        rise(items_.size() - 1, items_.back());
    }
    void erase(std::uint32_t slot) noexcept;
    /// One comes in the place of another.
    void replace(std::uint32_t slot, std::uint32_t by, std::uint64_t tick) noexcept;
    /// Whether each place is after the one above it and agrees with its slot. O(leaves).
    bool is_sound() const noexcept;

  private:
    struct Item {
        std::uint64_t tick;
        std::uint32_t slot;
    };
    static constexpr std::size_t arity = 4;

    void put(std::size_t at, Item item) noexcept {
        items_[at] = item;
        slots_[item.slot].prev = static_cast<std::uint32_t>(at);
    }
    void rise(std::size_t at, Item item) noexcept;
    void sink(std::size_t at, Item item) noexcept;
    void settle(std::size_t at, Item item) noexcept;

    std::span<Slot> slots_;
    std::vector<Item> items_;
};

/// A node without a slot of its own.
struct Ghost {
    LineageKey key;
    LineageKey parent;  ///< valid when linked
    std::uint32_t children = 0;
    std::uint32_t first_block = no_index;  ///< its blocks, in the order of their insertion
    std::uint32_t next = no_index;         ///< in the chain of a bucket, or of free ghosts
    bool linked = false;
};

/// The ghosts of a forest by key. Its memory is untouched, and so costs nothing, until ghosts
/// appear.
class GhostTable {
  public:
    GhostTable(std::size_t capacity, std::uint64_t multiplier);
    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }
    Ghost& operator[](std::uint32_t ghost) const noexcept { return ghosts_.get()[ghost]; }
    std::uint32_t find(const LineageKey& key) const noexcept;
    /// Rule: size() < capacity().
    std::uint32_t insert(const Ghost& ghost) noexcept;
    void erase(std::uint32_t ghost) noexcept;
    /// Room for this many ghosts. Strong guarantee.
    void reserve(std::size_t capacity);
    template <class Visit>
    void for_each(const Visit& visit) const {
        for (std::size_t bucket = 0; bucket < buckets_count(capacity_); ++bucket) {
            for (std::uint32_t at = buckets_.get()[bucket]; at != 0;
                 at = ghosts_.get()[at - 1].next) {
                visit(at - 1);
            }
        }
    }

  private:
    struct Free {
        void operator()(void* memory) const noexcept { std::free(memory); }
    };
    static std::size_t buckets_count(std::size_t capacity) noexcept { return capacity; }
    std::size_t bucket(const LineageKey& key) const noexcept;

    std::uint64_t multiplier_;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    std::uint32_t used_ = 0;        ///< ghosts ever taken; those beyond were never touched
    std::uint32_t first_free_ = 0;  ///< number + 1, as in buckets and chains; 0 = none
    std::unique_ptr<Ghost, Free> ghosts_;
    std::unique_ptr<std::uint32_t, Free> buckets_;
};

/// The policies lineage tick and lineage fifo over the inactive slots of a store.
class LineageForest {
  public:
    LineageForest(LineageEviction eviction, const SlotArray& slots, const TagIndex& index,
                  std::uint64_t multiplier);

    /// Inactive blocks.
    std::size_t size() const noexcept { return size_; }

    /// Room to take back this many blocks that are held now. May throw bad_alloc, with nothing
    /// changed.
    inline void reserve(std::size_t held) {
        const std::size_t wanted = ghosts_.size() + ghosts_per_held_block * held;
        if (wanted > ghosts_.capacity()) {
            ghosts_.reserve(2 * wanted);
        }
    }

    /// A primary becomes inactive. O(1), tick O(log leaves); longer by the blocks that share its
    /// key.
    void insert(std::uint32_t slot) noexcept;
    /// A block was hit or evicted. The same, and O(1) per ghost that dies with it.
    void remove(std::uint32_t slot) noexcept;
    /// The next victim, removed.
    std::uint32_t pop() noexcept;
    /// An active block's slot is about to leave the index: a node kept in it becomes a ghost.
    void leave_index(std::uint32_t slot) noexcept;
    /// A hash enters the index that has met another there under the same tag.
    inline void note_neighbours(const SequenceHash& one, const SequenceHash& other) noexcept {
        keys_are_shared_ = keys_are_shared_ || key_of(one) == key_of(other);
    }

    /// Checks structure and counts against a rebuilt forest. O(blocks).
    void audit(InvariantReport& report) const;

  private:
    /// A block that comes back makes one ghost for its parent at most, and one for a block that
    /// shares its key.
    static constexpr std::size_t ghosts_per_held_block = 2;
    /// How many victims ahead of its eviction a slot is asked for.
    static constexpr std::size_t hint_distance = 8;

    /// A node, kept in a slot or in a ghost.
    struct Node {
        std::uint32_t at = no_index;
        bool is_ghost = false;
        explicit operator bool() const noexcept { return at != no_index; }
    };

    // Marks of a slot's word.
    static constexpr unsigned no_mark = 0;
    static constexpr unsigned node_mark = 1;  ///< a node is kept here, without parent link
    static constexpr unsigned ghost_block_mark =
        2;  ///< an inactive block of a node kept in a ghost
    static constexpr unsigned linked_node_mark = 3;  ///< a node is kept here, linked to its parent

    unsigned mark(std::uint32_t slot) const noexcept { return slots_[slot].word().mark(); }
    void set_mark(std::uint32_t slot, unsigned mark) noexcept {
        slots_[slot].set_word(slots_[slot].word().with_mark(mark));
    }
    bool keeps_node(std::uint32_t slot) const noexcept { return (mark(slot) & node_mark) != 0; }
    bool is_inactive(std::uint32_t slot) const noexcept {
        return slots_[slot].state() == BlockState::inactive;
    }

    /// What the index has of a key.
    struct Indexed {
        std::uint32_t node = no_index;     ///< the slot that keeps the node of the key
        std::uint32_t without = no_index;  ///< a slot of the key that keeps none
    };
    Indexed indexed(const LineageKey& key) const noexcept;
    bool keeps_node_of(std::uint32_t slot, const LineageKey& key) const noexcept {
        return slot != no_index && keeps_node(slot) && key_of(slots_[slot].hash) == key;
    }
    Node find_node(const LineageKey& key) const noexcept;
    Node find_parent(const LineageKey& key, std::uint32_t seen) const noexcept;
    Node find_or_make_parent(const LineageKey& key) noexcept;
    std::uint32_t move_to_ghost(std::uint32_t slot) noexcept;
    Node place(std::uint32_t slot) noexcept;
    void link(Node node, const SequenceHash& hash) noexcept;
    void unlink(LineageKey parent, std::uint32_t seen) noexcept;
    void remove_from_ghost(std::uint32_t slot) noexcept;

    std::uint32_t& children(Node node) const noexcept {
        return node.is_ghost ? ghosts_[node.at].children : slots_[node.at].children;
    }
    bool has_blocks(Node node) const noexcept {
        return node.is_ghost ? ghosts_[node.at].first_block != no_index : is_inactive(node.at);
    }
    void audit_order(const std::vector<bool>& is_leaf, InvariantReport& report) const;
    template <class Visit>
    void for_each_block(Node node, const Visit& visit) const noexcept {
        if (!node.is_ghost) {
            if (is_inactive(node.at)) {
                visit(node.at);
            }
            return;
        }
        for (std::uint32_t block = ghosts_[node.at].first_block; block != no_index;) {
            const std::uint32_t next = slots_[block].sibling;
            visit(block);
            block = next;
        }
    }
    void leave_hint(std::uint32_t slot, std::uint64_t tick) noexcept;
    void enter_order(std::uint32_t slot, std::uint64_t tick) noexcept;
    void leave_order(std::uint32_t slot) noexcept;
    void close_vacancy() noexcept;

    const LineageEviction eviction_;
    std::span<Slot> slots_;
    const TagIndex& index_;
    std::size_t size_ = 0;
    std::uint64_t next_tick_ = 0;
    std::uint32_t last_entered_ = no_index;  ///< often the parent of the next that enters
    /// Two hashes of one key have been in the index together. Until then, which is almost always
    /// for ever, a slot in the index is alone with its key, and nobody need look for others.
    bool keys_are_shared_ = false;
    /// Within a change: the leaf whose place in the order the next one takes, so that a chain that
    /// grows or shrinks at its end costs O(1). Tick only.
    std::uint32_t vacancy_ = no_index;
    /// The slots that entered last, by tick. Tick only.
    std::array<std::uint32_t, hint_distance> recent_{};
    TickHeap by_tick_;
    SlotList queue_;
    GhostTable ghosts_;
};

}  // namespace kvbm::detail::blocks
