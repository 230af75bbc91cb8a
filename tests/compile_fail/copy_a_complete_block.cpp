// A staged block has one owner.
#include <utility>

import kvbm.blocks;

kvbm::CompleteBlock<> second_owner(kvbm::CompleteBlock<>& block) {
#ifdef BREAK_IT
    return block;
#else
    return std::move(block);
#endif
}
