module;

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.sequence;

namespace kvbm {

namespace {

BlockSequenceError token_extension(TokenBlockError error) {
    return {BlockSequenceError::TokenExtension{std::move(error)}};
}

}  // namespace

BlockSequence::BlockSequence(std::span<const Token> tokens, std::size_t block_size, SaltHash salt)
    : BlockSequence(TokenBlockSequence(tokens, block_size, salt)) {}

BlockSequence::BlockSequence(std::initializer_list<Token> tokens, std::size_t block_size,
                             SaltHash salt)
    : BlockSequence(std::span(tokens.begin(), tokens.size()), block_size, salt) {}

BlockSequence::BlockSequence(TokenBlockSequence sequence) : sequence_(std::move(sequence)) {
    hashes_.reserve(sequence_.blocks().size());
    add_hashes_of_new_blocks();
}

Result<BlockSequence, BlockSequenceError> BlockSequence::create(std::span<const Token> tokens,
                                                                std::size_t block_size,
                                                                SaltHash salt) {
    auto sequence = TokenBlockSequence::create(tokens, block_size, salt);
    if (!sequence) {
        return failure(token_extension(std::move(sequence.error())));
    }
    return BlockSequence(*std::move(sequence));
}

Result<BlockSequence, BlockSequenceError> BlockSequence::create(std::initializer_list<Token> tokens,
                                                                std::size_t block_size,
                                                                SaltHash salt) {
    return create(std::span(tokens.begin(), tokens.size()), block_size, salt);
}

// Before the tokens grow, so that nothing can fail afterwards.
void BlockSequence::reserve_hashes(std::size_t new_tokens) {
    const std::size_t tail = total_tokens() - blocks().size() * block_size();
    const std::size_t needed = hashes_.size() + new_tokens / block_size() +
                               (tail + new_tokens % block_size()) / block_size();
    if (needed > hashes_.capacity()) {
        hashes_.reserve(std::max(needed, 2 * hashes_.capacity()));
    }
}

void BlockSequence::add_hashes_of_new_blocks() noexcept {
    for (const TokenBlock& block : blocks().subspan(hashes_.size())) {
        hashes_.push_back(block.sequence_hash());
    }
}

void BlockSequence::reserve(std::size_t count) {
    sequence_.reserve(count);
    reserve_hashes(count - std::min(count, total_tokens()));
}

Result<std::optional<IndexRange>, BlockSequenceError> BlockSequence::extend_tokens(
    std::span<const Token> tokens) {
    reserve_hashes(tokens.size());
    auto completed = sequence_.extend(tokens);
    if (!completed) {
        return failure(token_extension(std::move(completed.error())));
    }
    add_hashes_of_new_blocks();
    return *completed;
}

Result<std::optional<IndexRange>, BlockSequenceError> BlockSequence::extend_tokens(
    std::initializer_list<Token> tokens) {
    return extend_tokens(std::span(tokens.begin(), tokens.size()));
}

Result<std::optional<std::size_t>, BlockSequenceError> BlockSequence::append_token(Token token) {
    reserve_hashes(1);
    auto completed = sequence_.append(token);
    if (!completed) {
        return failure(token_extension(std::move(completed.error())));
    }
    add_hashes_of_new_blocks();
    return *completed;
}

namespace detail::sequence {

void Rewind::truncate(BlockSequence& sequence, std::size_t count) noexcept {
    expects(sequence.sequence_.truncate(count).has_value(), "a sequence with runs is not rewound");
    sequence.hashes_.resize(sequence.blocks().size());
}

}  // namespace detail::sequence

}  // namespace kvbm
