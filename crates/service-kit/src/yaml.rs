//! YAML as flat keys: `section.key` and its value as written, with its line.
//!
//! The parser's events are read directly: a loader would have turned `007` into 7 and `on` into a boolean before the
//! key's kind is known, lost the lines, and stopped at a duplicate key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

/// A key's value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YamlValue {
    /// `key:`, `key: ~` or `key: null`.
    Null,
    Scalar(String),
    List(Vec<String>),
}

/// A key's value, and the line of the key, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlEntry {
    pub value: YamlValue,
    pub line: usize,
}

/// An error in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlProblem {
    pub line: usize,
    /// Empty if it concerns the text as a whole.
    pub key: String,
    pub problem: String,
}

/// The expected structure of the text.
#[derive(Clone, Copy, Debug)]
pub struct YamlShape {
    /// The maximum nesting of sections.
    pub max_depth: usize,
    /// An example of what is expected at the top: ``sections such as `main:` ``.
    pub expected: &'static str,
    /// Keys whose value is a list of sections: the first one's keys are `key[0].name` and so on, and `key[0]` itself is
    /// included without a value, for its line.
    pub section_lists: &'static [&'static str],
}

/// Parses a whole text. Returns everything that could be read, and the problems.
#[must_use]
pub fn read(text: &str, shape: YamlShape) -> (BTreeMap<String, YamlEntry>, Vec<YamlProblem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parser = Parser::new_from_str(text);
    let mut reader = YamlReader { parser, shape, entries: BTreeMap::new(), problems: Vec::new() };
    if let Err(stop) = reader.stream() {
        let (line, problem) = match stop {
            YamlStop::Syntax(error) => {
                (error.marker().line(), format!("is not valid YAML: {}", error.info()))
            }
            YamlStop::Shape(line, problem) => (line, problem),
        };
        reader.problems.push(YamlProblem { line, key: String::new(), problem });
    }
    (reader.entries, reader.problems)
}

/// Why parsing stops.
enum YamlStop {
    Syntax(ScanError),
    Shape(usize, String),
}

impl From<ScanError> for YamlStop {
    fn from(error: ScanError) -> Self {
        YamlStop::Syntax(error)
    }
}

fn stop<T>(marker: &Marker, problem: impl Into<String>) -> Result<T, YamlStop> {
    Err(YamlStop::Shape(marker.line(), problem.into()))
}

struct YamlReader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    shape: YamlShape,
    entries: BTreeMap<String, YamlEntry>,
    problems: Vec<YamlProblem>,
}

impl YamlReader<'_> {
    fn stream(&mut self) -> Result<(), YamlStop> {
        let mut documents = 0;
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart => {
                    documents += 1;
                    if documents > 1 {
                        return stop(&marker, "is a second document; expected one");
                    }
                }
                Event::MappingStart(..) => self.mapping("", 0)?,
                Event::Scalar(value, style, ..) if is_null(&value, style) => {}
                _ => return stop(&marker, format!("expected {}", self.shape.expected)),
            }
        }
    }

    /// The keys of one section, after its start event.
    fn mapping(&mut self, section: &str, depth: usize) -> Result<(), YamlStop> {
        if depth > self.shape.max_depth {
            let line = self.parser.peek()?.1.line();
            return Err(YamlStop::Shape(line, "has too many sections within sections".to_owned()));
        }
        loop {
            let (event, marker) = self.parser.next_token()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return stop(&marker, "has a key that is not text"),
            };
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            self.value(key, marker.line(), depth)?;
        }
    }

    fn value(&mut self, key: String, line: usize, depth: usize) -> Result<(), YamlStop> {
        let (event, marker) = self.parser.next_token()?;
        let value = match event {
            Event::Scalar(value, style, ..) if is_null(&value, style) => YamlValue::Null,
            Event::Scalar(value, ..) => YamlValue::Scalar(value),
            Event::SequenceStart(..) if self.shape.section_lists.contains(&key.as_str()) => {
                return self.sections(&key, depth);
            }
            Event::SequenceStart(..) => YamlValue::List(self.sequence()?),
            Event::MappingStart(..) => return self.mapping(&key, depth + 1),
            Event::Alias(_) => return stop(&marker, "has an alias (`*name`); write the value"),
            _ => return stop(&marker, "expected a value"),
        };
        self.insert(key, value, line);
        Ok(())
    }

    fn insert(&mut self, key: String, value: YamlValue, line: usize) {
        match self.entries.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(YamlEntry { value, line });
            }
            Entry::Occupied(slot) => {
                let (key, problem) = (slot.key().clone(), "is set twice".to_owned());
                self.problems.push(YamlProblem { line, key, problem });
            }
        }
    }

    /// The items of a list of sections, after its start event.
    fn sections(&mut self, key: &str, depth: usize) -> Result<(), YamlStop> {
        for number in 0.. {
            let item = format!("{key}[{number}]");
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::SequenceEnd => break,
                Event::MappingStart(..) => {
                    self.insert(item.clone(), YamlValue::Null, marker.line());
                    self.mapping(&item, depth + 1)?;
                }
                _ => {
                    return stop(
                        &marker,
                        format!("{item} is not a section; expected keys such as `- name: …`"),
                    );
                }
            }
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Vec<String>, YamlStop> {
        let mut items = Vec::new();
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::SequenceEnd => return Ok(items),
                Event::Scalar(item, ..) => items.push(item),
                _ => return stop(&marker, "has a list of something other than values"),
            }
        }
    }
}

fn is_null(value: &str, style: TScalarStyle) -> bool {
    style == TScalarStyle::Plain && matches!(value, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: YamlShape =
        YamlShape { max_depth: 8, expected: "sections such as `main:`", section_lists: &["jobs"] };

    fn read_all(text: &str) -> (BTreeMap<String, String>, String) {
        let (entries, problems) = read(text, SHAPE);
        let shown = entries.into_iter().map(|(key, YamlEntry { value, line })| {
            let shown = match value {
                YamlValue::Null => "-".to_owned(),
                YamlValue::List(items) => format!("{items:?}"),
                YamlValue::Scalar(value) => value,
            };
            (key, format!("{line}:{shown}"))
        });
        let problem = |YamlProblem { line, key, problem }: YamlProblem| format!("{line}: {key}: {problem}");
        (shown.collect(), problems.into_iter().map(problem).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn keys_are_flat_and_values_are_as_they_were_written() {
        let text = "\u{feff}main:\r\n  group: 007\r\n  list: [a, 'b']\r\n  properties:\r\n    sasl.password: 'x: #y'\r\napi:\r\n  port:\r\npod: {name: on}\r\nempty: {}\r\n";
        let (entries, problems) = read_all(text);
        let expected = [
            ("api.port", "7:-"),
            ("main.group", "2:007"),
            ("main.list", "3:[\"a\", \"b\"]"),
            ("main.properties.sasl.password", "5:x: #y"),
            ("pod.name", "8:on"),
        ];
        assert_eq!(entries, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(problems, "");
    }

    #[test]
    fn a_list_of_sections_has_its_numbers_in_the_keys() {
        let text =
            "jobs:\n  - name: a\n    only: [x, y]\n    how:\n      fast: true\n  - {name: b}\nmore: 1\n";
        let (entries, problems) = read_all(text);
        let expected = [
            ("jobs[0]", "2:-"),
            ("jobs[0].how.fast", "5:true"),
            ("jobs[0].name", "2:a"),
            ("jobs[0].only", "3:[\"x\", \"y\"]"),
            ("jobs[1]", "6:-"),
            ("jobs[1].name", "6:b"),
            ("more", "7:1"),
        ];
        assert_eq!(entries, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(problems, "");
        assert_eq!(
            read_all("jobs:\n  - a\n").1,
            "2: : jobs[0] is not a section; expected keys such as `- name: …`"
        );
    }

    #[test]
    fn an_empty_file_says_nothing_and_is_right() {
        for text in ["", "# nothing\n", "---\n", "~", "{}"] {
            assert_eq!(read_all(text), (BTreeMap::new(), String::new()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_a_problem_with_its_line() {
        for (text, expected) in [
            ("a:\n  b: 1\n  b: 2\n", "3: a.b: is set twice"),
            ("a: 1\n---\nb: 2\n", "2: : is a second document; expected one"),
            ("just text", "1: : expected sections such as `main:`"),
            ("- a\n", "1: : expected sections such as `main:`"),
            ("a: &x 1\nb: *x\n", "2: : has an alias (`*name`); write the value"),
            ("a:\n- [b]\n", "2: : has a list of something other than values"),
            ("? [a]\n: b\n", "1: : has a key that is not text"),
        ] {
            assert_eq!(read_all(text).1, expected, "{text:?}");
        }
        let broken = read_all("a:\n  b: 1\n c: [2\n").1;
        assert!(broken.starts_with("3: : is not valid YAML: "), "{broken}");
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
