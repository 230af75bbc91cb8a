//! kvbm.core:pages: memory of large tables.
//!
//! A pool of 262,144 blocks is a random access into tables of many megabytes per lookup; on pages
//! of 4 KiB each of them may miss the TLB too. So a table of 2 MiB and more begins on a large page,
//! and the kernel is asked to use large ones for all that is full of it; the rest stays on small
//! pages, so that nothing is resident that is not used.
module;

#include <cstddef>

export module kvbm.core:pages;

namespace kvbm::detail::core {

/// Memory for a table of `count` records of `size` bytes, aligned to a cache line at least. Throws
/// bad_alloc. For the layers above, not for users.
export void* allocate_table(std::size_t count, std::size_t size);

/// Gives back what allocate_table() gave for the same numbers. For the layers above, not for users.
export void free_table(void* table, std::size_t count, std::size_t size) noexcept;

/// Makes a container take its memory from allocate_table(). For the layers above, not for users.
export template <class T>
struct TableAllocator {
    using value_type = T;

    TableAllocator() = default;
    template <class U>
    constexpr explicit(false) TableAllocator(const TableAllocator<U>&) noexcept {}

    T* allocate(std::size_t count) { return static_cast<T*>(allocate_table(count, sizeof(T))); }
    void deallocate(T* table, std::size_t count) noexcept { free_table(table, count, sizeof(T)); }

    friend constexpr bool operator==(const TableAllocator&, const TableAllocator&) noexcept {
        return true;
    }
};

}  // namespace kvbm::detail::core
