// Single blocks: the full one, the unfinished one, and the texts of errors.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.tokens;

namespace kvbm {

std::string TokenBlockError::message() const {
    struct Words {
        std::string operator()(const Full&) const { return "TokenBlock is full"; }
        std::string operator()(const Incomplete&) const { return "TokenBlock is incomplete"; }
        std::string operator()(const Empty&) const { return "TokenBlock is empty"; }
        std::string operator()(const InsufficientTokens&) const {
            return "TokenBlock has insufficient tokens";
        }
        std::string operator()(const MmInfo& runs) const { return runs.error.message(); }
        std::string operator()(const MmRunsPresent&) const {
            return "operation is not supported on a TokenBlockSequence with multimodal runs";
        }
        std::string operator()(const PositionTooLarge& position) const {
            return position.message();
        }
    };
    return std::visit(Words{}, reason);
}

std::vector<Token> tokens_from_int32(std::span<const std::int32_t> ids) {
    std::vector<Token> tokens(ids.size());
    std::transform(ids.begin(), ids.end(), tokens.begin(),
                   [](std::int32_t id) { return static_cast<Token>(id); });
    return tokens;
}

PartialTokenBlock TokenBlock::next_block() const {
    PartialTokenBlock next(block_size_, salt_);
    next.parent_ = chain_hash();
    next.position_ = position() + 1;
    return next;
}

PartialTokenBlock::PartialTokenBlock(std::size_t block_size, SaltHash salt)
    : block_size_(block_size), salt_(salt) {
    expects(block_size > 0, "a block holds at least one token");
}

Result<void, TokenBlockError> PartialTokenBlock::push_token(Token token) {
    if (remaining() == 0) {
        return failure(TokenBlockError{TokenBlockError::Full{}});
    }
    tokens_.push_back(token);
    return {};
}

std::size_t PartialTokenBlock::push_tokens(std::span<const Token> tokens) {
    const auto taken = tokens.first(std::min(tokens.size(), remaining()));
    tokens_.insert(tokens_.end(), taken.begin(), taken.end());
    return taken.size();
}

Result<void, TokenBlockError> PartialTokenBlock::pop_token() noexcept {
    if (empty()) {
        return failure(TokenBlockError{TokenBlockError::Empty{}});
    }
    return pop_tokens(1);
}

Result<void, TokenBlockError> PartialTokenBlock::pop_tokens(std::size_t count) noexcept {
    if (count > size()) {
        return failure(TokenBlockError{TokenBlockError::InsufficientTokens{}});
    }
    tokens_.resize(size() - count);
    if (size() <= first_placeholder_) {
        first_placeholder_ = no_placeholder;
    }
    return {};
}

Result<TokenBlock, TokenBlockError> PartialTokenBlock::commit() noexcept {
    if (remaining() > 0) {
        return failure(TokenBlockError{TokenBlockError::Incomplete{}});
    }
    if (first_placeholder_ != no_placeholder) {
        return failure(TokenBlockError{TokenBlockError::MmRunsPresent{}});
    }
    if (position_ >= max_block_count) {
        return failure(TokenBlockError{PositionTooLarge{position_, SequenceHash::max_position}});
    }
    const BlockHash hash = block_hash(tokens_, salt_);
    const ChainHash chain = parent_ ? next_chain_hash(*parent_, hash) : ChainHash{hash.value};
    const TokenBlock block(block_size_, salt_, {hash, chain, parent_.value_or(ChainHash{})},
                           position_);
    tokens_.clear();
    parent_ = block.chain_hash();
    ++position_;
    return block;
}

}  // namespace kvbm
