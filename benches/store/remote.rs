//! Prometheus' remote write 1.0 over a connection that is kept: how the peers get the same data.
//!
//! Bodies are protobuf (`prometheus.WriteRequest`: 1 = time series of 1 = label {1 name, 2 value} and
//! 2 = sample {1 value, 2 timestamp}) in Snappy's block format, here of literals alone: valid, and the
//! least work for whoever takes it apart. The labels of a series are encoded once.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use balefire::{model::Labels, time::Timestamp};
use prost::encoding::encode_varint;

use crate::{drive::Sink, workload::Point};

const PATIENCE: Duration = Duration::from_mins(2);
/// Longest literal whose length takes two bytes.
const LITERAL_BYTES: usize = 1 << 16;

/// The labels of every series as fields of a `TimeSeries`.
pub(crate) fn encode_labels(labels: &[Labels]) -> Arc<[Vec<u8>]> {
    labels.iter().map(label_fields).collect()
}

fn label_fields(labels: &Labels) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut fields, 1, &label);
    }
    fields
}

/// A field of wire type 2 (length, bytes); `number` is below 16.
fn put_bytes(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    into.push(number << 3 | 2);
    encode_varint(bytes.len() as u64, into);
    into.extend(bytes);
}

/// One connection.
pub(crate) struct Remote {
    connection: BufReader<TcpStream>,
    host: String,
    path: String,
    labels: Arc<[Vec<u8>]>,
}

impl Remote {
    /// Connects to `http://host:port/path`.
    pub(crate) fn connect(url: &str, labels: &Arc<[Vec<u8>]>) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is no http URL"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let connection = TcpStream::connect(host).map_err(|error| format!("{host}: {error}"))?;
        let set = connection.set_nodelay(true).and(connection.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| error.to_string())?;
        let (host, path) = (host.to_owned(), format!("/{path}"));
        Ok(Self { connection: BufReader::new(connection), host, path, labels: Arc::clone(labels) })
    }

    fn body(&self, at: Timestamp, points: &[Point]) -> Vec<u8> {
        let (mut request, mut series, mut sample) = (Vec::new(), Vec::new(), Vec::new());
        for point in points {
            sample.clear();
            // Field 1, eight bytes; field 2, a varint of two's complement.
            sample.push(1 << 3 | 1);
            sample.extend(point.value.to_le_bytes());
            sample.push(2 << 3);
            encode_varint(at.as_millis().cast_unsigned(), &mut sample);
            series.clear();
            series.extend(&self.labels[point.series as usize]);
            put_bytes(&mut series, 2, &sample);
            put_bytes(&mut request, 1, &series);
        }
        request
    }

    fn post(&mut self, body: &[u8]) -> std::io::Result<String> {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
             Content-Length: {}\r\n\r\n",
            self.path,
            self.host,
            body.len()
        );
        let stream = self.connection.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.answer()
    }

    /// The status line, and the body's text where there is one.
    fn answer(&mut self) -> std::io::Result<String> {
        let mut status = String::new();
        self.connection.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.connection.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut text = vec![0; length.min(LITERAL_BYTES)];
        self.connection.read_exact(&mut text)?;
        Ok(format!("{} {}", status.trim(), String::from_utf8_lossy(&text).trim()))
    }
}

impl Sink for Remote {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        let body = literals(&self.body(at, points));
        let answer = self.post(&body).map_err(|error| format!("{}: {error}", self.host))?;
        // "HTTP/1.1 204 …", or 200.
        if answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            return Ok(());
        }
        Err(answer)
    }
}

/// Snappy's block format (`format_description.txt` of google/snappy): the length, then literals, each
/// with a tag of 61 << 2 and its length less one in two bytes.
fn literals(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes.len() + 16);
    encode_varint(bytes.len() as u64, &mut block);
    for literal in bytes.chunks(LITERAL_BYTES) {
        block.push(61 << 2);
        let less_one = u16::try_from(literal.len() - 1).unwrap_or(u16::MAX);
        block.extend(less_one.to_le_bytes());
        block.extend(literal);
    }
    block
}
