//! Reading: matchers and a range to series and samples, from partitions and the head.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hashbrown::{HashMap, HashSet};

use super::{
    Snapshot, StoreError,
    head::Series,
    partition::{self, Asked, Losses, Partition, SampleSet},
    tiers::{Range, Span, choose},
};
use crate::{
    limits,
    model::{Labels, Matcher, SeriesSample, is_stale},
    promql::{Queryable, RollupSpan, SelectError, Selected, Selection, SeriesData, by_runs},
    time::Timestamp,
};

/// The least distance of two instants.
const INSTANT: Duration = Duration::from_millis(1);
/// Series of the head that are read before their number is looked at.
const HEAD_AT_ONCE: usize = 4096;
/// Where only the series of a range are asked for, stretches of a hundredth of it are told apart.
const SERIES_STRETCHES: u32 = 100;

impl Queryable for Snapshot {
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        let mut found = Found::default();
        self.read(selection, &mut found).map_err(|error| match error {
            StoreError::TooMuch(text) => SelectError::TooMuch(text),
            other => SelectError::Storage(other.to_string()),
        })?;
        let rollups = std::mem::take(&mut found.rollups);
        Ok(Selected { rollups, series: found.finished(selection) })
    }
}

/// How many samples a query has read, on whatever thread.
#[derive(Default)]
struct Read(AtomicUsize);

impl Read {
    /// Fails where these are more than a query may have.
    fn add(&self, points: &SampleSet) -> Result<(), StoreError> {
        let weight = points.weight();
        if self.0.fetch_add(weight, Ordering::Relaxed) + weight > limits::QUERY_SAMPLES_MAX {
            let max = limits::QUERY_SAMPLES_MAX;
            return Err(StoreError::TooMuch(format!(
                "the query loads more than {max} samples: ask for less or for longer steps"
            )));
        }
        Ok(())
    }
}

/// What a partition has of some series.
struct Part {
    series: Vec<(Labels, SampleSet)>,
    /// What is missing.
    outcome: Result<Losses, StoreError>,
}

/// What has been read so far, within its bounds.
#[derive(Default)]
struct Found {
    series: Vec<Pieces>,
    /// Where each series stands, once more than one source has any: a day that is fresh names each series
    /// twelve times.
    places: Option<HashMap<Labels, usize>>,
    rollups: Vec<RollupSpan>,
}

impl Found {
    /// What comes from now on may belong to series that are there already.
    fn next_source(&mut self) {
        if self.places.is_none() && !self.series.is_empty() {
            let places = self.series.iter().enumerate();
            self.places = Some(places.map(|(at, series)| (series.labels.clone(), at)).collect());
        }
    }

    fn take(&mut self, labels: Labels, points: SampleSet) -> Result<(), StoreError> {
        if let Some(place) = self.places.as_ref().and_then(|places| places.get(&labels)) {
            self.series[*place].later.push(points);
            return Ok(());
        }
        check_series(self.series.len() + 1)?;
        if let Some(places) = &mut self.places {
            places.insert(labels.clone(), self.series.len());
        }
        self.series.push(Pieces { labels, first: points, later: Vec::new() });
        Ok(())
    }

    fn finished(self, selection: &Selection) -> Vec<SeriesData> {
        let whole = |run: Vec<Pieces>| {
            let whole = run.into_iter().map(|pieces| pieces.whole(selection.markers));
            Ok::<Vec<_>, Infallible>(whole.collect())
        };
        let Ok(runs) = by_runs(&selection.helpers, self.series, whole);
        let mut series: Vec<SeriesData> = runs.into_iter().flatten().collect();
        if selection.sorted {
            series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        series
    }
}

/// What several sources have of a series, in order.
struct Pieces {
    labels: Labels,
    first: SampleSet,
    later: Vec<SampleSet>,
}

impl Pieces {
    /// All of it as one, with or without staleness markers.
    fn whole(self, markers: bool) -> SeriesData {
        let SampleSet { mut samples, mut histograms } = self.first;
        samples.reserve_exact(self.later.iter().map(|piece| piece.samples.len()).sum());
        for mut piece in self.later {
            samples.append(&mut piece.samples);
            histograms.append(&mut piece.histograms);
        }
        if !markers {
            samples.retain(|sample| !is_stale(sample.value));
        }
        SeriesData { labels: self.labels, samples, histograms }
    }
}

/// The partitions of a span that hold samples of the range, each with what to read of it; the ends
/// belong to it.
fn parts_in(
    span: &Span<Arc<Partition>>,
    (start, end): Range,
) -> impl Iterator<Item = (&Arc<Partition>, Range)> {
    let within = (start.max(span.start), end.min(span.end.minus(INSTANT)));
    let parts = span.parts.iter().filter(move |part| part.overlaps(within.0, within.1));
    parts.map(move |part| (part, within))
}

/// Reads a partition, several runs of its series at a time where there are threads for it.
fn parts_of(
    partition: &Partition,
    range: Range,
    selection: &Selection,
    read: &Read,
) -> Result<Vec<Part>, StoreError> {
    let candidates = partition.candidates(&selection.matchers)?;
    by_runs(&selection.helpers, candidates, |ranks| {
        let mut series = Vec::new();
        let take = &mut |labels: &Labels, points: SampleSet| {
            read.add(&points)?;
            series.push((labels.clone(), points));
            check_series(series.len())
        };
        let what = (range, selection.column);
        let outcome = partition.select_of(&ranks, &selection.matchers, what, take);
        Ok(Part { series, outcome })
    })
}

fn check_series(count: usize) -> Result<(), StoreError> {
    let max = limits::QUERY_SERIES_MAX;
    if count <= max {
        return Ok(());
    }
    Err(StoreError::TooMuch(format!("the query touches more than {max} series: add matchers")))
}

fn check_texts(count: usize) -> Result<(), StoreError> {
    let max = limits::QUERY_SERIES_MAX;
    if count <= max {
        return Ok(());
    }
    Err(StoreError::TooMuch(format!("the label has more than {max} values: add matchers")))
}

/// Collects something of the series that match and have samples in a range.
trait Gather {
    /// What comes from now on may have been there already; one source names each series once.
    fn next_source(&mut self) {}

    /// All that a partition has.
    fn partition(
        &mut self,
        partition: &Partition,
        matchers: &[Matcher],
        range: Range,
    ) -> Result<Losses, StoreError>;

    /// Whether a series would tell anything new: looking for its samples is the dear part.
    fn wants(&self, labels: &Labels) -> bool;

    /// One series.
    fn take(&mut self, labels: &Labels) -> Result<(), StoreError>;
}

/// The series themselves, in the order in which they are found.
#[derive(Default)]
struct AllSeries {
    found: Vec<Labels>,
    /// The same by hash, once more than one source has any.
    known: Option<HashSet<Labels>>,
}

impl Gather for AllSeries {
    fn next_source(&mut self) {
        if self.known.is_none() && !self.found.is_empty() {
            self.known = Some(self.found.iter().cloned().collect());
        }
    }

    fn partition(
        &mut self,
        partition: &Partition,
        matchers: &[Matcher],
        range: Range,
    ) -> Result<Losses, StoreError> {
        partition.series(matchers, range, &mut |labels| self.take(labels))
    }

    fn wants(&self, labels: &Labels) -> bool {
        self.known.as_ref().is_none_or(|known| !known.contains(labels))
    }

    fn take(&mut self, labels: &Labels) -> Result<(), StoreError> {
        if self.known.as_mut().is_none_or(|known| known.insert(labels.clone())) {
            self.found.push(labels.clone());
        }
        check_series(self.found.len())
    }
}

/// Their label names, or the values of one label.
struct Texts<'a> {
    asked: Asked<'a>,
    found: BTreeSet<String>,
}

impl Texts<'_> {
    fn add(&mut self, text: &str) -> Result<(), StoreError> {
        if !self.found.contains(text) {
            self.found.insert(text.to_owned());
        }
        check_texts(self.found.len())
    }
}

impl Gather for Texts<'_> {
    fn partition(
        &mut self,
        partition: &Partition,
        matchers: &[Matcher],
        range: Range,
    ) -> Result<Losses, StoreError> {
        partition.texts(self.asked, matchers, range, &mut |text| self.add(text))
    }

    fn wants(&self, labels: &Labels) -> bool {
        self.asked.texts_of(labels).any(|text| !self.found.contains(text))
    }

    fn take(&mut self, labels: &Labels) -> Result<(), StoreError> {
        self.asked.texts_of(labels).try_for_each(|text| self.add(text))
    }
}

impl Snapshot {
    /// Partitions lie before the head, and spans of tiers are in order, so that samples come in order.
    fn read(&self, selection: &Selection, found: &mut Found) -> Result<(), StoreError> {
        let Selection { matchers, start, end, resolution, .. } = selection;
        let (spans, read) = (self.spans((*start, *end), *resolution), Read::default());
        self.for_each_part(&spans, (*start, *end), &mut |partition, within| {
            found.next_source();
            for Part { series, outcome } in parts_of(partition, within, selection, &read)? {
                series.into_iter().try_for_each(|(labels, points)| found.take(labels, points))?;
                self.served(outcome)?;
            }
            Ok(Losses::new())
        })?;
        found.rollups.extend(spans.iter().filter_map(Span::rollups));
        found.next_source();
        for some in self.head.matching(matchers).chunks(HEAD_AT_ONCE) {
            self.read_head(selection, some, (found, &read))?;
        }
        Ok(())
    }

    /// Reads series of the head, several at a time where there are threads for it.
    fn read_head(
        &self,
        selection: &Selection,
        series: &[Arc<Series>],
        (found, read): (&mut Found, &Read),
    ) -> Result<(), StoreError> {
        let range = (selection.start, selection.end);
        let points_of = |series: &Series| {
            let newest = selection.newest.then(|| self.newest_open(series, range)).flatten();
            let mut points = newest.unwrap_or_else(|| self.read_open(series, range));
            partition::as_column(&mut points.samples, selection.column);
            read.add(&points).map(|()| points)
        };
        let runs = by_runs(&selection.helpers, series.iter().collect(), |run| {
            let each = run.into_iter().map(|series| Ok((series.labels(), points_of(series)?)));
            each.collect::<Result<Vec<_>, StoreError>>()
        })?;
        for (labels, points) in runs.into_iter().flatten().filter(|(_, points)| !points.is_empty())
        {
            found.take(labels.clone(), points)?;
        }
        Ok(())
    }

    /// The newest sample of a series, where nothing in the range comes after it.
    fn newest_open(&self, series: &Series, range: Range) -> Option<SampleSet> {
        let sample = series.newest(self.state.epoch)?;
        let from = range.0.max(self.state.sealed);
        let inside = (from..=range.1).contains(&sample.timestamp);
        inside.then(|| SampleSet { samples: vec![sample], histograms: Vec::new() })
    }

    /// Visits what spans hold of a range, in order, a few partitions opened at a time.
    fn for_each_part(
        &self,
        spans: &[Span<Arc<Partition>>],
        range: Range,
        visit: &mut dyn FnMut(&Partition, Range) -> Result<Losses, StoreError>,
    ) -> Result<(), StoreError> {
        let parts: Vec<_> = spans.iter().flat_map(|span| parts_in(span, range)).collect();
        let at_once = parts.first().map_or(1, |(part, _)| part.open_at_once());
        for some in parts.chunks(at_once) {
            let partitions: Vec<&Partition> = some.iter().map(|(part, _)| &***part).collect();
            Partition::open_ahead(&partitions)
                .into_iter()
                .try_for_each(|error| self.served(Err(error)))?;
            // One that cannot be opened was told, and is not tried again.
            for (partition, within) in some.iter().filter(|(part, _)| !part.is_damaged()) {
                self.served(visit(partition, *within))?;
            }
        }
        Ok(())
    }

    /// What the open window has of a series and partitions have not; both ends belong to the range.
    pub(super) fn read_open(
        &self,
        series: &Series,
        (start, end): (Timestamp, Timestamp),
    ) -> SampleSet {
        let start = start.max(self.state.sealed);
        let mut view = series.view(self.state.epoch, start, end);
        let mut samples = Vec::new();
        view.read(start, end, &mut samples);
        SampleSet { samples, histograms: view.take_histograms() }
    }

    /// Whether [`Snapshot::read_open`] would find anything. Most ranges hold the newest sample, which is
    /// found without reading.
    fn has_open(&self, series: &Series, range: Range) -> bool {
        let (start, end) = (range.0.max(self.state.sealed), range.1);
        self.newest_open(series, range).is_some()
            || series.view(self.state.epoch, start, end).has_any(start, end)
    }

    /// What to read for a range, both ends of which belong to it.
    fn spans(&self, (start, end): Range, resolution: Duration) -> Vec<Span<Arc<Partition>>> {
        choose(&self.state.tiers, (start, end.plus(INSTANT)), resolution)
    }

    /// Damage is reported once, and the rest is served; anything else is the reader's affair.
    fn served(&self, outcome: Result<Losses, StoreError>) -> Result<(), StoreError> {
        let losses = match outcome {
            Ok(losses) => losses,
            Err(error @ StoreError::Damaged { .. }) => vec![error],
            Err(other) => return Err(other),
        };
        for error in losses {
            self.events.quarantined(&error.to_string());
        }
        Ok(())
    }

    /// The series that any of `selectors` (all where there is none) matches and that have samples in
    /// the range, sorted.
    pub(super) fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: (Timestamp, Timestamp),
    ) -> Result<Vec<Labels>, StoreError> {
        let mut all = AllSeries::default();
        self.gather(selectors, range, &mut all)?;
        // What is found is in order for long stretches, which a stable sort makes use of.
        all.found.sort();
        Ok(all.found)
    }

    /// The label names, or the values of one label, that such series have.
    pub(super) fn texts(
        &self,
        asked: Asked<'_>,
        selectors: &[Vec<Matcher>],
        range: Range,
    ) -> Result<BTreeSet<String>, StoreError> {
        let mut found = Texts { asked, found: BTreeSet::new() };
        self.gather(selectors, range, &mut found)?;
        Ok(found.found)
    }

    /// Shows to `gather` what any of `selectors` (all where there is none) matches in the range.
    fn gather(
        &self,
        selectors: &[Vec<Matcher>],
        range: Range,
        gather: &mut dyn Gather,
    ) -> Result<(), StoreError> {
        let every = [Vec::new()];
        let selectors = if selectors.is_empty() { &every } else { selectors };
        let spans = self.spans(range, range.1.since(range.0) / SERIES_STRETCHES);
        for matchers in selectors {
            self.for_each_part(&spans, range, &mut |partition, within| {
                gather.next_source();
                gather.partition(partition, matchers, within)
            })?;
            gather.next_source();
            self.gather_open(matchers, range, gather)?;
        }
        Ok(())
    }

    fn gather_open(
        &self,
        matchers: &[Matcher],
        range: Range,
        gather: &mut dyn Gather,
    ) -> Result<(), StoreError> {
        for series in self.head.matching(matchers) {
            if gather.wants(series.labels()) && self.has_open(&series, range) {
                gather.take(series.labels())?;
            }
        }
        Ok(())
    }

    /// The newest sample of each matching series, where it is not stale and not before `since`.
    pub(super) fn latest(&self, matchers: &[Matcher], since: Timestamp) -> Vec<SeriesSample> {
        let newest = |series: Arc<Series>| {
            let sample = series.newest(self.state.epoch)?;
            Some(SeriesSample { labels: series.labels().clone(), sample })
        };
        let all = self.head.matching(matchers).into_iter().filter_map(newest);
        let mut found: Vec<SeriesSample> =
            all.filter(|s| s.sample.timestamp >= since && !is_stale(s.sample.value)).collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}
