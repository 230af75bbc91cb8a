//! kvbm.histories: what threads asked of one manager and what they were told, and the search for an
//! order that explains it. For the tests of this directory.
//!
//! A history is *linearizable* when its calls can be put into one order that agrees with the order
//! of calls that did not overlap, and in which a dull sequential manager gives the same answers.
//!
//!   Script    three threads, each with a few calls chosen at random from what it holds
//!   History   each call with its arguments, its answer, and when it began and ended
//!   explain   an order, or the history in words
//!
//! Hashes are roots and nothing counts touches, so that every policy evicts as LRU does and one
//! model serves all.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

export module kvbm.histories;

export import kvbm.blocks;
export import kvbm.stress;

namespace kvbm_test {

using namespace kvbm;

/// One call. Blocks are named by id, hashes by number, weak blocks by (thread, number).
struct Call {
    enum class Kind {
        allocate,
        register_block,
        match,
        scattered,
        drop_mutable,
        drop,
        copy,
        use_count,
        available,
        downgrade,
        upgrade,
        set_flag,
        reset_inactive,
    };
    Kind kind = Kind::available;
    std::size_t thread = 0;
    std::vector<std::size_t> arguments;
    std::vector<std::size_t> answer;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

export using History = std::vector<Call>;

/// Threads and what they may do.
export struct Script {
    Policy policy = Policy::lru;
    BlockDuplicationPolicy duplication = BlockDuplicationPolicy::allow;
    bool flag = false;
    std::size_t blocks = 2;
    std::size_t hashes = 2;
    std::size_t threads = 3;
    std::size_t alone = 6;  ///< calls of each thread before the others begin
    std::size_t calls = 7;  ///< calls of each thread at the same time
    /// Calls on several blocks; without them use_count() is asked, which reads one block's count
    /// with no lock and so may see half of such a call.
    bool lists = false;
    std::uint64_t seed = 0;
};

export std::string to_string(const Script& script);

/// Runs a script: each thread's calls alone, one after the other; then `start` gets a body per
/// thread and runs them all.
export History record(const Script& script,
                      const std::function<void(std::vector<std::function<void()>>&)>& start);

/// Nothing if some order explains the history, else the history in words.
export std::optional<std::string> unexplained(const Script& script, const History& history);

}  // namespace kvbm_test
