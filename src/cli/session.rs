//! What every command holds: the connection, how to render, and what time it is.

use std::{convert::Infallible, env, io::IsTerminal, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    client::{Connection, Search},
    time::{Clock, Timestamp},
};

use super::{
    args::{Output, Shared},
    error::CliError,
    output,
    table::Style,
};

/// How long a call may take that writes much of the store anew.
const PATIENCE: Duration = Duration::from_hours(12);

/// After so long it is said that nobody answers.
const SILENCE: Duration = Duration::from_secs(3);

/// One run of the program.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) style: Style,
    output: Output,
    socket: Option<PathBuf>,
}

impl Session {
    /// Must be called within a tokio runtime.
    pub(super) fn open(shared: &Shared) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style {
            colour: terminal && !no_color && !shared.no_color,
            terminal,
            now: Clock::System.now(),
        };
        let connection = Connection::open(shared.socket.as_deref());
        Self { connection, style, output: shared.output, socket: shared.socket.clone() }
    }

    /// A connection for one call that may take hours.
    pub(super) fn patient(&self) -> Connection {
        Connection::with_timeout(Search::from_environment(self.socket.as_deref()), PATIENCE)
    }

    /// Says, once, that the daemon keeps us waiting: systemd holds the socket also while it cannot start.
    pub(super) async fn tell_of_silence(&self) -> Infallible {
        tokio::time::sleep(SILENCE).await;
        if let Some(socket) = self.connection.waits_for() {
            let socket = socket.display();
            output::note(&format!(
                "nobody answers on {socket} yet: `systemctl status balefire` tells why"
            ));
        }
        std::future::pending().await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.style.now
    }

    pub(super) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints `view` as JSON, or else what `table` renders.
    pub(super) fn show<V: Serialize>(
        &self,
        view: &V,
        table: impl FnOnce(&V, &Style) -> String,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Json => output::json(view),
            Output::Table => {
                // Ages count from now, not from before a check that took its time.
                let style = Style { now: Clock::System.now(), ..self.style };
                output::text(&table(view, &style))
            }
        }
    }
}

/// Says on standard error that a list was cut.
pub(super) fn note_more(more: bool, limit: usize) {
    if more {
        output::note(&format!("only the first {limit} are shown: raise --limit for more"));
    }
}
