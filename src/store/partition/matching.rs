//! From matchers to ranks, by the index, and from ranks to labels.

use roaring::RoaringBitmap;

use super::{
    super::{
        StoreError, keys,
        record::{self, BadRecord},
    },
    Partition, Walk,
    bytes::Damaged,
    handles::Lent,
    series::Block,
    terms::{self, Gather, Names},
};
use crate::model::{Labels, MatchOp, Matcher, matches_all};

/// With so few series left, what other matchers say of them is asked of their labels.
const CANDIDATES_FEW: u64 = 4096;

impl From<Damaged> for BadRecord {
    fn from(_: Damaged) -> Self {
        Self("block of labels")
    }
}

/// A partition with a handle of its database.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) partition: &'a Partition,
    pub(super) lent: Lent,
}

impl<'a> Reader<'a> {
    pub(super) fn of(partition: &'a Partition) -> Result<Self, StoreError> {
        Ok(Self { partition, lent: partition.open()? })
    }

    /// How many series there are: ranks are below it.
    pub(super) fn series_count(&self) -> Result<u32, StoreError> {
        let count = u32::try_from(self.partition.manifest.series);
        count.map_err(|_| self.partition.damage("it has more series than there can be"))
    }

    fn walk(
        &self,
        tree: &str,
        (from, to): (&[u8], Option<&[u8]>),
        visit: &mut Walk<'_>,
    ) -> Result<(), StoreError> {
        self.partition.walk(&self.lent, tree, (from, to), visit)
    }

    /// The ranks of the series that may match: all that do, and others where few are left.
    pub(super) fn candidates(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        found.insert_range(0..self.series_count()?);
        let (direct, others): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|m| m.op() == MatchOp::Equal && !m.value().is_empty());
        for matcher in direct {
            found &= self.with_value(matcher)?;
        }
        for matcher in others {
            if found.len() <= CANDIDATES_FEW {
                break;
            }
            self.narrow(matcher, &mut found)?;
        }
        Ok(found)
    }

    /// The ranks that have the value of a matcher, found without looking at others.
    fn with_value(&self, matcher: &Matcher) -> Result<RoaringBitmap, StoreError> {
        let wanted = |value: &str| value == matcher.value();
        self.gather(matcher, &keys::term(matcher.name(), matcher.value()), Some(1), &wanted)
    }

    /// Leaves those in `found` that pass.
    fn narrow(&self, matcher: &Matcher, found: &mut RoaringBitmap) -> Result<(), StoreError> {
        if matcher.op() == MatchOp::NotEqual && !matcher.value().is_empty() {
            *found -= self.with_value(matcher)?;
            return Ok(());
        }
        // What passes without the label passes unless it has a value that does not.
        let absent_passes = matcher.matches("");
        let wanted = |value: &str| matcher.matches(value) != absent_passes;
        let ranks = self.gather(matcher, &keys::term(matcher.name(), ""), None, &wanted)?;
        if absent_passes {
            *found -= ranks;
        } else {
            *found &= ranks;
        }
        Ok(())
    }

    /// The ranks of the wanted values of a matcher's label, from `blocks` blocks (`None`: all) on.
    fn gather(
        &self,
        matcher: &Matcher,
        from: &[u8],
        blocks: Option<usize>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, StoreError> {
        let mut gather = Gather { wanted, end: self.series_count()?, ranks: RoaringBitmap::new() };
        let mut left = blocks.unwrap_or(usize::MAX);
        let end = keys::terms_end(matcher.name());
        self.walk(keys::TREE_TERMS, (from, Some(&end)), &mut |_, value| {
            gather.read(record::unseal(value)?)?;
            left -= 1;
            Ok(left > 0)
        })?;
        Ok(gather.ranks)
    }

    /// Walks all values of a label, with the ranks that have each.
    pub(super) fn for_each_value(
        &self,
        name: &str,
        visit: &mut dyn FnMut(&str, terms::Ranks<'_>) -> Result<(), Damaged>,
    ) -> Result<(), StoreError> {
        let (from, end) = (keys::term(name, ""), keys::terms_end(name));
        self.walk(keys::TREE_TERMS, (&from, Some(&end)), &mut |_, value| {
            terms::for_each_value(record::unseal(value)?, visit)?;
            Ok(true)
        })
    }

    /// All label names.
    pub(super) fn names(&self) -> Result<Names, StoreError> {
        let mut names = None;
        self.walk(keys::TREE_TERMS, (keys::TERMS_NAMES, None), &mut |_, value| {
            names = Some(terms::decode_names(record::unseal(value)?)?);
            Ok(false)
        })?;
        let empty = self.partition.manifest.series == 0;
        let names = names.or_else(|| empty.then(Names::new));
        names.ok_or_else(|| self.partition.damage("its label names are missing"))
    }

    /// The labels of those ranks, which ascend, that pass all matchers.
    pub(super) fn labels(
        &self,
        ranks: &[u32],
        matchers: &[Matcher],
    ) -> Result<Vec<(u32, Labels)>, StoreError> {
        let mut found = Vec::with_capacity(ranks.len());
        let mut rest = ranks;
        while let Some(first) = rest.first() {
            let before = rest.len();
            self.walk(keys::TREE_SERIES, (&keys::rank(*first), None), &mut |key, value| {
                let last = keys::rank_of(key).ok_or(BadRecord("key"))?;
                let block = Block::read(record::unseal(value)?, last)?;
                let inside = rest.iter().take_while(|rank| **rank <= last).count();
                let (these, others) = rest.split_at(inside);
                for rank in these {
                    let labels = block.labels(*rank)?;
                    if matches_all(matchers, &labels) {
                        found.push((*rank, labels));
                    }
                }
                rest = others;
                // The next block is read on the way where it is wanted, too.
                Ok(!these.is_empty() && !rest.is_empty())
            })?;
            if rest.len() == before {
                return Err(self.partition.damage("labels of series are missing"));
            }
        }
        Ok(found)
    }
}
