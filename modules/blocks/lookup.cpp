module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

/// Walks hashes front to back, calling `visit(i, slot or no_index)` until it gives false.
///
/// In a large pool the index lines are asked for `far` places ahead and the slots `near` places
/// ahead, so that their misses overlap; in a small one that would cost more than it brings. A visit
/// is a few instructions, of which a call would be a good part: it is inlined.
template <class Visit>
void walk(const Store& store, std::span<const SequenceHash> hashes, const Visit& visit) {
    if (!store.prefetches) {
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            bool goes_on = false;
            [[clang::always_inline]] goes_on = visit(i, store.find(hashes[i]));
            if (!goes_on) {
                return;
            }
        }
        return;
    }
    constexpr std::size_t far = 24;
    constexpr std::size_t near = 12;
    constexpr std::size_t window = 32;
    std::array<Probe, window> probes;
    const auto fetch_bucket = [&](std::size_t i) {
        probes[i % window] = store.index.probe(hashes[i]);
        store.index.prefetch(probes[i % window]);
    };
    const auto fetch_slot = [&](std::size_t i) {
        const std::uint32_t candidate = store.index.candidate(probes[i % window]);
        if (candidate != no_index) {
            __builtin_prefetch(&store.slots[candidate], 1);
        }
    };
    const std::size_t size = hashes.size();
    for (std::size_t i = 0; i < size && i < far; ++i) {
        fetch_bucket(i);
    }
    for (std::size_t i = 0; i < size && i < near; ++i) {
        fetch_slot(i);
    }
    for (std::size_t i = 0; i < size; ++i) {
        if (i + far < size) {
            fetch_bucket(i + far);
        }
        if (i + near < size) {
            fetch_slot(i + near);
        }
        bool goes_on = false;
        [[clang::always_inline]] goes_on = visit(i, store.find(hashes[i], probes[i % window]));
        if (!goes_on) {
            return;
        }
    }
}

/// A mark per place. The first thousand places take no memory of their own.
class Marks {
  public:
    explicit Marks(std::size_t places)
        : further_(places > near ? (places - near + word_bits - 1) / word_bits : 0) {}
    void set(std::size_t place) noexcept { word(place) |= bit(place); }
    bool operator[](std::size_t place) noexcept { return (word(place) & bit(place)) != 0; }

  private:
    static constexpr std::size_t word_bits = 64;
    static constexpr std::size_t near = 1024;
    static constexpr std::uint64_t bit(std::size_t place) noexcept {
        return std::uint64_t{1} << (place % word_bits);
    }
    std::uint64_t& word(std::size_t place) noexcept {
        return place < near ? near_[place / word_bits] : further_[(place - near) / word_bits];
    }

    std::array<std::uint64_t, near / word_bits> near_{};
    std::vector<std::uint64_t> further_;
};

/// Room in the policy for the blocks that a lookup of so many hashes may take out of it.
void reserve_for(Store& store, std::size_t hashes) {
    store.inactive.reserve(store.held() + std::min(hashes, store.inactive.size()));
}

}  // namespace

std::size_t Engine::match(Store& store, std::span<const SequenceHash> hashes, RawList& out) {
    if (hashes.empty()) {
        return 0;
    }
    out.reserve_more(hashes.size());
    std::size_t hits = 0;
    {
        const Lock lock(store.mutex);
        reserve_for(store, hashes.size());
        walk(store, hashes, [&](std::size_t, std::uint32_t slot) {
            if (slot == no_index) {
                return false;
            }
            store.acquire(slot);
            out.push_back(store.guard_of(slot));
            ++hits;
            return true;
        });
        store.counters.match_hashes_requested_add(hashes.size());
        store.counters.match_blocks_returned_add(hits);
        store.publish_sizes();
    }
    store.counters.inflight_immutable_add(static_cast<std::int64_t>(hits));
    if (hits != 0) {
        EngineAccess::touch_all(store.registry, hashes.first(hits));
    }
    return hits;
}

std::size_t Engine::match_scattered(Store& store, std::span<const SequenceHash> hashes,
                                    RawList& out) {
    if (hashes.empty()) {
        return 0;
    }
    out.reserve_more(hashes.size());
    std::size_t hits = 0;
    {
        const Lock lock(store.mutex);
        reserve_for(store, hashes.size());
        walk(store, hashes, [&](std::size_t, std::uint32_t slot) {
            if (slot == no_index) {
                out.push_back(RawGuard{});
                return true;
            }
            store.acquire(slot);
            out.push_back(store.guard_of(slot));
            ++hits;
            return true;
        });
        store.counters.match_hashes_requested_add(hashes.size());
        store.counters.match_blocks_returned_add(hits);
        store.publish_sizes();
    }
    store.counters.inflight_immutable_add(static_cast<std::int64_t>(hits));
    if (store.registry.has_frequency_tracking()) {
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            if (out.data()[i].store != nullptr) {
                EngineAccess::touch(store.registry, hashes[i]);
            }
        }
    }
    return hits;
}

void Engine::scan(Store& store, std::span<const SequenceHash> hashes, Touch touch, RawList& out) {
    if (hashes.empty()) {
        return;
    }
    out.reserve_more(hashes.size());
    // In a sole store the lock is that of the registry too, so liveness is seen in the same walk.
    const bool touches = touch == Touch::yes && store.registry.has_frequency_tracking();
    Marks live(touches ? hashes.size() : 0);
    bool is_sole = false;
    {
        const Lock lock(store.mutex);
        reserve_for(store, hashes.size());
        is_sole = store.is_sole.load(std::memory_order_relaxed);
        walk(store, hashes, [&](std::size_t i, std::uint32_t slot_index) {
            if (touches && is_sole &&
                (slot_index != no_index ||
                 EngineAccess::has_live_entry(store.registry, hashes[i]))) {
                live.set(i);
            }
            if (slot_index == no_index) {
                return true;
            }
            // A primary's list link is free: it holds the place of this block in the result, which
            // is believed only if the result agrees, so nothing has to be cleared.
            Slot& slot = store.slots[slot_index];
            const bool found = slot.state() == BlockState::primary && slot.prev < out.size() &&
                               out.data()[slot.prev].id == slot_index;
            if (!found) {
                store.acquire(slot_index);
                slot.prev = static_cast<std::uint32_t>(out.size());
                out.push_back(store.guard_of(slot_index));
            }
            return true;
        });
        store.counters.scan_hashes_requested_add(hashes.size());
        store.counters.scan_blocks_returned_add(out.size());
        store.publish_sizes();
    }
    store.counters.inflight_immutable_add(static_cast<std::int64_t>(out.size()));
    if (touches && is_sole) {
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            if (live[i]) {
                EngineAccess::touch(store.registry, hashes[i]);
            }
        }
    } else if (touches) {
        EngineAccess::touch_live(store.registry, hashes);
    }
}

std::optional<RawGuard> Engine::upgrade(const RawGuard& weak, const SequenceHash& hash) {
    Store& store = *weak.store;
    std::optional<RawGuard> guard;
    {
        const Lock lock(store.mutex);
        reserve_for(store, 1);
        auto slot_index = static_cast<std::uint32_t>(weak.id);
        const SlotWord word = store.slots[slot_index].word();
        if (word.generation() != weak.generation || word.state() != BlockState::duplicate) {
            // Not a live duplicate: the hash leads to the same slot if it is still the primary.
            slot_index = store.find(hash);
        }
        if (slot_index == no_index) {
            return std::nullopt;
        }
        store.acquire(slot_index);
        guard = store.guard_of(slot_index);
        store.publish_sizes();
    }
    store.counters.inflight_immutable_add(1);
    return guard;
}

}  // namespace kvbm::detail::blocks
