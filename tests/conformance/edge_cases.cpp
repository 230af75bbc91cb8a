// edge_cases.json: single facts, and calls that the recorded version refuses by a panic.
//
// Here such a call is an error value, a broken contract or no program at all. What counts is that
// it is refused; the text is compared where the specification keeps it.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import :requests;
import kvbm.blocks;
import kvbm.core;
import kvbm.frequency;
import kvbm.hash;
import kvbm.metrics;
import kvbm.registry;
import kvbm.tokens;

namespace kvbm::conformance {
namespace {

using Numbers = std::vector<std::size_t>;

/// A text with each of its numbers replaced by `#`, and the numbers.
std::pair<std::string, Numbers> without_numbers(std::string_view text) {
    std::string pattern;
    Numbers numbers;
    bool in_number = false;
    for (const char c : text) {
        const bool digit = c >= '0' && c <= '9';
        if (digit && !std::exchange(in_number, true)) {
            pattern += '#';
            numbers.push_back(0);
        }
        if (digit) {
            numbers.back() = 10 * numbers.back() + static_cast<std::size_t>(c - '0');
        } else {
            pattern += c;
            in_number = false;
        }
    }
    return {pattern, numbers};
}

// --- manager_builder

using Builder = BlockManagerBuilder<Tier>;

enum class Registry { none, plain, with_tracker };

/// What a case sets beside a registry and a block count.
struct BuilderCase {
    std::string_view pattern;
    Registry registry;
    bool with_block_count;
    void (*set)(Builder& builder, const Numbers& numbers);
};

std::uint32_t threshold(std::size_t number) {
    return static_cast<std::uint32_t>(number);
}

constexpr std::array builder_cases{
    BuilderCase{"only block_count # and a registry", Registry::plain, false,
                [](Builder& builder, const Numbers& numbers) { builder.block_count(numbers[0]); }},
    BuilderCase{"registry missing", Registry::none, true, [](Builder&, const Numbers&) {}},
    BuilderCase{"block_count missing", Registry::plain, false, [](Builder&, const Numbers&) {}},
    BuilderCase{"registry and block_count missing", Registry::none, false,
                [](Builder&, const Numbers&) {}},
    BuilderCase{"block_count #", Registry::plain, false,
                [](Builder& builder, const Numbers& numbers) { builder.block_count(numbers[0]); }},
    BuilderCase{
        "reject, block_size #", Registry::plain, true,
        [](Builder& builder, const Numbers& numbers) {
            builder.duplication_policy(BlockDuplicationPolicy::reject).block_size(numbers[0]);
        }},
    BuilderCase{"block_size #", Registry::plain, true,
                [](Builder& builder, const Numbers& numbers) { builder.block_size(numbers[0]); }},
    BuilderCase{"multi_lru without frequency tracking", Registry::plain, true,
                [](Builder& builder, const Numbers&) { builder.with_multi_lru_backend(); }},
    BuilderCase{"multi_lru with frequency tracking", Registry::with_tracker, true,
                [](Builder& builder, const Numbers&) { builder.with_multi_lru_backend(); }},
    BuilderCase{"multi_lru thresholds #,#,#", Registry::with_tracker, true,
                [](Builder& builder, const Numbers& numbers) {
                    builder.with_multi_lru_backend_custom_thresholds(
                        threshold(numbers[0]), threshold(numbers[1]), threshold(numbers[2]));
                }},
    BuilderCase{"lineage fifo", Registry::plain, true, [](Builder& builder, const Numbers&) {
                    builder.with_lineage_backend_eviction(LineageEviction::fifo);
                }}};

BlockRegistry with_tracker() {
    return BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build();
}

Object built(const Builder& builder) {
    const auto manager = builder.build();
    if (!manager) {
        return {{"err", Object{{"kind", "ValidationError"}, {"msg", manager.error().message()}}}};
    }
    const bool allow = manager->duplication_policy() == BlockDuplicationPolicy::allow;
    return {{"ok", Object{{"total_blocks", manager->total_blocks()},
                          {"block_size", manager->block_size()},
                          {"policy", allow ? "allow" : "reject"},
                          {"available", manager->available_blocks()},
                          {"metrics_label", std::string(manager->metrics()->type_label())}}}};
}

void replay_builders(const Fields& document, Report& report) {
    constexpr std::size_t any_count = 4;
    for (const Fields& vector : document.objects("manager_builder")) {
        const auto [pattern, numbers] = without_numbers(vector.text("what"));
        const auto found = std::ranges::find(builder_cases, pattern, &BuilderCase::pattern);
        if (found == builder_cases.end()) {
            vector.refuse("builds a manager in an unknown way");
            return;
        }
        Builder builder = BlockManager<Tier>::builder();
        if (found->registry != Registry::none) {
            builder.registry(found->registry == Registry::plain ? BlockRegistry() : with_tracker());
        }
        if (found->with_block_count) {
            builder.block_count(vector.has("ok") ? vector.object("ok").size("total_blocks")
                                                 : any_count);
        }
        found->set(builder, numbers);
        check_vector(report, "manager_builder", vector, {}, built(builder));
    }
}

// --- panics

/// Whether the call ends in a broken contract. It is made in a child process.
bool breaks_contract(void (*call)()) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        call();
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

/// What became of a call: not refused, refused, or refused with the text of the recording.
struct Refusal {
    bool refused = false;
    std::optional<std::string> text;
};

template <class T, class E>
Refusal refusal_of(const Result<T, E>& result) {
    return {!result.has_value(), std::nullopt};
}

template <class T, class E>
Refusal refusal_with_text(const Result<T, E>& result) {
    return {!result.has_value(), result ? std::nullopt : std::optional(result.error().message())};
}

struct PanicCase {
    std::string_view name;
    /// Null: `left_out` says why it is not replayed.
    Refusal (*call)(const Numbers& numbers);
    std::string_view left_out;
};

constexpr std::uint64_t lineage_limit = SequenceHash::max_position + 1;

Refusal pop_with_runs() {
    const std::array<Token, 1> tokens{};
    const std::array runs{MultimodalRun{.mm_hash = 1, .offset = 0, .length = 1}};
    auto sequence = must(TokenBlockSequence::create_with_runs(tokens, runs, 4));
    return refusal_of(sequence.pop());
}

Refusal decode_mode_3() {
    std::array<std::uint8_t, 16> bytes{};
    bytes[0] = 0xC0;
    return refusal_of(SequenceHash::from_bytes(bytes));
}

Refusal overflowing_run() {
    const std::array runs{MultimodalRun{
        .mm_hash = 1, .offset = std::numeric_limits<std::size_t>::max(), .length = 1}};
    return refusal_of(validate_and_sort(runs, 1));
}

Refusal negative_token() {
    const std::array<std::int32_t, 1> ids{-1};
    return {tokens_from_int32(ids) != std::vector<Token>{0xFFFF'FFFFU}, std::nullopt};
}

Refusal build_with_block_size(const Numbers& numbers) {
    Builder builder = BlockManager<Tier>::builder();
    builder.registry(BlockRegistry()).block_count(1).block_size(numbers.back());
    return refusal_of(builder.build());
}

Refusal build_with_thresholds(const Numbers& numbers) {
    Builder builder = BlockManager<Tier>::builder();
    builder.registry(with_tracker())
        .block_count(1)
        .with_multi_lru_backend_custom_thresholds(threshold(numbers[0]), threshold(numbers[1]),
                                                  threshold(numbers[2]));
    return refusal_of(builder.build());
}

constexpr std::array panic_cases{
    PanicCase{"plh_position_limit",
              [](const Numbers&) {
                  return refusal_with_text(
                      SequenceHash::make(ChainHash{1}, ChainHash{2}, lineage_limit));
              },
              ""},
    PanicCase{"plh_extend_limit",
              [](const Numbers&) {
                  const auto last = must(
                      SequenceHash::make(ChainHash{1}, ChainHash{2}, SequenceHash::max_position));
                  return refusal_with_text(last.extend(BlockHash{3}));
              },
              ""},
    PanicCase{"plh_decoded_mode_3", [](const Numbers&) { return decode_mode_3(); }, ""},
    PanicCase{"psh_position_limit",
              [](const Numbers&) {
                  return refusal_with_text(PositionalSequenceHash::make(
                      ChainHash{1}, BlockHash{2}, PositionalSequenceHash::max_position + 1));
              },
              ""},
    PanicCase{"sequence_block_size_zero",
              [](const Numbers&) {
                  return Refusal{breaks_contract([] {
                                     const std::array<Token, 1> tokens{1};
                                     const TokenBlockSequence sequence(tokens, 0);
                                 }),
                                 std::nullopt};
              },
              ""},
    PanicCase{"pop_with_mm_runs", [](const Numbers&) { return pop_with_runs(); }, ""},
    PanicCase{"mm_end_overflow", [](const Numbers&) { return overflowing_run(); }, ""},
    PanicCase{"tokens_from_negative_i32", [](const Numbers&) { return negative_token(); }, ""},
    PanicCase{
        "tokens_from_large_usize",
        [](const Numbers&) {
            // There is no conversion from wider integers: such a call does not compile.
            return Refusal{
                !std::is_constructible_v<std::span<const Token>, const std::vector<std::size_t>&>,
                std::nullopt};
        },
        ""},
    PanicCase{"builder_block_size", build_with_block_size, ""},
    PanicCase{"builder_thresholds", build_with_thresholds, ""},
    PanicCase{"lineage_fragment_collision", nullptr, "two hashes may share a lineage key"},
    PanicCase{"mm_bytes_unsorted_debug_only", nullptr,
              "an assertion of the recorded version's debug build only"}};

void replay_panics(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("panics")) {
        const std::string name = vector.text("name");
        if (const auto refused = request_call_refused(name)) {
            check_vector(report, "panics", vector, {"name", "call", "msg"}, {{"panics", *refused}});
            continue;
        }
        const auto found = std::ranges::find(panic_cases, name, &PanicCase::name);
        if (found == panic_cases.end()) {
            vector.refuse("makes the unknown call \"" + name + "\"");
            return;
        }
        if (found->call == nullptr) {
            report.skip(std::string(found->left_out));
            continue;
        }
        const Refusal refusal = found->call(without_numbers(vector.text("call")).second);
        Object actual{{"panics", refusal.refused}};
        if (refusal.text) {
            actual.push_back({"msg", *refusal.text});
            check_vector(report, "panics", vector, {"name", "call"}, actual);
        } else {
            check_vector(report, "panics", vector, {"name", "call", "msg"}, actual);
        }
    }
}

// --- named facts and the rest

Object weak_block_keeps_entry() {
    const BlockRegistry registry;
    auto manager = must(BlockManager<Tier>::builder()
                            .block_count(1)
                            .block_size(4)
                            .registry(registry)
                            .with_lru_backend()
                            .build());
    const SequenceHash hash = SequenceHash::root(BlockHash{7});
    auto weak = [&] {
        auto block = manager.allocate_blocks(1)->pop_back();
        auto staged = must(std::move(block).stage(hash, 4));
        return std::optional(must(manager.register_block(std::move(staged))).downgrade());
    }();
    const auto evicting = manager.allocate_blocks(1);
    const bool while_weak_lives = registry.is_registered(hash);
    weak.reset();
    return {{"evicted_while_weak_lives", while_weak_lives},
            {"after_weak_dropped", registry.is_registered(hash)}};
}

Object default_values() {
    const std::array<Token, 4> tokens{1, 2, 3, 4};
    return {{"token_block_default_plh", hex(TokenBlock().sequence_hash())},
            {"salt_none_equals_zero", block_hash(tokens) == block_hash(tokens, 0)},
            {"block_1_2_3_4_salt_1337", hex(block_hash(tokens, 1337).value)}};
}

struct NamedCase {
    std::string_view name;
    Object (*facts)();
};

constexpr std::array named_cases{
    NamedCase{"default_values", default_values},
    NamedCase{"weak_block_keeps_registry_entry", weak_block_keeps_entry}};

void replay_named(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("named")) {
        const std::string name = vector.text("name");
        const auto found = std::ranges::find(named_cases, name, &NamedCase::name);
        if (found != named_cases.end()) {
            check_vector(report, "named", vector, {"name"}, found->facts());
        } else if (decided_otherwise(name).value_or(false)) {
            report.skip("decided otherwise than " + name);
        } else {
            vector.refuse("is the unknown fact \"" + name + "\"");
            return;
        }
    }
}

/// No capacity is the default here: callers name one.
void replay_capacities(const Fields& document, Report& report) {
    using Named = std::pair<std::string_view, FrequencyTrackingCapacity>;
    constexpr std::array capacities{Named{"Small", FrequencyTrackingCapacity::small},
                                    Named{"Medium", FrequencyTrackingCapacity::medium},
                                    Named{"Large", FrequencyTrackingCapacity::large}};
    for (const Fields& vector : document.objects("frequency_tracking_capacity")) {
        const std::string name = vector.text("name");
        const auto found = std::ranges::find(capacities, name, &Named::first);
        if (found == capacities.end()) {
            vector.refuse("names the unknown capacity \"" + name + "\"");
            return;
        }
        check_vector(report, "frequency_tracking_capacity", vector, {"name", "default"},
                     {{"size", entries(found->second)}});
    }
}

// --- metric families

/// A pool of 4 blocks: one registered and let go, 2 hashes matched of which the first hits, 2
/// blocks allocated.
std::string exported_text() {
    MetricsAggregator aggregator;
    auto manager = must(BlockManager<Tier>::builder()
                            .block_count(4)
                            .block_size(4)
                            .registry(BlockRegistry())
                            .with_lru_backend()
                            .aggregator(aggregator)
                            .build());
    const std::array hashes{SequenceHash::root(BlockHash{7}), SequenceHash::root(BlockHash{8})};
    {
        auto staged = must(manager.allocate_blocks(1)->pop_back().stage(hashes[0], 4));
        const auto registered = must(manager.register_block(std::move(staged)));
    }
    const auto matched = manager.match_blocks(hashes);
    const auto allocated = manager.allocate_blocks(2);
    return aggregator.to_prometheus();
}

/// What stands behind `begin` up to the end of its line; empty if there is no such line.
std::string_view line_behind(std::string_view text, const std::string& begin) {
    const auto at = text.find(begin);
    if (at == std::string_view::npos) {
        return {};
    }
    text.remove_prefix(at + begin.size());
    return text.substr(0, text.find('\n'));
}

void replay_metric_families(const Fields& document, Report& report) {
    const std::string text = exported_text();
    for (const Fields& vector : document.objects("metric_families")) {
        const std::string name = vector.text("name");
        const std::string_view kind = line_behind(text, "# TYPE " + name + " ");
        const std::string number(line_behind(text, name + "{pool=\"Tier\"} "));
        Object actual{{"type", kind == "counter" ? "COUNTER"
                               : kind == "gauge" ? "GAUGE"
                                                 : ""},
                      {"labels", Array{Value(Array{"pool", "Tier"})}}};
        if (!number.empty()) {
            actual.push_back({"value", std::stod(number)});
        }
        check_vector(report, "metric_families", vector, {"name"}, actual);
    }
}

void skip_all(const Fields& document, Report& report, std::string_view member,
              std::string_view reason) {
    for (std::size_t i = 0; i < document.elements(member).size(); ++i) {
        report.skip(std::string(reason));
    }
}

constexpr std::array edge_case_members{
    MemberReplay{"attachments", replay_attachments},
    MemberReplay{"frequency_tracking_capacity", replay_capacities},
    MemberReplay{"manager_builder", replay_builders},
    MemberReplay{"metric_families", replay_metric_families},
    MemberReplay{"named", replay_named},
    MemberReplay{"panics", replay_panics},
    MemberReplay{"positional_radix_tree",
                 [](const Fields& document, Report& report) {
                     skip_all(document, report, "positional_radix_tree",
                              "there is no map by position, and there will be none");
                 }},
    MemberReplay{"schedulable_builder", replay_schedulable_builders}};

}  // namespace

void replay_edge_cases(const Fields& document, Report& report) {
    replay_members(document, report, edge_case_members);
}

}  // namespace kvbm::conformance
