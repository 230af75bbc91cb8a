// Laws of hashes: packing is reversible in every mode, the order is by position, and bytes that
// are no hash are an error.
#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.hash;
import kvbm.testing;

namespace {

using namespace kvbm;
namespace gen = kvbm::testing::gen;

void fail_on(const std::optional<std::string>& difference) {
    if (difference) {
        RC_FAIL(*difference);
    }
}

RC_GTEST_PROP(PositionalHashes, pack_as_128_binary_digits_say, ()) {
    const auto parent = *rc::gen::maybe(gen::word());

    fail_on(kvbm::testing::check_packing(ChainHash{*gen::word()},
                                         parent ? std::optional(ChainHash{*parent}) : std::nullopt,
                                         BlockHash{*gen::word()}, *gen::position()));
}

RC_GTEST_PROP(SequenceHash, round_trips_through_bytes_text_and_fields, ()) {
    fail_on(kvbm::testing::check_lineage_hash(*gen::sequence_hash(), BlockHash{*gen::word()}));
}

RC_GTEST_PROP(SequenceHash, any_bytes_decode_or_give_an_error,
              (const std::vector<std::uint8_t>& bytes)) {
    fail_on(kvbm::testing::check_hash_input(bytes));
}

RC_GTEST_PROP(SequenceHash, order_is_position_then_chain_then_number, ()) {
    const auto a = *gen::sequence_hash();
    const auto b = *rc::gen::oneOf(gen::sequence_hash(), rc::gen::just(a));

    fail_on(kvbm::testing::check_lineage_order(a, b));
}

RC_GTEST_PROP(SequenceHash, sorting_sorts_by_position, ()) {
    auto hashes = *rc::gen::container<std::vector<SequenceHash>>(gen::sequence_hash());

    std::sort(hashes.begin(), hashes.end());

    RC_ASSERT(std::is_sorted(hashes.begin(), hashes.end(),
                             [](auto a, auto b) { return a.position() < b.position(); }));
}

RC_GTEST_PROP(SequenceHash, from_hex_reads_either_case_and_nothing_else, ()) {
    const auto hash = *gen::sequence_hash();
    std::string text = hash.to_hex();
    for (char& digit : text) {
        if (*rc::gen::arbitrary<bool>() && digit >= 'a') {
            digit = static_cast<char>(digit - 'a' + 'A');
        }
    }
    RC_ASSERT(SequenceHash::from_hex(text) == hash);

    const auto place = *rc::gen::inRange<std::size_t>(0, 32);
    const char wrong = *rc::gen::suchThat(rc::gen::arbitrary<char>(), [](char c) {
        return !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
    });
    text[place] = wrong;
    RC_ASSERT(SequenceHash::from_hex(text).error() == HashError{HashError::BadText{place}});
}

RC_GTEST_PROP(BlockHasher, equals_the_hash_of_the_seed,
              (const std::vector<std::uint8_t>& some, std::uint64_t salt)) {
    std::vector<std::uint8_t> bytes(some);
    bytes.resize(*rc::gen::inRange<std::size_t>(0, 600), 7);

    RC_ASSERT(BlockHasher(salt).block_hash_bytes(bytes).value ==
              kvbm::testing::model_xxh3(bytes, salt));
    RC_ASSERT(block_hash_bytes(bytes, salt).value == kvbm::testing::model_xxh3(bytes, salt));
}

RC_GTEST_PROP(BulkForms, equal_the_single_calls,
              (const std::vector<Token>& tokens, std::uint64_t salt)) {
    const auto size = *rc::gen::inRange<std::size_t>(1, 8);
    const auto parent = *rc::gen::oneOf(
        rc::gen::just(std::optional<SequenceHash>()),
        rc::gen::map(gen::sequence_hash(), [](SequenceHash hash) { return std::optional(hash); }));
    std::vector<BlockHash> blocks(tokens.size() / size);
    std::vector<SequenceHash> hashes(blocks.size());

    block_hashes(tokens, size, salt, blocks);
    const auto chained = sequence_hashes(blocks, parent, hashes);

    auto last = parent;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        RC_ASSERT(blocks[i] == block_hash(std::span(tokens).subspan(i * size, size), salt));
        const auto next = last ? last->extend(blocks[i]) : SequenceHash::root(blocks[i]);
        if (!next) {
            RC_ASSERT(!chained.has_value());
            return;
        }
        last = *next;
        if (chained) {
            RC_ASSERT(hashes[i] == *last);
        }
    }
    RC_ASSERT(chained.has_value());
}

RC_GTEST_PROP(BlockBytes, other_runs_give_other_hashes, ()) {
    const auto tokens = *rc::gen::container<std::vector<Token>>(24, rc::gen::arbitrary<Token>());
    const MultimodalRun run{*gen::word(), *rc::gen::inRange<std::size_t>(0, 16),
                            *rc::gen::inRange<std::size_t>(1, 8)};
    const BlockHasher hasher(*gen::word());
    const auto hash_with = [&](const MultimodalRun& one) {
        return hasher.block_hash(tokens, 0, std::span(&one, 1));
    };

    RC_ASSERT(hash_with(run) ==
              hasher.block_hash_bytes(block_bytes(tokens, 0, std::span(&run, 1))));
    RC_ASSERT(hash_with(run) != hasher.block_hash(tokens));
    RC_ASSERT(hash_with(run) != hash_with({run.mm_hash + 1, run.offset, run.length}));
    RC_ASSERT(hash_with(run) != hash_with({run.mm_hash, run.offset + 1, run.length}));
    RC_ASSERT(hash_with(run) != hash_with({run.mm_hash, run.offset, run.length + 1}));
}

RC_GTEST_PROP(ValidateAndSort, order_of_the_input_changes_nothing, ()) {
    std::vector<MultimodalRun> runs;
    std::size_t offset = 0;
    for (std::size_t i = *rc::gen::inRange<std::size_t>(0, 8); i > 0; --i) {
        offset += *rc::gen::inRange<std::size_t>(0, 3);
        const auto length = *rc::gen::inRange<std::size_t>(1, 4);
        runs.push_back({*rc::gen::arbitrary<std::uint64_t>(), offset, length});
        offset += length;
    }
    auto shuffled = runs;
    std::shuffle(shuffled.begin(), shuffled.end(),
                 std::minstd_rand(*rc::gen::arbitrary<std::uint32_t>()));

    RC_ASSERT(validate_and_sort(shuffled, offset) == runs);
}

}  // namespace
