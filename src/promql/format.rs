//! Expressions laid out, and as a tree: both as Prometheus has them (`promql/parser/prettier.go` and
//! `printer.go`, `web/api/v1/translate_ast.go`).
//!
//! Two things the parser does not keep: the plus in front of an operand, and that a number was written as a
//! duration. They come out as the operand, and as seconds.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{
        AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call, Expr, LabelModifier, Offset,
        SubqueryExpr, VectorMatchCardinality, VectorSelector, value::ValueType,
    },
    util::display_duration,
};
use serde_json::{Value, json};

use crate::model::{METRIC_NAME, is_label_name, is_metric_name};

use super::{QueryError, parse};

/// What is longer is broken into lines.
const LINE_MAX: usize = 100;
const INDENT: &str = "  ";

/// The expression laid out: spaces in their places, and long ones in lines.
pub fn format(text: &str) -> Result<String, QueryError> {
    Ok(pretty(&checked(text)?, 0))
}

/// The expression as a tree of objects, each with its `type`; durations and times in milliseconds.
pub fn syntax(text: &str) -> Result<Value, QueryError> {
    Ok(tree(&checked(text)?))
}

/// An expression that is PromQL, whether Balefire can evaluate it or not.
fn checked(text: &str) -> Result<Expr, QueryError> {
    match parse::expression(text) {
        Err(error) if !matches!(error, QueryError::Unsupported(_)) => Err(error),
        _ => parse::syntax_tree(text),
    }
}

/// In one line.
fn line(expr: &Expr) -> String {
    match expr {
        Expr::Aggregate(inner) => {
            let parameter = inner.param.iter().map(|parameter| format!("{}, ", line(parameter)));
            let parameter: String = parameter.collect();
            format!("{}({parameter}{})", aggregation(inner), line(&inner.expr))
        }
        Expr::Unary(inner) => format!("-{}", line(&inner.expr)),
        Expr::Binary(inner) => {
            format!("{} {} {}", line(&inner.lhs), operator(inner), line(&inner.rhs))
        }
        Expr::Paren(inner) => format!("({})", line(&inner.expr)),
        Expr::Subquery(inner) => format!("{}{}", line(&inner.expr), window(inner)),
        Expr::NumberLiteral(number) => float(number.val),
        Expr::StringLiteral(text) => quoted(&text.val),
        Expr::VectorSelector(selector) => format!("{}{}", series(selector), moved(selector)),
        Expr::MatrixSelector(matrix) => {
            let range = display_duration(&matrix.range);
            format!("{}[{range}]{}", series(&matrix.vs), moved(&matrix.vs))
        }
        Expr::Call(call) => {
            let arguments: Vec<String> = call.args.args.iter().map(|arg| line(arg)).collect();
            format!("{}({})", call.func.name, arguments.join(", "))
        }
        Expr::Extension(_) => String::new(),
    }
}

/// In lines, where one is too long. What begins a line is indented by its level.
fn pretty(expr: &Expr, level: usize) -> String {
    let flat = line(expr);
    let indent = INDENT.repeat(level);
    // A negation is no line of its own, nor does a subquery indent what is in one line.
    match expr {
        Expr::Unary(inner) => {
            return format!("{indent}-{}", pretty(&inner.expr, level).trim());
        }
        Expr::Subquery(_) if flat.len() <= LINE_MAX => return flat,
        _ if flat.len() <= LINE_MAX => return format!("{indent}{flat}"),
        _ => {}
    }
    match expr {
        Expr::Aggregate(inner) => {
            let parameter = inner.param.iter().map(|p| format!("{},\n", pretty(p, level + 1)));
            let parameter: String = parameter.collect();
            let body = pretty(&inner.expr, level + 1);
            format!("{indent}{}(\n{parameter}{body}\n{indent})", aggregation(inner))
        }
        Expr::Binary(inner) => {
            let (lhs, rhs) = (pretty(&inner.lhs, level + 1), pretty(&inner.rhs, level + 1));
            format!("{lhs}\n{indent}{}\n{rhs}", operator(inner))
        }
        Expr::Paren(inner) => {
            format!("{indent}(\n{}\n{indent})", pretty(&inner.expr, level + 1))
        }
        Expr::Subquery(inner) => format!("{}{}", pretty(&inner.expr, level), window(inner)),
        Expr::Call(call) => {
            let arguments = call.args.args.iter().map(|argument| pretty(argument, level + 1));
            let arguments: Vec<String> = arguments.collect();
            format!("{indent}{}(\n{}\n{indent})", call.func.name, arguments.join(",\n"))
        }
        _ => format!("{indent}{flat}"),
    }
}

/// `sum by (job) `
fn aggregation(aggregate: &AggregateExpr) -> String {
    let grouping = match &aggregate.modifier {
        Some(LabelModifier::Exclude(labels)) => format!(" without ({}) ", names(&labels.labels)),
        Some(LabelModifier::Include(labels)) if !labels.labels.is_empty() => {
            format!(" by ({}) ", names(&labels.labels))
        }
        _ => String::new(),
    };
    format!("{}{grouping}", aggregate.op)
}

fn names(labels: &[String]) -> String {
    let name = |name: &String| if is_metric_name(name) { name.clone() } else { quoted(name) };
    labels.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// `== bool on (job) group_left (instance)`
fn operator(binary: &BinaryExpr) -> String {
    let mut out = binary.op.to_string();
    let Some(modifier) = &binary.modifier else { return out };
    if modifier.return_bool {
        out.push_str(" bool");
    }
    let (word, labels) = match &modifier.matching {
        Some(LabelModifier::Include(labels)) => ("on", labels),
        Some(LabelModifier::Exclude(labels)) if !labels.labels.is_empty() => ("ignoring", labels),
        _ => return out,
    };
    push(&mut out, format_args!(" {word} ({})", labels.labels.join(", ")));
    let (side, labels) = match &modifier.card {
        VectorMatchCardinality::ManyToOne(labels) => ("left", labels),
        VectorMatchCardinality::OneToMany(labels) => ("right", labels),
        _ => return out,
    };
    push(&mut out, format_args!(" group_{side} ({})", labels.labels.join(", ")));
    out
}

/// `up{job="node"}`
fn series(selector: &VectorSelector) -> String {
    let name = selector.name.as_deref().unwrap_or_default();
    let or = |group: &Vec<Matcher>| joined(group);
    let groups: Vec<String> = selector.matchers.or_matchers.iter().map(or).collect();
    let own = joined(&selector.matchers.matchers);
    let matchers = if groups.is_empty() { own } else { groups.join(" or ") };
    if matchers.is_empty() { name.to_owned() } else { format!("{name}{{{matchers}}}") }
}

fn joined(matchers: &[Matcher]) -> String {
    let mut texts: Vec<String> = matchers
        .iter()
        .map(|matcher| {
            let name = &matcher.name;
            let name = if is_label_name(name) { name.clone() } else { quoted(name) };
            format!("{name}{}{}", matcher.op, quoted(&matcher.value))
        })
        .collect();
    texts.sort_unstable();
    texts.join(",")
}

/// ` @ 5.000 offset 1h`
fn moved(selector: &VectorSelector) -> String {
    shift(selector.at.as_ref(), selector.offset.as_ref())
}

/// `[1h:5m] offset 1h`
fn window(subquery: &SubqueryExpr) -> String {
    let step = subquery.step.as_ref().map(display_duration).unwrap_or_default();
    let shift = shift(subquery.at.as_ref(), subquery.offset.as_ref());
    format!("[{}:{step}]{shift}", display_duration(&subquery.range))
}

fn shift(at: Option<&AtModifier>, offset: Option<&Offset>) -> String {
    let at = match at {
        None => String::new(),
        Some(AtModifier::Start) => " @ start()".to_owned(),
        Some(AtModifier::End) => " @ end()".to_owned(),
        Some(AtModifier::At(time)) => format!(" @ {:.3}", epoch_millis(*time) as f64 / 1000.0),
    };
    match offset {
        Some(Offset::Pos(back)) if !back.is_zero() => {
            format!("{at} offset {}", display_duration(back))
        }
        Some(Offset::Neg(forth)) if !forth.is_zero() => {
            format!("{at} offset -{}", display_duration(forth))
        }
        _ => at,
    }
}

fn epoch_millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(&after),
        Err(before) => -millis(&before.duration()),
    }
}

fn millis(duration: &Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn offset_millis(offset: Option<&Offset>) -> i64 {
    match offset {
        None => 0,
        Some(Offset::Pos(back)) => millis(back),
        Some(Offset::Neg(forth)) => -millis(forth),
    }
}

/// Plain digits, however many they are.
fn float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// In double quotes, escaped as Go does (`%q`).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => push(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => push(&mut out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _written: std::fmt::Result = out.write_fmt(text);
}

fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Aggregate(inner) => aggregate_tree(inner),
        Expr::Unary(inner) => json!({"expr": tree(&inner.expr), "op": "-", "type": "unaryExpr"}),
        Expr::Binary(inner) => binary_tree(inner),
        Expr::Paren(inner) => json!({"expr": tree(&inner.expr), "type": "parenExpr"}),
        Expr::Subquery(inner) => json!({
            "expr": tree(&inner.expr),
            "offset": offset_millis(inner.offset.as_ref()),
            "range": millis(&inner.range),
            "startOrEnd": start_or_end(inner.at.as_ref()),
            "step": inner.step.as_ref().map_or(0, millis),
            "timestamp": timestamp(inner.at.as_ref()),
            "type": "subquery",
        }),
        Expr::NumberLiteral(number) => json!({"type": "numberLiteral", "val": float(number.val)}),
        Expr::StringLiteral(text) => json!({"type": "stringLiteral", "val": text.val}),
        Expr::VectorSelector(selector) => selector_tree(selector, "vectorSelector"),
        Expr::MatrixSelector(matrix) => {
            let mut tree = selector_tree(&matrix.vs, "matrixSelector");
            tree["range"] = millis(&matrix.range).into();
            tree
        }
        Expr::Call(call) => call_tree(call),
        Expr::Extension(_) => Value::Null,
    }
}

fn aggregate_tree(aggregate: &AggregateExpr) -> Value {
    let (grouping, without) = match &aggregate.modifier {
        Some(LabelModifier::Include(labels)) => (labels.labels.clone(), false),
        Some(LabelModifier::Exclude(labels)) => (labels.labels.clone(), true),
        None => (Vec::new(), false),
    };
    json!({
        "expr": tree(&aggregate.expr),
        "grouping": grouping,
        "op": aggregate.op.to_string(),
        "param": aggregate.param.as_ref().map(|parameter| tree(parameter)),
        "type": "aggregation",
        "without": without,
    })
}

fn binary_tree(binary: &BinaryExpr) -> Value {
    let vectors = [&binary.lhs, &binary.rhs].iter().all(|e| e.value_type() == ValueType::Vector);
    let modifier = binary.modifier.clone().unwrap_or_default();
    json!({
        "bool": modifier.return_bool,
        "lhs": tree(&binary.lhs),
        "matching": vectors.then(|| matching_tree(binary, &modifier)),
        "op": binary.op.to_string(),
        "rhs": tree(&binary.rhs),
        "type": "binaryExpr",
    })
}

fn matching_tree(binary: &BinaryExpr, modifier: &BinModifier) -> Value {
    let (labels, on) = match &modifier.matching {
        Some(LabelModifier::Include(labels)) => (labels.labels.clone(), true),
        Some(LabelModifier::Exclude(labels)) => (labels.labels.clone(), false),
        None => (Vec::new(), false),
    };
    let (card, include) = match &modifier.card {
        _ if binary.op.is_set_operator() => ("many-to-many", Vec::new()),
        VectorMatchCardinality::OneToOne => ("one-to-one", Vec::new()),
        VectorMatchCardinality::ManyToOne(labels) => ("many-to-one", labels.labels.clone()),
        VectorMatchCardinality::OneToMany(labels) => ("one-to-many", labels.labels.clone()),
        VectorMatchCardinality::ManyToMany => ("many-to-many", Vec::new()),
    };
    json!({"card": card, "include": include, "labels": labels, "on": on})
}

fn selector_tree(selector: &VectorSelector, kind: &str) -> Value {
    let name = selector.name.as_deref().unwrap_or_default();
    let matchers = &selector.matchers;
    let all = matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten());
    let own = |matcher: &Matcher| {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        json!({"name": matcher.name, "type": op, "value": matcher.value})
    };
    let mut all: Vec<Value> = all.map(own).collect();
    if !name.is_empty() {
        all.push(json!({"name": METRIC_NAME, "type": "=", "value": name}));
    }
    json!({
        "matchers": all,
        "name": name,
        "offset": offset_millis(selector.offset.as_ref()),
        "startOrEnd": start_or_end(selector.at.as_ref()),
        "timestamp": timestamp(selector.at.as_ref()),
        "type": kind,
    })
}

fn call_tree(call: &Call) -> Value {
    let types: Vec<String> = call.func.arg_types.iter().map(ToString::to_string).collect();
    let arguments: Vec<Value> = call.args.args.iter().map(|argument| tree(argument)).collect();
    json!({
        "args": arguments,
        "func": {
            "argTypes": types,
            "name": call.func.name,
            "returnType": call.func.return_type.to_string(),
            "variadic": call.func.variadic,
        },
        "type": "call",
    })
}

fn start_or_end(at: Option<&AtModifier>) -> Option<&'static str> {
    match at? {
        AtModifier::Start => Some("start"),
        AtModifier::End => Some("end"),
        AtModifier::At(_) => None,
    }
}

fn timestamp(at: Option<&AtModifier>) -> Option<i64> {
    match at? {
        AtModifier::At(time) => Some(epoch_millis(*time)),
        AtModifier::Start | AtModifier::End => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, laid_out: &str) {
        assert_eq!(format(text).as_deref(), Ok(laid_out), "{text}");
        assert_eq!(format(laid_out).as_deref(), Ok(laid_out), "{text}");
    }

    #[test]
    fn short_expressions_stay_in_a_line() {
        check("sum(up)by(job)", "sum by (job) (up)");
        check("sum without() (up)", "sum without () (up)");
        check("a==bool on(x)group_left(y) b", "a == bool on (x) group_left (y) b");
        check("up{z='1',a=\"2\\n\"} offset -90s", "up{a=\"2\\n\",z=\"1\"} offset -1m30s");
        check("rate(up[90s])[1h:] @ 5.5", "rate(up[1m30s])[1h:] @ 5.500");
        check("-(a+1e21)", "-(a + 1000000000000000000000)");
        check("{\"a.b\",c=~\"d\"} @ end()", "{__name__=\"a.b\",c=~\"d\"} @ end()");
        check("-Inf", "-Inf");
    }

    #[test]
    fn long_expressions_are_broken_into_lines() {
        let long = "a".repeat(60);
        check(
            &format!("topk(5,rate({long}[5m])/-{long})"),
            &format!("topk(\n  5,\n    rate({long}[5m])\n  /\n    -{long}\n)"),
        );
        check(
            &format!("max_over_time(({long}+{long})[1h:])"),
            &format!("max_over_time(\n  (\n      {long}\n    +\n      {long}\n  )[1h:]\n)"),
        );
    }

    #[test]
    fn trees_tell_what_prometheus_does() {
        assert_eq!(
            syntax("a / on (b) group_left (c) d[5m:1m] offset 1h").unwrap_err().code(),
            crate::error_code::ErrorCode::InvalidArgument
        );
        let tree = syntax("sum by (x) (a) > bool on () b @ -1.5").unwrap();
        assert_eq!(
            tree["matching"],
            json!({"card": "one-to-one", "include": [], "labels": [], "on": true})
        );
        assert_eq!(tree["lhs"]["grouping"], json!(["x"]));
        assert_eq!(tree["rhs"]["timestamp"], json!(-1500));
        assert_eq!(syntax("1 + a").unwrap()["matching"], Value::Null);
        let set = syntax("a and b").unwrap();
        assert_eq!(set["matching"]["card"], "many-to-many");
        let call = syntax("rate(a[5m])").unwrap();
        assert_eq!(
            call["func"],
            json!({"argTypes": ["matrix"], "name": "rate", "returnType": "vector", "variadic": 0})
        );
        assert_eq!(call["args"][0]["range"], 300_000);
    }

    #[test]
    fn what_cannot_be_evaluated_yet_is_laid_out_all_the_same() {
        check("limitk(2,a)", "limitk(2, a)");
        assert!(format("a b").is_err() && format("rate(a)").is_err());
    }
}
