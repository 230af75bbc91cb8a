// Taking a name back takes the staged block over.
#include <utility>

import kvbm.blocks;

kvbm::MutableBlock<> unname(kvbm::CompleteBlock<>& block) {
#ifdef BREAK_IT
    return block.reset();
#else
    return std::move(block).reset();
#endif
}
