//! Reads a client's file, and no more of it than is sensible.

use std::{fs::File, io, io::Read, path::Path};

/// Largest file that is read. Claude Code keeps its history in the same file as its servers.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The bytes of `path`; `None` where there is no such file. The error is in words.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| take(file, &mut bytes)) {
        Ok(()) if bytes.len() as u64 > FILE_BYTES_MAX => {
            Err(format!("larger than {FILE_BYTES_MAX} bytes: not read"))
        }
        Ok(()) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn take(file: File, bytes: &mut Vec<u8>) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        // A pipe could keep us for ever.
        return Err(io::Error::other("not a regular file"));
    }
    file.take(FILE_BYTES_MAX + 1).read_to_end(bytes).map(drop)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Where JSON is broken, and how.
pub(super) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("line {}, column {}: {what}", error.line(), error.column())
}
