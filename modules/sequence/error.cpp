module;

#include <string>
#include <variant>

module kvbm.sequence;

namespace kvbm {

namespace {

struct Message {
    std::string operator()(const BlockSequenceError::OrderingViolation& reason) const {
        return "ordering violation: known block_id " + std::to_string(reason.known_id) +
               " at index " + std::to_string(reason.known_index) + " appeared after new block_id " +
               std::to_string(reason.new_id) + " at index " +
               std::to_string(reason.first_new_index);
    }
    std::string operator()(const BlockSequenceError::PositionMismatch& reason) const {
        return "position mismatch for block_id " + std::to_string(reason.block_id) + ": expected " +
               std::to_string(reason.expected) + ", actual " + std::to_string(reason.actual);
    }
    std::string operator()(const BlockSequenceError::DuplicateBlockId& reason) const {
        return "duplicate block_id " + std::to_string(reason.block_id) + " already present";
    }
    std::string operator()(const BlockSequenceError::TokenExtension& reason) const {
        return "token extension error: " + reason.error.message();
    }
    std::string operator()(const BlockSequenceError::StagedPresent& reason) const {
        return "cannot extend assigned: " + std::to_string(reason.staged_count) +
               " block(s) staged";
    }
};

}  // namespace

std::string BlockSequenceError::message() const {
    return std::visit(Message{}, reason);
}

}  // namespace kvbm
