// Nor can a list of such blocks.
#include <span>
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::ImmutableBlockList<> share(kvbm::BlockManager<>& manager, kvbm::MutableBlockList<>& blocks,
                                 std::span<const kvbm::SequenceHash> hashes) {
#ifdef BREAK_IT
    static_cast<void>(hashes);
    return kvbm::must(manager.register_blocks(std::move(blocks)));
#else
    return kvbm::must(manager.register_blocks(kvbm::must(std::move(blocks).stage_all(hashes, 4))));
#endif
}
