// Lists hold blocks of one tier.
#include <utility>

import kvbm.blocks;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

void collect(kvbm::ImmutableBlockList<kvbm::G1>& list, kvbm::ImmutableBlock<Other>& block) {
    list.push_back(std::move(block));
}
