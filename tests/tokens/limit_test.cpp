// A sequence of 2^24 blocks, the most there can be, refuses the next. One program, since it takes
// close to a gigabyte.
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.tokens;

namespace {

using namespace kvbm;

TEST(TokenBlockSequence, last_block_that_has_a_position_is_the_limit) {
    const TokenBlockError too_many{PositionTooLarge{max_block_count, max_block_count - 1}};
    const std::vector<Token> one(1);
    auto sequence = must(TokenBlockSequence::create(std::vector<Token>(max_block_count), 1));
    EXPECT_EQ(sequence.last_complete_block()->position(), max_block_count - 1);

    EXPECT_EQ(sequence.append(1).error(), too_many);
    EXPECT_EQ(sequence.extend(one).error(), too_many);
    EXPECT_EQ(sequence.push_run(7, 1).error(), too_many);
    EXPECT_EQ(sequence.extend_with_runs(one, {}).error(), too_many);
    EXPECT_EQ(must(sequence.extend({})), std::nullopt);
    EXPECT_EQ(sequence.total_tokens(), max_block_count);
    EXPECT_EQ(sequence.blocks().size(), max_block_count);
    EXPECT_TRUE(sequence.runs().empty());

    must(sequence.unwind(1));
    EXPECT_EQ(must(sequence.append(1)), max_block_count - 1);

    auto end = std::move(sequence).into_parts().partial;
    must(end.push_token(1));
    const auto before = end;
    EXPECT_EQ(end.commit().error(), too_many);
    EXPECT_EQ(end, before);
}

}  // namespace
