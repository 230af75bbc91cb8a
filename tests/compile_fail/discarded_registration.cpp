// Registering may be refused, and what it gives keeps the block.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

void share(kvbm::BlockManager<>& manager, kvbm::CompleteBlockList<>& blocks) {
#ifdef BREAK_IT
    manager.register_blocks(std::move(blocks));
#else
    const auto shared = manager.register_blocks(std::move(blocks));
#endif
}
