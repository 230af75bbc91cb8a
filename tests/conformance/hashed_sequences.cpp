// hashing.json: whole sequences, their blocks and their unfinished end.
module;

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;
import kvbm.tokens;

namespace kvbm::conformance {
namespace {

Object short_block(const TokenBlock& block) {
    return {{"position", block.position()},
            {"block_hash", hex(block.block_hash().value)},
            {"sequence_hash", hex(block.chain_hash().value)},
            {"psh", hex(block.positional_sequence_hash())},
            {"plh", hex(block.sequence_hash())}};
}

Object full_block(const TokenBlock& block) {
    const auto parent = block.parent_chain_hash();
    const PositionalSequenceHash positional = block.positional_sequence_hash();
    const SequenceHash lineage = block.sequence_hash();
    return {{"position", block.position()},
            {"block_hash", hex(block.block_hash().value)},
            {"sequence_hash", hex(block.chain_hash().value)},
            {"parent_sequence_hash", parent ? Value(hex(parent->value)) : Value()},
            {"psh", Object{{"value", hex(positional)},
                           {"mode", positional.mode()},
                           {"position", positional.position()},
                           {"sequence_hash", hex(positional.chain_hash().value)},
                           {"local_block_hash", hex(positional.block_hash_fragment())}}},
            {"plh", Object{{"value", hex(lineage)},
                           {"mode", lineage.mode()},
                           {"position", lineage.position()},
                           {"current", hex(lineage.current_chain_hash().value)},
                           {"parent_fragment", hex(lineage.parent_hash_fragment())},
                           {"display", lineage.to_string()}}}};
}

/// Each recorded block says by itself whether it is a full or a short record.
Value recorded_blocks(const TokenBlockSequence& sequence, const Array& recorded) {
    Array blocks;
    for (const TokenBlock& block : sequence.blocks()) {
        const std::size_t i = blocks.size();
        const Value* positional = i < recorded.size() ? recorded[i].find("psh") : nullptr;
        const bool full = positional != nullptr && positional->as<Object>() != nullptr;
        blocks.emplace_back(full ? full_block(block) : short_block(block));
    }
    return blocks;
}

Object recorded_sequence(const TokenBlockSequence& sequence, const Array& blocks) {
    return {{"salt_hash", hex(sequence.salt_hash())},
            {"total_tokens", sequence.total_tokens()},
            {"blocks", recorded_blocks(sequence, blocks)},
            {"partial", list(sequence.current_block().tokens())},
            {"partial_remaining", sequence.current_block().remaining()}};
}

std::size_t block_size_of(const Fields& vector) {
    const std::size_t size = vector.size("block_size");
    if (size == 0) {
        vector.refuse("has block_size 0");
    }
    return size;
}

}  // namespace

void replay_sequences(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("sequences")) {
        const auto tokens = vector.tokens("tokens");
        const std::size_t block_size = block_size_of(vector);
        const SaltHash salt = vector.salt("salt");
        const Array& blocks = vector.elements("blocks");
        if (document.trouble().any()) {
            return;
        }
        const auto made = TokenBlockSequence::create(tokens, block_size, salt);
        check_vector(
            report, "sequences", vector, {"tokens", "block_size", "salt"},
            made ? recorded_sequence(*made, blocks) : Object{{"err", made.error().message()}});
    }
}

void replay_multimodal_sequences(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("mm_sequences")) {
        const auto tokens = vector.tokens("tokens");
        const auto runs = vector.runs("runs");
        const std::size_t block_size = block_size_of(vector);
        const SaltHash salt = vector.salt("salt");
        const Array& blocks = vector.elements("blocks");
        if (document.trouble().any()) {
            return;
        }
        const auto made = TokenBlockSequence::create_with_runs(tokens, runs, block_size, salt);
        Object actual;
        if (made) {
            actual = recorded_sequence(*made, blocks);
            actual.push_back({"sorted_runs", recorded_runs(made->runs())});
        } else {
            actual = {{"err", made.error().message()}};
        }
        check_vector(report, "mm_sequences", vector, {"tokens", "block_size", "salt", "runs"},
                     actual);
    }
}

void replay_long_sequence(const Fields& document, Report& report) {
    const Fields member = document.object("long_sequence");
    const Fields formula = member.object("formula");
    const std::uint64_t count = formula.number("n");
    const std::uint64_t mul = formula.number("mul");
    const std::uint64_t add = formula.number("add");
    const std::uint64_t modulo = formula.number("modulo");
    const std::size_t block_size = block_size_of(member);
    const SaltHash salt = member.salt("salt");
    constexpr std::uint64_t count_max = std::uint64_t{1} << 24;
    if (formula.text("token") != "(i*mul + add) % modulo") {
        formula.refuse("is not \"(i*mul + add) % modulo\"");
    } else if (modulo == 0 || modulo > std::numeric_limits<Token>::max() || count > count_max) {
        formula.refuse("gives no tokens, or more than 2^24 of them");
    }
    if (document.trouble().any()) {
        return;
    }
    std::vector<Token> tokens;
    for (std::uint64_t i = 0; i < count; ++i) {
        tokens.push_back(static_cast<Token>((i * mul + add) % modulo));
    }
    const TokenBlockSequence sequence(tokens, block_size, salt);
    for (const Fields& block : member.objects("blocks")) {
        const std::size_t position = block.size("position");
        const bool there = position < sequence.blocks().size();
        check_vector(report, "long_sequence", block, {},
                     there ? full_block(sequence.blocks()[position]) : Object{});
    }
}

}  // namespace kvbm::conformance
