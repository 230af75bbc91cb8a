//! kvbm.core:sync, as the test-only library kvbm_sim has it in place of sync.cppm.
//!
//! The same names with the same meaning, and in addition:
//!
//!   locks         are checked: taking one twice, or in an order that closes a circle with any
//!   order
//!                 seen before in the run, prints the circle and aborts
//!   locks_held    the locks of the calling thread, so that user code can prove that it runs under
//!                 none
//!   pause points  a Parking stops the next thread that comes to a point until the test lets it go
//!
//! Circles are sought among locks and among *kinds* of lock, so that two locks of two managers in
//! one order, and two others in the other, are found as well. A kind is the place in the source
//! where the lock is made.
//!
//! As long as no lock is taken under another and nothing is parked, threads share no memory here:
//! what a sanitizer sees is the library's own synchronisation.
module;

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <source_location>
#include <string_view>

export module kvbm.core:sync;

namespace kvbm::detail::core {

/// What the check knows of one lock.
struct LockIdentity {
    explicit LockIdentity(const std::source_location& made) noexcept;
    std::uint64_t number;  ///< no other lock of the run has it
    const char* file;      ///< file and line: the kind
    std::uint_least32_t line;
};

/// Called before and after a lock is waited for. Fails on a lock that the thread has, or on a
/// circle.
void about_to_lock(const LockIdentity& lock) noexcept;
void locked(const LockIdentity& lock) noexcept;
/// Called before a lock is given back: afterwards it may be gone.
void about_to_unlock(const LockIdentity& lock) noexcept;

/// A mutex that knows how often it was taken, with its order checked.
export class Mutex {
  public:
    explicit Mutex(const std::source_location& made = std::source_location::current()) noexcept
        : identity_(made) {}
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    inline void lock() {
        about_to_lock(identity_);
        mutex_.lock();
        locked(identity_);
        ++acquisitions_;
    }
    inline void unlock() noexcept {
        about_to_unlock(identity_);
        mutex_.unlock();
    }

    /// Times lock() returned so far, this caller's own included. Call it with the mutex held.
    inline std::uint64_t acquisitions() const noexcept { return acquisitions_; }

  private:
    std::mutex mutex_;
    std::uint64_t acquisitions_ = 0;
    LockIdentity identity_;
};

/// Holds a Mutex for a scope.
export using Lock = std::unique_lock<Mutex>;

/// A mutex that readers share, with its order checked. A thread that reads may not read again: a
/// writer that waits in between would stop both.
export class SharedMutex {
  public:
    explicit SharedMutex(
        const std::source_location& made = std::source_location::current()) noexcept
        : identity_(made) {}
    SharedMutex(const SharedMutex&) = delete;
    SharedMutex& operator=(const SharedMutex&) = delete;

    inline void lock() {
        about_to_lock(identity_);
        mutex_.lock();
        locked(identity_);
    }
    inline void unlock() noexcept {
        about_to_unlock(identity_);
        mutex_.unlock();
    }
    inline void lock_shared() {
        about_to_lock(identity_);
        mutex_.lock_shared();
        locked(identity_);
    }
    inline void unlock_shared() noexcept {
        about_to_unlock(identity_);
        mutex_.unlock_shared();
    }

  private:
    std::shared_mutex mutex_;
    LockIdentity identity_;
};

/// Holds a SharedMutex for a scope, with other readers.
export using SharedLock = std::shared_lock<SharedMutex>;
/// Holds a SharedMutex for a scope, alone.
export using ExclusiveLock = std::unique_lock<SharedMutex>;

/// Locks that the calling thread has.
export std::size_t locks_held() noexcept;

/// A place in the library where a test may park a thread. The names are those in the sources.
export void pause_point(std::string_view name) noexcept;

struct ParkingPlace;

/// Parks one thread at a pause point: the first that arrives once `pass` others went by.
///
/// Used by the thread of the test, which then does what shall happen meanwhile and calls let_go().
/// A wait that takes longer than a minute prints the name of the point and aborts.
export class Parking {
  public:
    explicit Parking(std::string_view point, std::size_t pass = 0);
    Parking(const Parking&) = delete;
    Parking& operator=(const Parking&) = delete;
    /// Lets the thread go, if there is one.
    ~Parking();

    /// Returns when a thread is parked here.
    void await() const;
    /// Threads that came to the point since this was made, the parked one included.
    std::size_t arrivals() const;
    /// The parked thread goes on; later ones go by.
    void let_go();

  private:
    std::shared_ptr<ParkingPlace> place_;
};

}  // namespace kvbm::detail::core
