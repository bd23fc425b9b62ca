//! Connections: accepted, bounded, timed, and drained at the end. On hyper itself, which alone has
//! a time-out for the head of a request.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use tokio_rustls::server::TlsStream;

use crate::{
    access::{Admission, Limiter, Rate, Who},
    limits,
    supervise::{StopSignal, Supervisor, TaskContext},
    telemetry::events::WebEvents,
};

use super::{AppState, Hosts, Tls, guard::Guard, identity::Peer, routes::router};

/// The task's name, and that of its connections.
const TASK: &str = "web";
/// How often the listener says that it is alive, and looks whether the certificate has changed.
const BEAT: Duration = Duration::from_secs(5);
/// A client that takes nothing of what was sent for so long is given up: a large answer waits in memory.
const READER_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause after a failed accept: mostly the process has no descriptor left, and needs time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection beyond the bound is told.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

/// Where HTTP is served, and to whom; cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where.
    pub listener: Arc<TcpListener>,
    /// Which hosts a request may name.
    pub hosts: Hosts,
    /// The certificate; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// How much each may ask for.
    pub limiter: Limiter,
}

/// Serves HTTP at `door` until it is told to stop; then open requests have
/// [`limits::DRAIN_TIMEOUT`] to end.
pub async fn serve(
    door: Door,
    app: AppState,
    context: TaskContext,
    supervisor: Supervisor,
) -> Result<(), String> {
    let Door { listener, hosts, tls, limiter } = door;
    let events = app.events.clone();
    let monitor = Some(app.monitor.clone());
    let guard = Guard { hosts, tls: tls.clone(), limiter, events: events.clone(), monitor };
    let server = Server {
        events,
        tls,
        service: TowerToHyperService::new(router(app, guard)),
        slots: Slots::new(limits::HTTP_CONNECTIONS_MAX),
        stop: context.stop.clone(),
        supervisor,
    };
    server.accept(&listener, &context).await;
    Ok(())
}

/// Connections of one address elsewhere: handshakes are dear.
const CONNECTIONS: Rate = Rate { per_second: 50, burst: 200, under_way: 64 };

/// The places for connections.
struct Slots {
    all: Arc<Semaphore>,
    /// Those of them that connections from elsewhere may take.
    elsewhere: Arc<Semaphore>,
    /// How many of those one address may.
    addresses: Limiter,
}

/// A place for a connection, as long as it is held.
struct Slot {
    _one: OwnedSemaphorePermit,
    _from_elsewhere: Option<(OwnedSemaphorePermit, Admission)>,
}

impl Slots {
    fn new(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count)),
            elsewhere: Arc::new(Semaphore::new(count * 3 / 4)),
            addresses: Limiter::new("http_connections", CONNECTIONS),
        }
    }

    /// A place for a connection from there. One address elsewhere gets a part of them, and all together
    /// leave some for this host.
    fn take(&self, peer: Peer) -> Option<Slot> {
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        if peer.is_local() {
            return Some(Slot { _one: one, _from_elsewhere: None });
        }
        let shared = Arc::clone(&self.elsewhere).try_acquire_owned().ok()?;
        let own = self.addresses.admit(&Who::from_address(peer.0.ip()), Instant::now()).ok()?;
        Some(Slot { _one: one, _from_elsewhere: Some((shared, own)) })
    }
}

struct Server {
    events: WebEvents,
    tls: Option<Tls>,
    service: TowerToHyperService<Router>,
    slots: Slots,
    stop: StopSignal,
    supervisor: Supervisor,
}

impl Server {
    /// Opens connections until it is told to stop.
    async fn accept(&self, listener: &TcpListener, context: &TaskContext) {
        context.heartbeat.succeeded();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = context.stop.stopped() => return,
                _ = beats.tick() => {
                    context.heartbeat.beat();
                    self.look_at_certificate();
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        context.heartbeat.succeeded();
                        self.open(stream, Peer(peer));
                    }
                    Err(error) => {
                        self.events.accept_failed(&error.to_string());
                        context.heartbeat.failed(format!("accept: {error}"));
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Files are slow now and then; whether one looks already, the certificate knows.
    fn look_at_certificate(&self) {
        if let Some(tls) = self.tls.clone() {
            let events = self.events.clone();
            let _detached = spawn_blocking(move || tls.look(&events));
        }
    }

    /// Starts the connection's task, or closes it where there are too many.
    fn open(&self, stream: TcpStream, peer: Peer) {
        let Some(slot) = self.slots.take(peer) else {
            self.events.connection_refused(limits::HTTP_CONNECTIONS_MAX);
            refuse(&stream);
            return;
        };
        let (service, events, stop) =
            (self.service.clone(), self.events.clone(), self.stop.clone());
        let tls = self.tls.clone();
        // Ends by itself; the supervisor aborts it at the latest.
        let _detached = self.supervisor.spawn_child(TASK, async move {
            let _open = (events.connection_opened(), slot);
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                service.call(request)
            });
            let ended = match tls {
                None => attend(stream, service, &stop).await,
                Some(tls) => match shake_hands(stream, &tls, &stop).await {
                    Ok(Some(stream)) => converse(stream, service, &stop).await,
                    Ok(None) => return,
                    Err(reason) => return events.handshake_failed(&reason),
                },
            };
            if let Err(error) = ended {
                events.connection_failed(&error);
            }
        });
    }
}

/// Says why, if the socket takes it at once; a client that has sent its request already may not see it.
fn refuse(stream: &TcpStream) {
    let _told: io::Result<usize> = stream.try_write(TOO_MANY);
}

/// A connection with its time-outs set.
fn prepare(stream: &TcpStream) -> Result<(), String> {
    // Small answers shall not wait for each other.
    stream.set_nodelay(true).map_err(|error| format!("set nodelay: {error}"))?;
    let patience = u32::try_from(READER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(stream, patience)
        .map_err(|error| format!("set the reader's time-out: {error}"))
}

/// The handshake, bounded in time; the connection holds its slot all the while. `None` where the client
/// left without one.
async fn shake_hands(
    stream: TcpStream,
    tls: &Tls,
    stop: &StopSignal,
) -> Result<Option<TlsStream<TcpStream>>, String> {
    prepare(&stream)?;
    tokio::select! {
        done = timeout(limits::HTTP_HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)) => match done {
            Ok(Ok(stream)) => Ok(Some(stream)),
            // Whoever only looks whether somebody listens.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        },
        () = stop.stopped() => Err("the listener stops".to_owned()),
    }
}

/// One plain connection.
async fn attend<S>(stream: TcpStream, service: S, stop: &StopSignal) -> Result<(), String>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send,
{
    prepare(&stream)?;
    converse(stream, service, stop).await
}

/// One connection, request after request. hyper's time-out covers the pause between two requests, too.
async fn converse<I, S>(stream: I, service: S, stop: &StopSignal) -> Result<(), String>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HTTP_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = stop.stopped() => connection.as_mut().graceful_shutdown(),
    }
    match timeout(limits::DRAIN_TIMEOUT, connection).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err("closed at the end of the drain, its request unanswered".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;
    use crate::{supervise::StopSwitch, telemetry::Telemetry, time::Clock};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// A server of one route, which answers when it is let to.
    struct Running {
        address: std::net::SocketAddr,
        reached: Arc<Notify>,
        answer: Arc<Notify>,
        switch: StopSwitch,
        accepting: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Running {
        let (reached, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (on_reached, on_answer) = (reached.clone(), answer.clone());
        let slow = get(async move || {
            on_reached.notify_one();
            on_answer.notified().await;
            "fine"
        });
        let telemetry = Telemetry::new();
        let (switch, context) = TaskContext::detached(TASK, Clock::System);
        let supervisor = Supervisor::new(Clock::System, &telemetry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server {
            events: WebEvents::new(&telemetry),
            tls: None,
            service: TowerToHyperService::new(Router::new().route("/", slow)),
            slots: Slots::new(1),
            stop: context.stop.clone(),
            supervisor: supervisor.clone(),
        };
        let accept = async move { server.accept(&listener, &context).await };
        let accepting = supervisor.spawn_child("test", accept);
        Running { address, reached, answer, switch, accepting }
    }

    async fn read(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn connections_from_elsewhere_leave_some_for_this_host() {
        let slots = Slots::new(limits::HTTP_CONNECTIONS_MAX);
        let take = |peer: &str, count: usize| -> Vec<Slot> {
            let peer = Peer(peer.parse().unwrap());
            (0..count).map_while(|_| slots.take(peer)).collect()
        };
        let one = take("192.0.2.1:1", 256);
        assert_eq!(one.len(), 64, "a quarter for one address");
        let others: Vec<_> = (2..9).map(|n| take(&format!("192.0.2.{n}:1"), 256)).collect();
        let all = one.len() + others.iter().map(Vec::len).sum::<usize>();
        assert_eq!(all, 192, "three quarters for all of them");
        assert_eq!(take("127.0.0.1:1", 256).len(), 64);
        drop(one);
        assert_eq!(take("192.0.2.9:1", 256).len(), 64, "places are given back");
    }

    #[tokio::test]
    async fn an_open_request_is_answered_after_the_stop() {
        let running = start().await;
        let mut client = TcpStream::connect(running.address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        running.reached.notified().await;
        running.switch.stop();
        running.accepting.await.unwrap();
        running.answer.notify_one();
        let text = read(client).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("fine"), "{text}");
    }

    #[tokio::test]
    async fn a_connection_too_many_is_told_so() {
        let running = start().await;
        let mut first = TcpStream::connect(running.address).await.unwrap();
        first.write_all(REQUEST).await.unwrap();
        running.reached.notified().await;
        let text = read(TcpStream::connect(running.address).await.unwrap()).await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("too many"), "{text}");
    }

    /// Told when it is let go.
    struct Told(Arc<Notify>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    #[tokio::test]
    async fn a_request_ends_when_its_client_goes_away() {
        let (reached, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (on_reached, on_gone) = (reached.clone(), gone.clone());
        let endless = get(async move || {
            let _query = Told(on_gone);
            on_reached.notify_one();
            std::future::pending::<()>().await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_switch, context) = TaskContext::detached(TASK, Clock::System);
        let service = TowerToHyperService::new(Router::new().route("/", endless));
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            attend(stream, service, &context.stop).await
        };
        let client = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            reached.notified().await;
            drop(client);
            gone.notified().await;
        };
        let (_ended, ()) = tokio::join!(server, client);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_does_not_hold_a_connection() {
        let running = start().await;
        let mut client = TcpStream::connect(running.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        // Ends because the server closes it: with an answer or without.
        let text = timeout(2 * limits::HTTP_HEADER_TIMEOUT, read(client)).await.unwrap();
        assert!(!text.contains("200"), "{text}");
    }
}
