// Staging takes the whole list over.
#include <span>
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::CompleteBlockList<> name(kvbm::MutableBlockList<>& blocks,
                               std::span<const kvbm::SequenceHash> hashes) {
#ifdef BREAK_IT
    return kvbm::must(blocks.stage_all(hashes, 4));
#else
    return kvbm::must(std::move(blocks).stage_all(hashes, 4));
#endif
}
