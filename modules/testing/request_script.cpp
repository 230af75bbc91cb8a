// Requests: events in words, managers, the simulated KV, and scripts as bytes and lines.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import :script;
import kvbm.request;

namespace kvbm::testing {

std::vector<Token> counting_tokens(std::size_t count, Token first) {
    std::vector<Token> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

std::vector<SequenceEvent> RecordingDelegate::take() {
    return std::exchange(events_, {});
}

namespace {

std::string words(std::string_view name, std::initializer_list<std::size_t> numbers) {
    std::string text(name);
    for (const std::size_t number : numbers) {
        text += " " + std::to_string(number);
    }
    return text;
}

struct EventText {
    std::string operator()(const sequence_event::Created& e) const {
        return words("Created", {e.num_input_tokens, e.max_output_tokens, e.block_size});
    }
    std::string operator()(const sequence_event::PrefixMatched& e) const {
        return words("PrefixMatched", {e.blocks_matched});
    }
    std::string operator()(const sequence_event::PrefillScheduled& e) const {
        return words("PrefillScheduled", {e.num_tokens, e.blocks_allocated});
    }
    std::string operator()(const sequence_event::PrefillApplied& e) const {
        return words("PrefillApplied", {e.num_tokens, e.blocks_registered}) +
               (e.token_emitted ? " yes" : " no");
    }
    std::string operator()(const sequence_event::DecodeScheduled& e) const {
        return words("DecodeScheduled", {e.blocks_allocated});
    }
    std::string operator()(const sequence_event::DecodeApplied& e) const {
        return words("DecodeApplied", {e.token}) + (e.block_completed ? " yes" : " no");
    }
    std::string operator()(const sequence_event::SpeculativeScheduled& e) const {
        return words("SpeculativeScheduled", {e.num_tokens, e.blocks_allocated});
    }
    std::string operator()(const sequence_event::SpeculativeApplied& e) const {
        return words("SpeculativeApplied", {e.accepted, e.scheduled, e.blocks_released});
    }
    std::string operator()(const sequence_event::ScheduleReverted& e) const {
        return words("ScheduleReverted", {e.blocks_released});
    }
    std::string operator()(const sequence_event::TokensAppended& e) const {
        return words("TokensAppended", {e.count});
    }
    std::string operator()(const sequence_event::UnassignedDropped& e) const {
        return words("UnassignedDropped", {e.count});
    }
    std::string operator()(const sequence_event::Released&) const { return "Released"; }
    std::string operator()(const sequence_event::Reacquired& e) const {
        return words("Reacquired", {e.prefix_matched}) + (e.success ? " yes" : " no");
    }
};

struct TokensOf {
    std::size_t operator()(const sequence_event::Created& e) const { return e.num_input_tokens; }
    std::size_t operator()(const sequence_event::PrefillApplied& e) const {
        return e.token_emitted ? 1 : 0;
    }
    std::size_t operator()(const sequence_event::DecodeApplied&) const { return 1; }
    std::size_t operator()(const sequence_event::SpeculativeApplied& e) const { return e.accepted; }
    std::size_t operator()(const sequence_event::TokensAppended& e) const { return e.count; }
    template <class Event>
    std::size_t operator()(const Event&) const {
        return 0;
    }
};

// The finaliser of SplitMix64.
std::uint64_t mixed(std::uint64_t number) {
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9U;
    number = (number ^ (number >> 27)) * 0x94D049BB133111EBU;
    return number ^ (number >> 31);
}

}  // namespace

std::string to_string(const SequenceEvent& event) {
    return std::visit(EventText{}, event);
}

std::size_t total_tokens_of(std::span<const SequenceEvent> events) {
    std::size_t total = 0;
    for (const SequenceEvent& event : events) {
        total += std::visit(TokensOf{}, event);
    }
    return total;
}

namespace requests {

BlockManager<> make_manager(const Options& options) {
    auto builder = BlockManager<>::builder();
    builder.block_count(options.block_count)
        .block_size(options.block_size)
        .registry(BlockRegistry())
        .duplication_policy(options.reject ? BlockDuplicationPolicy::reject
                                           : BlockDuplicationPolicy::allow);
    switch (options.eviction) {
        case Options::Eviction::lru:
            builder.with_lru_backend();
            break;
        case Options::Eviction::fifo:
            builder.with_hashmap_backend();
            break;
        case Options::Eviction::lineage_tick:
            builder.with_lineage_backend_eviction(LineageEviction::tick);
            break;
        case Options::Eviction::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            break;
    }
    return must(builder.build());
}

Options decode_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 8> block_counts{1, 2, 3, 5, 8, 12, 16, 32};
    constexpr std::array<std::size_t, 4> block_sizes{1, 2, 4, 8};
    Options options;
    options.block_count = block_counts[bytes.below(block_counts.size())];
    options.block_size = block_sizes[bytes.below(block_sizes.size())];
    options.reject = bytes.flag();
    options.eviction = static_cast<Options::Eviction>(bytes.below(4));
    return options;
}

std::string to_string(const Options& options) {
    constexpr std::array names{"lru", "fifo", "lineage tick", "lineage fifo"};
    return std::to_string(options.block_count) + " blocks of " +
           std::to_string(options.block_size) + (options.reject ? ", reject, " : ", allow, ") +
           names[static_cast<std::size_t>(options.eviction)];
}

Command decode_command(ByteReader& bytes) {
    return script::decode<Command>(bytes);
}

std::string to_string(const Command& command) {
    return script::print(command);
}

std::optional<Command> parse_command(std::string_view line) {
    return script::parse<Command>(line);
}

std::vector<std::uint64_t> SimulatedKv::of(std::span<const Token> tokens, SaltHash salt) {
    std::vector<std::uint64_t> numbers;
    std::uint64_t before = mixed(salt + 1);
    for (const Token token : tokens) {
        before = mixed(before ^ (token + 0x9E3779B97F4A7C15U));
        numbers.push_back(before);
    }
    return numbers;
}

std::size_t SimulatedKv::cell(std::span<const BlockId> page_table, std::size_t token) const {
    expects(token / block_size_ < page_table.size(), "KV is written and read in held blocks only");
    return page_table[token / block_size_] * block_size_ + token % block_size_;
}

void SimulatedKv::spoil(BlockId block) {
    for (std::size_t i = 0; i < block_size_; ++i) {
        cells_[block * block_size_ + i] = ++spoilt_;
    }
}

void SimulatedKv::spoil(std::span<const BlockId> page_table, IndexRange tokens) {
    for (const std::size_t token : tokens) {
        cells_[cell(page_table, token)] = ++spoilt_;
    }
}

void SimulatedKv::write(std::span<const BlockId> page_table, std::span<const std::uint64_t> numbers,
                        IndexRange tokens) {
    for (const std::size_t token : tokens) {
        cells_[cell(page_table, token)] = numbers[token];
    }
}

bool SimulatedKv::holds(std::span<const BlockId> page_table, std::span<const std::uint64_t> numbers,
                        IndexRange tokens) const {
    return std::ranges::all_of(tokens, [&](std::size_t token) {
        return cells_[cell(page_table, token)] == numbers[token];
    });
}

bool SimulatedKv::holds(BlockId block, std::span<const std::uint64_t> numbers) const {
    return std::ranges::equal(std::span(cells_).subspan(block * block_size_, block_size_), numbers);
}

}  // namespace requests

}  // namespace kvbm::testing
