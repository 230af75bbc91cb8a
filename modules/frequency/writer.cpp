module;

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

module kvbm.frequency;

import :writer;

namespace kvbm::detail::frequency {

namespace {

#if defined(__linux__)
bool membarrier(int command) noexcept {
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}
/// Whether fence_all_threads() works in this process. The kernel wants to be told in advance.
bool can_fence_all_threads() noexcept {
    static const bool can = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    return can;
}
/// A full fence on each thread of the process.
bool fence_all_threads() noexcept {
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}
#else
bool can_fence_all_threads() noexcept {
    return false;
}
bool fence_all_threads() noexcept {
    return false;
}
#endif

/// Tells threads that live at the same time apart, at the price of an addition.
std::uintptr_t this_thread() noexcept {
    thread_local const char mark = 0;
    return reinterpret_cast<std::uintptr_t>(&mark);
}

}  // namespace

SoleWriter::SoleWriter() noexcept : owner_(can_fence_all_threads() ? nobody : everybody) {}

bool SoleWriter::enter_as(std::uintptr_t owner) noexcept {
    const std::uintptr_t self = this_thread();
    if (owner == nobody && owner_.compare_exchange_strong(owner, self, std::memory_order_relaxed)) {
        owner = self;
    }
    if (owner != self) {
        withdraw(owner);
        return false;
    }
    core::parking_point("frequency.enter.looked");
    inside_.store(true, std::memory_order_relaxed);
    // Keeps the compiler from looking first; withdraw() keeps the processor from it.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (owner_.load(std::memory_order_relaxed) == self) {
        return true;
    }
    leave();
    return false;
}

void SoleWriter::withdraw(std::uintptr_t owner) noexcept {
    if (owner != withdrawing && owner != everybody &&
        owner_.compare_exchange_strong(owner, withdrawing, std::memory_order_relaxed)) {
        if (!fence_all_threads()) {
            // A process may forbid itself system calls after it began. Within that time each store
            // has left its processor's buffer.
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        // The owner has either seen that it is none any more, or is seen inside. Acquire: what it
        // wrote there stands before what the caller writes.
        while (inside_.load(std::memory_order_acquire)) {
            core::parking_point("frequency.withdraw.waits");
            std::this_thread::yield();
        }
        owner_.store(everybody, std::memory_order_release);
        return;
    }
    while (owner_.load(std::memory_order_acquire) == withdrawing) {
        core::parking_point("frequency.withdraw.beside");
        std::this_thread::yield();
    }
}

}  // namespace kvbm::detail::frequency
