// A tracker of guards by the rules of sequences.md 6, guard by guard.
module;

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.sequence;

namespace kvbm::testing::logical {

namespace {

std::string number(std::size_t value) {
    return std::to_string(value);
}

template <class Guards>
std::string ids_text(const Guards& guards) {
    std::string text;
    for (const auto& guard : guards) {
        text += " " + number(guard.block_id());
    }
    return text;
}

template <class Guards>
std::string named_text(const Guards& guards) {
    std::string text;
    for (const auto& guard : guards) {
        text += " " + number(guard.block_id()) + "=" + guard.sequence_hash().to_hex();
    }
    return text;
}

template <class Real, class Naive>
bool same_named(const Real& real, const Naive& naive) {
    return std::ranges::equal(real, naive, [](const auto& a, const auto& b) {
        return a.block_id() == b.block_id() && a.sequence_hash() == b.sequence_hash();
    });
}

std::string range_text(std::size_t first, std::size_t last) {
    return " [" + number(first) + "," + number(last) + ")";
}

std::string range_text(const IndexRange& range) {
    return range_text(range.first, range.last);
}

std::string position_text(BlockId id, std::size_t expected, std::size_t actual) {
    return "position mismatch for block_id " + number(id) + ": expected " + number(expected) +
           ", actual " + number(actual);
}

template <class Guards>
void drop_front_to_back(Guards& guards) {
    while (!guards.empty()) {
        guards.erase(guards.begin());
    }
}

template <class Guards>
void drop_back_to_front(Guards& guards) {
    while (!guards.empty()) {
        guards.pop_back();
    }
}

}  // namespace

std::vector<BlockId> NaiveTracker::ids() const {
    std::vector<BlockId> ids;
    for (const auto& guard : assigned_) {
        ids.push_back(guard.block_id());
    }
    for (const auto& guard : staged_) {
        ids.push_back(guard.block_id());
    }
    for (const auto& guard : unassigned_) {
        ids.push_back(guard.block_id());
    }
    return ids;
}

bool NaiveTracker::knows(BlockId id) const {
    const auto all = ids();
    return std::ranges::find(all, id) != all.end();
}

std::string NaiveTracker::to_words() const {
    const auto all = ids();
    std::string text = "offset " + number(offset_) + ", assigned" + named_text(assigned_) +
                       ", staged" + named_text(staged_) + ", queued" + ids_text(unassigned_) +
                       ", ranges" + range_text(offset_, offset_ + assigned_.size()) +
                       range_text(offset_ + assigned_.size(), next_position()) +
                       range_text(next_position(), offset_ + all.size()) +
                       (all.empty() ? ", empty" : "") + ", places";
    for (const BlockId id : all) {
        const auto place = std::ranges::find(all, id) - all.begin();
        text += " " + number(offset_ + static_cast<std::size_t>(place));
    }
    return text;
}

// Answer by answer: the harness asks after each command, and words are dear.
bool NaiveTracker::has_row_of(const LogicalBlockAssignments<>& real,
                              const std::vector<BlockId>& all) const {
    const std::size_t first_staged = offset_ + assigned_.size();
    return real.offset() == offset_ && real.is_empty() == all.empty() &&
           same_named(real.assigned(), assigned_) && same_named(real.staged(), staged_) &&
           real.unassigned().size() == unassigned_.size() && real.all_block_ids() == all &&
           real.assigned_positions() == IndexRange{offset_, first_staged} &&
           real.staged_positions() == IndexRange{first_staged, next_position()} &&
           real.pending_positions() == IndexRange{next_position(), offset_ + all.size()};
}

std::optional<std::string> NaiveTracker::difference(const LogicalBlockAssignments<>& real,
                                                    BlockId id_limit) const {
    const auto all = ids();
    if (!has_row_of(real, all)) {
        return "is\n  " + logical::to_words(real) + "\ninstead of\n  " + to_words();
    }
    // An id that a refused registration brought in again is known by its first place.
    std::vector<std::optional<std::size_t>> places(id_limit);
    for (std::size_t k = all.size(); k-- > 0;) {
        places.at(all[k]) = offset_ + k;
    }
    for (BlockId id = 0; id < id_limit; ++id) {
        if (real.contains(id) != places[id].has_value() || real.position_of(id) != places[id]) {
            return "does not know the place of " + number(id);
        }
    }
    for (std::size_t k = 0; k <= all.size() + 1; ++k) {
        const bool assigned = k < assigned_.size();
        const auto* block = real.get_at_position(offset_ + k);
        if ((block != nullptr) != assigned || (assigned && block->block_id() != all[k]) ||
            (assigned && real.get_assigned(k) != block)) {
            return "does not know the block at " + number(offset_ + k);
        }
    }
    return std::nullopt;
}

std::string to_words(const LogicalBlockAssignments<>& tracker) {
    std::string text =
        "offset " + number(tracker.offset()) + ", assigned" + named_text(tracker.assigned()) +
        ", staged" + named_text(tracker.staged()) + ", queued" + ids_text(tracker.unassigned()) +
        ", ranges" + range_text(tracker.assigned_positions()) +
        range_text(tracker.staged_positions()) + range_text(tracker.pending_positions()) +
        (tracker.is_empty() ? ", empty" : "") + ", places";
    for (const BlockId id : tracker.all_block_ids()) {
        text += " " + number(tracker.position_of(id).value());
    }
    return text;
}

std::string NaiveTracker::extend_blocks(std::vector<MutableBlock<>>& blocks) {
    // A guard of a block has one owner, so none can be known or come twice.
    const std::size_t count = blocks.size();
    for (auto& block : blocks) {
        unassigned_.push_back(std::move(block));
    }
    blocks.clear();
    return number(count);
}

std::string NaiveTracker::extend_assigned(std::vector<ImmutableBlock<>>& blocks) {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const BlockId id = blocks[i].block_id();
        bool repeated = knows(id);
        for (std::size_t j = 0; j < i; ++j) {
            repeated = repeated || blocks[j].block_id() == id;
        }
        if (repeated) {
            return "duplicate block_id " + number(id) + " already present; back" + ids_text(blocks);
        }
    }
    if (positions_ == Positions::checked && !blocks.empty()) {
        if (!staged_.empty()) {
            return "cannot extend assigned: " + number(staged_.size()) + " block(s) staged; back" +
                   ids_text(blocks);
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            const std::size_t expected = offset_ + assigned_.size() + i;
            const std::size_t actual = blocks[i].sequence_hash().position();
            if (actual != expected) {
                return position_text(blocks[i].block_id(), expected, actual) + "; back" +
                       ids_text(blocks);
            }
        }
    }
    const std::size_t count = blocks.size();
    for (auto& block : blocks) {
        assigned_.push_back(std::move(block));
    }
    blocks.clear();
    return number(count);
}

std::string NaiveTracker::stage(std::span<const TokenBlock> blocks, std::size_t block_size) {
    if (unassigned_.empty() || blocks.empty()) {
        return "0";
    }
    const auto wrong_size = [&](const TokenBlock& block) {
        return "Block size mismatch: expected " + number(block_size) + " tokens, got " +
               number(block.block_size());
    };
    if (blocks.front().block_size() != block_size) {
        return wrong_size(blocks.front()) + "; block " + number(unassigned_.front().block_id());
    }
    std::vector<TokenBlock> run(blocks.begin(), blocks.end());
    if (positions_ == Positions::checked) {
        const std::size_t next = next_position();
        if (run.front().position() > next) {
            return position_text(unassigned_.front().block_id(), next, run.front().position());
        }
        const std::size_t skipped = std::min(next - run.front().position(), run.size());
        run.erase(run.begin(), run.begin() + static_cast<std::ptrdiff_t>(skipped));
    }
    const std::size_t count = std::min(run.size(), unassigned_.size());
    for (std::size_t i = 0; i < count; ++i) {
        if (run[i].block_size() != block_size) {
            return wrong_size(run[i]) + "; block " + number(unassigned_[i].block_id());
        }
        if (positions_ == Positions::checked && run[i].position() != next_position() + i) {
            return position_text(unassigned_[i].block_id(), next_position() + i, run[i].position());
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        staged_.push_back(must(std::move(unassigned_.front()).complete(run[i])));
        unassigned_.erase(unassigned_.begin());
    }
    return number(count);
}

std::string NaiveTracker::register_blocks(BlockManager<>& manager, std::size_t at_most) {
    const std::size_t count = std::min(at_most, staged_.size());
    for (std::size_t i = 0; i < count; ++i) {
        assigned_.push_back(must(manager.register_block(std::move(staged_.front()))));
        staged_.erase(staged_.begin());
    }
    return number(count);
}

std::string NaiveTracker::stage_and_register(std::span<const TokenBlock> blocks,
                                             BlockManager<>& manager) {
    const auto staged = stage(blocks, manager.block_size());
    if (staged.find_first_not_of("0123456789") != std::string::npos) {
        return staged;
    }
    return register_blocks(manager, staged_.size());
}

std::optional<MutableBlock<>> NaiveTracker::pop_last() {
    if (unassigned_.empty()) {
        return std::nullopt;
    }
    std::optional<MutableBlock<>> last(std::move(unassigned_.back()));
    unassigned_.pop_back();
    return last;
}

std::size_t NaiveTracker::drop_last(std::size_t count) {
    const std::size_t dropped = std::min(count, unassigned_.size());
    for (std::size_t i = 0; i < dropped; ++i) {
        unassigned_.pop_back();
    }
    return dropped;
}

std::vector<ImmutableBlock<>> NaiveTracker::take_assigned() {
    offset_ += assigned_.size();
    return std::exchange(assigned_, {});
}

std::vector<CompleteBlock<>> NaiveTracker::take_staged() {
    return std::exchange(staged_, {});
}

std::vector<MutableBlock<>> NaiveTracker::take_unassigned() {
    return std::exchange(unassigned_, {});
}

void NaiveTracker::clear(ReleaseOrder order) {
    if (order == ReleaseOrder::root_first) {
        drop_front_to_back(assigned_);
        drop_front_to_back(staged_);
        drop_front_to_back(unassigned_);
    } else {
        drop_back_to_front(unassigned_);
        drop_back_to_front(staged_);
        drop_back_to_front(assigned_);
    }
    offset_ = first_offset_;
}

}  // namespace kvbm::testing::logical
