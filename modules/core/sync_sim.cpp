module;

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define KVBM_FIBERS_UNDER_TSAN
#endif
#endif

module kvbm.core;

namespace kvbm::detail::core {

namespace {

[[noreturn]] void fail(const std::string& text) noexcept {
    std::fprintf(stderr, "kvbm_sim: %s\n", text.c_str());
    std::fflush(stderr);
    std::abort();
}

// --- lock orders ---

/// The locks of one thread, in the order in which it took them.
struct Held {
    static constexpr std::size_t most = 16;
    std::array<const LockIdentity*, most> locks{};
    std::size_t size = 0;
};

/// A lock, or with number 0 a kind of lock.
struct Node {
    std::uint64_t number = 0;
    std::string_view file;
    std::uint_least32_t line = 0;
    friend auto operator<=>(const Node&, const Node&) = default;
};

Node lock_node(const LockIdentity& lock) {
    return {lock.number, lock.file, lock.line};
}
Node kind_node(const LockIdentity& lock) {
    return {0, lock.file, lock.line};
}

std::string to_string(const Node& node) {
    const auto name = node.file.substr(node.file.rfind('/') + 1);
    return std::string(name) + ":" + std::to_string(node.line) +
           (node.number == 0 ? "" : " (lock " + std::to_string(node.number) + ")");
}

/// Which lock was taken under which, over the whole run.
class OrderGraph {
  public:
    /// Notes that `second` is taken under `first`. Fails when the reverse was ever possible.
    void add(const Node& first, const Node& second) {
        const std::lock_guard lock(mutex_);
        if (!taken_under_[first].insert(second).second) {
            return;
        }
        std::set<Node> seen;
        std::vector<Node> path{second};
        if (leads_to(second, first, seen, path)) {
            std::string text = "lock order closes a circle: " + to_string(first);
            for (const Node& node : path) {
                text += " > " + to_string(node);
            }
            fail(text);
        }
    }

  private:
    bool leads_to(const Node& from, const Node& wanted, std::set<Node>& seen,
                  std::vector<Node>& path) const {
        const auto next = taken_under_.find(from);
        if (next == taken_under_.end() || !seen.insert(from).second) {
            return false;
        }
        for (const Node& node : next->second) {
            path.push_back(node);
            if (node == wanted || leads_to(node, wanted, seen, path)) {
                return true;
            }
            path.pop_back();
        }
        return false;
    }

    std::mutex mutex_;
    std::map<Node, std::set<Node>> taken_under_;
};

OrderGraph& orders() {
    static OrderGraph graph;
    return graph;
}

// --- schedules ---

/// A stack of its own, on which a body runs until it hands over to another.
class Fiber {
  public:
    /// The fiber of whoever runs now.
    Fiber() = default;
    /// A fiber that will begin with `entry`, which does not return.
    explicit Fiber(void (*entry)()) : stack_(std::make_unique_for_overwrite<Stack>()) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack_->data();
        context_.uc_stack.ss_size = stack_->size();
        context_.uc_link = nullptr;
        makecontext(&context_, entry, 0);
#if defined(KVBM_FIBERS_UNDER_TSAN)
        sanitizer_ = __tsan_create_fiber(0);
#endif
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() {
#if defined(KVBM_FIBERS_UNDER_TSAN)
        if (stack_ != nullptr) {
            __tsan_destroy_fiber(sanitizer_);
        }
#endif
    }
    /// Stops here, where it goes on when it is switched to, and goes on there.
    void switch_to(Fiber& next) noexcept {
#if defined(KVBM_FIBERS_UNDER_TSAN)
        sanitizer_ = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(next.sanitizer_, 0);
#endif
        swapcontext(&context_, &next.context_);
    }

  private:
    using Stack = std::array<std::byte, std::size_t{256} << 10>;
    std::unique_ptr<Stack> stack_;
    ucontext_t context_{};
#if defined(KVBM_FIBERS_UNDER_TSAN)
    void* sanitizer_ = nullptr;
#endif
};

/// The bodies of a schedule, all on the calling thread, each on a fiber, of which one runs.
class Run {
  public:
    Run(std::uint64_t seed, std::span<const std::function<void()>> bodies)
        : random_(seed), by_priority_(seed % 2 == 0), bodies_(bodies) {
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            threads_.push_back(std::make_unique<Thread>());
            threads_.back()->priority = changes + random_() % priorities;
        }
        std::ranges::generate(change_at_, [&] { return random_() % change_points; });
    }

    std::uint64_t points() const noexcept { return points_; }

    /// Returns when all bodies have ended.
    void go();

    /// The locks of the body that runs.
    Held& held() noexcept { return threads_[running_]->held; }

    /// A place where another thread may go on.
    void point() noexcept {
        if (by_priority_ && std::ranges::find(change_at_, points_) != change_at_.end()) {
            threads_[running_]->priority = lowered_++;
        }
        ++points_;
        go_on_with(choose());
    }

    void wait_for(std::uint64_t lock, bool shared) noexcept {
        point();
        Thread& mine = *threads_[running_];
        while (owners_[lock].exclusive || (!shared && owners_[lock].readers != 0)) {
            mine.waits_for = lock;
            go_on_with(choose());
        }
        owners_[lock].exclusive = !shared;
        owners_[lock].readers += shared ? 1U : 0U;
    }

    void give_back(std::uint64_t lock) noexcept {
        Owners& owners = owners_[lock];
        owners.readers -= owners.exclusive ? 0U : 1U;
        owners.exclusive = false;
        for (const auto& thread : threads_) {
            thread->waits_for = thread->waits_for == lock ? 0 : thread->waits_for;
        }
        point();
    }

  private:
    // A script of a few operations has about as many points.
    static constexpr std::size_t change_points = 80;
    static constexpr std::size_t changes = 3;
    static constexpr std::size_t priorities = 1000;

    struct Thread {
        Fiber fiber{&Run::act};
        Held held;
        std::size_t priority = 0;
        std::uint64_t waits_for = 0;  ///< number of a lock; 0 = none
        bool ended = false;
    };
    struct Owners {
        bool exclusive = false;
        std::size_t readers = 0;
    };

    /// The thread that goes on, or none when all have ended.
    std::size_t choose() {
        std::vector<std::size_t> ready;
        bool any = false;
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            any = any || !threads_[i]->ended;
            if (!threads_[i]->ended && threads_[i]->waits_for == 0) {
                ready.push_back(i);
            }
        }
        if (ready.empty()) {
            if (any) {
                fail("deadlock: every thread of the schedule waits for a lock");
            }
            return threads_.size();
        }
        if (!by_priority_) {
            return ready[random_() % ready.size()];
        }
        return *std::ranges::max_element(ready, {},
                                         [&](std::size_t i) { return threads_[i]->priority; });
    }
    void go_on_with(std::size_t next) {
        if (next != running_) {
            Thread& mine = *threads_[running_];
            running_ = next;
            mine.fiber.switch_to(threads_[next]->fiber);
        }
    }
    /// What each fiber runs.
    static void act();

    std::mt19937_64 random_;
    const bool by_priority_;
    std::span<const std::function<void()>> bodies_;
    std::array<std::uint64_t, changes> change_at_{};
    std::size_t lowered_ = 0;
    Fiber caller_;
    std::vector<std::unique_ptr<Thread>> threads_;
    std::map<std::uint64_t, Owners> owners_;
    std::size_t running_ = 0;
    std::uint64_t points_ = 0;
};

/// The run that the calling thread is in, or null.
Run*& my_run() noexcept {
    static thread_local Run* run = nullptr;
    return run;
}

/// The locks of the calling thread, or of the body that runs on it.
Held& held() noexcept {
    static thread_local Held locks;
    Run* run = my_run();
    return run == nullptr ? locks : run->held();
}

void Run::act() {
    Run& run = *my_run();
    run.bodies_[run.running_]();
    Thread& mine = *run.threads_[run.running_];
    mine.ended = true;
    const std::size_t next = run.choose();
    if (next == run.threads_.size()) {
        mine.fiber.switch_to(run.caller_);
    } else {
        run.go_on_with(next);
    }
}

void Run::go() {
    my_run() = this;
    running_ = choose();
    caller_.switch_to(threads_[running_]->fiber);
    my_run() = nullptr;
}

}  // namespace

LockIdentity::LockIdentity(const std::source_location& made) noexcept
    : number(0), file(made.file_name()), line(made.line()) {
    static std::atomic<std::uint64_t> locks{0};
    number = locks.fetch_add(1, std::memory_order_relaxed) + 1;
}

void about_to_lock(const LockIdentity& lock, bool shared) noexcept {
    const Held& mine = held();
    for (const LockIdentity* other : std::span(mine.locks).first(mine.size)) {
        if (other == &lock) {
            fail("a thread takes a lock that it has: " + to_string(lock_node(lock)));
        }
        const bool one_kind = kind_node(*other) == kind_node(lock);
        orders().add(one_kind ? lock_node(*other) : kind_node(*other),
                     one_kind ? lock_node(lock) : kind_node(lock));
    }
    if (Run* run = my_run()) {
        run->wait_for(lock.number, shared);
    }
}

void locked(const LockIdentity& lock) noexcept {
    Held& mine = held();
    if (mine.size == Held::most) {
        fail("a thread holds more locks than can be checked");
    }
    mine.locks[mine.size++] = &lock;
}

void about_to_unlock(const LockIdentity& lock) noexcept {
    Held& mine = held();
    const auto end = mine.locks.begin() + static_cast<std::ptrdiff_t>(mine.size);
    const auto at = std::find(mine.locks.begin(), end, &lock);
    if (at == end) {
        fail("a thread gives back a lock that it does not have: " + to_string(lock_node(lock)));
    }
    std::copy(at + 1, end, at);
    --mine.size;
}

void unlocked(std::uint64_t lock_number) noexcept {
    if (Run* run = my_run()) {
        run->give_back(lock_number);
    }
}

std::size_t locks_held() noexcept {
    return held().size;
}

// --- pause points ---

struct ParkingPlace {
    ParkingPlace(std::string_view name, std::size_t others) : point(name), pass(others) {}
    const std::string point;
    const std::size_t pass;
    std::size_t arrivals = 0;
    bool occupied = false;
    bool open = false;
};

namespace {

/// All parkings of the process. The count lets threads go by without a lock while there are none.
struct Lot {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::shared_ptr<ParkingPlace>> places;
    std::atomic<std::size_t> places_count{0};
};

Lot& lot() {
    static Lot all;
    return all;
}

template <class Condition>
void wait(std::unique_lock<std::mutex>& lock, const ParkingPlace& place,
          const Condition& condition) {
    constexpr std::chrono::seconds patience{60};
    if (!lot().changed.wait_for(lock, patience, condition)) {
        fail("waited a minute at pause point " + place.point);
    }
}

}  // namespace

void pause_point(std::string_view name) noexcept {
    if (Run* run = my_run()) {
        run->point();
        return;
    }
    parking_point(name);
}

void parking_point(std::string_view name) noexcept {
    Lot& all = lot();
    if (all.places_count.load(std::memory_order_relaxed) == 0) {
        return;
    }
    std::unique_lock lock(all.mutex);
    std::shared_ptr<ParkingPlace> free;
    for (const auto& place : all.places) {
        if (place->point == name && ++place->arrivals > place->pass && !place->occupied &&
            !place->open && free == nullptr) {
            free = place;
        }
    }
    if (free != nullptr) {
        free->occupied = true;
        all.changed.notify_all();
        wait(lock, *free, [&] { return free->open; });
    }
}

Parking::Parking(std::string_view point, std::size_t pass)
    : place_(std::make_shared<ParkingPlace>(point, pass)) {
    Lot& all = lot();
    const std::lock_guard lock(all.mutex);
    all.places.push_back(place_);
    all.places_count.fetch_add(1, std::memory_order_relaxed);
}

Parking::~Parking() {
    let_go();
    Lot& all = lot();
    const std::lock_guard lock(all.mutex);
    std::erase(all.places, place_);
    all.places_count.fetch_sub(1, std::memory_order_relaxed);
}

void Parking::await() const {
    std::unique_lock lock(lot().mutex);
    wait(lock, *place_, [&] { return place_->occupied; });
}

std::size_t Parking::arrivals() const {
    const std::lock_guard lock(lot().mutex);
    return place_->arrivals;
}

void Parking::let_go() {
    Lot& all = lot();
    const std::lock_guard lock(all.mutex);
    place_->open = true;
    all.changed.notify_all();
}

void Schedule::run(std::span<const std::function<void()>> bodies) {
    if (bodies.empty()) {
        return;
    }
    Run run(seed_, bodies);
    run.go();
    points_ += run.points();
}

}  // namespace kvbm::detail::core
