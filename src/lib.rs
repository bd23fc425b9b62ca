//! Balefire: the signal fire of a host full of MCP servers.
//!
//! The modules stand on floors; each knows only those below it (`tests/tidy.rs` holds the table that
//! binds, ARCHITECTURE.md tells why). In reading order, from the ground up:

// Floor 0: known to all.
pub mod error_code;
pub mod limits;
pub mod telemetry;
pub mod time;
// Floor 1: who may do what; the project's own nouns; named tasks.
pub mod access;
pub mod model;
pub mod supervise;
// Floor 2: pure machinery.
pub mod alert;
pub mod exposition;
pub mod promql;
pub mod wire;
// Floor 3: what touches the world, each in its own way.
pub mod client;
pub mod collect;
pub mod discover;
pub mod probe;
pub mod store;
// Floor 4: the loops, and the shim, which only talks to the daemon.
pub mod mcp;
pub mod pipeline;
// Floor 5: every question and command, as plain data; the agent, which reports to a service.
pub mod agent;
pub mod monitor;
// Floor 6: transports.
pub mod control;
pub mod web;
// Floor 7 and 8: the file, the process, and the command line, which also works without one.
pub mod cli;
pub mod config;
pub mod daemon;
