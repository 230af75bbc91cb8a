// Counts what this thread asks of the heap, and lets it run out of memory on demand. A program that
// includes this header also links allocation_counter.cpp, which replaces operator new and stands
// before malloc.
#pragma once

#include <cstdint>
#include <new>

namespace kvbm_test {

/// Calls of any operator new, malloc, calloc or aligned_alloc on this thread since it started.
std::uint64_t allocations_count() noexcept;

/// Calls of any operator delete or free on this thread since it started, those of null left out.
std::uint64_t releases_count() noexcept;

/// Bytes asked for by these calls on this thread since it started.
std::uint64_t allocated_bytes() noexcept;

/// Bytes that this thread took from the heap and has not given back, as the heap rounds them.
/// Below zero when it gave back what others took.
std::int64_t live_bytes() noexcept;

/// Lets `count` more allocations of this thread succeed; the one after them fails, once: operator
/// new throws, malloc and its like give null.
void grant_allocations(std::uint64_t count) noexcept;
/// Lets all allocations succeed again.
void grant_all_allocations() noexcept;
/// Whether an allocation of this thread has failed since the last grant_allocations().
bool allocation_failed() noexcept;

/// Whether the call runs out of memory when this many of its allocations succeed.
///
///     std::uint64_t granted = 0;
///     while (runs_out_of_memory(granted, call)) { ...nothing has changed...; ++granted; }
template <class Call>
bool runs_out_of_memory(std::uint64_t granted, const Call& call) {
    grant_allocations(granted);
    bool ran_out = false;
    try {
        call();
    } catch (const std::bad_alloc&) {
        ran_out = true;
    }
    grant_all_allocations();
    return ran_out;
}

/// Allocations on this thread since the object was made.
///
///     AllocationScope scope;
///     call_that_must_not_allocate();
///     EXPECT_EQ(scope.count(), 0u);
class AllocationScope {
  public:
    std::uint64_t count() const noexcept { return allocations_count() - count_before_; }
    std::uint64_t bytes() const noexcept { return allocated_bytes() - bytes_before_; }

  private:
    std::uint64_t count_before_ = allocations_count();
    std::uint64_t bytes_before_ = allocated_bytes();
};

}  // namespace kvbm_test
