// A block that is written has one owner.
#include <utility>

import kvbm.blocks;

kvbm::MutableBlock<> second_owner(kvbm::MutableBlock<>& block) {
#ifdef BREAK_IT
    return block;
#else
    return std::move(block);
#endif
}
