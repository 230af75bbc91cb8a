module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

using Kind = Holding::Kind;

using Held =
    std::variant<MutableBlockList<G1>, CompleteBlockList<G1>, ImmutableBlockList<G1>, WeakBlock<G1>,
                 MutableBlockList<G2>, CompleteBlockList<G2>, ImmutableBlockList<G2>, WeakBlock<G2>,
                 LifecyclePin, BlockRegistrationHandle>;

template <class T>
concept AnyList = requires(T& list) { list.pop_back(); };

bool is_empty_list(const Held& held) {
    return std::visit(
        []<class T>(const T& list) {
            if constexpr (AnyList<T>) {
                return list.empty();
            }
            return false;
        },
        held);
}

template <class Tier>
BlockManager<Tier> build(const PoolConfig& config, const BlockRegistry& registry) {
    auto builder = BlockManager<Tier>::builder();
    builder.block_count(config.block_count).block_size(pool_block_size).registry(registry);
    builder.duplication_policy(config.reject ? BlockDuplicationPolicy::reject
                                             : BlockDuplicationPolicy::allow);
    choose_backend(builder, config.policy);
    return must(builder.with_default_reset_on_release(config.reset_on_release).build());
}

// What a guard says of itself; each kind knows less or more.
GuardFacts facts_of(const auto& guard) {
    GuardFacts facts{.id = guard.block_id(), .manager = guard.manager_id()};
    if constexpr (requires { guard.block_size(); }) {
        facts.block_size = guard.block_size();
    }
    if constexpr (requires { guard.sequence_hash(); }) {
        facts.hash = guard.sequence_hash();
    }
    if constexpr (requires { guard.use_count(); }) {
        facts.use_count = guard.use_count();
    }
    if constexpr (requires { guard.is_duplicate(); }) {
        facts.is_duplicate = guard.is_duplicate();
    }
    return facts;
}

std::string refused(std::size_t index, const std::string& message) {
    return "refused at " + std::to_string(index) + ": " + message;
}

}  // namespace

/// The real managers and what is held of them, in the order of the model's holdings.
class PoolHarness::System {
  public:
    System(const PoolOptions& options, std::size_t picture_every)
        : model(options), options_(options), picture_every_(picture_every) {
        for (std::size_t pool = 0; pool < pools_count && !options.late; ++pool) {
            need(pool);
        }
    }

    PoolModel model;

    std::optional<std::string> run(const PoolCommand& command) {
        if (!model.allows(command)) {
            return std::nullopt;
        }
        const std::string outcome = std::visit(*this, command);
        std::ranges::move(std::exchange(new_, {}), std::back_inserter(held_));
        std::erase_if(held_, is_empty_list);
        const std::string expected = model.apply(command);
        if (outcome != expected) {
            return "\"" + outcome + "\", expected \"" + expected + "\"";
        }
        return compare(++commands_ % picture_every_ == 0);
    }

    // The first difference in audits, counters, gauges and touches; `whole`: in anything.
    std::optional<std::string> compare(bool whole);

  private:
    std::vector<SequenceHash> hashes(std::span<const std::size_t> numbers) const {
        std::vector<SequenceHash> named;
        std::ranges::transform(numbers, std::back_inserter(named),
                               [&](std::size_t number) { return model.hash(number); });
        return named;
    }
    std::size_t pick(Kind kind, std::size_t n) const { return *model.pick(kind, n); }

    /// The manager exists, or did.
    void need(std::size_t pool) {
        if (metrics_[pool] != nullptr) {
            return;
        }
        const auto make = [&]<class Tier>(std::optional<BlockManager<Tier>>& manager) {
            manager = build<Tier>(options_.pools[pool], registry_);
            ids_[pool] = manager->id();
            metrics_[pool] = manager->metrics();
        };
        pool == 0 ? make(first_) : pool == 1 ? make(second_) : make(third_);
    }
    auto with_manager(std::size_t pool, auto&& call) {
        need(pool);
        return pool == 0 ? call(*first_) : pool == 1 ? call(*second_) : call(*third_);
    }
    /// The manager of the list at a place, with its tier known.
    template <template <class> class List, class Tier>
    auto with_manager_of(std::size_t at, List<Tier>&, auto&& call) {
        if constexpr (std::is_same_v<Tier, G2>) {
            return call(*third_);
        } else {
            return call(model.holdings()[at].pool == 0 ? *first_ : *second_);
        }
    }
    template <template <class> class T>
    std::string with(std::size_t at, auto&& call) {
        if (auto* held = std::get_if<T<G1>>(&held_[at])) {
            return call(*held);
        }
        return call(std::get<T<G2>>(held_[at]));
    }
    std::string with_block(const auto& c, auto&& call) {
        return with<ImmutableBlockList>(pick(Kind::immutable_list, c.holding), [&](auto& list) {
            return call(list[c.index % list.size()]);
        });
    }
    std::string with_list(const auto& c, auto&& call) {
        return std::visit(
            [&]<class T>(T& list) -> std::string {
                if constexpr (AnyList<T>) {
                    return call(list);
                }
                return "no list";
            },
            held_[*model.pick_list(c.holding)]);
    }

    static std::string text(const auto& list) { return blocks_text(list.block_ids()); }
    // Lists are collected apart while a command runs, since it may hold a reference into held_.
    std::string keep(AnyList auto list) {
        std::string words = text(list);
        new_.emplace_back(std::move(list));
        return words;
    }
    template <template <class> class Guard, class Tier>
    std::string keep_one(Guard<Tier> guard) {
        using One = std::conditional_t<
            std::is_same_v<Guard<Tier>, MutableBlock<Tier>>, MutableBlockList<Tier>,
            std::conditional_t<std::is_same_v<Guard<Tier>, CompleteBlock<Tier>>,
                               CompleteBlockList<Tier>, ImmutableBlockList<Tier>>>;
        One list;
        list.push_back(std::move(guard));
        return keep(std::move(list));
    }
    std::string keep_pin(LifecyclePin pin) {
        const BlockId id = pin.block_id();
        new_.emplace_back(std::move(pin));
        return blocks_text(std::span(&id, 1));
    }
    template <class Tier>
    std::string keep_weak(WeakBlock<Tier> weak) {
        std::string words = weak.sequence_hash().to_hex();
        new_.emplace_back(std::move(weak));
        return words;
    }
    std::string keep_handle(BlockRegistrationHandle handle) {
        std::string words = handle.seq_hash().to_hex();
        new_.emplace_back(std::move(handle));
        return words;
    }

  public:
    // --- one function per command: the outcome in the words of the model ---
    std::string operator()(const Allocate& c) {
        return with_manager(c.pool, [&](auto& manager) -> std::string {
            auto blocks = manager.allocate_blocks(c.count);
            return blocks ? keep(std::move(*blocks)) : "not enough";
        });
    }
    std::string operator()(const AllocateWithEvictions& c) {
        return with_manager(c.pool, [&](auto& manager) -> std::string {
            auto allocation = manager.allocate_blocks_with_evictions(c.count);
            return allocation ? keep(std::move(allocation->blocks)) + " " +
                                    hashes_text(allocation->evicted)
                              : "not enough";
        });
    }
    std::string operator()(const AllocateInto& c) {
        const std::size_t at = pick(Kind::mutable_list, c.holding);
        return with<MutableBlockList>(at, [&](auto& list) {
            std::vector<SequenceHash> evicted;
            const bool done = with_manager_of(at, list, [&](auto& manager) {
                return manager.allocate_blocks_into(c.count, list, &evicted);
            });
            return (done ? "" : "not enough ") + text(list) + " " + hashes_text(evicted);
        });
    }
    std::string operator()(const ResetInactivePool& c) {
        return with_manager(c.pool, [](auto& manager) {
            const auto drained = manager.reset_inactive_pool();
            return drained ? "drained " + std::to_string(*drained)
                           : "drained " + std::to_string(drained.error().drained) + ": " +
                                 drained.error().message();
        });
    }
    std::string operator()(const StageAll& c) {
        return with<MutableBlockList>(pick(Kind::mutable_list, c.holding), [&](auto& list) {
            std::vector<SequenceHash> hashes;
            const std::size_t count = list.size() - (c.fault == 1 ? 1 : 0) + (c.fault == 2 ? 1 : 0);
            hashes.reserve(count);
            for (std::size_t i = 0; i < count; ++i) {
                hashes.push_back(model.hash(c.first + i * c.step));
            }
            auto staged =
                std::move(list).stage_all(hashes, pool_block_size * (c.fault == 0 ? 2 : 1));
            if (!staged) {
                list = std::move(staged.error().blocks);
                return refused(staged.error().index, staged.error().message());
            }
            keep(std::move(*staged));
            return std::string("staged");
        });
    }
    std::string operator()(const StageOne& c) {
        return with<MutableBlockList>(pick(Kind::mutable_list, c.holding), [&](auto& list) {
            auto staged =
                list.pop_back().stage(model.hash(c.hash), pool_block_size * (c.fault == 0 ? 2 : 1));
            if (!staged) {
                list.push_back(std::move(staged.error().block));
                return refused(0, staged.error().message());
            }
            return keep_one(std::move(*staged));
        });
    }
    std::string operator()(const ResetAll& c) {
        return with<CompleteBlockList>(pick(Kind::complete_list, c.holding), [&](auto& list) {
            return keep(std::move(list).reset_all());
        });
    }
    std::string operator()(const ResetOne& c) {
        return with<CompleteBlockList>(pick(Kind::complete_list, c.holding), [&](auto& list) {
            return keep_one(list.pop_back().reset());
        });
    }
    std::string operator()(const Register& c) {
        const std::size_t at = pick(Kind::complete_list, c.holding);
        return with<CompleteBlockList>(at, [&](auto& list) {
            return keep(with_manager_of(at, list, [&](auto& manager) {
                return must(manager.register_blocks(std::move(list)));
            }));
        });
    }
    std::string operator()(const RegisterOne& c) {
        const std::size_t at = pick(Kind::complete_list, c.holding);
        return with<CompleteBlockList>(at, [&](auto& list) {
            return keep_one(with_manager_of(at, list, [&](auto& manager) {
                return must(manager.register_block(list.pop_back()));
            }));
        });
    }
    std::string operator()(const RegisterInto& c) {
        const std::size_t at = pick(Kind::complete_list, c.holding);
        const auto into =
            model.pick_in_pool(Kind::immutable_list, model.holdings()[at].pool, c.other);
        return with<CompleteBlockList>(at, [&]<class Tier>(CompleteBlockList<Tier>& list) {
            using Out = ImmutableBlockList<Tier>;
            Out fresh;
            Out& out = into ? std::get<Out>(held_[*into]) : fresh;
            const std::size_t before = out.size();
            const std::size_t given = list.size();
            const std::size_t count = with_manager_of(at, list, [&](auto& manager) {
                return must(manager.register_blocks_into(list, out));
            });
            if (count != given || out.size() != before + count || !list.empty()) {
                return std::to_string(count) + " registered";
            }
            return into ? text(out) : keep(std::move(fresh));
        });
    }
    std::string operator()(const RegisterForeign& c) {
        const std::size_t at = pick(Kind::complete_list, c.holding);
        const std::size_t own = model.holdings()[at].pool;
        auto& list = std::get<CompleteBlockList<G1>>(held_[at]);
        need(1 - own);
        auto& manager = own == 0 ? *second_ : *first_;
        const auto answer = [&](const auto& error) {
            const bool named = error.expected == ids_[1 - own] && error.actual == ids_[own] &&
                               error.message() == "block at index 0 belongs to manager " +
                                                      std::to_string(ids_[own].value()) +
                                                      ", not to manager " +
                                                      std::to_string(ids_[1 - own].value());
            return named ? "foreign at " + std::to_string(error.index) : error.message();
        };
        if (c.one) {
            auto result = manager.register_block(list.pop_back());
            if (result) {
                return "registered";
            }
            list.push_back(std::move(result.error().blocks));
            return answer(result.error());
        }
        auto result = manager.register_blocks(std::move(list));
        if (result) {
            return "registered";
        }
        list = std::move(result.error().blocks);
        return answer(result.error());
    }
    std::string operator()(const Match& c) {
        return with_manager(
            c.pool, [&](auto& manager) { return keep(manager.match_blocks(hashes(c.hashes))); });
    }
    std::string operator()(const MatchInto& c) {
        const std::size_t at = pick(Kind::immutable_list, c.holding);
        return with<ImmutableBlockList>(at, [&](auto& list) {
            with_manager_of(at, list, [&](auto& manager) {
                return manager.match_blocks_into(hashes(c.hashes), list);
            });
            return text(list);
        });
    }
    std::string operator()(const MatchMany& c) {
        const auto into = model.pick_in_pool(Kind::immutable_list, c.pool, c.other);
        return with_manager(c.pool, [&]<class Tier>(BlockManager<Tier>& manager) {
            using Out = ImmutableBlockList<Tier>;
            std::array<Out, 3> lists;
            if (into) {
                lists[1] = std::move(std::get<Out>(held_[*into]));
            }
            const std::array named{hashes(c.first), hashes(c.second), hashes(c.third)};
            const std::array<std::span<const SequenceHash>, 3> asked{named[0], named[1], named[2]};
            std::string words = std::to_string(manager.match_many(asked, lists));
            words += " " + keep(std::move(lists[0]));
            words += " " + text(lists[1]);
            if (into) {
                std::get<Out>(held_[*into]) = std::move(lists[1]);
            } else {
                keep(std::move(lists[1]));
            }
            return words + " " + keep(std::move(lists[2]));
        });
    }
    std::string operator()(const MatchScattered& c) {
        return with_manager(c.pool, [&](auto& manager) {
            auto found = manager.match_blocks_scattered(hashes(c.hashes));
            std::string places = "places";
            for (const auto* block : found) {
                places += block == nullptr ? " -" : " " + std::to_string(block->block_id());
            }
            if (c.keep) {
                keep(std::move(found).take_hits());
            }
            return places;
        });
    }
    std::string operator()(const Scan& c) {
        return with_manager(c.pool, [&](auto& manager) {
            auto found = manager.scan_matches(hashes(c.hashes), c.touch ? Touch::yes : Touch::no);
            std::vector<SequenceHash> order;
            std::vector<BlockId> ids;
            for (const auto& [hash, block] : found) {
                order.push_back(hash);
                ids.push_back(block.block_id());
            }
            if (c.keep) {
                keep(std::move(found).take_blocks());
            }
            return blocks_text(ids) + " " + hashes_text(order);
        });
    }
    std::string operator()(const Clone& c) {
        return with<ImmutableBlockList>(pick(Kind::immutable_list, c.holding),
                                        [&](auto& list) { return keep(list.clone()); });
    }
    std::string operator()(const Copy& c) {
        return with_block(c, [&](const auto& block) {
            auto copy = block;
            return keep_one(std::move(copy));
        });
    }
    std::string operator()(const Pin& c) {
        return with_block(c, [&](const auto& block) { return keep_pin(block.pin()); });
    }
    std::string operator()(const CopyPin& c) {
        return keep_pin(LifecyclePin(std::get<LifecyclePin>(held_[pick(Kind::pin, c.holding)])));
    }
    std::string operator()(const Downgrade& c) {
        return with_block(c, [&](const auto& block) { return keep_weak(block.downgrade()); });
    }
    std::string operator()(const CopyWeak& c) {
        return with<WeakBlock>(pick(Kind::weak, c.holding), [&](auto& weak) {
            auto copy = weak;
            return keep_weak(std::move(copy));
        });
    }
    std::string operator()(const Upgrade& c) {
        return with<WeakBlock>(pick(Kind::weak, c.holding), [&](auto& weak) {
            auto block = weak.upgrade();
            return block ? keep_one(std::move(*block)) : std::string("nothing");
        });
    }
    std::string operator()(const SetEvictOnReset& c) {
        return with_block(c, [&](const auto& block) {
            block.set_evict_on_reset(c.value);
            return std::string();
        });
    }
    std::string operator()(const HandleOf& c) {
        return with_block(
            c, [&](const auto& block) { return keep_handle(block.registration_handle()); });
    }
    std::string operator()(const Drop& c) {
        const std::size_t at = c.holding % held_.size();
        Held dropped = std::move(held_[at]);
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
        std::visit(
            [&]<class T>(T& list) {
                if constexpr (AnyList<T>) {
                    if (c.leaf_first) {
                        list.clear(ReleaseOrder::leaf_first);
                    }
                }
            },
            dropped);
        return {};
    }
    std::string operator()(const ReleaseMany& c) {
        const auto row = model.pick_row(c.holding, c.more);
        return with<ImmutableBlockList>(row.front(), [&]<class Tier>(ImmutableBlockList<Tier>&) {
            std::vector<ImmutableBlockList<Tier>> lists(1);
            for (const std::size_t at : row) {
                lists.push_back(std::move(std::get<ImmutableBlockList<Tier>>(held_[at])));
            }
            BlockManager<Tier>::release_many(
                lists, c.leaf_first ? ReleaseOrder::leaf_first : ReleaseOrder::root_first);
            return std::string();
        });
    }
    std::string operator()(const DropOne& c) {
        return with_list(c, [&](auto& list) {
            const auto block = list.pop_back();
            const BlockId id = block.block_id();
            return blocks_text(std::span(&id, 1));
        });
    }
    std::string operator()(const SplitOff& c) {
        return with_list(
            c, [&](auto& list) { return keep(list.split_off(c.at % (list.size() + 1))); });
    }
    std::string operator()(const TakeFront& c) {
        return with_list(
            c, [&](auto& list) { return keep(list.take_front(c.count % (list.size() + 1))); });
    }
    std::string operator()(const Append& c) {
        const std::size_t other = *model.pick_partner(*model.pick_list(c.holding), c.other);
        return with_list(c, [&]<class List>(List& list) {
            list.append(std::move(std::get<List>(held_[other])));
            return text(list);
        });
    }
    std::string operator()(const RegisterHashes& c) {
        std::vector<SequenceHash> order;
        for (auto& handle : registry_.register_sequence_hashes(hashes(c.hashes))) {
            order.push_back(handle.seq_hash());
            keep_handle(std::move(handle));
        }
        return hashes_text(order);
    }
    std::string operator()(const MatchHash& c) {
        auto handle =
            registry_.match_sequence_hash(model.hash(c.hash), c.touch ? Touch::yes : Touch::no);
        return handle ? keep_handle(std::move(*handle)) : "nothing";
    }
    std::string operator()(const TransferHash& c) {
        return keep_handle(registry_.transfer_registration(model.hash(c.hash)));
    }
    std::string operator()(const TouchHash& c) {
        for (std::size_t i = 0; i < c.times; ++i) {
            registry_.touch(model.hash(c.hash));
        }
        return {};
    }
    std::string operator()(const MoveManager& c) {
        return with_manager(c.pool, [](auto& manager) {
            auto elsewhere = std::move(manager);
            manager = std::move(elsewhere);
            return std::string();
        });
    }
    std::string operator()(const KillManager& c) {
        if (c.certain == 0) {
            need(c.pool);
            c.pool == 0 ? first_.reset() : c.pool == 1 ? second_.reset() : third_.reset();
        }
        return {};
    }

  private:
    // --- comparisons ---
    std::optional<std::string> compare_holdings();
    std::optional<std::string> compare_pool(std::size_t pool, bool whole);
    std::optional<std::string> compare_holding(std::size_t at);

    // The touches, if they are recorded: a registry gives entries to the blocks of its only manager
    // as soon as somebody looks on.
    std::optional<std::vector<SequenceHash>> touches() const {
        return options_.late ? std::nullopt : std::optional(tracker_->touches());
    }
    std::shared_ptr<FrequencyTracker> tracker() const {
        constexpr std::size_t ample = 4096;
        if (options_.late) {
            return std::make_shared<TinyLfuTracker>(ample);
        }
        return tracker_;
    }

    PoolOptions options_;
    std::size_t picture_every_;
    std::size_t commands_ = 0;
    std::shared_ptr<RecordingTracker> tracker_ = std::make_shared<RecordingTracker>();
    BlockRegistry registry_ = BlockRegistry::builder().frequency_tracker(tracker()).build();
    std::optional<BlockManager<G1>> first_;
    std::optional<BlockManager<G1>> second_;
    std::optional<BlockManager<G2>> third_;
    std::array<ManagerId, pools_count> ids_{ManagerId::null(), ManagerId::null(),
                                            ManagerId::null()};
    std::array<std::shared_ptr<BlockPoolMetrics>, pools_count> metrics_;
    std::vector<Held> held_;
    std::vector<Held> new_;
};

std::optional<std::string> PoolHarness::System::compare(bool whole) {
    for (std::size_t pool = 0; pool < pools_count; ++pool) {
        if (const auto difference = compare_pool(pool, whole)) {
            return "pool " + std::to_string(pool) + ": " + *difference;
        }
    }
    if (auto difference = registry_difference(registry_, touches(), model)) {
        return difference;
    }
    if (!whole) {
        return std::nullopt;
    }
    auto difference = presence_difference(registry_, model);
    return difference ? difference : compare_holdings();
}

std::optional<std::string> PoolHarness::System::compare_holdings() {
    if (held_.size() != model.holdings().size()) {
        return std::to_string(held_.size()) + " holdings, expected " +
               std::to_string(model.holdings().size());
    }
    for (std::size_t at = 0; at < held_.size(); ++at) {
        if (const auto difference = compare_holding(at)) {
            return "holding " + std::to_string(at) + ": " + *difference;
        }
    }
    return std::nullopt;
}

std::optional<std::string> PoolHarness::System::compare_holding(std::size_t at) {
    const Holding& expected = model.holdings()[at];
    const ModelPool& pool = model.pool(expected.pool);
    const ManagerId manager = ids_[expected.pool];
    return std::visit(
        [&]<class T>(const T& held) -> std::optional<std::string> {
            if constexpr (AnyList<T>) {
                if (held.size() != expected.ids.size()) {
                    return "a list of " + std::to_string(held.size());
                }
                for (std::size_t i = 0; i < held.size(); ++i) {
                    const BlockId id = expected.ids[i];
                    if (auto found = guard_difference(facts_of(held[i]), pool, id, manager)) {
                        return found;
                    }
                }
                return std::nullopt;
            } else if constexpr (std::is_same_v<T, LifecyclePin>) {
                return guard_difference(facts_of(held), pool, expected.ids.front(), manager);
            } else if constexpr (std::is_same_v<T, BlockRegistrationHandle>) {
                return handle_difference(held, registry_, expected.hash, model);
            } else {
                const bool same =
                    held.sequence_hash() == expected.hash && held.manager_id() == manager;
                return same ? std::nullopt : std::optional<std::string>("another weak block");
            }
        },
        held_[at]);
}

std::optional<std::string> PoolHarness::System::compare_pool(std::size_t pool, bool whole) {
    if (metrics_[pool] == nullptr) {
        return std::nullopt;
    }
    const ModelPool& expected = model.pool(pool);
    if (auto difference = metrics_difference(metrics_[pool]->snapshot(), expected.snapshot())) {
        return difference;
    }
    if (!expected.manager_alive) {
        return std::nullopt;
    }
    return with_manager(pool, [&](auto& manager) -> std::optional<std::string> {
        if (const auto report = manager.check_invariants(); !report.ok()) {
            return report.to_string();
        }
        const std::size_t available = expected.reset.size() + expected.inactive.size();
        if (manager.available_blocks() != available) {
            return std::to_string(manager.available_blocks()) + " blocks available, expected " +
                   std::to_string(available);
        }
        return whole ? slots_difference(manager.inspect(), expected) : std::nullopt;
    });
}

PoolHarness::PoolHarness(const PoolOptions& options, std::size_t picture_every)
    : system_(std::make_unique<System>(options, picture_every)) {}
PoolHarness::PoolHarness(PoolHarness&&) noexcept = default;
PoolHarness& PoolHarness::operator=(PoolHarness&&) noexcept = default;
PoolHarness::~PoolHarness() = default;

const PoolModel& PoolHarness::model() const noexcept {
    return system_->model;
}

std::optional<std::string> PoolHarness::run(const PoolCommand& command) {
    if (auto difference = system_->run(command)) {
        return to_string(command) + ": " + *difference;
    }
    return std::nullopt;
}

std::optional<std::string> PoolHarness::finish() {
    std::vector<PoolCommand> commands(model().holdings().size(), Drop{});
    for (std::size_t pool = 0; pool < pools_count; ++pool) {
        commands.push_back(AllocateWithEvictions{pool, model().pool(pool).slots.size()});
        commands.push_back(Drop{});
        commands.push_back(KillManager{pool, 0});
    }
    for (const auto& command : commands) {
        if (auto difference = run(command)) {
            return "at the end, " + *difference;
        }
    }
    return system_->compare(true);
}

}  // namespace kvbm::testing
