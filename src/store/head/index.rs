//! From labels to series: for each label and value the ids of the series that have it.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashMap};
use roaring::RoaringBitmap;

use crate::model::{Labels, MatchOp, Matcher};

/// The ids of the series that share something. Most values of most labels name one series.
#[derive(Debug)]
enum Postings {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    fn insert(&mut self, id: u32) {
        match self {
            Self::One(only) => *self = Self::Many(Box::new([*only, id].into_iter().collect())),
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes an id out; tells whether any are left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(only) => *only != id,
            Self::Many(ids) => {
                ids.remove(id);
                !ids.is_empty()
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    /// Leaves what is in both.
    fn narrow(&self, found: &mut RoaringBitmap) {
        match self {
            Self::One(id) if found.contains(*id) => *found = [*id].into_iter().collect(),
            Self::One(_) => found.clear(),
            Self::Many(ids) => *found &= &**ids,
        }
    }

    fn add_to(&self, all: &mut RoaringBitmap) {
        match self {
            Self::One(id) => {
                all.insert(*id);
            }
            Self::Many(ids) => *all |= &**ids,
        }
    }
}

type Values = HashMap<Box<str>, Postings>;

/// The index of the series that are live.
#[derive(Debug, Default)]
pub(super) struct Index {
    labels: HashMap<Box<str>, Values>,
    all: RoaringBitmap,
}

impl Index {
    /// Takes a series in.
    pub(super) fn insert(&mut self, id: u32, labels: &Labels) {
        self.all.insert(id);
        for (name, value) in labels.iter() {
            let values = entry(&mut self.labels, name);
            match values.get_mut(value) {
                Some(postings) => postings.insert(id),
                None => {
                    values.insert(value.into(), Postings::One(id));
                }
            }
        }
    }

    /// Takes a series out.
    pub(super) fn remove(&mut self, id: u32, labels: &Labels) {
        self.all.remove(id);
        for (name, value) in labels.iter() {
            let Some(values) = self.labels.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|postings| !postings.remove(id)) {
                values.remove(value);
            }
            if values.is_empty() {
                self.labels.remove(name);
            }
        }
    }

    /// The ids of the series that pass all matchers.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> RoaringBitmap {
        // What an absent label passes is cheaper to say by what fails.
        let (absent_passes, narrowing): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.matches(""));
        let (equal, others): (Vec<&Matcher>, Vec<&Matcher>) =
            narrowing.into_iter().partition(|matcher| matcher.op() == MatchOp::Equal);
        let mut found = None;
        if !equal.is_empty() {
            found = self.having_all(&equal);
            if found.is_none() {
                return RoaringBitmap::new();
            }
        }
        for matcher in others {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            let passing = self.having(matcher, true);
            found = Some(match found {
                Some(found) => found & passing,
                None => passing,
            });
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        for matcher in absent_passes {
            if found.is_empty() {
                break;
            }
            found -= self.having(matcher, false);
        }
        found
    }

    /// The series that have these very values, the rarest looked at first; `None` where a value does
    /// not occur.
    fn having_all(&self, equal: &[&Matcher]) -> Option<RoaringBitmap> {
        let postings = equal.iter().map(|m| self.labels.get(m.name())?.get(m.value()));
        let mut postings: Vec<&Postings> = postings.collect::<Option<_>>()?;
        postings.sort_by_key(|postings| postings.len());
        let (rarest, others) = postings.split_first()?;
        let mut found = RoaringBitmap::new();
        rarest.add_to(&mut found);
        for postings in others {
            postings.narrow(&mut found);
        }
        Some(found)
    }

    /// The series that have a value of the matcher's label that passes, or fails.
    fn having(&self, matcher: &Matcher, passes: bool) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        let Some(values) = self.labels.get(matcher.name()) else { return ids };
        let names_one = match matcher.op() {
            MatchOp::Equal => passes,
            MatchOp::NotEqual => !passes,
            MatchOp::Regex | MatchOp::NotRegex => false,
        };
        if names_one {
            if let Some(postings) = values.get(matcher.value()) {
                postings.add_to(&mut ids);
            }
            return ids;
        }
        let passing = values.iter().filter(|(value, _)| matcher.matches(value) == passes);
        passing.for_each(|(_, postings)| postings.add_to(&mut ids));
        ids
    }
}

fn entry<'a>(labels: &'a mut HashMap<Box<str>, Values>, name: &str) -> &'a mut Values {
    // Looked up twice, so that a name that is known, as all but a few are, is not copied.
    if !labels.contains_key(name) {
        labels.insert(name.into(), Values::default());
    }
    labels.get_mut(name).expect("it was just put there")
}

/// The hash by which series are found.
#[derive(Debug, Default)]
pub(super) struct Hasher(DefaultHashBuilder);

impl Hasher {
    pub(super) fn hash(&self, labels: &Labels) -> u64 {
        self.0.hash_one(ByText(labels))
    }
}

/// Labels by their text alone: one stretch of bytes; the table compares the rest.
struct ByText<'a>(&'a Labels);

impl Hash for ByText<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.text().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::matches_all;

    fn labels() -> impl Strategy<Value = Labels> {
        let value = prop::sample::select(vec!["", "a", "b", "ab", "1"]);
        ("[mn]", value.clone(), value)
            .prop_map(|(metric, x, y)| Labels::of(&metric, [("x", x), ("y", y)]))
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let name = prop::sample::select(vec!["__name__", "x", "y", "z"]);
        let op = prop::sample::select(vec![
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ]);
        let value = prop::sample::select(vec!["", "m", "a", "a.*", ".*", ".+", "a|b", "(|1)"]);
        (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn finds_what_looking_at_each_series_finds(
            all in prop::collection::vec(labels(), 0..20),
            gone in prop::collection::vec(any::<bool>(), 20),
            matchers in prop::collection::vec(matcher(), 0..4),
        ) {
            let mut index = Index::default();
            for (id, labels) in (0..).zip(&all) {
                index.insert(id, labels);
            }
            for ((id, labels), _) in (0..).zip(&all).zip(&gone).filter(|(_, gone)| **gone) {
                index.remove(id, labels);
            }
            let expected: Vec<u32> = (0..)
                .zip(&all)
                .zip(&gone)
                .filter(|((_, labels), gone)| !**gone && matches_all(&matchers, labels))
                .map(|((id, _), _)| id)
                .collect();
            prop_assert_eq!(index.matching(&matchers).into_iter().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn what_is_taken_out_leaves_nothing(all in prop::collection::vec(labels(), 0..20)) {
            let mut index = Index::default();
            for (id, labels) in (0..).zip(&all) {
                index.insert(id, labels);
            }
            for (id, labels) in (0..).zip(&all) {
                index.remove(id, labels);
            }
            prop_assert!(index.labels.is_empty() && index.all.is_empty());
        }
    }
}
