module;

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.stress;

namespace kvbm_test {

class Worker::Acts {
  public:
    Acts(World& world, std::uint64_t seed) : world_(world), random_(seed) {}

    void step() {
        (this->*steps_[below(steps_.size())])();
        while (holdings_.size() > 6) {
            drop();
        }
    }
    void let_go_of_everything() {
        while (!holdings_.empty()) {
            drop();
        }
    }
    /// The other threads may still use what the managers gave them.
    void step_without_managers() {
        static constexpr std::array<void (Acts::*)(), 8> steps{
            &Acts::copy, &Acts::clone,   &Acts::pin,      &Acts::downgrade,
            &Acts::drop, &Acts::upgrade, &Acts::drop_one, &Acts::set_flag};
        (this->*steps[below(steps.size())])();
    }

    const std::vector<Holding>& holdings() const { return holdings_; }
    const std::array<Tally, managers_count>& tallies() const { return tallies_; }

  private:
    std::size_t below(std::size_t limit) { return random_() % limit; }
    bool chance(std::size_t one_in) { return below(one_in) == 0; }
    void check(bool holds, const char* text) {
        if (!holds) {
            world_.findings.add(text);
        }
    }

    const SequenceHash& hash() { return world_.hashes[below(world_.hashes.size())]; }
    std::vector<SequenceHash> some_hashes() {
        std::vector<SequenceHash> hashes(below(5));
        std::ranges::generate(hashes, [&] { return hash(); });
        return hashes;
    }
    BlockManager<>& manager(std::size_t number) { return world_.managers[number]; }
    std::size_t any_manager() { return below(managers_count); }

    /// Takes a random holding of a kind out of the list.
    template <class Kind>
    std::optional<Kind> take() {
        const std::size_t start = holdings_.empty() ? 0 : below(holdings_.size());
        for (std::size_t i = 0; i < holdings_.size(); ++i) {
            auto& holding = holdings_[(start + i) % holdings_.size()];
            if (auto* found = std::get_if<Kind>(&holding)) {
                std::optional<Kind> taken(std::move(*found));
                std::swap(holding, holdings_.back());
                holdings_.pop_back();
                return taken;
            }
        }
        return std::nullopt;
    }
    template <class Kind>
    void keep(Kind kept) {
        holdings_.emplace_back(std::move(kept));
    }

    // --- who owns a block ---

    template <class Guard>
    std::atomic<int>& owner_of(const Guard& guard) {
        return world_.owners[world_.number_of(guard.manager_id())][guard.block_id()];
    }
    template <class Guard>
    void owned(const Guard& guard) {
        check(owner_of(guard).exchange(1) == 0, "G1: a block that is handed out had no owner");
    }
    template <class Guard>
    void disowned(const Guard& guard) {
        check(owner_of(guard).exchange(0) == 1, "G1: a block that is given back had an owner");
    }

    // --- allocation ---

    void allocate() {
        const std::size_t number = any_manager();
        const std::size_t count = below(3);
        std::vector<SequenceHash> evicted;
        MutableBlockList<> blocks;
        if (!manager(number).allocate_blocks_into(count, blocks, chance(2) ? &evicted : nullptr)) {
            check(blocks.empty() && evicted.empty(), "P4: a refused allocation takes nothing");
            return;
        }
        check(blocks.size() == count, "P4: an allocation gives as many as asked");
        tallies_[number].allocations += count;
        for (const auto& block : blocks) {
            owned(block);
        }
        keep(std::move(blocks));
    }
    void allocate_too_many() {
        check(!manager(any_manager()).allocate_blocks(world_.mix.blocks + 1).has_value(),
              "P6: more blocks than there are cannot be had");
    }
    void reset_inactive() {
        const auto drained = manager(any_manager()).reset_inactive_pool();
        if (!drained.has_value()) {
            check(drained.error().actual < world_.mix.blocks, "A5: blocks are in use");
        }
    }

    // --- staging ---

    void stage_list() {
        auto blocks = take<MutableBlockList<>>();
        if (!blocks) {
            return;
        }
        std::vector<SequenceHash> hashes(blocks->size());
        std::ranges::generate(hashes, [&] { return hash(); });
        if (chance(4)) {
            auto refused = std::move(*blocks).stage_all(hashes, 2 * block_size);
            if (hashes.empty()) {
                return;
            }
            check(!refused.has_value(), "G22: a wrong size is refused");
            blocks.emplace(std::move(refused.error().blocks));
        }
        const std::size_t number =
            blocks->empty() ? 0 : world_.number_of((*blocks)[0].manager_id());
        auto staged = std::move(*blocks).stage_all(hashes, block_size);
        check(staged.has_value(), "G22: a right list is staged");
        tallies_[number].stagings += hashes.size();
        keep(std::move(*staged));
    }
    void split_mutable() {
        auto blocks = take<MutableBlockList<>>();
        if (blocks && !blocks->empty()) {
            keep(blocks->pop_back());
            keep(std::move(*blocks));
        }
    }
    void stage_one() {
        if (auto block = take<MutableBlock<>>()) {
            ++tallies_[world_.number_of(block->manager_id())].stagings;
            keep(std::move(*std::move(*block).stage(hash(), block_size)));
        }
    }
    void unstage() {
        if (auto block = take<CompleteBlock<>>()) {
            keep(std::move(*block).reset());
        } else if (auto blocks = take<CompleteBlockList<>>()) {
            keep(std::move(*blocks).reset_all());
        }
    }

    // --- registration ---

    void check_registered(std::size_t number, const ImmutableBlock<>& block, BlockId candidate,
                          const SequenceHash& expected) {
        auto& tally = tallies_[number];
        ++tally.registrations;
        tally.duplicates += block.block_id() == candidate && block.is_duplicate() ? 1 : 0;
        tally.rejected += block.block_id() != candidate ? 1 : 0;
        check(block.sequence_hash() == expected,
              "R1: a registered block has the hash it was staged under");
        // The presence of another's block may follow its registration.
        check(block.block_id() != candidate || block.registration_handle().has_block<DefaultTier>(),
              "R3: a registered block is present");
        check(world_.mix.duplication == BlockDuplicationPolicy::allow || !block.is_duplicate(),
              "R8: a manager that rejects has no duplicates");
    }
    void register_list() {
        auto blocks = take<CompleteBlockList<>>();
        if (!blocks) {
            return;
        }
        const std::size_t number =
            blocks->empty() ? 0 : world_.number_of((*blocks)[0].manager_id());
        if (!blocks->empty() && chance(4)) {
            auto refused = manager(1 - number).register_blocks(std::move(*blocks));
            check(!refused.has_value(), "G7: a foreign block is refused");
            blocks.emplace(std::move(refused.error().blocks));
        }
        const auto candidates = blocks->block_ids();
        std::vector<SequenceHash> hashes;
        for (const auto& block : *blocks) {
            hashes.push_back(block.sequence_hash());
            disowned(block);
        }
        auto registered = manager(number).register_blocks(std::move(*blocks));
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            check_registered(number, (*registered)[i], candidates[i], hashes[i]);
        }
        keep(std::move(*registered));
    }
    void register_one() {
        auto block = take<CompleteBlock<>>();
        if (!block) {
            return;
        }
        const std::size_t number = world_.number_of(block->manager_id());
        const BlockId candidate = block->block_id();
        const SequenceHash staged = block->sequence_hash();
        disowned(*block);
        auto registered = manager(number).register_block(std::move(*block));
        check_registered(number, *registered, candidate, staged);
        keep(std::move(*registered));
    }

    // --- lookups ---

    void match() {
        const std::size_t number = any_manager();
        const auto hashes = some_hashes();
        ImmutableBlockList<> found;
        if (chance(2)) {
            found = manager(number).match_blocks(hashes);
        } else {
            manager(number).match_blocks_into(hashes, found);
        }
        tallies_[number].match_requested += hashes.size();
        tallies_[number].match_returned += found.size();
        for (std::size_t i = 0; i < found.size(); ++i) {
            check(found[i].sequence_hash() == hashes[i], "R5: a match is the hash asked for");
            check(!found[i].is_duplicate(), "M1: a lookup gives no duplicate");
        }
        keep(std::move(found));
    }
    /// Two requests in one call; both lists are kept, or go in one call.
    void match_many() {
        const std::size_t number = any_manager();
        const std::array asked{some_hashes(), some_hashes()};
        const std::array<std::span<const SequenceHash>, 2> requests{asked[0], asked[1]};
        std::array<ImmutableBlockList<>, 2> found;
        const std::size_t hits = manager(number).match_many(requests, found);
        check(hits == found[0].size() + found[1].size(), "R5: all matches of a batch are counted");
        tallies_[number].match_requested += asked[0].size() + asked[1].size();
        tallies_[number].match_returned += hits;
        for (std::size_t request = 0; request < found.size(); ++request) {
            for (std::size_t i = 0; i < found[request].size(); ++i) {
                check(found[request][i].sequence_hash() == asked[request][i],
                      "R5: a match is the hash asked for");
            }
        }
        if (chance(2)) {
            BlockManager<>::release_many(
                found, chance(2) ? ReleaseOrder::root_first : ReleaseOrder::leaf_first);
        } else {
            std::ranges::for_each(found, [&](auto& list) { keep(std::move(list)); });
        }
    }
    void scattered() {
        const std::size_t number = any_manager();
        const auto hashes = some_hashes();
        auto found = manager(number).match_blocks_scattered(hashes);
        tallies_[number].match_requested += hashes.size();
        tallies_[number].match_returned += found.hits();
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            check(found[i] == nullptr || found[i]->sequence_hash() == hashes[i],
                  "R6: a scattered match is aligned with its input");
        }
        if (chance(2)) {
            keep(std::move(found).take_hits());
        }
    }
    void scan() {
        const std::size_t number = any_manager();
        const auto hashes = some_hashes();
        auto found = manager(number).scan_matches(hashes, chance(2) ? Touch::yes : Touch::no);
        tallies_[number].scan_requested += hashes.size();
        tallies_[number].scan_returned += found.size();
        for (const auto& [found_hash, block] : found) {
            check(block.sequence_hash() == found_hash, "M4: a scan pairs hash and block");
        }
        if (chance(2)) {
            keep(std::move(found).take_blocks());
        }
    }
    /// A hash of which this thread holds a block is found, whatever the others do.
    void match_own() {
        const ImmutableBlock<>* own = nullptr;
        for (const auto& holding : holdings_) {
            if (const auto* block = std::get_if<ImmutableBlock<>>(&holding)) {
                own = block;
            } else if (const auto* list = std::get_if<ImmutableBlockList<>>(&holding);
                       list != nullptr && !list->empty()) {
                own = &(*list)[0];
            }
        }
        if (own == nullptr) {
            return;
        }
        const SequenceHash mine = own->sequence_hash();
        const std::size_t number = world_.number_of(own->manager_id());
        check(std::ranges::find(world_.hashes, mine) != world_.hashes.end(),
              "P7: a held block keeps its hash");
        auto found = manager(number).match_blocks({&mine, 1});
        ++tallies_[number].match_requested;
        tallies_[number].match_returned += found.size();
        check(found.size() == 1, "P7: a held block is found");
        check(found.empty() || own->is_duplicate() || found[0].block_id() == own->block_id(),
              "R1: a held primary is the block of its hash");
        check(world_.registry.is_registered(mine), "R4: a held block's hash is registered");
        check(own->use_count() >= 1, "G9: a held block has a reference");
    }

    // --- references ---

    template <class Use>
    void with_an_immutable(const Use& use) {
        if (auto list = take<ImmutableBlockList<>>()) {
            if (!list->empty()) {
                use((*list)[below(list->size())]);
            }
            keep(std::move(*list));
        } else if (auto block = take<ImmutableBlock<>>()) {
            use(*block);
            keep(std::move(*block));
        }
    }
    void copy() {
        with_an_immutable([&](const ImmutableBlock<>& block) { keep(ImmutableBlock<>(block)); });
    }
    void pin() {
        with_an_immutable([&](const ImmutableBlock<>& block) {
            const LifecyclePin pinned = block.pin();
            keep(LifecyclePin(pinned));
        });
    }
    void downgrade() {
        with_an_immutable([&](const ImmutableBlock<>& block) {
            const WeakBlock<> weak = block.downgrade();
            keep(WeakBlock<>(weak));
        });
    }
    void set_flag() {
        with_an_immutable(
            [&](const ImmutableBlock<>& block) { block.set_evict_on_reset(chance(2)); });
    }
    void handle() {
        with_an_immutable(
            [&](const ImmutableBlock<>& block) { keep(block.registration_handle()); });
    }
    void clone() {
        if (auto list = take<ImmutableBlockList<>>()) {
            keep(list->clone());
            keep(std::move(*list));
        }
    }
    void upgrade() {
        if (auto weak = take<WeakBlock<>>()) {
            if (auto block = weak->upgrade()) {
                check(block->sequence_hash() == weak->sequence_hash(),
                      "G9: an upgrade gives a block of the hash");
                keep(std::move(*block));
            }
            keep(std::move(*weak));
        }
    }
    void rearrange() {
        if (auto list = take<ImmutableBlockList<>>()) {
            const std::size_t cut = list->empty() ? 0 : below(list->size());
            auto tail = list->split_off(cut);
            if (auto other = take<ImmutableBlockList<>>()) {
                if (tail.empty() || other->empty() ||
                    tail[0].manager_id() == (*other)[0].manager_id()) {
                    other->append(std::move(tail));
                }
                keep(std::move(*other));
            }
            keep(list->take_front(list->size() / 2));
            keep(std::move(*list));
            keep(std::move(tail));
        }
    }

    // --- the registry ---

    void registry() {
        auto& all = world_.registry;
        const SequenceHash& one = hash();
        switch (below(6)) {
            case 0:
                keep(all.register_sequence_hash(one));
                break;
            case 1:
                for (auto& found : all.register_sequence_hashes(some_hashes())) {
                    keep(std::move(found));
                }
                break;
            case 2:
                if (auto found = all.match_sequence_hash(one, Touch::yes)) {
                    check(found->seq_hash() == one, "R2: an entry is of its hash");
                    keep(std::move(*found));
                }
                break;
            case 3:
                keep(all.transfer_registration(one));
                break;
            case 4: {
                const auto hashes = some_hashes();
                const auto presence = all.check_presence<DefaultTier>(hashes);
                check(presence.size() == hashes.size(), "K2: presence is told of each hash");
                break;
            }
            default:
                static_cast<void>(all.is_registered(one));
                check(all.registered_count() < 1000, "R4: dead entries do not pile up");
                check(all.count(one) <= 15, "Q5: an estimate is at most 15");
        }
    }

    // --- looking on, while others act ---

    void look() {
        const std::size_t number = any_manager();
        const auto& pool = manager(number);
        check(pool.available_blocks() <= world_.mix.blocks,
              "T14: no more blocks are available than there are");
        const auto report = pool.check_invariants();
        if (!report.ok()) {
            world_.findings.add(report.to_string());
        }
        const auto infos = pool.inspect();
        check(infos.size() == world_.mix.blocks, "V2: a manager keeps its blocks");
        check(std::ranges::all_of(infos,
                                  [](const BlockInfo& info) {
                                      return (info.use == BlockUse::free) ==
                                             (info.state == BlockState::reset);
                                  }),
              "P1: exactly the reset blocks are free");
        const auto now = pool.metrics()->snapshot();
        auto& before = seen_[number];
        check(now.allocations >= before.allocations && now.registrations >= before.registrations &&
                  now.match_blocks_returned >= before.match_blocks_returned &&
                  now.stagings >= before.stagings,
              "V8: no counter falls");
        before = now;
    }

    // --- giving away ---

    void release(Holding&& holding) {
        if (auto* list = std::get_if<MutableBlockList<>>(&holding)) {
            for (const auto& block : *list) {
                disowned(block);
            }
            list->clear(chance(2) ? ReleaseOrder::root_first : ReleaseOrder::leaf_first);
        } else if (auto* staged = std::get_if<CompleteBlockList<>>(&holding)) {
            for (const auto& block : *staged) {
                disowned(block);
            }
        } else if (auto* block = std::get_if<MutableBlock<>>(&holding)) {
            disowned(*block);
        } else if (auto* complete = std::get_if<CompleteBlock<>>(&holding)) {
            disowned(*complete);
        } else if (auto* blocks = std::get_if<ImmutableBlockList<>>(&holding)) {
            blocks->clear(chance(2) ? ReleaseOrder::root_first : ReleaseOrder::leaf_first);
        }
        const Holding gone(std::move(holding));
    }
    void drop() {
        if (holdings_.empty()) {
            return;
        }
        std::swap(holdings_[below(holdings_.size())], holdings_.back());
        Holding last = std::move(holdings_.back());
        holdings_.pop_back();
        release(std::move(last));
    }
    void drop_one() {
        if (auto list = take<ImmutableBlockList<>>()) {
            if (!list->empty()) {
                const auto gone = list->pop_back();
            }
            keep(std::move(*list));
        }
    }
    void send() {
        if (!holdings_.empty()) {
            std::swap(holdings_[below(holdings_.size())], holdings_.back());
            const std::lock_guard lock(world_.mailbox_mutex);
            world_.mailbox.push_back(std::move(holdings_.back()));
            holdings_.pop_back();
        }
    }
    void receive() {
        std::optional<Holding> received;
        {
            const std::lock_guard lock(world_.mailbox_mutex);
            if (!world_.mailbox.empty()) {
                received.emplace(std::move(world_.mailbox.front()));
                world_.mailbox.erase(world_.mailbox.begin());
            }
        }
        if (received) {
            holdings_.push_back(std::move(*received));
        }
    }

    /// What comes more often stands here more often.
    static constexpr std::array<void (Acts::*)(), 45> steps_{
        &Acts::allocate,       &Acts::allocate,
        &Acts::allocate,       &Acts::allocate,
        &Acts::allocate,       &Acts::allocate_too_many,
        &Acts::stage_list,     &Acts::stage_list,
        &Acts::stage_list,     &Acts::split_mutable,
        &Acts::stage_one,      &Acts::stage_one,
        &Acts::unstage,        &Acts::register_list,
        &Acts::register_list,  &Acts::register_list,
        &Acts::register_one,   &Acts::register_one,
        &Acts::match,          &Acts::match,
        &Acts::match,          &Acts::scattered,
        &Acts::scan,           &Acts::match_own,
        &Acts::match_own,      &Acts::copy,
        &Acts::copy,           &Acts::pin,
        &Acts::downgrade,      &Acts::set_flag,
        &Acts::handle,         &Acts::clone,
        &Acts::upgrade,        &Acts::upgrade,
        &Acts::rearrange,      &Acts::registry,
        &Acts::reset_inactive, &Acts::look,
        &Acts::drop,           &Acts::drop,
        &Acts::drop_one,       &Acts::send,
        &Acts::receive,        &Acts::receive,
        &Acts::match_many};

    World& world_;
    std::minstd_rand random_;
    std::vector<Holding> holdings_;
    std::array<Tally, managers_count> tallies_;
    std::array<MetricsSnapshot, managers_count> seen_;
};

Worker::Worker(World& world, std::uint64_t seed) : acts_(std::make_unique<Acts>(world, seed)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;

void Worker::step() {
    acts_->step();
}
void Worker::step_without_managers() {
    acts_->step_without_managers();
}
void Worker::let_go_of_everything() {
    acts_->let_go_of_everything();
}
const std::vector<Holding>& Worker::holdings() const {
    return acts_->holdings();
}
const std::array<Tally, managers_count>& Worker::tallies() const {
    return acts_->tallies();
}

}  // namespace kvbm_test
