//! `grpc.health.v1.Health/Check` over a Unix socket: one small request on hyper's HTTP/2, so that
//! the prober needs no gRPC machinery. Format: gRPC over HTTP/2, length-prefixed messages.

use std::{fmt::Display, path::Path, pin::pin};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

use super::fault::{Fault, first_line};

/// `HealthCheckResponse` of the gRPC health checking protocol.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `ServingStatus.SERVING`.
const SERVING: i32 = 1;
/// An empty message: not compressed, no bytes. It asks for the server as a whole.
const EMPTY_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];
/// A health answer has seven bytes.
const ANSWER_BYTES_MAX: usize = 1024;

/// Asks the server behind `socket` whether it serves.
pub(super) async fn check(socket: &Path) -> Result<(), Fault> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| fault(format_args!("connecting to {}: {error}", socket.display())))?;
    // The executor runs what one stream of HTTP/2 needs besides; it ends with the connection.
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(fault)?;
    let request = request()?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(fault)?;
        judge(answer).await
    };
    let mut talk = pin!(talk);
    tokio::select! {
        done = &mut talk => done,
        _ = connection => talk.await,
    }
}

fn request() -> Result<Request<Full<Bytes>>, Fault> {
    Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from_static(EMPTY_MESSAGE)))
        .map_err(fault)
}

async fn judge(answer: Response<Incoming>) -> Result<(), Fault> {
    let status = answer.status();
    if !status.is_success() {
        return Err(fault(format_args!("HTTP {status}")));
    }
    // A refusal has its status among the headers, and no body.
    grpc_status(answer.headers())?;
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(fault)?;
    if let Some(trailers) = body.trailers() {
        grpc_status(trailers)?;
    }
    let bytes = body.to_bytes();
    let message = bytes.get(EMPTY_MESSAGE.len()..).unwrap_or_default();
    match HealthCheckResponse::decode(message).map_err(fault)?.status {
        SERVING => Ok(()),
        other => Err(fault(format_args!("serving status is {other} instead of SERVING"))),
    }
}

fn grpc_status(headers: &HeaderMap) -> Result<(), Fault> {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status") {
        None => Ok(()),
        Some(status) if status == "0" => Ok(()),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(fault(format_args!("gRPC status {status} {}", first_line(&message, 200))))
        }
    }
}

fn fault(what: impl Display) -> Fault {
    Fault::GrpcHealth(what.to_string())
}
