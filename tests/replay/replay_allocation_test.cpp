// A replay asks the heap for its cache, and never for a request: a trace that is ten times as long,
// of the same blocks, costs as many allocations.
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "allocation_counter.h"
#include "random_requests.h"

import kvbm.replay;

namespace {

using kvbm::ReplayMode;
using kvbm::ReplayOptions;
using kvbm::ReplayPolicy;
using kvbm_test::AllocationScope;
using kvbm_test::Ids;
using kvbm_test::Requests;

/// Conversations of up to 40 blocks out of 400, with shared beginnings.
Requests conversations(std::size_t repetitions) {
    std::vector<Ids> once;
    for (std::uint64_t i = 0; i < 40; ++i) {
        Ids ids{0, i % 5};
        for (std::uint64_t k = 0; k <= i * 7 % 38; ++k) {
            ids.push_back(100 * i + k);
        }
        once.push_back(ids);
    }
    Requests requests;
    for (std::size_t i = 0; i < repetitions; ++i) {
        requests.ids.insert(requests.ids.end(), once.begin(), once.end());
    }
    return requests;
}

std::uint64_t allocations_of(const Requests& requests, const ReplayOptions& options) {
    const auto hashes = kvbm_test::hashes_of(requests);
    const AllocationScope scope;
    kvbm::must(kvbm::replay(hashes, options));
    return scope.count();
}

class ReplayAllocations
    : public testing::TestWithParam<std::tuple<ReplayMode, ReplayPolicy, std::size_t>> {};

TEST_P(ReplayAllocations, do_not_depend_on_the_number_of_requests) {
    const auto& [mode, policy, capacity] = GetParam();
    const ReplayOptions options{.capacity = capacity, .mode = mode, .policy = policy};

    const auto short_trace = allocations_of(conversations(1), options);
    const auto long_trace = allocations_of(conversations(10), options);

    EXPECT_GT(short_trace, 0u);
    EXPECT_EQ(long_trace, short_trace);
}

std::string name_of(
    const testing::TestParamInfo<std::tuple<ReplayMode, ReplayPolicy, std::size_t>>& info) {
    auto text = std::string(to_string(std::get<0>(info.param))) + "_" +
                std::string(to_string(std::get<1>(info.param))) + "_" +
                std::to_string(std::get<2>(info.param));
    for (auto& c : text) {
        c = c == '-' ? '_' : c;
    }
    return text;
}

INSTANTIATE_TEST_SUITE_P(
    Manager, ReplayAllocations,
    testing::Combine(testing::Values(ReplayMode::manager),
                     testing::Values(ReplayPolicy::lru, ReplayPolicy::multi_lru,
                                     ReplayPolicy::lineage_tick, ReplayPolicy::lineage_fifo,
                                     ReplayPolicy::fifo),
                     testing::Values(std::size_t{10}, std::size_t{100}, std::size_t{10'000})),
    name_of);
INSTANTIATE_TEST_SUITE_P(Ideal, ReplayAllocations,
                         testing::Combine(testing::Values(ReplayMode::ideal),
                                          testing::Values(ReplayPolicy::lru),
                                          testing::Values(std::size_t{10}, std::size_t{100})),
                         name_of);

}  // namespace
