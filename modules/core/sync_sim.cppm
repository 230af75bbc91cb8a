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
//!   schedules     a Schedule runs threads one at a time and switches at locks and pause points, as
//!                 a seed decides, so that a run can be repeated
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
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <source_location>
#include <span>
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
/// circle. In a schedule others run until the lock is free.
void about_to_lock(const LockIdentity& lock, bool shared) noexcept;
void locked(const LockIdentity& lock) noexcept;
/// Called before and after a lock is given back. Afterwards it may be gone.
void about_to_unlock(const LockIdentity& lock) noexcept;
void unlocked(std::uint64_t lock_number) noexcept;

/// A mutex that knows how often it was taken, with its order checked.
export class Mutex {
  public:
    explicit Mutex(const std::source_location& made = std::source_location::current()) noexcept
        : identity_(made) {}
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    inline void lock() {
        about_to_lock(identity_, false);
        mutex_.lock();
        locked(identity_);
        ++acquisitions_;
    }
    inline void unlock() noexcept {
        const std::uint64_t number = identity_.number;
        about_to_unlock(identity_);
        mutex_.unlock();
        unlocked(number);
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
        about_to_lock(identity_, false);
        mutex_.lock();
        locked(identity_);
    }
    inline void unlock() noexcept {
        const std::uint64_t number = identity_.number;
        about_to_unlock(identity_);
        mutex_.unlock();
        unlocked(number);
    }
    inline void lock_shared() {
        about_to_lock(identity_, true);
        mutex_.lock_shared();
        locked(identity_);
    }
    inline void unlock_shared() noexcept {
        const std::uint64_t number = identity_.number;
        about_to_unlock(identity_);
        mutex_.unlock_shared();
        unlocked(number);
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

/// The same, but a schedule does not switch here.
export void parking_point(std::string_view name) noexcept;

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

/// Runs bodies as if each were a thread, one at a time: at each lock and pause point it may go on
/// with another. All run on the calling thread, on stacks of 256 KiB, so that a switch costs less
/// than a microsecond. The same seed gives the same run.
///
/// Odd seeds choose at random at each point. Even seeds give each thread a priority and lower the
/// running one's at three points, which finds rare orders sooner. All waiting for locks is a
/// deadlock and aborts. The bodies wait for nothing else, and throw nothing out.
export class Schedule {
  public:
    explicit Schedule(std::uint64_t seed) noexcept : seed_(seed) {}

    /// Returns when all bodies have ended.
    void run(std::span<const std::function<void()>> bodies);
    /// Points at which the runs so far could have switched.
    std::uint64_t points() const noexcept { return points_; }

  private:
    std::uint64_t seed_;
    std::uint64_t points_ = 0;
};

}  // namespace kvbm::detail::core
