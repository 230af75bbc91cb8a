module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

module kvbm.blocks;

import :store;

namespace kvbm::detail::blocks {

namespace {

using Requests = std::span<const std::span<const SequenceHash>>;

/// Finds the hashes of a small pool, where to look ahead would cost more than it brings.
class PlainFinder {
  public:
    explicit PlainFinder(const Store& store) noexcept : store_(store) {}
    void begin(std::size_t) noexcept {}
    std::uint32_t find(const SequenceHash& hash) noexcept { return store_.find(hash); }
    void leave(std::size_t, std::size_t) noexcept {}

  private:
    const Store& store_;
};

/// Finds the hashes of a large pool: takes those of all requests for one row, of which the index
/// lines are asked for `far` places and the slots `near` places ahead, over the ends of requests.
///
/// Behind a long request, of which nobody knows where it ends, the row does not reach in time; so
/// the first hashes of the two requests behind it are asked for when it begins.
class FinderAhead {
  public:
    FinderAhead(const Store& store, Requests requests) noexcept
        : store_(store), requests_(requests) {
        go_to(0);
    }

    /// Requests are begun one by one; all but empty ones.
    void begin(std::size_t request) noexcept {
        while (lines_ - walked_ < far && line_ != line_end_) {
            ask_for_line();
        }
        // Behind a head, candidates would wait for lines that are just being asked for.
        const std::size_t reach = request < heads_ ? head : near;
        while (slots_ - walked_ < reach && slots_ != lines_) {
            ask_for_next_slot();
        }
        if (request == line_request_) {
            ask_for_heads_behind(request);
        }
    }
    /// The slot of the next hash of the request, or no_index.
    std::uint32_t find(const SequenceHash& hash) noexcept {
        // One of each keeps the distances.
        const Probe probe = probes_[walked_++ % window];
        if (line_ != line_end_) {
            ask_for_line();
        }
        if (slots_ != lines_) {
            ask_for_next_slot();
        }
        return store_.find(hash, probe);
    }
    /// The request ends early, behind so many hashes.
    void leave(std::size_t request, std::size_t walked) noexcept {
        const auto hashes = requests_[request];
        if (request == line_request_) {
            walked_ += static_cast<std::size_t>(line_ - hashes.data()) - walked;
            go_to(request + 1);
        } else {
            walked_ += hashes.size() - walked;
        }
        slots_ = std::max(slots_, walked_);
    }

  private:
    static constexpr std::size_t far = 24;
    static constexpr std::size_t near = 12;
    static constexpr std::size_t window = 32;
    static constexpr std::size_t head = 8;

    void ask_for_line() noexcept {
        Probe& probe = probes_[lines_++ % window];
        probe = store_.index.probe(*line_);
        store_.index.prefetch(probe);
        if (++line_ == line_end_) {
            go_to(line_request_ + 1);
        }
    }
    void ask_for_next_slot() noexcept { ask_for_slot(probes_[slots_++ % window]); }
    void ask_for_slot(Probe probe) const noexcept {
        const std::uint32_t candidate = store_.index.candidate(probe);
        if (candidate != no_index) {
            __builtin_prefetch(&store_.slots[candidate], 1);
        }
    }
    void ask_for_heads_behind(std::size_t request) noexcept {
        for (heads_ = std::max(heads_, request + 1);
             heads_ < requests_.size() && heads_ <= request + 2; ++heads_) {
            for_head(heads_, [&](Probe probe) { store_.index.prefetch(probe); });
        }
        if (request + 1 < requests_.size()) {
            for_head(request + 1, [&](Probe probe) { ask_for_slot(probe); });
        }
    }
    template <class Ask>
    void for_head(std::size_t request, const Ask& ask) const noexcept {
        const auto hashes = requests_[request];
        for (const SequenceHash& hash : hashes.first(std::min(head, hashes.size()))) {
            ask(store_.index.probe(hash));
        }
    }
    /// Goes on with the lines of this request, or of the next that is not empty.
    void go_to(std::size_t request) noexcept {
        while (request < requests_.size() && requests_[request].empty()) {
            ++request;
        }
        line_request_ = request;
        const auto hashes =
            request < requests_.size() ? requests_[request] : std::span<const SequenceHash>();
        line_ = hashes.data();
        line_end_ = line_ + hashes.size();
    }

    const Store& store_;
    Requests requests_;
    std::array<Probe, window> probes_;
    // Hashes walked, with their slots asked for, with their lines asked for; those left included.
    std::size_t walked_ = 0;
    std::size_t slots_ = 0;
    std::size_t lines_ = 0;
    // The next hash whose line is to be asked for, and the request it is of.
    std::size_t line_request_ = 0;
    const SequenceHash* line_ = nullptr;
    const SequenceHash* line_end_ = nullptr;
    std::size_t heads_ = 0;  ///< requests whose first lines are asked for
};

/// A list that fell short of its request ends in a record of how far it came, for which there is
/// room in the place of the first miss.
RawGuard shortfall(std::size_t hits) noexcept {
    return {nullptr, hits, 0};
}
/// Takes the record away, if there is one. Gives the hits of the request.
std::size_t take_hits(std::span<const SequenceHash> hashes, RawList& list) noexcept {
    if (hashes.empty() || list.span().back().store != nullptr) {
        return hashes.size();
    }
    return static_cast<std::size_t>(list.pop_back().generation);
}

/// match() of each request, with the lock held. Gives all hits.
template <class Finder>
std::size_t match_each(Store& store, Requests requests, std::span<RawList> out, bool mark,
                       Finder finder) {
    std::size_t hits = 0;
    for (std::size_t request = 0; request < requests.size(); ++request) {
        const auto hashes = requests[request];
        if (hashes.empty()) {
            continue;
        }
        RawList& list = out[request];
        finder.begin(request);
        std::size_t found = 0;
        for (const SequenceHash& hash : hashes) {
            const std::uint32_t slot = finder.find(hash);
            if (slot == no_index) {
                finder.leave(request, found + 1);
                if (mark) {
                    list.push_back(shortfall(found));
                }
                break;
            }
            store.acquire(slot);
            list.push_back(store.guard_of(slot));
            ++found;
        }
        hits += found;
    }
    return hits;
}

}  // namespace

std::size_t Engine::match_many(Store& store, Requests requests, std::span<RawList> out) {
    std::size_t asked = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        out[i].reserve_more(requests[i].size());
        asked += requests[i].size();
    }
    if (asked == 0) {
        return 0;
    }
    const bool touches = store.registry.has_frequency_tracking();
    std::size_t hits = 0;
    {
        const Lock lock(store.mutex);
        store.inactive.reserve(store.held() + std::min(asked, store.inactive.size()));
        hits = store.prefetches
                   ? match_each(store, requests, out, touches, FinderAhead(store, requests))
                   : match_each(store, requests, out, touches, PlainFinder(store));
        store.counters.match_hashes_requested_add(asked);
        store.counters.match_blocks_returned_add(hits);
        store.publish_sizes();
    }
    store.counters.inflight_immutable_add(static_cast<std::int64_t>(hits));
    if (touches) {
        for (std::size_t i = 0; i < requests.size(); ++i) {
            const std::size_t own_hits = take_hits(requests[i], out[i]);
            if (own_hits != 0) {
                EngineAccess::touch_all(store.registry, requests[i].first(own_hits));
            }
        }
    }
    return hits;
}

}  // namespace kvbm::detail::blocks
