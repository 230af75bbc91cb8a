// Values that differ in one field are not equal. Tests and users compare results, errors, events
// and snapshots: a comparison that forgot a field would agree too often.
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <tl/expected.hpp>

#include "told_apart.h"

import kvbm;

namespace {

using namespace kvbm;
using kvbm_test::expect_told_apart_by;

SequenceHash root(std::uint64_t block) {
    return SequenceHash::root(BlockHash{block});
}

TEST(Values, of_hashes_are_told_apart) {
    EXPECT_TRUE(ChainHash{1} < ChainHash{2});
    EXPECT_FALSE(ChainHash{2} < ChainHash{1});
    EXPECT_FALSE(ChainHash{2} < ChainHash{2});
    EXPECT_TRUE(root(1) != root(2));
    EXPECT_TRUE((root(1) <=> root(1)) == std::strong_ordering::equal);
    EXPECT_TRUE((root(1) <=> root(2)) == (0 <=> (root(2) <=> root(1))));
    const auto first = must(PositionalSequenceHash::make(ChainHash{1}, BlockHash{1}, 0));
    EXPECT_FALSE(first == must(PositionalSequenceHash::make(ChainHash{2}, BlockHash{1}, 0)));
    EXPECT_FALSE(first == must(PositionalSequenceHash::make(ChainHash{1}, BlockHash{1}, 1)));
    expect_told_apart_by(
        PositionTooLarge{5, 9}, [](auto& e) { e.position = 6; }, [](auto& e) { e.limit = 8; });
    expect_told_apart_by(
        MultimodalRun{1, 2, 3}, [](auto& r) { r.mm_hash = 0; }, [](auto& r) { r.offset = 0; },
        [](auto& r) { r.length = 0; });
    expect_told_apart_by(
        MultimodalError::OffsetOverflow{1, 2}, [](auto& e) { e.offset = 0; },
        [](auto& e) { e.length = 0; });
    expect_told_apart_by(
        MultimodalError::OutOfBounds{1, 2, 3}, [](auto& e) { e.offset = 0; },
        [](auto& e) { e.length = 0; }, [](auto& e) { e.count = 0; });
}

TEST(Values, of_tokens_are_told_apart) {
    const std::vector<Token> tokens{1, 2, 3, 4, 5};
    const std::vector<Token> others{1, 2, 3, 4, 6};
    const TokenBlockSequence sequence(tokens, 2);
    EXPECT_TRUE(sequence == TokenBlockSequence(tokens, 2));
    EXPECT_FALSE(sequence == TokenBlockSequence(others, 2));
    EXPECT_FALSE(sequence == TokenBlockSequence(tokens, 4));
    EXPECT_FALSE(sequence.blocks()[0] == sequence.blocks()[1]);
    EXPECT_TRUE(sequence.blocks()[0].next_block() == sequence.blocks()[0].next_block());
    EXPECT_FALSE(sequence.blocks()[0].next_block() == sequence.blocks()[1].next_block());
}

TEST(Values, of_trackers_are_told_apart) {
    expect_told_apart_by(
        Assignment{1, root(1)}, [](auto& a) { a.id = 2; }, [](auto& a) { a.hash = root(2); });
    expect_told_apart_by(
        ZippedBlocks{1, 2, 3}, [](auto& z) { z.position = 0; }, [](auto& z) { z.first = 0; },
        [](auto& z) { z.second = 0; });
    expect_told_apart_by(
        BlockSequenceError::OrderingViolation{1, 2, 3, 4}, [](auto& e) { e.known_id = 0; },
        [](auto& e) { e.new_id = 0; }, [](auto& e) { e.known_index = 0; },
        [](auto& e) { e.first_new_index = 0; });
    expect_told_apart_by(
        BlockSequenceError::PositionMismatch{1, 2, 3}, [](auto& e) { e.expected = 0; },
        [](auto& e) { e.actual = 0; }, [](auto& e) { e.block_id = 0; });
}

TEST(Values, of_requests_are_told_apart) {
    namespace event = sequence_event;
    const auto no_tokens = [](auto& s) { s.num_tokens = 0; };
    const auto no_blocks = [](auto& s) { s.blocks_allocated = 0; };
    expect_told_apart_by(PrefillScheduled{1, 2}, no_tokens, no_blocks);
    expect_told_apart_by(DecodeScheduled{1}, no_blocks);
    expect_told_apart_by(SpeculativeScheduled{1, 2}, no_tokens, no_blocks);
    expect_told_apart_by(event::PrefillScheduled{1, 2}, no_tokens, no_blocks);
    expect_told_apart_by(event::DecodeScheduled{1}, no_blocks);
    expect_told_apart_by(event::SpeculativeScheduled{1, 2}, no_tokens, no_blocks);
    expect_told_apart_by(
        event::Created{1, 2, 3}, [](auto& e) { e.num_input_tokens = 0; },
        [](auto& e) { e.max_output_tokens = 0; }, [](auto& e) { e.block_size = 0; });
    expect_told_apart_by(
        event::PrefillApplied{1, 2, true}, no_tokens, [](auto& e) { e.blocks_registered = 0; },
        [](auto& e) { e.token_emitted = false; });
    expect_told_apart_by(
        event::DecodeApplied{1, true}, [](auto& e) { e.token = 0; },
        [](auto& e) { e.block_completed = false; });
    expect_told_apart_by(
        event::SpeculativeApplied{1, 2, 3}, [](auto& e) { e.accepted = 0; },
        [](auto& e) { e.scheduled = 0; }, [](auto& e) { e.blocks_released = 0; });
    expect_told_apart_by(
        event::Reacquired{1, true}, [](auto& e) { e.prefix_matched = 0; },
        [](auto& e) { e.success = false; });
}

TEST(Values, of_events_and_metrics_are_told_apart) {
    expect_told_apart_by(
        CacheEvent{EventKind::stored, 1, root(1), std::nullopt},
        [](auto& e) { e.kind = EventKind::removed; }, [](auto& e) { e.number = 2; },
        [](auto& e) { e.hash = root(2); }, [](auto& e) { e.tier = tier_id<DefaultTier>(); });
    expect_told_apart_by(
        Drained{1, 2, false}, [](auto& d) { d.count = 0; }, [](auto& d) { d.missed = 0; },
        [](auto& d) { d.closed = true; });
    expect_told_apart_by(
        MetricsSnapshot{}, [](auto& s) { s.allocations = 1; },
        [](auto& s) { s.allocations_from_reset = 1; }, [](auto& s) { s.evictions = 1; },
        [](auto& s) { s.registrations = 1; }, [](auto& s) { s.duplicate_blocks = 1; },
        [](auto& s) { s.registration_dedup = 1; }, [](auto& s) { s.stagings = 1; },
        [](auto& s) { s.match_hashes_requested = 1; }, [](auto& s) { s.match_blocks_returned = 1; },
        [](auto& s) { s.scan_hashes_requested = 1; }, [](auto& s) { s.scan_blocks_returned = 1; },
        [](auto& s) { s.eager_primary_to_inactive_total = 1; },
        [](auto& s) { s.allocate_atomic_rollback_total = 1; },
        [](auto& s) { s.release_primary_noop_total = 1; },
        [](auto& s) { s.release_duplicate_noop_total = 1; },
        [](auto& s) { s.inflight_mutable = 1; }, [](auto& s) { s.inflight_immutable = 1; },
        [](auto& s) { s.reset_pool_size = 1; }, [](auto& s) { s.inactive_pool_size = 1; });
    expect_told_apart_by(
        StatsSnapshot{}, [](auto& s) { s.allocation_rate = 1; },
        [](auto& s) { s.eviction_rate = 1; }, [](auto& s) { s.match_hit_rate = 1; },
        [](auto& s) { s.scan_hit_rate = 1; }, [](auto& s) { s.allocation_gradient = 1; },
        [](auto& s) { s.eviction_gradient = 1; }, [](auto& s) { s.inflight_mutable = 1; },
        [](auto& s) { s.inflight_immutable = 1; }, [](auto& s) { s.reset_pool_size = 1; },
        [](auto& s) { s.inactive_pool_size = 1; });
}

TEST(Values, of_managers_are_told_apart) {
    const auto manager = [] {
        return must(BlockManager<>::builder().block_count(2).registry(BlockRegistry()).build());
    };
    auto first = manager();
    const auto second = manager();
    EXPECT_TRUE(first.id() == first.id());
    EXPECT_FALSE(first.id() == second.id());
    EXPECT_TRUE(first.id() < second.id());
    EXPECT_FALSE(second.id() < first.id());
    auto blocks = first.allocate_blocks(2);
    ASSERT_TRUE(blocks.has_value());
    EXPECT_TRUE(blocks->begin() == blocks->begin());
    EXPECT_FALSE(blocks->begin() == blocks->end());
}

}  // namespace
