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
/// Hash, entry and links of mutable and staged slots belong to their owners and are not read.
class Audit {
  public:
    explicit Audit(const Store& store) : store_(store), seen_(store.slots.size(), Place::nowhere) {}

    InvariantReport run() {
        reset_pool();
        inactive_pool();
        index();
        std::vector<std::uint32_t> duplicates_of(store_.slots.size(), 0);
        for (std::uint32_t i = 0; i < store_.slots.size(); ++i) {
            place(i);
            references(i);
            duplicate(i, duplicates_of);
        }
        for (std::uint32_t i = 0; i < store_.slots.size(); ++i) {
            check(references_of(i) >= duplicates_of[i], "G5", i,
                  "a primary has a reference of each live duplicate");
        }
        gauges();
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
        return store_.slots[slot].references.load(std::memory_order_relaxed);
    }
    bool in_range(std::uint32_t slot) const noexcept { return slot < store_.slots.size(); }

    void enter(std::uint32_t slot, Place place, BlockState state) {
        check(seen_[slot] == Place::nowhere, "P2", slot, "a block is in one pool, once");
        seen_[slot] = place;
        check(store_.slots[slot].state() == state, "P2", slot,
              "a pool holds blocks of its own state");
    }

    void reset_pool() {
        for (std::size_t i = 0; i < store_.reset.size(); ++i) {
            enter(store_.reset[i], Place::reset, BlockState::reset);
        }
    }

    void inactive_pool() {
        std::size_t count = 0;
        for (std::uint32_t slot = 0; slot < store_.slots.size(); ++slot) {
            if (store_.slots[slot].state() == BlockState::inactive) {
                enter(slot, Place::inactive, BlockState::inactive);
                ++count;
            }
        }
        if (count != store_.inactive.size()) {
            report_.violations.push_back({"P2", {}, "the inactive pool counts its blocks"});
        }
        store_.inactive.audit(report_);
    }

    void index() {
        std::size_t named = 0;
        store_.index.for_each([&](std::uint32_t slot) {
            ++named;
            const BlockState state = store_.slots[slot].state();
            check(state == BlockState::primary || state == BlockState::inactive, "R1", slot,
                  "the index leads to primary and inactive blocks only");
        });
        if (named != store_.index.size()) {
            report_.violations.push_back({"R1", {}, "the index has as many entries as counted"});
        }
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
                entered(i);
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
        check(slot.entry != no_index && store_.entry_of(slot).hash == slot.hash, "R4", i,
              "a registered block holds the registry entry of its hash");
    }

    void references(std::uint32_t i) {
        const BlockState state = store_.slots[i].state();
        if (state == BlockState::primary || state == BlockState::duplicate) {
            check(references_of(i) > 0, "G4", i, "a registered block that is not inactive is held");
        } else {
            check(references_of(i) == 0, "G4", i,
                  "a block that is not registered has no references");
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

    void gauges() {
        const MetricsSnapshot snapshot = store_.metrics->snapshot();
        if (snapshot.reset_pool_size != static_cast<std::int64_t>(store_.reset.size()) ||
            snapshot.inactive_pool_size != static_cast<std::int64_t>(store_.inactive.size())) {
            report_.violations.push_back({"V8", {}, "the pool gauges are the sizes of the pools"});
        }
    }

    const Store& store_;
    std::vector<Place> seen_;
    InvariantReport report_;
};

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
        const Slot& slot = store.slots[i];
        const SlotWord word = slot.word();
        blocks[i].id = i;
        blocks[i].state = word.state();
        if (word.state() != BlockState::reset && word.state() != BlockState::mutable_block) {
            blocks[i].hash = slot.hash;
        }
        blocks[i].references = slot.references.load(std::memory_order_relaxed);
        blocks[i].evict_on_reset = word.evict_on_reset();
    }
    return blocks;
}

}  // namespace kvbm::detail::blocks
