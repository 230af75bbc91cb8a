//! kvbm.bench: the parts of the program `kvbm_bench`, which times the library case by case.
//!
//!   case     a name `group/case/parameters` and what it does; it runs in a process of its own
//!   sample   a batch of operations, timed as a whole; gives nanoseconds per operation
//!   line     the smallest, the median and the 90th percentile of the samples, as a JSON object
//!
//! Inputs are the same in every process and every language: chains of hashes, tokens, keys and
//! orders out of splitmix64. A case checks its own results and aborts when one is wrong. Lists of
//! guards are used again, as a server would, so that nothing is allocated while the clock runs.
//!
//! docs/PERFORMANCE.md says how figures are taken and compared.
module;

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

export module kvbm.bench;

export import kvbm;

namespace kvbm::bench {

// --- measuring ---

/// What the command line says about all cases.
export struct Settings {
    std::size_t samples = 21;
    std::chrono::nanoseconds target = std::chrono::milliseconds(5);  ///< least time of a sample
    std::string trace;                                               ///< of the group `replay`
    std::vector<std::size_t> capacities{10'000, 50'000};             ///< of the group `replay`
};

/// What a sample did: how many operations, and the time spent in what is timed of them.
export struct Timed {
    std::size_t operations = 0;
    std::chrono::nanoseconds time{};
};

/// How a case differs from the usual.
export struct Shape {
    std::string_view unit = "ns/op";
    /// Bytes of input per operation; if not 0, the line says how many are done in a second.
    std::size_t bytes = 0;
    /// One call of the sample is a sample, however long it lasts.
    bool whole = false;
    std::size_t warmups = 2;
    /// More fields of the line, by the median nanoseconds per operation: `,"name":value`.
    std::function<std::string(double)> more = {};
};

/// A running case: takes its samples and prints its line.
export class Run {
  public:
    Run(std::string name, const Settings& settings) : name_(std::move(name)), settings_(settings) {}

    const std::string& name() const noexcept { return name_; }
    const Settings& settings() const noexcept { return settings_; }

    /// Calls `sample(k)` with growing k until it lasts the target, then for the warm-ups, then for
    /// the samples, and prints the line. `items` is the number of items in one operation.
    void measure(std::size_t items, const std::function<Timed(std::size_t)>& sample,
                 const Shape& shape = {}) const;
    /// Prints a line without times: `{"name":...,<fields>,...}`.
    void print(const std::string& fields) const;

  private:
    std::string name_;
    const Settings& settings_;
};

/// A name, and what to do under it.
export struct Case {
    std::string name;
    std::function<void(const Run&)> run;
    bool named = false;  ///< listed and run only when a prefix says so
};
export using Cases = std::vector<Case>;

/// The time that `work` takes.
export template <class Work>
inline std::chrono::nanoseconds time_of(const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::steady_clock::now() - start;
}

/// Makes the compiler believe that the value is read and changed here.
export template <class T>
inline void keep(const T& value) noexcept {
    asm volatile("" : : "r"(&value) : "memory");
}

/// The same value, of which the compiler knows nothing any more.
export template <class T>
inline const T& hide(const T& value) noexcept {
    keep(value);
    return value;
}

/// Walks 0 .. count-1 round and round.
export class Turn {
  public:
    explicit Turn(std::size_t count) noexcept : count_(count) {}
    inline std::size_t next() noexcept {
        const std::size_t now = at_;
        at_ = at_ + 1 == count_ ? 0 : at_ + 1;
        return now;
    }

  private:
    std::size_t count_;
    std::size_t at_ = 0;
};

// --- inputs ---

namespace seeds {
export inline constexpr std::uint64_t base = 0x6B76'626D'0000'0000;
export inline constexpr std::uint64_t resident = base + 1;  ///< chains that fill a pool
export inline constexpr std::uint64_t fresh = base + 2;     ///< chains never seen before
export inline constexpr std::uint64_t order = base + 3;     ///< in which operations pick chains
export inline constexpr std::uint64_t slots = base + 4;     ///< in which block ids meet chains
export inline constexpr std::uint64_t tokens = base + 5;
export inline constexpr std::uint64_t keys = base + 6;  ///< of the frequency sketch
}  // namespace seeds

/// The generator of all inputs.
export class SplitMix64 {
  public:
    explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}
    inline std::uint64_t next() noexcept {
        state_ += 0x9E37'79B9'7F4A'7C15;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
        z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
        return z ^ (z >> 31);
    }

  private:
    std::uint64_t state_;
};

/// The sequence hashes of one chain, root first.
export using Chain = std::vector<SequenceHash>;

/// Chains out of one generator, one block hash per value; a new root every `length` blocks.
export class ChainStream {
  public:
    ChainStream(std::uint64_t seed, std::size_t length) noexcept : random_(seed), length_(length) {}
    /// The next `count` hashes, which go on where the last call ended.
    Chain take(std::size_t count);

  private:
    SplitMix64 random_;
    std::size_t length_;
    std::size_t taken_ = 0;
    SequenceHash last_;
};

export std::vector<Chain> chains(std::uint64_t seed, std::size_t count, std::size_t length);

/// Fisher-Yates from the end, `j = next mod (i + 1)`.
export template <class T>
void shuffle(std::uint64_t seed, std::span<T> list) {
    SplitMix64 random(seed);
    for (std::size_t i = list.size(); i-- > 1;) {
        std::swap(list[i], list[random.next() % (i + 1)]);
    }
}
/// 0 .. count-1, shuffled.
export std::vector<std::size_t> permutation(std::uint64_t seed, std::size_t count);
export std::vector<Token> tokens(SplitMix64& random, std::size_t count);
/// The next key of the frequency sketch: any 128 bits, also such as no sequence could give.
export SequenceHash sketch_key(SplitMix64& random) noexcept;

/// Prints the check values of the inputs, and aborts if one is not as recorded. O(131,072 tokens).
export void check_inputs(bool print);

// --- pools ---

export inline constexpr std::size_t block_size = 16;

/// A pool that fits into the near caches, and one that does not.
export struct PoolSize {
    std::string_view name;
    std::size_t blocks;
};
export inline constexpr std::array<PoolSize, 2> pool_sizes{{{"small", 4096}, {"large", 262'144}}};

/// Pools of the group `scale`: how the cost of a block grows with the number of blocks.
export inline constexpr std::array<std::size_t, 8> scale_sizes{
    std::size_t{1} << 8,  std::size_t{1} << 10, std::size_t{1} << 12, std::size_t{1} << 14,
    std::size_t{1} << 16, std::size_t{1} << 18, std::size_t{1} << 20, std::size_t{1} << 22};
export inline constexpr std::array<std::string_view, 2> scale_policies{"lru", "lineage_tick"};

/// Eviction policies: `lru_freq` is `lru` with a tracker that counts every hit; `multi_lru` has one
/// as well. Trackers are of the layout compat, to count as the parent does.
export inline constexpr std::array<std::string_view, 6> policies{
    "lru", "lru_freq", "multi_lru", "lineage_tick", "lineage_fifo", "hashmap"};

export BlockManager<> make_manager(
    std::string_view policy, std::size_t blocks,
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow);

/// What a pool is filled with before the clock runs.
export struct Filling {
    std::string_view policy = "lru";
    std::size_t blocks = 0;
    std::size_t chain_length = 128;
    std::size_t filled = 0;  ///< blocks that get a hash; 0: all
    bool active = false;     ///< their guards are held
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
};

/// A manager full of chains, which are taken round and round in a fixed random order.
export class Pool {
  public:
    explicit Pool(const Filling& filling);

    BlockManager<>& manager() noexcept { return manager_; }
    const std::vector<Chain>& chains() const noexcept { return chains_; }
    std::size_t next_index() noexcept { return order_[turn_.next()]; }
    const Chain& next() noexcept { return chains_[next_index()]; }

  private:
    BlockManager<> manager_;
    std::vector<Chain> chains_;
    std::vector<std::size_t> order_;
    Turn turn_;
    std::vector<ImmutableBlockList<>> held_;
};

/// The lists of one request, used again and again.
export struct Lists {
    MutableBlockList<> fresh;
    ImmutableBlockList<> held;
};

/// Stages the fresh blocks under the hashes and registers them as one batch, behind the held ones.
export inline void publish(BlockManager<>& manager, Lists& lists,
                           std::span<const SequenceHash> hashes) {
    auto staged = must(std::move(lists.fresh).stage_all(hashes, block_size));
    must(manager.register_blocks_into(staged, lists.held));
    lists.fresh = std::move(staged).reset_all();  // an empty list: only its memory comes back
}

/// allocate_blocks_into() that must succeed.
export inline void allocate(BlockManager<>& manager, std::size_t count, MutableBlockList<>& out) {
    expects(manager.allocate_blocks_into(count, out), "there are enough blocks");
}

/// Gives all blocks of a new manager back in random order.
export void shuffle_free_blocks(BlockManager<>& manager);

// --- the groups ---

export void add_token_cases(Cases& cases);       ///< hash, growth/extend
export void add_match_cases(Cases& cases);       ///< match, drop/shared, drop/bulk, scan, scale
export void add_many_cases(Cases& cases);        ///< match_many
export void add_allocate_cases(Cases& cases);    ///< allocate, churn, register, drop/mutable, scale
export void add_assignment_cases(Cases& cases);  ///< assignments, the rest of growth
export void add_request_cases(Cases& cases);
export void add_replay_cases(Cases& cases, const Settings& settings);
export void add_registry_cases(Cases& cases);  ///< frequency, registry
export void add_thread_cases(Cases& cases);    ///< mt
export void add_memory_cases(Cases& cases);    ///< memory, scale/memory

}  // namespace kvbm::bench
