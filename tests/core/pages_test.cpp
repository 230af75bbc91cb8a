// Memory of large tables: aligned, refused in time, given back.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.core;

namespace {

using kvbm::detail::core::allocate_table;
using kvbm::detail::core::free_table;
using kvbm::detail::core::TableAllocator;

constexpr std::size_t line = 64;
constexpr std::size_t large_page = std::size_t{2} << 20;

std::size_t address(const void* memory) {
    return reinterpret_cast<std::uintptr_t>(memory);
}

TEST(AllocateTable, begins_on_a_cache_line_and_a_large_table_on_a_large_page) {
    struct Row {
        std::size_t bytes;
        std::size_t alignment;
    };
    for (const auto& [bytes, alignment] :
         {Row{0, line}, Row{1, line}, Row{64, line}, Row{65, line}, Row{large_page - 1, line},
          Row{large_page, large_page}, Row{large_page + 1, large_page}}) {
        void* table = allocate_table(bytes, 1);
        EXPECT_EQ(address(table) % alignment, 0u) << bytes;
        std::memset(table, 1, bytes);
        free_table(table, bytes, 1);
    }
}

TEST(AllocateTable, takes_no_number_of_bytes_that_a_size_cannot_say) {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    EXPECT_THROW(allocate_table(most / 64 + 2, 64), std::bad_alloc);  // the product would be 64
    EXPECT_THROW(allocate_table(most, 2), std::bad_alloc);
}

TEST(TableAllocator, gives_containers_aligned_memory) {
    std::vector<std::uint8_t, TableAllocator<std::uint8_t>> bytes(3, 7);
    const auto copy = bytes;
    bytes.resize(large_page, 9);

    EXPECT_EQ(address(copy.data()) % line, 0u);
    EXPECT_EQ(address(bytes.data()) % large_page, 0u);
    EXPECT_EQ(bytes[2], 7);
    EXPECT_EQ(bytes.back(), 9);
    EXPECT_EQ(TableAllocator<int>(bytes.get_allocator()), TableAllocator<int>());
}

}  // namespace
