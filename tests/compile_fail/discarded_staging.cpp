// Staging may be refused, and then the block is in the error.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

void name(kvbm::MutableBlock<>& block, const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    std::move(block).stage(hash, 4);
#else
    const auto staged = std::move(block).stage(hash, 4);
#endif
}
