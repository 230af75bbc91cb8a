// Runs of placeholders: their rules, and the bytes of blocks that hold some.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <variant>
#include <vector>

#include <range/v3/algorithm/stable_sort.hpp>
#include <range/v3/functional/comparisons.hpp>

#include <tl/expected.hpp>

module kvbm.hash;

namespace kvbm {

namespace {

constexpr std::uint8_t token_frame = 0;
constexpr std::uint8_t placeholder_frame = 1;

template <class Unsigned>
void append_little_endian(std::vector<std::uint8_t>& out, Unsigned value) {
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

void append_frame(std::vector<std::uint8_t>& out, std::uint8_t kind, std::uint32_t number,
                  std::uint64_t object) {
    out.push_back(kind);
    append_little_endian(out, number);
    append_little_endian(out, object);
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
    auto ahead = runs_within(runs, IndexRange{block_offset, block_offset + tokens.size()});
    const bool framed = !ahead.empty();
    out.clear();
    out.reserve(tokens.size() * (framed ? 13 : sizeof(Token)));
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (!framed) {
            append_little_endian(out, tokens[i]);
            continue;
        }
        const std::size_t slot = block_offset + i;
        if (!ahead.empty() && ahead.front().end() <= slot) {
            ahead = ahead.subspan(1);
        }
        if (!ahead.empty() && ahead.front().offset <= slot) {
            const auto& run = ahead.front();
            append_frame(out, placeholder_frame, static_cast<std::uint32_t>(slot - run.offset),
                         run.mm_hash);
        } else {
            append_frame(out, token_frame, tokens[i], 0);
        }
    }
}

std::vector<std::uint8_t> block_bytes(std::span<const Token> tokens, std::size_t block_offset,
                                      std::span<const MultimodalRun> runs) {
    std::vector<std::uint8_t> bytes;
    block_bytes(tokens, block_offset, runs, bytes);
    return bytes;
}

}  // namespace kvbm
