//! What a tool answers, cut to what an agent can afford to read.

use serde::Serialize;
use serde_json::Value;

use crate::limits;

/// Room for the remark about what was cut, beside the advice.
const REMARK_BYTES: usize = 200;

/// A tool's answer, and what may be cut from it.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// The whole of it; an object, with an optional `cut` for the remark.
    pub(super) value: T,
    /// Its lists and texts that may be cut, each with what matters most first.
    pub(super) lists: &'static [&'static str],
    /// How to get what was cut.
    pub(super) advice: String,
    /// What was left out already, by whoever made the answer.
    pub(super) left_out: Vec<String>,
    /// The largest it may be as JSON text.
    pub(super) bytes_max: usize,
}

impl<T: Serialize> Answer<T> {
    /// An answer that is small by nature.
    pub(super) fn small(value: T) -> Self {
        Self::of(value, &[], String::new())
    }

    /// An answer whose lists are cut where it is too large.
    pub(super) fn of(value: T, lists: &'static [&'static str], advice: String) -> Self {
        Self { value, lists, advice, left_out: Vec::new(), bytes_max: limits::TOOL_ANSWER_BYTES }
    }

    /// Lets the answer grow where the caller said how much it wants.
    #[must_use]
    pub(super) fn larger_if(mut self, asked: bool) -> Self {
        if asked {
            self.bytes_max = limits::TOOL_ANSWER_BYTES_MAX;
        }
        self
    }

    /// The answer as JSON, cut to size, with a remark in `cut` where something is missing.
    pub(super) fn into_json(self) -> Result<Value, serde_json::Error> {
        let mut value = serde_json::to_value(&self.value)?;
        let mut remarks = self.left_out;
        let room = self.bytes_max.saturating_sub(self.advice.len() + REMARK_BYTES);
        if size(&value) > room {
            remarks.extend(shorten(&mut value, self.lists, room));
        }
        if !remarks.is_empty() {
            value["cut"] = format!("{}; {}", remarks.join(", "), self.advice).into();
        }
        Ok(value)
    }
}

/// Shares the room fairly: small lists stay whole, large ones are cut at their ends to what is left.
/// Says what it cut.
fn shorten(value: &mut Value, fields: &[&str], room: usize) -> Vec<String> {
    let mut wholes: Vec<(usize, &str, Value)> = fields
        .iter()
        .filter_map(|field| {
            let whole = value.get_mut(field)?.take();
            Some((size(&whole), *field, whole))
        })
        .collect();
    wholes.sort_by_key(|(size, ..)| *size);
    let mut left = room.saturating_sub(size(value));
    let mut remarks = Vec::new();
    let mut waiting = wholes.len();
    for (_, field, whole) in wholes {
        let (shortened, remark) = shorten_one(whole, left / waiting);
        waiting -= 1;
        left = left.saturating_sub(size(&shortened));
        value[field] = shortened;
        remarks.extend(remark.map(|remark| format!("{field}: {remark}")));
    }
    remarks
}

fn shorten_one(whole: Value, room: usize) -> (Value, Option<String>) {
    match whole {
        Value::Array(items) => shorten_list(items, room),
        Value::String(text) => shorten_text(&text, room),
        other => (other, None),
    }
}

fn shorten_list(mut items: Vec<Value>, room: usize) -> (Value, Option<String>) {
    let total = items.len();
    let kept = fitting(items.iter().map(|item| size(item) + 1), room);
    items.truncate(kept);
    (items.into(), (kept < total).then(|| format!("{kept} of {total} shown")))
}

/// Cuts at the end of a line.
fn shorten_text(text: &str, room: usize) -> (Value, Option<String>) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let kept = fitting(lines.iter().map(|line| size(&Value::from(*line)) - 2), room);
    let shortened: String = lines[..kept].concat();
    (shortened.into(), (kept < lines.len()).then(|| format!("the first {kept} lines shown")))
}

/// How many of the first sizes fit into `room` together.
fn fitting(sizes: impl Iterator<Item = usize>, room: usize) -> usize {
    let mut used = 0;
    sizes
        .take_while(|size| {
            used += size;
            used <= room
        })
        .count()
}

/// The length of the JSON text, without writing it.
fn size(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // A counter takes everything, and a `Value` has nothing that JSON has not.
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

/// A text of somebody else's, cut where it rambles.
pub(super) fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(value: Value) -> Answer<Value> {
        Answer::of(value, &["minor", "text"], "use limit".to_owned())
    }

    #[test]
    fn a_small_answer_stays_as_it_is() {
        let value = json!({"minor": [1, 2], "text": "abc"});
        assert_eq!(answer(value.clone()).into_json().unwrap(), value);
    }

    #[test]
    fn small_lists_stay_whole_beside_large_ones() {
        let value = json!({"minor": vec!["x".repeat(100); 100], "text": "kept\n", "n": 1});
        let cut = answer(value).into_json().unwrap();
        assert!(size(&cut) <= limits::TOOL_ANSWER_BYTES);
        assert_eq!(cut["text"], "kept\n");
        let kept = cut["minor"].as_array().unwrap().len();
        assert!(kept > 50, "{kept}");
        assert_eq!(cut["cut"], format!("minor: {kept} of 100 shown; use limit"));
    }

    #[test]
    fn large_lists_share_the_room() {
        let long = |items: usize| vec!["x".repeat(100); items];
        let value = json!({"minor": long(1000), "text": long(50)});
        let cut = answer(value).into_json().unwrap();
        let kept = |field: &str| cut[field].as_array().unwrap().len();
        assert!(kept("minor") > 20 && kept("text") > 20, "{} {}", kept("minor"), kept("text"));
    }

    #[test]
    fn a_text_is_cut_at_the_end_of_a_line() {
        let value = json!({"minor": [], "text": "a line\n".repeat(2000)});
        let cut = answer(value).into_json().unwrap();
        assert!(size(&cut) <= limits::TOOL_ANSWER_BYTES);
        assert!(cut["text"].as_str().unwrap().ends_with("a line\n"));
        assert!(cut["cut"].as_str().unwrap().starts_with("text: the first "));
    }

    #[test]
    fn who_asks_for_more_gets_more() {
        let value = json!({"minor": vec!["x".repeat(100); 100], "text": ""});
        assert_eq!(answer(value.clone()).larger_if(true).into_json().unwrap(), value);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_answer_is_larger_than_its_bound(
            minor in prop::collection::vec(".{0,300}", 0..100), text in "(.{0,80}\n){0,200}"
        ) {
            let cut = answer(json!({"minor": minor, "text": text})).into_json().unwrap();
            prop_assert!(size(&cut) <= limits::TOOL_ANSWER_BYTES);
        }
    }
}
