//! Answers as gzip, for clients that take it: compressed piece by piece while they are sent.

use std::io::Write;

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, header};

/// Smaller answers fit into one packet as they are.
const BYTES_MIN: u64 = 1400;
/// What is compressed at a time: a fraction of a millisecond's work.
const PIECE_BYTES: usize = 64 * 1024;

/// Compresses the answer where the client takes gzip and the answer is not small.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    // Of an answer to HEAD the body goes later: there is nothing to compress.
    let wanted = request.method() != Method::HEAD && takes_gzip(request.headers());
    let mut response = next.run(request).await;
    let small = response.body().size_hint().upper().is_some_and(|bytes| bytes < BYTES_MIN);
    if small || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !wanted {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.map(gzipped)
}

/// Whether `Accept-Encoding` names gzip, or anything, and does not refuse it (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let codings = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let mut any = None;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let taken = quality.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0));
        match name.as_str() {
            "gzip" | "x-gzip" => return taken,
            "*" => any = Some(taken),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// A body on its way through the encoder.
struct Gzip {
    rest: BodyDataStream,
    /// Taken from the body, and not compressed yet.
    piece: Bytes,
    /// None when the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

fn gzipped(body: Body) -> Body {
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    let gzip = Gzip { rest: body.into_data_stream(), piece: Bytes::new(), encoder };
    Body::from_stream(stream::unfold(gzip, |mut gzip| async {
        let piece = gzip.next().await?;
        Some((piece, gzip))
    }))
}

impl Gzip {
    /// The next compressed piece, which may stand for several plain ones.
    async fn next(&mut self) -> Option<Result<Vec<u8>, axum::Error>> {
        loop {
            if self.piece.is_empty() {
                match self.rest.next().await {
                    Some(Ok(piece)) => self.piece = piece,
                    // The connection ends without the end of the answer: the client sees that.
                    Some(Err(error)) => return Some(Err(error)),
                    None => return Some(self.encoder.take()?.finish().map_err(axum::Error::new)),
                }
            }
            let piece = self.piece.split_to(self.piece.len().min(PIECE_BYTES));
            let encoder = self.encoder.as_mut()?;
            if let Err(error) = encoder.write_all(&piece) {
                return Some(Err(axum::Error::new(error)));
            }
            let done = std::mem::take(encoder.get_mut());
            if !done.is_empty() {
                return Some(Ok(done));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::{Router, middleware, routing::get};
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    const LONG: usize = 300_000;

    /// Pieces of all sizes, one of them empty.
    fn pieces() -> Body {
        let sizes = [1, 0, 100_000, LONG - 100_001];
        let piece = |size| Ok::<_, std::convert::Infallible>(vec![b'x'; size]);
        Body::from_stream(stream::iter(sizes.map(piece)))
    }

    async fn ask(path: &str, method: &str, encodings: &str) -> Response {
        let routes = Router::new()
            .route("/long", get(async || "x".repeat(LONG)))
            .route("/pieces", get(async || pieces()))
            .route("/short", get(async || "x"))
            .layer(middleware::from_fn(compress));
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::ACCEPT_ENCODING, encodings);
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_those_who_take_it() {
        for path in ["/long", "/pieces"] {
            let response = ask(path, "GET", "br, gzip;q=0.5").await;
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
            assert_eq!(response.headers()[header::VARY], "Accept-Encoding");
            assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
            let body = body(response).await;
            assert!(body.len() < LONG / 50, "{}", body.len());
            let mut text = String::new();
            GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
            assert!(text.len() == LONG && text.bytes().all(|byte| byte == b'x'));
        }
    }

    #[tokio::test]
    async fn all_else_stays_as_it_is() {
        let plain = ask("/long", "GET", "deflate, gzip;q=0").await;
        assert_eq!(plain.headers()[header::VARY], "Accept-Encoding");
        assert_eq!(body(plain).await.len(), LONG);
        assert_eq!(body(ask("/short", "GET", "gzip").await).await, "x");
        let head = ask("/long", "HEAD", "gzip").await;
        assert!(!head.headers().contains_key(header::CONTENT_ENCODING));
        assert!(body(head).await.is_empty());
    }

    #[test]
    fn takes_what_is_accepted() {
        let takes = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
            takes_gzip(&headers)
        };
        assert!(
            takes("gzip") && takes("GZIP;q=1.0") && takes("*") && takes("br;q=1, x-gzip; q=0.1")
        );
        assert!(!takes("") && !takes("identity") && !takes("*;q=0") && !takes("gzip;q=0, *"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
