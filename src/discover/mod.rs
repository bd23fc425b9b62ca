//! Where clients declare MCP servers; one file per client. Reads files, runs nothing.

use std::path::Path;

use crate::model::Target;

/// What the clients' files declare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The servers, `probed` set to false for stdio; names made unique.
    pub targets: Vec<Target>,
    /// Files that could not be read as they should be.
    pub problems: Vec<Problem>,
}

/// A file that could not be read as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: std::path::PathBuf,
    /// The line where it is known, and what is wrong.
    pub message: String,
}

/// Reads the files of every known client below `home`. Blocking.
pub fn discover(home: &Path) -> Found {
    let _ = home;
    todo!()
}
