//! kvbm.frequency: how often was a hash used lately?
//!
//!   FrequencyTracker   what the registry asks: touch a key, estimate its count
//!   TinyLfuSketch      a fixed table of 4-bit counters; a key names four of them, its estimate is
//!                      the smallest of the four
//!   decay              every counter is halved once enough touches were counted, so old fame fades
//!   SketchLayout       which four counters a key names
//!
//!   word, 64 bits:  | nibble 15 | nibble 14 | ... | nibble 1 | nibble 0 |   each 0 .. 15
//!
//! Layout `compat` gives the figures of the parent crate bit for bit. Its nibble repeats the low
//! bits of its word number, so it uses one counter in sixteen. Layout `blocked` hashes a key once,
//! keeps its four counters in one cache line and uses all of them; it is the default.
//!
//! Invariants: B9 (an estimate is at least min(15, touches) until a decay; a decay halves once; the
//! size is never below 0).
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.frequency;

export import kvbm.core;
export import kvbm.hash;
import :writer;

namespace kvbm {

/// Counts uses of keys, exactly or by estimate.
///
/// Users may implement their own. All members may be called from any thread at any time. `touch` is
/// never called under a lock of this library; `count` may be, so it must not call the library.
/// Source: blocks.md Q1, T4.
export class FrequencyTracker {
  public:
    FrequencyTracker() = default;
    FrequencyTracker(const FrequencyTracker&) = delete;
    FrequencyTracker& operator=(const FrequencyTracker&) = delete;
    virtual ~FrequencyTracker() = default;

    /// Counts one use of the key.
    virtual void touch(const SequenceHash& key) = 0;
    virtual void touch(std::uint64_t key) = 0;

    /// The uses counted, or an estimate of them. 0 for a key never seen by an exact tracker.
    virtual std::uint32_t count(const SequenceHash& key) const = 0;
    virtual std::uint32_t count(std::uint64_t key) const = 0;

    /// One touch per element, front to back. An implementation may replace it by something faster
    /// with the same result.
    virtual void touch_all(std::span<const SequenceHash> keys);
};

/// Counts nothing; every count is 0. Source: blocks.md Q1.
export class NoOpTracker final : public FrequencyTracker {
  public:
    void touch(const SequenceHash& key) override;
    void touch(std::uint64_t key) override;
    std::uint32_t count(const SequenceHash& key) const override;
    std::uint32_t count(std::uint64_t key) const override;
    void touch_all(std::span<const SequenceHash> keys) override;
};

/// Decides after each counted increment, from the size reached, whether to halve all counters.
///
/// Called from every thread that touches, concurrently. Source: blocks.md Q7.
export using DecayPolicy = std::function<bool(std::uint32_t size)>;

/// Decays when the size has reached a fixed number. Source: blocks.md Q7.
export class FixedDecayPolicy {
  public:
    /// Fires at every size of at least `sample_size`.
    constexpr explicit FixedDecayPolicy(std::uint32_t sample_size) noexcept
        : sample_size_(sample_size) {}

    /// The default of a sketch: ten counted increments per entry, at most 2^32 - 1.
    static constexpr FixedDecayPolicy from_capacity(std::size_t capacity) noexcept {
        constexpr std::uint64_t most = 0xFFFF'FFFFU;
        constexpr std::uint64_t per_entry = 10;
        return FixedDecayPolicy(
            static_cast<std::uint32_t>(capacity > most / per_entry ? most : capacity * per_entry));
    }

    constexpr std::uint32_t sample_size() const noexcept { return sample_size_; }
    constexpr bool operator()(std::uint32_t size) const noexcept { return size >= sample_size_; }

  private:
    std::uint32_t sample_size_;
};

/// Which four counters a key names.
export enum class SketchLayout {
    blocked,  ///< one hash, one cache line, all counters in use; the default (blocks.md Q10)
    compat    ///< the figures of the parent crate bit for bit (blocks.md Q8)
};

namespace detail::frequency {

/// Where the four counters of a key are, by their first bits: 64 * word + 4 * nibble.
struct alignas(32) Counters {
    std::array<std::uint64_t, 4> bit{};
};

/// What XXH3 of 16 bytes takes of the four secrets of layout compat: a number per secret for each
/// half of the key. As the halves are the same for all, they are reversed once.
struct alignas(32) SecretLanes {
    std::array<std::uint64_t, 4> low{};
    std::array<std::uint64_t, 4> low_reversed{};
    std::array<std::uint64_t, 4> high{};
};

/// Where the counters of each key are in a table of `word_mask` + 1 words under layout compat, by
/// vectors of 32 bytes. Rules: the processor has them, the number of words is a power of two, and
/// there are as many places as keys.
void compat_counters_avx2(const SecretLanes& secrets, std::uint64_t word_mask,
                          std::span<const SequenceHash> keys,
                          std::span<Counters> counters) noexcept;

/// The four hashes of a key's bytes under layout compat (blocks.md Q8). For tests and tools, not
/// for users.
export std::array<std::uint64_t, 4> compat_hashes(std::span<const std::uint8_t> key) noexcept;

}  // namespace detail::frequency

/// A table of 4-bit counters that estimates how often keys were touched.
///
/// Memory: two bytes per entry of capacity. Thread-safe, without a lock: counters are atomic, no
/// touch is lost, and no call waits for a decay. A sketch that one thread alone has touched so far
/// takes touches several times faster; the second thread's first touch ends that for good, and
/// waits for the call that the first thread is in, if any, at most 128 touches. On one thread every
/// number is exact as specified. Source: blocks.md Q3 to Q12.
export class TinyLfuSketch {
  public:
    /// A sketch for about `capacity` distinct keys that decays after ten increments per entry.
    explicit TinyLfuSketch(std::size_t capacity, SketchLayout layout = SketchLayout::blocked);
    /// The same with a decay policy of the caller's. An empty policy is a broken contract.
    TinyLfuSketch(std::size_t capacity, SketchLayout layout, DecayPolicy policy);
    TinyLfuSketch(const TinyLfuSketch&) = delete;
    TinyLfuSketch& operator=(const TinyLfuSketch&) = delete;

    /// Counts one touch: each of the key's four counters below 15 gains 1. When one did, the size
    /// grows by 1, and the sketch decays if the policy says so. O(1) but for a decay, which is
    /// linear in the table. A SequenceHash counts as its 16 bytes, a number as its 8, both little
    /// endian; the last form takes any bytes.
    void increment(const SequenceHash& key);
    void increment(std::uint64_t key);
    void increment(std::span<const std::uint8_t> key);

    /// Counts one touch of each key, front to back; faster than one by one in a large table.
    void increment_all(std::span<const SequenceHash> keys);

    /// The smallest of the key's four counters, 0 .. 15. O(1).
    std::uint32_t estimate(const SequenceHash& key) const;
    std::uint32_t estimate(std::uint64_t key) const;
    std::uint32_t estimate(std::span<const std::uint8_t> key) const;

    /// Increments counted, less what decays took away.
    std::uint64_t size() const noexcept;
    /// Capacity asked for at construction.
    std::size_t capacity() const noexcept { return capacity_; }
    SketchLayout layout() const noexcept { return layout_; }

    /// Copy of the table, nibble j of a word in its bits 4j .. 4j+3. For tests and tools; while
    /// other threads touch, the words are of different moments.
    std::vector<std::uint64_t> words() const;

  private:
    using Word = std::atomic<std::uint64_t>;
    using Words = std::vector<Word, detail::core::TableAllocator<Word>>;

    Word& word_of(std::uint64_t bit) const noexcept;
    detail::frequency::Counters counters_of(std::span<const std::uint8_t> key) const;
    detail::frequency::Counters counters_of(const SequenceHash& key) const;
    void find_counters(std::span<const SequenceHash> keys,
                       std::span<detail::frequency::Counters> counters) const;
    template <class Use>
    void for_each_ahead(std::span<const SequenceHash> keys, const Use& use) const;
    std::uint32_t smallest(const detail::frequency::Counters& counters) const noexcept;
    bool raise_counters(const detail::frequency::Counters& counters) noexcept;
    bool raise_counters_alone(const detail::frequency::Counters& counters) noexcept;
    std::uint64_t raise_all(std::span<const SequenceHash> keys) noexcept;
    void raise(const detail::frequency::Counters& counters);
    void grow(std::uint64_t raised);
    void decay(std::uint64_t size_seen);

    std::size_t capacity_;
    SketchLayout layout_;
    std::size_t word_count_;
    bool has_word_mask_;  ///< word_count_ is a power of two
    bool uses_avx2_;      ///< for the counters of a SequenceHash
    FixedDecayPolicy default_policy_;
    DecayPolicy policy_;   ///< empty: the default
    mutable Words words_;  ///< from the beginning of a cache line on
    detail::frequency::SoleWriter writer_;
    alignas(64) std::atomic<std::uint64_t> size_{0};  ///< written by each touch: its own line
    std::atomic<bool> decaying_{false};
};

/// A FrequencyTracker over a TinyLfuSketch. Thread-safe, without a lock. Source: blocks.md Q1, Q12.
export class TinyLfuTracker final : public FrequencyTracker {
  public:
    explicit TinyLfuTracker(std::size_t capacity, SketchLayout layout = SketchLayout::blocked);
    TinyLfuTracker(std::size_t capacity, SketchLayout layout, DecayPolicy policy);

    void touch(const SequenceHash& key) override;
    void touch(std::uint64_t key) override;
    std::uint32_t count(const SequenceHash& key) const override;
    std::uint32_t count(std::uint64_t key) const override;
    void touch_all(std::span<const SequenceHash> keys) override;

    const TinyLfuSketch& sketch() const noexcept { return sketch_; }

  private:
    TinyLfuSketch sketch_;
};

/// Why settings of a sketch are incomplete.
export struct TinyLfuSettingsError {
    /// A required field was not given.
    struct FieldNotInitialized {
        std::string field;
        friend bool operator==(const FieldNotInitialized&, const FieldNotInitialized&) = default;
    };
    std::variant<FieldNotInitialized> reason;

    /// `Field not initialized: capacity`
    std::string message() const;
    friend bool operator==(const TinyLfuSettingsError&, const TinyLfuSettingsError&) = default;
};

export class TinyLfuSettingsBuilder;

/// What a sketch is made of; complete once built. Source: blocks.md Q13.
export class TinyLfuSettings {
  public:
    static TinyLfuSettingsBuilder builder();

    std::size_t capacity() const noexcept { return capacity_; }
    SketchLayout layout() const noexcept { return layout_; }

    TinyLfuSketch into_sketch() const;
    std::shared_ptr<TinyLfuTracker> into_tracker() const;

  private:
    friend class TinyLfuSettingsBuilder;
    TinyLfuSettings(std::size_t capacity, SketchLayout layout, DecayPolicy policy)
        : capacity_(capacity), layout_(layout), policy_(std::move(policy)) {}

    std::size_t capacity_;
    SketchLayout layout_;
    DecayPolicy policy_;
};

/// Collects the settings of a sketch: a capacity, and if wanted a layout and a decay policy.
export class TinyLfuSettingsBuilder {
  public:
    TinyLfuSettingsBuilder& capacity(std::size_t capacity);
    /// Default: FixedDecayPolicy::from_capacity.
    TinyLfuSettingsBuilder& decay_policy(DecayPolicy policy);
    /// Default: blocked.
    TinyLfuSettingsBuilder& layout(SketchLayout layout);

    /// Fails with FieldNotInitialized when there is no capacity; the builder stays as it was.
    [[nodiscard]] Result<TinyLfuSettings, TinyLfuSettingsError> build() const;

  private:
    std::optional<std::size_t> capacity_;
    SketchLayout layout_ = SketchLayout::blocked;
    DecayPolicy policy_;
};

/// Three usual sizes of a tracker. Source: blocks.md Q2.
export enum class FrequencyTrackingCapacity {
    small,   ///< 2^18 entries, 512 KiB
    medium,  ///< 2^21 entries, 4 MiB; the usual choice
    large    ///< 2^24 entries, 32 MiB
};

/// Entries of a capacity.
export constexpr std::size_t entries(FrequencyTrackingCapacity capacity) noexcept {
    switch (capacity) {
        case FrequencyTrackingCapacity::small:
            return std::size_t{1} << 18;
        case FrequencyTrackingCapacity::medium:
            return std::size_t{1} << 21;
        case FrequencyTrackingCapacity::large:
            return std::size_t{1} << 24;
    }
    return 0;
}

/// A tracker of that capacity with the default decay.
export std::shared_ptr<FrequencyTracker> create_tracker(
    FrequencyTrackingCapacity capacity, SketchLayout layout = SketchLayout::blocked);

}  // namespace kvbm
