// Any script of events, subscribers that come, go and read, and a manager that ends, on a journal
// of any capacity: each subscriber gets what a plain list of all events says, and what it lost is
// told to the number.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.events;

namespace {

using namespace kvbm;

struct Reader {
    Subscription subscription;
    std::size_t first;  ///< its first event, in the list of all
    std::size_t received = 0;
    std::size_t missed = 0;

    std::size_t at() const { return first + received + missed; }
};

/// All events that were stored, and the ring's size.
struct Model {
    std::vector<CacheEvent> events;
    std::size_t capacity;
    bool closed = false;

    std::size_t oldest() const { return events.size() > capacity ? events.size() - capacity : 0; }
    NextEvent next(std::size_t at) const {
        if (at < oldest()) {
            return Lagged{oldest() - at};
        }
        if (at < events.size()) {
            return events[at];
        }
        return closed ? NextEvent(Closed{}) : NextEvent(Timeout{});
    }
};

class Script {
  public:
    explicit Script(std::size_t capacity)
        : manager_(EventsManager::builder().capacity(capacity).build()),
          model_{{}, manager_->capacity()} {}

    void emit(std::size_t count, std::uint64_t seed) {
        for (std::size_t i = 0; i < count && manager_ != nullptr; ++i) {
            emit_one(seed + i);
        }
    }
    void subscribe() {
        if (manager_ != nullptr && readers_.size() < 4) {
            readers_.push_back({manager_->subscribe(), model_.events.size()});
        }
    }
    void end_subscription(std::size_t which) {
        if (!readers_.empty()) {
            readers_.erase(readers_.begin() + static_cast<std::ptrdiff_t>(which % readers_.size()));
        }
    }
    void read(std::size_t which, std::size_t count) {
        for (std::size_t i = 0; i < count && !readers_.empty(); ++i) {
            Reader& reader = readers_[which % readers_.size()];
            const NextEvent expected = model_.next(reader.at());
            const NextEvent actual = reader.subscription.try_next();
            RC_ASSERT(actual == expected);
            if (const auto* lagged = std::get_if<Lagged>(&actual)) {
                reader.missed += lagged->missed;
            }
            reader.received += std::holds_alternative<CacheEvent>(actual) ? 1 : 0;
            RC_ASSERT(reader.subscription.next_number() == reader.at());
        }
    }
    void drain(std::size_t which, std::size_t room) {
        if (readers_.empty()) {
            return;
        }
        Reader& reader = readers_[which % readers_.size()];
        std::vector<CacheEvent> out(room);
        const Drained drained = reader.subscription.drain(out);
        if (room != 0) {
            const std::size_t from = std::max(reader.at(), model_.oldest());
            RC_ASSERT(drained.missed == from - reader.at());
            RC_ASSERT(drained.count == std::min(room, model_.events.size() - from));
            RC_ASSERT(drained.closed == (model_.closed && drained.count < room));
            for (std::size_t i = 0; i < drained.count; ++i) {
                RC_ASSERT(out[i] == model_.events[from + i]);
            }
        } else {
            RC_ASSERT(drained == Drained{});
        }
        reader.missed += drained.missed;
        reader.received += drained.count;
    }
    void end_manager() {
        manager_.reset();
        model_.closed = true;
    }
    /// Each reader to its end: missed + received = numbers passed.
    void finish() {
        end_manager();
        while (!readers_.empty()) {
            read(0, 2 * model_.events.size() + 2);
            RC_ASSERT(readers_.front().at() == model_.events.size());
            readers_.erase(readers_.begin());
        }
    }

  private:
    void emit_one(std::uint64_t seed) {
        CacheEvent event{EventKind::cleared, model_.events.size(), {}, std::nullopt};
        if (seed % 5 == 0) {
            manager_->clear();
        } else if (seed % 5 == 1) {
            event.tier = TierId(static_cast<std::uint32_t>(seed));
            manager_->clear(*event.tier);
        } else {
            event.kind = seed % 5 == 2 ? EventKind::removed : EventKind::stored;
            event.hash = SequenceHash::root(BlockHash{seed * 0x9E3779B97F4A7C15U});
            detail::events::Emitter::emit(*manager_, event.kind, event.hash);
        }
        if (!readers_.empty()) {
            model_.events.push_back(event);
        }
    }

    std::shared_ptr<EventsManager> manager_;
    Model model_;
    std::vector<Reader> readers_;
};

RC_GTEST_PROP(Subscription, agrees_with_a_plain_list_of_all_events, ()) {
    Script script(*rc::gen::element<std::size_t>(1, 2, 3, 4, 8, 16));
    using Command = std::tuple<std::size_t, std::size_t, std::size_t>;
    const auto commands = *rc::gen::scale(
        3.0, rc::gen::container<std::vector<Command>>(rc::gen::tuple(
                 rc::gen::inRange<std::size_t>(0, 24), rc::gen::inRange<std::size_t>(0, 4),
                 rc::gen::inRange<std::size_t>(0, 40))));
    script.subscribe();

    for (const auto& [kind, which, size] : commands) {
        switch (kind) {
            case 0:
                script.subscribe();
                break;
            case 1:
                script.end_subscription(which);
                break;
            case 2:
                script.end_manager();
                break;
            default:
                if (kind < 12) {
                    script.emit(size % 20, size);
                } else if (kind < 20) {
                    script.read(which, size % 12);
                } else {
                    script.drain(which, size % 10);
                }
        }
    }

    script.finish();
}

}  // namespace
