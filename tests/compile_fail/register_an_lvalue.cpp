// Registering takes the staged block over: whoever has it gives it up.
#include <utility>

#include <tl/expected.hpp>

import kvbm.blocks;

kvbm::ImmutableBlock<> share(kvbm::BlockManager<>& manager, kvbm::CompleteBlock<>& block) {
#ifdef BREAK_IT
    return kvbm::must(manager.register_block(block));
#else
    return kvbm::must(manager.register_block(std::move(block)));
#endif
}
