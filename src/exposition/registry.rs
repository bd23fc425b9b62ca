//! Own metrics, as the crate `prometheus` holds them, as families.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::{
    model::{Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample},
    time::Timestamp,
};

use super::{Family, text_value};

/// Own metrics as families, stamped `now`.
pub fn from_registry(families: &[MetricFamily], now: Timestamp) -> Vec<Family> {
    families.iter().map(|family| from_family(family, now)).collect()
}

fn from_family(family: &MetricFamily, now: Timestamp) -> Family {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => MetricKind::Counter,
        MetricType::GAUGE => MetricKind::Gauge,
        MetricType::HISTOGRAM => MetricKind::Histogram,
        MetricType::SUMMARY => MetricKind::Summary,
        MetricType::UNTYPED => MetricKind::Unknown,
    };
    let name = family.name().to_owned();
    let mut rows = Rows { name: &name, now, samples: Vec::new() };
    for metric in family.get_metric() {
        rows.metric(metric, kind);
    }
    let samples = rows.samples;
    let (help, unit) = (family.help().to_owned(), String::new());
    Family { metadata: Metadata { name, kind, help, unit }, samples }
}

struct Rows<'a> {
    name: &'a str,
    now: Timestamp,
    samples: Vec<SeriesSample>,
}

impl Rows<'_> {
    fn metric(&mut self, metric: &Metric, kind: MetricKind) {
        match kind {
            MetricKind::Counter => self.push(metric, "", None, metric.get_counter().get_value()),
            MetricKind::Histogram => self.histogram(metric),
            MetricKind::Summary => self.summary(metric),
            MetricKind::Gauge | MetricKind::Unknown => {
                self.push(metric, "", None, metric.get_gauge().get_value());
            }
        }
    }

    fn histogram(&mut self, metric: &Metric) {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count() as f64;
        for bucket in histogram.get_bucket().iter().filter(|b| b.upper_bound().is_finite()) {
            let bound = text_value(bucket.upper_bound());
            self.push(metric, "_bucket", Some(("le", &bound)), bucket.cumulative_count() as f64);
        }
        self.push(metric, "_bucket", Some(("le", "+Inf")), count);
        self.push(metric, "_sum", None, histogram.get_sample_sum());
        self.push(metric, "_count", None, count);
    }

    fn summary(&mut self, metric: &Metric) {
        let summary = metric.get_summary();
        for quantile in summary.get_quantile() {
            let rank = text_value(quantile.quantile());
            self.push(metric, "", Some(("quantile", &rank)), quantile.value());
        }
        self.push(metric, "_sum", None, summary.sample_sum());
        self.push(metric, "_count", None, summary.sample_count() as f64);
    }

    fn push(&mut self, metric: &Metric, suffix: &str, bound: Option<(&str, &str)>, value: f64) {
        let name = format!("{}{suffix}", self.name);
        let own = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
        let pairs = own.chain(bound).chain([(METRIC_NAME, name.as_str())]);
        // A label value of our own that is too long for a series is a defect, but no reason to say
        // nothing of the others.
        if let Ok(labels) = Labels::new(pairs) {
            self.samples.push(SeriesSample::new(labels, self.now, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};
    use crate::telemetry::Telemetry;

    #[test]
    fn gives_counters_gauges_and_histograms() {
        let telemetry = Telemetry::new();
        telemetry.counter_vec("balefire_a_total", "A.", &["k"]).with_label_values(&["v"]).inc();
        telemetry.gauge("balefire_b", "B.").set(2.5);
        telemetry.histogram("balefire_c_seconds", "C.", &[0.5, 1.0]).observe(0.75);
        let families = from_registry(&telemetry.gather(), Timestamp::default());
        assert_eq!(
            write(&families, Format::Text, false),
            "# HELP balefire_a_total A.\n# TYPE balefire_a_total counter\n\
             balefire_a_total{k=\"v\"} 1\n\
             # HELP balefire_b B.\n# TYPE balefire_b gauge\nbalefire_b 2.5\n\
             # HELP balefire_c_seconds C.\n# TYPE balefire_c_seconds histogram\n\
             balefire_c_seconds_bucket{le=\"0.5\"} 0\nbalefire_c_seconds_bucket{le=\"1\"} 1\n\
             balefire_c_seconds_bucket{le=\"+Inf\"} 1\n\
             balefire_c_seconds_sum 0.75\nbalefire_c_seconds_count 1\n"
        );
    }
}
