// Laws of token sequences: any way to the same tokens gives the same blocks, prefixes share their
// hashes, salts separate, and what fails changes nothing.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.tokens;

namespace {

using namespace kvbm;
namespace gen = kvbm::testing::gen;
using Tokens = std::vector<Token>;
using Runs = std::vector<MultimodalRun>;

struct Shape {
    std::size_t block_size = 1;
    SaltHash salt = 0;
    Tokens tokens;
};

// Lengths at and beside the edges of up to six blocks.
std::size_t some_length(std::size_t block_size) {
    const auto blocks = *rc::gen::inRange<std::size_t>(0, 6);
    const auto beside = *rc::gen::element<std::size_t>(0, 1, block_size / 2, block_size - 1);
    return blocks * block_size + std::min(beside, block_size - 1);
}

Shape some_shape() {
    Shape shape;
    shape.block_size = *rc::gen::element<std::size_t>(1, 2, 3, 4, 5, 16, 61);
    shape.salt = *gen::salt();
    shape.tokens = *gen::tokens(some_length(shape.block_size));
    return shape;
}

Tokens with_zero_at_placeholders(Tokens tokens, const Runs& runs) {
    for (const auto& run : runs) {
        std::fill_n(tokens.begin() + static_cast<std::ptrdiff_t>(run.offset), run.length, Token{0});
    }
    return tokens;
}

std::span<const Token> part(const Tokens& tokens, std::size_t first, std::size_t last) {
    return std::span(tokens).subspan(first, last - first);
}

RC_GTEST_PROP(TokenBlockSequence, any_cutting_gives_what_one_create_gives, ()) {
    const auto shape = some_shape();
    TokenBlockSequence pieces({}, shape.block_size, shape.salt);
    std::size_t named = 0;

    for (std::size_t done = 0; done < shape.tokens.size();) {
        std::optional<IndexRange> completed;
        if (*rc::gen::arbitrary<bool>()) {
            if (const auto index = must(pieces.append(shape.tokens[done++]))) {
                completed = IndexRange{*index, *index + 1};
            }
        } else {
            const auto next = *rc::gen::inRange(done, shape.tokens.size() + 1);
            completed = must(pieces.extend(part(shape.tokens, done, next)));
            done = next;
        }
        RC_ASSERT(completed.has_value() == (pieces.blocks().size() > named));
        if (completed) {
            RC_ASSERT(*completed == (IndexRange{named, pieces.blocks().size()}));
        }
        named = pieces.blocks().size();
    }

    const auto whole = must(TokenBlockSequence::create(shape.tokens, shape.block_size, shape.salt));
    const auto cut = must(TokenBlockSequence::split(shape.tokens, shape.block_size, shape.salt));
    RC_ASSERT(pieces == whole);
    RC_ASSERT(std::ranges::equal(cut.blocks, whole.blocks()));
    RC_ASSERT(std::ranges::equal(cut.partial.tokens(), whole.current_block().tokens()));
}

RC_GTEST_PROP(TokenBlockSequence, any_cutting_with_runs_gives_what_one_create_gives, ()) {
    auto shape = some_shape();
    const auto runs = *gen::runs(shape.tokens.size());
    shape.tokens = with_zero_at_placeholders(shape.tokens, runs);
    TokenBlockSequence pieces({}, shape.block_size, shape.salt);
    std::size_t done = 0;

    for (const auto& run : runs) {
        if (*rc::gen::arbitrary<bool>()) {
            must(pieces.extend(part(shape.tokens, done, run.offset)));
            must(pieces.push_run(run.mm_hash, run.length));
        } else {
            const Runs relative{{run.mm_hash, run.offset - done, run.length}};
            must(pieces.extend_with_runs(part(shape.tokens, done, run.end()), relative));
        }
        done = run.end();
    }
    must(pieces.extend(part(shape.tokens, done, shape.tokens.size())));

    RC_ASSERT(pieces == must(TokenBlockSequence::create_with_runs(shape.tokens, runs,
                                                                  shape.block_size, shape.salt)));
}

RC_GTEST_PROP(TokenBlockSequence, truncate_leaves_what_create_of_the_prefix_gives, ()) {
    const auto shape = some_shape();
    const auto kept = *rc::gen::inRange<std::size_t>(0, shape.tokens.size() + 2);
    TokenBlockSequence sequence(shape.tokens, shape.block_size, shape.salt);

    must(sequence.truncate(kept));

    const auto prefix = part(shape.tokens, 0, std::min(kept, shape.tokens.size()));
    RC_ASSERT(sequence == TokenBlockSequence(prefix, shape.block_size, shape.salt));
}

RC_GTEST_PROP(TokenBlockSequence, extend_then_unwind_is_identity, ()) {
    const auto shape = some_shape();
    const auto more = *gen::tokens(some_length(shape.block_size));
    TokenBlockSequence sequence(shape.tokens, shape.block_size, shape.salt);
    const auto before = sequence;

    must(sequence.extend(more));
    must(sequence.unwind(more.size()));

    RC_ASSERT(sequence == before);
}

RC_GTEST_PROP(TokenBlockSequence, pops_equal_one_unwind, ()) {
    const auto shape = some_shape();
    const auto count = *rc::gen::inRange<std::size_t>(0, shape.tokens.size() + 1);
    TokenBlockSequence popped(shape.tokens, shape.block_size, shape.salt);
    TokenBlockSequence unwound = popped;

    for (std::size_t i = 0; i < count; ++i) {
        RC_ASSERT(must(popped.pop()) == shape.tokens[shape.tokens.size() - 1 - i]);
    }
    must(unwound.unwind(count));

    RC_ASSERT(popped == unwound);
}

RC_GTEST_PROP(TokenBlockSequence, total_is_full_blocks_and_a_shorter_end, ()) {
    const auto shape = some_shape();
    const TokenBlockSequence sequence(shape.tokens, shape.block_size, shape.salt);

    const auto end = sequence.current_block();
    RC_ASSERT(sequence.total_tokens() == sequence.blocks().size() * shape.block_size + end.size());
    RC_ASSERT(end.size() < shape.block_size);
}

RC_GTEST_PROP(TokenBlockSequence, common_prefix_shares_exactly_its_full_blocks, ()) {
    const auto shape = some_shape();
    const auto common = *rc::gen::inRange<std::size_t>(0, shape.tokens.size() + 1);
    auto others =
        Tokens(shape.tokens.begin(), shape.tokens.begin() + static_cast<std::ptrdiff_t>(common));
    const auto rest = *gen::tokens(some_length(shape.block_size));
    others.insert(others.end(), rest.begin(), rest.end());
    const TokenBlockSequence a(shape.tokens, shape.block_size, shape.salt);
    const TokenBlockSequence b(others, shape.block_size, shape.salt);

    const auto parting = std::ranges::mismatch(shape.tokens, others);
    const auto shared_tokens = static_cast<std::size_t>(parting.in1 - shape.tokens.begin());
    const auto shared = std::ranges::mismatch(
        a.blocks(), b.blocks(), {}, &TokenBlock::sequence_hash, &TokenBlock::sequence_hash);
    const auto shared_blocks = static_cast<std::size_t>(shared.in1 - a.blocks().begin());
    RC_ASSERT(shared_blocks == shared_tokens / shape.block_size);
    for (std::size_t i = shared_blocks; i < std::min(a.blocks().size(), b.blocks().size()); ++i) {
        RC_ASSERT(a.blocks()[i].sequence_hash() != b.blocks()[i].sequence_hash());
    }
}

RC_GTEST_PROP(TokenBlockSequence, another_salt_shares_no_hash, ()) {
    const auto shape = some_shape();
    const auto other_salt = *rc::gen::distinctFrom(gen::salt(), shape.salt);
    std::set<SequenceHash> seen;
    const TokenBlockSequence first(shape.tokens, shape.block_size, shape.salt);
    for (const auto& block : first.blocks()) {
        seen.insert(block.sequence_hash());
    }

    // Both ways in: at once, and token by token.
    TokenBlockSequence other(part(shape.tokens, 0, shape.tokens.size() / 2), shape.block_size,
                             other_salt);
    for (const Token token : part(shape.tokens, shape.tokens.size() / 2, shape.tokens.size())) {
        must(other.append(token));
    }
    const TokenBlockSequence same(shape.tokens, shape.block_size, shape.salt);

    for (const auto& block : other.blocks()) {
        RC_ASSERT(!seen.contains(block.sequence_hash()));
    }
    for (const auto& block : same.blocks()) {
        RC_ASSERT(seen.contains(block.sequence_hash()));
    }
}

RC_GTEST_PROP(TokenBlockSequence, blocks_form_a_chain_that_their_hashes_rebuild, ()) {
    const auto shape = some_shape();
    const auto runs = *gen::runs(shape.tokens.size());
    const auto sequence = must(TokenBlockSequence::create_with_runs(
        shape.tokens, *rc::gen::element(Runs{}, runs), shape.block_size, shape.salt));

    std::optional<SequenceHash> rebuilt;
    std::optional<ChainHash> parent;
    for (const auto& block : sequence.blocks()) {
        const bool child = !rebuilt || rebuilt->is_parent_of(block.sequence_hash());
        RC_ASSERT(child);
        RC_ASSERT(block.parent_chain_hash() == parent);
        rebuilt = rebuilt ? must(rebuilt->extend(block.block_hash()))
                          : SequenceHash::root(block.block_hash());
        RC_ASSERT(block.sequence_hash() == *rebuilt);
        RC_ASSERT(block.chain_hash() == rebuilt->current_chain_hash());
        parent = block.chain_hash();
    }
}

RC_GTEST_PROP(TokenBlockSequence, changed_token_changes_its_block_and_every_later_chain_hash, ()) {
    auto shape = some_shape();
    RC_PRE(!shape.tokens.empty());
    const auto place = *rc::gen::inRange<std::size_t>(0, shape.tokens.size());
    const TokenBlockSequence before(shape.tokens, shape.block_size, shape.salt);
    shape.tokens[place] = *rc::gen::distinctFrom(shape.tokens[place]);

    const TokenBlockSequence after(shape.tokens, shape.block_size, shape.salt);

    for (std::size_t i = 0; i < before.blocks().size(); ++i) {
        const auto& old_block = before.blocks()[i];
        const auto& new_block = after.blocks()[i];
        const std::size_t changed = place / shape.block_size;
        RC_ASSERT((old_block.block_hash() != new_block.block_hash()) == (i == changed));
        RC_ASSERT((old_block.chain_hash() != new_block.chain_hash()) == (i >= changed));
    }
}

RC_GTEST_PROP(TokenBlockSequence, blocks_without_a_run_hash_as_text, ()) {
    const auto shape = some_shape();
    const auto runs = *gen::runs(shape.tokens.size());
    const TokenBlockSequence text(shape.tokens, shape.block_size, shape.salt);

    const auto mixed = must(
        TokenBlockSequence::create_with_runs(shape.tokens, runs, shape.block_size, shape.salt));

    for (std::size_t i = 0; i < text.blocks().size(); ++i) {
        const auto slots = IndexRange{i * shape.block_size, (i + 1) * shape.block_size};
        const bool has_run = !runs_within(runs, slots).empty();
        RC_ASSERT((mixed.blocks()[i].block_hash() != text.blocks()[i].block_hash()) == has_run);
    }
}

RC_GTEST_PROP(TokenBlockSequence, ids_at_placeholders_and_order_of_runs_never_matter, ()) {
    const auto shape = some_shape();
    auto runs = *gen::runs(shape.tokens.size());
    const auto sequence = must(
        TokenBlockSequence::create_with_runs(shape.tokens, runs, shape.block_size, shape.salt));
    const auto other_ids = with_zero_at_placeholders(shape.tokens, runs);
    std::shuffle(runs.begin(), runs.end(), std::minstd_rand(*rc::gen::arbitrary<std::uint32_t>()));

    const auto other =
        must(TokenBlockSequence::create_with_runs(other_ids, runs, shape.block_size, shape.salt));

    RC_ASSERT(std::ranges::equal(other.blocks(), sequence.blocks()));
    RC_ASSERT(std::ranges::equal(other.runs(), sequence.runs()));
}

RC_GTEST_PROP(TokenBlockSequence, moved_run_or_other_object_changes_its_blocks, ()) {
    auto shape = some_shape();
    shape.tokens = *gen::tokens(3 * shape.block_size);
    const MultimodalRun run{*rc::gen::arbitrary<std::uint64_t>(),
                            *rc::gen::inRange<std::size_t>(0, 2 * shape.block_size), 1};
    const auto first_hash_with = [&](const MultimodalRun& one) {
        const auto sequence = must(TokenBlockSequence::create_with_runs(
            shape.tokens, Runs{one}, shape.block_size, shape.salt));
        return sequence.blocks()[run.offset / shape.block_size].block_hash();
    };

    RC_ASSERT(first_hash_with(run) != first_hash_with({run.mm_hash + 1, run.offset, 1}));
    RC_ASSERT(first_hash_with(run) != first_hash_with({run.mm_hash, run.offset + 1, 1}));
    if (run.offset > 0) {
        // The same slot, but the second one of its run.
        RC_ASSERT(first_hash_with(run) != first_hash_with({run.mm_hash, run.offset - 1, 2}));
    }
}

RC_GTEST_PROP(TokenBlockSequence, failed_calls_change_nothing, ()) {
    const auto shape = some_shape();
    const auto runs = *rc::gen::element(Runs{}, *gen::runs(shape.tokens.size()));
    auto sequence = must(
        TokenBlockSequence::create_with_runs(shape.tokens, runs, shape.block_size, shape.salt));
    const auto before = sequence;
    const auto total = sequence.total_tokens();
    constexpr auto largest = std::numeric_limits<std::size_t>::max();

    RC_ASSERT(!sequence.unwind(total + 1).has_value());
    RC_ASSERT(!sequence.push_run(1, 0).has_value());
    RC_ASSERT(!sequence.push_run(1, largest).has_value());
    RC_ASSERT(!sequence.push_run(1, largest - total).has_value());
    RC_ASSERT(!sequence.extend_with_runs(shape.tokens, Runs{{1, total, 1}}).has_value());
    RC_ASSERT(!sequence.extend_with_runs(shape.tokens, Runs{{1, largest, 2}}).has_value());
    if (!runs.empty()) {
        RC_ASSERT(!sequence.pop().has_value());
        RC_ASSERT(!sequence.truncate(*rc::gen::inRange<std::size_t>(0, total + 2)).has_value());
        RC_ASSERT(!sequence.unwind(*rc::gen::inRange<std::size_t>(0, total + 1)).has_value());
    }

    RC_ASSERT(sequence == before);
}

}  // namespace
