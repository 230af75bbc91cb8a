module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

module kvbm.registry;

import :table;

namespace kvbm {

using detail::registry::Core;
using detail::registry::EngineAccess;
using detail::registry::Entry;
using detail::registry::Registration;
using detail::registry::RegistrationRoom;

namespace {

// Between the steps of a batch, the handles of new entries are marked in the lowest bit of their
// address, which is free: entries stand on cache lines.

Entry* marked(Entry* entry) noexcept {
    return reinterpret_cast<Entry*>(reinterpret_cast<std::uintptr_t>(entry) | 1);
}
Entry* unmarked(Entry* entry) noexcept {
    return reinterpret_cast<Entry*>(reinterpret_cast<std::uintptr_t>(entry) & ~std::uintptr_t{1});
}

/// Room for more elements, so that growing a list step by step stays linear.
template <class T>
void reserve_more(std::vector<T>& list, std::size_t more) {
    const std::size_t wanted = list.size() + more;
    if (wanted > list.capacity()) {
        list.reserve(std::max(wanted, 2 * list.size()));
    }
}

}  // namespace

BlockRegistrationHandle::BlockRegistrationHandle(const BlockRegistrationHandle& other) noexcept
    : entry_(other.entry_) {
    if (entry_ != nullptr) {
        detail::registry::add_reference(*entry_);
    }
}

BlockRegistrationHandle& BlockRegistrationHandle::operator=(
    const BlockRegistrationHandle& other) noexcept {
    if (this != &other) {
        *this = BlockRegistrationHandle(other);
    }
    return *this;
}

BlockRegistrationHandle& BlockRegistrationHandle::operator=(
    BlockRegistrationHandle&& other) noexcept {
    std::swap(entry_, other.entry_);
    if (this != &other) {
        const BlockRegistrationHandle previous(std::move(other));
    }
    return *this;
}

BlockRegistrationHandle::~BlockRegistrationHandle() {
    if (entry_ != nullptr) {
        EngineAccess::release_all(std::span<Entry*>(&entry_, 1));
    }
}

bool BlockRegistrationHandle::is_from_registry(const BlockRegistry& registry) const noexcept {
    return entry().core == registry.core_;
}

bool BlockRegistrationHandle::has_block(TierId tier) const {
    return has_any_block(std::span<const TierId>(&tier, 1));
}

bool BlockRegistrationHandle::has_any_block(std::span<const TierId> tiers) const {
    return detail::registry::holds_blocks(entry(), tiers);
}

void BlockRegistrationHandle::on_touch(TouchCallback callback) const {
    expects(callback != nullptr, "a touch callback can be called");
    detail::registry::add_callback(entry(), std::move(callback));
}

void BlockRegistrationHandle::touch() const {
    detail::registry::call_callbacks(entry());
}

BlockRegistryBuilder BlockRegistry::builder() {
    return {};
}

BlockRegistry::BlockRegistry() : core_(new Core(nullptr, nullptr)) {}

BlockRegistry::BlockRegistry(const BlockRegistry& other) noexcept : core_(other.core_) {
    if (core_ != nullptr) {
        core_->hold(1);
    }
}

BlockRegistry& BlockRegistry::operator=(const BlockRegistry& other) noexcept {
    if (this != &other) {
        *this = BlockRegistry(other);
    }
    return *this;
}

BlockRegistry& BlockRegistry::operator=(BlockRegistry&& other) noexcept {
    std::swap(core_, other.core_);
    if (this != &other) {
        const BlockRegistry previous(std::move(other));
    }
    return *this;
}

BlockRegistry::~BlockRegistry() {
    if (core_ != nullptr) {
        core_->let_go(1);
    }
}

Core& BlockRegistry::core() const noexcept {
    expects(core_ != nullptr, "a registry that is used was not moved from");
    return *core_;
}

BlockRegistrationHandle BlockRegistry::register_sequence_hash(const SequenceHash& hash) {
    Registration item{.hash = hash};
    core().register_all(nullptr, std::span<Registration>(&item, 1));
    BlockRegistrationHandle handle(item.entry);
    if (item.is_new) {
        core().announce(*item.entry);
    }
    return handle;
}

std::vector<BlockRegistrationHandle> BlockRegistry::register_sequence_hashes(
    std::span<const SequenceHash> hashes) {
    std::vector<BlockRegistrationHandle> handles;
    register_sequence_hashes_into(hashes, handles);
    return handles;
}

void BlockRegistry::register_sequence_hashes_into(std::span<const SequenceHash> hashes,
                                                  std::vector<BlockRegistrationHandle>& out) {
    const std::size_t first = out.size();
    reserve_more(out, hashes.size());
    RegistrationRoom<EngineAccess::batch_max> room;
    try {
        while (!hashes.empty()) {
            const std::size_t count = std::min(EngineAccess::batch_max, hashes.size());
            const auto batch = room.take(count);
            for (std::size_t i = 0; i < count; ++i) {
                batch[i].hash = hashes[i];
            }
            core().register_all(nullptr, batch);
            for (const Registration& item : batch) {
                out.push_back(
                    BlockRegistrationHandle(item.is_new ? marked(item.entry) : item.entry));
            }
            hashes = hashes.subspan(count);
        }
    } catch (...) {
        for (std::size_t i = first; i < out.size(); ++i) {
            out[i].entry_ = unmarked(out[i].entry_);
        }
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
        throw;
    }
    // Only now can nothing fail any more.
    for (std::size_t i = first; i < out.size(); ++i) {
        Entry* entry = unmarked(out[i].entry_);
        if (std::exchange(out[i].entry_, entry) != entry) {
            core().announce(*entry);
        }
    }
}

BlockRegistrationHandle BlockRegistry::transfer_registration(const SequenceHash& hash) {
    Registration item{.hash = hash};
    core().register_all(nullptr, std::span<Registration>(&item, 1));
    return BlockRegistrationHandle(item.entry);
}

std::optional<BlockRegistrationHandle> BlockRegistry::match_sequence_hash(const SequenceHash& hash,
                                                                          Touch touch) {
    Entry* entry = core().hold_registered(hash);
    if (entry == nullptr) {
        return std::nullopt;
    }
    std::optional<BlockRegistrationHandle> handle(BlockRegistrationHandle{entry});
    if (touch == Touch::yes) {
        this->touch(hash);
    }
    return handle;
}

bool BlockRegistry::is_registered(const SequenceHash& hash) const {
    const Core::SharedTable lock(core());
    return core().knows(hash);
}

std::size_t BlockRegistry::registered_count() const {
    return core().size();
}

std::vector<std::pair<SequenceHash, bool>> BlockRegistry::check_presence_any(
    std::span<const SequenceHash> hashes, std::span<const TierId> tiers) const {
    std::vector<std::pair<SequenceHash, bool>> presence;
    check_presence_any_into(hashes, tiers, presence);
    return presence;
}

void BlockRegistry::check_presence_any_into(std::span<const SequenceHash> hashes,
                                            std::span<const TierId> tiers,
                                            std::vector<std::pair<SequenceHash, bool>>& out) const {
    reserve_more(out, hashes.size());
    const Core::SharedTable lock(core());
    for (const SequenceHash& hash : hashes) {
        out.emplace_back(hash, core().is_present(hash, tiers));
    }
}

void BlockRegistry::touch(const SequenceHash& hash) const noexcept {
    core().touch(hash);
}

std::uint32_t BlockRegistry::count(const SequenceHash& hash) const {
    const auto& tracker = core().tracker();
    return tracker == nullptr ? 0 : tracker->count(hash);
}

bool BlockRegistry::has_frequency_tracking() const noexcept {
    return core().tracker() != nullptr;
}

const std::shared_ptr<FrequencyTracker>& BlockRegistry::frequency_tracker() const noexcept {
    return core().tracker();
}

const std::shared_ptr<EventsManager>& BlockRegistry::event_manager() const noexcept {
    return core().events();
}

std::uint64_t BlockRegistry::hook_failures() const noexcept {
    return core().hook_failures();
}

BlockRegistryBuilder& BlockRegistryBuilder::frequency_tracker(FrequencyTrackingCapacity capacity,
                                                              SketchLayout layout) {
    tracker_ = create_tracker(capacity, layout);
    return *this;
}

BlockRegistryBuilder& BlockRegistryBuilder::frequency_tracker(
    std::shared_ptr<FrequencyTracker> tracker) noexcept {
    tracker_ = std::move(tracker);
    return *this;
}

BlockRegistryBuilder& BlockRegistryBuilder::event_manager(
    std::shared_ptr<EventsManager> manager) noexcept {
    events_ = std::move(manager);
    return *this;
}

BlockRegistry BlockRegistryBuilder::build() const {
    return BlockRegistry(new Core(tracker_, events_));
}

}  // namespace kvbm
