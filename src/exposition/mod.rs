//! The text formats, both ways: Prometheus text 0.0.4 and OpenMetrics 1.0. Pure.

use crate::{
    model::{Metadata, SeriesSample},
    time::Timestamp,
};

/// Metrics that share a name, in the order they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// What is known of them.
    pub metadata: Metadata,
    /// Sorted by labels; the timestamp is written only where `with_timestamps` is asked for.
    pub samples: Vec<SeriesSample>,
}

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// The format an `Accept` header asks for; text where it asks for nothing we have.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let _ = accept;
        todo!()
    }
    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        todo!()
    }
}

/// Own metrics as families, stamped `now`.
pub fn from_registry(families: &[prometheus::proto::MetricFamily], now: Timestamp) -> Vec<Family> {
    let _ = (families, now);
    todo!()
}

/// Samples sorted into families by their metadata (histogram and summary parts go together).
pub fn into_families(
    samples: Vec<SeriesSample>,
    metadata: &dyn Fn(&str) -> Option<Metadata>,
) -> Vec<Family> {
    let _ = (samples, metadata);
    todo!()
}

/// Writes families.
pub fn write(families: &[Family], format: Format, with_timestamps: bool) -> String {
    let _ = (families, format, with_timestamps);
    todo!()
}

/// Reads text format (for `balefire write`): samples and metadata; samples without a timestamp get `now`.
pub fn parse(text: &str, now: Timestamp) -> Result<crate::model::Batch, InvalidExposition> {
    let _ = (text, now);
    todo!()
}

/// A line that is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidExposition {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}
