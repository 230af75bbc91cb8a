// A recorded production trace through a real manager.
module;

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

import kvbm.replay;

namespace kvbm::bench {

namespace {

struct Counts {
    std::uint64_t matched = 0;
    std::uint64_t evicted = 0;
    std::uint64_t duplicates = 0;
    friend bool operator==(const Counts&, const Counts&) = default;
};

/// What the parent counts on the bundled trace.
struct Recorded {
    std::string_view variant;
    std::size_t capacity;
    Counts counts;
};
constexpr std::size_t recorded_requests = 12'031;
constexpr std::array<Recorded, 30> recorded{{
    {"lru", 1000, {12'831, 274'669, 0}},
    {"lru", 5000, {31'840, 251'660, 0}},
    {"lru", 10'000, {60'921, 217'579, 0}},
    {"lru", 20'000, {82'939, 185'561, 0}},
    {"lru", 50'000, {102'290, 136'210, 0}},
    {"lru_reject", 10'000, {60'921, 217'579, 0}},
    {"lru_reject", 50'000, {102'290, 136'210, 0}},
    {"lru_tail_first", 1000, {12'847, 274'653, 0}},
    {"lru_tail_first", 5000, {32'260, 251'240, 0}},
    {"lru_tail_first", 10'000, {61'046, 217'454, 0}},
    {"lru_tail_first", 20'000, {83'035, 185'465, 0}},
    {"lru_tail_first", 50'000, {102'290, 136'210, 0}},
    {"lru_freq", 10'000, {60'921, 217'579, 0}},
    {"lru_freq", 50'000, {102'290, 136'210, 0}},
    {"multi_lru", 1000, {21'637, 265'566, 297}},
    {"multi_lru", 5000, {42'876, 239'050, 1574}},
    {"multi_lru", 10'000, {52'945, 223'827, 1728}},
    {"multi_lru", 20'000, {72'714, 194'372, 1414}},
    {"multi_lru", 50'000, {102'286, 136'185, 29}},
    {"lineage_tick", 1000, {12'847, 274'653, 0}},
    {"lineage_tick", 5000, {32'260, 251'240, 0}},
    {"lineage_tick", 20'000, {83'035, 185'465, 0}},
    {"lineage_tick", 10'000, {61'046, 217'454, 0}},
    {"lineage_tick", 50'000, {102'290, 136'210, 0}},
    {"lineage_fifo", 1000, {13'201, 274'299, 0}},
    {"lineage_fifo", 5000, {30'010, 253'490, 0}},
    {"lineage_fifo", 10'000, {47'621, 230'879, 0}},
    {"lineage_fifo", 50'000, {92'889, 145'611, 0}},
    {"hashmap", 10'000, {60'921, 217'579, 0}},
    {"hashmap", 50'000, {102'290, 136'210, 0}},
}};

constexpr std::array<std::string_view, 8> variants{"lru",          "lru_reject", "lru_tail_first",
                                                   "lru_freq",     "multi_lru",  "lineage_tick",
                                                   "lineage_fifo", "hashmap"};

/// The hashes of each request. The id of a block stands for its block hash.
std::vector<Chain> hashes_of(const std::string& path) {
    const Trace trace = must(read_trace(path));
    std::vector<Chain> requests;
    for (const Request& request : trace.requests) {
        Chain hashes;
        for (const std::uint64_t id : trace.ids_of(request)) {
            const BlockHash block{id};
            hashes.push_back(hashes.empty() ? SequenceHash::root(block)
                                            : must(hashes.back().extend(block)));
        }
        requests.push_back(std::move(hashes));
    }
    return requests;
}

BlockManager<> manager_of(std::string_view variant, std::size_t capacity) {
    if (variant == "lru_reject") {
        return make_manager("lru", capacity, BlockDuplicationPolicy::reject);
    }
    return make_manager(variant == "lru_tail_first" ? "lru" : variant, capacity);
}

void time_replay(const Run& run, std::string_view variant, std::size_t capacity) {
    const auto requests = hashes_of(run.settings().trace);
    std::size_t blocks = 0;
    for (const Chain& request : requests) {
        blocks += request.size();
    }
    const auto order =
        variant == "lru_tail_first" ? ReleaseOrder::leaf_first : ReleaseOrder::root_first;
    Counts counts;
    std::uint64_t rejected = 0;
    std::size_t too_long = 0;
    const auto replay_once = [&](std::size_t) {
        auto manager = manager_of(variant, capacity);
        counts = {};
        too_long = 0;
        const auto time = time_of([&] {
            Lists lists;
            for (const Chain& request : requests) {
                if (request.size() > capacity) {
                    ++too_long;
                    continue;
                }
                const std::size_t hits = manager.match_blocks_into(request, lists.held);
                counts.matched += hits;
                if (hits < request.size()) {
                    const auto missing = std::span(request).subspan(hits);
                    allocate(manager, missing.size(), lists.fresh);
                    publish(manager, lists, missing);
                }
                keep(lists);
                lists.held.clear(order);
            }
        });
        const auto metrics = manager.metrics()->snapshot();
        counts.evicted = metrics.evictions;
        counts.duplicates = metrics.duplicate_blocks;
        rejected = metrics.registration_dedup;
        return Timed{requests.size(), time};
    };
    const auto more = [&](double median) {
        const double total_s = median * static_cast<double>(requests.size()) / 1e9;
        std::array<char, 512> text{};
        std::snprintf(text.data(), text.size(),
                      ",\"requests\":%zu,\"blocks\":%zu,\"matched_blocks\":%ju,\"evictions\":%ju,"
                      "\"duplicates\":%ju,\"rejected\":%ju,\"too_long\":%zu,\"total_s\":%.4f,"
                      "\"requests_per_s\":%.0f,\"per_block_ns\":%.1f",
                      requests.size(), blocks, std::uintmax_t{counts.matched},
                      std::uintmax_t{counts.evicted}, std::uintmax_t{counts.duplicates},
                      std::uintmax_t{rejected}, too_long, total_s, 1e9 / median,
                      total_s * 1e9 / static_cast<double>(blocks));
        return std::string(text.data());
    };
    run.measure(1, replay_once, {.unit = "ns/request", .whole = true, .warmups = 1, .more = more});

    const auto known = std::ranges::find_if(recorded, [&](const Recorded& record) {
        return record.variant == variant && record.capacity == capacity;
    });
    if (known != recorded.end() && requests.size() == recorded_requests) {
        expects(counts == known->counts, "a replay counts what the parent counts");
    }
}

}  // namespace

void add_replay_cases(Cases& cases, const Settings& settings) {
    for (const std::string_view variant : variants) {
        for (const std::size_t capacity : settings.capacities) {
            cases.push_back({"replay/" + std::string(variant) + "/" + std::to_string(capacity),
                             [=](const Run& run) { time_replay(run, variant, capacity); }});
        }
    }
}

}  // namespace kvbm::bench
