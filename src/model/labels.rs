//! The sorted set of name–value pairs that names a series.

use std::{cmp::Ordering, fmt, hash::Hash, hash::Hasher, sync::Arc};

use crate::limits;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of labels with unique names and no empty values; cheap to clone.
///
/// All text lies in one allocation; `ends` holds where each name and each value ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<Text>);

#[derive(PartialEq, Eq)]
struct Text {
    text: Box<str>,
    ends: Box<[u32]>,
}

/// Labels that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// The metric name is empty or has a character that is not allowed.
    #[error("invalid metric name {0:?}: use letters, digits, '_' and ':', and no digit first")]
    MetricName(String),
    /// A label name is empty or has a character that is not allowed.
    #[error("invalid label name {0:?}: use letters, digits and '_', and no digit first")]
    LabelName(String),
    /// A name occurs twice.
    #[error("label {0:?} is given twice")]
    Duplicate(String),
    /// A name or value is longer than its limit.
    #[error("label {name:?} is too long: {bytes} bytes where {max} are allowed")]
    TooLong {
        /// The label.
        name: String,
        /// How long the name or value is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// More labels than a series may have.
    #[error("{count} labels on one series where {max} are allowed", max = limits::LABELS_MAX)]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// Whether `name` may be a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |c| c == b':')
}

/// Whether `name` may be a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || also(c);
    name.bytes().all(allowed) && name.bytes().next().is_some_and(|c| !c.is_ascii_digit())
}

impl Labels {
    /// No labels at all.
    pub fn empty() -> Self {
        Self::from_sorted(&[])
    }

    /// Checked labels from pairs in any order; pairs with an empty value are left out, as Prometheus
    /// takes an empty value for an absent label.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, InvalidLabels>
    where
        N: AsRef<str> + Into<String>,
        V: AsRef<str> + Into<String>,
    {
        let mut pairs: Vec<(N, V)> =
            pairs.into_iter().filter(|(_, value)| !value.as_ref().is_empty()).collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        check(&pairs)?;
        Ok(Self::from_sorted(&pairs))
    }

    /// The labels of a metric: its name and pairs in any order.
    ///
    /// # Panics
    /// When a name is not valid: for names that stand in the source code.
    pub fn of<const N: usize>(metric: &str, pairs: [(&str, &str); N]) -> Self {
        Self::new(pairs.into_iter().chain([(METRIC_NAME, metric)]))
            .expect("label names written in the source are valid")
    }

    /// Labels from pairs that are sorted, unique, valid and not empty already.
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(pairs.len() * 2);
        for (name, value) in pairs {
            for part in [name, value] {
                text.push_str(part);
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Self(Arc::new(Text { text: text.into(), ends: ends.into() }))
    }

    /// All names and values in order, one after the other: for hashing. Different labels may share it.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(|i| (self.part(2 * i), self.part(2 * i + 1)))
    }

    fn part(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.0.ends[index - 1] as usize };
        &self.0.text[start..self.0.ends[index] as usize]
    }

    /// The value of a label; `None` where it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        // A handful of labels: a walk beats a search.
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The metric name; empty where there is none.
    pub fn metric(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// The order by metric name first, then by all labels: series of one metric are neighbours in it.
    pub fn cmp_by_metric(&self, other: &Self) -> std::cmp::Ordering {
        (self.metric(), self).cmp(&(other.metric(), other))
    }

    /// These labels without those that `drop` names.
    #[must_use]
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        let kept: Vec<_> = self.iter().filter(|(name, _)| !drop(name)).collect();
        Self::from_sorted(&kept)
    }

    /// These labels with `name` set to `value`; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.iter().filter(|(n, _)| *n != name).collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|(n, _)| *n < name);
            pairs.insert(at, (name, value));
        }
        Self::from_sorted(&pairs)
    }
}

fn check(pairs: &[(&str, &str)]) -> Result<(), InvalidLabels> {
    if pairs.len() > limits::LABELS_MAX {
        return Err(InvalidLabels::TooMany { count: pairs.len() });
    }
    for window in pairs.windows(2) {
        if window[0].0 == window[1].0 {
            return Err(InvalidLabels::Duplicate(window[0].0.to_owned()));
        }
    }
    pairs.iter().try_for_each(|(name, value)| check_pair(name, value))
}

fn check_pair(name: &str, value: &str) -> Result<(), InvalidLabels> {
    let short = |bytes: usize, max: usize| {
        let name = name.chars().take(64).collect();
        if bytes > max { Err(InvalidLabels::TooLong { name, bytes, max }) } else { Ok(()) }
    };
    short(name.len(), limits::LABEL_NAME_BYTES_MAX)?;
    short(value.len(), limits::LABEL_VALUE_BYTES_MAX)?;
    if name == METRIC_NAME && !is_metric_name(value) {
        return Err(InvalidLabels::MetricName(value.to_owned()));
    }
    if is_label_name(name) { Ok(()) } else { Err(InvalidLabels::LabelName(name.to_owned())) }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Where names and values end hardly ever tells more.
        self.0.text.hash(state);
    }
}

impl Ord for Labels {
    /// Pair by pair. Those parts that are as long in both, which are all of most, are compared as one.
    fn cmp(&self, other: &Self) -> Ordering {
        let (ends, others) = (&self.0.ends, &other.0.ends);
        if ends == others {
            return self.0.text.cmp(&other.0.text);
        }
        let alike = ends.iter().zip(others).take_while(|(a, b)| a == b).count();
        let as_long = alike.checked_sub(1).map_or(0, |last| ends[last] as usize);
        let (text, theirs) = (self.0.text.as_bytes(), other.0.text.as_bytes());
        text[..as_long].cmp(&theirs[..as_long]).then_with(|| {
            let rest = (alike..ends.len()).map(|index| self.part(index));
            rest.cmp((alike..others.len()).map(|index| other.part(index)))
        })
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// As Prometheus writes a series: `name{a="b"}`, values escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric())?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() {
            return if self.metric().is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        for (index, (name, value)) in rest.enumerate() {
            write!(f, "{}{name}={value:?}", if index == 0 { "{" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_the_order_of_their_pairs() {
        let pairs: [&[(&str, &str)]; 7] = [
            &[],
            &[("a", "1")],
            &[("a", "1"), ("b", "2")],
            &[("a", "10")],
            &[("a", "2")],
            &[("ab", "1")],
            &[("b", "1")],
        ];
        let all = pairs.map(Labels::from_sorted);
        for (a, left) in all.iter().enumerate() {
            for (b, right) in all.iter().enumerate() {
                assert_eq!(left.cmp(right), a.cmp(&b), "{left} {right}");
            }
        }
    }

    #[test]
    fn sorts_and_drops_empty_values() {
        let labels = Labels::new([("z", "1"), (METRIC_NAME, "up"), ("a", ""), ("b", "2")]).unwrap();
        assert_eq!(
            labels.iter().collect::<Vec<_>>(),
            [(METRIC_NAME, "up"), ("b", "2"), ("z", "1")]
        );
        assert_eq!(labels.to_string(), r#"up{b="2", z="1"}"#);
    }

    #[test]
    fn sets_and_removes() {
        let labels = Labels::of("up", [("job", "node")]);
        assert_eq!(labels.with("instance", "a").get("instance"), Some("a"));
        assert_eq!(labels.with("job", ""), Labels::of("up", []));
        assert_eq!(labels.without(|name| name == METRIC_NAME).metric(), "");
    }

    #[test]
    fn refuses_what_names_no_series() {
        let names = |name: &str| Labels::new([(name, "x")]);
        assert_eq!(names("a-b"), Err(InvalidLabels::LabelName("a-b".into())));
        assert_eq!(names(""), Err(InvalidLabels::LabelName(String::new())));
        assert_eq!(
            Labels::new([(METRIC_NAME, "1up")]),
            Err(InvalidLabels::MetricName("1up".into()))
        );
        assert_eq!(
            Labels::new([("a", "1"), ("a", "2")]),
            Err(InvalidLabels::Duplicate("a".into()))
        );
        let long = "x".repeat(limits::LABEL_VALUE_BYTES_MAX + 1);
        assert!(matches!(Labels::new([("a", &*long)]), Err(InvalidLabels::TooLong { .. })));
    }

    #[test]
    fn pairs_with_the_same_text_differ() {
        assert_ne!(Labels::new([("ab", "c")]).unwrap(), Labels::new([("a", "bc")]).unwrap());
    }
}
