//! Families as text.
//!
//! The formats: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use crate::{
    model::{Metadata, MetricKind, Sample, SeriesSample},
    time::Timestamp,
};

use super::{
    Family, Format,
    escape::{push_fmt, push_help, push_series},
    text_value,
    value::{push_int, push_padded},
};

/// Writes families.
pub fn write(families: &[Family], format: Format, with_timestamps: bool) -> String {
    let mut out = String::new();
    for family in families {
        push_metadata(&family.metadata, format, &mut out);
        for SeriesSample { labels, sample } in &family.samples {
            push_series(labels, &mut out);
            push_sample(*sample, with_timestamps.then_some(format), &mut out);
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// Appends ` value` or ` value timestamp`, and the newline; with a timestamp where `format` says in
/// which unit.
pub(super) fn push_sample(sample: Sample, format: Option<Format>, out: &mut String) {
    out.push(' ');
    out.push_str(&text_value(sample.value));
    match format {
        None => {}
        Some(Format::Text) => push_fmt(out, format_args!(" {}", sample.timestamp.as_millis())),
        Some(Format::OpenMetrics) => {
            out.push(' ');
            let mut seconds = Vec::new();
            push_seconds(sample.timestamp, &mut seconds);
            out.push_str(&String::from_utf8_lossy(&seconds));
        }
    }
    out.push('\n');
}

/// Appends seconds, exactly to the millisecond; tells how many digits stand behind the point.
///
/// Prometheus multiplies them by 1000 and cuts off the rest, which loses a millisecond wherever the
/// nearest double lies below: there a microsecond is added, which nobody else minds.
pub(super) fn push_seconds(timestamp: Timestamp, out: &mut Vec<u8>) -> usize {
    let millis = timestamp.as_millis();
    push_int(millis / 1000, out);
    let rest = millis.unsigned_abs() % 1000;
    if rest == 0 {
        return 0;
    }
    if millis < 0 && millis > -1000 {
        // The zero before the point has lost its sign.
        out.insert(out.len() - 1, b'-');
    }
    out.push(b'.');
    push_padded(rest, 3, out);
    if survives_a_cut(millis) {
        return 3;
    }
    out.extend_from_slice(b"001");
    6
}

#[expect(clippy::cast_possible_truncation, reason = "that is what Prometheus does")]
fn survives_a_cut(millis: i64) -> bool {
    (millis as f64 / 1000.0 * 1000.0) as i64 == millis
}

/// Appends the lines that describe a family.
pub(super) fn push_metadata(metadata: &Metadata, format: Format, out: &mut String) {
    let is_open = format == Format::OpenMetrics;
    let (name, kind) = if is_open { open_metrics(metadata) } else { text(metadata) };
    if !metadata.help.is_empty() {
        push_fmt(out, format_args!("# HELP {name} "));
        push_help(&metadata.help, is_open, out);
        out.push('\n');
    }
    push_fmt(out, format_args!("# TYPE {name} {kind}\n"));
    // OpenMetrics wants the unit to end the name.
    let unit = &metadata.unit;
    let ends = || name.strip_suffix(unit.as_str()).is_some_and(|stem| stem.ends_with('_'));
    if is_open && !unit.is_empty() && ends() {
        push_fmt(out, format_args!("# UNIT {name} {unit}\n"));
    }
}

fn text(metadata: &Metadata) -> (&str, &'static str) {
    let kind = match metadata.kind {
        MetricKind::Unknown => "untyped",
        kind => kind.name(),
    };
    (&metadata.name, kind)
}

/// In OpenMetrics a counter's samples end in `_total` and its family does not; a counter that is called
/// otherwise has no type there.
fn open_metrics(metadata: &Metadata) -> (&str, &'static str) {
    match (metadata.kind, metadata.name.strip_suffix("_total")) {
        (MetricKind::Counter, Some(family)) => (family, "counter"),
        (MetricKind::Counter, None) => (&metadata.name, MetricKind::Unknown.name()),
        (kind, _) => (&metadata.name, kind.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn family(name: &str, kind: MetricKind, help: &str, unit: &str) -> Family {
        let labels = Labels::of(name, [("path", "C:\\a\"b\n")]);
        Family {
            metadata: Metadata { name: name.into(), kind, help: help.into(), unit: unit.into() },
            samples: vec![SeriesSample::new(labels, Timestamp::from_millis(1_500_000), 1e6)],
        }
    }

    #[test]
    fn writes_the_text_format() {
        let family = family("a_bytes_total", MetricKind::Counter, "It\\s \"x\"\nand y.", "bytes");
        assert_eq!(
            write(&[family], Format::Text, true),
            "# HELP a_bytes_total It\\\\s \"x\"\\nand y.\n# TYPE a_bytes_total counter\n\
             a_bytes_total{path=\"C:\\\\a\\\"b\\n\"} 1e+06 1500000\n"
        );
    }

    #[test]
    fn writes_openmetrics() {
        let family = family("a_bytes_total", MetricKind::Counter, "Say \"x\".", "bytes");
        assert_eq!(
            write(&[family], Format::OpenMetrics, true),
            "# HELP a_bytes Say \\\"x\\\".\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
             a_bytes_total{path=\"C:\\\\a\\\"b\\n\"} 1e+06 1500\n# EOF\n"
        );
    }

    #[test]
    fn a_counter_that_is_not_called_one_has_no_type_in_openmetrics() {
        let text =
            write(&[family("pages", MetricKind::Counter, "", "")], Format::OpenMetrics, false);
        assert!(text.starts_with("# TYPE pages unknown\npages{"), "{text}");
    }

    fn seconds(millis: i64) -> String {
        let mut out = Vec::new();
        let digits = push_seconds(Timestamp::from_millis(millis), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.split_once('.').map_or(0, |(_, digits)| digits.len()), digits);
        text
    }

    #[test]
    fn seconds_are_exact() {
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
        assert_eq!(seconds(-1500), "-1.500");
        assert_eq!(seconds(-7), "-0.007");
        assert_eq!(seconds(7000), "7");
    }

    #[test]
    fn seconds_survive_to_be_multiplied_and_cut() {
        let mut nudged = 0;
        let nearly_all = 1_700_000_000_000..1_700_000_003_000_i64;
        for millis in nearly_all.chain(2_199_000_000_000..2_199_000_003_000).chain(-2000..2000) {
            let text = seconds(millis);
            let cut = text.parse::<f64>().unwrap() * 1000.0;
            assert!((cut.trunc() - millis as f64).abs() < 0.5, "{text}");
            nudged += i32::from(text.ends_with("001") && text.len() > 14);
        }
        assert!(nudged > 100, "some need it, or this tests nothing: {nudged}");
    }
}
