//! MCP over streamable HTTP, on loopback.
//!
//! Stateless in both eras of the protocol: no sessions are kept, each POST is answered by itself.
//! Host and Origin are checked on every request, so that no web page can call the tools through a
//! browser. All connections live in one bounded set, which this one task drives.

use std::{convert::Infallible, future::Future, io::Write, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};

use crate::{access::is_forwarded, limits};

use super::{server::Shim, shutdown::Shutdown};

/// The one path that there is.
const PATH: &str = "/mcp";
/// How long accepting rests after it failed: most likely all file descriptors are taken.
const ACCEPT_PAUSE: time::Duration = time::Duration::from_millis(100);

type Mcp = StreamableHttpService<Shim, NeverSessionManager>;
type Answer = Response<BoxBody<Bytes, Infallible>>;
type Connections = FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>;

/// Serves until a signal arrives, then lets the requests under way finish.
pub(super) async fn serve(shim: Shim, address: SocketAddr) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::listen()?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
    announce(listener.local_addr()?);

    let mcp = service(shim);
    let graceful = GracefulShutdown::new();
    let mut connections = Connections::new();
    loop {
        let has_room = connections.len() < limits::HTTP_CONNECTIONS_MAX;
        tokio::select! {
            stream = accept(&listener), if has_room => {
                connections.push(connection(stream, mcp.clone(), &graceful));
            }
            Some(()) = connections.next() => {}
            () = shutdown.signalled() => break,
        }
    }
    drop(listener);
    drain(graceful, connections).await;
    Ok(())
}

/// Tells people where it is; the port may have been chosen by the system.
fn announce(address: SocketAddr) {
    // Where nobody reads it, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "listening on http://{address}{PATH}");
}

fn service(shim: Shim) -> Mcp {
    let origins = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_max_request_body_bytes(limits::HTTP_BODY_BYTES_MAX);
    StreamableHttpService::new(move || Ok(shim.clone()), Arc::default(), config)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Drives one connection to its end.
fn connection(
    stream: TcpStream,
    mcp: Mcp,
    graceful: &GracefulShutdown,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let service = service_fn(move |request| respond(mcp.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HTTP_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    Box::pin(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended badly");
        }
    })
}

async fn respond(mcp: Mcp, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.uri().path() != PATH {
        return Ok(refusal(StatusCode::NOT_FOUND, "MCP is served at /mcp\n"));
    }
    if is_forwarded(request.headers()) && !request.headers().contains_key(AUTHORIZATION) {
        return Ok(refusal(StatusCode::UNAUTHORIZED, "who comes through a proxy needs a token\n"));
    }
    let handled = time::timeout(limits::HTTP_REQUEST_TIMEOUT, mcp.handle(request)).await;
    Ok(handled.unwrap_or_else(|_| refusal(StatusCode::REQUEST_TIMEOUT, "this took too long\n")))
}

fn refusal(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}

/// Lets open connections end, under the deadline.
async fn drain(graceful: GracefulShutdown, mut connections: Connections) {
    let drained = async {
        tokio::join!(graceful.shutdown(), async { while connections.next().await.is_some() {} });
    };
    if time::timeout(limits::STOP_DEADLINE, drained).await.is_err() {
        tracing::warn!("connections were cut off at the deadline");
    }
}
