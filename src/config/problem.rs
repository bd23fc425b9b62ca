//! What is wrong with a configuration: all of it at once, each with its place.

use std::fmt;

use super::raw::Origin;
use crate::error_code::ErrorCode;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// The key, such as `targets[0].interval`; empty where it is no key's fault.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    fn is_syntax(&self) -> bool {
        self.key.is_empty() && matches!(self.origin, Origin::File { line: 1.., .. })
    }
}

impl fmt::Display for Problem {
    /// `balefire.toml:12: targets[0].interval: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, in the order of files and lines; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Sorted by file and line. What else seems wrong on a line that is no TOML is left out: it
    /// most likely follows from that.
    pub(super) fn in_order(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        let broken: Vec<Origin> =
            problems.iter().filter(|p| p.is_syntax()).map(|p| p.origin.clone()).collect();
        problems.retain(|problem| problem.is_syntax() || !broken.contains(&problem.origin));
        problems.dedup();
        Self(problems)
    }

    /// What kind of failure it is.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidArgument
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
