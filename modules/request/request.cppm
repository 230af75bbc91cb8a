//! kvbm.request: the life of one inference request on top of the trackers and the manager.
//!
//!   RequestSequence      tokens, guards, counters; no policy. The caller says what was computed.
//!   SchedulableSequence  the same with a schedule and an apply call around each forward pass, the
//!                        KV position, and events.
//!
//!   B block size | I input tokens | G generated tokens | M their limit | T = I + G
//!   K KV position: tokens 0 .. K-1 have their KV computed, in blocks that the request holds
//!   a, s, u blocks assigned, staged, unassigned | H = a + s + u
//!
//! The KV rule: registering a block tells every other request that the KV of its tokens can be read
//! there, so a block is registered only when the KV of all its tokens has been computed.
//!
//! Invariants R1 to R16: requests.md 8; those that one request can show are what
//! check_invariants() looks at.
export module kvbm.request;

export import :schedule;
export import :sequence;
