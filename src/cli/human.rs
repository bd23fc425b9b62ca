//! Numbers, times and series as a person reads them.

use std::{collections::BTreeMap, time::Duration};

use crate::{model::Labels, time::Timestamp, wire::from_wire};

/// An instant of an answer; `None` where it is absent.
pub(super) fn instant(wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    wire.and_then(|wire| from_wire::time("", wire).ok())
}

/// A length of an answer; `None` where it is absent.
pub(super) fn length(wire: Option<prost_types::Duration>) -> Option<Duration> {
    wire.and_then(|wire| from_wire::duration("", wire).ok())
}

/// A series as Prometheus writes it.
pub(super) fn series(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Labels::from_sorted(&pairs).to_string()
}

/// How long ago, or in how long: `3m ago`, `in 20s`, `now`.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    if now.since(time) >= Duration::from_secs(1) {
        format!("{} ago", span(now.since(time)))
    } else if time.since(now) >= Duration::from_secs(1) {
        format!("in {}", span(time.since(now)))
    } else {
        "now".to_owned()
    }
}

/// A length in its two largest units: `45s`, `3m 20s`, `2h 5m`, `3d 4h`.
pub(super) fn span(length: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let seconds = length.as_secs();
    let Some(largest) = UNITS.iter().position(|(_, unit)| seconds >= *unit) else {
        return latency(length);
    };
    let (name, unit) = UNITS[largest];
    let first = format!("{}{name}", seconds / unit);
    match UNITS.get(largest + 1).map(|(name, smaller)| (name, seconds % unit / smaller)) {
        // From ten on, the smaller unit tells nothing that anybody wants to know.
        Some((name, rest)) if rest > 0 && seconds / unit < 10 => format!("{first} {rest}{name}"),
        _ => first,
    }
}

/// How long something took: `0.4ms`, `12ms`, `3.2s`.
pub(super) fn latency(length: Duration) -> String {
    let millis = length.as_secs_f64() * 1000.0;
    if length.is_zero() {
        "0s".to_owned()
    } else if millis < 10.0 {
        format!("{millis:.1}ms")
    } else if millis < 1000.0 {
        format!("{millis:.0}ms")
    } else {
        format!("{:.1}s", length.as_secs_f64())
    }
}

/// A size: `512 B`, `1.5 GiB`.
pub(super) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = size as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{size} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

/// A whole number with thin groups of three: `1 234 567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A sample's value as Prometheus writes it.
pub(super) fn value(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value != 0.0 && !(1e-6..1e15).contains(&value.abs()) && !value.is_nan() {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// A value in a summary, three digits after the point at most.
pub(super) fn rounded(number: f64) -> String {
    value((number * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now = Timestamp::from_secs(100_000);
        let check = |seconds: i64, text: &str| {
            assert_eq!(age(Timestamp::from_secs(100_000 - seconds), now), text);
        };
        check(0, "now");
        check(45, "45s ago");
        check(200, "3m 20s ago");
        check(1_260, "21m ago");
        check(7_500, "2h 5m ago");
        check(-20, "in 20s");
        assert_eq!(span(Duration::from_hours(3 * 24 + 4)), "3d 4h");
    }

    #[test]
    fn latencies_and_sizes() {
        assert_eq!(latency(Duration::from_micros(420)), "0.4ms");
        assert_eq!(latency(Duration::from_millis(12)), "12ms");
        assert_eq!(latency(Duration::from_millis(3_210)), "3.2s");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn values() {
        for (number, text) in [(1.5, "1.5"), (0.0, "0"), (f64::INFINITY, "+Inf"), (1e20, "1e20")] {
            assert_eq!(value(number), text);
        }
        assert_eq!(value(f64::NAN), "NaN");
        assert_eq!(rounded(41.666_67), "41.667");
    }
}
