//! kvbm.registry:extras: what few entries have beyond their cache line. Internal: seen by the
//! bodies of kvbm.registry only.
//!
//! An entry's extras are made when somebody first needs them and are destroyed with the entry. Who
//! holds a reference to the entry may use them; so may, for the tiers only, who holds the table
//! lock and found the entry in the table.
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

module kvbm.registry:extras;

import :attachments;
import :entry;

namespace kvbm::detail::registry {

/// Presence of further tiers.
struct MoreTiers {
    std::array<TierCell, 7> tiers{};
    std::atomic<MoreTiers*> next{nullptr};
};

struct Extras {
    std::atomic<MoreTiers*> more_tiers{nullptr};

    core::Mutex attachments_mutex;
    std::vector<std::unique_ptr<AttachedValues>> attachments;

    core::Mutex callbacks_mutex;
    std::vector<std::shared_ptr<const TouchCallback>> callbacks;

    Extras* next_dead = nullptr;  ///< while the extras of dead entries wait for their destruction

    Extras() = default;
    Extras(const Extras&) = delete;
    Extras& operator=(const Extras&) = delete;
    ~Extras() {
        MoreTiers* more = more_tiers.load(std::memory_order_relaxed);
        while (more != nullptr) {
            const std::unique_ptr<MoreTiers> owned(more);
            more = owned->next.load(std::memory_order_relaxed);
        }
    }
};

/// In the word Entry::extras.
constexpr std::uintptr_t reported_bit = 1;

inline Extras* extras_in(std::uintptr_t word) noexcept {
    return reinterpret_cast<Extras*>(word & ~reported_bit);
}

/// The extras of an entry, or null.
inline Extras* find_extras(const Entry& entry) noexcept {
    // Acquire: the extras are made before they are found. Pairs with need_extras().
    return extras_in(entry.extras.load(std::memory_order_acquire));
}

/// Extras of entries that are dying, in the order of their deaths, until they may be destroyed.
class DeadExtras {
  public:
    void take_of(const Entry& entry) noexcept {
        if (Extras* extras = extras_in(entry.extras.load(std::memory_order_relaxed))) {
            *last_ = extras;
            last_ = &extras->next_dead;
        }
    }
    /// Runs destructors of users' values: with no lock held.
    void destroy() noexcept {
        while (first_ != nullptr) {
            const std::unique_ptr<Extras> extras(first_);
            first_ = extras->next_dead;
        }
    }

  private:
    Extras* first_ = nullptr;
    Extras** last_ = &first_;
};

/// The extras of an entry, made if absent. For who holds a reference.
inline Extras& need_extras(Entry& entry) {
    std::uintptr_t word = entry.extras.load(std::memory_order_acquire);
    if (extras_in(word) != nullptr) {
        return *extras_in(word);
    }
    auto made = std::make_unique<Extras>();
    while (!entry.extras.compare_exchange_weak(
        word, word | reinterpret_cast<std::uintptr_t>(made.get()), std::memory_order_acq_rel,
        std::memory_order_acquire)) {
        if (extras_in(word) != nullptr) {
            return *extras_in(word);
        }
    }
    return *made.release();
}

constexpr std::uint64_t cell_mark(TierId tier) noexcept {
    return (std::uint64_t{tier.value()} + 1) << 32;
}
constexpr bool is_cell_of(std::uint64_t cell, TierId tier) noexcept {
    return (cell >> 32) == std::uint64_t{tier.value()} + 1;
}
constexpr std::uint32_t blocks_in(std::uint64_t cell) noexcept {
    return static_cast<std::uint32_t>(cell);
}

/// The cell of a tier beyond the first three, or null.
inline TierCell* find_further_cell(const Entry& entry, TierId tier) noexcept {
    const Extras* extras = find_extras(entry);
    MoreTiers* more =
        extras == nullptr ? nullptr : extras->more_tiers.load(std::memory_order_acquire);
    for (; more != nullptr; more = more->next.load(std::memory_order_acquire)) {
        for (TierCell& cell : more->tiers) {
            if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
                return &cell;
            }
        }
    }
    return nullptr;
}

inline TierCell* find_cell(Entry& entry, TierId tier) noexcept {
    for (TierCell& cell : entry.tiers) {
        if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
            return &cell;
        }
    }
    return find_further_cell(entry, tier);
}

/// The cell of a tier that the entry was registered for.
inline TierCell& registered_cell(Entry& entry, TierId tier) noexcept {
    TierCell* cell = find_cell(entry, tier);
    expects(cell != nullptr, "an entry has a cell for each tier it was registered for");
    return *cell;
}

/// One block fewer of a tier that the entry was registered for.
inline void lower_presence(Entry& entry, TierId tier) noexcept {
    const std::uint64_t before =
        registered_cell(entry, tier).fetch_sub(1, std::memory_order_release);
    expects(blocks_in(before) != 0, "presence never falls below zero");
}

/// Takes a free cell of the list for the tier. Callers hold the table lock, so no other tier takes
/// one meanwhile.
template <std::size_t n>
bool take_cell(std::array<TierCell, n>& cells, TierId tier) noexcept {
    for (TierCell& cell : cells) {
        if (cell.load(std::memory_order_relaxed) == 0) {
            cell.store(cell_mark(tier), std::memory_order_relaxed);
            return true;
        }
    }
    return false;
}

/// Makes sure the tier has a cell. With the table lock held, by who has a reference.
inline void make_cell(Entry& entry, TierId tier) {
    if (find_cell(entry, tier) != nullptr || take_cell(entry.tiers, tier)) {
        return;
    }
    std::atomic<MoreTiers*>* link = &need_extras(entry).more_tiers;
    for (MoreTiers* more = link->load(std::memory_order_relaxed); more != nullptr;
         more = link->load(std::memory_order_relaxed)) {
        if (take_cell(more->tiers, tier)) {
            return;
        }
        link = &more->next;
    }
    auto more = std::make_unique<MoreTiers>();
    take_cell(more->tiers, tier);
    link->store(more.release(), std::memory_order_release);
}

inline bool holds_blocks(Entry& entry, std::span<const TierId> tiers) noexcept {
    for (const TierId tier : tiers) {
        const TierCell* cell = find_cell(entry, tier);
        if (cell != nullptr && blocks_in(cell->load(std::memory_order_acquire)) != 0) {
            return true;
        }
    }
    return false;
}

}  // namespace kvbm::detail::registry
