//! config.yaml as flat keys: `kafka.input_topic` and what was written for it, with its line.
//!
//! The parser's events are read directly: a loader would have turned `007` into 7 and `on` into a truth
//! before the key's kind is known, and would have lost the lines and stopped at a key that is there twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

use super::entry::{At, Entry, Said};
use super::errors::{Mistakes, SourceLocation};

/// Sections within sections at most; the deepest that means anything is 3.
const MAX_DEPTH: usize = 8;

/// Reads config.yaml's text; `path` names it in mistakes.
pub(super) fn read(text: &str, path: &str, mistakes: &mut Mistakes) -> BTreeMap<String, Entry> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { parser: Parser::new_from_str(text), path, mistakes, entries: BTreeMap::new() };
    if let Err(stop) = reader.stream() {
        let (line, problem) = match stop {
            Stop::Syntax(error) => (error.marker().line(), format!("is no YAML here: {}", error.info())),
            Stop::Shape(line, problem) => (line, problem.to_owned()),
        };
        reader.mistakes.in_file(path, Some(line), problem);
    }
    reader.entries
}

/// Why reading cannot go on.
enum Stop {
    Syntax(ScanError),
    Shape(usize, &'static str),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Stop::Syntax(error)
    }
}

struct Reader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    path: &'a str,
    mistakes: &'a mut Mistakes,
    entries: BTreeMap<String, Entry>,
}

impl Reader<'_> {
    fn stream(&mut self) -> Result<(), Stop> {
        let mut documents = 0;
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Stop::Shape(marker.line(), "is a second document; expected one"));
                    }
                }
                Event::MappingStart(..) => self.mapping("", 0)?,
                Event::Scalar(value, style, ..) if is_null(&value, style) => {}
                _ => return Err(Stop::Shape(marker.line(), "expected sections such as `kafka:`")),
            }
        }
    }

    /// The keys of one section, whose opening has been read.
    fn mapping(&mut self, section: &str, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Shape(self.line()?, "has too many sections within sections"));
        }
        loop {
            let (event, marker) = self.parser.next_token()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return Err(Stop::Shape(marker.line(), "has a key that is no text")),
            };
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            self.value(key, &marker, depth)?;
        }
    }

    fn value(&mut self, key: String, key_at: &Marker, depth: usize) -> Result<(), Stop> {
        let (event, marker) = self.parser.next_token()?;
        let said = match event {
            Event::Scalar(value, style, ..) if is_null(&value, style) => Said::Nothing,
            Event::Scalar(value, ..) => Said::One(value),
            Event::SequenceStart(..) => Said::Many(self.sequence()?),
            Event::MappingStart(..) => return self.mapping(&key, depth + 1),
            Event::Alias(_) => {
                return Err(Stop::Shape(marker.line(), "has an alias (`*name`); write the value"));
            }
            _ => return Err(Stop::Shape(marker.line(), "expected a value")),
        };
        let line = key_at.line();
        match self.entries.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(Entry { said, at: At::Line(line) });
            }
            Slot::Occupied(slot) => {
                let place = SourceLocation::File { path: self.path.to_owned(), line: Some(line) };
                self.mistakes.add(place, slot.key(), "is set twice");
            }
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Vec<String>, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::SequenceEnd => return Ok(items),
                Event::Scalar(item, ..) => items.push(item),
                _ => return Err(Stop::Shape(marker.line(), "has a list of something else than values")),
            }
        }
    }

    fn line(&mut self) -> Result<usize, ScanError> {
        Ok(self.parser.peek()?.1.line())
    }
}

fn is_null(value: &str, style: TScalarStyle) -> bool {
    style == TScalarStyle::Plain && matches!(value, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(text: &str) -> (BTreeMap<String, String>, String) {
        let mut mistakes = Mistakes::default();
        let entries = read(text, "config.yaml", &mut mistakes);
        let shown = entries.into_iter().map(|(key, entry)| {
            let said = match entry.said {
                Said::Nothing => "-".to_owned(),
                Said::One(value) => value,
                Said::Many(values) => format!("{values:?}"),
            };
            let At::Line(line) = entry.at else { panic!("a file's entries have lines") };
            (key, format!("{line}:{said}"))
        });
        (shown.collect(), mistakes.or(()).err().map(|e| e.to_string()).unwrap_or_default())
    }

    #[test]
    fn keys_are_flat_and_values_are_as_they_were_written() {
        let text = "\u{feff}kafka:\r\n  consumer_group: 007\r\n  list: [a, 'b']\r\n  properties:\r\n    sasl.password: 'x: #y'\r\napi:\r\n  port:\r\npod: {name: on}\r\nempty: {}\r\n";
        let (entries, mistakes) = read_all(text);
        let expected = [
            ("api.port", "7:-"),
            ("kafka.consumer_group", "2:007"),
            ("kafka.list", "3:[\"a\", \"b\"]"),
            ("kafka.properties.sasl.password", "5:x: #y"),
            ("pod.name", "8:on"),
        ];
        assert_eq!(entries, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(mistakes, "");
    }

    #[test]
    fn an_empty_file_says_nothing_and_is_right() {
        for text in ["", "# nothing\n", "---\n", "~", "{}"] {
            assert_eq!(read_all(text), (BTreeMap::new(), String::new()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_a_mistake_with_its_line() {
        for (text, expected) in [
            ("a:\n  b: 1\n  b: 2\n", "config.yaml: a.b: is set twice (line 3)"),
            ("a: 1\n---\nb: 2\n", "config.yaml: is a second document; expected one (line 2)"),
            ("just text", "config.yaml: expected sections such as `kafka:` (line 1)"),
            ("- a\n", "config.yaml: expected sections such as `kafka:` (line 1)"),
            ("a: &x 1\nb: *x\n", "config.yaml: has an alias (`*name`); write the value (line 2)"),
            ("a:\n- [b]\n", "config.yaml: has a list of something else than values (line 2)"),
            ("? [a]\n: b\n", "config.yaml: has a key that is no text (line 1)"),
        ] {
            assert_eq!(read_all(text).1, expected, "{text:?}");
        }
        let broken = read_all("a:\n  b: 1\n c: [2\n").1;
        assert!(broken.starts_with("config.yaml: is no YAML here: "), "{broken}");
        assert!(broken.contains("(line "), "{broken}");
        let deep = (0..20).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
        assert!(read_all(&deep).1.contains("too many sections"), "{}", read_all(&deep).1);
        assert!(!read_all(&"{a: ".repeat(100_000)).1.is_empty(), "and no stack overflow");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[a-c:\\[\\]{}&*#'\"|> \n-]{0,60}|.{0,60}") {
            let _ = read_all(&text);
        }
    }
}
