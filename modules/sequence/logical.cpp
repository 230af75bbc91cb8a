module;

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.sequence;

namespace kvbm::detail::sequence {

using blocks::Engine;
using blocks::GuardKind;

std::string duplicate_text(BlockId block_id) {
    return BlockSequenceError{BlockSequenceError::DuplicateBlockId{block_id}}.message();
}

std::string position_text(std::size_t expected, std::size_t actual, BlockId block_id) {
    return BlockSequenceError{BlockSequenceError::PositionMismatch{expected, actual, block_id}}
        .message();
}

std::string staged_text(std::size_t staged_count) {
    return BlockSequenceError{BlockSequenceError::StagedPresent{staged_count}}.message();
}

std::string block_size_text(std::size_t expected, std::size_t actual) {
    return "Block size mismatch: expected " + std::to_string(expected) + " tokens, got " +
           std::to_string(actual);
}

std::string sequence_hash_text(std::size_t position, const SequenceHash& expected,
                               const SequenceHash& actual) {
    return "sequence hash mismatch at position " + std::to_string(position) + ": expected " +
           expected.to_string() + ", got " + actual.to_string();
}

LogicalRow::LogicalRow(std::size_t offset, Positions positions)
    : offset_(offset), first_offset_(offset), positions_(positions) {
    constexpr std::size_t offset_at_most = std::size_t{1} << 24;
    expects(offset <= offset_at_most, "the offset of a tracker is at most 2^24");
}

LogicalRow::LogicalRow(LogicalRow&& other) noexcept
    : offset_(std::exchange(other.offset_, other.first_offset_)),
      first_offset_(other.first_offset_),
      positions_(other.positions_),
      assigned_(std::move(other.assigned_)),
      staged_(std::move(other.staged_)),
      unassigned_(std::move(other.unassigned_)),
      index_(std::move(other.index_)),
      entry_moves_(std::exchange(other.entry_moves_, 0)) {}

LogicalRow& LogicalRow::operator=(LogicalRow&& other) noexcept {
    if (this != &other) {
        clear(ReleaseOrder::root_first);
        offset_ = std::exchange(other.offset_, other.first_offset_);
        first_offset_ = other.first_offset_;
        positions_ = other.positions_;
        assigned_ = std::move(other.assigned_);
        staged_ = std::move(other.staged_);
        unassigned_ = std::move(other.unassigned_);
        index_ = std::move(other.index_);
        entry_moves_ = std::exchange(other.entry_moves_, 0);
    }
    return *this;
}

LogicalRow::~LogicalRow() {
    clear(ReleaseOrder::root_first);
}

blocks::Store* LogicalRow::store() const noexcept {
    for (const RawList* phase : {&assigned_, &staged_, &unassigned_}) {
        if (!phase->empty()) {
            return phase->store();
        }
    }
    return nullptr;
}

void LogicalRow::expects_own(const Store* other) const noexcept {
    const Store* own = store();
    expects(own == nullptr || other == nullptr || own == other,
            "a tracker holds and registers blocks of one manager");
}

void LogicalRow::make_room(RawList& phase, std::size_t more) {
    const RawGuard* before = phase.data();
    phase.reserve_more(more);
    if (phase.data() != before) {
        entry_moves_ += phase.size();
    }
}

std::optional<BlockId> LogicalRow::add_to_index(std::span<const RawGuard> guards,
                                                std::size_t first) noexcept {
    for (std::size_t i = 0; i < guards.size(); ++i) {
        if (index_.contains_counted(guards[i].id)) {
            erase_from_index(guards.first(i), first);
            return guards[i].id;
        }
        index_.add(guards[i].id, first + i);
    }
    return std::nullopt;
}

void LogicalRow::erase_from_index(std::span<const RawGuard> guards, std::size_t first) noexcept {
    for (std::size_t i = 0; i < guards.size(); ++i) {
        index_.erase(guards[i].id, first + i);
    }
}

void LogicalRow::renumber(std::span<const RawGuard> guards, std::size_t from,
                          std::size_t to) noexcept {
    for (const RawGuard& guard : guards) {
        index_.renumber(guard.id, from++, to++);
    }
}

std::optional<BlockId> LogicalRow::extend_blocks(RawList& guards) {
    expects_own(guards.store());
    index_.reserve(size() + guards.size());
    if (!unassigned_.empty()) {
        make_room(unassigned_, guards.size());
    }
    if (const auto duplicate = add_to_index(guards.span(), offset_ + size())) {
        return duplicate;
    }
    entry_moves_ += guards.size();
    unassigned_.append(std::move(guards));
    return std::nullopt;
}

bool LogicalRow::allocate(Store& other, std::size_t count) {
    expects_own(&other);
    if (count > Engine::total_blocks(other)) {
        return false;
    }
    index_.reserve(size() + count);
    make_room(unassigned_, count);
    if (!Engine::allocate(other, count, unassigned_, nullptr)) {
        return false;
    }
    entry_moves_ += count;
    const auto added = unassigned_.span().last(count);
    expects(!add_to_index(added, offset_ + size() - count),
            "a manager hands out no block that somebody holds");
    return true;
}

std::size_t LogicalRow::match(Store& other, std::span<const SequenceHash> hashes) {
    expects(size() == 0, "a match is the beginning of a row");
    index_.reserve(hashes.size());
    make_room(assigned_, hashes.size());
    try {
        Engine::match(other, hashes, assigned_);
    } catch (...) {  // a tracker of uses may throw when the blocks are held already
        if (!assigned_.empty()) {
            Engine::release(GuardKind::immutable_block, assigned_.span(), ReleaseOrder::root_first);
            assigned_.forget();
        }
        throw;
    }
    entry_moves_ += assigned_.size();
    expects(!add_to_index(assigned_.span(), offset_), "equal hashes are of one position");
    return assigned_.size();
}

Result<std::size_t, Offence> LogicalRow::extend_assigned(RawList& guards) {
    if (guards.empty()) {
        return std::size_t{0};
    }
    expects_own(guards.store());
    const std::size_t count = guards.size();
    const std::size_t place = offset_ + size();
    index_.reserve(size() + count);
    if (!assigned_.empty()) {
        make_room(assigned_, count);
    }
    // Behind everything for now: where they go, the queued entries still are.
    if (const auto duplicate = add_to_index(guards.span(), place)) {
        return failure(Offence{.kind = Offence::Kind::duplicate, .block_id = *duplicate});
    }
    const auto refuse = [&](Offence offence) {
        erase_from_index(guards.span(), place);
        return failure(std::move(offence));
    };
    if (positions_ == Positions::checked) {
        if (!staged_.empty()) {
            return refuse({.kind = Offence::Kind::staged_present, .actual = staged_.size()});
        }
        std::size_t expected = offset_ + assigned_.size();
        for (const RawGuard& guard : guards.span()) {
            const std::size_t actual = Engine::hash(guard).position();
            if (actual != expected) {
                return refuse({.kind = Offence::Kind::misplaced,
                               .block_id = guard.id,
                               .expected = expected,
                               .actual = actual});
            }
            ++expected;
        }
    }
    const std::size_t first = offset_ + assigned_.size();
    renumber(guards.span(), place, first);
    renumber(staged_.span(), first, first + count);
    renumber(unassigned_.span(), next_position(), next_position() + count);
    entry_moves_ += count;
    assigned_.append(std::move(guards));
    return count;
}

Result<std::span<const TokenBlock>, Offence> LogicalRow::pairs(
    std::span<const TokenBlock> token_blocks) const {
    if (unassigned_.empty() || token_blocks.empty()) {
        return std::span<const TokenBlock>{};
    }
    const std::size_t block_size = Engine::block_size(*store());
    const auto wrong_size = [&](const TokenBlock& block, const RawGuard& guard) {
        return Offence{.kind = Offence::Kind::wrong_size,
                       .block_id = guard.id,
                       .expected = block_size,
                       .actual = block.block_size()};
    };
    const auto misplaced = [](std::size_t expected, const TokenBlock& block,
                              const RawGuard& guard) {
        return Offence{.kind = Offence::Kind::misplaced,
                       .block_id = guard.id,
                       .expected = expected,
                       .actual = block.position()};
    };
    const std::span<const RawGuard> queued = unassigned_.span();
    const bool checked = positions_ == Positions::checked;
    std::size_t skipped = 0;
    if (token_blocks.front().block_size() != block_size) {
        return failure(wrong_size(token_blocks.front(), queued.front()));
    }
    if (checked) {
        const std::size_t begin = token_blocks.front().position();
        if (begin > next_position()) {
            return failure(misplaced(next_position(), token_blocks.front(), queued.front()));
        }
        skipped = std::min(next_position() - begin, token_blocks.size());
    }
    const std::size_t count = std::min(queued.size(), token_blocks.size() - skipped);
    const auto paired = token_blocks.subspan(skipped, count);
    for (std::size_t i = 0; i < count; ++i) {
        if (paired[i].block_size() != block_size) {
            return failure(wrong_size(paired[i], queued[i]));
        }
        if (checked && paired[i].position() != next_position() + i) {
            return failure(misplaced(next_position() + i, paired[i], queued[i]));
        }
    }
    return paired;
}

namespace {

void write_hashes(std::span<const blocks::RawGuard> guards,
                  std::span<const TokenBlock> token_blocks) noexcept {
    for (std::size_t i = 0; i < token_blocks.size(); ++i) {
        Engine::set_hash(guards[i], token_blocks[i].sequence_hash());
    }
}

}  // namespace

Result<std::size_t, Offence> LogicalRow::stage(std::span<const TokenBlock> token_blocks) {
    const auto paired = pairs(token_blocks);
    if (!paired) {
        return failure(paired.error());
    }
    const std::size_t count = paired->size();
    make_room(staged_, count);
    const auto guards = unassigned_.span().first(count);
    write_hashes(guards, *paired);
    Engine::stage(guards);
    for (const RawGuard& guard : guards) {
        staged_.push_back(guard);
    }
    unassigned_.forget_front(count);
    entry_moves_ += count;
    return count;
}

template <class Register>
void LogicalRow::move_to_assigned(RawList& phase, std::size_t count,
                                  const Register& register_guards) {
    if (count == 0) {
        return;
    }
    make_room(assigned_, count);
    for (const RawGuard& guard : phase.span().first(count)) {
        assigned_.push_back(guard);
    }
    const auto moved = assigned_.span().last(count);
    try {
        register_guards(moved);
    } catch (...) {
        assigned_.forget_back(count);
        throw;
    }
    std::size_t place = offset_ + assigned_.size() - count;
    for (std::size_t i = 0; i < count; ++i, ++place) {
        const BlockId before = phase.data()[i].id;
        if (before != moved[i].id) {
            index_.erase(before, place);
            index_.add(moved[i].id, place);
        }
    }
    phase.forget_front(count);
    entry_moves_ += count;
}

std::size_t LogicalRow::register_blocks(Store& store, std::size_t at_most) {
    expects_own(&store);
    const std::size_t count = std::min(staged_.size(), at_most);
    move_to_assigned(staged_, count,
                     [&](std::span<RawGuard> guards) { Engine::register_all(store, guards); });
    return count;
}

Result<std::size_t, Offence> LogicalRow::stage_and_register(
    std::span<const TokenBlock> token_blocks, Store& store) {
    expects_own(&store);
    if (!staged_.empty()) {
        const auto staged = stage(token_blocks);
        return staged ? Result<std::size_t, Offence>(register_blocks(store, staged_.size()))
                      : staged;
    }
    const auto paired = pairs(token_blocks);
    if (!paired) {
        return failure(paired.error());
    }
    write_hashes(unassigned_.span(), *paired);
    move_to_assigned(unassigned_, paired->size(), [&](std::span<RawGuard> guards) {
        Engine::stage_and_register(store, guards);
    });
    return paired->size();
}

blocks::RawGuard LogicalRow::pop_last_unassigned() noexcept {
    const RawGuard last = unassigned_.pop_back();
    index_.erase(last.id, offset_ + size());
    return last;
}

std::size_t LogicalRow::drop_last_unassigned(std::size_t count) noexcept {
    const std::size_t dropped = std::min(count, unassigned_.size());
    if (dropped > 0) {
        const auto guards = unassigned_.span().last(dropped);
        erase_from_index(guards, offset_ + size() - dropped);
        Engine::release(GuardKind::mutable_block, guards, ReleaseOrder::leaf_first);
        unassigned_.forget_back(dropped);
    }
    return dropped;
}

blocks::RawList LogicalRow::take_assigned() noexcept {
    erase_from_index(assigned_.span(), offset_);
    offset_ += assigned_.size();
    return std::move(assigned_);
}

blocks::RawList LogicalRow::take_staged() noexcept {
    const std::size_t first = offset_ + assigned_.size();
    erase_from_index(staged_.span(), first);
    renumber(unassigned_.span(), first + staged_.size(), first);
    return std::move(staged_);
}

blocks::RawList LogicalRow::take_unassigned() noexcept {
    erase_from_index(unassigned_.span(), next_position());
    return std::move(unassigned_);
}

void LogicalRow::clear(ReleaseOrder order) noexcept {
    erase_from_index(assigned_.span(), offset_);
    erase_from_index(staged_.span(), offset_ + assigned_.size());
    erase_from_index(unassigned_.span(), next_position());
    const auto release = [&](RawList& phase, GuardKind kind) {
        if (!phase.empty()) {
            Engine::release(kind, phase.span(), order);
            phase.forget();
        }
    };
    if (order == ReleaseOrder::root_first) {
        release(assigned_, GuardKind::immutable_block);
        release(staged_, GuardKind::complete_block);
        release(unassigned_, GuardKind::mutable_block);
    } else {
        release(unassigned_, GuardKind::mutable_block);
        release(staged_, GuardKind::complete_block);
        release(assigned_, GuardKind::immutable_block);
    }
    offset_ = first_offset_;
}

InvariantReport LogicalRow::check_invariants() const {
    InvariantReport report;
    const auto check = [&](bool holds, const char* id, BlockId block, const char* text) {
        if (!holds) {
            report.violations.push_back({id, {block}, text});
        }
    };
    std::size_t place = offset_;
    for (const RawList* phase : {&assigned_, &staged_, &unassigned_}) {
        for (const RawGuard& guard : phase->span()) {
            const auto found = index_.find(guard.id);
            const bool first_may_be_earlier = positions_ == Positions::free;
            check(found && (*found == place || (first_may_be_earlier && *found < place)), "S1",
                  guard.id, "a block of a tracker is known at its place");
            check(guard.store == store(), "G7", guard.id,
                  "the blocks of a tracker are of one manager");
            check(phase == &unassigned_ || positions_ == Positions::free ||
                      Engine::hash(guard).position() == place,
                  "S4", guard.id, "the hash of a tracker's block has the block's position");
            ++place;
        }
    }
    if (index_.size() != size()) {
        report.violations.push_back({"S1", {}, "a tracker knows the blocks of its row only"});
    }
    return report;
}

}  // namespace kvbm::detail::sequence
