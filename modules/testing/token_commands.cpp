// Commands on token sequences out of bytes, and in words.
module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

module kvbm.testing;

import kvbm.tokens;

namespace kvbm::testing {

namespace {

// Both sides of XXH3's 240 bytes, as plain tokens (60, 61) and as frames (18, 19).
constexpr std::array<std::size_t, 12> block_sizes{4, 1, 2, 3, 5, 8, 16, 18, 19, 60, 61, 64};
constexpr std::array<std::uint64_t, 3> salts{0, 1337, std::numeric_limits<std::uint64_t>::max()};
constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();

// Mostly small ids; the bytes at the top give the largest ones.
Token decode_token(ByteReader& bytes) {
    const Token byte = bytes.u8();
    return byte < 240 ? byte : 0xffffff00U | byte;
}

std::vector<Token> decode_tokens(ByteReader& bytes, std::size_t count_limit) {
    std::vector<Token> tokens(bytes.below(count_limit));
    for (Token& token : tokens) {
        token = decode_token(bytes);
    }
    return tokens;
}

std::vector<MultimodalRun> decode_runs(ByteReader& bytes, std::size_t slots_count) {
    std::vector<MultimodalRun> runs(bytes.below(4));
    for (auto& run : runs) {
        run.mm_hash = bytes.u8();
        run.offset = bytes.below(slots_count + 2);
        const std::size_t length = bytes.below(16);
        run.length = length == 15 ? huge : length % 8;
    }
    return runs;
}

// Any count up to 255, or the largest there is.
std::size_t decode_count(ByteReader& bytes) {
    const std::size_t count = bytes.u8();
    return count == 255 ? huge : count;
}

// Lengths a sequence can hold, or ones that none can.
std::size_t decode_length(ByteReader& bytes) {
    const std::size_t length = bytes.below(40);
    switch (length) {
        case 39:
            return huge;
        case 38:
            return huge / 2 + 1;
        case 37:
            return std::size_t{1} << 40;
        default:
            return length;
    }
}

}  // namespace

TokenOptions decode_token_options(ByteReader& bytes) {
    TokenOptions options;
    options.block_size = block_sizes[bytes.below(block_sizes.size())];
    const std::size_t salt = bytes.below(salts.size() + 1);
    options.salt = salt < salts.size() ? salts[salt] : bytes.u64();
    options.tokens = decode_tokens(bytes, 40);
    options.runs = decode_runs(bytes, options.tokens.size());
    return options;
}

TokenCommand decode_token_command(ByteReader& bytes) {
    switch (bytes.below(16)) {
        case 0:
            return TokenPush{decode_token(bytes)};
        case 1:
        case 2:
        case 3:
            return TokenExtend{decode_tokens(bytes, 40)};
        case 4: {
            const std::uint64_t object = bytes.u8();
            return TokenPushRun{object, decode_length(bytes)};
        }
        case 5: {
            auto tokens = decode_tokens(bytes, 24);
            auto runs = decode_runs(bytes, tokens.size());
            return TokenExtendWithRuns{tokens, runs};
        }
        case 6:
            return TokenTruncate{decode_count(bytes)};
        case 7:
            return TokenUnwind{decode_count(bytes)};
        case 8:
        case 9:
            return TokenPop{};
        case 10:
            return TokenReset{};
        case 11: {
            const std::size_t first = decode_count(bytes);
            return TokenRange{{first, decode_count(bytes)}};
        }
        case 12:
            return TokenRebuild{};
        case 13: {
            const std::size_t dropped = bytes.below(8);
            return TokenCommitEnd{dropped, decode_tokens(bytes, 70)};
        }
        default:
            return TokenAppend{decode_token(bytes)};
    }
}

namespace {

std::string listed(const std::vector<Token>& tokens) {
    std::string text = "{";
    for (const Token token : tokens) {
        text += (text.size() > 1 ? " " : "") + std::to_string(token);
    }
    return text + "}";
}

std::string listed(const std::vector<MultimodalRun>& runs) {
    std::string text = "{";
    for (const auto& run : runs) {
        text += (text.size() > 1 ? " " : "") + std::to_string(run.mm_hash) + "@" +
                std::to_string(run.offset) + "+" + std::to_string(run.length);
    }
    return text + "}";
}

struct InWords {
    std::string operator()(const TokenAppend& c) const {
        return "append " + std::to_string(c.token);
    }
    std::string operator()(const TokenPush& c) const {
        return "push_token " + std::to_string(c.token);
    }
    std::string operator()(const TokenExtend& c) const { return "extend " + listed(c.tokens); }
    std::string operator()(const TokenPushRun& c) const {
        return "push_run " + std::to_string(c.mm_hash) + " " + std::to_string(c.length);
    }
    std::string operator()(const TokenExtendWithRuns& c) const {
        return "extend_with_runs " + listed(c.tokens) + " " + listed(c.runs);
    }
    std::string operator()(const TokenTruncate& c) const {
        return "truncate " + std::to_string(c.count);
    }
    std::string operator()(const TokenUnwind& c) const {
        return "unwind " + std::to_string(c.count);
    }
    std::string operator()(const TokenPop&) const { return "pop"; }
    std::string operator()(const TokenReset&) const { return "reset"; }
    std::string operator()(const TokenRange& c) const {
        return "tokens_at " + std::to_string(c.range.first) + " " + std::to_string(c.range.last);
    }
    std::string operator()(const TokenRebuild&) const { return "rebuild"; }
    std::string operator()(const TokenCommitEnd& c) const {
        return "commit_end " + std::to_string(c.dropped) + " " + listed(c.tokens);
    }
};

}  // namespace

std::string to_string(const TokenOptions& options) {
    return "block_size " + std::to_string(options.block_size) + " salt " +
           std::to_string(options.salt) + " " + listed(options.tokens) + " " + listed(options.runs);
}

std::string to_string(const TokenCommand& command) {
    return std::visit(InWords{}, command);
}

}  // namespace kvbm::testing
