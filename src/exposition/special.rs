//! NaNs in OpenMetrics, which has one word for them, in whatever case.
//!
//! Its grammar and the parsers take the letters in any case. So the case tells which NaN it is; the
//! three ways in which other programs write the word (`NaN`, `nan`, `NAN`) mean any.

use super::value::push_text_value;
use crate::model::STALE_NAN_BITS;

/// Words, and the NaNs that they are read as; of those with the same bits the first is written.
const WORDS: [(&str, u64); 6] = [
    ("NaN", PLAIN),
    ("nAn", STALE_NAN_BITS),
    // What Prometheus and Go take for the usual one …
    ("naN", 0x7ff8_0000_0000_0001),
    // … and what x86 processors give for 0/0.
    ("nAN", 0xfff8_0000_0000_0000),
    ("nan", PLAIN),
    ("NAN", PLAIN),
];

/// Rust's.
const PLAIN: u64 = f64::NAN.to_bits();

/// Appends a value; tells whether it can be read again bit by bit.
pub(super) fn push_open_value(value: f64, out: &mut Vec<u8>) -> bool {
    if !value.is_nan() {
        push_text_value(value, out);
        return true;
    }
    let word = WORDS.iter().find(|(_, bits)| *bits == value.to_bits());
    out.extend_from_slice(word.map_or("NaN", |(word, _)| word).as_bytes());
    word.is_some()
}

/// The inverse of [`push_open_value`]; takes any usual way to write a number.
pub(super) fn open_value(text: &str) -> Option<f64> {
    let word = WORDS.iter().find(|(word, _)| *word == text);
    word.map(|(_, bits)| f64::from_bits(*bits)).or_else(|| text.parse().ok())
}
