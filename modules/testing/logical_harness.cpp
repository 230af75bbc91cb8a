// Runs scripts on real trackers of guards and on naive ones.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import :script;
import kvbm.sequence;

namespace kvbm::testing::logical {

namespace {

using Error = LogicalBlockAssignmentError<>;
constexpr std::size_t block_size = 4;

std::size_t limit_of(std::size_t drawn) {
    return drawn == unlimited ? std::numeric_limits<std::size_t>::max() : drawn;
}

std::span<const TokenBlock> run_of(const BlockSequence& sequence, std::size_t first,
                                   std::size_t count) {
    const auto tail = sequence.blocks().subspan(std::min(first, sequence.blocks().size()));
    return tail.first(std::min(count, tail.size()));
}

ReleaseOrder order_of(bool leaf_first) {
    return leaf_first ? ReleaseOrder::leaf_first : ReleaseOrder::root_first;
}

/// The words of NaiveTracker for what a real tracker gave.
std::string words(const Result<std::size_t, Error>& result) {
    if (result) {
        return std::to_string(*result);
    }
    const std::string text = result.error().message();
    return std::visit(
        [&](const auto& reason) {
            using Reason = std::decay_t<decltype(reason)>;
            if constexpr (std::is_same_v<Reason, Error::BlockSizeMismatch>) {
                return text + "; block " + std::to_string(reason.block_id);
            } else if constexpr (std::is_same_v<Reason, Error::PositionMismatch>) {
                if (reason.blocks.empty()) {
                    return text;
                }
            }
            if constexpr (!std::is_same_v<Reason, Error::BlockSizeMismatch>) {
                std::string ids;
                for (const auto& block : reason.blocks) {
                    ids += " " + std::to_string(block.block_id());
                }
                return text + "; back" + ids;
            }
        },
        result.error().reason);
}

BlockManager<> make_manager(const Options& options) {
    return must(BlockManager<>::builder()
                    .block_count(options.block_count)
                    .block_size(block_size)
                    .registry(BlockRegistry())
                    .duplication_policy(options.reject ? BlockDuplicationPolicy::reject
                                                       : BlockDuplicationPolicy::allow)
                    .with_lru_backend()
                    .build());
}

std::vector<MutableBlock<>> singles(MutableBlockList<> blocks) {
    std::vector<MutableBlock<>> guards;
    while (!blocks.empty()) {
        guards.push_back(blocks.take_front(1).pop_back());
    }
    return guards;
}

template <class Guards>
void drop(Guards& guards, ReleaseOrder order) {
    while (!guards.empty()) {
        if (order == ReleaseOrder::root_first) {
            guards.erase(guards.begin());
        } else {
            guards.pop_back();
        }
    }
}

}  // namespace

Options decode_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 4> block_counts{4, 8, 16, 40};
    Options options;
    options.block_count = block_counts[bytes.below(block_counts.size())];
    options.reject = bytes.flag();
    options.positions = bytes.below(4) == 0 ? Positions::free : Positions::checked;
    for (auto& offset : options.offsets) {
        offset = bytes.below(2) * bytes.below(4);
    }
    for (auto& count : options.sequence_blocks) {
        count = bytes.below(24);
    }
    return options;
}

std::string to_string(const Options& options) {
    return std::to_string(options.block_count) + " blocks, " +
           (options.reject ? "reject" : "allow") + ", " +
           (options.positions == Positions::free ? "free" : "checked") + ", offsets " +
           std::to_string(options.offsets[0]) + " " + std::to_string(options.offsets[1]) +
           ", sequences of " + std::to_string(options.sequence_blocks[0]) + " and " +
           std::to_string(options.sequence_blocks[1]);
}

Command decode_command(ByteReader& bytes) {
    return script::decode<Command>(bytes);
}

std::string to_string(const Command& command) {
    return script::print(command);
}

std::optional<Command> parse_command(std::string_view line) {
    return script::parse<Command>(line);
}

Harness::Harness(const Options& options)
    : options_(options),
      sequences_{counting_sequence(options.sequence_blocks[0]),
                 counting_sequence(options.sequence_blocks[1], 0, block_size, 42),
                 counting_sequence(3, 0, 2 * block_size)},
      manager_(make_manager(options)),
      twin_(make_manager(options)),
      trackers_{LogicalBlockAssignments<>(options.offsets[0], options.positions),
                LogicalBlockAssignments<>(options.offsets[1], options.positions)},
      naive_{NaiveTracker(options.offsets[0], options.positions),
             NaiveTracker(options.offsets[1], options.positions)} {}

/// Makes a call on the real and on the naive side; gives both outcomes in words.
struct Harness::Steps {
    Harness& h;
    using Both = std::pair<std::string, std::string>;

    Both operator()(const Allocate& c) const {
        auto real = h.manager_.allocate_blocks(c.count);
        auto naive = h.twin_.allocate_blocks(c.count);
        Both both{real ? "ok" : "no", naive ? "ok" : "no"};
        if (real && naive) {
            h.loose_.push_back({std::move(*real), singles(std::move(*naive))});
        }
        return both;
    }
    Both operator()(const ExtendBlocks& c) const {
        if (h.loose_.empty()) {
            return {};
        }
        const auto at = h.loose_.begin() + static_cast<std::ptrdiff_t>(c.list % h.loose_.size());
        Loose loose = std::move(*at);
        h.loose_.erase(at);
        return {words(h.trackers_[c.tracker].extend_blocks(std::move(loose.real))),
                h.naive_[c.tracker].extend_blocks(loose.naive)};
    }
    Both operator()(const ExtendMatched& c) const {
        const auto& naive = h.naive_[c.tracker];
        const std::size_t from = c.anywhere ? 0 : naive.offset() + naive.assigned().size();
        const auto all = h.sequences_[c.sequence].all_sequence_hashes();
        const auto tail = all.subspan(std::min(from + c.first, all.size()));
        const auto hashes = tail.first(std::min(c.count, tail.size()));
        auto list = h.twin_.match_blocks(hashes);
        std::vector<ImmutableBlock<>> guards;
        while (!list.empty()) {
            guards.push_back(list.take_front(1).pop_back());
        }
        return extend_assigned(c.tracker, h.manager_.match_blocks(hashes), std::move(guards));
    }
    Both operator()(const ExtendCopies& c) const {
        const auto& from = h.naive_[c.from].assigned();
        std::vector<ImmutableBlock<>> guards;
        ImmutableBlockList<> list;
        const auto copy = [&](std::size_t i) {
            guards.push_back(from[i]);
            list.push_back(ImmutableBlock<>(h.trackers_[c.from].assigned()[i]));
        };
        for (std::size_t i = c.first; i < std::min(c.first + c.count, from.size()); ++i) {
            copy(i);
        }
        if (c.twice && !guards.empty()) {
            copy(c.first);
        }
        return extend_assigned(c.tracker, std::move(list), std::move(guards));
    }
    Both operator()(const Stage& c) const {
        const auto run = run_of(h.sequences_[c.sequence], c.first, c.count);
        std::vector<TokenBlock> blocks(run.begin(), run.end());
        if (c.mixed) {
            blocks.push_back(h.sequences_[2].blocks()[1]);
        }
        return {words(h.trackers_[c.tracker].stage(blocks)),
                h.naive_[c.tracker].stage(blocks, block_size)};
    }
    Both operator()(const StageWhole& c) const {
        const auto blocks = h.sequences_[c.sequence].blocks();
        return {words(h.trackers_[c.tracker].stage(blocks)),
                h.naive_[c.tracker].stage(blocks, block_size)};
    }
    Both operator()(const Register& c) const {
        const std::size_t at_most = limit_of(c.at_most);
        return {std::to_string(h.trackers_[c.tracker].register_blocks(h.manager_, at_most)),
                h.naive_[c.tracker].register_blocks(h.twin_, at_most)};
    }
    Both operator()(const StageAndRegister& c) const {
        const auto blocks = run_of(h.sequences_[c.sequence], c.first, c.count);
        return {words(h.trackers_[c.tracker].stage_and_register(blocks, h.manager_)),
                h.naive_[c.tracker].stage_and_register(blocks, h.twin_)};
    }
    Both operator()(const PopLast& c) const {
        auto real = h.trackers_[c.tracker].pop_last_unassigned();
        auto naive = h.naive_[c.tracker].pop_last();
        const auto name = [](const auto& block) {
            return block ? std::to_string(block->block_id()) : "none";
        };
        Both both{name(real), name(naive)};
        if (real && naive) {
            Loose loose;
            loose.real.push_back(std::move(*real));
            loose.naive.push_back(std::move(*naive));
            h.loose_.push_back(std::move(loose));
        }
        return both;
    }
    Both operator()(const DropLast& c) const {
        const std::size_t count = limit_of(c.count);
        return {std::to_string(h.trackers_[c.tracker].drop_last_unassigned(count)),
                std::to_string(h.naive_[c.tracker].drop_last(count))};
    }
    Both operator()(const TakeAssigned& c) const {
        auto real = h.trackers_[c.tracker].take_assigned();
        auto naive = h.naive_[c.tracker].take_assigned();
        Both both{std::to_string(real.size()), std::to_string(naive.size())};
        real.clear(order_of(c.leaf_first));
        drop(naive, order_of(c.leaf_first));
        return both;
    }
    Both operator()(const TakeStaged& c) const {
        auto real = h.trackers_[c.tracker].take_staged();
        auto naive = h.naive_[c.tracker].take_staged();
        Both both{std::to_string(real.size()), std::to_string(naive.size())};
        if (c.reset) {
            Loose loose{std::move(real).reset_all(), {}};
            for (auto& block : naive) {
                loose.naive.push_back(std::move(block).reset());
            }
            h.loose_.push_back(std::move(loose));
        } else {
            real.clear();
            drop(naive, ReleaseOrder::root_first);
        }
        return both;
    }
    Both operator()(const TakeUnassigned& c) const {
        h.loose_.push_back(
            {h.trackers_[c.tracker].take_unassigned(), h.naive_[c.tracker].take_unassigned()});
        return {std::to_string(h.loose_.back().real.size()),
                std::to_string(h.loose_.back().naive.size())};
    }
    Both operator()(const Clear& c) const {
        h.trackers_[c.tracker].clear(order_of(c.leaf_first));
        h.naive_[c.tracker].clear(order_of(c.leaf_first));
        return {};
    }
    Both operator()(const Move& c) const {
        if (c.from == c.to) {
            return {};
        }
        h.trackers_[c.to] = std::move(h.trackers_[c.from]);
        h.naive_[c.to].clear(ReleaseOrder::root_first);
        std::swap(h.naive_[c.to], h.naive_[c.from]);
        h.naive_[c.from] = h.naive_[c.to].emptied();
        return {};
    }
    Both operator()(const DropLoose& c) const {
        if (!h.loose_.empty()) {
            const auto at =
                h.loose_.begin() + static_cast<std::ptrdiff_t>(c.list % h.loose_.size());
            at->real.clear();
            drop(at->naive, ReleaseOrder::root_first);
            h.loose_.erase(at);
        }
        return {};
    }

  private:
    Both extend_assigned(std::size_t tracker, ImmutableBlockList<> list,
                         std::vector<ImmutableBlock<>> guards) const {
        Both both;
        {
            // The error has the guards, and drops them front to back.
            both.first = words(h.trackers_[tracker].extend_assigned(std::move(list)));
        }
        both.second = h.naive_[tracker].extend_assigned(guards);
        drop(guards, ReleaseOrder::root_first);
        return both;
    }
};

std::optional<std::string> Harness::difference() {
    for (std::size_t i = 0; i < trackers_count; ++i) {
        if (const auto different = naive_[i].difference(trackers_[i], options_.block_count)) {
            return "tracker " + std::to_string(i) + " " + *different;
        }
        if (const auto report = trackers_[i].check_invariants(); !report.ok()) {
            return report.to_string();
        }
    }
    for (const auto* manager : {&manager_, &twin_}) {
        if (const auto report = manager->check_invariants(); !report.ok()) {
            return report.to_string();
        }
    }
    const auto found = manager_.inspect();
    const auto expected = twin_.inspect();
    for (std::size_t i = 0; i < found.size(); ++i) {
        const bool named = found[i].state != BlockState::mutable_block;
        if (found[i].state != expected[i].state || found[i].references != expected[i].references ||
            (named && found[i].hash != expected[i].hash)) {
            return "block " + std::to_string(i) + " is not in the state of its twin";
        }
    }
    const auto ours = manager_.metrics()->snapshot();
    const auto theirs = twin_.metrics()->snapshot();
    if (ours.registrations != theirs.registrations || ours.stagings != theirs.stagings ||
        ours.allocations != theirs.allocations || ours.evictions != theirs.evictions ||
        ours.duplicate_blocks != theirs.duplicate_blocks ||
        ours.inflight_mutable != theirs.inflight_mutable ||
        ours.inflight_immutable != theirs.inflight_immutable) {
        return "the counters of the managers differ";
    }
    return std::nullopt;
}

std::optional<std::string> Harness::run(const Command& command) {
    const auto [found, expected] = std::visit(Steps{*this}, command);
    outcome_ = found;
    if (found != expected) {
        return to_string(command) + " gave \"" + found + "\" instead of \"" + expected + "\"";
    }
    if (auto different = difference()) {
        return to_string(command) + ": " + *different;
    }
    return std::nullopt;
}

std::optional<std::string> Harness::finish() {
    while (!loose_.empty()) {
        if (auto different = run(DropLoose{0})) {
            return different;
        }
    }
    for (std::size_t i = 0; i < trackers_count; ++i) {
        if (auto different = run(Clear{i, false})) {
            return different;
        }
    }
    const auto ours = manager_.allocate_blocks_with_evictions(manager_.total_blocks());
    const auto theirs = twin_.allocate_blocks_with_evictions(twin_.total_blocks());
    if (!ours || !theirs || ours->blocks.block_ids() != theirs->blocks.block_ids() ||
        ours->evicted != theirs->evicted) {
        return "the pools end in another order";
    }
    return std::nullopt;
}

}  // namespace kvbm::testing::logical
