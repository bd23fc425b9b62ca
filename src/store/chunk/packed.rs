//! Numbers packed at one width, with exceptions for those that are too wide.
//!
//! One odd number among many small ones, a counter's reset say, must not widen all the others. So the
//! width is the one that makes the whole smallest, and what does not fit stands in a list of its own.

use super::{
    DamagedChunk,
    bytes::{
        bits, get_signed, get_unsigned, low_byte, put_signed, put_unsigned, take, take_byte,
        take_count,
    },
};

/// The widest field that one read of eight bytes can hold at any bit; wider numbers take 64.
const WIDTH_MAX: u32 = 57;
/// A histogram's place for what no width holds: numbers below the base.
const BELOW: usize = 65;

/// How a run of numbers is to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is subtracted from each.
    pub(super) base: u64,
    width: u32,
    /// How many numbers do not fit.
    pub(super) exceptions: usize,
    /// What the packed numbers and the exceptions take, about.
    pub(super) len: usize,
}

/// The best plan for `numbers`: counted from zero, from the second lowest, or from the one that most
/// of them are.
pub(super) fn plan(numbers: &[u64]) -> Plan {
    let Known { low, second, high, major } = know(numbers);
    let mut best = plan_from(low, numbers);
    let narrower = |base: u64| bits(high - base) + 1 < bits(high - low);
    for base in [second, major] {
        // A base pays where it makes the range much smaller, or where nearly all numbers are the base.
        if base != low && best.len > 0 && (base == major || narrower(base)) {
            let other = plan_from(base, numbers);
            best = if other.len < best.len { other } else { best };
        }
    }
    best
}

/// What one look at the numbers tells.
struct Known {
    low: u64,
    /// The lowest of those that are not `low`.
    second: u64,
    high: u64,
    /// The number that more than half of them are, if there is one.
    major: u64,
}

fn know(numbers: &[u64]) -> Known {
    let mut known = Known { low: u64::MAX, second: u64::MAX, high: 0, major: 0 };
    let mut lead = 0_u32;
    for &number in numbers {
        if number < known.low {
            known.second = known.low;
            known.low = number;
        } else if number > known.low {
            known.second = known.second.min(number);
        }
        known.high = known.high.max(number);
        // Boyer and Moore's vote (MJRTY, 1981).
        if lead == 0 {
            known.major = number;
        }
        lead = if number == known.major { lead + 1 } else { lead.saturating_sub(1) };
    }
    known.second = known.second.min(known.high);
    // Without a clear lead, the vote says nothing.
    if (lead as usize) * 4 < numbers.len() {
        known.major = known.low;
    }
    known
}

fn plan_from(base: u64, numbers: &[u64]) -> Plan {
    let mut lens = [0_usize; BELOW + 1];
    for &number in numbers {
        lens[if number < base { BELOW } else { bits(number - base) as usize }] += 1;
    }
    let mut best = Plan { base, width: 64, exceptions: 0, len: usize::MAX };
    let (mut exceptions, mut listed) = (0, 0);
    // From the widest down; each step makes exceptions of what is one bit wider.
    for width in (0..=64_u8).rev() {
        let wider = usize::from(width) + 1;
        exceptions += lens[wider];
        // A number below the base has a distance as long as it likes: three bytes, say.
        let each = if wider == BELOW { 4 } else { 1 + (wider + 1).div_ceil(7) };
        listed += lens[wider] * each;
        let width = u32::from(width);
        let len = (numbers.len() * width as usize).div_ceil(8) + listed;
        if len < best.len && (width <= WIDTH_MAX || (width == 64 && exceptions == 0)) {
            best = Plan { base, width, exceptions, len };
        }
    }
    best
}

/// Appends the numbers by the plan: the width, the list of exceptions where the plan has some, and
/// the packed numbers.
pub(super) fn encode(numbers: &[u64], plan: &Plan, out: &mut Vec<u8>) {
    out.push(low_byte(plan.width.into()));
    let (base, mask) = (plan.base, mask(plan.width));
    let fits = |number: u64| number >= base && number - base <= mask;
    if plan.exceptions > 0 {
        put_unsigned(plan.exceptions as u64, out);
        let mut next = 0;
        for (at, &number) in numbers.iter().enumerate().filter(|(_, number)| !fits(**number)) {
            put_unsigned((at - next) as u64, out);
            put_signed(number.wrapping_sub(base).cast_signed(), out);
            next = at + 1;
        }
    }
    let packed = numbers.iter().map(|&n| if fits(n) { n - base } else { 0 });
    pack(packed, plan.width, out);
}

fn mask(width: u32) -> u64 {
    1_u64.checked_shl(width).map_or(u64::MAX, |above| above - 1)
}

fn pack(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 64 {
        out.extend(numbers.flat_map(u64::to_le_bytes));
        return;
    }
    let (mut held, mut count) = (0_u128, 0);
    for number in numbers {
        held |= u128::from(number) << count;
        count += width;
        if count >= 64 {
            out.extend_from_slice(&held.to_le_bytes()[..8]);
            held >>= 64;
            count -= 64;
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..count.div_ceil(8) as usize]);
}

/// Packed numbers that are read batch by batch; each is its distance from the base, wrapping.
pub(super) struct Unpacker<'a> {
    packed: &'a [u8],
    width: u32,
    /// The next number to read.
    at: usize,
    /// The list of exceptions that are left, and how many.
    exceptions: (&'a [u8], usize),
    /// Where the next exception stands.
    next_exception: usize,
}

impl<'a> Unpacker<'a> {
    /// Takes what [`encode`] wrote of `count` numbers.
    pub(super) fn new(
        bytes: &mut &'a [u8],
        count: usize,
        with_exceptions: bool,
    ) -> Result<Self, DamagedChunk> {
        let width = u32::from(take_byte(bytes)?);
        if width > WIDTH_MAX && width != 64 {
            return Err(DamagedChunk);
        }
        let mut exceptions = (&[][..], 0);
        if with_exceptions {
            let many = take_count(bytes, count)?;
            let list = *bytes;
            for _ in 0..many {
                get_unsigned(bytes)?;
                get_unsigned(bytes)?;
            }
            exceptions = (list, many);
        }
        let packed = take(bytes, (count * width as usize).div_ceil(8))?;
        let mut unpacker = Self { packed, width, at: 0, exceptions, next_exception: 0 };
        unpacker.next_exception = unpacker.find_exception(0)?;
        Ok(unpacker)
    }

    /// The next numbers of the run, as many as `out` is long.
    pub(super) fn read(&mut self, out: &mut [i64]) -> Result<(), DamagedChunk> {
        unpack(self.packed, self.width, self.at, out);
        let end = self.at + out.len();
        while self.next_exception < end {
            let place = out.get_mut(self.next_exception - self.at).ok_or(DamagedChunk)?;
            *place = get_signed(&mut self.exceptions.0)?;
            self.next_exception = self.find_exception(self.next_exception + 1)?;
        }
        self.at = end;
        Ok(())
    }

    /// Where the next exception at or after `from` stands.
    fn find_exception(&mut self, from: usize) -> Result<usize, DamagedChunk> {
        let Some(left) = self.exceptions.1.checked_sub(1) else { return Ok(usize::MAX) };
        self.exceptions.1 = left;
        let gap = take_count(&mut self.exceptions.0, usize::MAX)?;
        from.checked_add(gap).ok_or(DamagedChunk)
    }
}

/// Reads numbers of `width` bits from number `first` on. `packed` holds them all.
fn unpack(packed: &[u8], width: u32, first: usize, out: &mut [i64]) {
    let width = width as usize;
    if width == 64 {
        for (place, bytes) in out.iter_mut().zip(packed.chunks_exact(8).skip(first)) {
            *place = bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
        }
        return;
    }
    if width == 0 {
        return out.fill(0);
    }
    let mask = (1_u64 << width) - 1;
    let mut bit = first * width;
    // Those that begin at least eight bytes before the end.
    let whole = (packed.len().saturating_sub(7) * 8).div_ceil(width).saturating_sub(first);
    let (whole, rest) = out.split_at_mut(whole.min(out.len()));
    for place in whole {
        let word = packed.get(bit / 8..).and_then(<[u8]>::first_chunk).copied();
        *place = (u64::from_le_bytes(word.unwrap_or_default()) >> (bit % 8) & mask).cast_signed();
        bit += width;
    }
    let start = bit / 8;
    let word = last_word(packed, start);
    for place in rest {
        *place = (word >> (bit - start * 8) & mask).cast_signed();
        bit += width;
    }
}

/// The bytes from `at` on, of which there are fewer than eight.
fn last_word(packed: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    let left = packed.get(at..).unwrap_or_default();
    let len = left.len().min(8);
    word[..len].copy_from_slice(&left[..len]);
    u64::from_le_bytes(word)
}
