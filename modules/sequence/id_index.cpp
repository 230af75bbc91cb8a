module;

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

module kvbm.sequence;

namespace kvbm::detail::sequence {

namespace {

// Ids are often consecutive, strided or equal in their low bits; two multiplications spread all of
// these over the high bits (the cell) and the low ones (the tag).
constexpr std::uint64_t scramble(BlockId id) noexcept {
    std::uint64_t x = id;
    x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9U;
    return x ^ (x >> 32);
}

std::size_t scan(const IdIndex::Row& row, BlockId id, std::uint64_t& probes) noexcept {
    for (std::size_t place = 0; place < row.size(); ++place) {
        if (row[place].id == id) {
            probes += place + 1;
            return place;
        }
    }
    probes += row.size();
    return IdIndex::none;
}

}  // namespace

IdIndex::Key IdIndex::key_of(BlockId id) const noexcept {
    const std::uint64_t spread = scramble(id);
    return {.home = static_cast<std::size_t>(spread >> (64U - bits_)),
            .tag = static_cast<std::uint32_t>(spread) << bits_};
}

IdIndex::Found IdIndex::locate(const Row& row, BlockId id, std::uint64_t& probes) const noexcept {
    const std::size_t mask = cells_.size() - 1;
    const auto [home, tag] = key_of(id);
    for (std::size_t cell = home;; cell = (cell + 1) & mask) {
        ++probes;
        const std::uint32_t content = cells_[cell];
        if (content == 0) {
            return {.cell = cell, .place = none};
        }
        if (((content ^ tag) >> bits_) == 0) {
            const std::size_t place = (content & mask) - 1;
            if (row[place].id == id) {
                return {.cell = cell, .place = place};
            }
        }
    }
}

std::size_t IdIndex::cell_of(BlockId id, std::size_t place) noexcept {
    const std::size_t mask = cells_.size() - 1;
    const auto [home, tag] = key_of(id);
    const std::uint32_t content = tag | static_cast<std::uint32_t>(place + 1);
    std::size_t cell = home;
    ++probes_;
    while (cells_[cell] != content) {
        cell = (cell + 1) & mask;
        ++probes_;
    }
    return cell;
}

void IdIndex::reserve(const Row& row, std::size_t count) {
    expects(count <= ids_at_most, "a tracker holds at most 2^30 ids");
    const bool scanned = cells_.empty() && count <= scanned_at_most;
    if (scanned || 2 * count <= cells_.size()) {
        return;
    }
    std::vector<std::uint32_t> cells(std::bit_ceil(2 * count));
    cells_.swap(cells);
    bits_ = static_cast<unsigned>(std::countr_zero(cells_.size()));
    for (std::size_t place = 0; place < row.size(); ++place) {
        add(row[place].id, place);
    }
}

std::size_t IdIndex::find(const Row& row, BlockId id) const noexcept {
    std::uint64_t not_counted = 0;
    return cells_.empty() ? scan(row, id, not_counted) : locate(row, id, not_counted).place;
}

std::size_t IdIndex::find_counted(const Row& row, BlockId id) noexcept {
    return cells_.empty() ? scan(row, id, probes_) : locate(row, id, probes_).place;
}

std::size_t IdIndex::find_or_add(const Row& row, BlockId id) noexcept {
    if (cells_.empty()) {
        return scan(row, id, probes_);
    }
    const auto [cell, place] = locate(row, id, probes_);
    if (place == none) {
        cells_[cell] = key_of(id).tag | static_cast<std::uint32_t>(row.size() + 1);
    }
    return place;
}

void IdIndex::add(BlockId id, std::size_t place) noexcept {
    if (cells_.empty()) {
        return;
    }
    const std::size_t mask = cells_.size() - 1;
    const auto [home, tag] = key_of(id);
    std::size_t cell = home;
    ++probes_;
    while (cells_[cell] != 0) {
        cell = (cell + 1) & mask;
        ++probes_;
    }
    cells_[cell] = tag | static_cast<std::uint32_t>(place + 1);
}

void IdIndex::erase(const Row& row, std::size_t place) noexcept {
    if (cells_.empty()) {
        return;
    }
    // Closes the gap instead of leaving a mark, so that a table never fills up with marks: each
    // following entry of the cluster moves into the hole unless the hole lies before its home.
    const std::size_t mask = cells_.size() - 1;
    std::size_t hole = cell_of(row[place].id, place);
    for (std::size_t cell = (hole + 1) & mask; cells_[cell] != 0; cell = (cell + 1) & mask) {
        ++probes_;
        const std::size_t home = key_of(row[(cells_[cell] & mask) - 1].id).home;
        if (((cell - home) & mask) >= ((cell - hole) & mask)) {
            cells_[hole] = cells_[cell];
            hole = cell;
        }
    }
    cells_[hole] = 0;
}

void IdIndex::renumber(BlockId id, std::size_t from, std::size_t to) noexcept {
    if (cells_.empty()) {
        return;
    }
    const std::size_t cell = cell_of(id, from);
    cells_[cell] = key_of(id).tag | static_cast<std::uint32_t>(to + 1);
}

void IdIndex::clear(const Row& row) noexcept {
    // A table that was once large costs more to wipe than its few ids to erase.
    if (row.size() * 8 >= cells_.size()) {
        probes_ += cells_.size();
        std::fill(cells_.begin(), cells_.end(), 0U);
        return;
    }
    for (std::size_t place = row.size(); place > 0; --place) {
        erase(row, place - 1);
    }
}

}  // namespace kvbm::detail::sequence
