// hashing.json: the 128-bit hashes on the wire.
//
// The codecs of whole events are a component of their own. Here the frame around the 16 bytes is
// written and opened by hand, and the library judges the bytes: their order, their number, their
// mode.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;

namespace kvbm::conformance {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t bin8 = 0xC4;
constexpr std::uint8_t array16 = 0xDC;
constexpr std::uint8_t fixarray = 0x90;
constexpr std::uint8_t uint8 = 0xCC;

std::string framed(std::vector<std::uint8_t> frame, std::span<const std::uint8_t> bytes) {
    frame.insert(frame.end(), bytes.begin(), bytes.end());
    return hex_bytes(frame);
}

std::string as_json_array(std::span<const std::uint8_t> bytes) {
    return to_json(list(bytes));
}

/// The payload of a bin 8, or the elements of an array of unsigned bytes; nothing for other forms.
std::optional<Bytes> open_msgpack(std::span<const std::uint8_t> text) {
    if (text.size() >= 2 && text[0] == bin8) {
        const std::size_t length = text[1];
        const auto payload = text.subspan(2);
        return payload.size() == length ? std::optional(Bytes(payload.begin(), payload.end()))
                                        : std::nullopt;
    }
    std::size_t count = 0;
    if (text.size() >= 3 && text[0] == array16) {
        count = std::size_t{text[1]} << 8 | text[2];
        text = text.subspan(3);
    } else if (!text.empty() && (text[0] & 0xF0U) == fixarray) {
        count = text[0] & 0x0FU;
        text = text.subspan(1);
    } else {
        return std::nullopt;
    }
    Bytes elements;
    while (!text.empty()) {
        const bool marked = text[0] == uint8 && text.size() >= 2;
        if (!marked && text[0] >= 0x80) {
            return std::nullopt;
        }
        elements.push_back(text[marked ? 1 : 0]);
        text = text.subspan(marked ? 2 : 1);
    }
    return elements.size() == count ? std::optional(elements) : std::nullopt;
}

/// The elements of an array of integers 0 .. 255; nothing for other forms.
std::optional<Bytes> open_json(std::string_view text) {
    const auto value = parse_json(text);
    const auto* elements = value ? value->as<Array>() : nullptr;
    if (elements == nullptr) {
        return std::nullopt;
    }
    Bytes bytes;
    for (const Value& element : *elements) {
        const auto* number = element.as<std::uint64_t>();
        if (number == nullptr || *number > 0xFF) {
            return std::nullopt;
        }
        bytes.push_back(static_cast<std::uint8_t>(*number));
    }
    return bytes;
}

/// The reader's text of a failure belongs to the reference's reader and is no part of the vector.
void check_decoded(Report& report, std::string_view group, const Fields& vector,
                   std::string_view encoded, const std::optional<Bytes>& bytes) {
    const auto hash = bytes ? std::optional(SequenceHash::from_bytes(*bytes)) : std::nullopt;
    const Object actual = hash && *hash ? Object{{"ok", hex(**hash)}} : Object{{"err", true}};
    check_vector(report, group, vector, {"msg", encoded}, actual);
}

}  // namespace

void replay_encodings(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("serde")) {
        const SequenceHash lineage = vector.sequence_hash("plh");
        const auto text = vector.text("psh");
        Trouble unread;
        const Value digits = Object{{"digits", text.starts_with("0x") ? text.substr(2) : text}};
        const auto positional =
            PositionalSequenceHash::from_bytes(Fields(digits, "", unread).bytes("digits"));
        if (unread.any() || !positional) {
            vector.refuse("has a psh that is not 0x and 32 hexadecimal digits");
            return;
        }
        const auto lineage_bytes = lineage.to_bytes();
        const auto positional_bytes = positional->to_bytes();
        check_vector(report, "serde", vector, {"plh", "psh"},
                     {{"plh_msgpack_hex", framed({bin8, 16}, lineage_bytes)},
                      {"plh_json", as_json_array(lineage_bytes)},
                      {"plh_bincode_standard_hex", framed({16}, lineage_bytes)},
                      {"psh_msgpack_hex", framed({bin8, 16}, positional_bytes)},
                      {"psh_json", as_json_array(positional_bytes)}});
    }
}

void replay_decoded_msgpack(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("serde_decode_msgpack")) {
        check_decoded(report, "serde_decode_msgpack", vector, "msgpack_hex",
                      open_msgpack(vector.bytes("msgpack_hex")));
    }
}

void replay_decoded_json(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("serde_decode_json")) {
        check_decoded(report, "serde_decode_json", vector, "json", open_json(vector.text("json")));
    }
}

}  // namespace kvbm::conformance
