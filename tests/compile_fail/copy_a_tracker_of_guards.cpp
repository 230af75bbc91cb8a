// A tracker that owns guards is moved, not copied.
#include <utility>

import kvbm.sequence;

kvbm::LogicalBlockAssignments<> second_owner(kvbm::LogicalBlockAssignments<>& tracker) {
#ifdef BREAK_IT
    return tracker;
#else
    return std::move(tracker);
#endif
}
