//! The loops: collecting, probing, evaluating, upkeep. Each loop is one file (or folder) with what it
//! works with (`Parts`), a `run` that the supervisor starts and starts again, one place that waits and
//! one that applies.
//!
//! The loops know the store, the collectors, the prober and the alert step; they know no transport
//! and no configuration file. What others need of a loop is a small handle: [`Targets`] and
//! [`probing::Handle`], [`collecting::Handle`] and [`RuleBook`].
//! Start reading at [`collecting`], the simplest.

pub mod collecting;
pub mod evaluating;
pub mod observe;
mod outbox;
pub mod probing;
mod recorder;
mod rhythm;
mod rule_book;
mod targets;
pub mod upkeep;

pub use outbox::{Outbox, Queued};
pub use recorder::Sink;
pub use rhythm::BEAT_WITHIN;
pub use rule_book::{Report, RuleBook, default_rules};
pub use targets::{
    ProbeDefaults, Replaced, Targets, adopted_name, adoption_of, bounded, declared, own_target,
    probe_metadata,
};
