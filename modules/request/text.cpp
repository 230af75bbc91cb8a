// What states and errors of the scheduler say of themselves.
module;

#include <string>
#include <string_view>
#include <variant>

#include <tl/expected.hpp>

module kvbm.request;

namespace kvbm {

namespace {

struct StateText {
    std::string operator()(const Idle&) const { return "Idle"; }
    std::string operator()(const PrefillScheduled& state) const {
        return "PrefillScheduled { num_tokens: " + std::to_string(state.num_tokens) +
               ", blocks_allocated: " + std::to_string(state.blocks_allocated) + " }";
    }
    std::string operator()(const DecodeScheduled& state) const {
        return "DecodeScheduled { blocks_allocated: " + std::to_string(state.blocks_allocated) +
               " }";
    }
    std::string operator()(const SpeculativeScheduled& state) const {
        return "SpeculativeScheduled { num_tokens: " + std::to_string(state.num_tokens) +
               ", blocks_allocated: " + std::to_string(state.blocks_allocated) + " }";
    }
};

template <class Reason>
std::string message_of(const Reason& reason) {
    return std::visit([](const auto& alternative) { return alternative.message(); }, reason);
}

}  // namespace

std::string to_string(const SequenceState& state) {
    return std::visit(StateText{}, state);
}

std::string ScheduleError::NotIdle::message() const {
    return "expected Idle state, got " + to_string(state);
}

std::string ScheduleError::PrefillOverrun::message() const {
    return "prefill overrun: position " + std::to_string(position) + " + " +
           std::to_string(num_tokens) + " > " + std::to_string(limit);
}

std::string ScheduleError::PrefillComplete::message() const {
    return "prefill already complete";
}

std::string ScheduleError::PrefillNotComplete::message() const {
    return "prefill not yet complete (position " + std::to_string(position) + " < " +
           std::to_string(num_input_tokens) + ")";
}

std::string ScheduleError::AllocationFailed::message() const {
    return "allocation failed: needed " + std::to_string(needed) + " blocks";
}

std::string ScheduleError::WrongDanglingCount::message() const {
    return "expected " + std::to_string(expected) + " dangling token(s), got " +
           std::to_string(actual);
}

std::string ScheduleError::message() const {
    return message_of(reason);
}

std::string ApplyError::WrongState::message() const {
    return "expected " + std::string(expected) + ", got " + to_string(actual);
}

std::string ApplyError::TokenOnNonFinalChunk::message() const {
    return "token provided but prefill not completing this chunk";
}

std::string ApplyError::MissingTokenOnFinalChunk::message() const {
    return "final prefill chunk requires a generated token";
}

std::string ApplyError::AcceptedExceedsScheduled::message() const {
    return "accepted " + std::to_string(accepted) + " tokens exceeds scheduled " +
           std::to_string(scheduled);
}

std::string ApplyError::AppendExceedsRemaining::message() const {
    return "append requested " + std::to_string(requested) + " tokens but only " +
           std::to_string(remaining) + " remain";
}

std::string ApplyError::message() const {
    return message_of(reason);
}

std::string SequenceBuilderError::MissingField::message() const {
    return "Field not initialized: " + std::string(name);
}

std::string SequenceBuilderError::ZeroBlockSize::message() const {
    return "block_size must be greater than 0";
}

std::string SequenceBuilderError::message() const {
    return message_of(reason);
}

}  // namespace kvbm
