// A tracker serves one tier.
#include <cstddef>
#include <utility>

#include <tl/expected.hpp>

import kvbm.sequence;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

std::size_t queue(kvbm::LogicalBlockAssignments<kvbm::G1>& tracker,
                  kvbm::MutableBlockList<Other>& blocks) {
    return kvbm::must(tracker.extend_blocks(std::move(blocks)));
}
