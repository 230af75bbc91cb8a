// TokenBlockSequence: one list of tokens, named block by block in one pass.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.tokens;

namespace kvbm {

namespace {

using detail::hash::BlockNames;

// Makes room for `extra` more entries; grows geometrically, so that appending stays linear. All
// room is made before the first change: what follows can't fail.
template <class T>
void reserve_more(std::vector<T>& list, std::size_t extra) {
    const std::size_t needed = list.size() + extra;
    if (needed > list.capacity()) {
        list.reserve(std::max(needed, 2 * list.capacity()));
    }
}

TokenBlockError too_many_blocks() noexcept {
    return TokenBlockError{PositionTooLarge{max_block_count, SequenceHash::max_position}};
}

TokenBlockError bad_runs(const MultimodalError& error) noexcept {
    return TokenBlockError{TokenBlockError::MmInfo{error}};
}

// Names of consecutive blocks, some of which have placeholders.
void name_with_runs(const BlockHasher& hasher, std::span<const Token> tokens,
                    std::size_t block_size, std::span<const MultimodalRun> runs, std::size_t first,
                    std::optional<ChainHash> parent, std::span<BlockNames> out) noexcept {
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t offset = (first + i) * block_size;
        const BlockHash hash = hasher.block_hash(tokens.subspan(offset, block_size), offset, runs);
        out[i].block = hash;
        out[i].chain = parent ? next_chain_hash(*parent, hash) : ChainHash{hash.value};
        out[i].parent = parent.value_or(ChainHash{});
        parent = out[i].chain;
    }
}

TokenBlockError runs_present() noexcept {
    return TokenBlockError{TokenBlockError::MmRunsPresent{}};
}

}  // namespace

TokenBlockSequence::TokenBlockSequence(std::span<const Token> tokens, std::size_t block_size,
                                       SaltHash salt)
    : hasher_(salt), block_size_(block_size) {
    expects(block_size > 0, "a block holds at least one token");
    expects(add(tokens, {}).has_value(), "the tokens fill at most 2^24 blocks");
}

void TokenBlockSequence::name_own_tokens() {
    expects(block_size_ > 0, "a block holds at least one token");
    const std::size_t block_count = tokens_.size() / block_size_;
    expects(block_count <= max_block_count, "the tokens fill at most 2^24 blocks");
    blocks_.reserve(block_count);
    name_new_blocks();
}

Result<TokenBlockSequence, TokenBlockError> TokenBlockSequence::create(
    std::span<const Token> tokens, std::size_t block_size, SaltHash salt) {
    return create_with_runs(tokens, {}, block_size, salt);
}

Result<TokenBlockSequence, TokenBlockError> TokenBlockSequence::create_with_runs(
    std::span<const Token> tokens, std::span<const MultimodalRun> runs, std::size_t block_size,
    SaltHash salt) {
    TokenBlockSequence sequence({}, block_size, salt);
    const auto sorted = validate_and_sort(runs, tokens.size());
    if (!sorted) {
        return failure(bad_runs(sorted.error()));
    }
    const auto added = sequence.add(tokens, *sorted);
    if (!added) {
        return failure(added.error());
    }
    return sequence;
}

Result<SplitTokens, TokenBlockError> TokenBlockSequence::split(std::span<const Token> tokens,
                                                               std::size_t block_size,
                                                               SaltHash salt) {
    return split_with_runs(tokens, {}, block_size, salt);
}

Result<SplitTokens, TokenBlockError> TokenBlockSequence::split_with_runs(
    std::span<const Token> tokens, std::span<const MultimodalRun> runs, std::size_t block_size,
    SaltHash salt) {
    expects(block_size > 0, "a block holds at least one token");
    const auto sorted = validate_and_sort(runs, tokens.size());
    if (!sorted) {
        return failure(bad_runs(sorted.error()));
    }
    const std::size_t block_count = tokens.size() / block_size;
    if (block_count > max_block_count) {
        return failure(too_many_blocks());
    }
    std::vector<TokenBlock> blocks;
    blocks.reserve(block_count);
    name_blocks(BlockHasher(salt), tokens, block_size, *sorted, blocks);
    auto partial = end_after(blocks, tokens, block_size, salt, *sorted);
    return SplitTokens{std::move(blocks), std::move(partial)};
}

// Names the full blocks of `tokens` that have no entry in `blocks` yet, which has room for them.
void TokenBlockSequence::name_blocks(const BlockHasher& hasher, std::span<const Token> tokens,
                                     std::size_t block_size, std::span<const MultimodalRun> runs,
                                     std::vector<TokenBlock>& blocks) noexcept {
    const std::size_t block_count = tokens.size() / block_size;
    std::optional<ChainHash> parent;
    if (!blocks.empty()) {
        parent = blocks.back().chain_hash();
    }
    std::array<BlockNames, 8> names;
    for (std::size_t position = blocks.size(); position < block_count;) {
        const auto batch = std::span(names).first(std::min(names.size(), block_count - position));
        if (runs.empty()) {
            detail::hash::name_blocks(hasher, tokens.subspan(position * block_size), block_size,
                                      parent, batch);
        } else {
            name_with_runs(hasher, tokens, block_size, runs, position, parent, batch);
        }
        for (const BlockNames& block : batch) {
            blocks.push_back(TokenBlock(block_size, hasher.salt_hash(), block, position++));
        }
        parent = batch.back().chain;
    }
}

PartialTokenBlock TokenBlockSequence::end_after(std::span<const TokenBlock> blocks,
                                                std::span<const Token> tokens,
                                                std::size_t block_size, SaltHash salt,
                                                std::span<const MultimodalRun> runs) {
    const std::size_t first = blocks.size() * block_size;
    auto end = blocks.empty() ? PartialTokenBlock(block_size, salt) : blocks.back().next_block();
    end.push_tokens(tokens.subspan(first));
    const auto within = runs_within(runs, IndexRange{first, tokens.size()});
    if (!within.empty()) {
        end.first_placeholder_ = std::max(within.front().offset, first) - first;
    }
    return end;
}

// Blocks that `token_count` more tokens would complete. No sum in here can wrap.
std::size_t TokenBlockSequence::blocks_completed_by(std::size_t token_count) const noexcept {
    const std::size_t missing = current_block().remaining();
    return token_count / block_size_ + (token_count % block_size_ >= missing ? 1 : 0);
}

// Appends tokens with validated runs, whose offsets count from the first of these tokens.
Result<TokenBlockSequence::Completed, TokenBlockError> TokenBlockSequence::add(
    std::span<const Token> tokens, std::span<const MultimodalRun> runs) {
    const bool own = !tokens.empty() && !tokens_.empty() &&
                     !std::less<>{}(tokens.data(), tokens_.data()) &&
                     std::less<>{}(tokens.data(), tokens_.data() + tokens_.size());
    expects(!own, "a sequence is not extended by its own tokens");
    const std::size_t completed = blocks_completed_by(tokens.size());
    if (completed > max_block_count - blocks_.size()) {
        return failure(too_many_blocks());
    }
    reserve_more(blocks_, completed);
    reserve_more(runs_, runs.size());
    reserve_more(tokens_, tokens.size());
    for (const auto& run : runs) {
        runs_.push_back({run.mm_hash, run.offset + tokens_.size(), run.length});
    }
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    return name_new_blocks();
}

TokenBlockSequence::Completed TokenBlockSequence::name_new_blocks() noexcept {
    const std::size_t first = blocks_.size();
    name_blocks(hasher_, tokens_, block_size_, runs_, blocks_);
    return first == blocks_.size() ? std::nullopt
                                   : std::optional(IndexRange{first, blocks_.size()});
}

Result<std::optional<std::size_t>, TokenBlockError> TokenBlockSequence::append(Token token) {
    const bool completes = tokens_.size() + 1 - blocks_.size() * block_size_ == block_size_;
    if (!completes) {
        tokens_.push_back(token);
        return std::nullopt;
    }
    if (blocks_.size() == max_block_count) {
        return failure(too_many_blocks());
    }
    reserve_more(tokens_, 1);
    reserve_more(blocks_, 1);
    tokens_.push_back(token);
    return name_new_blocks()->first;
}

void TokenBlockSequence::reserve(std::size_t count) {
    if (count > tokens_.size()) {
        reserve_more(tokens_, count - tokens_.size());
        reserve_more(blocks_, count / block_size_ - blocks_.size());
    }
}

Result<std::optional<std::size_t>, TokenBlockError> TokenBlockSequence::push_token(Token token) {
    return append(token);
}

Result<TokenBlockSequence::Completed, TokenBlockError> TokenBlockSequence::extend(
    std::span<const Token> tokens) {
    return add(tokens, {});
}

Result<TokenBlockSequence::Completed, TokenBlockError> TokenBlockSequence::push_run(
    std::uint64_t mm_hash, std::size_t length) {
    if (length == 0) {
        return failure(bad_runs(MultimodalError{MultimodalError::EmptyRun{}}));
    }
    const std::size_t completed = blocks_completed_by(length);
    if (completed > max_block_count - blocks_.size()) {
        return failure(too_many_blocks());
    }
    if (length > tokens_.max_size() - tokens_.size()) {
        return failure(
            bad_runs(MultimodalError{MultimodalError::OffsetOverflow{tokens_.size(), length}}));
    }
    reserve_more(blocks_, completed);
    reserve_more(runs_, 1);
    reserve_more(tokens_, length);
    runs_.push_back({mm_hash, tokens_.size(), length});
    tokens_.resize(tokens_.size() + length);
    return name_new_blocks();
}

Result<TokenBlockSequence::Completed, TokenBlockError> TokenBlockSequence::extend_with_runs(
    std::span<const Token> tokens, std::span<const MultimodalRun> runs) {
    const auto sorted = validate_and_sort(runs, tokens.size());
    if (!sorted) {
        return failure(bad_runs(sorted.error()));
    }
    const std::size_t first = tokens_.size();
    auto completed = add(tokens, *sorted);
    if (completed) {
        // No hash has looked at the ids that are replaced here.
        for (const auto& run : *sorted) {
            std::fill_n(tokens_.begin() + static_cast<std::ptrdiff_t>(first + run.offset),
                        run.length, Token{0});
        }
    }
    return completed;
}

// Drops all but the first `count` tokens, of which there are at least so many. There are no runs.
void TokenBlockSequence::keep(std::size_t count) noexcept {
    tokens_.resize(count);
    blocks_.resize(count / block_size_);
}

Result<void, TokenBlockError> TokenBlockSequence::truncate(std::size_t count) noexcept {
    if (!runs_.empty()) {
        return failure(runs_present());
    }
    if (count < tokens_.size()) {
        keep(count);
    }
    return {};
}

Result<void, TokenBlockError> TokenBlockSequence::unwind(std::size_t count) noexcept {
    if (count > tokens_.size()) {
        return failure(TokenBlockError{TokenBlockError::InsufficientTokens{}});
    }
    return truncate(tokens_.size() - count);
}

Result<std::optional<Token>, TokenBlockError> TokenBlockSequence::pop() noexcept {
    if (!runs_.empty()) {
        return failure(runs_present());
    }
    if (tokens_.empty()) {
        return std::nullopt;
    }
    const Token last = tokens_.back();
    keep(tokens_.size() - 1);
    return last;
}

void TokenBlockSequence::reset() noexcept {
    blocks_.clear();
    runs_.clear();
    tokens_.clear();
}

PartialTokenBlockView TokenBlockSequence::current_block() const noexcept {
    PartialTokenBlockView end;
    end.tokens_ = tokens().subspan(blocks_.size() * block_size_);
    end.block_size_ = block_size_;
    end.salt_ = salt_hash();
    end.parent_ = blocks_.empty() ? std::nullopt : std::optional(blocks_.back().chain_hash());
    end.position_ = blocks_.size();
    return end;
}

std::span<const Token> TokenBlockSequence::block_tokens(std::size_t index) const noexcept {
    expects(index < blocks_.size(), "the block is one of the full ones");
    return tokens().subspan(index * block_size_, block_size_);
}

std::span<const Token> TokenBlockSequence::tokens_at(IndexRange range) const noexcept {
    if (range.first > range.last || range.last > tokens_.size()) {
        return {};
    }
    return tokens().subspan(range.first, range.size());
}

TokenBlockParts TokenBlockSequence::into_parts() && {
    auto partial = end_after(blocks_, tokens_, block_size_, salt_hash(), runs_);
    return TokenBlockParts{std::move(blocks_), std::move(tokens_), std::move(partial)};
}

}  // namespace kvbm
