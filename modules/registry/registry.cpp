module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
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

BlockRegistryBuilder BlockRegistry::builder() {
    return {};
}

BlockRegistry::BlockRegistry() : BlockRegistry(std::shared_ptr<FrequencyTracker>()) {}

BlockRegistry::BlockRegistry(std::shared_ptr<FrequencyTracker> tracker)
    : core_(new Core(std::move(tracker))) {}

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
    detail::registry::touch_new(core(), std::span<const Registration>(&item, 1));
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
    out.reserve(out.size() + hashes.size());
    std::array<Registration, EngineAccess::batch_max> items;
    while (!hashes.empty()) {
        const std::size_t count = std::min(items.size(), hashes.size());
        for (std::size_t i = 0; i < count; ++i) {
            items[i].hash = hashes[i];
        }
        const auto batch = std::span(items).first(count);
        core().register_all(nullptr, batch);
        for (const Registration& item : batch) {
            out.push_back(BlockRegistrationHandle(item.entry));
        }
        detail::registry::touch_new(core(), batch);
        hashes = hashes.subspan(count);
    }
}

BlockRegistrationHandle BlockRegistry::transfer_registration(const SequenceHash& hash) {
    Registration item{.hash = hash};
    core().register_all(nullptr, std::span<Registration>(&item, 1));
    return BlockRegistrationHandle(item.entry);
}

std::optional<BlockRegistrationHandle> BlockRegistry::match_sequence_hash(const SequenceHash& hash,
                                                                          Touch touch) {
    std::optional<BlockRegistrationHandle> handle;
    {
        const detail::core::SharedLock lock(core().mutex());
        Entry* entry = core().find(hash);
        if (entry == nullptr || !detail::registry::try_add_reference(*entry)) {
            return std::nullopt;
        }
        handle = BlockRegistrationHandle(entry);
    }
    if (touch == Touch::yes) {
        this->touch(hash);
    }
    return handle;
}

bool BlockRegistry::is_registered(const SequenceHash& hash) const {
    const detail::core::SharedLock lock(core().mutex());
    const Entry* entry = core().find(hash);
    return entry != nullptr && entry->references.load(std::memory_order_acquire) != 0;
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
    out.reserve(out.size() + hashes.size());
    const detail::core::SharedLock lock(core().mutex());
    for (const SequenceHash& hash : hashes) {
        Entry* entry = core().find(hash);
        out.emplace_back(hash, entry != nullptr && detail::registry::holds_blocks(*entry, tiers));
    }
}

void BlockRegistry::touch(const SequenceHash& hash) const {
    if (const auto& tracker = core().tracker()) {
        tracker->touch(hash);
    }
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

BlockRegistry BlockRegistryBuilder::build() const {
    return BlockRegistry(tracker_);
}

}  // namespace kvbm
