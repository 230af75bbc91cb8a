//! kvbm.core:sync: the locks of the library and its pause points, in one place.
//!
//! The test-only library kvbm_sim has sync_sim.cppm instead: there locks check their order, and a
//! pause point may park its thread. The count of acquisitions costs one plain store under the lock;
//! counting tests read it to prove "one lock per call".
module;

#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string_view>

export module kvbm.core:sync;

namespace kvbm::detail::core {

/// A mutex that knows how often it was taken. For the layers above, not for users.
export class Mutex {
  public:
    Mutex() = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    inline void lock() {
        mutex_.lock();
        ++acquisitions_;
    }
    inline void unlock() noexcept { mutex_.unlock(); }

    /// Times lock() returned so far, this caller's own included. Call it with the mutex held.
    inline std::uint64_t acquisitions() const noexcept { return acquisitions_; }

  private:
    std::mutex mutex_;
    std::uint64_t acquisitions_ = 0;
};

/// Holds a Mutex for a scope. For the layers above, not for users.
export using Lock = std::unique_lock<Mutex>;

/// A mutex that readers share. For the layers above, not for users.
export using SharedMutex = std::shared_mutex;
/// Holds a SharedMutex for a scope, with other readers. For the layers above, not for users.
export using SharedLock = std::shared_lock<SharedMutex>;
/// Holds a SharedMutex for a scope, alone. For the layers above, not for users.
export using ExclusiveLock = std::unique_lock<SharedMutex>;

/// A named place between two steps that another thread can come between. Nothing at all here; in
/// kvbm_sim a test may park the thread. For the layers above, not for users.
export constexpr void pause_point(std::string_view) noexcept {}

/// The same, where a schedule of kvbm_sim may not switch: its threads are one to the system, and
/// what happens here tells threads of the system apart. For the layers above, not for users.
export constexpr void parking_point(std::string_view) noexcept {}

}  // namespace kvbm::detail::core
