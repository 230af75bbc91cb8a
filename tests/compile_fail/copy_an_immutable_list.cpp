// Shared blocks may be held twice, but a whole list is not copied by accident.
import kvbm.blocks;

kvbm::ImmutableBlockList<> second_holder(kvbm::ImmutableBlockList<>& blocks) {
#ifdef BREAK_IT
    return blocks;
#else
    return blocks.clone();
#endif
}
