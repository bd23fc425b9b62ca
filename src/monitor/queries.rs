//! What is stored: queries, series, labels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{Labels, Matcher, Metadata, Page, PageRequest, is_label_name},
    pipeline::evaluating::query_limits,
    promql::{self, Answer, Limits, Query, QueryError, Steps},
    store::Snapshot,
    time::Timestamp,
};

use super::{Failure, Monitor, TimeRange};

/// How one query departs from what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// The longest it may take, where that is less than [`limits::QUERY_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// How far back an instant selector looks, where that is not [`limits::QUERY_LOOKBACK`].
    pub lookback: Option<Duration>,
}

impl QueryOptions {
    fn bounds(self, limits: &Limits) -> Limits {
        let lookback = self.lookback.unwrap_or(limits.lookback);
        Limits { lookback, ..limits.clone() }
    }
}

impl From<Option<Duration>> for QueryOptions {
    fn from(timeout: Option<Duration>) -> Self {
        Self { timeout, lookback: None }
    }
}

/// Tells a query to end when nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Monitor {
    /// Evaluates at one instant (now, where absent).
    pub async fn query(
        &self,
        expr: &str,
        at: Option<Timestamp>,
        options: impl Into<QueryOptions>,
    ) -> Result<Answer, Failure> {
        let at = at.unwrap_or_else(|| self.now());
        let options = options.into();
        self.run(expr, options.timeout, move |query, snapshot, limits| {
            query.instant(snapshot, at, &options.bounds(limits))
        })
        .await
    }

    /// Evaluates over a range.
    pub async fn query_range(
        &self,
        expr: &str,
        range: TimeRange,
        step: Duration,
        options: impl Into<QueryOptions>,
    ) -> Result<Answer, Failure> {
        check_range(range)?;
        let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        if step_ms == 0 {
            return Err(Failure::field("step", "must be at least 1ms, such as \"30s\""));
        }
        let count = range.end.since(range.start).as_millis() / u128::from(step_ms);
        if count > limits::QUERY_STEPS_MAX as u128 {
            let max = limits::QUERY_STEPS_MAX;
            return Err(Failure::field(
                "step",
                format!("{count} steps where {max} are allowed: make the step longer"),
            ));
        }
        let steps = Steps { start: range.start, end: range.end, step };
        let options = options.into();
        self.run(expr, options.timeout, move |query, snapshot, limits| {
            query.range(snapshot, steps, &options.bounds(limits))
        })
        .await
    }

    /// Parses, then evaluates off the async threads, within bounds of number and time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        expr: &str,
        limit: Option<Duration>,
        evaluate: impl FnOnce(&Query, &Snapshot, &Limits) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Failure> {
        let query = promql::parse(expr).map_err(|error| Failure::query("expr", &error))?;
        let limit = limit.unwrap_or(limits::QUERY_TIMEOUT).min(limits::QUERY_TIMEOUT);
        let cancel = CancelOnDrop(Arc::default());
        let bounds = query_limits(cancel.0.clone());
        let store = self.parts.store.clone();
        let places = self.queries.clone();
        let work = async move {
            let place = places.acquire_owned().await;
            let evaluated = spawn_blocking(move || {
                let _place = place;
                evaluate(&query, &store.snapshot(), &bounds)
            });
            evaluated.await.map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("the query panicked: {error}"))
            })
        };
        let late = |_| {
            let seconds = limit.as_secs_f64();
            Failure::new(
                ErrorCode::DeadlineExceeded,
                format!("the query took longer than {seconds} s: ask for less"),
            )
        };
        let result = timeout(limit, work).await.map_err(late)??;
        result.map_err(|error| Failure::query("expr", &error))
    }

    /// The series that match any of the selectors, sorted.
    pub async fn series(
        &self,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<Labels>, Failure> {
        let range = self.whole_or(range)?;
        let mut series = self.all_series(matchers, range).await?;
        // By their text, which is what the page tokens compare.
        series.sort_by_cached_key(ToString::to_string);
        Ok(page.cut(series, ToString::to_string)?)
    }

    /// The label names of the series that match.
    pub async fn label_names(
        &self,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<String>, Failure> {
        let range = self.whole_or(range)?;
        Ok(page.cut(self.all_label_names(matchers, range).await?, Clone::clone)?)
    }

    /// All of them, sorted.
    pub async fn all_label_names(
        &self,
        matchers: &[String],
        range: TimeRange,
    ) -> Result<Vec<String>, Failure> {
        let selectors = parse_selectors(matchers)?;
        let names = self.blocking(move |s| s.label_names(&selectors, range.start, range.end));
        Ok(names.await??.into_iter().collect())
    }

    /// The values of one label of the series that match.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<String>, Failure> {
        if !is_label_name(name) {
            return Err(Failure::field(
                "name",
                format!("{name:?} is no label name: use letters, digits and '_'"),
            ));
        }
        let range = self.whole_or(range)?;
        Ok(page.cut(self.all_label_values(name, matchers, range).await?, Clone::clone)?)
    }

    /// All of them, sorted; of a name that no label can have, none.
    pub async fn all_label_values(
        &self,
        name: &str,
        matchers: &[String],
        range: TimeRange,
    ) -> Result<Vec<String>, Failure> {
        let (selectors, name) = (parse_selectors(matchers)?, name.to_owned());
        let values =
            self.blocking(move |s| s.label_values(&name, &selectors, range.start, range.end));
        Ok(values.await??.into_iter().collect())
    }

    /// All series that match any of the selectors and have samples in the range, sorted by their labels.
    pub async fn all_series(
        &self,
        matchers: &[String],
        range: TimeRange,
    ) -> Result<Vec<Labels>, Failure> {
        let selectors = parse_selectors(matchers)?;
        Ok(self.blocking(move |s| s.series(&selectors, range.start, range.end)).await??)
    }

    /// What is known of metrics, by name: of all, or of one.
    pub fn metadata(&self, metric: Option<&str>) -> Vec<Metadata> {
        match metric {
            Some(name) => self.parts.store.metadata(name).into_iter().collect(),
            None => self.parts.store.all_metadata(),
        }
    }

    /// All of the past, where no range is given.
    pub(super) fn whole_or(&self, range: Option<TimeRange>) -> Result<TimeRange, Failure> {
        let range =
            range.unwrap_or(TimeRange { start: Timestamp::from_millis(0), end: self.now() });
        check_range(range)?;
        Ok(range)
    }
}

/// The matchers of each selector.
pub(super) fn parse_selectors(selectors: &[String]) -> Result<Vec<Vec<Matcher>>, Failure> {
    let parse = |(index, text): (usize, &String)| {
        promql::parse_selector(text)
            .map_err(|error| Failure::query(&format!("matchers[{index}]"), &error))
    };
    selectors.iter().enumerate().map(parse).collect()
}

pub(super) fn check_range(range: TimeRange) -> Result<(), Failure> {
    if range.start <= range.end {
        return Ok(());
    }
    let (start, end) = (range.start, range.end);
    Err(Failure::field("end", format!("{end} lies before start ({start}): exchange the two")))
}
