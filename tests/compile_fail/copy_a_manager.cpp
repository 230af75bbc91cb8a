// A manager is one pool.
#include <utility>

import kvbm.blocks;

kvbm::BlockManager<> second_pool(kvbm::BlockManager<>& manager) {
#ifdef BREAK_IT
    return manager;
#else
    return std::move(manager);
#endif
}
