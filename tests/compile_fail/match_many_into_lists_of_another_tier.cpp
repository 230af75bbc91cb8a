// What a manager finds for many requests is of its tier.
#include <cstddef>
#include <span>

import kvbm.blocks;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

std::size_t collect(kvbm::BlockManager<kvbm::G1>& manager,
                    std::span<const std::span<const kvbm::SequenceHash>> requests,
                    std::span<kvbm::ImmutableBlockList<Other>> lists) {
    return manager.match_many(requests, lists);
}
