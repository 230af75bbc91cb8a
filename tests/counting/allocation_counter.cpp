// The operator new that counts and fails on demand. One per program; every other form of new ends
// in one of these two. Calls of malloc and its like from the program's own objects are counted as
// well: the linker wraps them (see CMakeLists.txt).
#include "allocation_counter.h"

#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

extern "C" {
void* __real_malloc(std::size_t size);
void* __real_calloc(std::size_t count, std::size_t size);
void* __real_aligned_alloc(std::size_t alignment, std::size_t size);
void __real_free(void* memory);
}

namespace {

thread_local std::uint64_t allocations = 0;
thread_local std::uint64_t releases = 0;
thread_local std::uint64_t bytes = 0;
thread_local std::int64_t live = 0;

constexpr std::uint64_t no_limit = UINT64_MAX;
thread_local std::uint64_t granted = no_limit;
thread_local bool failed = false;

/// False for the allocation that is to fail.
bool take_grant() noexcept {
    if (granted != no_limit && granted-- == 0) {
        granted = no_limit;
        failed = true;
        return false;
    }
    return true;
}

void use_up_grant() {
    if (!take_grant()) {
        throw std::bad_alloc();
    }
}

void* counted(void* memory, std::size_t size) {
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    ++allocations;
    bytes += size;
    live += static_cast<std::int64_t>(malloc_usable_size(memory));
    return memory;
}

void release(void* memory) noexcept {
    if (memory != nullptr) {
        ++releases;
        live -= static_cast<std::int64_t>(malloc_usable_size(memory));
        __real_free(memory);
    }
}

/// The same for calls that tell of a failure by null.
void* counted_or_null(void* memory, std::size_t size) noexcept {
    return memory == nullptr ? nullptr : counted(memory, size);
}

}  // namespace

extern "C" {
void* __wrap_malloc(std::size_t size) {
    return take_grant() ? counted_or_null(__real_malloc(size), size) : nullptr;
}
void* __wrap_calloc(std::size_t count, std::size_t size) {
    return take_grant() ? counted_or_null(__real_calloc(count, size), count * size) : nullptr;
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
    return take_grant() ? counted_or_null(__real_aligned_alloc(alignment, size), size) : nullptr;
}
void __wrap_free(void* memory) {
    release(memory);
}
}

namespace kvbm_test {

std::uint64_t allocations_count() noexcept {
    return allocations;
}
std::uint64_t releases_count() noexcept {
    return releases;
}
std::uint64_t allocated_bytes() noexcept {
    return bytes;
}
std::int64_t live_bytes() noexcept {
    return live;
}
void grant_allocations(std::uint64_t count) noexcept {
    granted = count;
    failed = false;
}
bool allocation_failed() noexcept {
    return failed;
}
void grant_all_allocations() noexcept {
    granted = no_limit;
}

}  // namespace kvbm_test

void* operator new(std::size_t size) {
    use_up_grant();
    return counted(__real_malloc(size == 0 ? 1 : size), size);
}

void* operator new(std::size_t size, std::align_val_t alignment) {
    use_up_grant();
    const auto step = static_cast<std::size_t>(alignment);
    const std::size_t rounded = (size + step - 1) / step * step;
    return counted(__real_aligned_alloc(step, rounded == 0 ? step : rounded), size);
}

// All other forms, too: a sanitizer's runtime has its own, which would not end in the two above.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    try {
        return operator new(size);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    try {
        return operator new(size, alignment);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new[](std::size_t size, const std::nothrow_t& how) noexcept {
    return operator new(size, how);
}
void* operator new[](std::size_t size, std::align_val_t alignment,
                     const std::nothrow_t& how) noexcept {
    return operator new(size, alignment, how);
}
void* operator new[](std::size_t size) {
    return operator new(size);
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return operator new(size, alignment);
}
void operator delete[](void* memory) noexcept {
    operator delete(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    operator delete(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    operator delete(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    operator delete(memory);
}

void operator delete(void* memory) noexcept {
    release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    release(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
    release(memory);
}
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
    release(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
    release(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
    release(memory);
}
