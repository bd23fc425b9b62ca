//! What an evaluation has to say beside its answer: Prometheus' annotations, in its words
//! (util/annotations), without positions.

use std::collections::BTreeSet;

use crate::model::Incompatible;

/// Notes of each kind that are kept at most: more than anybody reads, so that those who show a few can
/// tell how many there were.
pub(super) const NOTES_MAX: usize = 64;

/// Warnings and infos, each told once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) warnings: BTreeSet<String>,
    pub(super) infos: BTreeSet<String>,
}

impl Notes {
    /// Probably wrong.
    pub(super) fn warn(&mut self, text: &str) {
        note(&mut self.warnings, format!("PromQL warning: {text}"));
    }

    /// Possibly of interest.
    pub(super) fn inform(&mut self, text: &str) {
        note(&mut self.infos, format!("PromQL info: {text}"));
    }

    /// Takes over what another part of the evaluation had to say.
    pub(super) fn merge(&mut self, other: Self) {
        other.warnings.into_iter().for_each(|text| note(&mut self.warnings, text));
        other.infos.into_iter().for_each(|text| note(&mut self.infos, text));
    }

    /// A function that cannot do with both has found both.
    pub(super) fn warn_of_mixed_range(&mut self, metric: &str) {
        self.warn(&format!(
            "encountered a mix of histograms and floats for metric name {metric:?}"
        ));
    }

    /// A function of numbers has left histograms out.
    pub(super) fn inform_of_ignored_range(&mut self, metric: &str) {
        self.inform(&format!(
            "ignored histograms in a range containing both floats and histograms for metric name \
             {metric:?}"
        ));
    }

    /// An aggregation of numbers has left histograms out.
    pub(super) fn inform_of_ignored_in(&mut self, aggregation: &str) {
        self.inform(&format!("ignored histogram in {aggregation} aggregation"));
    }

    /// Histograms of one vector do not meet.
    pub(super) fn warn_of_incompatible(&mut self, why: Incompatible, metric: &str) {
        let what = match why {
            Incompatible::Schema => {
                "a mix of histograms with exponential and custom buckets schemas"
            }
            Incompatible::Bounds => "histograms with incompatible custom buckets",
        };
        self.warn(&format!("vector contains {what} for metric name {metric:?}"));
    }
}

fn note(notes: &mut BTreeSet<String>, text: String) {
    if notes.len() < NOTES_MAX {
        notes.insert(text);
    }
}
