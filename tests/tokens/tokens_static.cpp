// What token blocks and sequences are to the compiler.
#include <concepts>
#include <span>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.tokens;

namespace {

using namespace kvbm;

static_assert(std::is_trivially_copyable_v<TokenBlock>);
static_assert(sizeof(TokenBlock) == 48);
static_assert(std::regular<TokenBlock>);
static_assert(std::copyable<TokenBlockSequence> && std::equality_comparable<TokenBlockSequence>);
static_assert(std::is_nothrow_move_constructible_v<TokenBlockSequence>);
static_assert(std::is_nothrow_move_assignable_v<TokenBlockSequence>);
static_assert(std::copyable<PartialTokenBlock> && std::equality_comparable<PartialTokenBlock>);
static_assert(std::is_nothrow_move_constructible_v<PartialTokenBlock>);
static_assert(std::is_trivially_copyable_v<TokenBlockError>);
static_assert(max_block_count == 16777216);

// Taking a sequence apart asks for one that is given up.
template <class Sequence>
concept comes_apart =
    requires(Sequence&& sequence) { static_cast<Sequence&&>(sequence).into_parts(); };
static_assert(comes_apart<TokenBlockSequence>);
static_assert(!comes_apart<TokenBlockSequence&>);

// Tokens are unsigned; signed ids go through tokens_from_int32().
static_assert(std::constructible_from<TokenBlockSequence, std::vector<Token>, std::size_t>);
static_assert(!std::constructible_from<TokenBlockSequence, std::vector<int>, std::size_t>);

// The rules above hold if this file compiles.
TEST(TokenBlock, is_a_record_of_48_bytes) {
    SUCCEED();
}

}  // namespace
