// A tracker registers with a manager of its tier.
#include <cstddef>

import kvbm.sequence;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

std::size_t share(kvbm::LogicalBlockAssignments<kvbm::G1>& tracker,
                  kvbm::BlockManager<Other>& manager) {
    return tracker.register_blocks(manager);
}
