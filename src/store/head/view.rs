//! What a reader sees of a series: a copy, so that nothing holds up the committer.

use super::blocks::{self, BLOCK, headers};
use crate::{
    model::{HistogramSample, Sample},
    store::chunk::block,
    time::Timestamp,
};

/// The blocks of a series, and those of its recent samples that one epoch sees.
#[derive(Debug, Default)]
pub(in crate::store) struct View {
    pub(super) blocks: Vec<u8>,
    pub(super) tail: Vec<Sample>,
    pub(super) histograms: Vec<HistogramSample>,
}

impl View {
    /// The histograms in the range, in order.
    pub(in crate::store) fn take_histograms(&mut self) -> Vec<HistogramSample> {
        std::mem::take(&mut self.histograms)
    }

    /// Appends the samples in the range, in order; both ends belong to it.
    pub(in crate::store) fn read(&self, start: Timestamp, end: Timestamp, out: &mut Vec<Sample>) {
        let begin = out.len();
        blocks::read(&self.blocks, start, end, out);
        let newest = out[begin..].last().map(|sample| sample.timestamp);
        let late = self.tail.first().is_some_and(|first| Some(first.timestamp) < newest);
        out.extend(self.tail.iter().filter(|s| s.timestamp >= start && s.timestamp <= end));
        if late {
            out[begin..].sort_by_key(|sample| sample.timestamp);
        }
    }

    /// Whether there is anything in the range; decodes no more than the one block that may span it.
    pub(in crate::store) fn has_any(&self, start: Timestamp, end: Timestamp) -> bool {
        let inside = |time: Timestamp| time >= start && time <= end;
        let spans = || {
            let mut samples = Vec::new();
            blocks::read(&self.blocks, start, end, &mut samples);
            !samples.is_empty()
        };
        !self.histograms.is_empty()
            || self.tail.iter().any(|sample| inside(sample.timestamp))
            || headers(&self.blocks).any(|header| inside(header.first) || inside(header.last))
            || spans()
    }

    /// Everything from `start` on as blocks.
    pub(in crate::store) fn into_blocks(mut self, start: Timestamp) -> Vec<u8> {
        let newest = headers(&self.blocks).last().map(|header| header.last);
        let late = self.tail.first().is_some_and(|first| Some(first.timestamp) < newest);
        if late || headers(&self.blocks).next().is_some_and(|header| header.first < start) {
            let mut all = Vec::new();
            self.read(start, Timestamp::from_millis(i64::MAX), &mut all);
            self.blocks.clear();
            self.tail = all;
        }
        for run in self.tail.chunks(BLOCK) {
            block::encode(run, &mut self.blocks);
        }
        self.blocks
    }
}
