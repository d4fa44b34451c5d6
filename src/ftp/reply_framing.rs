//! Where one reply ends and the next begins (RFC 959, 4.2). Pure.
//!
//! A reply of several lines ends with the line that repeats the first one's code, followed by a blank. Lines in between
//! may start with any number; suppaftp would take `120 users are online` for the end. So bytes pass through here first:
//! such a line gets a leading blank, as the RFC asks of servers, and a line with nothing but a code gets the blank that
//! belongs after it. Replies are passed on one at a time, so that nothing received in plain text can be read as a reply
//! once TLS has begun.

/// A code and the character after it: enough of a line to classify it.
const HEAD: usize = 4;

/// Splits a control connection's bytes into replies.
#[derive(Debug, Default)]
pub(super) struct ReplyFraming {
    received: Vec<u8>,
    /// How many bytes of `received` were passed on.
    taken: usize,
    /// The code of the multi-line reply that has begun.
    multi_line: Option<[u8; 3]>,
    line: LinePosition,
    /// No more bytes will arrive: the rest is passed on as it is.
    is_over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LinePosition {
    #[default]
    Start,
    /// In the middle of a line, which may be its reply's last.
    Within { is_last: bool },
}

impl ReplyFraming {
    /// Adds received bytes; an empty slice means that no more will arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.drain(..std::mem::take(&mut self.taken));
        self.received.extend_from_slice(bytes);
        self.is_over |= bytes.is_empty();
    }

    /// Whether all bytes were passed on.
    pub fn is_empty(&self) -> bool {
        self.taken == self.received.len()
    }

    /// The next bytes, at most `room` (which is four or more), and never of two replies; empty if more must be received
    /// first.
    pub fn take(&mut self, room: usize) -> Vec<u8> {
        let mut framed = Vec::new();
        while framed.len() < room {
            let rest = self.received.get(self.taken..).unwrap_or_default();
            let LinePosition::Within { is_last } = self.line else {
                let Some(start) = LineStart::of(rest, self.multi_line, self.is_over) else { break };
                if framed.len() + start.prefix.len() > room {
                    break;
                }
                framed.extend_from_slice(&start.prefix);
                self.taken += start.taken;
                self.multi_line = start.multi_line;
                self.line = LinePosition::Within { is_last: start.is_last };
                continue;
            };
            let end = rest.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(rest.len(), |end| end + 1).min(room - framed.len());
            framed.extend_from_slice(rest.get(..length).unwrap_or_default());
            self.taken += length;
            if end.is_none_or(|end| length <= end) {
                break;
            }
            self.line = LinePosition::Start;
            if is_last {
                break;
            }
        }
        framed
    }
}

/// What the first characters of a line say about it.
struct LineStart {
    is_last: bool,
    /// What replaces the line's first `taken` bytes.
    prefix: Vec<u8>,
    taken: usize,
    /// The state from this line on.
    multi_line: Option<[u8; 3]>,
}

impl LineStart {
    /// `None` if too little of the line has arrived.
    fn of(line: &[u8], multi_line: Option<[u8; 3]>, is_over: bool) -> Option<LineStart> {
        let is_known = line.len() >= HEAD || line.contains(&b'\n') || is_over && !line.is_empty();
        if !is_known {
            return None;
        }
        let as_it_is = |is_last, multi_line| LineStart { is_last, prefix: Vec::new(), taken: 0, multi_line };
        let code = line.first_chunk::<3>().copied().filter(|code| code.iter().all(u8::is_ascii_digit));
        let Some(code) = code else { return Some(as_it_is(multi_line.is_none(), multi_line)) };
        let is_bare = matches!(line.get(3), Some(b'\r' | b'\n'));
        let ends = is_bare || line.get(3) == Some(&b' ');
        Some(match multi_line {
            Some(opened) if !ends || opened != code => {
                let prefix = if ends { b" ".to_vec() } else { Vec::new() };
                LineStart { prefix, ..as_it_is(false, multi_line) }
            }
            None if line.get(3) == Some(&b'-') => as_it_is(false, Some(code)),
            _ if is_bare => {
                LineStart { prefix: [&code[..], b" "].concat(), taken: 3, ..as_it_is(true, None) }
            }
            _ => as_it_is(true, None),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The output for bytes that arrive in pieces of this size, followed by the end of the connection.
    fn replies(bytes: &str, piece: usize, room: usize) -> Vec<String> {
        let mut framing = ReplyFraming::default();
        let mut replies = vec![String::new()];
        for piece in bytes.as_bytes().chunks(piece).chain([&b""[..]]) {
            framing.push(piece);
            loop {
                let framed = framing.take(room);
                if framed.is_empty() {
                    break;
                }
                replies.last_mut().unwrap().push_str(std::str::from_utf8(&framed).unwrap());
                if framing.line == LinePosition::Start && framing.multi_line.is_none() {
                    replies.push(String::new());
                }
            }
        }
        assert!(framing.is_empty());
        replies.retain(|reply| !reply.is_empty());
        replies
    }

    #[test]
    fn a_reply_ends_with_its_own_code_and_a_blank() {
        let welcome = "220-Welcome\r\n120 users are online\r\n220-more\r\n22\r\n 220 x\r\n220 Ready\r\n";
        let padded = welcome.replace("\r\n120 ", "\r\n 120 ");
        for (bytes, expected) in [
            ("220 Ready\r\n", vec!["220 Ready\r\n"]),
            (welcome, vec![padded.as_str()]),
            ("230-\n500 a\n230 b\n200 c\n", vec!["230-\n 500 a\n230 b\n", "200 c\n"]),
            ("500 a\r\n226 b\r\n", vec!["500 a\r\n", "226 b\r\n"]),
            // Bare codes.
            ("226\r\n230-a\r\n230\r\n", vec!["226 \r\n", "230-a\r\n230 \r\n"]),
            ("211-Features\r\n211-SIZE\r\n211 End\r\n", vec!["211-Features\r\n211-SIZE\r\n211 End\r\n"]),
            // No reply, or no whole one.
            ("SSH-2.0\r\n\r\n", vec!["SSH-2.0\r\n", "\r\n"]),
            ("22", vec!["22"]),
            ("220-a\r\n220", vec!["220-a\r\n220"]),
        ] {
            for piece in 1..=bytes.len() {
                let whole: Vec<String> = replies(bytes, piece, 8192);
                assert_eq!(whole, expected, "{bytes:?} in pieces of {piece}");
                assert_eq!(replies(bytes, piece, 5).concat(), expected.concat(), "{bytes:?} by fives");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_held_back(lines in proptest::collection::vec("([0-9]{1,4}[- ]?)?[a-z0-9 ]{0,6}\r?\n", 0..8), piece in 1..9_usize) {
            let bytes = lines.concat();
            let without_blanks = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without_blanks(&replies(&bytes, piece, 64).concat()), without_blanks(&bytes));
        }
    }
}
