// What a manager of 1,048,576 cached blocks costs, registry and all: bytes asked of the heap, and
// pages that are really there. Source: verification.md E7; blocks.md C4.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"

import kvbm.blocks;

namespace {

using namespace kvbm;
using kvbm_test::live_bytes;

constexpr std::size_t block_count = std::size_t{1} << 20;

/// Bytes of this process in memory.
std::int64_t resident_bytes() {
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    long pages = 0;
    const bool read = file != nullptr && std::fscanf(file, "%*d %ld", &pages) == 1;
    if (file != nullptr) {
        std::fclose(file);
    }
    EXPECT_TRUE(read);
    return static_cast<std::int64_t>(pages) * sysconf(_SC_PAGESIZE);
}

/// Under a sanitizer the pages are mostly not ours.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool pages_are_ours = false;
#else
constexpr bool pages_are_ours = true;
#endif
#endif

struct Bytes {
    double asked = 0;
    double resident = 0;
};

/// Bytes per block once every block of a manager is cached. Roots are the dearest for lineage: all
/// are leaves.
Bytes bytes_per_block(BlockManagerBuilder<> builder) {
    constexpr std::size_t batch = 128;
    std::vector<SequenceHash> hashes(batch);
    MutableBlockList<> blocks;
    blocks.reserve(batch);
    const std::int64_t asked = live_bytes();
    const std::int64_t resident = resident_bytes();

    auto manager = must(builder.block_count(block_count).registry(BlockRegistry()).build());
    for (std::size_t i = 0; i < block_count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) {
            hashes[k] = SequenceHash::root(BlockHash{(i + k + 1) * 0x9E3779B97F4A7C15U});
        }
        EXPECT_TRUE(manager.allocate_blocks_into(batch, blocks));
        auto staged = std::move(*std::move(blocks).stage_all(hashes, manager.block_size()));
        auto registered = std::move(*manager.register_blocks(std::move(staged)));
        registered.clear();
    }

    EXPECT_EQ(manager.metrics()->snapshot().inactive_pool_size,
              static_cast<std::int64_t>(block_count));
    constexpr auto all = static_cast<double>(block_count);
    return {static_cast<double>(live_bytes() - asked) / all,
            static_cast<double>(resident_bytes() - resident) / all};
}

void expect_at_most(const Bytes& bytes, double asked, double resident) {
    testing::Test::RecordProperty("asked_bytes_per_block", std::to_string(bytes.asked));
    testing::Test::RecordProperty("resident_bytes_per_block", std::to_string(bytes.resident));
    EXPECT_LE(bytes.asked, asked);
    if (pages_are_ours) {
        EXPECT_LE(bytes.resident, resident);
    }
}

// Slot 64, index 64/6, ring 4, registry entry 64, registry table 64/6; slots rounded to large
// pages.
TEST(BytesPerBlock, of_lru_are_at_most_160) {
    expect_at_most(bytes_per_block(BlockManager<>::builder().with_lru_backend()), 160, 160);
}

// In addition the heap of leaves, 16. Two ghosts of 52 bytes per block are asked for, so that no
// release ever has to, but stay untouched while lineages are whole.
TEST(BytesPerBlock, of_lineage_are_at_most_170_in_memory) {
    expect_at_most(bytes_per_block(BlockManager<>::builder().with_lineage_backend()), 280, 170);
}

}  // namespace
