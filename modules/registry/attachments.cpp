module;

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

module kvbm.registry;

import :extras;

namespace kvbm {

std::string AttachmentError::message() const {
    return std::visit(
        [](const auto& error) {
            constexpr bool multiple =
                std::is_same_v<decltype(error), const TypeAlreadyRegisteredAsMultiple&>;
            return "Type " + std::string(error.type) + " is already registered as " +
                   (multiple ? "multiple" : "unique") + " attachment";
        },
        reason);
}

namespace detail::registry {

namespace {

using Attachments = std::vector<std::unique_ptr<AttachedValues>>;

auto place_of(const Attachments& attachments, std::type_index type) noexcept {
    return std::ranges::find(attachments, type, [](const auto& values) { return values->type(); });
}

}  // namespace

Result<void, AttachmentError> attach(Entry& entry, std::unique_ptr<AttachedValues> values) {
    Extras& extras = need_extras(entry);
    core::Lock lock(extras.attachments_mutex);
    const auto place = place_of(extras.attachments, values->type());
    if (place == extras.attachments.end()) {
        extras.attachments.push_back(std::move(values));
        return {};
    }
    AttachedValues& known = **place;
    if (known.is_unique() != values->is_unique()) {
        if (known.is_unique()) {
            return failure(
                AttachmentError{AttachmentError::TypeAlreadyRegisteredAsUnique{known.type_name()}});
        }
        return failure(
            AttachmentError{AttachmentError::TypeAlreadyRegisteredAsMultiple{known.type_name()}});
    }
    if (known.is_unique()) {
        std::swap(extras.attachments[static_cast<std::size_t>(place - extras.attachments.begin())],
                  values);
    } else {
        known.append(*values);
    }
    // What was replaced is a user's object: it is destroyed with no lock held.
    lock.unlock();
    values.reset();
    return {};
}

AttachmentsInUse::AttachmentsInUse(const Entry& entry) {
    if (Extras* extras = find_extras(entry)) {
        lock_ = core::Lock(extras->attachments_mutex);
        attachments_ = &extras->attachments;
    }
}

AttachedValues* AttachmentsInUse::find(std::type_index type) const noexcept {
    if (attachments_ == nullptr) {
        return nullptr;
    }
    const auto place = place_of(*attachments_, type);
    return place == attachments_->end() ? nullptr : place->get();
}

void add_callback(Entry& entry, TouchCallback callback) {
    auto shared = std::make_shared<const TouchCallback>(std::move(callback));
    Extras& extras = need_extras(entry);
    const core::Lock lock(extras.callbacks_mutex);
    extras.callbacks.push_back(std::move(shared));
}

void call_callbacks(const Entry& entry) {
    Extras* extras = find_extras(entry);
    if (extras == nullptr) {
        return;
    }
    // A callback may give up the handle that called it, and the entry with it.
    const SequenceHash hash = entry.hash;
    std::vector<std::shared_ptr<const TouchCallback>> callbacks;
    {
        const core::Lock lock(extras->callbacks_mutex);
        callbacks = extras->callbacks;
    }
    for (const auto& callback : callbacks) {
        (*callback)(hash);
    }
}

}  // namespace detail::registry

}  // namespace kvbm
