//! Runs of samples of one series, as a start finds them in the log: nobody reads the series yet.

use super::{Admission, Bounds, Epoch, Open, TAIL};
use crate::model::Sample;

impl Open {
    /// Takes in what may come in, in this order, as one by one would; tells how many that were. One
    /// run that is long enough and comes after all others goes straight into blocks.
    pub(in crate::store) fn append_run(
        &mut self,
        run: &[Sample],
        epoch: Epoch,
        bounds: &Bounds,
    ) -> usize {
        if self.follows(run, bounds) {
            self.append_ordered(run);
            return run.len();
        }
        let append = |sample: &&Sample| {
            self.append_live(**sample, epoch, bounds) == Some(Admission::Accepted)
        };
        let accepted = run.iter().filter(append).count();
        if self.is_due() {
            self.settle_unread();
        }
        accepted
    }

    fn follows(&self, run: &[Sample], bounds: &Bounds) -> bool {
        let [first, .., last] = run else { return false };
        self.live
            && self.tail.is_empty()
            && run.len() >= TAIL
            && self.newest < Some(first.timestamp)
            && run.is_sorted_by(|a, b| a.timestamp < b.timestamp)
            && bounds.refuses(first.timestamp).is_none()
            && bounds.refuses(last.timestamp).is_none()
    }

    fn append_ordered(&mut self, run: &[Sample]) {
        self.newest = run.last().map(|last| last.timestamp);
        let mut reopened = Vec::new();
        self.blocks.reopen_last(run.len(), &mut reopened);
        if reopened.is_empty() {
            self.blocks.append(run);
        } else {
            reopened.extend(run);
            self.blocks.append(&reopened);
        }
    }

    /// Moves a long tail of histograms into blocks.
    pub(in crate::store) fn settle_histograms_unread(&mut self) {
        if let Some(lane) = &mut self.histograms {
            lane.settle_unseen();
        }
    }

    /// Whether the tail is worth taking blocks apart for. Late samples wait until they are a good part
    /// of all, so that a log in any order takes blocks apart a few times and not once for each run.
    fn is_due(&self) -> bool {
        let len = self.tail.len();
        len >= TAIL && (!self.tail.has_late() || len >= self.blocks.len() / 4)
    }

    /// Whether samples wait that are enough for blocks.
    pub(in crate::store) fn is_unsettled(&self) -> bool {
        self.tail.len() >= TAIL
    }

    /// Moves a long tail into blocks.
    pub(in crate::store) fn settle_unread(&mut self) {
        if self.is_unsettled() {
            self.put_in_blocks(Epoch::MAX);
        }
    }
}
