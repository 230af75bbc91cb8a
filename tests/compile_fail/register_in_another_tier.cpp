// A block of one tier is not registered in the manager of another.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

void share(kvbm::BlockManager<kvbm::G1>& manager, kvbm::CompleteBlock<Other>& block) {
    static_cast<void>(manager.register_block(std::move(block)));
}
