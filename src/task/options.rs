//! `options`: each may be absent or null, and then has its default.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::json::{JsonField, nested, nested_and_others, quoted, string};
use super::path::PathKind;
use super::problems::TaskProblems;
use super::side::check_path;
use super::{After, Operation, Options, Verify};
use crate::text::{nearest, shorten};

/// A larger `retry_count` counts as this.
pub const MAX_RETRY_COUNT: u32 = 100;

/// How many unknown options of a task are remembered, and how many bytes of a name.
const MAX_UNKNOWN: usize = 5;
const MAX_UNKNOWN_BYTES: usize = 64;

/// A member of `options` that this version does not know: ignored, since a later version may know it, and reported,
/// since it may be a typo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOption {
    name: String,
    meant: Option<&'static str>,
}

impl UnknownOption {
    fn new(mut name: String, known: &[&'static str]) -> UnknownOption {
        shorten(&mut name, MAX_UNKNOWN_BYTES);
        let known = known.iter().filter_map(|path| path.rsplit('.').next());
        UnknownOption { meant: nearest(&name, known), name }
    }

    /// One line for the log.
    #[must_use]
    pub fn note(&self) -> String {
        let meant = self.meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
        format!("options.{} is not known and was ignored{meant}", quoted(&self.name))
    }
}

/// Reads `options`; an invalid value is left at its default, and is a problem.
pub(super) fn read(
    field: &JsonField<'_>,
    operation: Option<Operation>,
    problems: &mut TaskProblems,
) -> Options {
    let mut options = Options::default();
    let paths = [
        "options.overwrite",
        "options.retry_count",
        "options.verify",
        "options.resume",
        "options.preserve_mtime",
        "options.deadline",
        "options.defer",
        "options.after",
    ];
    let mut unknown = Vec::new();
    let mut note = |name: &RawValue| {
        // A name with half a surrogate pair is not text.
        if unknown.len() < MAX_UNKNOWN
            && let Some(name) = string(name)
        {
            unknown.push(UnknownOption::new(name, &paths));
        }
    };
    let raw = field.optional();
    let fields = raw.and_then(|raw| nested_and_others(field, raw, paths, problems, &mut note));
    options.unknown = unknown;
    let Some(fields) = fields else { return options };
    let [overwrite, retry_count, verify, resume, preserve_mtime, deadline, defer, after] = fields;

    set(&overwrite, boolean, "true or false", &mut options.overwrite, problems);
    set(&retry_count, count, "a whole number, 0 to 100", &mut options.retry_count, problems);
    set(&verify, verification, r#""none", "size", "hash" or "auto""#, &mut options.verify, problems);
    set(&resume, boolean, "true or false", &mut options.resume, problems);
    set(&preserve_mtime, boolean, "true or false", &mut options.preserve_mtime, problems);
    let time = "a time in RFC 3339 such as \"2025-01-15T10:30:00Z\"";
    set(&deadline, |raw| timestamp(raw).map(Some), time, &mut options.deadline, problems);
    set(&defer, boolean, "true or false", &mut options.defer, problems);
    options.after = read_after(&after, operation, problems);
    options
}

/// Reads `field` into `value` with `read`; an invalid value is a problem.
fn set<T>(
    field: &JsonField<'_>,
    read: impl Fn(&RawValue) -> Option<T>,
    needed: &str,
    value: &mut T,
    problems: &mut TaskProblems,
) {
    let Some(raw) = field.optional() else { return };
    match read(raw) {
        Some(read) => *value = read,
        None => problems.wrong(field.path, raw, needed),
    }
}

fn boolean(raw: &RawValue) -> Option<bool> {
    raw.get().parse().ok()
}

/// A number without a fraction, however it is written (`3`, `3.0`, `1e3`): JSON has only one kind of number.
fn count(raw: &RawValue) -> Option<u32> {
    let digits = raw.get();
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits only: a number that does not fit is larger than the maximum.
        return Some(digits.parse().map_or(MAX_RETRY_COUNT, |count: u32| count.min(MAX_RETRY_COUNT)));
    }
    let number: f64 = digits.parse().ok()?;
    let whole = number.is_infinite() || number.fract() == 0.0;
    if !whole || number < 0.0 {
        return None;
    }
    (0..=MAX_RETRY_COUNT).rev().find(|&count| f64::from(count) <= number)
}

fn verification(raw: &RawValue) -> Option<Verify> {
    match string(raw)?.as_str() {
        "none" => Some(Verify::None),
        "size" => Some(Verify::Size),
        "hash" => Some(Verify::Hash),
        "auto" => Some(Verify::Auto),
        _ => None,
    }
}

fn timestamp(raw: &RawValue) -> Option<Timestamp> {
    string(raw)?.parse().ok()
}

/// A source that would be moved onto itself: a server may well delete it.
pub(super) fn check_move(options: &Options, source: &str, problems: &mut TaskProblems) {
    let After::MoveTo(to) = &options.after else { return };
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
    };
    if to.starts_with('/') == source.starts_with('/') && parts(to) == parts(source) {
        problems.invalid("options.after.move_to", format_args!("is \"{}\", the source itself", quoted(to)));
    }
}

/// `after` concerns a download's source; an upload's is kept.
fn read_after(field: &JsonField<'_>, operation: Option<Operation>, problems: &mut TaskProblems) -> After {
    let Some(raw) = field.optional() else { return After::Keep };
    let after = if raw.get().starts_with('{') {
        let Some([path]) = nested(field, raw, ["options.after.move_to"], problems) else {
            return After::Keep;
        };
        let needed = "a path on the server, not empty";
        let Some(text) = path.required_string(needed, problems) else { return After::Keep };
        check_path(path.path, &text, PathKind::Remote, problems);
        After::MoveTo(text)
    } else {
        match string(raw).as_deref() {
            Some("keep") => After::Keep,
            Some("delete") => After::Delete,
            _ => {
                problems.wrong(field.path, raw, r#""keep", "delete" or {"move_to": path}"#);
                return After::Keep;
            }
        }
    };
    if operation == Some(Operation::Upload) && after != After::Keep {
        problems
            .invalid(field.path, format_args!("is {}, on an upload only \"keep\" can be", quoted(raw.get())));
    }
    after
}
