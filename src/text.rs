//! Texts for messages: truncated to a bound, and compared with what may have been meant; and the common format of
//! times.

use jiff::Timestamp;

/// Longer texts are not typos, and comparing them would cost time: some are external input.
const MAX_COMPARED_CHARS: usize = 64;

/// RFC 3339 in UTC with milliseconds: `2025-01-15T10:30:00.123Z`.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A path, or another external name, for messages: control characters are replaced, everything else is unchanged.
pub(crate) fn shown(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '\'' | '"' | '\\' => shown.push(char),
            char => shown.extend(char.escape_debug()),
        }
    }
    shown
}

/// Truncates `text` to at most `max` bytes at a character boundary; a truncated text ends in `…`.
pub(crate) fn shorten(text: &mut String, max: usize) {
    const MARK: &str = "…";
    if text.len() <= max {
        return;
    }
    let (room, mark) = match max.checked_sub(MARK.len()) {
        Some(room) => (room, MARK),
        None => (max, ""),
    };
    text.truncate(char_boundary(text, room));
    text.push_str(mark);
}

/// The last character boundary at or before `at` (the standard library has it from Rust 1.91 on).
pub(crate) fn char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// "Did you mean …?": the candidate that `written` is most likely a typo of, ignoring case and the difference between
/// `-` and `_`; `None` if none is near.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().take(MAX_COMPARED_CHARS + 1).count();
    if length > MAX_COMPARED_CHARS {
        return None;
    }
    // A third of the letters may be wrong; beyond that a suggestion misleads.
    let allowed = (length / 3).max(1);
    let written = comparable(written);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (strsim::osa_distance(&written, &comparable(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn comparable(text: &str) -> String {
    text.to_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_of_a_second() {
        assert_eq!(rfc3339("2025-01-15T10:30:00Z".parse().unwrap()), "2025-01-15T10:30:00.000Z");
        assert_eq!(rfc3339("2025-01-15T10:30:00.1239Z".parse().unwrap()), "2025-01-15T10:30:00.123Z");
    }

    #[test]
    fn a_path_is_shown_as_it_is_but_for_what_moves_the_cursor() {
        assert_eq!(shown("/pub/O'Brien \"x\".csv"), "/pub/O'Brien \"x\".csv");
        assert_eq!(shown("C:\\ü\n\u{1b}[2J"), "C:\\ü\\n\\u{1b}[2J");
    }

    #[test]
    fn any_bound_is_kept() {
        for max in 0..12 {
            let mut text = "€uro€uro".to_owned();
            shorten(&mut text, max);
            assert!(text.len() <= max, "{max}: {text}");
        }
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["host", "port", "pass", "disable_epsv", "bootstrap_servers", "Remote-FTP"];
        for (written, meant) in [
            ("prot", Some("port")),
            ("Host", Some("host")),
            ("bootstrap_server", Some("bootstrap_servers")),
            ("bootstrap-servers", Some("bootstrap_servers")),
            ("disable_espv", Some("disable_epsv")),
            ("remote_ftp", Some("Remote-FTP")),
            ("colour", None),
            ("x", None),
            (&"host".repeat(100), None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
