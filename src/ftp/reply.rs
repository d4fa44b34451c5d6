//! A server's reply: three digits and a text (RFC 959, 4.2), made safe to show.

use std::fmt;
use std::net::SocketAddrV4;

use jiff::Timestamp;

use super::mtime::time_val;
use crate::text::char_boundary;

/// Of a longer text only this many bytes are shown: its beginning and its end, where the relevant part usually is.
const SHOWN_BYTES: usize = 500;

/// Of a longer text only the last bytes are searched; replies that contain numbers are far shorter.
const SEARCHED_BYTES: usize = 4096;

/// A complete reply.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    /// For messages: lines joined, control characters replaced, the password removed, truncated.
    pub text: String,
    /// As received; never shown, since a server may echo what it was sent.
    raw: String,
}

impl Reply {
    /// Parses the lines of one reply; the last line's code counts. `None` if there is no code.
    ///
    /// `secret` is masked wherever the text repeats it.
    pub fn parse(body: &[u8], secret: &str) -> Option<Reply> {
        let body = String::from_utf8_lossy(body);
        let lines: Vec<&str> = body.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let code = code_of(lines.last()?)?;
        let raw = lines.iter().map(|line| without_code(line)).collect::<Vec<_>>().join(" ");
        let redacted = if secret.is_empty() { raw.clone() } else { raw.replace(secret, "***") };
        let text = shortened(&redacted.replace(char::is_control, "?"), SHOWN_BYTES);
        Some(Reply { code, text, raw: tail(&raw, SEARCHED_BYTES).to_owned() })
    }

    /// Final and positive (2xx).
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Preliminary (1xx): another reply follows.
    pub fn is_preliminary(&self) -> bool {
        self.code < 200
    }

    /// 4xx or 5xx: the command was refused and is complete.
    pub fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Whether the text begins with a digit.
    pub fn begins_with_digit(&self) -> bool {
        self.raw.trim_start().starts_with(|first: char| first.is_ascii_digit())
    }

    /// The end of a transfer without a byte, for which the server sent no reply text.
    pub fn nothing_sent() -> Reply {
        Reply { code: 226, text: "nothing to send".to_owned(), raw: String::new() }
    }

    /// The number in a reply to SIZE (RFC 3659, 4).
    pub fn size(&self) -> Option<u64> {
        self.raw.split_ascii_whitespace().next()?.parse().ok()
    }

    /// The path between the quotes of 257, in which a doubled quote is one (RFC 959, appendix II).
    pub fn quoted_path(&self) -> Option<String> {
        let mut chars = self.raw.split_once('"')?.1.chars().peekable();
        let mut path = String::new();
        while let Some(char) = chars.next() {
            match char {
                '"' if chars.peek() == Some(&'"') => {
                    chars.next();
                    path.push('"');
                }
                '"' => return Some(path),
                other => path.push(other),
            }
        }
        None
    }

    /// The time in a reply to MDTM (RFC 3659, 3).
    pub fn time(&self) -> Option<Timestamp> {
        time_val(self.raw.split_ascii_whitespace().next()?)
    }

    /// The words of all its lines, without the codes.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.raw.split_ascii_whitespace()
    }

    /// The port in a reply to EPSV, `(|||port|)` (RFC 2428, 3); the delimiter may be any character.
    pub fn extended_passive_port(&self) -> Option<u16> {
        if self.code != 229 {
            return None;
        }
        let (_, inner) = self.raw.rsplit_once('(')?;
        let mut characters = inner.chars();
        let delimiter = characters.next()?;
        let rest = characters.as_str().strip_prefix(delimiter)?.strip_prefix(delimiter)?;
        let (port, _) = rest.split_once(delimiter)?;
        port.parse().ok().filter(|port| *port != 0)
    }

    /// The address in a reply to PASV, `h1,h2,h3,h4,p1,p2` (RFC 959, 4.1.2).
    pub fn passive_address(&self) -> Option<SocketAddrV4> {
        let begin = self.raw.find(|c: char| c.is_ascii_digit())?;
        let numbers: Vec<u8> = self
            .raw
            .get(begin..)?
            .split(|c: char| !c.is_ascii_digit() && c != ',' && c != ' ')
            .next()?
            .split(',')
            .map(|number| number.trim().parse().ok())
            .collect::<Option<_>>()?;
        match numbers.as_slice() {
            [a, b, c, d, high, low] => {
                let address = SocketAddrV4::new([*a, *b, *c, *d].into(), u16::from_be_bytes([*high, *low]));
                Some(address).filter(|address| address.port() != 0)
            }
            _ => None,
        }
    }

    /// Whether the text mentions starting in the middle of a file.
    pub fn mentions_rest(&self) -> bool {
        let text = self.raw.to_ascii_lowercase();
        ["rest ", "restart", "resum", "append"].iter().any(|word| text.contains(word))
    }

    /// What the reply's text indicates. `path` is removed first: a file may be called `denied`.
    pub fn hints(&self, path: Option<&str>) -> ReplyHints {
        ReplyHints::of(&self.raw, path)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// What a reply's text indicates beyond its code; servers mean very different things by the same code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations, not a state")]
pub(super) struct ReplyHints {
    pub missing: bool,
    pub denied: bool,
    pub exists: bool,
    pub full: bool,
    pub too_many: bool,
    pub tls: bool,
    pub bad_name: bool,
    /// Another client has the file open.
    pub in_use: bool,
    /// vsftpd's last line before the session's process dies.
    pub oops: bool,
}

const MISSING: &[&str] = &[
    "no such file",
    "not found",
    "cannot find",
    "can't find",
    "not exist",
    "n't exist",
    "no such directory",
];
const DENIED: &[&str] = &[
    "permission",
    "denied",
    "not permitted",
    "prohibited",
    "forbidden",
    "not allowed",
    "read-only",
    "read only",
    "privilege",
    "unauthorized",
];
const EXISTS: &[&str] = &["exists", "already exist", "overwrite"];
const FULL: &[&str] = &[
    "no space",
    "disk full",
    "disk is full",
    "quota",
    "storage space",
    "storage alloc",
    "enough space",
    "out of space",
];
const TOO_MANY: &[&str] = &[
    "too many",
    "too much connections",
    "maximum",
    "max clients",
    "max connections",
    "max number",
    "max sessions",
    "max users",
    "connection limit",
    "connections limit",
    "session limit",
    "login limit",
    "user limit",
    "users limit",
    "client limit",
    "resource limit",
    "limit of connections",
    "limit of sessions",
    "limit on connections",
    "limit reached",
    "limit exceeded",
    "limit has been reached",
    "limit is reached",
    "limit has been exceeded",
    "reached the limit",
    "exceeded the limit",
    "exceeds the limit",
    "exceeded the number of",
    "exceeded number of",
    "exceeded the allowed",
    "exceeds the number of",
    "connections exceeded",
    "sessions exceeded",
    "logins exceeded",
    "accept more than",
    "no more connections",
    "no more users",
    "no more sessions",
    "no more logins",
    "no free slot",
    "no free connection",
    "simultaneous",
    "concurrent",
    "multiple logins",
    "multiple connections",
    "server is full",
    "server full",
    "account is in use",
    "account in use",
    "account is already in use",
    "user is already in use",
    "already connected",
    "already in use by",
    "already logged in",
    "already logged on",
];
/// Too many of these is not a session limit: the password was wrong too often.
const FAILED_LOGINS: &[&str] = &[
    "failed login",
    "failed attempt",
    "failed auth",
    "failures",
    "attempts",
    "too many tries",
    "invalid login",
    "incorrect login",
    "wrong password",
];
const TLS: &[&str] = &["tls", "ssl", "encrypt", "cleartext"];
const IN_USE: &[&str] =
    &["being used by", "file in use", "sharing violation", "resource busy", "file busy", "is locked"];
const BAD_NAME: &[&str] = &["name too long", "filename", "file name", "invalid name", "illegal"];

impl ReplyHints {
    fn of(text: &str, path: Option<&str>) -> ReplyHints {
        let words = match path {
            Some(path) if !path.is_empty() => without_paths(&text.replace(path, " ")),
            _ => text.to_owned(),
        }
        .to_ascii_lowercase();
        let any = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
        let missing = any(MISSING);
        ReplyHints {
            missing,
            denied: any(DENIED),
            exists: any(EXISTS) && !missing,
            full: any(FULL),
            too_many: any(TOO_MANY) && !any(FAILED_LOGINS),
            tls: any(TLS),
            in_use: any(IN_USE),
            bad_name: any(BAD_NAME),
            oops: words.trim_start().starts_with("oops"),
        }
    }
}

/// Servers repeat paths in their own form: any word with a slash in it is not part of the server's own text.
fn without_paths(text: &str) -> String {
    let is_path = |word: &str| word.contains('/') && !word.to_ascii_lowercase().contains("ssl/tls");
    text.split_ascii_whitespace().filter(|word| !is_path(word)).collect::<Vec<_>>().join(" ")
}

fn code_of(line: &str) -> Option<u16> {
    let digits = line.get(..3)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|code| (100..600).contains(code))
}

fn without_code(line: &str) -> &str {
    match (code_of(line), line.get(3..4)) {
        (Some(_), Some(" " | "-")) => line.get(4..).unwrap_or_default().trim_start(),
        (Some(_), None) => "",
        _ => line.trim_start(),
    }
}

fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let half = limit / 2;
    let end = char_boundary(text, half);
    format!("{} … {}", text.get(..end).unwrap_or_default(), tail(text, half))
}

fn tail(text: &str, limit: usize) -> &str {
    let begin = text.len().saturating_sub(limit);
    let begin = (begin..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

#[cfg(test)]
pub(super) fn reply(line: &str) -> Reply {
    Reply::parse(line.as_bytes(), "").unwrap()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_multi_line_reply_is_one_text_and_has_its_last_lines_code() {
        let reply = Reply::parse(b"230-Welcome\r\n to the\r\n230-house\r\n230 Logged in.\r\n", "").unwrap();
        assert_eq!((reply.code, reply.text.as_str()), (230, "Welcome to the house Logged in."));
    }

    #[test]
    fn a_password_that_the_server_repeats_is_not_shown() {
        let reply = Reply::parse(b"530 s3cret is wrong for anna\r\n", "s3cret").unwrap();
        assert_eq!(reply.text, "*** is wrong for anna");
        assert!(!format!("{reply:?} {reply}").contains("s3cret"));
    }

    #[test]
    fn a_number_is_read_although_the_password_is_one_too() {
        assert_eq!(Reply::parse(b"213 41231\r\n", "123").unwrap().size(), Some(41_231));
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(reply("550 \x1b[2Jgone\0\r\n").text, "?[2Jgone?");
    }

    #[test]
    fn a_long_text_keeps_its_begin_and_its_end() {
        let reply = reply(&format!("550 {}: No such file\r\n", "ä".repeat(900)));
        assert!(
            reply.text.len() < 520 && reply.text.starts_with('ä') && reply.text.ends_with("No such file")
        );
    }

    #[test]
    fn what_has_no_code_is_no_reply() {
        for body in ["", "\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "+22 x\r\n", "999 x\r\n", "099 x\r\n"] {
            assert_eq!(Reply::parse(body.as_bytes(), ""), None, "{body:?}");
        }
    }

    #[test]
    fn the_ports_of_passive_replies_are_read() {
        for (line, port) in [
            ("229 Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("229 (any) Extended Passive OK (!!!6446!).", Some(6446)),
            ("229 Entering Extended Passive Mode (|||0|)", None),
            ("229 Entering Extended Passive Mode (|||70000|)", None),
            ("229 Entering Extended Passive Mode", None),
        ] {
            assert_eq!(reply(line).extended_passive_port(), port, "{line}");
        }
        for (line, port) in [
            ("227 Entering Passive Mode (10,0,0,1,25,46).", Some(6446)),
            ("227 Entering Passive Mode. 10,0,0,1,25,46", Some(6446)),
            ("227 =10, 0, 0, 1, 25, 46", Some(6446)),
            ("227 Entering Passive Mode (10,0,0,1,0,0).", None),
            ("227 Entering Passive Mode (10,0,0,1,256,46).", None),
            ("227 Entering Passive Mode", None),
        ] {
            let address = reply(line).passive_address();
            assert_eq!(address.map(|address| address.port()), port, "{line}");
            assert!(address.is_none_or(|address| address.ip().octets() == [10, 0, 0, 1]));
        }
    }

    #[test]
    fn a_files_own_name_says_nothing() {
        let hints = reply("550 /exports/denied quota/f: No such file or directory")
            .hints(Some("/exports/denied quota/f"));
        assert_eq!(hints, ReplyHints { missing: true, ..ReplyHints::default() });
        let hints = reply("550 /chroot/permission/f: No such file or directory").hints(Some("permission/f"));
        assert_eq!(hints, ReplyHints { missing: true, ..ReplyHints::default() });
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_read_without_a_panic_and_shown_without_the_password(
            body in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            for prefix in ["", "550 hunter2 ", "229 (|||", "227 1,2,3,"] {
                let body = [prefix.as_bytes(), &body].concat();
                if let Some(reply) = Reply::parse(&body, "hunter2") {
                    let _ = (reply.size(), reply.passive_address(), reply.extended_passive_port(), reply.hints(Some("x")));
                    prop_assert!(reply.text.len() <= SHOWN_BYTES + 10);
                    prop_assert!(!reply.text.contains("hunter2") && !reply.text.contains(char::is_control));
                }
            }
        }
    }
}
