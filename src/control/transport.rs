//! Connections: accepted, bounded, drained.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};

use crate::{access::Peer, limits, supervise::StopSignal, telemetry::events::ControlEvents};

use super::{
    guard::{GuardLayer, Keeper},
    peer::peer_of,
    socket::ControlSocket,
};

/// How long requests may go on after the stop signal, before their connections are cut.
const DRAIN: Duration = limits::DRAIN_TIMEOUT;
/// Before the next try to accept where the system gave no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes` on `socket` until told to stop; returns when every connection is closed.
pub(super) async fn serve(
    socket: &ControlSocket,
    routes: Routes,
    keeper: Keeper,
    stop: StopSignal,
) -> Result<(), String> {
    let listener = socket
        .listen()
        .map_err(|error| format!("cannot listen on {}: {error}", socket.path().display()))?;
    let cut = CancellationToken::new();
    let door = Door::new(listener, keeper.events.clone(), cut.clone());
    let serving = Server::builder()
        .max_concurrent_streams(limits::GRPC_STREAMS_PER_CONNECTION_MAX)
        .layer(GuardLayer { keeper: Arc::new(keeper) })
        .add_routes(routes)
        .serve_with_incoming_shutdown(door.connections(), stop.stopped());
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return result.map_err(|error| error.to_string()),
        () = drained(&stop) => cut.cancel(),
    }
    serving.await.map_err(|error| error.to_string())
}

/// Ends when requests have had their time after the stop signal.
async fn drained(stop: &StopSignal) {
    stop.stopped().await;
    tokio::time::sleep(DRAIN).await;
}

/// Where connections come in.
struct Door {
    listener: UnixListener,
    slots: Arc<Semaphore>,
    events: ControlEvents,
    cut: CancellationToken,
}

impl Door {
    fn new(listener: UnixListener, events: ControlEvents, cut: CancellationToken) -> Self {
        let slots = Arc::new(Semaphore::new(limits::GRPC_CONNECTIONS_MAX));
        Self { listener, slots, events, cut }
    }

    /// One connection after the other; never ends.
    fn connections(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, |door| async move {
            let connection = door.next().await;
            Some((Ok(connection), door))
        })
    }

    async fn next(&self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(connection) = self.admit(stream) {
                        return connection;
                    }
                }
                Err(error) => {
                    self.events.accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A connection with its slot; where there is none left, the stream is closed at once.
    fn admit(&self, stream: UnixStream) -> Option<Connection> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.events.connection_refused(limits::GRPC_CONNECTIONS_MAX);
            return None;
        };
        let peer = peer_of(&stream);
        self.events.connected(peer.uid);
        Some(Connection {
            stream,
            peer,
            events: self.events.clone(),
            cut: Box::pin(self.cut.clone().cancelled_owned()),
            _slot: slot,
        })
    }
}

/// A connection that holds its slot, and reads as ended once it is cut.
struct Connection {
    stream: UnixStream,
    peer: Peer,
    events: ControlEvents,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.events.disconnected();
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Access, Limiter, Rates},
        client::{ClientError, Connection, Line, Search},
        supervise::StopSwitch,
        telemetry::Telemetry,
    };
    use tonic::service::RoutesBuilder;
    use tonic_health::{
        pb::{HealthCheckRequest, health_client::HealthClient},
        server::{HealthReporter, HealthService},
    };

    /// A socket that serves health alone, and a client of it.
    struct Fixture {
        socket: ControlSocket,
        client: Connection,
        stop: StopSwitch,
        events: ControlEvents,
        _dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = ControlSocket::bind(&dir.path().join("control.sock"), None).unwrap();
            let client = Connection::with_search(Search::of(vec![socket.path().to_owned()]));
            let events = ControlEvents::new(&Telemetry::new());
            Self { socket, client, stop: StopSwitch::default(), events, _dir: dir }
        }

        async fn serve(&self) -> Result<(), String> {
            let mut routes = RoutesBuilder::default();
            let health = HealthService::from_health_reporter(HealthReporter::new());
            routes.add_service(tonic_health::pb::health_server::HealthServer::new(health));
            let keeper = Keeper {
                access: Access::default(),
                limiter: Limiter::new("socket", Rates::default().socket),
                around: self.socket.surroundings(),
                file: String::new(),
                origin: "".into(),
                events: self.events.clone(),
                monitor: None,
            };
            serve(&self.socket, routes.routes(), keeper, self.stop.signal()).await
        }

        fn health(&self) -> HealthClient<Line> {
            HealthClient::new(self.client.channel())
        }
    }

    fn overall() -> HealthCheckRequest {
        HealthCheckRequest { service: String::new() }
    }

    #[tokio::test]
    async fn answers_its_own_user_and_stops() {
        let fixture = Fixture::new();
        let calls = async {
            fixture.health().check(overall()).await.unwrap();
            let answered = fixture.client.socket();
            fixture.stop.stop();
            answered
        };
        let (served, answered) = tokio::join!(fixture.serve(), calls);
        assert_eq!(served, Ok(()));
        assert_eq!(answered.as_deref(), Some(fixture.socket.path()));
    }

    #[tokio::test]
    async fn serves_again_after_it_was_started_again() {
        let fixture = Fixture::new();
        for _ in 0..2 {
            let call = async { fixture.health().check(overall()).await.map(drop) };
            tokio::select! {
                served = fixture.serve() => panic!("ended by itself: {served:?}"),
                answer = call => answer.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_does_not_end_is_cut() {
        let fixture = Fixture::new();
        let watch = async {
            let mut states = fixture.health().watch(overall()).await.unwrap().into_inner();
            states.message().await.unwrap();
            tokio::time::pause();
            fixture.stop.stop();
            ClientError::from(states.message().await.unwrap_err())
        };
        let (served, end) = tokio::join!(fixture.serve(), watch);
        assert_eq!(served, Ok(()));
        assert!(end.is_unreachable(), "{end:?}");
    }

    #[tokio::test]
    async fn closes_connections_beyond_the_bound() {
        let fixture = Fixture::new();
        let listener = fixture.socket.listen().unwrap();
        let cut = CancellationToken::new();
        let door = Door::new(listener, fixture.events.clone(), cut);
        let pair = || UnixStream::pair().unwrap().0;
        let open: Vec<_> = (0..limits::GRPC_CONNECTIONS_MAX).map(|_| door.admit(pair())).collect();
        assert!(open.iter().all(Option::is_some));
        assert!(door.admit(pair()).is_none());
        drop(open);
        assert!(door.admit(pair()).is_some(), "a closed connection gives its slot back");
    }
}
