//! PromQL's functions: a table, and one file for each family.
//!
//! To add one that the crate `promql-parser` knows, write it into its family's file and add a row to
//! [`FUNCTIONS`]; type checks and evaluation follow from the row.

mod classic;
mod counters;
mod date;
mod info;
mod labels;
mod math;
mod mixed;
mod native;
mod over_time;
mod quantiles;
mod sorting;
mod vectors;
mod windows;

use super::{
    PointValue, QueryError, RollupColumn,
    columns::{Column, Evaluated, Grid, Windows, nameless},
    eval::Evaluator,
    notes::Notes,
    plan::{Kind, Node},
    rollups::{Reader, Reading},
};

use windows::{Window, WindowBody};

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
    /// Whether the order of its result says something.
    orders: bool,
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
        let body = Body::Whole(body);
        Self { parameters, required, ..Self::plain(name, help, body) }
    }

    /// Takes a vector, gives one.
    const fn plain(name: &'static str, help: &'static str, body: Body) -> Self {
        let (parameters, returns): (&'static [Kind], _) = (&[V], Kind::Vector);
        let (required, repeats, orders) = (1, false, false);
        Self { name, help, parameters, required, repeats, orders, returns, body }
    }

    const fn map(name: &'static str, help: &'static str, body: fn(f64) -> f64) -> Self {
        Self::plain(name, help, Body::Map(body))
    }

    const fn map_with(
        name: &'static str,
        help: &'static str,
        (parameters, required): (&'static [Kind], usize),
        body: fn(f64, &[f64]) -> Option<f64>,
    ) -> Self {
        let body = Body::MapWith(body);
        Self { parameters, required, ..Self::plain(name, help, body) }
    }

    const fn window(
        name: &'static str,
        help: &'static str,
        parameters: &'static [Kind],
        apply: fn(&Window<'_>) -> Option<f64>,
    ) -> Self {
        let body = Body::Window(WindowBody::of(apply));
        Self { parameters, required: parameters.len(), ..Self::plain(name, help, body) }
    }

    /// For range functions that know native histograms, too.
    const fn mixed(self, mixed: fn(&Window<'_>, &mut Notes) -> Option<PointValue>) -> Self {
        let body = match self.body {
            Body::Window(body) => Body::Window(WindowBody { mixed: Some(mixed), ..body }),
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

    /// For range functions whose scalar arguments have bounds.
    const fn checking(self, check: fn(&[f64]) -> Result<()>) -> Self {
        let body = match self.body {
            Body::Window(body) => Body::Window(WindowBody { check, ..body }),
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

    const fn ordering(self) -> Self {
        Self { orders: true, ..self }
    }

    /// Whether the order of its result says something.
    pub(super) fn orders(&self) -> bool {
        self.orders
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
    Function::map("acosh", "inverse hyperbolic cosine", math::acosh),
    Function::map("asin", "arc sine", f64::asin),
    Function::map("asinh", "inverse hyperbolic sine", f64::asinh),
    Function::map("atan", "arc tangent", f64::atan),
    Function::map("atanh", "inverse hyperbolic tangent", f64::atanh),
    Function::window("avg_over_time", "mean of the window", &[M], over_time::avg)
        .reading(Reading::Mean)
        .mixed(over_time::avg_mixed),
    Function::map("ceil", "rounded up", f64::ceil),
    Function::window("changes", "how often the value changed", &[M], over_time::changes)
        .reading(PAIRS)
        .mixed(over_time::changes_mixed),
    Function::map_with("clamp", "limited to a range", (&[V, S, S], 3), math::clamp),
    Function::map_with("clamp_max", "limited from above", (&[V, S], 2), math::clamp_max),
    Function::map_with("clamp_min", "limited from below", (&[V, S], 2), math::clamp_min),
    Function::map("cos", "cosine", f64::cos),
    Function::map("cosh", "hyperbolic cosine", f64::cosh),
    Function::window("count_over_time", "samples in the window", &[M], over_time::count)
        .reading(Reading::Column(RollupColumn::Count))
        .mixed(over_time::count_mixed),
    Function::whole("day_of_month", "1 to 31, UTC", (&[V], 0), date::day_of_month),
    Function::whole("day_of_week", "0 (Sunday) to 6, UTC", (&[V], 0), date::day_of_week),
    Function::whole("day_of_year", "1 to 366, UTC", (&[V], 0), date::day_of_year),
    Function::whole("days_in_month", "28 to 31, UTC", (&[V], 0), date::days_in_month),
    Function::map("deg", "radians to degrees", math::degrees),
    Function::whole(
        "delta",
        "difference over the window, extrapolated",
        (&[M], 1),
        counters::delta,
    ),
    Function::window("deriv", "slope per second, by regression", &[M], over_time::deriv)
        .reading(PAIRS),
    Function::window(
        "double_exponential_smoothing",
        "smoothed by factors for level and trend",
        &[M, S, S],
        over_time::smoothed,
    )
    .reading(PAIRS)
    .checking(over_time::check_factors),
    Function::whole("end", "the last step, in seconds", (&[], 0), vectors::end).returning(S),
    Function::map("exp", "e to the power", f64::exp),
    Function::window("first_over_time", "oldest sample of the window", &[M], over_time::first)
        .mixed(over_time::first_mixed)
        .keeping_name(),
    Function::map("floor", "rounded down", f64::floor),
    Function::whole("histogram_avg", "mean of native histograms", (&[V], 1), native::avg),
    Function::whole("histogram_count", "count of native histograms", (&[V], 1), native::count),
    Function::whole(
        "histogram_fraction",
        "share of observations between two values",
        (&[S, S, V], 3),
        quantiles::fraction,
    ),
    Function::whole(
        "histogram_quantile",
        "quantile of histograms, classic or native",
        (&[S, V], 2),
        quantiles::quantile,
    ),
    Function::whole(
        "histogram_quantiles",
        "several quantiles of histograms, told apart by a label",
        (&[V, T, S], 3),
        quantiles::quantiles,
    )
    .repeating(),
    Function::whole("histogram_stddev", "standard deviation", (&[V], 1), native::stddev),
    Function::whole("histogram_stdvar", "variance", (&[V], 1), native::stdvar),
    Function::whole("histogram_sum", "sum of native histograms", (&[V], 1), native::sum),
    Function::whole("hour", "0 to 23, UTC", (&[V], 0), date::hour),
    Function::window("idelta", "difference of the last two samples", &[M], counters::idelta)
        .reading(PAIRS)
        .mixed(counters::idelta_mixed),
    Function::whole("increase", "increase of a counter", (&[M], 1), counters::increase),
    Function::whole("info", "labels of info metrics added", (&[V, V], 1), info::evaluate),
    Function::window("irate", "rate between the last two samples", &[M], counters::irate)
        .reading(PAIRS)
        .mixed(counters::irate_mixed),
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
        .keeping_name()
        .mixed(over_time::last_mixed),
    Function::map("ln", "natural logarithm", f64::ln),
    Function::map("log10", "decimal logarithm", f64::log10),
    Function::map("log2", "binary logarithm", f64::log2),
    Function::window(
        "mad_over_time",
        "median of the distances from the median",
        &[M],
        over_time::median_deviation,
    ),
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
    .reading(Reading::Newest)
    .mixed(over_time::present_mixed),
    Function::whole(
        "quantile_over_time",
        "quantile of the window",
        (&[S, M], 2),
        quantiles::over_time,
    ),
    Function::map("rad", "degrees to radians", math::radians),
    Function::whole("range", "seconds from the first step to the last", (&[], 0), vectors::range)
        .returning(S),
    Function::whole("rate", "increase of a counter per second", (&[M], 1), counters::rate),
    Function::window("resets", "how often a counter was reset", &[M], over_time::resets)
        .reading(PAIRS)
        .mixed(over_time::resets_mixed),
    Function::map_with("round", "rounded to a multiple", (&[V, S], 1), math::round),
    Function::whole("scalar", "the value of the only series", (&[V], 1), vectors::scalar)
        .returning(S),
    Function::map("sgn", "-1, 0 or 1", math::sgn),
    Function::map("sin", "sine", f64::sin),
    Function::map("sinh", "hyperbolic sine", f64::sinh),
    Function::whole("sort", "by value, upwards", (&[V], 1), sorting::upwards).ordering(),
    Function::whole("sort_by_label", "by labels, upwards", (&[V, T], 1), sorting::by_label)
        .repeating()
        .ordering(),
    Function::whole(
        "sort_by_label_desc",
        "by labels, downwards",
        (&[V, T], 1),
        sorting::by_label_downwards,
    )
    .repeating()
    .ordering(),
    Function::whole("sort_desc", "by value, downwards", (&[V], 1), sorting::downwards).ordering(),
    Function::map("sqrt", "square root", f64::sqrt),
    Function::whole("start", "the first step, in seconds", (&[], 0), vectors::start).returning(S),
    Function::window(
        "stddev_over_time",
        "standard deviation of the window",
        &[M],
        over_time::stddev,
    ),
    Function::window("stdvar_over_time", "variance of the window", &[M], over_time::stdvar),
    Function::whole("step", "from one step to the next, in seconds", (&[], 0), vectors::step)
        .returning(S),
    Function::window("sum_over_time", "sum of the window", &[M], over_time::sum)
        .reading(Reading::Column(RollupColumn::Sum))
        .mixed(over_time::sum_mixed),
    Function::map("tan", "tangent", f64::tan),
    Function::map("tanh", "hyperbolic tangent", f64::tanh),
    Function::whole("time", "the time of the step, in seconds", (&[], 0), vectors::time)
        .returning(S),
    Function::whole("timestamp", "when samples were taken", (&[V], 1), vectors::timestamp),
    Function::window(
        "ts_of_first_over_time",
        "when the oldest was taken",
        &[M],
        over_time::first_at,
    )
    .mixed(over_time::first_at_mixed),
    Function::window("ts_of_last_over_time", "when the newest was taken", &[M], over_time::last_at)
        .reading(Reading::Newest)
        .mixed(over_time::last_at_mixed),
    Function::window("ts_of_max_over_time", "when the greatest was taken", &[M], over_time::max_at),
    Function::window("ts_of_min_over_time", "when the least was taken", &[M], over_time::min_at),
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
        Body::Window(body) => windows::evaluate(&mut call, body),
        Body::Whole(apply) => apply(&mut call),
    }
}

/// Applies to each value, with the scalars of the same step.
fn map(call: &mut Call<'_, '_>, apply: impl Fn(f64, &[f64]) -> Option<f64>) -> Result<Evaluated> {
    let columns = call.vector(0)?;
    let scalars: Vec<Vec<f64>> =
        (1..call.arguments.len()).map(|index| call.scalar(index)).collect::<Result<_>>()?;
    let by_step = windows::by_step(&scalars, call.grid);
    let apply = |step: usize, value| apply(value, by_step.get(step).map_or(&[], Vec::as_slice));
    let mapped = columns.into_iter().map(|column| column.map(apply));
    Ok(Evaluated::Vector(nameless(mapped.collect())?))
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
