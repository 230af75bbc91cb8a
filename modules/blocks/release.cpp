module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

/// What dropping a guard did to presence: so many blocks of one entry are gone. If any are, it is
/// kept in the record of the guard itself, which is of no use any more, so that a release allocates
/// nothing.
struct Gone {
    Entry* entry = nullptr;
    std::uint32_t blocks = 0;
};

/// Ends a registered slot's life.
void uncache_to_reset(Store& store, std::uint32_t slot_index, Gone& gone) noexcept {
    if (Entry* entry = store.entry_of(store.slots[slot_index])) {
        gone.entry = entry;
        ++gone.blocks;
    }
    store.to_reset(slot_index);
}

/// Gives up a strong reference, with the lock held. True: it was the last, and the slot is the
/// caller's alone.
bool give_up_reference(Slot& slot) noexcept {
    // References are alike: whichever it is, one that a lookup counted may go.
    if (const std::uint32_t lookups = slot.lookups(); lookups != 0) {
        slot.set_lookups(lookups - 1);
        return false;
    }
    // A lone reference stays alone: it is this caller's, and lookups make others under the lock
    // only. Acquire: pairs with the release of copies dropped without the lock.
    if (slot.copies.load(std::memory_order_acquire) != 1) {
        core::pause_point("blocks.drop.counted");
        // Of several, the others may go without the lock meanwhile: the count as it falls decides.
        if (slot.copies.fetch_sub(1, std::memory_order_acq_rel) != 1) {
            return false;
        }
    }
    slot.copies.store(0, std::memory_order_relaxed);
    return true;
}

/// Gives up a strong reference on a primary; with the last it becomes inactive, or reset if its
/// flag says so. Gives whether it was the last.
bool drop_primary(Store& store, std::uint32_t slot_index, Gone& gone) noexcept {
    Slot& slot = store.slots[slot_index];
    if (!give_up_reference(slot)) {
        return false;
    }
    if (slot.word().evict_on_reset()) {
        store.inactive.leave_index(slot_index);
        store.leave_index(slot_index);
        uncache_to_reset(store, slot_index, gone);
    } else {
        store.enter_inactive(slot_index);
    }
    return true;
}

/// Gives up a strong reference on a duplicate; with the last it is reset, and then lets its primary
/// go.
void drop_duplicate(Store& store, std::uint32_t slot_index, Gone& gone) noexcept {
    Slot& slot = store.slots[slot_index];
    if (!give_up_reference(slot)) {
        return;
    }
    const std::uint32_t primary = slot.primary;
    slot.primary = no_index;
    uncache_to_reset(store, slot_index, gone);
    static_cast<void>(drop_primary(store, primary, gone));
}

/// What a drop under the lock did.
struct Drop {
    Gone gone;
    bool superseded = false;  ///< a primary that somebody else holds stays as it is
};

/// The effect of one dropped guard, with the lock held.
template <GuardKind kind>
Drop drop(Store& store, const RawGuard& guard) noexcept {
    Drop done;
    const auto slot_index = static_cast<std::uint32_t>(guard.id);
    if constexpr (kind == GuardKind::mutable_block) {
        static_cast<void>(slot_of(guard, BlockState::mutable_block));
        store.to_reset(slot_index);
    } else if constexpr (kind == GuardKind::complete_block) {
        static_cast<void>(slot_of(guard, BlockState::staged));
        store.to_reset(slot_index);
    } else if (registered_slot_of(guard).state() == BlockState::primary) {
        done.superseded = !drop_primary(store, slot_index, done.gone);
    } else {
        drop_duplicate(store, slot_index, done.gone);
    }
    return done;
}

/// After unlocking: presence and entry of the blocks that are gone. Another thread may have ended
/// the store meanwhile, so this touches nothing but the entry, which the references given up here
/// keep alive.
void settle(const Gone& gone, TierId tier) noexcept {
    for (std::uint32_t i = 0; i < gone.blocks; ++i) {
        EngineAccess::lower_presence(*gone.entry, tier);
    }
    for (std::uint32_t i = 0; i < gone.blocks; ++i) {
        Entry* entry = gone.entry;
        EngineAccess::release_all(std::span<Entry*>(&entry, 1));
    }
}

static_assert(sizeof(std::uintptr_t) <= sizeof(RawGuard::generation));
RawGuard pack(Gone gone) noexcept {
    return {nullptr, reinterpret_cast<std::uintptr_t>(gone.entry), gone.blocks};
}
Gone unpack(const RawGuard& record) noexcept {
    return {reinterpret_cast<Entry*>(static_cast<std::uintptr_t>(record.generation)),
            static_cast<std::uint32_t>(record.id)};
}

/// Calls `visit(i)` for each place, front to back or back to front.
template <class Visit>
void in_order(std::size_t size, ReleaseOrder order, const Visit& visit) {
    if (order == ReleaseOrder::root_first) {
        for (std::size_t i = 0; i < size; ++i) {
            visit(i);
        }
    } else {
        for (std::size_t i = size; i-- > 0;) {
            visit(i);
        }
    }
}

/// Drops the armed guards in order, with the lock held, and gives how many there were. What is to
/// be settled is in their records; `any_gone` tells whether anything is.
template <GuardKind kind>
std::size_t drop_all(Store& store, std::span<RawGuard> guards, ReleaseOrder order,
                     bool& any_gone) noexcept {
    // In a large pool the misses of the slots overlap.
    constexpr std::size_t ahead = 12;
    const auto look_at = [&](std::size_t place) {
        if (place < guards.size()) {
            __builtin_prefetch(&store.slots[guards[place].id], 1);
        }
    };
    const bool backwards = order == ReleaseOrder::leaf_first;
    if (store.prefetches) {
        for (std::size_t i = 0; i < ahead; ++i) {
            look_at(backwards ? guards.size() - 1 - i : i);
        }
    }
    std::size_t dropped = 0;
    in_order(guards.size(), order, [&](std::size_t i) {
        RawGuard& guard = guards[i];
        if (store.prefetches) {
            look_at(backwards ? i - ahead : i + ahead);
        }
        if (guard.store == nullptr) {
            guard = pack({});
            return;
        }
        ++dropped;
        const Gone gone = drop<kind>(store, guard).gone;
        if (gone.blocks != 0) {
            any_gone = true;
            guard = pack(gone);
        }
    });
    return dropped;
}

/// Calls `run` with the kind as a constant.
template <class Run>
auto with_kind(GuardKind kind, const Run& run) {
    switch (kind) {
        case GuardKind::mutable_block:
            return run.template operator()<GuardKind::mutable_block>();
        case GuardKind::complete_block:
            return run.template operator()<GuardKind::complete_block>();
        case GuardKind::immutable_block:
            return run.template operator()<GuardKind::immutable_block>();
        case GuardKind::pin:
            break;
    }
    return run.template operator()<GuardKind::pin>();
}

/// The store of the first armed record.
Store& store_of(std::span<const RawGuard> guards) noexcept {
    std::size_t i = 0;
    while (guards[i].store == nullptr) {
        ++i;
    }
    return *guards[i].store;
}

void count_dropped(Store& store, GuardKind kind, std::size_t guards) noexcept {
    if (kind == GuardKind::mutable_block) {
        store.counters.inflight_mutable_add(-static_cast<std::int64_t>(guards));
    } else if (kind == GuardKind::immutable_block) {
        store.counters.inflight_immutable_add(-static_cast<std::int64_t>(guards));
    }
}

/// After unlocking: what drop_all() left in the records, in the order of the drops.
void settle_all(std::span<const RawGuard> guards, ReleaseOrder order, TierId tier) noexcept {
    in_order(guards.size(), order, [&](std::size_t i) {
        if (guards[i].store == nullptr) {
            settle(unpack(guards[i]), tier);
        }
    });
}

/// One lock for a release: `drop_guards(any_gone)` runs under it and gives how many guards it
/// dropped, `settle_guards(tier)` after it if anything is gone. The store may be gone afterwards.
template <class DropGuards, class SettleGuards>
void release_under_one_lock(Store& store, GuardKind kind, const DropGuards& drop_guards,
                            const SettleGuards& settle_guards) noexcept {
    bool any_gone = false;
    Lock lock(store.mutex);
    const std::size_t dropped = drop_guards(any_gone);
    count_dropped(store, kind, dropped);
    store.publish_sizes();
    const TierId tier = store.tier;
    const bool dead = store.is_dead();
    lock.unlock();
    core::pause_point("blocks.release.unlocked");

    if (any_gone) {
        settle_guards(tier);
    }
    if (dead) {
        delete &store;
    }
}

/// Asks for the first slots of the lists behind the one that is dropped, so that a release of many
/// short lists is one row of misses that overlap. Within a list drop_all() looks ahead by itself.
class ListsAhead {
  public:
    ListsAhead(const Store& store, std::span<RawList> lists, ReleaseOrder order) noexcept
        : store_(store), lists_(lists), order_(order) {}

    /// To be told of each list, front to back, before it is dropped.
    void pass(std::size_t list) noexcept {
        if (!store_.prefetches) {
            return;
        }
        if (list < asked_) {
            guards_ahead_ -= lists_[list].size();
        } else {
            asked_ = list + 1;
        }
        for (; asked_ < lists_.size() && guards_ahead_ < guards_wanted; ++asked_) {
            ask_for(lists_[asked_].span());
            guards_ahead_ += lists_[asked_].size();
        }
    }

  private:
    static constexpr std::size_t guards_wanted = 24;
    static constexpr std::size_t guards_per_list = 12;  ///< from there on drop_all() asks

    void ask_for(std::span<const RawGuard> guards) const noexcept {
        const std::size_t count = std::min(guards.size(), guards_per_list);
        for (const RawGuard& guard :
             order_ == ReleaseOrder::leaf_first ? guards.last(count) : guards.first(count)) {
            __builtin_prefetch(&store_.slots[guard.id], 1);
        }
    }

    const Store& store_;
    std::span<RawList> lists_;
    ReleaseOrder order_;
    std::size_t asked_ = 0;         ///< lists whose slots are asked for, or were dropped
    std::size_t guards_ahead_ = 0;  ///< in those of them that are to be dropped yet
};

/// Releases neighbours of one store.
void release_neighbours(Store& store, std::span<RawList> lists, ReleaseOrder order) noexcept {
    release_under_one_lock(
        store, GuardKind::immutable_block,
        [&](bool& any_gone) {
            ListsAhead ahead(store, lists, order);
            std::size_t dropped = 0;
            for (std::size_t i = 0; i < lists.size(); ++i) {
                ahead.pass(i);
                dropped +=
                    drop_all<GuardKind::immutable_block>(store, lists[i].span(), order, any_gone);
            }
            return dropped;
        },
        [&](TierId tier) {
            for (RawList& list : lists) {
                settle_all(list.span(), order, tier);
            }
        });
}

}  // namespace

void Engine::release(GuardKind kind, std::span<RawGuard> guards, ReleaseOrder order) noexcept {
    Store& store = store_of(guards);
    release_under_one_lock(
        store, kind,
        [&](bool& any_gone) {
            return with_kind(kind, [&]<GuardKind constant>() {
                return drop_all<constant>(store, guards, order, any_gone);
            });
        },
        [&](TierId tier) { settle_all(guards, order, tier); });
}

void Engine::release_many(std::span<RawList> lists, ReleaseOrder order) noexcept {
    while (!lists.empty()) {
        Store* const store = lists.front().store();
        std::size_t count = 1;
        if (store != nullptr) {
            // Empty lists part no neighbours.
            while (count < lists.size() &&
                   (lists[count].empty() || lists[count].store() == store)) {
                ++count;
            }
            release_neighbours(*store, lists.first(count), order);
        }
        for (RawList& list : lists.first(count)) {
            list.forget();
        }
        lists = lists.subspan(count);
    }
}

void Engine::release(GuardKind kind, RawGuard guard) noexcept {
    Store& store = *guard.store;
    const bool shared = kind == GuardKind::immutable_block || kind == GuardKind::pin;
    bool seems_last = false;
    if (shared) {
        if (kind == GuardKind::immutable_block) {
            // First: with the reference gone, the store may be gone.
            store.counters.inflight_immutable_add(-1);
        }
        Slot& slot = registered_slot_of(guard);
        std::uint32_t copies = slot.copies.load(std::memory_order_relaxed);
        while (copies > 1) {
            core::pause_point("blocks.release.shared");
            // Release: what this thread did with the block happens before its last drop. Pairs with
            // give_up_reference().
            if (slot.copies.compare_exchange_weak(copies, copies - 1, std::memory_order_release,
                                                  std::memory_order_relaxed)) {
                return;
            }
        }
        seems_last = slot.lookups() == 0;
        core::pause_point("blocks.release.last");
    }
    Lock lock(store.mutex);
    const auto [gone, superseded] =
        with_kind(kind, [&]<GuardKind constant>() { return drop<constant>(store, guard); });
    if (superseded && seems_last) {
        // A lookup was quicker: it revived the block that this drop was about to give up.
        store.counters.eager_primary_to_inactive_add(1);
        store.counters.release_primary_noop_add(1);
    }
    if (!shared) {
        count_dropped(store, kind, 1);
    }
    store.publish_sizes();
    const TierId tier = store.tier;
    const bool dead = store.is_dead();
    lock.unlock();
    core::pause_point("blocks.release.unlocked");

    settle(gone, tier);
    if (dead) {
        delete &store;
    }
}

void Engine::add_reference(GuardKind kind, const RawGuard& guard) noexcept {
    registered_slot_of(guard).copies.fetch_add(1, std::memory_order_relaxed);
    if (kind == GuardKind::immutable_block) {
        guard.store->counters.inflight_immutable_add(1);
    }
}

const SequenceHash& Engine::hash(const RawGuard& guard) noexcept {
    return guard.store->slots[guard.id].hash;
}

std::size_t Engine::use_count(const RawGuard& guard) noexcept {
    return registered_slot_of(guard).references();
}

bool Engine::is_duplicate(const RawGuard& guard) noexcept {
    return registered_slot_of(guard).state() == BlockState::duplicate;
}

void Engine::set_evict_on_reset(const RawGuard& guard, bool value) {
    const Lock lock(guard.store->mutex);
    Slot& slot = registered_slot_of(guard);
    slot.set_word(slot.word().with_flag(value));
}

BlockRegistrationHandle Engine::registration_handle(const RawGuard& guard) {
    const Store& store = *guard.store;
    Slot& slot = registered_slot_of(guard);
    Slot& named = slot.state() == BlockState::primary ? slot : store.slots[slot.primary];
    const std::uint32_t entry = named.entry_seen();
    return entry != no_index ? EngineAccess::handle(EngineAccess::entry_at(store.registry, entry))
                             : EngineAccess::handle(store.registry, slot.hash);
}

void Engine::hold_weak(Store& store) noexcept {
    const Lock lock(store.mutex);
    ++store.weak_count;
}

void Engine::let_go_weak(Store& store) noexcept {
    Lock lock(store.mutex);
    --store.weak_count;
    const bool dead = store.is_dead();
    lock.unlock();
    core::pause_point("blocks.weak.unlocked");
    if (dead) {
        delete &store;
    }
}

}  // namespace kvbm::detail::blocks
