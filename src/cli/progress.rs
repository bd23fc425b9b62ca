//! The bar that long work shows to a person at a terminal, and to nobody else.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::session::Session;

const BAR: &str = "{msg:20} {bar:40} {bytes:>10} of {total_bytes} {eta:>5}";

/// Bytes that are done, shown on standard error.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar named `what`; it shows itself only on a terminal, and never beside JSON.
    pub(super) fn new(session: &Session, what: &'static str) -> Self {
        let seen = io::stderr().is_terminal() && !session.is_json();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_message(what);
        // A template of our own is sound, or the bar looks plain.
        let style = ProgressStyle::with_template(BAR);
        Self(match style {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        })
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    pub(super) fn set_done(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Takes the bar away; what was shown before stays.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
