// edge_cases: calls on requests that panic in the recorded version are refused here, by a value;
// and what the builder of a scheduled request says.
module;

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import :managers;
import :requests;
import kvbm.blocks;
import kvbm.core;
import kvbm.registry;
import kvbm.request;

namespace kvbm::conformance {
namespace {

constexpr std::size_t block_size = 4;

BlockManager<Tier> any_manager() {
    return must(BlockManager<Tier>::builder()
                    .block_count(8)
                    .block_size(block_size)
                    .registry(BlockRegistry())
                    .build());
}

SchedulableSequence<Tier> two_blocks(std::size_t max_output) {
    return {std::vector<Token>(2 * block_size, 1), max_output, block_size};
}

bool append_token_limit() {
    RequestSequence<Tier> request({1, 2}, 0, block_size);
    return !request.append_token(3).has_value();
}

bool match_prefix_twice() {
    auto manager = any_manager();
    RequestSequence<Tier> request({1, 2, 3, 4}, 1, block_size);
    return request.allocate_blocks(1, manager) &&
           !request.match_and_add_prefix(manager).has_value();
}

bool reacquire_not_empty() {
    auto manager = any_manager();
    RequestSequence<Tier> request({1, 2, 3, 4}, 1, block_size);
    return request.allocate_blocks(1, manager) && !request.reacquire(manager).has_value();
}

bool drop_unassigned_not_idle() {
    auto manager = any_manager();
    auto request = two_blocks(1);
    must(request.schedule_prefill(8, manager));
    return !request.drop_unassigned(1).has_value();
}

bool final_token_with_zero_budget() {
    auto manager = any_manager();
    auto request = two_blocks(0);
    must(request.schedule_prefill(8, manager));
    return !request.apply_prefill(Token{1}, manager).has_value();
}

bool final_token_after_budget_used() {
    auto manager = any_manager();
    auto request = two_blocks(1);
    must(request.append_tokens({1}));
    must(request.schedule_prefill(9, manager));
    return !request.apply_prefill(Token{1}, manager).has_value();
}

SchedulableSequence<Tier> prefilled(BlockManager<Tier>& manager) {
    auto request = two_blocks(2);
    must(request.schedule_prefill(8, manager));
    must(request.apply_prefill(Token{1}, manager));
    return request;
}

bool schedulable_reacquire_not_empty() {
    auto manager = any_manager();
    return !prefilled(manager).reacquire(manager).has_value();
}

bool schedulable_match_twice() {
    auto manager = any_manager();
    return !prefilled(manager).match_and_add_prefix(manager).has_value();
}

struct RefusedCall {
    std::string_view name;
    bool (*refused)();
};

constexpr std::array refused_calls{
    RefusedCall{"append_token_limit", append_token_limit},
    RefusedCall{"drop_unassigned_not_idle", drop_unassigned_not_idle},
    RefusedCall{"final_token_after_budget_used", final_token_after_budget_used},
    RefusedCall{"final_token_with_zero_budget", final_token_with_zero_budget},
    RefusedCall{"match_prefix_twice", match_prefix_twice},
    RefusedCall{"reacquire_not_empty", reacquire_not_empty},
    RefusedCall{"schedulable_match_twice", schedulable_match_twice},
    RefusedCall{"schedulable_reacquire_not_empty", schedulable_reacquire_not_empty}};

}  // namespace

std::optional<bool> request_call_refused(std::string_view name) {
    for (const RefusedCall& call : refused_calls) {
        if (call.name == name) {
            return call.refused();
        }
    }
    return std::nullopt;
}

void replay_schedulable_builders(const Fields& document, Report& report) {
    constexpr std::array<std::string_view, 4> cases{"nothing set", "tokens only", "no block_size",
                                                    "all set, no delegate"};
    for (const Fields& vector : document.objects("schedulable_builder")) {
        const std::string what = vector.text("what");
        auto builder = SchedulableSequence<Tier>::builder();
        std::size_t set = 0;
        while (set < cases.size() && cases[set] != what) {
            ++set;
        }
        if (set == cases.size()) {
            vector.refuse("builds a request in an unknown way");
            return;
        }
        if (set > 0) {
            builder.tokens({1, 2});
        }
        if (set > 1) {
            builder.max_output_tokens(1);
        }
        if (set > 2) {
            builder.block_size(block_size);
        }
        const auto built = builder.build();
        check_vector(report, "schedulable_builder", vector, {"what"},
                     built ? Object{{"ok", Object{{"total_tokens", built->total_tokens()},
                                                  {"kv_position", built->kv_position()},
                                                  {"tail_tokens", built->tail_tokens()}}}}
                           : Object{{"err", Object{{"msg", built.error().message()}}}});
    }
}

}  // namespace kvbm::conformance
