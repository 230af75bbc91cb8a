module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

module kvbm.blocks;

import :lineage;

namespace kvbm::detail::blocks {

namespace {

void report_line(InvariantReport& report, const char* id, std::uint32_t slot, const char* text) {
    report.violations.push_back(
        {id, slot == no_index ? std::vector<BlockId>{} : std::vector<BlockId>{slot}, text});
}

}  // namespace

bool TickHeap::is_sound() const noexcept {
    for (std::size_t at = 0; at < items_.size(); ++at) {
        const Item& item = items_[at];
        if (slots_[item.slot].prev != at || slots_[item.slot].tick() != item.tick ||
            (at > 0 && item.tick < items_[(at - 1) / arity].tick)) {
            return false;
        }
    }
    return true;
}

void LineageForest::audit_order(const std::vector<bool>& is_leaf, InvariantReport& report) const {
    const auto leaves = static_cast<std::size_t>(std::ranges::count(is_leaf, true));
    if (eviction_ == LineageEviction::tick) {
        for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
            if (is_leaf[slot] != (is_inactive(slot) && by_tick_.holds(slot))) {
                report_line(report, "B3", slot, "exactly the leaves are in the eviction order");
            }
        }
        if (!by_tick_.is_sound()) {
            report_line(report, "P5", no_index, "the leaf with the smallest tick comes first");
        }
        if (by_tick_.size() != leaves) {
            report_line(report, "P12", no_index,
                        "the order has as many blocks as there are leaves");
        }
        return;
    }
    std::size_t listed = 0;
    for (std::uint32_t at = queue_.front(); at != no_index && listed <= leaves;
         at = slots_[at].next) {
        ++listed;
        if (!is_leaf[at]) {
            report_line(report, "B3", at, "exactly the leaves are in the eviction order");
        }
    }
    if (listed != leaves || queue_.size() != leaves) {
        report_line(report, "P12", no_index, "the order has as many blocks as there are leaves");
    }
}

void LineageForest::audit(InvariantReport& report) const {
    // Who links to whom, by the keys that nodes carry.
    std::vector<LineageKey> parents;
    std::vector<bool> is_leaf(slots_.size(), false);
    std::size_t blocks = 0;
    const auto note_blocks = [&](Node node) {
        for_each_block(node, [&](std::uint32_t block) {
            ++blocks;
            is_leaf[block] = children(node) == 0;
            if (!is_inactive(block)) {
                report_line(report, "B4", block, "a node lists inactive blocks only");
            }
        });
    };
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
        const BlockState state = slots_[slot].state();
        if (keeps_node(slot)) {
            note_blocks({slot, false});
            if (mark(slot) == linked_node_mark) {
                parents.push_back(parent_key_of(slots_[slot].hash));
            }
            if (state != BlockState::primary && state != BlockState::inactive) {
                report_line(report, "B4", slot, "a node is kept in a primary or inactive block");
            }
        } else if ((state == BlockState::inactive) != (mark(slot) == ghost_block_mark)) {
            report_line(report, "P2", slot, "exactly the inactive blocks are in the forest");
        }
    }
    ghosts_.for_each([&](std::uint32_t ghost) {
        note_blocks({ghost, true});
        if (ghosts_[ghost].linked) {
            parents.push_back(ghosts_[ghost].parent);
        }
    });
    std::ranges::sort(parents);
    const auto check_node = [&](Node node, const LineageKey& key, std::uint32_t slot) {
        const auto counted = std::ranges::equal_range(parents, key).size();
        if (counted != children(node)) {
            report_line(report, "B5", slot, "a node has as many children as link to it");
        }
        if (children(node) == 0 && !has_blocks(node)) {
            report_line(report, "B4", slot, "a node without blocks has children");
        }
    };
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
        if (keeps_node(slot)) {
            check_node({slot, false}, key_of(slots_[slot].hash), slot);
        }
    }
    ghosts_.for_each(
        [&](std::uint32_t ghost) { check_node({ghost, true}, ghosts_[ghost].key, no_index); });
    for (auto key = parents.begin(); key != parents.end(); ++key) {
        if (!find_node(*key)) {
            report_line(report, "B5", no_index, "a linked node's parent is in the forest");
        }
    }
    if (blocks != size_) {
        report_line(report, "P12", no_index, "the forest has as many blocks as counted");
    }
    audit_order(is_leaf, report);
}

}  // namespace kvbm::detail::blocks
