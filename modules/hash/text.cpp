// Hashes as text, and the texts of errors.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <tl/expected.hpp>

module kvbm.hash;

namespace kvbm {

namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view base58_digits =
    "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

// The value of a hexadecimal digit, or 16.
unsigned hex_value(char digit) noexcept {
    if (digit >= '0' && digit <= '9') {
        return static_cast<unsigned>(digit - '0');
    }
    if (digit >= 'a' && digit <= 'f') {
        return static_cast<unsigned>(digit - 'a') + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return static_cast<unsigned>(digit - 'A') + 10;
    }
    return 16;
}

// The eight big-endian bytes of a number in base 58: each leading zero byte is one '1'.
std::string base58(std::uint64_t value) {
    std::string text;
    for (std::uint64_t rest = value; rest > 0; rest /= 58) {
        text += base58_digits[rest % 58];
    }
    for (int shift = 56; shift >= 0 && (value >> shift & 0xFFU) == 0; shift -= 8) {
        text += base58_digits.front();
    }
    std::reverse(text.begin(), text.end());
    return text;
}

}  // namespace

Result<PositionalLineageHash, HashError> PositionalLineageHash::from_hex(
    std::string_view text) noexcept {
    constexpr std::size_t digits = 32;
    std::array<std::uint64_t, 2> words{};
    for (std::size_t i = 0; i < digits; ++i) {
        const unsigned value = i < text.size() ? hex_value(text[i]) : 16;
        if (value == 16) {
            return failure(HashError{HashError::BadText{i}});
        }
        words[i / 16] = words[i / 16] << 4 | value;
    }
    if (text.size() > digits) {
        return failure(HashError{HashError::BadText{digits}});
    }
    return from_bits(words[0], words[1]);
}

std::string PositionalLineageHash::to_hex() const {
    std::string text;
    text.reserve(32);
    for (const std::uint8_t byte : to_bytes()) {
        text += hex_digits[byte >> 4];
        text += hex_digits[byte & 0xF];
    }
    return text;
}

std::string PositionalLineageHash::to_string() const {
    std::string text = std::to_string(position()) + ":" + base58(current_chain_hash().value);
    if (position() > 0) {
        text += ":" + base58(parent_hash_fragment());
    }
    return text;
}

std::ostream& operator<<(std::ostream& stream, const PositionalLineageHash& hash) {
    return stream << hash.to_string();
}

std::string PositionTooLarge::message() const {
    return "Position " + std::to_string(position) + " exceeds maximum supported value (" +
           (limit == PositionalSequenceHash::max_position ? "2^31 - 1" : "2^24 - 1 = 16,777,215") +
           ")";
}

std::string HashError::message() const {
    struct Words {
        std::string operator()(const PositionTooLarge& error) const { return error.message(); }
        std::string operator()(const InvalidMode& error) const {
            return "Invalid mode " + std::to_string(error.mode) +
                   " in PositionalLineageHash; mode must be 0, 1, or 2";
        }
        std::string operator()(const WrongLength& error) const {
            return "expected 16 bytes, got " + std::to_string(error.actual);
        }
        std::string operator()(const BadText& error) const {
            return "expected 32 hexadecimal digits, bad character at " +
                   std::to_string(error.offset);
        }
    };
    return std::visit(Words{}, reason);
}

std::string MultimodalError::message() const {
    struct Words {
        std::string operator()(const EmptyRun&) const {
            return "mm_info length must be greater than zero";
        }
        std::string operator()(const OffsetOverflow& error) const {
            return "mm_info range starting at " + std::to_string(error.offset) + " (length " +
                   std::to_string(error.length) + ") overflows usize";
        }
        std::string operator()(const OutOfBounds& error) const {
            return "mm_info range starting at " + std::to_string(error.offset) + " (length " +
                   std::to_string(error.length) + ") exceeds tokens length " +
                   std::to_string(error.count);
        }
        std::string operator()(const Overlapping& error) const {
            return "mm_info ranges overlap at position " + std::to_string(error.position);
        }
    };
    return std::visit(Words{}, reason);
}

}  // namespace kvbm
