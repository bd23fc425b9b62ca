//! Typed calls over the control socket.
//!
//! A [`Connection`] is made without touching the socket; the first call connects, and a call after
//! the daemon was restarted connects again; one that the restart met is made again (`retry`). Each
//! connect searches anew (see [`Search`]), so that a long-lived client finds a daemon that was started
//! after it. The module knows nothing of what the daemon does with a call. Start reading at
//! [`Connection::open`].

mod behalf;
mod error;
mod events;
mod greeting;
mod pages;
mod retry;
mod search;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use crate::{
    limits,
    wire::v1::{
        agent_service_client::AgentServiceClient, alerts_service_client::AlertsServiceClient,
        events_service_client::EventsServiceClient, metrics_service_client::MetricsServiceClient,
        system_service_client::SystemServiceClient, targets_service_client::TargetsServiceClient,
    },
};

pub use behalf::OnBehalf;
pub use error::{ClientError, ConnectError};
pub use events::Events;
pub use pages::pages;
pub use retry::RetryChannel;
pub use search::Search;

use greeting::{Greeted, Progress};

/// How long a connect may take: the socket is local, so only a stuck daemon needs this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take until its answer begins; longer than the daemon's longest query.
const CALL_TIMEOUT: Duration = Duration::from_secs(limits::QUERY_TIMEOUT.as_secs() + 5);

/// A way to the daemon; cheap to clone, connected when it is first used.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Line,
    progress: Progress,
}

/// What calls go through.
pub type Line = OnBehalf<RetryChannel>;

impl Connection {
    /// A connection to the socket at `choice`, or, where it is `None`, to the first of the search
    /// order that answers. Must be called within a tokio runtime.
    pub fn open(choice: Option<&Path>) -> Self {
        Self::with_search(Search::from_environment(choice))
    }

    /// A connection to the first socket of `search` that answers.
    pub fn with_search(search: Search) -> Self {
        Self::with_timeout(search, CALL_TIMEOUT)
    }

    /// The same with another bound on the time until an answer begins.
    pub fn with_timeout(search: Search, timeout: Duration) -> Self {
        let progress = Progress::default();
        let channel = Endpoint::from_static("http://balefire")
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .connect_with_connector_lazy(connector(search, progress.clone()));
        Self { channel: OnBehalf::own(RetryChannel::new(channel)), progress }
    }

    /// The same for somebody who shows this, the value of an `Authorization` over HTTP, or nothing: the
    /// daemon lets calls do what that allows, and never more than this program's user may.
    #[must_use]
    pub fn on_behalf_of(&self, shown: Option<&HeaderValue>) -> Self {
        Self { channel: self.channel.clone().of(shown), progress: self.progress.clone() }
    }

    /// The channel, for services that have no method here (health, reflection).
    pub fn channel(&self) -> Line {
        self.channel.clone()
    }

    /// The socket that answered last; `None` before the first call.
    pub fn socket(&self) -> Option<PathBuf> {
        self.progress.answered()
    }

    /// The socket that took the connection while nobody behind it has said anything yet: systemd holds it,
    /// and the daemon is starting, or cannot.
    pub fn waits_for(&self) -> Option<PathBuf> {
        self.progress.waited_for()
    }

    /// Samples in and out.
    pub fn metrics(&self) -> MetricsServiceClient<Line> {
        MetricsServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// What is watched.
    pub fn targets(&self) -> TargetsServiceClient<Line> {
        TargetsServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Rules and alerts.
    pub fn alerts(&self) -> AlertsServiceClient<Line> {
        AlertsServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The daemon itself.
    pub fn system(&self) -> SystemServiceClient<Line> {
        SystemServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// What a user's agent reports.
    pub fn agent(&self) -> AgentServiceClient<Line> {
        AgentServiceClient::new(self.channel())
    }

    /// What happens, as it happens.
    pub fn events(&self) -> EventsServiceClient<Line> {
        EventsServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// What a call gave, without the envelope.
pub fn take<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, ClientError> {
    Ok(answer?.into_inner())
}

/// Largest answer: a matrix is far larger than what goes in.
const ANSWER_BYTES_MAX: usize = 8 * limits::GRPC_MESSAGE_BYTES_MAX;

/// Connects to the first candidate that answers, and notes which one it was.
fn connector(
    search: Search,
    progress: Progress,
) -> impl tower::Service<
    http::Uri,
    Response = TokioIo<Greeted>,
    Error = ConnectError,
    Future: Send + 'static,
> + Send
+ 'static {
    let search = Arc::new(search);
    tower::service_fn(move |_: http::Uri| {
        let (search, progress) = (Arc::clone(&search), progress.clone());
        async move {
            let (socket, stream) = connect_first(&search).await?;
            progress.connected(socket);
            Ok(TokioIo::new(Greeted::new(stream, progress)))
        }
    })
}

async fn connect_first(search: &Search) -> Result<(PathBuf, UnixStream), ConnectError> {
    let mut denied = None;
    let mut failed = None;
    for socket in search.candidates() {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok((socket.clone(), stream)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                denied.get_or_insert(ConnectError::PermissionDenied { socket: socket.clone() });
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                failed.get_or_insert(ConnectError::Failed { socket: socket.clone(), error });
            }
        }
    }
    Err(denied
        .or(failed)
        .unwrap_or_else(|| ConnectError::NotRunning { tried: search.candidates().to_vec() }))
}

/// Whether nobody listens: no file, or one that a dead daemon left.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::GetStatusRequest;

    async fn call(connection: &Connection) -> ClientError {
        connection.system().get_status(GetStatusRequest {}).await.unwrap_err().into()
    }

    #[tokio::test]
    async fn says_that_no_daemon_runs_and_where_it_looked() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let error = call(&Connection::open(Some(&socket))).await;
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&socket.display().to_string()), "{text}");
        assert!(text.contains("systemctl start balefire"), "{text}");
    }

    #[tokio::test]
    async fn a_stale_socket_counts_as_not_running() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = call(&Connection::open(Some(&socket))).await;
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_not_waited_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let connection = Connection::open(Some(&socket));
        let began = tokio::time::Instant::now();
        let error = call(&connection).await;
        assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
        assert!(error.is_unreachable() && began.elapsed() < Duration::from_secs(35));
        let text = error.to_string();
        assert!(text.contains(&socket.display().to_string()), "{text}");
        assert!(text.contains("systemctl status balefire"), "{text}");
        assert_eq!(connection.waits_for(), Some(socket));
    }

    #[tokio::test]
    async fn takes_the_first_socket_that_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first.sock"), dir.path().join("second.sock"));
        let _listener = tokio::net::UnixListener::bind(&second).unwrap();
        let search = Search::of(vec![first, second.clone()]);
        let (socket, _stream) = connect_first(&search).await.unwrap();
        assert_eq!(socket, second);
    }
}
