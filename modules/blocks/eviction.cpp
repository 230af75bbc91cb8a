module;

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks;

import :eviction;

namespace kvbm::detail::blocks {

void InactivePool::audit_list(const SlotList& list, unsigned level, InvariantReport& report) const {
    std::uint32_t previous = no_index;
    std::uint64_t earlier = 0;
    std::size_t count = 0;
    for (std::uint32_t at = list.front(); at != no_index; at = slots_[at].next) {
        if (at >= slots_.size() || ++count > list.size()) {
            report.violations.push_back({"P12", {}, "an inactive list ends where its count says"});
            return;
        }
        const SlotWord word = slots_[at].word();
        if (slots_[at].prev != previous || word.mark() != level ||
            word.state() != BlockState::inactive) {
            report.violations.push_back({"P2", {at}, "an inactive list links inactive blocks"});
        }
        if (slots_[at].since < earlier) {
            report.violations.push_back({"P5", {at}, "the earliest inserted block comes first"});
        }
        earlier = slots_[at].since;
        previous = at;
    }
    if (count != list.size()) {
        report.violations.push_back({"P12", {}, "an inactive list has as many blocks as counted"});
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
        report.violations.push_back(
            {"P12", {}, "the inactive lists have as many blocks as counted"});
    }
}

}  // namespace kvbm::detail::blocks
