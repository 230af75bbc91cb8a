module;

#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.stress;

namespace kvbm_test {

namespace {

/// A chain of three, a second child of its root, and another root.
std::vector<SequenceHash> make_hashes() {
    const auto root = SequenceHash::root(BlockHash{1});
    const auto child = must(root.extend(BlockHash{2}));
    return {root, child, must(child.extend(BlockHash{3})), must(root.extend(BlockHash{4})),
            SequenceHash::root(BlockHash{5})};
}

/// Compares all totals, with nothing in flight.
class Audit {
  public:
    Audit(World& world, const std::vector<Worker>& workers) : world_(world), workers_(workers) {}

    void run() {
        for (const auto& worker : workers_) {
            count(worker.holdings());
        }
        count(world_.mailbox);
        for (std::size_t number = 0; number < managers_count; ++number) {
            pool(number);
            counters(number);
        }
        registry();
    }

  private:
    template <class T>
    void equal(const char* text, const T& found, const T& expected) {
        if (found != expected) {
            world_.findings.add(std::string(text) + ": " + std::to_string(found) + " instead of " +
                                std::to_string(expected));
        }
    }

    void count_guard(const ImmutableBlock<>& block) {
        const std::size_t number = world_.number_of(block.manager_id());
        ++immutable_guards_[number];
        ++references_[number][block.block_id()];
        named_.insert(block.sequence_hash());
    }
    void count_guard(const MutableBlock<>& block) {
        ++mutable_guards_[world_.number_of(block.manager_id())];
        ++held_[world_.number_of(block.manager_id())];
    }
    void count_guard(const CompleteBlock<>& block) {
        ++held_[world_.number_of(block.manager_id())];
    }
    void count_guard(const LifecyclePin& pin) {
        ++references_[world_.number_of(pin.manager_id())][pin.block_id()];
    }
    void count_guard(const WeakBlock<>& weak) { named_.insert(weak.sequence_hash()); }
    void count_guard(const BlockRegistrationHandle& handle) { named_.insert(handle.seq_hash()); }

    void count(const std::vector<Holding>& holdings) {
        for (auto& references_of_manager : references_) {
            references_of_manager.resize(world_.mix.blocks);
        }
        for (const auto& holding : holdings) {
            std::visit(
                [&](const auto& held) {
                    if constexpr (requires { held.begin(); }) {
                        for (const auto& guard : held) {
                            count_guard(guard);
                        }
                    } else {
                        count_guard(held);
                    }
                },
                holding);
        }
    }

    void pool(std::size_t number) {
        const auto& manager = world_.managers[number];
        const auto report = manager.check_invariants();
        if (!report.ok()) {
            world_.findings.add(report.to_string());
        }
        std::size_t owned = 0;
        std::size_t available = 0;
        std::set<SequenceHash> primaries;
        std::vector<std::size_t> keepalives(world_.mix.blocks);
        const auto infos = manager.inspect();
        for (const BlockInfo& info : infos) {
            owned += info.use == BlockUse::live && info.references == 0 ? 1 : 0;
            available += info.use != BlockUse::live ? 1 : 0;
            if (info.state == BlockState::primary || info.state == BlockState::inactive) {
                if (!primaries.insert(info.hash).second) {
                    world_.findings.add("R1: a hash has one primary or inactive block");
                }
            }
            if (info.state == BlockState::duplicate) {
                for (const BlockInfo& other : infos) {
                    keepalives[other.id] +=
                        other.state == BlockState::primary && other.hash == info.hash ? 1 : 0;
                }
            }
            if (info.state == BlockState::primary || info.state == BlockState::duplicate ||
                info.state == BlockState::inactive) {
                present_.insert(info.hash);
                named_.insert(info.hash);
            }
        }
        for (const BlockInfo& info : infos) {
            equal("G9: references are guards, pins and duplicates", info.references,
                  references_[number][info.id] + keepalives[info.id]);
        }
        equal("P1: mutable and staged blocks are those that guards own", owned, held_[number]);
        equal("P3: available blocks", manager.available_blocks(), available);
    }

    void counters(std::size_t number) {
        const auto found = world_.metrics[number]->snapshot();
        Tally sum;
        for (const auto& worker : workers_) {
            sum += worker.tallies()[number];
        }
        equal("V8: immutable guards", found.inflight_immutable, immutable_guards_[number]);
        equal("V8: mutable guards", found.inflight_mutable, mutable_guards_[number]);
        equal("V8: allocations", found.allocations, sum.allocations);
        equal("V8: stagings", found.stagings, sum.stagings);
        equal("V8: registrations", found.registrations, sum.registrations);
        equal("V8: duplicates", found.duplicate_blocks, sum.duplicates);
        equal("V8: rejected", found.registration_dedup, sum.rejected);
        equal("V8: asked of match", found.match_hashes_requested, sum.match_requested);
        equal("V8: matched", found.match_blocks_returned, sum.match_returned);
        equal("V8: asked of scan", found.scan_hashes_requested, sum.scan_requested);
        equal("V8: scanned", found.scan_blocks_returned, sum.scan_returned);
    }

    void registry() {
        equal("R4: live entries", world_.registry.registered_count(), named_.size());
        for (const auto& [hash, present] :
             world_.registry.check_presence<DefaultTier>(world_.hashes)) {
            equal("R3: presence", present, present_.contains(hash));
            equal("R4: registered", world_.registry.is_registered(hash), named_.contains(hash));
        }
    }

    World& world_;
    const std::vector<Worker>& workers_;
    std::array<std::int64_t, managers_count> immutable_guards_{};
    std::array<std::int64_t, managers_count> mutable_guards_{};
    std::array<std::size_t, managers_count> held_{};
    std::array<std::vector<std::size_t>, managers_count> references_;
    std::set<SequenceHash> named_;
    std::set<SequenceHash> present_;
};

}  // namespace

BlockManager<> make_manager(const Mix& mix, const BlockRegistry& registry, bool flag) {
    auto builder = BlockManager<>::builder();
    builder.block_count(mix.blocks).block_size(block_size).registry(registry);
    builder.duplication_policy(mix.duplication).with_default_reset_on_release(flag);
    switch (mix.policy) {
        case Policy::lru:
            builder.with_lru_backend();
            break;
        case Policy::fifo:
            builder.with_hashmap_backend();
            break;
        case Policy::multi_lru:
            builder.with_multi_lru_backend_custom_thresholds(2, 4, 8);
            break;
        case Policy::lineage_tick:
            builder.with_lineage_backend();
            break;
        case Policy::lineage_fifo:
            builder.with_lineage_backend_eviction(LineageEviction::fifo);
            break;
    }
    return must(builder.build());
}

SequenceHash root_hash(std::uint64_t number) {
    return SequenceHash::root(BlockHash{number});
}

CompleteBlock<> stage(BlockManager<>& manager, const SequenceHash& hash) {
    return std::move(*manager.allocate_blocks(1)->pop_back().stage(hash, block_size));
}

ImmutableBlock<> register_hash(BlockManager<>& manager, const SequenceHash& hash) {
    return std::move(*manager.register_block(stage(manager, hash)));
}

std::string to_string(const Mix& mix) {
    static constexpr std::array names{"lru", "fifo", "multi-lru", "lineage tick", "lineage fifo"};
    return std::string(names[static_cast<std::size_t>(mix.policy)]) +
           (mix.duplication == BlockDuplicationPolicy::allow ? ", allow, " : ", reject, ") +
           std::to_string(mix.blocks) + " blocks, " + std::to_string(mix.threads) + " threads, " +
           std::to_string(mix.hashes) + " hashes, seed " + std::to_string(mix.seed);
}

World::World(const Mix& chosen)
    : mix(chosen),
      registry(
          BlockRegistry::builder().frequency_tracker(FrequencyTrackingCapacity::small).build()),
      hashes(make_hashes()) {
    hashes.resize(mix.hashes);
    managers.emplace_back(make_manager(mix, registry, false));
    managers.emplace_back(make_manager(mix, registry, true));
    ids = {managers[0].id(), managers[1].id()};
    metrics = {managers[0].metrics(), managers[1].metrics()};
    for (auto& owners_of_manager : owners) {
        owners_of_manager = std::vector<std::atomic<int>>(mix.blocks);
    }
}

void audit(World& world, const std::vector<Worker>& workers) {
    Audit(world, workers).run();
}

namespace {

/// Nothing is left of dead managers and dropped guards.
void audit_end(World& world) {
    if (world.registry.registered_count() != 0) {
        world.findings.add("R4: an entry outlived its last handle");
    }
    for (const auto& metrics : world.metrics) {
        const auto snapshot = metrics->snapshot();
        if (snapshot.inflight_immutable != 0 || snapshot.inflight_mutable != 0) {
            world.findings.add("V8: a guard is counted that is gone");
        }
    }
}

}  // namespace

void finish(World& world, std::vector<Worker>& workers) {
    world.managers.clear();
    world.mailbox.clear();
    for (auto& worker : workers) {
        worker.let_go_of_everything();
    }
    audit_end(world);
}

std::string stress(const Mix& mix, std::size_t rounds, std::size_t steps) {
    World world(mix);
    std::vector<Worker> workers;
    for (std::size_t i = 0; i < mix.threads; ++i) {
        workers.emplace_back(world, mix.seed + 7919 * i);
    }
    std::size_t round = 0;
    std::barrier stop(static_cast<std::ptrdiff_t>(mix.threads), [&]() noexcept {
        audit(world, workers);
        if (++round == rounds) {
            world.managers.clear();
            world.mailbox.clear();
        }
    });
    std::vector<std::thread> threads;
    for (auto& worker : workers) {
        threads.emplace_back([&, mine = &worker] {
            for (std::size_t i = 0; i < rounds; ++i) {
                for (std::size_t k = 0; k < steps; ++k) {
                    mine->step();
                }
                stop.arrive_and_wait();
            }
            for (std::size_t k = 0; k < 20; ++k) {
                mine->step_without_managers();
            }
            mine->let_go_of_everything();
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    audit_end(world);
    return world.findings.first();
}

}  // namespace kvbm_test
