//! kvbm.replay: how much of a workload would a prefix cache of this size have served?
//!
//!   :trace        requests in memory, and the readers of recorded traces
//!   :generate     the same requests out of a seed
//!   :facts        what a trace holds, counted
//!   :run          a trace against a cache of a given size
//!   :request_run  its requests, from prompt to last token, through the scheduler
//!   :contents     what the cache holds afterwards
//!
//! A component of its own, so that the core links neither JSON nor formatting.
export module kvbm.replay;

export import :contents;
export import :facts;
export import :generate;
export import :request_run;
export import :run;
export import :trace;
