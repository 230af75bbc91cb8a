// Laws of replays that hold on any trace: replay.md 4.3 and 9.
#include <cstddef>
#include <cstdint>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

#include "random_requests.h"

import kvbm.replay;

namespace {

using namespace kvbm_test;
using kvbm::ReplayMode;
using kvbm::ReplayOptions;
using kvbm::ReplayOrder;
using kvbm::ReplayPolicy;

kvbm::ReplayRun replay(const Requests& requests, const ReplayOptions& options) {
    return kvbm::must(kvbm::replay(hashes_of(requests), options));
}

rc::Gen<ReplayPolicy> any_policy() {
    return rc::gen::element(ReplayPolicy::lru, ReplayPolicy::multi_lru, ReplayPolicy::lineage_tick,
                            ReplayPolicy::lineage_fifo, ReplayPolicy::fifo);
}

RC_GTEST_PROP(ReplayLaws, hits_never_fall_when_an_lru_of_order_tail_grows, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");
    const auto more = *rc::gen::inRange<std::size_t>(1, 20).as("more");
    const auto mode = *rc::gen::element(ReplayMode::manager, ReplayMode::ideal).as("mode");

    const auto small = replay(requests, {.capacity = capacity, .mode = mode});
    const auto large = replay(requests, {.capacity = capacity + more, .mode = mode});

    RC_ASSERT(small.block_hits <= large.block_hits);
    RC_ASSERT(small.token_hits <= large.token_hits);
}

RC_GTEST_PROP(ReplayLaws, both_modes_have_the_same_hits_under_order_tail, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");

    const auto manager = replay(requests, {.capacity = capacity});
    const auto ideal = replay(requests, {.capacity = capacity, .mode = ReplayMode::ideal});

    RC_ASSERT(manager.block_hits == ideal.block_hits);
    RC_ASSERT(manager.token_hits == ideal.token_hits);
    RC_ASSERT(manager.requests_with_hit == ideal.requests_with_hit);
    RC_ASSERT(manager.mean_block_hit_rate == ideal.mean_block_hit_rate);
    RC_ASSERT(manager.mean_token_hit_rate == ideal.mean_token_hit_rate);
}

RC_GTEST_PROP(ReplayLaws, both_modes_are_equal_under_order_head_while_requests_fit, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *rc::gen::inRange<std::size_t>(9, 40).as("capacity");

    const auto manager = replay(requests, {.capacity = capacity, .order = ReplayOrder::head});
    const auto ideal = replay(
        requests, {.capacity = capacity, .mode = ReplayMode::ideal, .order = ReplayOrder::head});

    RC_ASSERT(manager.block_hits == ideal.block_hits);
    RC_ASSERT(manager.evictions == ideal.evictions);
}

RC_GTEST_PROP(ReplayLaws, every_reference_is_a_hit_skipped_evicted_resident_or_a_duplicate, ()) {
    const auto requests = *any_requests().as("requests");
    const auto policy = *any_policy().as("policy");
    const auto order = *any_order().as("order");
    const auto capacity = *any_capacity().as("capacity");

    const auto run = replay(requests, {.capacity = capacity, .policy = policy, .order = order});

    RC_ASSERT(run.block_references ==
              run.block_hits + run.skipped_blocks + run.evictions + run.resident + run.duplicates);
    RC_ASSERT(run.resident <= capacity);
}

RC_GTEST_PROP(ReplayLaws, fifo_is_lru_and_lineage_tick_is_lru_under_order_tail, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");
    const auto order = *any_order().as("order");
    const auto counts = [&](ReplayPolicy policy, ReplayOrder of) {
        return counts_of(replay(requests, {.capacity = capacity, .policy = policy, .order = of}));
    };

    RC_ASSERT(counts(ReplayPolicy::fifo, order) == counts(ReplayPolicy::lru, order));
    RC_ASSERT(counts(ReplayPolicy::lineage_tick, ReplayOrder::tail) ==
              counts(ReplayPolicy::lru, ReplayOrder::tail));
}

RC_GTEST_PROP(ReplayLaws, an_unlimited_cache_hits_what_an_infinite_set_holds, ()) {
    const auto requests = *any_requests().as("requests");
    const auto policy = *any_policy().as("policy");
    std::set<Lineage> seen;
    std::uint64_t hits = 0;
    for (const auto& ids : requests.ids) {
        const auto blocks = lineages_of(ids);
        for (std::size_t i = 0; i < blocks.size() && seen.contains(blocks[i]); ++i) {
            ++hits;
        }
        seen.insert(blocks.begin(), blocks.end());
    }

    const auto run = replay(requests, {.policy = policy});

    RC_ASSERT(run.block_hits == hits);
    RC_ASSERT(run.attainable_hits == hits);
    RC_ASSERT(run.resident == seen.size());
    RC_ASSERT(run.evictions == 0u);
}

RC_GTEST_PROP(ReplayLaws, more_blocks_than_the_trace_has_are_as_good_as_no_limit, ()) {
    const auto requests = *any_requests().as("requests");
    const auto policy = *any_policy().as("policy");
    const auto order = *any_order().as("order");

    const auto unlimited = replay(requests, {.policy = policy, .order = order});
    const auto huge =
        replay(requests, {.capacity = std::size_t{1} << 60, .policy = policy, .order = order});

    RC_ASSERT(counts_of(huge) == counts_of(unlimited));
}

RC_GTEST_PROP(ReplayLaws, renaming_ids_one_to_one_changes_nothing, ()) {
    const auto requests = *any_requests().as("requests");
    const auto policy =
        *rc::gen::element(ReplayPolicy::lru, ReplayPolicy::lineage_tick, ReplayPolicy::lineage_fifo)
             .as("policy");
    const auto order = *any_order().as("order");
    const auto capacity = *any_capacity().as("capacity");
    const auto factor = *rc::gen::arbitrary<std::uint64_t>().as("factor") | 1U;
    auto trace = trace_of(requests);
    for (auto& id : trace.ids) {
        id *= factor;  // odd, so no two ids become one
    }

    const ReplayOptions options{.capacity = capacity, .policy = policy, .order = order};
    const auto renamed =
        kvbm::must(kvbm::replay(kvbm::must(kvbm::TraceHashes::of(trace)), options));

    RC_ASSERT(counts_of(renamed) == counts_of(replay(requests, options)));
}

RC_GTEST_PROP(ReplayLaws, warming_and_counting_add_up_to_the_whole, ()) {
    const auto requests = *any_requests().as("requests");
    const auto capacity = *any_capacity().as("capacity");
    const auto from = *rc::gen::inRange<std::size_t>(0, requests.ids.size()).as("from");
    RC_PRE(from > 0u);

    const auto whole = replay(requests, {.capacity = capacity});
    const auto first = replay(requests, {.capacity = capacity, .limit = from});
    const auto second = replay(requests, {.capacity = capacity, .count_from = from});

    RC_ASSERT(first.requests + second.requests == whole.requests);
    RC_ASSERT(first.block_references + second.block_references == whole.block_references);
    RC_ASSERT(first.input_tokens + second.input_tokens == whole.input_tokens);
    RC_ASSERT(first.block_hits + second.block_hits == whole.block_hits);
    RC_ASSERT(first.token_hits + second.token_hits == whole.token_hits);
    RC_ASSERT(first.evictions + second.evictions == whole.evictions);
    RC_ASSERT(first.cut_requests + second.cut_requests == whole.cut_requests);
    RC_ASSERT(first.skipped_blocks + second.skipped_blocks == whole.skipped_blocks);
    RC_ASSERT(first.attainable_hits + second.attainable_hits == whole.attainable_hits);
    RC_ASSERT(second.resident == whole.resident);
}

RC_GTEST_PROP(ReplayLaws, generated_written_and_read_back_gives_the_same_run, ()) {
    const auto generators = kvbm::generators();
    const auto name =
        std::string(generators[*rc::gen::inRange<std::size_t>(0, generators.size())].name);
    const auto seed = *rc::gen::arbitrary<std::uint64_t>().as("seed");
    const auto capacity = *rc::gen::inRange<std::size_t>(1, 500).as("capacity");
    const auto trace = kvbm::must(kvbm::generate(name, {.seed = seed, .requests = 60}));

    std::ostringstream text;
    kvbm::write_mooncake(trace, text);
    const auto read = kvbm::must(kvbm::parse_trace(text.str(), "read"));
    const auto run_of = [&](const kvbm::Trace& of) {
        return counts_of(kvbm::must(
            kvbm::replay(kvbm::must(kvbm::TraceHashes::of(of)), {.capacity = capacity})));
    };

    RC_ASSERT(run_of(read) == run_of(trace));
    RC_ASSERT(run_of(kvbm::must(kvbm::generate(name, {.seed = seed, .requests = 60}))) ==
              run_of(trace));
}

}  // namespace
