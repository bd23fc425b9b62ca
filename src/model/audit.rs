//! Who changed what, who was refused, and the chain that shows where somebody took a piece out.

use ring::digest::{Context, SHA256};

use crate::time::Timestamp;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was done.
    #[default]
    Applied,
    /// It takes a while, and had begun; what came of it has an entry of its own where that is known.
    Begun,
    /// It was tried, and changed nothing or not all.
    Failed,
    /// Whoever asked may not.
    Refused,
}

impl AuditOutcome {
    /// In the order of their numbers on disk.
    pub const ALL: [Self; 4] = [Self::Applied, Self::Begun, Self::Failed, Self::Refused];

    /// Its name: `applied`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Begun => "begun",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// A change that somebody made or wanted to make, before it has its place in the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// Who: `uid:1000`, `signal`, `balefire`.
    pub actor: String,
    /// The name of that user; empty where there is none.
    pub user: String,
    /// Its process; `None` where it was not in sight.
    pub pid: Option<u32>,
    /// From where: the socket's path; empty for what the daemon did by itself.
    pub origin: String,
    /// By which call: `SystemService.Reload`; empty where it was none.
    pub call: String,
    /// What was done: `rule.create`, `target.adopt`, `access` …
    pub action: String,
    /// To what.
    pub subject: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// How it was before; empty where it was not.
    pub before: String,
    /// How it is now; empty where it is no more.
    pub after: String,
}

/// What ties an entry to all before it: SHA-256.
pub type AuditHash = [u8; 32];

/// What the first entry of a chain is tied to.
pub const CHAIN_START: AuditHash = [0; 32];

/// The action of the entry that tells which entries were removed for their age: its subject is the number
/// of the last of them, its `before` the hash of that one.
pub const AUDIT_TRIM: &str = "audit.trim";

/// The form of what is hashed, its first byte.
const CHAIN_VERSION: u8 = 1;

/// A change with its place in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, from 1 up, without gaps.
    pub sequence: u64,
    /// The change.
    pub record: AuditRecord,
    /// Its hash; `None` for what was written before there was a chain.
    pub hash: Option<AuditHash>,
}

impl AuditRecord {
    /// The hash of this record as entry `sequence`, after an entry with the hash `previous`: of a byte for
    /// the version, that hash, number, time (milliseconds since 1970), process (0 for none) and outcome,
    /// each in eight bytes, the highest first, and the texts in the order of the fields, each behind its
    /// length.
    pub fn chained(&self, sequence: u64, previous: &AuditHash) -> AuditHash {
        let mut context = Context::new(&SHA256);
        context.update(&[CHAIN_VERSION]);
        context.update(previous);
        let time = self.time.as_millis().cast_unsigned();
        let outcome = self.outcome as u64;
        for number in [sequence, time, self.pid.unwrap_or(0).into(), outcome] {
            context.update(&number.to_be_bytes());
        }
        let Self { actor, user, origin, call, action, subject, before, after, .. } = self;
        for text in [actor, user, origin, call, action, subject, before, after] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut hash = CHAIN_START;
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// The record that says that entries up to `sequence`, whose hash was `hash`, were removed.
    pub fn trim(time: Timestamp, sequence: u64, hash: &AuditHash) -> Self {
        Self {
            time,
            actor: "balefire".to_owned(),
            action: AUDIT_TRIM.to_owned(),
            subject: sequence.to_string(),
            before: hex(hash),
            ..Self::default()
        }
    }

    /// The number and the hash, in hexadecimal, that [`AuditRecord::trim`] was given.
    pub fn trimmed(&self) -> Option<(u64, &str)> {
        let is_trim = self.action == AUDIT_TRIM && self.actor == "balefire";
        Some((self.subject.parse().ok()?, self.before.as_str())).filter(|_| is_trim)
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where the audit is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken at entry {sequence}: {reason}")]
pub struct BrokenChain {
    /// The entry.
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a whole audit comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedChain {
    /// The first entry and the last; `None` where there is none.
    pub span: Option<(u64, u64)>,
    /// Entries in the chain.
    pub chained: u64,
    /// Entries from before there was a chain, which nothing vouches for.
    pub unchained: u64,
    /// The hash of the last entry, to be compared with what the journal has.
    pub head: Option<AuditHash>,
}

/// Checks an audit, entry by entry, the newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditChain {
    /// The entry that waits for the one before it.
    newer: Option<AuditEntry>,
    /// What entries say was removed: the last number, and its hash.
    trims: Vec<(u64, String)>,
    checked: CheckedChain,
}

impl AuditChain {
    /// The next entry, which stands before all that were given.
    pub fn take(&mut self, entry: AuditEntry) -> Result<(), BrokenChain> {
        if let Some(newer) = self.newer.take() {
            check_pair(&newer, &entry)?;
        }
        let CheckedChain { span, chained, unchained, head } = &mut self.checked;
        if span.is_none() {
            *head = entry.hash;
        }
        *span = Some((entry.sequence, span.map_or(entry.sequence, |(_, last)| last)));
        *(if entry.hash.is_some() { chained } else { unchained }) += 1;
        if let Some((sequence, hash)) = entry.record.trimmed() {
            self.trims.push((sequence, hash.to_owned()));
        }
        self.newer = Some(entry);
        Ok(())
    }

    /// That was all.
    pub fn finish(self) -> Result<CheckedChain, BrokenChain> {
        match &self.newer {
            Some(AuditEntry { sequence, record, hash: Some(hash) }) => {
                let follows = |previous: &AuditHash| record.chained(*sequence, previous) == *hash;
                let trims = self.trims.iter().filter(|(last, _)| last + 1 == *sequence);
                let mut anchors = trims.filter_map(|(_, hash)| unhex(hash));
                if follows(&CHAIN_START) || anchors.any(|anchor| follows(&anchor)) {
                    return Ok(self.checked);
                }
                let reason = "entries before it are gone, and no entry tells that they were removed for \
                              their age; or its content is not what was written";
                Err(BrokenChain { sequence: *sequence, reason: reason.to_owned() })
            }
            _ => Ok(self.checked),
        }
    }
}

fn check_pair(newer: &AuditEntry, older: &AuditEntry) -> Result<(), BrokenChain> {
    let broken = |reason: String| Err(BrokenChain { sequence: newer.sequence, reason });
    if newer.sequence != older.sequence + 1 {
        return broken(format!(
            "the entry before it is {}: those between are missing",
            older.sequence
        ));
    }
    match (newer.hash, older.hash) {
        (Some(hash), previous) => {
            let expected = newer.record.chained(newer.sequence, &previous.unwrap_or(CHAIN_START));
            if hash == expected {
                return Ok(());
            }
            broken("its content, or the hash before it, is not what was written".to_owned())
        }
        (None, Some(_)) => broken("it has no hash, and the one before it has".to_owned()),
        (None, None) => Ok(()),
    }
}

fn unhex(text: &str) -> Option<AuditHash> {
    let mut hash = CHAIN_START;
    if text.len() != hash.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> AuditRecord {
        AuditRecord {
            time: Timestamp::from_secs(1_700_000_000),
            actor: "uid:0".to_owned(),
            pid: Some(7),
            subject: format!("rule {n}"),
            ..AuditRecord::default()
        }
    }

    /// A chain of these records from entry `first` on, tied to `previous`.
    fn chain(first: u64, previous: AuditHash, records: Vec<AuditRecord>) -> Vec<AuditEntry> {
        let mut previous = previous;
        let entry = |(sequence, record): (u64, AuditRecord)| {
            previous = record.chained(sequence, &previous);
            AuditEntry { sequence, record, hash: Some(previous) }
        };
        (first..).zip(records).map(entry).collect()
    }

    fn five() -> Vec<AuditEntry> {
        chain(1, CHAIN_START, (1..=5).map(record).collect())
    }

    fn verify(entries: &[AuditEntry]) -> Result<CheckedChain, BrokenChain> {
        let mut chain = AuditChain::default();
        entries.iter().rev().cloned().try_for_each(|entry| chain.take(entry))?;
        chain.finish()
    }

    /// That the chain is broken just here once `harm` is done to it.
    #[track_caller]
    fn check(harm: impl FnOnce(&mut Vec<AuditEntry>), at: u64, reason: &str) {
        let mut entries = five();
        harm(&mut entries);
        let broken = verify(&entries).expect_err(reason);
        assert_eq!(broken.sequence, at, "{broken}");
        assert!(broken.reason.contains(reason), "{broken}");
    }

    #[test]
    fn a_chain_that_nobody_touched_is_whole() {
        let entries = five();
        let checked = verify(&entries).unwrap();
        assert_eq!((checked.span, checked.chained, checked.unchained), (Some((1, 5)), 5, 0));
        assert_eq!(checked.head, entries[4].hash);
        assert_eq!(verify(&[]), Ok(CheckedChain::default()));
    }

    #[test]
    fn every_harm_shows_where_it_was_done() {
        check(|all| all[2].record.subject.push('!'), 3, "content");
        check(|all| all[2].record.pid = None, 3, "content");
        check(|all| all[2].record.outcome = AuditOutcome::Refused, 3, "content");
        check(|all| all[2].record.time = Timestamp::from_secs(1), 3, "content");
        check(|all| drop(all.remove(2)), 4, "is 2: those between are missing");
        check(|all| drop(all.drain(..2)), 3, "entries before it are gone");
        check(|all| all[2].hash = None, 4, "content");
        check(|all| all[4].hash = None, 5, "has no hash");
        check(|all| all[0].record.actor = "uid:1".to_owned(), 1, "content");
        // From one text to the next: together they say the same.
        let moved = |all: &mut Vec<AuditEntry>| {
            all[3].record.subject = "rule ".to_owned();
            all[3].record.before = "4".to_owned();
        };
        check(moved, 4, "content");
    }

    #[test]
    fn what_was_removed_for_its_age_is_told_by_an_entry() {
        let old = five();
        let anchor = old[2].hash.unwrap();
        let trim = AuditRecord::trim(Timestamp::from_secs(9), 3, &anchor);
        let mut entries = old.clone();
        entries.extend(chain(6, old[4].hash.unwrap(), vec![trim]));
        assert!(verify(&entries).is_ok(), "told, and not yet done");
        assert_eq!(verify(&entries[3..]).unwrap().span, Some((4, 6)));
        let broken = verify(&entries[4..]).unwrap_err();
        assert_eq!(broken.sequence, 5, "more is gone than was told");
        entries[3].record.subject.push('!');
        assert_eq!(verify(&entries[3..]).unwrap_err().sequence, 4);
    }

    #[test]
    fn entries_from_before_the_chain_are_told_apart() {
        let unchained = (1..=2).map(|n| AuditEntry { sequence: n, record: record(n), hash: None });
        let chained = chain(3, CHAIN_START, vec![record(3), record(4)]);
        let entries: Vec<AuditEntry> = unchained.chain(chained).collect();
        let checked = verify(&entries).unwrap();
        assert_eq!((checked.chained, checked.unchained), (2, 2));
        assert!(verify(&entries[1..]).is_ok() && verify(&entries[2..]).is_ok());
    }
}
