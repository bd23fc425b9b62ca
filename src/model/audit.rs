//! Who changed what.

use crate::time::Timestamp;

/// A change that somebody made, before it has its place in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// Who: `uid:1000`, `config`, `balefire`.
    pub actor: String,
    /// What was done: `rule.create`, `target.adopt` …
    pub action: String,
    /// To what.
    pub subject: String,
    /// How it was before; empty where it was not.
    pub before: String,
    /// How it is now; empty where it is no more.
    pub after: String,
}

/// A change with its place in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, from 1 up, without gaps.
    pub sequence: u64,
    /// The change.
    pub record: AuditRecord,
}
