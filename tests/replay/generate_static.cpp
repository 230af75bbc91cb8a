// The random numbers of replay.md 2.2 and 3, checked by the compiler: mix, the stream, the ids of
// sessions.
#include <cstdint>

#include <gtest/gtest.h>

import kvbm.replay;

namespace {

static_assert(kvbm::mix(0) == 0xe220a8397b1dcdafU);

static_assert(kvbm::session_block_id(1, 0, 0) == 0xb18a02f46d8d86c3U);
static_assert(kvbm::session_block_id(1, 0, 1) == 0x6c5795e14b3b7e33U);
static_assert(kvbm::session_block_id(1, 0, 2) == 0x1cf38a51a82265f3U);
static_assert(kvbm::session_block_id(1, 1, 0) == 0x5775264a9a7e1b09U);
static_assert(kvbm::session_block_id(1, kvbm::shared_session, 0) == 0x52cf158abcfc0039U);

constexpr bool stream_of_seed_1_begins_as_specified() {
    kvbm::SplitMix64 random(1);
    return random.next() == 0x910a2dec89025cc1U && random.next() == 0xbeeb8da1658eec67U &&
           random.next() == 0xf893a2eefb32555eU && random.next() == 0x71c18690ee42c90bU;
}
static_assert(stream_of_seed_1_begins_as_specified());

constexpr std::uint64_t first_uniform(std::uint64_t n) {
    return kvbm::SplitMix64(1).uniform(n);
}
static_assert(first_uniform(0) == 0);
static_assert(first_uniform(1) == 0);
static_assert(first_uniform(16) == 0x9);  // the draw's highest four bits
static_assert(first_uniform(1U << 16U) == 0x910a);
static_assert(first_uniform(100) == 56);  // 0x910a... is 0.5665 of 2^64

TEST(SplitMix64, is_checked_by_the_compiler) {
    SUCCEED();
}

}  // namespace
