// What is under a guard can't be named: a block is owned by a guard or by nobody.
import kvbm.blocks;

#ifdef BREAK_IT
using Owner = kvbm::detail::blocks::Owned<kvbm::detail::blocks::GuardKind::pin>;
#else
using Owner = kvbm::LifecyclePin;
#endif

bool owns(const Owner& owner) {
    return static_cast<bool>(owner);
}
