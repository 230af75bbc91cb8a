// A staged block is named once; it is reset before it gets another name.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::CompleteBlock<> rename(kvbm::CompleteBlock<>& block, const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    return kvbm::must(std::move(block).stage(hash, 4));
#else
    return kvbm::must(std::move(block).reset().stage(hash, 4));
#endif
}
