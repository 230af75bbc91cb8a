// Any script on a registry does what a plain map from hash to handles, values and callbacks says:
// results, order of hooks and touches, events, what is destroyed and when.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
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

constexpr std::size_t hashes_count = 7;

/// Pairs of them share a chain hash or a position.
SequenceHash hash(std::size_t index) {
    return must(SequenceHash::make(ChainHash{index / 2}, ChainHash{index}, 10 + index % 3));
}

std::size_t index_of(const SequenceHash& wanted) {
    std::size_t index = 0;
    while (hash(index) != wanted) {
        ++index;
    }
    return index;
}

using Log = std::vector<std::string>;

std::string line(const char* what, std::size_t number) {
    return std::string(what) + " " + std::to_string(number);
}

class LoggingTracker final : public FrequencyTracker {
  public:
    explicit LoggingTracker(Log& log) : log_(log) {}
    void touch(const SequenceHash& key) override { log_.push_back(line("touch", index_of(key))); }
    void touch(std::uint64_t) override {}
    std::uint32_t count(const SequenceHash&) const override { return 0; }
    std::uint32_t count(std::uint64_t) const override { return 0; }

  private:
    Log& log_;
};

/// A value that writes down its end.
template <int type>
class Value {
  public:
    Value(std::size_t number, Log& log) : number_(number), log_(&log) {}
    Value(Value&& other) noexcept
        : number_(other.number_), log_(std::exchange(other.log_, nullptr)) {}
    Value& operator=(Value&&) = delete;
    ~Value() {
        if (log_ != nullptr) {
            log_->push_back(line("gone", number_));
        }
    }
    std::size_t number() const { return number_; }

  private:
    std::size_t number_;
    Log* log_;
};

/// What a policy answers. Hash 5 makes it throw.
bool reported(std::size_t index) {
    return index % 3 != 0 && index != 5;
}

/// The map.
class Model {
  public:
    struct Values {
        std::optional<bool> unique;
        std::vector<std::size_t> numbers;
    };
    struct Entry {
        std::size_t handles = 0;
        bool reported = false;
        std::array<Values, 2> values;
        std::vector<std::size_t> types;  ///< in the order of their first values
        std::vector<std::size_t> callbacks;
    };

    std::map<std::size_t, Entry> entries;
    Log log;
    Log events;
    std::uint64_t failures = 0;

    void register_hash(std::size_t index) {
        if (!entries.contains(index)) {
            log.push_back(line("hook", index));
            failures += index == 5 ? 1 : 0;
            log.push_back(line("touch", index));
            entries[index].reported = reported(index);
            if (reported(index)) {
                events.push_back(line("stored", index));
            }
        }
        ++entries[index].handles;
    }
    void drop(std::size_t index) {
        Entry& entry = entries.at(index);
        if (--entry.handles == 0) {
            if (entry.reported) {
                events.push_back(line("removed", index));
            }
            for (const std::size_t type : entry.types) {
                for (const std::size_t number : entry.values.at(type).numbers) {
                    log.push_back(line("gone", number));
                }
            }
            entries.erase(index);
        }
    }
    bool attach(std::size_t index, std::size_t type, bool unique, std::size_t number) {
        Values& values = entries.at(index).values.at(type);
        if (values.unique.value_or(unique) != unique) {
            log.push_back(line("gone", number));
            return false;
        }
        if (!values.unique) {
            entries.at(index).types.push_back(type);
        }
        if (unique && values.unique) {
            log.push_back(line("gone", values.numbers.front()));
            values.numbers.clear();
        }
        values.unique = unique;
        values.numbers.push_back(number);
        return true;
    }
};

class Script {
  public:
    void register_one(std::size_t index) {
        hold(index, registry_.register_sequence_hash(hash(index)));
        model_.register_hash(index);
        compare();
    }
    void register_many(std::size_t first, std::size_t count, std::size_t step) {
        std::vector<SequenceHash> hashes;
        for (std::size_t i = 0; i < count; ++i) {
            hashes.push_back(hash((first + i * step) % hashes_count));
            model_.register_hash((first + i * step) % hashes_count);
        }
        auto handles = registry_.register_sequence_hashes(hashes);
        RC_ASSERT(handles.size() == count);
        for (std::size_t i = 0; i < count; ++i) {
            hold(index_of(hashes[i]), std::move(handles[i]));
        }
        compare();
    }
    void transfer(std::size_t index) {
        hold(index, registry_.transfer_registration(hash(index)));
        ++model_.entries[index].handles;
        compare();
    }
    void match(std::size_t index, Touch touch) {
        auto matched = registry_.match_sequence_hash(hash(index), touch);
        RC_ASSERT(matched.has_value() == model_.entries.contains(index));
        if (matched) {
            ++model_.entries[index].handles;
            if (touch == Touch::yes) {
                model_.log.push_back(line("touch", index));
            }
            hold(index, std::move(*matched));
        }
        compare();
    }
    void touch_hash(std::size_t index) {
        registry_.touch(hash(index));
        model_.log.push_back(line("touch", index));
        compare();
    }
    // What follows works on the handle at this place among those held, if there is one.
    void drop(std::size_t place) {
        if (const auto index = index_at(place)) {
            handles_.erase(handles_.begin() + static_cast<std::ptrdiff_t>(place % handles_.size()));
            model_.drop(*index);
            compare();
        }
    }
    void copy(std::size_t place) {
        if (const auto index = index_at(place)) {
            hold(*index, BlockRegistrationHandle(handle_at(place)));
            ++model_.entries[*index].handles;
            compare();
        }
    }
    void attach(std::size_t place, std::size_t type, bool unique) {
        if (const auto index = index_at(place)) {
            const std::size_t number = next_number_++;
            const bool attached = type == 0 ? attach_value<0>(place, unique, number)
                                            : attach_value<1>(place, unique, number);
            RC_ASSERT(attached == model_.attach(*index, type, unique, number));
            compare();
        }
    }
    void add_callback(std::size_t place) {
        if (const auto index = index_at(place)) {
            const std::size_t number = next_number_++;
            handle_at(place).on_touch([this, number](const SequenceHash& touched) {
                log_.push_back(line("call", number) + line(" of", index_of(touched)));
            });
            model_.entries[*index].callbacks.push_back(number);
            compare();
        }
    }
    void touch_handle(std::size_t place) {
        if (const auto index = index_at(place)) {
            handle_at(place).touch();
            for (const std::size_t number : model_.entries[*index].callbacks) {
                model_.log.push_back(line("call", number) + line(" of", *index));
            }
            compare();
        }
    }
    void finish() {
        while (!handles_.empty()) {
            drop(0);
        }
        RC_ASSERT(registry_.registered_count() == 0u);
    }

  private:
    void hold(std::size_t index, BlockRegistrationHandle handle) {
        handles_.emplace_back(index, std::move(handle));
    }
    std::optional<std::size_t> index_at(std::size_t place) const {
        return handles_.empty() ? std::nullopt
                                : std::optional(handles_[place % handles_.size()].first);
    }
    const BlockRegistrationHandle& handle_at(std::size_t place) const {
        return handles_[place % handles_.size()].second;
    }
    template <int type>
    bool attach_value(std::size_t place, bool unique, std::size_t number) {
        Value<type> value(number, log_);
        return unique ? handle_at(place).attach_unique(std::move(value)).has_value()
                      : handle_at(place).attach(std::move(value)).has_value();
    }

    void take_events() {
        while (true) {
            const NextEvent next = subscription_.try_next();
            const auto* event = std::get_if<CacheEvent>(&next);
            if (event == nullptr) {
                return;
            }
            events_taken_.push_back(line(event->kind == EventKind::stored ? "stored" : "removed",
                                         index_of(event->hash)));
        }
    }
    template <int type>
    void compare_values(const BlockRegistrationHandle& handle, const Model::Values& expected) {
        std::vector<std::size_t> numbers;
        bool unique = false;
        handle.get<Value<type>>().with_all(
            [&](const Value<type>* one, std::span<const Value<type>> many) {
                unique = one != nullptr;
                if (one != nullptr) {
                    numbers.push_back(one->number());
                }
                for (const Value<type>& each : many) {
                    numbers.push_back(each.number());
                }
            });
        RC_ASSERT(numbers == expected.numbers);
        RC_ASSERT(unique == (expected.unique == true));
    }
    void compare() {
        RC_ASSERT(log_ == model_.log);
        take_events();
        RC_ASSERT(events_taken_ == model_.events);
        RC_ASSERT(registry_.hook_failures() == model_.failures);
        RC_ASSERT(registry_.registered_count() == model_.entries.size());
        for (std::size_t index = 0; index < hashes_count; ++index) {
            RC_ASSERT(registry_.is_registered(hash(index)) == model_.entries.contains(index));
        }
        for (const auto& [index, handle] : handles_) {
            RC_ASSERT(handle.seq_hash() == hash(index));
            RC_ASSERT(handle.is_from_registry(registry_));
            for (const auto& [other_index, other] : handles_) {
                RC_ASSERT((handle == other) == (index == other_index));
            }
            compare_values<0>(handle, model_.entries.at(index).values[0]);
            compare_values<1>(handle, model_.entries.at(index).values[1]);
        }
    }

    Log log_;
    Log events_taken_;
    Model model_;
    std::size_t next_number_ = 100;
    std::shared_ptr<EventsManager> events_manager_ =
        EventsManager::builder()
            .policy([this](const SequenceHash& asked) {
                log_.push_back(line("hook", index_of(asked)));
                return index_of(asked) == 5 ? throw 5 : reported(index_of(asked));
            })
            .build();
    Subscription subscription_ = events_manager_->subscribe();
    BlockRegistry registry_ = BlockRegistry::builder()
                                  .frequency_tracker(std::make_shared<LoggingTracker>(log_))
                                  .event_manager(events_manager_)
                                  .build();
    std::vector<std::pair<std::size_t, BlockRegistrationHandle>> handles_;
};

void run(Script& script, std::size_t kind, std::size_t a, std::size_t b) {
    const std::size_t index = a % hashes_count;
    switch (kind) {
        case 0:
            return script.register_one(index);
        case 1:
            return script.register_many(index, b % 6, a % 4);
        case 2:
            return script.transfer(index);
        case 3:
            return script.match(index, b % 2 == 0 ? Touch::no : Touch::yes);
        case 4:
            return script.touch_hash(index);
        case 5:
        case 6:
        case 7:
            return script.drop(a);
        case 8:
            return script.copy(a);
        case 9:
        case 10:
        case 11:
            return script.attach(a, b % 2, b / 2 % 2 == 0);
        case 12:
            return script.add_callback(a);
        default:
            return script.touch_handle(a);
    }
}

RC_GTEST_PROP(BlockRegistry, agrees_with_a_map_of_entries, ()) {
    using Command = std::tuple<std::size_t, std::size_t, std::size_t>;
    const auto commands = *rc::gen::container<std::vector<Command>>(
        rc::gen::tuple(rc::gen::inRange<std::size_t>(0, 14), rc::gen::inRange<std::size_t>(0, 64),
                       rc::gen::inRange<std::size_t>(0, 16)));
    Script script;

    for (const auto& [kind, a, b] : commands) {
        run(script, kind, a, b);
    }

    script.finish();
}

}  // namespace
