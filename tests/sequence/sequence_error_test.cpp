// Every error of kvbm.sequence prints its values in the words of the specification.
#include <string>

#include <gtest/gtest.h>

import kvbm.sequence;

namespace {

using Error = kvbm::BlockSequenceError;

TEST(BlockSequenceError, ordering_violation_names_both_ids_and_places) {
    EXPECT_EQ((Error{Error::OrderingViolation{
                         .known_id = 100, .new_id = 200, .known_index = 1, .first_new_index = 0}}
                   .message()),
              "ordering violation: known block_id 100 at index 1 appeared after new block_id 200 "
              "at index 0");
}

TEST(BlockSequenceError, position_mismatch_names_id_and_positions) {
    EXPECT_EQ(
        (Error{Error::PositionMismatch{.expected = 1, .actual = 2, .block_id = 10}}.message()),
        "position mismatch for block_id 10: expected 1, actual 2");
}

TEST(BlockSequenceError, duplicate_names_the_id) {
    EXPECT_EQ((Error{Error::DuplicateBlockId{.block_id = 18446744073709551615U}}.message()),
              "duplicate block_id 18446744073709551615 already present");
}

TEST(BlockSequenceError, token_extension_carries_the_text_of_its_cause) {
    using Cause = kvbm::TokenBlockError;
    const auto text = [](Cause cause) { return Error{Error::TokenExtension{cause}}.message(); };

    EXPECT_EQ(text(Cause{Cause::Full{}}), "token extension error: TokenBlock is full");
    EXPECT_EQ(text(Cause{Cause::Incomplete{}}), "token extension error: TokenBlock is incomplete");
    EXPECT_EQ(text(Cause{Cause::Empty{}}), "token extension error: TokenBlock is empty");
    EXPECT_EQ(text(Cause{Cause::InsufficientTokens{}}),
              "token extension error: TokenBlock has insufficient tokens");
    EXPECT_EQ(text(Cause{Cause::MmRunsPresent{}}),
              "token extension error: operation is not supported on a TokenBlockSequence with "
              "multimodal runs");
}

TEST(BlockSequenceError, staged_present_names_the_count) {
    EXPECT_EQ((Error{Error::StagedPresent{.staged_count = 3}}.message()),
              "cannot extend assigned: 3 block(s) staged");
}

TEST(BlockSequenceError, errors_are_equal_only_in_kind_and_fields) {
    EXPECT_EQ((Error{Error::DuplicateBlockId{3}}), (Error{Error::DuplicateBlockId{3}}));
    EXPECT_NE((Error{Error::DuplicateBlockId{3}}), (Error{Error::DuplicateBlockId{4}}));
    EXPECT_NE((Error{Error::DuplicateBlockId{3}}), (Error{Error::StagedPresent{3}}));
}

}  // namespace
