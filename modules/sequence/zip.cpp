module;

#include <algorithm>
#include <cstddef>
#include <vector>

module kvbm.sequence;

namespace kvbm {

namespace {

IndexRange common(const IndexRange& a, const IndexRange& b) noexcept {
    return {std::max(a.first, b.first), std::min(a.last, b.last)};
}

}  // namespace

std::vector<ZippedBlocks> zip_assigned(const ExternalBlockAssignments& a,
                                       const ExternalBlockAssignments& b) {
    std::vector<ZippedBlocks> result;
    zip_assigned(a, b, result);
    return result;
}

void zip_assigned(const ExternalBlockAssignments& a, const ExternalBlockAssignments& b,
                  std::vector<ZippedBlocks>& result) {
    const IndexRange positions = common(a.assigned_positions(), b.assigned_positions());
    const auto first = a.assigned();
    const auto second = b.assigned();
    result.clear();
    result.reserve(positions.size());
    for (const std::size_t position : positions) {
        result.push_back({.position = position,
                          .first = first[position - a.offset()].id,
                          .second = second[position - b.offset()].id});
    }
}

std::vector<ZippedBlocks> zip_assigned_pending(const ExternalBlockAssignments& source,
                                               const ExternalBlockAssignments& destination) {
    std::vector<ZippedBlocks> result;
    zip_assigned_pending(source, destination, result);
    return result;
}

void zip_assigned_pending(const ExternalBlockAssignments& source,
                          const ExternalBlockAssignments& destination,
                          std::vector<ZippedBlocks>& result) {
    const IndexRange pending = destination.pending_positions();
    const IndexRange positions = common(source.assigned_positions(), pending);
    const auto first = source.assigned();
    const auto second = destination.unassigned();
    result.clear();
    result.reserve(positions.size());
    for (const std::size_t position : positions) {
        result.push_back({.position = position,
                          .first = first[position - source.offset()].id,
                          .second = second[position - pending.first]});
    }
}

}  // namespace kvbm
