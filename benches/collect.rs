//! What one pass over the host costs: CPU time, samples, and which collectors take it.
//!
//! `cargo bench --bench collect`

#![expect(clippy::print_stdout, reason = "a measurement's result is what it prints")]

use std::time::Duration;

use balefire::{
    collect::{COLLECTORS, Collectors},
    telemetry::{Telemetry, events::CollectEvents},
    time::Clock,
};
use rustix::time::{ClockId, clock_gettime};

const PASSES: u32 = 200;

fn main() {
    let defaults = Collectors::default_names();
    let (each, samples) = measure(&defaults);
    println!("default pass: {} µs of CPU, {samples} samples", each.as_micros());
    for row in COLLECTORS {
        let (each, samples) = measure(&[row.name]);
        println!("{:16} {:6} µs {samples:5} samples", row.name, each.as_micros());
    }
}

/// The CPU time of one pass, and how many samples it gave.
fn measure(names: &[&'static str]) -> (Duration, usize) {
    let mut collectors = Collectors::new(names, "bench", CollectEvents::new(&Telemetry::new()));
    let samples = collectors.collect(Clock::System.now()).len();
    let before = cpu_time();
    for _ in 0..PASSES {
        collectors.collect(Clock::System.now());
    }
    (cpu_time().saturating_sub(before) / PASSES, samples)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}
