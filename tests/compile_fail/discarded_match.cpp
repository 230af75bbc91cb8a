// A match that nobody holds would only move its blocks back and forth.
#include <span>

import kvbm.blocks;

void look(kvbm::BlockManager<>& manager, std::span<const kvbm::SequenceHash> hashes) {
#ifdef BREAK_IT
    manager.match_blocks(hashes);
#else
    const auto hits = manager.match_blocks(hashes);
#endif
}
