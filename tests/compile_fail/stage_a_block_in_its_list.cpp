// A guard leaves its list by the list's own calls only.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::CompleteBlock<> name_last(kvbm::MutableBlockList<>& blocks, const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    return kvbm::must(std::move(blocks[0]).stage(hash, 4));
#else
    return kvbm::must(blocks.pop_back().stage(hash, 4));
#endif
}
