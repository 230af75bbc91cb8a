module;

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>

module kvbm.frequency;

namespace kvbm {

void FrequencyTracker::touch_all(std::span<const SequenceHash> keys) {
    for (const auto& key : keys) {
        touch(key);
    }
}

void NoOpTracker::touch(const SequenceHash&) {}
void NoOpTracker::touch(std::uint64_t) {}
std::uint32_t NoOpTracker::count(const SequenceHash&) const {
    return 0;
}
std::uint32_t NoOpTracker::count(std::uint64_t) const {
    return 0;
}
void NoOpTracker::touch_all(std::span<const SequenceHash>) {}

TinyLfuTracker::TinyLfuTracker(std::size_t capacity, SketchLayout layout)
    : sketch_(capacity, layout) {}
TinyLfuTracker::TinyLfuTracker(std::size_t capacity, SketchLayout layout, DecayPolicy policy)
    : sketch_(capacity, layout, std::move(policy)) {}

void TinyLfuTracker::touch(const SequenceHash& key) {
    sketch_.increment(key);
}
void TinyLfuTracker::touch(std::uint64_t key) {
    sketch_.increment(key);
}
std::uint32_t TinyLfuTracker::count(const SequenceHash& key) const {
    return sketch_.estimate(key);
}
std::uint32_t TinyLfuTracker::count(std::uint64_t key) const {
    return sketch_.estimate(key);
}
void TinyLfuTracker::touch_all(std::span<const SequenceHash> keys) {
    sketch_.increment_all(keys);
}

std::string TinyLfuSettingsError::message() const {
    return "Field not initialized: " + std::get<FieldNotInitialized>(reason).field;
}

TinyLfuSettingsBuilder TinyLfuSettings::builder() {
    return {};
}

TinyLfuSketch TinyLfuSettings::into_sketch() const {
    return policy_ ? TinyLfuSketch(capacity_, layout_, policy_) : TinyLfuSketch(capacity_, layout_);
}

std::shared_ptr<TinyLfuTracker> TinyLfuSettings::into_tracker() const {
    return policy_ ? std::make_shared<TinyLfuTracker>(capacity_, layout_, policy_)
                   : std::make_shared<TinyLfuTracker>(capacity_, layout_);
}

TinyLfuSettingsBuilder& TinyLfuSettingsBuilder::capacity(std::size_t capacity) {
    capacity_ = capacity;
    return *this;
}

TinyLfuSettingsBuilder& TinyLfuSettingsBuilder::decay_policy(DecayPolicy policy) {
    policy_ = std::move(policy);
    return *this;
}

TinyLfuSettingsBuilder& TinyLfuSettingsBuilder::layout(SketchLayout layout) {
    layout_ = layout;
    return *this;
}

Result<TinyLfuSettings, TinyLfuSettingsError> TinyLfuSettingsBuilder::build() const {
    if (!capacity_) {
        return failure(TinyLfuSettingsError{TinyLfuSettingsError::FieldNotInitialized{"capacity"}});
    }
    return TinyLfuSettings(*capacity_, layout_, policy_);
}

std::shared_ptr<FrequencyTracker> create_tracker(FrequencyTrackingCapacity capacity,
                                                 SketchLayout layout) {
    return std::make_shared<TinyLfuTracker>(entries(capacity), layout);
}

}  // namespace kvbm
