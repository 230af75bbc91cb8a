//! RapidCheck generators for kvbm: tokens, salts, hashes, and the scripts of kvbm.testing.
//!
//!   #include <rapidcheck.h>
//!   #include <kvbm/testing/rapidcheck.hpp>     last: it imports kvbm.testing
//!
//!   rc::check("...", [](const kvbm::testing::PoolOptions& options) { ... });     rc::Arbitrary
//!   const auto prompt = *kvbm::testing::gen::tokens_up_to(40);                   by name
//!
//! No include may follow an import, so this one stands behind all others. Commands are made field
//! by field and print as a line of a script, so that failures shrink to something readable. What
//! has options and commands here has an rc::Arbitrary. Link kvbm::testing and RapidCheck; the
//! modules themselves know no test library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <rapidcheck.h>
#include <tl/expected.hpp>

import kvbm.testing;

namespace kvbm::testing::gen {

// --- numbers ---

/// 0 to `limit` - 1, whatever the size.
inline rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::size_t>(0, limit));
}

/// 64 bits: small, all set, or any.
inline rc::Gen<std::uint64_t> word() {
    return rc::gen::oneOf(rc::gen::inRange<std::uint64_t>(0, 4), rc::gen::just(~std::uint64_t{0}),
                          rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint64_t>()));
}

/// 0 to `count_max`, now and then one that no container can hold.
inline rc::Gen<std::size_t> count(std::size_t count_max) {
    return rc::gen::weightedOneOf<std::size_t>(
        {{9, below(count_max + 1)},
         {1, rc::gen::element<std::size_t>(std::numeric_limits<std::size_t>::max() / 4,
                                           std::numeric_limits<std::size_t>::max() / 2 + 1,
                                           std::numeric_limits<std::size_t>::max())}});
}

/// 0 to `count_max` bytes, for the decoders of kvbm.testing.
inline rc::Gen<std::vector<std::uint8_t>> bytes_up_to(std::size_t count_max) {
    return rc::gen::mapcat(below(count_max + 1), [](std::size_t drawn) {
        return rc::gen::container<std::vector<std::uint8_t>>(
            drawn, rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint8_t>()));
    });
}

/// What a decoder of kvbm.testing, such as decode_pool_options, makes of any bytes.
template <class Options>
rc::Gen<Options> decoded(Options (*decode)(ByteReader&)) {
    return rc::gen::map(bytes_up_to(100), [decode](const std::vector<std::uint8_t>& bytes) {
        ByteReader reader(bytes);
        return decode(reader);
    });
}

// --- commands of any alphabet ---

/// A command of an alphabet, from the values of its fields in order.
template <class Alphabet, class Command, class... Field>
rc::Gen<Alphabet> command(rc::Gen<Field>... fields) {
    return rc::gen::map(
        rc::gen::tuple(std::move(fields)...), [](const std::tuple<Field...>& drawn) -> Alphabet {
            return std::apply([](const Field&... field) { return Command{field...}; }, drawn);
        });
}

/// Draws the values that `fields` of a command names, one by one. A list of numbers is drawn number
/// by number or as a run, which is what the neighbours of a chain are.
struct DrawField {
    void operator()(std::size_t& value, std::size_t limit) const { value = *below(limit); }
    void operator()(bool& value, std::size_t) const { value = *rc::gen::arbitrary<bool>(); }
    void operator()(std::vector<std::size_t>& values, std::size_t limit) const {
        const std::size_t values_count = *below(pool_hashes_max + 1);
        if (*rc::gen::arbitrary<bool>()) {
            values = *rc::gen::container<std::vector<std::size_t>>(values_count, below(limit));
            return;
        }
        values.resize(values_count);
        std::iota(values.begin(), values.end(), *below(limit));
    }
};

/// A command of one kind that has `fields`.
template <class Alphabet, class Command>
rc::Gen<Alphabet> command_of() {
    return rc::gen::exec([]() -> Alphabet {
        Command drawn;
        drawn.fields(drawn, DrawField{});
        return drawn;
    });
}

/// A command of an alphabet whose commands have `fields`, each kind as often as another.
template <class Alphabet>
rc::Gen<Alphabet> any_command() {
    return []<class... Command>(std::type_identity<std::variant<Command...>>) {
        return rc::gen::oneOf(command_of<Alphabet, Command>()...);
    }(std::type_identity<Alphabet>{});
}

// --- tokens ---

/// A token: one of a few, so that equal blocks occur, the largest, or any.
inline rc::Gen<Token> token() {
    return rc::gen::oneOf(rc::gen::inRange<Token>(0, 4), rc::gen::arbitrary<Token>(),
                          rc::gen::just(std::numeric_limits<Token>::max()));
}

/// That many tokens.
inline rc::Gen<std::vector<Token>> tokens(std::size_t tokens_count) {
    return rc::gen::container<std::vector<Token>>(tokens_count, token());
}

/// 0 to `count_max` tokens, whatever the size.
inline rc::Gen<std::vector<Token>> tokens_up_to(std::size_t count_max) {
    return rc::gen::mapcat(below(count_max + 1), tokens);
}

/// A salt: none, the seed of the chain, the largest, or any.
inline rc::Gen<SaltHash> salt() {
    return rc::gen::oneOf(
        rc::gen::element<SaltHash>(0, chain_seed, std::numeric_limits<SaltHash>::max()),
        rc::gen::arbitrary<SaltHash>());
}

/// Runs that fit `slots_count` tokens: sorted, disjoint, inside, of few objects.
inline rc::Gen<std::vector<MultimodalRun>> runs(std::size_t slots_count) {
    return rc::gen::exec([slots_count] {
        std::vector<MultimodalRun> drawn;
        std::size_t offset = *below(6);
        while (offset < slots_count) {
            const auto longest = std::min<std::size_t>(slots_count - offset, 12);
            const std::size_t length = 1 + *below(longest);
            drawn.push_back({*rc::gen::inRange<std::uint64_t>(0, 3), offset, length});
            offset += length + *below(20);
        }
        return drawn;
    });
}

/// Up to three runs that may be empty, overlap, or lie outside of `slots_count` tokens.
inline rc::Gen<std::vector<MultimodalRun>> unchecked_runs(std::size_t slots_count) {
    return rc::gen::resize(
        3, rc::gen::container<std::vector<MultimodalRun>>(rc::gen::construct<MultimodalRun>(
               rc::gen::inRange<std::uint64_t>(0, 3), below(slots_count + 2), count(6))));
}

// --- hashes ---

/// A position: on either side of each width of the packed field, beyond the largest, or any.
inline rc::Gen<std::uint64_t> position() {
    const auto edge = rc::gen::map(
        rc::gen::pair(rc::gen::element<std::uint64_t>(0x100, 0x10000, 0x1000000, 0x80000000),
                      rc::gen::inRange<std::uint64_t>(0, 4)),
        [](const auto& drawn) { return drawn.first + drawn.second - 2; });
    return rc::gen::oneOf(edge, rc::gen::inRange<std::uint64_t>(0, 300),
                          rc::gen::inRange<std::uint64_t>(0, SequenceHash::max_position + 1),
                          word());
}

/// Any hash there can be, each mode as often as another.
inline rc::Gen<SequenceHash> sequence_hash() {
    return rc::gen::map(rc::gen::tuple(rc::gen::inRange<std::uint64_t>(0, 3), word(), word()),
                        [](const auto& drawn) {
                            const auto& [mode, high, low] = drawn;
                            return must(SequenceHash::from_bits(mode << 62U | high >> 2U, low));
                        });
}

/// The hashes of 0 to `count_max` blocks that follow each other, whatever the size. The blocks are
/// of few kinds, so that two chains often begin alike.
inline rc::Gen<std::vector<SequenceHash>> hash_chain(std::size_t count_max) {
    const auto kinds = rc::gen::mapcat(below(count_max + 1), [](std::size_t drawn) {
        return rc::gen::container<std::vector<std::uint64_t>>(
            drawn, rc::gen::inRange<std::uint64_t>(0, 3));
    });
    return rc::gen::map(kinds, [](const std::vector<std::uint64_t>& blocks) {
        std::vector<SequenceHash> chain;
        for (const std::uint64_t block : blocks) {
            chain.push_back(chain.empty() ? SequenceHash::root(BlockHash{block})
                                          : must(chain.back().extend(BlockHash{block})));
        }
        return chain;
    });
}

// --- scripts on token sequences ---

inline rc::Gen<TokenOptions> token_options() {
    return rc::gen::exec([] {
        TokenOptions options;
        // Both sides of XXH3's 240 bytes, as plain tokens and as frames.
        options.block_size =
            *rc::gen::element<std::size_t>(1, 2, 3, 4, 5, 8, 16, 18, 19, 60, 61, 64);
        options.salt = *salt();
        options.tokens = *tokens_up_to(40);
        options.runs = *unchecked_runs(options.tokens.size());
        return options;
    });
}

inline rc::Gen<TokenCommand> token_command() {
    const auto range = rc::gen::construct<IndexRange>(count(300), count(300));
    const auto object = rc::gen::inRange<std::uint64_t>(0, 3);
    return rc::gen::weightedOneOf<TokenCommand>({
        {4, command<TokenCommand, TokenAppend>(token())},
        {1, command<TokenCommand, TokenPush>(token())},
        {6, command<TokenCommand, TokenExtend>(tokens_up_to(40))},
        {2, command<TokenCommand, TokenPushRun>(object, count(40))},
        {2, command<TokenCommand, TokenExtendWithRuns>(tokens_up_to(24), unchecked_runs(24))},
        {2, command<TokenCommand, TokenTruncate>(count(300))},
        {2, command<TokenCommand, TokenUnwind>(count(80))},
        {3, rc::gen::just<TokenCommand>(TokenPop{})},
        {2, rc::gen::just<TokenCommand>(TokenReset{})},
        {1, command<TokenCommand, TokenRange>(range)},
        {2, rc::gen::just<TokenCommand>(TokenRebuild{})},
        {2, command<TokenCommand, TokenCommitEnd>(below(5), tokens_up_to(64))},
    });
}

// --- scripts on trackers of block assignments ---

/// An id of the small set that scripts on trackers draw from.
inline rc::Gen<BlockId> block_id() {
    return rc::gen::map(below(48), assignment_id);
}

/// A list of ids; now and then a run of equally spaced ones, so that rows outgrow a plain scan.
inline rc::Gen<std::vector<BlockId>> block_ids() {
    const auto run = rc::gen::map(rc::gen::tuple(below(64), below(50), rc::gen::inRange(0, 3)),
                                  [](const std::tuple<std::size_t, std::size_t, int>& drawn) {
                                      const auto [first, ids_count, stride] = drawn;
                                      std::vector<BlockId> ids;
                                      for (std::size_t i = 0; i < ids_count; ++i) {
                                          ids.push_back(first + (BlockId{i} << (29 * stride)));
                                      }
                                      return ids;
                                  });
    return rc::gen::weightedOneOf<std::vector<BlockId>>(
        {{3, rc::gen::container<std::vector<BlockId>>(block_id())}, {1, run}});
}

/// Blocks to stage: mostly those of the first sequence from its start, which are right.
inline rc::Gen<std::vector<BlockSlice>> block_slices() {
    const auto right = rc::gen::map(below(96), [](std::size_t blocks_count) {
        return std::vector<BlockSlice>{{.sequence = 0, .first = 0, .count = blocks_count}};
    });
    const auto any = rc::gen::container<std::vector<BlockSlice>>(
        rc::gen::construct<BlockSlice>(below(2), below(8), below(12)));
    return rc::gen::weightedOneOf<std::vector<BlockSlice>>({{3, right}, {1, any}});
}

/// Pairs for extend_assigned, mostly with the right hashes.
inline rc::Gen<std::vector<PairDraw>> assignment_pairs() {
    const auto mostly_zero = rc::gen::weightedElement<std::size_t>({{15, 0}, {1, 1}});
    return rc::gen::container<std::vector<PairDraw>>(
        rc::gen::construct<PairDraw>(block_id(), mostly_zero, mostly_zero));
}

inline rc::Gen<AssignmentOptions> assignment_options() {
    return rc::gen::exec([] {
        AssignmentOptions options;
        options.offsets = {*below(8), *below(8)};
        options.block_counts = {*below(80), *below(8)};
        return options;
    });
}

inline rc::Gen<AssignmentCommand> assignment_command() {
    const auto tracker = below(2);
    const auto flag = rc::gen::arbitrary<bool>();
    return rc::gen::weightedOneOf<AssignmentCommand>({
        {4, command<AssignmentCommand, ExtendBlockIds>(tracker, below(64), block_ids())},
        {3, command<AssignmentCommand, ExtendAssigned>(tracker, assignment_pairs())},
        {2, command<AssignmentCommand, StagePending>(tracker, block_slices(), flag)},
        {2, command<AssignmentCommand, AssignPending>(tracker, block_slices(), flag)},
        {1, command<AssignmentCommand, CommitStaged>(tracker)},
        {2, command<AssignmentCommand, TakeStaged>(tracker)},
        {1, command<AssignmentCommand, Clear>(tracker)},
        {1, command<AssignmentCommand, AskForId>(tracker, block_id())},
        {1, command<AssignmentCommand, AskForPlace>(tracker, below(80))},
        {1, command<AssignmentCommand, ZipBoth>(tracker, tracker)},
        {1, command<AssignmentCommand, CopyTracker>(tracker, tracker, flag)},
    });
}

// --- scripts on a frequency sketch ---

/// A key of the universe that scripts on a sketch name by number.
inline rc::Gen<std::size_t> sketch_key() {
    return below(sketch_keys_count);
}

inline rc::Gen<SketchOptions> sketch_options() {
    return rc::gen::exec([] {
        SketchOptions options;
        options.capacity = *rc::gen::element<std::size_t>(0, 1, 3, 4, 7, 10, 64, 100, 257, 1000);
        options.layout = *rc::gen::element(SketchLayout::compat, SketchLayout::blocked);
        if (*rc::gen::arbitrary<bool>()) {
            options.sample_size = *rc::gen::inRange<std::uint32_t>(1, 300);
        }
        return options;
    });
}

inline rc::Gen<SketchCommand> sketch_command() {
    return rc::gen::oneOf(command<SketchCommand, SketchTouchNumber>(sketch_key(), below(20)),
                          command<SketchCommand, SketchTouchHash>(sketch_key(), below(20)),
                          command<SketchCommand, SketchTouchAll>(
                              rc::gen::container<std::vector<std::size_t>>(sketch_key())));
}

// --- scripts on block managers ---

inline rc::Gen<PoolOptions> pool_options() {
    return decoded(decode_pool_options);
}

inline rc::Gen<PoolCommand> pool_command() {
    return any_command<PoolCommand>();
}

inline rc::Gen<PolicyOptions> policy_options() {
    return decoded(decode_policy_options);
}

inline rc::Gen<PolicyCommand> policy_command() {
    return decoded(decode_policy_command);
}

// --- scripts on trackers of guards, and on requests ---

inline rc::Gen<logical::Options> logical_options() {
    return rc::gen::exec([] {
        logical::Options options;
        options.block_count = *rc::gen::element<std::size_t>(2, 5, 12, 40);
        options.reject = *rc::gen::arbitrary<bool>();
        options.positions =
            *rc::gen::weightedElement<Positions>({{3, Positions::checked}, {1, Positions::free}});
        options.offsets = {*rc::gen::weightedElement<std::size_t>({{2, 0}, {1, 2}}),
                           *rc::gen::weightedElement<std::size_t>({{2, 0}, {1, 3}})};
        options.sequence_blocks = {*below(24), *below(24)};
        return options;
    });
}

/// The ways into full rows are drawn more often.
inline rc::Gen<logical::Command> logical_command() {
    using logical::Command;
    return rc::gen::weightedOneOf<Command>({{1, command_of<Command, logical::Allocate>()},
                                            {1, command_of<Command, logical::ExtendBlocks>()},
                                            {1, command_of<Command, logical::StageWhole>()},
                                            {8, any_command<Command>()}});
}

inline rc::Gen<requests::Options> request_options() {
    return rc::gen::exec([] {
        requests::Options options;
        options.block_count = *rc::gen::element<std::size_t>(1, 2, 3, 5, 8, 12, 20, 64);
        options.block_size = *rc::gen::element<std::size_t>(1, 2, 4, 8);
        options.reject = *rc::gen::arbitrary<bool>();
        using Eviction = requests::Options::Eviction;
        options.eviction = *rc::gen::element(Eviction::lru, Eviction::fifo, Eviction::lineage_tick,
                                             Eviction::lineage_fifo);
        return options;
    });
}

/// Most commands go on with a request, so that scripts reach deep states.
inline rc::Gen<requests::Command> request_command() {
    using requests::Command;
    return rc::gen::weightedOneOf<Command>(
        {{2, command_of<Command, requests::Advance>()}, {1, any_command<Command>()}});
}

}  // namespace kvbm::testing::gen

namespace kvbm {

inline void showValue(const MultimodalRun& run, std::ostream& os) {
    os << "{object " << run.mm_hash << ", [" << run.offset << ", +" << run.length << ")}";
}

}  // namespace kvbm

namespace kvbm::testing {

inline std::string to_string(const AssignmentOptions& options) {
    return "offsets " + std::to_string(options.offsets[0]) + " and " +
           std::to_string(options.offsets[1]) + ", sequences of " +
           std::to_string(options.block_counts[0]) + " and " +
           std::to_string(options.block_counts[1]) + " blocks of " +
           std::to_string(options.block_size) + " tokens";
}

inline void showValue(const TokenOptions& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const TokenCommand& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const AssignmentOptions& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const AssignmentCommand& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const SketchOptions& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const SketchCommand& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const PoolOptions& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const PoolCommand& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const PolicyOptions& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const PolicyCommand& shown, std::ostream& os) {
    os << to_string(shown);
}

}  // namespace kvbm::testing

namespace kvbm::testing::logical {

inline void showValue(const Options& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const Command& shown, std::ostream& os) {
    os << to_string(shown);
}

}  // namespace kvbm::testing::logical

namespace kvbm::testing::requests {

inline void showValue(const Options& shown, std::ostream& os) {
    os << to_string(shown);
}
inline void showValue(const Command& shown, std::ostream& os) {
    os << to_string(shown);
}

}  // namespace kvbm::testing::requests

namespace rc {

template <>
struct Arbitrary<kvbm::SequenceHash> {
    static auto arbitrary() { return kvbm::testing::gen::sequence_hash(); }
};
template <>
struct Arbitrary<kvbm::testing::TokenOptions> {
    static auto arbitrary() { return kvbm::testing::gen::token_options(); }
};
template <>
struct Arbitrary<kvbm::testing::TokenCommand> {
    static auto arbitrary() { return kvbm::testing::gen::token_command(); }
};
template <>
struct Arbitrary<kvbm::testing::AssignmentOptions> {
    static auto arbitrary() { return kvbm::testing::gen::assignment_options(); }
};
template <>
struct Arbitrary<kvbm::testing::AssignmentCommand> {
    static auto arbitrary() { return kvbm::testing::gen::assignment_command(); }
};
template <>
struct Arbitrary<kvbm::testing::SketchOptions> {
    static auto arbitrary() { return kvbm::testing::gen::sketch_options(); }
};
template <>
struct Arbitrary<kvbm::testing::SketchCommand> {
    static auto arbitrary() { return kvbm::testing::gen::sketch_command(); }
};
template <>
struct Arbitrary<kvbm::testing::PoolOptions> {
    static auto arbitrary() { return kvbm::testing::gen::pool_options(); }
};
template <>
struct Arbitrary<kvbm::testing::PoolCommand> {
    static auto arbitrary() { return kvbm::testing::gen::pool_command(); }
};
template <>
struct Arbitrary<kvbm::testing::PolicyOptions> {
    static auto arbitrary() { return kvbm::testing::gen::policy_options(); }
};
template <>
struct Arbitrary<kvbm::testing::PolicyCommand> {
    static auto arbitrary() { return kvbm::testing::gen::policy_command(); }
};
template <>
struct Arbitrary<kvbm::testing::logical::Options> {
    static auto arbitrary() { return kvbm::testing::gen::logical_options(); }
};
template <>
struct Arbitrary<kvbm::testing::logical::Command> {
    static auto arbitrary() { return kvbm::testing::gen::logical_command(); }
};
template <>
struct Arbitrary<kvbm::testing::requests::Options> {
    static auto arbitrary() { return kvbm::testing::gen::request_options(); }
};
template <>
struct Arbitrary<kvbm::testing::requests::Command> {
    static auto arbitrary() { return kvbm::testing::gen::request_command(); }
};

}  // namespace rc
