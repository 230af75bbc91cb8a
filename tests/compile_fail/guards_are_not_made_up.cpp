// A guard comes from a manager, never from a number.
#include <optional>

import kvbm.blocks;

kvbm::MutableBlock<> block_7(kvbm::BlockManager<>& manager) {
#ifdef BREAK_IT
    static_cast<void>(manager);
    return kvbm::MutableBlock<>(7);
#else
    return manager.allocate_blocks(1)->pop_back();
#endif
}
