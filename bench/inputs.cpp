// The inputs of all cases, and the values by which two programs know that theirs are equal.
module;

#include <array>
#include <bit>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

Chain ChainStream::take(std::size_t count) {
    Chain hashes;
    hashes.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        const BlockHash block{random_.next()};
        last_ = taken_++ % length_ == 0 ? SequenceHash::root(block) : must(last_.extend(block));
        hashes.push_back(last_);
    }
    return hashes;
}

std::vector<Chain> chains(std::uint64_t seed, std::size_t count, std::size_t length) {
    ChainStream stream(seed, length);
    std::vector<Chain> list;
    list.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        list.push_back(stream.take(length));
    }
    return list;
}

std::vector<std::size_t> permutation(std::uint64_t seed, std::size_t count) {
    std::vector<std::size_t> list(count);
    std::iota(list.begin(), list.end(), std::size_t{0});
    shuffle(seed, std::span(list));
    return list;
}

std::vector<Token> tokens(SplitMix64& random, std::size_t count) {
    std::vector<Token> list(count);
    for (Token& token : list) {
        token = static_cast<Token>(random.next() >> 32);
    }
    return list;
}

SequenceHash sketch_key(SplitMix64& random) noexcept {
    const std::uint64_t high = random.next();
    const std::uint64_t low = random.next();
    // Not from_bits(), which refuses a quarter of all keys; the sketch takes any.
    const auto key = std::bit_cast<SequenceHash>(std::array{high, low});
    expects(key.high() == high, "a sequence hash is its two halves, the high one first");
    return key;
}

namespace {

/// Prints each check value, if asked to, and compares it with the recorded one.
class Checker {
  public:
    explicit Checker(bool print) : print_(print) {}
    void check(const std::string& actual, std::string_view expected) const {
        if (print_) {
            std::printf("%s\n", actual.c_str());
        }
        if (actual != expected) {
            std::fprintf(stderr, "expected: %.*s\n", static_cast<int>(expected.size()),
                         expected.data());
        }
        expects(actual == expected, "generated inputs are as recorded");
    }

  private:
    bool print_;
};

std::string hex(std::uint64_t value) {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016" PRIx64, value);
    return text.data();
}

template <class List>
std::string listed(const List& list) {
    std::string text;
    for (const auto& value : list) {
        text += (text.empty() ? "[" : ", ") + std::to_string(value);
    }
    return text + "]";
}

void check_chain(const Checker& checker, const std::string& label, std::uint64_t seed,
                 const std::array<std::string_view, 4>& expected) {
    constexpr std::array<std::pair<std::size_t, std::size_t>, 4> places{
        {{0, 0}, {0, 1}, {0, 127}, {1, 0}}};
    const auto list = chains(seed, 2, 128);
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto [chain, block] = places[i];
        const std::string text =
            label + " chain " + std::to_string(chain) + " block " + std::to_string(block) + ": ";
        checker.check(text + list[chain][block].to_hex(), text + std::string(expected[i]));
    }
}

void check_tokens(const Checker& checker) {
    SplitMix64 random(seeds::tokens);
    const auto list = tokens(random, 131'072);
    checker.check(
        "tokens: " + listed(std::span(list).first(4)) + " ... " + listed(std::span(list).last(2)),
        "tokens: [1342231066, 979992282, 1985947511, 2450645720] ... [2046958578, "
        "2553703667]");
    struct Expected {
        std::size_t block_size;
        std::string_view text;
    };
    constexpr std::array<Expected, 3> expected{
        {{16, "first 0022281ee315e5bdaf00000000000000 last 47ffdaf294f3339f350c11a45db808f0"},
         {64, "first 0022f83f9aaa27f02080000000000000 last 41ffedbe3cdd8b43af202efc574d5b26"},
         {512, "first 003d921c87f926785c00000000000000 last 3fec81d6725394ad51b37d50abe590b8"}}};
    for (const auto& [size, text] : expected) {
        const BlockSequence sequence(list, size);
        const auto hashes = sequence.all_sequence_hashes();
        const std::string label = "tokens at block size " + std::to_string(size) + ": ";
        checker.check(
            label + "first " + hashes.front().to_hex() + " last " + hashes.back().to_hex(),
            label + std::string(text));
    }
}

}  // namespace

void check_inputs(bool print) {
    const Checker checker(print);
    SplitMix64 base(seeds::base);
    std::string first = "splitmix64(seed):";
    for (int i = 0; i < 3; ++i) {
        first += " " + hex(base.next());
    }
    checker.check(first, "splitmix64(seed): e786a4aba1c55844 66081ddef69f2998 9bfdedb9d9bae744");
    check_chain(checker, "RESIDENT", seeds::resident,
                {"001f03291b87881aa180000000000000", "007069f4ea50b31d290ca46e1e206a86",
                 "1fe6bcc260354e4364655ceb6e46a990", "00359215dbdfda0ad800000000000000"});
    check_chain(checker, "FRESH", seeds::fresh,
                {"002c96386411a977c740000000000000", "005e525c7c406a854698e19046a5df1d",
                 "1fdb70c08f211ee34cb9a21548bfee86", "000f28a65ece0a585a00000000000000"});
    const auto longer = chains(seeds::resident, 1, 1024).front();
    checker.check("RESIDENT length 1024, block 255: " + longer[255].to_hex(),
                  "RESIDENT length 1024, block 255: 3fc3d3ebf8960c084a354b02cff4c154");
    checker.check("RESIDENT length 1024, block 256: " + longer[256].to_hex(),
                  "RESIDENT length 1024, block 256: 404034de3361ef1ca3f5afe258302128");
    checker.check("RESIDENT length 1024, block 1023: " + longer[1023].to_hex(),
                  "RESIDENT length 1024, block 1023: 40ffe666b0d6f576537c5ba6e02bd12e");
    checker.check("permutation(ORDER, 8): " + listed(permutation(seeds::order, 8)),
                  "permutation(ORDER, 8): [5, 3, 4, 0, 1, 6, 2, 7]");
    checker.check("permutation(SLOTS, 8): " + listed(permutation(seeds::slots, 8)),
                  "permutation(SLOTS, 8): [7, 3, 0, 2, 1, 5, 6, 4]");
    const auto order = permutation(seeds::order, 32);
    checker.check("permutation(ORDER, 32) first 8: " + listed(std::span(order).first(8)),
                  "permutation(ORDER, 32) first 8: [25, 17, 30, 28, 5, 11, 3, 7]");
    check_tokens(checker);
    const auto root = SequenceHash::root(BlockHash{0});
    checker.check("replay root(0) " + root.to_hex() + ", extended by 1 " +
                      must(root.extend(BlockHash{1})).to_hex(),
                  "replay root(0) 00000000000000000000000000000000, extended by 1 "
                  "004769b6d5538ed670c0000000000000");
    SplitMix64 keys(seeds::keys);
    const auto key = sketch_key(keys);
    checker.check("keys[0]: " + hex(key.high()) + hex(key.low()),
                  "keys[0]: 72b9a923a491e01102ef2342d35cb2ac");
}

}  // namespace kvbm::bench
