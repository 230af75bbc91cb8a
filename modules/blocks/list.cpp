module;

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

module kvbm.blocks;

namespace kvbm::detail::blocks {

void RawList::reserve_more(std::size_t more) {
    if (guards_.size() + more <= guards_.capacity()) {
        return;
    }
    if (head_ > 0 && size() + more <= guards_.capacity() && head_ >= size()) {
        // As many were taken from the front as are left, so closing the gap is paid for.
        guards_.erase(guards_.begin(), guards_.begin() + static_cast<std::ptrdiff_t>(head_));
        head_ = 0;
        return;
    }
    std::vector<RawGuard> larger;
    larger.reserve(std::max(size() + more, 2 * size()));
    larger.assign(guards_.begin() + static_cast<std::ptrdiff_t>(head_), guards_.end());
    guards_ = std::move(larger);
    head_ = 0;
}

RawGuard RawList::pop_back() noexcept {
    const RawGuard last = guards_.back();
    guards_.pop_back();
    return last;
}

void RawList::append(RawList&& other) {
    if (empty() && guards_.capacity() < other.size()) {
        std::swap(guards_, other.guards_);
        std::swap(head_, other.head_);
    } else {
        reserve_more(other.size());
        guards_.insert(guards_.end(), other.data(), other.data() + other.size());
    }
    other.forget();
}

RawList RawList::split_off(std::size_t first) {
    RawList tail;
    tail.guards_.assign(data() + first, data() + size());
    guards_.resize(head_ + first);
    return tail;
}

RawList RawList::take_front(std::size_t count) {
    if (count == size()) {
        return std::move(*this);
    }
    RawList front;
    front.guards_.assign(data(), data() + count);
    head_ += count;
    return front;
}

}  // namespace kvbm::detail::blocks
