//! Parts of the date, in UTC, of values that are Unix seconds.

use jiff::{civil, tz::TimeZone};

use crate::promql::columns::{Column, nameless};

use super::{Call, Evaluated, Result};
use crate::model::Labels;

pub(super) fn minute(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.minute()))
}

pub(super) fn hour(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.hour()))
}

pub(super) fn day_of_week(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.weekday().to_sunday_zero_offset()))
}

pub(super) fn day_of_month(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.day()))
}

pub(super) fn day_of_year(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.day_of_year()))
}

pub(super) fn days_in_month(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.days_in_month()))
}

pub(super) fn month(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.month()))
}

pub(super) fn year(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    part(call, |date| f64::from(date.year()))
}

/// A part of the date of each value, or of the step's own time where no vector is given.
fn part(call: &mut Call<'_, '_>, read: fn(civil::DateTime) -> f64) -> Result<Evaluated> {
    let columns = if call.arguments.is_empty() {
        vec![Column::of(Labels::empty(), call.grid.seconds())]
    } else {
        call.vector(0)?
    };
    let parts = columns
        .into_iter()
        .map(|column| column.map(|_, seconds| Some(civil_time(seconds).map_or(f64::NAN, read))));
    Ok(Evaluated::Vector(nameless(parts.collect())?))
}

/// `None` outside the years -9999 to 9999.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is out of range, too")]
fn civil_time(seconds: f64) -> Option<civil::DateTime> {
    if seconds.is_nan() {
        return None;
    }
    let instant = jiff::Timestamp::from_second(seconds as i64).ok()?;
    Some(TimeZone::UTC.to_datetime(instant))
}
