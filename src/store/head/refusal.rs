//! What becomes of a sample that is offered.

use std::time::Duration;

use crate::{
    limits,
    time::{Timestamp, format_duration},
};

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Admission {
    /// It is in.
    Accepted,
    /// It was there, with the same value.
    Duplicate,
    /// It is not in.
    Refused(Refusal),
}

/// Why a sample is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Refusal {
    /// Another value has this time already.
    Conflict(Timestamp),
    /// Too far behind the newest sample of the series: further than the window.
    Late(Timestamp, Duration),
    /// Older than the retention, which begins at the second time.
    Expired(Timestamp, Timestamp),
    /// Before everything that is still open.
    Sealed(Timestamp, Timestamp),
    /// Ahead of the clock.
    Future(Timestamp),
    /// No more series are taken.
    TooManySeries(usize),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Conflict(time) => {
                write!(f, "another value is stored for {time} already: samples are never changed")
            }
            Self::Late(time, window) => write!(
                f,
                "{time} is more than {} behind the newest sample of the series: send samples \
                 sooner, or set storage.out_of_order_window higher",
                format_duration(*window)
            ),
            Self::Expired(time, oldest) => write!(
                f,
                "{time} is too old: what lies before {oldest} is past the retention and not kept; check \
                 that the time is in milliseconds"
            ),
            Self::Sealed(time, floor) => write!(
                f,
                "{time} is too old: what lies before {floor} is sealed; send samples sooner, or set \
                 storage.out_of_order_window higher"
            ),
            Self::Future(time) => write!(
                f,
                "{time} is more than {} in the future: check the clock, and that the time is in \
                 milliseconds",
                format_duration(limits::SAMPLE_FUTURE_MAX)
            ),
            Self::TooManySeries(max) => write!(
                f,
                "the limit of {max} series is reached: send fewer different labels, wait until idle \
                 series have left the open window, or set storage.series_max higher"
            ),
        }
    }
}

/// Between which times samples are taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bounds {
    /// What lies before is older than the retention.
    pub(in crate::store) oldest: Timestamp,
    /// What lies before is sealed.
    pub(in crate::store) floor: Timestamp,
    /// The clock, and what it may be wrong.
    pub(in crate::store) latest: Timestamp,
    /// How far behind the newest sample of its series a sample may be.
    pub(in crate::store) window: Duration,
}

impl Bounds {
    /// Why a sample of this time is not taken, whatever its series.
    pub(in crate::store) fn refuses(&self, time: Timestamp) -> Option<Refusal> {
        if time > self.latest {
            Some(Refusal::Future(time))
        } else if time < self.oldest {
            Some(Refusal::Expired(time, self.oldest))
        } else {
            (time < self.floor).then_some(Refusal::Sealed(time, self.floor))
        }
    }
}
