//! One pure step: a rule, the series its condition holds for, and the instances before → the
//! instances after, and what changed; and [`backtest`], which takes many such steps over history.
//!
//! It must not know PromQL, storage, channels, delivery or the clock. Start reading at [`step`].
//!
//! ```text
//! inactive ──▶ pending ──▶ firing ──▶ resolved ──(cooldown over)──▶ forgotten
//!                 └──▶ inactive          └──▶ pending …
//! ```

mod backtest;
mod instances;

pub use backtest::backtest;
pub use instances::{Outcome, StepError, step};
