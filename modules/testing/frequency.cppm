//! kvbm.testing:frequency: the sketch as a plain array, and the commands that compare the two.
//!
//! SketchModel keeps one number per counter and follows the formulas of blocks.md Q3 to Q10 word
//! for word. SketchHarness gives each command to it and to a real tracker and reports the first
//! difference as text.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

export module kvbm.testing:frequency;

export import kvbm.frequency;

import :bytes;

namespace kvbm::testing {

/// A sketch with one byte per counter and nothing clever.
export class SketchModel {
  public:
    /// `sample_size` as of FixedDecayPolicy; none: ten per entry, at most 2^32 - 1.
    SketchModel(std::size_t capacity, SketchLayout layout,
                std::optional<std::uint32_t> sample_size);

    void increment(std::span<const std::uint8_t> key);
    std::uint32_t estimate(std::span<const std::uint8_t> key) const;
    std::uint64_t size() const noexcept { return size_; }
    /// The table as the real one gives it.
    std::vector<std::uint64_t> words() const;
    /// Decays so far.
    std::uint64_t decays_count() const noexcept { return decays_count_; }

  private:
    /// Four indices of counters, in order; they may coincide.
    std::vector<std::size_t> counters_of(std::span<const std::uint8_t> key) const;
    void decay();

    SketchLayout layout_;
    std::uint64_t sample_size_;
    std::vector<std::vector<std::uint8_t>> secrets_;  // four, for layout compat
    std::vector<std::uint8_t> counters_;              // 16 per word
    std::uint64_t size_ = 0;
    std::uint64_t decays_count_ = 0;
};

/// The bytes a sketch hashes for a key.
export std::vector<std::uint8_t> sketch_key_bytes(const SequenceHash& key);
export std::vector<std::uint8_t> sketch_key_bytes(std::uint64_t key);

/// What a script starts from.
export struct SketchOptions {
    std::size_t capacity = 0;
    SketchLayout layout = SketchLayout::blocked;
    std::optional<std::uint32_t> sample_size;
};

/// Touches a number some times.
export struct SketchTouchNumber {
    std::size_t key = 0;
    std::size_t times = 0;
};
/// Touches a hash some times.
export struct SketchTouchHash {
    std::size_t key = 0;
    std::size_t times = 0;
};
/// Touches hashes in one call; each is named by its place in the key universe.
export struct SketchTouchAll {
    std::vector<std::size_t> keys;
};
export using SketchCommand = std::variant<SketchTouchNumber, SketchTouchHash, SketchTouchAll>;

export SketchOptions decode_sketch_options(ByteReader& bytes);
export SketchCommand decode_sketch_command(ByteReader& bytes);
export std::string to_string(const SketchOptions& options);
export std::string to_string(const SketchCommand& command);

/// Keys that commands name by number, of either kind; a place beyond is folded.
export inline constexpr std::size_t sketch_keys_count = 48;
export SequenceHash sketch_hash(std::size_t key);
export std::uint64_t sketch_number(std::size_t key);

/// A real tracker beside the model.
export class SketchHarness {
  public:
    explicit SketchHarness(const SketchOptions& options);

    /// Runs a command on both; the difference in size or in the estimate of any key, or nothing.
    std::optional<std::string> run(const SketchCommand& command);
    /// The first difference of the two tables, or nothing.
    std::optional<std::string> compare_tables() const;

    const SketchModel& model() const noexcept { return model_; }

  private:
    SketchModel model_;
    TinyLfuTracker tracker_;
};

}  // namespace kvbm::testing
