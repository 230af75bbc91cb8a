module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

std::string_view name_of(Policy policy) {
    constexpr std::array<std::string_view, all_policies.size()> names{
        "lru", "fifo", "multi_lru", "lineage_tick", "lineage_fifo"};
    return names.at(static_cast<std::size_t>(policy));
}

std::string to_string(const PolicyConfig& config) {
    std::string text(name_of(config.policy));
    if (config.policy == Policy::multi_lru) {
        for (const std::uint32_t threshold : config.thresholds) {
            text += " " + std::to_string(threshold);
        }
    }
    return text;
}

PolicyConfig decode_policy(ByteReader& bytes) {
    constexpr std::array<std::array<std::uint32_t, 3>, 4> thresholds{
        {{3, 8, 15}, {1, 2, 3}, {2, 4, 6}, {13, 14, 15}}};
    PolicyConfig config;
    config.policy = all_policies[bytes.below(all_policies.size())];
    if (config.policy == Policy::multi_lru) {
        config.thresholds = thresholds[bytes.below(thresholds.size())];
    }
    return config;
}

// --- RecordingTracker ---

RecordingTracker::~RecordingTracker() = default;

void RecordingTracker::touch(const SequenceHash& key) {
    const std::lock_guard lock(mutex_);
    touches_.push_back(key);
    ++counts_[key];
}

void RecordingTracker::touch(std::uint64_t) {}

std::uint32_t RecordingTracker::count(const SequenceHash& key) const {
    const std::lock_guard lock(mutex_);
    const auto found = counts_.find(key);
    return found == counts_.end() ? 0 : std::min(found->second, uses_max);
}

std::uint32_t RecordingTracker::count(std::uint64_t) const {
    return 0;
}

// --- LRU ---

void LruModel::insert(const CachedBlock& block, std::uint32_t) {
    rows_.push_back({block, clock_++});
}

void LruModel::remove(const SequenceHash& hash) {
    std::erase_if(rows_, [&](const Row& row) { return row.block.hash == hash; });
}

CachedBlock LruModel::next() const {
    return std::ranges::min_element(rows_, {}, &Row::since)->block;
}

// --- FIFO ---

void FifoModel::insert(const CachedBlock& block, std::uint32_t) {
    queue_.push_back(block);
}

void FifoModel::remove(const SequenceHash& hash) {
    std::erase_if(queue_, [&](const CachedBlock& block) { return block.hash == hash; });
}

// --- multi-LRU ---

void MultiLruModel::insert(const CachedBlock& block, std::uint32_t uses) {
    std::size_t level = 0;
    for (const std::uint32_t threshold : thresholds_) {
        level += uses >= threshold ? 1 : 0;
    }
    levels_.at(level).insert(block, uses);
}

void MultiLruModel::remove(const SequenceHash& hash) {
    for (auto& level : levels_) {
        level.remove(hash);
    }
}

CachedBlock MultiLruModel::next() const {
    return std::ranges::find_if(levels_, [](const FifoModel& level) { return level.size() > 0; })
        ->next();
}

std::size_t MultiLruModel::size() const {
    return std::transform_reduce(levels_.begin(), levels_.end(), std::size_t{0}, std::plus{},
                                 [](const FifoModel& level) { return level.size(); });
}

// --- lineage ---

LineageModel::Key LineageModel::key_of(const SequenceHash& hash) {
    const std::size_t child = hash.position() + 1;
    const unsigned width = child < 256 ? 54 : child < 65536 ? 46 : 38;
    return {hash.position(), hash.current_chain_hash().value & ((std::uint64_t{1} << width) - 1)};
}

LineageModel::Node* LineageModel::find(const Key& key) {
    const auto found = std::ranges::find(nodes_, key, &Node::key);
    return found == nodes_.end() ? nullptr : &*found;
}

LineageModel::Node& LineageModel::find_or_make(const Key& key) {
    if (Node* node = find(key)) {
        return *node;
    }
    return nodes_.emplace_back(Node{key, std::nullopt, {}});
}

bool LineageModel::has_children(const Key& key) const {
    return std::ranges::any_of(nodes_, [&](const Node& node) { return node.parent == key; });
}

void LineageModel::insert(const CachedBlock& block, std::uint32_t) {
    Node& node = find_or_make(key_of(block.hash));
    node.rows.push_back({block, clock_++});
    const std::size_t position = block.hash.position();
    if (position > 0 && !node.parent) {
        const Key parent{position - 1, block.hash.parent_hash_fragment()};
        node.parent = parent;
        find_or_make(parent);
    }
}

void LineageModel::remove(const SequenceHash& hash) {
    const Key key = key_of(hash);
    std::erase_if(find(key)->rows, [&](const Row& row) { return row.block.hash == hash; });
    prune(key);
}

/// A ghost without children dies, and its parent is asked the same. A parent that has become a
/// leaf takes, under fifo, a new turn.
void LineageModel::prune(Key key) {
    while (find(key)->rows.empty() && !has_children(key)) {
        const auto parent = find(key)->parent;
        std::erase_if(nodes_, [&](const Node& node) { return node.key == key; });
        if (!parent) {
            return;
        }
        key = *parent;
        if (eviction_ == LineageEviction::fifo && !has_children(key)) {
            for (Row& row : find(key)->rows) {
                row.turn = clock_++;
            }
        }
    }
}

CachedBlock LineageModel::next() const {
    const Row* first = nullptr;
    for (const Node& node : nodes_) {
        for (const Row& row : node.rows) {
            if (!has_children(node.key) && (first == nullptr || row.turn < first->turn)) {
                first = &row;
            }
        }
    }
    return first->block;
}

std::size_t LineageModel::size() const {
    return std::transform_reduce(nodes_.begin(), nodes_.end(), std::size_t{0}, std::plus{},
                                 [](const Node& node) { return node.rows.size(); });
}

// --- any policy ---

PolicyModel::PolicyModel(const PolicyConfig& config) {
    switch (config.policy) {
        case Policy::lru:
            model_ = LruModel();
            return;
        case Policy::fifo:
            model_ = FifoModel();
            return;
        case Policy::multi_lru:
            model_ = MultiLruModel(config.thresholds);
            return;
        case Policy::lineage_tick:
            model_ = LineageModel(LineageEviction::tick);
            return;
        case Policy::lineage_fifo:
            model_ = LineageModel(LineageEviction::fifo);
            return;
    }
}

void PolicyModel::insert(const CachedBlock& block, std::uint32_t uses) {
    std::visit([&](auto& model) { model.insert(block, uses); }, model_);
}

void PolicyModel::remove(const SequenceHash& hash) {
    std::visit([&](auto& model) { model.remove(hash); }, model_);
}

CachedBlock PolicyModel::take() {
    const auto victim = std::visit([](const auto& model) { return model.next(); }, model_);
    remove(victim.hash);
    return victim;
}

std::size_t PolicyModel::size() const {
    return std::visit([](const auto& model) { return model.size(); }, model_);
}

std::vector<CachedBlock> PolicyModel::order() const {
    PolicyModel rest = *this;
    std::vector<CachedBlock> victims;
    while (rest.size() > 0) {
        victims.push_back(rest.take());
    }
    return victims;
}

}  // namespace kvbm::testing
