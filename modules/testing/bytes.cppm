//! kvbm.testing:bytes: turns any byte string into numbers that never fail.
//!
//! A fuzzer's input is read front to back; past the end everything is 0, so almost every byte
//! string is a legal script.
module;

#include <cstddef>
#include <cstdint>
#include <span>

export module kvbm.testing:bytes;

namespace kvbm::testing {

/// Reads a byte string front to back. Past its end every read gives 0. Never fails; single owner.
export class ByteReader {
  public:
    constexpr explicit ByteReader(std::span<const std::uint8_t> bytes) noexcept : rest_(bytes) {}

    /// Nothing left to read.
    constexpr bool empty() const noexcept { return rest_.empty(); }
    /// Bytes left.
    constexpr std::size_t remaining() const noexcept { return rest_.size(); }

    constexpr std::uint8_t u8() noexcept {
        if (rest_.empty()) {
            return 0;
        }
        const std::uint8_t byte = rest_.front();
        rest_ = rest_.subspan(1);
        return byte;
    }
    /// Little-endian, as are u32 and u64.
    constexpr std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(integer(2)); }
    constexpr std::uint32_t u32() noexcept { return static_cast<std::uint32_t>(integer(4)); }
    constexpr std::uint64_t u64() noexcept { return integer(8); }

    /// A number 0 .. n-1 by modulo; 0 when n is 0. Takes one byte for n <= 256, two for n <=
    /// 65,536, else eight.
    constexpr std::size_t below(std::size_t n) noexcept {
        if (n == 0) {
            return 0;
        }
        const std::uint64_t drawn = n <= 256 ? u8() : n <= 65536 ? u16() : u64();
        return static_cast<std::size_t>(drawn % n);
    }
    constexpr bool flag() noexcept { return (u8() & 1U) != 0; }

  private:
    constexpr std::uint64_t integer(int bytes) noexcept {
        std::uint64_t value = 0;
        for (int i = 0; i < bytes; ++i) {
            value |= static_cast<std::uint64_t>(u8()) << (8 * i);
        }
        return value;
    }

    std::span<const std::uint8_t> rest_;
};

}  // namespace kvbm::testing
