module;

#include <array>
#include <cstddef>
#include <cstdint>

module kvbm.testing;

import kvbm.blocks;

namespace kvbm::testing {

namespace {

struct HashRow {
    std::uint64_t position;
    std::uint64_t chain;
    std::uint64_t parent = 0;
};

/// A number with the given bits far above those that a table or a child may keep of it.
constexpr std::uint64_t high(std::uint64_t bits, unsigned shift, std::uint64_t low) {
    return bits << shift | low;
}

constexpr std::array<HashRow, pool_hashes_count> rows{{
    // A tree of two branches, and another root.
    {0, 0x10},
    {1, 0x11, 0x10},
    {2, 0x12, 0x11},
    {3, 0x13, 0x12},
    {1, 0x21, 0x10},
    {2, 0x22, 0x21},
    {2, 0x23, 0x21},
    {0, 0x30},
    // Three hashes share a lineage key at position 5: equal chain hashes under two parents, and
    // chain hashes that differ above the 54 bits a child stores. Children and a grandchild below.
    {4, 0x110, 1},
    {4, 0x120, 1},
    {5, 0xAA, 0x110},
    {5, 0xAA, 0x120},
    {5, high(1, 54, 0xAA), 0x110},
    {6, 0x131, 0xAA},
    {6, 0x132, 0xAA},
    {7, 0x141, 0x131},
    // Across positions 255 and 256: two chains that are apart at 254, share a key at 255, where a
    // child stores 46 bits, and the children.
    {253, 0x200, 1},
    {254, high(1, 50, 0x201), 0x200},
    {254, high(2, 50, 0x201), 0x200},
    {255, high(1, 50, 0x202), high(1, 50, 0x201)},
    {255, high(2, 50, 0x202), high(2, 50, 0x201)},
    {256, 0x203, high(1, 50, 0x202)},
    {256, 0x204, high(2, 50, 0x202)},
    {257, 0x205, 0x203},
    // Across positions 65535 and 65536: the same with 38 bits.
    {65533, 0x300, 1},
    {65534, high(1, 40, 0x301), 0x300},
    {65534, high(2, 40, 0x301), 0x300},
    {65535, high(1, 40, 0x302), high(1, 40, 0x301)},
    {65535, high(2, 40, 0x302), high(2, 40, 0x301)},
    {65536, 0x303, high(1, 40, 0x302)},
    {65536, 0x304, high(2, 40, 0x302)},
    {65537, 0x305, 0x303},
    // Equal in the 38 bits that the index looks at: roots, chains, far positions.
    {0, high(1, 38, 0x55)},
    {0, high(2, 38, 0x55)},
    {1, 0x55, high(1, 38, 0x55)},
    {1, high(3, 38, 0x55), high(2, 38, 0x55)},
    {2, high(1, 38, 0x55), 0x55},
    {300, 0x55, 1},
    {70000, high(1, 38, 0x55), 1},
    {70001, 0x55, high(1, 38, 0x55)},
    // Odd ones: children of the hash that is all zero, a root with a parent, its child, the last
    // position and the one before, one whose parent is nowhere.
    {0, 0},
    {1, 0x400, 0},
    {1, 0x401, 0},
    {0, 0x410, 0x999},
    {1, 0x411, 0x410},
    {SequenceHash::max_position - 1, 0x420, 1},
    {SequenceHash::max_position, 0x421, 0x420},
    {9, 0x430, 0x431},
    // A chain.
    {0, 0x500},
    {1, 0x501, 0x500},
    {2, 0x502, 0x501},
    {3, 0x503, 0x502},
    {4, 0x504, 0x503},
    {5, 0x505, 0x504},
    {6, 0x506, 0x505},
    {7, 0x507, 0x506},
    // A root with five children, two of which have a child.
    {0, 0x600},
    {1, 0x601, 0x600},
    {1, 0x602, 0x600},
    {1, 0x603, 0x600},
    {1, 0x604, 0x600},
    {1, 0x605, 0x600},
    {2, 0x611, 0x601},
    {2, 0x612, 0x602},
}};

}  // namespace

SequenceHash pool_hash(std::size_t index) {
    const HashRow& row = rows[index % rows.size()];
    return must(SequenceHash::make(ChainHash{row.chain}, ChainHash{row.parent}, row.position));
}

}  // namespace kvbm::testing
