//! Rollups: what stands for the samples of five minutes, or of an hour, when those are gone. Pure.

use std::time::Duration;

use crate::{
    model::{HistogramSample, Sample, is_stale},
    time::Timestamp,
};

/// How finely stored samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// As they came.
    Raw,
    /// Rollups of five minutes.
    FiveMinutes,
    /// Rollups of an hour.
    Hour,
}

impl Tier {
    /// All tiers, the finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::FiveMinutes, Self::Hour];

    /// How much time one entry stands for; zero for samples as they came.
    pub fn resolution(self) -> Duration {
        match self {
            Self::Raw => Duration::ZERO,
            Self::FiveMinutes => Duration::from_mins(5),
            Self::Hour => Duration::from_hours(1),
        }
    }

    /// The word for it in directories, settings and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }
}

/// What stands for the samples of one series in one [stretch](Timestamp::stretch) of a tier's
/// resolution: those in (k · resolution, (k + 1) · resolution], as a window of PromQL would hold them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rollup {
    /// The time of the last sample.
    pub(super) time: Timestamp,
    /// The last sample's value; the staleness marker where the series ended with it.
    pub(super) last: f64,
    /// The lowest value, markers left out; NaN values count only where there are no others.
    pub(super) min: f64,
    /// The highest value, in the same way.
    pub(super) max: f64,
    /// The sum of the values, markers left out.
    pub(super) sum: f64,
    /// How many values, markers left out; with 0 the three above mean nothing.
    pub(super) count: u64,
}

impl Rollup {
    /// What stands for one sample.
    fn of(sample: &Sample) -> Self {
        let Sample { timestamp: time, value } = *sample;
        if is_stale(value) {
            return Self { time, last: value, min: 0.0, max: 0.0, sum: 0.0, count: 0 };
        }
        Self { time, last: value, min: value, max: value, sum: value, count: 1 }
    }

    /// What stands for the samples of this one and of a later one together.
    fn and(self, later: &Self) -> Self {
        let Self { time, last, .. } = *later;
        // Where one of them holds no value, its numbers mean nothing.
        if later.count == 0 {
            return Self { time, last, ..self };
        }
        if self.count == 0 {
            return *later;
        }
        Self {
            time,
            last,
            min: if later.min < self.min || self.min.is_nan() { later.min } else { self.min },
            max: if later.max > self.max || self.max.is_nan() { later.max } else { self.max },
            sum: self.sum + later.sum,
            count: self.count.saturating_add(later.count),
        }
    }
}

/// Appends what stands for samples in ascending order: one rollup for each stretch of `resolution`
/// that has any. The first and the last stretch are told by these samples alone: hand over whole ones.
pub(super) fn roll(samples: &[Sample], resolution: Duration, out: &mut Vec<Rollup>) {
    merge(samples.iter().map(Rollup::of), resolution, out);
}

/// Appends what stands for finer rollups in ascending order, whose resolution divides `resolution`.
/// All numbers are as if they came from the samples, but that the sum adds up in another order.
pub(super) fn roll_up(finer: &[Rollup], resolution: Duration, out: &mut Vec<Rollup>) {
    merge(finer.iter().copied(), resolution, out);
}

/// The histograms that stand for others: the last of each stretch, and both sides of each reset of the
/// counts, so that no increase is lost and the reset can still be seen; all of them where the resolution
/// is zero.
pub(super) fn thin(histograms: &[HistogramSample], resolution: Duration) -> Vec<HistogramSample> {
    let is_reset = |at: usize| !histograms[at].histogram.continues(&histograms[at - 1].histogram);
    let stays = |at: &usize| {
        let (this, Some(next)) = (&histograms[*at], histograms.get(at + 1)) else { return true };
        this.timestamp.stretch(resolution) != next.timestamp.stretch(resolution)
            || is_reset(at + 1)
            || (*at > 0 && is_reset(*at))
    };
    (0..histograms.len()).filter(stays).map(|at| histograms[at].clone()).collect()
}

/// Puts together what lies in the same stretch.
fn merge(parts: impl Iterator<Item = Rollup>, resolution: Duration, out: &mut Vec<Rollup>) {
    let mut open: Option<(Timestamp, Rollup)> = None;
    for part in parts {
        let stretch = part.time.stretch(resolution).start;
        open = match open {
            Some((same, whole)) if same == stretch => Some((same, whole.and(&part))),
            done => {
                out.extend(done.map(|(_, whole)| whole));
                Some((stretch, part))
            }
        };
    }
    out.extend(open.map(|(_, whole)| whole));
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{model::stale_nan, store::testing::histograms::latencies};

    const FIVE: Duration = Duration::from_mins(5);
    const HOUR: Duration = Duration::from_hours(1);

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        let sample = |(time, value)| Sample { timestamp: Timestamp::from_secs(time), value };
        pairs.iter().copied().map(sample).collect()
    }

    fn rolled(samples: &[Sample], resolution: Duration) -> Vec<Rollup> {
        let mut out = Vec::new();
        roll(samples, resolution, &mut out);
        out
    }

    fn five(pairs: &[(i64, f64)]) -> Vec<Rollup> {
        rolled(&samples(pairs), FIVE)
    }

    #[test]
    fn a_stretch_begins_after_one_multiple_and_holds_the_next() {
        let rolled = five(&[(0, 1.0), (1, 5.0), (300, 3.0), (301, 7.0)]);
        let [before, first, second] = rolled[..] else { panic!("{rolled:?}") };
        assert_eq!((before.time, before.count), (Timestamp::from_secs(0), 1));
        let whole = Rollup {
            time: Timestamp::from_secs(300),
            last: 3.0,
            min: 3.0,
            max: 5.0,
            sum: 8.0,
            count: 2,
        };
        assert_eq!(first, whole);
        assert_eq!((second.time, second.sum), (Timestamp::from_secs(301), 7.0));
    }

    #[test]
    fn times_before_the_epoch_are_aligned_downwards() {
        let times: Vec<_> = five(&[(-600, 1.0), (-599, 1.0), (-300, 2.0), (-299, 3.0)])
            .iter()
            .map(|r| r.time)
            .collect();
        assert_eq!(times, [-600, -300, -299].map(Timestamp::from_secs));
    }

    #[test]
    fn a_marker_is_a_last_value_and_nothing_else() {
        let rolled = five(&[(1, 4.0), (10, stale_nan())]);
        assert!(is_stale(rolled[0].last));
        assert_eq!(
            (rolled[0].min, rolled[0].max, rolled[0].sum, rolled[0].count),
            (4.0, 4.0, 4.0, 1)
        );
        let back = five(&[(1, stale_nan()), (10, -4.0), (20, -3.0)]);
        assert_eq!(
            (back[0].last, back[0].min, back[0].max, back[0].sum, back[0].count),
            (-3.0, -4.0, -3.0, -7.0, 2)
        );
        let gone = five(&[(1, stale_nan()), (10, stale_nan())]);
        assert_eq!((gone.len(), gone[0].count), (1, 0));
        assert!(is_stale(gone[0].last));
    }

    #[test]
    fn nan_is_the_lowest_and_the_highest_only_where_it_is_alone() {
        let mixed = five(&[(1, f64::NAN), (10, 4.0), (20, f64::NAN), (30, 2.0)]);
        assert_eq!((mixed[0].min, mixed[0].max, mixed[0].count), (2.0, 4.0, 4));
        assert!(mixed[0].sum.is_nan());
        let alone = five(&[(1, f64::NAN), (10, stale_nan())]);
        assert!(alone[0].min.is_nan() && alone[0].max.is_nan());
        assert_eq!(alone[0].count, 1);
    }

    #[test]
    fn the_last_histogram_of_a_stretch_stays_and_both_sides_of_a_reset() {
        let mut all = latencies(40);
        // The counter begins anew at the 15th, and passes its old values before the stretch is over: 30 s
        // apart, ten are in five minutes.
        let anew = latencies(200);
        let anew = anew.iter().take(1).chain(&anew[150..]);
        for (sample, anew) in all[15..].iter_mut().zip(anew) {
            sample.histogram = anew.histogram.clone();
        }
        assert!(all[16].histogram.continues(&all[14].histogram));
        let kept = thin(&all, FIVE);
        let at = |sample: &HistogramSample| all.iter().position(|one| one == sample).unwrap();
        let stretch_ends = (0..40).filter(|at| {
            let end = |at: usize| all.get(at).map(|sample| sample.timestamp.stretch(FIVE));
            [14, 15].contains(at) || end(*at) != end(*at + 1)
        });
        assert_eq!(kept.iter().map(at).collect::<Vec<_>>(), stretch_ends.collect::<Vec<_>>());
        assert_eq!(thin(&kept, FIVE), kept);
    }

    #[test]
    fn nothing_stands_for_nothing() {
        assert_eq!(five(&[]), []);
    }

    proptest! {
        #[test]
        fn rolling_up_is_as_rolling_at_once(
            steps in vec((0..400_i64, prop_oneof![
                6 => (-1000..1000_i32).prop_map(f64::from),
                1 => Just(f64::NAN),
                1 => Just(stale_nan()),
            ]), 0..300),
        ) {
            let mut time = -20_000;
            let pairs: Vec<(i64, f64)> = steps
                .into_iter()
                .map(|(step, value)| {
                    time += step;
                    (time, value)
                })
                .collect();
            let samples = samples(&pairs);
            let mut up = Vec::new();
            roll_up(&rolled(&samples, FIVE), HOUR, &mut up);
            // Whole numbers add up to the same in any order.
            let bits = |all: &[Rollup]| -> Vec<_> {
                let plain = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
                let each = |r: &Rollup| {
                    (r.time, r.last.to_bits(), plain(r.min), plain(r.max), plain(r.sum), r.count)
                };
                all.iter().map(each).collect()
            };
            prop_assert_eq!(bits(&up), bits(&rolled(&samples, HOUR)));
        }
    }
}
