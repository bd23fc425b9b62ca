//! `/api/v1/targets`: what Balefire probes, in the shape of what Prometheus scrapes.

use axum::extract::State;

use crate::{model::Labels, monitor::TargetView, time::format_duration};

use super::{
    super::{
        AppState,
        json::{Json, Object, Time},
        params::Params,
    },
    Answered, empty_list, success,
};

/// The one pool, which is the job of the probes' series, too.
const POOL: &str = "probe";

/// The targets that are probed, and those that are only known.
pub(in crate::web) async fn targets(State(app): State<AppState>, params: Params) -> Answered {
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    let asked = |wanted: &str| state == "any" || state == wanted;
    let pool = params.get("scrapePool").is_none_or(|pool| pool == POOL);
    let all = if pool { app.monitor.all_targets() } else { Vec::new() };
    let (active, dropped): (Vec<_>, Vec<_>) = all.into_iter().partition(|view| view.target.probed);
    let listed = |views: Vec<TargetView>, wanted| if asked(wanted) { views } else { Vec::new() };
    let active: Vec<Active> = listed(active, "active").into_iter().map(Active).collect();
    let dropped: Vec<Dropped> = listed(dropped, "dropped").into_iter().map(Dropped).collect();
    let count = dropped.len() as u64;
    let counts: &[(&str, &dyn Json)] = if asked("dropped") { &[(POOL, &count)] } else { &[] };
    Ok(success(&Object(&[
        ("activeTargets", &active),
        ("droppedTargets", &dropped),
        ("droppedTargetCounts", &Object(counts)),
    ])))
}

/// What targets tell of their metrics: nothing, as probes read none.
pub(in crate::web) async fn metadata() -> Answered {
    Ok(empty_list())
}

/// The pools of targets.
pub(in crate::web) async fn pools() -> Answered {
    Ok(success(&Object(&[("scrapePools", &[POOL].as_slice())])))
}

struct Active(TargetView);
struct Dropped(TargetView);

impl Json for Active {
    fn write(&self, out: &mut Vec<u8>) {
        let TargetView { target, endpoint, status } = &self.0;
        let last = status.last_probe.as_ref();
        let health = match status.state.health() {
            Some(health) if health > 0.0 => "up",
            Some(_) => "down",
            None => "unknown",
        };
        Object(&[
            ("discoveredLabels", &discovered(&self.0)),
            ("labels", &labels(&target.name, target.check.kind())),
            ("scrapePool", &POOL),
            ("scrapeUrl", endpoint),
            ("globalUrl", endpoint),
            ("lastError", &status.error()),
            ("lastScrape", &Time(last.map(|probe| probe.started_at))),
            ("lastScrapeDuration", &last.map_or(0.0, |probe| probe.duration.as_secs_f64())),
            ("health", &health),
            ("scrapeInterval", &format_duration(target.interval).to_string()),
            ("scrapeTimeout", &format_duration(target.timeout).to_string()),
        ])
        .write(out);
    }
}

impl Json for Dropped {
    fn write(&self, out: &mut Vec<u8>) {
        Object(&[("discoveredLabels", &discovered(&self.0)), ("scrapePool", &POOL)]).write(out);
    }
}

/// The labels of the target's series.
fn labels(name: &str, kind: &str) -> Labels {
    Labels::of("", [("instance", name), ("job", POOL), ("kind", kind)])
}

/// What is known of it before it is probed.
fn discovered(view: &TargetView) -> Labels {
    let source = view.target.source.to_string();
    labels(&view.target.name, view.target.check.kind())
        .with("__address__", &view.endpoint)
        .with("__meta_balefire_source", &source)
}
