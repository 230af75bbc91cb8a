// Runs of placeholders: which lists are refused, and what is hashed for a block that holds some.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.hash;

namespace {

using namespace kvbm;
using Runs = std::vector<MultimodalRun>;

constexpr std::size_t largest = std::numeric_limits<std::size_t>::max();

struct RefusedRow {
    Runs runs;
    std::size_t token_count;
    MultimodalError error;
    const char* message;
};

void PrintTo(const RefusedRow& row, std::ostream* out) {
    *out << row.message;
}

class RefusedRuns : public testing::TestWithParam<RefusedRow> {};

TEST_P(RefusedRuns, report_the_first_failure_of_the_first_failing_run) {
    const auto& row = GetParam();

    const auto result = validate_and_sort(row.runs, row.token_count);

    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error(), row.error);
    EXPECT_EQ(result.error().message(), row.message);
}

INSTANTIATE_TEST_SUITE_P(
    Lists, RefusedRuns,
    testing::Values(
        RefusedRow{{{1, 0, 0}},
                   4,
                   {MultimodalError::EmptyRun{}},
                   "mm_info length must be greater than zero"},
        RefusedRow{{{1, 30, 10}},
                   32,
                   {MultimodalError::OutOfBounds{30, 10, 32}},
                   "mm_info range starting at 30 (length 10) exceeds tokens length 32"},
        RefusedRow{{{1, 4, 1}},
                   4,
                   {MultimodalError::OutOfBounds{4, 1, 4}},
                   "mm_info range starting at 4 (length 1) exceeds tokens length 4"},
        RefusedRow{{{1, 0, 5}, {2, 4, 2}},
                   20,
                   {MultimodalError::Overlapping{4}},
                   "mm_info ranges overlap at position 4"},
        RefusedRow{{{2, 4, 2}, {1, 0, 5}},
                   20,
                   {MultimodalError::Overlapping{4}},
                   "mm_info ranges overlap at position 4"},
        RefusedRow{{{1, largest - 8, 10}},
                   32,
                   {MultimodalError::OffsetOverflow{largest - 8, 10}},
                   "mm_info range starting at 18446744073709551607 (length 10) overflows usize"},
        // The last end that does not wrap.
        RefusedRow{{{1, largest - 10, 10}},
                   32,
                   {MultimodalError::OutOfBounds{largest - 10, 10, 32}},
                   "mm_info range starting at 18446744073709551605 (length 10) exceeds tokens "
                   "length 32"},
        // Bounds are tested before overlap.
        RefusedRow{{{1, 0, 5}, {2, 4, 100}},
                   20,
                   {MultimodalError::OutOfBounds{4, 100, 20}},
                   "mm_info range starting at 4 (length 100) exceeds tokens length 20"},
        // The second sorts first.
        RefusedRow{{{1, 10, 0}, {2, 0, 99}},
                   5,
                   {MultimodalError::OutOfBounds{0, 99, 5}},
                   "mm_info range starting at 0 (length 99) exceeds tokens length 5"},
        // Equal offsets keep the order given, and an empty run is found before an overlap.
        RefusedRow{{{1, 3, 2}, {2, 3, 0}},
                   9,
                   {MultimodalError::EmptyRun{}},
                   "mm_info length must be greater than zero"},
        RefusedRow{{{1, 3, 100}, {2, 3, 0}},
                   9,
                   {MultimodalError::OutOfBounds{3, 100, 9}},
                   "mm_info range starting at 3 (length 100) exceeds tokens length 9"}));

TEST(ValidateAndSort, orders_runs_by_offset) {
    const Runs runs{{7, 5, 1}, {8, 1, 1}, {9, 3, 1}};

    EXPECT_EQ(must(validate_and_sort(runs, 6)), (Runs{{8, 1, 1}, {9, 3, 1}, {7, 5, 1}}));
}

TEST(ValidateAndSort, touching_runs_that_reach_the_end_are_fine) {
    const Runs runs{{1, 0, 3}, {2, 3, 5}};

    EXPECT_EQ(must(validate_and_sort(runs, 8)), runs);
    EXPECT_TRUE(must(validate_and_sort({}, 0)).empty());
}

TEST(RunsWithin, are_those_with_a_slot_in_the_range) {
    const Runs runs{{1, 2, 2}, {2, 4, 1}, {3, 8, 4}};
    const auto within = [&](std::size_t first, std::size_t last) {
        const auto found = runs_within(runs, IndexRange{first, last});
        return Runs(found.begin(), found.end());
    };

    EXPECT_EQ(within(0, 2), Runs{});
    EXPECT_EQ(within(0, 3), (Runs{runs[0]}));
    EXPECT_EQ(within(3, 5), (Runs{runs[0], runs[1]}));
    EXPECT_EQ(within(4, 8), (Runs{runs[1]}));
    EXPECT_EQ(within(5, 8), Runs{});
    EXPECT_EQ(within(9, 10), (Runs{runs[2]}));
    EXPECT_EQ(within(11, 12), (Runs{runs[2]}));
    EXPECT_EQ(within(12, 99), Runs{});
    EXPECT_EQ(within(3, 3), Runs{});
}

TEST(BlockBytes, without_a_run_are_the_plain_tokens) {
    const std::vector<Token> tokens{0x04030201, 0xffffffff};

    EXPECT_EQ(block_bytes(tokens, 4, Runs{{1, 2, 2}, {1, 6, 9}}),
              (std::vector<std::uint8_t>{1, 2, 3, 4, 255, 255, 255, 255}));
}

TEST(BlockBytes, with_a_run_are_a_frame_per_slot) {
    const std::vector<Token> tokens{100, 0x04030201};

    // Slot 21 is the second of the run.
    const auto bytes = block_bytes(tokens, 20, Runs{{0x1122334455667788, 21, 1}});

    EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0,    100,  0,    0,    0,    0,    0,    0,   0,
                                                0,    0,    0,    0,    1,    0,    0,    0,   0,
                                                0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11}));
}

TEST(BlockBytes, count_a_runs_slots_from_its_own_beginning) {
    const auto bytes = block_bytes(std::vector<Token>{9, 9}, 0x10002, Runs{{5, 1, 0x20000}});

    EXPECT_EQ((std::vector<std::uint8_t>(bytes.begin(), bytes.begin() + 5)),
              (std::vector<std::uint8_t>{1, 1, 0, 1, 0}));
    EXPECT_EQ((std::vector<std::uint8_t>(bytes.begin() + 13, bytes.begin() + 18)),
              (std::vector<std::uint8_t>{1, 2, 0, 1, 0}));
}

TEST(BlockBytes, slot_in_a_run_counts_its_low_32_bits) {
    const auto bytes =
        block_bytes(std::vector<Token>{9}, 0x1'0000'0005, Runs{{5, 2, 0x2'0000'0000}});

    EXPECT_EQ((std::vector<std::uint8_t>(bytes.begin(), bytes.begin() + 5)),
              (std::vector<std::uint8_t>{1, 3, 0, 0, 0}));
}

TEST(BlockBytes, list_given_is_overwritten) {
    std::vector<std::uint8_t> bytes{1, 2, 3};

    block_bytes(std::vector<Token>{7}, 0, {}, bytes);

    EXPECT_EQ(bytes, (std::vector<std::uint8_t>{7, 0, 0, 0}));
}

TEST(BlockBytes, of_the_worked_block_hash_as_recorded) {
    const std::vector<Token> tokens{100, 101, 102, 103, 0, 0, 106, 107};
    const Runs runs{{0xaa, 4, 2}};

    const auto bytes = block_bytes(tokens, 0, runs);

    EXPECT_EQ(bytes.size(), 104u);
    EXPECT_EQ(block_hash_bytes(bytes, 1337), BlockHash{12380118950545462472u});
    EXPECT_EQ(BlockHasher(1337).block_hash(tokens, 0, runs), BlockHash{12380118950545462472u});
}

}  // namespace
