// Staging takes the mutable block over.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::CompleteBlock<> name(kvbm::MutableBlock<>& block, const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    return kvbm::must(block.stage(hash, 4));
#else
    return kvbm::must(std::move(block).stage(hash, 4));
#endif
}
