//! kvbm.replay:parallel: runs that know nothing of each other, on several threads, for this
//! module's bodies only.
module;

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.replay:parallel;

import kvbm.core;

namespace kvbm::detail::replay {

/// What `one(i)` gives for each i below `count`, in that order, made on `jobs` threads (at least
/// one), of which the caller's is one. The first in order that fails gives the error; what the
/// first in order threw is thrown again.
template <class Run, class Error>
Result<std::vector<Run>, Error> all_of(std::size_t count, std::size_t jobs,
                                       const std::invocable<std::size_t> auto& one) {
    std::vector<std::optional<Result<Run, Error>>> results(count);
    std::vector<std::exception_ptr> thrown(count);  // memory may run out on any thread
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
        for (std::size_t i = next++; i < count; i = next++) {
            try {
                results[i].emplace(one(i));
            } catch (...) {
                thrown[i] = std::current_exception();
            }
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1; i < std::min(jobs, count); ++i) {
            threads.emplace_back(work);
        }
        work();
    }
    std::vector<Run> done;
    done.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        if (thrown[i] != nullptr) {
            std::rethrow_exception(thrown[i]);
        }
        if (!results[i]->has_value()) {
            return failure(std::move(results[i]->error()));
        }
        done.push_back(std::move(**results[i]));
    }
    return done;
}

}  // namespace kvbm::detail::replay
