// token_sequence_ops: operations on one token block sequence.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;
import kvbm.tokens;

namespace kvbm::conformance {
namespace {

const char* kind_of(const TokenBlockError& error) {
    constexpr std::array kinds{"Full",   "Incomplete",    "Empty",           "InsufficientTokens",
                               "MmInfo", "MmRunsPresent", "PositionTooLarge"};
    static_assert(kinds.size() == std::variant_size_v<decltype(error.reason)>);
    return kinds[error.reason.index()];
}

Object recorded_error(const TokenBlockError& error) {
    Object recorded;
    if (const auto* runs = std::get_if<TokenBlockError::MmInfo>(&error.reason)) {
        recorded = recorded_runs_error(runs->error, "mm_kind");
        std::erase_if(recorded, [](const Member& member) { return member.name == "msg"; });
    }
    recorded.push_back({"kind", kind_of(error)});
    recorded.push_back({"msg", error.message()});
    return recorded;
}

template <class T>
Value recorded_result(const Result<T, TokenBlockError>& result) {
    if (!result) {
        return Object{{"err", recorded_error(result.error())}};
    }
    if constexpr (std::is_void_v<T>) {
        return Object{{"ok", true}};
    } else {
        return Object{{"ok", *result}};
    }
}

class TokenSequenceMachine final : public Machine {
  public:
    explicit TokenSequenceMachine(TokenBlockSequence sequence) : sequence_(std::move(sequence)) {}

    Outcome perform(std::string_view operation, const Fields& args) override {
        Value result = apply(operation, args);
        return {.res = std::move(result), .st = state()};
    }

  private:
    Value apply(std::string_view operation, const Fields& args) {
        constexpr std::array operations{
            Operation{"append", &TokenSequenceMachine::append},
            Operation{"push_token", &TokenSequenceMachine::push_token},
            Operation{"extend", &TokenSequenceMachine::extend},
            Operation{"truncate", &TokenSequenceMachine::truncate},
            Operation{"unwind", &TokenSequenceMachine::unwind},
            Operation{"pop", &TokenSequenceMachine::pop},
            Operation{"try_pop", &TokenSequenceMachine::try_pop},
            Operation{"reset", &TokenSequenceMachine::reset},
            Operation{"tokens_at", &TokenSequenceMachine::tokens_at},
            Operation{"push_mm_run", &TokenSequenceMachine::push_run},
            Operation{"extend_with_mm", &TokenSequenceMachine::extend_with_runs},
            Operation{"mm_runs", &TokenSequenceMachine::runs},
            Operation{"block", &TokenSequenceMachine::block},
            Operation{"next_block", &TokenSequenceMachine::next_block},
            Operation{"rebuild_bulk", &TokenSequenceMachine::rebuild}};
        return dispatch(operations, *this, operation, args);
    }

    Value append(const Fields& args) {
        const Token token = args.token("token");
        return args.trouble().any() ? Value() : recorded_result(sequence_.append(token));
    }

    Value push_token(const Fields& args) {
        const Token token = args.token("token");
        return args.trouble().any() ? Value() : recorded_result(sequence_.push_token(token));
    }

    Value extend(const Fields& args) {
        const auto tokens = args.tokens("tokens");
        return args.trouble().any() ? Value() : recorded_result(sequence_.extend(tokens));
    }

    Value truncate(const Fields& args) {
        const std::size_t count = args.size("len");
        return args.trouble().any() ? Value() : recorded_result(sequence_.truncate(count));
    }

    Value unwind(const Fields& args) {
        const std::size_t count = args.size("count");
        return args.trouble().any() ? Value() : recorded_result(sequence_.unwind(count));
    }

    Value pop(const Fields&) {
        const auto popped = sequence_.pop();
        return popped ? Value(Object{{"token", *popped}}) : recorded_result(popped);
    }

    Value try_pop(const Fields&) { return recorded_result(sequence_.pop()); }

    Value reset(const Fields&) {
        sequence_.reset();
        return Object{{"ok", true}};
    }

    Value tokens_at(const Fields& args) {
        const IndexRange range{args.size("start"), args.size("end")};
        return Object{{"tokens", list(sequence_.tokens_at(range))}};
    }

    Value push_run(const Fields& args) {
        const auto object = args.hash64("mm_hash");
        const std::size_t length = args.size("length");
        return args.trouble().any() ? Value() : recorded_result(sequence_.push_run(object, length));
    }

    Value extend_with_runs(const Fields& args) {
        const auto tokens = args.tokens("tokens");
        const auto runs = args.runs("runs");
        return args.trouble().any() ? Value()
                                    : recorded_result(sequence_.extend_with_runs(tokens, runs));
    }

    Value runs(const Fields&) { return Object{{"runs", recorded_runs(sequence_.runs())}}; }

    Value block(const Fields& args) {
        const std::size_t index = args.size("index");
        if (index >= sequence_.blocks().size()) {
            args.refuse("names a block that is not there");
            return {};
        }
        const TokenBlock& named = sequence_.blocks()[index];
        const auto parent = named.parent_chain_hash();
        return Object{{"tokens", list(sequence_.block_tokens(index))},
                      {"position", named.position()},
                      {"block_hash", hex(named.block_hash().value)},
                      {"sequence_hash", hex(named.chain_hash().value)},
                      {"parent_sequence_hash", parent ? Value(hex(parent->value)) : Value()},
                      {"salt_hash", hex(named.salt_hash())},
                      {"psh", hex(named.positional_sequence_hash())},
                      {"plh", hex(named.sequence_hash())}};
    }

    Value next_block(const Fields&) {
        const TokenBlock* last = sequence_.last_complete_block();
        if (last == nullptr) {
            return Object{{"none", true}};
        }
        PartialTokenBlock next = last->next_block();
        const auto committed = next.commit();
        return Object{{"len", next.size()},
                      {"remaining", next.remaining()},
                      {"is_empty", next.empty()},
                      {"commit_err", committed ? Value() : recorded_error(committed.error())}};
    }

    Value rebuild(const Fields&) {
        const auto rebuilt = TokenBlockSequence::create_with_runs(
            sequence_.tokens(), sequence_.runs(), sequence_.block_size(), sequence_.salt_hash());
        if (!rebuilt) {
            return Object{{"err", recorded_error(rebuilt.error())}};
        }
        return Object{{"equal", *rebuilt == sequence_},
                      {"all_plh", list(rebuilt->blocks(), [](const TokenBlock& named) {
                           return hex(named.sequence_hash());
                       })}};
    }

    Value state() const {
        const TokenBlock* last = sequence_.last_complete_block();
        return Object{{"n", sequence_.total_tokens()},
                      {"blocks", sequence_.blocks().size()},
                      {"partial", list(sequence_.current_block().tokens())},
                      {"remaining", sequence_.current_block().remaining()},
                      {"plh", last != nullptr ? Value(hex(last->sequence_hash())) : Value()},
                      {"seq", last != nullptr ? Value(hex(last->chain_hash().value)) : Value()},
                      {"runs", sequence_.runs().size()}};
    }

    struct Operation {
        std::string_view name;
        Value (TokenSequenceMachine::*apply)(const Fields&);
    };

    TokenBlockSequence sequence_;
};

}  // namespace

Start start_token_sequence(const Fields&, const Fields& config) {
    const auto tokens = config.tokens("tokens");
    const auto runs = config.has("runs") ? config.runs("runs") : std::vector<MultimodalRun>{};
    const std::size_t block_size = config.size("block_size");
    const SaltHash salt = config.salt("salt");
    if (block_size == 0) {
        config.refuse("has block_size 0");
    }
    Start start;
    if (config.trouble().any()) {
        return start;
    }
    auto sequence = config.has("runs")
                        ? TokenBlockSequence::create_with_runs(tokens, runs, block_size, salt)
                        : TokenBlockSequence::create(tokens, block_size, salt);
    if (!sequence) {
        config.refuse("makes no sequence: " + sequence.error().message());
        return start;
    }
    start.machine = std::make_unique<TokenSequenceMachine>(std::move(*sequence));
    return start;
}

}  // namespace kvbm::conformance
