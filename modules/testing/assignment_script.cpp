module;

#include <array>
#include <cstddef>
#include <limits>
#include <string>
#include <variant>
#include <vector>

module kvbm.testing;

namespace kvbm::testing {

namespace {

constexpr std::size_t tracker_count = 2;

// A few ids of the small set, or a run of equally spaced ones that makes the row long.
std::vector<BlockId> decode_ids(ByteReader& bytes) {
    std::vector<BlockId> ids;
    if (bytes.below(4) > 0) {
        const std::size_t count = bytes.below(8);
        for (std::size_t i = 0; i < count; ++i) {
            ids.push_back(assignment_id(bytes.u8()));
        }
        return ids;
    }
    constexpr std::array<BlockId, 4> strides{1, 256, BlockId{1} << 32, BlockId{1} << 58};
    const BlockId stride = strides[bytes.below(strides.size())];
    BlockId id = bytes.u8();
    const std::size_t count = bytes.below(64);
    for (std::size_t i = 0; i < count; ++i, id += stride) {
        ids.push_back(id);
    }
    return ids;
}

// Mostly a sequence from its start, which is right; sometimes a run of it, or two runs together.
std::vector<BlockSlice> decode_slices(ByteReader& bytes) {
    std::vector<BlockSlice> slices;
    const std::size_t kind = bytes.below(8);
    const std::size_t count = kind == 7 ? 2 : 1;
    for (std::size_t i = 0; i < count; ++i) {
        slices.push_back({.sequence = bytes.below(8) == 7 ? 1U : 0U,
                          .first = kind >= 6 ? bytes.below(8) : 0,
                          .count = bytes.below(96)});
    }
    return slices;
}

std::vector<PairDraw> decode_pairs(ByteReader& bytes) {
    std::vector<PairDraw> pairs(bytes.below(6));
    for (PairDraw& pair : pairs) {
        const std::size_t luck = bytes.below(32);
        pair = {.id = assignment_id(bytes.u8()),
                .sequence = luck == 31 ? 1U : 0U,
                .shift = luck == 30 ? 1U : 0U};
    }
    return pairs;
}

std::string list_of(const std::vector<BlockId>& ids) {
    std::string text = "{";
    for (const BlockId id : ids) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(id);
    }
    return text + "}";
}

std::string list_of(const std::vector<BlockSlice>& slices) {
    std::string text;
    for (const BlockSlice& slice : slices) {
        text += (text.empty() ? "" : " ++ ") + ("s" + std::to_string(slice.sequence)) + "[" +
                std::to_string(slice.first) + ", " + std::to_string(slice.first + slice.count) +
                ")";
    }
    return text;
}

std::string list_of(const std::vector<PairDraw>& pairs) {
    std::string text;
    for (const PairDraw& pair : pairs) {
        text += (text.empty() ? "" : ", ") + ("{" + std::to_string(pair.id)) + ", s" +
                std::to_string(pair.sequence) + " +" + std::to_string(pair.shift) + "}";
    }
    return "{" + text + "}";
}

std::string tracker_name(std::size_t tracker) {
    return "t" + std::to_string(tracker);
}

struct Text {
    std::string operator()(const ExtendBlockIds& c) const {
        return tracker_name(c.tracker) + ".extend_block_ids(first " + std::to_string(c.repeated) +
               " of row ++ " + list_of(c.ids) + ")";
    }
    std::string operator()(const ExtendAssigned& c) const {
        return tracker_name(c.tracker) + ".extend_assigned(" + list_of(c.pairs) + ")";
    }
    std::string operator()(const StagePending& c) const {
        return tracker_name(c.tracker) + ".stage_pending(" + list_of(c.slices) +
               (c.as_hashes ? " as hashes)" : ")");
    }
    std::string operator()(const AssignPending& c) const {
        return tracker_name(c.tracker) + ".assign_pending(" + list_of(c.slices) +
               (c.as_hashes ? " as hashes)" : ")");
    }
    std::string operator()(const CommitStaged& c) const {
        return tracker_name(c.tracker) + ".commit_staged()";
    }
    std::string operator()(const TakeStaged& c) const {
        return tracker_name(c.tracker) + ".take_staged()";
    }
    std::string operator()(const Clear& c) const { return tracker_name(c.tracker) + ".clear()"; }
    std::string operator()(const AskForId& c) const {
        return tracker_name(c.tracker) + ".position_of(" + std::to_string(c.id) + ")";
    }
    std::string operator()(const AskForPlace& c) const {
        return tracker_name(c.tracker) + ".get...(" + std::to_string(c.index) + ")";
    }
    std::string operator()(const ZipBoth& c) const {
        return "zip(" + tracker_name(c.first) + ", " + tracker_name(c.second) + ")";
    }
    std::string operator()(const CopyTracker& c) const {
        return tracker_name(c.to) + " = " + (c.move ? "move of " : "") + tracker_name(c.from);
    }
};

}  // namespace

BlockId assignment_id(std::size_t drawn) {
    constexpr BlockId last = std::numeric_limits<BlockId>::max();
    constexpr std::array<BlockId, 8> extremes{last,
                                              last - 1,
                                              BlockId{1} << 63,
                                              BlockId{1} << 32,
                                              (BlockId{1} << 32) - 1,
                                              BlockId{1} << 31,
                                              BlockId{1} << 24,
                                              1000};
    const std::size_t folded = drawn % 48;
    return folded < 40 ? BlockId{folded} : extremes[folded - 40];
}

AssignmentOptions decode_assignment_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 8> offsets{0, 0, 0, 1, 2, 5, 40, std::size_t{1} << 24};
    constexpr std::array<std::size_t, 4> block_sizes{1, 3, 4, 16};
    AssignmentOptions options;
    for (std::size_t t = 0; t < tracker_count; ++t) {
        options.offsets[t] = offsets[bytes.below(offsets.size())];
    }
    options.block_counts = {bytes.below(80), bytes.below(8)};
    options.block_size = block_sizes[bytes.below(block_sizes.size())];
    return options;
}

AssignmentCommand decode_assignment_command(ByteReader& bytes) {
    const std::size_t tracker = bytes.below(tracker_count);
    switch (bytes.below(16)) {
        case 0:
        case 1:
        case 2:
        case 3:
            return ExtendBlockIds{tracker, bytes.flag() ? bytes.below(64) : 0, decode_ids(bytes)};
        case 4:
        case 5:
            return ExtendAssigned{tracker, decode_pairs(bytes)};
        case 6:
        case 7:
            return StagePending{tracker, decode_slices(bytes), bytes.flag()};
        case 8:
        case 9:
            return AssignPending{tracker, decode_slices(bytes), bytes.flag()};
        case 10:
            return CommitStaged{tracker};
        case 11:
            return TakeStaged{tracker};
        case 12:
            return AskForId{tracker, assignment_id(bytes.u8())};
        case 13:
            return AskForPlace{tracker, bytes.below(80)};
        case 14:
            return ZipBoth{tracker, bytes.below(tracker_count)};
        default:
            if (bytes.flag()) {
                return Clear{tracker};
            }
            return CopyTracker{tracker, bytes.below(tracker_count), bytes.flag()};
    }
}

std::string to_string(const AssignmentCommand& command) {
    return std::visit(Text{}, command);
}

}  // namespace kvbm::testing
