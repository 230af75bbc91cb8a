module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

using Kind = Holding::Kind;

bool is_registered(const ModelSlot& slot) {
    return slot.state == BlockState::primary || slot.state == BlockState::duplicate ||
           slot.state == BlockState::inactive;
}

bool is_list(Kind kind) {
    return kind == Kind::mutable_list || kind == Kind::complete_list ||
           kind == Kind::immutable_list;
}

bool same_tier(std::size_t pool, std::size_t other) {
    return (pool == 2) == (other == 2);
}

// The n-th of the holdings that fit, folded.
std::optional<std::size_t> fold(const std::vector<Holding>& holdings, std::size_t n, auto fits) {
    std::vector<std::size_t> fitting;
    for (std::size_t i = 0; i < holdings.size(); ++i) {
        if (fits(i)) {
            fitting.push_back(i);
        }
    }
    if (fitting.empty()) {
        return std::nullopt;
    }
    return fitting[n % fitting.size()];
}

}  // namespace

MetricsSnapshot ModelPool::snapshot() const {
    MetricsSnapshot values = metrics;
    values.reset_pool_size = static_cast<std::int64_t>(reset.size());
    values.inactive_pool_size = static_cast<std::int64_t>(inactive.size());
    values.inflight_mutable =
        std::ranges::count(slots, BlockState::mutable_block, &ModelSlot::state);
    return values;
}

PoolModel::PoolModel(const PoolOptions& options)
    : hashes_first_(options.hashes_first), hashes_count_(options.hashes_count) {
    for (const auto& config : options.pools) {
        ModelPool pool;
        pool.config = config;
        pool.inactive = PolicyModel(config.policy);
        pool.slots.resize(config.block_count);
        for (BlockId id = 0; id < config.block_count; ++id) {
            pool.reset.push_back(id);
        }
        pools_.push_back(std::move(pool));
    }
}

bool PoolModel::allows(const PoolCommand& command) const {
    return std::visit(
        [&](const auto& c) {
            if constexpr (requires { c.pool; }) {
                return pools_[c.pool].manager_alive;
            } else if constexpr (requires { c.holding; }) {
                return allows_holding(c.need, c.holding);
            } else {
                return true;
            }
        },
        command);
}

bool PoolModel::allows_holding(PoolNeed need, std::size_t n) const {
    const auto own = [&](std::optional<std::size_t> at) {
        return at && pools_[holdings_[*at].pool].manager_alive;
    };
    switch (need) {
        case PoolNeed::mutable_list:
            return pick(Kind::mutable_list, n).has_value();
        case PoolNeed::own_mutable_list:
            return own(pick(Kind::mutable_list, n));
        case PoolNeed::complete_list:
            return pick(Kind::complete_list, n).has_value();
        case PoolNeed::own_complete_list:
            return own(pick(Kind::complete_list, n));
        case PoolNeed::foreign_complete_list: {
            const auto list = pick(Kind::complete_list, n);
            return list && holdings_[*list].pool < 2 &&
                   pools_[1 - holdings_[*list].pool].manager_alive;
        }
        case PoolNeed::immutable_list:
            return pick(Kind::immutable_list, n).has_value();
        case PoolNeed::own_immutable_list:
            return own(pick(Kind::immutable_list, n));
        case PoolNeed::pin:
            return pick(Kind::pin, n).has_value();
        case PoolNeed::weak:
            return pick(Kind::weak, n).has_value();
        case PoolNeed::list:
            return pick_list(n).has_value();
        case PoolNeed::two_lists: {
            const auto list = pick_list(n);
            return list && pick_partner(*list, 0);
        }
        case PoolNeed::anything:
            return !holdings_.empty();
        case PoolNeed::nothing:
        case PoolNeed::manager:
            break;
    }
    return true;
}

std::set<SequenceHash> PoolModel::registered() const {
    std::set<SequenceHash> hashes;
    for (const auto& pool : pools_) {
        for (const auto& slot : pool.slots) {
            if (pool.store_alive && is_registered(slot)) {
                hashes.insert(slot.hash);
            }
        }
    }
    for (const auto& holding : holdings_) {
        if (holding.kind == Kind::weak || holding.kind == Kind::handle) {
            hashes.insert(holding.hash);
        }
    }
    return hashes;
}

std::size_t PoolModel::presence(const SequenceHash& hash, std::size_t pool) const {
    std::size_t blocks = 0;
    for (std::size_t i = 0; i < pools_count; ++i) {
        if (same_tier(i, pool) && pools_[i].store_alive) {
            blocks += static_cast<std::size_t>(std::ranges::count_if(
                pools_[i].slots,
                [&](const ModelSlot& slot) { return is_registered(slot) && slot.hash == hash; }));
        }
    }
    return blocks;
}

std::uint32_t PoolModel::uses(const SequenceHash& hash) const {
    const auto touched = std::ranges::count(touches_, hash);
    return static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(touched, uses_max));
}

std::optional<std::size_t> PoolModel::pick_in_pool(Holding::Kind kind, std::size_t pool,
                                                   std::size_t n) const {
    return fold(holdings_, n, [&](std::size_t i) {
        return holdings_[i].kind == kind && holdings_[i].pool == pool;
    });
}

std::optional<std::size_t> PoolModel::pick(Holding::Kind kind, std::size_t n) const {
    return fold(holdings_, n, [&](std::size_t i) { return holdings_[i].kind == kind; });
}

std::optional<std::size_t> PoolModel::pick_list(std::size_t n) const {
    return fold(holdings_, n, [&](std::size_t i) { return is_list(holdings_[i].kind); });
}

std::vector<std::size_t> PoolModel::pick_row(std::size_t n, std::size_t more) const {
    std::vector<std::size_t> row{*pick(Kind::immutable_list, n)};
    const std::size_t pool = holdings_[row.front()].pool;
    for (std::size_t i = row.front() + 1; i < holdings_.size() && row.size() <= more; ++i) {
        if (holdings_[i].kind == Kind::immutable_list && same_tier(holdings_[i].pool, pool)) {
            row.push_back(i);
        }
    }
    return row;
}

std::optional<std::size_t> PoolModel::pick_partner(std::size_t list, std::size_t n) const {
    return fold(holdings_, n, [&](std::size_t i) {
        return i != list && holdings_[i].kind == holdings_[list].kind &&
               holdings_[i].pool == holdings_[list].pool;
    });
}

}  // namespace kvbm::testing
