// Blocks that nobody takes are not asked for.
#include <optional>

import kvbm.blocks;

void allocate(kvbm::BlockManager<>& manager) {
#ifdef BREAK_IT
    manager.allocate_blocks(3);
#else
    const auto blocks = manager.allocate_blocks(3);
#endif
}
