// The recorded trace that comes with the sources is read whole, and holds what its description
// says: the facts of replay.md 5.
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

import kvbm.replay;

namespace {

const std::string path = KVBM_SOURCE_DIR "/data/mooncake_conversation_trace.jsonl";

std::string file_bytes() {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
}

TEST(ReadTrace, conversation_trace_is_read_whole) {
    const auto trace = kvbm::must(kvbm::read_trace(path));

    EXPECT_EQ(trace.path, path);
    EXPECT_EQ(trace.format, kvbm::TraceFormat::mooncake);
    EXPECT_EQ(trace.sha256, "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df");
    EXPECT_EQ(trace.block_size, 512u);
    EXPECT_FALSE(trace.synthesised);
    EXPECT_EQ(trace.requests.size(), 12'031u);
    EXPECT_EQ(trace.ids.size(), 288'500u);
    EXPECT_EQ(trace.skipped_lines + trace.blank_lines + trace.empty_rows, 0u);
}

TEST(InspectTrace, conversation_trace_has_the_published_facts) {
    const auto facts = kvbm::inspect_trace(kvbm::must(kvbm::read_trace(path)));

    EXPECT_EQ(facts.requests, 12'031u);
    EXPECT_EQ(facts.block_references, 288'500u);
    EXPECT_EQ(facts.distinct_blocks, 182'790u);
    EXPECT_EQ(facts.distinct_ids, 182'790u);
    EXPECT_EQ(facts.smallest_id, 0u);
    EXPECT_EQ(facts.largest_id, 182'789u);
    EXPECT_EQ(facts.input_tokens, 144'793'823u);
    EXPECT_EQ(facts.first_time_ms, 0);
    EXPECT_EQ(facts.span_ms, 3'536'999);
    EXPECT_EQ(facts.blocks_per_request.p50, 14u);
    EXPECT_EQ(facts.blocks_per_request.p99, 167u);
    EXPECT_EQ(facts.blocks_per_request.max, 247u);
    EXPECT_EQ(facts.references, (kvbm::ReferenceHistogram{138'646, 25'455, 17'348, 1'341}));
    EXPECT_EQ(facts.blocks_in_every_request, 1u);
    EXPECT_EQ(facts.reuses, 105'710u);
    EXPECT_EQ(facts.times_backwards, 0u);
    EXPECT_EQ(facts.requests_repeating_ids, 0u);
    EXPECT_EQ(facts.ids_under_two_parents, 0u);
    EXPECT_EQ(facts.requests_without_partial_block, 0u);
}

TEST(WriteMooncake, conversation_trace_comes_back_byte_for_byte) {
    std::ostringstream written;

    kvbm::write_mooncake(kvbm::must(kvbm::read_trace(path)), written);

    EXPECT_EQ(written.str(), file_bytes());
}

TEST(ParseTrace, bytes_in_memory_are_read_as_the_file_is) {
    const auto bytes = file_bytes();

    const auto parsed = kvbm::must(kvbm::parse_trace(bytes, path));
    const auto read = kvbm::must(kvbm::read_trace(path));

    EXPECT_EQ(parsed.requests, read.requests);
    EXPECT_EQ(parsed.ids, read.ids);
    EXPECT_EQ(parsed.sha256, read.sha256);
}

TEST(ReadTrace, limit_keeps_the_first_requests_and_hashes_the_whole_file) {
    const auto trace = kvbm::must(kvbm::read_trace(path, {.limit = 2}));

    EXPECT_EQ(trace.requests.size(), 2u);
    EXPECT_EQ(trace.ids.size(), 29u);
    EXPECT_EQ(trace.sha256, "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df");
}

}  // namespace
