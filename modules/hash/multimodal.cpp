// Runs of placeholders: their rules, and the bytes of blocks that hold some.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <variant>
#include <vector>

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <range/v3/algorithm/stable_sort.hpp>
#include <range/v3/functional/comparisons.hpp>

#include <tl/expected.hpp>

module kvbm.hash;

namespace kvbm {

namespace {

constexpr std::uint8_t token_frame = 0;
constexpr std::uint8_t placeholder_frame = 1;

constexpr std::size_t frame_size = 13;
using Frame = std::array<std::uint8_t, frame_size>;

template <class Unsigned, class Iterator>
Iterator write_little_endian(Unsigned value, Iterator to) noexcept {
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        *to++ = static_cast<std::uint8_t>(value >> (8 * i));
    }
    return to;
}

Frame frame(std::uint8_t kind, std::uint32_t number, std::uint64_t object) noexcept {
    Frame bytes{kind};
    write_little_endian(object, write_little_endian(number, bytes.begin() + 1));
    return bytes;
}

// Gives the frames of a block's slots, in order. `runs` are those that have a slot in the block.
template <class Sink>
void for_each_frame(std::span<const Token> tokens, std::size_t block_offset,
                    std::span<const MultimodalRun> runs, Sink sink) {
    for (std::size_t slot = block_offset; const Token token : tokens) {
        if (!runs.empty() && runs.front().end() == slot) {
            runs = runs.subspan(1);
        }
        if (!runs.empty() && runs.front().offset <= slot) {
            const auto& run = runs.front();
            sink(frame(placeholder_frame, static_cast<std::uint32_t>(slot - run.offset),
                       run.mm_hash));
        } else {
            sink(frame(token_frame, token, 0));
        }
        ++slot;
    }
}

}  // namespace

Result<std::vector<MultimodalRun>, MultimodalError> validate_and_sort(
    std::span<const MultimodalRun> runs, std::size_t token_count) {
    std::vector<MultimodalRun> sorted(runs.begin(), runs.end());
    ranges::stable_sort(sorted, ranges::less{}, &MultimodalRun::offset);
    std::size_t free_from = 0;
    for (const auto& run : sorted) {
        if (run.length == 0) {
            return failure(MultimodalError{MultimodalError::EmptyRun{}});
        }
        if (run.length > std::numeric_limits<std::size_t>::max() - run.offset) {
            return failure(
                MultimodalError{MultimodalError::OffsetOverflow{run.offset, run.length}});
        }
        if (run.end() > token_count) {
            return failure(
                MultimodalError{MultimodalError::OutOfBounds{run.offset, run.length, token_count}});
        }
        if (run.offset < free_from) {
            return failure(MultimodalError{MultimodalError::Overlapping{run.offset}});
        }
        free_from = run.end();
    }
    return sorted;
}

std::span<const MultimodalRun> runs_within(std::span<const MultimodalRun> runs,
                                           IndexRange slots) noexcept {
    if (slots.empty()) {
        return {};
    }
    // Disjoint runs in order of offset are in order of their ends too.
    const auto first =
        std::partition_point(runs.begin(), runs.end(),
                             [&](const MultimodalRun& run) { return run.end() <= slots.first; });
    const auto last = std::partition_point(
        first, runs.end(), [&](const MultimodalRun& run) { return run.offset < slots.last; });
    return {first, last};
}

void block_bytes(std::span<const Token> tokens, std::size_t block_offset,
                 std::span<const MultimodalRun> runs, std::vector<std::uint8_t>& out) {
    const auto here = runs_within(runs, IndexRange{block_offset, block_offset + tokens.size()});
    out.clear();
    if (here.empty()) {
        out.reserve(tokens.size_bytes());
        for (const Token token : tokens) {
            write_little_endian(token, std::back_inserter(out));
        }
        return;
    }
    out.reserve(tokens.size() * frame_size);
    for_each_frame(tokens, block_offset, here,
                   [&](const Frame& bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); });
}

std::vector<std::uint8_t> block_bytes(std::span<const Token> tokens, std::size_t block_offset,
                                      std::span<const MultimodalRun> runs) {
    std::vector<std::uint8_t> bytes;
    block_bytes(tokens, block_offset, runs, bytes);
    return bytes;
}

BlockHash BlockHasher::block_hash(std::span<const Token> tokens, std::size_t block_offset,
                                  std::span<const MultimodalRun> runs) const noexcept {
    const auto here = runs_within(runs, IndexRange{block_offset, block_offset + tokens.size()});
    if (here.empty()) {
        return block_hash(tokens);
    }
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, salt_);
    for_each_frame(tokens, block_offset, here, [&](const Frame& bytes) {
        XXH3_64bits_update(&state, bytes.data(), bytes.size());
    });
    return BlockHash{XXH3_64bits_digest(&state)};
}

}  // namespace kvbm
