//! A column of whole numbers.
//!
//! A number is foretold from those before it in one of four ways, whichever leaves the least; what is
//! left over is counted from its lowest in units of its greatest common divisor; and that is packed,
//! or handed to pco where that makes it smaller.

use super::{
    DamagedChunk,
    bytes::{bits, get_signed, get_unsigned, put_signed, put_unsigned, take_byte, zigzag},
    packed::{self, Unpacker},
    squeezed,
};

/// How much work a column is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Effort {
    /// Packed only, for what stays in memory for hours.
    Quick,
    /// As small as can be, for what stays on disk for months.
    Thorough,
}

/// How a number is foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forecast {
    /// Not at all.
    Nothing,
    /// As the number before.
    Same,
    /// As far from the number before as that was from the one before it.
    SameStep,
    /// From the first number on, by the same step at a time.
    Line { step: i64 },
}

/// The tag's bits: two for the forecast, two for the storage, one for a unit that is not 1, and above
/// them what the storage likes.
const FORECAST: u8 = 0b11;
const STORAGE: u8 = 0b1100;
const EQUAL: u8 = 0;
const PACKED: u8 = 0b0100;
const PATCHED: u8 = 0b1000;
const SQUEEZED: u8 = 0b1100;
const UNIT: u8 = 0b1_0000;
const WIDTH_SHIFT: u32 = 5;

/// How many numbers are decoded at a time.
pub(super) const BATCH: usize = squeezed::BATCH;
/// Fewer numbers than this are not worth pco's tables.
const SQUEEZED_MIN: usize = 24;
/// What pco needs for its tables at least, in bytes.
const SQUEEZED_HEAD: usize = 8;

/// Appends a column of at least one number.
pub(super) fn encode(numbers: &[i64], effort: Effort, out: &mut Vec<u8>) {
    let Some(&first) = numbers.first() else { return };
    let forecast = choose(numbers);
    let left = leftovers(numbers, forecast);
    let tag_at = out.len();
    out.push(forecast.tag());
    match forecast {
        Forecast::Nothing => {}
        Forecast::Same => put_signed(first, out),
        Forecast::SameStep => {
            put_signed(first, out);
            put_signed(step(numbers), out);
        }
        Forecast::Line { step } => {
            put_signed(first, out);
            put_signed(step, out);
        }
    }
    let tag = put_leftovers(&left, effort, out);
    out[tag_at] |= tag;
}

/// The first step of a column; 0 of a single number.
fn step(numbers: &[i64]) -> i64 {
    numbers.get(1).map_or(0, |second| second.wrapping_sub(numbers[0]))
}

impl Forecast {
    fn tag(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Same => 1,
            Self::SameStep => 2,
            Self::Line { .. } => 3,
        }
    }
}

/// The forecast that seems to leave the fewest bits.
fn choose(numbers: &[i64]) -> Forecast {
    let [first, .., last] = *numbers else { return Forecast::Nothing };
    let step = step(numbers);
    if numbers.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        return if step == 0 { Forecast::Nothing } else { Forecast::Same };
    }
    let mean = (i128::from(last) - i128::from(first)) / (numbers.len() as i128 - 1);
    let mean = i64::try_from(mean).unwrap_or_default();
    let [nothing, same, same_step, line] = costs(numbers, mean);
    // In doubt the one that decodes faster; a line must show that it pays for its step.
    let mut best = (nothing, Forecast::Nothing);
    let rivals = [
        (same, Forecast::Same),
        (same_step, Forecast::SameStep),
        (line + 32, Forecast::Line { step: mean }),
    ];
    for rival in rivals {
        best = if rival.0 < best.0 { rival } else { best };
    }
    best.1
}

/// How many bits the four forecasts leave, about: the lengths of what is left, each from a middle.
fn costs(numbers: &[i64], mean: i64) -> [u64; 4] {
    let len = |number: i64| u64::from(bits(zigzag(number)));
    let steps = numbers.len() - 1;
    let middle_step = middle(steps, |at| numbers[at + 1].wrapping_sub(numbers[at]));
    let middle = middle(numbers.len(), |at| numbers[at]);
    let (mut before, mut step, mut line) = (numbers[0], middle_step, numbers[0]);
    let mut costs = [0; 4];
    for &number in &numbers[1..] {
        let distance = number.wrapping_sub(before);
        line = line.wrapping_add(mean);
        costs[0] += len(number.wrapping_sub(middle));
        costs[1] += len(distance.wrapping_sub(middle_step));
        costs[2] += len(distance.wrapping_sub(step));
        costs[3] += len(number.wrapping_sub(line));
        (before, step) = (number, distance);
    }
    // Each difference taken adds the noise of two numbers; lengths alone do not show all of it.
    costs[2] += steps as u64 / 2;
    costs
}

/// A number in the midst of `count` others: the median of nine of them.
fn middle(count: usize, number: impl Fn(usize) -> i64) -> i64 {
    let mut some = [0; 9];
    for (at, place) in some.iter_mut().enumerate() {
        *place = number(at * (count - 1) / 8);
    }
    some.sort_unstable();
    some[4]
}

/// What the forecast leaves of each number that is not itself part of it.
fn leftovers(numbers: &[i64], forecast: Forecast) -> Vec<i64> {
    let steps = || numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    match forecast {
        Forecast::Nothing => numbers.to_vec(),
        Forecast::Same => steps().collect(),
        Forecast::SameStep => {
            steps().zip(steps().skip(1)).map(|(before, step)| step.wrapping_sub(before)).collect()
        }
        Forecast::Line { step } => {
            let mut line = numbers[0];
            let left = numbers[1..].iter().map(|number| {
                line = line.wrapping_add(step);
                number.wrapping_sub(line)
            });
            left.collect()
        }
    }
}

/// Appends what the forecast left, and gives the tag's bits for it.
fn put_leftovers(left: &[i64], effort: Effort, out: &mut Vec<u8>) -> u8 {
    let lowest = left.iter().copied().min().unwrap_or_default();
    if left.iter().all(|number| *number == lowest) {
        put_signed(lowest, out);
        return EQUAL;
    }
    let mut numbers: Vec<u64> =
        left.iter().map(|number| number.wrapping_sub(lowest).cast_unsigned()).collect();
    let unit = reduce(&mut numbers);
    let plan = packed::plan(&numbers);
    let tag = if unit == 1 { 0 } else { UNIT };
    let put_head = |base: u64, out: &mut Vec<u8>| {
        put_signed(lowest.wrapping_add(base.wrapping_mul(unit).cast_signed()), out);
        if unit != 1 {
            put_unsigned(unit, out);
        }
    };
    let start = out.len();
    let worth_it = numbers.len() >= SQUEEZED_MIN && plan.len > SQUEEZED_HEAD;
    if effort == Effort::Thorough && worth_it {
        put_head(0, out);
        if let Some(width) = squeezed::encode(&numbers, out)
            && out.len() - start < plan.len + 4
        {
            return SQUEEZED | tag | width << WIDTH_SHIFT;
        }
        out.truncate(start);
    }
    put_head(plan.base, out);
    packed::encode(&numbers, &plan, out);
    tag | if plan.exceptions > 0 { PATCHED } else { PACKED }
}

/// Divides the numbers, some of which are not zero, by their greatest common divisor, which it gives.
fn reduce(numbers: &mut [u64]) -> u64 {
    let mut unit = 0;
    for &number in &*numbers {
        unit = gcd(number, unit);
        if unit == 1 {
            return 1;
        }
    }
    let shift = unit.trailing_zeros();
    for number in numbers {
        // Shifting is much cheaper, and most units are pages or sectors.
        *number = if unit.is_power_of_two() { *number >> shift } else { *number / unit };
    }
    unit
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Takes a column of `count` numbers, at least one, and hands it on in order, batch by batch.
pub(super) fn decode(
    bytes: &mut &[u8],
    count: usize,
    mut sink: impl FnMut(&[i64]),
) -> Result<(), DamagedChunk> {
    let tag = take_byte(bytes)?;
    let mut teller = Teller::read(tag, bytes)?;
    let known = teller.known().min(count);
    if known > 0 {
        sink(&teller.first_numbers()[..known]);
    }
    let base = get_signed(bytes)?;
    let unit = if tag & UNIT == 0 { 1 } else { get_unsigned(bytes)? };
    let mut batch = |numbers: &mut [i64]| {
        for number in &mut *numbers {
            *number = number.wrapping_mul(unit.cast_signed()).wrapping_add(base);
        }
        teller.restore(numbers);
        sink(numbers);
    };
    let left = count - known;
    match tag & STORAGE {
        EQUAL => in_batches(left, |numbers| {
            numbers.fill(0);
            batch(numbers);
            Ok(())
        }),
        SQUEEZED => squeezed::decode(bytes, tag >> WIDTH_SHIFT, left, batch),
        storage => {
            let mut unpacker = Unpacker::new(bytes, left, storage == PATCHED)?;
            in_batches(left, |numbers| {
                unpacker.read(numbers)?;
                batch(numbers);
                Ok(())
            })
        }
    }
}

fn in_batches(
    count: usize,
    mut fill: impl FnMut(&mut [i64]) -> Result<(), DamagedChunk>,
) -> Result<(), DamagedChunk> {
    let mut buffer = [0; BATCH];
    let mut left = count;
    while left > 0 {
        let now = left.min(BATCH);
        fill(&mut buffer[..now])?;
        left -= now;
    }
    Ok(())
}

/// A forecast at work: what it knows of the numbers before.
struct Teller {
    forecast: Forecast,
    before: i64,
    step: i64,
}

impl Teller {
    fn read(tag: u8, bytes: &mut &[u8]) -> Result<Self, DamagedChunk> {
        let kind = tag & FORECAST;
        let before = if kind == 0 { 0 } else { get_signed(bytes)? };
        let step = if kind < 2 { 0 } else { get_signed(bytes)? };
        let forecast = match kind {
            0 => Forecast::Nothing,
            1 => Forecast::Same,
            2 => Forecast::SameStep,
            _ => Forecast::Line { step },
        };
        Ok(Self { forecast, before, step })
    }

    /// How many numbers are part of the forecast itself.
    fn known(&self) -> usize {
        match self.forecast {
            Forecast::Nothing => 0,
            Forecast::Same | Forecast::Line { .. } => 1,
            Forecast::SameStep => 2,
        }
    }

    /// Those numbers, where there are as many; and makes the last of them the one before.
    fn first_numbers(&mut self) -> [i64; 2] {
        let first = self.before;
        if self.forecast == Forecast::SameStep {
            self.before = first.wrapping_add(self.step);
        }
        [first, self.before]
    }

    /// From what was left to the numbers.
    fn restore(&mut self, numbers: &mut [i64]) {
        let Self { before, step, .. } = self;
        match self.forecast {
            Forecast::Nothing => {}
            Forecast::Same => {
                for number in numbers {
                    *before = before.wrapping_add(*number);
                    *number = *before;
                }
            }
            Forecast::SameStep => {
                for number in numbers {
                    *step = step.wrapping_add(*number);
                    *before = before.wrapping_add(*step);
                    *number = *before;
                }
            }
            Forecast::Line { step } => {
                for number in numbers {
                    *before = before.wrapping_add(step);
                    *number = number.wrapping_add(*before);
                }
            }
        }
    }
}
