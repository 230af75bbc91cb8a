module;

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

module kvbm.sequence;

namespace kvbm::detail::sequence {

namespace {

// Ids are often consecutive, strided or equal in their low bits; two multiplications spread all of
// these over the high bits (the bucket) and the ones in the middle (the tag).
constexpr std::uint64_t scramble(BlockId id) noexcept {
    std::uint64_t x = id;
    x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15U;
    return (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9U;
}

/// A bit per id of the bucket whose tag is `wanted`.
unsigned matching(const IdBucket& bucket, std::uint8_t wanted) noexcept {
    using Tags = std::uint8_t __attribute__((ext_vector_type(16)));
    using Bits = bool __attribute__((ext_vector_type(16)));
    Tags tags;
    static_assert(sizeof(tags) == sizeof(bucket.tags) + sizeof(bucket.passed));
    std::memcpy(&tags, &bucket, sizeof(tags));
    const Bits equal = __builtin_convertvector(tags == wanted, Bits);
    return std::bit_cast<std::uint16_t>(equal) & 0xFFFU;
}

unsigned lowest(unsigned bits) noexcept {
    return static_cast<unsigned>(std::countr_zero(bits));
}

std::size_t scan(const IdIndex::Row& row, BlockId id, std::uint64_t& probes) noexcept {
    for (std::size_t place = 0; place < row.size(); ++place) {
        if (row[place].id == id) {
            probes += place + 1;
            return place;
        }
    }
    probes += row.size();
    return IdIndex::none;
}

}  // namespace

IdIndex::Key IdIndex::key_of(BlockId id) const noexcept {
    const std::uint64_t spread = scramble(id);
    const auto tag = static_cast<std::uint8_t>(spread >> 24);
    return {.home = static_cast<std::size_t>((spread >> 32) * buckets_.size() >> 32),
            .tag = tag == 0 ? std::uint8_t{1} : tag};
}

std::size_t IdIndex::next(std::size_t bucket) const noexcept {
    return (bucket + 1) & (buckets_.size() - 1);
}

std::size_t IdIndex::locate(const Row& row, BlockId id, Key key,
                            std::uint64_t& probes) const noexcept {
    for (std::size_t at = key.home;; at = next(at)) {
        ++probes;
        const IdBucket& bucket = buckets_[at];
        for (unsigned same = matching(bucket, key.tag); same != 0; same &= same - 1) {
            const std::size_t place = bucket.places[lowest(same)];
            if (row[place].id == id) {
                return place;
            }
        }
        if (bucket.passed == 0) {
            return none;
        }
    }
}

void IdIndex::put(Key key, std::size_t place) noexcept {
    for (std::size_t at = key.home;; at = next(at)) {
        IdBucket& bucket = buckets_[at];
        const unsigned free = matching(bucket, 0);
        if (free != 0) {
            bucket.tags[lowest(free)] = key.tag;
            bucket.places[lowest(free)] = static_cast<std::uint32_t>(place);
            return;
        }
        ++probes_;
        ++bucket.passed;
    }
}

IdIndex::Cell IdIndex::cell_of(Key key, std::size_t place) noexcept {
    for (std::size_t at = key.home;; at = next(at)) {
        ++probes_;
        const IdBucket& bucket = buckets_[at];
        for (unsigned same = matching(bucket, key.tag); same != 0; same &= same - 1) {
            if (bucket.places[lowest(same)] == place) {
                return {.bucket = at, .number = lowest(same)};
            }
        }
    }
}

void IdIndex::reserve(const Row& row, std::size_t count) {
    expects(count <= ids_at_most, "a tracker holds at most 2^30 ids");
    const bool scanned = buckets_.empty() && count <= scanned_at_most;
    if (scanned || count <= buckets_.size() * ids_per_bucket) {
        return;
    }
    std::vector<IdBucket> buckets(std::bit_ceil(count / ids_per_bucket + 1));
    buckets_.swap(buckets);
    for (std::size_t place = 0; place < row.size(); ++place) {
        add(row[place].id, place);
    }
}

std::size_t IdIndex::find(const Row& row, BlockId id) const noexcept {
    std::uint64_t not_counted = 0;
    return buckets_.empty() ? scan(row, id, not_counted) : locate(row, id, key_of(id), not_counted);
}

std::size_t IdIndex::find_counted(const Row& row, BlockId id) noexcept {
    return buckets_.empty() ? scan(row, id, probes_) : locate(row, id, key_of(id), probes_);
}

std::size_t IdIndex::find_or_add(const Row& row, BlockId id) noexcept {
    if (buckets_.empty()) {
        return scan(row, id, probes_);
    }
    const Key key = key_of(id);
    IdBucket& home = buckets_[key.home];
    const unsigned free = matching(home, 0);
    // The usual case looks at one bucket, once.
    if (matching(home, key.tag) == 0 && home.passed == 0 && free != 0) {
        ++probes_;
        home.tags[lowest(free)] = key.tag;
        home.places[lowest(free)] = static_cast<std::uint32_t>(row.size());
        return none;
    }
    const std::size_t place = locate(row, id, key, probes_);
    if (place == none) {
        put(key, row.size());
    }
    return place;
}

void IdIndex::prefetch(BlockId id) const noexcept {
    // A smaller table stays in the caches, where asking ahead costs more than it brings.
    constexpr std::size_t large_table = (std::size_t{1} << 20) / sizeof(IdBucket);
    if (buckets_.size() >= large_table) {
        __builtin_prefetch(&buckets_[key_of(id).home], 1);
    }
}

void IdIndex::add(BlockId id, std::size_t place) noexcept {
    if (!buckets_.empty()) {
        ++probes_;
        put(key_of(id), place);
    }
}

void IdIndex::erase(const Row& row, std::size_t place) noexcept {
    if (buckets_.empty()) {
        return;
    }
    const Key key = key_of(row[place].id);
    const Cell cell = cell_of(key, place);
    for (std::size_t at = key.home; at != cell.bucket; at = next(at)) {
        --buckets_[at].passed;
    }
    buckets_[cell.bucket].tags[cell.number] = 0;
}

void IdIndex::renumber(BlockId id, std::size_t from, std::size_t to) noexcept {
    if (!buckets_.empty()) {
        const Cell cell = cell_of(key_of(id), from);
        buckets_[cell.bucket].places[cell.number] = static_cast<std::uint32_t>(to);
    }
}

void IdIndex::clear(const Row& row) noexcept {
    // A table that was once large costs more to wipe than its few ids to erase.
    if (row.size() >= buckets_.size()) {
        probes_ += buckets_.size();
        std::fill(buckets_.begin(), buckets_.end(), IdBucket{});
        return;
    }
    for (std::size_t place = row.size(); place > 0; --place) {
        erase(row, place - 1);
    }
}

}  // namespace kvbm::detail::sequence
