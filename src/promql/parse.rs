//! From text to a checked plan.
//!
//! The crate `promql-parser` reads the grammar, helped by `rewrite`, and checks most types. What it lets through and
//! Prometheus does not (types behind its special cases, empty ranges) is checked here, and
//! whatever the evaluator lacks is refused by name.

use std::time::{Duration, SystemTime};

use promql_parser::{
    label,
    parser::{self, AtModifier, Expr, LabelModifier, Offset, VectorMatchCardinality, token},
};

use crate::model::{METRIC_NAME, MatchOp, Matcher, check_pattern};

use super::{
    QueryError,
    functions::{self, Function},
    guard,
    plan::{
        Aggregate, Aggregation, Arithmetic, At, Binary, Comparison, Group, Kind, LabelSet,
        Matching, Node, Operator, Selector, SetOperator, Shift, Subquery,
    },
    rewrite,
};

/// The step of a subquery that names none: Prometheus' default evaluation interval.
const SUBQUERY_STEP_MS: i64 = 60_000;

/// No duration or time of an expression may lie further out (31,700 years), so that sums of them
/// cannot overflow.
const MILLIS_MAX: i64 = 1_000_000_000_000_000;

type Result<T> = std::result::Result<T, QueryError>;

/// Reads an expression.
pub(super) fn expression(text: &str) -> Result<Node> {
    convert(syntax_tree(text)?)
}

/// Reads a series selector: a metric name, matchers, or both.
pub(super) fn selector(text: &str) -> Result<Vec<Matcher>> {
    match syntax_tree(text)? {
        Expr::VectorSelector(selector) if selector.at.is_none() && selector.offset.is_none() => {
            matchers(selector.name, selector.matchers)
        }
        _ => Err(invalid(format!(
            "{:?} is not a series selector such as up{{job=\"node\"}}",
            shortened(text)
        ))),
    }
}

pub(super) fn syntax_tree(text: &str) -> Result<Expr> {
    guard::check(text)?;
    let readable = rewrite::readable(text);
    let mut tree = parser::parse(&readable.text).map_err(|reason| match reason.as_str() {
        // All that the parser says when the grammar has no rule for the text.
        "invalid promql query" => invalid(format!(
            "{:?} does not follow PromQL's grammar: look for a missing operator, comma or duration",
            shortened(text)
        )),
        _ => invalid(reason),
    })?;
    rewrite::restore(&mut tree, &readable.patterns, &|matcher| {
        check_pattern(&matcher.value)
            .map_err(|why| invalid(format!("invalid regular expression of {matcher}: {why}")))
    })?;
    Ok(tree)
}

/// Enough of a text to recognise it.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn invalid(reason: impl Into<String>) -> QueryError {
    QueryError::Parse(reason.into())
}

fn unsupported(construct: impl Into<String>) -> QueryError {
    QueryError::Unsupported(construct.into())
}

fn convert(expr: Expr) -> Result<Node> {
    match expr {
        Expr::NumberLiteral(number) => Ok(Node::Number(number.val)),
        Expr::StringLiteral(text) => Ok(Node::Text(text.val)),
        Expr::Paren(paren) => convert(*paren.expr),
        Expr::Unary(unary) => Ok(Node::Negate(Box::new(operand(*unary.expr)?))),
        Expr::VectorSelector(vector) => Ok(Node::Selector(vector_selector(vector)?)),
        Expr::MatrixSelector(matrix) => {
            Ok(Node::Range(vector_selector(matrix.vs)?, range_millis(matrix.range)?))
        }
        Expr::Subquery(inner) => subquery(inner),
        Expr::Binary(inner) => binary(inner),
        Expr::Aggregate(inner) => aggregate(inner),
        Expr::Call(inner) => call(inner),
        Expr::Extension(_) => Err(unsupported("extension")),
    }
}

/// An expression that an operator can take.
fn operand(expr: Expr) -> Result<Node> {
    let node = convert(expr)?;
    match node.kind() {
        Kind::Scalar | Kind::Vector => Ok(node),
        kind => Err(invalid(format!(
            "operators take only expressions of type scalar or instant vector, got {}",
            kind.name()
        ))),
    }
}

fn vector_selector(selector: parser::VectorSelector) -> Result<Selector> {
    let shift = shift(selector.at.as_ref(), selector.offset.as_ref())?;
    Ok(Selector { matchers: matchers(selector.name, selector.matchers)?, shift })
}

fn matchers(name: Option<String>, given: label::Matchers) -> Result<Vec<Matcher>> {
    if !given.or_matchers.is_empty() {
        return Err(unsupported("\"or\" between label matchers"));
    }
    let mut out: Vec<_> = name.map(|name| Matcher::equal(METRIC_NAME, name)).into_iter().collect();
    for matcher in given.matchers {
        let op = match matcher.op {
            label::MatchOp::Equal => MatchOp::Equal,
            label::MatchOp::NotEqual => MatchOp::NotEqual,
            label::MatchOp::Re(_) => MatchOp::Regex,
            label::MatchOp::NotRe(_) => MatchOp::NotRegex,
        };
        out.push(Matcher::new(matcher.name, op, matcher.value)?);
    }
    if out.iter().all(|matcher| matcher.matches("")) {
        return Err(invalid("vector selector must contain at least one non-empty matcher"));
    }
    Ok(out)
}

fn shift(at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<Shift> {
    let offset = match offset {
        None => 0,
        Some(Offset::Pos(back)) => millis(*back)?,
        Some(Offset::Neg(forth)) => -millis(*forth)?,
    };
    let at = match at {
        None => None,
        Some(AtModifier::Start) => Some(At::Start),
        Some(AtModifier::End) => Some(At::End),
        Some(AtModifier::At(time)) => Some(At::Fixed(epoch_millis(*time)?)),
    };
    Ok(Shift { at, offset })
}

fn epoch_millis(time: SystemTime) -> Result<i64> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => millis(before.duration()).map(|millis| -millis),
    }
}

fn millis(duration: Duration) -> Result<i64> {
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|millis| *millis <= MILLIS_MAX)
        .ok_or_else(|| invalid(format!("duration or time out of range: {duration:?}")))
}

fn range_millis(duration: Duration) -> Result<i64> {
    match millis(duration)? {
        0 => Err(invalid("duration must be greater than 0")),
        millis => Ok(millis),
    }
}

fn subquery(given: parser::SubqueryExpr) -> Result<Node> {
    let step = given.step.map_or(Ok(SUBQUERY_STEP_MS), range_millis)?;
    let inner = convert(*given.expr)?;
    if inner.kind() != Kind::Vector {
        let kind = inner.kind().name();
        return Err(invalid(format!("subquery is only allowed on instant vector, got {kind}")));
    }
    let (range, shift) =
        (range_millis(given.range)?, shift(given.at.as_ref(), given.offset.as_ref())?);
    Ok(Node::Subquery(Box::new(Subquery { inner, range, step, shift })))
}

fn binary(given: parser::BinaryExpr) -> Result<Node> {
    let op = operator(given.op)?;
    let modifier = given.modifier.unwrap_or_default();
    if modifier.fill_values != parser::VectorMatchFillValues::default() {
        return Err(unsupported("modifier fill()"));
    }
    let group = match modifier.card {
        VectorMatchCardinality::ManyToOne(labels) => Group::Left(labels.labels),
        VectorMatchCardinality::OneToMany(labels) => Group::Right(labels.labels),
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Group::OneToOne,
    };
    let matching = Matching { labels: label_set(modifier.matching), group };
    let (lhs, rhs) = (operand(*given.lhs)?, operand(*given.rhs)?);
    let returns_bool = modifier.return_bool;
    check_operands(op, returns_bool, &lhs, &rhs)?;
    Ok(Node::Binary(Box::new(Binary { op, lhs, rhs, returns_bool, matching })))
}

fn check_operands(op: Operator, returns_bool: bool, lhs: &Node, rhs: &Node) -> Result<()> {
    let scalars = [lhs, rhs].into_iter().filter(|node| node.kind() == Kind::Scalar).count();
    match op {
        Operator::Set(_) if scalars > 0 => {
            Err(invalid("set operators are not allowed between scalars"))
        }
        Operator::Comparison(_) if scalars == 2 && !returns_bool => {
            Err(invalid("comparisons between scalars must use BOOL modifier"))
        }
        _ => Ok(()),
    }
}

fn operator(op: token::TokenType) -> Result<Operator> {
    Ok(match op.id() {
        token::T_ADD => Operator::Arithmetic(Arithmetic::Add),
        token::T_SUB => Operator::Arithmetic(Arithmetic::Sub),
        token::T_MUL => Operator::Arithmetic(Arithmetic::Mul),
        token::T_DIV => Operator::Arithmetic(Arithmetic::Div),
        token::T_MOD => Operator::Arithmetic(Arithmetic::Mod),
        token::T_POW => Operator::Arithmetic(Arithmetic::Pow),
        token::T_ATAN2 => Operator::Arithmetic(Arithmetic::Atan2),
        token::T_EQLC => Operator::Comparison(Comparison::Equal),
        token::T_NEQ => Operator::Comparison(Comparison::NotEqual),
        token::T_LSS => Operator::Comparison(Comparison::Less),
        token::T_LTE => Operator::Comparison(Comparison::LessOrEqual),
        token::T_GTR => Operator::Comparison(Comparison::Greater),
        token::T_GTE => Operator::Comparison(Comparison::GreaterOrEqual),
        token::T_LAND => Operator::Set(SetOperator::And),
        token::T_LOR => Operator::Set(SetOperator::Or),
        token::T_LUNLESS => Operator::Set(SetOperator::Unless),
        _ => return Err(unsupported(format!("operator {op}"))),
    })
}

fn label_set(modifier: Option<LabelModifier>) -> LabelSet {
    match modifier {
        Some(LabelModifier::Include(labels)) => LabelSet::Only(labels.labels),
        Some(LabelModifier::Exclude(labels)) => LabelSet::AllBut(labels.labels),
        None => LabelSet::default(),
    }
}

fn aggregate(given: parser::AggregateExpr) -> Result<Node> {
    let op = aggregation(given.op)?;
    let parameter = given.param.map(|parameter| convert(*parameter)).transpose()?;
    let wanted = if op == Aggregation::CountValues { Kind::Text } else { Kind::Scalar };
    let context = format!("aggregation {}()", given.op);
    if let Some(parameter) = &parameter {
        expect_kind(parameter, wanted, &context)?;
    }
    let inner = convert(*given.expr)?;
    expect_kind(&inner, Kind::Vector, &context)?;
    // An aggregation without a modifier puts everything into one group.
    let grouping =
        given.modifier.map_or(LabelSet::Only(Vec::new()), |modifier| label_set(Some(modifier)));
    Ok(Node::Aggregate(Box::new(Aggregate { op, parameter, inner, grouping })))
}

fn aggregation(op: token::TokenType) -> Result<Aggregation> {
    Ok(match op.id() {
        token::T_SUM => Aggregation::Sum,
        token::T_AVG => Aggregation::Avg,
        token::T_MIN => Aggregation::Min,
        token::T_MAX => Aggregation::Max,
        token::T_COUNT => Aggregation::Count,
        token::T_GROUP => Aggregation::Group,
        token::T_STDDEV => Aggregation::Stddev,
        token::T_STDVAR => Aggregation::Stdvar,
        token::T_TOPK => Aggregation::Topk,
        token::T_BOTTOMK => Aggregation::Bottomk,
        token::T_QUANTILE => Aggregation::Quantile,
        token::T_COUNT_VALUES => Aggregation::CountValues,
        token::T_LIMITK => Aggregation::Limitk,
        token::T_LIMIT_RATIO => Aggregation::LimitRatio,
        _ => return Err(unsupported(format!("aggregation {op}()"))),
    })
}

fn call(given: parser::Call) -> Result<Node> {
    let name = given.func.name;
    let function =
        functions::find(name).ok_or_else(|| unsupported(format!("function {name}()")))?;
    let arguments: Vec<Node> =
        given.args.args.into_iter().map(|argument| convert(*argument)).collect::<Result<_>>()?;
    check_arguments(function, &arguments)?;
    match (name, &arguments[..]) {
        ("timestamp", [Node::Selector(selector)]) => Ok(Node::Timestamps(selector.clone())),
        _ => Ok(Node::Call(function, arguments)),
    }
}

fn check_arguments(function: &Function, arguments: &[Node]) -> Result<()> {
    let given = arguments.len();
    if given < function.required || given > function.takes_at_most() {
        let (name, required) = (function.name, function.required);
        return Err(invalid(format!(
            "wrong number of arguments in call to {name}(): {required} needed, {given} given"
        )));
    }
    let context = format!("call to function {}()", function.name);
    arguments.iter().enumerate().try_for_each(|(index, argument)| {
        expect_kind(argument, function.parameter(index), &context)
    })
}

fn expect_kind(node: &Node, wanted: Kind, context: &str) -> Result<()> {
    if node.kind() == wanted {
        return Ok(());
    }
    let (wanted, got) = (wanted.name(), node.kind().name());
    Err(invalid(format!("expected type {wanted} in {context}, got {got}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(expression(text).unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check_error("a + fill(0) b", "not supported yet: modifier fill()");
        check_error("{a=\"b\" or c=\"d\"}", "not supported yet: \"or\" between label matchers");
    }

    #[test]
    fn what_is_wrong_is_explained() {
        check_error("nosuch(a)", "parse error: unknown function with name 'nosuch'");
        check_error(
            "ln(0)",
            "parse error: expected type instant vector in call to function ln(), got scalar",
        );
        check_error("a[0s]", "parse error: duration must be greater than 0");
        check_error("1 > 2", "parse error: comparisons between scalars must use BOOL modifier");
        check_error("rate(a[5m]", "parse error: 1:5: unclosed '('");
        check_error(
            "a b",
            "parse error: \"a b\" does not follow PromQL's grammar: look for a missing operator, comma \
             or duration",
        );
    }

    #[test]
    fn errors_do_not_repeat_long_texts() {
        let long = format!("a {}", "b".repeat(10_000));
        assert!(expression(&long).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn every_function_of_the_table_is_known_to_the_parser() {
        for function in functions::FUNCTIONS {
            let arguments = function.parameters.iter().map(|kind| match kind {
                Kind::Scalar => "1",
                Kind::Text => "\"x\"",
                Kind::Vector => "a",
                Kind::Matrix => "a[5m]",
            });
            let call = format!("{}({})", function.name, arguments.collect::<Vec<_>>().join(", "));
            assert!(expression(&call).is_ok(), "{call}");
        }
    }
}
