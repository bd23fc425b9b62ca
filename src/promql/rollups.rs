//! What rollups mean to a query: how a range function reads them, which windows they can answer, and
//! what is said about it.
//!
//! A rollup stands at the time of the last sample that it replaces, so that a window takes it whole or
//! not at all. It replaces those of a [stretch](Timestamp::stretch), which holds its end and not its
//! beginning, as windows do: one that begins and ends at multiples of the resolution holds exactly the
//! samples that its rollups stand for. From that follow three rules:
//!
//! - What wants the newest sample looks back two resolutions where its window is shorter: the rollup of
//!   the stretch that a step lies in usually comes after the step, and the one before it can be nearly
//!   two resolutions old. A step at the end of a stretch has it whole, and looks back one.
//! - What adds up or compares needs a window with room for one rollup, or for two where it takes
//!   differences. A shorter one would hold now none and now a whole stretch: nothing is the answer then,
//!   and a note says which window would do.
//! - What needs every sample never asks for rollups. Where nothing else is left it works on last values
//!   and says so.

use std::time::Duration;

use crate::{
    model::{Sample, is_stale},
    time::{Timestamp, format_duration},
};

use super::{RollupColumn, RollupSpan, SeriesData, eval::Evaluator};

/// How a range function reads windows in which rollups stand for the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// One number of each rollup is all that it needs.
    Column(RollupColumn),
    /// Sums, and how many values went into them.
    Mean,
    /// Differences between last values, as if they had been collected that seldom.
    Differences,
    /// The newest sample.
    Newest,
    /// Each sample; of rollups it sees the last values.
    Samples {
        /// How many rollups a window must have room for; zero: it takes what there is.
        room: i64,
    },
}

impl Reading {
    /// What it loads first.
    pub(super) fn column(self) -> RollupColumn {
        match self {
            Self::Column(column) => column,
            Self::Mean => RollupColumn::Sum,
            Self::Differences | Self::Newest | Self::Samples { .. } => RollupColumn::Last,
        }
    }

    /// Whether the last native histogram of a rollup cannot stand for all of them.
    pub(super) fn needs_every_histogram(self) -> bool {
        matches!(self, Self::Mean | Self::Column(_))
    }

    /// Whether it means the same on rollups.
    pub(super) fn may_be_coarse(self) -> bool {
        !matches!(self, Self::Samples { .. })
    }

    /// Whether it needs more than rollups can tell.
    fn misses_samples(self) -> bool {
        matches!(self, Self::Samples { room } if room > 0)
    }

    /// How many rollups a window must have room for.
    fn room(self) -> i64 {
        match self {
            Self::Column(_) | Self::Mean => 1,
            Self::Differences => 2,
            Self::Newest => 0,
            Self::Samples { room } => room,
        }
    }

    /// Whether a rollup that is only partly in the window makes the result wrong by its size.
    fn adds_up(self) -> bool {
        matches!(self, Self::Column(RollupColumn::Sum | RollupColumn::Count))
    }
}

/// Who reads: for notes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) name: &'static str,
    pub(super) reading: Reading,
}

/// How far back each step sees, and where rollups lie there. All times are milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    range: i64,
    reading: Reading,
    rollups: Vec<RollupSpan>,
}

/// What one step sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Does not belong to the window.
    pub(super) start: i64,
    /// Belongs to it.
    pub(super) end: i64,
    /// The coarsest resolution of rollups in it; zero: samples as they came.
    pub(super) resolution: i64,
    /// The resolution where it starts, and where it ends.
    pub(super) edges: (i64, i64),
    /// Whether rollups of that resolution can answer for a window of this length.
    pub(super) fits: bool,
    /// Whether it starts earlier than the window that was asked for.
    widened: bool,
}

impl Frame {
    /// How long the window is.
    pub(super) fn length(&self) -> i64 {
        self.end - self.start
    }

    /// What a step takes of the samples in its frame. A marker among them ends a series whose frame is
    /// wider than its window; else markers are passed over.
    pub(super) fn seen<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        match samples {
            [.., last] if !is_stale(last.value) => samples,
            _ if self.widened => &[],
            _ => match samples.iter().rposition(|sample| !is_stale(sample.value)) {
                Some(last) => &samples[..=last],
                None => &[],
            },
        }
    }
}

impl Reach {
    /// The window of each step begins `range` before its end, or earlier among `rollups`.
    pub(super) fn new(range: i64, reading: Reading, rollups: Vec<RollupSpan>) -> Self {
        Self { range, reading, rollups }
    }

    /// Windows without rollups.
    pub(super) fn plain(range: i64) -> Self {
        Self::new(range, Reading::Samples { room: 0 }, Vec::new())
    }

    pub(super) fn has_rollups(&self) -> bool {
        !self.rollups.is_empty()
    }

    /// What the step sees whose window ends at `end`.
    #[inline]
    pub(super) fn frame(&self, end: i64) -> Frame {
        if self.has_rollups() {
            return self.frame_on_rollups(end);
        }
        let start = end.saturating_sub(self.range);
        let (resolution, edges) = (0, (0, 0));
        Frame { start, end, resolution, edges, fits: true, widened: false }
    }

    fn frame_on_rollups(&self, end: i64) -> Frame {
        let at_end = self.coarsest(end.saturating_sub(1), end);
        let wide = match self.reading {
            Reading::Newest if at_end > 0 && end.rem_euclid(at_end) == 0 => at_end,
            Reading::Newest => at_end.saturating_mul(2),
            _ => 0,
        };
        let start = end.saturating_sub(wide.max(self.range));
        let resolution = self.coarsest(start, end);
        let edges = (self.coarsest(start, start.saturating_add(1)), at_end);
        let fits = self.range >= resolution.saturating_mul(self.reading.room());
        Frame { start, end, resolution, edges, fits, widened: wide > self.range }
    }

    /// The earliest time that any step sees; none of it is before the window where there is no rollup.
    pub(super) fn earliest(&self, ends: &[i64]) -> Option<i64> {
        let frames = ends.iter().filter(|_| self.has_rollups()).map(|end| self.frame(*end));
        frames.map(|frame| frame.start.saturating_add(1)).min()
    }

    /// The coarsest resolution in `(after, until]`; zero where there is none.
    fn coarsest(&self, after: i64, until: i64) -> i64 {
        let first = after.saturating_add(1);
        let skipped = self.rollups.partition_point(|span| span.end.as_millis() <= first);
        let touched = self.rollups[skipped..].iter();
        let touched = touched.take_while(|span| span.start.as_millis() <= until);
        touched.map(resolution_millis).max().unwrap_or(0)
    }
}

fn resolution_millis(span: &RollupSpan) -> i64 {
    i64::try_from(span.resolution.as_millis()).unwrap_or(i64::MAX)
}

/// The stretches that the rollups read from a span stand for, as one; `None` where none were.
fn used(series: &[SeriesData], span: &RollupSpan) -> Option<(Timestamp, Timestamp)> {
    let inside = |series: &SeriesData| {
        let before = |edge: Timestamp| series.samples.partition_point(|s| s.timestamp < edge);
        let samples = &series.samples[before(span.start)..before(span.end)];
        Some((samples.first()?.timestamp, samples.last()?.timestamp))
    };
    let (first, last) = series.iter().filter_map(inside).reduce(hull)?;
    Some((first.stretch(span.resolution).start, last.stretch(span.resolution).end))
}

fn hull(a: (Timestamp, Timestamp), b: (Timestamp, Timestamp)) -> (Timestamp, Timestamp) {
    (a.0.min(b.0), a.1.max(b.1))
}

impl Evaluator<'_> {
    /// Remembers where rollups were read.
    pub(super) fn remember_rollups(&mut self, series: &[SeriesData], reach: &Reach) {
        for span in &reach.rollups {
            if let Some(part) = used(series, span) {
                let known = self.rollups.entry(span.resolution).or_insert(part);
                *known = hull(*known, part);
            }
        }
    }

    /// Says what a range function makes of rollups, each thing once for each resolution.
    pub(super) fn note_reading(
        &mut self,
        (series, ends): (&[SeriesData], &[i64]),
        reach: &Reach,
        Reader { name, reading }: Reader,
    ) {
        let read = reach.rollups.iter().filter(|span| used(series, span).is_some());
        for each in read.map(resolution_millis).collect::<std::collections::BTreeSet<_>>() {
            let length = length(each);
            if reading.misses_samples() {
                self.inform(&format!("{name}() sees only the last value of rollups of {length}"));
            } else if reading.adds_up() && reach.range % each != 0 {
                self.inform(&format!(
                    "{name}() takes rollups of {length} whole: a window that is no multiple of \
                     {length} holds now more, now less"
                ));
            }
        }
        let short = ends.iter().filter(|_| reach.has_rollups()).map(|end| reach.frame(*end));
        if let Some(coarsest) = short.filter(|frame| !frame.fits).map(|f| f.resolution).max() {
            let (length, wanted) = (length(coarsest), length(coarsest * reading.room()));
            self.inform(&format!(
                "{name}() is absent where only rollups of {length} are kept: a window of {wanted} \
                 would do"
            ));
        }
    }

    /// What was read of rollups, a line for each resolution.
    pub(super) fn rollup_notes(&self) -> impl Iterator<Item = String> {
        // Multiples of the resolution, as windows are told: the first does not belong to it.
        let multiple = |edge: &Timestamp| edge.minus(Duration::from_millis(1));
        self.rollups.iter().map(move |(resolution, (start, end))| {
            let (start, end, length) =
                (multiple(start), multiple(end), format_duration(*resolution));
            format!("PromQL info: samples from {start} to {end} are rollups of {length}")
        })
    }
}

fn length(millis: i64) -> impl std::fmt::Display {
    format_duration(Duration::from_millis(millis.unsigned_abs()))
}
