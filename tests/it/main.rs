//! End to end: the real programs, in a folder of their own, driven as users and systemd drive them.
//!
//! Start reading at [`fixture::Daemon`]. Nothing here sleeps for a guess: tests wait for facts, with a
//! deadline.

mod access;
mod agent;
mod alerts;
mod audit;
mod bad_input;
mod crash;
mod events;
mod export;
mod fixture;
mod histograms;
mod hostile;
mod http;
mod http_api;
mod life;
mod shim;
mod spawn;
mod storage;
mod targets;
mod tls;
mod tokens;
