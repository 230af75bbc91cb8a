module;

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.request;

namespace kvbm {

std::string BlocksHeld::message() const {
    return "expected no blocks, " + std::to_string(count) + " held";
}

std::string GenerationComplete::message() const {
    return "generation complete: " + std::to_string(generated) +
           " >= " + std::to_string(max_output);
}

std::string TokenExtension::message() const {
    return "token extension error: " + error.message();
}

namespace detail::request {

using blocks::Engine;
using blocks::RawGuard;

namespace {

std::size_t saturating_sum(std::size_t a, std::size_t b) noexcept {
    return a > std::numeric_limits<std::size_t>::max() - b ? std::numeric_limits<std::size_t>::max()
                                                           : a + b;
}

}  // namespace

RequestCore::RequestCore(std::span<const Token> tokens, std::size_t max_output,
                         std::size_t block_size, SaltHash salt)
    : sequence_(tokens, block_size, salt),
      num_input_tokens_(tokens.size()),
      max_output_tokens_(max_output) {}

void RequestCore::use(const Store& store) noexcept {
    expects(Engine::block_size(store) == block_size(),
            "a request and its manager have one block size");
    const ManagerId id = Engine::id(store);
    expects(manager_ == id || manager_ == ManagerId::null(), "a request stays with one manager");
    manager_ = id;
}

Result<std::size_t, BlocksHeld> RequestCore::match(Row& row, Store& store, std::size_t at_most) {
    if (row.size() != 0) {
        return failure(BlocksHeld{row.size()});
    }
    const auto hashes = sequence_.all_sequence_hashes();
    prefix_matched_ = row.match(store, hashes.first(std::min(at_most, hashes.size())));
    prefix_held_ = true;
    return prefix_matched_;
}

std::optional<Misfit> RequestCore::misfit(const Row& row,
                                          std::span<const RawGuard> guards) const noexcept {
    const auto hashes = sequence_.all_sequence_hashes();
    std::size_t position = row.assigned().size();
    for (const RawGuard& guard : guards) {
        const SequenceHash& actual = Engine::hash(guard);
        if (actual != hashes[position]) {
            return Misfit{position, hashes[position], actual};
        }
        ++position;
    }
    return std::nullopt;
}

bool RequestCore::allocate(Row& row, Store& store, std::size_t count) {
    if (count > Engine::total_blocks(store)) {
        return false;
    }
    if (count > 0) {
        sequence_.reserve(std::min((row.size() + count) * block_size(),
                                   saturating_sum(num_input_tokens_, max_output_tokens_)));
    }
    return row.allocate(store, count);
}

std::size_t RequestCore::register_below(Row& row, Store& store, std::size_t limit) {
    const auto known = sequence_.blocks();
    const auto allowed = known.first(std::min(limit, known.size()));
    if (allowed.size() <= row.assigned().size()) {
        return 0;
    }
    if (row.staged().empty()) {
        return *row.stage_and_register(allowed, store);
    }
    static_cast<void>(row.stage(allowed));
    return row.register_blocks(store, allowed.size() - row.assigned().size());
}

Result<bool, BlocksHeld> RequestCore::reacquire(Row& row, Store& store, std::size_t at_most) {
    const std::size_t matched_before = prefix_matched_;
    const bool held_before = prefix_held_;
    const auto matched = match(row, store, at_most);
    if (!matched) {
        return failure(matched.error());
    }
    bool allocated = false;
    try {
        allocated = allocate(row, store, num_blocks() - *matched);
    } catch (...) {
        row.clear(ReleaseOrder::root_first);
        prefix_matched_ = matched_before;
        prefix_held_ = held_before;
        throw;
    }
    if (!allocated) {
        row.clear(ReleaseOrder::root_first);
        prefix_matched_ = matched_before;
        prefix_held_ = held_before;
    }
    return allocated;
}

void RequestCore::release(Row& row, ReleaseOrder order) noexcept {
    row.clear(order);
    prefix_held_ = false;
}

Result<std::optional<IndexRange>, TokenExtension> RequestCore::append(
    std::span<const Token> tokens) {
    auto completed = sequence_.extend_tokens(tokens);
    if (!completed) {
        // The only way in which a sequence refuses tokens.
        auto& reason = std::get<BlockSequenceError::TokenExtension>(completed.error().reason);
        return failure(TokenExtension{std::move(reason.error)});
    }
    return *completed;
}

void RequestCore::take_back(std::size_t count) noexcept {
    sequence::Rewind::truncate(sequence_, total_tokens() - count);
}

InvariantReport RequestCore::check_invariants(const Row& row) const {
    InvariantReport report = row.check_invariants();
    const auto check = [&](bool holds, const char* id, std::vector<BlockId> ids, const char* text) {
        if (!holds) {
            report.violations.push_back({id, std::move(ids), text});
        }
    };
    const auto hashes = sequence_.all_sequence_hashes();
    check(total_tokens() >= num_input_tokens_ && generated_tokens() <= max_output_tokens_, "R1", {},
          "a request has no more tokens than its prompt and its limit");
    check(total_tokens() / block_size() == num_blocks(), "R1", {},
          "every full block of a request has a name");
    std::size_t position = 0;
    for (const auto* phase : {&row.assigned(), &row.staged()}) {
        for (const RawGuard& guard : phase->span()) {
            check(position < hashes.size() && Engine::hash(guard) == hashes[position], "R4",
                  {guard.id}, "a named block of a request has the hash of its place");
            ++position;
        }
    }
    std::vector<BlockId> ids;
    for (const auto* phase : {&row.assigned(), &row.staged(), &row.unassigned()}) {
        for (const RawGuard& guard : phase->span()) {
            ids.push_back(guard.id);
        }
    }
    std::ranges::sort(ids);
    check(std::ranges::adjacent_find(ids) == ids.end(), "R11", ids,
          "the blocks of a request are distinct");
    check(!prefix_held_ || prefix_matched_ <= row.assigned().size(), "R15", {},
          "the matched prefix is held until it is released");
    return report;
}

}  // namespace detail::request

}  // namespace kvbm
