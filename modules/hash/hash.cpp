// Everything that calls XXH3.
module;

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <tl/expected.hpp>

module kvbm.hash;

namespace kvbm {

namespace {

std::span<const std::uint8_t> bytes_of(std::span<const Token> tokens) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(tokens.data()), tokens.size_bytes()};
}

/// Longer inputs are hashed in stripes, with a secret of their own per seed.
constexpr std::size_t short_input_max = XXH3_MIDSIZE_MAX;

/// block_hash() of `count` tokens, which the compiler knows: nothing is decided by length.
template <std::size_t count>
BlockHash hash_of_tokens(const Token* tokens, SaltHash salt) noexcept {
    static_assert(count * sizeof(Token) <= short_input_max);
    [[clang::always_inline]] return BlockHash{
        XXH3_64bits_withSeed(tokens, count * sizeof(Token), salt)};
}

/// The names of blocks, each hashed by `hash_of(first token)`.
template <class HashOf>
void name_each(const Token* tokens, std::size_t block_size, std::optional<ChainHash> parent,
               std::span<detail::hash::BlockNames> out, const HashOf& hash_of) noexcept {
    std::size_t named = 0;
    ChainHash last = parent.value_or(ChainHash{});
    if (!parent && !out.empty()) {
        const BlockHash block = hash_of(tokens);
        last = ChainHash{block.value};
        out[named++] = {block, last, ChainHash{}};
    }
    for (; named < out.size(); ++named) {
        const BlockHash block = hash_of(tokens + named * block_size);
        const ChainHash chain = next_chain_hash(last, block);
        out[named] = {block, chain, last};
        last = chain;
    }
}

}  // namespace

namespace detail::hash {

bool has_avx2() noexcept {
#if defined(__x86_64__)
    static const bool has = __builtin_cpu_supports("avx2") != 0;
    return has;
#else
    return false;
#endif
}

BlockHash block_hash_of_big_endian_words(std::span<const Token> words, SaltHash salt) noexcept {
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, salt);
    std::array<Token, 64> swapped{};
    while (!words.empty()) {
        const auto now = words.first(std::min(words.size(), swapped.size()));
        std::transform(now.begin(), now.end(), swapped.begin(),
                       [](Token word) { return to_little_endian(word, std::endian::big); });
        XXH3_64bits_update(&state, swapped.data(), now.size_bytes());
        words = words.subspan(now.size());
    }
    return BlockHash{XXH3_64bits_digest(&state)};
}

}  // namespace detail::hash

SaltHash salt_hash(std::span<const std::uint8_t> bytes) noexcept {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), 0);
}

SaltHash salt_hash(std::string_view text) noexcept {
    return XXH3_64bits_withSeed(text.data(), text.size(), 0);
}

BlockHash block_hash(std::span<const Token> tokens, SaltHash salt) noexcept {
    if constexpr (std::endian::native == std::endian::little) {
        return block_hash_bytes(bytes_of(tokens), salt);
    } else {
        return detail::hash::block_hash_of_big_endian_words(tokens, salt);
    }
}

BlockHash block_hash_bytes(std::span<const std::uint8_t> bytes, SaltHash salt) noexcept {
    return BlockHash{XXH3_64bits_withSeed(bytes.data(), bytes.size(), salt)};
}

ChainHash next_chain_hash(ChainHash parent, BlockHash block) noexcept {
    const std::array<std::uint64_t, 2> words{detail::hash::to_little_endian(parent.value),
                                             detail::hash::to_little_endian(block.value)};
    [[clang::always_inline]] return ChainHash{
        XXH3_64bits_withSeed(words.data(), sizeof(words), chain_seed)};
}

BlockHasher::BlockHasher(SaltHash salt) noexcept : salt_(salt) {
    static_assert(sizeof(secret_) == XXH3_SECRET_DEFAULT_SIZE);
    XXH3_generateSecret_fromSeed(secret_.data(), salt);
}

BlockHash BlockHasher::block_hash(std::span<const Token> tokens) const noexcept {
    if constexpr (std::endian::native == std::endian::little) {
        return block_hash_bytes(bytes_of(tokens));
    } else {
        return detail::hash::block_hash_of_big_endian_words(tokens, salt_);
    }
}

BlockHash BlockHasher::block_hash_bytes(std::span<const std::uint8_t> bytes) const noexcept {
    if (bytes.size() > short_input_max && detail::hash::has_avx2()) {
        return BlockHash{detail::hash::xxh3_of_long_input_avx2(bytes, secret_, salt_)};
    }
    // Up to 240 bytes this hashes with the seed, beyond with the secret made of it, so the value is
    // always that of the seeded form.
    return BlockHash{XXH3_64bits_withSecretandSeed(bytes.data(), bytes.size(), secret_.data(),
                                                   secret_.size(), salt_)};
}

namespace detail::hash {

void name_blocks(const BlockHasher& hasher, std::span<const Token> tokens, std::size_t block_size,
                 std::optional<ChainHash> parent, std::span<BlockNames> out) noexcept {
    expects(out.size() <= tokens.size() / block_size, "there are tokens for each block");
    const bool usual = block_size == 16 && std::endian::native == std::endian::little;
    if (usual) {
        name_each(tokens.data(), block_size, parent, out, [&](const Token* first) {
            return hash_of_tokens<16>(first, hasher.salt_hash());
        });
        return;
    }
    name_each(tokens.data(), block_size, parent, out,
              [&](const Token* first) { return hasher.block_hash(std::span(first, block_size)); });
}

}  // namespace detail::hash

void block_hashes(std::span<const Token> tokens, std::size_t block_size, SaltHash salt,
                  std::span<BlockHash> out) noexcept {
    expects(block_size > 0, "a block holds at least one token");
    expects(out.size() == tokens.size() / block_size, "there is one place per full block");
    const BlockHasher hasher(salt);
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = hasher.block_hash(tokens.subspan(i * block_size, block_size));
    }
}

Result<void, HashError> sequence_hashes(std::span<const BlockHash> blocks,
                                        std::optional<SequenceHash> parent,
                                        std::span<SequenceHash> out) noexcept {
    expects(out.size() == blocks.size(), "there is one place per block");
    const std::uint64_t first = parent ? std::uint64_t{parent->position()} + 1 : 0;
    if (blocks.size() > SequenceHash::max_position + 1 - first) {
        return failure(HashError{
            PositionTooLarge{SequenceHash::max_position + 1, SequenceHash::max_position}});
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        parent = parent ? must(parent->extend(blocks[i])) : SequenceHash::root(blocks[i]);
        out[i] = *parent;
    }
    return {};
}

}  // namespace kvbm
