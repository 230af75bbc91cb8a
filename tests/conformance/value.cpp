// Values: their text, and where two of them differ.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <ios>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;

namespace kvbm::conformance {
namespace {

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};

void write(std::ostream& out, const std::string& text) {
    out << '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out << '\\' << c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out << "\\u" << std::hex << std::setw(4) << std::setfill('0')
                << static_cast<unsigned>(c) << std::dec;
        } else {
            out << c;
        }
    }
    out << '"';
}

void write(std::ostream& out, const Value& value) {
    std::visit(Overloaded{[&](std::nullptr_t) { out << "null"; },
                          [&](bool flag) { out << (flag ? "true" : "false"); },
                          [&](Id id) { out << id.value; },
                          [&](const std::string& text) { write(out, text); },
                          [&](const Array& elements) {
                              out << '[';
                              std::string_view comma;
                              for (const Value& element : elements) {
                                  out << std::exchange(comma, ",");
                                  write(out, element);
                              }
                              out << ']';
                          },
                          [&](const Object& members) {
                              out << '{';
                              std::string_view comma;
                              for (const Member& member : members) {
                                  out << std::exchange(comma, ",");
                                  write(out, member.name);
                                  out << ':';
                                  write(out, member.value);
                              }
                              out << '}';
                          },
                          [&](auto number) { out << number; }},
               value.content());
}

/// Long values would hide the place where they differ.
std::string shortened(const Value& value) {
    constexpr std::size_t most = 160;
    std::string text = to_json(value);
    if (text.size() > most) {
        text.resize(most - 3);
        text += "...";
    }
    return text;
}

bool equal_leaves(const Value& expected, const Value& actual, Ids ids) {
    if (actual.as<Id>() != nullptr && ids == Ids::free) {
        return as_number(expected).has_value();
    }
    if (actual.as<Id>() != nullptr || actual.as<std::uint64_t>() != nullptr) {
        return as_number(expected) == as_number(actual);
    }
    return to_json(expected) == to_json(actual);
}

class Comparison {
  public:
    explicit Comparison(Ids ids) : ids_(ids) {}

    void compare(const Value& expected, const Value& actual, const std::string& path) {
        const auto* expected_members = expected.as<Object>();
        const auto* actual_members = actual.as<Object>();
        if (expected_members != nullptr && actual_members != nullptr) {
            compare_members(expected, actual, path);
            return;
        }
        const auto* expected_elements = expected.as<Array>();
        const auto* actual_elements = actual.as<Array>();
        if (expected_elements != nullptr && actual_elements != nullptr &&
            expected_elements->size() == actual_elements->size()) {
            for (std::size_t i = 0; i < expected_elements->size(); ++i) {
                compare((*expected_elements)[i], (*actual_elements)[i],
                        path + "[" + std::to_string(i) + "]");
            }
            return;
        }
        if (!equal_leaves(expected, actual, ids_)) {
            found_.push_back({path, shortened(expected), shortened(actual)});
        }
    }

    std::vector<Difference> take() { return std::move(found_); }

  private:
    void compare_members(const Value& expected, const Value& actual, const std::string& path) {
        const std::string prefix = path.empty() ? path : path + ".";
        for (const Member& member : *expected.as<Object>()) {
            if (const Value* got = actual.find(member.name)) {
                compare(member.value, *got, prefix + member.name);
            } else {
                found_.push_back({prefix + member.name, shortened(member.value), "no such member"});
            }
        }
        for (const Member& member : *actual.as<Object>()) {
            if (expected.find(member.name) == nullptr) {
                found_.push_back({prefix + member.name, "no such member", shortened(member.value)});
            }
        }
    }

    Ids ids_;
    std::vector<Difference> found_;
};

std::string hex128(std::uint64_t high, std::uint64_t low) {
    return hex(high) + hex(low).substr(2);
}

}  // namespace

Value::Value(const IndexRange& range) : content_(Array{range.first, range.last}) {}

const Value* Value::find(std::string_view name) const {
    if (const auto* members = as<Object>()) {
        const auto found = std::ranges::find(*members, name, &Member::name);
        if (found != members->end()) {
            return &found->value;
        }
    }
    return nullptr;
}

std::string hex(std::uint64_t number) {
    std::ostringstream text;
    text << "0x" << std::hex << std::setw(16) << std::setfill('0') << number;
    return text.str();
}

std::string hex(const SequenceHash& hash) {
    return hex128(hash.high(), hash.low());
}

std::string hex(const PositionalSequenceHash& hash) {
    return hex128(hash.high(), hash.low());
}

std::string hex_bytes(std::span<const std::uint8_t> bytes) {
    std::ostringstream text;
    text << std::hex << std::setfill('0');
    for (const std::uint8_t byte : bytes) {
        text << std::setw(2) << unsigned{byte};
    }
    return text.str();
}

std::string to_json(const Value& value) {
    std::ostringstream text;
    write(text, value);
    return text.str();
}

std::vector<Difference> differences(const Value& expected, const Value& actual, Ids ids) {
    Comparison comparison(ids);
    comparison.compare(expected, actual, "");
    return comparison.take();
}

}  // namespace kvbm::conformance
