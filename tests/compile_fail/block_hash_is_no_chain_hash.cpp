// At position 0 a block hash and a chain hash are the same number; they still can't be mixed up.
#include <tl/expected.hpp>

import kvbm.hash;

kvbm::ChainHash continue_chain([[maybe_unused]] kvbm::ChainHash parent, kvbm::BlockHash block) {
#ifdef BREAK_IT
    return kvbm::next_chain_hash(block, block);
#else
    return kvbm::next_chain_hash(parent, block);
#endif
}
