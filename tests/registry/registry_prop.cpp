// A batch is the same as its hashes one by one, and attachment types do not know of each other.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <tl/expected.hpp>

import kvbm.registry;

namespace {

using namespace kvbm;

/// Some differ in the position only, some in the chain hash only.
SequenceHash hash(std::size_t index) {
    return must(SequenceHash::make(ChainHash{index / 8}, ChainHash{1}, (index % 8) * 100));
}

class LoggingTracker final : public FrequencyTracker {
  public:
    explicit LoggingTracker(std::vector<std::string>& log) : log_(log) {}
    void touch(const SequenceHash& key) override { log_.push_back("touch " + key.to_hex()); }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }

  private:
    std::vector<std::string>& log_;
};

/// A registry that writes down its hooks and touches.
struct World {
    std::vector<std::string> log;
    std::shared_ptr<EventsManager> events = EventsManager::builder()
                                                .policy([this](const SequenceHash& asked) {
                                                    log.push_back("hook " + asked.to_hex());
                                                    return true;
                                                })
                                                .build();
    Subscription subscription = events->subscribe();
    BlockRegistry registry = BlockRegistry::builder()
                                 .frequency_tracker(std::make_shared<LoggingTracker>(log))
                                 .event_manager(events)
                                 .build();
    std::vector<BlockRegistrationHandle> handles;

    void append_events() {
        while (true) {
            const NextEvent next = subscription.try_next();
            const auto* event = std::get_if<CacheEvent>(&next);
            if (event == nullptr) {
                return;
            }
            log.push_back((event->kind == EventKind::stored ? "stored " : "removed ") +
                          event->hash.to_hex());
        }
    }
};

std::vector<SequenceHash> draw_hashes(std::size_t length_max) {
    const auto indices = *rc::gen::resize(
        static_cast<int>(length_max),
        rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, 40)));
    std::vector<SequenceHash> hashes;
    for (const std::size_t index : indices) {
        hashes.push_back(hash(index));
    }
    return hashes;
}

RC_GTEST_PROP(BlockRegistry, batch_equals_its_hashes_one_by_one, ()) {
    const auto known = draw_hashes(20);
    const auto hashes = draw_hashes(200);
    World one_by_one;
    World at_once;
    for (World* world : {&one_by_one, &at_once}) {
        for (const SequenceHash& each : known) {
            world->handles.push_back(world->registry.register_sequence_hash(each));
        }
    }

    for (const SequenceHash& each : hashes) {
        one_by_one.handles.push_back(one_by_one.registry.register_sequence_hash(each));
    }
    at_once.registry.register_sequence_hashes_into(hashes, at_once.handles);

    RC_ASSERT(one_by_one.log == at_once.log);
    RC_ASSERT(one_by_one.registry.registered_count() == at_once.registry.registered_count());
    RC_ASSERT(one_by_one.handles.size() == at_once.handles.size());
    for (std::size_t i = 0; i < at_once.handles.size(); ++i) {
        RC_ASSERT(one_by_one.handles[i].seq_hash() == at_once.handles[i].seq_hash());
        for (std::size_t j = 0; j < i; ++j) {
            RC_ASSERT((one_by_one.handles[i] == one_by_one.handles[j]) ==
                      (at_once.handles[i] == at_once.handles[j]));
        }
    }
    one_by_one.handles.clear();
    at_once.handles.clear();
    one_by_one.append_events();
    at_once.append_events();
    RC_ASSERT(one_by_one.log == at_once.log);
    RC_ASSERT(at_once.registry.registered_count() == 0u);
}

RC_GTEST_PROP(BlockRegistry, hooks_and_touches_run_for_first_occurrences_in_input_order, ()) {
    const auto known = draw_hashes(20);
    const auto hashes = draw_hashes(200);
    World world;
    world.registry.register_sequence_hashes_into(known, world.handles);
    world.log.clear();
    std::vector<std::string> expected;
    std::set<std::string> seen;
    for (const SequenceHash& each : known) {
        seen.insert(each.to_hex());
    }
    for (const SequenceHash& each : hashes) {
        if (seen.insert(each.to_hex()).second) {
            expected.push_back("hook " + each.to_hex());
            expected.push_back("touch " + each.to_hex());
        }
    }

    world.registry.register_sequence_hashes_into(hashes, world.handles);

    RC_ASSERT(world.log == expected);
}

/// Three types of one content.
template <int number>
struct Value {
    int content = 0;
};

/// What is attached of one type.
struct Attached {
    std::optional<bool> unique;
    std::vector<int> contents;
};

template <int number>
void attach_and_compare(const BlockRegistrationHandle& handle, Attached& model, bool unique,
                        int content) {
    const auto result = unique ? handle.attach_unique(Value<number>{content})
                               : handle.attach(Value<number>{content});
    RC_ASSERT(result.has_value() == (model.unique.value_or(unique) == unique));
    if (result) {
        if (unique) {
            model.contents.clear();
        }
        model.unique = unique;
        model.contents.push_back(content);
    }
}

template <int number>
void compare(const BlockRegistrationHandle& handle, const Attached& model) {
    handle.get<Value<number>>().with_all(
        [&](const Value<number>* unique, std::span<const Value<number>> multiple) {
            const bool is_unique = model.unique == true;
            RC_ASSERT((unique != nullptr) == is_unique);
            RC_ASSERT(multiple.size() == (is_unique ? 0 : model.contents.size()));
            for (std::size_t i = 0; i < multiple.size(); ++i) {
                RC_ASSERT(multiple[i].content == model.contents[i]);
            }
            if (unique != nullptr) {
                RC_ASSERT(unique->content == model.contents.front());
            }
        });
}

RC_GTEST_PROP(Attachments, types_are_independent_and_each_keeps_its_first_mode,
              (const std::vector<std::pair<bool, int>>& script)) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(hash(0));
    std::map<int, Attached> models;

    for (const auto& [unique, content] : script) {
        switch (content % 3) {
            case 0:
                attach_and_compare<0>(handle, models[0], unique, content);
                break;
            case 1:
                attach_and_compare<1>(handle, models[1], unique, content);
                break;
            default:
                attach_and_compare<2>(handle, models[2], unique, content);
        }
        compare<0>(handle, models[0]);
        compare<1>(handle, models[1]);
        compare<2>(handle, models[2]);
    }
}

}  // namespace
