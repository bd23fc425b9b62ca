//! From the wire's types to what JSON shows: times as RFC 3339, durations as seconds.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::time::Timestamp;

/// A number that may be none of JSON's: `NaN` and the infinities are written as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            return serializer.serialize_f64(self.0);
        }
        serializer.serialize_str(match self.0 {
            value if value.is_nan() => "NaN",
            value if value > 0.0 => "+Inf",
            _ => "-Inf",
        })
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["number", "string"]})
    }
}

/// An instant of the wire, as RFC 3339.
pub(super) fn time(wire: prost_types::Timestamp) -> String {
    let millis = wire.seconds.saturating_mul(1000) + i64::from(wire.nanos) / 1_000_000;
    Timestamp::from_millis(millis).to_string()
}

/// A duration of the wire, in seconds.
pub(super) fn seconds(wire: prost_types::Duration) -> f64 {
    // Millionths are enough for a person, and short.
    ((wire.seconds as f64 + f64::from(wire.nanos) / 1e9) * 1e6).round() / 1e6
}

/// A duration of the wire, as people write it.
pub(super) fn short(wire: prost_types::Duration) -> String {
    crate::time::format_duration(Duration::try_from(wire).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::to_wire;

    #[test]
    fn numbers_that_json_lacks_are_texts() {
        let numbers = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Number);
        assert_eq!(serde_json::to_string(&numbers).unwrap(), r#"[1.5,"NaN","+Inf","-Inf"]"#);
    }

    #[test]
    fn times_are_rfc_3339() {
        for millis in [0, 1_700_000_000_250, -1] {
            let instant = Timestamp::from_millis(millis);
            assert_eq!(time(to_wire::time(instant)), instant.to_string());
        }
    }

    #[test]
    fn durations_are_seconds_or_units() {
        let wire = to_wire::duration(Duration::from_millis(90_250));
        assert!((seconds(wire) - 90.25).abs() < 1e-9);
        assert_eq!(short(wire), "1m30s250ms");
    }
}
