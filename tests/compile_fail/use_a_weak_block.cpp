// A weak block has no id: the block may be gone. It is upgraded first.
#include <optional>

import kvbm.blocks;

kvbm::BlockId id_of(const kvbm::WeakBlock<>& weak) {
#ifdef BREAK_IT
    return weak.block_id();
#else
    const auto block = weak.upgrade();
    return block ? block->block_id() : 0;
#endif
}
