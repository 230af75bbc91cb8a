// Any script of touches leaves the sketch as the plain-array model says, in both layouts, and
// its estimates never fall short of the truth before a decay.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <kvbm/testing/rapidcheck.hpp>

import kvbm.frequency;
import kvbm.testing;

namespace {

using namespace kvbm::testing;

void fail_on(const std::optional<std::string>& difference) {
    if (difference) {
        RC_FAIL(*difference);
    }
}

RC_GTEST_PROP(TinyLfuSketch, agrees_with_a_plain_array, (const SketchOptions& options)) {
    const auto script = *rc::gen::resize(
        100, rc::gen::container<std::vector<SketchCommand>>(gen::sketch_command()));
    SketchHarness harness(options);

    for (const auto& command : script) {
        fail_on(harness.run(command));
    }

    fail_on(harness.compare_tables());
    RC_CLASSIFY(harness.model().decays_count() > 0, "decayed");
}

RC_GTEST_PROP(TinyLfuSketch, never_underestimates_before_a_decay, (bool compat)) {
    const auto keys =
        *rc::gen::resize(400, rc::gen::container<std::vector<std::size_t>>(gen::sketch_key()));
    kvbm::TinyLfuSketch sketch(64,
                               compat ? kvbm::SketchLayout::compat : kvbm::SketchLayout::blocked);
    std::map<std::size_t, std::uint32_t> counts;

    for (const std::size_t key : keys) {
        sketch.increment(sketch_hash(key));
        ++counts[key];
    }

    RC_PRE(keys.size() < 640);
    for (const auto& [key, count] : counts) {
        RC_ASSERT(sketch.estimate(sketch_hash(key)) >= std::min<std::uint32_t>(15, count));
    }
}

RC_GTEST_PROP(TinyLfuSketch, touching_one_key_never_lowers_another, (bool compat)) {
    kvbm::TinyLfuSketch sketch(1000,
                               compat ? kvbm::SketchLayout::compat : kvbm::SketchLayout::blocked);
    for (const std::size_t key :
         *rc::gen::resize(200, rc::gen::container<std::vector<std::size_t>>(gen::sketch_key()))) {
        std::vector<std::uint32_t> before;
        for (std::size_t other = 0; other < sketch_keys_count; ++other) {
            before.push_back(sketch.estimate(sketch_hash(other)));
        }

        sketch.increment(sketch_hash(key));

        for (std::size_t other = 0; other < sketch_keys_count; ++other) {
            RC_ASSERT(sketch.estimate(sketch_hash(other)) >= before[other]);
        }
    }
}

}  // namespace
