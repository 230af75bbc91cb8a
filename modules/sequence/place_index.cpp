module;

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

module kvbm.sequence;

namespace kvbm::detail::sequence {

// Ids of a manager are small and dense: the multiplier spreads them over the high bits.
std::size_t PlaceIndex::home_of(BlockId id) const noexcept {
    return static_cast<std::size_t>((id * 0x9E3779B97F4A7C15U) >> (64U - bits_));
}

std::size_t PlaceIndex::cell_of(BlockId id, std::size_t place) noexcept {
    const std::size_t mask = cells_.size() - 1;
    std::size_t cell = home_of(id);
    ++probes_;
    while (cells_[cell].place != place || cells_[cell].id != id) {
        ++probes_;
        expects(cells_[cell].place != none, "an entry of the index is found");
        cell = (cell + 1) & mask;
    }
    return cell;
}

void PlaceIndex::reserve(std::size_t count) {
    if (2 * count <= cells_.size()) {
        return;
    }
    std::vector<Cell> old(std::bit_ceil(std::max<std::size_t>(2 * count, 16)));
    cells_.swap(old);
    bits_ = static_cast<unsigned>(std::countr_zero(cells_.size()));
    size_ = 0;
    for (const Cell& cell : old) {
        if (cell.place != none) {
            add(cell.id, cell.place);
        }
    }
}

std::optional<std::size_t> PlaceIndex::find(BlockId id) const noexcept {
    if (size_ == 0) {
        return std::nullopt;
    }
    const std::size_t mask = cells_.size() - 1;
    std::size_t first = none;
    for (std::size_t cell = home_of(id); cells_[cell].place != none; cell = (cell + 1) & mask) {
        if (cells_[cell].id == id) {
            first = std::min(first, cells_[cell].place);
        }
    }
    return first == none ? std::nullopt : std::optional(first);
}

bool PlaceIndex::contains_counted(BlockId id) noexcept {
    const std::size_t mask = cells_.size() - 1;
    for (std::size_t cell = home_of(id); cells_[cell].place != none; cell = (cell + 1) & mask) {
        ++probes_;
        if (cells_[cell].id == id) {
            return true;
        }
    }
    ++probes_;
    return false;
}

void PlaceIndex::add(BlockId id, std::size_t place) noexcept {
    expects(2 * size_ < cells_.size(), "the index has room for what is added");
    const std::size_t mask = cells_.size() - 1;
    std::size_t cell = home_of(id);
    ++probes_;
    while (cells_[cell].place != none) {
        ++probes_;
        cell = (cell + 1) & mask;
    }
    cells_[cell] = {.id = id, .place = place};
    ++size_;
}

void PlaceIndex::erase(BlockId id, std::size_t place) noexcept {
    // Closes the gap instead of leaving a mark: each following entry of the cluster moves into the
    // hole unless the hole lies before its home.
    const std::size_t mask = cells_.size() - 1;
    std::size_t hole = cell_of(id, place);
    for (std::size_t cell = (hole + 1) & mask; cells_[cell].place != none;
         cell = (cell + 1) & mask) {
        ++probes_;
        const std::size_t home = home_of(cells_[cell].id);
        if (((cell - home) & mask) >= ((cell - hole) & mask)) {
            cells_[hole] = cells_[cell];
            hole = cell;
        }
    }
    cells_[hole].place = none;
    --size_;
}

void PlaceIndex::renumber(BlockId id, std::size_t from, std::size_t to) noexcept {
    cells_[cell_of(id, from)].place = to;
}

}  // namespace kvbm::detail::sequence
