// What a manager finds is of its tier.
#include <cstddef>
#include <span>

import kvbm.blocks;

#ifdef BREAK_IT
using Other = kvbm::G2;
#else
using Other = kvbm::G1;
#endif

std::size_t collect(kvbm::BlockManager<kvbm::G1>& manager,
                    std::span<const kvbm::SequenceHash> hashes,
                    kvbm::ImmutableBlockList<Other>& list) {
    return manager.match_blocks_into(hashes, list);
}
