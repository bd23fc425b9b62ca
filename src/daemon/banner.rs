//! What a person reads who started the daemon by hand: what it watches, and where to look.

use std::{fmt::Write as _, io::IsTerminal};

use crate::{
    config::Config,
    model::PageRequest,
    monitor::{Monitor, TargetView},
    telemetry::log::is_under_journal,
    time::format_duration,
};

/// Targets of each kind that are named one by one.
const NAMED_MAX: usize = 10;

/// Prints it, unless the journal is where it would go.
#[expect(
    clippy::print_stdout,
    reason = "for the person at the terminal; logs go to standard error"
)]
pub(super) fn print(config: &Config, monitor: &Monitor, http: &str) {
    if is_under_journal() && !std::io::stdout().is_terminal() {
        return;
    }
    let page = PageRequest::largest();
    let targets = monitor.targets(&page).map(|page| page.items).unwrap_or_default();
    print!("{}", text(config, &targets, http));
}

fn text(config: &Config, targets: &[TargetView], http: &str) -> String {
    let (probed, waiting): (Vec<_>, Vec<_>) = targets.iter().partition(|view| view.target.probed);
    let mut text = format!("Balefire {} is watching.\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(text, "  {name:<9} {value}");
    };
    let every = format_duration(config.collect.interval);
    line("host", &format!("{} collectors, every {every}", config.collect.collectors.len()));
    for (index, view) in probed.iter().take(NAMED_MAX).enumerate() {
        line(if index == 0 { "targets" } else { "" }, &describe(view));
    }
    if probed.len() > NAMED_MAX {
        line("", &format!("and {} more", probed.len() - NAMED_MAX));
    }
    for (index, view) in waiting.iter().take(NAMED_MAX).enumerate() {
        line(
            if index == 0 { "found" } else { "" },
            &format!("{} ({})", view.target.name, view.target.source),
        );
    }
    if let Some(view) = waiting.first() {
        let count = waiting.len();
        line(
            "",
            &format!(
                "{count} not probed yet; to start one: balefire targets adopt {}",
                view.target.name
            ),
        );
    }
    line("alerts", &format!("rules evaluated every {}", format_duration(config.alerting.interval)));
    line("socket", &config.socket.display().to_string());
    line("http", http);
    line("data", &config.state_dir.display().to_string());
    let file = config.file.as_ref().map(|file| file.display().to_string());
    line("config", file.as_deref().unwrap_or("none: defaults"));
    line("ask it", "balefire status · balefire targets list · balefire alerts list");
    text
}

fn describe(view: &TargetView) -> String {
    let every = format_duration(view.target.interval);
    let transport = view.target.check.transport();
    format!("{} ({transport}, every {every}) {}", view.target.name, view.endpoint)
}
