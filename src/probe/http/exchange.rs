//! One request on a connection of its own, its answer handed on piece by piece.

use std::{collections::BTreeMap, ops::ControlFlow, pin::pin};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, response::Parts,
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::{
    model::Secret,
    probe::{fault::Fault, report::Report},
};

use super::{
    Address,
    dial::{Trust, dial},
};

/// What is asked.
#[derive(Clone, Debug)]
pub(in crate::probe) struct Ask {
    pub(in crate::probe) method: Method,
    pub(in crate::probe) address: Address,
    pub(in crate::probe) headers: HeaderMap,
    pub(in crate::probe) body: Bytes,
}

/// The headers of a target, as they are sent.
pub(in crate::probe) fn header_map(headers: &BTreeMap<String, Secret>) -> Result<HeaderMap, Fault> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let fault = || Fault::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| fault())?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// Asks, and hands the head and each piece of the body to `each` until that breaks off; phases
/// `resolve`, `connect`, `tls`, `first_byte`, `body`.
pub(in crate::probe) async fn exchange(
    ask: Ask,
    trust: &Trust,
    report: &mut Report,
    mut each: impl FnMut(&Parts, &[u8]) -> ControlFlow<()> + Send,
) -> Result<Parts, Fault> {
    let stream = dial(&ask.address, trust, report).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = request(ask)?;
    let talk = async {
        let answer = async { Ok(sender.send_request(request).await?) };
        let answer: Response<Incoming> = report.time("first_byte", answer).await?;
        report.answer.status_code = Some(answer.status().as_u16());
        let (head, body) = answer.into_parts();
        report.during = "body";
        let began = Instant::now();
        read(&head, body, &mut each).await?;
        report.phase("body", began.elapsed());
        Ok(head)
    };
    // The connection moves only while it is polled: beside the talk, without a task of its own.
    let mut talk = pin!(talk);
    tokio::select! {
        done = &mut talk => done,
        // It may end before the body has been read out of it.
        _ = connection => talk.await,
    }
}

async fn read(
    head: &Parts,
    mut body: Incoming,
    each: &mut impl FnMut(&Parts, &[u8]) -> ControlFlow<()>,
) -> Result<(), Fault> {
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame?.data_ref()
            && each(head, piece).is_break()
        {
            break;
        }
    }
    Ok(())
}

fn request(ask: Ask) -> Result<Request<Full<Bytes>>, Fault> {
    let fault = |problem| Fault::Address { address: ask.address.authority().to_owned(), problem };
    let host = HeaderValue::from_str(ask.address.authority()).map_err(|_| fault("bad host"))?;
    let mut request = Request::builder()
        .method(&ask.method)
        .uri(ask.address.path())
        .body(Full::new(ask.body.clone()))
        .map_err(|_| fault("bad path"))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, const { HeaderValue::from_static(USER_AGENT) });
    // What the target says goes before what we say.
    headers.extend(ask.headers);
    Ok(request)
}

const USER_AGENT: &str = concat!("balefire/", env!("CARGO_PKG_VERSION"));
