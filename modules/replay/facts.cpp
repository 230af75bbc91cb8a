module;

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

module kvbm.replay;

namespace kvbm {

namespace detail::replay {

Percentiles percentiles_of(std::vector<std::uint64_t> values) {
    if (values.empty()) {
        return {};
    }
    std::sort(values.begin(), values.end());
    const auto rank = [&values](std::size_t percent) {
        return values[(values.size() * percent + 99) / 100 - 1];
    };
    return {rank(50), rank(90), rank(99), values.back()};
}

}  // namespace detail::replay

namespace {

using detail::replay::percentiles_of;

/// A block's place in the tree of lineages: its parent's number and its id.
struct Lineage {
    std::size_t parent = 0;
    std::uint64_t id = 0;
    friend bool operator==(const Lineage&, const Lineage&) noexcept = default;
};

struct LineageHash {
    std::size_t operator()(const Lineage& lineage) const noexcept {
        return mix(mix(lineage.parent) ^ lineage.id);
    }
};

/// The references of a trace by dense block numbers, from 1; 0 is the parent of first blocks.
std::vector<std::size_t> block_numbers(const Trace& trace) {
    std::unordered_map<Lineage, std::size_t, LineageHash> numbers;
    std::vector<std::size_t> references;
    references.reserve(trace.ids.size());
    for (const auto& request : trace.requests) {
        std::size_t block = 0;
        for (const auto id : trace.ids_of(request)) {
            block = numbers.try_emplace({block, id}, numbers.size() + 1).first->second;
            references.push_back(block);
        }
    }
    return references;
}

/// Prefix sums over a row of counters. O(log n) each.
class SumTree {
  public:
    explicit SumTree(std::size_t size) : sums_(size + 1) {}

    void add(std::size_t index, std::int64_t amount) {
        for (auto i = index + 1; i < sums_.size(); i += i & (~i + 1)) {
            sums_[i] += amount;
        }
    }
    /// Sum of the counters before `index`.
    std::int64_t before(std::size_t index) const {
        std::int64_t sum = 0;
        for (auto i = index; i > 0; i -= i & (~i + 1)) {
            sum += sums_[i];
        }
        return sum;
    }

  private:
    std::vector<std::int64_t> sums_;
};

/// For each reference to a block seen before: how many distinct blocks were referenced from the
/// block's last reference on, itself included.
std::vector<std::uint64_t> reuse_distances(const std::vector<std::size_t>& references) {
    constexpr auto never = no_limit;
    std::vector<std::size_t> last(references.size() + 1, never);
    SumTree latest(references.size());  // 1 where a block's last reference so far is
    std::vector<std::uint64_t> distances;
    for (std::size_t now = 0; now < references.size(); ++now) {
        auto& then = last[references[now]];
        if (then != never) {
            const auto between = latest.before(now) - latest.before(then);
            distances.push_back(static_cast<std::uint64_t>(between));
            latest.add(then, -1);
        }
        latest.add(now, 1);
        then = now;
    }
    return distances;
}

void count_requests(const Trace& trace, TraceFacts& facts) {
    facts.requests = trace.requests.size();
    std::vector<std::uint64_t> blocks;
    double earliest = trace.requests.empty() ? 0 : trace.requests.front().time_ms;
    double latest = earliest;
    double previous = earliest;
    facts.first_time_ms = earliest;
    for (const auto& request : trace.requests) {
        facts.input_tokens += request.input_length;
        facts.output_tokens += request.output_length;
        facts.times_backwards += request.time_ms < previous ? 1U : 0U;
        facts.requests_without_partial_block +=
            request.count * trace.block_size < request.input_length ? 1U : 0U;
        blocks.push_back(request.count);
        previous = request.time_ms;
        earliest = std::min(earliest, previous);
        latest = std::max(latest, previous);
    }
    facts.span_ms = latest - earliest;
    facts.blocks_per_request = percentiles_of(std::move(blocks));
}

void count_ids(const Trace& trace, TraceFacts& facts) {
    struct Parent {
        std::uint64_t id = 0;
        bool first = false;  // begins a request: no parent
        bool several = false;
    };
    std::unordered_map<std::uint64_t, Parent> parents;
    std::unordered_set<std::uint64_t> seen;
    for (const auto& request : trace.requests) {
        Parent parent{0, true, false};
        seen.clear();
        for (const auto id : trace.ids_of(request)) {
            seen.insert(id);
            auto& known = parents.try_emplace(id, parent).first->second;
            known.several |= known.id != parent.id || known.first != parent.first;
            parent = {id, false, false};
        }
        facts.requests_repeating_ids += seen.size() < request.count ? 1U : 0U;
    }
    facts.distinct_ids = parents.size();
    facts.ids_under_two_parents = static_cast<std::uint64_t>(std::count_if(
        parents.begin(), parents.end(), [](const auto& entry) { return entry.second.several; }));
    if (!trace.ids.empty()) {
        const auto [smallest, largest] = std::minmax_element(trace.ids.begin(), trace.ids.end());
        facts.smallest_id = *smallest;
        facts.largest_id = *largest;
    }
}

void count_references(const std::vector<std::size_t>& references, TraceFacts& facts) {
    facts.block_references = references.size();
    facts.distinct_blocks =
        references.empty() ? 0 : *std::max_element(references.begin(), references.end());
    std::vector<std::uint64_t> counts(facts.distinct_blocks);
    for (const auto block : references) {
        ++counts[block - 1];
    }
    for (const auto count : counts) {
        auto& place = count == 1   ? facts.references.once
                      : count == 2 ? facts.references.twice
                      : count < 10 ? facts.references.three_to_nine
                                   : facts.references.ten_or_more;
        ++place;
        // A lineage occurs at most once in a request.
        facts.blocks_in_every_request += count == facts.requests ? 1U : 0U;
    }
}

}  // namespace

TraceFacts inspect_trace(const Trace& trace) {
    TraceFacts facts;
    count_requests(trace, facts);
    count_ids(trace, facts);
    const auto references = block_numbers(trace);
    count_references(references, facts);
    auto distances = reuse_distances(references);
    facts.reuses = distances.size();
    facts.reuse_distance = percentiles_of(std::move(distances));
    facts.empty_rows = trace.empty_rows;
    facts.blank_lines = trace.blank_lines;
    facts.skipped_lines = trace.skipped_lines;
    return facts;
}

}  // namespace kvbm
