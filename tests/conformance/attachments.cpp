// edge_cases.json, attachments[]: calls on the values of one entry, in order.
module;

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;
import kvbm.registry;

namespace kvbm::conformance {
namespace {

/// A recorded call: `name::<type>(argument)`.
struct Call {
    std::string_view name;
    std::string_view type;
    std::optional<std::uint64_t> argument;
};

std::optional<Call> parse_call(std::string_view text) {
    const auto open = text.find("::<");
    const auto close = text.find(">(", open);
    if (open == std::string_view::npos || close == std::string_view::npos || text.back() != ')') {
        return std::nullopt;
    }
    Call call{text.substr(0, open), text.substr(open + 3, close - open - 3), std::nullopt};
    const std::string_view digits = text.substr(close + 2, text.size() - close - 3);
    if (!digits.empty()) {
        const char* const end = digits.data() + digits.size();
        std::uint64_t number = 0;
        if (std::from_chars(digits.data(), end, number) !=
            std::from_chars_result{end, std::errc()}) {
            return std::nullopt;
        }
        call.argument = number;
    }
    return call;
}

/// A recorded error names no type.
std::string without_type(const AttachmentError& error) {
    std::string text = error.message();
    const std::string_view type =
        std::visit([](const auto& reason) { return reason.type; }, error.reason);
    return text.replace(text.find(type), type.size(), "<type>");
}

Object outcome(const Result<void, AttachmentError>& result) {
    return result ? Object{{"ok", true}} : Object{{"err", without_type(result.error())}};
}

template <class T>
std::optional<T> unique_of(const BlockRegistrationHandle& handle) {
    return handle.get<T>().with_unique([](const T& value) { return value; });
}
template <class T>
Array multiple_of(const BlockRegistrationHandle& handle) {
    return handle.get<T>().with_multiple([](std::span<const T> values) { return list(values); });
}

/// What a call gives for the type T, or nothing if there is no such call.
template <class T>
std::optional<Object> perform(const BlockRegistrationHandle& handle, const Call& call) {
    if (call.name == "get" && !call.argument) {
        return Object{{"unique", unique_of<T>(handle)}, {"multiple", multiple_of<T>(handle)}};
    }
    if (!call.argument) {
        return std::nullopt;
    }
    const auto value = static_cast<T>(*call.argument);
    if (call.name == "attach_unique") {
        return outcome(handle.attach_unique(value));
    }
    if (call.name == "attach") {
        return outcome(handle.attach(value));
    }
    return std::nullopt;
}

constexpr std::string_view mutable_calls = "after unique_mut +100 and multiple_mut *10";

Object change_and_read(const BlockRegistrationHandle& handle) {
    handle.get<std::uint32_t>().with_unique_mut([](std::uint32_t& value) { value += 100; });
    handle.get<std::uint64_t>().with_multiple_mut([](std::span<std::uint64_t> values) {
        for (std::uint64_t& value : values) {
            value *= 10;
        }
    });
    return {{"u32", unique_of<std::uint32_t>(handle)},
            {"u64", Array{unique_of<std::uint64_t>(handle), multiple_of<std::uint64_t>(handle)}}};
}

std::optional<Object> perform(const BlockRegistrationHandle& handle, std::string_view text) {
    if (text == mutable_calls) {
        return change_and_read(handle);
    }
    const auto call = parse_call(text);
    if (!call) {
        return std::nullopt;
    }
    if (call->type == "u8") {
        return perform<std::uint8_t>(handle, *call);
    }
    if (call->type == "u32") {
        return perform<std::uint32_t>(handle, *call);
    }
    return call->type == "u64" ? perform<std::uint64_t>(handle, *call) : std::nullopt;
}

}  // namespace

void replay_attachments(const Fields& document, Report& report) {
    BlockRegistry registry;
    const auto handle = registry.register_sequence_hash(SequenceHash());
    for (const Fields& vector : document.objects("attachments")) {
        const std::string call = vector.text("call");
        const auto actual = perform(handle, call);
        if (!actual) {
            vector.refuse("makes the unknown call \"" + call + "\"");
            return;
        }
        check_vector(report, "attachments", vector, {"call"}, *actual);
    }
}

}  // namespace kvbm::conformance
