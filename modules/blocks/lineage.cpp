module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

module kvbm.blocks;

import :lineage;

namespace kvbm::detail::blocks {

// --- TickHeap ---

void TickHeap::rise(std::size_t at, Item item) noexcept {
    while (at > 0) {
        const std::size_t above = (at - 1) / arity;
        if (items_[above].tick <= item.tick) {
            break;
        }
        put(at, items_[above]);
        at = above;
    }
    put(at, item);
}

void TickHeap::sink(std::size_t at, Item item) noexcept {
    for (;;) {
        const std::size_t first = at * arity + 1;
        if (first >= items_.size()) {
            break;
        }
        const std::size_t last = std::min(first + arity, items_.size());
        std::size_t least = first;
        for (std::size_t child = first + 1; child < last; ++child) {
            if (items_[child].tick < items_[least].tick) {
                least = child;
            }
        }
        if (item.tick <= items_[least].tick) {
            break;
        }
        put(at, items_[least]);
        at = least;
    }
    put(at, item);
}

[[gnu::always_inline]] inline void TickHeap::settle(std::size_t at, Item item) noexcept {
    if (at > 0 && item.tick < items_[(at - 1) / arity].tick) {
        rise(at, item);
    } else {
        sink(at, item);
    }
}

void TickHeap::erase(std::uint32_t slot) noexcept {
    expects(holds(slot), "a leaf that leaves the order is in it");
    const std::size_t at = slots_[slot].prev;
    const Item last = items_.back();
    items_.pop_back();
    if (at != items_.size()) {
        settle(at, last);
    }
}

void TickHeap::replace(std::uint32_t slot, std::uint32_t by, std::uint64_t tick) noexcept {
    expects(holds(slot), "a leaf that leaves the order is in it");
    settle(slots_[slot].prev, {tick, by});
}

// --- GhostTable ---

GhostTable::GhostTable(std::size_t capacity, std::uint64_t multiplier) : multiplier_(multiplier) {
    reserve(capacity);
}

std::size_t GhostTable::bucket(const LineageKey& key) const noexcept {
    constexpr std::uint64_t position_spread = 0x9E3779B97F4A7C15U;
    const std::uint64_t mixed = (key.fragment + key.position * position_spread) * multiplier_;
    return static_cast<std::size_t>(((mixed >> 32) * buckets_count(capacity_)) >> 32);
}

std::uint32_t GhostTable::find(const LineageKey& key) const noexcept {
    if (size_ == 0) {
        return no_index;
    }
    for (std::uint32_t at = buckets_.get()[bucket(key)]; at != 0; at = (*this)[at - 1].next) {
        if ((*this)[at - 1].key == key) {
            return at - 1;
        }
    }
    return no_index;
}

std::uint32_t GhostTable::insert(const Ghost& ghost) noexcept {
    expects(size_ < capacity_, "room for ghosts is made before they are needed");
    std::uint32_t at = first_free_;
    if (at != 0) {
        first_free_ = (*this)[at - 1].next;
    } else {
        at = ++used_;
    }
    Ghost& place = *new (ghosts_.get() + (at - 1)) Ghost(ghost);
    std::uint32_t& chain = buckets_.get()[bucket(ghost.key)];
    place.next = chain;
    chain = at;
    ++size_;
    return at - 1;
}

void GhostTable::erase(std::uint32_t ghost) noexcept {
    std::uint32_t* link = &buckets_.get()[bucket((*this)[ghost].key)];
    while (*link != ghost + 1) {
        expects(*link != 0, "an erased ghost is in the table");
        link = &(*this)[*link - 1].next;
    }
    *link = (*this)[ghost].next;
    (*this)[ghost].next = first_free_;
    first_free_ = ghost + 1;
    --size_;
}

void GhostTable::reserve(std::size_t capacity) {
    if (capacity <= capacity_) {
        return;
    }
    std::unique_ptr<Ghost, Free> ghosts(static_cast<Ghost*>(std::malloc(capacity * sizeof(Ghost))));
    std::unique_ptr<std::uint32_t, Free> buckets(
        static_cast<std::uint32_t*>(std::calloc(buckets_count(capacity), sizeof(std::uint32_t))));
    if (ghosts == nullptr || buckets == nullptr) {
        throw std::bad_alloc();
    }
    std::uninitialized_copy_n(ghosts_.get(), used_, ghosts.get());
    std::vector<std::uint32_t> live;
    live.reserve(size_);
    for_each([&](std::uint32_t ghost) { live.push_back(ghost); });
    ghosts_ = std::move(ghosts);
    buckets_ = std::move(buckets);
    capacity_ = capacity;
    for (const std::uint32_t ghost : live) {
        std::uint32_t& chain = buckets_.get()[bucket((*this)[ghost].key)];
        (*this)[ghost].next = chain;
        chain = ghost + 1;
    }
}

// --- LineageForest ---

LineageForest::LineageForest(LineageEviction eviction, const SlotArray& slots,
                             const TagIndex& index, std::uint64_t multiplier)
    : eviction_(eviction),
      slots_(slots.span()),
      index_(index),
      by_tick_(slots, eviction == LineageEviction::tick ? slots.size() : 0),
      queue_(slots),
      ghosts_(ghosts_per_held_block * slots.size(), multiplier) {
    recent_.fill(no_index);
}

LineageForest::Indexed LineageForest::indexed(const LineageKey& key) const noexcept {
    Indexed found;
    found.node = index_.find(index_.probe_chain(key.fragment), [&](std::uint32_t slot) {
        if (key_of(slots_[slot].hash) != key) {
            return false;
        }
        if (!keeps_node(slot)) {
            found.without = slot;
            return false;
        }
        return true;
    });
    return found;
}

LineageForest::Node LineageForest::find_node(const LineageKey& key) const noexcept {
    const std::uint32_t slot = indexed(key).node;
    if (slot != no_index) {
        return {slot, false};
    }
    return {ghosts_.find(key), true};
}

/// The parent's node of a linked node, by the slot where it was last seen if it is still there.
LineageForest::Node LineageForest::find_parent(const LineageKey& key,
                                               std::uint32_t seen) const noexcept {
    if (keeps_node_of(seen, key)) {
        return {seen, false};
    }
    return find_node(key);
}

/// If there is none, one without blocks: in the slot of an active block of the key, or on its own.
LineageForest::Node LineageForest::find_or_make_parent(const LineageKey& key) noexcept {
    if (keeps_node_of(last_entered_, key)) {
        return {last_entered_, false};
    }
    const auto [node, active] = indexed(key);
    if (node != no_index) {
        return {node, false};
    }
    if (const std::uint32_t ghost = ghosts_.find(key); ghost != no_index) {
        return {ghost, true};
    }
    if (active == no_index) {
        return {ghosts_.insert(Ghost{.key = key, .parent = {}}), true};
    }
    set_mark(active, node_mark);
    slots_[active].children = 0;
    slots_[active].sibling = no_index;
    slots_[active].primary = no_index;
    return {active, false};
}

std::uint32_t LineageForest::move_to_ghost(std::uint32_t slot_index) noexcept {
    Slot& slot = slots_[slot_index];
    Ghost ghost{.key = key_of(slot.hash), .parent = {}};
    ghost.children = slot.children;
    ghost.linked = mark(slot_index) == linked_node_mark;
    if (ghost.linked) {
        ghost.parent = parent_key_of(slot.hash);
    }
    if (is_inactive(slot_index)) {
        ghost.first_block = slot_index;
    }
    set_mark(slot_index, is_inactive(slot_index) ? ghost_block_mark : no_mark);
    slot.sibling = no_index;
    slot.primary = no_index;
    return ghosts_.insert(ghost);
}

/// Makes a block inactive, finds or makes its node, and puts the block in it.
LineageForest::Node LineageForest::place(std::uint32_t slot_index) noexcept {
    Slot& slot = slots_[slot_index];
    const SlotWord word = slot.word().with(BlockState::inactive);
    if (keeps_node(slot_index)) {
        slot.set_word(word);
        return {slot_index, false};  // it was the ghost in its own slot
    }
    Node node;
    if (keys_are_shared_) {
        node = find_node(key_of(slot.hash));
    } else if (ghosts_.size() != 0) {
        node = {ghosts_.find(key_of(slot.hash)), true};
    }
    if (!node) {
        slot.set_word(word.with_mark(node_mark));
        slot.children = 0;
        slot.sibling = no_index;
        slot.primary = no_index;
        return {slot_index, false};
    }
    if (!node.is_ghost) {
        node = {move_to_ghost(node.at), true};  // another hash with the same key
    }
    std::uint32_t* end = &ghosts_[node.at].first_block;
    while (*end != no_index) {
        end = &slots_[*end].sibling;
    }
    *end = slot_index;
    slot.sibling = no_index;
    slot.set_word(word.with_mark(ghost_block_mark));
    return node;
}

[[gnu::always_inline]] inline void LineageForest::enter_order(std::uint32_t slot,
                                                              std::uint64_t tick) noexcept {
    if (eviction_ == LineageEviction::fifo) {
        queue_.push_back(slot);
    } else if (vacancy_ == no_index) {
        by_tick_.push(slot, tick);
    } else {
        by_tick_.replace(std::exchange(vacancy_, no_index), slot, tick);
    }
}

[[gnu::always_inline]] inline void LineageForest::leave_order(std::uint32_t slot) noexcept {
    if (eviction_ == LineageEviction::fifo) {
        queue_.remove(slot);
    } else if (vacancy_ == no_index) {
        vacancy_ = slot;
    } else {
        by_tick_.erase(slot);
    }
}

[[gnu::always_inline]] inline void LineageForest::close_vacancy() noexcept {
    if (vacancy_ != no_index) {
        by_tick_.erase(std::exchange(vacancy_, no_index));
    }
}

void LineageForest::link(Node node, const SequenceHash& hash) noexcept {
    const LineageKey key = parent_key_of(hash);
    const Node parent = find_or_make_parent(key);
    if (children(parent)++ == 0) {
        for_each_block(parent, [&](std::uint32_t block) { leave_order(block); });
    }
    if (node.is_ghost) {
        ghosts_[node.at].linked = true;
        ghosts_[node.at].parent = key;
    } else {
        set_mark(node.at, linked_node_mark);
        slots_[node.at].primary = parent.is_ghost ? no_index : parent.at;
    }
}

/// A chain is eaten from its leaf to its root, so that each victim would be a miss known by the one
/// before it only. Released root first, the block that entered `hint_distance` before this one is
/// the ancestor that far up; released leaf first, this one is that ancestor of it.
inline void LineageForest::leave_hint(std::uint32_t slot_index, std::uint64_t tick) noexcept {
    Slot& slot = slots_[slot_index];
    std::uint32_t& earlier = recent_[tick % hint_distance];
    if (keeps_node(slot_index) && slot.children == 0) {
        slot.sibling = earlier;
    } else if (earlier != no_index && keeps_node(earlier)) {
        slots_[earlier].sibling = slot_index;
    }
    earlier = slot_index;
}

void LineageForest::insert(std::uint32_t slot_index) noexcept {
    Slot& slot = slots_[slot_index];
    ++size_;
    const Node node = place(slot_index);
    const std::uint64_t tick = next_tick_++;
    if (eviction_ == LineageEviction::tick) {
        slot.set_tick(tick);
        leave_hint(slot_index, tick);
    }
    const bool linked = node.is_ghost ? ghosts_[node.at].linked : mark(node.at) == linked_node_mark;
    if (!linked && slot.hash.position() > 0) {
        link(node, slot.hash);
    }
    if (children(node) == 0) {
        enter_order(slot_index, tick);
    }
    close_vacancy();
    last_entered_ = slot_index;
}

void LineageForest::remove(std::uint32_t slot_index) noexcept {
    --size_;
    if (mark(slot_index) == ghost_block_mark) {
        remove_from_ghost(slot_index);
        return;
    }
    expects(keeps_node(slot_index), "an inactive block is in a node");
    Slot& slot = slots_[slot_index];
    if (slot.children > 0) {
        return;  // the node stays in the slot, as a ghost
    }
    leave_order(slot_index);
    const bool linked = mark(slot_index) == linked_node_mark;
    set_mark(slot_index, no_mark);
    if (linked) {
        unlink(parent_key_of(slot.hash), slot.primary);
    }
    close_vacancy();
}

void LineageForest::remove_from_ghost(std::uint32_t slot_index) noexcept {
    const std::uint32_t ghost_index = ghosts_.find(key_of(slots_[slot_index].hash));
    expects(ghost_index != no_index, "a block of a ghost node finds it");
    const Ghost ghost = ghosts_[ghost_index];
    std::uint32_t* at = &ghosts_[ghost_index].first_block;
    while (*at != slot_index) {
        expects(*at != no_index, "a node lists its blocks");
        at = &slots_[*at].sibling;
    }
    *at = slots_[slot_index].sibling;
    slots_[slot_index].sibling = no_index;
    set_mark(slot_index, no_mark);
    if (ghost.children > 0) {
        return;
    }
    leave_order(slot_index);
    if (ghosts_[ghost_index].first_block == no_index) {
        ghosts_.erase(ghost_index);
        if (ghost.linked) {
            unlink(ghost.parent, no_index);
        }
    }
    close_vacancy();
}

/// A node linked to this parent died: the parent may become a leaf, or die with all childless
/// ghosts above it.
void LineageForest::unlink(LineageKey parent, std::uint32_t seen) noexcept {
    for (;;) {
        const Node node = find_parent(parent, seen);
        expects(static_cast<bool>(node), "a linked node's parent is in the forest");
        if (--children(node) > 0) {
            return;
        }
        if (has_blocks(node)) {
            for_each_block(node,
                           [&](std::uint32_t block) { enter_order(block, slots_[block].tick()); });
            return;
        }
        bool linked = false;
        if (node.is_ghost) {
            linked = ghosts_[node.at].linked;
            parent = ghosts_[node.at].parent;
            seen = no_index;
            ghosts_.erase(node.at);
        } else {
            linked = mark(node.at) == linked_node_mark;
            if (linked) {
                parent = parent_key_of(slots_[node.at].hash);
            }
            seen = slots_[node.at].primary;
            slots_[node.at].primary = no_index;
            set_mark(node.at, no_mark);
        }
        if (!linked) {
            return;
        }
    }
}

std::uint32_t LineageForest::pop() noexcept {
    expects(size_ > 0, "a policy that holds n blocks yields n");
    if (eviction_ == LineageEviction::fifo) {
        const std::uint32_t victim = queue_.front();
        remove(victim);
        return victim;
    }
    const std::uint32_t victim = by_tick_.top();
    if (const std::uint32_t hint = slots_[victim].sibling; keeps_node(victim) && hint != no_index) {
        __builtin_prefetch(&slots_[hint], 1);
    }
    remove(victim);
    return victim;
}

void LineageForest::leave_index(std::uint32_t slot) noexcept {
    if (keeps_node(slot)) {
        move_to_ghost(slot);
    }
}

}  // namespace kvbm::detail::blocks
