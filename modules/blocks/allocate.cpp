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
    for (std::size_t first = 0; first < count; first += batch.size()) {
        const std::size_t size = std::min(batch.size(), count - first);
        for (std::size_t i = 0; i < size; ++i) {
            batch[i] = &entry_at(first + i);
        }
        EngineAccess::let_go_blocks(store.registry, std::span(batch).first(size), store.tier);
    }
}

/// Takes an inactive slot out of the index; its life ends. Its entry is still to be let go.
void uncache(Store& store, std::uint32_t slot_index, BlockState next) noexcept {
    Slot& slot = store.slots[slot_index];
    store.index.erase(store.index.probe(slot.hash), slot_index);
    store.enter(slot, slot.word().with(next).with_flag(store.default_flag).next_generation());
}

/// Places of the reset pool by which slots are asked for before they are handed out.
constexpr std::size_t reset_ahead = 12;

/// Moves the next `count` victims of the policy into the list.
void evict(Store& store, std::size_t count, RawList& out, std::vector<SequenceHash>* evicted) {
    const std::size_t first = out.size();
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
        if (store.prefetches) {
            __builtin_prefetch(&store.entry_of(store.slots[victim]), 1);
        }
        uncache(store, victim, BlockState::mutable_block);
        guard = store.guard_of(victim);
    }
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
    evict(store, victims, out, evicted);
    store.counters.allocations_add(count);
    store.counters.allocations_from_reset_add(from_reset);
    store.counters.evictions_add(victims);
    store.counters.inflight_mutable_add(static_cast<std::int64_t>(count));
    store.publish_sizes();
    lock.unlock();
    core::pause_point("blocks.allocate.unlocked");

    const auto taken = out.span().last(victims);
    let_go_entries(store, victims, [&](std::size_t i) -> Entry& {
        return store.entry_of(store.slots[taken[i].id]);
    });
    return true;
}

Result<std::size_t, BlockManagerResetError> Engine::reset_inactive(Store& store) {
    std::vector<Entry*> entries;
    Lock lock(store.mutex);
    const std::size_t drained = store.inactive.size();
    entries.reserve(drained);
    for (std::size_t i = 0; i < drained; ++i) {
        const std::uint32_t index = store.inactive.pop();
        entries.push_back(&store.entry_of(store.slots[index]));
        uncache(store, index, BlockState::reset);
        store.reset.push_back(index);
    }
    store.publish_sizes();
    const std::size_t free = store.reset.size();
    lock.unlock();
    core::pause_point("blocks.reset_inactive.unlocked");

    let_go_entries(store, drained, [&](std::size_t i) -> Entry& { return *entries[i]; });
    if (free != store.slots.size()) {
        return failure(BlockManagerResetError{store.slots.size(), free, drained});
    }
    return drained;
}

}  // namespace kvbm::detail::blocks
