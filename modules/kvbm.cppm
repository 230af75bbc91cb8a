//! kvbm: the whole core library in one import.
//!
//! Exports the layers from kvbm.core upwards; a file that needs one layer only imports that one.
export module kvbm;

export import kvbm.core;
export import kvbm.hash;
export import kvbm.tokens;
export import kvbm.frequency;
export import kvbm.metrics;
export import kvbm.events;
export import kvbm.registry;
export import kvbm.blocks;
export import kvbm.sequence;
export import kvbm.request;
