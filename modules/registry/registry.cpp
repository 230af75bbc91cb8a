module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

module kvbm.registry;

namespace kvbm::detail::registry {

std::uint64_t draw_multiplier() {
    static const std::uint64_t seed =
        (std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}();
    static std::atomic<std::uint64_t> draws{0};
    std::uint64_t z = seed + 0x9E3779B97F4A7C15U * (draws.fetch_add(1) + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (z ^ (z >> 31)) | 1U;
}

struct MoreTiers {
    std::array<TierCell, 7> tiers{};
    std::atomic<MoreTiers*> next{nullptr};
};

namespace {

constexpr std::uint64_t cell_mark(TierId tier) noexcept {
    return (std::uint64_t{tier.value()} + 1) << 32;
}
constexpr bool is_cell_of(std::uint64_t cell, TierId tier) noexcept {
    return (cell >> 32) == std::uint64_t{tier.value()} + 1;
}
constexpr std::uint32_t blocks_in(std::uint64_t cell) noexcept {
    return static_cast<std::uint32_t>(cell);
}

TierCell* find_cell(Entry& entry, TierId tier) noexcept {
    for (TierCell& cell : entry.tiers) {
        if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
            return &cell;
        }
    }
    for (MoreTiers* more = entry.more_tiers.load(std::memory_order_acquire); more != nullptr;
         more = more->next.load(std::memory_order_acquire)) {
        for (TierCell& cell : more->tiers) {
            if (is_cell_of(cell.load(std::memory_order_relaxed), tier)) {
                return &cell;
            }
        }
    }
    return nullptr;
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

/// Makes sure the tier has a cell. With the table lock held.
void make_cell(Entry& entry, TierId tier) {
    if (find_cell(entry, tier) != nullptr || take_cell(entry.tiers, tier)) {
        return;
    }
    std::atomic<MoreTiers*>* link = &entry.more_tiers;
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

bool holds_blocks(Entry& entry, std::span<const TierId> tiers) noexcept {
    for (const TierId tier : tiers) {
        const TierCell* cell = find_cell(entry, tier);
        if (cell != nullptr && blocks_in(cell->load(std::memory_order_acquire)) != 0) {
            return true;
        }
    }
    return false;
}

void add_reference(Entry& entry) noexcept {
    entry.references.fetch_add(1, std::memory_order_relaxed);
}

/// A reference to an entry that may be dying. False: it is.
bool try_add_reference(Entry& entry) noexcept {
    std::uint32_t references = entry.references.load(std::memory_order_relaxed);
    while (references != 0) {
        if (entry.references.compare_exchange_weak(
                references, references + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

}  // namespace

/// The table and the memory of the entries. Lives while a registry object or a live entry refers to
/// it.
class Core {
  public:
    explicit Core(std::shared_ptr<FrequencyTracker> tracker) : tracker_(std::move(tracker)) {}
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;
    ~Core() {
        for (std::size_t k = 0; k < chunks_.size(); ++k) {
            delete[] chunks_[k].load(std::memory_order_relaxed);
        }
    }

    void hold(std::uint64_t more) noexcept { holders_.fetch_add(more, std::memory_order_relaxed); }
    void let_go(std::uint64_t fewer) noexcept {
        // Release: what this holder did happens before the deletion. Acquire: the deleter sees what
        // all did.
        if (holders_.fetch_sub(fewer, std::memory_order_acq_rel) == fewer) {
            delete this;
        }
    }

    const std::shared_ptr<FrequencyTracker>& tracker() const noexcept { return tracker_; }

    std::size_t size() const {
        const core::SharedLock lock(mutex_);
        return table_.size();
    }

    /// The live or dying entry of a hash, or null. With the lock held.
    Entry* find(const SequenceHash& hash) const noexcept {
        const std::uint32_t index = table_.find(
            table_.probe(hash), [&](std::uint32_t id) { return entry_at(id).hash == hash; });
        return index == no_index ? nullptr : &entry_at(index);
    }

    Entry& entry_at(std::uint32_t index) const noexcept {
        const std::uint32_t scaled = (index >> first_chunk_bits) + 1;
        const auto chunk = static_cast<unsigned>(std::bit_width(scaled)) - 1;
        const std::uint32_t chunk_first = ((std::uint32_t{1} << chunk) - 1) << first_chunk_bits;
        return chunks_[chunk].load(std::memory_order_acquire)[index - chunk_first];
    }

    void reserve(std::size_t entries) {
        const core::ExclusiveLock lock(mutex_);
        reserved_ += entries;
        make_room(reserved_ > table_.size() ? reserved_ - table_.size() : 0);
    }

    /// Registers each item. Fails before anything has changed, or not at all.
    void register_all(TierId const* tier, std::span<Registration> items) {
        const core::ExclusiveLock lock(mutex_);
        make_room(items.size());
        for (const Registration& item : items) {
            table_.prefetch(table_.probe(item.hash));
        }
        std::size_t done = 0;
        try {
            for (; done < items.size(); ++done) {
                register_one(items[done]);
                if (tier != nullptr) {
                    make_cell(*items[done].entry, *tier);
                }
            }
            hold(static_cast<std::uint64_t>(std::ranges::count_if(items, &Registration::is_new)));
        } catch (...) {
            undo(items.first(done + 1));
            throw;
        }
    }

    /// Takes entries whose last reference has gone out of the table and frees them.
    void bury(std::span<Entry* const> dead) noexcept {
        const core::ExclusiveLock lock(mutex_);
        for (Entry* entry : dead) {
            bury_one(*entry);
        }
    }

    core::SharedMutex& mutex() const noexcept { return mutex_; }

  private:
    static constexpr unsigned first_chunk_bits = 10;
    static constexpr std::size_t chunk_count = 32 - first_chunk_bits;

    void register_one(Registration& item) noexcept {
        const Probe probe = table_.probe(item.hash);
        if (Entry* known = find(item.hash)) {
            if (try_add_reference(*known)) {
                item.entry = known;
                item.is_new = false;
                return;
            }
            table_.erase(probe, known->index);  // dying: its last handle will find itself replaced
        }
        Entry& entry = take_free();
        entry.hash = item.hash;
        entry.core = this;
        entry.references.store(1, std::memory_order_relaxed);
        table_.insert(probe, entry.index);
        item.entry = &entry;
        item.is_new = true;
    }

    void undo(std::span<Registration> items) noexcept {
        for (const Registration& item : items) {
            if (item.entry->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                bury_one(*item.entry);
            }
        }
    }

    void bury_one(Entry& entry) noexcept {
        const Probe probe = table_.probe(entry.hash);
        if (table_.find(probe, [&](std::uint32_t id) { return id == entry.index; }) != no_index) {
            table_.erase(probe, entry.index);
        }
        MoreTiers* more = entry.more_tiers.exchange(nullptr, std::memory_order_acquire);
        while (more != nullptr) {
            const std::unique_ptr<MoreTiers> owned(more);
            more = owned->next.load(std::memory_order_relaxed);
        }
        for (TierCell& cell : entry.tiers) {
            cell.store(0, std::memory_order_relaxed);
        }
        // A free entry keeps the number of the next free one in its first cell.
        entry.tiers[0].store(first_free_, std::memory_order_relaxed);
        first_free_ = entry.index;
        ++free_;
    }

    Entry& take_free() noexcept {
        Entry& entry = entry_at(first_free_);
        first_free_ =
            static_cast<std::uint32_t>(entry.tiers[0].exchange(0, std::memory_order_relaxed));
        --free_;
        return entry;
    }

    /// Room in the table and in the free list for `more` entries. Strong guarantee.
    void make_room(std::size_t more) {
        while (free_ < more) {
            add_chunk();
        }
        if (table_.size() + more > table_.capacity()) {
            const std::size_t doubled = table_.capacity() * 2;
            const std::size_t wanted = table_.size() + more;
            table_.reserve(doubled > wanted ? doubled : wanted,
                           [&](std::uint32_t id) -> const auto& { return entry_at(id).hash; });
        }
    }

    void add_chunk() {
        expects(chunks_used_ < chunk_count, "a registry holds fewer than 2^32 entries");
        const std::size_t count = std::size_t{1} << (chunks_used_ + first_chunk_bits);
        const auto first = static_cast<std::uint32_t>(count - (std::size_t{1} << first_chunk_bits));
        Entry* entries = new Entry[count];
        chunks_[chunks_used_].store(entries, std::memory_order_release);
        ++chunks_used_;
        for (std::size_t k = count; k-- > 0;) {
            entries[k].index = first + static_cast<std::uint32_t>(k);
            entries[k].tiers[0].store(first_free_, std::memory_order_relaxed);
            first_free_ = entries[k].index;
        }
        free_ += count;
    }

    std::shared_ptr<FrequencyTracker> tracker_;
    std::atomic<std::uint64_t> holders_{1};  // registry objects and live entries
    mutable core::SharedMutex mutex_;        // guards everything below
    TagIndex table_{TagIndex::load_per_bucket, draw_multiplier()};
    std::array<std::atomic<Entry*>, chunk_count> chunks_{};  // chunk k has 1,024 * 2^k entries
    std::size_t chunks_used_ = 0;
    std::size_t reserved_ = 0;
    std::size_t free_ = 0;
    std::uint32_t first_free_ = no_index;
};

namespace {

void touch_new(const Core& core, std::span<const Registration> items) {
    if (core.tracker() == nullptr) {
        return;
    }
    for (const Registration& item : items) {
        if (item.is_new) {
            core.tracker()->touch(item.hash);
        }
    }
}

}  // namespace

void EngineAccess::reserve(const BlockRegistry& registry, std::size_t entries) {
    registry.core().reserve(entries);
}

void EngineAccess::register_all(const BlockRegistry& registry, TierId tier,
                                std::span<Registration> items) {
    registry.core().register_all(&tier, items);
    touch_new(registry.core(), items);
}

void EngineAccess::release_all(std::span<Entry*> entries) noexcept {
    std::size_t dead = 0;
    for (Entry* entry : entries) {
        // Release: this holder's work on the entry happens before its reuse. Acquire: pairs with
        // the others' release.
        if (entry->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            entries[dead++] = entry;
        }
    }
    if (dead != 0) {
        Core& core = *entries[0]->core;
        core.bury(entries.first(dead));
        core.let_go(dead);
    }
}

void EngineAccess::release_shared(Entry& entry) noexcept {
    const std::uint32_t before = entry.references.fetch_sub(1, std::memory_order_acq_rel);
    expects(before > 1, "a shared reference is not an entry's last");
}

void EngineAccess::raise_presence(Entry& entry, TierId tier) noexcept {
    TierCell* cell = find_cell(entry, tier);
    expects(cell != nullptr, "an entry has a cell for each tier it was registered for");
    cell->fetch_add(1, std::memory_order_release);
}

void EngineAccess::lower_presence(Entry& entry, TierId tier) noexcept {
    TierCell* cell = find_cell(entry, tier);
    expects(cell != nullptr, "an entry has a cell for each tier it was registered for");
    const std::uint64_t before = cell->fetch_sub(1, std::memory_order_release);
    expects(blocks_in(before) != 0, "presence never falls below zero");
}

BlockRegistrationHandle EngineAccess::handle(Entry& entry) noexcept {
    add_reference(entry);
    return BlockRegistrationHandle(&entry);
}

Entry& EngineAccess::entry_at(const BlockRegistry& registry, std::uint32_t index) noexcept {
    return registry.core().entry_at(index);
}

void EngineAccess::touch_live(const BlockRegistry& registry, std::span<const SequenceHash> hashes) {
    const Core& core = registry.core();
    if (core.tracker() == nullptr) {
        return;
    }
    for (std::size_t first = 0; first < hashes.size(); first += batch_max) {
        const auto batch = hashes.subspan(first, std::min(batch_max, hashes.size() - first));
        std::array<bool, batch_max> live{};
        {
            const detail::core::SharedLock lock(core.mutex());
            for (std::size_t i = 0; i < batch.size(); ++i) {
                const Entry* entry = core.find(batch[i]);
                live[i] =
                    entry != nullptr && entry->references.load(std::memory_order_relaxed) != 0;
            }
        }
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (live[i]) {
                core.tracker()->touch(batch[i]);
            }
        }
    }
}

}  // namespace kvbm::detail::registry

namespace kvbm {

using detail::registry::Core;
using detail::registry::EngineAccess;
using detail::registry::Entry;
using detail::registry::Registration;

BlockRegistrationHandle::BlockRegistrationHandle(const BlockRegistrationHandle& other) noexcept
    : entry_(other.entry_) {
    if (entry_ != nullptr) {
        detail::registry::add_reference(*entry_);
    }
}

BlockRegistrationHandle& BlockRegistrationHandle::operator=(
    const BlockRegistrationHandle& other) noexcept {
    if (this != &other) {
        *this = BlockRegistrationHandle(other);
    }
    return *this;
}

BlockRegistrationHandle& BlockRegistrationHandle::operator=(
    BlockRegistrationHandle&& other) noexcept {
    std::swap(entry_, other.entry_);
    if (this != &other) {
        const BlockRegistrationHandle previous(std::move(other));
    }
    return *this;
}

BlockRegistrationHandle::~BlockRegistrationHandle() {
    if (entry_ != nullptr) {
        EngineAccess::release_all(std::span<Entry*>(&entry_, 1));
    }
}

bool BlockRegistrationHandle::is_from_registry(const BlockRegistry& registry) const noexcept {
    return entry().core == registry.core_;
}

bool BlockRegistrationHandle::has_block(TierId tier) const {
    return has_any_block(std::span<const TierId>(&tier, 1));
}

bool BlockRegistrationHandle::has_any_block(std::span<const TierId> tiers) const {
    return detail::registry::holds_blocks(entry(), tiers);
}

BlockRegistryBuilder BlockRegistry::builder() {
    return {};
}

BlockRegistry::BlockRegistry() : BlockRegistry(std::shared_ptr<FrequencyTracker>()) {}

BlockRegistry::BlockRegistry(std::shared_ptr<FrequencyTracker> tracker)
    : core_(new Core(std::move(tracker))) {}

BlockRegistry::BlockRegistry(const BlockRegistry& other) noexcept : core_(other.core_) {
    if (core_ != nullptr) {
        core_->hold(1);
    }
}

BlockRegistry& BlockRegistry::operator=(const BlockRegistry& other) noexcept {
    if (this != &other) {
        *this = BlockRegistry(other);
    }
    return *this;
}

BlockRegistry& BlockRegistry::operator=(BlockRegistry&& other) noexcept {
    std::swap(core_, other.core_);
    if (this != &other) {
        const BlockRegistry previous(std::move(other));
    }
    return *this;
}

BlockRegistry::~BlockRegistry() {
    if (core_ != nullptr) {
        core_->let_go(1);
    }
}

Core& BlockRegistry::core() const noexcept {
    expects(core_ != nullptr, "a registry that is used was not moved from");
    return *core_;
}

BlockRegistrationHandle BlockRegistry::register_sequence_hash(const SequenceHash& hash) {
    Registration item{.hash = hash};
    core().register_all(nullptr, std::span<Registration>(&item, 1));
    BlockRegistrationHandle handle(item.entry);
    detail::registry::touch_new(core(), std::span<const Registration>(&item, 1));
    return handle;
}

std::vector<BlockRegistrationHandle> BlockRegistry::register_sequence_hashes(
    std::span<const SequenceHash> hashes) {
    std::vector<BlockRegistrationHandle> handles;
    register_sequence_hashes_into(hashes, handles);
    return handles;
}

void BlockRegistry::register_sequence_hashes_into(std::span<const SequenceHash> hashes,
                                                  std::vector<BlockRegistrationHandle>& out) {
    out.reserve(out.size() + hashes.size());
    std::array<Registration, EngineAccess::batch_max> items;
    while (!hashes.empty()) {
        const std::size_t count = std::min(items.size(), hashes.size());
        for (std::size_t i = 0; i < count; ++i) {
            items[i].hash = hashes[i];
        }
        const auto batch = std::span(items).first(count);
        core().register_all(nullptr, batch);
        for (const Registration& item : batch) {
            out.push_back(BlockRegistrationHandle(item.entry));
        }
        detail::registry::touch_new(core(), batch);
        hashes = hashes.subspan(count);
    }
}

BlockRegistrationHandle BlockRegistry::transfer_registration(const SequenceHash& hash) {
    Registration item{.hash = hash};
    core().register_all(nullptr, std::span<Registration>(&item, 1));
    return BlockRegistrationHandle(item.entry);
}

std::optional<BlockRegistrationHandle> BlockRegistry::match_sequence_hash(const SequenceHash& hash,
                                                                          Touch touch) {
    std::optional<BlockRegistrationHandle> handle;
    {
        const detail::core::SharedLock lock(core().mutex());
        Entry* entry = core().find(hash);
        if (entry == nullptr || !detail::registry::try_add_reference(*entry)) {
            return std::nullopt;
        }
        handle = BlockRegistrationHandle(entry);
    }
    if (touch == Touch::yes) {
        this->touch(hash);
    }
    return handle;
}

bool BlockRegistry::is_registered(const SequenceHash& hash) const {
    const detail::core::SharedLock lock(core().mutex());
    const Entry* entry = core().find(hash);
    return entry != nullptr && entry->references.load(std::memory_order_acquire) != 0;
}

std::size_t BlockRegistry::registered_count() const {
    return core().size();
}

std::vector<std::pair<SequenceHash, bool>> BlockRegistry::check_presence_any(
    std::span<const SequenceHash> hashes, std::span<const TierId> tiers) const {
    std::vector<std::pair<SequenceHash, bool>> presence;
    check_presence_any_into(hashes, tiers, presence);
    return presence;
}

void BlockRegistry::check_presence_any_into(std::span<const SequenceHash> hashes,
                                            std::span<const TierId> tiers,
                                            std::vector<std::pair<SequenceHash, bool>>& out) const {
    out.reserve(out.size() + hashes.size());
    const detail::core::SharedLock lock(core().mutex());
    for (const SequenceHash& hash : hashes) {
        Entry* entry = core().find(hash);
        out.emplace_back(hash, entry != nullptr && detail::registry::holds_blocks(*entry, tiers));
    }
}

void BlockRegistry::touch(const SequenceHash& hash) const {
    if (const auto& tracker = core().tracker()) {
        tracker->touch(hash);
    }
}

std::uint32_t BlockRegistry::count(const SequenceHash& hash) const {
    const auto& tracker = core().tracker();
    return tracker == nullptr ? 0 : tracker->count(hash);
}

bool BlockRegistry::has_frequency_tracking() const noexcept {
    return core().tracker() != nullptr;
}

const std::shared_ptr<FrequencyTracker>& BlockRegistry::frequency_tracker() const noexcept {
    return core().tracker();
}

BlockRegistryBuilder& BlockRegistryBuilder::frequency_tracker(FrequencyTrackingCapacity capacity,
                                                              SketchLayout layout) {
    tracker_ = create_tracker(capacity, layout);
    return *this;
}

BlockRegistryBuilder& BlockRegistryBuilder::frequency_tracker(
    std::shared_ptr<FrequencyTracker> tracker) noexcept {
    tracker_ = std::move(tracker);
    return *this;
}

BlockRegistry BlockRegistryBuilder::build() const {
    return BlockRegistry(tracker_);
}

}  // namespace kvbm
