//! What is written: versioned records, and their translation from and to the model.
//!
//! Records are protobuf messages, so that fields can be added and old files stay readable; numbers of
//! fields are never used again. The same [`ChangeRecord`] stands in the log, in checkpoints and in
//! the catalog. Must not know where the bytes go.

mod agent;
mod convert;
mod events;
mod token;

use prost::Message;

use crate::{model::Labels, time::Timestamp};

pub(super) use convert::{decode_change, encode_change};
use token::{TokenRecord, TokenUseRecord};

/// A record that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored {0} is damaged or from a later version")]
pub(super) struct BadRecord(pub &'static str);

/// Names and values by turns, sorted by name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelsRecord {
    #[prost(string, repeated, tag = "1")]
    pub text: Vec<String>,
}

/// What a checkpoint is about.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckpointRecord {
    /// Samples before this instant are not added to any more.
    #[prost(sint64, tag = "1")]
    pub floor: i64,
    /// Samples before this instant lie in partitions.
    #[prost(sint64, tag = "2")]
    pub sealed: i64,
    /// The next sequence number of each kind of history.
    #[prost(uint64, repeated, tag = "3")]
    pub next: Vec<u64>,
    /// The first number of each kind of history that is not in a partition.
    #[prost(uint64, repeated, tag = "4")]
    pub unsealed: Vec<u64>,
}

/// One change of the small state, or one entry of the history.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeRecord {
    /// For entries of the history: their place in it.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(
        oneof = "Kind",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22"
    )]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "2")]
    PutRule(RuleRecord),
    #[prost(string, tag = "3")]
    DeleteRule(String),
    #[prost(message, tag = "4")]
    PutInstances(InstancesRecord),
    #[prost(message, tag = "5")]
    Transition(TransitionRecord),
    #[prost(message, tag = "6")]
    Audit(AuditRecordRecord),
    #[prost(message, tag = "7")]
    Probe(ProbeRecordRecord),
    #[prost(message, tag = "8")]
    TargetState(TargetStateRecord),
    #[prost(string, tag = "9")]
    DeleteTarget(String),
    #[prost(string, tag = "10")]
    PutAdoption(String),
    #[prost(string, tag = "11")]
    DeleteAdoption(String),
    #[prost(message, tag = "12")]
    Accumulator(AccumulatorRecord),
    #[prost(message, tag = "13")]
    Metadata(MetadataRecord),
    /// Probes of a deleted target below the sequence number are gone.
    #[prost(message, tag = "14")]
    Hidden(HiddenRecord),
    #[prost(message, tag = "15")]
    TargetChanged(TargetChangedRecord),
    #[prost(message, tag = "16")]
    ConfigReloaded(ConfigReloadedRecord),
    #[prost(message, tag = "20")]
    Token(TokenRecord),
    #[prost(message, tag = "21")]
    UseToken(TokenUseRecord),
    #[prost(string, tag = "22")]
    DeleteToken(String),
    #[prost(message, tag = "17")]
    PutAgent(AgentRecord),
    #[prost(uint32, tag = "18")]
    DeleteAgent(u32),
    #[prost(message, tag = "19")]
    AgentMark(AgentMarkRecord),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AgentRecord {
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    #[prost(string, tag = "2")]
    pub user: String,
    #[prost(message, repeated, tag = "3")]
    pub targets: Vec<AgentTargetRecord>,
    #[prost(sint64, optional, tag = "4")]
    pub gone_since: Option<i64>,
}

/// A target of an agent.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AgentTargetRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(string, tag = "3")]
    pub transport: String,
    #[prost(string, tag = "4")]
    pub endpoint: String,
    #[prost(string, tag = "5")]
    pub source: String,
    #[prost(bool, tag = "6")]
    pub probed: bool,
    #[prost(uint64, tag = "7")]
    pub interval_ms: u64,
    #[prost(uint64, tag = "8")]
    pub timeout_ms: u64,
    #[prost(uint32, tag = "9")]
    pub retries: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AgentMarkRecord {
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    #[prost(string, tag = "2")]
    pub instance: String,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RuleRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub condition: String,
    #[prost(uint32, tag = "4")]
    pub severity: u32,
    #[prost(string, tag = "5")]
    pub description: String,
    #[prost(bool, tag = "6")]
    pub enabled: bool,
    #[prost(uint64, tag = "7")]
    pub hold_ms: u64,
    #[prost(uint64, tag = "8")]
    pub cooldown_ms: u64,
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: std::collections::BTreeMap<String, String>,
    #[prost(uint32, tag = "10")]
    pub origin: u32,
    #[prost(sint64, tag = "11")]
    pub created_at: i64,
    #[prost(sint64, tag = "12")]
    pub updated_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InstancesRecord {
    #[prost(string, tag = "1")]
    pub rule_id: String,
    #[prost(message, repeated, tag = "2")]
    pub instances: Vec<InstanceRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InstanceRecord {
    #[prost(string, tag = "1")]
    pub rule_id: String,
    #[prost(message, optional, tag = "2")]
    pub labels: Option<LabelsRecord>,
    #[prost(uint32, tag = "3")]
    pub state: u32,
    #[prost(fixed64, tag = "4")]
    pub value: u64,
    #[prost(sint64, tag = "5")]
    pub active_at: i64,
    #[prost(sint64, optional, tag = "6")]
    pub fired_at: Option<i64>,
    #[prost(sint64, optional, tag = "7")]
    pub notified_at: Option<i64>,
    #[prost(message, optional, tag = "8")]
    pub acknowledgement: Option<AcknowledgementRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AcknowledgementRecord {
    #[prost(string, tag = "1")]
    pub by: String,
    #[prost(string, tag = "2")]
    pub comment: String,
    #[prost(sint64, tag = "3")]
    pub at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransitionRecord {
    #[prost(sint64, tag = "1")]
    pub time: i64,
    #[prost(string, tag = "2")]
    pub rule_id: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(uint32, tag = "4")]
    pub severity: u32,
    #[prost(message, optional, tag = "5")]
    pub labels: Option<LabelsRecord>,
    #[prost(uint32, tag = "6")]
    pub from: u32,
    #[prost(uint32, tag = "7")]
    pub to: u32,
    #[prost(fixed64, tag = "8")]
    pub value: u64,
    #[prost(bool, tag = "9")]
    pub notified: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TargetChangedRecord {
    #[prost(sint64, tag = "1")]
    pub time: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint32, tag = "3")]
    pub from: u32,
    #[prost(uint32, tag = "4")]
    pub to: u32,
    #[prost(string, tag = "5")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigReloadedRecord {
    #[prost(sint64, tag = "1")]
    pub time: i64,
    #[prost(string, repeated, tag = "2")]
    pub changes: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuditRecordRecord {
    #[prost(sint64, tag = "1")]
    pub time: i64,
    #[prost(string, tag = "2")]
    pub actor: String,
    #[prost(string, tag = "3")]
    pub action: String,
    #[prost(string, tag = "4")]
    pub subject: String,
    #[prost(string, tag = "5")]
    pub before: String,
    #[prost(string, tag = "6")]
    pub after: String,
    #[prost(string, tag = "7")]
    pub user: String,
    #[prost(uint32, optional, tag = "8")]
    pub pid: Option<u32>,
    #[prost(string, tag = "9")]
    pub origin: String,
    #[prost(string, tag = "10")]
    pub call: String,
    #[prost(uint32, tag = "11")]
    pub outcome: u32,
    /// SHA-256 of the entry and of the hash before it; empty where there was no chain yet.
    #[prost(bytes = "vec", tag = "12")]
    pub hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProbeRecordRecord {
    #[prost(string, tag = "1")]
    pub target: String,
    #[prost(uint32, tag = "2")]
    pub state: u32,
    #[prost(sint64, tag = "3")]
    pub started_at: i64,
    #[prost(uint64, tag = "4")]
    pub duration_us: u64,
    #[prost(message, repeated, tag = "5")]
    pub attempts: Vec<AttemptRecord>,
    #[prost(message, optional, tag = "6")]
    pub answer: Option<AnswerRecord>,
    #[prost(string, tag = "7")]
    pub error: String,
    #[prost(string, tag = "8")]
    pub stderr_tail: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttemptRecord {
    #[prost(sint64, tag = "1")]
    pub started_at: i64,
    #[prost(uint64, tag = "2")]
    pub duration_us: u64,
    #[prost(string, tag = "3")]
    pub error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnswerRecord {
    #[prost(message, repeated, tag = "1")]
    pub phases: Vec<PhaseRecord>,
    #[prost(uint32, optional, tag = "2")]
    pub status_code: Option<u32>,
    #[prost(string, tag = "3")]
    pub protocol_version: String,
    #[prost(string, tag = "4")]
    pub server_name: String,
    #[prost(string, tag = "5")]
    pub server_version: String,
    #[prost(uint32, optional, tag = "6")]
    pub tool_count: Option<u32>,
    #[prost(string, optional, tag = "7")]
    pub auth_required: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PhaseRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub duration_us: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TargetStateRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub state: u32,
    #[prost(sint64, tag = "3")]
    pub since: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AccumulatorRecord {
    #[prost(message, optional, tag = "1")]
    pub labels: Option<LabelsRecord>,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(uint64, tag = "3")]
    pub count: u64,
    #[prost(fixed64, tag = "4")]
    pub sum: u64,
    #[prost(fixed64, repeated, tag = "5")]
    pub bounds: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub counts: Vec<u64>,
    #[prost(sint64, tag = "7")]
    pub updated_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(string, tag = "3")]
    pub help: String,
    #[prost(string, tag = "4")]
    pub unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HiddenRecord {
    #[prost(string, tag = "1")]
    pub target: String,
    #[prost(uint64, tag = "2")]
    pub below: u64,
}

/// What a partition holds; beside its database, so that a start need not open that.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ManifestRecord {
    /// The range of the samples, in milliseconds; the end does not belong to it.
    #[prost(sint64, tag = "1")]
    pub start: i64,
    #[prost(sint64, tag = "2")]
    pub end: i64,
    #[prost(uint64, tag = "3")]
    pub series: u64,
    #[prost(uint64, tag = "4")]
    pub samples: u64,
    /// Bytes of all files.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// Entries of each kind of history.
    #[prost(message, repeated, tag = "6")]
    pub history: Vec<SpanRecord>,
    /// The oldest and the newest sample.
    #[prost(sint64, tag = "7")]
    pub oldest: i64,
    #[prost(sint64, tag = "8")]
    pub newest: i64,
    /// Entries in the database in all, and the CRC-32 over them in order.
    #[prost(uint64, tag = "9")]
    pub entries: u64,
    #[prost(uint32, tag = "10")]
    pub crc: u32,
    /// How many entries lie together in the database.
    #[prost(uint32, tag = "11")]
    pub fanout: u32,
    /// How finely samples are kept: 0 as they came, 1 in rollups of five minutes, 2 of an hour.
    /// `samples` counts rollups then, `oldest` and `newest` are times of theirs.
    #[prost(uint32, tag = "12")]
    pub tier: u32,
    /// How often its range was written anew: the highest number counts.
    #[prost(uint64, tag = "13")]
    pub generation: u64,
}

/// A damaged chunk of a partition that has gone, for whoever wants to look.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BadChunkRecord {
    /// The directory in which it lay.
    #[prost(string, tag = "1")]
    pub partition: String,
    #[prost(message, optional, tag = "2")]
    pub labels: Option<LabelsRecord>,
    /// Its key and value there.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub value: Vec<u8>,
}

/// Entries of one kind of history: how many, from which number to which, from when to when.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SpanRecord {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(uint64, tag = "2")]
    pub first: u64,
    #[prost(uint64, tag = "3")]
    pub last: u64,
    #[prost(sint64, tag = "4")]
    pub oldest: i64,
    #[prost(sint64, tag = "5")]
    pub newest: i64,
}

impl From<&Labels> for LabelsRecord {
    fn from(labels: &Labels) -> Self {
        let text = labels.iter().flat_map(|(n, v)| [n.to_owned(), v.to_owned()]).collect();
        Self { text }
    }
}

impl LabelsRecord {
    /// The labels, where names and values come in pairs, sorted, each once.
    pub(super) fn to_labels(&self) -> Result<Labels, BadRecord> {
        let pairs: Vec<(&str, &str)> =
            self.text.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let sorted = pairs.windows(2).all(|two| two[0].0 < two[1].0);
        if sorted && self.text.len().is_multiple_of(2) {
            Ok(Labels::from_sorted(&pairs))
        } else {
            Err(BadRecord("label set"))
        }
    }
}

/// The labels of an optional field.
pub(super) fn labels(record: Option<&LabelsRecord>) -> Result<Labels, BadRecord> {
    record.map_or_else(|| Ok(Labels::empty()), LabelsRecord::to_labels)
}

/// The version that each value in the engine begins with.
pub(super) const VERSION: u8 = 1;

/// Bytes behind a version and a CRC-32 of both, as values in the engine are kept.
pub(super) fn seal(payload: &[u8]) -> Vec<u8> {
    seal_as(VERSION, payload)
}

/// What a program of that version makes of it; these five bytes are the same in all.
pub(super) fn seal_as(version: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 5);
    out.push(version);
    out.extend(checksum(version, payload).to_le_bytes());
    out.extend(payload);
    out
}

fn checksum(version: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(payload);
    hasher.finalize()
}

/// The version that sealed these bytes, and the payload, where they are unharmed.
pub(super) fn unseal_any(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (head, payload) = bytes.split_first_chunk::<5>()?;
    let crc = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    (crc == checksum(head[0], payload)).then_some((head[0], payload))
}

/// What [`seal`] was given, where it is unharmed.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], BadRecord> {
    let found = unseal_any(bytes).filter(|(version, _)| *version == VERSION);
    found.map(|(_, payload)| payload).ok_or(BadRecord("value"))
}

/// A message that was sealed.
pub(super) fn unseal_message<M: Message + Default>(bytes: &[u8]) -> Result<M, BadRecord> {
    M::decode(unseal(bytes)?).map_err(|_| BadRecord("record"))
}

/// Milliseconds as an instant.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
