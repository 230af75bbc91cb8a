module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

/// Looks at every record of a store, with the lock held, and writes down each broken invariant.
///
/// Hash, entry and links of mutable and staged slots belong to their owners and are not read. What
/// follows the lock only after it is given back can be seen only when nothing is in flight, or not
/// at all: presence is looked at if no registration is between its lock and its end, and then it
/// may be above what this store has, since other stores and pending evictions count as well. The
/// gauge of immutable guards and what guards remember of a slot's life (G8) are not visible here.
class Audit {
  public:
    explicit Audit(const Store& store) : store_(store), seen_(store.slots.size(), Place::nowhere) {}

    InvariantReport run() {
        reset_pool();
        totals();
        inactive_pool();
        index();
        std::vector<std::uint32_t> duplicates_of(store_.slots.size(), 0);
        for (std::uint32_t i = 0; i < store_.slots.size(); ++i) {
            place(i);
            references(i);
            flag(i);
            duplicate(i, duplicates_of);
        }
        for (std::uint32_t i = 0; i < store_.slots.size(); ++i) {
            check(references_of(i) >= duplicates_of[i], "G5", i,
                  "a primary has a reference of each live duplicate");
        }
        check_whole(!is_sole_ || linked_ == store_.linked, "R4",
                    "a store without entries counts those it has");
        metrics();
        return std::move(report_);
    }

  private:
    enum class Place : std::uint8_t { nowhere, reset, inactive };

    void check(bool holds, const char* id, std::uint32_t slot, const char* text) {
        if (!holds) {
            report_.violations.push_back({id, {slot}, text});
        }
    }
    std::uint32_t references_of(std::uint32_t slot) const noexcept {
        return store_.slots[slot].references();
    }
    bool in_range(std::uint32_t slot) const noexcept { return slot < store_.slots.size(); }

    void enter(std::uint32_t slot, Place place, BlockState state) {
        check(seen_[slot] == Place::nowhere, "P2", slot, "a block is in one pool, once");
        seen_[slot] = place;
        check(store_.slots[slot].state() == state, "P2", slot,
              "a pool holds blocks of its own state");
    }

    void check_whole(bool holds, const char* id, const char* text) {
        if (!holds) {
            report_.violations.push_back({id, {}, text});
        }
    }

    void reset_pool() {
        std::uint64_t earlier = 0;
        for (std::size_t i = 0; i < store_.reset.size(); ++i) {
            const std::uint32_t slot = store_.reset[i];
            if (!in_range(slot)) {
                check_whole(false, "P2", "the reset pool names blocks of its manager");
                continue;
            }
            enter(slot, Place::reset, BlockState::reset);
            check(store_.slots[slot].since >= earlier, "P5", slot,
                  "the reset pool is in the order in which blocks came");
            earlier = store_.slots[slot].since;
        }
    }

    void totals() {
        std::size_t held = 0;
        for (std::size_t i = 0; i < store_.slots.size(); ++i) {
            const BlockState state = store_.slots[i].state();
            held += state != BlockState::reset && state != BlockState::inactive ? 1 : 0;
            mutable_blocks_ += state == BlockState::mutable_block ? 1 : 0;
        }
        check_whole(held == store_.held(), "P3",
                    "free, cached and held blocks are all the blocks there are");
    }

    void inactive_pool() {
        std::size_t count = 0;
        for (std::uint32_t slot = 0; slot < store_.slots.size(); ++slot) {
            if (store_.slots[slot].state() == BlockState::inactive) {
                enter(slot, Place::inactive, BlockState::inactive);
                ++count;
            }
        }
        check_whole(count == store_.inactive.size(), "P2", "the inactive pool counts its blocks");
        store_.inactive.audit(report_);
    }

    void index() {
        std::size_t named = 0;
        store_.index.for_each([&](std::uint32_t slot) {
            ++named;
            if (!in_range(slot)) {
                check_whole(false, "R1", "the index leads to blocks of its manager");
                return;
            }
            const BlockState state = store_.slots[slot].state();
            check(state == BlockState::primary || state == BlockState::inactive, "R1", slot,
                  "the index leads to primary and inactive blocks only");
        });
        check_whole(named == store_.index.size(), "R1", "the index has as many entries as counted");
    }

    void place(std::uint32_t i) {
        const Slot& slot = store_.slots[i];
        switch (slot.state()) {
            case BlockState::reset:
                check(seen_[i] == Place::reset, "P1", i, "a free block is in the reset pool");
                return;
            case BlockState::inactive:
                check(seen_[i] == Place::inactive, "P1", i, "an inactive block is in its pool");
                named(i);
                return;
            case BlockState::primary:
                check(seen_[i] == Place::nowhere, "P7", i, "a held block is in no pool");
                named(i);
                return;
            case BlockState::duplicate:
                check(seen_[i] == Place::nowhere, "P7", i, "a held block is in no pool");
                if (store_.slots[i].entry != no_index) {
                    entered(i);
                }
                return;
            case BlockState::mutable_block:
            case BlockState::staged:
                check(seen_[i] == Place::nowhere, "P1", i, "an owned block is in no pool");
                return;
        }
        report_.violations.push_back({"P1", {i}, "a block is in one of six states"});
    }

    /// A primary or inactive slot: its hash leads to it and nowhere else.
    void named(std::uint32_t i) {
        check(store_.find(store_.slots[i].hash) == i, "R1", i,
              "the hash of a primary or inactive block leads to it");
        entered(i);
    }

    void entered(std::uint32_t i) {
        const Slot& slot = store_.slots[i];
        Entry* entry = store_.entry_of(slot);
        if (is_sole_ && entry == nullptr) {
            check(!EngineAccess::has_live_entry(store_.registry, slot.hash), "R4", i,
                  "a registered block holds the registry entry of its hash, if there is one");
            return;
        }
        if (entry == nullptr || entry->hash != slot.hash ||
            entry->references.load(std::memory_order_relaxed) == 0) {
            check(false, "R4", i, "a registered block holds the registry entry of its hash");
            return;
        }
        linked_ += slot.state() != BlockState::duplicate ? 1 : 0;
        // A sole store raises it under the lock.
        const bool settled = is_sole_ || snapshot_.registrations == store_.registered;
        check(!settled || EngineAccess::handle(*entry).has_block(store_.tier), "R3", i,
              "a registered block is present in its tier");
    }

    void references(std::uint32_t i) {
        const BlockState state = store_.slots[i].state();
        if (state == BlockState::primary || state == BlockState::duplicate) {
            check(store_.slots[i].copies.load(std::memory_order_relaxed) > 0, "G4", i,
                  "a registered block that is not inactive is held");
        } else if (state == BlockState::inactive) {
            check(references_of(i) == 0, "P7", i, "an evictable block is held by nobody");
        } else {
            check(references_of(i) == 0, "G4", i,
                  "a block that is not registered has no references");
        }
    }

    void flag(std::uint32_t i) {
        const SlotWord word = store_.slots[i].word();
        if (word.state() == BlockState::mutable_block || word.state() == BlockState::staged) {
            check(word.evict_on_reset() == store_.default_flag, "P11", i,
                  "a block that is not registered has the default flag");
        }
    }

    void duplicate(std::uint32_t i, std::vector<std::uint32_t>& duplicates_of) {
        const Slot& slot = store_.slots[i];
        if (slot.state() != BlockState::duplicate) {
            return;
        }
        check(store_.duplication == BlockDuplicationPolicy::allow, "R8", i,
              "a manager that rejects has no duplicates");
        if (!in_range(slot.primary)) {
            report_.violations.push_back({"G5", {i}, "a duplicate names its primary"});
            return;
        }
        const Slot& primary = store_.slots[slot.primary];
        check(primary.state() == BlockState::primary && primary.hash == slot.hash, "G5", i,
              "a duplicate's primary is active under the same hash");
        ++duplicates_of[slot.primary];
    }

    void metrics() {
        const MetricsSnapshot& s = snapshot_;
        check_whole(s.reset_pool_size == static_cast<std::int64_t>(store_.reset.size()) &&
                        s.inactive_pool_size == static_cast<std::int64_t>(store_.inactive.size()),
                    "V8", "the pool gauges are the sizes of the pools");
        check_whole(s.inflight_mutable == mutable_blocks_, "V8",
                    "the gauge of mutable guards counts the mutable blocks");
        check_whole(s.allocations == s.allocations_from_reset + s.evictions, "V8",
                    "an allocated block was free or evicted");
        check_whole(s.registrations <= store_.registered, "V8",
                    "a registration is counted when it has happened");
        check_whole(s.duplicate_blocks + s.registration_dedup <= store_.registered, "V8",
                    "duplicates and rejected blocks are registrations");
        check_whole(s.match_blocks_returned <= s.match_hashes_requested &&
                        s.scan_blocks_returned <= s.scan_hashes_requested,
                    "V8", "a lookup returns no more than it was asked for");
        check_whole(s.eager_primary_to_inactive_total == s.release_primary_noop_total, "V8",
                    "a revived block has one superseded drop");
        check_whole(s.allocate_atomic_rollback_total == 0 && s.release_duplicate_noop_total == 0,
                    "V8", "what cannot happen is not counted");
    }

    const Store& store_;
    const MetricsSnapshot snapshot_ = store_.metrics->snapshot();
    const bool is_sole_ = store_.is_sole.load(std::memory_order_relaxed);
    std::int64_t mutable_blocks_ = 0;
    std::size_t linked_ = 0;
    std::vector<Place> seen_;
    InvariantReport report_;
};

BlockUse use_of(BlockState state) noexcept {
    switch (state) {
        case BlockState::reset:
            return BlockUse::free;
        case BlockState::inactive:
            return BlockUse::cached;
        default:
            return BlockUse::live;
    }
}

}  // namespace

InvariantReport Engine::check_invariants(const Store& store) {
    const Lock lock(store.mutex);
    ++store.uncounted_locks;
    return Audit(store).run();
}

std::vector<BlockInfo> Engine::inspect(const Store& store) {
    std::vector<BlockInfo> blocks(store.slots.size());
    const Lock lock(store.mutex);
    ++store.uncounted_locks;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        Slot& slot = store.slots[i];
        const SlotWord word = slot.word();
        blocks[i].id = i;
        blocks[i].state = word.state();
        if (word.state() != BlockState::reset && word.state() != BlockState::mutable_block) {
            blocks[i].hash = slot.hash;
        }
        blocks[i].references = slot.references();
        blocks[i].evict_on_reset = word.evict_on_reset();
        blocks[i].use = use_of(word.state());
        blocks[i].since = slot.since;
    }
    return blocks;
}

}  // namespace kvbm::detail::blocks
