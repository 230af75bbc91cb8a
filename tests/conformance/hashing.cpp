// hashing.json: the hash functions and the packed hashes.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;
import kvbm.hash;

namespace kvbm::conformance {
namespace {

void replay_constants(const Fields& document, Report& report) {
    const std::array<Token, 2> tokens{};
    const std::array runs{MultimodalRun{.mm_hash = 1, .offset = 1, .length = 1}};
    const auto frames = block_bytes(tokens, 0, runs);
    check_vector(report, "constants", document.object("constants"), {},
                 {{"chain_seed", chain_seed},
                  {"mm_tag_token", frames.at(0)},
                  {"mm_tag_placeholder", frames.at(frames.size() / 2)}});
}

void replay_raw(const Fields& document, Report& report) {
    const Fields raw = document.object("raw");
    const auto buffer = raw.bytes("buffer_hex");
    const auto lengths = raw.numbers("lengths");
    if (std::ranges::any_of(lengths, [&](auto length) { return length > buffer.size(); })) {
        raw.refuse("has a length beyond its buffer");
    }
    for (const Fields& seed : raw.objects("by_seed")) {
        const std::uint64_t number = seed.hash64("seed");
        const Array& recorded = seed.elements("hashes");
        if (recorded.size() != lengths.size()) {
            seed.refuse("has not as many hashes as there are lengths");
        }
        if (document.trouble().any()) {
            return;
        }
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            const auto bytes = std::span(buffer).first(static_cast<std::size_t>(lengths[i]));
            report.record("raw", seed.path() + ".hashes[" + std::to_string(i) + "]",
                          differences(recorded[i], hex(block_hash_bytes(bytes, number).value),
                                      Ids::compared));
        }
    }
}

void replay_salt_hashes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("salt_hashes")) {
        const auto payload = vector.bytes("payload_hex");
        check_vector(report, "salt_hashes", vector, {"payload_hex"},
                     {{"salt_hash", hex(salt_hash(payload))}});
    }
}

void replay_block_hashes(const Fields& document, Report& report) {
    const Fields member = document.object("block_hashes");
    const auto salts = member.hashes64("salts");
    for (const Fields& vector : member.objects("lists")) {
        const auto tokens = vector.tokens("tokens");
        check_vector(report, "block_hashes", vector, {"tokens"},
                     {{"hashes", list(salts, [&](SaltHash salt) {
                           return hex(block_hash(tokens, salt).value);
                       })}});
    }
}

void replay_next_hashes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("next_sequence_hash")) {
        const ChainHash parent{vector.hash64("parent")};
        const BlockHash child{vector.hash64("child")};
        check_vector(report, "next_sequence_hash", vector, {"parent", "child"},
                     {{"next", hex(next_chain_hash(parent, child).value)}});
    }
}

Object accessors(const PositionalLineageHash& hash) {
    return {{"value", hex(hash)},
            {"mode", hash.mode()},
            {"position", hash.position()},
            {"current", hex(hash.current_chain_hash().value)},
            {"parent_fragment", hex(hash.parent_hash_fragment())},
            {"display", hash.to_string()}};
}

void replay_lineage_hashes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("plh_direct")) {
        const ChainHash current{vector.hash64("in_current")};
        const auto parent = vector.has("in_parent")
                                ? std::optional(ChainHash{vector.hash64("in_parent")})
                                : std::nullopt;
        const std::uint64_t position = vector.number("in_position");
        const auto made = PositionalLineageHash::make(current, parent, position);
        Object actual;
        if (!made) {
            actual = {{"err", made.error().message()}};
        } else {
            actual = accessors(*made);
            // The reference prints the same text for people and for debugging; there is one here.
            actual.push_back({"debug_eq_display", true});
            actual.push_back({"child_parent_fragment",
                              hex(made->parent_fragment_for_child_position(position + 1))});
        }
        if (made && vector.has("extend")) {
            const BlockHash child{vector.object("extend").hash64("child_block_hash")};
            const auto extended = made->extend(child);
            actual.push_back({"extend", Object{{"child_block_hash", hex(child.value)},
                                               {"value", extended ? hex(*extended)
                                                                  : extended.error().message()}}});
        }
        check_vector(report, "plh_direct", vector, {"in_current", "in_parent", "in_position"},
                     actual);
    }
}

void replay_lineage_roots(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("plh_root")) {
        const BlockHash block{vector.hash64("in_block_hash")};
        check_vector(report, "plh_root", vector, {"in_block_hash"},
                     accessors(PositionalLineageHash::root(block)));
    }
}

void replay_positional_hashes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("psh_direct")) {
        const ChainHash chain{vector.hash64("in_sequence_hash")};
        const BlockHash block{vector.hash64("in_local_block_hash")};
        const auto made = PositionalSequenceHash::make(chain, block, vector.number("in_position"));
        Object actual;
        if (!made) {
            actual = {{"err", made.error().message()}};
        } else {
            const std::uint64_t sequence_hash = made->chain_hash().value;
            const std::uint64_t fragment = made->block_hash_fragment();
            actual = {{"value", hex(*made)},
                      {"mode", made->mode()},
                      {"position", made->position()},
                      {"sequence_hash", hex(sequence_hash)},
                      {"local_block_hash", hex(fragment)},
                      // The reference's text for debugging, of the same accessors.
                      {"debug",
                       "PositionalSequenceHash { sequence_hash: " + std::to_string(sequence_hash) +
                           ", local_block_hash: " + std::to_string(fragment) +
                           ", position: " + std::to_string(made->position()) + " }"}};
        }
        check_vector(report, "psh_direct", vector,
                     {"in_sequence_hash", "in_local_block_hash", "in_position"}, actual);
    }
}

void replay_order(const Fields& document, Report& report) {
    const Fields vector = document.object("plh_order");
    auto hashes = vector.sequence_hashes("unsorted");
    std::ranges::sort(hashes);
    check_vector(report, "plh_order", vector, {"unsorted"},
                 {{"sorted", list(hashes, [](const auto& hash) { return hex(hash); })}});
}

void replay_run_checks(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("mm_validate")) {
        const auto sorted = validate_and_sort(vector.runs("runs"), vector.size("tokens_len"));
        const Object result = sorted ? Object{{"ok", recorded_runs(*sorted)}}
                                     : Object{{"err", recorded_runs_error(sorted.error(), "kind")}};
        check_vector(report, "mm_validate", vector, {"runs", "tokens_len"}, {{"res", result}});
    }
}

void replay_run_bytes(const Fields& document, Report& report) {
    for (const Fields& vector : document.objects("mm_bytes")) {
        const auto tokens = vector.tokens("tokens");
        const auto offset = vector.size("block_offset");
        const auto runs =
            validate_and_sort(vector.runs("runs"), std::numeric_limits<std::size_t>::max());
        if (!runs || offset > std::numeric_limits<std::size_t>::max() - tokens.size()) {
            vector.refuse("has runs or an offset that no sequence has");
            return;
        }
        const auto bytes = block_bytes(tokens, offset, *runs);
        check_vector(report, "mm_bytes", vector, {"tokens", "block_offset", "runs", "salt"},
                     {{"bytes_hex", hex_bytes(bytes)},
                      {"block_hash", hex(block_hash_bytes(bytes, vector.salt("salt")).value)}});
    }
}

constexpr std::array hashing_members{MemberReplay{"block_hashes", replay_block_hashes},
                                     MemberReplay{"constants", replay_constants},
                                     MemberReplay{"long_sequence", replay_long_sequence},
                                     MemberReplay{"mm_bytes", replay_run_bytes},
                                     MemberReplay{"mm_sequences", replay_multimodal_sequences},
                                     MemberReplay{"mm_validate", replay_run_checks},
                                     MemberReplay{"next_sequence_hash", replay_next_hashes},
                                     MemberReplay{"plh_direct", replay_lineage_hashes},
                                     MemberReplay{"plh_order", replay_order},
                                     MemberReplay{"plh_root", replay_lineage_roots},
                                     MemberReplay{"psh_direct", replay_positional_hashes},
                                     MemberReplay{"raw", replay_raw},
                                     MemberReplay{"salt_hashes", replay_salt_hashes},
                                     MemberReplay{"sequences", replay_sequences},
                                     MemberReplay{"serde", replay_encodings},
                                     MemberReplay{"serde_decode_json", replay_decoded_json},
                                     MemberReplay{"serde_decode_msgpack", replay_decoded_msgpack}};

}  // namespace

Object recorded_runs_error(const MultimodalError& error, std::string_view kind_member) {
    const auto [kind, members] = std::visit(
        [](const auto& reason) -> std::pair<const char*, Object> {
            using Reason = std::decay_t<decltype(reason)>;
            if constexpr (std::is_same_v<Reason, MultimodalError::EmptyRun>) {
                return {"EmptyRun", {}};
            } else if constexpr (std::is_same_v<Reason, MultimodalError::OffsetOverflow>) {
                return {"OffsetOverflow", {{"offset", reason.offset}, {"length", reason.length}}};
            } else if constexpr (std::is_same_v<Reason, MultimodalError::OutOfBounds>) {
                return {"OutOfBounds",
                        {{"offset", reason.offset},
                         {"length", reason.length},
                         {"tokens_len", reason.count}}};
            } else {
                return {"Overlapping", {{"position", reason.position}}};
            }
        },
        error.reason);
    Object recorded = members;
    recorded.push_back({std::string(kind_member), kind});
    recorded.push_back({"msg", error.message()});
    return recorded;
}

Value recorded_runs(std::span<const MultimodalRun> runs) {
    return list(runs, [](const MultimodalRun& run) {
        return Object{
            {"mm_hash", hex(run.mm_hash)}, {"offset", run.offset}, {"length", run.length}};
    });
}

void replay_members(const Fields& document, Report& report, std::span<const MemberReplay> known) {
    for (const Member& member : *document.value().as<Object>()) {
        if (member.name == "header") {
            continue;
        }
        const auto found = std::ranges::find(known, member.name, &MemberReplay::name);
        if (found == known.end()) {
            document.trouble().report("unknown member \"" + member.name + "\"");
            return;
        }
        found->replay(document, report);
        if (document.trouble().any()) {
            return;
        }
    }
}

void replay_hashing(const Fields& document, Report& report) {
    replay_members(document, report, hashing_members);
}

}  // namespace kvbm::conformance
