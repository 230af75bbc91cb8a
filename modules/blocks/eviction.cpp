module;

#include <array>
#include <cstddef>
#include <cstdint>

module kvbm.blocks;

import :eviction;

namespace kvbm::detail::blocks {

void InactivePool::audit_list(const SlotList& list, unsigned level, InvariantReport& report) const {
    std::uint32_t previous = no_index;
    std::size_t count = 0;
    for (std::uint32_t at = list.front(); at != no_index; at = slots_[at].next) {
        if (at >= slots_.size() || ++count > list.size()) {
            report.violations.push_back({"P2", {}, "an inactive list ends where its count says"});
            return;
        }
        const SlotWord word = slots_[at].word();
        if (slots_[at].prev != previous || word.mark() != level ||
            word.state() != BlockState::inactive) {
            report.violations.push_back({"P2", {at}, "an inactive list links inactive blocks"});
        }
        previous = at;
    }
    if (count != list.size()) {
        report.violations.push_back({"P2", {}, "an inactive list has as many blocks as counted"});
    }
}

void InactivePool::audit(InvariantReport& report) const {
    if (forest_) {
        forest_->audit(report);
        return;
    }
    std::size_t listed = 0;
    for (unsigned level = 0; level < levels_.size(); ++level) {
        audit_list(levels_[level], level, report);
        listed += levels_[level].size();
    }
    if (listed != listed_) {
        report.violations.push_back({"P2", {}, "the inactive pool counts its blocks"});
    }
}

}  // namespace kvbm::detail::blocks
