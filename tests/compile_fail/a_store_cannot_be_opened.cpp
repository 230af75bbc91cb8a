// The pool behind a manager has a name for the layers above, and nothing to see.
#include <cstddef>

import kvbm.blocks;

std::size_t total(const kvbm::BlockManager<>& manager) {
#ifdef BREAK_IT
    return kvbm::detail::blocks::GuardAccess::store(manager).slots.size();
#else
    return manager.total_blocks();
#endif
}
