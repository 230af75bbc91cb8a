//! kvbm.registry:entry: the record of one hash, shared by all managers of a registry.
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

export module kvbm.registry:entry;

export import kvbm.core;
export import kvbm.hash;
import :index;

namespace kvbm::detail::registry {

class Core;

/// Presence of one tier: (tier number + 1) << 32 | blocks; 0 = free.
using TierCell = std::atomic<std::uint64_t>;

/// The record of one hash, one cache line. A tier takes a cell when its first block comes and keeps
/// it; from the fourth tier on the cells stand with the other extras. For the layers above, not for
/// users.
export struct alignas(64) Entry {
    SequenceHash hash;
    Core* core = nullptr;
    std::uint32_t index = no_index;
    /// Handles. 0 = dying: nobody may take a reference any more.
    std::atomic<std::uint32_t> references{0};
    std::array<TierCell, 3> tiers{};
    /// The address of what few entries have (attachments, touch callbacks, further tiers), made on
    /// demand; bit 0: the entry's `stored` was reported, so its `removed` will be.
    std::atomic<std::uintptr_t> extras{0};
};
static_assert(sizeof(Entry) == 64);

/// One hash to register, and what came of it. For the layers above, not for users.
export struct Registration {
    SequenceHash hash;
    Entry* entry = nullptr;
    bool is_new = false;
};

/// Room for so many registrations at once, of which only those are made that are asked for. For the
/// layers above, not for users.
export template <std::size_t most>
class RegistrationRoom {
  public:
    /// The first `count`, each anew. Rule: there is room for so many.
    std::span<Registration> take(std::size_t count) noexcept {
        expects(count <= most, "a batch of registrations has room for all");
        auto* items = reinterpret_cast<Registration*>(memory_.data());
        std::uninitialized_default_construct_n(items, count);
        return {items, count};
    }

  private:
    static_assert(std::is_trivially_destructible_v<Registration>);
    alignas(Registration) std::array<std::byte, most * sizeof(Registration)> memory_;
};

}  // namespace kvbm::detail::registry
