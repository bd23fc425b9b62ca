//! A checked expression, in the shape that the evaluator walks.
//!
//! It differs from the parser's tree in that parentheses are gone, every selector carries the
//! project's own matchers, durations are milliseconds, and nothing in it is unsupported.

use crate::model::Matcher;

use super::functions::Function;

/// What a node comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One number at each step.
    Scalar,
    /// A text.
    Text,
    /// A value for each series at each step.
    Vector,
    /// A window of samples for each series at each step.
    Matrix,
}

impl Kind {
    /// As Prometheus calls it in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// A node of the checked expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    Selector(Selector),
    /// `timestamp()` of a selector: when the samples were taken, in seconds.
    Timestamps(Selector),
    Range(Selector, i64),
    Subquery(Box<Subquery>),
    Negate(Box<Node>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(&'static Function, Vec<Node>),
}

impl Node {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Selector(_) | Self::Timestamps(_) | Self::Aggregate(_) => Kind::Vector,
            Self::Range(..) | Self::Subquery(_) => Kind::Matrix,
            Self::Negate(inner) => inner.kind(),
            Self::Binary(binary) => match (binary.lhs.kind(), binary.rhs.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
            Self::Call(function, _) => function.returns,
        }
    }

    /// The nodes directly below.
    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Self::Subquery(subquery) => vec![&subquery.inner],
            Self::Negate(inner) => vec![inner],
            Self::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            Self::Aggregate(aggregate) => {
                aggregate.parameter.iter().chain([&aggregate.inner]).collect()
            }
            Self::Call(_, arguments) => arguments.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The selector of this very node.
    pub(super) fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Selector(selector) | Self::Timestamps(selector) | Self::Range(selector, _) => {
                Some(selector)
            }
            _ => None,
        }
    }
}

/// Which series, and at which time relative to the step.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    pub(super) matchers: Vec<Matcher>,
    pub(super) shift: Shift,
}

/// The modifiers `offset` and `@`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shift {
    pub(super) at: Option<At>,
    /// Milliseconds into the past.
    pub(super) offset: i64,
}

/// The modifier `@`.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Milliseconds since the epoch.
    Fixed(i64),
    Start,
    End,
}

/// `inner[range:step]`.
#[derive(Clone, Debug)]
pub(super) struct Subquery {
    pub(super) inner: Node,
    pub(super) range: i64,
    pub(super) step: i64,
    pub(super) shift: Shift,
}

/// An operator between two expressions.
#[derive(Clone, Debug)]
pub(super) struct Binary {
    pub(super) op: Operator,
    pub(super) lhs: Node,
    pub(super) rhs: Node,
    /// A comparison gives 0 or 1 and drops nothing.
    pub(super) returns_bool: bool,
    pub(super) matching: Matching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Arithmetic(Arithmetic),
    Comparison(Comparison),
    Set(SetOperator),
}

impl Operator {
    /// As it is written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Arithmetic(Arithmetic::Add) => "+",
            Self::Arithmetic(Arithmetic::Sub) => "-",
            Self::Arithmetic(Arithmetic::Mul) => "*",
            Self::Arithmetic(Arithmetic::Div) => "/",
            Self::Arithmetic(Arithmetic::Mod) => "%",
            Self::Arithmetic(Arithmetic::Pow) => "^",
            Self::Arithmetic(Arithmetic::Atan2) => "atan2",
            Self::Comparison(Comparison::Equal) => "==",
            Self::Comparison(Comparison::NotEqual) => "!=",
            Self::Comparison(Comparison::Less) => "<",
            Self::Comparison(Comparison::LessOrEqual) => "<=",
            Self::Comparison(Comparison::Greater) => ">",
            Self::Comparison(Comparison::GreaterOrEqual) => ">=",
            Self::Set(SetOperator::And) => "and",
            Self::Set(SetOperator::Or) => "or",
            Self::Set(SetOperator::Unless) => "unless",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperator {
    And,
    Or,
    Unless,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct Matching {
    /// `ignoring()` where nothing is said.
    pub(super) labels: LabelSet,
    pub(super) group: Group,
}

/// A choice of labels.
#[derive(Clone, Debug)]
pub(super) enum LabelSet {
    /// `on`, `by`: these.
    Only(Vec<String>),
    /// `ignoring`, `without`: all but these and the metric name.
    AllBut(Vec<String>),
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::AllBut(Vec::new())
    }
}

/// How many series of a match group may stand on each side.
#[derive(Clone, Debug, Default)]
pub(super) enum Group {
    #[default]
    OneToOne,
    /// `group_left`: many on the left; these labels come from the right.
    Left(Vec<String>),
    /// `group_right`: many on the right; these labels come from the left.
    Right(Vec<String>),
}

/// An aggregation over series.
#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) op: Aggregation,
    pub(super) parameter: Option<Node>,
    pub(super) inner: Node,
    pub(super) grouping: LabelSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl Aggregation {
    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }
}
