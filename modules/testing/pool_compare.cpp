module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

std::string_view state_name(BlockState state) {
    constexpr std::array<std::string_view, 6> names{"reset",   "mutable",   "staged",
                                                    "primary", "duplicate", "inactive"};
    return names.at(static_cast<std::size_t>(state));
}

std::string words(BlockState state, const SequenceHash& hash, std::size_t references, bool flag) {
    return std::string(state_name(state)) + " " + hash.to_hex() + " with " +
           std::to_string(references) + " references" + (flag ? ", evicted on reset" : "");
}

}  // namespace

std::optional<std::string> metrics_difference(const MetricsSnapshot& found,
                                              const MetricsSnapshot& expected) {
    if (found == expected) {
        return std::nullopt;
    }
    std::string text;
    const auto compare = [&](std::string_view name, auto a, auto b) {
        if (a != b) {
            text += std::string(text.empty() ? "" : ", ") + std::string(name) + " " +
                    std::to_string(a) + ", expected " + std::to_string(b);
        }
    };
    const auto& f = found;
    const auto& e = expected;
    compare("allocations", f.allocations, e.allocations);
    compare("allocations_from_reset", f.allocations_from_reset, e.allocations_from_reset);
    compare("evictions", f.evictions, e.evictions);
    compare("registrations", f.registrations, e.registrations);
    compare("duplicate_blocks", f.duplicate_blocks, e.duplicate_blocks);
    compare("registration_dedup", f.registration_dedup, e.registration_dedup);
    compare("stagings", f.stagings, e.stagings);
    compare("match_hashes_requested", f.match_hashes_requested, e.match_hashes_requested);
    compare("match_blocks_returned", f.match_blocks_returned, e.match_blocks_returned);
    compare("scan_hashes_requested", f.scan_hashes_requested, e.scan_hashes_requested);
    compare("scan_blocks_returned", f.scan_blocks_returned, e.scan_blocks_returned);
    compare("eager_primary_to_inactive_total", f.eager_primary_to_inactive_total,
            e.eager_primary_to_inactive_total);
    compare("allocate_atomic_rollback_total", f.allocate_atomic_rollback_total,
            e.allocate_atomic_rollback_total);
    compare("release_primary_noop_total", f.release_primary_noop_total,
            e.release_primary_noop_total);
    compare("release_duplicate_noop_total", f.release_duplicate_noop_total,
            e.release_duplicate_noop_total);
    compare("inflight_mutable", f.inflight_mutable, e.inflight_mutable);
    compare("inflight_immutable", f.inflight_immutable, e.inflight_immutable);
    compare("reset_pool_size", f.reset_pool_size, e.reset_pool_size);
    compare("inactive_pool_size", f.inactive_pool_size, e.inactive_pool_size);
    return text;
}

std::optional<std::string> slots_difference(std::span<const BlockInfo> found,
                                            const ModelPool& expected) {
    if (found.size() != expected.slots.size()) {
        return std::to_string(found.size()) + " slots";
    }
    for (std::size_t id = 0; id < found.size(); ++id) {
        const auto& info = found[id];
        const auto& slot = expected.slots[id];
        // The flag of a free slot means nothing: it is set anew by the next allocation.
        const bool flag = slot.state != BlockState::reset && info.evict_on_reset;
        if (info.id != id || info.state != slot.state || info.hash != slot.hash ||
            info.references != slot.references || flag != slot.evict_on_reset) {
            return "slot " + std::to_string(id) + " is " +
                   words(info.state, info.hash, info.references, flag) + ", expected " +
                   words(slot.state, slot.hash, slot.references, slot.evict_on_reset);
        }
    }
    return std::nullopt;
}

std::optional<std::string> guard_difference(const GuardFacts& found, const ModelPool& pool,
                                            BlockId id, ManagerId manager) {
    const ModelSlot& slot = pool.slots[id];
    if (found.id != id || found.manager != manager) {
        return "block " + std::to_string(found.id) + " of manager " +
               std::to_string(found.manager.value()) + ", expected " + std::to_string(id) + " of " +
               std::to_string(manager.value());
    }
    if (found.block_size.value_or(pool_block_size) != pool_block_size) {
        return "a block of " + std::to_string(*found.block_size) + " tokens";
    }
    if (found.hash.value_or(slot.hash) != slot.hash) {
        return "hash " + found.hash->to_hex() + ", expected " + slot.hash.to_hex();
    }
    if (found.use_count.value_or(slot.references) != slot.references) {
        return "use count " + std::to_string(*found.use_count) + ", expected " +
               std::to_string(slot.references);
    }
    const bool duplicate = slot.state == BlockState::duplicate;
    if (found.is_duplicate.value_or(duplicate) != duplicate) {
        return "block " + std::to_string(id) + (duplicate ? " is no" : " is a") + " duplicate";
    }
    return std::nullopt;
}

std::optional<std::string> handle_difference(const BlockRegistrationHandle& handle,
                                             const BlockRegistry& registry,
                                             const SequenceHash& hash, const PoolModel& model) {
    const std::array tiers{tier_id<G1>(), tier_id<G2>()};
    const bool in_first = model.presence(hash, 0) > 0;
    const bool in_second = model.presence(hash, 2) > 0;
    if (handle.seq_hash() != hash || !handle.is_from_registry(registry)) {
        return "a handle of hash " + handle.seq_hash().to_hex() + ", expected " + hash.to_hex();
    }
    if (handle.has_block<G1>() != in_first || handle.has_block<G2>() != in_second ||
        handle.has_any_block(tiers) != (in_first || in_second)) {
        return "a handle whose presence differs";
    }
    return std::nullopt;
}

std::optional<std::string> registry_difference(
    const BlockRegistry& registry, const std::optional<std::vector<SequenceHash>>& touches,
    const PoolModel& model) {
    if (touches && *touches != model.touches()) {
        return "touched " + hashes_text(*touches) + ", expected " + hashes_text(model.touches());
    }
    for (std::size_t i = 0; i < model.hashes_count() && !touches; ++i) {
        const SequenceHash hash = model.hash(i);
        if (registry.count(hash) != model.uses(hash)) {
            return hash.to_hex() + " touched " + std::to_string(registry.count(hash)) +
                   " times, expected " + std::to_string(model.uses(hash));
        }
    }
    const auto known = model.registered();
    if (registry.registered_count() != known.size()) {
        return std::to_string(registry.registered_count()) + " hashes registered, expected " +
               std::to_string(known.size());
    }
    return std::nullopt;
}

std::optional<std::string> presence_difference(const BlockRegistry& registry,
                                               const PoolModel& model) {
    const auto known = model.registered();
    std::vector<SequenceHash> all;
    all.reserve(model.hashes_count());
    for (std::size_t i = 0; i < model.hashes_count(); ++i) {
        all.push_back(model.hash(i));
    }
    const auto in_first = registry.check_presence<G1>(all);
    const auto in_second = registry.check_presence<G2>(all);
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (registry.is_registered(all[i]) != known.contains(all[i])) {
            return all[i].to_hex() + (known.contains(all[i]) ? " is not" : " is") + " registered";
        }
        if (in_first[i] != std::pair(all[i], model.presence(all[i], 0) > 0) ||
            in_second[i] != std::pair(all[i], model.presence(all[i], 2) > 0)) {
            return "presence of " + all[i].to_hex() + " differs";
        }
    }
    return std::nullopt;
}

}  // namespace kvbm::testing
