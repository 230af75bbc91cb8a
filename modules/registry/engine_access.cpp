module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>

module kvbm.registry;

import :table;

namespace kvbm::detail::registry {

std::uint64_t draw_multiplier() {
    static const std::uint64_t seed =
        (std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}();
    static std::atomic<std::uint64_t> draws{0};
    std::uint64_t z = seed + 0x9E3779B97F4A7C15U * (draws.fetch_add(1) + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (z ^ (z >> 31)) | 1U;
}

bool EngineAccess::attach(const BlockRegistry& registry, SoleStore& store, std::size_t blocks) {
    return registry.core().attach(store, blocks);
}

void EngineAccess::detach(const BlockRegistry& registry, const SoleStore& store,
                          std::size_t blocks) noexcept {
    registry.core().detach(store, blocks);
}

std::size_t EngineAccess::entry_count(const BlockRegistry& registry) noexcept {
    return registry.core().entry_count();
}

bool EngineAccess::has_live_entry(const BlockRegistry& registry,
                                  const SequenceHash& hash) noexcept {
    return registry.core().has_live_entry(hash);
}

Entry* EngineAccess::adopt(const BlockRegistry& registry, const SequenceHash& hash) noexcept {
    return registry.core().adopt(hash);
}

void EngineAccess::make_cell(Entry& entry, TierId tier) {
    registry::make_cell(entry, tier);
}

void EngineAccess::register_all(const BlockRegistry& registry, TierId tier,
                                std::span<Registration> items) {
    registry.core().register_all(&tier, items);
}

bool EngineAccess::announces(const BlockRegistry& registry) noexcept {
    return registry.core().announces();
}

void EngineAccess::announce(Entry& entry) noexcept {
    entry.core->announce(entry);
}

void EngineAccess::release_all(std::span<Entry*> entries) noexcept {
    Core::release_all(entries);
}

void EngineAccess::release_shared(Entry& entry) noexcept {
    const std::uint32_t before = entry.references.fetch_sub(1, std::memory_order_acq_rel);
    expects(before > 1, "a shared reference is not an entry's last");
}

void EngineAccess::raise_presence(Entry& entry, TierId tier) noexcept {
    registered_cell(entry, tier).fetch_add(1, std::memory_order_release);
}

void EngineAccess::raise_presence_all(const BlockRegistry& registry,
                                      std::span<Entry* const> entries, TierId tier) noexcept {
    registry.core().raise_all(entries, tier);
}

void EngineAccess::lower_presence(Entry& entry, TierId tier) noexcept {
    registry::lower_presence(entry, tier);
}

void EngineAccess::let_go_blocks(const BlockRegistry& registry, std::span<Entry*> entries,
                                 TierId tier) noexcept {
    registry.core().let_go_blocks(entries, tier);
}

BlockRegistrationHandle EngineAccess::handle(Entry& entry) noexcept {
    add_reference(entry);
    return BlockRegistrationHandle(&entry);
}

Entry& EngineAccess::entry_at(const BlockRegistry& registry, std::uint32_t index) noexcept {
    return registry.core().entry_at(index);
}

BlockRegistrationHandle EngineAccess::handle(const BlockRegistry& registry,
                                             const SequenceHash& hash) {
    Entry* entry = registry.core().hold_registered(hash);
    expects(entry != nullptr, "the hash of a registered block is registered");
    return BlockRegistrationHandle(entry);
}

void EngineAccess::touch(const BlockRegistry& registry, const SequenceHash& hash) noexcept {
    registry.core().touch(hash);
}

void EngineAccess::touch_all(const BlockRegistry& registry,
                             std::span<const SequenceHash> hashes) noexcept {
    registry.core().touch_all(hashes);
}

void EngineAccess::touch_live(const BlockRegistry& registry, std::span<const SequenceHash> hashes) {
    Core& core = registry.core();
    if (core.tracker() == nullptr) {
        return;
    }
    for (std::size_t first = 0; first < hashes.size(); first += batch_max) {
        const auto batch = hashes.subspan(first, std::min(batch_max, hashes.size() - first));
        std::array<bool, batch_max> live{};
        {
            const Core::SharedTable lock(core);
            for (std::size_t i = 0; i < batch.size(); ++i) {
                live[i] = core.knows(batch[i]);
            }
        }
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (live[i]) {
                core.touch(batch[i]);
            }
        }
    }
}

}  // namespace kvbm::detail::registry
