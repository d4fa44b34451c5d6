//! config.yaml as flat keys: `kafka.input_topic` and what was written for it, with its line.
//!
//! The parser's events are read directly: a loader would have turned `007` into 7 and `on` into a boolean
//! before the key's kind is known, and would have lost the lines and stopped at a key that is there twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use ::config::{Value, ValueKind};
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

use super::errors::{ErrorCollector, SourceLocation};
use super::tree::ValueOrigin;

/// Sections within sections at most; the deepest that means anything is 3.
const MAX_DEPTH: usize = 8;

/// Reads config.yaml's text; `path` names it in errors.
pub(super) fn read(text: &str, path: &str, errors: &mut ErrorCollector) -> BTreeMap<String, Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        YamlReader { parser: Parser::new_from_str(text), path, errors, entries: BTreeMap::new() };
    if let Err(stop) = reader.stream() {
        let (line, problem) = match stop {
            YamlError::Syntax(error) => {
                (error.marker().line(), format!("is not valid YAML: {}", error.info()))
            }
            YamlError::Shape(line, problem) => (line, problem.to_owned()),
        };
        reader.errors.in_file(path, Some(line), problem);
    }
    reader.entries
}

/// Why reading cannot go on.
enum YamlError {
    Syntax(ScanError),
    Shape(usize, &'static str),
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        YamlError::Syntax(error)
    }
}

struct YamlReader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    path: &'a str,
    errors: &'a mut ErrorCollector,
    entries: BTreeMap<String, Value>,
}

impl YamlReader<'_> {
    fn stream(&mut self) -> Result<(), YamlError> {
        let mut documents = 0;
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart => {
                    documents += 1;
                    if documents > 1 {
                        return Err(YamlError::Shape(marker.line(), "is a second document; expected one"));
                    }
                }
                Event::MappingStart(..) => self.mapping("", 0)?,
                Event::Scalar(value, style, ..) if is_null(&value, style) => {}
                _ => return Err(YamlError::Shape(marker.line(), "expected sections such as `kafka:`")),
            }
        }
    }

    /// The keys of one section, whose opening has been read.
    fn mapping(&mut self, section: &str, depth: usize) -> Result<(), YamlError> {
        if depth > MAX_DEPTH {
            return Err(YamlError::Shape(self.line()?, "has too many sections within sections"));
        }
        loop {
            let (event, marker) = self.parser.next_token()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return Err(YamlError::Shape(marker.line(), "has a key that is not text")),
            };
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            self.value(key, &marker, depth)?;
        }
    }

    fn value(&mut self, key: String, key_at: &Marker, depth: usize) -> Result<(), YamlError> {
        let (event, marker) = self.parser.next_token()?;
        let kind = match event {
            Event::Scalar(value, style, ..) if is_null(&value, style) => ValueKind::Nil,
            Event::Scalar(value, ..) => value.into(),
            Event::SequenceStart(..) => self.sequence()?.into(),
            Event::MappingStart(..) => return self.mapping(&key, depth + 1),
            Event::Alias(_) => {
                return Err(YamlError::Shape(marker.line(), "has an alias (`*name`); write the value"));
            }
            _ => return Err(YamlError::Shape(marker.line(), "expected a value")),
        };
        let line = key_at.line();
        match self.entries.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(ValueOrigin::Line(line).value(kind));
            }
            Slot::Occupied(slot) => {
                let place = SourceLocation::File { path: self.path.to_owned(), line: Some(line) };
                self.errors.add(place, slot.key(), "is set twice");
            }
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Vec<String>, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::SequenceEnd => return Ok(items),
                Event::Scalar(item, ..) => items.push(item),
                _ => {
                    return Err(YamlError::Shape(marker.line(), "has a list of something other than values"));
                }
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
        let mut errors = ErrorCollector::default();
        let entries = read(text, "config.yaml", &mut errors);
        let shown = entries.into_iter().map(|(key, value)| {
            let ValueOrigin::Line(line) = ValueOrigin::of(&value) else {
                panic!("a file's values have lines")
            };
            let shown = match value.kind {
                ValueKind::Nil => "-".to_owned(),
                ValueKind::Array(items) => {
                    format!("{:?}", items.iter().map(ToString::to_string).collect::<Vec<_>>())
                }
                kind => kind.to_string(),
            };
            (key, format!("{line}:{shown}"))
        });
        (shown.collect(), errors.or(()).err().map(|e| e.to_string()).unwrap_or_default())
    }

    #[test]
    fn keys_are_flat_and_values_are_as_they_were_written() {
        let text = "\u{feff}kafka:\r\n  consumer_group: 007\r\n  list: [a, 'b']\r\n  properties:\r\n    sasl.password: 'x: #y'\r\napi:\r\n  port:\r\npod: {name: on}\r\nempty: {}\r\n";
        let (entries, errors) = read_all(text);
        let expected = [
            ("api.port", "7:-"),
            ("kafka.consumer_group", "2:007"),
            ("kafka.list", "3:[\"a\", \"b\"]"),
            ("kafka.properties.sasl.password", "5:x: #y"),
            ("pod.name", "8:on"),
        ];
        assert_eq!(entries, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(errors, "");
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
            ("a:\n  b: 1\n  b: 2\n", "config.yaml:3: a.b: is set twice"),
            ("a: 1\n---\nb: 2\n", "config.yaml:2: is a second document; expected one"),
            ("just text", "config.yaml:1: expected sections such as `kafka:`"),
            ("- a\n", "config.yaml:1: expected sections such as `kafka:`"),
            ("a: &x 1\nb: *x\n", "config.yaml:2: has an alias (`*name`); write the value"),
            ("a:\n- [b]\n", "config.yaml:2: has a list of something other than values"),
            ("? [a]\n: b\n", "config.yaml:1: has a key that is not text"),
        ] {
            assert_eq!(read_all(text).1, expected, "{text:?}");
        }
        let broken = read_all("a:\n  b: 1\n c: [2\n").1;
        assert!(broken.starts_with("config.yaml:3: is not valid YAML: "), "{broken}");
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
