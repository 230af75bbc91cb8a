module;

#include <algorithm>
#include <bit>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

module kvbm.events;

namespace kvbm {

using detail::events::Journal;

EventsManagerBuilder EventsManager::builder() {
    return {};
}

EventsManager::EventsManager(EventPolicy policy, std::size_t capacity)
    : policy_(std::move(policy)), journal_(std::make_shared<Journal>(capacity)) {}

EventsManager::~EventsManager() {
    journal_->close();
}

Subscription EventsManager::subscribe() {
    return Subscription(journal_);
}

void EventsManager::clear(TierId tier) noexcept {
    journal_->emit(EventKind::cleared, SequenceHash(), tier);
}

void EventsManager::clear() noexcept {
    journal_->emit(EventKind::cleared, SequenceHash(), std::nullopt);
}

EventsManagerBuilder& EventsManagerBuilder::policy(EventPolicy policy) {
    expects(policy != nullptr, "an event policy can be called");
    policy_ = std::move(policy);
    return *this;
}

EventsManagerBuilder& EventsManagerBuilder::capacity(std::size_t events) noexcept {
    capacity_ = std::bit_ceil(std::min(events, capacity_max));
    return *this;
}

std::shared_ptr<EventsManager> EventsManagerBuilder::build() const {
    return std::shared_ptr<EventsManager>(new EventsManager(policy_, capacity_));
}

bool detail::events::Emitter::reports(const EventsManager& manager, const SequenceHash& hash) {
    return manager.policy_(hash);
}

}  // namespace kvbm
