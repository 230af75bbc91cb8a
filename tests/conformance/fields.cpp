// Typed reading of recorded objects. Every read gives a value; what is wrong is noted as trouble.
module;

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;

namespace kvbm::conformance {
namespace {

constexpr std::size_t digits64 = 16;
constexpr std::size_t digits128 = 32;

std::optional<std::uint64_t> hexadecimal(std::string_view digits) {
    std::uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
        return std::nullopt;
    }
    return number;
}

std::optional<std::uint64_t> as_hash64(const Value& value) {
    const auto* text = value.as<std::string>();
    if (text == nullptr || text->size() != 2 + digits64 || !text->starts_with("0x")) {
        return std::nullopt;
    }
    return hexadecimal(std::string_view(*text).substr(2));
}

std::optional<SequenceHash> as_sequence_hash(const Value& value, std::string& reason) {
    const auto* text = value.as<std::string>();
    if (text == nullptr || text->size() != 2 + digits128 || !text->starts_with("0x")) {
        reason = "is not 0x and 32 hexadecimal digits";
        return std::nullopt;
    }
    const auto hash = SequenceHash::from_hex(std::string_view(*text).substr(2));
    if (!hash) {
        reason = "is no sequence hash: " + hash.error().message();
        return std::nullopt;
    }
    return *hash;
}

std::optional<Token> as_token(const Value& value) {
    const auto* number = value.as<std::uint64_t>();
    if (number == nullptr || *number > std::numeric_limits<Token>::max()) {
        return std::nullopt;
    }
    return static_cast<Token>(*number);
}

std::optional<bool> as_flag(const Value& value) {
    const auto* flag = value.as<bool>();
    return flag == nullptr ? std::nullopt : std::optional(*flag);
}

std::optional<std::string> as_text(const Value& value) {
    const auto* text = value.as<std::string>();
    return text == nullptr ? std::nullopt : std::optional(*text);
}

std::optional<std::vector<std::uint8_t>> as_bytes(const Value& value) {
    const auto* text = value.as<std::string>();
    if (text == nullptr || text->size() % 2 != 0) {
        return std::nullopt;
    }
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < text->size(); i += 2) {
        const auto byte = hexadecimal(std::string_view(*text).substr(i, 2));
        if (!byte) {
            return std::nullopt;
        }
        bytes.push_back(static_cast<std::uint8_t>(*byte));
    }
    return bytes;
}

const Value& nothing() {
    static const Value null;
    return null;
}

}  // namespace

std::optional<std::uint64_t> as_number(const Value& value) {
    if (const auto* number = value.as<std::uint64_t>()) {
        return *number;
    }
    if (const auto* id = value.as<Id>()) {
        return id->value;
    }
    return as_hash64(value);
}

void Trouble::report(std::string text) {
    if (text_.empty()) {
        text_ = std::move(text);
    }
}

Fields::Fields(const Value& value, std::string path, Trouble& trouble)
    : value_(&value), path_(std::move(path)), trouble_(&trouble) {
    if (value.as<Object>() == nullptr) {
        refuse("is not an object");
    }
}

void Fields::refuse(std::string_view reason) const {
    trouble_->report((path_.empty() ? "the record" : path_) + " " + std::string(reason));
}

std::string Fields::place(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

const Value* Fields::member(std::string_view name) const {
    const Value* found = value_->find(name);
    if (found == nullptr) {
        trouble_->report(place(name) + " is missing");
    }
    return found;
}

template <class T, class Convert>
T Fields::read(std::string_view name, std::string_view what, Convert convert) const {
    if (const Value* found = member(name)) {
        if (auto converted = convert(*found)) {
            return std::move(*converted);
        }
        trouble_->report(place(name) + " is not " + std::string(what));
    }
    return T{};
}

template <class T, class Convert>
std::vector<T> Fields::read_all(std::string_view name, std::string_view what,
                                Convert convert) const {
    std::vector<T> all;
    const Array& values = elements(name);
    all.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        auto converted = convert(values[i]);
        if (!converted) {
            trouble_->report(place(name) + "[" + std::to_string(i) + "] is not " +
                             std::string(what));
            break;
        }
        all.push_back(std::move(*converted));
    }
    return all;
}

bool Fields::has(std::string_view name) const {
    const Value* found = value_->find(name);
    return found != nullptr && found->as<std::nullptr_t>() == nullptr;
}

std::uint64_t Fields::number(std::string_view name) const {
    return read<std::uint64_t>(name, "a non-negative integer", as_number);
}

std::size_t Fields::size(std::string_view name) const {
    return static_cast<std::size_t>(number(name));
}

std::optional<std::size_t> Fields::index_or_none(std::string_view name) const {
    const Value* found = value_->find(name);
    const auto* negative = found == nullptr ? nullptr : found->as<std::int64_t>();
    if (negative != nullptr && *negative == -1) {
        return std::nullopt;
    }
    return size(name);
}

std::uint64_t Fields::hash64(std::string_view name) const {
    return read<std::uint64_t>(name, "0x and 16 hexadecimal digits", as_hash64);
}

SaltHash Fields::salt(std::string_view name) const {
    return has(name) ? hash64(name) : 0;
}

SequenceHash Fields::sequence_hash(std::string_view name) const {
    if (const Value* found = member(name)) {
        std::string reason;
        if (const auto hash = as_sequence_hash(*found, reason)) {
            return *hash;
        }
        trouble_->report(place(name) + " " + reason);
    }
    return {};
}

bool Fields::flag(std::string_view name) const {
    return read<bool>(name, "a boolean", as_flag);
}

std::string Fields::text(std::string_view name) const {
    return read<std::string>(name, "a text", as_text);
}

std::vector<std::uint8_t> Fields::bytes(std::string_view name) const {
    return read<std::vector<std::uint8_t>>(name, "bytes in hexadecimal digits", as_bytes);
}

Token Fields::token(std::string_view name) const {
    return read<Token>(name, "a token (0 .. 4294967295)", as_token);
}

std::vector<Token> Fields::tokens(std::string_view name) const {
    return read_all<Token>(name, "a token (0 .. 4294967295)", as_token);
}

std::vector<std::uint64_t> Fields::numbers(std::string_view name) const {
    return read_all<std::uint64_t>(name, "a non-negative integer", as_number);
}

std::vector<std::uint64_t> Fields::hashes64(std::string_view name) const {
    return read_all<std::uint64_t>(name, "0x and 16 hexadecimal digits", as_hash64);
}

std::vector<SequenceHash> Fields::sequence_hashes(std::string_view name) const {
    std::string reason;
    return read_all<SequenceHash>(name, "a sequence hash", [&](const Value& value) {
        return as_sequence_hash(value, reason);
    });
}

std::vector<std::string> Fields::texts(std::string_view name) const {
    return read_all<std::string>(name, "a text", as_text);
}

std::vector<MultimodalRun> Fields::runs(std::string_view name) const {
    std::vector<MultimodalRun> runs;
    for (const Fields& run : objects(name)) {
        runs.push_back({run.hash64("mm_hash"), run.size("offset"), run.size("length")});
    }
    return runs;
}

const Array& Fields::elements(std::string_view name) const {
    static const Array none;
    if (const Value* found = member(name)) {
        if (const auto* array = found->as<Array>()) {
            return *array;
        }
        trouble_->report(place(name) + " is not an array");
    }
    return none;
}

Fields Fields::object(std::string_view name) const {
    const Value* found = member(name);
    return Fields(found == nullptr ? nothing() : *found, place(name), *trouble_);
}

std::vector<Fields> Fields::objects(std::string_view name) const {
    std::vector<Fields> all;
    const Array& values = elements(name);
    for (std::size_t i = 0; i < values.size(); ++i) {
        all.emplace_back(values[i], place(name) + "[" + std::to_string(i) + "]", *trouble_);
    }
    return all;
}

}  // namespace kvbm::conformance
