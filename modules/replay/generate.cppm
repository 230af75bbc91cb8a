//! kvbm.replay:generate: workloads out of a seed.
//!
//! Nine shapes of traffic, each with a few integer parameters. The same name, parameters and seed
//! give the same trace on every platform: all randomness is one SplitMix64 stream, all arithmetic
//! is on integers.
//!
//! A block id is drawn from a *stream*: stream s is an endless chain of blocks, block i of it has
//! the id session_block_id(seed, s, i). Whatever two requests take from one stream at the same
//! positions they share.
module;

#include <cstdint>
#include <iosfwd>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.replay:generate;

export import kvbm.core;
import :trace;

namespace kvbm {

/// The SplitMix64 finaliser, which adds 0x9e3779b97f4a7c15 first: a bijection of 64-bit numbers.
/// `mix(0)` = 0xe220a8397b1dcdaf. Source: replay.md 2.2.
export constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
}

/// The stream that every session shares with every other. Source: replay.md 2.2.
export inline constexpr std::uint64_t shared_session = std::numeric_limits<std::uint64_t>::max();

/// Id of block `index` of a session. Source: replay.md 2.2.
export constexpr std::uint64_t session_block_id(std::uint64_t seed, std::uint64_t session,
                                                std::uint64_t index) noexcept {
    return mix(mix(mix(seed) ^ session) ^ index);
}

/// Random numbers that are the same everywhere. Single owner. Source: replay.md 3.
export class SplitMix64 {
  public:
    constexpr explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}

    /// The next 64 bits.
    constexpr std::uint64_t next() noexcept {
        const auto drawn = mix(state_);
        state_ += 0x9e3779b97f4a7c15U;
        return drawn;
    }
    /// A number 0 .. n - 1: the high 64 bits of the next draw times n. 0 when n is 0.
    constexpr std::uint64_t uniform(std::uint64_t n) noexcept {
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<Wide>(next()) * n) >> 64U);
    }

  private:
    std::uint64_t state_;
};

/// One knob of a generator.
export struct GeneratorParameter {
    std::string_view name;       ///< as the option is spelled: `turn-blocks`
    std::uint64_t value = 0;     ///< default
    std::uint64_t smallest = 0;  ///< least legal value
    std::string_view meaning;    ///< a clause for a help text
    std::uint64_t largest = 1'048'576;
};

/// One shape of traffic.
export struct Generator {
    std::string_view name;     ///< `multi-turn`
    std::string_view meaning;  ///< a sentence for a help text
    std::span<const GeneratorParameter> parameters;
};

/// All generators, in the order of replay.md 3. Lives as long as the program.
export std::span<const Generator> generators() noexcept;

/// What all generators share, and the parameters that differ from their defaults.
export struct GenerateOptions {
    std::uint64_t seed = 1;
    std::uint64_t requests = 10'000;
    std::uint64_t block_size = 512;     ///< tokens
    std::uint64_t interval_ms = 100;    ///< from one request to the next; the first comes at 0
    std::uint64_t output_length = 128;  ///< tokens, of every request
    /// Parameters by name; of one named twice the last counts.
    std::vector<std::pair<std::string, std::uint64_t>> parameters = {};
};

/// Why a trace could not be generated.
export struct GenerateError {
    struct UnknownGenerator {
        std::string name;
    };
    /// The generator has no such parameter.
    struct UnknownParameter {
        std::string generator;
        std::string name;
    };
    /// A parameter or a common option (`requests`, `block-size` ...) is outside its bounds.
    struct OutOfRange {
        std::string name;
        std::uint64_t value = 0;
        std::uint64_t smallest = 0;
        std::uint64_t largest = 0;
    };
    /// With these parameters a request could get more blocks than a reader allows.
    struct RequestTooLong {
        std::uint64_t blocks = 0;
        std::uint64_t largest = 0;
    };
    std::variant<UnknownGenerator, UnknownParameter, OutOfRange, RequestTooLong> reason;

    std::string message() const;
};

/// Makes a trace. `path` of the result is the generator's name, `format` is mooncake.
///
/// The shapes (replay.md 3; where it leaves something open, this is what we do). A conversation,
/// prompt or tree node takes the next unused stream number when it begins, from 0.
/// - `shared-prompt`: blocks of the shared stream, then fresh ones.
/// - `multi-turn`: each request is a turn of a user drawn at random; it repeats the conversation
///   and appends to it. After its last turn the user begins a new conversation.
/// - `agent`: at requests 0, stagger, 2 x stagger ... a new session joins the end of a ring; each
///   request is a turn of the session whose turn it is, which goes to the end of the ring, or
///   leaves it after its last turn. An empty ring starts a session early.
/// - `fan-out`: one tree after the other; each node is a request, parents first; the root is the
///   prompt, every other node adds one block to its parent's.
/// - `scan`: the last request of every period is a cold prompt, never seen again; all others are
///   hot ones drawn at random.
/// - `flood`: every request is new.
/// - `preempt`: as agent; each turn is drawn with the given chance, and if so the same request
///   comes once more, `delay` requests later, in place of a turn.
/// - `speculate`: as agent; each turn first replaces its 0 to `rejected` (drawn) last blocks by
///   fresh ones, then appends.
/// - `tenants`: each request is of a tenant drawn by weight (tenant k of 1, 2, ... weighs 840 / k,
///   rounded down): the tenant's prompt, then fresh blocks. Salted, no two requests share a block.
///
/// Every block is full. Fails as GenerateError says. O(block references).
export [[nodiscard]] Result<Trace, GenerateError> generate(std::string_view name,
                                                           const GenerateOptions& options = {});

/// Writes a trace as Mooncake JSONL, ids as decimal integers. Reading it back with the same block
/// size gives the same requests and ids. Times that are whole milliseconds are written as integers,
/// others with the fewest digits that read back equal. O(block references).
export void write_mooncake(const Trace& trace, std::ostream& out);

}  // namespace kvbm
