//! What is watched.

use std::collections::BTreeSet;

use tokio::task::spawn_blocking;

use crate::{
    discover,
    error_code::ErrorCode,
    limits,
    model::{Page, PageRequest, ProbeRecord, Target, TargetSource, TargetStatus},
    pipeline::{adopted_name, adoption_of, bounded, declared, own_target},
    probe,
    store::Change,
};

use super::{Caller, Discovery, Failure, Monitor, TargetView, TimeRange};

impl TargetView {
    pub(super) fn new(target: &Target, status: TargetStatus) -> Self {
        Self { endpoint: probe::endpoint(&target.check), target: target.clone(), status }
    }

    fn is_discovered(&self) -> bool {
        matches!(self.target.source, TargetSource::Discovered { .. })
    }
}

impl Monitor {
    /// Puts together what is to be watched (configured, discovered, Balefire itself) and hands it to
    /// the probing loop. Gives what changed, a line each, and the files that could not be read.
    pub async fn declare_targets(&self) -> Result<(Vec<String>, Vec<(String, String)>), Failure> {
        let _declaring = self.declaring.lock().await;
        let settings = self.settings();
        let found = match settings.discover_below.clone() {
            None => discover::Found::default(),
            Some(home) => {
                spawn_blocking(move || discover::discover(&home)).await.map_err(|error| {
                    Failure::new(ErrorCode::Internal, format!("discovery panicked: {error}"))
                })?
            }
        };
        let adopted: BTreeSet<String> = self.parts.store.adoptions().into_iter().collect();
        let mut targets = vec![own_target()];
        targets.extend(declared(&settings.targets, found.targets, &settings.probe, &adopted));
        // Last, so that agents take nobody's name, and nobody's place.
        targets.extend(self.agents.lock().targets());
        let (targets, left_out) = bounded(targets, limits::TARGETS_MAX);
        self.parts.probing.left_out(left_out);
        let changes = self.parts.probing.replace(targets).await;
        let problems =
            found.problems.into_iter().map(|p| (p.file.display().to_string(), p.message));
        Ok((changes, problems.collect()))
    }

    /// All targets, sorted by name.
    pub fn targets(&self, page: &PageRequest) -> Result<Page<TargetView>, Failure> {
        Ok(page.cut(self.all_targets(), |view| view.target.name.clone())?)
    }

    /// All targets, in the order of their names.
    pub fn all_targets(&self) -> Vec<TargetView> {
        let targets = self.parts.targets.list().into_iter();
        targets.map(|(target, status)| TargetView::new(&target, status)).collect()
    }

    /// One target.
    pub fn target(&self, name: &str) -> Result<TargetView, Failure> {
        let found = self.parts.targets.get(name);
        found.map(|(target, status)| TargetView::new(&target, status)).ok_or_else(|| {
            let message = format!(
                "there is no target {name:?}: `balefire targets list` shows those there are"
            );
            Failure { code: ErrorCode::NotFound, ..Failure::field("name", message) }
        })
    }

    /// The recorded probes of a target, newest first.
    pub async fn target_history(
        &self,
        name: &str,
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<ProbeRecord>, Failure> {
        self.target(name)?;
        let range = self.whole_or(range)?;
        let (name, page) = (name.to_owned(), page.clone());
        Ok(self.blocking(move |store| store.probes(&name, range.start, range.end, &page)).await??)
    }

    /// Reads the clients' files again.
    pub async fn discover(&self) -> Result<Discovery, Failure> {
        if self.settings().discover_below.is_none() {
            let message = "discovery is switched off: set `[discovery] enabled = true` and reload";
            return Err(Failure::new(ErrorCode::FailedPrecondition, message));
        }
        let (_changes, problems) = self.declare_targets().await?;
        let targets = self.all_targets().into_iter().filter(TargetView::is_discovered).collect();
        Ok(Discovery { targets, problems })
    }

    /// Allows a discovered server to be probed.
    pub async fn adopt(&self, caller: &Caller, name: &str) -> Result<TargetView, Failure> {
        let view = self.target(name)?;
        if view.target.probed {
            let message = format!("target {name:?} is probed already");
            return Err(Failure {
                code: ErrorCode::AlreadyExists,
                ..Failure::field("name", message)
            });
        }
        if view.target.check.is_reported() {
            return self.adopt_by_agent(caller, view).await;
        }
        let audit = self.audit_entry(caller, "target.adopt", name, (String::new(), view.endpoint));
        self.parts
            .store
            .commit(vec![Change::PutAdoption(adoption_of(&view.target)), audit])
            .await?;
        self.declare_targets().await?;
        self.target(name)
    }

    /// Takes an adoption back, and forgets the target's history.
    pub async fn forget(&self, caller: &Caller, name: &str) -> Result<(), Failure> {
        let view = self.target(name)?;
        if view.target.check.is_reported() {
            return self.forget_by_agent(caller, view).await;
        }
        let adoptions = self.parts.store.adoptions().into_iter();
        let adoptions: Vec<String> =
            adoptions.filter(|adoption| adopted_name(adoption) == name).collect();
        if adoptions.is_empty() {
            let message = format!(
                "target {name:?} was not adopted, but declared by {}: take it out there",
                view.target.source
            );
            let failure = Failure::field("name", message);
            return Err(Failure { code: ErrorCode::FailedPrecondition, ..failure });
        }
        let audit = self.audit_entry(caller, "target.forget", name, (view.endpoint, String::new()));
        // First out of the book, so that a probe under way is not written down afterwards.
        let gone = adoptions.into_iter().map(Change::DeleteAdoption).collect();
        self.parts.store.commit(gone).await?;
        self.declare_targets().await?;
        self.parts.store.commit(vec![Change::DeleteTarget(name.to_owned()), audit]).await?;
        Ok(())
    }
}
