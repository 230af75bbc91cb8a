// Scripts: a header line, then for each script one line and its operation lines, in order.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;

namespace kvbm::conformance {
namespace {

struct Format {
    std::string_view name;
    Start (*start)(const Fields& header, const Fields& config);
};

constexpr std::array formats{
    Format{"assignments_ops", start_assignments}, Format{"manager_ops", start_manager},
    Format{"request_ops", start_requests}, Format{"scheduled_ops", start_scheduled},
    Format{"token_sequence_ops", start_token_sequence}};

/// A behaviour of the recorded version that a recording may name, and whether ours is another one.
struct Accident {
    std::string_view tag;
    bool decided_otherwise;
};

constexpr std::array accidents{Accident{"drop_unassigned_discards_computed_kv", true},
                               Accident{"extend_assigned_unchecked_position", true},
                               Accident{"extend_assigned_while_staged", true},
                               Accident{"foreign_guard_in_tracker", true},
                               Accident{"partial_stage_on_error", true},
                               Accident{"prefill_registers_block_beyond_kv_position", true},
                               Accident{"reacquire_registers_block_beyond_kv_position", true},
                               Accident{"reject_policy_allocate_fails_on_stale_key", true},
                               Accident{"reject_policy_key_is_candidate_id", true},
                               Accident{"reset_inactive_pool_drains_on_error", false},
                               Accident{"schedule_after_release_without_reacquire", true}};

/// The expected side of an operation line, in the form of an Outcome's.
Object recorded_outcome(const Value& line) {
    Object outcome;
    for (const std::string_view name : {"res", "st"}) {
        if (const Value* part = line.find(name)) {
            outcome.push_back({std::string(name), *part});
        }
    }
    return outcome;
}

}  // namespace

ScriptReplay::ScriptReplay(Value header, Report& report)
    : header_(std::move(header)), report_(report) {
    const Fields fields(header_, "", trouble_);
    check_version(fields);
    const std::string name = fields.text("format");
    const auto found = std::ranges::find(formats, name, &Format::name);
    if (found == formats.end()) {
        trouble_.report("unknown format \"" + name + "\"");
        return;
    }
    start_ = found->start;
}

void ScriptReplay::replay(const Value& line) {
    const Fields fields(line, "", trouble_);
    const std::string kind = fields.text("kind");
    if (trouble_.any()) {
        return;
    }
    if (kind == "script") {
        begin(fields);
    } else if (kind == "op") {
        replay_operation(fields);
    } else {
        trouble_.report("unknown kind of line \"" + kind + "\"");
    }
}

void ScriptReplay::begin(const Fields& line) {
    const std::uint64_t number = line.number("script");
    const Fields config = line.object("config");
    with_accidents_ = config.has("with_accidents") && config.flag("with_accidents");
    if (trouble_.any()) {
        return;
    }
    name_ = "script " + std::to_string(number);
    begun_ = true;
    next_operation_ = 0;
    differed_ = false;
    Start start = start_(Fields(header_, "header", trouble_), config);
    machine_ = std::move(start.machine);
    skip_reason_ = std::move(start.not_built);
    if (!start.differences.empty() && !trouble_.any()) {
        differed_ = true;
        report_.record(name_, name_, start.differences);
    }
}

void ScriptReplay::replay_operation(const Fields& line) {
    const std::string operation = line.text("op");
    const std::uint64_t number = line.number("i");
    const Fields args = line.object("args");
    const std::optional<std::string> tag = line.has("upstream_accident")
                                               ? std::optional(line.text("upstream_accident"))
                                               : std::nullopt;
    if (!begun_) {
        trouble_.report("an operation before the first script");
    } else if (number != next_operation_) {
        trouble_.report("operation " + std::to_string(number) + " where " +
                        std::to_string(next_operation_) + " comes next");
    } else if (tag && !decided_otherwise(*tag)) {
        trouble_.report("unknown accident \"" + *tag + "\"");
    }
    if (trouble_.any()) {
        return;
    }
    ++next_operation_;
    if (!skip_reason_.empty()) {
        report_.skip(skip_reason_);
        return;
    }

    Trouble refused;
    const Fields checked_args(args.value(), "args", refused);
    const Outcome outcome = machine_->perform(operation, checked_args);
    const std::string place = name_ + " op " + std::to_string(number) + " " + operation;
    if (refused.any()) {
        refuse(operation, place, refused.text());
        return;
    }
    auto found = differences(recorded_outcome(line.value()),
                             Object{{"res", outcome.res}, {"st", outcome.st}}, machine_->ids());
    if (found.empty()) {
        report_.record(name_, place, found);
    } else if (tag && *decided_otherwise(*tag)) {
        report_.skip("decided otherwise than " + *tag);
        if (!machine_->follow_accident(checked_args) && with_accidents_) {
            skip_reason_ = "follows from " + *tag;
        }
    } else if (outcome.follows_accident) {
        report_.skip("follows from an operation decided otherwise");
    } else {
        differed_ = true;
        report_.record(name_, place, found);
    }
}

void ScriptReplay::refuse(const std::string& operation, const std::string& place,
                          const std::string& reason) {
    if (differed_) {
        report_.record(name_, place, {{operation, "a result", "cannot be performed: " + reason}});
    } else {
        trouble_.report(place + ": " + reason);
    }
}

std::optional<bool> decided_otherwise(std::string_view accident) {
    const auto found = std::ranges::find(accidents, accident, &Accident::tag);
    return found == accidents.end() ? std::nullopt : std::optional(found->decided_otherwise);
}

bool Machine::follow_accident(const Fields&) {
    return false;
}

void check_version(const Fields& header) {
    const std::uint64_t version = header.number("version");
    if (version != 1) {
        header.trouble().report("version is " + std::to_string(version) + ", not 1");
    }
}

}  // namespace kvbm::conformance
