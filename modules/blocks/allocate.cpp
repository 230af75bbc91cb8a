module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

/// Entries that are let go after unlocking, a batch on the stack at a time.
template <class EntryAt>
void let_go_entries(const Store& store, std::size_t count, const EntryAt& entry_at) noexcept {
    std::array<Entry*, EngineAccess::batch_max> batch;
    std::size_t size = 0;
    const auto let_go = [&] {
        EngineAccess::let_go_blocks(store.registry, std::span(batch).first(size), store.tier);
        size = 0;
    };
    for (std::size_t i = 0; i < count; ++i) {
        if (Entry* entry = entry_at(i)) {
            batch[size++] = entry;
            if (size == batch.size()) {
                let_go();
            }
        }
    }
    if (size != 0) {
        let_go();
    }
}

/// Takes an inactive slot out of the index; its life ends. Its entry is still to be let go.
void uncache(Store& store, std::uint32_t slot_index, BlockState next) noexcept {
    Slot& slot = store.slots[slot_index];
    store.leave_index(slot_index);
    store.enter(slot, slot.word().with(next).with_flag(store.default_flag).next_generation());
}

/// Places of the reset pool by which slots are asked for before they are handed out.
constexpr std::size_t reset_ahead = 12;

/// Moves the next `count` victims of the policy into the list. Gives how many have an entry.
std::size_t evict(Store& store, std::size_t count, RawList& out,
                  std::vector<SequenceHash>* evicted) {
    const std::size_t first = out.size();
    std::size_t with_entry = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t victim = store.inactive.pop();
        if (store.prefetches) {
            store.index.prefetch(store.index.probe(store.slots[victim].hash));
        }
        out.push_back({&store, 0, victim});
    }
    for (RawGuard& guard : out.span().subspan(first)) {
        const auto victim = static_cast<std::uint32_t>(guard.id);
        if (evicted != nullptr) {
            evicted->push_back(store.slots[victim].hash);
        }
        if (const Entry* entry = store.entry_of(store.slots[victim])) {
            ++with_entry;
            if (store.prefetches) {
                __builtin_prefetch(entry, 1);
            }
        }
        uncache(store, victim, BlockState::mutable_block);
        guard = store.guard_of(victim);
    }
    return with_entry;
}

}  // namespace

std::size_t Engine::available_blocks(const Store& store) {
    const Lock lock(store.mutex);
    return store.reset.size() + store.inactive.size();
}

bool Engine::allocate(Store& store, std::size_t count, RawList& out,
                      std::vector<SequenceHash>* evicted) {
    if (count == 0) {
        return true;
    }
    if (count > store.slots.size()) {
        return false;
    }
    out.reserve_more(count);
    Lock lock(store.mutex);
    if (count > store.reset.size() + store.inactive.size()) {
        return false;
    }
    store.inactive.reserve(store.held() + count);
    const std::size_t from_reset = std::min(count, store.reset.size());
    const std::size_t victims = count - from_reset;
    if (evicted != nullptr) {
        evicted->reserve(evicted->size() + victims);
    }
    for (std::size_t i = 0; i < from_reset; ++i) {
        const std::uint32_t index = store.reset.pop_front();
        Slot& slot = store.slots[index];
        if (store.prefetches) {
            // Also for the calls after this one.
            __builtin_prefetch(&store.slots[store.reset.ahead(reset_ahead)], 1);
        }
        store.enter(slot,
                    slot.word().with(BlockState::mutable_block).with_flag(store.default_flag));
        out.push_back(store.guard_of(index));
    }
    const std::size_t with_entry = evict(store, victims, out, evicted);
    store.counters.allocations_add(count);
    store.counters.allocations_from_reset_add(from_reset);
    store.counters.evictions_add(victims);
    store.counters.inflight_mutable_add(static_cast<std::int64_t>(count));
    store.publish_sizes();
    lock.unlock();
    core::pause_point("blocks.allocate.unlocked");

    if (with_entry != 0) {
        const auto taken = out.span().last(victims);
        let_go_entries(store, victims,
                       [&](std::size_t i) { return store.entry_of(store.slots[taken[i].id]); });
    }
    return true;
}

Result<std::size_t, BlockManagerResetError> Engine::reset_inactive(Store& store) {
    std::vector<Entry*> entries;
    Lock lock(store.mutex);
    const std::size_t drained = store.inactive.size();
    entries.reserve(drained);
    for (std::size_t i = 0; i < drained; ++i) {
        const std::uint32_t index = store.inactive.pop();
        if (Entry* entry = store.entry_of(store.slots[index])) {
            entries.push_back(entry);
        }
        uncache(store, index, BlockState::reset);
        store.reset.push_back(index);
    }
    store.publish_sizes();
    const std::size_t free = store.reset.size();
    lock.unlock();
    core::pause_point("blocks.reset_inactive.unlocked");

    let_go_entries(store, entries.size(), [&](std::size_t i) { return entries[i]; });
    if (free != store.slots.size()) {
        return failure(BlockManagerResetError{store.slots.size(), free, drained});
    }
    return drained;
}

}  // namespace kvbm::detail::blocks
