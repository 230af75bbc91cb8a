//! kvbm.testing:pool: block managers, their registry and their metrics as plain tables, and the
//! commands that compare them with the real ones.
//!
//! The world of a script is one registry with three managers: pools 0 and 1 of tier G1, pool 2 of
//! tier G2. Their block ids and hashes coincide, so that whatever is mixed up shows.
//!
//!   PoolCommand   one public operation; names the guards it takes by their place among the live
//!   PoolModel     what each command must give, by blocks.md sections 2 to 13
//!   PoolHarness   runs a command on the model and on real managers; the first difference as text
//!
//! The registry counts touches exactly up to 15, and model and managers see the same counts.
//!
//! What a script holds are *holdings*: lists of guards, pins, weak blocks, handles. Any number
//! names one: it is folded over those of the kind that the command needs.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.testing:pool;

export import kvbm.blocks;

import :bytes;
import :policy;

namespace kvbm::testing {

/// Managers of a script.
export inline constexpr std::size_t pools_count = 3;
/// Tokens per block of every pool.
export inline constexpr std::size_t pool_block_size = 4;

/// How one manager of a script is built.
export struct PoolConfig {
    std::size_t block_count = 1;
    bool reject = false;            ///< duplication policy
    bool reset_on_release = false;  ///< the default of the flag
    PolicyConfig policy;
};

/// What a script starts from.
export struct PoolOptions {
    std::array<PoolConfig, pools_count> pools;
    std::size_t hashes_first = 0;   ///< the first hash that commands name, of those there are
    std::size_t hashes_count = 16;  ///< hashes that commands name; a number beyond is folded
    /// Managers are built when a command first names them, and a sketch counts touches, not a
    /// tracker of the harness: until the second manager comes, blocks have entries on demand.
    bool late = false;
};

/// Hashes there are for scripts: families of eight that bring a policy or an index into trouble.
export inline constexpr std::size_t pool_hashes_count = 64;
export inline constexpr std::size_t pool_hash_family = 8;
/// Hash number `index`, folded.
export SequenceHash pool_hash(std::size_t index);

/// What must exist for a command to be allowed.
export enum class PoolNeed {
    nothing,
    manager,           ///< the manager is alive
    mutable_list,      ///< such a list is held
    own_mutable_list,  ///< and its manager is alive
    complete_list,
    own_complete_list,
    foreign_complete_list,  ///< one of tier G1, and the other manager of that tier is alive
    immutable_list,
    own_immutable_list,
    pin,
    weak,
    list,       ///< a list of any kind
    two_lists,  ///< two of one kind and pool
    anything    ///< any holding
};

// --- commands; `fields` names each with the number of values it takes, for decoding, generating
//     and printing ---

/// BlockManager::allocate_blocks.
export struct Allocate {
    static constexpr std::string_view name = "allocate";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.count, 10);
    }
};
/// BlockManager::allocate_blocks_with_evictions.
export struct AllocateWithEvictions {
    static constexpr std::string_view name = "allocate_with_evictions";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.count, 10);
    }
};
/// BlockManager::allocate_blocks_into a list of mutable blocks.
export struct AllocateInto {
    static constexpr std::string_view name = "allocate_into";
    static constexpr PoolNeed need = PoolNeed::own_mutable_list;
    std::size_t holding = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.count, 10);
    }
};
/// MutableBlockList::stage_all with hashes first, first + step ...; fault 0: a wrong block size, 1:
/// one hash too few, 2: one too many.
export struct StageAll {
    static constexpr std::string_view name = "stage_all";
    static constexpr PoolNeed need = PoolNeed::mutable_list;
    std::size_t holding = 0, first = 0, step = 0, fault = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.first, 64), field(c.step, 3), field(c.fault, 24);
    }
};
/// MutableBlock::stage of the last block of a list.
export struct StageOne {
    static constexpr std::string_view name = "stage_one";
    static constexpr PoolNeed need = PoolNeed::mutable_list;
    std::size_t holding = 0, hash = 0, fault = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.hash, 64), field(c.fault, 12);
    }
};
/// CompleteBlockList::reset_all.
export struct ResetAll {
    static constexpr std::string_view name = "reset_all";
    static constexpr PoolNeed need = PoolNeed::complete_list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// CompleteBlock::reset of the last block of a list.
export struct ResetOne {
    static constexpr std::string_view name = "reset_one";
    static constexpr PoolNeed need = PoolNeed::complete_list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// BlockManager::register_blocks.
export struct Register {
    static constexpr std::string_view name = "register";
    static constexpr PoolNeed need = PoolNeed::own_complete_list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// BlockManager::register_block with the last block of a list.
export struct RegisterOne {
    static constexpr std::string_view name = "register_one";
    static constexpr PoolNeed need = PoolNeed::own_complete_list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// BlockManager::register_blocks_into a list of immutable blocks of the pool, a new one if there is
/// none.
export struct RegisterInto {
    static constexpr std::string_view name = "register_into";
    static constexpr PoolNeed need = PoolNeed::own_complete_list;
    std::size_t holding = 0, other = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.other, 256);
    }
};
/// register_blocks, or register_block with the last, at the other manager of the same tier.
export struct RegisterForeign {
    static constexpr std::string_view name = "register_foreign";
    static constexpr PoolNeed need = PoolNeed::foreign_complete_list;
    std::size_t holding = 0;
    bool one = false;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256), field(c.one, 2); }
};
/// BlockManager::match_blocks.
export struct Match {
    static constexpr std::string_view name = "match";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0;
    std::vector<std::size_t> hashes;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.hashes, 64);
    }
};
/// BlockManager::match_blocks_into a list of immutable blocks.
export struct MatchInto {
    static constexpr std::string_view name = "match_into";
    static constexpr PoolNeed need = PoolNeed::own_immutable_list;
    std::size_t holding = 0;
    std::vector<std::size_t> hashes;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.hashes, 64);
    }
};
/// BlockManager::match_blocks_scattered; what is found is kept or released at once.
export struct MatchScattered {
    static constexpr std::string_view name = "match_scattered";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0;
    std::vector<std::size_t> hashes;
    bool keep = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.hashes, 64), field(c.keep, 2);
    }
};
/// BlockManager::scan_matches; what is found is kept or released at once.
export struct Scan {
    static constexpr std::string_view name = "scan";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0;
    std::vector<std::size_t> hashes;
    bool touch = false, keep = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.hashes, 64), field(c.touch, 2), field(c.keep, 2);
    }
};
/// BlockManager::reset_inactive_pool.
export struct ResetInactivePool {
    static constexpr std::string_view name = "reset_inactive_pool";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.pool, pools_count); }
};
/// The manager object moves.
export struct MoveManager {
    static constexpr std::string_view name = "move_manager";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.pool, pools_count); }
};
/// The manager object dies when `certain` is 0; otherwise nothing happens.
export struct KillManager {
    static constexpr std::string_view name = "kill_manager";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0, certain = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.certain, 16);
    }
};
/// ImmutableBlockList::clone.
export struct Clone {
    static constexpr std::string_view name = "clone";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// A copy of one immutable block, as a list of its own.
export struct Copy {
    static constexpr std::string_view name = "copy";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, index = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.index, 64);
    }
};
/// ImmutableBlock::pin.
export struct Pin {
    static constexpr std::string_view name = "pin";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, index = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.index, 64);
    }
};
/// A copy of a pin.
export struct CopyPin {
    static constexpr std::string_view name = "copy_pin";
    static constexpr PoolNeed need = PoolNeed::pin;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// ImmutableBlock::downgrade.
export struct Downgrade {
    static constexpr std::string_view name = "downgrade";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, index = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.index, 64);
    }
};
/// A copy of a weak block.
export struct CopyWeak {
    static constexpr std::string_view name = "copy_weak";
    static constexpr PoolNeed need = PoolNeed::weak;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// WeakBlock::upgrade.
export struct Upgrade {
    static constexpr std::string_view name = "upgrade";
    static constexpr PoolNeed need = PoolNeed::weak;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// ImmutableBlock::set_evict_on_reset.
export struct SetEvictOnReset {
    static constexpr std::string_view name = "set_evict_on_reset";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, index = 0;
    bool value = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.index, 64), field(c.value, 2);
    }
};
/// ImmutableBlock::registration_handle.
export struct HandleOf {
    static constexpr std::string_view name = "handle_of";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, index = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.index, 64);
    }
};
/// Any holding goes; a list in the order told.
export struct Drop {
    static constexpr std::string_view name = "drop";
    static constexpr PoolNeed need = PoolNeed::anything;
    std::size_t holding = 0;
    bool leaf_first = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.leaf_first, 2);
    }
};
/// The last guard of a list goes, alone.
export struct DropOne {
    static constexpr std::string_view name = "drop_one";
    static constexpr PoolNeed need = PoolNeed::list;
    std::size_t holding = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256); }
};
/// split_off of a list.
export struct SplitOff {
    static constexpr std::string_view name = "split_off";
    static constexpr PoolNeed need = PoolNeed::list;
    std::size_t holding = 0, at = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.holding, 256), field(c.at, 16); }
};
/// take_front of a list.
export struct TakeFront {
    static constexpr std::string_view name = "take_front";
    static constexpr PoolNeed need = PoolNeed::list;
    std::size_t holding = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.count, 16);
    }
};
/// append of another list of the kind and pool.
export struct Append {
    static constexpr std::string_view name = "append";
    static constexpr PoolNeed need = PoolNeed::two_lists;
    std::size_t holding = 0, other = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.other, 256);
    }
};
/// BlockRegistry::register_sequence_hashes; the handles are kept one by one.
export struct RegisterHashes {
    static constexpr std::string_view name = "register_hashes";
    static constexpr PoolNeed need = PoolNeed::nothing;
    std::vector<std::size_t> hashes;
    static constexpr void fields(auto& c, auto&& field) { field(c.hashes, 64); }
};
/// BlockRegistry::match_sequence_hash.
export struct MatchHash {
    static constexpr std::string_view name = "match_hash";
    static constexpr PoolNeed need = PoolNeed::nothing;
    std::size_t hash = 0;
    bool touch = false;
    static constexpr void fields(auto& c, auto&& field) { field(c.hash, 64), field(c.touch, 2); }
};
/// BlockRegistry::transfer_registration.
export struct TransferHash {
    static constexpr std::string_view name = "transfer_hash";
    static constexpr PoolNeed need = PoolNeed::nothing;
    std::size_t hash = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.hash, 64); }
};
/// BlockRegistry::touch, so many times.
export struct TouchHash {
    static constexpr std::string_view name = "touch_hash";
    static constexpr PoolNeed need = PoolNeed::nothing;
    std::size_t hash = 0, times = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.hash, 64), field(c.times, 16); }
};

/// BlockManager::match_many of three requests; the lists of the first and third are new, that of
/// the second is one of immutable blocks of the pool if there is any.
export struct MatchMany {
    static constexpr std::string_view name = "match_many";
    static constexpr PoolNeed need = PoolNeed::manager;
    std::size_t pool = 0, other = 0;
    std::vector<std::size_t> first, second, third;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.pool, pools_count), field(c.other, 256), field(c.first, 64), field(c.second, 64),
            field(c.third, 64);
    }
};
/// BlockManager::release_many of an empty list, of a list of immutable blocks and of up to `more`
/// that are held after it, of any manager of the tier, in the order told.
export struct ReleaseMany {
    static constexpr std::string_view name = "release_many";
    static constexpr PoolNeed need = PoolNeed::immutable_list;
    std::size_t holding = 0, more = 0;
    bool leaf_first = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.holding, 256), field(c.more, 5), field(c.leaf_first, 2);
    }
};

export using PoolCommand =
    std::variant<Allocate, AllocateWithEvictions, AllocateInto, StageAll, StageOne, ResetAll,
                 ResetOne, Register, RegisterOne, RegisterInto, RegisterForeign, Match, MatchInto,
                 MatchScattered, Scan, ResetInactivePool, MoveManager, KillManager, Clone, Copy,
                 Pin, CopyPin, Downgrade, CopyWeak, Upgrade, SetEvictOnReset, HandleOf, Drop,
                 DropOne, SplitOff, TakeFront, Append, RegisterHashes, MatchHash, TransferHash,
                 TouchHash, MatchMany, ReleaseMany>;

/// Longest list of hashes in a decoded command.
export inline constexpr std::size_t pool_hashes_max = 7;

export PoolOptions decode_pool_options(ByteReader& bytes);
/// Takes a byte for the kind. The kinds from MatchMany on came when there was a corpus: theirs are
/// the values 252 to 255, so that hardly any input means something else than before.
export PoolCommand decode_pool_command(ByteReader& bytes);
/// One line of a script: the name and its values.
export std::string to_string(const PoolCommand& command);
/// The options in words.
export std::string to_string(const PoolOptions& options);
/// The command of a line that to_string() gave; nothing for any other text.
export std::optional<PoolCommand> parse_pool_command(std::string_view line);

// Words for outcomes, the same for model and system.
std::string blocks_text(std::span<const BlockId> ids);
std::string hashes_text(std::span<const SequenceHash> hashes);

/// What somebody holds, in the model.
export struct Holding {
    enum class Kind { mutable_list, complete_list, immutable_list, pin, weak, handle };
    Kind kind = Kind::handle;
    std::size_t pool = 0;           ///< not for a handle
    std::vector<BlockId> ids;       ///< one for a pin or weak block, none for a handle
    SequenceHash hash;              ///< of a weak block or handle
    std::uint64_t incarnation = 0;  ///< of the slot a weak block came from
};

/// One slot, in the model.
export struct ModelSlot {
    BlockState state = BlockState::reset;
    SequenceHash hash;
    bool evict_on_reset = false;
    std::size_t references = 0;     ///< strong ones: guards, pins, duplicates
    BlockId primary = 0;            ///< of a duplicate
    std::uint64_t incarnation = 0;  ///< raised when the slot becomes reset or mutable
};

/// One manager, in the model.
export struct ModelPool {
    PoolConfig config;
    bool manager_alive = true;
    bool store_alive = true;
    std::vector<ModelSlot> slots;
    std::deque<BlockId> reset;
    PolicyModel inactive;
    MetricsSnapshot metrics;  ///< counters, and the gauge of immutable guards

    /// The counters, and all gauges from the state.
    MetricsSnapshot snapshot() const;
};

/// The three managers and their registry as plain tables.
///
/// Each `apply` gives the outcome in words; the harness makes the same words of what a real manager
/// returned. A command that is not allowed changes nothing.
export class PoolModel {
  public:
    explicit PoolModel(const PoolOptions& options);

    /// Whether what the command names exists.
    bool allows(const PoolCommand& command) const;
    /// The outcome in words.
    std::string apply(const PoolCommand& command);

    const std::vector<Holding>& holdings() const noexcept { return holdings_; }
    const ModelPool& pool(std::size_t index) const { return pools_.at(index); }
    const std::vector<SequenceHash>& touches() const noexcept { return touches_; }
    /// Hashes with a live entry: of slots under a hash, weak blocks and handles.
    std::set<SequenceHash> registered() const;
    /// Blocks under a hash in the tier of a pool.
    std::size_t presence(const SequenceHash& hash, std::size_t pool) const;
    std::size_t hashes_count() const noexcept { return hashes_count_; }
    /// The hash a command names.
    SequenceHash hash(std::size_t number) const {
        return pool_hash(hashes_first_ + number % hashes_count_);
    }
    /// Touches of a hash so far, as far as the tracker counts.
    std::uint32_t uses(const SequenceHash& hash) const;
    /// The holding a command names: number `n` among those of the kind, folded.
    std::optional<std::size_t> pick(Holding::Kind kind, std::size_t n) const;
    /// The same among those of the kind and a pool.
    std::optional<std::size_t> pick_in_pool(Holding::Kind kind, std::size_t pool,
                                            std::size_t n) const;
    /// The same among lists of any kind.
    std::optional<std::size_t> pick_list(std::size_t n) const;
    /// The list of immutable blocks a command names, and up to `more` of its tier behind it.
    std::vector<std::size_t> pick_row(std::size_t n, std::size_t more) const;
    /// The same among the other lists of the kind and pool of a list.
    std::optional<std::size_t> pick_partner(std::size_t list, std::size_t n) const;

  private:
    friend struct PoolModelSteps;
    bool allows_holding(PoolNeed need, std::size_t n) const;

    std::size_t hashes_first_;
    std::size_t hashes_count_;
    std::vector<ModelPool> pools_;
    std::vector<Holding> holdings_;
    std::vector<SequenceHash> touches_;
};

// What a guard said of itself, as far as its kind knows.
struct GuardFacts {
    BlockId id = 0;
    ManagerId manager = ManagerId::null();
    std::optional<std::size_t> block_size = std::nullopt;
    std::optional<SequenceHash> hash = std::nullopt;
    std::optional<std::size_t> use_count = std::nullopt;
    std::optional<bool> is_duplicate = std::nullopt;
};

// Differences in words, or nothing.
std::optional<std::string> guard_difference(const GuardFacts& found, const ModelPool& pool,
                                            BlockId id, ManagerId manager);
std::optional<std::string> handle_difference(const BlockRegistrationHandle& handle,
                                             const BlockRegistry& registry,
                                             const SequenceHash& hash, const PoolModel& model);
std::optional<std::string> registry_difference(
    const BlockRegistry& registry, const std::optional<std::vector<SequenceHash>>& touches,
    const PoolModel& model);
std::optional<std::string> presence_difference(const BlockRegistry& registry,
                                               const PoolModel& model);
std::optional<std::string> metrics_difference(const MetricsSnapshot& found,
                                              const MetricsSnapshot& expected);
std::optional<std::string> slots_difference(std::span<const BlockInfo> found,
                                            const ModelPool& expected);

/// Real managers beside the model.
export class PoolHarness {
  public:
    /// Slots, presence and guards are compared after every so many commands and at the end;
    /// outcomes, audits, counters, gauges and touches after each.
    explicit PoolHarness(const PoolOptions& options, std::size_t picture_every = 1);
    PoolHarness(PoolHarness&&) noexcept;
    PoolHarness& operator=(PoolHarness&&) noexcept;
    ~PoolHarness();

    /// Runs a command on both and compares. The first difference, or nothing. A command that is
    /// not allowed is passed over.
    std::optional<std::string> run(const PoolCommand& command);
    /// Drops all holdings, then takes every block in order, then lets the managers die; compares
    /// after each step.
    std::optional<std::string> finish();

    const PoolModel& model() const noexcept;

  private:
    class System;
    std::unique_ptr<System> system_;
};

}  // namespace kvbm::testing
