//! Reads known fields from JSON that may contain anything else.
//!
//! Every value is first taken as raw text: `serde_json` skips over it in a loop, so neither deep nesting nor a number
//! out of range nor a lone surrogate matters in a field that is not read.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problems::TaskProblems;
use crate::text::nearest;

/// How many characters of a value a message quotes at most.
const QUOTED_CHARS: usize = 80;

/// An object's value under a field's name.
#[derive(Clone, Copy, Debug)]
pub(super) enum JsonValue<'a> {
    Absent,
    Json(&'a RawValue),
    /// The name occurs more than once: it is ambiguous.
    Repeated,
}

/// A known field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonField<'a> {
    /// The path from the task's top, with dots: `options.retry_count`.
    pub path: &'static str,
    pub value: JsonValue<'a>,
    /// The name of an unknown member that may have been meant to be this field.
    similar: Option<&'a RawValue>,
}

/// Parses the object in `text`, and returns those of its members that `paths` name by their last part. If the text is
/// not an object or is truncated, the fields that were read up to there are returned with the error.
pub(super) fn object<'a, const N: usize>(
    text: &'a str,
    paths: [&'static str; N],
) -> ([JsonField<'a>; N], Result<(), serde_json::Error>) {
    object_and_others(text, paths, &mut |_| ())
}

/// Like [`object`]; the name of each other member, as written in the JSON, is passed to `other`.
fn object_and_others<'a, const N: usize>(
    text: &'a str,
    paths: [&'static str; N],
    other: &mut dyn FnMut(&'a RawValue),
) -> ([JsonField<'a>; N], Result<(), serde_json::Error>) {
    let mut fields = paths.map(|path| JsonField { path, value: JsonValue::Absent, similar: None });
    let mut json = serde_json::Deserializer::from_str(text);
    let visitor = MembersVisitor { fields: &mut fields, other };
    let read = visitor.deserialize(&mut json).and_then(|()| json.end());
    (fields, read)
}

/// The fields of an object within the task; `None`, and a problem, if the field does not contain an object.
pub(super) fn nested<'a, const N: usize>(
    field: &JsonField<'a>,
    raw: &'a RawValue,
    paths: [&'static str; N],
    problems: &mut TaskProblems,
) -> Option<[JsonField<'a>; N]> {
    nested_and_others(field, raw, paths, problems, &mut |_| ())
}

/// Like [`nested`]; the name of each other member, as written in the JSON, is passed to `other`.
pub(super) fn nested_and_others<'a, const N: usize>(
    field: &JsonField<'a>,
    raw: &'a RawValue,
    paths: [&'static str; N],
    problems: &mut TaskProblems,
    other: &mut dyn FnMut(&'a RawValue),
) -> Option<[JsonField<'a>; N]> {
    let (fields, read) = object_and_others(raw.get(), paths, other);
    if read.is_err() {
        problems.wrong(field.path, raw, "an object");
        return None;
    }
    problems.repeated(&fields);
    Some(fields)
}

impl<'a> JsonField<'a> {
    fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The value of an optional field, for which null is the same as absent.
    pub fn optional(&self) -> Option<&'a RawValue> {
        match self.value {
            JsonValue::Json(raw) if raw.get() != "null" => Some(raw),
            _ => None,
        }
    }

    /// The value of a required field; if it is missing, that is a problem.
    pub fn required(&self, needed: &str, problems: &mut TaskProblems) -> Option<&'a RawValue> {
        match self.value {
            JsonValue::Json(raw) => Some(raw),
            JsonValue::Absent => {
                let meant = self.similar.map(|similar| {
                    format!(" (there is {}: did you mean {}?)", quoted(similar.get()), self.name())
                });
                let meant = meant.unwrap_or_default();
                problems.invalid(self.path, format_args!("is missing, must be {needed}{meant}"));
                None
            }
            JsonValue::Repeated => None,
        }
    }

    /// The value of a required field that must be a non-empty string.
    pub fn required_string(&self, needed: &str, problems: &mut TaskProblems) -> Option<String> {
        let raw = self.required(needed, problems)?;
        match string(raw) {
            Some(text) if !text.is_empty() => Some(text),
            Some(_) => {
                problems.invalid(self.path, format_args!("is empty, must be {needed}"));
                None
            }
            None => {
                problems.wrong(self.path, raw, needed);
                None
            }
        }
    }
}

/// The text of a JSON string. `None` if it is not a string, or one with half a surrogate pair.
pub(super) fn string(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A value for messages: its JSON, truncated if it is long, without control characters.
pub(super) fn quoted(json: &str) -> String {
    let mut chars = json.chars();
    let mut shown = String::with_capacity(json.len().min(QUOTED_CHARS + 4));
    for char in chars.by_ref().take(QUOTED_CHARS) {
        // U+2028 and U+2029 end a line for some log readers, though they are not control characters.
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Fills the known fields while the parser walks over an object.
struct MembersVisitor<'f, 'a> {
    fields: &'f mut [JsonField<'a>],
    other: &'f mut dyn FnMut(&'a RawValue),
}

impl<'a> DeserializeSeed<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut members: M) -> Result<(), M::Error> {
        // The name is taken raw, too: one with half a surrogate pair is just an unknown name.
        while let Some(name) = members.next_key::<&RawValue>()? {
            let value = members.next_value::<&RawValue>()?;
            if let Some(field) = self.fields.iter_mut().find(|field| is_name(name.get(), field.name())) {
                field.value = match field.value {
                    JsonValue::Absent => JsonValue::Json(value),
                    _ => JsonValue::Repeated,
                };
            } else {
                (self.other)(name);
                if let Some(field) = similar(name.get(), self.fields) {
                    field.similar = Some(name);
                }
            }
        }
        Ok(())
    }
}

/// Whether a member's name, as written in the JSON, is `name`.
fn is_name(json: &str, name: &str) -> bool {
    if json.contains('\\') {
        return serde_json::from_str::<String>(json).is_ok_and(|text| text == name);
    }
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) == Some(name)
}

/// A longer name is not a typo.
const MAX_SIMILAR_BYTES: usize = 40;

/// The field that an unknown member probably means: `taskId` or `task-id` for `task_id`.
fn similar<'f, 'a>(json: &str, fields: &'f mut [JsonField<'a>]) -> Option<&'f mut JsonField<'a>> {
    if json.len() > MAX_SIMILAR_BYTES {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-', ' ', '"'], "");
    let written = plain(json);
    let meant = fields.iter().position(|field| plain(field.name()) == written);
    let meant = meant.or_else(|| {
        let near = nearest(json.trim_matches('"'), fields.iter().map(JsonField::name))?;
        fields.iter().position(|field| field.name() == near)
    });
    fields.get_mut(meant?)
}
