//! kvbm.conformance:tables: what a manager script names: guards by handle, hashes by node.
module;

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

module kvbm.conformance:tables;

import :managers;
import kvbm.blocks;
import kvbm.conformance;
import kvbm.core;
import kvbm.hash;
import kvbm.registry;
import kvbm.tokens;

namespace kvbm::conformance {

using Mutable = MutableBlock<Tier>;
using Complete = CompleteBlock<Tier>;
using Immutable = ImmutableBlock<Tier>;
using Weak = WeakBlock<Tier>;
using Guard =
    std::variant<Mutable, Complete, Immutable, Weak, LifecyclePin, BlockRegistrationHandle>;
using Handle = std::uint64_t;

/// Guards under the handles a recording gives them: the next integer each, and kept while the guard
/// changes its state. A handle that is not there, or in another state, is trouble.
class GuardTable {
  public:
    Handle keep(Guard guard) {
        guards_.emplace(next_, std::move(guard));
        return next_++;
    }
    /// A handle per guard of a list, in its order: [[handle, id]...].
    template <class List>
    Value keep_all(List blocks) {
        Array kept;
        List reversed;
        while (!blocks.empty()) {
            reversed.push_back(blocks.pop_back());
        }
        while (!reversed.empty()) {
            auto guard = reversed.pop_back();
            const Id id{guard.block_id()};
            kept.emplace_back(Array{keep(std::move(guard)), id});
        }
        return kept;
    }
    Guard* find(const Fields& args, Handle handle);
    template <class State>
    State* find_in_state(const Fields& args, Handle handle, std::string_view state) {
        Guard* found = find(args, handle);
        auto* typed = found == nullptr ? nullptr : std::get_if<State>(found);
        if (found != nullptr && typed == nullptr) {
            args.refuse("names the guard " + std::to_string(handle) + ", which is not " +
                        std::string(state));
        }
        return typed;
    }
    /// The guard that `h` names.
    template <class State>
    State* find_in_state(const Fields& args, std::string_view state) {
        return find_in_state<State>(args, args.number("h"), state);
    }
    /// The guard behind a handle that was found before.
    Guard& at(Handle handle) { return guards_.at(handle); }
    void drop(Handle handle) { guards_.erase(handle); }
    /// The handles `hs`, of different guards.
    static std::vector<Handle> handles(const Fields& args);

  private:
    std::map<Handle, Guard> guards_;
    Handle next_ = 0;
};

/// One block of the forest of prefixes.
struct Node {
    SequenceHash hash;
    TokenBlock block;
};

/// The hashes of a script by node index.
class Forest {
  public:
    /// The configured nodes with the token blocks at the end of their paths. Recorded hashes that
    /// are not theirs are differences; they are used as they stand.
    Forest(const Fields& config, Start& start);

    const Node& operator[](std::size_t x) const { return nodes_[x]; }
    /// The node `x` names, or trouble and null.
    const Node* find(const Fields& args) const;
    /// The nodes `xs` names.
    std::vector<std::size_t> indices(const Fields& args) const;
    std::vector<SequenceHash> hashes(const Fields& args) const;
    /// The first node of a hash, or the hash itself if no node has it.
    Value name(const SequenceHash& hash) const;

  private:
    std::vector<Node> nodes_;
    std::map<SequenceHash, std::size_t> names_;
};

}  // namespace kvbm::conformance
