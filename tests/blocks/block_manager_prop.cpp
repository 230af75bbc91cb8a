// Laws of a block manager that need no model, under each eviction policy: the same script in two
// ways ends equal. Lists or single calls; lists released whole or in pieces; hashes renamed; errors
// and questions in between or not. And what any script keeps: blocks are conserved, counters never
// fall, a longer query never hits less, no cached block lacks its prefix.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.testing;

namespace {

using namespace kvbm;
using namespace kvbm::testing;

constexpr std::size_t block_size = 4;

rc::Gen<std::size_t> below(std::size_t limit) {
    return rc::gen::inRange<std::size_t>(0, limit);
}

struct ManagerOptions {
    PolicyConfig policy;
    std::size_t blocks = 1;
    bool reject = false;
    bool reset_on_release = false;
};

// One step of a script; the numbers are folded over what there is.
enum class Step {
    allocate,
    stage,
    unstage,
    register_staged,
    match,
    match_many,
    match_scattered,
    scan,
    release,
    release_many,
    release_mutable,
    release_staged,
    clone,
    set_flag,
    drain,
    pin,
    unpin,
    downgrade,
    upgrade,
    touch
};

struct Move {
    Step step = Step::allocate;
    std::size_t list = 0;
    std::size_t hash = 0;
    std::size_t count = 0;
};

void showValue(const Move& move, std::ostream& os) {
    os << "(" << static_cast<int>(move.step) << ", list " << move.list << ", hash " << move.hash
       << ", count " << move.count << ")";
}

// Blocks travel in a circle: what leads them on is drawn more often than the rest.
rc::Gen<Move> gen_move() {
    const auto step =
        rc::gen::weightedElement<Step>({{3, Step::allocate},        {3, Step::stage},
                                        {1, Step::unstage},         {3, Step::register_staged},
                                        {2, Step::match},           {1, Step::match_many},
                                        {1, Step::match_scattered}, {1, Step::scan},
                                        {4, Step::release},         {1, Step::release_many},
                                        {1, Step::release_mutable}, {1, Step::release_staged},
                                        {1, Step::clone},           {1, Step::set_flag},
                                        {1, Step::drain},           {1, Step::pin},
                                        {1, Step::unpin},           {1, Step::downgrade},
                                        {1, Step::upgrade},         {1, Step::touch}});
    return rc::gen::map(rc::gen::tuple(step, below(16), below(64), below(8)),
                        [](const auto& drawn) { return std::make_from_tuple<Move>(drawn); });
}

std::vector<Move> draw_script() {
    constexpr int moves_max = 200;
    return *rc::gen::resize(moves_max, rc::gen::container<std::vector<Move>>(gen_move()));
}

ManagerOptions draw_options(Policy policy) {
    ManagerOptions options;
    options.policy.policy = policy;
    options.policy.thresholds = {1, 2, 4};
    options.blocks = *rc::gen::element<std::size_t>(1, 3, 6, 12, 24);
    options.reject = *rc::gen::arbitrary<bool>();
    options.reset_on_release = *rc::gen::weightedElement<bool>({{4, false}, {1, true}});
    return options;
}

// A family of the hashes for scripts, or two of them.
std::vector<SequenceHash> draw_hashes() {
    const std::size_t first = pool_hash_family * *below(pool_hashes_count / pool_hash_family);
    std::vector<SequenceHash> hashes(pool_hash_family * (1 + *below(2)));
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        hashes[i] = pool_hash(first + i);
    }
    return hashes;
}

// Runs scripts on one manager, in one of several ways that must come to the same.
class Client {
  public:
    enum class Way {
        whole,       // one call per step
        singly,      // one call per block
        in_pieces,   // lists are split and joined, and released piece by piece
        with_errors  // calls that fail, and questions, before each step
    };

    Client(const ManagerOptions& options, std::vector<SequenceHash> hashes, Way way = Way::whole)
        : way_(way),
          hashes_(std::move(hashes)),
          manager_(build(options)),
          other_manager_(build(options)) {}

    // What the step gave, with numbers in place of hashes.
    std::string run(const Move& move) {
        if (way_ == Way::with_errors) {
            make_mistakes();
        }
        if (way_ == Way::in_pieces) {
            split_and_join(mutable_), split_and_join(staged_), split_and_join(registered_);
        }
        std::string text = step(move);
        std::erase_if(mutable_, [](const auto& list) { return list.empty(); });
        std::erase_if(staged_, [](const auto& list) { return list.empty(); });
        std::erase_if(registered_, [](const auto& list) { return list.empty(); });
        return text;
    }

    // Everything that can be seen from outside, with numbers in place of hashes.
    std::string picture() const {
        std::string text;
        for (const auto& info : manager_.inspect()) {
            // A free block has no hash, and its flag is set anew by the next allocation.
            const bool free = info.state == BlockState::reset;
            const bool unnamed = free || info.state == BlockState::mutable_block;
            text += std::to_string(static_cast<int>(info.state)) +
                    (unnamed ? "" : named(info.hash)) + "x" + std::to_string(info.references);
            text += !free && info.evict_on_reset ? "! " : " ";
        }
        for (const std::uint64_t counter : counters()) {
            text += " " + std::to_string(counter);
        }
        text += ", touched";
        for (const auto& hash : tracker_->touches()) {
            text += " " + named(hash);
        }
        text += ", present";
        for (const auto& [hash, present] : registry_.check_presence<DefaultTier>(hashes_)) {
            text += present ? " " + named(hash) : "";
        }
        const auto values = manager_.metrics()->snapshot();
        text += ", registered " + std::to_string(registry_.registered_count()) + ", mutable " +
                std::to_string(values.inflight_mutable) + ", immutable " +
                std::to_string(values.inflight_immutable);
        return text;
    }

    // The counters that never fall.
    std::array<std::uint64_t, 15> counters() const {
        const auto v = manager_.metrics()->snapshot();
        return {v.allocations,
                v.allocations_from_reset,
                v.evictions,
                v.registrations,
                v.duplicate_blocks,
                v.registration_dedup,
                v.stagings,
                v.match_hashes_requested + unasked_,
                v.match_blocks_returned,
                v.scan_hashes_requested,
                v.scan_blocks_returned,
                v.eager_primary_to_inactive_total,
                v.allocate_atomic_rollback_total,
                v.release_primary_noop_total,
                v.release_duplicate_noop_total};
    }

    void drop_all() {
        mutable_.clear();
        staged_.clear();
        registered_.clear();
        pins_.clear();
        weak_.clear();
    }
    // Every block, as it is allocated next.
    std::string allocate_all() {
        auto all = manager_.allocate_blocks_with_evictions(manager_.total_blocks());
        return all ? ::testing::PrintToString(all->blocks.block_ids()) + named(all->evicted)
                   : "not all";
    }

    BlockManager<>& manager() { return manager_; }
    const BlockRegistry& registry() const { return registry_; }
    const std::vector<SequenceHash>& hashes() const { return hashes_; }

  private:
    BlockManager<> build(const ManagerOptions& options) {
        auto builder = BlockManager<>::builder();
        builder.block_count(options.blocks).block_size(block_size).registry(registry_);
        builder.duplication_policy(options.reject ? BlockDuplicationPolicy::reject
                                                  : BlockDuplicationPolicy::allow);
        choose_backend(builder, options.policy);
        return must(builder.with_default_reset_on_release(options.reset_on_release).build());
    }

    std::string named(const SequenceHash& hash) const {
        const auto at = std::ranges::find(hashes_, hash);
        return at == hashes_.end() ? "-" : "h" + std::to_string(at - hashes_.begin());
    }
    std::string named(std::span<const SequenceHash> hashes) const {
        std::string text;
        for (const auto& hash : hashes) {
            text += " " + named(hash);
        }
        return text;
    }
    const SequenceHash& hash(std::size_t number) const { return hashes_[number % hashes_.size()]; }
    std::vector<SequenceHash> run_of(const Move& move, std::size_t count) const {
        std::vector<SequenceHash> run;
        for (std::size_t i = 0; i < count; ++i) {
            run.push_back(hash(move.hash + i));
        }
        return run;
    }

    template <class List>
    static std::string keep(std::vector<List>& lists, List list) {
        lists.push_back(std::move(list));
        return ::testing::PrintToString(lists.back().block_ids());
    }
    template <class List>
    static auto take_first(List& list) {
        return list.take_front(1).pop_back();
    }

    // The steps. Each is one call, or one per block.
    std::string step(const Move& move) {
        switch (move.step) {
            case Step::allocate:
                return allocate(move.count);
            case Step::stage:
                return with(mutable_, move, [&](auto& list) { return stage(list, move); });
            case Step::unstage:
                return with(staged_, move, [&](auto& list) { return unstage(list); });
            case Step::register_staged:
                return with(staged_, move, [&](auto& list) { return register_list(list); });
            case Step::match:
                return match(run_of(move, move.count));
            case Step::match_many:
                return match_many(move);
            case Step::match_scattered:
                return match_scattered(run_of(move, move.count));
            case Step::scan:
                return scan(run_of(move, move.count));
            case Step::release:
                return with(registered_, move, [&](auto& list) { return release(list, move); });
            case Step::release_many:
                return release_many(move);
            case Step::release_mutable:
                return with(mutable_, move, [&](auto& list) { return release(list, move); });
            case Step::release_staged:
                return with(staged_, move, [&](auto& list) { return release(list, move); });
            case Step::clone:
                return with(registered_, move, [&](auto& list) { return clone(list); });
            case Step::set_flag:
                return with(registered_, move, [&](auto& list) {
                    list[move.hash % list.size()].set_evict_on_reset(move.count % 2 == 0);
                    return std::string();
                });
            case Step::drain: {
                const auto drained = manager_.reset_inactive_pool();
                return std::to_string(drained ? *drained : drained.error().drained);
            }
            case Step::pin:
                return with(registered_, move, [&](auto& list) {
                    pins_.push_back(list[move.hash % list.size()].pin());
                    return std::string();
                });
            case Step::unpin:
                return with(pins_, move, [&](auto& pin) {
                    std::swap(pin, pins_.back());
                    pins_.pop_back();
                    return std::string();
                });
            case Step::downgrade:
                return with(registered_, move, [&](auto& list) {
                    weak_.push_back(list[move.hash % list.size()].downgrade());
                    return std::string();
                });
            case Step::upgrade:
                return with(weak_, move, [&](auto& weak) { return upgrade(weak); });
            case Step::touch:
                registry_.touch(hash(move.hash));
                return {};
        }
        return {};
    }
    // One of the things held; nothing is done if there is none. The reference is to a place that
    // stays valid while the step adds to other lists.
    template <class T>
    std::string with(std::vector<T>& held, const Move& move, auto&& call) {
        if (held.empty()) {
            return "none";
        }
        held.reserve(held.size() + 1);
        return call(held[move.list % held.size()]);
    }

    std::string allocate(std::size_t count) {
        if (manager_.available_blocks() < count) {
            return "too few";
        }
        MutableBlockList<> blocks;
        std::vector<SequenceHash> evicted;
        const bool singly = way_ == Way::singly;
        for (std::size_t i = 0; i < (singly ? count : 1); ++i) {
            static_cast<void>(manager_.allocate_blocks_into(singly ? 1 : count, blocks, &evicted));
        }
        return keep(mutable_, std::move(blocks)) + named(evicted);
    }
    std::string stage(MutableBlockList<>& list, const Move& move) {
        const auto hashes = run_of(move, list.size());
        if (way_ != Way::singly) {
            return keep(staged_, must(std::move(list).stage_all(hashes, block_size)));
        }
        CompleteBlockList<> staged;
        for (const auto& hash : hashes) {
            staged.push_back(must(take_first(list).stage(hash, block_size)));
        }
        return keep(staged_, std::move(staged));
    }
    std::string unstage(CompleteBlockList<>& list) {
        if (way_ != Way::singly) {
            return keep(mutable_, std::move(list).reset_all());
        }
        MutableBlockList<> blocks;
        while (!list.empty()) {
            blocks.push_back(take_first(list).reset());
        }
        return keep(mutable_, std::move(blocks));
    }
    std::string register_list(CompleteBlockList<>& list) {
        if (way_ != Way::singly) {
            return keep(registered_, must(manager_.register_blocks(std::move(list))));
        }
        ImmutableBlockList<> blocks;
        while (!list.empty()) {
            blocks.push_back(must(manager_.register_block(take_first(list))));
        }
        return keep(registered_, std::move(blocks));
    }
    std::string match(const std::vector<SequenceHash>& hashes) {
        if (way_ != Way::singly) {
            return keep(registered_, manager_.match_blocks(hashes));
        }
        ImmutableBlockList<> blocks;
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            auto found = manager_.match_blocks(std::span(&hashes[i], 1));
            if (found.empty()) {
                unasked_ += hashes.size() - i - 1;
                break;
            }
            blocks.append(std::move(found));
        }
        return keep(registered_, std::move(blocks));
    }
    // Three requests, the middle one behind what a list holds.
    std::string match_many(const Move& move) {
        const std::vector runs{run_of(move, move.count), run_of(move, move.count / 2),
                               run_of(Move{.hash = move.hash + 1}, move.list % 4)};
        const std::vector<std::span<const SequenceHash>> requests(runs.begin(), runs.end());
        std::vector<ImmutableBlockList<>> lists(requests.size());
        if (!registered_.empty()) {
            lists[1] = std::move(registered_[move.list % registered_.size()]);
        }
        std::size_t hits = 0;
        if (way_ != Way::singly) {
            hits = manager_.match_many(requests, lists);
        } else {
            for (std::size_t i = 0; i < requests.size(); ++i) {
                hits += manager_.match_blocks_into(requests[i], lists[i]);
            }
        }
        std::string text = std::to_string(hits);
        for (auto& list : lists) {
            text += keep(registered_, std::move(list));
        }
        return text;
    }
    std::string match_scattered(const std::vector<SequenceHash>& hashes) {
        ImmutableBlockList<> hits;
        std::string places;
        for (const auto& part : parts(hashes)) {
            auto found = manager_.match_blocks_scattered(part);
            for (const auto* block : found) {
                places += block == nullptr ? " -" : " " + std::to_string(block->block_id());
            }
            hits.append(std::move(found).take_hits());
        }
        return places + keep(registered_, std::move(hits));
    }
    std::string scan(const std::vector<SequenceHash>& hashes) {
        ImmutableBlockList<> hits;
        for (const auto& part : parts(hashes)) {
            hits.append(manager_.scan_matches(part, Touch::yes).take_blocks());
        }
        return keep(registered_, std::move(hits));
    }
    // The hashes of one call each.
    std::vector<std::span<const SequenceHash>> parts(std::span<const SequenceHash> hashes) const {
        if (way_ != Way::singly) {
            return {hashes};
        }
        std::vector<std::span<const SequenceHash>> singles;
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            singles.push_back(hashes.subspan(i, 1));
        }
        return singles;
    }
    std::string clone(const ImmutableBlockList<>& list) {
        if (way_ != Way::singly) {
            return keep(registered_, list.clone());
        }
        ImmutableBlockList<> copies;
        for (const auto& block : list) {
            copies.push_back(ImmutableBlock<>(block));
        }
        return keep(registered_, std::move(copies));
    }
    std::string upgrade(const WeakBlock<>& weak) {
        auto block = weak.upgrade();
        ImmutableBlockList<> list;
        if (block) {
            list.push_back(std::move(*block));
        }
        return keep(registered_, std::move(list));
    }
    template <class List>
    std::string release(List& list, const Move& move) {
        const bool from_back = move.count % 2 != 0;
        const auto order = from_back ? ReleaseOrder::leaf_first : ReleaseOrder::root_first;
        std::size_t piece = way_ == Way::singly ? 1 : list.size();
        while (!list.empty()) {
            if (way_ == Way::in_pieces) {
                piece = 1 + (move.hash + list.size()) % 3;
            }
            piece = std::min(piece, list.size());
            auto part = from_back ? list.split_off(list.size() - piece) : list.take_front(piece);
            part.clear(order);
        }
        return {};
    }

    // So many lists from one on.
    std::string release_many(const Move& move) {
        const std::size_t first = registered_.empty() ? 0 : move.list % registered_.size();
        const std::size_t count = std::min(move.count, registered_.size() - first);
        const auto lists = std::span(registered_).subspan(first, count);
        if (way_ == Way::whole || way_ == Way::with_errors) {
            BlockManager<>::release_many(
                lists, move.count % 2 != 0 ? ReleaseOrder::leaf_first : ReleaseOrder::root_first);
        } else {
            for (auto& list : lists) {
                release(list, move);
            }
        }
        return {};
    }

    template <class List>
    static void split_and_join(std::vector<List>& lists) {
        for (auto& list : lists) {
            auto tail = list.split_off(list.size() / 2);
            list.append(std::move(tail));
        }
    }

    // Every error there is, each without effect; and questions.
    void make_mistakes() {
        const std::size_t too_many = manager_.available_blocks() + 1;
        std::vector<SequenceHash> evicted;
        RC_ASSERT(!manager_.allocate_blocks(too_many));
        RC_ASSERT(!manager_.allocate_blocks(std::numeric_limits<std::size_t>::max()));
        RC_ASSERT(manager_.allocate_blocks(0)->empty());
        for (auto& list : mutable_) {
            const auto before = list.block_ids();
            RC_ASSERT(!manager_.allocate_blocks_into(too_many, list, &evicted));
            const std::vector<SequenceHash> fitting(list.size(), hash(0));
            auto wrong_size = std::move(list).stage_all(fitting, 2 * block_size);
            list = std::move(wrong_size.error().blocks);
            const std::vector<SequenceHash> one_more(list.size() + 1, hash(0));
            auto wrong_count = std::move(list).stage_all(one_more, block_size);
            list = std::move(wrong_count.error().blocks);
            auto wrong_block = list.pop_back().stage(hash(0), 2 * block_size);
            list.push_back(std::move(wrong_block.error().block));
            RC_ASSERT(list.block_ids() == before);
        }
        for (auto& list : staged_) {
            const auto before = list.block_ids();
            auto foreign = other_manager_.register_blocks(std::move(list));
            list = std::move(foreign.error().blocks);
            auto foreign_block = other_manager_.register_block(list.pop_back());
            list.push_back(std::move(foreign_block.error().blocks));
            RC_ASSERT(list.block_ids() == before);
        }
        RC_ASSERT(evicted.empty());
        static_cast<void>(registry_.check_presence<DefaultTier>(hashes_));
        static_cast<void>(registry_.is_registered(hash(0)));
        static_cast<void>(manager_.match_blocks({}));
        static_cast<void>(manager_.match_blocks_scattered({}));
        static_cast<void>(manager_.scan_matches({}, Touch::yes));
        RC_ASSERT(manager_.check_invariants().ok());
    }

    Way way_;
    std::vector<SequenceHash> hashes_;
    std::shared_ptr<RecordingTracker> tracker_ = std::make_shared<RecordingTracker>();
    BlockRegistry registry_ = BlockRegistry::builder().frequency_tracker(tracker_).build();
    BlockManager<> manager_;
    BlockManager<> other_manager_;
    std::vector<MutableBlockList<>> mutable_;
    std::vector<CompleteBlockList<>> staged_;
    std::vector<ImmutableBlockList<>> registered_;
    std::vector<LifecyclePin> pins_;
    std::vector<WeakBlock<>> weak_;
    std::uint64_t unasked_ = 0;
};

// Both give the same at each step, look the same after each, and evict the same at the end.
void expect_equal(Client& one, Client& other, const std::vector<Move>& script) {
    for (const auto& move : script) {
        RC_ASSERT(one.run(move) == other.run(move));
        RC_ASSERT(one.picture() == other.picture());
    }
    one.drop_all();
    other.drop_all();
    RC_ASSERT(one.picture() == other.picture());
    RC_ASSERT(one.allocate_all() == other.allocate_all());
    RC_ASSERT(one.manager().check_invariants().ok());
    RC_ASSERT(other.manager().check_invariants().ok());
}

class BlockManagerLaw : public ::testing::TestWithParam<Policy> {
  protected:
    static std::string law(const char* words) {
        return std::string(name_of(GetParam())) + ": " + words;
    }
    static void equals_whole(Client::Way way) {
        const auto options = draw_options(GetParam());
        const auto hashes = draw_hashes();
        const auto script = draw_script();
        Client whole(options, hashes);
        Client other(options, hashes, way);

        expect_equal(whole, other, script);
    }
};

TEST_P(BlockManagerLaw, batch_equals_its_singles) {
    EXPECT_TRUE(rc::check(law("batch = singles"), [] { equals_whole(Client::Way::singly); }));
}

TEST_P(BlockManagerLaw, a_list_equals_its_pieces_in_order) {
    EXPECT_TRUE(rc::check(law("list = pieces"), [] { equals_whole(Client::Way::in_pieces); }));
}

TEST_P(BlockManagerLaw, errors_and_questions_are_no_ops) {
    EXPECT_TRUE(
        rc::check(law("errors are no-ops"), [] { equals_whole(Client::Way::with_errors); }));
}

// x -> x * odd + any, modulo 2^64: the low bits of the image follow from as many low bits, so
// hashes that agree in the bits that are looked at still do, and no others.
TEST_P(BlockManagerLaw, renaming_hashes_commutes_with_every_operation) {
    EXPECT_TRUE(rc::check(law("renaming commutes"), [] {
        const auto options = draw_options(GetParam());
        const auto hashes = draw_hashes();
        const auto script = draw_script();
        const auto factor = *rc::gen::arbitrary<std::uint64_t>() | 1;
        const auto summand = *rc::gen::arbitrary<std::uint64_t>();
        std::vector<SequenceHash> renamed;
        for (const auto& hash : hashes) {
            const ChainHash chain{hash.current_chain_hash().value * factor + summand};
            const ChainHash parent{hash.parent_hash_fragment() * factor + summand};
            renamed.push_back(must(SequenceHash::make(chain, parent, hash.position())));
        }
        Client one(options, hashes);
        Client other(options, renamed);

        expect_equal(one, other, script);
    }));
}

TEST_P(BlockManagerLaw, conserves_blocks) {
    EXPECT_TRUE(rc::check(law("conserves"), [] {
        const auto options = draw_options(GetParam());
        Client client(options, draw_hashes());
        const auto total = static_cast<std::int64_t>(options.blocks);
        for (const auto& move : draw_script()) {
            client.run(move);
        }

        client.drop_all();

        const auto dropped = client.manager().metrics()->snapshot();
        RC_ASSERT(client.manager().available_blocks() == options.blocks);
        RC_ASSERT(dropped.inflight_mutable == 0);
        RC_ASSERT(dropped.inflight_immutable == 0);
        RC_ASSERT(dropped.reset_pool_size + dropped.inactive_pool_size == total);

        client.allocate_all();

        const auto cleared = client.manager().metrics()->snapshot();
        RC_ASSERT(cleared.reset_pool_size == total);
        RC_ASSERT(cleared.inactive_pool_size == 0);
        RC_ASSERT(client.registry().registered_count() == 0u);
    }));
}

TEST_P(BlockManagerLaw, counters_never_fall) {
    EXPECT_TRUE(rc::check(law("counters never fall"), [] {
        Client client(draw_options(GetParam()), draw_hashes());
        auto before = client.counters();
        for (const auto& move : draw_script()) {
            client.run(move);

            const auto after = client.counters();
            for (std::size_t i = 0; i < after.size(); ++i) {
                RC_ASSERT(before[i] <= after[i]);
            }
            before = after;
        }
    }));
}

TEST_P(BlockManagerLaw, a_longer_query_never_hits_less) {
    EXPECT_TRUE(rc::check(law("hits are monotone"), [] {
        Client client(draw_options(GetParam()), draw_hashes());
        for (const auto& move : draw_script()) {
            client.run(move);
        }
        const std::span<const SequenceHash> query(client.hashes());
        const std::size_t all = client.manager().match_blocks(query).size();

        for (std::size_t length = 0; length <= query.size(); ++length) {
            RC_ASSERT(client.manager().match_blocks(query.first(length)).size() ==
                      std::min(length, all));
        }
    }));
}

INSTANTIATE_TEST_SUITE_P(Policies, BlockManagerLaw, ::testing::ValuesIn(all_policies),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
