//! kvbm.conformance:assignments: the token sequences of a tracker script and their hashes' names.
module;

#include <cstddef>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.conformance:assignments;

import kvbm.conformance;
import kvbm.hash;
import kvbm.tokens;

namespace kvbm::conformance {

/// The sequences of a script. A hash is named [sequence, block]; equal ones have the name with the
/// smallest sequence.
class NamedHashes {
  public:
    void add(TokenBlockSequence sequence);

    Value name(const SequenceHash& hash) const;
    /// The hash of a name.
    std::optional<SequenceHash> hash(const Value& name) const;
    /// The blocks of slices {seq, lo, hi}, one behind the other.
    std::vector<TokenBlock> blocks(const Fields& args, std::string_view name) const;

  private:
    std::vector<TokenBlockSequence> sequences_;
    std::map<SequenceHash, std::pair<std::size_t, std::size_t>> names_;
};

/// The sequences of the configuration; recorded hashes that are not ours are differences.
NamedHashes read_sequences(const Fields& config, Start& start);

}  // namespace kvbm::conformance
