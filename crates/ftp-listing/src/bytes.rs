//! Fields of a line: runs of non-blank bytes, with their positions.

/// How many fields of one line are examined; the date is always among them.
const MAX_FIELDS: usize = 32;

pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

pub fn trim_start(bytes: &[u8]) -> &[u8] {
    let begin = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    bytes.get(begin..).unwrap_or_default()
}

pub fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// How many blanks `bytes` starts with.
pub fn leading_blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}

pub fn is_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

/// A decimal number that consists of digits only.
pub fn number(bytes: &[u8]) -> Option<u64> {
    if !is_digits(bytes) {
        return None;
    }
    let mut value: u64 = 0;
    for digit in bytes {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// A size in bytes: digits, with or without thousands separators. A negative, rounded (`33.5k`) or larger value than
/// 2^63 is not one.
pub fn size(field: &[u8]) -> Option<u64> {
    let value = match number(field) {
        Some(value) => value,
        None => grouped(field)?,
    };
    i64::try_from(value).is_ok().then_some(value)
}

/// `9,730` or `1.234.567`: groups of three digits after the first one.
fn grouped(field: &[u8]) -> Option<u64> {
    let separator = *field.iter().find(|byte| !byte.is_ascii_digit())?;
    if !matches!(separator, b',' | b'.' | b'\'') {
        return None;
    }
    let mut groups = field.split(|byte| *byte == separator);
    let first = groups.next()?;
    if first.len() > 3 || !is_digits(first) {
        return None;
    }
    let mut digits = first.to_vec();
    for group in groups {
        if group.len() != 3 || !is_digits(group) {
            return None;
        }
        digits.extend_from_slice(group);
    }
    number(&digits)
}

/// The position of `wanted` in `bytes`.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

/// A line, split at its blanks.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub line: &'a [u8],
    spans: [(u32, u32); MAX_FIELDS],
    count: usize,
}

impl<'a> Fields<'a> {
    pub fn of(line: &'a [u8]) -> Self {
        let mut fields = Fields { line, spans: [(0, 0); MAX_FIELDS], count: 0 };
        let mut begin = None;
        for (at, byte) in line.iter().enumerate() {
            match (is_blank(*byte), begin) {
                (false, None) => begin = Some(at),
                (true, Some(from)) => {
                    begin = None;
                    if !fields.push(from, at) {
                        return fields;
                    }
                }
                _ => {}
            }
        }
        if let Some(from) = begin {
            fields.push(from, line.len());
        }
        fields
    }

    fn push(&mut self, from: usize, to: usize) -> bool {
        let (Some(span), Ok(from), Ok(to)) =
            (self.spans.get_mut(self.count), u32::try_from(from), u32::try_from(to))
        else {
            return false;
        };
        *span = (from, to);
        self.count += 1;
        true
    }

    pub fn len(&self) -> usize {
        self.count
    }

    fn span(&self, index: usize) -> Option<(usize, usize)> {
        let (from, to) = *self.spans.get(..self.count)?.get(index)?;
        Some((from as usize, to as usize))
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (from, to) = self.span(index)?;
        self.line.get(from..to)
    }

    /// The field at this index; empty if there is none.
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    pub fn start(&self, index: usize) -> usize {
        self.span(index).map_or(self.line.len(), |(from, _)| from)
    }

    pub fn end(&self, index: usize) -> usize {
        self.span(index).map_or(self.line.len(), |(_, to)| to)
    }

    /// Everything after a field, including blanks.
    pub fn after(&self, index: usize) -> &'a [u8] {
        self.line.get(self.end(index)..).unwrap_or_default()
    }

    /// How many blanks precede a field.
    pub fn gap_before(&self, index: usize) -> usize {
        let end = if index == 0 { 0 } else { self.end(index - 1) };
        self.start(index).saturating_sub(end)
    }
}
