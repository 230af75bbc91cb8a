module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.sequence;

namespace kvbm {

namespace {

using Error = BlockSequenceError;
using detail::sequence::IdIndex;

constexpr std::size_t offset_at_most = std::size_t{1} << 24;

SequenceHash hash_of(const TokenBlock& block) noexcept {
    return block.sequence_hash();
}

SequenceHash hash_of(const SequenceHash& hash) noexcept {
    return hash;
}

// The first pair whose hash is not at its position, the first pair's being `position`.
std::optional<Error::PositionMismatch> first_misplaced(std::span<const Assignment> pairs,
                                                       std::size_t position) noexcept {
    for (const Assignment& pair : pairs) {
        if (pair.hash.position() != position) {
            return Error::PositionMismatch{
                .expected = position, .actual = pair.hash.position(), .block_id = pair.id};
        }
        ++position;
    }
    return std::nullopt;
}

}  // namespace

ExternalBlockAssignments::ExternalBlockAssignments(std::size_t offset) : offset_(offset) {
    expects(offset <= offset_at_most, "the offset of a tracker is at most 2^24");
}

ExternalBlockAssignments::ExternalBlockAssignments(ExternalBlockAssignments&& other) noexcept
    : offset_(other.offset_),
      assigned_(std::exchange(other.assigned_, 0)),
      staged_(std::exchange(other.staged_, 0)),
      row_(std::exchange(other.row_, {})),
      index_(std::exchange(other.index_, {})),
      entry_moves_(std::exchange(other.entry_moves_, 0)) {}

ExternalBlockAssignments& ExternalBlockAssignments::operator=(
    ExternalBlockAssignments&& other) noexcept {
    if (this != &other) {
        offset_ = other.offset_;
        assigned_ = std::exchange(other.assigned_, 0);
        staged_ = std::exchange(other.staged_, 0);
        row_ = std::exchange(other.row_, {});
        index_ = std::exchange(other.index_, {});
        entry_moves_ = std::exchange(other.entry_moves_, 0);
    }
    return *this;
}

std::optional<std::size_t> ExternalBlockAssignments::position_of(BlockId id) const noexcept {
    const std::size_t place = index_.find(row_, id);
    return place == IdIndex::none ? std::nullopt : std::optional(offset_ + place);
}

void ExternalBlockAssignments::reserve_for(std::size_t new_entries) {
    const std::size_t needed = row_.size() + new_entries;
    index_.reserve(row_, needed);
    if (needed > row_.capacity()) {
        entry_moves_ += row_.size();
        row_.reserve(std::max(needed, 2 * row_.capacity()));
    }
}

void ExternalBlockAssignments::drop_last_entries_to(std::size_t size) noexcept {
    while (row_.size() > size) {
        index_.erase(row_, row_.size() - 1);
        row_.pop_back();
    }
}

Result<void, BlockSequenceError> ExternalBlockAssignments::extend_block_ids(
    std::span<const BlockId> ids) {
    // The usual list repeats the row: then the next id is the next entry, and nothing is searched.
    std::size_t first_new = 0;
    for (std::size_t next = 0; first_new < ids.size(); ++first_new) {
        if (next >= row_.size() || row_[next].id != ids[first_new]) {
            next = index_.find_counted(row_, ids[first_new]);
            if (next == IdIndex::none) {
                break;
            }
        }
        ++next;
    }
    if (first_new == ids.size()) {
        return {};
    }

    const std::size_t known = row_.size();
    reserve_for(ids.size() - first_new);
    constexpr std::size_t ahead = 16;
    for (std::size_t i = first_new; i < ids.size(); ++i) {
        if (i + ahead < ids.size()) {
            index_.prefetch(ids[i + ahead]);
        }
        const std::size_t place = index_.find_or_add(row_, ids[i]);
        if (place != IdIndex::none) {
            drop_last_entries_to(known);
            if (place >= known) {
                return failure(Error{Error::DuplicateBlockId{.block_id = ids[i]}});
            }
            return failure(Error{Error::OrderingViolation{.known_id = ids[i],
                                                          .new_id = ids[first_new],
                                                          .known_index = i,
                                                          .first_new_index = first_new}});
        }
        row_.push_back({.id = ids[i], .hash = {}});
    }
    entry_moves_ += ids.size() - first_new;
    return {};
}

Result<std::size_t, BlockSequenceError> ExternalBlockAssignments::extend_assigned(
    std::span<const Assignment> pairs) {
    if (pairs.empty()) {
        return std::size_t{0};
    }
    // Asked before anything grows: the list may be a part of this very row.
    if (index_.find_counted(row_, pairs.front().id) != IdIndex::none) {
        return failure(Error{Error::DuplicateBlockId{.block_id = pairs.front().id}});
    }

    const std::size_t known = row_.size();
    reserve_for(pairs.size());
    for (const Assignment& pair : pairs) {
        if (index_.find_or_add(row_, pair.id) != IdIndex::none) {
            drop_last_entries_to(known);
            return failure(Error{Error::DuplicateBlockId{.block_id = pair.id}});
        }
        row_.push_back(pair);
    }
    entry_moves_ += pairs.size();
    if (staged_ > 0) {
        drop_last_entries_to(known);
        return failure(Error{Error::StagedPresent{.staged_count = staged_}});
    }
    if (const auto misplaced = first_misplaced(pairs, next_position())) {
        drop_last_entries_to(known);
        return failure(Error{*misplaced});
    }
    put_last_entries_before_pending(pairs.size());
    assigned_ += pairs.size();
    return pairs.size();
}

void ExternalBlockAssignments::put_last_entries_before_pending(std::size_t count) noexcept {
    const std::size_t old_size = row_.size() - count;
    if (old_size == assigned_) {
        return;
    }
    // The new ids leave the index until the pending ones have their new places, and these are
    // renumbered from the last to the first, so that a place never names two entries.
    for (std::size_t place = row_.size(); place > old_size; --place) {
        index_.erase(row_, place - 1);
    }
    for (std::size_t place = old_size; place > assigned_; --place) {
        index_.renumber(row_[place - 1].id, place - 1, place - 1 + count);
    }
    const auto pending = row_.begin() + static_cast<std::ptrdiff_t>(assigned_);
    std::rotate(pending, row_.end() - static_cast<std::ptrdiff_t>(count), row_.end());
    for (std::size_t place = assigned_; place < assigned_ + count; ++place) {
        index_.add(row_[place].id, place);
    }
    entry_moves_ += row_.size() - assigned_;
}

template <class Block>
Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::stage(
    std::span<const Block> blocks) noexcept {
    const std::size_t first = next_position();
    const std::size_t count =
        std::min(unassigned_count(), blocks.size() - std::min(first, blocks.size()));
    Assignment* const entries = row_.data() + assigned_ + staged_;
    for (std::size_t i = 0; i < count; ++i) {
        const SequenceHash hash = hash_of(blocks[first + i]);
        if (hash.position() != first + i) [[unlikely]] {
            return failure(Error{Error::PositionMismatch{
                .expected = first + i, .actual = hash.position(), .block_id = entries[i].id}});
        }
        // Not visible before the partition point moves: an error still leaves all as it was.
        entries[i].hash = hash;
    }
    entry_moves_ += count;
    const IndexRange added{staged_, staged_ + count};
    staged_ += count;
    return added;
}

IndexRange ExternalBlockAssignments::commit_staged() noexcept {
    const IndexRange added{assigned_, assigned_ + staged_};
    assigned_ += std::exchange(staged_, 0);
    return added;
}

std::vector<Assignment> ExternalBlockAssignments::take_staged() {
    const auto staged_entries = staged();
    std::vector<Assignment> taken(staged_entries.begin(), staged_entries.end());
    const std::size_t pending = assigned_ + staged_;
    for (std::size_t place = assigned_; place < pending; ++place) {
        index_.erase(row_, place);
    }
    // From the first to the last, so that a place never names two entries.
    for (std::size_t place = pending; place < row_.size(); ++place) {
        index_.renumber(row_[place].id, place, place - staged_);
    }
    entry_moves_ += row_.size() - assigned_;
    const auto first = row_.begin() + static_cast<std::ptrdiff_t>(assigned_);
    row_.erase(first, first + static_cast<std::ptrdiff_t>(staged_));
    staged_ = 0;
    return taken;
}

void ExternalBlockAssignments::clear() noexcept {
    index_.clear(row_);
    row_.clear();
    assigned_ = 0;
    staged_ = 0;
}

bool operator==(const ExternalBlockAssignments& a, const ExternalBlockAssignments& b) noexcept {
    return a.offset() == b.offset() && std::ranges::equal(a.assigned(), b.assigned()) &&
           std::ranges::equal(a.staged(), b.staged()) &&
           std::ranges::equal(a.unassigned(), b.unassigned());
}

Result<void, BlockSequenceError> ExternalBlockAssignments::extend_block_ids(
    std::initializer_list<BlockId> ids) {
    return extend_block_ids(std::span(ids.begin(), ids.size()));
}

Result<std::size_t, BlockSequenceError> ExternalBlockAssignments::extend_assigned(
    std::initializer_list<Assignment> pairs) {
    return extend_assigned(std::span(pairs.begin(), pairs.size()));
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::stage_pending(
    std::span<const TokenBlock> blocks) {
    return stage(blocks);
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::stage_pending(
    std::initializer_list<TokenBlock> blocks) {
    return stage(std::span(blocks.begin(), blocks.size()));
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::stage_pending(
    std::span<const SequenceHash> hashes) {
    return stage(hashes);
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::stage_pending(
    std::initializer_list<SequenceHash> hashes) {
    return stage(std::span(hashes.begin(), hashes.size()));
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::assign_pending(
    std::span<const TokenBlock> blocks) {
    return stage(blocks).map([this](IndexRange) { return commit_staged(); });
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::assign_pending(
    std::initializer_list<TokenBlock> blocks) {
    return assign_pending(std::span(blocks.begin(), blocks.size()));
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::assign_pending(
    std::span<const SequenceHash> hashes) {
    return stage(hashes).map([this](IndexRange) { return commit_staged(); });
}

Result<IndexRange, BlockSequenceError> ExternalBlockAssignments::assign_pending(
    std::initializer_list<SequenceHash> hashes) {
    return assign_pending(std::span(hashes.begin(), hashes.size()));
}

namespace detail::sequence {

TrackerCosts costs_of(const ExternalBlockAssignments& tracker) noexcept {
    return {.entry_moves = tracker.entry_moves_, .index_probes = tracker.index_.probes()};
}

}  // namespace detail::sequence

}  // namespace kvbm
