//! PromQL's functions: a table, and one file for each family.
//!
//! To add one, write it into its family's file and add a row to [`FUNCTIONS`]; parsing, type checks
//! and evaluation follow from the row.

mod counters;
mod date;
mod histogram;
mod labels;
mod math;
mod over_time;
mod vectors;

use crate::model::Sample;

use super::{
    QueryError, RollupColumn,
    columns::{Column, Cursor, Evaluated, Grid, Windows, absent, distinct, merged},
    eval::Evaluator,
    plan::{Kind, Node},
    rollups::{Frame, Reader, Reading},
};

type Result<T> = std::result::Result<T, QueryError>;

/// A function: what it takes, what it gives, and how.
#[derive(Debug)]
pub struct Function {
    /// As it is written.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// What it takes; those after `required` may be left out.
    pub parameters: &'static [Kind],
    /// Arguments at least.
    pub required: usize,
    /// Whether the last parameter may be repeated.
    pub repeats: bool,
    /// What it gives.
    pub returns: Kind,
    body: Body,
}

/// How a function works.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// On each value by itself.
    Map(fn(f64) -> f64),
    /// On each value, with the scalars that follow the vector.
    MapWith(fn(f64, &[f64]) -> Option<f64>),
    /// On the samples of a window.
    Window(WindowBody),
    /// On everything at once.
    Whole(fn(&mut Call<'_, '_>) -> Result<Evaluated>),
}

#[derive(Clone, Copy, Debug)]
struct WindowBody {
    apply: fn(&Window<'_>) -> Option<f64>,
    keeps_name: bool,
    wants_counter: bool,
    reading: Reading,
}

/// What a range function sees at one step.
struct Window<'a> {
    /// Not empty, in order.
    samples: &'a [Sample],
    /// Milliseconds; does not belong to the window.
    start: i64,
    /// Milliseconds; belongs to the window.
    end: i64,
    /// The time of the step, which `offset` and `@` do not move.
    now: i64,
    /// The scalar argument, if there is one.
    parameter: f64,
    /// How coarse the coarsest of the samples is, in milliseconds; zero: all are as they came.
    resolution: i64,
    /// The same at the start of the window, and at its end.
    edges: (i64, i64),
    /// For means over rollups: how many values each sample stands for; else empty.
    counts: &'a [Sample],
    /// For functions of counters: what was lost in each reset within the window; else empty.
    falls: &'a [Sample],
}

impl Window<'_> {
    fn values(&self) -> impl ExactSizeIterator<Item = f64> + Clone {
        self.samples.iter().map(|sample| sample.value)
    }

    fn to_vec(&self) -> Vec<f64> {
        self.values().collect()
    }
}

/// A function's call: its arguments are evaluated when it asks for them.
struct Call<'a, 'e> {
    evaluator: &'a mut Evaluator<'e>,
    name: &'static str,
    arguments: &'a [Node],
    grid: &'a Grid,
}

impl Call<'_, '_> {
    fn vector(&mut self, index: usize) -> Result<Vec<Column>> {
        self.evaluator.vector(&self.arguments[index], self.grid)
    }

    fn scalar(&mut self, index: usize) -> Result<Vec<f64>> {
        self.evaluator.scalar(&self.arguments[index], self.grid)
    }

    fn windows(&mut self, index: usize, reading: Reading) -> Result<Windows> {
        let reader = Reader { name: self.name, reading };
        self.evaluator.windows(&self.arguments[index], self.grid, reader)
    }

    /// A string argument: strings are always literals.
    fn text(&self, index: usize) -> &str {
        match self.arguments.get(index) {
            Some(Node::Text(text)) => text,
            _ => "",
        }
    }
}

impl Function {
    /// What the argument at `index` must be.
    pub(super) fn parameter(&self, index: usize) -> Kind {
        self.parameters[index.min(self.parameters.len().saturating_sub(1))]
    }

    pub(super) fn takes_at_most(&self) -> usize {
        if self.repeats { usize::MAX } else { self.parameters.len() }
    }

    const fn whole(
        name: &'static str,
        help: &'static str,
        (parameters, required): (&'static [Kind], usize),
        body: fn(&mut Call<'_, '_>) -> Result<Evaluated>,
    ) -> Self {
        let (returns, repeats) = (Kind::Vector, false);
        Self { name, help, parameters, required, repeats, returns, body: Body::Whole(body) }
    }

    const fn map(name: &'static str, help: &'static str, body: fn(f64) -> f64) -> Self {
        let (parameters, required, returns): (&'static [Kind], _, _) = (&[V], 1, Kind::Vector);
        let body = Body::Map(body);
        Self { name, help, parameters, required, repeats: false, returns, body }
    }

    const fn map_with(
        name: &'static str,
        help: &'static str,
        (parameters, required): (&'static [Kind], usize),
        body: fn(f64, &[f64]) -> Option<f64>,
    ) -> Self {
        let (returns, repeats) = (Kind::Vector, false);
        Self { name, help, parameters, required, repeats, returns, body: Body::MapWith(body) }
    }

    const fn window(
        name: &'static str,
        help: &'static str,
        parameters: &'static [Kind],
        apply: fn(&Window<'_>) -> Option<f64>,
    ) -> Self {
        let (keeps_name, wants_counter) = (false, false);
        let reading = Reading::Samples { room: 1 };
        let body = Body::Window(WindowBody { apply, keeps_name, wants_counter, reading });
        let (returns, required) = (Kind::Vector, parameters.len());
        Self { name, help, parameters, required, repeats: false, returns, body }
    }

    /// For range functions that make sense on counters only.
    const fn of_counters(self) -> Self {
        let body = match self.body {
            Body::Window(body) => Body::Window(WindowBody { wants_counter: true, ..body }),
            body => body,
        };
        Self { body, ..self }
    }

    /// For range functions whose result is still the same metric.
    const fn keeping_name(self) -> Self {
        let body = match self.body {
            Body::Window(body) => Body::Window(WindowBody { keeps_name: true, ..body }),
            body => body,
        };
        Self { body, ..self }
    }

    /// For range functions that can do with rollups, or need more than one of them.
    const fn reading(self, reading: Reading) -> Self {
        let body = match self.body {
            Body::Window(body) => Body::Window(WindowBody { reading, ..body }),
            body => body,
        };
        Self { body, ..self }
    }

    const fn repeating(self) -> Self {
        Self { repeats: true, ..self }
    }

    const fn returning(self, returns: Kind) -> Self {
        Self { returns, ..self }
    }
}

const S: Kind = Kind::Scalar;
const T: Kind = Kind::Text;
const V: Kind = Kind::Vector;
const M: Kind = Kind::Matrix;

/// For functions that compare samples with each other.
const PAIRS: Reading = Reading::Samples { room: 2 };

/// All functions, by name.
pub static FUNCTIONS: &[Function] = &[
    Function::map("abs", "absolute value", f64::abs),
    Function::whole("absent", "1 where there is no series", (&[V], 1), vectors::absent_vector),
    Function::whole(
        "absent_over_time",
        "1 where there is no sample in the window",
        (&[M], 1),
        vectors::absent_over_time,
    ),
    Function::map("acos", "arc cosine", f64::acos),
    Function::map("acosh", "inverse hyperbolic cosine", f64::acosh),
    Function::map("asin", "arc sine", f64::asin),
    Function::map("asinh", "inverse hyperbolic sine", f64::asinh),
    Function::map("atan", "arc tangent", f64::atan),
    Function::map("atanh", "inverse hyperbolic tangent", f64::atanh),
    Function::window("avg_over_time", "mean of the window", &[M], over_time::avg)
        .reading(Reading::Mean),
    Function::map("ceil", "rounded up", f64::ceil),
    Function::window("changes", "how often the value changed", &[M], over_time::changes)
        .reading(PAIRS),
    Function::map_with("clamp", "limited to a range", (&[V, S, S], 3), math::clamp),
    Function::map_with("clamp_max", "limited from above", (&[V, S], 2), math::clamp_max),
    Function::map_with("clamp_min", "limited from below", (&[V, S], 2), math::clamp_min),
    Function::map("cos", "cosine", f64::cos),
    Function::map("cosh", "hyperbolic cosine", f64::cosh),
    Function::window("count_over_time", "samples in the window", &[M], over_time::count)
        .reading(Reading::Column(RollupColumn::Count)),
    Function::whole("day_of_month", "1 to 31, UTC", (&[V], 0), date::day_of_month),
    Function::whole("day_of_week", "0 (Sunday) to 6, UTC", (&[V], 0), date::day_of_week),
    Function::whole("day_of_year", "1 to 366, UTC", (&[V], 0), date::day_of_year),
    Function::whole("days_in_month", "28 to 31, UTC", (&[V], 0), date::days_in_month),
    Function::map("deg", "radians to degrees", f64::to_degrees),
    Function::window("delta", "difference over the window, extrapolated", &[M], counters::delta)
        .reading(Reading::Differences),
    Function::window("deriv", "slope per second, by regression", &[M], over_time::deriv)
        .reading(PAIRS),
    Function::map("exp", "e to the power", f64::exp),
    Function::map("floor", "rounded down", f64::floor),
    Function::whole(
        "histogram_quantile",
        "quantile of a classic histogram",
        (&[S, V], 2),
        histogram::quantile,
    ),
    Function::whole("hour", "0 to 23, UTC", (&[V], 0), date::hour),
    Function::window("idelta", "difference of the last two samples", &[M], counters::idelta)
        .reading(PAIRS),
    Function::window("increase", "increase of a counter", &[M], counters::increase)
        .reading(Reading::Differences)
        .of_counters(),
    Function::window("irate", "rate between the last two samples", &[M], counters::irate)
        .reading(PAIRS),
    Function::whole("label_join", "labels joined into one", (&[V, T, T, T], 3), labels::join)
        .repeating(),
    Function::whole(
        "label_replace",
        "a label made of another by a regular expression",
        (&[V, T, T, T, T], 5),
        labels::replace,
    ),
    Function::window("last_over_time", "newest sample of the window", &[M], over_time::last)
        .reading(Reading::Newest)
        .keeping_name(),
    Function::map("ln", "natural logarithm", f64::ln),
    Function::map("log10", "decimal logarithm", f64::log10),
    Function::map("log2", "binary logarithm", f64::log2),
    Function::window("max_over_time", "greatest value of the window", &[M], over_time::max)
        .reading(Reading::Column(RollupColumn::Max)),
    Function::window("min_over_time", "least value of the window", &[M], over_time::min)
        .reading(Reading::Column(RollupColumn::Min)),
    Function::whole("minute", "0 to 59, UTC", (&[V], 0), date::minute),
    Function::whole("month", "1 to 12, UTC", (&[V], 0), date::month),
    Function::whole("pi", "π", (&[], 0), vectors::pi).returning(S),
    Function::window(
        "predict_linear",
        "value in so many seconds, by regression",
        &[M, S],
        over_time::predict_linear,
    )
    .reading(PAIRS),
    Function::window(
        "present_over_time",
        "1 where the window has a sample",
        &[M],
        over_time::present,
    )
    .reading(Reading::Newest),
    Function::whole(
        "quantile_over_time",
        "quantile of the window",
        (&[S, M], 2),
        over_time::quantile,
    ),
    Function::map("rad", "degrees to radians", f64::to_radians),
    Function::window("rate", "increase of a counter per second", &[M], counters::rate)
        .reading(Reading::Differences)
        .of_counters(),
    Function::window("resets", "how often a counter was reset", &[M], over_time::resets)
        .reading(PAIRS),
    Function::map_with("round", "rounded to a multiple", (&[V, S], 1), math::round),
    Function::whole("scalar", "the value of the only series", (&[V], 1), vectors::scalar)
        .returning(S),
    Function::map("sgn", "-1, 0 or 1", math::sgn),
    Function::map("sin", "sine", f64::sin),
    Function::map("sinh", "hyperbolic sine", f64::sinh),
    Function::whole("sort", "by value, upwards", (&[V], 1), vectors::sort),
    Function::whole("sort_desc", "by value, downwards", (&[V], 1), vectors::sort_desc),
    Function::map("sqrt", "square root", f64::sqrt),
    Function::window(
        "stddev_over_time",
        "standard deviation of the window",
        &[M],
        over_time::stddev,
    ),
    Function::window("stdvar_over_time", "variance of the window", &[M], over_time::stdvar),
    Function::window("sum_over_time", "sum of the window", &[M], over_time::sum)
        .reading(Reading::Column(RollupColumn::Sum)),
    Function::map("tan", "tangent", f64::tan),
    Function::map("tanh", "hyperbolic tangent", f64::tanh),
    Function::whole("time", "the time of the step, in seconds", (&[], 0), vectors::time)
        .returning(S),
    Function::whole("timestamp", "when samples were taken", (&[V], 1), vectors::timestamp),
    Function::whole("vector", "a scalar as a vector", (&[S], 1), vectors::vector),
    Function::whole("year", "UTC", (&[V], 0), date::year),
];

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    function: &Function,
    arguments: &[Node],
    grid: &Grid,
) -> Result<Evaluated> {
    let mut call = Call { evaluator, name: function.name, arguments, grid };
    match function.body {
        Body::Map(apply) => map(&mut call, |value, _| Some(apply(value))),
        Body::MapWith(apply) => map(&mut call, apply),
        Body::Window(body) => over_windows(&mut call, body),
        Body::Whole(apply) => apply(&mut call),
    }
}

/// Applies to each value, with the scalars of the same step.
fn map(call: &mut Call<'_, '_>, apply: impl Fn(f64, &[f64]) -> Option<f64>) -> Result<Evaluated> {
    let columns = call.vector(0)?;
    let scalars: Vec<Vec<f64>> =
        (1..call.arguments.len()).map(|index| call.scalar(index)).collect::<Result<_>>()?;
    // Scalars by step, so that each value finds its own side by side.
    let by_step: Vec<Vec<f64>> = (0..call.grid.count)
        .map(|step| scalars.iter().map(|values| values[step]).collect())
        .collect();
    let mapped = columns.into_iter().map(|mut column| {
        column.drop_name();
        column.map(|step, value| apply(value, &by_step[step]))
    });
    Ok(Evaluated::Vector(merged(mapped.collect())?))
}

fn over_windows(call: &mut Call<'_, '_>, body: WindowBody) -> Result<Evaluated> {
    let windows = call.windows(0, body.reading)?;
    let parameter = match call.arguments.len() {
        2 => Some(call.scalar(1)?),
        _ => None,
    };
    let parameter = |step: usize| parameter.as_ref().map_or(f64::NAN, |values| values[step]);
    if body.wants_counter {
        inform_about_gauges(call, &windows);
    }
    Ok(Evaluated::Vector(slide(call, &windows, body, parameter)?))
}

/// A value for each series and step that has a sample in its window.
fn slide(
    call: &mut Call<'_, '_>,
    windows: &Windows,
    body: WindowBody,
    parameter: impl Fn(usize) -> f64,
) -> Result<Vec<Column>> {
    let grid = call.grid;
    call.evaluator.check_slots(windows.series.len(), grid)?;
    let mut columns = Vec::with_capacity(windows.series.len());
    for (index, series) in windows.series.iter().enumerate() {
        let counts = windows.counts.get(index).map_or(&[][..], Vec::as_slice);
        let falls = if body.wants_counter { counters::falls(&series.samples) } else { Vec::new() };
        let [mut cursor, mut counting, mut falling] = [const { Cursor::new() }; 3];
        let slot = |(step, end): (usize, &i64)| {
            // A window may be long enough that one series takes seconds.
            call.evaluator.check_cancelled()?;
            let frame = windows.reach.frame(*end);
            let Frame { start, end, resolution, edges, .. } = frame;
            let samples = frame.seen(cursor.window(&series.samples, start, end));
            let [first, ..] = samples else { return Ok(absent()) };
            if !frame.fits {
                return Ok(absent());
            }
            let window = Window {
                samples,
                start,
                end,
                now: grid.time(step),
                parameter: parameter(step),
                resolution,
                edges,
                counts: counting.window(counts, start, end),
                falls: falling.window(&falls, first.timestamp.as_millis(), end),
            };
            Ok((body.apply)(&window).unwrap_or_else(absent))
        };
        let values = windows.ends.iter().enumerate().map(slot).collect::<Result<_>>()?;
        let mut column = Column { labels: series.labels.clone(), values };
        if !body.keeps_name {
            column.drop_name();
        }
        columns.push(column);
    }
    distinct(columns)
}

/// A rate of something that is no counter is a common mistake; the name tells.
fn inform_about_gauges(call: &mut Call<'_, '_>, windows: &Windows) {
    const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
    for series in &windows.series {
        let metric = series.labels.metric();
        if !metric.is_empty() && !SUFFIXES.iter().any(|suffix| metric.ends_with(suffix)) {
            call.evaluator.inform(&format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                 {metric:?} in {}()",
                call.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_explained() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(FUNCTIONS.iter().all(|function| !function.help.is_empty()));
        assert!(FUNCTIONS.iter().all(|function| function.required <= function.parameters.len()));
    }
}
