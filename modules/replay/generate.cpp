module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

module kvbm.replay;

namespace kvbm {

namespace {

using Parameter = GeneratorParameter;

constexpr std::uint64_t largest_count = 1'048'576;  // blocks of a request, as a reader allows
constexpr std::uint64_t largest_requests = std::uint64_t{1} << 32U;

constexpr std::array shared_prompt_parameters{
    Parameter{"prompt-blocks", 4, 1, "blocks of the prompt that all requests share"},
    Parameter{"tail-blocks", 8, 0, "fresh blocks after it"}};
constexpr std::array multi_turn_parameters{
    Parameter{"users", 100, 1, "users, each in one conversation at a time"},
    Parameter{"turn-blocks", 2, 1, "blocks a turn appends"},
    Parameter{"turns", 10, 1, "turns of a conversation"}};
constexpr std::array agent_parameters{
    Parameter{"turns", 100, 1, "turns of a session"},
    Parameter{"turn-blocks", 1, 1, "blocks a turn appends"},
    Parameter{"stagger", 10, 1, "requests from one session's start to the next one's"}};
constexpr std::array fan_out_parameters{
    Parameter{"prompt-blocks", 16, 1, "blocks of a tree's root"},
    Parameter{"branches", 8, 1, "children of a node"},
    Parameter{"depth", 3, 0, "levels below the root"}};
constexpr std::array scan_parameters{
    Parameter{"hot", 50, 1, "prompts that come again and again"},
    Parameter{"hot-blocks", 16, 1, "blocks of a hot prompt"},
    Parameter{"period", 10, 1, "requests from one cold prompt to the next"},
    Parameter{"cold-blocks", 200, 1, "blocks of a cold prompt"}};
constexpr std::array flood_parameters{Parameter{"blocks", 16, 1, "blocks of a request"}};
constexpr std::array preempt_parameters{
    agent_parameters[0], agent_parameters[1], agent_parameters[2],
    Parameter{"per-mille", 100, 0, "chance that a turn comes again, in thousandths", 1000},
    Parameter{"delay", 20, 1, "requests until it does"}};
constexpr std::array speculate_parameters{
    agent_parameters[0], agent_parameters[1], agent_parameters[2],
    Parameter{"rejected", 2, 0, "most blocks at the end that a turn replaces"}};
constexpr std::array tenants_parameters{
    Parameter{"tenants", 8, 1, "tenants; tenant k of 1, 2, ... weighs 840 / k"},
    Parameter{"prompt-blocks", 4, 1, "blocks of a tenant's prompt"},
    Parameter{"tail-blocks", 8, 0, "fresh blocks after it"},
    Parameter{"salted", 0, 0, "1: no two requests share a block", 1}};

constexpr std::array catalogue{
    Generator{"shared-prompt", "one system prompt, then fresh blocks", shared_prompt_parameters},
    Generator{"multi-turn", "users in random turns, conversations that grow",
              multi_turn_parameters},
    Generator{"agent", "long append-only sessions, started one after the other, in turns",
              agent_parameters},
    Generator{"fan-out", "trees of requests that branch from one prompt", fan_out_parameters},
    Generator{"scan", "a hot set, and now and then a long prompt never seen again",
              scan_parameters},
    Generator{"flood", "every request is new", flood_parameters},
    Generator{"preempt", "as agent; some requests come again a little later", preempt_parameters},
    Generator{"speculate", "as agent; turns replace their last blocks", speculate_parameters},
    Generator{"tenants", "tenants of unequal weight, each with its own prompt",
              tenants_parameters}};

/// The parameters of one run, checked.
using Values = std::map<std::string_view, std::uint64_t>;

/// A trace in the making: one request after the other, block by block.
class Workload {
  public:
    Workload(const GenerateOptions& options, const Values& values)
        : options_(options), values_(values), random_(options.seed) {
        trace_.block_size = options.block_size;
    }

    std::uint64_t value(std::string_view name) const { return values_.at(name); }
    std::uint64_t made() const noexcept { return trace_.requests.size(); }
    bool done() const noexcept { return made() == options_.requests; }
    /// The next unused stream.
    std::uint64_t new_stream() noexcept { return streams_++; }
    std::uint64_t id(std::uint64_t stream, std::uint64_t index) const noexcept {
        return session_block_id(options_.seed, stream, index);
    }
    std::uint64_t draw(std::uint64_t n) noexcept { return random_.uniform(n); }

    /// Appends blocks of a stream to the request that is being made, at the positions they have.
    void take(std::uint64_t stream, std::uint64_t blocks) {
        const auto first = trace_.ids.size() - begun_;
        for (std::uint64_t i = 0; i < blocks; ++i) {
            trace_.ids.push_back(id(stream, first + i));
        }
    }
    void take_all(std::span<const std::uint64_t> ids) {
        trace_.ids.insert(trace_.ids.end(), ids.begin(), ids.end());
    }
    /// Ends the request.
    void finish() {
        const auto count = trace_.ids.size() - begun_;
        trace_.requests.push_back({static_cast<double>(made() * options_.interval_ms),
                                   count * options_.block_size, options_.output_length, begun_,
                                   count});
        begun_ = trace_.ids.size();
    }
    /// The ids of the request made last.
    std::span<const std::uint64_t> last() const noexcept {
        return trace_.ids_of(trace_.requests.back());
    }
    Trace result(std::string_view name) && {
        trace_.path = name;
        return std::move(trace_);
    }

  private:
    const GenerateOptions& options_;
    const Values& values_;
    SplitMix64 random_;
    Trace trace_;
    std::size_t begun_ = 0;
    std::uint64_t streams_ = 0;
};

void make_shared_prompt(Workload& work) {
    while (!work.done()) {
        work.take(shared_session, work.value("prompt-blocks"));
        work.take(work.new_stream(), work.value("tail-blocks"));
        work.finish();
    }
}

void make_multi_turn(Workload& work) {
    struct Conversation {
        std::uint64_t stream = 0;
        std::uint64_t turns = 0;
    };
    std::vector<std::optional<Conversation>> users(work.value("users"));
    while (!work.done()) {
        auto& user = users[work.draw(users.size())];
        if (!user) {
            user = Conversation{work.new_stream(), 0};
        }
        work.take(user->stream, ++user->turns * work.value("turn-blocks"));
        work.finish();
        if (user->turns == work.value("turns")) {
            user.reset();
        }
    }
}

/// The sessions of `agent`, `preempt` and `speculate`: a ring in which each has its turn.
class Ring {
  public:
    explicit Ring(Workload& work) : work_(work) {}

    /// One turn of the session whose turn it is: an edit of its blocks, the turn's new blocks, the
    /// request. An empty ring starts a session.
    template <class Edit>
    void turn(Edit&& edit) {
        if (ring_.empty()) {
            start();
        }
        auto session = std::move(ring_.front());
        ring_.pop_front();
        edit(session.ids);
        for (std::uint64_t i = 0; i < work_.value("turn-blocks"); ++i) {
            session.ids.push_back(work_.id(session.stream, session.ids.size()));
        }
        work_.take_all(session.ids);
        if (++session.turns < work_.value("turns")) {
            ring_.push_back(std::move(session));
        }
        work_.finish();
    }
    void start_if_due() {
        if (work_.made() % work_.value("stagger") == 0) {
            start();
        }
    }

  private:
    struct Session {
        std::uint64_t stream = 0;
        std::uint64_t turns = 0;
        std::vector<std::uint64_t> ids;
    };
    void start() { ring_.push_back({work_.new_stream(), 0, {}}); }

    Workload& work_;
    std::deque<Session> ring_;
};

constexpr auto append_only = [](std::vector<std::uint64_t>&) {};

void make_agent(Workload& work) {
    Ring ring(work);
    while (!work.done()) {
        ring.start_if_due();
        ring.turn(append_only);
    }
}

void make_preempt(Workload& work) {
    Ring ring(work);
    std::deque<std::pair<std::uint64_t, std::vector<std::uint64_t>>> repeats;  // by request number
    while (!work.done()) {
        const auto now = work.made();
        ring.start_if_due();
        if (!repeats.empty() && repeats.front().first == now) {
            work.take_all(repeats.front().second);
            work.finish();
            repeats.pop_front();
            continue;
        }
        ring.turn(append_only);
        if (work.draw(1000) < work.value("per-mille")) {
            const auto ids = work.last();
            repeats.emplace_back(now + work.value("delay"),
                                 std::vector<std::uint64_t>(ids.begin(), ids.end()));
        }
    }
}

void make_speculate(Workload& work) {
    Ring ring(work);
    while (!work.done()) {
        ring.start_if_due();
        ring.turn([&work](std::vector<std::uint64_t>& ids) {
            const auto drawn = work.draw(work.value("rejected") + 1);
            const auto replaced = std::min<std::uint64_t>(drawn, ids.size());
            const auto stream = replaced > 0 ? work.new_stream() : 0;
            for (auto i = ids.size() - replaced; i < ids.size(); ++i) {
                ids[i] = work.id(stream, i);
            }
        });
    }
}

// Nodes of a tree are numbered breadth first from 0; node n has its blocks from stream root + n.
void make_tree(Workload& work, std::uint64_t nodes) {
    const auto root = work.new_stream();
    std::vector<std::uint64_t> path;
    for (std::uint64_t node = 0; node < nodes && !work.done(); ++node) {
        if (node > 0) {
            work.new_stream();
        }
        path.clear();
        for (auto at = node; at > 0; at = (at - 1) / work.value("branches")) {
            path.push_back(at);
        }
        work.take(root, work.value("prompt-blocks"));
        for (auto at = path.rbegin(); at != path.rend(); ++at) {
            work.take(root + *at, 1);
        }
        work.finish();
    }
}

void make_fan_out(Workload& work) {
    std::uint64_t nodes = 1;
    std::uint64_t level = 1;
    // More nodes than a trace can have requests are never reached.
    for (std::uint64_t i = 0; i < work.value("depth") && nodes <= largest_requests; ++i) {
        level *= work.value("branches");
        nodes += level;
    }
    while (!work.done()) {
        make_tree(work, nodes);
    }
}

void make_scan(Workload& work) {
    std::vector<std::uint64_t> hot(work.value("hot"));
    std::generate(hot.begin(), hot.end(), [&work] { return work.new_stream(); });
    while (!work.done()) {
        if ((work.made() + 1) % work.value("period") == 0) {
            work.take(work.new_stream(), work.value("cold-blocks"));
        } else {
            work.take(hot[work.draw(hot.size())], work.value("hot-blocks"));
        }
        work.finish();
    }
}

void make_flood(Workload& work) {
    while (!work.done()) {
        work.take(work.new_stream(), work.value("blocks"));
        work.finish();
    }
}

void make_tenants(Workload& work) {
    std::vector<std::uint64_t> weights;
    std::vector<std::uint64_t> prompts;
    std::uint64_t total = 0;
    for (std::uint64_t k = 1; k <= work.value("tenants"); ++k) {
        weights.push_back(840 / k);
        prompts.push_back(work.new_stream());
        total += weights.back();
    }
    while (!work.done()) {
        auto drawn = work.draw(total);
        std::size_t tenant = 0;
        for (; drawn >= weights[tenant]; ++tenant) {
            drawn -= weights[tenant];
        }
        const auto fresh = work.new_stream();
        work.take(work.value("salted") == 1 ? fresh : prompts[tenant], work.value("prompt-blocks"));
        work.take(fresh, work.value("tail-blocks"));
        work.finish();
    }
}

/// How a generator is run, and how long its longest request gets.
struct Shape {
    std::string_view name;
    void (*make)(Workload&);
    std::uint64_t (*longest)(const Values&, std::uint64_t requests);
};

std::uint64_t prompt_and_tail(const Values& values, std::uint64_t) {
    return values.at("prompt-blocks") + values.at("tail-blocks");
}
std::uint64_t all_turns(const Values& values, std::uint64_t requests) {
    return std::min(values.at("turns"), requests) * values.at("turn-blocks");
}
std::uint64_t root_to_leaf(const Values& values, std::uint64_t) {
    return values.at("prompt-blocks") + values.at("depth");
}
std::uint64_t hot_or_cold(const Values& values, std::uint64_t) {
    return std::max(values.at("hot-blocks"), values.at("cold-blocks"));
}
std::uint64_t all_blocks(const Values& values, std::uint64_t) {
    return values.at("blocks");
}

constexpr std::array shapes{Shape{"shared-prompt", make_shared_prompt, prompt_and_tail},
                            Shape{"multi-turn", make_multi_turn, all_turns},
                            Shape{"agent", make_agent, all_turns},
                            Shape{"fan-out", make_fan_out, root_to_leaf},
                            Shape{"scan", make_scan, hot_or_cold},
                            Shape{"flood", make_flood, all_blocks},
                            Shape{"preempt", make_preempt, all_turns},
                            Shape{"speculate", make_speculate, all_turns},
                            Shape{"tenants", make_tenants, prompt_and_tail}};

template <class Named>
auto named(std::span<const Named> all, std::string_view name) {
    return std::find_if(all.begin(), all.end(),
                        [name](const Named& entry) { return entry.name == name; });
}

GenerateError out_of_range(const Parameter& bounds, std::uint64_t value) {
    return {GenerateError::OutOfRange{std::string(bounds.name), value, bounds.smallest,
                                      bounds.largest}};
}

std::optional<GenerateError> check_common(const GenerateOptions& options) {
    const std::array bounds{
        std::pair{Parameter{"requests", 0, 1, {}, largest_requests}, options.requests},
        std::pair{Parameter{"block-size", 0, 1, {}}, options.block_size},
        std::pair{Parameter{"interval-ms", 0, 0, {}}, options.interval_ms},
        std::pair{Parameter{"output-length", 0, 0, {}, std::uint64_t{1} << 53U},
                  options.output_length}};
    for (const auto& [bound, value] : bounds) {
        if (value < bound.smallest || value > bound.largest) {
            return out_of_range(bound, value);
        }
    }
    return std::nullopt;
}

Result<Values, GenerateError> checked_values(const Generator& generator,
                                             const GenerateOptions& options) {
    Values values;
    for (const auto& parameter : generator.parameters) {
        values[parameter.name] = parameter.value;
    }
    for (const auto& [name, value] : options.parameters) {
        const auto parameter = named(generator.parameters, name);
        if (parameter == generator.parameters.end()) {
            return failure(
                GenerateError{GenerateError::UnknownParameter{std::string(generator.name), name}});
        }
        if (value < parameter->smallest || value > parameter->largest) {
            return failure(out_of_range(*parameter, value));
        }
        values[parameter->name] = value;
    }
    return values;
}

/// The text of each reason.
struct ReasonText {
    std::string operator()(const GenerateError::UnknownGenerator& reason) const {
        return fmt::format("unknown generator \"{}\"", reason.name);
    }
    std::string operator()(const GenerateError::UnknownParameter& reason) const {
        return fmt::format("generator \"{}\" has no parameter \"{}\"", reason.generator,
                           reason.name);
    }
    std::string operator()(const GenerateError::OutOfRange& reason) const {
        return fmt::format("{} must be {} to {}, got {}", reason.name, reason.smallest,
                           reason.largest, reason.value);
    }
    std::string operator()(const GenerateError::RequestTooLong& reason) const {
        return fmt::format("a request would have {} blocks, more than {}", reason.blocks,
                           reason.largest);
    }
};

}  // namespace

std::span<const Generator> generators() noexcept {
    return catalogue;
}

std::string GenerateError::message() const {
    return std::visit(ReasonText{}, reason);
}

Result<Trace, GenerateError> generate(std::string_view name, const GenerateOptions& options) {
    const auto generator = named(generators(), name);
    const auto shape = named(std::span<const Shape>(shapes), name);
    if (generator == generators().end() || shape == std::span<const Shape>(shapes).end()) {
        return failure(GenerateError{GenerateError::UnknownGenerator{std::string(name)}});
    }
    if (auto error = check_common(options)) {
        return failure(std::move(*error));
    }
    auto values = checked_values(*generator, options);
    if (!values) {
        return failure(std::move(values.error()));
    }
    const auto longest = shape->longest(*values, options.requests);
    if (longest > largest_count) {
        return failure(GenerateError{GenerateError::RequestTooLong{longest, largest_count}});
    }
    Workload work(options, *values);
    shape->make(work);
    return std::move(work).result(generator->name);
}

}  // namespace kvbm
