//! rclone's `encoding`: characters that a server does not accept in names, and their replacements there.
//!
//! The meaning is that of rclone's `lib/encoder`: names are in its standard form (`␡` for DEL, `／` for a slash within a
//! name), and each class of characters named in the value is replaced: printable ones by their
//! fullwidth form, control characters by their symbols. `‛` marks what was such a character before.

/// Precedes a character that would be taken for another's replacement.
const QUOTE: char = '‛';

const RAW: u32 = 1;
const LEFT_SPACE: u32 = 1 << 17;
const LEFT_PERIOD: u32 = 1 << 18;
const LEFT_TILDE: u32 = 1 << 19;
const LEFT_BLANKS: u32 = 1 << 20;
const RIGHT_SPACE: u32 = 1 << 21;
const RIGHT_PERIOD: u32 = 1 << 22;
const RIGHT_BLANKS: u32 = 1 << 23;
const DOT: u32 = 1 << 25;

/// CR, LF, HT and VT.
const BLANKS: &[char] = &['\t', '\n', '\u{b}', '\r'];

/// Names, their bits, and the characters that are replaced everywhere; the bits are rclone's, too.
const CLASSES: &[(&str, u32, &[char])] = &[
    ("None", 0, &[]),
    ("Raw", RAW, &[]),
    ("Slash", 1 << 1, &['/']),
    ("LtGt", 1 << 2, &['<', '>']),
    ("DoubleQuote", 1 << 3, &['"']),
    ("SingleQuote", 1 << 4, &['\'']),
    ("BackQuote", 1 << 5, &['`']),
    ("Dollar", 1 << 6, &['$']),
    ("Colon", 1 << 7, &[':']),
    ("Question", 1 << 8, &['?']),
    ("Asterisk", 1 << 9, &['*']),
    ("Pipe", 1 << 10, &['|']),
    ("Hash", 1 << 11, &['#']),
    ("Percent", 1 << 12, &['%']),
    ("BackSlash", 1 << 13, &['\\']),
    ("CrLf", 1 << 14, &['\r', '\n']),
    ("Del", 1 << 15, &['\u{7f}']),
    ("Ctl", CTL, &[]),
    ("LeftSpace", LEFT_SPACE, &[]),
    ("LeftPeriod", LEFT_PERIOD, &[]),
    ("LeftTilde", LEFT_TILDE, &[]),
    ("LeftCrLfHtVt", LEFT_BLANKS, &[]),
    ("RightSpace", RIGHT_SPACE, &[]),
    ("RightPeriod", RIGHT_PERIOD, &[]),
    ("RightCrLfHtVt", RIGHT_BLANKS, &[]),
    // Our paths are UTF-8.
    ("InvalidUtf8", 1 << 24, &[]),
    ("Dot", DOT, &[]),
    ("SquareBracket", 1 << 26, &['[', ']']),
    ("Semicolon", 1 << 27, &[';']),
];

/// All control characters except DEL.
const CTL: u32 = 1 << 16;

/// rclone's own form of a name, which its users write: Slash, Del, Ctl, Dot.
const STANDARD: NameEncoding = NameEncoding(1 << 1 | 1 << 15 | CTL | DOT);

const LEFT: &[(u32, &[char])] =
    &[(LEFT_SPACE, &[' ']), (LEFT_PERIOD, &['.']), (LEFT_TILDE, &['~']), (LEFT_BLANKS, BLANKS)];
const RIGHT: &[(u32, &[char])] = &[(RIGHT_SPACE, &[' ']), (RIGHT_PERIOD, &['.']), (RIGHT_BLANKS, BLANKS)];

/// A set of character classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameEncoding(u32);

impl std::str::FromStr for NameEncoding {
    type Err = String;

    /// Parses class names separated by commas, or their bits as a number.
    fn from_str(text: &str) -> Result<NameEncoding, String> {
        NameEncoding::parse(text)
    }
}

impl NameEncoding {
    pub(super) fn parse(text: &str) -> Result<NameEncoding, String> {
        let mut mask = 0;
        for part in text.split(',').map(str::trim) {
            let class = CLASSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(part));
            let number = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => part.parse().ok(),
            };
            mask |= class.map(|(_, bits, _)| *bits).or(number).ok_or_else(|| {
                let names: Vec<&str> = CLASSES.iter().map(|(name, ..)| *name).collect();
                format!("found {}; expected {}", super::kind::quoted(part), names.join(", "))
            })?;
        }
        Ok(NameEncoding(mask))
    }

    /// The names of its classes.
    #[must_use]
    pub fn names(self) -> String {
        let named = CLASSES.iter().filter(|(_, bits, _)| *bits != 0 && self.has(*bits));
        let names: Vec<&str> = named.map(|(name, ..)| *name).collect();
        if names.is_empty() { "None".to_owned() } else { names.join(",") }
    }

    /// A path as it is named on the server. A `／` in a name may split it there, and `．．` may lead up, unless the
    /// classes prevent it.
    #[must_use]
    pub fn on_server(self, path: &str) -> String {
        if self == STANDARD {
            return path.to_owned();
        }
        let names: Vec<String> = path.split('/').map(|name| self.encode(&STANDARD.decode(name))).collect();
        names.join("/")
    }

    /// A name that the server listed, as a task writes it: [`Encoding::on_server`] reverses this.
    pub fn from_server(self, name: &str) -> String {
        if self == STANDARD { name.to_owned() } else { STANDARD.encode(&self.decode_whole(name)) }
    }

    /// [`Encoding::decode`], including replacements that apply only at the start or end of a name.
    fn decode_whole(self, name: &str) -> String {
        if self.has(DOT) && ["．", "．．", "‛．", "‛．‛．"].contains(&name) {
            return self.decode(name);
        }
        let edge = |edge: &[(u32, &[char])], c: char| {
            let characters = edge.iter().filter(|(bits, _)| self.has(*bits)).flat_map(|(_, of)| of.iter());
            characters.copied().find(|of| edge_replacement(*of) == c)
        };
        let mut characters: Vec<char> = name.chars().collect();
        let first = match characters.as_slice() {
            [c, ..] if edge(LEFT, *c).is_some() => characters.drain(..1).next().and_then(|c| edge(LEFT, c)),
            [QUOTE, c, ..] if edge(LEFT, *c).is_some() => characters.drain(..2).next_back(),
            _ => None,
        };
        // Quotes in pairs are quotes; an odd one belongs to what follows it.
        let quotes = characters.iter().rev().skip(1).take_while(|c| **c == QUOTE).count();
        let last = match characters.last().copied() {
            Some(c) if edge(RIGHT, c).is_some() => {
                characters.pop();
                if quotes % 2 == 1 {
                    characters.pop();
                    Some(c)
                } else {
                    edge(RIGHT, c)
                }
            }
            _ => None,
        };
        let middle: String = characters.into_iter().collect();
        first.into_iter().chain(self.decode_characters(&middle).chars()).chain(last).collect()
    }

    fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether `c` is replaced everywhere. NUL always is.
    fn replaces(self, c: char) -> bool {
        match c {
            '\0' => true,
            '\u{1}'..='\u{1f}' if self.has(CTL) => true,
            _ => CLASSES.iter().any(|(_, bits, characters)| self.has(*bits) && characters.contains(&c)),
        }
    }

    fn encode(self, name: &str) -> String {
        if self.0 == RAW || name.is_empty() {
            return name.to_owned();
        }
        if self.has(DOT) {
            match name {
                "." => return "．".to_owned(),
                ".." => return "．．".to_owned(),
                "．" => return format!("{QUOTE}．"),
                "．．" => return format!("{QUOTE}．{QUOTE}．"),
                _ => {}
            }
        }
        let mut characters: Vec<char> = name.chars().collect();
        let first = characters.first().and_then(|c| self.at_edge(LEFT, *c));
        if first.is_some() {
            characters.remove(0);
        }
        let last = characters.last().and_then(|c| self.at_edge(RIGHT, *c));
        if last.is_some() {
            characters.pop();
        }
        let middle = characters.into_iter().map(|c| self.anywhere(c));
        first.into_iter().chain(middle).chain(last).collect()
    }

    fn anywhere(self, c: char) -> String {
        match replaced_by(c) {
            _ if c == QUOTE => format!("{QUOTE}{QUOTE}"),
            Some(replacement) if self.replaces(c) => replacement.into(),
            _ if stands_for(c).is_some_and(|of| self.replaces(of)) => format!("{QUOTE}{c}"),
            _ => c.into(),
        }
    }

    /// The replacement of the first or last character; `None` if it needs none there.
    fn at_edge(self, edge: &[(u32, &[char])], c: char) -> Option<String> {
        edge.iter().filter(|(bits, _)| self.has(*bits)).find_map(|(_, characters)| {
            characters.iter().find_map(|of| match edge_replacement(*of) {
                replacement if *of == c => Some(replacement.into()),
                replacement if replacement == c => Some(format!("{QUOTE}{c}")),
                _ => None,
            })
        })
    }

    fn decode(self, name: &str) -> String {
        match name {
            "．" if self.has(DOT) => ".".to_owned(),
            "．．" if self.has(DOT) => "..".to_owned(),
            "‛．" if self.has(DOT) => "．".to_owned(),
            "‛．‛．" if self.has(DOT) => "．．".to_owned(),
            _ => self.decode_characters(name),
        }
    }

    /// Decodes replacements that apply everywhere.
    fn decode_characters(self, name: &str) -> String {
        let mut out = String::with_capacity(name.len());
        let mut quoted = false;
        for c in name.chars() {
            let of = stands_for(c).filter(|of| self.replaces(*of));
            match (of, quoted) {
                (None, _) if c == QUOTE && !quoted => {
                    quoted = true;
                    continue;
                }
                (None, true) if c != QUOTE => out.extend([QUOTE, c]),
                (Some(of), false) => out.push(of),
                _ => out.push(c),
            }
            quoted = false;
        }
        if quoted {
            out.push(QUOTE);
        }
        out
    }
}

fn replaced_by(c: char) -> Option<char> {
    match c {
        '\0'..='\u{1f}' => char::from_u32(u32::from(c) + 0x2400),
        '!'..='~' => char::from_u32(u32::from(c) + 0xFEE0),
        '\u{7f}' => Some('␡'),
        _ => None,
    }
}

fn stands_for(c: char) -> Option<char> {
    match c {
        '␀'..='\u{241f}' => char::from_u32(u32::from(c) - 0x2400),
        '！'..='～' => char::from_u32(u32::from(c) - 0xFEE0),
        '␡' => Some('\u{7f}'),
        _ => None,
    }
}

fn edge_replacement(c: char) -> char {
    if c == ' ' { '␠' } else { replaced_by(c).unwrap_or(c) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_server(encoding: &str, path: &str) -> String {
        NameEncoding::parse(encoding).unwrap().on_server(path)
    }

    /// The default of rclone's FTP backend.
    const FTP: &str = "Slash,Del,Ctl,RightSpace,Dot";

    #[test]
    fn names_become_what_rclone_makes_of_them() {
        for (encoding, path, expected) in [
            (FTP, "/a/b c.txt", "/a/b c.txt"),
            (FTP, "dir /file ", "dir␠/file␠"),
            (FTP, "a\u{7f}b\u{1b}c\td", "a␡b␛c␉d"),
            // In rclone's standard form these names are identical.
            (FTP, "a␡b␛c", "a␡b␛c"),
            (FTP, "one／name", "one／name"),
            (FTP, "‛␡", "‛␡"),
            (FTP, "quote‛", "quote‛‛"),
            (FTP, "file␠", "file‛␠"),
            ("Colon,Question,Asterisk", "/a:b?c*d", "/a：b？c＊d"),
            ("Colon", "a：b", "a‛：b"),
            ("LeftPeriod", "/.hidden/x.y", "/．hidden/x.y"),
            ("LeftSpace,RightPeriod", " a.", "␠a．"),
            ("LeftTilde", "~a~", "～a~"),
            ("BackSlash,SquareBracket,Semicolon", r"a\[b];", "a＼［b］；"),
            ("Asterisk,Ctl,Dot,Slash", "a*", "a＊"),
            ("0x200,LtGt", "a*<", "a＊＜"),
            ("None", "/a b*", "/a b*"),
            ("Raw", "/a b‛", "/a b‛"),
        ] {
            assert_eq!(on_server(encoding, path), expected, "{encoding}: {path:?}");
        }
    }

    #[test]
    fn what_may_lead_elsewhere_shows_after_encoding() {
        assert_eq!(on_server("None", "a/．．/b"), "a/../b");
        assert_eq!(on_server(FTP, "a/．．/b"), "a/．．/b");
    }

    #[test]
    fn a_class_that_nobody_knows_is_named() {
        assert!(
            NameEncoding::parse("Slash,Klingon")
                .unwrap_err()
                .starts_with("found `Klingon`; expected None, Raw,")
        );
        assert_eq!(NameEncoding::parse(FTP).unwrap().names(), "Slash,Del,Ctl,RightSpace,Dot");
        assert_eq!(NameEncoding::parse("none").unwrap().names(), "None");
    }

    #[test]
    fn what_a_server_lists_is_what_a_task_says() {
        let cases = [
            ("Colon,Dot", "a：b"),
            ("None", "plain"),
            (FTP, "a b"),
            ("LeftSpace", "␠x"),
            ("RightPeriod", "a．"),
        ];
        for (encoding, listed) in cases {
            let encoding = NameEncoding::parse(encoding).unwrap();
            let said = encoding.from_server(listed);
            assert_eq!(encoding.on_server(&said), listed, "{said}");
        }
        assert_eq!(NameEncoding::parse("LeftSpace").unwrap().from_server("␠x"), " x");
    }

    proptest! {
        #[test]
        fn names_without_odd_characters_stay_as_they_are(name in "[a-zA-Z0-9äöü日本 ._-]{0,20}[a-z]") {
            prop_assert_eq!(on_server(FTP, &name), name);
        }

        #[test]
        fn what_is_on_the_server_is_found_there_again(mask in 0_u32..1 << 28, name in "[a\\t :␡‛＊．. ␠~]{1,6}") {
            let encoding = NameEncoding(mask & !RAW);
            let listed = encoding.on_server(&name);
            prop_assert_eq!(encoding.on_server(&encoding.from_server(&listed)), listed);
        }

        #[test]
        fn different_names_stay_different(mask in 0_u32..1 << 28, one in "[a\\t /*:␡‛＊．. ␠]{1,6}", other in "[a\\t /*:␡‛＊．. ␠]{1,6}") {
            // Together with these, rclone's Dot makes `..` and `.．` identical.
            let dots = if mask & (LEFT_PERIOD | RIGHT_PERIOD) == 0 { 0 } else { DOT };
            let encoding = NameEncoding(mask & !RAW & !dots);
            let (one, other) = (one.replace('/', ""), other.replace('/', ""));
            prop_assume!(one != other);
            prop_assert_ne!(encoding.encode(&one), encoding.encode(&other));
        }
    }
}
