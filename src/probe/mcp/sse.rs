//! Server-sent events as they arrive, piece by piece (WHATWG HTML, "Server-sent events").

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its name; empty where it has none.
    pub(super) name: String,
    /// Its data, lines joined.
    pub(super) data: String,
}

/// Cuts a stream of bytes into events. Holds one unfinished event at most; whoever feeds it bounds
/// the bytes.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
    after_return: bool,
}

impl SseParser {
    /// The events that `bytes` complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<SseEvent> {
        let mut events = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                other => self.line.push(*other),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != SseEvent::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" if self.event.data.is_empty() => value.clone_into(&mut self.event.data),
            "data" => {
                self.event.data.push('\n');
                self.event.data.push_str(value);
            }
            // Comments, ids and retry times mean nothing to one short conversation.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str =
        ": hello\r\nevent: endpoint\r\ndata: /m?s=1\r\n\r\nid: 4\ndata: a\ndata: b\n\ndata:c\r\r";

    fn events(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        let events = pieces.iter().flat_map(|piece| parser.feed(piece));
        events.map(|event| (event.name, event.data)).collect()
    }

    #[test]
    fn reads_events_with_any_line_end() {
        let expected = [("endpoint", "/m?s=1"), ("", "a\nb"), ("", "c")];
        let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
        assert_eq!(events(&[STREAM.as_bytes()]), expected);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_matter(cut in 0..STREAM.len()) {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            prop_assert_eq!(events(&[head, tail]), events(&[STREAM.as_bytes()]));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            events(&[&bytes]);
        }
    }
}
