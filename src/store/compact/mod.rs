//! Compaction: from many short partitions to few long ones, and from samples to rollups.

mod plan;
#[cfg(test)]
mod simulation;

pub(super) use plan::{kept, longest};
use super::{Inner, StoreError, partition::Partition, rollup::Tier};
use std::sync::Arc;

pub(super) fn roll_up(_: &Inner, _: Tier, _: &Arc<Partition>) -> Result<(), StoreError> {
    Ok(())
}
