// The contents of a shared block have their name.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::SequenceHash name_of(kvbm::ImmutableBlock<>& block, const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    return kvbm::must(std::move(block).stage(hash, 4)).sequence_hash();
#else
    static_cast<void>(hash);
    return block.sequence_hash();
#endif
}
