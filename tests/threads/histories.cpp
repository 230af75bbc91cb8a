module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.histories;

namespace kvbm_test {

namespace {

using Kind = Call::Kind;
constexpr std::size_t nothing = std::numeric_limits<std::size_t>::max();

/// The manager as plain lists. Each function is a rule of blocks.md 2 to 9.
class Model {
  public:
    explicit Model(const Script& script)
        : allow_(script.duplication == BlockDuplicationPolicy::allow),
          default_flag_(script.flag),
          slots_(script.blocks) {
        for (std::size_t id = 0; id < script.blocks; ++id) {
            reset_.push_back(id);
        }
    }

    std::vector<std::size_t> apply(const Call& call) {
        const auto& a = call.arguments;
        switch (call.kind) {
            case Kind::allocate:
                return allocate(a[0]);
            case Kind::register_block:
                return register_block(a[0], a[1]);
            case Kind::match: {
                std::vector<std::size_t> found;
                for (std::size_t i = 0; i < a.size() && look_up(a[i]) != nothing; ++i) {
                    found.push_back(acquire(look_up(a[i])));
                }
                return found;
            }
            case Kind::scattered: {
                std::vector<std::size_t> found;
                for (const std::size_t hash : a) {
                    const std::size_t id = look_up(hash);
                    found.push_back(id == nothing ? nothing : acquire(id));
                }
                return found;
            }
            case Kind::drop_mutable:
                to_reset(a[0]);
                return {};
            case Kind::drop:
                for (const std::size_t id : a) {
                    drop(id);
                }
                return {};
            case Kind::copy:
                ++slots_[a[0]].references;
                return {};
            case Kind::use_count:
                return {slots_[a[0]].references};
            case Kind::available:
                return {reset_.size() + inactive_.size()};
            case Kind::downgrade:
                weak_.push_back({call.thread, a[0], slots_[a[0]].life, slots_[a[0]].hash});
                return {};
            case Kind::upgrade:
                return upgrade(call.thread, a[0]);
            case Kind::set_flag:
                slots_[a[0]].flag = a[1] != 0;
                return {};
            case Kind::reset_inactive: {
                const std::size_t drained = inactive_.size();
                while (!inactive_.empty()) {
                    const std::size_t id = inactive_.front();
                    inactive_.pop_front();
                    to_reset(id);
                }
                return {drained};
            }
        }
        return {};
    }

    /// All of it, for comparing.
    std::string picture() const {
        std::string text;
        const auto add = [&](std::size_t value) { text += std::to_string(value) + ' '; };
        for (const Slot& slot : slots_) {
            add(static_cast<std::size_t>(slot.state));
            add(slot.hash);
            add(slot.references);
            add(slot.primary);
            add(slot.flag ? 1 : 0);
            add(slot.life);
        }
        for (const auto* list : {&reset_, &inactive_}) {
            text += '|';
            std::ranges::for_each(*list, add);
        }
        for (const Weak& weak : weak_) {
            add(weak.thread);
            add(weak.id);
            add(weak.life);
        }
        return text;
    }

  private:
    struct Slot {
        BlockState state = BlockState::reset;
        std::size_t hash = nothing;
        std::size_t references = 0;
        std::size_t primary = nothing;
        bool flag = false;
        std::size_t life = 0;
    };
    struct Weak {
        std::size_t thread, id, life, hash;
    };

    std::size_t look_up(std::size_t hash) const {
        for (std::size_t id = 0; id < slots_.size(); ++id) {
            if (slots_[id].hash == hash && (slots_[id].state == BlockState::primary ||
                                            slots_[id].state == BlockState::inactive)) {
                return id;
            }
        }
        return nothing;
    }
    std::size_t acquire(std::size_t id) {
        if (slots_[id].state == BlockState::inactive) {
            std::erase(inactive_, id);
            slots_[id].state = BlockState::primary;
        }
        ++slots_[id].references;
        return id;
    }
    void to_reset(std::size_t id) {
        slots_[id].state = BlockState::reset;
        ++slots_[id].life;
        reset_.push_back(id);
    }
    std::vector<std::size_t> allocate(std::size_t count) {
        std::vector<std::size_t> ids;
        if (count > reset_.size() + inactive_.size()) {
            return ids;
        }
        while (ids.size() < count) {
            auto& pool = reset_.empty() ? inactive_ : reset_;
            const std::size_t id = pool.front();
            pool.pop_front();
            slots_[id] = {.state = BlockState::mutable_block,
                          .flag = default_flag_,
                          .life = slots_[id].life + 1};
            ids.push_back(id);
        }
        return ids;
    }
    std::vector<std::size_t> register_block(std::size_t id, std::size_t hash) {
        const std::size_t holder = look_up(hash);
        if (holder == nothing) {
            slots_[id].state = BlockState::primary;
        } else if (allow_) {
            slots_[id].state = BlockState::duplicate;
            slots_[id].primary = acquire(holder);
        } else {
            to_reset(id);
            return {acquire(holder), 0};
        }
        slots_[id].hash = hash;
        slots_[id].references = 1;
        return {id, holder == nothing ? std::size_t{0} : std::size_t{1}};
    }
    void drop(std::size_t id) {
        Slot& slot = slots_[id];
        if (--slot.references != 0) {
            return;
        }
        if (slot.state == BlockState::duplicate) {
            to_reset(id);
            drop(slot.primary);
        } else if (slot.flag) {
            to_reset(id);
        } else {
            slot.state = BlockState::inactive;
            inactive_.push_back(id);
        }
    }
    std::vector<std::size_t> upgrade(std::size_t thread, std::size_t number) {
        const auto mine = [&](const Weak& weak) { return weak.thread == thread && number-- == 0; };
        const Weak weak = *std::ranges::find_if(weak_, mine);
        const Slot& slot = slots_[weak.id];
        if (slot.state == BlockState::duplicate && slot.life == weak.life) {
            return {acquire(weak.id)};
        }
        const std::size_t id = look_up(weak.hash);
        return {id == nothing ? nothing : acquire(id)};
    }

    bool allow_;
    bool default_flag_;
    std::vector<Slot> slots_;
    std::deque<std::size_t> reset_;
    std::deque<std::size_t> inactive_;
    std::vector<Weak> weak_;
};

/// One thread of a script.
class Caller {
  public:
    Caller(const Script& script, BlockManager<>& manager, std::span<const SequenceHash> hashes,
           std::atomic<std::uint64_t>& clock, std::size_t thread)
        : script_(script),
          manager_(manager),
          hashes_(hashes),
          clock_(clock),
          thread_(thread),
          random_(static_cast<std::uint32_t>(script.seed * 31 + thread * 977 + 1)) {}

    void run(std::size_t calls) {
        for (std::size_t i = 0; i < calls; ++i) {
            act();
        }
    }
    const std::vector<Call>& calls() const { return calls_; }

  private:
    std::size_t below(std::size_t limit) { return random_() % limit; }
    std::size_t few() { return script_.lists ? 1 + below(2) : 1; }

    /// Makes a call and notes it; `ask` gives the answer.
    template <class Ask>
    void call(Kind kind, std::vector<std::size_t> arguments, const Ask& ask) {
        Call made{.kind = kind, .thread = thread_, .arguments = std::move(arguments), .answer = {}};
        made.begin = clock_.fetch_add(1);
        made.answer = ask();
        made.end = clock_.fetch_add(1);
        calls_.push_back(std::move(made));
    }

    void act() {
        if (blocks_.size() > 3 && below(2) == 0) {
            drop();
            return;
        }
        switch (below(20)) {
            case 0:
            case 1:
                allocate();
                break;
            case 2:
            case 3:
            case 4:
                register_block();
                break;
            case 5:
            case 6:
                match();
                break;
            case 7:
                scattered();
                break;
            case 8:
            case 9:
            case 10:
                drop();
                break;
            case 11:
            case 12:
                copy();
                break;
            case 13:
                script_.lists ? scattered() : use_count();
                break;
            case 14:
            case 15:
                weak_.empty() ? downgrade() : upgrade();
                break;
            case 16:
                set_flag();
                break;
            case 17:
            case 18:
                available();
                break;
            default:
                reset_inactive();
        }
    }

    void allocate() {
        const std::size_t count = few();
        call(Kind::allocate, {count}, [&] {
            std::vector<std::size_t> ids;
            if (auto blocks = manager_.allocate_blocks(count)) {
                while (!blocks->empty()) {
                    mutable_.push_back(blocks->pop_back());
                    ids.insert(ids.begin(), mutable_.back().block_id());
                }
            }
            return ids;
        });
    }
    void register_block() {
        if (mutable_.empty()) {
            allocate();
            return;
        }
        const std::size_t hash = below(hashes_.size());
        const std::size_t id = mutable_.back().block_id();
        auto staged = std::move(*std::move(mutable_.back()).stage(hashes_[hash], 4));
        mutable_.pop_back();
        call(Kind::register_block, {id, hash}, [&]() -> std::vector<std::size_t> {
            blocks_.push_back(std::move(*manager_.register_block(std::move(staged))));
            return {blocks_.back().block_id(), blocks_.back().is_duplicate() ? 1U : 0U};
        });
    }
    std::vector<std::size_t> some_hashes() {
        std::vector<std::size_t> numbers(few());
        std::ranges::generate(numbers, [&] { return below(hashes_.size()); });
        return numbers;
    }
    std::vector<SequenceHash> hashes_of(const std::vector<std::size_t>& numbers) {
        std::vector<SequenceHash> hashes;
        for (const std::size_t number : numbers) {
            hashes.push_back(hashes_[number]);
        }
        return hashes;
    }
    void match() {
        const auto numbers = some_hashes();
        const auto hashes = hashes_of(numbers);
        call(Kind::match, numbers, [&] {
            auto found = manager_.match_blocks(hashes);
            return keep(std::move(found));
        });
    }
    void scattered() {
        const auto numbers = some_hashes();
        const auto hashes = hashes_of(numbers);
        call(Kind::scattered, numbers, [&] {
            auto found = manager_.match_blocks_scattered(hashes);
            std::vector<std::size_t> ids;
            for (const auto* block : found) {
                ids.push_back(block == nullptr ? nothing : block->block_id());
            }
            keep(std::move(found).take_hits());
            return ids;
        });
    }
    std::vector<std::size_t> keep(ImmutableBlockList<> found) {
        std::vector<std::size_t> ids;
        while (!found.empty()) {
            blocks_.push_back(found.pop_back());
            ids.insert(ids.begin(), blocks_.back().block_id());
        }
        return ids;
    }
    void drop() {
        if (!mutable_.empty() && below(4) == 0) {
            call(Kind::drop_mutable, {mutable_.back().block_id()},
                 [&]() -> std::vector<std::size_t> {
                     mutable_.pop_back();
                     return {};
                 });
            return;
        }
        if (blocks_.empty()) {
            match();
            return;
        }
        std::swap(blocks_[below(blocks_.size())], blocks_.back());
        std::vector<std::size_t> ids;
        ImmutableBlockList<> list;
        const bool single = !script_.lists || below(2) == 0;
        while (!single && list.size() < 2 && !blocks_.empty()) {
            ids.push_back(blocks_.back().block_id());
            list.push_back(std::move(blocks_.back()));
            blocks_.pop_back();
        }
        if (single) {
            ids.push_back(blocks_.back().block_id());
        }
        call(Kind::drop, ids, [&]() -> std::vector<std::size_t> {
            if (single) {
                blocks_.pop_back();
            }
            list.clear();
            return {};
        });
    }
    template <class Use>
    void with_a_block(Kind kind, std::vector<std::size_t> more, const Use& use) {
        if (blocks_.empty()) {
            match();
            return;
        }
        const std::size_t at = below(blocks_.size());
        more.insert(more.begin(), blocks_[at].block_id());
        call(kind, std::move(more), [&] { return use(blocks_[at]); });
    }
    void copy() {
        with_a_block(Kind::copy, {}, [&](const ImmutableBlock<>& block) {
            blocks_.push_back(ImmutableBlock<>(block));
            return std::vector<std::size_t>{};
        });
    }
    void use_count() {
        with_a_block(Kind::use_count, {}, [](const ImmutableBlock<>& block) {
            return std::vector<std::size_t>{block.use_count()};
        });
    }
    void downgrade() {
        with_a_block(Kind::downgrade, {}, [&](const ImmutableBlock<>& block) {
            weak_.push_back(block.downgrade());
            return std::vector<std::size_t>{};
        });
    }
    void set_flag() {
        const bool value = below(2) == 0;
        with_a_block(Kind::set_flag, {value ? 1U : 0U}, [&](const ImmutableBlock<>& block) {
            block.set_evict_on_reset(value);
            return std::vector<std::size_t>{};
        });
    }
    void upgrade() {
        const std::size_t number = below(weak_.size());
        call(Kind::upgrade, {number}, [&]() -> std::vector<std::size_t> {
            auto block = weak_[number].upgrade();
            if (!block) {
                return {nothing};
            }
            blocks_.push_back(std::move(*block));
            return {blocks_.back().block_id()};
        });
    }
    void available() {
        call(Kind::available, {},
             [&] { return std::vector<std::size_t>{manager_.available_blocks()}; });
    }
    void reset_inactive() {
        call(Kind::reset_inactive, {}, [&] {
            const auto drained = manager_.reset_inactive_pool();
            return std::vector<std::size_t>{drained ? *drained : drained.error().drained};
        });
    }

    const Script& script_;
    BlockManager<>& manager_;
    std::span<const SequenceHash> hashes_;
    std::atomic<std::uint64_t>& clock_;
    std::size_t thread_;
    std::minstd_rand random_;
    std::vector<Call> calls_;
    std::vector<MutableBlock<>> mutable_;
    std::vector<ImmutableBlock<>> blocks_;
    std::vector<WeakBlock<>> weak_;
};

/// Depth first over the calls that may come next; a state that was left once is not entered again.
class Search {
  public:
    explicit Search(const History& history) : history_(history) {}

    bool explain(std::uint64_t done, const Model& model) {
        const std::uint64_t all = (std::uint64_t{1} << history_.size()) - 1;
        if (done == all) {
            return true;
        }
        if (!seen_.insert({done, model.picture()}).second) {
            return false;
        }
        std::uint64_t first_end = std::numeric_limits<std::uint64_t>::max();
        for (std::size_t i = 0; i < history_.size(); ++i) {
            if ((done >> i & 1U) == 0) {
                first_end = std::min(first_end, history_[i].end);
            }
        }
        for (std::size_t i = 0; i < history_.size(); ++i) {
            // A call that began after another had ended comes after it.
            if ((done >> i & 1U) != 0 || history_[i].begin > first_end) {
                continue;
            }
            Model next = model;
            if (next.apply(history_[i]) == history_[i].answer &&
                explain(done | (std::uint64_t{1} << i), next)) {
                return true;
            }
        }
        return false;
    }

  private:
    const History& history_;
    std::set<std::pair<std::uint64_t, std::string>> seen_;
};

}  // namespace

History record(const Script& script,
               const std::function<void(std::vector<std::function<void()>>&)>& start) {
    const auto registry =
        BlockRegistry::builder().frequency_tracker(std::make_shared<NoOpTracker>()).build();
    auto manager = make_manager(
        {.policy = script.policy, .duplication = script.duplication, .blocks = script.blocks},
        registry, script.flag);
    std::vector<SequenceHash> hashes;
    for (std::size_t i = 0; i < script.hashes; ++i) {
        hashes.push_back(root_hash(i + 1));
    }
    std::atomic<std::uint64_t> clock{0};
    std::vector<std::unique_ptr<Caller>> callers;
    std::vector<std::function<void()>> bodies;
    for (std::size_t i = 0; i < script.threads; ++i) {
        callers.push_back(std::make_unique<Caller>(script, manager, hashes, clock, i));
        bodies.emplace_back(
            [&script, caller = callers.back().get()] { caller->run(script.calls); });
        callers.back()->run(script.alone);
    }
    start(bodies);
    History history;
    for (const auto& caller : callers) {
        history.insert(history.end(), caller->calls().begin(), caller->calls().end());
    }
    return history;
}

std::optional<std::string> unexplained(const Script& script, const History& history) {
    if (Search(history).explain(0, Model(script))) {
        return std::nullopt;
    }
    static constexpr std::array names{"allocate",      "register_block", "match",   "scattered",
                                      "drop_mutable",  "drop",           "copy",    "use_count",
                                      "available",     "downgrade",      "upgrade", "set_flag",
                                      "reset_inactive"};
    std::string text = "no order explains\n";
    for (const Call& call : history) {
        text += "  thread " + std::to_string(call.thread) + " [" + std::to_string(call.begin) +
                ", " + std::to_string(call.end) + "] " + names[static_cast<std::size_t>(call.kind)];
        const auto add = [&](std::size_t value) {
            text += value == nothing ? std::string(" -") : ' ' + std::to_string(value);
        };
        std::ranges::for_each(call.arguments, add);
        text += " ->";
        std::ranges::for_each(call.answer, add);
        text += '\n';
    }
    return text;
}

std::string to_string(const Script& script) {
    return to_string(Mix{script.policy, script.duplication, script.blocks, script.threads,
                         script.hashes, script.seed}) +
           (script.flag ? ", resets on release" : "") + (script.lists ? ", lists" : "");
}

}  // namespace kvbm_test
