//! kvbm.replay:facts: what a trace holds, counted.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

export module kvbm.replay:facts;

import :trace;

namespace kvbm {

/// Percentiles by nearest rank: the smallest value that at least that share of all values does not
/// pass. All 0 when there are no values.
export struct Percentiles {
    std::uint64_t p50 = 0;
    std::uint64_t p90 = 0;
    std::uint64_t p99 = 0;
    std::uint64_t max = 0;

    friend bool operator==(const Percentiles&, const Percentiles&) noexcept = default;
};

namespace detail::replay {

/// O(n log n).
Percentiles percentiles_of(std::vector<std::uint64_t> values);

}  // namespace detail::replay

/// How many blocks are referenced once, twice, three to nine times, ten times or more.
export struct ReferenceHistogram {
    std::uint64_t once = 0;
    std::uint64_t twice = 0;
    std::uint64_t three_to_nine = 0;
    std::uint64_t ten_or_more = 0;

    friend bool operator==(const ReferenceHistogram&, const ReferenceHistogram&) noexcept = default;
};

/// Facts about a trace. A block is a lineage: an id together with all ids before it in its request.
///
/// Source: replay.md 2.1 and 5.
export struct TraceFacts {
    std::uint64_t requests = 0;
    std::uint64_t block_references = 0;
    std::uint64_t distinct_blocks = 0;  ///< lineages
    std::uint64_t distinct_ids = 0;     ///< numbers; equals distinct_blocks if ids are chained
    std::uint64_t smallest_id = 0;
    std::uint64_t largest_id = 0;
    std::uint64_t input_tokens = 0;
    std::uint64_t output_tokens = 0;
    double first_time_ms = 0;  ///< of the first request in file order
    double span_ms = 0;        ///< latest minus earliest
    Percentiles blocks_per_request;
    ReferenceHistogram references;
    std::uint64_t blocks_in_every_request = 0;

    /// Distinct blocks, counting from the block's own last reference, that a reference to a block
    /// seen before lies behind: 1 if nothing else came between. A cache of that many blocks holds
    /// it under LRU by single blocks.
    Percentiles reuse_distance;
    std::uint64_t reuses = 0;  ///< references to a block seen before

    // --- oddities: no errors ---
    std::uint64_t times_backwards = 0;         ///< requests earlier than the one before
    std::uint64_t requests_repeating_ids = 0;  ///< requests with an id twice
    std::uint64_t ids_under_two_parents =
        0;  ///< ids that follow different ids, or once begin a request
    std::uint64_t requests_without_partial_block =
        0;                         ///< fewer blocks than the ceiling of their tokens
    std::uint64_t empty_rows = 0;  ///< left out by the reader
    std::uint64_t blank_lines = 0;
    std::uint64_t skipped_lines = 0;
};

/// Counts what a trace holds. O(n log n) time and O(n) memory in block references.
export TraceFacts inspect_trace(const Trace& trace);

}  // namespace kvbm
