//! kvbm.blocks:slot_list: a queue of slots linked through themselves. Internal: seen by the bodies
//! of kvbm.blocks only.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks:slot_list;

import :slots;

namespace kvbm::detail::blocks {

/// Slots in the order in which they came, linked through themselves.
///
/// A pop is a miss in memory, and a chain of them would be a chain of dependent misses. So a slot
/// that enters writes its number into the one that entered `distance` before it, which is still in
/// the cache, and whoever pops that one prefetches it. A stale hint is harmless: nothing but a
/// prefetch uses it.
class SlotList {
  public:
    explicit SlotList(const SlotArray& slots) noexcept : slots_(slots.span()) {
        recent_.fill(no_index);
    }
    inline std::size_t size() const noexcept { return size_; }
    inline std::uint32_t front() const noexcept { return head_; }

    inline void push_back(std::uint32_t index) noexcept {
        Slot& slot = slots_[index];
        slot.prev = tail_;
        slot.next = no_index;
        slot.hint = no_index;
        if (tail_ == no_index) {
            head_ = index;
        } else {
            slots_[tail_].next = index;
        }
        tail_ = index;
        ++size_;
        std::uint32_t& earlier = recent_[entered_++ % distance];
        if (earlier != no_index) {
            slots_[earlier].hint = index;
        }
        earlier = index;
    }
    inline void remove(std::uint32_t index) noexcept {
        const Slot& slot = slots_[index];
        (slot.prev == no_index ? head_ : slots_[slot.prev].next) = slot.next;
        (slot.next == no_index ? tail_ : slots_[slot.next].prev) = slot.prev;
        --size_;
    }
    inline std::uint32_t pop_front() noexcept {
        const std::uint32_t index = head_;
        expects(index != no_index, "a policy that holds n blocks yields n");
        const std::uint32_t hint = slots_[index].hint;
        if (hint != no_index) {
            __builtin_prefetch(&slots_[hint], 1);
        }
        remove(index);
        return index;
    }

  private:
    static constexpr std::size_t distance = 8;

    std::span<Slot> slots_;
    std::uint32_t head_ = no_index;
    std::uint32_t tail_ = no_index;
    std::size_t size_ = 0;
    std::array<std::uint32_t, distance> recent_{};
    std::size_t entered_ = 0;
};

}  // namespace kvbm::detail::blocks
