// However the tokens arrive, a BlockSequence is the same, and blocks, hashes and positions agree.
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.sequence;

namespace {

using namespace kvbm;

std::size_t arbitrary_block_size() {
    return *rc::gen::element<std::size_t>(1, 2, 3, 4, 16);
}

// I20, and S12 of the tokens below.
void check_agreement(const BlockSequence& sequence) {
    RC_ASSERT(sequence.all_sequence_hashes().size() == sequence.blocks().size());
    for (std::size_t i = 0; i < sequence.blocks().size(); ++i) {
        RC_ASSERT(sequence.all_sequence_hashes()[i] == sequence.blocks()[i].sequence_hash());
        RC_ASSERT(sequence.all_sequence_hashes()[i].position() == i);
    }
    const std::size_t full = sequence.blocks().size() * sequence.block_size();
    RC_ASSERT(sequence.total_tokens() >= full);
    RC_ASSERT(sequence.total_tokens() - full < sequence.block_size());
}

RC_GTEST_PROP(BlockSequence, one_by_one_equals_bulk_equals_constructor_P17,
              (const std::vector<Token>& tokens, SaltHash salt)) {
    const std::size_t block_size = arbitrary_block_size();
    const BlockSequence whole(tokens, block_size, salt);
    BlockSequence single({}, block_size, salt);
    BlockSequence bulk({}, block_size, salt);

    for (const Token token : tokens) {
        const std::size_t before = single.blocks().size();
        const auto completed = must(single.append_token(token));
        RC_ASSERT(completed ==
                  (single.blocks().size() > before ? std::optional(before) : std::nullopt));
    }
    must(bulk.extend_tokens(tokens));

    RC_ASSERT(single == whole);
    RC_ASSERT(bulk == whole);
    check_agreement(single);
    check_agreement(bulk);
}

RC_GTEST_PROP(BlockSequence, random_cuts_equal_constructor_and_ranges_tell_what_was_completed_P17,
              (const std::vector<std::vector<Token>>& pieces)) {
    const std::size_t block_size = arbitrary_block_size();
    std::vector<Token> all;
    BlockSequence sequence({}, block_size);

    for (const auto& piece : pieces) {
        const std::size_t before = sequence.blocks().size();
        const auto completed = must(sequence.extend_tokens(piece));
        all.insert(all.end(), piece.begin(), piece.end());

        const std::size_t after = sequence.blocks().size();
        RC_ASSERT(completed ==
                  (after > before ? std::optional(IndexRange{before, after}) : std::nullopt));
        check_agreement(sequence);
    }

    RC_ASSERT(sequence == BlockSequence(all, block_size));
}

RC_GTEST_PROP(BlockSequence, a_copy_grows_apart_from_its_original,
              (const std::vector<Token>& tokens, const std::vector<Token>& more)) {
    const BlockSequence original(tokens, 4);
    auto copy = original;

    must(copy.extend_tokens(more));

    RC_ASSERT(original == BlockSequence(tokens, 4));
    RC_ASSERT((copy == original) == more.empty());
}

}  // namespace
