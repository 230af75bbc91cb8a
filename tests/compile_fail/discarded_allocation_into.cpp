// Whether there were blocks is asked.
import kvbm.blocks;

bool allocate(kvbm::BlockManager<>& manager, kvbm::MutableBlockList<>& blocks) {
#ifdef BREAK_IT
    manager.allocate_blocks_into(3, blocks);
    return true;
#else
    return manager.allocate_blocks_into(3, blocks);
#endif
}
