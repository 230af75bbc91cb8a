//! kvbm.testing:tokens: token sequences as a list of tokens and a list of runs, and the commands
//! that compare them with the real thing.
//!
//! TokenModel keeps nothing but what it was given and works everything else out again at each
//! question. TokenHarness gives each command to it and to a TokenBlockSequence and reports the
//! first difference as text.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

export module kvbm.testing:tokens;

import kvbm.tokens;

import :bytes;

namespace kvbm::testing {

/// What a script starts from.
export struct TokenOptions {
    std::size_t block_size = 1;
    SaltHash salt = 0;
    std::vector<Token> tokens;
    std::vector<MultimodalRun> runs;  ///< left out if they do not fit
};

export struct TokenAppend {
    Token token = 0;
};
export struct TokenPush {
    Token token = 0;
};
export struct TokenExtend {
    std::vector<Token> tokens;
};
/// A length of 2^32 or more stands for one that no sequence can hold.
export struct TokenPushRun {
    std::uint64_t mm_hash = 0;
    std::size_t length = 0;
};
export struct TokenExtendWithRuns {
    std::vector<Token> tokens;
    std::vector<MultimodalRun> runs;
};
export struct TokenTruncate {
    std::size_t count = 0;
};
export struct TokenUnwind {
    std::size_t count = 0;
};
export struct TokenPop {};
export struct TokenReset {};
export struct TokenRange {
    IndexRange range;
};
/// Builds the same again in bulk, cuts it, and takes a copy apart: all must agree.
export struct TokenRebuild {};
/// Takes the unfinished end out of a copy, drops some of its tokens, adds others, and commits.
export struct TokenCommitEnd {
    std::size_t dropped = 0;
    std::vector<Token> tokens;
};
export using TokenCommand = std::variant<TokenAppend, TokenPush, TokenExtend, TokenPushRun,
                                         TokenExtendWithRuns, TokenTruncate, TokenUnwind, TokenPop,
                                         TokenReset, TokenRange, TokenRebuild, TokenCommitEnd>;

export TokenOptions decode_token_options(ByteReader& bytes);
export TokenCommand decode_token_command(ByteReader& bytes);
export std::string to_string(const TokenOptions& options);
export std::string to_string(const TokenCommand& command);

/// The names of one block, worked out by formula.
export struct ModelBlock {
    std::uint64_t block_hash = 0;
    std::uint64_t chain_hash = 0;
    std::optional<std::uint64_t> parent;
    std::string lineage_bits;   ///< 128 digits
    std::string sequence_bits;  ///< 128 digits
};

/// A list of tokens, a list of runs, and nothing else.
export class TokenModel {
  public:
    explicit TokenModel(const TokenOptions& options);

    /// Whether a command stays within the bound that keeps scripts cheap.
    bool allows(const TokenCommand& command) const;
    /// Carries a command out; its result in words: `block 3`, `none`, `error: TokenBlock is empty`.
    std::string apply(const TokenCommand& command);

    std::size_t block_size() const noexcept { return block_size_; }
    SaltHash salt() const noexcept { return salt_; }
    const std::vector<Token>& tokens() const noexcept { return tokens_; }
    const std::vector<MultimodalRun>& runs() const noexcept { return runs_; }
    /// All full blocks.
    std::vector<ModelBlock> blocks() const;
    /// Tokens of the unfinished end.
    std::vector<Token> end() const;

  private:
    std::string carry_out(const TokenAppend& command);
    std::string carry_out(const TokenPush& command);
    std::string carry_out(const TokenExtend& command);
    std::string carry_out(const TokenPushRun& command);
    std::string carry_out(const TokenExtendWithRuns& command);
    std::string carry_out(const TokenTruncate& command);
    std::string carry_out(const TokenUnwind& command);
    std::string carry_out(const TokenPop& command);
    std::string carry_out(const TokenReset& command);
    std::string carry_out(const TokenRange& command);
    std::string carry_out(const TokenRebuild& command);
    std::string carry_out(const TokenCommitEnd& command);

    std::string grow(const std::vector<Token>& tokens, std::vector<MultimodalRun> runs);
    const MultimodalRun* run_at(std::size_t slot) const;
    std::vector<std::uint8_t> bytes_of_block(std::size_t index) const;

    std::size_t block_size_;
    SaltHash salt_;
    std::vector<Token> tokens_;
    std::vector<MultimodalRun> runs_;
};

/// A real sequence beside the model.
export class TokenHarness {
  public:
    explicit TokenHarness(const TokenOptions& options);

    /// Runs a command on both. The first difference in its result, or after it in what can be
    /// counted, or after every eighth in anything there is to see; else nothing.
    std::optional<std::string> run(const TokenCommand& command);
    /// The first difference in anything there is to see, or nothing.
    std::optional<std::string> compare() const;

    const TokenModel& model() const noexcept { return model_; }

  private:
    std::optional<std::string> compare_counts() const;

    TokenModel model_;
    TokenBlockSequence sequence_;
    std::size_t commands_count_ = 0;
};

}  // namespace kvbm::testing
