//! kvbm.stress: threads that call everything there is on two managers of one registry, and the
//! audit of what they leave. For the tests of this directory.
//!
//! Pools are so small, and hashes so few, that everything meets everything. Two managers of equal
//! tier, ids and hashes, one of which resets on release, show what is mixed up.
//!
//!   World    managers, registry, mailbox: what the threads share
//!   Worker   acts at random, keeps what it gets, gives some of it to others; checks what it knows
//!   audit    with nothing in flight, compares every total with what the workers hold
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.stress;

export import kvbm.blocks;

namespace kvbm_test {

using namespace kvbm;

export enum class Policy { lru, fifo, multi_lru, lineage_tick, lineage_fifo };

/// What a run is made of.
export struct Mix {
    Policy policy = Policy::lru;
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    std::size_t blocks = 1;
    std::size_t threads = 2;
    std::size_t hashes = 5;  ///< at most five: a chain of three, a sibling, a root
    std::uint64_t seed = 0;
};

/// A manager of the mix. `flag`: reset on release by default.
export BlockManager<> make_manager(const Mix& mix, const BlockRegistry& registry, bool flag);

/// Root number `number`.
export SequenceHash root_hash(std::uint64_t number);

/// A free block of the manager, staged under the hash.
export CompleteBlock<> stage(BlockManager<>& manager, const SequenceHash& hash);

/// The same, registered.
export ImmutableBlock<> register_hash(BlockManager<>& manager, const SequenceHash& hash);

/// In words, for a failure.
export std::string to_string(const Mix& mix);

constexpr std::size_t block_size = 4;
constexpr std::size_t managers_count = 2;

/// What a worker keeps.
using Holding = std::variant<MutableBlockList<>, CompleteBlockList<>, ImmutableBlockList<>,
                             MutableBlock<>, CompleteBlock<>, ImmutableBlock<>, LifecyclePin,
                             WeakBlock<>, BlockRegistrationHandle>;

/// The counters that threads can add up themselves.
struct Tally {
    std::uint64_t allocations = 0, stagings = 0, registrations = 0, duplicates = 0, rejected = 0;
    std::uint64_t match_requested = 0, match_returned = 0, scan_requested = 0, scan_returned = 0;

    Tally& operator+=(const Tally& other) {
        allocations += other.allocations;
        stagings += other.stagings;
        registrations += other.registrations;
        duplicates += other.duplicates;
        rejected += other.rejected;
        match_requested += other.match_requested;
        match_returned += other.match_returned;
        scan_requested += other.scan_requested;
        scan_returned += other.scan_returned;
        return *this;
    }
};

/// The first thing that was not as it must be.
export class Findings {
  public:
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        if (!any_.exchange(true)) {
            first_ = text;
        }
    }
    bool any() const { return any_.load(std::memory_order_relaxed); }
    const std::string& first() const { return first_; }

  private:
    std::atomic<bool> any_ = false;
    std::mutex mutex_;
    std::string first_;
};

/// What the threads share.
export struct World {
    explicit World(const Mix& chosen);

    Mix mix;
    BlockRegistry registry;
    std::vector<BlockManager<>> managers;
    std::array<ManagerId, managers_count> ids{ManagerId::null(), ManagerId::null()};
    std::array<std::shared_ptr<BlockPoolMetrics>, managers_count> metrics;
    std::vector<SequenceHash> hashes;
    /// 1 while a block has an owner: a mutable or staged guard.
    std::array<std::vector<std::atomic<int>>, managers_count> owners;
    Findings findings;
    std::mutex mailbox_mutex;
    std::vector<Holding> mailbox;

    std::size_t number_of(ManagerId id) const { return id == ids[0] ? 0 : 1; }
};

/// One thread's part. Its members are called by one thread at a time.
export class Worker {
  public:
    Worker(World& world, std::uint64_t seed);
    Worker(Worker&&) noexcept;
    Worker& operator=(Worker&&) noexcept;
    ~Worker();

    /// One call of the library, or a few.
    void step();
    /// The same among what guards can do when the managers are gone.
    void step_without_managers();
    void let_go_of_everything();

    const std::vector<Holding>& holdings() const;
    const std::array<Tally, managers_count>& tallies() const;

  private:
    class Acts;
    std::unique_ptr<Acts> acts_;
};

/// Compares all totals, with nothing in flight; adds what differs to the findings of the world.
export void audit(World& world, const std::vector<Worker>& workers);

/// Lets the managers die, then each worker's guards; nothing may be left. On one thread.
export void finish(World& world, std::vector<Worker>& workers);

/// All threads act, stop at a barrier, are audited, and go on; at the end the managers die first
/// and the guards after them, on all threads. The first finding, or an empty text.
export std::string stress(const Mix& mix, std::size_t rounds, std::size_t steps);

}  // namespace kvbm_test
