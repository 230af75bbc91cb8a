module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.tokens;

namespace kvbm::testing {

namespace {

constexpr std::size_t tokens_count_max = 384;
constexpr std::size_t commands_per_comparison = 8;
constexpr const char* too_many_blocks =
    "error: Position 16777216 exceeds maximum supported value (2^24 - 1 = 16,777,215)";
constexpr const char* runs_present =
    "error: operation is not supported on a TokenBlockSequence with multimodal runs";

std::string words(std::span<const Token> tokens) {
    std::string text = "tokens";
    for (const Token token : tokens) {
        text += " " + std::to_string(token);
    }
    return text;
}

std::string words(std::span<const MultimodalRun> runs) {
    std::string text = "runs";
    for (const auto& run : runs) {
        text += " {" + std::to_string(run.mm_hash) + ", " + std::to_string(run.offset) + ", " +
                std::to_string(run.length) + "}";
    }
    return text;
}

std::string words(IndexRange range) {
    return "[" + std::to_string(range.first) + ", " + std::to_string(range.last) + ")";
}

// Runs in order of offset, equal ones in the order given.
std::vector<MultimodalRun> sorted(const std::vector<MultimodalRun>& runs) {
    std::vector<MultimodalRun> result;
    for (const auto& run : runs) {
        auto place = result.begin();
        while (place != result.end() && place->offset <= run.offset) {
            ++place;
        }
        result.insert(place, run);
    }
    return result;
}

// What is wrong with sorted runs over so many slots, or nothing.
std::string runs_problem(const std::vector<MultimodalRun>& runs, std::size_t slots_count) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const std::size_t offset = runs[i].offset;
        const std::size_t end = offset + runs[i].length;
        const std::string start = "error: mm_info range starting at " + std::to_string(offset) +
                                  " (length " + std::to_string(runs[i].length) + ") ";
        if (end == offset) {
            return "error: mm_info length must be greater than zero";
        }
        if (end < offset) {
            return start + "overflows usize";
        }
        if (end > slots_count) {
            return start + "exceeds tokens length " + std::to_string(slots_count);
        }
        if (i > 0 && offset < runs[i - 1].offset + runs[i - 1].length) {
            return "error: mm_info ranges overlap at position " + std::to_string(offset);
        }
    }
    return "";
}

void append_little_endian(std::vector<std::uint8_t>& bytes, std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i, value /= 256) {
        bytes.push_back(static_cast<std::uint8_t>(value % 256));
    }
}

ModelBlock name_block(std::span<const std::uint8_t> bytes, SaltHash salt,
                      std::optional<std::uint64_t> parent, std::uint64_t position) {
    ModelBlock block;
    block.block_hash = model_xxh3(bytes, salt);
    block.chain_hash = block.block_hash;
    if (parent) {
        std::vector<std::uint8_t> pair;
        append_little_endian(pair, *parent, 8);
        append_little_endian(pair, block.block_hash, 8);
        block.chain_hash = model_xxh3(pair, 1337);
    }
    block.parent = parent;
    block.lineage_bits = model_lineage_bits(block.chain_hash, parent.value_or(0), position);
    block.sequence_bits = model_sequence_bits(block.chain_hash, block.block_hash, position);
    return block;
}

}  // namespace

TokenModel::TokenModel(const TokenOptions& options)
    : block_size_(options.block_size), salt_(options.salt), tokens_(options.tokens) {
    if (runs_problem(sorted(options.runs), tokens_.size()).empty()) {
        runs_ = sorted(options.runs);
    }
}

bool TokenModel::allows(const TokenCommand& command) const {
    struct Growth {
        std::size_t operator()(const TokenAppend&) const { return 1; }
        std::size_t operator()(const TokenPush&) const { return 1; }
        std::size_t operator()(const TokenExtend& extend) const { return extend.tokens.size(); }
        std::size_t operator()(const TokenPushRun& push) const {
            return push.length < 0x1'0000'0000 ? push.length : 0;
        }
        std::size_t operator()(const TokenExtendWithRuns& extend) const {
            return extend.tokens.size();
        }
        std::size_t operator()(const TokenTruncate&) const { return 0; }
        std::size_t operator()(const TokenUnwind&) const { return 0; }
        std::size_t operator()(const TokenPop&) const { return 0; }
        std::size_t operator()(const TokenReset&) const { return 0; }
        std::size_t operator()(const TokenRange&) const { return 0; }
        std::size_t operator()(const TokenRebuild&) const { return 0; }
        std::size_t operator()(const TokenCommitEnd&) const { return 0; }
    };
    return tokens_.size() + std::visit(Growth{}, command) <= tokens_count_max;
}

std::string TokenModel::apply(const TokenCommand& command) {
    return std::visit([this](const auto& one) { return carry_out(one); }, command);
}

std::string TokenModel::grow(const std::vector<Token>& tokens, std::vector<MultimodalRun> runs) {
    const std::size_t before = tokens_.size() / block_size_;
    for (auto& run : runs) {
        run.offset += tokens_.size();
        runs_.push_back(run);
    }
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    const std::size_t after = tokens_.size() / block_size_;
    return before == after ? "none" : "blocks " + words(IndexRange{before, after});
}

std::string TokenModel::carry_out(const TokenAppend& command) {
    tokens_.push_back(command.token);
    return tokens_.size() % block_size_ == 0
               ? "block " + std::to_string(tokens_.size() / block_size_ - 1)
               : "none";
}

std::string TokenModel::carry_out(const TokenPush& command) {
    return carry_out(TokenAppend{command.token});
}

std::string TokenModel::carry_out(const TokenExtend& command) {
    return grow(command.tokens, {});
}

std::string TokenModel::carry_out(const TokenPushRun& command) {
    if (command.length == 0) {
        return "error: mm_info length must be greater than zero";
    }
    if (command.length >= 0x1'0000'0000) {
        return too_many_blocks;
    }
    return grow(std::vector<Token>(command.length), {{command.mm_hash, 0, command.length}});
}

std::string TokenModel::carry_out(const TokenExtendWithRuns& command) {
    const auto runs = sorted(command.runs);
    if (const auto problem = runs_problem(runs, command.tokens.size()); !problem.empty()) {
        return problem;
    }
    auto tokens = command.tokens;
    for (const auto& run : runs) {
        for (std::size_t i = 0; i < run.length; ++i) {
            tokens[run.offset + i] = 0;
        }
    }
    return grow(tokens, runs);
}

std::string TokenModel::carry_out(const TokenTruncate& command) {
    if (!runs_.empty()) {
        return runs_present;
    }
    while (tokens_.size() > command.count) {
        tokens_.pop_back();
    }
    return "done";
}

std::string TokenModel::carry_out(const TokenUnwind& command) {
    if (command.count > tokens_.size()) {
        return "error: TokenBlock has insufficient tokens";
    }
    return carry_out(TokenTruncate{tokens_.size() - command.count});
}

std::string TokenModel::carry_out(const TokenPop&) {
    if (!runs_.empty()) {
        return runs_present;
    }
    if (tokens_.empty()) {
        return "none";
    }
    const Token last = tokens_.back();
    tokens_.pop_back();
    return "token " + std::to_string(last);
}

std::string TokenModel::carry_out(const TokenReset&) {
    tokens_.clear();
    runs_.clear();
    return "done";
}

std::string TokenModel::carry_out(const TokenRange& command) {
    std::vector<Token> tokens;
    if (command.range.last <= tokens_.size()) {
        for (std::size_t i = command.range.first; i < command.range.last; ++i) {
            tokens.push_back(tokens_[i]);
        }
    }
    return words(tokens);
}

std::string TokenModel::carry_out(const TokenRebuild&) {
    return "all agree";
}

std::string TokenModel::carry_out(const TokenCommitEnd& command) {
    auto content = end();
    if (command.dropped > content.size()) {
        return "error: TokenBlock has insufficient tokens";
    }
    content.resize(content.size() - command.dropped);
    const std::size_t kept_slots_end = tokens_.size() - command.dropped;
    std::size_t taken = 0;
    while (taken < command.tokens.size() && content.size() < block_size_) {
        content.push_back(command.tokens[taken++]);
    }
    const std::string text = "taken " + std::to_string(taken) + ", ";
    if (content.size() < block_size_) {
        return text + "error: TokenBlock is incomplete";
    }
    const auto full = blocks();
    for (std::size_t slot = full.size() * block_size_; slot < kept_slots_end; ++slot) {
        if (run_at(slot) != nullptr) {
            return text + runs_present;
        }
    }
    std::vector<std::uint8_t> bytes;
    for (const Token token : content) {
        append_little_endian(bytes, token, 4);
    }
    const auto parent = full.empty() ? std::nullopt : std::optional(full.back().chain_hash);
    return text + name_block(bytes, salt_, parent, full.size()).lineage_bits;
}

const MultimodalRun* TokenModel::run_at(std::size_t slot) const {
    for (const auto& run : runs_) {
        if (run.offset <= slot && slot < run.offset + run.length) {
            return &run;
        }
    }
    return nullptr;
}

std::vector<std::uint8_t> TokenModel::bytes_of_block(std::size_t index) const {
    std::vector<std::uint8_t> plain;
    std::vector<std::uint8_t> framed;
    bool has_placeholder = false;
    for (std::size_t slot = index * block_size_; slot < (index + 1) * block_size_; ++slot) {
        const MultimodalRun* owner = run_at(slot);
        append_little_endian(plain, tokens_[slot], 4);
        framed.push_back(owner != nullptr ? 1 : 0);
        append_little_endian(framed, owner != nullptr ? slot - owner->offset : tokens_[slot], 4);
        append_little_endian(framed, owner != nullptr ? owner->mm_hash : 0, 8);
        has_placeholder = has_placeholder || owner != nullptr;
    }
    return has_placeholder ? framed : plain;
}

std::vector<ModelBlock> TokenModel::blocks() const {
    std::vector<ModelBlock> blocks;
    for (std::size_t i = 0; i < tokens_.size() / block_size_; ++i) {
        const auto parent = i == 0 ? std::nullopt : std::optional(blocks.back().chain_hash);
        blocks.push_back(name_block(bytes_of_block(i), salt_, parent, i));
    }
    return blocks;
}

std::vector<Token> TokenModel::end() const {
    const auto count = static_cast<std::ptrdiff_t>(tokens_.size() % block_size_);
    return {tokens_.end() - count, tokens_.end()};
}

namespace {

template <class T, class Words>
std::string result_in_words(const Result<T, TokenBlockError>& result, Words words_of) {
    return result ? words_of(*result) : "error: " + result.error().message();
}

std::string done_in_words(const Result<void, TokenBlockError>& result) {
    return result ? "done" : "error: " + result.error().message();
}

std::string completed_in_words(const std::optional<IndexRange>& completed) {
    return completed ? "blocks " + words(*completed) : "none";
}

std::string block_in_words(const std::optional<std::size_t>& completed) {
    return completed ? "block " + std::to_string(*completed) : "none";
}

std::string rebuild(const TokenBlockSequence& sequence) {
    std::vector<MultimodalRun> runs(sequence.runs().begin(), sequence.runs().end());
    std::reverse(runs.begin(), runs.end());
    const auto bulk = TokenBlockSequence::create_with_runs(
        sequence.tokens(), runs, sequence.block_size(), sequence.salt_hash());
    if (bulk != sequence) {
        return "built in bulk it is another";
    }
    const auto cut = TokenBlockSequence::split_with_runs(
        sequence.tokens(), runs, sequence.block_size(), sequence.salt_hash());
    auto copy = sequence;
    auto parts = std::move(copy).into_parts();
    if (!cut || cut->blocks != parts.blocks || cut->partial != parts.partial) {
        return "cut in bulk it is another";
    }
    if (!std::equal(parts.tokens.begin(), parts.tokens.end(), sequence.tokens().begin(),
                    sequence.tokens().end())) {
        return "its parts have other tokens";
    }
    if (const auto* last = sequence.last_complete_block()) {
        if (const auto end_size = parts.partial.size();
            !parts.partial.pop_tokens(end_size) || parts.partial != last->next_block()) {
            return "its end does not continue its last block";
        }
    }
    return "all agree";
}

std::string commit_end(TokenBlockSequence copy, const TokenCommitEnd& command) {
    auto end = std::move(copy).into_parts().partial;
    if (const auto popped = end.pop_tokens(command.dropped); !popped) {
        return done_in_words(popped);
    }
    const std::size_t taken = end.push_tokens(command.tokens);
    const std::size_t position = end.position();
    const auto block = end.commit();
    if (block && (!end.empty() || end.position() != position + 1 ||
                  end.parent_chain_hash() != block->chain_hash())) {
        return "a committed block is not followed by an empty one";
    }
    return "taken " + std::to_string(taken) + ", " +
           result_in_words(block,
                           [](const TokenBlock& named) { return bits_of(named.sequence_hash()); });
}

// Carries a command out on the real thing; the same words as the model's.
struct CarryOut {
    TokenBlockSequence& sequence;

    std::string operator()(const TokenAppend& command) const {
        return result_in_words(sequence.append(command.token), block_in_words);
    }
    std::string operator()(const TokenPush& command) const {
        return result_in_words(sequence.push_token(command.token), block_in_words);
    }
    std::string operator()(const TokenExtend& command) const {
        return result_in_words(sequence.extend(command.tokens), completed_in_words);
    }
    std::string operator()(const TokenPushRun& command) const {
        return result_in_words(sequence.push_run(command.mm_hash, command.length),
                               completed_in_words);
    }
    std::string operator()(const TokenExtendWithRuns& command) const {
        return result_in_words(sequence.extend_with_runs(command.tokens, command.runs),
                               completed_in_words);
    }
    std::string operator()(const TokenTruncate& command) const {
        return done_in_words(sequence.truncate(command.count));
    }
    std::string operator()(const TokenUnwind& command) const {
        return done_in_words(sequence.unwind(command.count));
    }
    std::string operator()(const TokenPop&) const {
        return result_in_words(sequence.pop(), [](const std::optional<Token>& token) {
            return token ? "token " + std::to_string(*token) : "none";
        });
    }
    std::string operator()(const TokenReset&) const {
        sequence.reset();
        return "done";
    }
    std::string operator()(const TokenRange& command) const {
        return words(sequence.tokens_at(command.range));
    }
    std::string operator()(const TokenRebuild&) const { return rebuild(sequence); }
    std::string operator()(const TokenCommitEnd& command) const {
        return commit_end(sequence, command);
    }
};

TokenBlockSequence make_sequence(const TokenOptions& options) {
    return TokenBlockSequence::create_with_runs(options.tokens, options.runs, options.block_size,
                                                options.salt)
        .value_or(TokenBlockSequence(options.tokens, options.block_size, options.salt));
}

template <class T>
std::optional<std::uint64_t> value_of(const std::optional<T>& hash) {
    return hash ? std::optional(hash->value) : std::nullopt;
}

std::optional<std::string> compare_block(const TokenBlock& block, const ModelBlock& expected,
                                         const TokenModel& model, std::size_t position) {
    const bool equal = block.block_size() == model.block_size() && block.position() == position &&
                       block.salt_hash() == model.salt() &&
                       block.block_hash().value == expected.block_hash &&
                       block.chain_hash().value == expected.chain_hash &&
                       value_of(block.parent_chain_hash()) == expected.parent &&
                       bits_of(block.sequence_hash()) == expected.lineage_bits &&
                       bits_of(block.positional_sequence_hash()) == expected.sequence_bits;
    return equal ? std::nullopt : std::optional("block " + std::to_string(position));
}

}  // namespace

TokenHarness::TokenHarness(const TokenOptions& options)
    : model_(options), sequence_(make_sequence(options)) {}

std::optional<std::string> TokenHarness::run(const TokenCommand& command) {
    const std::string expected = model_.apply(command);
    const std::string actual = std::visit(CarryOut{sequence_}, command);
    if (actual != expected) {
        return to_string(command) + ": expected " + expected + ", got " + actual;
    }
    const bool everything = ++commands_count_ % commands_per_comparison == 0;
    if (const auto difference = everything ? compare() : compare_counts()) {
        return "after " + to_string(command) + ": " + *difference;
    }
    return std::nullopt;
}

std::optional<std::string> TokenHarness::compare_counts() const {
    const std::size_t total = model_.tokens().size();
    const bool equal = sequence_.total_tokens() == total &&
                       sequence_.blocks().size() == total / model_.block_size() &&
                       sequence_.current_block().size() == total % model_.block_size() &&
                       sequence_.runs().size() == model_.runs().size();
    return equal ? std::nullopt : std::optional<std::string>("counts");
}

std::optional<std::string> TokenHarness::compare() const {
    const auto& s = sequence_;
    if (auto difference = compare_counts()) {
        return difference;
    }
    if (!std::ranges::equal(s.tokens(), model_.tokens())) {
        return "tokens";
    }
    if (!std::ranges::equal(s.runs(), model_.runs())) {
        return words(s.runs()) + " instead of " + words(model_.runs());
    }
    const auto expected = model_.blocks();
    if (s.last_complete_block() != (expected.empty() ? nullptr : &s.blocks().back())) {
        return "last block";
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (auto difference = compare_block(s.blocks()[i], expected[i], model_, i)) {
            return difference;
        }
        if (s.block_tokens(i).data() != s.tokens().data() + i * model_.block_size() ||
            s.block_tokens(i).size() != model_.block_size()) {
            return "tokens of block " + std::to_string(i);
        }
    }
    const auto end = s.current_block();
    const auto parent = expected.empty() ? std::nullopt : std::optional(expected.back().chain_hash);
    const bool equal_end =
        std::ranges::equal(end.tokens(), model_.end()) && end.size() == end.tokens().size() &&
        end.empty() == end.tokens().empty() &&
        end.size() + end.remaining() == model_.block_size() &&
        end.block_size() == model_.block_size() && end.position() == expected.size() &&
        end.salt_hash() == model_.salt() && value_of(end.parent_chain_hash()) == parent;
    if (!equal_end || s.block_size() != model_.block_size() || s.salt_hash() != model_.salt()) {
        return "unfinished end";
    }
    return std::nullopt;
}

}  // namespace kvbm::testing
