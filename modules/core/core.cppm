//! kvbm.core: the words every layer shares.
//!
//!   Token      one token id of a prompt, all 2^32 values are legal
//!   BlockId    names one physical block
//!   IndexRange half-open range of indices or positions
//!   Result     a value, or the error that says which input broke which rule
//!   expects    a rule that only a bug in the calling code can break; checked in every build
//!   TierId     a memory tier (device, host, disk ...), named at compile time by a tag type
//!
//! Errors are values. A broken contract prints file, line, function and rule, and aborts. Nothing
//! here throws.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.core;

export import :pages;
export import :sync;

namespace kvbm {

/// One token id. Every 32-bit value is legal.
export using Token = std::uint32_t;

/// Names one physical block. Ids of a manager are 0 .. block_count - 1; ids of an external tracker
/// may be anything.
export using BlockId = std::uint64_t;

/// A value, or the error `E` that says which input broke which rule. The one name of the library
/// for it.
///
/// On error nothing has changed unless the function says otherwise.
export template <class T, class E>
using Result = tl::expected<T, E>;

/// The failing side of a Result: `return failure(SomeError{...});`
export template <class E>
constexpr auto failure(E&& error) {
    return tl::unexpected<std::decay_t<E>>(std::forward<E>(error));
}

namespace detail::core {

/// Prints the broken rule with its place and aborts. For the layers above, not for users.
export [[noreturn]] void contract_failed(std::string_view rule,
                                         std::source_location where) noexcept;

/// Prints the error of a result that could not fail and aborts. For the layers above, not for
/// users.
export [[noreturn]] void must_failed(std::string_view message, std::source_location where) noexcept;

}  // namespace detail::core

/// Checks a rule that only a bug in the calling code can break.
///
/// Aborts with file, line, function and rule when `holds` is false, in every build. The text is the
/// rule, not the code.
export constexpr void expects(
    bool holds, std::string_view rule,
    std::source_location where = std::source_location::current()) noexcept {
    if (!holds) [[unlikely]] {
        detail::core::contract_failed(rule, where);
    }
}

/// The value of a result that cannot fail here, or an abort with the caller's line and the error's
/// `message()`.
///
/// For examples, tests, and results that cannot fail. Gives the value by value (nothing for
/// `void`).
export template <class T, class E>
constexpr T must(Result<T, E> result,
                 std::source_location where = std::source_location::current()) {
    if (!result.has_value()) [[unlikely]] {
        detail::core::must_failed(result.error().message(), where);
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

/// Half-open range of indices or positions: first <= i < last. An empty range still has a place.
export struct IndexRange {
    std::size_t first = 0;
    std::size_t last = 0;

    /// Walks the indices; a random-access iterator that yields values.
    class iterator {
      public:
        using iterator_category = std::random_access_iterator_tag;
        using value_type = std::size_t;
        using difference_type = std::ptrdiff_t;
        using reference = std::size_t;
        using pointer = void;

        constexpr iterator() noexcept = default;
        constexpr explicit iterator(std::size_t index) noexcept : index_(index) {}
        constexpr std::size_t operator*() const noexcept { return index_; }
        constexpr std::size_t operator[](difference_type n) const noexcept { return *(*this + n); }
        constexpr iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        constexpr iterator operator++(int) noexcept {
            auto old = *this;
            ++index_;
            return old;
        }
        constexpr iterator& operator--() noexcept {
            --index_;
            return *this;
        }
        constexpr iterator operator--(int) noexcept {
            auto old = *this;
            --index_;
            return old;
        }
        constexpr iterator& operator+=(difference_type n) noexcept {
            index_ += static_cast<std::size_t>(n);
            return *this;
        }
        constexpr iterator& operator-=(difference_type n) noexcept {
            index_ -= static_cast<std::size_t>(n);
            return *this;
        }
        friend constexpr iterator operator+(iterator it, difference_type n) noexcept {
            return it += n;
        }
        friend constexpr iterator operator+(difference_type n, iterator it) noexcept {
            return it += n;
        }
        friend constexpr iterator operator-(iterator it, difference_type n) noexcept {
            return it -= n;
        }
        friend constexpr difference_type operator-(iterator a, iterator b) noexcept {
            return static_cast<difference_type>(a.index_) - static_cast<difference_type>(b.index_);
        }
        friend constexpr bool operator==(iterator, iterator) noexcept = default;
        friend constexpr auto operator<=>(iterator, iterator) noexcept = default;

      private:
        std::size_t index_ = 0;
    };

    /// Number of indices; 0 when first >= last.
    constexpr std::size_t size() const noexcept { return first < last ? last - first : 0; }
    constexpr bool empty() const noexcept { return first >= last; }
    constexpr bool contains(std::size_t index) const noexcept {
        return first <= index && index < last;
    }
    constexpr iterator begin() const noexcept { return iterator(first); }
    constexpr iterator end() const noexcept { return iterator(first < last ? last : first); }

    friend constexpr bool operator==(const IndexRange&, const IndexRange&) noexcept = default;
    friend constexpr auto operator<=>(const IndexRange&, const IndexRange&) noexcept = default;
};

/// Whether a lookup counts as a use for the frequency tracker.
export enum class Touch { no, yes };

/// The tier of a manager that names none. Label `default`.
export struct DefaultTier {
    static constexpr std::string_view label = "default";
};
/// Device memory.
export struct G1 {};
/// Host memory.
export struct G2 {};
/// Disk.
export struct G3 {};
/// External storage.
export struct G4 {};

/// Names a memory tier at run time; process-unique, made by tier_id().
export class TierId {
  public:
    /// Small dense number of the tier in this process, in the order of first use.
    constexpr std::uint32_t value() const noexcept { return value_; }
    friend constexpr bool operator==(TierId, TierId) noexcept = default;
    friend constexpr auto operator<=>(TierId, TierId) noexcept = default;

    /// For tier_id(), not for users.
    constexpr explicit TierId(std::uint32_t value) noexcept : value_(value) {}

  private:
    std::uint32_t value_ = 0;
};

namespace detail::core {

/// Draws the next tier number. For tier_id(), not for users. Thread-safe.
export std::uint32_t next_tier_number() noexcept;

/// A type's name out of the text a compiler gives for a function of it: unqualified, without
/// template arguments. For tier_label(), not for users.
export constexpr std::string_view unqualified_type_name(std::string_view function) noexcept {
    constexpr std::string_view mark = "Tier = ";
    const auto start = function.find(mark);
    if (start == std::string_view::npos) {
        return function;
    }
    auto name = function.substr(start + mark.size());
    name = name.substr(0, name.find_first_of("<;]"));
    const auto colons = name.rfind("::");
    return colons == std::string_view::npos ? name : name.substr(colons + 2);
}

}  // namespace detail::core

/// The id of a tier tag. The same tag gives the same id for the life of the process. O(1),
/// thread-safe.
export template <class Tier>
inline TierId tier_id() noexcept {
    static const TierId id(detail::core::next_tier_number());
    return id;
}

/// The label of a tier: `Tier::label` if there is one, else the type's unqualified name without
/// template arguments. Source: blocks.md X4.
export template <class Tier>
constexpr std::string_view tier_label() noexcept {
    if constexpr (requires {
                      { Tier::label } -> std::convertible_to<std::string_view>;
                  }) {
        return Tier::label;
    } else {
        return detail::core::unqualified_type_name(__PRETTY_FUNCTION__);
    }
}

/// One broken invariant, found by an auditor.
export struct Violation {
    std::string id;               ///< the invariant, as in docs/VERIFICATION.md: "P1"
    std::vector<BlockId> blocks;  ///< the blocks concerned
    std::string text;             ///< what was found
};

/// What an auditor found. Nothing is good.
export struct InvariantReport {
    std::vector<Violation> violations;
    bool ok() const noexcept { return violations.empty(); }
    /// One line per violation: `P1 [3 7]: text`.
    std::string to_string() const;
};

}  // namespace kvbm

template <>
struct std::hash<kvbm::TierId> {
    std::size_t operator()(kvbm::TierId id) const noexcept { return id.value(); }
};
