//! YAML as flat keys with the lines that they are on. The parser's events are read directly: values stay as they are written
//! (`080` is not 80), and every duplicate is found.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{ScanError, TScalarStyle};

use super::{ConfigMistake, RawValue, ValueSource};

/// `addresses:` is the one section.
const MAX_DEPTH: usize = 2;

enum Stop {
    Syntax(ScanError),
    Shape(usize, &'static str),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Stop {
        Stop::Syntax(error)
    }
}

pub(super) fn read(text: &str, path: &str, mistakes: &mut Vec<ConfigMistake>) -> BTreeMap<String, RawValue> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parser = Parser::new_from_str(text);
    let mut reader = YamlReader { parser, path, values: BTreeMap::new(), mistakes };
    if let Err(stop) = reader.document() {
        let (line, problem) = match stop {
            Stop::Syntax(error) => (error.marker().line(), format!("invalid YAML: {}", error.info())),
            Stop::Shape(line, problem) => (line, problem.to_owned()),
        };
        let source = Some(ValueSource::File { path: path.to_owned(), line });
        reader.mistakes.push(ConfigMistake { source, key: String::new(), problem });
    }
    reader.values
}

struct YamlReader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    path: &'a str,
    values: BTreeMap<String, RawValue>,
    mistakes: &'a mut Vec<ConfigMistake>,
}

impl YamlReader<'_> {
    fn document(&mut self) -> Result<(), Stop> {
        let mut documents = 0;
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Stop::Shape(marker.line(), "a second document; expected one"));
                    }
                }
                Event::MappingStart(..) => self.mapping("", 1)?,
                Event::Scalar(value, style, ..) if is_null(&value, style) => {}
                _ => {
                    return Err(Stop::Shape(
                        marker.line(),
                        "expected keys such as `domain: pool.example.com`",
                    ));
                }
            }
        }
    }

    fn mapping(&mut self, section: &str, depth: usize) -> Result<(), Stop> {
        loop {
            let (event, marker) = self.parser.next_token()?;
            let line = marker.line();
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return Err(Stop::Shape(line, "expected a key")),
            };
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            let (event, marker) = self.parser.next_token()?;
            let values = match event {
                // Nothing written is the default.
                Event::Scalar(value, style, ..) if is_null(&value, style) => continue,
                Event::Scalar(value, ..) => vec![value],
                Event::SequenceStart(..) => self.sequence()?,
                Event::MappingStart(..) if depth < MAX_DEPTH => {
                    self.mapping(&key, depth + 1)?;
                    continue;
                }
                Event::Alias(_) => {
                    return Err(Stop::Shape(marker.line(), "an alias (`*name`); write the value"));
                }
                _ => return Err(Stop::Shape(marker.line(), "expected a value or a list of values")),
            };
            let source = ValueSource::File { path: self.path.to_owned(), line };
            match self.values.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(RawValue { values, source });
                }
                Entry::Occupied(place) => {
                    let (key, problem) = (place.key().clone(), "is set twice".to_owned());
                    self.mistakes.push(ConfigMistake { source: Some(source), key, problem });
                }
            }
        }
    }

    fn sequence(&mut self) -> Result<Vec<String>, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, marker) = self.parser.next_token()?;
            match event {
                Event::SequenceEnd => return Ok(items),
                Event::Scalar(item, ..) => items.push(item),
                _ => return Err(Stop::Shape(marker.line(), "expected a list of plain values")),
            }
        }
    }
}

fn is_null(value: &str, style: TScalarStyle) -> bool {
    style == TScalarStyle::Plain && matches!(value, "" | "~" | "null")
}
