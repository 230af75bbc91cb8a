module;

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <variant>

module kvbm.events;

namespace kvbm {

namespace detail::events {

namespace {

// kind: bits 0 to 7; bit 8: there is a tier; its number: bits 32 to 63.
constexpr std::uint64_t tier_bit = 0x100;
constexpr unsigned tier_shift = 32;

constexpr std::uint64_t pack(EventKind kind, std::optional<TierId> tier) noexcept {
    const auto bits = static_cast<std::uint64_t>(kind);
    return tier ? bits | tier_bit | std::uint64_t{tier->value()} << tier_shift : bits;
}
constexpr EventKind kind_in(std::uint64_t word) noexcept {
    return static_cast<EventKind>(word & 0xFF);
}
constexpr std::optional<TierId> tier_in(std::uint64_t word) noexcept {
    return (word & tier_bit) == 0
               ? std::nullopt
               : std::optional(TierId(static_cast<std::uint32_t>(word >> tier_shift)));
}

}  // namespace

void Journal::append(EventKind kind, const SequenceHash& hash,
                     std::optional<TierId> tier) noexcept {
    {
        const core::Lock lock(mutex_);
        const std::uint64_t number = end_.load(std::memory_order_relaxed);
        Slot& slot = slot_of(number);
        slot.mark.store(0, std::memory_order_relaxed);
        // Release, each: who reads a word of this event sees that the old mark is gone. Pairs with
        // copy().
        slot.high.store(hash.high(), std::memory_order_release);
        slot.low.store(hash.low(), std::memory_order_release);
        slot.kind_and_tier.store(pack(kind, tier), std::memory_order_release);
        slot.mark.store(number + 1, std::memory_order_release);
        // Sequentially consistent with the load in wake(): see wait().
        end_.store(number + 1, std::memory_order_seq_cst);
    }
    wake();
}

void Journal::close() noexcept {
    closed_.store(true, std::memory_order_seq_cst);
    wake();
}

void Journal::wake() noexcept {
    if (waiting_.load(std::memory_order_seq_cst) == 0) {
        return;
    }
    {
        // Who waits is either asleep or has not looked yet: between the two it holds the mutex.
        const std::lock_guard<std::mutex> lock(wait_mutex_);
    }
    woken_.notify_all();
}

void Journal::wait(std::uint64_t number, std::chrono::steady_clock::time_point deadline) {
    std::unique_lock<std::mutex> lock(wait_mutex_);
    // First counted as waiting, then looking; producers first publish, then look who waits. All
    // four are sequentially consistent, so one of the two sees the other.
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    woken_.wait_until(lock, deadline, [&] {
        return end_.load(std::memory_order_seq_cst) != number ||
               closed_.load(std::memory_order_seq_cst);
    });
    waiting_.fetch_sub(1, std::memory_order_relaxed);
}

std::uint64_t Journal::join() {
    std::unique_lock<core::Mutex> lock(mutex_);
    if (slots_ == nullptr) {
        // Taken without the lock, so that producers do not wait for the memory.
        lock.unlock();
        auto slots = std::make_unique<Slot[]>(capacity_);
        lock.lock();
        if (slots_ == nullptr) {
            slots_ = std::move(slots);
        }
    }
    subscribers_.fetch_add(1, std::memory_order_relaxed);
    return end_.load(std::memory_order_relaxed);
}

std::optional<CacheEvent> Journal::copy(std::uint64_t number) const noexcept {
    const Slot& slot = slot_of(number);
    if (slot.mark.load(std::memory_order_acquire) != number + 1) {
        return std::nullopt;
    }
    // Acquire, each: a word of a later event brings the later mark with it. Pairs with append().
    const std::uint64_t high = slot.high.load(std::memory_order_acquire);
    const std::uint64_t low = slot.low.load(std::memory_order_acquire);
    const std::uint64_t word = slot.kind_and_tier.load(std::memory_order_acquire);
    if (slot.mark.load(std::memory_order_relaxed) != number + 1) {
        return std::nullopt;
    }
    return CacheEvent{kind_in(word), number, must(SequenceHash::from_bits(high, low)),
                      tier_in(word)};
}

NextEvent Journal::read(std::uint64_t& number) const noexcept {
    // Before the end: a manager that is gone has published all of its events.
    const bool closed = closed_.load(std::memory_order_acquire);
    const std::uint64_t end = end_.load(std::memory_order_acquire);
    if (number == end) {
        return closed ? NextEvent(Closed{}) : NextEvent(Timeout{});
    }
    if (end - number <= capacity_) {
        if (const auto event = copy(number)) {
            ++number;
            return *event;
        }
    }
    // Overwritten, perhaps by an event that is still being written and so is not in `end` yet.
    const std::uint64_t later_end = end_.load(std::memory_order_acquire);
    const std::uint64_t oldest =
        std::max(number + 1, later_end > capacity_ ? later_end - capacity_ : 0);
    return Lagged{oldest - std::exchange(number, oldest)};
}

}  // namespace detail::events

using detail::events::Journal;

Subscription::Subscription(std::shared_ptr<Journal> journal)
    : journal_(std::move(journal)), number_(journal_->join()) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
    std::swap(journal_, other.journal_);
    std::swap(number_, other.number_);
    if (this != &other) {
        const Subscription previous(std::move(other));
    }
    return *this;
}

Subscription::~Subscription() {
    if (journal_ != nullptr) {
        journal_->leave();
    }
}

NextEvent Subscription::next(std::chrono::nanoseconds timeout) {
    using Clock = std::chrono::steady_clock;
    NextEvent event = try_next();
    if (!std::holds_alternative<Timeout>(event) || timeout <= std::chrono::nanoseconds::zero()) {
        return event;
    }
    const Clock::time_point now = Clock::now();
    const bool endless = timeout > Clock::time_point::max() - now;
    journal().wait(number_, endless ? Clock::time_point::max() : now + timeout);
    return try_next();
}

NextEvent Subscription::try_next() noexcept {
    return journal().read(number_);
}

Drained Subscription::drain(std::span<CacheEvent> out) noexcept {
    Drained drained;
    while (drained.count < out.size()) {
        const std::uint64_t before = number_;
        const NextEvent next = try_next();
        if (const auto* event = std::get_if<CacheEvent>(&next)) {
            out[drained.count++] = *event;
        } else if (const auto* lagged = std::get_if<Lagged>(&next)) {
            if (drained.count != 0) {
                number_ = before;  // the next call finds at least this loss again
                break;
            }
            drained.missed += lagged->missed;
        } else {
            drained.closed = std::holds_alternative<Closed>(next);
            break;
        }
    }
    return drained;
}

}  // namespace kvbm
