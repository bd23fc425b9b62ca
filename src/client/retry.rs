//! Calls that come through while the daemon restarts.
//!
//! A daemon that stops answers what it has begun and refuses the rest, which is then asked of its
//! successor: that is safe for any call, for the refused ones were not looked at. Where a connection
//! breaks under a call nobody knows whether it was carried out; then only those are made again whose proto
//! file says that it does no harm (`idempotency_level`). Streams are their callers' to resume. What nobody
//! listens for is not waited for: under systemd the socket stays, and a connection to it waits by itself.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use prost::Message;
use prost_types::{
    FileDescriptorSet, MethodDescriptorProto, MethodOptions, method_options::IdempotencyLevel,
};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Error},
};
use tower::Service;

use crate::wire;

use super::{
    ANSWER_BYTES_MAX,
    error::{ConnectError, SILENT},
};

/// How often a call is made at most.
const TRIES: u32 = 5;
/// Before the second try; before the third twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(50);

/// A channel that makes a call again where that is safe.
#[derive(Clone, Debug)]
pub struct RetryChannel {
    channel: Channel,
}

impl RetryChannel {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel }
    }
}

type Answer = Result<Response<Body>, Error>;

impl Service<Request<Body>> for RetryChannel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// Each try waits for the channel by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.channel.clone();
        match METHODS.get(request.uri().path()).copied() {
            Some(method) if !method.streams_requests => Box::pin(call(channel, request, method)),
            _ => Box::pin(send(channel, request)),
        }
    }
}

/// What a call may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Method {
    streams_requests: bool,
    streams_answers: bool,
    /// Whether making it twice is as good as once.
    is_idempotent: bool,
}

/// All of ours, by their paths.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(wire::DESCRIPTORS).map(|set| set.file);
    let mut methods = HashMap::new();
    for file in files.unwrap_or_default() {
        for service in &file.service {
            let path = |m: &MethodDescriptorProto| {
                format!("/{}.{}/{}", file.package(), service.name(), m.name())
            };
            methods.extend(service.method.iter().map(|m| (path(m), Method::of(m))));
        }
    }
    methods
});

impl Method {
    fn of(method: &MethodDescriptorProto) -> Self {
        let level = method.options.as_ref().map(MethodOptions::idempotency_level);
        Self {
            streams_requests: method.client_streaming(),
            streams_answers: method.server_streaming(),
            is_idempotent: !matches!(level, None | Some(IdempotencyLevel::IdempotencyUnknown)),
        }
    }
}

async fn send(mut channel: Channel, request: Request<Body>) -> Answer {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(request).await
}

/// A call with one request, again and again where that is safe.
async fn call(channel: Channel, request: Request<Body>, method: Method) -> Answer {
    let (head, body) = request.into_parts();
    // One message of ours, which is in memory already.
    let message = match body.collect().await {
        Ok(message) => message.to_bytes(),
        Err(status) => return Ok(status.into_http()),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let request = Request::from_parts(head.clone(), Body::new(Full::new(message.clone())));
        let ended = match send(channel.clone(), request).await {
            Ok(answer) if method.streams_answers => return Ok(answer),
            Ok(answer) => whole(answer).await,
            Err(error) => Ended::Failed(error),
        };
        let is_last = tries == TRIES || !ended.may_be_made_again(method);
        match ended {
            Ended::Answered(answer) => return Ok(answer),
            Ended::Failed(error) if is_last => return Err(error),
            Ended::Cut(answer) if is_last => return Ok(answer),
            Ended::Failed(_) | Ended::Cut(_) => tokio::time::sleep(PAUSE * tries).await,
        }
    }
}

/// How a try ended.
enum Ended {
    Answered(Response<Body>),
    /// Without an answer.
    Failed(Error),
    /// Within the answer: as far as it came, with the error.
    Cut(Response<Body>),
}

impl Ended {
    fn may_be_made_again(&self, method: Method) -> bool {
        match self {
            Self::Answered(_) => false,
            Self::Cut(_) => method.is_idempotent,
            Self::Failed(error) => match fate(error) {
                Fate::Untouched => true,
                Fate::Unknown => method.is_idempotent,
                Fate::Final => false,
            },
        }
    }
}

/// Takes the whole of an answer in, unless it is too large for one: then who reads it is told so.
async fn whole(answer: Response<Body>) -> Ended {
    let (head, mut body) = answer.into_parts();
    let mut frames: Vec<Result<Frame<Bytes>, Status>> = Vec::new();
    let mut bytes = 0;
    let mut is_cut = false;
    while bytes <= ANSWER_BYTES_MAX
        && !is_cut
        && let Some(frame) = body.frame().await
    {
        bytes += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
        is_cut = frame.is_err();
        frames.push(frame);
    }
    let rest = stream::unfold(body, |mut body| async move { Some((body.frame().await?, body)) });
    let answer =
        Response::from_parts(head, Body::new(StreamBody::new(stream::iter(frames).chain(rest))));
    if is_cut { Ended::Cut(answer) } else { Ended::Answered(answer) }
}

/// What became of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The daemon did not look at it.
    Untouched,
    /// The connection broke.
    Unknown,
    /// Another try would end in the same way: nobody listens, or the time is over.
    Final,
}

fn fate(error: &(dyn std::error::Error + 'static)) -> Fate {
    let mut fate = Fate::Final;
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_silent = |error: &io::Error| error.kind() == SILENT;
        if error.is::<ConnectError>() || error.downcast_ref().is_some_and(is_silent) {
            return Fate::Final;
        }
        if is_untouched(error) {
            return Fate::Untouched;
        }
        if error.is::<hyper::Error>() || error.is::<h2::Error>() {
            fate = Fate::Unknown;
        }
        cause = error.source();
    }
    fate
}

fn is_untouched(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        // It was never sent.
        return error.is_canceled() || error.is_closed();
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.kind() == UNGREETED;
    }
    let Some(error) = error.downcast_ref::<h2::Error>() else { return false };
    // RFC 9113, 6.8 and 8.7: a stream beyond the last one of a GOAWAY, and a refused one.
    (error.is_go_away() && error.is_remote())
        || error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || error.get_io().is_some_and(|error| error.kind() == UNGREETED)
}

/// The error of a connection that ended before its server said a word: a server of HTTP/2 greets before it
/// reads, so it has seen no call.
pub(super) const UNGREETED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

#[cfg(test)]
mod tests {
    use tokio::net::{UnixListener, UnixStream};
    use tonic::Code;

    use super::*;
    use crate::{
        client::{ClientError, Connection, Search},
        wire::v1,
    };

    /// What a daemon does with a connection and the first call on it.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        /// Closes it before a word.
        Leaves,
        /// Refuses the call, as one that stops does.
        Refuses,
        /// Reads the call, and is gone.
        Dies,
        /// Begins an answer, and is gone.
        Stutters,
        /// Says that there is no such thing.
        Answers,
    }

    async fn serve(stream: UnixStream, does: Does) {
        if matches!(does, Does::Leaves) {
            return;
        }
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = Response::builder().header("content-type", "application/grpc");
        match does {
            Does::Leaves | Does::Dies => return,
            Does::Refuses => {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                connection.graceful_shutdown();
            }
            Does::Stutters => {
                let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
                body.send_data(Bytes::from_static(&[0, 0]), false).unwrap();
            }
            Does::Answers => {
                let head = head.header("grpc-status", Code::NotFound as i32).body(()).unwrap();
                drop(respond.send_response(head, true).unwrap());
            }
        }
        // Until what is to be said is said.
        tokio::select! {
            _ = connection.accept() => {}
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }

    /// Has a client make a call of a daemon that does this, one connection after the other; how it ended,
    /// and how many connections were not needed.
    async fn calls<T>(
        script: &[Does],
        call: impl AsyncFnOnce(Connection) -> Result<T, Status>,
    ) -> (ClientError, usize) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let left = std::cell::Cell::new(script.len());
        let daemon = async {
            for does in script {
                let (stream, _) = listener.accept().await.unwrap();
                left.update(|left| left - 1);
                serve(stream, *does).await;
            }
            std::future::pending::<()>().await;
        };
        let connection = Connection::with_search(Search::of(vec![socket.clone()]));
        let status = tokio::select! {
            answer = call(connection) => answer.map(drop).unwrap_err(),
            () = daemon => unreachable!("it waits for ever"),
        };
        (status.into(), left.get())
    }

    async fn read(connection: Connection) -> Result<(), Status> {
        connection.system().get_status(v1::GetStatusRequest {}).await.map(drop)
    }

    async fn change(connection: Connection) -> Result<(), Status> {
        connection.alerts().create_rule(v1::CreateRuleRequest::default()).await.map(drop)
    }

    #[tokio::test]
    async fn a_call_that_nobody_looked_at_is_made_again() {
        for does in [Does::Leaves, Does::Refuses] {
            let (error, left) = calls(&[does, does, Does::Answers], change).await;
            assert!(error.is_not_found() && left == 0, "{does:?}: {error:?}, {left}");
        }
    }

    #[tokio::test]
    async fn a_call_that_broke_is_made_again_where_that_does_no_harm() {
        for does in [Does::Dies, Does::Stutters] {
            let (error, left) = calls(&[does, Does::Answers], read).await;
            assert!(error.is_not_found() && left == 0, "{does:?}: {error:?}, {left}");
            let (error, left) = calls(&[does, Does::Answers], change).await;
            assert!(!error.is_not_found() && left == 1, "{does:?}: {error:?}, {left}");
        }
    }

    #[tokio::test]
    async fn tries_are_bounded() {
        let (error, left) = calls(&[Does::Leaves; 9], read).await;
        assert!(error.is_unreachable() && left == 9 - TRIES as usize, "{error:?}, {left}");
    }

    #[test]
    fn the_proto_files_say_what_may_be_made_twice() {
        let method = |path: &str| METHODS[path];
        assert!(method("/balefire.v1.MetricsService/Query").is_idempotent);
        assert!(method("/balefire.v1.MetricsService/Write").is_idempotent);
        assert!(!method("/balefire.v1.MetricsService/CollectMetrics").is_idempotent);
        assert!(!method("/balefire.v1.AlertsService/CreateRule").is_idempotent);
        assert!(method("/balefire.v1.MetricsService/WriteStream").streams_requests);
        assert!(method("/balefire.v1.EventsService/Subscribe").streams_answers);
    }
}
