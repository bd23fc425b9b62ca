//! `/api/v1/metadata`.

use axum::extract::State;

use crate::model::Metadata;

use super::{
    super::{
        AppState,
        json::{Json, Object},
        params::Params,
    },
    Answered, success,
};

/// What is known of metrics, by name; each metric is described once.
pub(in crate::web) async fn metadata(State(app): State<AppState>, params: Params) -> Answered {
    let limit = params.count("limit")?;
    // There is never more than one, and 0 is no limit here.
    params.count("limit_per_metric")?;
    let mut found = app.monitor.metadata(params.get("metric"));
    found.truncate(limit.unwrap_or(usize::MAX));
    let lists: Vec<&[Metadata]> = found.chunks(1).collect();
    let names = found.iter().map(|metadata| metadata.name.as_str());
    let fields: Vec<(&str, &dyn Json)> =
        names.zip(&lists).map(|(name, list)| (name, list as &dyn Json)).collect();
    Ok(success(&Object(&fields)))
}

impl Json for Metadata {
    fn write(&self, out: &mut Vec<u8>) {
        Object(&[("type", &self.kind.name()), ("unit", &self.unit), ("help", &self.help)])
            .write(out);
    }
}
