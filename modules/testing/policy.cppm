//! kvbm.testing:policy: the eviction policies as the dullest tables that are right, hashes that
//! bring them into trouble, and the commands that compare them with a real manager.
//!
//!   LruModel, FifoModel, MultiLruModel, LineageModel   vectors and linear search; blocks.md 8
//!   PolicyModel     any of them: insert, remove, the next victim
//!   HashDraw        how a hash of a script is kin to an earlier one: child, twin, equal key ...
//!   PolicyCommand   cache a block, use it, hold it, take some, drain
//!   PolicyHarness   runs a command on the model and, with registrations of one block, on a real
//!                   manager; the first difference as text
//!
//! A policy sees inactive blocks only. Invariants: B1 to B8 and P12 of docs/VERIFICATION.md.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.testing:policy;

export import kvbm.blocks;

import :bytes;

namespace kvbm::testing {

/// The policies there are.
export enum class Policy { lru, fifo, multi_lru, lineage_tick, lineage_fifo };
export inline constexpr std::array all_policies{Policy::lru, Policy::fifo, Policy::multi_lru,
                                                Policy::lineage_tick, Policy::lineage_fifo};
/// `lineage_tick`.
export std::string_view name_of(Policy policy);

/// A policy and what it is made with.
export struct PolicyConfig {
    Policy policy = Policy::lru;
    /// Of multi-LRU alone: the least uses of its second, third and fourth list.
    std::array<std::uint32_t, 3> thresholds{3, 8, 15};
};
/// `multi_lru 3 8 15`.
export std::string to_string(const PolicyConfig& config);
/// One of each policy, multi-LRU with thresholds of its own.
export PolicyConfig decode_policy(ByteReader& bytes);

/// Chooses the backend of a manager to be.
export template <class Tier>
void choose_backend(BlockManagerBuilder<Tier>& builder, const PolicyConfig& config) {
    const auto [a, b, c] = config.thresholds;
    switch (config.policy) {
        case Policy::lru:
            builder.with_lru_backend();
            return;
        case Policy::fifo:
            builder.with_hashmap_backend();
            return;
        case Policy::multi_lru:
            builder.with_multi_lru_backend_custom_thresholds(a, b, c);
            return;
        case Policy::lineage_tick:
            builder.with_lineage_backend_eviction(LineageEviction::tick);
            return;
        case Policy::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            return;
    }
}

/// The largest count of a tracker in scripts.
export inline constexpr std::uint32_t uses_max = 15;

/// Writes down each touch; its counts are exact up to 15.
export class RecordingTracker final : public FrequencyTracker {
  public:
    ~RecordingTracker() override;
    void touch(const SequenceHash& key) override;
    void touch(std::uint64_t key) override;
    std::uint32_t count(const SequenceHash& key) const override;
    std::uint32_t count(std::uint64_t key) const override;
    /// All touches of hashes, in order. While no other thread touches.
    const std::vector<SequenceHash>& touches() const { return touches_; }

  private:
    mutable std::mutex mutex_;
    std::vector<SequenceHash> touches_;
    std::map<SequenceHash, std::uint32_t> counts_;
};

/// An inactive block.
export struct CachedBlock {
    SequenceHash hash;
    BlockId id = 0;
};

/// Evicts the block that has been inactive for the longest time.
export class LruModel {
  public:
    void insert(const CachedBlock& block, std::uint32_t uses);
    void remove(const SequenceHash& hash);
    CachedBlock next() const;
    std::size_t size() const { return rows_.size(); }

  private:
    struct Row {
        CachedBlock block;
        std::uint64_t since;
    };
    std::vector<Row> rows_;
    std::uint64_t clock_ = 0;
};

/// Evicts the first of a queue.
export class FifoModel {
  public:
    void insert(const CachedBlock& block, std::uint32_t uses);
    void remove(const SequenceHash& hash);
    CachedBlock next() const { return queue_.front(); }
    std::size_t size() const { return queue_.size(); }

  private:
    std::vector<CachedBlock> queue_;
};

/// Four queues by the uses at insertion; evicts the first of the first that is not empty.
export class MultiLruModel {
  public:
    explicit MultiLruModel(const std::array<std::uint32_t, 3>& thresholds)
        : thresholds_(thresholds) {}
    void insert(const CachedBlock& block, std::uint32_t uses);
    void remove(const SequenceHash& hash);
    CachedBlock next() const;
    std::size_t size() const;

  private:
    std::array<std::uint32_t, 3> thresholds_;
    std::array<FifoModel, 4> levels_;
};

/// Evicts leaves of the forest of blocks.md E7 to E14.
///
/// Whether a node is a leaf is found by asking all others who their parent is. Each block has a
/// turn: the moment of its insertion (tick), or when it last became a leaf (fifo).
export class LineageModel {
  public:
    explicit LineageModel(LineageEviction eviction) : eviction_(eviction) {}
    void insert(const CachedBlock& block, std::uint32_t uses);
    void remove(const SequenceHash& hash);
    CachedBlock next() const;
    std::size_t size() const;
    /// Nodes, ghosts included.
    std::size_t nodes_count() const { return nodes_.size(); }
    /// Whether no node that stands for the hash has children, or none stands for it.
    bool is_leaf(const SequenceHash& hash) const { return !has_children(key_of(hash)); }

  private:
    struct Key {
        std::size_t position = 0;
        std::uint64_t fragment = 0;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct Row {
        CachedBlock block;
        std::uint64_t turn;
    };
    struct Node {
        Key key;
        std::optional<Key> parent;
        std::vector<Row> rows;  ///< none in a ghost; several when their hashes share the key
    };
    static Key key_of(const SequenceHash& hash);
    Node* find(const Key& key);
    Node& find_or_make(const Key& key);
    bool has_children(const Key& key) const;
    void prune(Key key);

    LineageEviction eviction_;
    std::vector<Node> nodes_;
    std::uint64_t clock_ = 0;
};

/// The inactive pool under any policy, in the model.
export class PolicyModel {
  public:
    explicit PolicyModel(const PolicyConfig& config = {});

    /// A block became inactive; `uses` is the tracker's count at this moment.
    void insert(const CachedBlock& block, std::uint32_t uses);
    /// The block of a hash was hit. It is there.
    void remove(const SequenceHash& hash);
    /// The next victim, removed. There is one.
    CachedBlock take();
    std::size_t size() const;
    /// All blocks in the order in which they would be taken.
    std::vector<CachedBlock> order() const;

  private:
    std::variant<LruModel, FifoModel, MultiLruModel, LineageModel> model_;
};

/// How a hash of a script is made from an earlier one.
export enum class Kinship {
    root,            ///< position 0
    child,           ///< the next position, its parent the earlier one
    orphan,          ///< near a border of the layouts, its parent in no script
    other_parent,    ///< the same but for the parent's fragment
    equal_key,       ///< the chain hash differs above the bits that children store
    equal_low_bits,  ///< elsewhere, the chain hash has the same low 38 bits
    wide_form        ///< the same packed for larger positions, as no sequence gives it
};
export inline constexpr std::size_t kinships_count = 7;

/// A hash by its kinship to an earlier one; `of` is folded over those. Without an earlier one it is
/// a root.
export struct HashDraw {
    Kinship kinship = Kinship::root;
    std::size_t of = 0;
    std::size_t salt = 0;
};

/// The hashes of a script, each once.
export std::vector<SequenceHash> make_hashes(std::span<const HashDraw> draws);

/// What a script starts from. At least one hash.
export struct PolicyOptions {
    PolicyConfig policy;
    std::size_t block_count = 1;
    std::vector<SequenceHash> hashes;
};

// --- commands; hashes, and guards held, are named by number, folded ---

/// A block is allocated, named, registered and let go. Nothing when every block is held.
export struct CacheHash {
    std::size_t hash = 0;
};
/// A block is matched and let go.
export struct UseHash {
    std::size_t hash = 0;
};
/// A block is matched and held.
export struct HoldHash {
    std::size_t hash = 0;
};
/// A guard is let go; `uncached`: with the flag that sends its block to the reset pool.
export struct LetGo {
    std::size_t guard = 0;
    bool uncached = false;
};
/// So many blocks are allocated and given back.
export struct TakeBlocks {
    std::size_t count = 0;
};
/// reset_inactive_pool.
export struct DrainBlocks {};
/// The hash is touched so many times.
export struct TouchTimes {
    std::size_t hash = 0, times = 0;
};

export using PolicyCommand =
    std::variant<CacheHash, UseHash, HoldHash, LetGo, TakeBlocks, DrainBlocks, TouchTimes>;

export PolicyOptions decode_policy_options(ByteReader& bytes);
export PolicyCommand decode_policy_command(ByteReader& bytes);
export std::string to_string(const PolicyCommand& command);
export std::string to_string(const PolicyOptions& options);

/// A real manager, whose duplication policy is `reject`, beside a policy model.
export class PolicyHarness {
  public:
    explicit PolicyHarness(const PolicyOptions& options);
    PolicyHarness(PolicyHarness&&) noexcept;
    PolicyHarness& operator=(PolicyHarness&&) noexcept;
    ~PolicyHarness();

    /// Runs a command on both, audits the manager, and compares ids, victims and counts. The first
    /// difference, or nothing.
    std::optional<std::string> run(const PolicyCommand& command);
    /// Lets go of everything and takes all blocks one by one.
    std::optional<std::string> finish();

  private:
    class System;
    std::unique_ptr<System> system_;
};

}  // namespace kvbm::testing
