//! kvbm.testing:script: commands with `name` and `fields`, out of bytes, into lines and back.
//!
//! A command is a struct with a static `name` and a static `fields(command, field)` that calls
//! `field(value, limit)` for each of its values. An alphabet is a std::variant of commands.
module;

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

module kvbm.testing:script;

import :bytes;

namespace kvbm::testing::script {

struct Decoder {
    ByteReader& bytes;
    void operator()(std::size_t& value, std::size_t limit) const { value = bytes.below(limit); }
    void operator()(bool& value, std::size_t) const { value = bytes.flag(); }
};

struct Printer {
    std::string& text;
    void operator()(std::size_t value, std::size_t) const { text += " " + std::to_string(value); }
    void operator()(bool value, std::size_t) const { text += value ? " yes" : " no"; }
};

struct Parser {
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
    void operator()(std::size_t& value, std::size_t) {
        const auto word = next();
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        good = good && error == std::errc{} && end == word.data() + word.size();
    }
    void operator()(bool& value, std::size_t) {
        const auto word = next();
        good = good && (word == "yes" || word == "no");
        value = word == "yes";
    }
};

/// The words of a line, last first.
inline std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto end = std::min(line.find(' '), line.size());
        if (end > 0) {
            words.push_back(line.substr(0, end));
        }
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    std::reverse(words.begin(), words.end());
    return words;
}

/// Calls `visit` with a default command of each kind of the alphabet, in order.
template <class Alphabet, class Visit>
void for_each_kind(const Visit& visit) {
    [&]<class... Command>(std::type_identity<std::variant<Command...>>) {
        (visit(Command{}), ...);
    }(std::type_identity<Alphabet>{});
}

/// The command that the next bytes are; any bytes are one.
template <class Alphabet>
Alphabet decode(ByteReader& bytes) {
    const std::size_t drawn = bytes.below(std::variant_size_v<Alphabet>);
    std::optional<Alphabet> decoded;
    std::size_t kind = 0;
    for_each_kind<Alphabet>([&](auto command) {
        if (kind++ == drawn) {
            command.fields(command, Decoder{bytes});
            decoded = command;
        }
    });
    return *decoded;
}

/// A line: the name and the values.
template <class Alphabet>
std::string print(const Alphabet& command) {
    return std::visit(
        [](const auto& c) {
            std::string text(c.name);
            c.fields(c, Printer{text});
            return text;
        },
        command);
}

/// The command of a line that print() gave; nothing for any other text.
template <class Alphabet>
std::optional<Alphabet> parse(std::string_view line) {
    Parser parser{.words = words_of(line)};
    const auto name = parser.next();
    std::optional<Alphabet> parsed;
    for_each_kind<Alphabet>([&](auto command) {
        if (command.name == name) {
            command.fields(command, [&](auto& value, std::size_t limit) { parser(value, limit); });
            parsed = command;
        }
    });
    return parser.good && parser.words.empty() ? parsed : std::nullopt;
}

}  // namespace kvbm::testing::script
