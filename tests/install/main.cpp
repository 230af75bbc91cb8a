// What a user of the library writes first: one import, then templates, inline functions and bodies
// from the archive.
#include <cstdio>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

import kvbm;

int main() {
    std::vector<kvbm::Token> tokens(10);
    std::iota(tokens.begin(), tokens.end(), 0u);
    const kvbm::BlockSequence prompt(tokens, 4);
    auto manager = kvbm::must(kvbm::BlockManager<kvbm::G2>::builder()
                                  .registry(kvbm::BlockRegistry())
                                  .block_count(3)
                                  .block_size(4)
                                  .build());
    auto named = kvbm::must(manager.allocate_blocks(2).value().complete_all(prompt.blocks()));
    const auto shared = kvbm::must(manager.register_blocks(std::move(named)));
    const auto hits = manager.match_blocks(prompt.all_sequence_hashes());
    const auto label = kvbm::tier_label<kvbm::G2>();
    std::printf("%.*s: %zu blocks\n", static_cast<int>(label.size()), label.data(), hits.size());
    return hits.size() == 2 && hits[0].block_id() == shared[0].block_id() && label == "G2" ? 0 : 1;
}
