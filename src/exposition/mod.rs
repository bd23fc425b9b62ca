//! Samples as text, both ways: Prometheus' text format 0.0.4, OpenMetrics 1.0, and the forms of an
//! export. Pure; it knows no sockets.
//!
//! Start with [`Family`] and [`write()`]; [`parse`] is its inverse. [`ExportWriter`] writes long series
//! piece by piece, and [`ImportReader`] reads them so.

mod escape;
mod export;
mod families;
mod histogram;
mod parse;
mod read;
mod registry;
mod special;
mod value;
mod write;

use crate::model::{Metadata, SeriesSample};

pub use export::{ExportFormat, ExportSummary, ExportWriter, PIECE_BYTES, Points};
pub use families::into_families;
pub use parse::{InvalidExposition, parse};
pub use read::{ImportFormat, ImportPiece, ImportReader, InvalidLine, LineCounts};
pub use registry::from_registry;
pub use value::{api_value, text_value};
pub use write::write;

/// Metrics that share a name, in the order they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// What is known of them.
    pub metadata: Metadata,
    /// Sorted by labels, a histogram's buckets by their bounds; the timestamp is written only where
    /// that is asked for.
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
    /// The format that an `Accept` header likes best (RFC 9110, 12.5.1); text where it asks for nothing
    /// we have.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, format: Format) {
        assert_eq!(Format::negotiate(Some(accept)), format, "{accept}");
    }

    #[test]
    fn gives_what_is_liked_best() {
        assert_eq!(Format::negotiate(None), Format::Text);
        check("*/*", Format::Text);
        check("text/html,application/json;q=0.9", Format::Text);
        check("application/openmetrics-text; version=1.0.0", Format::OpenMetrics);
        check("text/plain;q=0.9, application/openmetrics-text;q=0.5", Format::Text);
        check(
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
    }
}
