//! What scrapers read: the latest samples as families.

use std::collections::BTreeMap;

use tokio::task::spawn_blocking;

use crate::{
    error_code::ErrorCode,
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
        let store = self.parts.store.clone();
        let families = spawn_blocking(move || {
            let found = selectors.iter().flat_map(|matchers| store.latest(matchers, since));
            // A series that several selectors match is told once.
            let series: BTreeMap<Labels, SeriesSample> =
                found.map(|s| (s.labels.clone(), s)).collect();
            into_families(series.into_values().collect(), &|name| store.metadata(name))
        });
        families.await.map_err(|error| {
            Failure::new(ErrorCode::Internal, format!("the search panicked: {error}"))
        })
    }
}
