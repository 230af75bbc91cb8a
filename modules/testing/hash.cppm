//! kvbm.testing:hash: the packed hashes written as 128 binary digits, and what must hold of any
//! bytes.
//!
//! The models join and cut texts of '0' and '1', so they share no shift with the library. Their
//! XXH3 is the shared library's.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

export module kvbm.testing:hash;

import kvbm.hash;

namespace kvbm::testing {

/// XXH3 of bytes with a seed.
export std::uint64_t model_xxh3(std::span<const std::uint8_t> bytes, std::uint64_t seed);

/// The low `width` binary digits of a number, the highest first.
export std::string binary(std::uint64_t value, std::size_t width);

/// The 128 digits of a lineage hash: mode, position, chain hash, end of the parent's. The position
/// fits.
export std::string model_lineage_bits(std::uint64_t chain, std::uint64_t parent,
                                      std::uint64_t position);
/// The 128 digits of a positional sequence hash: mode, position, end of the block hash, chain hash.
/// The position fits.
export std::string model_sequence_bits(std::uint64_t chain, std::uint64_t block,
                                       std::uint64_t position);

/// The 128 digits of a value.
export std::string bits_of(PositionalLineageHash hash);
export std::string bits_of(PositionalSequenceHash hash);

/// The fields that 128 digits hold.
export struct ModelLineage {
    std::uint64_t mode = 0;
    std::uint64_t position = 0;
    std::uint64_t chain = 0;
    std::uint64_t fragment = 0;
};
export ModelLineage decode_lineage_bits(const std::string& bits);

/// Checks everything one lineage hash promises: fields, both encodings, display text, its child by
/// `child`. Gives the first broken promise, or nothing.
export std::optional<std::string> check_lineage_hash(SequenceHash hash, BlockHash child);
/// Checks that two lineage hashes are ordered by position, chain hash and number.
export std::optional<std::string> check_lineage_order(SequenceHash a, SequenceHash b);
/// Checks packing: make() of both kinds against the digits, or the right error.
export std::optional<std::string> check_packing(ChainHash chain, std::optional<ChainHash> parent,
                                                BlockHash block, std::uint64_t position);

/// Reads any bytes as a hash, a text and the parts of hashes, and checks all of the above.
export std::optional<std::string> check_hash_input(std::span<const std::uint8_t> bytes);

}  // namespace kvbm::testing
