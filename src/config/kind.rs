//! The kinds of values a key accepts, parsed the same way from the files and the environment.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::file_patterns::check_patterns;
use super::{duration, size};

/// What a key accepts. Parsing, ranges, error texts and the documentation are all derived from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Text of 1 to [`MAX_TEXT_BYTES`] bytes without control characters.
    Text,
    /// A line that is sent in an FTP command or a greeting: like text, but may be empty, and is never shown.
    Secret,
    /// Text with its own syntax, described here and checked when it is set.
    Syntax(&'static str),
    /// The name of a Kafka topic.
    Topic,
    /// Names of topics, with `*` for any characters.
    TopicPatterns,
    /// Brokers, each as `host:port`.
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
    Choice(&'static [&'static str]),
    /// The absolute path of a directory that exists.
    Directory,
    /// The absolute path of a file whose content is the value, with a maximum size in bytes.
    File {
        max_bytes: u64,
    },
    /// The URL of a trace collector.
    Collector,
    /// Patterns for files' names and paths.
    Patterns,
}

/// The maximum length of a text in bytes; the maximum for a Kafka group or a host is shorter.
pub const MAX_TEXT_BYTES: usize = 255;

/// The maximum length of a secret in bytes: servers cut command lines at 512 to 4,096 bytes.
pub const MAX_SECRET_BYTES: usize = 1024;

/// The longest secret in a separate file, with a trailing line break.
pub(super) const MAX_SECRET_FILE_BYTES: u64 = MAX_SECRET_BYTES as u64 + 2;

/// The maximum length of a topic's name in characters (Kafka's own limit).
const MAX_TOPIC_CHARS: usize = 249;

/// The maximum number of brokers in the list.
const MAX_SERVERS: usize = 100;

/// A value that is valid for its kind. There is no Debug: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum KeyValue {
    /// Not set, without a fixed default.
    Unset,
    /// Another key of its group shows the value.
    ShownByAnother,
    Text(String),
    List(Vec<String>),
    Number(u64),
    Time(Duration),
    Flag(bool),
    File {
        path: String,
        content: Vec<u8>,
    },
    /// Compared by value, but shown as something else.
    Hidden {
        shown: String,
        content: Vec<u8>,
    },
}

impl KeyValue {
    pub fn secret(content: &[u8]) -> KeyValue {
        let shown = if content.is_empty() { "(empty)" } else { "(set)" };
        KeyValue::Hidden { shown: shown.to_owned(), content: content.to_vec() }
    }

    /// The text, if the value is one.
    pub fn into_text(self) -> String {
        if let KeyValue::Text(text) = self { text } else { String::new() }
    }
}

impl KeyKind {
    /// Parses one value. The error says what was found (never a secret) and what would be right. A file's value is its
    /// path here: `section_reader` reads it.
    pub fn read(self, text: &str) -> Result<KeyValue, String> {
        let in_range = |number: Option<u64>, min, max| match number {
            Some(number) if (min..=max).contains(&number) => Ok(KeyValue::Number(number)),
            _ => Err(self.expected(text)),
        };
        match self {
            KeyKind::Text => checked_text(text).map(KeyValue::Text),
            KeyKind::Secret => checked_secret(text).map(KeyValue::Text),
            KeyKind::Syntax(_) => Ok(KeyValue::Text(text.to_owned())),
            KeyKind::Topic => topic(text).map(KeyValue::Text),
            KeyKind::Servers | KeyKind::TopicPatterns => self.read_list(text.split(',')),
            KeyKind::Host => host(text).map(KeyValue::Text),
            KeyKind::Number { min, max } => in_range(text.trim().parse().ok(), min, max),
            KeyKind::Size { min, max } => in_range(size::parse(text), min, max),
            KeyKind::Time { min, max } => match duration::parse(text) {
                Some(time) if (min..=max).contains(&time) => Ok(KeyValue::Time(time)),
                _ => Err(self.expected(text)),
            },
            KeyKind::Flag => flag(text).map(KeyValue::Flag).ok_or_else(|| self.expected(text)),
            KeyKind::Choice(names) => choice(text, names).map(KeyValue::Text),
            KeyKind::Directory | KeyKind::File { .. } => path(text).map(KeyValue::Text),
            KeyKind::Collector => collector(text).map(KeyValue::Text),
            KeyKind::Patterns => self.read_list(std::iter::once(text)),
        }
    }

    /// Parses a list of brokers or patterns; any other kind accepts one value only.
    pub fn read_list<'a>(self, items: impl Iterator<Item = &'a str>) -> Result<KeyValue, String> {
        let servers: Vec<String> = match self {
            KeyKind::Servers => items.map(server).collect::<Result<_, _>>()?,
            KeyKind::Patterns => return check_patterns(items).map(KeyValue::List),
            KeyKind::TopicPatterns => return topic_patterns(items).map(KeyValue::List),
            _ => return Err(format!("is a list; expected {}", self.describe())),
        };
        match servers.len() {
            0 => Err("is an empty list; expected host:port, host:port".to_owned()),
            n if n > MAX_SERVERS => {
                Err(format!("lists {n} brokers; {MAX_SERVERS} are enough to find the others"))
            }
            _ => Ok(KeyValue::List(servers)),
        }
    }

    /// What a key accepts, for the documentation and error texts.
    pub fn describe(self) -> String {
        match self {
            KeyKind::Text => "text".to_owned(),
            KeyKind::Secret => "secret text".to_owned(),
            KeyKind::Syntax(what) => what.to_owned(),
            KeyKind::Topic => "a topic's name".to_owned(),
            KeyKind::TopicPatterns => "list of topics' names, `*` for anything".to_owned(),
            KeyKind::Servers => "list of host:port".to_owned(),
            KeyKind::Host => "a host's name or address".to_owned(),
            KeyKind::Number { min, max } => format!("a number from {min} to {max}"),
            KeyKind::Time { min, max } => {
                format!("a duration from {} to {}", duration::show(min), duration::show(max))
            }
            KeyKind::Size { min, max } => format!("a size from {} to {}", size::show(min), size::show(max)),
            KeyKind::Flag => "true or false".to_owned(),
            KeyKind::Choice(names) => names.join(" or "),
            KeyKind::Directory | KeyKind::File { .. } => "an absolute path".to_owned(),
            KeyKind::Collector => "http://host:port".to_owned(),
            KeyKind::Patterns => "a list of patterns such as `*.csv`".to_owned(),
        }
    }

    fn expected(self, found: &str) -> String {
        let hint = match self {
            KeyKind::Time { .. } => " (such as 90, 1m30s or 300ms; a plain number is seconds)",
            KeyKind::Size { .. } => " (such as 64Mi; a plain number is bytes)",
            _ => "",
        };
        format!("found {}; expected {}{hint}", quoted(found), self.describe())
    }
}

/// A found value for an error text, truncated if it is long. One with an `@` may contain a user and a password
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

/// The error for a secret that was created with a trailing line break, as `echo secret | base64` does.
pub(super) fn line_break_at_end(text: &str) -> Option<String> {
    let stem = text.strip_suffix('\n')?.trim_end_matches('\r');
    (!stem.contains(['\r', '\n'])).then(|| {
        "ends with a line break, which is not part of a secret; `echo` adds one, `printf %s` does not"
            .to_owned()
    })
}

/// CR, LF and NUL would end the FTP command that the text is part of, and start another.
fn no_control_characters(text: &str) -> Result<(), String> {
    if let Some(problem) = line_break_at_end(text) {
        return Err(problem);
    }
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

/// Every invalid topic name is reported.
fn topic_patterns<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let (mut patterns, mut wrong) = (Vec::new(), Vec::new());
    for item in items.map(str::trim) {
        // with a letter instead of each star it must be a valid name
        match topic(&item.replace('*', "x")) {
            Ok(_) => patterns.push(item.to_owned()),
            Err(_) => wrong.push(quoted(item)),
        }
    }
    if wrong.is_empty() && patterns.len() <= MAX_SERVERS {
        return Ok(patterns);
    }
    if wrong.is_empty() {
        return Err(format!("lists {} topics; expected {MAX_SERVERS} at most, or a pattern", patterns.len()));
    }
    Err(format!(
        "found {}; expected topics' names: 1 to {MAX_TOPIC_CHARS} letters, digits, `.`, `_`, `-`, and `*` for anything",
        wrong.join(", ")
    ))
}

fn server(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = || Err(format!("found {}; expected host:port, such as kafka:9092", quoted(text)));
    // librdkafka also accepts `SSL://host:port`.
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
        return Err(format!("found {}; expected the host alone: the port has its own key", quoted(&text)));
    }
    if bare.is_empty() || bare.contains(char::is_whitespace) {
        return Err(format!("found {}; expected a host's name or address", quoted(&text)));
    }
    Ok(bare.to_owned())
}

/// A URL with a path: OTLP's own if none is given.
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

/// The values that rclone accepts (Go's `strconv.ParseBool`), in upper or lower case.
fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

fn choice(text: &str, names: &[&str]) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    if names.contains(&lower.as_str()) {
        return Ok(lower);
    }
    Err(format!("found {}; expected {}", quoted(text), names.join(" or ")))
}

fn path(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("holds a NUL".to_owned());
    }
    if text.starts_with('~') {
        return Err("`~` is not expanded here; expected an absolute path such as /data/storage".to_owned());
    }
    if !text.starts_with('/') {
        // Not repeated: the password itself may have been written instead of its file.
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

    fn is_read(kind: KeyKind, text: &str) -> bool {
        kind.read(text).is_ok()
    }

    #[test]
    fn each_kind_reads_what_fits_and_refuses_the_rest() {
        let port = KeyKind::Number { min: 1, max: 65535 };
        let minute = KeyKind::Time { min: Duration::from_millis(1), max: Duration::from_secs(60) };
        let small = KeyKind::Size { min: 1, max: 1 << 20 };
        let known = KeyKind::Choice(&["auto", "delete_first"]);
        for (kind, right, wrong) in [
            (KeyKind::Text, vec!["a", "ünï code", " "], vec!["", "a\nb", "a\0"]),
            (KeyKind::Secret, vec!["", "a\\b", "#;'\"%=", "tab\there"], vec!["a\rb", "a\nb", "a\0b"]),
            (KeyKind::Topic, vec!["ftp-tasks", "a.b_C9"], vec!["", "..", "a b", "tâches"]),
            (
                KeyKind::Servers,
                vec!["kafka:9092", "a:1, b:2", "a", "SSL://a:9093", "[::1]:9092"],
                vec!["", "a:", "a:0", "a:x", ":9092", "a:1,,b:2", "http://a/b:1 2", "~", "a b:1"],
            ),
            (KeyKind::TopicPatterns, vec!["a", "orders, replies-*", "*"], vec!["", "a b", "a,,b", "é*"]),
            (
                KeyKind::Host,
                vec!["ftp.example.com", "10.0.0.1", "::1", "[::1]"],
                vec!["", "ftp://a", "a/b", "a:21", "u@a", "a b", "a\r\nDELE x"],
            ),
            (port, vec!["1", "65535"], vec!["0", "65536", "-1", "21.0", "x", ""]),
            (minute, vec!["1", "300ms", "1m"], vec!["0", "61s", "off", ""]),
            (small, vec!["1", "1Mi"], vec!["0", "2Mi", ""]),
            (KeyKind::Flag, vec!["true", "False", "1"], vec!["yes", "", "on"]),
            (known, vec!["auto", "DELETE_FIRST"], vec!["never", ""]),
            (KeyKind::Directory, vec!["/", "/data/storage"], vec!["", "data", "/a/../b"]),
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
    fn a_password_that_was_written_into_another_key_is_not_repeated() {
        for (kind, text) in [
            (KeyKind::Host, "ftp://user:hunter2@host"),
            (KeyKind::Servers, "user:hunter2@kafka:x"),
            (KeyKind::Directory, "hunter2"),
        ] {
            let problem = kind.read(text).err().unwrap();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_secret_that_does_not_fit_is_not_repeated() {
        for secret in ["hunter2\nDELE x", &"hunter2".repeat(200)] {
            assert!(!KeyKind::Secret.read(secret).err().unwrap().contains("hunter2"));
        }
    }
}
