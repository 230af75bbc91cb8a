//! kvbm.hash: names for blocks, made of what is in them.
//!
//!   SaltHash     scope of a request (model, adapter, tenant); 0 is no salt
//!   BlockHash    content of one block under one salt, wherever it stands
//!   ChainHash    content of the whole prefix, this block included
//!   SequenceHash position, chain hash and part of the parent's chain hash: the key of every table
//!
//!   tokens --block_hash--> BlockHash --next_chain_hash--> ChainHash --make--> SequenceHash
//!            (salt is the seed)        (seed 1337, serial)
//!
//! All hashing is XXH3, 64 bits, with seed, over little-endian bytes on every machine. XXH3 is not
//! cryptographic: whoever can choose tokens can search for collisions, whatever the salt.
//! Multimodal objects stand in a block as runs of placeholder slots, which are hashed as frames of
//! 13 bytes.
//!
//! Invariants: H1 (recorded values bit for bit), H2 (pack and unpack are inverse), H3 (any bytes
//! decode or give an error), H4 (extend adds one position), H6 (hash inputs are injective).
module;

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.hash;

export import kvbm.core;

namespace kvbm {

/// Scope of a request: hashes under different salts have nothing in common. 0 is "no salt".
export using SaltHash = std::uint64_t;

/// Names the content of one block under one salt, wherever the block stands.
///
/// Not convertible to a ChainHash: at position 0 the numbers coincide, later they do not.
export struct BlockHash {
    std::uint64_t value = 0;
    friend constexpr bool operator==(BlockHash, BlockHash) noexcept = default;
    friend constexpr auto operator<=>(BlockHash, BlockHash) noexcept = default;
};

/// Names the content of a whole prefix up to and including one block.
export struct ChainHash {
    std::uint64_t value = 0;
    friend constexpr bool operator==(ChainHash, ChainHash) noexcept = default;
    friend constexpr auto operator<=>(ChainHash, ChainHash) noexcept = default;
};

/// Seed of every step of a chain. Never the salt: the salt enters through the block hashes only.
/// Source: hashing.md 2.
export inline constexpr std::uint64_t chain_seed = 1337;

/// A position that the packed form has no room for.
///
/// Belongs to several error families. `limit` is the largest position that fits.
export struct PositionTooLarge {
    std::uint64_t position = 0;
    std::uint64_t limit = 0;
    friend constexpr bool operator==(const PositionTooLarge&,
                                     const PositionTooLarge&) noexcept = default;
    /// `Position 16777216 exceeds maximum supported value (2^24 - 1 = 16,777,215)`.
    std::string message() const;
};

/// Why no hash could be made of positions, bytes or text. Source: hashing.md 2.5.
export struct HashError {
    using PositionTooLarge = kvbm::PositionTooLarge;
    /// The two top bits of the packed form are none of the layouts.
    struct InvalidMode {
        unsigned mode = 3;
        friend constexpr bool operator==(const InvalidMode&, const InvalidMode&) noexcept = default;
    };
    /// Not 16 bytes.
    struct WrongLength {
        std::size_t actual = 0;
        friend constexpr bool operator==(const WrongLength&, const WrongLength&) noexcept = default;
    };
    /// Not 32 hexadecimal digits; `offset` is the place of the first character that is wrong,
    /// missing or too much.
    struct BadText {
        std::size_t offset = 0;
        friend constexpr bool operator==(const BadText&, const BadText&) noexcept = default;
    };

    std::variant<PositionTooLarge, InvalidMode, WrongLength, BadText> reason;

    friend constexpr bool operator==(const HashError&, const HashError&) noexcept = default;
    /// The reason in words, with its values.
    std::string message() const;
};

namespace detail::hash {

/// A number as the bytes of a little-endian machine hold it: unchanged there, swapped elsewhere.
/// `native` is a parameter for tests. For the layers above, not for users.
export template <class Unsigned>
constexpr Unsigned to_little_endian(Unsigned value,
                                    std::endian native = std::endian::native) noexcept {
    if (native == std::endian::little) {
        return value;
    }
    Unsigned swapped = 0;
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        swapped = static_cast<Unsigned>(swapped << 8 | (value >> (8 * i) & 0xFFU));
    }
    return swapped;
}

/// The block hash of tokens held in big-endian words, as a big-endian machine holds them. For the
/// layers above and tests, not for users.
export BlockHash block_hash_of_big_endian_words(std::span<const Token> words,
                                                SaltHash salt) noexcept;

/// 128 bits as 16 bytes, the top byte first.
constexpr std::array<std::uint8_t, 16> big_endian_bytes(std::uint64_t high,
                                                        std::uint64_t low) noexcept {
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::uint8_t>(high >> (56 - 8 * i));
        bytes[8 + i] = static_cast<std::uint8_t>(low >> (56 - 8 * i));
    }
    return bytes;
}

/// The big-endian number in `bytes`, at most eight of them.
constexpr std::uint64_t from_big_endian(std::span<const std::uint8_t> bytes) noexcept {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : bytes) {
        value = value << 8 | byte;
    }
    return value;
}

/// The lowest `count` bits set, `count` below 64.
constexpr std::uint64_t low_bits(unsigned count) noexcept {
    return (std::uint64_t{1} << count) - 1;
}

/// The smallest layout that holds a position: 0 up to 255, 1 up to 65,535, 2 up to 2^24 - 1, else
/// 3.
constexpr unsigned smallest_mode(std::uint64_t position) noexcept {
    return position < 0x100 ? 0U : position < 0x1'0000 ? 1U : position < 0x100'0000 ? 2U : 3U;
}

}  // namespace detail::hash

/// The salt of a request out of whatever bytes the application uses to tell scopes apart.
///
/// Of no bytes it is not 0: "empty salt" and "no salt" differ. O(bytes), thread-safe. Source:
/// hashing.md 2.
export [[nodiscard]] SaltHash salt_hash(std::span<const std::uint8_t> bytes) noexcept;
/// The salt of the bytes of a text.
export [[nodiscard]] SaltHash salt_hash(std::string_view text) noexcept;

/// The content hash of a block of tokens: XXH3 of their little-endian bytes, seeded with the salt.
///
/// O(tokens), no allocation, thread-safe. For many blocks under one salt use a BlockHasher or
/// block_hashes(). Source: hashing.md 2.
export [[nodiscard]] BlockHash block_hash(std::span<const Token> tokens,
                                          SaltHash salt = 0) noexcept;
/// The content hash of a block given as bytes; for blocks with placeholders, see block_bytes().
export [[nodiscard]] BlockHash block_hash_bytes(std::span<const std::uint8_t> bytes,
                                                SaltHash salt = 0) noexcept;

export struct MultimodalRun;

/// The chain hash of a block that follows `parent`. O(1), thread-safe. Source: hashing.md 2.
export [[nodiscard]] ChainHash next_chain_hash(ChainHash parent, BlockHash block) noexcept;

/// Hashes blocks under one salt, with the preparation for that salt done once.
///
/// XXH3 derives a secret of 192 bytes from the seed for every input over 240 bytes (60 tokens);
/// this keeps it. The values are those of block_hash() and block_hash_bytes(). A value type;
/// const calls are thread-safe. Never allocates.
export class BlockHasher {
  public:
    explicit BlockHasher(SaltHash salt = 0) noexcept;

    constexpr SaltHash salt_hash() const noexcept { return salt_; }
    /// As kvbm::block_hash() under this salt.
    [[nodiscard]] BlockHash block_hash(std::span<const Token> tokens) const noexcept;
    /// As kvbm::block_hash_bytes() under this salt.
    [[nodiscard]] BlockHash block_hash_bytes(std::span<const std::uint8_t> bytes) const noexcept;
    /// The content hash of a block with placeholders: of block_bytes(), without making that list.
    [[nodiscard]] BlockHash block_hash(std::span<const Token> tokens, std::size_t block_offset,
                                       std::span<const MultimodalRun> runs) const noexcept;

    friend constexpr bool operator==(const BlockHasher& a, const BlockHasher& b) noexcept {
        return a.salt_ == b.salt_;  // the secret follows from it
    }

  private:
    std::array<std::uint8_t, 192> secret_;
    SaltHash salt_;
};

namespace detail::hash {

/// What a block is called by its content and by its prefix, and the prefix before it; without one
/// that is 0. For the layers above, not for users.
export struct BlockNames {
    BlockHash block;
    ChainHash chain;
    ChainHash parent;
};

/// Names consecutive full blocks in one pass, so that the serial steps of the chain hide behind the
/// hashing of the next blocks. `parent` is the chain hash before them; without one the first begins
/// a chain. There are as many blocks as places in `out`. Never allocates. For the layers above, not
/// for users.
export void name_blocks(const BlockHasher& hasher, std::span<const Token> tokens,
                        std::size_t block_size, std::optional<ChainHash> parent,
                        std::span<BlockNames> out) noexcept;

/// Whether the processor has vectors of 32 bytes and what computes with integers in them. For the
/// layers above, not for users.
export bool has_avx2() noexcept;

/// XXH3 of more than 240 bytes with a secret derived from the seed, in vectors of 32 bytes. Rule:
/// the processor has them.
std::uint64_t xxh3_of_long_input_avx2(std::span<const std::uint8_t> bytes,
                                      std::span<const std::uint8_t> secret,
                                      std::uint64_t seed) noexcept;

}  // namespace detail::hash

/// 128 bits made of a chain hash, a position and part of the block hash. Carried for compatibility;
/// no kvbm table is keyed by it.
///
/// From the top: mode (2 bits), position (8, 16, 24 or 31 bits by mode), the low bits of the block
/// hash (54, 46, 38 or 31), chain hash (64). The smallest mode that fits is used. A default value
/// is all zero. Trivially copyable, 16 bytes, no order. Source: hashing.md 2.2.
export class PositionalSequenceHash {
  public:
    /// The largest position that fits.
    static constexpr std::uint64_t max_position = 0x7FFF'FFFF;

    constexpr PositionalSequenceHash() noexcept = default;

    /// Packs the three. Fails with `PositionTooLarge` from position 2^31 on.
    [[nodiscard]] static constexpr Result<PositionalSequenceHash, HashError> make(
        ChainHash chain, BlockHash block, std::uint64_t position) noexcept {
        if (position > max_position) {
            return failure(HashError{PositionTooLarge{position, max_position}});
        }
        const unsigned mode = detail::hash::smallest_mode(position);
        const unsigned kept = block_bits(mode);
        return from_bits(std::uint64_t{mode} << 62 | position << kept |
                             (block.value & detail::hash::low_bits(kept)),
                         chain.value);
    }
    /// The value with exactly these bits; each of them decodes.
    [[nodiscard]] static constexpr PositionalSequenceHash from_bits(std::uint64_t high,
                                                                    std::uint64_t low) noexcept {
        PositionalSequenceHash hash;
        hash.high_ = high;
        hash.low_ = low;
        return hash;
    }
    /// The value of 16 big-endian bytes. Fails with `WrongLength`.
    [[nodiscard]] static constexpr Result<PositionalSequenceHash, HashError> from_bytes(
        std::span<const std::uint8_t> bytes) noexcept {
        if (bytes.size() != 16) {
            return failure(HashError{HashError::WrongLength{bytes.size()}});
        }
        return from_bits(detail::hash::from_big_endian(bytes.first(8)),
                         detail::hash::from_big_endian(bytes.last(8)));
    }

    constexpr ChainHash chain_hash() const noexcept { return ChainHash{low_}; }
    constexpr std::size_t position() const noexcept {
        return static_cast<std::size_t>((high_ & detail::hash::low_bits(62)) >> block_bits(mode()));
    }
    /// The low bits of the block hash, as many as the mode keeps, zero-extended.
    constexpr std::uint64_t block_hash_fragment() const noexcept {
        return high_ & detail::hash::low_bits(block_bits(mode()));
    }
    /// The layout, 0 to 3.
    constexpr unsigned mode() const noexcept { return static_cast<unsigned>(high_ >> 62); }
    constexpr std::uint64_t high() const noexcept { return high_; }
    constexpr std::uint64_t low() const noexcept { return low_; }
    /// 16 big-endian bytes.
    constexpr std::array<std::uint8_t, 16> to_bytes() const noexcept {
        return detail::hash::big_endian_bytes(high_, low_);
    }

    friend constexpr bool operator==(PositionalSequenceHash,
                                     PositionalSequenceHash) noexcept = default;

  private:
    static constexpr unsigned block_bits(unsigned mode) noexcept {
        return mode == 3 ? 31U : 54U - 8U * mode;
    }

    std::uint64_t high_ = 0;
    std::uint64_t low_ = 0;
};

/// 128 bits that name a block by its position, its whole prefix and part of its parent's: the key
/// of every kvbm table.
///
///   mode 2 | position 8, 16 or 24 | chain hash 64 | low bits of the parent's chain hash 54, 46, 38
///
/// Modes 0, 1, 2 in this order; the smallest that holds the position is used. The fragment is as
/// wide as the *child's* position leaves room for. Equality is of all 128 bits. The order is by
/// position, then chain hash, then the number; it is not the order of the number. A default value
/// is all zero (position 0, chain hash 0, no parent): a legal key, no sentinel. Trivially copyable,
/// 16 bytes, never allocates. Source: hashing.md 2.3.
export class PositionalLineageHash {
  public:
    /// The largest position that fits.
    static constexpr std::uint64_t max_position = 0xFF'FFFF;

    constexpr PositionalLineageHash() noexcept = default;

    /// Packs the three; without a parent its fragment is 0. A parent at position 0 is kept. Fails
    /// with `PositionTooLarge` from position 2^24 on.
    [[nodiscard]] static constexpr Result<PositionalLineageHash, HashError> make(
        ChainHash chain, std::optional<ChainHash> parent, std::uint64_t position) noexcept {
        if (position > max_position) {
            return failure(HashError{PositionTooLarge{position, max_position}});
        }
        return packed(chain, parent ? parent->value : 0, position);
    }
    /// The first block of a sequence: its chain hash is its block hash.
    [[nodiscard]] static constexpr PositionalLineageHash root(BlockHash block) noexcept {
        return packed(ChainHash{block.value}, 0, 0);
    }
    /// The block that follows this one. Fails with `PositionTooLarge` at position 2^24 - 1.
    [[nodiscard]] inline Result<PositionalLineageHash, HashError> extend(
        BlockHash child) const noexcept {
        const ChainHash chain = current_chain_hash();
        return make(next_chain_hash(chain, child), chain, std::uint64_t{position()} + 1);
    }
    /// The value with exactly these bits. Fails with `InvalidMode` when the top two are set;
    /// everything else is accepted as it is, see is_canonical().
    [[nodiscard]] static constexpr Result<PositionalLineageHash, HashError> from_bits(
        std::uint64_t high, std::uint64_t low) noexcept {
        if (high >> 62 == 3) {
            return failure(HashError{HashError::InvalidMode{3}});
        }
        PositionalLineageHash hash;
        hash.high_ = high;
        hash.low_ = low;
        return hash;
    }
    /// The value of 16 big-endian bytes. Fails with `WrongLength`, then as from_bits().
    [[nodiscard]] static constexpr Result<PositionalLineageHash, HashError> from_bytes(
        std::span<const std::uint8_t> bytes) noexcept {
        if (bytes.size() != 16) {
            return failure(HashError{HashError::WrongLength{bytes.size()}});
        }
        return from_bits(detail::hash::from_big_endian(bytes.first(8)),
                         detail::hash::from_big_endian(bytes.last(8)));
    }
    /// The value of 32 hexadecimal digits of either case. Fails with `BadText`, then as
    /// from_bits().
    [[nodiscard]] static Result<PositionalLineageHash, HashError> from_hex(
        std::string_view text) noexcept;

    constexpr std::size_t position() const noexcept {
        return static_cast<std::size_t>(high_ << 2 >> (56 - 8 * mode()));
    }
    /// The layout, 0 to 2.
    constexpr unsigned mode() const noexcept { return static_cast<unsigned>(high_ >> 62); }
    /// The whole chain hash of this block.
    constexpr ChainHash current_chain_hash() const noexcept {
        return ChainHash{high_ << (10 + 8 * mode()) | low_ >> fragment_bits(mode())};
    }
    /// The low bits of the parent's chain hash, as many as the mode keeps, zero-extended. 0 without
    /// a parent.
    constexpr std::uint64_t parent_hash_fragment() const noexcept {
        return low_ & detail::hash::low_bits(fragment_bits(mode()));
    }
    /// What a child at `child_position` keeps of this block's chain hash. Positions from 65,536 on,
    /// too large ones included, count as mode 2.
    constexpr std::uint64_t parent_fragment_for_child_position(
        std::uint64_t child_position) const noexcept {
        const unsigned mode = detail::hash::smallest_mode(child_position);
        return current_chain_hash().value &
               detail::hash::low_bits(fragment_bits(mode < 2 ? mode : 2));
    }
    /// Whether `child` stands one further and its fragment agrees. A filter, not a proof.
    constexpr bool is_parent_of(PositionalLineageHash child) const noexcept {
        return child.position() == position() + 1 &&
               child.parent_hash_fragment() == parent_fragment_for_child_position(child.position());
    }
    /// Whether a sequence could have given this value: the smallest mode for its position, and no
    /// parent at position 0. A value that is not never equals the canonical one.
    constexpr bool is_canonical() const noexcept {
        return mode() == detail::hash::smallest_mode(position()) &&
               (position() > 0 || parent_hash_fragment() == 0);
    }
    constexpr std::uint64_t high() const noexcept { return high_; }
    constexpr std::uint64_t low() const noexcept { return low_; }

    /// 16 big-endian bytes: the wire form.
    constexpr std::array<std::uint8_t, 16> to_bytes() const noexcept {
        return detail::hash::big_endian_bytes(high_, low_);
    }
    /// The bytes as 32 lower-case hexadecimal digits: the form for files and tools.
    std::string to_hex() const;
    /// `position:current[:fragment]`, the hashes in base 58, the fragment from position 1 on: the
    /// form for people and error messages. It is not parsed back. Source: hashing.md 2.4.
    std::string to_string() const;

    friend constexpr bool operator==(PositionalLineageHash,
                                     PositionalLineageHash) noexcept = default;
    friend constexpr std::strong_ordering operator<=>(PositionalLineageHash a,
                                                      PositionalLineageHash b) noexcept {
        if (const auto order = a.position() <=> b.position(); order != 0) {
            return order;
        }
        if (const auto order = a.current_chain_hash() <=> b.current_chain_hash(); order != 0) {
            return order;
        }
        if (const auto order = a.high_ <=> b.high_; order != 0) {
            return order;
        }
        return a.low_ <=> b.low_;
    }

  private:
    static constexpr unsigned fragment_bits(unsigned mode) noexcept { return 54U - 8U * mode; }

    static constexpr PositionalLineageHash packed(ChainHash chain, std::uint64_t parent,
                                                  std::uint64_t position) noexcept {
        const unsigned mode = detail::hash::smallest_mode(position);
        const unsigned kept = fragment_bits(mode);
        PositionalLineageHash hash;
        hash.high_ = std::uint64_t{mode} << 62 | position << kept | chain.value >> (64 - kept);
        hash.low_ = chain.value << kept | (parent & detail::hash::low_bits(kept));
        return hash;
    }

    std::uint64_t high_ = 0;
    std::uint64_t low_ = 0;
};

/// Writes the display text, see PositionalLineageHash::to_string().
export std::ostream& operator<<(std::ostream& stream, const PositionalLineageHash& hash);

/// The key of every kvbm table.
export using SequenceHash = PositionalLineageHash;

/// Hashes each full block of `tokens` into `out`; tokens of an unfinished last block are left out.
///
/// `block_size` of 0, or an `out` whose size is not the number of full blocks, breaks a contract.
/// One pass, no allocation, thread-safe. Source: hashing.md 2.
export void block_hashes(std::span<const Token> tokens, std::size_t block_size, SaltHash salt,
                         std::span<BlockHash> out) noexcept;

/// Chains block hashes into sequence hashes: from position 0, or behind `parent`.
///
/// Fails with `PositionTooLarge`, and then nothing is written. An `out` of another size than
/// `blocks` breaks a contract. Serial, O(blocks), no allocation, thread-safe. Source: hashing.md 2.
export [[nodiscard]] Result<void, HashError> sequence_hashes(std::span<const BlockHash> blocks,
                                                             std::optional<SequenceHash> parent,
                                                             std::span<SequenceHash> out) noexcept;

/// From token `offset`, `length` slots are placeholders of the object `mm_hash` (image, sound).
/// Source: hashing.md 3.
export struct MultimodalRun {
    std::uint64_t mm_hash = 0;
    std::size_t offset = 0;
    std::size_t length = 0;

    /// One past the last slot. Only for validated runs, whose end does not wrap.
    constexpr std::size_t end() const noexcept { return offset + length; }
    friend constexpr bool operator==(const MultimodalRun&, const MultimodalRun&) noexcept = default;
};

/// Why runs do not fit their tokens. Source: hashing.md 3.
export struct MultimodalError {
    struct EmptyRun {
        friend constexpr bool operator==(const EmptyRun&, const EmptyRun&) noexcept = default;
    };
    struct OffsetOverflow {
        std::size_t offset = 0;
        std::size_t length = 0;
        friend constexpr bool operator==(const OffsetOverflow&,
                                         const OffsetOverflow&) noexcept = default;
    };
    struct OutOfBounds {
        std::size_t offset = 0;
        std::size_t length = 0;
        std::size_t count = 0;  ///< tokens there are
        friend constexpr bool operator==(const OutOfBounds&, const OutOfBounds&) noexcept = default;
    };
    struct Overlapping {
        std::size_t position = 0;  ///< first slot of the later run
        friend constexpr bool operator==(const Overlapping&, const Overlapping&) noexcept = default;
    };

    std::variant<EmptyRun, OffsetOverflow, OutOfBounds, Overlapping> reason;

    friend constexpr bool operator==(const MultimodalError&,
                                     const MultimodalError&) noexcept = default;
    /// The reason in words, with its values.
    std::string message() const;
};

/// The runs sorted by offset (stable), if all are non-empty, inside `token_count` slots and
/// disjoint; else the first failing test of the first failing run in that order.
///
/// O(n log n), thread-safe. Source: hashing.md 3.
export [[nodiscard]] Result<std::vector<MultimodalRun>, MultimodalError> validate_and_sort(
    std::span<const MultimodalRun> runs, std::size_t token_count);

/// The runs of a validated, sorted list that have a slot in `slots`. O(log n), thread-safe.
export [[nodiscard]] std::span<const MultimodalRun> runs_within(std::span<const MultimodalRun> runs,
                                                                IndexRange slots) noexcept;

/// What is hashed for a block whose first slot is `block_offset` of its sequence, into `out`, which
/// is overwritten.
///
/// `runs` are validated and sorted, of the whole sequence. Without a run in the block: the
/// little-endian bytes of its tokens, so text shares hashes with text. Else a frame of 13 bytes for
/// every slot, in which a placeholder's token id does not appear. Allocates only what `out` lacks.
/// Source: hashing.md 3.
export void block_bytes(std::span<const Token> tokens, std::size_t block_offset,
                        std::span<const MultimodalRun> runs, std::vector<std::uint8_t>& out);
/// The same as a new list.
export [[nodiscard]] std::vector<std::uint8_t> block_bytes(std::span<const Token> tokens,
                                                           std::size_t block_offset,
                                                           std::span<const MultimodalRun> runs);

}  // namespace kvbm

template <>
struct std::hash<kvbm::BlockHash> {
    std::size_t operator()(kvbm::BlockHash hash) const noexcept {
        return static_cast<std::size_t>(hash.value);
    }
};
template <>
struct std::hash<kvbm::ChainHash> {
    std::size_t operator()(kvbm::ChainHash hash) const noexcept {
        return static_cast<std::size_t>(hash.value);
    }
};
template <>
struct std::hash<kvbm::PositionalSequenceHash> {
    std::size_t operator()(kvbm::PositionalSequenceHash hash) const noexcept {
        return static_cast<std::size_t>(hash.high() ^ hash.low());
    }
};
/// Not uniform for values made by hand: tables must mix it.
template <>
struct std::hash<kvbm::PositionalLineageHash> {
    std::size_t operator()(kvbm::PositionalLineageHash hash) const noexcept {
        return static_cast<std::size_t>(hash.high() ^ hash.low());
    }
};
