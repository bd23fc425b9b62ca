//! The ways a line can leave: the journal with its fields, or text and JSON to a writer.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use prometheus::IntCounter;
use tracing::{Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    fmt::{format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use super::LogFormat;
use crate::time::Clock;

/// Whether standard error is the journal, as systemd says in `JOURNAL_STREAM`: its device and inode.
pub fn is_under_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| names_file(&stream, stat.st_dev, stat.st_ino))
}

pub(super) fn names_file(journal_stream: &str, device: u64, inode: u64) -> bool {
    journal_stream
        .split_once(':')
        .is_some_and(|(d, i)| d.parse::<u64>() == Ok(device) && i.parse::<u64>() == Ok(inode))
}

/// Events that the message catalog explains (packaging/balefire.catalog): their names, and the ids by
/// which the journal finds them.
pub(super) const CATALOGUED: [(&str, &str); 4] = [
    ("alert_firing", "b2f1c5e47d0a4c0f9d6e8a35f0c71d01"),
    ("alert_resolved", "b2f1c5e47d0a4c0f9d6e8a35f0c71d02"),
    ("target_down", "b2f1c5e47d0a4c0f9d6e8a35f0c71d03"),
    ("target_up", "b2f1c5e47d0a4c0f9d6e8a35f0c71d04"),
];

/// The journal's native protocol; `None` where it does not answer. An id stands for all events of a
/// layer, so that each kind of event with one has a layer of its own.
pub(super) fn journal<S>() -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_plain = |event: &Metadata<'_>| CATALOGUED.iter().all(|(name, _)| *name != event.name());
    let mut layers = vec![journal_layer()?.with_filter(filter_fn(is_plain)).boxed()];
    for (name, id) in CATALOGUED {
        let layer = journal_layer()?.with_custom_fields([("MESSAGE_ID", id)]);
        layers.push(layer.with_filter(filter_fn(move |event| event.name() == name)).boxed());
    }
    Some(layers.boxed())
}

fn journal_layer() -> Option<tracing_journald::Layer> {
    // By default INFO would be priority 5, "notice", and fields would start with `F_`.
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_priority_mappings(priorities).with_field_prefix(Some("BALEFIRE".to_owned())))
}

/// Standard error, with colour where a person looks at it.
pub(super) fn stderr<S>(
    format: LogFormat,
    lines_lost: IntCounter,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    lines(format, colour, Arc::new(Stderr { lines_lost }))
}

/// Lines of text or JSON to `writer`.
pub(super) fn lines<S, W>(
    format: LogFormat,
    colour: bool,
    writer: Arc<W>,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Send + Sync + 'static,
    for<'a> &'a W: Write,
{
    let layer = tracing_subscriber::fmt::layer().with_timer(WallTime).with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(colour).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// The time of a line, in UTC to the millisecond.
struct WallTime;

impl FormatTime for WallTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", Clock::System.now())
    }
}

/// Standard error that may be closed or full: the library would panic over it.
struct Stderr {
    lines_lost: IntCounter,
}

impl Write for &Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            self.lines_lost.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
