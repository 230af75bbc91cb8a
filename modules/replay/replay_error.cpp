module;

#include <string>
#include <string_view>
#include <variant>

#include <fmt/format.h>

module kvbm.replay;

namespace kvbm {

std::string_view to_string(ReplayMode mode) noexcept {
    return mode == ReplayMode::manager ? "manager" : "ideal";
}

std::string_view to_string(ReplayPolicy policy) noexcept {
    switch (policy) {
        case ReplayPolicy::lru:
            return "lru";
        case ReplayPolicy::multi_lru:
            return "multi-lru";
        case ReplayPolicy::lineage_tick:
            return "lineage-tick";
        case ReplayPolicy::lineage_fifo:
            return "lineage-fifo";
        case ReplayPolicy::fifo:
            break;
    }
    return "fifo";
}

std::string_view to_string(ReplayOrder order) noexcept {
    return order == ReplayOrder::tail ? "tail" : "head";
}

std::string ReplayError::ZeroCapacity::message() const {
    return "a cache of 0 blocks holds nothing: the capacity must be at least 1";
}

std::string ReplayError::PolicyNotInMode::message() const {
    return fmt::format("policy \"{}\" does not run in mode \"{}\"", to_string(policy),
                       to_string(mode));
}

std::string ReplayError::NothingToCount::message() const {
    return fmt::format("counting from request {} of {} leaves nothing to count", count_from,
                       requests);
}

std::string ReplayError::ManagerRefused::message() const {
    return reason;
}

std::string ReplayError::RequestTooLong::message() const {
    return fmt::format("request {} has {} blocks, more than a sequence hash has positions", request,
                       blocks);
}

std::string ReplayError::TooManyBlocks::message() const {
    return "the trace has 2^32 different blocks or more";
}

std::string ReplayError::AllocationFailed::message() const {
    return fmt::format("request {}: the block manager gave none of {} blocks it must have", request,
                       blocks);
}

std::string ReplayError::message() const {
    return std::visit([](const auto& alternative) { return alternative.message(); }, reason);
}

}  // namespace kvbm
