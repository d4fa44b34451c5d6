//! frpc's log lines: what they say of the session and of each tunnel.

/// One line of frpc's output, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LineLevel,
    /// The text after time, level, source, run id and name.
    pub message: String,
    /// The proxy or visitor that it concerns.
    pub tunnel: Option<String>,
    pub meaning: LineMeaning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// Without time and level: usage errors and panics.
    Bare,
}

/// What a line means to the one who supervises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineMeaning {
    /// frpc begins to connect; while it is logged in: the session is lost.
    Connecting,
    /// Connecting failed; frpc tries again.
    ConnectFailed(String),
    LoggedIn,
    /// frps took the proxy, or the visitor listens.
    Started(String),
    StartFailed {
        tunnel: String,
        reason: String,
    },
    /// frpc has started these visitors: each listens, unless a start error of its address came before.
    VisitorsAdded(Vec<String>),
    /// The next line of a visitor's start is about this one.
    VisitorTried(String),
    VisitorStarted,
    /// Of the visitor whose address is in the reason.
    VisitorStartFailed(String),
    /// A connection through a visitor failed.
    VisitorFailed {
        tunnel: String,
        reason: String,
    },
    LocalServiceDown {
        tunnel: String,
        reason: String,
    },
    HealthCheckPassed(String),
    HealthCheckFailed(String),
    /// Lines of our own polling.
    AdminRequest,
    Other,
}

/// Parses a line; one that is not frp's is returned as it is, [`LineLevel::Bare`].
pub fn parse_line(line: &str) -> LogLine {
    let line = strip_colours(line);
    let Some((level, rest)) = level_and_rest(&line) else {
        return LogLine { level: LineLevel::Bare, message: line, tunnel: None, meaning: LineMeaning::Other };
    };
    // `[client/control.go:174] [RUNID] [name] …`, each of them optional
    let (source, rest) = bracketed(rest).unwrap_or(("", rest));
    let mut names = Vec::new();
    let mut message = rest;
    while let Some((name, after)) = bracketed(message) {
        names.push(name);
        message = after;
    }
    // the first is the run id, which exists once frpc is logged in
    let run_id = names.first().filter(|name| is_run_id(name));
    let tunnel =
        names.get(usize::from(run_id.is_some())..).and_then(<[_]>::last).map(|&name| name.to_owned());
    let meaning = meaning(source, tunnel.as_deref(), message);
    LogLine { level, message: message.to_owned(), tunnel, meaning }
}

fn meaning(source: &str, tunnel: Option<&str>, message: &str) -> LineMeaning {
    if source.starts_with("http/middleware")
        || message.starts_with("http request:")
        || message.starts_with("http response")
    {
        return LineMeaning::AdminRequest;
    }
    if message.starts_with("try to connect to server") {
        return LineMeaning::Connecting;
    }
    if let Some(reason) = message.strip_prefix("connect to server error: ") {
        return LineMeaning::ConnectFailed(reason.to_owned());
    }
    if let Some(reason) = message.strip_prefix("login to the server failed: ") {
        let reason = reason.split(". With loginFailExit").next().unwrap_or(reason);
        return LineMeaning::ConnectFailed(reason.to_owned());
    }
    if message.starts_with("login to server success") {
        return LineMeaning::LoggedIn;
    }
    match tunnel {
        Some(tunnel) => meaning_for(tunnel, message),
        None => visitor_meaning(message),
    }
}

/// frpc does not name the visitor that it starts.
fn visitor_meaning(message: &str) -> LineMeaning {
    let names = |rest: &str| rest.trim_end_matches(']').split(' ').map(str::to_owned).collect::<Vec<_>>();
    if let Some(rest) = message.strip_prefix("visitor added: [") {
        return LineMeaning::VisitorsAdded(names(rest));
    }
    if let Some(rest) = message.strip_prefix("try to start visitor [") {
        return LineMeaning::VisitorTried(rest.trim_end_matches(']').to_owned());
    }
    if message == "start visitor success" {
        return LineMeaning::VisitorStarted;
    }
    let failed =
        ["start error: ", "new visitor error: "].iter().find_map(|words| message.strip_prefix(words));
    failed.map_or(LineMeaning::Other, |reason| LineMeaning::VisitorStartFailed(reason.to_owned()))
}

fn meaning_for(tunnel: &str, message: &str) -> LineMeaning {
    let tunnel = tunnel.to_owned();
    if message.starts_with("start proxy success") {
        return LineMeaning::Started(tunnel);
    }
    if let Some(reason) = message.strip_prefix("start error: ") {
        return LineMeaning::StartFailed { tunnel, reason: reason.to_owned() };
    }
    if message.starts_with("connect to local service") {
        return LineMeaning::LocalServiceDown { tunnel, reason: message.to_owned() };
    }
    match message {
        "health check success" => return LineMeaning::HealthCheckPassed(tunnel),
        "health check failed" => return LineMeaning::HealthCheckFailed(tunnel),
        _ => {}
    }
    let through_visitor = [
        "dialRawVisitorConn error: ",
        "start new visitor connection error: ",
        "newVisitorConn to frps error: ",
        "open tunnel error: ",
    ];
    if let Some(reason) = through_visitor.iter().find_map(|words| message.strip_prefix(words)) {
        return LineMeaning::VisitorFailed { tunnel, reason: reason.to_owned() };
    }
    LineMeaning::Other
}

/// `2026-11-29 07:16:02.125 [I] …`
fn level_and_rest(line: &str) -> Option<(LineLevel, &str)> {
    let (date, rest) = line.split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let digits = |text: &str, between: &str| {
        text.len() >= 8 && text.chars().all(|c| c.is_ascii_digit() || between.contains(c))
    };
    if !digits(date, "-/") || !digits(time, ":.") {
        return None;
    }
    let (level, rest) = bracketed(rest)?;
    let level = match level {
        "T" => LineLevel::Trace,
        "D" => LineLevel::Debug,
        "I" => LineLevel::Info,
        "W" => LineLevel::Warn,
        "E" => LineLevel::Error,
        _ => return None,
    };
    Some((level, rest))
}

/// `[inner] rest`
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((inner, rest.trim_start()))
}

/// frps makes them of eight random bytes.
fn is_run_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes ANSI colour sequences.
fn strip_colours(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut parts = line.trim_end_matches(['\r', '\n']).split('\u{1b}');
    kept.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let after = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        kept.push_str(after.map_or(part, |(_, text)| text));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(rest: &str) -> LogLine {
        parse_line(&format!("2026-11-29 07:16:02.125 {rest}"))
    }

    #[test]
    fn the_lines_of_a_session_are_understood() {
        let start = of("[I] [client/service.go:312] try to connect to server...");
        assert_eq!(start.meaning, LineMeaning::Connecting);
        let failed = of(
            "[W] [client/service.go:323] connect to server error: dial tcp 127.0.0.1:1: connect: connection refused",
        );
        assert_eq!(failed.level, LineLevel::Warn);
        assert_eq!(
            failed.meaning,
            LineMeaning::ConnectFailed("dial tcp 127.0.0.1:1: connect: connection refused".into())
        );
        let login = of(
            "[I] [client/service.go:332] [0123456789abcdef] login to server success, get run id [0123456789abcdef]",
        );
        assert_eq!(login.meaning, LineMeaning::LoggedIn);
        assert_eq!(login.tunnel, None);
    }

    #[test]
    fn the_lines_of_a_tunnel_name_it() {
        let up = of("[I] [client/control.go:174] [0123456789abcdef] [web] start proxy success");
        assert_eq!(up.meaning, LineMeaning::Started("web".into()));
        let refused =
            of("[W] [client/control.go:172] [0123456789abcdef] [web] start error: port unavailable");
        assert_eq!(
            refused.meaning,
            LineMeaning::StartFailed { tunnel: "web".into(), reason: "port unavailable".into() }
        );
        let down = of(
            "[E] [proxy/proxy.go:237] [0123456789abcdef] [web] connect to local service [127.0.0.1:1] error: dial tcp 127.0.0.1:1: connect: connection refused",
        );
        assert!(matches!(down.meaning, LineMeaning::LocalServiceDown { tunnel, .. } if tunnel == "web"));
    }

    #[test]
    fn visitors_are_started_without_their_name() {
        let of =
            |rest: &str| of(&format!("[I] [visitor/visitor_manager.go:1] [b9297de6a82cfdc2] {rest}")).meaning;
        assert_eq!(of("visitor added: [a b.c]"), LineMeaning::VisitorsAdded(vec!["a".into(), "b.c".into()]));
        assert_eq!(of("try to start visitor [a]"), LineMeaning::VisitorTried("a".into()));
        assert_eq!(of("start visitor success"), LineMeaning::VisitorStarted);
        let taken = "listen tcp 127.0.0.1:21: bind: address already in use";
        assert_eq!(of(&format!("start error: {taken}")), LineMeaning::VisitorStartFailed(taken.into()));
        let failed = of(
            "[a] dialRawVisitorConn error: start new visitor connection error: custom listener for [u.n] doesn't exist",
        );
        assert!(matches!(failed, LineMeaning::VisitorFailed { tunnel, .. } if tunnel == "a"));
    }

    #[test]
    fn a_name_of_a_run_ids_form_is_a_name_still() {
        let up = of("[I] [client/control.go:174] [0123456789abcdef] [fedcba9876543210] start proxy success");
        assert_eq!(up.meaning, LineMeaning::Started("fedcba9876543210".into()));
    }

    #[test]
    fn bare_lines_and_colours() {
        let bare = parse_line("json: unknown field \"foo\"");
        assert_eq!((bare.level, bare.message.as_str()), (LineLevel::Bare, "json: unknown field \"foo\""));
        let coloured = parse_line(
            "\u{1b}[1;34m2026-11-29 07:16:02.125 [I] [client/service.go:312] try to connect to server...\u{1b}[0m",
        );
        assert_eq!(coloured.meaning, LineMeaning::Connecting);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse_line(&line);
            parse_line(&format!("2026-11-29 07:16:02.125 [I] {line}"));
            parse_line(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_tunnels_name_is_found_whatever_it_is(name in "[A-Za-z0-9._-]{1,100}", id in "[0-9a-f]{16}") {
            let line = of(&format!("[I] [client/control.go:174] [{id}] [{name}] start proxy success"));
            prop_assert_eq!(line.meaning, LineMeaning::Started(name));
        }
    }
}
