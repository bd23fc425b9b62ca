//! Servers that are started outside the daemon's sandbox, by a helper: `balefired --spawn`.
//!
//! The daemon's end is [`caller`], the helper's is [`helper`]. The daemon connects, and says one line
//! with three descriptors beside it: the name of a configured target, and the server's ends of its
//! three pipes. It never says what is to be run. The helper answers `started`, or `refused` and why;
//! and once the server is gone, with its group, `ended`, what it took, and how. Who hangs up has the
//! server stopped, so that a daemon that dies leaves none behind.

mod caller;
mod helper;

use std::time::Duration;

pub(super) use caller::Spawned;
pub use helper::serve;

/// Longest line that either says: a name is shorter by far, a reason is cut.
const LINE_BYTES_MAX: usize = 1024;
/// How long the daemon may take to name the target.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

const STARTED: &str = "started";
const REFUSED: &str = "refused";
const ENDED: &str = "ended";
