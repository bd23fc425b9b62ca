//! What scrapers read: the latest samples as families.

use std::collections::BTreeMap;

use crate::{
    exposition::{Family, into_families},
    limits,
    model::{Labels, SeriesSample},
};

use super::{Failure, Monitor, queries::parse_selectors};

impl Monitor {
    /// The latest samples of host and probes, for `/metrics`: not what is only stored. Balefire's own
    /// come from telemetry.
    pub fn exposition(&self) -> Vec<Family> {
        let mut samples = self.parts.collecting.host().to_vec();
        samples.extend(self.parts.targets.samples(self.now()));
        into_families(samples, &|name| self.parts.store.metadata(name))
    }

    /// The latest stored sample, no older than the look-back, of each series that one of the
    /// selectors matches (none means all).
    pub async fn federate(&self, selectors: &[String]) -> Result<Vec<Family>, Failure> {
        let mut selectors = parse_selectors(selectors)?;
        if selectors.is_empty() {
            selectors.push(Vec::new());
        }
        let since = self.now().minus(limits::QUERY_LOOKBACK);
        let external = self.settings().external_labels.clone();
        let families = self.blocking(move |store| {
            let found = selectors.iter().flat_map(|matchers| store.latest(matchers, since));
            // A series that several selectors match is told once.
            let series: BTreeMap<Labels, SeriesSample> =
                found.map(|s| labelled(&s, &external)).map(|s| (s.labels.clone(), s)).collect();
            into_families(series.into_values().collect(), &|name| store.metadata(name))
        });
        families.await
    }
}

/// A series with the labels of this host, where it has none of that name itself.
fn labelled(series: &SeriesSample, external: &Labels) -> SeriesSample {
    let missing = external.iter().filter(|(name, _)| series.labels.get(name).is_none());
    let labels =
        missing.fold(series.labels.clone(), |labels, (name, value)| labels.with(name, value));
    SeriesSample { labels, sample: series.sample }
}
