module;

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

module kvbm.replay;

import :reading;

namespace kvbm::detail::replay {

std::uint64_t SessionAssignment::session_of(const Request& request, std::string_view label) {
    switch (rule_) {
        case SessionRule::labelled:
            return labelled_session(label);
        case SessionRule::greedy:
            return greedy_session(request);
        case SessionRule::independent:
            break;
    }
    return opened_++;
}

std::uint64_t SessionAssignment::labelled_session(std::string_view label) {
    if (label.empty()) {
        return opened_++;
    }
    const auto known = by_label_.find(label);
    if (known != by_label_.end()) {
        return known->second;
    }
    by_label_.emplace(label, opened_);
    return opened_++;
}

namespace {

std::uint64_t length_after(const Request& request) noexcept {
    return request.input_length + request.output_length;
}

}  // namespace

std::uint64_t SessionAssignment::greedy_session(const Request& request) {
    close_idle_sessions(request.time_ms);
    auto session = opened_;
    auto found = open_by_length_.upper_bound({request.input_length, shared_session});
    if (found == open_by_length_.begin()) {
        ++opened_;
    } else {
        // The longest that fits; among equally long ones the oldest.
        found = open_by_length_.lower_bound({(--found)->first, 0});
        session = found->second;
        forget(session);
    }
    open_by_length_.insert({length_after(request), session});
    open_by_time_.insert({request.time_ms, session});
    last_request_.insert({session, request});
    return session;
}

// For good: a session stays closed even if time runs backwards later.
void SessionAssignment::close_idle_sessions(double now_ms) {
    while (!open_by_time_.empty() && now_ms - open_by_time_.begin()->first > gap_ms_) {
        forget(open_by_time_.begin()->second);
    }
}

void SessionAssignment::forget(std::uint64_t session) {
    const auto last = last_request_.find(session);
    open_by_length_.erase({length_after(last->second), session});
    open_by_time_.erase({last->second.time_ms, session});
    last_request_.erase(last);
}

}  // namespace kvbm::detail::replay
