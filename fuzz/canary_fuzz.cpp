// Never crashes, and does: the harness has a bug of its own behind three commands in a row on a
// real block manager. A search that does not find it within 30 s searches nothing.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

import kvbm.blocks;
import kvbm.testing;

namespace {

using namespace kvbm;

class Canary {
  public:
    // One command. The fatal ones are to take seven blocks, to ask for hash 31 and to give all
    // blocks back; anything in between starts over.
    void run(testing::ByteReader& bytes) {
        const int seen = std::exchange(seen_, 0);
        switch (bytes.below(24)) {
            case 3: {
                const std::size_t count = bytes.below(16);
                auto blocks = manager_.allocate_blocks(count);
                if (blocks && count == 7) {
                    seen_ = 1;
                }
                if (blocks) {
                    taken_.push_back(std::move(*blocks));
                }
                break;
            }
            case 14: {
                const std::size_t number = bytes.below(64);
                const std::array hashes{SequenceHash::root(BlockHash{number})};
                if (manager_.match_blocks(hashes).empty() && number == 31 && seen == 1) {
                    seen_ = 2;
                }
                break;
            }
            case 15:
                taken_.clear();
                if (seen == 2) {
                    std::fprintf(stderr, "the canary sings\n");
                    std::abort();
                }
                break;
            default:
                break;
        }
    }

  private:
    BlockManager<> manager_ = must(
        BlockManager<>::builder().registry(BlockRegistry()).block_count(20).block_size(4).build());
    std::vector<MutableBlockList<DefaultTier>> taken_;
    int seen_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 4096) {
        return 0;
    }
    testing::ByteReader bytes({data, size});
    Canary canary;
    for (int i = 0; i < 256 && !bytes.empty(); ++i) {
        canary.run(bytes);
    }
    return 0;
}
