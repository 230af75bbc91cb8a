// The operator new that counts and fails on demand. One per program; every other form of new ends
// in one of these two.
#include "allocation_counter.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

thread_local std::uint64_t allocations = 0;
thread_local std::uint64_t releases = 0;
thread_local std::uint64_t bytes = 0;

constexpr std::uint64_t no_limit = UINT64_MAX;
thread_local std::uint64_t granted = no_limit;

void use_up_grant() {
    if (granted != no_limit && granted-- == 0) {
        granted = no_limit;
        throw std::bad_alloc();
    }
}

void* counted(void* memory, std::size_t size) {
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    ++allocations;
    bytes += size;
    return memory;
}

void release(void* memory) noexcept {
    if (memory != nullptr) {
        ++releases;
        std::free(memory);
    }
}

}  // namespace

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
void grant_allocations(std::uint64_t count) noexcept {
    granted = count;
}
void grant_all_allocations() noexcept {
    granted = no_limit;
}

}  // namespace kvbm_test

void* operator new(std::size_t size) {
    use_up_grant();
    return counted(std::malloc(size == 0 ? 1 : size), size);
}

void* operator new(std::size_t size, std::align_val_t alignment) {
    use_up_grant();
    const auto step = static_cast<std::size_t>(alignment);
    const std::size_t rounded = (size + step - 1) / step * step;
    return counted(std::aligned_alloc(step, rounded == 0 ? step : rounded), size);
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
