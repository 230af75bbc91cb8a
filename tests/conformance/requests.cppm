//! kvbm.conformance:requests: requests as the recorded version keeps them.
//!
//! Its requests differ from ours in three ways, which are spelled here so that everything else can
//! be compared: the prefix counter adds up over matches, `reacquire` registers what it queued, and
//! under the reject policy the page list names candidates that were given back.
module;

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

module kvbm.conformance:requests;

import :managers;
import kvbm.blocks;
import kvbm.conformance;
import kvbm.core;
import kvbm.request;

namespace kvbm::conformance {

/// One request, and what the recorded version would have in the places where it differs.
class RecordedRequest {
  public:
    RecordedRequest(std::vector<Token> tokens, std::size_t max_output, std::size_t block_size)
        : request_(tokens, max_output, block_size) {}

    const RequestSequence<Tier>& sequence() const { return request_; }
    std::size_t held() const {
        return request_.assigned_blocks() + request_.staged_blocks() + request_.unassigned_blocks();
    }
    /// Blocks matched, added up over the matches.
    std::size_t prefix_matched() const { return prefix_matched_; }

    Result<std::size_t, RequestError<Tier>> match(BlockManager<Tier>& manager);
    bool allocate(std::size_t count, BlockManager<Tier>& manager);
    std::size_t stage_pending() { return request_.stage_pending(); }
    std::size_t register_staged(BlockManager<Tier>& manager);
    std::size_t complete_and_register(BlockManager<Tier>& manager);
    Result<std::optional<IndexRange>, RequestError<Tier>> append(std::span<const Token> tokens) {
        return request_.append_tokens(tokens);
    }
    void release();
    Result<bool, RequestError<Tier>> reacquire(BlockManager<Tier>& manager);
    std::size_t drop_excess_unassigned(std::size_t keep) {
        return request_.drop_excess_unassigned(keep);
    }

    /// What a recording says of a new request.
    Object created() const;
    /// The members of a recorded state that every request has.
    Object facts() const;

  private:
    template <class Register>
    std::size_t registered(const Register& register_blocks);

    RequestSequence<Tier> request_;
    std::size_t prefix_matched_ = 0;
    std::vector<BlockId> keys_;  // the recorded page list's names of the assigned blocks
};

/// The manager of a script of requests, and how its state is recorded.
class RequestsWorld {
  public:
    RequestsWorld(ReplayedManager replayed, MetricsOrder metrics)
        : replayed_(std::move(replayed)), metrics_(std::move(metrics)) {}

    BlockManager<Tier>& manager() { return replayed_.manager; }
    /// With the broken invariants, which no recording has.
    Object state(const InvariantReport& of_request) const;

  private:
    ReplayedManager replayed_;
    MetricsOrder metrics_;
};

/// Whether ours refuses a call of this name that panics in the recorded version; nothing for a name
/// that is none.
std::optional<bool> request_call_refused(std::string_view name);
void replay_schedulable_builders(const Fields& document, Report& report);

/// Notes trouble and gives nothing for a configuration that makes no manager.
std::optional<RequestsWorld> make_world(const Fields& header, const Fields& config);

}  // namespace kvbm::conformance
