module;

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

template <std::size_t... I>
constexpr auto make_table(std::index_sequence<I...>, auto make) {
    return std::array{make(std::integral_constant<std::size_t, I>{})...};
}

constexpr auto alternatives = std::make_index_sequence<std::variant_size_v<PoolCommand>>{};

// Reads a value of any field: a number below the limit, a flag, or a list of numbers.
struct FieldDecoder {
    ByteReader& bytes;
    void operator()(std::size_t& value, std::size_t limit) { value = bytes.below(limit); }
    void operator()(bool& value, std::size_t) { value = bytes.flag(); }
    void operator()(std::vector<std::size_t>& values, std::size_t limit) {
        values.resize(bytes.below(pool_hashes_max + 1));
        for (auto& value : values) {
            value = bytes.below(limit);
        }
    }
};

struct FieldPrinter {
    std::string& text;
    void operator()(std::size_t value, std::size_t) { text += " " + std::to_string(value); }
    void operator()(bool value, std::size_t) { text += value ? " yes" : " no"; }
    void operator()(const std::vector<std::size_t>& values, std::size_t) {
        text += " [";
        for (const std::size_t value : values) {
            text += " " + std::to_string(value);
        }
        text += " ]";
    }
};

struct FieldParser {
    std::vector<std::string_view> words;  // last first
    bool good = true;

    std::string_view next() {
        if (words.empty()) {
            good = false;
            return {};
        }
        const auto word = words.back();
        words.pop_back();
        return word;
    }
    static bool number(std::string_view word, std::size_t& value) {
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        return error == std::errc{} && end == word.data() + word.size();
    }
    void operator()(std::size_t& value, std::size_t) { good = number(next(), value) && good; }
    void operator()(bool& value, std::size_t) {
        const auto word = next();
        good = (word == "yes" || word == "no") && good;
        value = word == "yes";
    }
    void operator()(std::vector<std::size_t>& values, std::size_t) {
        good = next() == "[" && good;
        for (auto word = next(); good && word != "]"; word = next()) {
            values.emplace_back();
            good = number(word, values.back());
        }
    }
};

template <std::size_t I>
PoolCommand decode_alternative(ByteReader& bytes) {
    std::variant_alternative_t<I, PoolCommand> command;
    command.fields(command, FieldDecoder{bytes});
    return command;
}

template <std::size_t I>
std::optional<PoolCommand> parse_alternative(std::string_view name, FieldParser parser) {
    std::variant_alternative_t<I, PoolCommand> command;
    if (command.name != name) {
        return std::nullopt;
    }
    command.fields(command, [&](auto& value, std::size_t limit) { parser(value, limit); });
    return parser.good && parser.words.empty() ? std::optional<PoolCommand>(command) : std::nullopt;
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto end = std::min(line.find(' '), line.size());
        if (end > 0) {
            words.push_back(line.substr(0, end));
        }
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return words;
}

}  // namespace

PoolOptions decode_pool_options(ByteReader& bytes) {
    constexpr std::array<std::size_t, 8> block_counts{1, 2, 3, 4, 5, 8, 16, 64};
    PoolOptions options;
    for (auto& pool : options.pools) {
        pool.block_count = block_counts[bytes.below(block_counts.size())];
        pool.policy = decode_policy(bytes);
        const std::size_t choices = bytes.below(8);
        pool.reject = (choices & 1U) != 0;
        pool.reset_on_release = (choices & 2U) != 0;
        options.late = (choices & 4U) != 0;  // the last pool's counts
    }
    options.hashes_first = pool_hash_family * bytes.below(pool_hashes_count / pool_hash_family);
    options.hashes_count = 4U << bytes.below(5);
    return options;
}

PoolCommand decode_pool_command(ByteReader& bytes) {
    static constexpr auto decoders =
        make_table(alternatives, []<std::size_t I>(std::integral_constant<std::size_t, I>) {
            return &decode_alternative<I>;
        });
    constexpr std::size_t early_kinds = 36;
    constexpr std::size_t late_values = 4;
    constexpr std::size_t early_values = 256 - late_values;
    static_assert(early_values % early_kinds == 0 && decoders.size() - early_kinds <= late_values);
    const std::size_t value = bytes.u8();
    const std::size_t kind =
        value < early_values
            ? value % early_kinds
            : early_kinds + (value - early_values) % (decoders.size() - early_kinds);
    return decoders[kind](bytes);
}

std::string to_string(const PoolCommand& command) {
    return std::visit(
        [](const auto& c) {
            std::string text(c.name);
            c.fields(c, FieldPrinter{text});
            return text;
        },
        command);
}

std::string to_string(const PoolOptions& options) {
    std::string text = std::to_string(options.hashes_count) + " hashes from " +
                       std::to_string(options.hashes_first) + " on";
    text += options.late ? ", managers come late" : "";
    for (const auto& pool : options.pools) {
        text += "; " + std::to_string(pool.block_count) + " blocks";
        text += pool.reject ? ", reject" : ", allow";
        text += ", " + to_string(pool.policy);
        text += pool.reset_on_release ? ", reset on release" : "";
    }
    return text;
}

std::optional<PoolCommand> parse_pool_command(std::string_view line) {
    static constexpr auto parsers =
        make_table(alternatives, []<std::size_t I>(std::integral_constant<std::size_t, I>) {
            return &parse_alternative<I>;
        });
    auto words = words_of(line);
    if (words.empty()) {
        return std::nullopt;
    }
    const std::string_view name = words.front();
    std::vector<std::string_view> rest(words.rbegin(), std::prev(words.rend()));
    for (const auto parse : parsers) {
        if (auto command = parse(name, FieldParser{rest})) {
            return command;
        }
    }
    return std::nullopt;
}

std::string blocks_text(std::span<const BlockId> ids) {
    std::string text = "blocks";
    for (const BlockId id : ids) {
        text += " " + std::to_string(id);
    }
    return text;
}

std::string hashes_text(std::span<const SequenceHash> hashes) {
    std::string text = "hashes";
    for (const auto& hash : hashes) {
        text += " " + hash.to_hex();
    }
    return text;
}

}  // namespace kvbm::testing
