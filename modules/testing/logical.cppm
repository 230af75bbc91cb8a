//! kvbm.testing:logical: trackers of guards beside naive ones on a second, equal manager.
//!
//! A script works on two LogicalBlockAssignments of one manager and on lists of loose guards. The
//! naive trackers hold single guards in plain vectors and move them one by one. Both managers see
//! the same uses, so results, rows, block ids and, when both pools are emptied at the end, their
//! orders must be equal. Source: sequences.md 3, 6, 7, invariants I1 to I18.
module;

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

export module kvbm.testing:logical;

export import kvbm.sequence;

import :bytes;

namespace kvbm::testing::logical {

export inline constexpr std::size_t trackers_count = 2;
/// Stands for the largest number where a command has a limit.
export inline constexpr std::size_t unlimited = 15;

/// The manager, the trackers and the sequences of a script.
export struct Options {
    std::size_t block_count = 16;
    bool reject = false;  ///< duplication policy
    Positions positions = Positions::checked;
    std::array<std::size_t, trackers_count> offsets{0, 0};
    std::array<std::size_t, 2> sequence_blocks{12, 5};  ///< a third has blocks of another size
};
export Options decode_options(ByteReader& bytes);
export std::string to_string(const Options& options);

// --- commands; a number that names a loose list is folded over those there are ---

/// Allocates blocks as a loose list.
export struct Allocate {
    static constexpr std::string_view name = "allocate";
    std::size_t count = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.count, 6); }
};
/// Queues a loose list.
export struct ExtendBlocks {
    static constexpr std::string_view name = "extend_blocks";
    std::size_t tracker = 0, list = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.list, 8);
    }
};
/// Assigns what is cached of a run of a sequence. `first` counts from the position that comes next,
/// or from 0 if `anywhere`.
export struct ExtendMatched {
    static constexpr std::string_view name = "extend_matched";
    std::size_t tracker = 0, sequence = 0, first = 0, count = 0;
    bool anywhere = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.sequence, 2), field(c.first, 3);
        field(c.count, 8), field(c.anywhere, 2);
    }
};
/// Assigns copies of assigned guards of a tracker, `twice` the first of them.
export struct ExtendCopies {
    static constexpr std::string_view name = "extend_copies";
    std::size_t tracker = 0, from = 0, first = 0, count = 0;
    bool twice = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.from, trackers_count), field(c.first, 4);
        field(c.count, 6), field(c.twice, 2);
    }
};
/// Stages with a run of a sequence; sequence 2 has another block size. `mixed` puts such a block
/// behind the run.
export struct Stage {
    static constexpr std::string_view name = "stage";
    std::size_t tracker = 0, sequence = 0, first = 0, count = 0;
    bool mixed = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.sequence, 3), field(c.first, 12);
        field(c.count, 16), field(c.mixed, 2);
    }
};
/// Stages with the whole of a sequence.
export struct StageWhole {
    static constexpr std::string_view name = "stage_whole";
    std::size_t tracker = 0, sequence = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.sequence, 2);
    }
};
export struct Register {
    static constexpr std::string_view name = "register";
    std::size_t tracker = 0, at_most = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.at_most, unlimited + 1);
    }
};
export struct StageAndRegister {
    static constexpr std::string_view name = "stage_and_register";
    std::size_t tracker = 0, sequence = 0, first = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.sequence, 3), field(c.first, 12);
        field(c.count, 16);
    }
};
export struct PopLast {
    static constexpr std::string_view name = "pop_last";
    std::size_t tracker = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.tracker, trackers_count); }
};
export struct DropLast {
    static constexpr std::string_view name = "drop_last";
    std::size_t tracker = 0, count = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.count, unlimited + 1);
    }
};
/// Takes the assigned guards and drops them, root or leaf first.
export struct TakeAssigned {
    static constexpr std::string_view name = "take_assigned";
    std::size_t tracker = 0;
    bool leaf_first = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.leaf_first, 2);
    }
};
/// Takes the staged guards, and resets them to a loose list or drops them.
export struct TakeStaged {
    static constexpr std::string_view name = "take_staged";
    std::size_t tracker = 0;
    bool reset = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.reset, 2);
    }
};
/// Takes the queued guards as a loose list.
export struct TakeUnassigned {
    static constexpr std::string_view name = "take_unassigned";
    std::size_t tracker = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.tracker, trackers_count); }
};
export struct Clear {
    static constexpr std::string_view name = "clear";
    std::size_t tracker = 0;
    bool leaf_first = false;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.tracker, trackers_count), field(c.leaf_first, 2);
    }
};
/// The tracker moves into another one, which drops what it held; it is empty then.
export struct Move {
    static constexpr std::string_view name = "move";
    std::size_t from = 0, to = 0;
    static constexpr void fields(auto& c, auto&& field) {
        field(c.from, trackers_count), field(c.to, trackers_count);
    }
};
/// Drops a loose list.
export struct DropLoose {
    static constexpr std::string_view name = "drop_loose";
    std::size_t list = 0;
    static constexpr void fields(auto& c, auto&& field) { field(c.list, 8); }
};

export using Command =
    std::variant<Allocate, ExtendBlocks, ExtendMatched, ExtendCopies, Stage, StageWhole, Register,
                 StageAndRegister, PopLast, DropLast, TakeAssigned, TakeStaged, TakeUnassigned,
                 Clear, Move, DropLoose>;

export Command decode_command(ByteReader& bytes);
/// One line of a script: the name and its values.
export std::string to_string(const Command& command);
/// The command of a line that to_string() gave; nothing for any other text.
export std::optional<Command> parse_command(std::string_view line);

/// A row of single guards in three vectors.
export class NaiveTracker {
  public:
    NaiveTracker(std::size_t offset, Positions positions)
        : offset_(offset), first_offset_(offset), positions_(positions) {}

    /// A fresh tracker made like this one was.
    NaiveTracker emptied() const { return {first_offset_, positions_}; }

    std::size_t offset() const { return offset_; }
    std::size_t next_position() const { return offset_ + assigned_.size() + staged_.size(); }
    const std::vector<ImmutableBlock<>>& assigned() const { return assigned_; }
    std::vector<BlockId> ids() const;
    /// Everything that a tracker answers, in words; the same of a real one.
    std::string to_words() const;
    /// What a real tracker answers otherwise, asked about the ids below `id_limit`; nothing if it
    /// answers the same.
    std::optional<std::string> difference(const LogicalBlockAssignments<>& real,
                                          BlockId id_limit) const;

    // Each gives its outcome in words. On an error the guards that were given stay where they are.
    std::string extend_blocks(std::vector<MutableBlock<>>& blocks);
    std::string extend_assigned(std::vector<ImmutableBlock<>>& blocks);
    std::string stage(std::span<const TokenBlock> blocks, std::size_t block_size);
    std::string register_blocks(BlockManager<>& manager, std::size_t at_most);
    std::string stage_and_register(std::span<const TokenBlock> blocks, BlockManager<>& manager);
    std::optional<MutableBlock<>> pop_last();
    std::size_t drop_last(std::size_t count);
    std::vector<ImmutableBlock<>> take_assigned();
    std::vector<CompleteBlock<>> take_staged();
    std::vector<MutableBlock<>> take_unassigned();
    void clear(ReleaseOrder order);

  private:
    bool knows(BlockId id) const;
    bool has_row_of(const LogicalBlockAssignments<>& real, const std::vector<BlockId>& all) const;

    std::size_t offset_;
    std::size_t first_offset_;
    Positions positions_;
    std::vector<ImmutableBlock<>> assigned_;
    std::vector<CompleteBlock<>> staged_;
    std::vector<MutableBlock<>> unassigned_;
};

export std::string to_words(const LogicalBlockAssignments<>& tracker);

/// Real trackers beside naive ones.
export class Harness {
  public:
    explicit Harness(const Options& options);

    /// Runs a command on both and compares outcomes, rows and pools; audits. The first difference,
    /// or nothing.
    std::optional<std::string> run(const Command& command);
    /// Clears the trackers, drops what is loose, and takes every block of both pools in order.
    std::optional<std::string> finish();

    const std::array<LogicalBlockAssignments<>, trackers_count>& trackers() const noexcept {
        return trackers_;
    }
    /// What the last command gave, in words.
    const std::string& outcome() const noexcept { return outcome_; }

  private:
    struct Loose {
        MutableBlockList<> real;
        std::vector<MutableBlock<>> naive;
    };
    struct Steps;

    std::optional<std::string> difference();

    Options options_;
    std::array<BlockSequence, 3> sequences_;
    BlockManager<> manager_;
    BlockManager<> twin_;
    std::array<LogicalBlockAssignments<>, trackers_count> trackers_;
    std::array<NaiveTracker, trackers_count> naive_;
    std::vector<Loose> loose_;
    std::string outcome_;
};

}  // namespace kvbm::testing::logical
