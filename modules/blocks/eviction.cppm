//! kvbm.blocks:eviction: the inactive pool under each of its policies. Internal: seen by the bodies
//! of kvbm.blocks only.
//!
//! The set of policies is closed and each works on the slots' own links. A policy sees inactive
//! slots only: insert, remove, next victim. Source: blocks.md 8.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

module kvbm.blocks:eviction;

import :lineage;
import :raw;
import :slot_list;
import :slots;

namespace kvbm::detail::blocks {

/// The inactive blocks of a store in the order in which they are evicted.
class InactivePool {
  public:
    InactivePool(const StoreOptions& options, const SlotArray& slots,
                 const registry::TagIndex& index, std::uint64_t multiplier,
                 const FrequencyTracker* tracker)
        : slots_(slots.span()),
          tracker_(tracker),
          thresholds_(options.thresholds),
          levels_{SlotList(slots), SlotList(slots), SlotList(slots), SlotList(slots)} {
        if (options.eviction == EvictionKind::lineage_tick) {
            forest_.emplace(LineageEviction::tick, slots, index, multiplier);
        } else if (options.eviction == EvictionKind::lineage_fifo) {
            forest_.emplace(LineageEviction::fifo, slots, index, multiplier);
        } else if (options.eviction == EvictionKind::multi_lru) {
            by_frequency_ = true;
        }
    }

    inline std::size_t size() const noexcept { return forest_ ? forest_->size() : listed_; }

    /// Room to take back this many blocks that are held now. May throw bad_alloc, with nothing
    /// changed.
    inline void reserve(std::size_t held) {
        if (forest_) {
            forest_->reserve(held);
        }
    }

    /// The slot, until now primary, enters and becomes inactive.
    inline void insert(std::uint32_t slot) noexcept {
        if (forest_) {
            forest_->insert(slot);
            return;
        }
        const unsigned level = by_frequency_ ? level_of(slots_[slot].hash) : 0;
        slots_[slot].set_word(slots_[slot].word().with(BlockState::inactive).with_mark(level));
        levels_[level].push_back(slot);
        ++listed_;
    }

    /// The slot, still in state inactive, leaves.
    inline void remove(std::uint32_t slot) noexcept {
        if (forest_) {
            forest_->remove(slot);
            return;
        }
        levels_[slots_[slot].word().mark()].remove(slot);
        --listed_;
    }

    /// The next victim, removed. Rule: the pool is not empty.
    inline std::uint32_t pop() noexcept {
        if (forest_) {
            return forest_->pop();
        }
        expects(listed_ != 0, "a policy that holds n blocks yields n");
        --listed_;
        std::size_t level = 0;
        while (levels_[level].size() == 0) {
            ++level;
        }
        return levels_[level].pop_front();
    }

    /// An active block's slot is about to leave the index.
    inline void leave_index(std::uint32_t slot) noexcept {
        if (forest_) {
            forest_->leave_index(slot);
        }
    }

    /// A hash enters the index that has met another there under the same tag.
    inline void note_neighbours(const SequenceHash& one, const SequenceHash& other) noexcept {
        if (forest_) {
            forest_->note_neighbours(one, other);
        }
    }

    /// Checks that the policy holds exactly the inactive slots. O(blocks).
    void audit(InvariantReport& report) const;

  private:
    /// The list of a hash by its estimate at this moment (blocks.md E5).
    inline unsigned level_of(const SequenceHash& hash) const noexcept {
        const std::uint32_t uses = tracker_->count(hash);
        return uses < thresholds_[0]   ? 0
               : uses < thresholds_[1] ? 1
               : uses < thresholds_[2] ? 2
                                       : 3;
    }
    void audit_list(const SlotList& list, unsigned level, InvariantReport& report) const;

    std::span<Slot> slots_;
    const FrequencyTracker* tracker_;
    std::array<std::uint32_t, 3> thresholds_;
    bool by_frequency_ = false;
    std::size_t listed_ = 0;
    std::array<SlotList, 4> levels_;
    std::optional<LineageForest> forest_;
};

}  // namespace kvbm::detail::blocks
