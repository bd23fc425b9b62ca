//! Independent series side by side, on a bounded number of threads.
//!
//! The threads stay: one that is made anew starts on the core of its maker as often as not, and then waits
//! for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Fewer items than this are not worth a thread.
const ITEMS_MIN: usize = 16;

/// Threads that all evaluations together may have beside their own.
#[derive(Debug, Default)]
pub struct Helpers {
    free: AtomicUsize,
    /// None where there are no helpers.
    pool: Option<ThreadPool>,
}

impl Helpers {
    /// So many threads at once, for all evaluations that share this; none where the system has none to
    /// give.
    pub fn new(count: usize) -> Arc<Self> {
        let threads = ThreadPoolBuilder::new().num_threads(count);
        let named = threads.thread_name(|index| format!("query-{index}"));
        // Zero would mean one for each core.
        let pool = (count > 0).then(|| named.build().ok()).flatten();
        Arc::new(Self { free: AtomicUsize::new(pool.as_ref().map_or(0, |_| count)), pool })
    }

    /// As many as are free, `wanted` at most; nobody waits for one.
    fn borrow(&self, wanted: usize) -> Borrowed<'_> {
        let mut count = 0;
        let take = |free: usize| {
            count = free.min(wanted);
            Some(free - count)
        };
        let _always = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        Borrowed { helpers: self, count }
    }
}

/// Threads that are in use; they are free again when this is dropped, however that comes about.
struct Borrowed<'a> {
    helpers: &'a Helpers,
    count: usize,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.helpers.free.fetch_add(self.count, Ordering::AcqRel);
    }
}

/// Applies `work` to runs of items, each run on a thread, and returns what came of each in order. `work`
/// gets all items of a run, so that it can have state of its own.
pub fn by_runs<T: Send, U: Send, E: Send>(
    helpers: &Helpers,
    mut items: Vec<T>,
    work: impl Fn(Vec<T>) -> Result<U, E> + Sync,
) -> Result<Vec<U>, E> {
    let borrowed = helpers.borrow((items.len() / ITEMS_MIN).saturating_sub(1));
    let Some(pool) = helpers.pool.as_ref().filter(|_| borrowed.count > 0) else {
        return Ok(vec![work(items)?]);
    };
    let share = items.len().div_ceil(borrowed.count + 1).max(1);
    let mut runs = Vec::with_capacity(borrowed.count);
    while items.len() > share {
        runs.push(items.split_off(items.len() - share));
    }
    let mut done: Vec<Option<Result<U, E>>> = Vec::new();
    done.resize_with(runs.len(), || None);
    let first = pool.in_place_scope(|scope| {
        // The last run was split off first.
        for (run, done) in runs.into_iter().rev().zip(&mut done) {
            let work = &work;
            scope.spawn(move |_| *done = Some(work(run)));
        }
        work(items)
    });
    std::iter::once(first).chain(done.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::QueryError;

    #[test]
    fn results_come_in_order_and_threads_come_back() {
        let helpers = Helpers::new(3);
        for count in [0, 1, 15, 16, 64, 1000] {
            let runs = by_runs(&helpers, (0..count).collect(), Ok::<Vec<i32>, QueryError>).unwrap();
            assert!(runs.len() <= 4);
            assert_eq!(runs.concat(), (0..count).collect::<Vec<_>>());
        }
        assert_eq!(helpers.free.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn one_failure_fails_all() {
        let helpers = Helpers::new(1);
        let work = |run: Vec<usize>| {
            if run.contains(&63) { Err(QueryError::Cancelled) } else { Ok(run.len()) }
        };
        assert_eq!(by_runs(&helpers, (0..64).collect(), work), Err(QueryError::Cancelled));
        assert_eq!(helpers.free.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn without_helpers_the_caller_does_all() {
        let runs =
            by_runs(&Helpers::default(), (0..64).collect(), Ok::<Vec<i32>, QueryError>).unwrap();
        assert_eq!(runs.len(), 1);
    }
}
