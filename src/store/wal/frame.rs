//! Frames: what segments and checkpoints are made of after their header.
//!
//! Marker, length, CRC-32 of length and payload, payload; all little-endian. A frame is whole or it
//! does not count; behind damage the next one is found by its marker. Must not know what payloads mean.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

/// What each frame begins with.
const MARKER: [u8; 4] = *b"\xf1BF\x0a";
/// Marker, length, CRC-32.
pub(super) const HEAD: usize = 12;
/// Name, version, CRC-32 of both: what a file begins with.
pub(super) const FILE_HEAD: usize = 10;
/// Bytes that are read of a file at a time.
const PIECE: u64 = 1 << 20;

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
    pub(in crate::store) previous_len: Option<u64>,
}

impl End {
    /// How many bytes are missing of what `left` says the file was long.
    pub(in crate::store) fn missing(&self, left: u64) -> u64 {
        left.saturating_sub(self.good + self.torn)
    }
}

/// A file of frames that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    /// The piece of the file that was read last, and where it begins.
    bytes: Vec<u8>,
    begin: u64,
}

impl Reader {
    pub(super) fn new(file: File) -> Self {
        Self { file, bytes: Vec::new(), begin: 0 }
    }

    /// The version of the file, where its head is unharmed. To be asked first.
    pub(super) fn version(&mut self, name: Name) -> io::Result<Option<u8>> {
        self.read_on(FILE_HEAD)?;
        Ok(version_of(name, &self.bytes))
    }

    /// What the file begins with: a piece of it, or all. To be asked second.
    pub(super) fn first_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Hands the payload of each good frame from `start` on, which lies in the head or right behind it,
    /// to `visit`, also those behind damage.
    ///
    /// As long as frames are whole, a piece of the file is in memory; else all of the rest.
    pub(super) fn read(mut self, start: usize, mut visit: impl FnMut(&[u8])) -> io::Result<End> {
        let mut at = start;
        loop {
            while let Some(payload) = payload(&self.bytes[at..]) {
                visit(payload);
                at += HEAD + payload.len();
            }
            let wanted = claimed(&self.bytes[at..]);
            let missing = wanted > self.bytes.len() - at;
            self.bytes.drain(..at);
            self.begin += at as u64;
            at = 0;
            if !missing || !self.read_on(wanted)? {
                return self.read_rest(visit);
            }
        }
    }

    /// Reads on until so many bytes are there; tells whether they are.
    fn read_on(&mut self, wanted: usize) -> io::Result<bool> {
        let missing = wanted.saturating_sub(self.bytes.len()) as u64;
        (&self.file).take(missing.max(PIECE)).read_to_end(&mut self.bytes)?;
        Ok(self.bytes.len() >= wanted)
    }

    /// Reads the rest once more, at one go: somebody may be writing there.
    fn read_rest(mut self, visit: impl FnMut(&[u8])) -> io::Result<End> {
        self.bytes.clear();
        self.file.seek(SeekFrom::Start(self.begin))?;
        self.file.read_to_end(&mut self.bytes)?;
        let End { good, torn, gaps, previous_len } = read(&self.bytes, visit);
        let shift = |(from, to)| (from + self.begin, to + self.begin);
        let gaps = gaps.into_iter().map(shift).collect();
        Ok(End { good: good + self.begin, torn, gaps, previous_len })
    }
}

/// How long the frame that begins here says to be; no longer than what there is, where it is none.
fn claimed(bytes: &[u8]) -> usize {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else { return HEAD };
    let [_, _, _, _, len @ .., _, _, _, _] = *head;
    let whole = usize::try_from(u32::from_le_bytes(len)).ok().and_then(|len| len.checked_add(HEAD));
    whole.filter(|_| head.starts_with(&MARKER)).unwrap_or_default()
}

/// Hands the payload of each good frame to `visit`, also those behind damage.
fn read(bytes: &[u8], mut visit: impl FnMut(&[u8])) -> End {
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let mut end = End::default();
    let mut at = 0;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 1 << 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn reading_piece_by_piece_finds_what_reading_at_once_finds(
            sizes in prop::collection::vec(0..SIZE, 1..8),
            flips in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
            zeros in prop::sample::select(vec![0, 5, SIZE]),
        ) {
            let frames = (0_u8..).zip(&sizes).map(|(n, size)| frame(|out| out.resize(size + HEAD, n)));
            let mut bytes: Vec<u8> = frames.flatten().collect();
            for flip in flips {
                let at = flip.index(bytes.len());
                bytes[at] ^= 1;
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
            bytes.resize(bytes.len() + zeros, 0);
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("frames");
            std::fs::write(&path, &bytes).unwrap();
            let mut expected = Vec::new();
            let end = read(&bytes, |payload| expected.push(payload.to_vec()));
            let mut found = Vec::new();
            let mut reader = Reader::new(File::open(&path).unwrap());
            prop_assert_eq!(reader.version(*b"OTHER").unwrap(), None);
            let read = reader.read(0, |payload| found.push(payload.to_vec())).unwrap();
            prop_assert!(found == expected);
            prop_assert_eq!(read, end);
        }
    }
}
