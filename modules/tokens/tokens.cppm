//! kvbm.tokens: token sequences, and the blocks they fill.
//!
//! A TokenBlockSequence cuts tokens into blocks of equal size. A full block has hashes that name
//! its content, its position and everything before it, so equal prefixes share blocks.
//!
//!   tokens   | 0 1 2 3 | 4 5 6 7 | 8 9
//!              block 0   block 1   end (partial, 2 of 4)
//!
//! A block is named on its last token, not on the next. The sequence keeps all tokens in one list
//! and gives them out as spans; a TokenBlock holds none. Runs of placeholders stand for objects
//! that are no text (images, sound); their slots hold token ids that no hash looks at.
//!
//! Invariants: S10 (one by one = in bulk), S11 (take back and append again = nothing happened), S12
//! (total = blocks * size + end, end < size), S15 (runs sorted, disjoint, inside), H5 (another salt
//! shares nothing).
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.tokens;

export import kvbm.core;
export import kvbm.hash;

namespace kvbm {

/// Full blocks a sequence can have: their positions are 0 .. 2^24 - 1.
export inline constexpr std::size_t max_block_count = SequenceHash::max_position + 1;

/// Why a block or a sequence was not changed. Source: hashing.md 4.3.
export struct TokenBlockError {
    struct Full {
        friend constexpr bool operator==(const Full&, const Full&) noexcept = default;
    };
    struct Incomplete {
        friend constexpr bool operator==(const Incomplete&, const Incomplete&) noexcept = default;
    };
    struct Empty {
        friend constexpr bool operator==(const Empty&, const Empty&) noexcept = default;
    };
    struct InsufficientTokens {
        friend constexpr bool operator==(const InsufficientTokens&,
                                         const InsufficientTokens&) noexcept = default;
    };
    /// The runs given do not fit.
    struct MmInfo {
        MultimodalError error;
        friend constexpr bool operator==(const MmInfo&, const MmInfo&) noexcept = default;
    };
    /// The call has no meaning while there are runs.
    struct MmRunsPresent {
        friend constexpr bool operator==(const MmRunsPresent&,
                                         const MmRunsPresent&) noexcept = default;
    };
    /// More than 2^24 full blocks; `position` is the first that has no hash.
    using PositionTooLarge = kvbm::PositionTooLarge;

    std::variant<Full, Incomplete, Empty, InsufficientTokens, MmInfo, MmRunsPresent,
                 PositionTooLarge>
        reason;

    friend constexpr bool operator==(const TokenBlockError&,
                                     const TokenBlockError&) noexcept = default;
    /// The reason in words.
    std::string message() const;
};

/// Token ids out of signed numbers, bit for bit: -1 is 4294967295.
export [[nodiscard]] std::vector<Token> tokens_from_int32(std::span<const std::int32_t> ids);

export class PartialTokenBlock;
export class TokenBlockSequence;

/// The names of one full block, without its tokens. Trivially copyable. Made by a sequence or by
/// PartialTokenBlock::commit(); a default value is all zero. Source: hashing.md 4.1.
export class TokenBlock {
  public:
    constexpr TokenBlock() noexcept = default;

    constexpr std::size_t block_size() const noexcept { return block_size_; }
    /// Index of the block in its sequence.
    constexpr std::size_t position() const noexcept { return sequence_hash_.position(); }
    constexpr SaltHash salt_hash() const noexcept { return salt_; }
    constexpr BlockHash block_hash() const noexcept { return block_hash_; }
    constexpr ChainHash chain_hash() const noexcept { return sequence_hash_.current_chain_hash(); }
    /// The chain hash of the block before; nothing at position 0.
    constexpr std::optional<ChainHash> parent_chain_hash() const noexcept {
        return position() == 0 ? std::nullopt : std::optional(parent_);
    }
    constexpr PositionalSequenceHash positional_sequence_hash() const noexcept {
        // Positions of lineage hashes fit, so there is a value.
        return *PositionalSequenceHash::make(chain_hash(), block_hash_, position());
    }
    /// The key of the block in every table.
    constexpr SequenceHash sequence_hash() const noexcept { return sequence_hash_; }
    /// The empty block that continues this one, under the same salt and of the same size.
    [[nodiscard]] PartialTokenBlock next_block() const;

    friend constexpr bool operator==(const TokenBlock&, const TokenBlock&) noexcept = default;

  private:
    friend class PartialTokenBlock;
    friend class TokenBlockSequence;

    /// `position` fits; there is a parent unless it is 0.
    inline TokenBlock(std::size_t block_size, SaltHash salt, const detail::hash::BlockNames& names,
                      std::size_t position) noexcept
        : block_size_(block_size),
          salt_(salt),
          block_hash_(names.block),
          parent_(names.parent),
          sequence_hash_(must(SequenceHash::make(names.chain, names.parent, position))) {}

    std::size_t block_size_ = 0;
    SaltHash salt_ = 0;
    BlockHash block_hash_;
    ChainHash parent_;
    SequenceHash sequence_hash_;
};

/// The unfinished end of a sequence: up to a block's worth of tokens, and what the block will
/// follow.
///
/// A regular value with a single owner. A failing call changes nothing. Source: hashing.md 4.2.
export class PartialTokenBlock {
  public:
    /// The empty first block of a sequence. `block_size` of 0 breaks a contract.
    explicit PartialTokenBlock(std::size_t block_size, SaltHash salt = 0);

    constexpr std::size_t size() const noexcept { return tokens_.size(); }
    constexpr bool empty() const noexcept { return tokens_.empty(); }
    /// Tokens it still takes.
    constexpr std::size_t remaining() const noexcept { return block_size_ - tokens_.size(); }
    /// Valid until the next change.
    constexpr std::span<const Token> tokens() const noexcept { return tokens_; }
    constexpr std::size_t block_size() const noexcept { return block_size_; }
    /// The position it will have.
    constexpr std::size_t position() const noexcept { return position_; }
    constexpr SaltHash salt_hash() const noexcept { return salt_; }
    /// The chain hash of the block before; nothing at position 0.
    constexpr std::optional<ChainHash> parent_chain_hash() const noexcept { return parent_; }

    /// Appends one token. Fails with `Full`. Amortized O(1).
    [[nodiscard]] Result<void, TokenBlockError> push_token(Token token);
    /// Appends as many as fit and returns how many these were; 0 when full.
    std::size_t push_tokens(std::span<const Token> tokens);
    /// Drops the last token. Fails with `Empty`.
    [[nodiscard]] Result<void, TokenBlockError> pop_token() noexcept;
    /// Drops the last `count` tokens. Fails with `InsufficientTokens`.
    [[nodiscard]] Result<void, TokenBlockError> pop_tokens(std::size_t count) noexcept;
    /// Names the full block and becomes the empty block after it.
    ///
    /// Fails with `Incomplete`; `MmRunsPresent` if it was split off a sequence with a run in its
    /// slots, which it doesn't know; `PositionTooLarge` at position 2^24; tested in this order.
    /// O(block size), no allocation.
    [[nodiscard]] Result<TokenBlock, TokenBlockError> commit() noexcept;

    friend constexpr bool operator==(const PartialTokenBlock&,
                                     const PartialTokenBlock&) noexcept = default;

  private:
    friend class TokenBlock;
    friend class TokenBlockSequence;

    static constexpr std::size_t no_placeholder = std::numeric_limits<std::size_t>::max();

    std::vector<Token> tokens_;
    std::size_t block_size_ = 0;
    SaltHash salt_ = 0;
    std::optional<ChainHash> parent_;
    std::size_t position_ = 0;
    std::size_t first_placeholder_ = no_placeholder;  // slot of the first run's start in here
};

/// A look at the unfinished end of a sequence. Valid until the next change of the sequence.
export class PartialTokenBlockView {
  public:
    constexpr std::size_t size() const noexcept { return tokens_.size(); }
    constexpr bool empty() const noexcept { return tokens_.empty(); }
    /// Tokens missing to a full block, never 0.
    constexpr std::size_t remaining() const noexcept { return block_size_ - tokens_.size(); }
    constexpr std::span<const Token> tokens() const noexcept { return tokens_; }
    constexpr std::size_t block_size() const noexcept { return block_size_; }
    /// The position it will have.
    constexpr std::size_t position() const noexcept { return position_; }
    constexpr SaltHash salt_hash() const noexcept { return salt_; }
    /// The chain hash of the block before; nothing at position 0.
    constexpr std::optional<ChainHash> parent_chain_hash() const noexcept { return parent_; }

  private:
    friend class TokenBlockSequence;
    constexpr PartialTokenBlockView() noexcept = default;

    std::span<const Token> tokens_;
    std::size_t block_size_ = 0;
    SaltHash salt_ = 0;
    std::optional<ChainHash> parent_;
    std::size_t position_ = 0;
};

/// What TokenBlockSequence::into_parts() takes a sequence apart into.
export struct TokenBlockParts {
    std::vector<TokenBlock> blocks;
    std::vector<Token> tokens;  ///< all of them, those of the unfinished end included
    PartialTokenBlock partial;
};

/// What TokenBlockSequence::split() cuts tokens into.
export struct SplitTokens {
    std::vector<TokenBlock> blocks;
    PartialTokenBlock partial;
};

/// Tokens, cut into blocks of equal size under one salt, with runs of placeholders.
///
/// A regular value with a single owner; equality is over all of it, tokens included. Calls that
/// change it give a Result; after an error it is as it was. Views and spans are valid until the
/// next change. While there are runs, tokens can't be taken back. Tokens given to a call must not
/// be the sequence's own; that breaks a contract. Source: hashing.md 4.3.
export class TokenBlockSequence {
  public:
    using Completed = std::optional<IndexRange>;  ///< blocks a call completed, if any

    /// Cuts `tokens`. `block_size` of 0, or more than 2^24 full blocks, break a contract.
    /// O(tokens).
    TokenBlockSequence(std::span<const Token> tokens, std::size_t block_size, SaltHash salt = 0);
    /// The same for a list that is given away: it is not copied.
    template <std::same_as<std::vector<Token>> Tokens>
    TokenBlockSequence(Tokens&& tokens, std::size_t block_size, SaltHash salt = 0)
        : hasher_(salt), block_size_(block_size), tokens_(std::move(tokens)) {
        name_own_tokens();
    }
    /// The same for foreign data: too many blocks are a `PositionTooLarge`.
    [[nodiscard]] static Result<TokenBlockSequence, TokenBlockError> create(
        std::span<const Token> tokens, std::size_t block_size, SaltHash salt = 0);
    /// The same with runs, in any order. Ids at placeholders are kept. Fails with `MmInfo`, then
    /// `PositionTooLarge`.
    [[nodiscard]] static Result<TokenBlockSequence, TokenBlockError> create_with_runs(
        std::span<const Token> tokens, std::span<const MultimodalRun> runs, std::size_t block_size,
        SaltHash salt = 0);

    /// Cuts tokens without keeping them. Fails with `PositionTooLarge`. O(tokens).
    [[nodiscard]] static Result<SplitTokens, TokenBlockError> split(std::span<const Token> tokens,
                                                                    std::size_t block_size,
                                                                    SaltHash salt = 0);
    /// The same with runs. Fails with `MmInfo`, then `PositionTooLarge`.
    [[nodiscard]] static Result<SplitTokens, TokenBlockError> split_with_runs(
        std::span<const Token> tokens, std::span<const MultimodalRun> runs, std::size_t block_size,
        SaltHash salt = 0);

    /// Makes room for `count` tokens in all and the blocks they fill: until there are more,
    /// appending allocates nothing. Grows to twice the room at least, so many calls cost O(tokens).
    void reserve(std::size_t count);
    /// Appends one token; gives the index of the block it completed, if it did. Amortized O(1), and
    /// O(block size) on a completing token.
    [[nodiscard]] Result<std::optional<std::size_t>, TokenBlockError> append(Token token);
    /// Another name of append().
    [[nodiscard]] Result<std::optional<std::size_t>, TokenBlockError> push_token(Token token);
    /// Appends tokens; gives the blocks they completed. O(tokens).
    [[nodiscard]] Result<Completed, TokenBlockError> extend(std::span<const Token> tokens);
    /// Appends a run of `length` placeholders, token 0 in each.
    ///
    /// Fails with `MmInfo` (`EmptyRun`; `OffsetOverflow` if no list can be so long) and
    /// `PositionTooLarge`, before anything is allocated. O(length).
    [[nodiscard]] Result<Completed, TokenBlockError> push_run(std::uint64_t mm_hash,
                                                              std::size_t length);
    /// Appends tokens with runs whose offsets count from the first of these tokens; ids at
    /// placeholders are replaced by 0. Fails with `MmInfo`, then `PositionTooLarge`.
    [[nodiscard]] Result<Completed, TokenBlockError> extend_with_runs(
        std::span<const Token> tokens, std::span<const MultimodalRun> runs);

    /// Keeps the first `count` tokens; nothing happens when there are no more. May reopen a full
    /// block. Fails with `MmRunsPresent` while there are runs, whatever the count.
    [[nodiscard]] Result<void, TokenBlockError> truncate(std::size_t count) noexcept;
    /// Drops the last `count` tokens. Fails with `InsufficientTokens`, then with `MmRunsPresent`
    /// while there are runs, even for 0.
    [[nodiscard]] Result<void, TokenBlockError> unwind(std::size_t count) noexcept;
    /// Drops and gives the last token; nothing when there is none. Fails with `MmRunsPresent`.
    [[nodiscard]] Result<std::optional<Token>, TokenBlockError> pop() noexcept;
    /// Drops all tokens and runs; block size and salt stay.
    void reset() noexcept;

    /// The full blocks, by position.
    constexpr std::span<const TokenBlock> blocks() const noexcept { return blocks_; }
    /// The last full block, or null.
    constexpr const TokenBlock* last_complete_block() const noexcept {
        return blocks_.empty() ? nullptr : &blocks_.back();
    }
    /// The unfinished end.
    PartialTokenBlockView current_block() const noexcept;
    /// The tokens of full block `index`, which breaks a contract if there is none.
    std::span<const Token> block_tokens(std::size_t index) const noexcept;
    /// All tokens, those of the unfinished end included.
    constexpr std::span<const Token> tokens() const noexcept { return tokens_; }
    /// The tokens of a range; none when it is turned around or reaches beyond the end.
    std::span<const Token> tokens_at(IndexRange range) const noexcept;
    constexpr std::size_t total_tokens() const noexcept { return tokens_.size(); }
    constexpr std::size_t block_size() const noexcept { return block_size_; }
    constexpr SaltHash salt_hash() const noexcept { return hasher_.salt_hash(); }
    /// The runs, sorted, with offsets from the beginning of the sequence.
    constexpr std::span<const MultimodalRun> runs() const noexcept { return runs_; }
    /// Takes the sequence apart. The tokens of the end are copied into its partial block.
    [[nodiscard]] TokenBlockParts into_parts() &&;

    friend constexpr bool operator==(const TokenBlockSequence&,
                                     const TokenBlockSequence&) noexcept = default;

  private:
    static void name_blocks(const BlockHasher& hasher, std::span<const Token> tokens,
                            std::size_t block_size, std::span<const MultimodalRun> runs,
                            std::vector<TokenBlock>& blocks) noexcept;
    static PartialTokenBlock end_after(std::span<const TokenBlock> blocks,
                                       std::span<const Token> tokens, std::size_t block_size,
                                       SaltHash salt, std::span<const MultimodalRun> runs);
    std::size_t blocks_completed_by(std::size_t token_count) const noexcept;
    Result<Completed, TokenBlockError> add(std::span<const Token> tokens,
                                           std::span<const MultimodalRun> runs);
    Completed name_new_blocks() noexcept;
    void name_own_tokens();
    void keep(std::size_t count) noexcept;

    BlockHasher hasher_;
    std::size_t block_size_;
    std::vector<TokenBlock> blocks_;
    std::vector<MultimodalRun> runs_;
    std::vector<Token> tokens_;
};

}  // namespace kvbm
