//! Frames: what segments and checkpoints are made of after their header.
//!
//! Marker, length, CRC-32 of length and payload, payload; all little-endian. A frame is whole or it
//! does not count; behind damage the next one is found by its marker. Must not know what payloads mean.

/// What each frame begins with.
const MARKER: [u8; 4] = *b"\xf1BF\x0a";
/// Marker, length, CRC-32.
pub(super) const HEAD: usize = 12;
/// Name, version, CRC-32 of both: what a file begins with.
pub(super) const FILE_HEAD: usize = 10;

/// What kind of file it is.
pub(super) type Name = [u8; 5];

/// What a file of that version begins with; its form is the same in all.
pub(super) fn file_head(name: Name, version: u8) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.push(version);
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// The version of a file, where its head is unharmed.
pub(super) fn version_of(name: Name, file: &[u8]) -> Option<u8> {
    let version = *file.get(name.len())?;
    file.starts_with(&file_head(name, version)).then_some(version)
}

/// A frame around what `fill` writes.
pub(super) fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = MARKER.to_vec();
    bytes.extend([0; HEAD - MARKER.len()]);
    fill(&mut bytes);
    let len = u32::try_from(bytes.len() - HEAD).expect("a frame is far below 4 GiB").to_le_bytes();
    let crc = checksum(len, &bytes[HEAD..]).to_le_bytes();
    bytes[4..8].copy_from_slice(&len);
    bytes[8..HEAD].copy_from_slice(&crc);
    bytes
}

fn checksum(len: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(payload);
    hasher.finalize()
}

/// How the reading of a file ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct End {
    /// The end of the last good frame.
    pub(in crate::store) good: u64,
    /// Bytes after it that are no frame. Zeros at the end do not count: room that was not used.
    pub(in crate::store) torn: u64,
    /// Stretches with good frames behind them that are none: from, to.
    pub(in crate::store) gaps: Vec<(u64, u64)>,
    /// Of a segment: how long the one before was when it was left, 0 where it goes on after none;
    /// `None` where its head is damaged.
    pub(in crate::store) before: Option<u64>,
}

impl End {
    /// How many bytes are missing of what `left` says the file was long.
    pub(in crate::store) fn missing(&self, left: u64) -> u64 {
        left.saturating_sub(self.good + self.torn)
    }
}

/// Hands the payload of each good frame from `start` on to `visit`, also those behind damage.
pub(super) fn read<'a>(bytes: &'a [u8], start: usize, mut visit: impl FnMut(&'a [u8])) -> End {
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let mut end = End { good: start as u64, ..End::default() };
    let mut at = start;
    while at < bytes.len() {
        if let Some(payload) = payload(&bytes[at..]) {
            visit(payload);
            at += HEAD + payload.len();
            end.good = at as u64;
        } else {
            let next = find(bytes, at + 1);
            match next {
                Some(next) => end.gaps.push((at as u64, next as u64)),
                None => end.torn = used.saturating_sub(at) as u64,
            }
            at = next.unwrap_or(bytes.len());
        }
    }
    end
}

/// The payload of the frame that begins here.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let len = usize::try_from(u32::from_le_bytes(word(4))).ok()?;
    let payload = rest.get(..len)?;
    let whole =
        head.starts_with(&MARKER) && checksum(word(4), payload) == u32::from_le_bytes(word(8));
    whole.then_some(payload)
}

/// Where the next good frame begins, from `start` on.
fn find(bytes: &[u8], start: usize) -> Option<usize> {
    (start..bytes.len().saturating_sub(HEAD - 1))
        .find(|at| bytes[*at..].starts_with(&MARKER) && payload(&bytes[*at..]).is_some())
}
