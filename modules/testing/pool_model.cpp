module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

using Kind = Holding::Kind;

bool is_list(Kind kind) {
    return kind == Kind::mutable_list || kind == Kind::complete_list ||
           kind == Kind::immutable_list;
}

std::string wrong_size_text(std::size_t index) {
    return "refused at " + std::to_string(index) +
           ": Block size mismatch: expected 4 tokens, got 8";
}

}  // namespace

/// One function per command, each shorter than its rule.
struct PoolModelSteps {
    PoolModel& m;

    ModelPool& pool(std::size_t index) { return m.pools_.at(index); }
    Holding& holding(Kind kind, std::size_t n) { return m.holdings_.at(*m.pick(kind, n)); }
    std::vector<SequenceHash> hashes(std::span<const std::size_t> numbers) const {
        std::vector<SequenceHash> found;
        std::ranges::transform(numbers, std::back_inserter(found),
                               [&](std::size_t number) { return m.hash(number); });
        return found;
    }
    void hold(Kind kind, std::size_t pool, std::vector<BlockId> ids, SequenceHash hash = {},
              std::uint64_t incarnation = 0) {
        m.holdings_.push_back({kind, pool, std::move(ids), hash, incarnation});
    }

    // --- slots ---
    void to_mutable(ModelPool& p, BlockId id) {
        auto& slot = p.slots[id];
        slot = {BlockState::mutable_block, {}, p.config.reset_on_release, 0, 0,
                slot.incarnation + 1};
    }
    void to_reset(ModelPool& p, BlockId id) {
        auto& slot = p.slots[id];
        slot = {BlockState::reset, {}, false, 0, 0, slot.incarnation + 1};
        p.reset.push_back(id);
    }
    void to_staged(ModelPool& p, BlockId id, const SequenceHash& hash) {
        p.slots[id].state = BlockState::staged;
        p.slots[id].hash = hash;
        ++p.metrics.stagings;
    }
    /// Step M1: one more strong reference on the block that lookups return.
    std::optional<BlockId> by_hash(ModelPool& p, const SequenceHash& hash) {
        for (BlockId id = 0; id < p.slots.size(); ++id) {
            auto& slot = p.slots[id];
            const bool primary = slot.state == BlockState::primary;
            if ((primary || slot.state == BlockState::inactive) && slot.hash == hash) {
                if (!primary) {
                    p.inactive.remove(hash);
                }
                slot.state = BlockState::primary;
                ++slot.references;
                return id;
            }
        }
        return std::nullopt;
    }
    void drop_reference(ModelPool& p, BlockId id) {
        auto& slot = p.slots[id];
        if (--slot.references > 0) {
            return;
        }
        if (slot.state == BlockState::duplicate) {
            const BlockId primary = slot.primary;
            to_reset(p, id);
            drop_reference(p, primary);
        } else if (slot.evict_on_reset) {
            to_reset(p, id);
        } else {
            slot.state = BlockState::inactive;
            p.inactive.insert({slot.hash, id}, m.uses(slot.hash));
        }
    }
    void drop_guard(Kind kind, ModelPool& p, BlockId id) {
        if (kind == Kind::immutable_list) {
            --p.metrics.inflight_immutable;
        }
        if (kind == Kind::immutable_list || kind == Kind::pin) {
            drop_reference(p, id);
        } else if (kind != Kind::weak && kind != Kind::handle) {
            to_reset(p, id);
        }
    }

    // --- allocation ---
    std::optional<std::vector<BlockId>> allocate(ModelPool& p, std::size_t count,
                                                 std::vector<SequenceHash>& evicted) {
        if (p.reset.size() + p.inactive.size() < count) {
            return std::nullopt;
        }
        std::vector<BlockId> ids;
        while (ids.size() < count && !p.reset.empty()) {
            ids.push_back(p.reset.front());
            p.reset.pop_front();
        }
        p.metrics.allocations += count;
        p.metrics.allocations_from_reset += ids.size();
        p.metrics.evictions += count - ids.size();
        while (ids.size() < count) {
            const auto victim = p.inactive.take();
            ids.push_back(victim.id);
            evicted.push_back(victim.hash);
        }
        for (const BlockId id : ids) {
            to_mutable(p, id);
        }
        return ids;
    }
    std::string operator()(const Allocate& c) {
        std::vector<SequenceHash> evicted;
        const auto ids = allocate(pool(c.pool), c.count, evicted);
        if (!ids) {
            return "not enough";
        }
        hold(Kind::mutable_list, c.pool, *ids);
        return blocks_text(*ids);
    }
    std::string operator()(const AllocateWithEvictions& c) {
        std::vector<SequenceHash> evicted;
        const auto ids = allocate(pool(c.pool), c.count, evicted);
        if (!ids) {
            return "not enough";
        }
        hold(Kind::mutable_list, c.pool, *ids);
        return blocks_text(*ids) + " " + hashes_text(evicted);
    }
    std::string operator()(const AllocateInto& c) {
        auto& list = holding(Kind::mutable_list, c.holding);
        std::vector<SequenceHash> evicted;
        const auto ids = allocate(pool(list.pool), c.count, evicted);
        if (ids) {
            list.ids.insert(list.ids.end(), ids->begin(), ids->end());
        }
        return (ids ? "" : "not enough ") + blocks_text(list.ids) + " " + hashes_text(evicted);
    }
    std::string operator()(const ResetInactivePool& c) {
        auto& p = pool(c.pool);
        const std::string text = "drained " + std::to_string(p.inactive.size());
        while (p.inactive.size() > 0) {
            to_reset(p, p.inactive.take().id);
        }
        return p.reset.size() == p.slots.size()
                   ? text
                   : text + ": Reset pool count mismatch: expected " +
                         std::to_string(p.slots.size()) + ", got " + std::to_string(p.reset.size());
    }

    // --- staging ---
    std::string operator()(const StageAll& c) {
        auto& list = holding(Kind::mutable_list, c.holding);
        const std::size_t size = list.ids.size();
        if (c.fault == 0) {
            return wrong_size_text(0);
        }
        if (c.fault <= 2) {
            const std::size_t given = c.fault == 1 ? size - 1 : size + 1;
            return "refused at " + std::to_string(std::min(given, size)) + ": expected " +
                   std::to_string(size) + " hashes, got " + std::to_string(given);
        }
        for (std::size_t i = 0; i < size; ++i) {
            to_staged(pool(list.pool), list.ids[i], m.hash(c.first + i * c.step));
        }
        hold(Kind::complete_list, list.pool, std::exchange(list.ids, {}));
        return "staged";
    }
    std::string operator()(const StageOne& c) {
        auto& list = holding(Kind::mutable_list, c.holding);
        if (c.fault == 0) {
            return wrong_size_text(0);
        }
        const BlockId id = list.ids.back();
        list.ids.pop_back();
        to_staged(pool(list.pool), id, m.hash(c.hash));
        hold(Kind::complete_list, list.pool, {id});
        return blocks_text(std::span(&id, 1));
    }
    std::string operator()(const ResetAll& c) {
        auto& list = holding(Kind::complete_list, c.holding);
        for (const BlockId id : list.ids) {
            to_mutable(pool(list.pool), id);
        }
        hold(Kind::mutable_list, list.pool, std::exchange(list.ids, {}));
        return blocks_text(m.holdings_.back().ids);
    }
    std::string operator()(const ResetOne& c) {
        auto& list = holding(Kind::complete_list, c.holding);
        const BlockId id = list.ids.back();
        list.ids.pop_back();
        to_mutable(pool(list.pool), id);
        hold(Kind::mutable_list, list.pool, {id});
        return blocks_text(std::span(&id, 1));
    }

    // --- registration ---
    /// Rule R3: entries and touches, then the slots, then the rejected candidates.
    std::vector<BlockId> register_all(ModelPool& p, std::span<const BlockId> candidates) {
        auto known = m.registered();
        for (const BlockId id : candidates) {
            if (known.insert(p.slots[id].hash).second) {
                m.touches_.push_back(p.slots[id].hash);
            }
        }
        std::vector<BlockId> results;
        std::vector<BlockId> rejected;
        for (const BlockId id : candidates) {
            auto& slot = p.slots[id];
            const auto found = by_hash(p, slot.hash);
            if (found && p.config.reject) {
                rejected.push_back(id);
                ++p.metrics.registration_dedup;
                results.push_back(*found);
                continue;
            }
            slot.state = found ? BlockState::duplicate : BlockState::primary;
            slot.primary = found.value_or(0);
            slot.references = 1;
            p.metrics.duplicate_blocks += found ? 1 : 0;
            results.push_back(id);
        }
        for (const BlockId id : rejected) {
            to_reset(p, id);
        }
        p.metrics.registrations += candidates.size();
        p.metrics.inflight_immutable += static_cast<std::int64_t>(candidates.size());
        return results;
    }
    std::string operator()(const Register& c) {
        auto& list = holding(Kind::complete_list, c.holding);
        const auto results = register_all(pool(list.pool), std::exchange(list.ids, {}));
        hold(Kind::immutable_list, list.pool, results);
        return blocks_text(results);
    }
    std::string operator()(const RegisterOne& c) {
        auto& list = holding(Kind::complete_list, c.holding);
        const BlockId id = list.ids.back();
        list.ids.pop_back();
        const auto results = register_all(pool(list.pool), std::span(&id, 1));
        hold(Kind::immutable_list, list.pool, results);
        return blocks_text(results);
    }
    std::string operator()(const RegisterInto& c) {
        auto& list = holding(Kind::complete_list, c.holding);
        const std::size_t index = list.pool;
        const auto results = register_all(pool(index), std::exchange(list.ids, {}));
        const auto into = m.pick_in_pool(Kind::immutable_list, index, c.other);
        if (!into) {
            hold(Kind::immutable_list, index, results);
            return blocks_text(results);
        }
        auto& ids = m.holdings_[*into].ids;
        ids.insert(ids.end(), results.begin(), results.end());
        return blocks_text(ids);
    }
    std::string operator()(const RegisterForeign&) { return "foreign at 0"; }

    // --- lookup ---
    std::vector<BlockId> prefix(ModelPool& p, std::span<const SequenceHash> asked) {
        std::vector<BlockId> ids;
        for (const auto& hash : asked) {
            const auto id = by_hash(p, hash);
            if (!id) {
                break;
            }
            ids.push_back(*id);
            m.touches_.push_back(hash);
        }
        p.metrics.match_hashes_requested += asked.size();
        p.metrics.match_blocks_returned += ids.size();
        p.metrics.inflight_immutable += static_cast<std::int64_t>(ids.size());
        return ids;
    }
    std::string operator()(const Match& c) {
        const auto ids = prefix(pool(c.pool), hashes(c.hashes));
        hold(Kind::immutable_list, c.pool, ids);
        return blocks_text(ids);
    }
    std::string operator()(const MatchInto& c) {
        auto& list = holding(Kind::immutable_list, c.holding);
        const auto ids = prefix(pool(list.pool), hashes(c.hashes));
        list.ids.insert(list.ids.end(), ids.begin(), ids.end());
        return blocks_text(list.ids);
    }
    std::string operator()(const MatchMany& c) {
        auto& p = pool(c.pool);
        const auto first = prefix(p, hashes(c.first));
        const auto second = prefix(p, hashes(c.second));
        const auto third = prefix(p, hashes(c.third));
        const std::string hits = std::to_string(first.size() + second.size() + third.size());
        const auto into = m.pick_in_pool(Kind::immutable_list, c.pool, c.other);
        std::vector<BlockId> ids = into ? m.holdings_[*into].ids : std::vector<BlockId>{};
        ids.insert(ids.end(), second.begin(), second.end());
        hold(Kind::immutable_list, c.pool, first);
        if (into) {
            m.holdings_[*into].ids = ids;
        } else {
            hold(Kind::immutable_list, c.pool, ids);
        }
        hold(Kind::immutable_list, c.pool, third);
        return hits + " " + blocks_text(first) + " " + blocks_text(ids) + " " + blocks_text(third);
    }
    std::string operator()(const MatchScattered& c) {
        auto& p = pool(c.pool);
        std::vector<BlockId> hits;
        std::string text = "places";
        for (const auto& hash : hashes(c.hashes)) {
            const auto id = by_hash(p, hash);
            text += id ? " " + std::to_string(*id) : " -";
            if (id) {
                hits.push_back(*id);
                m.touches_.push_back(hash);
            }
        }
        p.metrics.match_hashes_requested += c.hashes.size();
        p.metrics.match_blocks_returned += hits.size();
        keep_or_drop(c.pool, hits, c.keep);
        return text;
    }
    std::string operator()(const Scan& c) {
        auto& p = pool(c.pool);
        const auto known = m.registered();
        std::vector<SequenceHash> found;
        std::vector<BlockId> ids;
        for (const auto& hash : hashes(c.hashes)) {
            if (c.touch && known.contains(hash)) {
                m.touches_.push_back(hash);
            }
            if (std::ranges::find(found, hash) != found.end()) {
                continue;
            }
            if (const auto id = by_hash(p, hash)) {
                found.push_back(hash);
                ids.push_back(*id);
            }
        }
        p.metrics.scan_hashes_requested += c.hashes.size();
        p.metrics.scan_blocks_returned += ids.size();
        keep_or_drop(c.pool, ids, c.keep);
        return blocks_text(ids) + " " + hashes_text(found);
    }
    void keep_or_drop(std::size_t index, const std::vector<BlockId>& ids, bool keep) {
        pool(index).metrics.inflight_immutable += static_cast<std::int64_t>(ids.size());
        hold(Kind::immutable_list, index, ids);
        if (!keep) {
            drop(m.holdings_.size() - 1, false);
        }
    }

    // --- guards ---
    std::string operator()(const Clone& c) {
        return take_more(holding(Kind::immutable_list, c.holding).pool,
                         holding(Kind::immutable_list, c.holding).ids);
    }
    std::string operator()(const Copy& c) {
        const auto& list = holding(Kind::immutable_list, c.holding);
        return take_more(list.pool, {list.ids[c.index % list.ids.size()]});
    }
    std::string take_more(std::size_t index, std::vector<BlockId> ids) {
        for (const BlockId id : ids) {
            ++pool(index).slots[id].references;
            ++pool(index).metrics.inflight_immutable;
        }
        hold(Kind::immutable_list, index, std::move(ids));
        return blocks_text(m.holdings_.back().ids);
    }
    std::string operator()(const Pin& c) {
        const auto& list = holding(Kind::immutable_list, c.holding);
        return take_pin(list.pool, list.ids[c.index % list.ids.size()]);
    }
    std::string operator()(const CopyPin& c) {
        const auto& pin = holding(Kind::pin, c.holding);
        return take_pin(pin.pool, pin.ids.front());
    }
    std::string take_pin(std::size_t index, BlockId id) {
        ++pool(index).slots[id].references;
        hold(Kind::pin, index, {id}, pool(index).slots[id].hash);
        return blocks_text(std::span(&id, 1));
    }
    std::string operator()(const Downgrade& c) {
        const auto& list = holding(Kind::immutable_list, c.holding);
        const BlockId id = list.ids[c.index % list.ids.size()];
        const auto& slot = pool(list.pool).slots[id];
        hold(Kind::weak, list.pool, {id}, slot.hash, slot.incarnation);
        return m.holdings_.back().hash.to_hex();
    }
    std::string operator()(const CopyWeak& c) {
        m.holdings_.push_back(Holding(holding(Kind::weak, c.holding)));
        return m.holdings_.back().hash.to_hex();
    }
    std::string operator()(const Upgrade& c) {
        const Holding weak = holding(Kind::weak, c.holding);
        auto& p = pool(weak.pool);
        auto& origin = p.slots[weak.ids.front()];
        std::optional<BlockId> id;
        if (origin.incarnation == weak.incarnation && origin.references > 0) {
            ++origin.references;
            id = weak.ids.front();
        } else {
            id = by_hash(p, weak.hash);
        }
        if (!id) {
            return "nothing";
        }
        ++p.metrics.inflight_immutable;
        hold(Kind::immutable_list, weak.pool, {*id});
        return blocks_text(std::span(&*id, 1));
    }
    std::string operator()(const SetEvictOnReset& c) {
        const auto& list = holding(Kind::immutable_list, c.holding);
        pool(list.pool).slots[list.ids[c.index % list.ids.size()]].evict_on_reset = c.value;
        return {};
    }
    std::string operator()(const HandleOf& c) {
        const auto& list = holding(Kind::immutable_list, c.holding);
        hold(Kind::handle, 0, {}, pool(list.pool).slots[list.ids[c.index % list.ids.size()]].hash);
        return m.holdings_.back().hash.to_hex();
    }
    void drop(std::size_t index, bool leaf_first) {
        auto dropped = m.holdings_[index];
        m.holdings_.erase(m.holdings_.begin() + static_cast<std::ptrdiff_t>(index));
        if (leaf_first) {
            std::ranges::reverse(dropped.ids);
        }
        for (const BlockId id : dropped.ids) {
            drop_guard(dropped.kind, pool(dropped.pool), id);
        }
    }
    std::string operator()(const Drop& c) {
        drop(c.holding % m.holdings_.size(), c.leaf_first);
        return {};
    }
    std::string operator()(const ReleaseMany& c) {
        std::size_t gone = 0;
        for (const std::size_t at : m.pick_row(c.holding, c.more)) {
            drop(at - gone++, c.leaf_first);
        }
        return {};
    }
    std::string operator()(const DropOne& c) {
        auto& list = m.holdings_[*m.pick_list(c.holding)];
        const BlockId id = list.ids.back();
        list.ids.pop_back();
        drop_guard(list.kind, pool(list.pool), id);
        return blocks_text(std::span(&id, 1));
    }
    std::string operator()(const SplitOff& c) {
        auto& list = m.holdings_[*m.pick_list(c.holding)];
        const auto first =
            list.ids.begin() + static_cast<std::ptrdiff_t>(c.at % (list.ids.size() + 1));
        std::vector<BlockId> tail(first, list.ids.end());
        list.ids.erase(first, list.ids.end());
        hold(list.kind, list.pool, tail);
        return blocks_text(tail);
    }
    std::string operator()(const TakeFront& c) {
        auto& list = m.holdings_[*m.pick_list(c.holding)];
        const auto last =
            list.ids.begin() + static_cast<std::ptrdiff_t>(c.count % (list.ids.size() + 1));
        std::vector<BlockId> front(list.ids.begin(), last);
        list.ids.erase(list.ids.begin(), last);
        hold(list.kind, list.pool, front);
        return blocks_text(front);
    }
    std::string operator()(const Append& c) {
        const std::size_t at = *m.pick_list(c.holding);
        auto& other = m.holdings_[*m.pick_partner(at, c.other)];
        auto& list = m.holdings_[at];
        list.ids.insert(list.ids.end(), other.ids.begin(), other.ids.end());
        other.ids.clear();
        return blocks_text(list.ids);
    }

    // --- registry and managers ---
    std::string operator()(const RegisterHashes& c) {
        const auto asked = hashes(c.hashes);
        auto known = m.registered();
        for (const auto& hash : asked) {
            if (known.insert(hash).second) {
                m.touches_.push_back(hash);
            }
            hold(Kind::handle, 0, {}, hash);
        }
        return hashes_text(asked);
    }
    std::string operator()(const MatchHash& c) {
        const auto hash = m.hash(c.hash);
        if (!m.registered().contains(hash)) {
            return "nothing";
        }
        if (c.touch) {
            m.touches_.push_back(hash);
        }
        hold(Kind::handle, 0, {}, hash);
        return hash.to_hex();
    }
    std::string operator()(const TransferHash& c) {
        hold(Kind::handle, 0, {}, m.hash(c.hash));
        return m.hash(c.hash).to_hex();
    }
    std::string operator()(const TouchHash& c) {
        m.touches_.insert(m.touches_.end(), c.times, m.hash(c.hash));
        return {};
    }
    std::string operator()(const MoveManager&) { return {}; }
    std::string operator()(const KillManager& c) {
        pool(c.pool).manager_alive = c.certain != 0;
        return {};
    }

    /// Empty lists are put away; a store without manager and guards dies.
    void settle() {
        std::erase_if(m.holdings_,
                      [](const Holding& h) { return is_list(h.kind) && h.ids.empty(); });
        for (std::size_t i = 0; i < pools_count; ++i) {
            const bool held = std::ranges::any_of(m.holdings_, [&](const Holding& h) {
                return h.kind != Kind::handle && h.pool == i;
            });
            pool(i).store_alive = pool(i).manager_alive || held;
        }
    }
};

std::string PoolModel::apply(const PoolCommand& command) {
    if (!allows(command)) {
        return {};
    }
    PoolModelSteps steps{*this};
    auto outcome = std::visit(steps, command);
    steps.settle();
    return outcome;
}

}  // namespace kvbm::testing
