// A user of the component testing: properties of a wrapper of his own, and scripts on the models.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <rapidcheck.h>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm;

namespace {

namespace gen = kvbm::testing::gen;

// Keeps the blocks of the prompts used last; a prompt larger than the cache is refused.
class PrefixCache {
  public:
    explicit PrefixCache(std::size_t blocks)
        : manager_(kvbm::must(kvbm::BlockManager<kvbm::G2>::builder()
                                  .registry(kvbm::BlockRegistry())
                                  .block_count(blocks)
                                  .block_size(2)
                                  .with_lru_backend()
                                  .build())) {}

    bool keep(const kvbm::BlockSequence& prompt) {
        auto known = manager_.match_blocks(prompt.all_sequence_hashes());
        const auto rest = prompt.blocks().subspan(known.size());
        auto fresh = manager_.allocate_blocks(rest.size());
        if (!fresh) {
            return false;
        }
        kvbm::must(manager_.register_blocks(kvbm::must(std::move(*fresh).complete_all(rest))));
        return true;
    }
    std::size_t known_blocks(std::span<const kvbm::SequenceHash> hashes) {
        return manager_.match_blocks(hashes).size();
    }
    const kvbm::BlockManager<kvbm::G2>& manager() const { return manager_; }

  private:
    kvbm::BlockManager<kvbm::G2> manager_;
};

bool cache_holds_its_law() {
    return rc::check("what was kept last is found whole, and nothing is lost or made", [] {
        const std::size_t capacity = 1 + *gen::below(8);
        const auto prompts =
            *rc::gen::container<std::vector<std::vector<kvbm::Token>>>(gen::tokens_up_to(20));
        PrefixCache cache(capacity);
        for (const auto& tokens : prompts) {
            const kvbm::BlockSequence prompt(tokens, 2);
            const bool kept = cache.keep(prompt);
            RC_ASSERT(kept == (prompt.blocks().size() <= capacity));
            RC_ASSERT(!kept ||
                      cache.known_blocks(prompt.all_sequence_hashes()) == prompt.blocks().size());
            RC_ASSERT(cache.manager().available_blocks() == capacity);
            RC_ASSERT(cache.manager().check_invariants().ok());
        }
    });
}

bool unknown_chains_are_not_found() {
    return rc::check("no chain is found in an empty cache", [] {
        const auto chain = *gen::hash_chain(12);
        PrefixCache cache(4);
        RC_ASSERT(chain.size() <= 12);
        RC_ASSERT(cache.known_blocks(chain) == 0);
        for (std::size_t i = 1; i < chain.size(); ++i) {
            const bool follows = chain[i - 1].is_parent_of(chain[i]);
            RC_ASSERT(follows);
        }
    });
}

// What no generator draws again: commands of every alphabet, through rc::Arbitrary.
bool scripts_agree_with_their_models() {
    using namespace kvbm::testing;
    const auto fail_on = [](const std::optional<std::string>& difference) {
        if (difference) {
            RC_FAIL(*difference);
        }
    };
    const bool pools =
        rc::check([&](const PoolOptions& options, const std::vector<PoolCommand>& script) {
            PoolHarness harness(options);
            for (const auto& command : script) {
                fail_on(harness.run(command));
            }
            fail_on(harness.finish());
        });
    const bool sequences =
        rc::check([&](const TokenOptions& options, const std::vector<TokenCommand>& script) {
            TokenHarness harness(options);
            for (const auto& command : script) {
                if (harness.model().allows(command)) {
                    fail_on(harness.run(command));
                }
            }
            fail_on(harness.compare());
        });
    const bool trackers = rc::check(
        [&](const AssignmentOptions& options, const std::vector<AssignmentCommand>& script) {
            AssignmentHarness harness(options);
            AssignmentModels models(options);
            for (const auto& command : script) {
                fail_on(harness.run(command, models));
                models.apply(harness.workload(), command);
            }
        });
    const bool sketches =
        rc::check([&](const SketchOptions& options, const std::vector<SketchCommand>& script) {
            SketchHarness harness(options);
            for (const auto& command : script) {
                fail_on(harness.run(command));
            }
            fail_on(harness.compare_tables());
        });
    return pools && sequences && trackers && sketches;
}

template <class Value>
std::string shown(const Value& value) {
    std::ostringstream text;
    rc::show(value, text);
    return text.str();
}

bool values_show_themselves() {
    using namespace kvbm::testing;
    const PoolCommand command = Allocate{.pool = 1, .count = 3};
    return shown(command) == "allocate 1 3" && shown(PoolOptions{}) == to_string(PoolOptions{}) &&
           shown(kvbm::MultimodalRun{7, 1, 2}) == "{object 7, [1, +2)}";
}

}  // namespace

int main() {
    const bool good = cache_holds_its_law() && unknown_chains_are_not_found() &&
                      scripts_agree_with_their_models() && values_show_themselves();
    return good ? 0 : 1;
}
