module;

#include <cstddef>
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

std::align_val_t alignment_of(std::size_t bytes) noexcept {
    return std::align_val_t(bytes >= large_page ? large_page : line);
}

/// Advice only: without large pages a table costs more TLB misses, nothing else.
void ask_for_large_pages([[maybe_unused]] void* table, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    static_cast<void>(madvise(table, bytes, MADV_HUGEPAGE));
#endif
}

}  // namespace

void* allocate_table(std::size_t count, std::size_t size) {
    if (count > std::numeric_limits<std::size_t>::max() / size) {
        throw std::bad_alloc();
    }
    const std::size_t bytes = count * size;
    void* table = ::operator new(bytes, alignment_of(bytes));
    if (bytes >= large_page) {
        ask_for_large_pages(table, bytes / large_page * large_page);
    }
    return table;
}

void free_table(void* table, std::size_t count, std::size_t size) noexcept {
    ::operator delete(table, alignment_of(count * size));
}

}  // namespace kvbm::detail::core
