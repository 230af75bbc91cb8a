module;

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

namespace kvbm::testing {

namespace {

using Error = BlockSequenceError;

std::vector<SequenceHash> hashes_of(std::span<const TokenBlock> blocks) {
    std::vector<SequenceHash> hashes;
    for (const TokenBlock& block : blocks) {
        hashes.push_back(block.sequence_hash());
    }
    return hashes;
}

}  // namespace

Result<void, Error> AssignmentModel::extend_block_ids(std::span<const BlockId> ids) {
    std::vector<BlockId> fresh;
    std::size_t first_new = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (contains(ids[i])) {
            if (!fresh.empty()) {
                return failure(
                    Error{Error::OrderingViolation{ids[i], fresh.front(), i, first_new}});
            }
            continue;
        }
        if (std::ranges::count(fresh, ids[i]) > 0) {
            return failure(Error{Error::DuplicateBlockId{ids[i]}});
        }
        first_new = fresh.empty() ? i : first_new;
        fresh.push_back(ids[i]);
    }
    for (const BlockId id : fresh) {
        row_.push_back({id, std::nullopt});
    }
    return {};
}

Result<std::size_t, Error> AssignmentModel::extend_assigned(std::span<const Assignment> pairs) {
    for (std::size_t k = 0; k < pairs.size(); ++k) {
        const auto same = [&](const Assignment& pair) { return pair.id == pairs[k].id; };
        if (contains(pairs[k].id) || std::ranges::any_of(pairs.first(k), same)) {
            return failure(Error{Error::DuplicateBlockId{pairs[k].id}});
        }
    }
    if (staged_ > 0 && !pairs.empty()) {
        return failure(Error{Error::StagedPresent{staged_}});
    }
    for (std::size_t k = 0; k < pairs.size(); ++k) {
        const std::size_t position = offset_ + assigned_ + k;
        if (pairs[k].hash.position() != position) {
            return failure(
                Error{Error::PositionMismatch{position, pairs[k].hash.position(), pairs[k].id}});
        }
    }
    for (const Assignment& pair : pairs) {
        row_.insert(row_.begin() + static_cast<std::ptrdiff_t>(assigned_), {pair.id, pair.hash});
        ++assigned_;
    }
    return pairs.size();
}

Result<IndexRange, Error> AssignmentModel::stage_pending(std::span<const SequenceHash> hashes) {
    const auto old = *this;
    const std::size_t before = staged_;
    for (std::size_t position = offset_ + assigned_ + staged_;
         assigned_ + staged_ < row_.size() && position < hashes.size(); ++position) {
        Entry& entry = row_[assigned_ + staged_];
        if (hashes[position].position() != position) {
            const Error::PositionMismatch reason{position, hashes[position].position(), entry.id};
            *this = old;
            return failure(Error{reason});
        }
        entry.hash = hashes[position];
        ++staged_;
    }
    return IndexRange{before, staged_};
}

Result<IndexRange, Error> AssignmentModel::stage_pending(std::span<const TokenBlock> blocks) {
    return stage_pending(std::span<const SequenceHash>(hashes_of(blocks)));
}

Result<IndexRange, Error> AssignmentModel::assign_pending(std::span<const SequenceHash> hashes) {
    return stage_pending(hashes).map([this](IndexRange) { return commit_staged(); });
}

Result<IndexRange, Error> AssignmentModel::assign_pending(std::span<const TokenBlock> blocks) {
    return assign_pending(std::span<const SequenceHash>(hashes_of(blocks)));
}

IndexRange AssignmentModel::commit_staged() {
    const IndexRange added{assigned_, assigned_ + staged_};
    assigned_ += staged_;
    staged_ = 0;
    return added;
}

std::vector<Assignment> AssignmentModel::take_staged() {
    std::vector<Assignment> taken;
    for (; staged_ > 0; --staged_) {
        taken.push_back(at(assigned_));
        row_.erase(row_.begin() + static_cast<std::ptrdiff_t>(assigned_));
    }
    return taken;
}

void AssignmentModel::clear() {
    *this = AssignmentModel(offset_);
}

std::optional<std::size_t> AssignmentModel::position_of(BlockId id) const {
    for (std::size_t place = 0; place < row_.size(); ++place) {
        if (row_[place].id == id) {
            return offset_ + place;
        }
    }
    return std::nullopt;
}

std::optional<Assignment> AssignmentModel::get_assigned(std::size_t index) const {
    return index < assigned_ ? std::optional(at(index)) : std::nullopt;
}

std::optional<Assignment> AssignmentModel::get_staged(std::size_t index) const {
    return index < staged_ ? std::optional(at(assigned_ + index)) : std::nullopt;
}

std::optional<Assignment> AssignmentModel::get_at_position(std::size_t position) const {
    return position < offset_ ? std::nullopt : get_assigned(position - offset_);
}

std::optional<BlockId> AssignmentModel::get_pending_at_position(std::size_t position) const {
    const std::size_t first = offset_ + assigned_ + staged_;
    return position >= first && position - offset_ < row_.size()
               ? std::optional(row_[position - offset_].id)
               : std::nullopt;
}

std::vector<ZippedBlocks> zip_assigned(const AssignmentModel& a, const AssignmentModel& b) {
    std::vector<ZippedBlocks> result;
    for (const AssignmentModel::Entry& entry : a.row()) {
        const std::size_t position = a.position_of(entry.id).value();
        const auto first = a.get_at_position(position);
        const auto second = b.get_at_position(position);
        if (first && second) {
            result.push_back({position, first->id, second->id});
        }
    }
    return result;
}

std::vector<ZippedBlocks> zip_assigned_pending(const AssignmentModel& source,
                                               const AssignmentModel& destination) {
    std::vector<ZippedBlocks> result;
    for (const AssignmentModel::Entry& entry : source.row()) {
        const std::size_t position = source.position_of(entry.id).value();
        const auto first = source.get_at_position(position);
        const auto second = destination.get_pending_at_position(position);
        if (first && second) {
            result.push_back({position, first->id, *second});
        }
    }
    return result;
}

}  // namespace kvbm::testing
