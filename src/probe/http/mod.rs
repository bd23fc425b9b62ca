//! Any HTTP server: one request, its parts timed apart, its status judged. Also the client that MCP
//! over HTTP stands on.
//!
//! Each request has a connection of its own, so that every probe sees what a new client would see.
//! Start with [`check`].

mod address;
mod dial;
mod exchange;

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use http::{HeaderMap, Method, header, response::Parts};

use crate::{limits, model::Secret};

use super::{fault::Fault, report::Report};

pub(super) use address::Address;
pub(super) use dial::{Trust, connect};
pub(super) use exchange::{Ask, exchange, header_map};

/// Redirects that are followed; each within the same origin.
pub(super) const REDIRECTS_MAX: usize = 5;

/// Asks `url` and judges the status. Redirects are followed within the origin; any other is an
/// answer like the rest.
pub(super) async fn check(
    url: &str,
    headers: &BTreeMap<String, Secret>,
    expected: &[u16],
    trust: &Trust,
    report: &mut Report,
) -> Result<(), Fault> {
    let headers = header_map(headers)?;
    let mut address = Address::parse(url)?;
    for _ in 0..=REDIRECTS_MAX {
        let head = get(&address, headers.clone(), trust, report).await?;
        let status = head.status.as_u16();
        if expected.contains(&status) {
            return Ok(());
        }
        let onwards = head.status.is_redirection().then(|| location(&head)).flatten();
        match onwards.and_then(|location| address.redirected(location)) {
            Some(next) => address = next,
            None => return Err(Fault::Status { status, expected: expected.to_vec() }),
        }
    }
    Err(Fault::Redirects)
}

/// The `Location` of a redirect.
fn location(head: &Parts) -> Option<&str> {
    head.headers.get(header::LOCATION)?.to_str().ok()
}

async fn get(
    address: &Address,
    headers: HeaderMap,
    trust: &Trust,
    report: &mut Report,
) -> Result<Parts, Fault> {
    // After a redirect the phases tell of the last request.
    report.answer.phases.clear();
    let ask = Ask { method: Method::GET, address: address.clone(), headers, body: Bytes::new() };
    let mut read = 0;
    let bounded = move |_: &Parts, piece: &[u8]| {
        read += piece.len();
        // Whoever sends more than that is up, and need not send it all.
        if read > limits::PROBE_ANSWER_BYTES_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    exchange(ask, trust, report, bounded).await
}
