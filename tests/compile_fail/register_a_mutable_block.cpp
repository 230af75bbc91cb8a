// A block that nobody named can't be registered.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::ImmutableBlock<> share(kvbm::BlockManager<>& manager, kvbm::MutableBlock<>& block,
                             const kvbm::SequenceHash& hash) {
#ifdef BREAK_IT
    static_cast<void>(hash);
    return kvbm::must(manager.register_block(std::move(block)));
#else
    return kvbm::must(manager.register_block(kvbm::must(std::move(block).stage(hash, 4))));
#endif
}
