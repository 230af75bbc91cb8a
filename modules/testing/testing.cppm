//! kvbm.testing: the reference models and command alphabets that test this library, for whoever
//! wraps it.
//!
//! Each subject has one partition: plain structs for its public operations, a decoder from bytes,
//! and the dullest model that is right. RapidCheck and libFuzzer are two drivers of the same
//! harness. No test library is in sight here.
export module kvbm.testing;

export import :assignments;
export import :bytes;
export import :frequency;
export import :hash;
export import :logical;
export import :policy;
export import :pool;
export import :request;
export import :tokens;
export import :trace_reader;
