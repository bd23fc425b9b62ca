//! What comes in: observations and samples.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{Accumulator, Batch, Labels, Metadata, Sample},
    pipeline::observe::{InvalidObservation, Known, Observation, Observed, observe},
    store::{AppendSummary, Change, SeriesHandle, Store},
};

use super::{Caller, Collected, Failure, Monitor, ObservationSource, Violation};

/// What the store knows of names and sums.
struct Remembered<'a>(&'a Store);

impl Known for Remembered<'_> {
    fn metadata(&self, name: &str) -> Option<Metadata> {
        self.0.metadata(name)
    }

    fn accumulator(&self, labels: &Labels) -> Option<Accumulator> {
        self.0.accumulator(labels)
    }
}

impl Monitor {
    /// Takes observations; or, from the host with none, collects it now. Returns when they are
    /// durable.
    pub async fn collect(
        &self,
        _caller: &Caller,
        source: ObservationSource,
        observations: Vec<Observation>,
    ) -> Result<Collected, Failure> {
        check_count("metrics", observations.len())?;
        match source {
            ObservationSource::System if observations.is_empty() => {
                let collected = self.parts.collecting.collect_now().await;
                let (count, timestamp) =
                    collected.map_err(|why| Failure::new(ErrorCode::Unavailable, why))?;
                Ok(Collected { count, timestamp })
            }
            _ if observations.is_empty() => Err(Failure::field(
                "metrics",
                "there are none: give at least one, or source \"system\" for the host",
            )),
            _ => self.observe(source, &observations).await,
        }
    }

    async fn observe(
        &self,
        source: ObservationSource,
        observations: &[Observation],
    ) -> Result<Collected, Failure> {
        let bounds = self.settings().histogram_buckets.clone();
        // Sums are read, added to and written back: one call at a time, each at a time of its own.
        let mut last = self.observing.lock().await;
        let now = self.now().max(last.plus(Duration::from_millis(1)));
        *last = now;
        let observed =
            observe(observations, source.name(), &bounds, &Remembered(&self.parts.store), now);
        let Observed { batch, accumulators } =
            observed.map_err(|problems| invalid_observations(&problems))?;
        self.check_accumulators(&accumulators)?;
        let samples = batch.samples.len();
        let changes = accumulators.into_iter().map(Change::PutAccumulator).collect();
        let summary = self.parts.store.append_and_commit(batch, changes).await?;
        if summary.rejected == 0 {
            return Ok(Collected { count: observations.len() as u64, timestamp: now });
        }
        Err(refused(observations, &summary, samples))
    }

    /// Refuses new histograms and summaries where there are too many.
    fn check_accumulators(&self, accumulators: &[Accumulator]) -> Result<(), Failure> {
        let store = &self.parts.store;
        let is_new = |sum: &&Accumulator| store.accumulator(&sum.labels).is_none();
        let new = accumulators.iter().filter(is_new).count();
        let max = limits::ACCUMULATORS_MAX;
        if new == 0 || store.accumulator_count() + new <= max {
            return Ok(());
        }
        Err(Failure::new(
            ErrorCode::ResourceExhausted,
            format!(
                "the limit of {max} histograms and summaries is reached: send fewer different tags, \
                 or wait until idle ones are past the retention"
            ),
        ))
    }

    /// Stores samples; returns when they are durable.
    pub async fn write(&self, _caller: &Caller, batch: Batch) -> Result<AppendSummary, Failure> {
        check_count("series", batch.samples.len())?;
        Ok(self.parts.store.append(batch).await?)
    }

    /// Stores samples of series that a caller has declared; returns when they are durable.
    pub async fn write_to(
        &self,
        _caller: &Caller,
        samples: Vec<(SeriesHandle, Sample)>,
    ) -> Result<AppendSummary, Failure> {
        check_count("refs", samples.len())?;
        Ok(self.parts.store.append_to(samples).await?)
    }

    /// Has handles find their series, which spares each of their samples a search.
    pub fn find(&self, handles: &mut [&mut SeriesHandle]) {
        self.parts.store.find(handles);
    }
}

impl ObservationSource {
    /// The word of the API, and the `job` label of its observations.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::McpServer => "mcp_server",
            Self::Custom => "custom",
        }
    }
}

fn check_count(field: &str, count: usize) -> Result<(), Failure> {
    let max = limits::BATCH_SAMPLES_MAX;
    if count <= max {
        return Ok(());
    }
    let failure = Failure::field(
        field,
        format!("{count} samples in one call where {max} are allowed: send several"),
    );
    Err(Failure { code: ErrorCode::ResourceExhausted, ..failure })
}

fn invalid_observations(problems: &[InvalidObservation]) -> Failure {
    let violation = |problem: &InvalidObservation| Violation {
        field: format!("metrics[{}].{}", problem.index, problem.field),
        description: problem.reason.clone(),
    };
    let message = problems.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Failure {
        code: ErrorCode::InvalidArgument,
        message,
        violations: problems.iter().take(100).map(violation).collect(),
    }
}

/// Names the observations whose samples the store refused; the others are stored.
fn refused(observations: &[Observation], summary: &AppendSummary, samples: usize) -> Failure {
    let reasons: HashMap<&str, &str> = summary
        .rejections
        .iter()
        .map(|r| (base_name(r.labels.metric()), r.reason.as_str()))
        .collect();
    let mut violations = Vec::new();
    let mut told = BTreeSet::new();
    for (index, observation) in observations.iter().enumerate() {
        let reason =
            reasons.get(base_name(&observation.name)).filter(|_| told.insert(&observation.name));
        violations.extend(reason.map(|reason| Violation {
            field: format!("metrics[{index}].timestamp"),
            description: (*reason).to_owned(),
        }));
    }
    let first =
        violations.first().map(|v| format!("{}: {}", v.field, v.description)).unwrap_or_default();
    let message = format!(
        "{} of {samples} samples were refused, the others are stored: {first}",
        summary.rejected
    );
    Failure { code: ErrorCode::InvalidArgument, message, violations }
}

fn base_name(metric: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .into_iter()
        .find_map(|suffix| metric.strip_suffix(suffix))
        .unwrap_or(metric)
}
