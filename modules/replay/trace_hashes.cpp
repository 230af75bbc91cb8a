module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

module kvbm.replay;

import kvbm.core;
import kvbm.hash;

namespace kvbm {
namespace {

/// The id as 8 little-endian bytes: what stands for a block's content.
std::array<std::uint8_t, 8> content_of(std::uint64_t id) noexcept {
    std::array<std::uint8_t, 8> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(id >> (8 * i));
    }
    return bytes;
}

BlockHash hash_of(std::uint64_t id) noexcept {
    return block_hash_bytes(content_of(id), 0);
}

}  // namespace

Result<TraceHashes, ReplayError> TraceHashes::of(const Trace& trace) {
    TraceHashes hashes;
    hashes.block_size_ = trace.block_size;
    const std::size_t requests = trace.requests.size();
    std::size_t references = 0;
    for (const Request& request : trace.requests) {
        references += request.count;
    }
    hashes.input_lengths_.reserve(requests);
    hashes.offsets_.reserve(requests + 1);
    hashes.hashes_.reserve(references);
    hashes.numbers_.reserve(references);

    boost::unordered_flat_map<SequenceHash, std::uint32_t, std::hash<SequenceHash>> known;
    hashes.offsets_.push_back(0);
    for (std::size_t i = 0; i < requests; ++i) {
        const std::span<const std::uint64_t> ids = trace.ids_of(trace.requests[i]);
        SequenceHash parent;
        for (std::size_t position = 0; position < ids.size(); ++position) {
            const BlockHash block = hash_of(ids[position]);
            if (position == 0) {
                parent = SequenceHash::root(block);
            } else if (auto child = parent.extend(block)) {
                parent = *child;
            } else {
                return failure(ReplayError{ReplayError::RequestTooLong{i, ids.size()}});
            }
            const auto [entry, added] =
                known.try_emplace(parent, static_cast<std::uint32_t>(known.size()));
            if (added && known.size() > std::numeric_limits<std::uint32_t>::max()) {
                return failure(ReplayError{ReplayError::TooManyBlocks{}});
            }
            hashes.hashes_.push_back(parent);
            hashes.numbers_.push_back(entry->second);
        }
        hashes.input_lengths_.push_back(trace.requests[i].input_length);
        hashes.offsets_.push_back(hashes.hashes_.size());
    }
    return hashes;
}

std::size_t TraceHashes::distinct_blocks(std::size_t requests) const noexcept {
    const auto numbers = std::span(numbers_).first(offsets_[requests]);
    return numbers.empty() ? 0 : std::size_t{*std::ranges::max_element(numbers)} + 1;
}

}  // namespace kvbm
