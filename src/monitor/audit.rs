//! What is written to the audit beside the changes themselves: who asked, refusals, reloads.

use std::{collections::HashMap, time::Duration};

use crate::{
    limits,
    model::{AuditEntry, AuditOutcome, AuditRecord, Event, Page, PageRequest},
    store::Change,
    time::Timestamp,
};

use super::{Caller, Failure, Monitor, Reloaded};

/// For so long a refusal like one that was written is only counted: whoever asks again and again must
/// not push everything else out of the audit.
const REFUSAL_PAUSE: Duration = Duration::from_hours(1);
/// Kinds of refusals that are remembered, of those who are known …
const REFUSALS_MAX: usize = 1000;
/// … and of strangers, who may come under as many addresses as they like.
const STRANGERS_MAX: usize = 20;

impl Caller {
    /// Whether all that is known is where the request came from.
    fn is_stranger(&self) -> bool {
        self.actor.starts_with("ip:")
    }

    /// A record of what this caller does now, before it is said what that is.
    fn record(&self, time: Timestamp) -> AuditRecord {
        AuditRecord {
            time,
            actor: self.actor.clone(),
            user: self.user.clone(),
            pid: self.pid,
            origin: self.origin.clone(),
            call: self.call.clone(),
            ..AuditRecord::default()
        }
    }
}

impl Monitor {
    /// The audit's entry for a change that `caller` makes now.
    pub(super) fn audit_entry(
        &self,
        caller: &Caller,
        action: &str,
        subject: &str,
        (before, after): (String, String),
    ) -> Change {
        Change::AddAudit(AuditRecord {
            action: action.to_owned(),
            subject: bounded(subject.to_owned()),
            before: bounded(before),
            after: bounded(after),
            ..caller.record(self.now())
        })
    }

    /// … for what takes a while, or goes wrong.
    pub(super) fn audit_outcome(
        &self,
        caller: &Caller,
        outcome: AuditOutcome,
        (action, subject): (&str, &str),
        after: String,
    ) -> Change {
        let entry = self.audit_entry(caller, action, subject, (String::new(), after));
        match entry {
            Change::AddAudit(record) => Change::AddAudit(AuditRecord { outcome, ..record }),
            other => other,
        }
    }

    /// Writes down that `caller` was refused, and why; at most once an hour for each caller and call, with
    /// how many there were in between. Tells whether it was written.
    pub async fn note_refusal(&self, caller: &Caller, why: &str) -> bool {
        let Some(unwritten) = self.refusals.lock().note(caller, self.now()) else { return false };
        let more = match unwritten {
            0 => String::new(),
            more => format!("; {more} more like it since the last entry"),
        };
        let entry = self.audit_outcome(
            caller,
            AuditOutcome::Refused,
            ("access", &caller.call),
            format!("{why}{more}"),
        );
        // Where the disk is full the refusal stands all the same; the store tells of it.
        let _untold = self.parts.store.commit(vec![entry]).await;
        true
    }

    /// Writes down what came of reading the configuration again.
    pub async fn note_reload(
        &self,
        caller: &Caller,
        result: &Result<Reloaded, Failure>,
    ) -> Result<(), Failure> {
        let (action, subject) = ("reload", "configuration");
        let entry = match result {
            Ok(Reloaded { before, after, .. }) => {
                self.audit_entry(caller, action, subject, (before.clone(), after.clone()))
            }
            Err(failure) => {
                let why = failure.message.clone();
                self.audit_outcome(caller, AuditOutcome::Failed, (action, subject), why)
            }
        };
        let reloaded = result.as_ref().ok().map(|reloaded| {
            let changes = reloaded.changes.clone();
            Change::AddEvent(Event::ConfigReloaded { time: self.now(), changes })
        });
        Ok(self.parts.store.commit(reloaded.into_iter().chain([entry]).collect()).await?)
    }

    /// The audit, newest first.
    pub async fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, Failure> {
        let page = page.clone();
        Ok(self.blocking(move |store| store.audit(&page)).await??)
    }
}

/// A text that is no longer than the audit takes.
fn bounded(mut text: String) -> String {
    const CUT: &str = " …";
    if text.len() > limits::AUDIT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// The refusals of late, by caller and call; of strangers by caller alone.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    known: HashMap<(String, String), Lately>,
    strangers: HashMap<(String, String), Lately>,
}

/// When a refusal was written, and how many there were since.
#[derive(Debug)]
struct Lately {
    at: Timestamp,
    since: u64,
}

impl Refusals {
    /// Takes a refusal; gives how many were not written where this one is to be.
    fn note(&mut self, caller: &Caller, now: Timestamp) -> Option<u64> {
        // A clock that was set back must not silence anybody for longer.
        let is_fresh = |lately: &Lately| now >= lately.at && now.since(lately.at) < REFUSAL_PAUSE;
        let (kinds, kind, most) = if caller.is_stranger() {
            (&mut self.strangers, (caller.actor.clone(), String::new()), STRANGERS_MAX)
        } else {
            (&mut self.known, (caller.actor.clone(), caller.call.clone()), REFUSALS_MAX)
        };
        if let Some(lately) = kinds.get_mut(&kind).filter(|lately| is_fresh(lately)) {
            lately.since += 1;
            return None;
        }
        if kinds.len() >= most {
            kinds.retain(|_, lately| is_fresh(lately));
        }
        let written = kinds.len() < most || kinds.contains_key(&kind);
        let before = written.then(|| kinds.insert(kind, Lately { at: now, since: 0 }));
        before.map(|before| before.map_or(0, |lately| lately.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn caller(uid: usize) -> Caller {
        Caller { actor: format!("uid:{uid}"), ..Caller::default() }
    }

    #[test]
    fn a_refusal_that_repeats_is_counted() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note(&caller(1), NOW), Some(0));
        assert_eq!(refusals.note(&caller(2), NOW), Some(0));
        let later = NOW.plus(REFUSAL_PAUSE / 2);
        assert_eq!([refusals.note(&caller(1), later), refusals.note(&caller(1), later)], [None; 2]);
        assert_eq!(refusals.note(&caller(1), NOW.plus(REFUSAL_PAUSE)), Some(2));
        let set_back = NOW.minus(REFUSAL_PAUSE);
        assert_eq!(refusals.note(&caller(1), set_back), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refusals = Refusals::default();
        let written = |refusals: &mut Refusals, now| {
            (0..REFUSALS_MAX * 2).filter(|uid| refusals.note(&caller(*uid), now).is_some()).count()
        };
        assert_eq!(written(&mut refusals, NOW), REFUSALS_MAX);
        assert_eq!(refusals.known.len(), REFUSALS_MAX);
        assert_eq!(written(&mut refusals, NOW.plus(REFUSAL_PAUSE)), REFUSALS_MAX);
    }

    #[test]
    fn strangers_push_nobody_out() {
        let mut refusals = Refusals::default();
        let stranger = |n: usize, call: &str| Caller {
            actor: format!("ip:192.0.2.{n}"),
            call: call.to_owned(),
            ..Caller::default()
        };
        let calls = (0..1000).flat_map(|n| ["GET /", "GET /metrics"].map(|call| stranger(n, call)));
        let written = calls.filter(|caller| refusals.note(caller, NOW).is_some()).count();
        assert_eq!(
            written, STRANGERS_MAX,
            "one for each, whatever they ask for, and so many at most"
        );
        assert_eq!(refusals.note(&caller(1), NOW), Some(0));
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(bounded("short".to_owned()), "short");
        let cut = bounded("ü".repeat(limits::AUDIT_TEXT_BYTES_MAX));
        assert!(cut.len() <= limits::AUDIT_TEXT_BYTES_MAX && cut.ends_with("ü …"), "{}", cut.len());
    }
}
