// Two drops of one block meet: exactly one of them is the last, and it gives the block back.
// Source: blocks.md 14, T6, T13.
#include <cstddef>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.blocks;

namespace {

using namespace kvbm;
using detail::core::Parking;

SequenceHash hash_of(std::uint64_t number) {
    return SequenceHash::root(BlockHash{number});
}

BlockManager<> make_manager(std::size_t blocks) {
    return must(BlockManager<>::builder()
                    .block_count(blocks)
                    .block_size(4)
                    .registry(BlockRegistry())
                    .with_lru_backend()
                    .build());
}

ImmutableBlockList<> register_one(BlockManager<>& manager, const SequenceHash& hash) {
    auto staged = std::move(*manager.allocate_blocks(1)).stage_all({&hash, 1}, 4);
    return std::move(*manager.register_blocks(std::move(*staged)));
}

TEST(LastDrop, of_a_list_that_meets_a_single_drop_makes_the_block_inactive) {
    auto manager = make_manager(2);
    auto list = register_one(manager, hash_of(1));
    auto copies = list.clone();
    auto copy = copies.pop_back();
    Parking counted("blocks.drop.counted");
    std::thread other([&] { list.clear(); });
    counted.await();

    { const auto dropped = std::move(copy); }
    counted.let_go();
    other.join();

    EXPECT_EQ(manager.check_invariants().to_string(), "");
    EXPECT_EQ(manager.available_blocks(), 2u);
    EXPECT_EQ(manager.metrics()->snapshot().inactive_pool_size, 1);
}

}  // namespace
