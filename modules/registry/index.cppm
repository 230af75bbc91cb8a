//! kvbm.registry:index: the hash table of the library, from a sequence hash to a small number.
//!
//! A bucket is one cache line: twelve one-byte tags, a counter of entries that had to go past it,
//! twelve ids.
//!
//!   | 12 tags | overflow | 12 ids |     tag 0 = free     home bucket = high half of (key * odd
//!   multiplier)
//!
//! One compare finds the candidates of a bucket; the caller compares the whole hash in the record
//! that the id names. A miss is decided in the home bucket while its overflow counter is 0. Erasing
//! clears a byte: nothing is shifted and no tombstones are left. At 50 % load six ids share a line.
//!
//! The key is the low 38 bits of the chain hash: what a child also stores of its parent at every
//! position, so that a parent can be found from its child in the same table.
module;

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

export module kvbm.registry:index;

import kvbm.core;
import kvbm.hash;

namespace kvbm::detail::registry {

/// No id.
export inline constexpr std::uint32_t no_index = std::numeric_limits<std::uint32_t>::max();

/// A random odd number, drawn once per process and mixed anew per call, so that nobody outside
/// knows which hashes share a bucket. For the layers above, not for users.
export std::uint64_t draw_multiplier();

/// Where a hash lives in a TagIndex. For the layers above, not for users.
export struct Probe {
    std::uint64_t mixed = 0;
};

/// Hash table from SequenceHash to a 32-bit id; the caller keeps the hashes. For the layers above,
/// not for users.
///
/// Not thread-safe. insert() never allocates; reserve() does.
export class TagIndex {
  public:
    static constexpr std::size_t bucket_ids = 12;
    static constexpr std::size_t load_per_bucket = 6;

    /// An index for up to `capacity` ids at 50 % load.
    TagIndex(std::size_t capacity, std::uint64_t multiplier)
        : multiplier_(multiplier | 1U), buckets_(bucket_count_for(capacity)) {}

    inline std::size_t size() const noexcept { return size_; }
    /// Ids that fit at 50 % load.
    inline std::size_t capacity() const noexcept { return buckets_.size() * load_per_bucket; }

    inline Probe probe(const SequenceHash& hash) const noexcept {
        return probe_chain(hash.current_chain_hash().value);
    }
    /// The probe of all hashes whose chain hash has these low 38 bits.
    inline Probe probe_chain(std::uint64_t chain_bits) const noexcept {
        constexpr std::uint64_t key_mask = (std::uint64_t{1} << 38) - 1;
        return {(chain_bits & key_mask) * multiplier_};
    }

    inline void prefetch(Probe probe) const noexcept { __builtin_prefetch(&buckets_[home(probe)]); }

    /// The first id of the home bucket whose tag agrees, or no_index: what is worth prefetching.
    inline std::uint32_t candidate(Probe probe) const noexcept {
        const Bucket& bucket = buckets_[home(probe)];
        const unsigned matches = matching(bucket, tag(probe));
        return matches == 0 ? no_index
                            : bucket.ids[static_cast<unsigned>(std::countr_zero(matches))];
    }

    /// The id for which `same(id)` holds among those stored under this probe, or no_index.
    template <class Same>
    inline std::uint32_t find(Probe probe, const Same& same) const noexcept {
        const std::uint8_t wanted = tag(probe);
        for (std::size_t at = home(probe);; at = next(at)) {
            const Bucket& bucket = buckets_[at];
            for (unsigned matches = matching(bucket, wanted); matches != 0;
                 matches &= matches - 1) {
                const std::uint32_t id =
                    bucket.ids[static_cast<unsigned>(std::countr_zero(matches))];
                if (same(id)) {
                    return id;
                }
            }
            if (bucket.overflow == 0) {
                return no_index;
            }
        }
    }

    /// Adds an id. Rule: fewer ids than 2 * capacity() are stored.
    inline void insert(Probe probe, std::uint32_t id) noexcept {
        expects(size_ < buckets_.size() * bucket_ids, "an index has room for each id");
        for (std::size_t at = home(probe);; at = next(at)) {
            Bucket& bucket = buckets_[at];
            const unsigned free = matching(bucket, 0);
            if (free != 0) {
                const auto place = static_cast<unsigned>(std::countr_zero(free));
                bucket.tags[place] = tag(probe);
                bucket.ids[place] = id;
                ++size_;
                return;
            }
            ++bucket.overflow;
        }
    }

    /// Removes an id that is stored under this probe.
    inline void erase(Probe probe, std::uint32_t id) noexcept {
        const std::uint8_t wanted = tag(probe);
        for (std::size_t at = home(probe);; at = next(at)) {
            Bucket& bucket = buckets_[at];
            for (unsigned matches = matching(bucket, wanted); matches != 0;
                 matches &= matches - 1) {
                const auto place = static_cast<unsigned>(std::countr_zero(matches));
                if (bucket.ids[place] == id) {
                    bucket.tags[place] = 0;
                    --size_;
                    return;
                }
            }
            expects(bucket.overflow != 0, "an erased id is in the index");
            --bucket.overflow;
        }
    }

    /// Makes room for `capacity` ids, asking `hash_of(id)` for each stored one. Strong guarantee.
    template <class HashOf>
    void reserve(std::size_t capacity, const HashOf& hash_of) {
        if (capacity <= this->capacity()) {
            return;
        }
        TagIndex larger(capacity, multiplier_);
        for (const Bucket& bucket : buckets_) {
            for (std::size_t place = 0; place < bucket_ids; ++place) {
                if (bucket.tags[place] != 0) {
                    larger.insert(larger.probe(hash_of(bucket.ids[place])), bucket.ids[place]);
                }
            }
        }
        *this = static_cast<TagIndex&&>(larger);
    }

    /// Calls `visit(id)` for each stored id, in no order.
    template <class Visit>
    void for_each(const Visit& visit) const {
        for (const Bucket& bucket : buckets_) {
            for (std::size_t place = 0; place < bucket_ids; ++place) {
                if (bucket.tags[place] != 0) {
                    visit(bucket.ids[place]);
                }
            }
        }
    }

  private:
    struct alignas(64) Bucket {
        std::array<std::uint8_t, bucket_ids> tags{};
        std::uint32_t overflow = 0;
        std::array<std::uint32_t, bucket_ids> ids{};
    };
    static_assert(sizeof(Bucket) == 64);

    static constexpr std::size_t bucket_count_for(std::size_t capacity) noexcept {
        return capacity / load_per_bucket + 1;
    }

    inline std::size_t home(Probe probe) const noexcept {
        return static_cast<std::size_t>(((probe.mixed >> 32) * buckets_.size()) >> 32);
    }
    inline std::size_t next(std::size_t at) const noexcept {
        return at + 1 == buckets_.size() ? 0 : at + 1;
    }
    /// Bits below the ones that choose the bucket; never 0, which marks a free place.
    static constexpr std::uint8_t tag(Probe probe) noexcept {
        const auto bits = static_cast<std::uint8_t>(probe.mixed >> 24);
        return bits == 0 ? std::uint8_t{1} : bits;
    }

    /// A bit per place whose tag is `wanted`.
    static inline unsigned matching(const Bucket& bucket, std::uint8_t wanted) noexcept {
#if defined(__SSE2__)
        const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(&bucket));
        const __m128i equal = _mm_cmpeq_epi8(tags, _mm_set1_epi8(static_cast<char>(wanted)));
        return static_cast<unsigned>(_mm_movemask_epi8(equal)) & 0xFFFU;
#else
        unsigned matches = 0;
        for (unsigned place = 0; place < bucket_ids; ++place) {
            matches |= static_cast<unsigned>(bucket.tags[place] == wanted) << place;
        }
        return matches;
#endif
    }

    std::uint64_t multiplier_;
    std::vector<Bucket, core::TableAllocator<Bucket>> buckets_;
    std::size_t size_ = 0;
};

}  // namespace kvbm::detail::registry
