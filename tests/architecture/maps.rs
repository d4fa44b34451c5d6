//! Each module's documentation maps its files: whoever opens a `mod.rs` finds what is beneath it.

use super::files_beneath;

/// Of all crates.
const PLACES: &[&str] = &["src", "crates"];

/// What the map of a file has to name: its submodules, without tests.
fn submodules(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        if line.starts_with("#[cfg(test)]") {
            is_test = true;
            continue;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let name = match words.as_slice() {
            ["mod", name] => Some(*name),
            [visibility, "mod", name] if visibility.starts_with("pub") => Some(*name),
            _ => None,
        };
        if !line.starts_with(char::is_whitespace)
            && !is_test
            && let Some(name) = name.and_then(|name| name.strip_suffix(';'))
        {
            found.push(name.to_owned());
        }
        is_test = is_test && line.starts_with("#[");
    }
    found
}

/// The words of a file's documentation.
fn documented(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

fn missing(file: &str, text: &str) -> Vec<String> {
    let words = documented(text);
    let missing = submodules(text).into_iter().filter(|name| !words.contains(&name.as_str()));
    missing.map(|name| format!("{file} does not say what `{name}` is")).collect()
}

#[test]
fn every_module_maps_what_is_beneath_it() {
    let mut wrong = Vec::new();
    for place in PLACES {
        for (file, text) in files_beneath(place) {
            let file = format!("{place}/{file}");
            let is_map =
                ["mod.rs", "lib.rs", "metrics.rs"].iter().any(|name| file.rsplit('/').next() == Some(name));
            let is_test = file.contains("/tests/") || file.contains("/model/") || file.contains("/examples/");
            if is_map && !is_test {
                wrong.extend(missing(&file, &text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_module_that_no_map_names_is_found() {
    let text = "//! What it is.\n//!\n//! ```text\n//! here  this\n//! ```\nmod here;\npub mod gone;\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(missing("src/x/mod.rs", text), ["src/x/mod.rs does not say what `gone` is"]);
}

/// A module or file, and words that its line has.
type Words = (&'static str, &'static str);

/// What a newcomer asks first: the module whose sentence in `lib.rs` has these words, and its files whose lines in the
/// module's map have those.
const FIRST_QUESTIONS: &[(&str, Words, &[Words])] = &[
    (
        "where is an upload renamed",
        ("transfer", "verified and renamed"),
        &[("upload", "renamed"), ("upload_pipeline", "rename")],
    ),
    (
        "who decides that a session may be opened",
        ("pool", "who may open one"),
        &[("accounting", "who may open a session")],
    ),
    (
        "where does a deferred task wait",
        ("dispatch", "waits in the retry topic"),
        &[("deferral", "wait in the retry topic")],
    ),
    (
        "what makes a session unusable",
        ("ftp", "can be used again"),
        &[("reply_queue", "makes a session unusable")],
    ),
    (
        "where would a new connection option go",
        ("config", "new option"),
        &[("connection", "connection_keys: the table of their keys")],
    ),
];

/// An item of `lib.rs`: a module's sentence, over as many lines as it has.
fn sentence_of<'a>(items: &'a [String], module: &str) -> &'a str {
    let start = format!("- [`{module}`]");
    items.iter().find(|item| item.contains(&start)).map_or("", String::as_str)
}

#[test]
fn lib_and_maps_answer_what_a_newcomer_asks_first() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let lib: Vec<String> = read("lib.rs").lines().filter_map(|line| line.strip_prefix("//! ")).fold(
        Vec::new(),
        |mut items, line| {
            match items.last_mut() {
                Some(item) if !line.starts_with("- ") => {
                    *item = format!("{item} {}", line.trim_start());
                }
                _ => items.push(line.to_owned()),
            }
            items
        },
    );
    for (question, (module, words), files) in FIRST_QUESTIONS {
        let sentence = sentence_of(&lib, module);
        assert!(sentence.contains(words), "{question}? lib.rs says of {module}: {sentence}");
        let map = read(&format!("{module}/mod.rs"));
        for (file, words) in *files {
            let start = format!("//! {file} ");
            let line = map.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
            assert!(line.contains(words), "{question}? {module}/mod.rs says of {file}: {line}");
        }
    }
}
