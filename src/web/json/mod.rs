//! JSON as Prometheus writes it, to the byte: fields in a fixed order, `<`, `>` and `&` escaped as Go does,
//! numbers as Go writes them. Answers to queries are written in pieces, by [`result`](super::result).

mod numbers;

use serde_json::Value;

use crate::{model::Labels, time::Timestamp};

pub(super) use numbers::{push_exponent, push_plain, push_seconds, push_value};

/// Something that can be written as JSON.
pub(super) trait Json {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
}

/// Fields with their names, in the order in which they are written.
pub(super) struct Object<'a>(pub(super) &'a [(&'a str, &'a dyn Json)]);

/// The items of an iterator, which is gone over once for each writing.
pub(super) struct List<I>(pub(super) I);

/// A time in RFC 3339; where there is none, what Go's zero time looks like.
pub(super) struct Time(pub(super) Option<Timestamp>);

/// A value as alerts have it: a text with an exponent.
pub(super) struct AlertValue(pub(super) f64);

impl Json for Object<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, value)) in self.0.iter().enumerate() {
            separate(index, out);
            push_text(name, out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl<I: Iterator<Item: Json> + Clone> Json for List<I> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, item) in self.0.clone().enumerate() {
            separate(index, out);
            item.write(out);
        }
        out.push(b']');
    }
}

impl<T: Json> Json for [T] {
    fn write(&self, out: &mut Vec<u8>) {
        List(self.iter()).write(out);
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl Json for str {
    fn write(&self, out: &mut Vec<u8>) {
        push_page_safe(self, out);
    }
}

impl Json for String {
    fn write(&self, out: &mut Vec<u8>) {
        push_page_safe(self, out);
    }
}

impl Json for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Json for f64 {
    /// JSON has no other numbers than finite ones: `null` stands for those.
    fn write(&self, out: &mut Vec<u8>) {
        if self.is_finite() {
            push_value(*self, out);
        } else {
            out.extend_from_slice(b"null");
        }
    }
}

impl Json for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        numbers::push_whole(*self, out);
    }
}

impl Json for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        if *self < 0 {
            out.push(b'-');
        }
        self.unsigned_abs().write(out);
    }
}

impl Json for Time {
    fn write(&self, out: &mut Vec<u8>) {
        match self.0 {
            // Go leaves out zeros at the end of a fraction.
            Some(time) => match time.to_string().split_once('.') {
                Some((whole, fraction)) => {
                    let digits = fraction.trim_end_matches(['0', 'Z']);
                    let point = if digits.is_empty() { "" } else { "." };
                    format!("{whole}{point}{digits}Z").write(out);
                }
                None => time.to_string().write(out),
            },
            None => out.extend_from_slice(b"\"0001-01-01T00:00:00Z\""),
        }
    }
}

impl Json for AlertValue {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        push_exponent(self.0, out);
        out.push(b'"');
    }
}

impl Json for Labels {
    fn write(&self, out: &mut Vec<u8>) {
        pairs(self.iter(), out);
    }
}

impl Json for Value {
    /// Whole numbers, texts, lists, objects by name.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(truth) => truth.write(out),
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::String(text) => text.write(out),
            Self::Array(items) => items.write(out),
            Self::Object(fields) => {
                let fields: Vec<(&str, &dyn Json)> = fields
                    .iter()
                    .map(|(name, value)| (name.as_str(), value as &dyn Json))
                    .collect();
                Object(&fields).write(out);
            }
        }
    }
}

/// Appends an object of texts.
pub(super) fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        separate(index, out);
        push_text(name, out);
        out.push(b':');
        push_text(value, out);
    }
    out.push(b'}');
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// Appends a text as Prometheus writes labels: what JSON wants escaped, and nothing else.
pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    push_escaped(text, |_| false, out);
}

/// Appends a text as Prometheus writes all others: what could end a script on a page is escaped, too.
fn push_page_safe(text: &str, out: &mut Vec<u8>) {
    push_escaped(text, |byte| matches!(byte, b'<' | b'>' | b'&' | 0xE2), out);
}

fn push_escaped(text: &str, also: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\' || also(byte);
    let mut plain = 0;
    out.push(b'"');
    // Hardly any text has anything to escape, and to find none is done for many bytes at once.
    let any = bytes.iter().fold(false, |any, byte| any | special(*byte));
    let found = bytes.iter().enumerate().filter(|(_, byte)| any && special(**byte));
    for (at, _) in found {
        let Some((len, code)) = escape_at(bytes, at) else { continue };
        out.extend_from_slice(&bytes[plain..at]);
        push_escape(code, out);
        plain = at + len;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// How many bytes are escaped there, and which character they are. Of those beyond ASCII, the two that
/// end lines of a script are.
fn escape_at(bytes: &[u8], at: usize) -> Option<(usize, u16)> {
    match (bytes[at], bytes.get(at + 1), bytes.get(at + 2)) {
        (0xE2, Some(0x80), Some(0xA8)) => Some((3, 0x2028)),
        (0xE2, Some(0x80), Some(0xA9)) => Some((3, 0x2029)),
        (0xE2, ..) => None,
        (byte, ..) => Some((1, u16::from(byte))),
    }
}

fn push_escape(code: u16, out: &mut Vec<u8>) {
    let short = match code {
        0x22 => b'"',
        0x5C => b'\\',
        0x0A => b'n',
        0x0D => b'r',
        0x09 => b't',
        _ => {
            let hex = |shift: u16| b"0123456789abcdef"[usize::from(code >> shift & 0xF)];
            return out.extend_from_slice(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &dyn Json) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_stay_in_order() {
        let list = [1_u64, 2];
        let object = Object(&[
            ("b", &"x"),
            ("a", &-1_i64),
            ("c", &list.as_slice()),
            ("d", &0.5),
            ("e", &None::<bool>),
            ("f", &f64::NAN),
        ]);
        assert_eq!(text(&object), r#"{"b":"x","a":-1,"c":[1,2],"d":0.5,"e":null,"f":null}"#);
        assert_eq!(text(&Object(&[])), "{}");
    }

    #[test]
    fn texts_are_safe_on_a_page_and_labels_as_they_are() {
        assert_eq!(text(&"a<b>&\u{2028}é\u{8}\t\""), r#""a\u003cb\u003e\u0026\u2028é\u0008\t\"""#);
        let labels = Labels::of("up", [("a", "<\n\\")]);
        assert_eq!(text(&labels), r#"{"__name__":"up","a":"<\n\\"}"#);
    }

    #[test]
    fn times_and_alert_values_are_as_in_go() {
        assert_eq!(text(&Time(None)), "\"0001-01-01T00:00:00Z\"");
        let time = |millis| text(&Time(Some(Timestamp::from_millis(millis))));
        assert_eq!(time(0), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(time(20_050), "\"1970-01-01T00:00:20.05Z\"");
        assert_eq!(text(&AlertValue(81.5)), "\"8.15e+01\"");
    }

    #[test]
    fn trees_are_written_by_name() {
        assert_eq!(text(&json!({"b": [1, null], "a": "<"})), r#"{"a":"\u003c","b":[1,null]}"#);
    }

    proptest! {
        #[test]
        fn every_text_is_read_again(given: String) {
            prop_assert_eq!(&serde_json::from_str::<String>(&text(&given)).unwrap(), &given);
            let mut label = Vec::new();
            push_text(&given, &mut label);
            prop_assert_eq!(&serde_json::from_slice::<String>(&label).unwrap(), &given);
        }
    }
}
