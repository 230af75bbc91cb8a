//! kvbm.frequency:writer: who writes the counters of a sketch.
//!
//! A locked instruction holds up all memory accesses behind it, and a touch needs four of them.
//! Most sketches are touched by one thread only, the scheduler's, which needs none. So a sketch
//! belongs to the first thread that touches it, which writes with plain loads and stores, until a
//! second one comes; from then on all of them compare and swap, for good.
//!
//!   nobody -> a thread -> withdrawing -> everybody
//!
//! The owner announces itself, then looks whether it is still the owner; who withdraws the
//! ownership does it the other way round. Each must see the other's store, for which both would
//! need a fence. The owner saves its own: whoever withdraws makes the kernel run one on all threads
//! of the process
//! (`membarrier`). Where there is no such call, a sketch belongs to everybody from the start.
module;

#include <atomic>
#include <cstdint>

export module kvbm.frequency:writer;

namespace kvbm::detail::frequency {

/// Lets the first thread write alone until a second one comes. For the layers above, not for users.
///
/// Thread-safe. A thread waits once in the life of an object at most: the second one, and those
/// that come beside it, until the owner has left.
export class SoleWriter {
  public:
    SoleWriter() noexcept;
    SoleWriter(const SoleWriter&) = delete;
    SoleWriter& operator=(const SoleWriter&) = delete;

    /// True: no other thread writes before this one has called leave(). False: other threads write
    /// too, each by locked instructions, and leave() is not called.
    inline bool enter() noexcept {
        const std::uintptr_t owner = owner_.load(std::memory_order_acquire);
        return owner != everybody && enter_as(owner);
    }
    /// Ends what a true enter() began.
    inline void leave() noexcept { inside_.store(false, std::memory_order_release); }

  private:
    // Addresses of bytes that each thread has one of are odd or even, but never these.
    static constexpr std::uintptr_t nobody = 0;
    static constexpr std::uintptr_t everybody = 1;
    static constexpr std::uintptr_t withdrawing = 2;

    bool enter_as(std::uintptr_t owner) noexcept;
    void withdraw(std::uintptr_t owner) noexcept;

    std::atomic<std::uintptr_t> owner_;
    alignas(64) std::atomic<bool> inside_{false};  ///< written by each touch of the owner's
};

}  // namespace kvbm::detail::frequency
