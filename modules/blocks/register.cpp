module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

// Marks in the generations of guards, between the steps of a registration.
constexpr std::uint64_t kept_mark = std::uint64_t{1} << 63;  ///< kept its own block
constexpr std::uint64_t new_mark = std::uint64_t{1} << 62;   ///< its hash is new to the registry

/// Gives up the entries of staged slots. With no lock held.
void leave_registry(const Store& store, std::span<const RawGuard> guards) noexcept {
    for (const RawGuard& guard : guards) {
        if (Entry* entry = store.entry_of(store.slots[guard.id])) {
            EngineAccess::release_all(std::span<Entry*>(&entry, 1));
        }
    }
}

/// Gives each slot of the guards the registry entry of its hash, then announces the new ones. On an
/// exception no slot has one, and nobody was told.
void enter_registry(const Store& store, std::span<RawGuard> guards) {
    RegistrationRoom<EngineAccess::batch_max> room;
    const bool announces = EngineAccess::announces(store.registry);
    std::size_t done = 0;
    try {
        while (done < guards.size()) {
            const std::size_t count = std::min(EngineAccess::batch_max, guards.size() - done);
            const auto items = room.take(count);
            for (std::size_t i = 0; i < count; ++i) {
                items[i].hash = store.slots[guards[done + i].id].hash;
            }
            EngineAccess::register_all(store.registry, store.tier, items);
            for (std::size_t i = 0; i < count; ++i) {
                RawGuard& guard = guards[done + i];
                store.slots[guard.id].entry = items[i].entry->index;
                guard.generation |= announces && items[i].is_new ? new_mark : 0;
            }
            done += count;
        }
    } catch (...) {
        for (RawGuard& guard : guards.first(done)) {
            guard.generation &= ~new_mark;
        }
        leave_registry(store, guards.first(done));
        throw;
    }
    if (announces) {
        for (RawGuard& guard : guards) {
            if ((guard.generation & new_mark) != 0) {
                guard.generation &= ~new_mark;
                EngineAccess::announce(*store.entry_of(store.slots[guard.id]));
            }
        }
    }
}

/// In a sole store, with its lock held: gives each slot of the guards the entry of its hash if
/// there is one. `adopted` counts the guards whose slots were seen to. An exception leaves it to
/// the caller to give the entries up, without the lock.
void adopt_entries(Store& store, std::span<const RawGuard> guards, std::size_t& adopted) {
    const bool any = EngineAccess::entry_count(store.registry) != 0;
    for (const RawGuard& guard : guards) {
        Slot& slot = store.slots[guard.id];
        Entry* entry = any ? EngineAccess::adopt(store.registry, slot.hash) : nullptr;
        slot.entry = entry != nullptr ? entry->index : no_index;
        ++adopted;
        if (entry != nullptr) {
            EngineAccess::make_cell(*entry, store.tier);
        }
    }
}

/// A staged slot does without: the holder of its hash has a reference to the same entry.
void give_up_entry(const Store& store, Slot& slot) noexcept {
    if (Entry* entry = store.entry_of(slot)) {
        EngineAccess::release_shared(*entry);
        slot.entry = no_index;
    }
}

/// Registers one staged block whose hash is free. In a sole store its presence is raised at once,
/// and it is marked if nobody knew the hash and somebody counts touches.
void make_primary(Store& store, RawGuard& guard, Slot& slot, Probe probe, bool is_sole) noexcept {
    store.enter(slot, slot.word().with(BlockState::primary));
    slot.begin_references();
    store.index.insert(probe, static_cast<std::uint32_t>(guard.id));
    if (!is_sole) {
        guard.generation |= kept_mark;
    } else if (Entry* entry = store.entry_of(slot)) {
        EngineAccess::raise_presence(*entry, store.tier);
        ++store.linked;
    } else if (EngineAccess::announces(store.registry)) {
        guard.generation |= new_mark;
    }
}

/// Registers one staged block beside the holder of its hash.
///
/// In a shared registry it counts as present itself, since the presence of the holder may still be
/// pending. In a sole store the holder's is enough.
void make_duplicate(Store& store, RawGuard& guard, Slot& slot, std::uint32_t primary,
                    bool is_sole) noexcept {
    if (is_sole) {
        give_up_entry(store, slot);
    } else {
        guard.generation |= kept_mark;
    }
    store.acquire(primary);
    slot.primary = primary;
    store.enter(slot, slot.word().with(BlockState::duplicate));
    slot.begin_references();
    store.counters.duplicate_blocks_add(1);
}

/// The locked part. Rejected candidates wait in a chain of their own links, and go to the reset
/// pool in batch order.
void enter_store(Store& store, std::span<RawGuard> guards, bool is_sole) noexcept {
    std::uint32_t first_rejected = no_index;
    std::uint32_t last_rejected = no_index;
    constexpr std::size_t near = 8;
    const auto fetch_holder = [&](std::size_t i) {
        if (store.prefetches && i < guards.size()) {
            const SequenceHash& hash = store.slots[guards[i].id].hash;
            const std::uint32_t candidate = store.index.candidate(store.index.probe(hash));
            if (candidate != no_index) {
                __builtin_prefetch(&store.slots[candidate], 1);
            }
        }
    };
    for (std::size_t i = 0; i < near; ++i) {
        fetch_holder(i);
    }
    for (std::size_t i = 0; i < guards.size(); ++i) {
        fetch_holder(i + near);
        RawGuard& guard = guards[i];
        Slot& slot = slot_of(guard, BlockState::staged);
        const Probe probe = store.index.probe(slot.hash);
        const std::uint32_t holder = store.index.find(probe, [&](std::uint32_t other) {
            if (store.slots[other].hash == slot.hash) {
                return true;
            }
            store.inactive.note_neighbours(store.slots[other].hash, slot.hash);
            return false;
        });
        if (holder == no_index) {
            make_primary(store, guard, slot, probe, is_sole);
        } else if (store.duplication == BlockDuplicationPolicy::allow) {
            make_duplicate(store, guard, slot, holder, is_sole);
        } else {
            const auto rejected = static_cast<std::uint32_t>(guard.id);
            (first_rejected == no_index ? first_rejected : store.slots[last_rejected].next) =
                rejected;
            last_rejected = rejected;
            slot.next = no_index;
            give_up_entry(store, slot);
            store.acquire(holder);
            store.counters.registration_dedup_add(1);
            guard = store.guard_of(holder);
        }
    }
    store.registered += guards.size();
    while (first_rejected != no_index) {
        const std::uint32_t next = store.slots[first_rejected].next;
        store.to_reset(first_rejected);
        first_rejected = next;
    }
}

/// Mutable to staged, with the lock held.
void stage_locked(Store& store, std::span<const RawGuard> guards) noexcept {
    for (const RawGuard& guard : guards) {
        Slot& slot = slot_of(guard, BlockState::mutable_block);
        store.enter(slot, slot.word().with(BlockState::staged));
    }
    store.counters.stagings_add(guards.size());
    store.counters.inflight_mutable_add(-static_cast<std::int64_t>(guards.size()));
}

/// After unlocking: presence of the blocks that were kept, in order.
void raise_presence(const Store& store, std::span<RawGuard> guards) noexcept {
    constexpr std::size_t few = 6;  // cheaper one by one than under the table lock
    std::array<Entry*, EngineAccess::batch_max> batch;
    std::size_t size = 0;
    const auto raise = [&] {
        const auto entries = std::span(batch).first(size);
        if (size > few) {
            EngineAccess::raise_presence_all(store.registry, entries, store.tier);
        } else {
            for (Entry* entry : entries) {
                EngineAccess::raise_presence(*entry, store.tier);
            }
        }
        size = 0;
    };
    for (RawGuard& guard : guards) {
        if ((guard.generation & kept_mark) != 0) {
            guard.generation &= ~kept_mark;
            batch[size++] = store.entry_of(store.slots[guard.id]);
            if (size == batch.size()) {
                raise();
            }
        }
    }
    raise();
}

/// After unlocking, for a sole store: touches the hashes that nobody knew, in order.
void touch_new(const Store& store, std::span<RawGuard> guards) noexcept {
    if (!EngineAccess::announces(store.registry)) {
        return;
    }
    for (RawGuard& guard : guards) {
        if ((guard.generation & new_mark) != 0) {
            guard.generation &= ~new_mark;
            EngineAccess::touch(store.registry, store.slots[guard.id].hash);
        }
    }
}

void look_ahead(const Store& store, std::span<const RawGuard> guards) noexcept {
    for (const RawGuard& guard : guards) {
        store.index.prefetch(store.index.probe(store.slots[guard.id].hash));
    }
}

/// Registers guards whose hashes are written; `before_entering` is called under the lock.
template <class Before>
void register_blocks(Store& store, std::span<RawGuard> guards, const Before& before_entering) {
    if (guards.empty()) {
        return;
    }
    bool is_sole = store.is_sole.load(std::memory_order_relaxed);
    std::size_t entered = 0;  // guards whose slots have their entry, if they are to have one
    const auto enter_first = [&] {
        enter_registry(store, guards);
        entered = guards.size();
    };
    if (!is_sole) {
        enter_first();
    }
    core::pause_point("blocks.register.entered");
    if (store.prefetches) {
        look_ahead(store, guards);
    }
    try {
        Lock lock(store.mutex);
        if (is_sole && !store.is_sole.load(std::memory_order_relaxed)) {
            // A second store came to the registry meanwhile.
            is_sole = false;
            lock.unlock();
            enter_first();
            lock.lock();
        }
        // A candidate may take an inactive block of its hash out of the policy.
        store.inactive.reserve(store.held() + std::min(guards.size(), store.inactive.size()));
        if (is_sole) {
            adopt_entries(store, guards, entered);
        }
        before_entering();
        enter_store(store, guards, is_sole);
        store.publish_sizes();
    } catch (...) {
        leave_registry(store, guards.first(entered));
        throw;
    }
    core::pause_point("blocks.register.unlocked");
    if (is_sole) {
        touch_new(store, guards);
    } else {
        raise_presence(store, guards);
    }
    store.counters.inflight_immutable_add(static_cast<std::int64_t>(guards.size()));
    store.counters.registrations_add(guards.size());
}

}  // namespace

void Engine::set_hash(const RawGuard& guard, const SequenceHash& hash) noexcept {
    slot_of(guard, BlockState::mutable_block).hash = hash;
}

void Engine::stage(std::span<RawGuard> guards) {
    if (guards.empty()) {
        return;
    }
    Store& store = *guards.front().store;
    const Lock lock(store.mutex);
    stage_locked(store, guards);
}

void Engine::unstage(std::span<RawGuard> guards) {
    if (guards.empty()) {
        return;
    }
    Store& store = *guards.front().store;
    const Lock lock(store.mutex);
    for (RawGuard& guard : guards) {
        Slot& slot = slot_of(guard, BlockState::staged);
        store.enter(slot, slot.word()
                              .with(BlockState::mutable_block)
                              .with_flag(store.default_flag)
                              .next_generation());
        guard.generation = slot.word().generation();
    }
    store.counters.inflight_mutable_add(static_cast<std::int64_t>(guards.size()));
}

void Engine::register_all(Store& store, std::span<RawGuard> guards) {
    register_blocks(store, guards, [] {});
}

void Engine::stage_and_register(Store& store, std::span<RawGuard> guards) {
    register_blocks(store, guards, [&] { stage_locked(store, guards); });
}

}  // namespace kvbm::detail::blocks
