module;

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

module kvbm.core;

import :pages;

namespace kvbm::detail::core {

namespace {

constexpr std::size_t line = 64;
constexpr std::size_t large_page = std::size_t{2} << 20;

/// Advice only: without large pages a table costs more TLB misses, nothing else.
void ask_for_large_pages([[maybe_unused]] void* table, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    static_cast<void>(madvise(table, bytes, MADV_HUGEPAGE));
#endif
}

}  // namespace

void* allocate_table(std::size_t count, std::size_t size) {
    if (count > (std::numeric_limits<std::size_t>::max() - large_page) / size) {
        throw std::bad_alloc();
    }
    const std::size_t bytes = std::max<std::size_t>(count * size, 1);
    const std::size_t alignment = bytes >= large_page ? large_page : line;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* table = std::aligned_alloc(alignment, rounded);
    if (table == nullptr) {
        throw std::bad_alloc();
    }
    if (alignment == large_page) {
        ask_for_large_pages(table, bytes / large_page * large_page);
    }
    return table;
}

void free_table(void* table) noexcept {
    std::free(table);
}

}  // namespace kvbm::detail::core
