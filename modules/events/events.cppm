//! kvbm.events: which hashes became known and which are gone, told in process.
//!
//! An EventsManager has a source (what is reported), a policy (of which hashes) and a journal: a
//! ring of the last events, numbered 0, 1, 2 ... Each Subscription reads it at its own pace.
//!
//!                         oldest                  newest
//!   stored, removed -->  | n - 4 | n - 3 | n - 2 | n - 1 |  --> next(), try_next(), drain()
//!                            ^ a subscriber that has not come so far loses these: Lagged
//!
//! Whoever emits never waits for a subscriber, allocates nothing and throws nothing. While nobody
//! subscribes, an event costs one relaxed load: it is not stored and takes no number.
//!
//! Invariants: V2 (per hash stored, removed, stored ... on one thread), V4 (missed + received =
//! numbers passed), V5, V7.
module;

#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <variant>

export module kvbm.events;

export import kvbm.core;
export import kvbm.hash;

namespace kvbm {

/// What happened to a hash, or to a tier.
export enum class EventKind : std::uint8_t {
    stored,   ///< the hash became known
    removed,  ///< the hash is gone
    cleared,  ///< everything of the tier, or of all tiers, is worthless now; sent by the owner
};

/// What an EventsManager reports. Source: events.md 1.
export enum class EventSource {
    /// The entries of a registry: `stored` when one is made, `removed` when its last handle goes. A
    /// handle kept by a user delays `removed`, although the block is gone. Knows no tier.
    registration,
};

/// One event. Trivially copyable.
export struct CacheEvent {
    EventKind kind = EventKind::stored;
    std::uint64_t number = 0;    ///< 0, 1, 2 ... of one manager, in the order of the journal
    SequenceHash hash;           ///< of stored and removed; all zero of cleared
    std::optional<TierId> tier;  ///< of cleared: none means all. Source `registration`: none

    friend bool operator==(const CacheEvent&, const CacheEvent&) noexcept = default;
};

/// Events were overwritten before this subscriber came to read them: exactly so many, the oldest.
export struct Lagged {
    std::uint64_t missed = 0;
    friend bool operator==(const Lagged&, const Lagged&) noexcept = default;
};
/// There is no event yet.
export struct Timeout {
    friend bool operator==(const Timeout&, const Timeout&) noexcept = default;
};
/// There will be no event any more: the manager is gone and all of its events were taken.
export struct Closed {
    friend bool operator==(const Closed&, const Closed&) noexcept = default;
};

/// What a subscription gives.
export using NextEvent = std::variant<CacheEvent, Lagged, Timeout, Closed>;

/// What Subscription::drain() gave.
export struct Drained {
    std::size_t count = 0;     ///< events written, from the front of the span
    std::uint64_t missed = 0;  ///< lost before the first of them
    bool closed = false;       ///< no event will come any more
    friend bool operator==(const Drained&, const Drained&) noexcept = default;
};

/// Decides whether the events of a hash are reported. Called once per registry entry, when the
/// entry is made, from the registering thread and with no lock held; must be thread-safe. One that
/// throws reports nothing (BlockRegistry::hook_failures()). Source: events.md 1.1.
export using EventPolicy = std::function<bool(const SequenceHash&)>;

/// Reports every hash. The default.
export struct AllEventsPolicy {
    constexpr bool operator()(const SequenceHash&) const noexcept { return true; }
};

/// Reports the hashes at positions that are powers of two from `min` to `max`, both inclusive.
/// Position 0 is none; `min > max` reports nothing.
export struct PowerOfTwoPolicy {
    std::size_t min = 16;
    std::size_t max = 65'536;
    constexpr bool operator()(const SequenceHash& hash) const noexcept {
        const std::size_t position = hash.position();
        return std::has_single_bit(position) && min <= position && position <= max;
    }
};

export class EventsManager;
export class EventsManagerBuilder;

namespace detail::events {

/// The ring of the last events of a manager; outlives it while somebody subscribes.
///
/// Producers meet at one mutex for a few stores. A subscriber reads a slot without it and then
/// looks whether the slot was overwritten meanwhile. The mutex of those who wait is taken by a
/// producer only while somebody waits.
class Journal {
  public:
    explicit Journal(std::size_t capacity) noexcept : capacity_(capacity) {}
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    std::size_t capacity() const noexcept { return capacity_; }

    inline void emit(EventKind kind, const SequenceHash& hash,
                     std::optional<TierId> tier) noexcept {
        if (subscribers_.load(std::memory_order_relaxed) != 0) {
            append(kind, hash, tier);
        }
    }
    /// The manager is gone.
    void close() noexcept;

    /// One more subscriber. Gives the number of the first event it will see. The first one takes
    /// the memory of the ring; may throw bad_alloc, with nothing changed.
    std::uint64_t join();
    void leave() noexcept { subscribers_.fetch_sub(1, std::memory_order_relaxed); }

    /// The event with this number, or what there is instead, without waiting; moves the number past
    /// what was given.
    NextEvent read(std::uint64_t& number) const noexcept;
    /// Waits until there is an event with this number, the journal is closed, or it is too late.
    void wait(std::uint64_t number, std::chrono::steady_clock::time_point deadline);

  private:
    /// An event as words that may be read while they are written. `mark` is the event's number + 1,
    /// and 0 while it is written.
    struct Slot {
        std::atomic<std::uint64_t> mark{0};
        std::atomic<std::uint64_t> high{0};
        std::atomic<std::uint64_t> low{0};
        std::atomic<std::uint64_t> kind_and_tier{0};
    };

    void append(EventKind kind, const SequenceHash& hash, std::optional<TierId> tier) noexcept;
    void wake() noexcept;
    Slot& slot_of(std::uint64_t number) const noexcept {
        return slots_[static_cast<std::size_t>(number) & (capacity_ - 1)];
    }
    std::optional<CacheEvent> copy(std::uint64_t number) const noexcept;

    const std::size_t capacity_;  // a power of two
    std::atomic<std::uint32_t> subscribers_{0};
    std::atomic<bool> closed_{false};
    core::Mutex mutex_;                  // held by who writes slots_, a slot or end_
    std::unique_ptr<Slot[]> slots_;      // constant once made
    std::atomic<std::uint64_t> end_{0};  // the number of the next event

    std::mutex wait_mutex_;
    std::condition_variable woken_;
    std::atomic<std::uint32_t> waiting_{0};
};

/// What a registry tells an EventsManager. For the layers above, not for users.
export class Emitter {
  public:
    /// Asks the policy, which may throw.
    static bool reports(const EventsManager& manager, const SequenceHash& hash);
    /// Never blocks on a subscriber, allocates or throws.
    static inline void emit(EventsManager& manager, EventKind kind,
                            const SequenceHash& hash) noexcept;
};

}  // namespace detail::events

/// The events of a manager from one moment on, in the order of their numbers, none twice.
///
/// Movable; destruction ends it. It keeps the journal alive, not the manager. Used by one thread at
/// a time. A moved-from subscription may only be assigned or destroyed. Source: events.md 1.2.
export class Subscription {
  public:
    Subscription(Subscription&& other) noexcept = default;
    Subscription& operator=(Subscription&& other) noexcept;
    ~Subscription();

    /// The next event, waiting for it until the timeout at most; at once if that is not positive.
    /// `Lagged` comes before the oldest event still there. An event whose `stored` was before this
    /// subscription may be `removed` in it.
    [[nodiscard]] NextEvent next(std::chrono::nanoseconds timeout);
    /// The same without waiting.
    [[nodiscard]] NextEvent try_next() noexcept;
    /// Takes what there is, as much as the span has room for, without waiting. Stops at a loss
    /// behind the first event: the next call reports it.
    [[nodiscard]] Drained drain(std::span<CacheEvent> out) noexcept;

    /// The number of the event that is expected next: received + missed + the first one's.
    std::uint64_t next_number() const noexcept { return number_; }

  private:
    friend class EventsManager;
    explicit Subscription(std::shared_ptr<detail::events::Journal> journal);
    detail::events::Journal& journal() const noexcept {
        expects(journal_ != nullptr, "a subscription that is used was not moved from");
        return *journal_;
    }

    std::shared_ptr<detail::events::Journal> journal_;
    std::uint64_t number_ = 0;
};

/// Reports what became known and what is gone to any number of subscribers.
///
/// Give it to BlockRegistry::builder().event_manager(). Held by shared pointers: by its owner and
/// by the registries that report to it, which keep it until their last handle is gone. Thread-safe.
/// Source: events.md 1.
export class EventsManager {
  public:
    static EventsManagerBuilder builder();
    EventsManager(const EventsManager&) = delete;
    EventsManager& operator=(const EventsManager&) = delete;
    /// Subscribers get what is left in the journal, then `Closed`.
    ~EventsManager();

    /// The events from the next one on. The first subscription takes the memory of the journal, 32
    /// bytes for each event of its capacity.
    [[nodiscard]] Subscription subscribe();

    /// Tells that everything of a tier is worthless, as after a change of the model's weights. No
    /// policy filters it.
    void clear(TierId tier) noexcept;
    /// The same for a tier known at compile time.
    template <class Tier>
    void clear() noexcept {
        clear(tier_id<Tier>());
    }
    /// The same for all tiers.
    void clear() noexcept;

    EventSource source() const noexcept { return EventSource::registration; }
    /// Events that the journal holds, a power of two.
    std::size_t capacity() const noexcept { return journal_->capacity(); }

  private:
    friend class EventsManagerBuilder;
    friend class detail::events::Emitter;
    EventsManager(EventPolicy policy, std::size_t capacity);

    const EventPolicy policy_;
    const std::shared_ptr<detail::events::Journal> journal_;
};

/// Options of an EventsManager.
export class EventsManagerBuilder {
  public:
    /// Events that the journal of every builder can hold at most.
    static constexpr std::size_t capacity_max = std::size_t{1} << 32;

    /// Which hashes are reported; any callable `bool(SequenceHash)`. Default: AllEventsPolicy.
    /// Rule: it can be called.
    EventsManagerBuilder& policy(EventPolicy policy);
    /// Events that a subscriber may be behind without a loss; rounded up to a power of two, within
    /// 1
    /// .. capacity_max. Default 65,536.
    EventsManagerBuilder& capacity(std::size_t events) noexcept;
    [[nodiscard]] std::shared_ptr<EventsManager> build() const;

  private:
    EventPolicy policy_ = AllEventsPolicy();
    std::size_t capacity_ = 65'536;
};

namespace detail::events {

inline void Emitter::emit(EventsManager& manager, EventKind kind,
                          const SequenceHash& hash) noexcept {
    manager.journal_->emit(kind, hash, std::nullopt);
}

}  // namespace detail::events

}  // namespace kvbm
