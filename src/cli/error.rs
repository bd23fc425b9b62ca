//! How a command ends.

use std::{io, process::ExitCode};

use crate::{
    client::ClientError,
    exposition::{InvalidExposition, InvalidLine},
    store::StoreError,
    wire::InvalidField,
};

/// What a command that worked found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well.
    Fine,
    /// The answer is "no": a target is unhealthy, the daemon is degraded …
    No,
}

impl Verdict {
    pub(super) fn fine_if(fine: bool) -> Self {
        if fine { Self::Fine } else { Self::No }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Fine => Self::SUCCESS,
            Verdict::No => Self::from(1),
        }
    }
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The daemon is not there, or says no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The input is not in the text format.
    #[error("standard input: {0}")]
    Exposition(#[from] InvalidExposition),
    /// The input is not in line protocol.
    #[error("standard input: {0}")]
    Line(InvalidLine),
    /// Arguments that clap takes but that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The daemon's answer is not as it should be.
    #[error("unexpected answer: {0}")]
    Answer(#[from] InvalidField),
    /// The store's directory is held by a daemon, damaged, or not there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backup that cannot be used.
    #[error("{0}")]
    Backup(String),
    /// A file, standard input or output.
    #[error("cannot {0}: {1}")]
    Io(String, io::Error),
}

impl CliError {
    /// 1 the answer is "no", 2 usage, 3 no daemon is reachable.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
            // Whoever reads our output has seen enough: `balefire series | head`.
            Self::Io(_, error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Client(error) if error.is_unreachable() => 3,
            Self::Client(_)
            | Self::Answer(_)
            | Self::Store(_)
            | Self::Backup(_)
            | Self::Io(..)
            | Self::Exposition(_)
            | Self::Line(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// Whether there is something to say.
    pub(super) fn is_silent(&self) -> bool {
        self.status() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_those_that_scripts_rely_on() {
        let reason = String::new;
        assert_eq!(CliError::from(ClientError::NotRunning { reason: reason() }).status(), 3);
        assert_eq!(CliError::from(ClientError::PermissionDenied { reason: reason() }).status(), 3);
        assert_eq!(CliError::Usage(reason()).status(), 2);
        let wrong = InvalidExposition { line: 3, column: 1, reason: "no value".into() };
        assert_eq!(CliError::from(wrong).status(), 1);
        let closed = CliError::Io(reason(), io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_silent());
    }
}
