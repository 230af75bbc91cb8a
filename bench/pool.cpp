// Managers, and pools filled with chains.
module;

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

/// All blocks of a new manager in random order.
std::vector<MutableBlock<>> shuffled_blocks(BlockManager<>& manager) {
    MutableBlockList<> list;
    allocate(manager, manager.total_blocks(), list);
    std::vector<MutableBlock<>> blocks;
    blocks.reserve(list.size());
    while (!list.empty()) {
        blocks.push_back(list.pop_back());
    }
    std::ranges::reverse(blocks);
    shuffle(seeds::slots, std::span(blocks));
    return blocks;
}

}  // namespace

BlockManager<> make_manager(std::string_view policy, std::size_t blocks,
                            BlockDuplicationPolicy duplication) {
    auto registry = BlockRegistry::builder();
    if (policy == "lru_freq" || policy == "multi_lru") {
        registry.frequency_tracker(FrequencyTrackingCapacity::medium, SketchLayout::compat);
    }
    auto builder = BlockManager<>::builder();
    builder.block_count(blocks)
        .block_size(block_size)
        .registry(registry.build())
        .duplication_policy(duplication);
    if (policy == "lru" || policy == "lru_freq") {
        builder.with_lru_backend();
    } else if (policy == "multi_lru") {
        builder.with_multi_lru_backend();
    } else if (policy == "lineage_tick") {
        builder.with_lineage_backend_eviction(LineageEviction::tick);
    } else if (policy == "lineage_fifo") {
        builder.with_lineage_backend_eviction(LineageEviction::fifo);
    } else {
        expects(policy == "hashmap", "the policy is one of the list");
        builder.with_hashmap_backend();
    }
    return must(builder.build());
}

Pool::Pool(const Filling& filling)
    : manager_(make_manager(filling.policy, filling.blocks, filling.duplication)),
      chains_(bench::chains(
          seeds::resident,
          (filling.filled == 0 ? filling.blocks : filling.filled) / filling.chain_length,
          filling.chain_length)),
      order_(permutation(seeds::order, chains_.size())),
      turn_(chains_.size()) {
    auto blocks = shuffled_blocks(manager_);
    std::size_t taken = 0;
    for (const Chain& chain : chains_) {
        Lists lists;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            lists.fresh.push_back(std::move(blocks[taken++]));
        }
        publish(manager_, lists, chain);
        if (filling.active) {
            held_.push_back(std::move(lists.held));
        }
    }
}

void shuffle_free_blocks(BlockManager<>& manager) {
    // Destroyed front to back, which is the order of the free list.
    auto blocks = shuffled_blocks(manager);
    for (auto& block : blocks) {
        const auto dropped = std::move(block);
    }
}

}  // namespace kvbm::bench
