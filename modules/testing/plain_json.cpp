module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

module kvbm.testing;

namespace kvbm::testing {

namespace {

/// How many bytes of a legal UTF-8 character begin the text; 0 if none does.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [text](std::size_t i) {
        return i < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[i])) : 0U;
    };
    const auto length = byte(0) < 0x80 ? 1U : byte(0) < 0xE0 ? 2U : byte(0) < 0xF0 ? 3U : 4U;
    unsigned value = length == 1 ? byte(0) : byte(0) & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) {
            return 0;
        }
        value = value << 6U | (byte(i) & 0x3FU);
    }
    const bool marked = length == 1 || (byte(0) & 0xC0U) == 0xC0U;
    const unsigned smallest = length == 1 ? 0 : length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    return marked && byte(0) < 0xF8 && value >= smallest && value <= 0x10FFFF && !surrogate ? length
                                                                                            : 0;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const auto length = utf8_length(text);
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

void append_utf8(std::string& out, unsigned value) {
    const auto tail = [&](unsigned shift) {
        out += static_cast<char>(0x80U | ((value >> shift) & 0x3FU));
    };
    if (value < 0x80) {
        out += static_cast<char>(value);
    } else if (value < 0x800) {
        out += static_cast<char>(0xC0U | value >> 6U);
        tail(0);
    } else if (value < 0x10000) {
        out += static_cast<char>(0xE0U | value >> 12U);
        tail(6);
        tail(0);
    } else {
        out += static_cast<char>(0xF0U | value >> 18U);
        tail(12);
        tail(6);
        tail(0);
    }
}

/// Recursive descent; a failure sets `bad_` and everything after it is empty.
class Parser {
  public:
    explicit Parser(std::string_view text) : rest_(text) {}

    std::optional<PlainJson> document() {
        auto value = this->value(0);
        blanks();
        if (bad_ || !rest_.empty()) {
            return std::nullopt;
        }
        return value;
    }

  private:
    void blanks() {
        while (!rest_.empty() &&
               std::string_view(" \t\r\n").find(rest_.front()) != std::string_view::npos) {
            rest_.remove_prefix(1);
        }
    }
    bool take(std::string_view word) {
        if (!rest_.starts_with(word)) {
            return false;
        }
        rest_.remove_prefix(word.size());
        return true;
    }
    char next() {
        if (rest_.empty()) {
            bad_ = true;
            return '\0';
        }
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }

    PlainJson value(int depth) {
        blanks();
        PlainJson result;
        if (take("null")) {
            return result;
        }
        if (take("true") || take("false")) {
            result.kind = PlainJson::Kind::boolean;
        } else if (take("\"")) {
            result.kind = PlainJson::Kind::string;
            result.text = string();
        } else if (take("[")) {
            result.kind = PlainJson::Kind::array;
            list(result, ']', depth + 1);
        } else if (take("{")) {
            result.kind = PlainJson::Kind::object;
            list(result, '}', depth + 1);
        } else {
            result.kind = PlainJson::Kind::number;
            result.text = number();
        }
        return result;
    }

    // At most 1,023 containers that hold something lie in one another.
    void list(PlainJson& result, char end, int depth) {
        const std::string_view closing(&end, 1);
        blanks();
        if (take(closing)) {
            return;
        }
        bad_ |= depth >= 1024;
        while (!bad_) {
            if (end == '}') {
                blanks();
                bad_ |= !take("\"");
                result.names.push_back(string());
                blanks();
                bad_ |= !take(":");
            }
            result.items.push_back(value(depth));
            blanks();
            if (take(closing)) {
                return;
            }
            bad_ |= !take(",");
        }
    }

    std::string string() {
        std::string out;
        while (!bad_) {
            const char c = next();
            if (c == '"') {
                break;
            }
            bad_ |= static_cast<unsigned char>(c) < 0x20;
            if (c == '\\') {
                escape(out);
            } else {
                out += c;
            }
        }
        return out;
    }

    void escape(std::string& out) {
        const char c = next();
        const std::string_view names = "\"\\/bfnrt";
        const auto known = names.find(c);
        if (c == 'u') {
            append_utf8(out, unicode_escape());
        } else if (known != std::string_view::npos) {
            out += "\"\\/\b\f\n\r\t"[known];
        } else {
            bad_ = true;
        }
    }

    unsigned unicode_escape() {
        const auto high = hexadecimal();
        if (high < 0xD800 || high > 0xDFFF) {
            return high;
        }
        bad_ |= high > 0xDBFF || !take("\\u");
        const auto low = hexadecimal();
        bad_ |= low < 0xDC00 || low > 0xDFFF;
        return 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00);
    }

    unsigned hexadecimal() {
        unsigned value = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = next();
            const auto digit = std::string_view("0123456789abcdefABCDEF").find(c);
            bad_ |= digit == std::string_view::npos;
            value = value * 16 + static_cast<unsigned>(digit < 16 ? digit : digit - 6);
        }
        return bad_ ? 0 : value;
    }

    std::string number() {
        const auto start = rest_;
        const auto digits = [this] {
            std::size_t count = 0;
            while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') {
                rest_.remove_prefix(1);
                ++count;
            }
            bad_ |= count == 0;
        };
        take("-");
        if (!take("0")) {
            digits();
        }
        if (take(".")) {
            digits();
        }
        if (take("e") || take("E")) {
            static_cast<void>(take("+") || take("-"));
            digits();
        }
        return std::string(start.substr(0, start.size() - rest_.size()));
    }

    std::string_view rest_;
    bool bad_ = false;
};

}  // namespace

std::optional<PlainJson> parse_json_slowly(std::string_view text) {
    if (!is_utf8(text)) {
        return std::nullopt;
    }
    return Parser(text).document();
}

}  // namespace kvbm::testing
