//! The kinds of values a key takes: one reading for the files and the environment alike.

use std::net::Ipv6Addr;
use std::time::Duration;

use jiff::tz::Offset;

use super::encoding::NameEncoding;
use super::{duration, size};

/// What a key takes. Reading, ranges, error texts and the documentation all come from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of 1 to [`MAX_TEXT_BYTES`] bytes without control characters.
    Text,
    /// A line that goes into an FTP command or a greeting: like text, but may be empty, and is never shown.
    Secret,
    /// The name of a Kafka topic.
    Topic,
    /// Brokers, `host:port` each.
    Servers,
    /// A host's name or address.
    Host,
    Number {
        min: u64,
        max: u64,
    },
    Time {
        min: Duration,
        max: Duration,
    },
    Size {
        min: u64,
        max: u64,
    },
    Flag,
    /// One of `known`; `later` are names that are agreed on and not in this version.
    Choice {
        known: &'static [&'static str],
        later: &'static [&'static str],
    },
    /// An absolute path.
    Path,
    /// The URL of a collector of traces.
    Collector,
    /// Fingerprints of certificates.
    Pins,
    /// The label of a charset in which ASCII is ASCII.
    Charset,
    /// Classes of characters, as rclone names them.
    Encoding,
    /// A clock's offset from UTC.
    TimeOffset,
}

/// Bytes of a text at most; the longest that a Kafka group or a host may have is shorter.
pub const MAX_TEXT_BYTES: usize = 255;

/// Bytes of a secret at most: servers cut command lines at 512 to 4,096 bytes.
pub const MAX_SECRET_BYTES: usize = 1024;

/// Characters of a topic's name at most (Kafka's own limit).
const MAX_TOPIC_CHARS: usize = 249;

/// Brokers in the list at most.
const MAX_SERVERS: usize = 100;

/// A value that fits its kind.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    Number(u64),
    Time(Duration),
    Flag(bool),
}

impl Kind {
    /// Reads one value. The error says what was found (never a secret) and what would be right.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Text => checked_text(text).map(Value::Text),
            Kind::Secret => checked_secret(text).map(Value::Text),
            Kind::Topic => topic(text).map(Value::Text),
            Kind::Servers => self.read_list(text.split(',')),
            Kind::Host => host(text).map(Value::Text),
            Kind::Number { min, max } => match text.trim().parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
                _ => Err(self.expected(text)),
            },
            Kind::Time { min, max } => match duration::parse(text) {
                Some(time) if (min..=max).contains(&time) => Ok(Value::Time(time)),
                _ => Err(self.expected(text)),
            },
            Kind::Size { min, max } => match size::parse(text) {
                Some(size) if (min..=max).contains(&size) => Ok(Value::Number(size)),
                _ => Err(self.expected(text)),
            },
            Kind::Flag => flag(text).map(Value::Flag).ok_or_else(|| self.expected(text)),
            Kind::Choice { known, later } => choice(text, known, later).map(Value::Text),
            Kind::Path => path(text).map(Value::Text),
            Kind::Collector => collector(text).map(Value::Text),
            Kind::Charset => charset(text).map(|_| Value::Text(text.to_owned())),
            Kind::Encoding => NameEncoding::parse(text).map(|_| Value::Text(text.to_owned())),
            Kind::TimeOffset => match time_offset(text) {
                Some(_) => Ok(Value::Text(text.to_owned())),
                None => Err(self.expected(text)),
            },
            Kind::Pins => Ok(Value::Text(text.to_owned())),
        }
    }

    /// Reads a list: of brokers; any other kind takes one value only.
    pub(super) fn read_list<'a>(self, items: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        if self != Kind::Servers {
            return Err(format!("is a list; expected {}", self.describe()));
        }
        let servers: Vec<String> = items.map(server).collect::<Result<_, _>>()?;
        match servers.len() {
            0 => Err("is an empty list; expected host:port, host:port".to_owned()),
            n if n > MAX_SERVERS => {
                Err(format!("lists {n} brokers; {MAX_SERVERS} are enough to find the others"))
            }
            _ => Ok(Value::List(servers)),
        }
    }

    /// What the documentation and the error texts say a key takes.
    pub fn describe(self) -> String {
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Secret => "secret text".to_owned(),
            Kind::Topic => "a topic's name".to_owned(),
            Kind::Servers => "list of host:port".to_owned(),
            Kind::Host => "a host's name or address".to_owned(),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Time { min, max } => {
                format!("a duration from {} to {}", duration::show(min), duration::show(max))
            }
            Kind::Size { min, max } => format!("a size from {} to {}", size::show(min), size::show(max)),
            Kind::Flag => "true or false".to_owned(),
            Kind::Choice { known, .. } => known.join(" or "),
            Kind::Path => "an absolute path".to_owned(),
            Kind::Collector => "http://host:port".to_owned(),
            Kind::Charset => "a charset in which ASCII is ASCII".to_owned(),
            Kind::Encoding => "classes of characters".to_owned(),
            Kind::TimeOffset => "an offset from UTC, from -12:00 to +14:00".to_owned(),
            Kind::Pins => "fingerprints (SHA-256)".to_owned(),
        }
    }

    fn expected(self, found: &str) -> String {
        let hint = match self {
            Kind::Time { .. } => " (such as 90, 1m30s or 300ms; a plain number is seconds)",
            Kind::Size { .. } => " (such as 64Mi; a plain number is bytes)",
            _ => "",
        };
        format!("found {}; expected {}{hint}", quoted(found), self.describe())
    }
}

/// A found value in an error text, cut where it is long. One with an `@` may hold a user and a password
/// (`ftp://user:password@host`) and is not shown.
pub(super) fn quoted(found: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    if found.contains('@') {
        return "a text with `@`".to_owned();
    }
    let shown: String = found.chars().take(SHOWN_CHARS).collect();
    let more = if found.chars().count() > SHOWN_CHARS { "…" } else { "" };
    format!("`{shown}{more}`")
}

fn checked_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("has {} bytes; expected {MAX_TEXT_BYTES} at most", text.len()));
    }
    no_control_characters(text)?;
    Ok(text.to_owned())
}

fn checked_secret(text: &str) -> Result<String, String> {
    if text.len() > MAX_SECRET_BYTES {
        return Err(format!("has {} bytes; expected {MAX_SECRET_BYTES} at most", text.len()));
    }
    no_control_characters(text)?;
    Ok(text.to_owned())
}

/// CR, LF and NUL would end the FTP command that the text stands in, and begin another.
fn no_control_characters(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some('\r' | '\n') => Err("holds a line break".to_owned()),
        Some('\0') => Err("holds a NUL".to_owned()),
        Some(_) => Err("holds a control character".to_owned()),
        None => Ok(()),
    }
}

fn topic(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_TOPIC_CHARS).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits {
        return Ok(text.to_owned());
    }
    Err(format!(
        "found {}; expected a topic's name: 1 to {MAX_TOPIC_CHARS} letters, digits, `.`, `_`, `-`",
        quoted(text)
    ))
}

fn server(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = || Err(format!("found {}; expected host:port, such as kafka:9092", quoted(text)));
    // librdkafka takes `SSL://host:port`, too.
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if address.parse::<Ipv6Addr>().is_err() => (host, port),
        _ => (address, "9092"),
    };
    let is_host = |c: char| c.is_alphanumeric() || ".-_:[]%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return wrong();
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => wrong(),
    }
}

fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let text = checked_text(text)?;
    if text.contains("://") || text.contains(['/', '@']) {
        return Err(format!(
            "found {}; expected the host alone, without scheme, user or path",
            quoted(&text)
        ));
    }
    if bare.contains(':') && bare.parse::<Ipv6Addr>().is_err() {
        return Err(format!(
            "found {}; expected the host alone: the port has a key of its own",
            quoted(&text)
        ));
    }
    if bare.is_empty() || bare.contains(char::is_whitespace) {
        return Err(format!("found {}; expected a host's name or address", quoted(&text)));
    }
    Ok(bare.to_owned())
}

/// A URL with a path: OTLP's own where none is given.
fn collector(text: &str) -> Result<String, String> {
    let text = checked_text(text)?;
    let wrong =
        || format!("found {}; expected http://host:port, such as http://collector:4318", quoted(&text));
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() || authority.starts_with(':') || text.contains(['@', ' ', '?', '#']) {
        return Err(wrong());
    }
    let path = if matches!(path, "" | "/") { "/v1/traces" } else { path };
    Ok(format!("http://{authority}{path}"))
}

/// What rclone (Go's `strconv.ParseBool`) takes, in any case.
fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

fn choice(text: &str, known: &[&str], later: &[&str]) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    if known.contains(&lower.as_str()) {
        return Ok(lower);
    }
    if later.contains(&lower.as_str()) {
        return Err(format!("{} is not in this version; expected {}", quoted(text), known.join(" or ")));
    }
    Err(format!("found {}; expected {}", quoted(text), known.join(" or ")))
}

/// `+02:00`, `-0330` or `Z`, as far as clocks have it.
pub(super) fn time_offset(text: &str) -> Option<Offset> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').or_else(|| digits.split_at_checked(2))?;
    let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = sign * (hours * 3600 + minutes * 60);
    let is_in_use = minutes < 60 && (-12 * 3600..=14 * 3600).contains(&seconds);
    Offset::from_seconds(seconds).ok().filter(|_| is_in_use)
}

/// The charset that a label means.
pub(super) fn charset(text: &str) -> Result<&'static encoding_rs::Encoding, String> {
    let charset = encoding_rs::Encoding::for_label(text.trim().as_bytes());
    charset.filter(|charset| charset.is_ascii_compatible()).ok_or_else(|| {
        format!("found {}; expected {}, such as windows-1252", quoted(text), Kind::Charset.describe())
    })
}

fn path(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("holds a NUL".to_owned());
    }
    if !text.starts_with('/') {
        // Not repeated: the password itself may have been written where its file was asked for.
        return Err("is not an absolute path; expected one such as /data/storage".to_owned());
    }
    if text.split('/').any(|component| component == "..") {
        return Err(format!("found {}; expected a path without `..`", quoted(text)));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(kind: Kind, text: &str) -> bool {
        kind.read(text).is_ok()
    }

    #[test]
    fn each_kind_reads_what_fits_and_refuses_the_rest() {
        let port = Kind::Number { min: 1, max: 65535 };
        let minute = Kind::Time { min: Duration::from_millis(1), max: Duration::from_secs(60) };
        let small = Kind::Size { min: 1, max: 1 << 20 };
        let known = Kind::Choice { known: &["auto", "delete_first"], later: &[] };
        for (kind, right, wrong) in [
            (Kind::Text, vec!["a", "ünï code", " "], vec!["", "a\nb", "a\0"]),
            (Kind::Secret, vec!["", "a\\b", "#;'\"%=", "tab\there"], vec!["a\rb", "a\nb", "a\0b"]),
            (Kind::Topic, vec!["ftp-tasks", "a.b_C9"], vec!["", "..", "a b", "tâches"]),
            (
                Kind::Servers,
                vec!["kafka:9092", "a:1, b:2", "a", "SSL://a:9093", "[::1]:9092"],
                vec!["", "a:", "a:0", "a:x", ":9092", "a:1,,b:2", "http://a/b:1 2", "~", "a b:1"],
            ),
            (
                Kind::Host,
                vec!["ftp.example.com", "10.0.0.1", "::1", "[::1]"],
                vec!["", "ftp://a", "a/b", "a:21", "u@a", "a b", "a\r\nDELE x"],
            ),
            (port, vec!["1", "65535"], vec!["0", "65536", "-1", "21.0", "x", ""]),
            (minute, vec!["1", "300ms", "1m"], vec!["0", "61s", "off", ""]),
            (small, vec!["1", "1Mi"], vec!["0", "2Mi", ""]),
            (Kind::Flag, vec!["true", "False", "1"], vec!["yes", "", "on"]),
            (Kind::Charset, vec!["utf-8", "latin1", "Shift_JIS"], vec!["", "utf-16", "klingon"]),
            (known, vec!["auto", "DELETE_FIRST"], vec!["never", ""]),
            (Kind::Path, vec!["/", "/data/storage"], vec!["", "data", "/a/../b"]),
        ] {
            for text in right {
                assert!(is_read(kind, text), "{kind:?} should take {text:?}");
            }
            for text in wrong {
                assert!(!is_read(kind, text), "{kind:?} should refuse {text:?}");
            }
        }
    }

    #[test]
    fn a_value_that_is_agreed_on_for_later_says_so() {
        let delivery = Kind::Choice { known: &["at_least_once"], later: &["exactly_once"] };
        let problem = delivery.read("exactly_once").err().unwrap();
        assert_eq!(problem, "`exactly_once` is not in this version; expected at_least_once");
    }

    #[test]
    fn a_password_that_was_written_into_another_key_is_not_repeated() {
        for (kind, text) in [
            (Kind::Host, "ftp://user:hunter2@host"),
            (Kind::Servers, "user:hunter2@kafka:x"),
            (Kind::Path, "hunter2"),
        ] {
            let problem = kind.read(text).err().unwrap();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_secret_that_does_not_fit_is_not_repeated() {
        for secret in ["hunter2\nDELE x", &"hunter2".repeat(200)] {
            assert!(!Kind::Secret.read(secret).err().unwrap().contains("hunter2"));
        }
    }
}
