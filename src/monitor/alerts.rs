//! What fires now, and what fired before.

use crate::{
    error_code::ErrorCode,
    model::{Acknowledgement, AlertInstance, AlertState, Page, PageRequest, Rule, Transition},
    store::Change,
};

use super::{AlertView, Caller, Failure, Monitor, TimeRange};

/// Longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 1024;

impl AlertView {
    fn new(rule: &Rule, instance: AlertInstance) -> Self {
        let told =
            instance.notified_at.zip(instance.fired_at).is_some_and(|(told, fired)| told >= fired);
        Self {
            name: rule.name.clone(),
            severity: rule.severity,
            description: rule.description.clone(),
            suppressed: instance.state == AlertState::Firing && !told,
            instance,
        }
    }
}

impl Monitor {
    /// Pending and firing alerts, sorted by id.
    pub fn alerts(&self, page: &PageRequest) -> Result<Page<AlertView>, Failure> {
        Ok(page.cut(self.all_alerts(), |view| view.instance.id())?)
    }

    /// All of them, sorted by id.
    pub fn all_alerts(&self) -> Vec<AlertView> {
        let mut views = Vec::new();
        for rule in self.parts.store.rules() {
            let instances = self.parts.store.instances(&rule.id).into_iter();
            let active =
                instances.filter(|i| matches!(i.state, AlertState::Pending | AlertState::Firing));
            views.extend(active.map(|instance| AlertView::new(&rule, instance)));
        }
        views.sort_by_cached_key(|view| view.instance.id());
        views
    }

    pub(super) fn firing(&self) -> u64 {
        self.all_alerts().iter().filter(|view| view.instance.state == AlertState::Firing).count()
            as u64
    }

    /// Marks a firing alert, or all firing alerts of a rule, as seen.
    pub async fn acknowledge(
        &self,
        caller: &Caller,
        id: &str,
        comment: &str,
    ) -> Result<Vec<AlertView>, Failure> {
        if comment.len() > COMMENT_BYTES_MAX {
            return Err(Failure::field(
                "comment",
                format!("longer than {COMMENT_BYTES_MAX} bytes: shorten it"),
            ));
        }
        let _writing = self.parts.rules.writing().await;
        let meant = |view: &AlertView| view.instance.id() == id || view.instance.rule_id == id;
        let rule_id = self.all_alerts().into_iter().find(meant).map(|view| view.instance.rule_id);
        let rule_id = rule_id.ok_or_else(|| not_firing(id))?;
        let rule = self.rule(&rule_id)?;
        let seen = Acknowledgement {
            by: caller.actor.clone(),
            comment: comment.to_owned(),
            at: self.now(),
        };
        let mut instances = self.parts.store.instances(&rule_id);
        let mut views = Vec::new();
        for instance in &mut instances {
            if instance.state == AlertState::Firing && (instance.id() == id || rule_id == id) {
                instance.acknowledgement = Some(seen.clone());
                views.push(AlertView::new(&rule, instance.clone()));
            }
        }
        if views.is_empty() {
            return Err(not_firing(id));
        }
        let audit =
            self.audit_entry(caller, "alert.acknowledge", id, (String::new(), comment.to_owned()));
        self.parts.store.commit(vec![Change::PutInstances { rule_id, instances }, audit]).await?;
        Ok(views)
    }

    /// Transitions, newest first, each with its sequence number.
    pub async fn alert_history(
        &self,
        rule_id: Option<&str>,
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<(u64, Transition)>, Failure> {
        let range = self.whole_or(range)?;
        let (rule_id, page) = (rule_id.map(str::to_owned), page.clone());
        let read = self.blocking(move |store| {
            store.transitions(rule_id.as_deref(), range.start, range.end, &page)
        });
        Ok(read.await??)
    }
}

fn not_firing(id: &str) -> Failure {
    let message = format!("no alert {id:?} is firing: `balefire alerts list` shows those that are");
    Failure { code: ErrorCode::NotFound, ..Failure::field("alert_id", message) }
}
