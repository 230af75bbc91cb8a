// Small random traces for properties: few ids, so that requests share prefixes, repeat ids, and put
// one id under several parents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <ostream>
#include <set>
#include <span>
#include <vector>

#include <rapidcheck.h>

#include <tl/expected.hpp>

import kvbm.replay;

namespace kvbm_test {

using Ids = std::vector<std::uint64_t>;

/// The block ids of each request.
struct Requests {
    std::vector<Ids> ids;
};

inline std::ostream& operator<<(std::ostream& out, const Requests& requests) {
    for (const auto& ids : requests.ids) {
        out << "[";
        for (const auto id : ids) {
            out << " " << id;
        }
        out << " ] ";
    }
    return out;
}

inline constexpr std::uint64_t block_size = 4;

/// Tokens of a request of these blocks: the last one is full or not, as its id says.
inline std::uint64_t tokens_of(const Ids& ids) {
    return ids.empty() ? 0 : ids.size() * block_size - ids.back() % block_size;
}

inline kvbm::Trace trace_of(const Requests& requests) {
    kvbm::Trace trace;
    trace.block_size = block_size;
    for (const auto& ids : requests.ids) {
        trace.requests.push_back({0, tokens_of(ids), 0, trace.ids.size(), ids.size()});
        trace.ids.insert(trace.ids.end(), ids.begin(), ids.end());
    }
    return trace;
}

inline kvbm::TraceHashes hashes_of(const Requests& requests) {
    return kvbm::must(kvbm::TraceHashes::of(trace_of(requests)));
}

/// At least one request of 1 to 9 blocks.
inline rc::Gen<Requests> any_requests() {
    const auto id = rc::gen::weightedOneOf<std::uint64_t>(
        {{20, rc::gen::inRange<std::uint64_t>(0, 3)},
         {1, rc::gen::just(std::numeric_limits<std::uint64_t>::max())}});
    const auto request = rc::gen::mapcat(rc::gen::inRange<std::size_t>(1, 10), [id](auto length) {
        return rc::gen::container<Ids>(length, id);
    });
    return rc::gen::map(rc::gen::nonEmpty(rc::gen::container<std::vector<Ids>>(request)),
                        [](std::vector<Ids> ids) { return Requests{std::move(ids)}; });
}

/// 1 to a few more blocks than most traces have; requests are often longer.
inline rc::Gen<std::size_t> any_capacity() {
    return rc::gen::weightedOneOf<std::size_t>({{2, rc::gen::just(std::size_t{1})},
                                                {10, rc::gen::inRange<std::size_t>(1, 12)},
                                                {5, rc::gen::inRange<std::size_t>(12, 80)}});
}

inline rc::Gen<kvbm::ReplayOrder> any_order() {
    return rc::gen::element(kvbm::ReplayOrder::tail, kvbm::ReplayOrder::head);
}

/// A block is its ids from the first on: no hash in sight.
using Lineage = Ids;

inline std::vector<Lineage> lineages_of(const Ids& ids) {
    std::vector<Lineage> lineages;
    for (std::size_t length = 1; length <= ids.size(); ++length) {
        lineages.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(length));
    }
    return lineages;
}

/// What models count.
struct Counts {
    std::uint64_t block_hits = 0;
    std::uint64_t token_hits = 0;
    std::uint64_t requests_with_hit = 0;
    std::uint64_t cut_requests = 0;
    std::uint64_t skipped_blocks = 0;
    std::uint64_t evictions = 0;
    std::uint64_t resident = 0;
    std::uint64_t duplicates = 0;

    void add_hits(std::uint64_t hits, std::uint64_t tokens) {
        block_hits += hits;
        token_hits += hits * block_size < tokens ? hits * block_size : tokens;
        requests_with_hit += hits > 0 ? 1 : 0;
    }
    friend bool operator==(const Counts&, const Counts&) = default;
};

inline std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << counts.block_hits << " hits, " << counts.token_hits << " token hits, "
               << counts.requests_with_hit << " with hit, " << counts.cut_requests << " cut, "
               << counts.skipped_blocks << " skipped, " << counts.evictions << " evictions, "
               << counts.resident << " resident, " << counts.duplicates << " duplicates";
}

inline Counts counts_of(const kvbm::ReplayRun& run) {
    return {run.block_hits,     run.token_hits, run.requests_with_hit, run.cut_requests,
            run.skipped_blocks, run.evictions,  run.resident,          run.duplicates};
}

}  // namespace kvbm_test
