//! `# HELP`, `# TYPE` and `# UNIT`, which come on lines of their own, in any order.

use std::{collections::BTreeMap, mem};

use super::{super::families::unknown, Fault, text::unescaped_help};
use crate::model::{Batch, Metadata, MetricKind, is_metric_name};

/// Families that are remembered, in case that more is said of them.
const FAMILIES_MAX: usize = 10_000;
const WORDS: [&str; 3] = ["HELP", "TYPE", "UNIT"];

/// What has been said of families.
#[derive(Default)]
pub(super) struct Descriptions {
    /// A counter's family is called without the suffix of its samples.
    short_counters: bool,
    /// Help is what stands behind one space, more spaces among it.
    exact_help: bool,
    families: BTreeMap<String, Family>,
    /// Of families whose names are taken by others now.
    done: Vec<Metadata>,
}

struct Family {
    metadata: Metadata,
    said: [bool; WORDS.len()],
    is_news: bool,
}

impl Descriptions {
    /// As OpenMetrics has them.
    pub(super) fn open_metrics() -> Self {
        Self { short_counters: true, ..Self::exact() }
    }

    /// As an export in line protocol has them.
    pub(super) fn exact() -> Self {
        Self { exact_help: true, ..Self::default() }
    }

    /// What follows a `#`: `HELP name text`, `TYPE name kind`, `UNIT name unit`; any other comment is
    /// nobody's.
    pub(super) fn comment(&mut self, comment: &str) -> Result<(), Fault> {
        let Some((word, rest)) = comment.split_once([' ', '\t']) else { return Ok(()) };
        let Some(place) = WORDS.iter().position(|known| *known == word) else { return Ok(()) };
        let rest = rest.trim_start();
        let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest.trim_end(), ""));
        if !is_metric_name(name) {
            return Err(Fault::new(rest, format!("{word} of an invalid metric name {name:?}")));
        }
        let kind = if word == "TYPE" { kind(text.trim())? } else { MetricKind::Unknown };
        let text = if self.exact_help { text } else { text.trim() };
        let family = self.family(name, place);
        match word {
            "HELP" => family.help = unescaped_help(text),
            "UNIT" => text.trim().clone_into(&mut family.unit),
            _ => family.kind = kind,
        }
        Ok(())
    }

    /// The family that `WORDS[place]` is said of: another one, where it was said already.
    fn family(&mut self, name: &str, place: usize) -> &mut Metadata {
        let new = || Family { metadata: unknown(name), said: [false; 3], is_news: true };
        let family = self.families.entry(name.to_owned()).or_insert_with(new);
        if family.said[place] {
            let before = mem::replace(family, new());
            self.done.extend(before.is_news.then_some(before.metadata));
        }
        family.said[place] = true;
        family.is_news = true;
        &mut family.metadata
    }

    /// Adds what was said since the last time.
    pub(super) fn flush(&mut self, batch: &mut Batch) {
        let short = self.short_counters;
        let done = mem::take(&mut self.done);
        let news = self
            .families
            .values_mut()
            .filter_map(|family| mem::take(&mut family.is_news).then(|| family.metadata.clone()));
        batch.metadata.extend(done.into_iter().chain(news).map(|mut metadata| {
            let bare = !metadata.name.ends_with("_total");
            if short && metadata.kind == MetricKind::Counter && bare {
                metadata.name.push_str("_total");
            }
            metadata
        }));
        if self.families.len() > FAMILIES_MAX {
            self.families.clear();
        }
    }
}

fn kind(word: &str) -> Result<MetricKind, Fault> {
    Ok(match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        "untyped" | "unknown" | "info" | "stateset" | "gaugehistogram" => MetricKind::Unknown,
        _ => {
            return Err(Fault::new(
                word,
                format!(
                    "unknown type {word:?}: write counter, gauge, histogram, summary or untyped"
                ),
            ));
        }
    })
}
