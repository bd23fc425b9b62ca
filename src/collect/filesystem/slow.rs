//! File systems behind which a server may hang: each is asked by a thread of its own, so that a pass never
//! waits for one that does not answer.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Space, mounts::Mount};

/// How long a pass waits for one answer.
const ANSWER_WAIT: Duration = Duration::from_millis(100);
/// Threads at most, those among them that hang in the kernel and cannot be ended.
const ASKERS_MAX: usize = 16;

/// The threads that ask, by mount point.
#[derive(Debug, Default)]
pub(super) struct SlowMounts {
    askers: HashMap<String, Asker>,
    /// One clone for each thread that lives.
    alive: Arc<()>,
}

#[derive(Debug)]
struct Asker {
    questions: SyncSender<()>,
    answers: Receiver<Option<Space>>,
    is_waiting: bool,
}

impl SlowMounts {
    /// Lets go of the threads whose mounts are gone.
    pub(super) fn keep(&mut self, mounts: &[Mount]) {
        self.askers.retain(|place, _| mounts.iter().any(|mount| mount.place == *place));
    }

    /// The space at a mount point; `None` where it cannot be had, or not now.
    pub(super) fn space(&mut self, mount_point: &str) -> Option<Space> {
        if !self.askers.contains_key(mount_point) {
            let asker = self.start(mount_point)?;
            self.askers.insert(mount_point.to_owned(), asker);
        }
        self.askers.get_mut(mount_point)?.ask()
    }

    fn start(&self, mount_point: &str) -> Option<Asker> {
        if Arc::strong_count(&self.alive) > ASKERS_MAX {
            return None;
        }
        let (questions, asked) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        let (place, alive) = (mount_point.to_owned(), Arc::clone(&self.alive));
        let run = move || {
            while asked.recv().is_ok() && answer.send(Space::of(&place).ok()).is_ok() {}
            drop(alive);
        };
        thread::Builder::new().name("statvfs".into()).spawn(run).ok()?;
        Some(Asker { questions, answers, is_waiting: false })
    }
}

impl Asker {
    /// Asks, unless the last question is still open.
    fn ask(&mut self) -> Option<Space> {
        if self.is_waiting && self.answers.try_recv().is_err() {
            return None;
        }
        self.is_waiting = true;
        self.questions.try_send(()).ok()?;
        let answer = self.answers.recv_timeout(ANSWER_WAIT).ok()?;
        self.is_waiting = false;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_and_again() {
        let mut slow = SlowMounts::default();
        assert!(slow.space("/").is_some_and(|space| space.size > 0));
        assert!(slow.space("/").is_some());
        assert!(slow.space("/no/such/place").is_none());
    }

    #[test]
    fn does_not_wait_twice_for_one_that_hangs() {
        let (questions, _asked) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let mut asker = Asker { questions, answers, is_waiting: true };
        assert!(asker.ask().is_none(), "the old question is open");
        let space = Space { size: 1, free: 1, avail: 1, files: 1, files_free: 1 };
        answer.send(Some(space)).unwrap();
        assert!(asker.ask().is_none(), "asked anew, and not answered in time");
        assert!(asker.is_waiting);
    }

    #[test]
    fn starts_a_bounded_number_of_threads() {
        let slow = SlowMounts::default();
        let kept: Vec<_> = (0..ASKERS_MAX).map(|_| Arc::clone(&slow.alive)).collect();
        assert!(slow.start("/").is_none());
        drop(kept);
        assert!(slow.start("/").is_some());
    }
}
