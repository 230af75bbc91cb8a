module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

/// A manager, and beside it: the free ids, the policy model, who has which hash, who is held.
class PolicyHarness::System {
  public:
    explicit System(const PolicyOptions& options)
        : hashes_(options.hashes), manager_(build(options)), policy_(options.policy) {
        for (BlockId id = 0; id < options.block_count; ++id) {
            reset_.push_back(id);
        }
    }

    std::optional<std::string> run(const PolicyCommand& command) {
        found_.clear();
        expected_.clear();
        std::visit(*this, command);
        if (found_ != expected_) {
            return found_ + ", expected " + expected_;
        }
        if (const auto report = manager_.check_invariants(); !report.ok()) {
            return report.to_string();
        }
        return std::nullopt;
    }
    std::size_t held_count() const { return held_.size(); }
    std::size_t blocks_count() const { return manager_.total_blocks(); }

    // --- one function per command: what was found, and what the model expected ---
    void operator()(const CacheHash& c) {
        const auto& hash = named(c.hash);
        const auto candidate = take(1);
        if (candidate.empty()) {
            return;
        }
        auto block = must(manager_.register_block(
            must(allocated_.pop_back().stage(hash, manager_.block_size()))));
        uses_[hash] += cached_.contains(hash) ? 0 : 1;
        if (cached_.contains(hash)) {
            revive(hash);
            reset_.push_back(candidate.front());
        } else {
            cached_[hash] = candidate.front();
        }
        note(found_, block.block_id());
        note(expected_, cached_[hash]);
        {
            const auto dropped = std::move(block);
        }
        retire(hash);
    }
    void operator()(const UseHash& c) {
        const auto& hash = named(c.hash);
        if (match(hash).empty()) {
            return;
        }
        matched_.clear();
        retire(hash);
    }
    void operator()(const HoldHash& c) {
        const auto& hash = named(c.hash);
        if (!match(hash).empty()) {
            held_.push_back({hash, matched_.pop_back()});
        }
    }
    void operator()(const LetGo& c) {
        if (held_.empty()) {
            return;
        }
        const auto at = held_.begin() + static_cast<std::ptrdiff_t>(c.guard % held_.size());
        const SequenceHash hash = at->hash;
        at->block.set_evict_on_reset(c.uncached);
        held_.erase(at);
        if (c.uncached && !is_held(hash)) {
            reset_.push_back(cached_[hash]);
            cached_.erase(hash);
        } else {
            retire(hash);
        }
    }
    void operator()(const TakeBlocks& c) {
        const auto ids = take(c.count);
        allocated_.clear();
        reset_.insert(reset_.end(), ids.begin(), ids.end());
    }
    void operator()(const DrainBlocks&) {
        const auto drained = manager_.reset_inactive_pool();
        note(found_, drained ? *drained : drained.error().drained);
        note(expected_, policy_.size());
        while (policy_.size() > 0) {
            const auto victim = policy_.take();
            reset_.push_back(victim.id);
            cached_.erase(victim.hash);
        }
    }
    void operator()(const TouchTimes& c) {
        for (std::size_t i = 0; i < c.times; ++i) {
            manager_.block_registry().touch(named(c.hash));
        }
        uses_[named(c.hash)] += c.times;
    }

  private:
    static BlockManager<> build(const PolicyOptions& options) {
        auto builder = BlockManager<>::builder();
        builder.block_count(options.block_count).block_size(1);
        builder.duplication_policy(BlockDuplicationPolicy::reject);
        builder.registry(BlockRegistry::builder()
                             .frequency_tracker(std::make_shared<RecordingTracker>())
                             .build());
        choose_backend(builder, options.policy);
        return must(builder.build());
    }
    static void note(std::string& text, std::uint64_t number) {
        text += " " + std::to_string(number);
    }

    const SequenceHash& named(std::size_t number) const { return hashes_[number % hashes_.size()]; }
    bool is_held(const SequenceHash& hash) const {
        return std::ranges::find(held_, hash, &Held::hash) != held_.end();
    }
    /// A cached block gets a reference.
    void revive(const SequenceHash& hash) {
        if (!is_held(hash)) {
            policy_.remove(hash);
        }
    }
    /// A cached block lost a reference.
    void retire(const SequenceHash& hash) {
        if (!is_held(hash)) {
            const auto uses = std::min<std::size_t>(uses_[hash], uses_max);
            policy_.insert({hash, cached_[hash]}, static_cast<std::uint32_t>(uses));
        }
    }
    /// Allocates on both; the ids that the model expects, none if there are too few.
    std::vector<BlockId> take(std::size_t count) {
        auto allocation = manager_.allocate_blocks_with_evictions(count);
        std::vector<BlockId> ids;
        std::vector<SequenceHash> evicted;
        const bool enough = reset_.size() + policy_.size() >= count;
        while (enough && ids.size() < count) {
            if (!reset_.empty()) {
                ids.push_back(reset_.front());
                reset_.pop_front();
                continue;
            }
            const auto victim = policy_.take();
            ids.push_back(victim.id);
            evicted.push_back(victim.hash);
            cached_.erase(victim.hash);
        }
        expected_ += enough ? blocks_text(ids) + " " + hashes_text(evicted) : "not enough";
        if (allocation) {
            allocated_ = std::move(allocation->blocks);
            found_ += blocks_text(allocated_.block_ids()) + " " + hashes_text(allocation->evicted);
        } else {
            found_ += "not enough";
        }
        return allocated_.size() == ids.size() ? ids : std::vector<BlockId>{};
    }
    /// Matches on both; what the manager found.
    const ImmutableBlockList<>& match(const SequenceHash& hash) {
        matched_ = manager_.match_blocks(std::span(&hash, 1));
        found_ += blocks_text(matched_.block_ids());
        const auto cached = cached_.find(hash);
        if (cached == cached_.end()) {
            expected_ += blocks_text({});
        } else {
            expected_ += blocks_text(std::span(&cached->second, 1));
            ++uses_[hash];
            revive(hash);
        }
        return matched_;
    }

    struct Held {
        SequenceHash hash;
        ImmutableBlock<> block;
    };
    std::vector<SequenceHash> hashes_;
    BlockManager<> manager_;
    MutableBlockList<> allocated_;
    ImmutableBlockList<> matched_;
    std::vector<Held> held_;
    std::deque<BlockId> reset_;
    PolicyModel policy_;
    std::map<SequenceHash, BlockId> cached_;
    std::map<SequenceHash, std::size_t> uses_;
    std::string found_;
    std::string expected_;
};

PolicyHarness::PolicyHarness(const PolicyOptions& options)
    : system_(std::make_unique<System>(options)) {}
PolicyHarness::PolicyHarness(PolicyHarness&&) noexcept = default;
PolicyHarness& PolicyHarness::operator=(PolicyHarness&&) noexcept = default;
PolicyHarness::~PolicyHarness() = default;

std::optional<std::string> PolicyHarness::run(const PolicyCommand& command) {
    if (auto difference = system_->run(command)) {
        return to_string(command) + ": " + *difference;
    }
    return std::nullopt;
}

std::optional<std::string> PolicyHarness::finish() {
    while (system_->held_count() > 0) {
        if (auto difference = run(LetGo{})) {
            return "at the end, " + *difference;
        }
    }
    if (auto difference = run(TakeBlocks{system_->blocks_count()})) {
        return "at the end, " + *difference;
    }
    return std::nullopt;
}

}  // namespace kvbm::testing
