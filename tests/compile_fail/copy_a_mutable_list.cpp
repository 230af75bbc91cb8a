// A list of blocks that are written has one owner.
#include <utility>

import kvbm.blocks;

kvbm::MutableBlockList<> second_owner(kvbm::MutableBlockList<>& blocks) {
#ifdef BREAK_IT
    return blocks;
#else
    return std::move(blocks);
#endif
}
