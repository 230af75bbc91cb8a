// Trackers: which block serves which position.
module;

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

/// The next sequence of so many blocks.
BlockSequence sequence_of(SplitMix64& random, std::size_t blocks) {
    return BlockSequence(tokens(random, blocks * block_size), block_size);
}

/// What is done with a tracker of ids: outside the clock, and then inside.
struct ExternalWork {
    std::string_view name;
    void (*prepare)(ExternalBlockAssignments&, std::span<const BlockId>);
    void (*work)(ExternalBlockAssignments&, std::span<const BlockId>, const BlockSequence&);
    bool assigns;
};

void extend(ExternalBlockAssignments& tracker, std::span<const BlockId> ids) {
    must(tracker.extend_block_ids(hide(ids)));
}
void assign_pending(ExternalBlockAssignments& tracker, const BlockSequence& sequence) {
    must(tracker.assign_pending(hide(sequence).blocks()));
}

constexpr ExternalWork external_extend{
    "external_extend", nullptr, [](auto& tracker, auto ids, const auto&) { extend(tracker, ids); },
    false};
constexpr ExternalWork external_assign{"external_assign", nullptr,
                                       [](auto& tracker, auto ids, const auto& sequence) {
                                           extend(tracker, ids);
                                           assign_pending(tracker, sequence);
                                       },
                                       true};
constexpr ExternalWork external_stage_commit{
    "external_stage_commit", extend,
    [](auto& tracker, auto, const auto& sequence) {
        must(tracker.stage_pending(hide(sequence).blocks()));
        tracker.commit_staged();
    },
    true};
constexpr ExternalWork external_one_by_one{"external_one_by_one", nullptr,
                                           [](auto& tracker, auto ids, const auto& sequence) {
                                               for (std::size_t i = 1; i <= ids.size(); ++i) {
                                                   extend(tracker, ids.first(i));
                                                   assign_pending(tracker, sequence);
                                               }
                                           },
                                           true};

void time_external(const Run& run, std::size_t blocks, const ExternalWork& external) {
    SplitMix64 random(seeds::tokens);
    const auto sequence = sequence_of(random, blocks);
    const auto ids = permutation(seeds::slots, blocks);
    run.measure(blocks, [&](std::size_t operations) {
        Timed timed{operations};
        for (std::size_t i = 0; i < operations; ++i) {
            ExternalBlockAssignments tracker;
            if (external.prepare != nullptr) {
                external.prepare(tracker, ids);
            }
            timed.time += time_of([&] { external.work(tracker, ids, sequence); });
            expects(tracker.assigned_count() == (external.assigns ? blocks : 0),
                    "every block is assigned, or none");
            expects(tracker.unassigned_count() == (external.assigns ? 0 : blocks),
                    "every other block is queued");
        }
        return timed;
    });
}

/// Sixteen sequences take turns in a pool that holds four: each is new again at its turn.
void time_logical(const Run& run, std::size_t blocks) {
    SplitMix64 random(seeds::tokens);
    std::vector<BlockSequence> sequences;
    for (int i = 0; i < 16; ++i) {
        sequences.push_back(sequence_of(random, blocks));
    }
    auto manager = make_manager("lru", 4 * blocks);
    Turn turn(sequences.size());
    run.measure(blocks, [&](std::size_t operations) {
        Timed timed{operations};
        for (std::size_t i = 0; i < operations; ++i) {
            const BlockSequence& sequence = sequences[turn.next()];
            MutableBlockList<> list;
            allocate(manager, blocks, list);
            std::size_t registered = 0;
            timed.time += time_of([&] {
                LogicalBlockAssignments<> tracker;
                expects(tracker.extend_blocks(std::move(list)).has_value(), "blocks are queued");
                expects(tracker.stage(hide(sequence).blocks()).has_value(), "blocks are staged");
                registered = tracker.register_blocks(manager);
                keep(tracker);
                tracker.clear();
            });
            expects(registered == blocks, "every block is registered");
        }
        return timed;
    });
    expects(manager.metrics()->snapshot().duplicate_blocks == 0, "no block is a duplicate");
}

}  // namespace

void add_assignment_cases(Cases& cases) {
    const auto add_external = [&](const std::string& group, const ExternalWork& external,
                                  std::size_t blocks) {
        cases.push_back({group + std::string(external.name) + "/" + std::to_string(blocks),
                         [=](const Run& run) { time_external(run, blocks, external); }});
    };
    const auto add_logical = [&](const std::string& group, std::size_t blocks) {
        cases.push_back({group + "logical/" + std::to_string(blocks),
                         [=](const Run& run) { time_logical(run, blocks); }});
    };
    for (const auto blocks : std::initializer_list<std::size_t>{128, 1024, 8192}) {
        add_external("assignments/", external_extend, blocks);
        add_external("assignments/", external_assign, blocks);
        add_external("assignments/", external_stage_commit, blocks);
    }
    for (const auto blocks : std::initializer_list<std::size_t>{128, 1024}) {
        add_external("assignments/", external_one_by_one, blocks);
        add_logical("assignments/", blocks);
    }
    for (const auto blocks :
         std::initializer_list<std::size_t>{1024, 2048, 4096, 8192, 16'384, 32'768, 65'536}) {
        add_external("growth/", external_assign, blocks);
    }
    for (const auto blocks : std::initializer_list<std::size_t>{1024, 2048, 4096, 8192, 16'384}) {
        add_logical("growth/", blocks);
    }
}

}  // namespace kvbm::bench
