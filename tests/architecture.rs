//! The rules of docs/ARCHITECTURE.md that a text search can check.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

#[path = "architecture/cycles.rs"]
mod cycles;
#[path = "architecture/maps.rs"]
mod maps;
#[path = "architecture/type_names.rs"]
mod type_names;

use std::fs;
use std::path::{Path, PathBuf};

/// Who may name what: a word, and the places beneath `src/` that may hold it.
const RULES: &[(&str, &[&str])] = &[
    ("rdkafka::", &["kafka/", "consume/", "publish/", "client/"]),
    ("suppaftp::", &["ftp/"]),
    ("deadpool::", &["pool/"]),
    ("axum::", &["sidecar/"]),
    ("frp_tunnels", &["app/tunnels/"]),
    ("rustix::fs", &["storage/"]),
    ("cap_std", &["storage/"]),
    ("crate::app", &["main.rs", "cli/"]),
    ("crate::consume", &["app/", "publish/", "consume/"]),
    // what all clients have in common: beneath those that have one, and the commands that name its properties
    (
        "crate::kafka",
        &["app/", "consume/", "publish/", "client/", "coordination/", "feeds/", "kafka/", "cli/args.rs"],
    ),
    // the commands' own Kafka: no part of a pod may lean on it
    ("crate::client", &["cli/"]),
    ("crate::publish", &["app/"]),
    ("crate::coordination", &["app/", "coordination/"]),
    (
        "crate::feeds",
        &[
            "app/",
            "cli/feeds",
            "client/probe",
            "client/topics.rs",
            "feeds/",
            "insight/",
            "pods/",
            "sidecar/answers.rs",
        ],
    ),
    ("crate::listing", &["app/", "cli/submit", "feeds/", "listing/"]),
    ("crate::pool", &["app/", "dispatch/"]),
    ("crate::transfer", &["app/", "dispatch/"]),
    (
        "crate::ftp",
        &[
            "pool/",
            "transfer/",
            "dispatch/task_executor.rs",
            "cli/check",
            "cli/submit/patient_session",
            "listing/",
            "ftp/",
        ],
    ),
    ("crate::storage", &["app/", "transfer/", "cli/check", "listing/", "storage/"]),
    ("crate::sidecar", &["app/"]),
    // the sidecar asks the pod through it, and sees no other part
    ("crate::insight", &["app/", "consume/", "dispatch/", "transfer/", "publish/tests.rs", "sidecar/"]),
    ("crate::dispatch", &["app/", "consume/", "dispatch/", "publish/tests.rs"]),
    ("crate::cli::", &["main.rs", "cli/"]),
    ("opentelemetry", &["traces/"]),
    ("crate::traces", &["app/", "dispatch/", "traces/"]),
    ("anyhow", &[]),
    // secrets are unveiled only where they leave the process
    ("expose_secret", &["config/", "kafka/properties.rs", "ftp/"]),
];

/// What no code of a crate beneath `crates/` may name: the pool is built on these crates, and they are not part of it.
const CRATE_RULES: &[(&str, &[&str])] =
    &[("service-kit", &["ftp", "kafka", "tunnel", "upstream", "crate::task", "connection_pool"])];

/// At most this many lines a file, tests included: a longer one holds more than one noun.
const MAX_LINES: usize = 450;

/// The program's language, and those of the page.
const SOURCES: &[&str] = &["rs", "js", "css", "html"];

/// Of the pool, by their path beneath `src/`.
fn sources() -> Vec<(String, String)> {
    files_beneath("src")
}

/// Of the pool and of all other crates of the workspace.
fn sources_of_all_crates() -> Vec<(String, String)> {
    [files_beneath("src"), files_beneath("crates")].concat()
}

/// Each file of the languages above, by its path beneath this directory, with its text.
fn files_beneath(directory: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path
                .extension()
                .is_some_and(|extension| SOURCES.iter().any(|known| extension == *known))
            {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The lines that are code: comments may name what code may not.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

#[test]
fn each_part_is_named_only_where_it_may_be() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        for (word, allowed) in RULES {
            if allowed.iter().any(|place| file.starts_with(place)) {
                continue;
            }
            let named = code(&text).find(|(_, line)| line.contains(word));
            broken.extend(
                named.map(|(line, _)| format!("src/{file}:{line} names {word}; only {allowed:?} may")),
            );
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_crate_names_nothing_of_what_is_built_on_it() {
    let mut broken = Vec::new();
    for (name, words) in CRATE_RULES {
        for (file, text) in files_beneath(&format!("crates/{name}/src")) {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (line, text) in code(product) {
                let text = text.to_lowercase();
                let named = words.iter().filter(|word| text.contains(**word));
                broken.extend(named.map(|word| format!("crates/{name}/src/{file}:{line} names {word}")));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for place in ["src", "crates", "tests", "benches"] {
        for (file, text) in files_beneath(place) {
            let lines = text.lines().count();
            if lines > MAX_LINES {
                long.push(format!("{place}/{file}: {lines} lines; at most {MAX_LINES}"));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The documents that send their reader to files.
const DOCUMENTS: &[&str] =
    &["README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/ERRORS.md", "tests/README.md"];

/// The documents above, and those of the design, by name, with their texts.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = fs::read_dir(root.join("docs/design")).unwrap();
    let design = design.map(|entry| format!("docs/design/{}", entry.unwrap().file_name().to_string_lossy()));
    let names = DOCUMENTS.iter().map(ToString::to_string).chain(design);
    names.map(|name| (name.clone(), fs::read_to_string(root.join(name)).unwrap())).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for (document, text) in documents() {
        let places = ["src/", "docs/", "tests/", "scripts/", "config/", "benches/"];
        let paths = quoted(&text).filter(|word| places.iter().any(|place| word.starts_with(place)));
        missing
            .extend(paths.filter(|path| !root.join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_bound_that_the_architecture_names_is_a_constant() {
    let text: String = documents()
        .into_iter()
        .filter(|(name, _)| name.starts_with("docs/design/") || name == "docs/ARCHITECTURE.md")
        .map(|(_, text)| text)
        .collect();
    let sources = sources_of_all_crates();
    let is_constant = |name: &str| {
        let declaration = format!("const {name}:");
        sources.iter().any(|(_, source)| source.contains(&declaration))
    };
    let is_upper =
        |name: &str| name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let names =
        quoted(&text).map(|word| word.rsplit("::").next().unwrap_or(word)).filter(|name| is_upper(name));
    let missing: Vec<_> = names.filter(|name| !is_constant(name) && *name != "RENAME_NOREPLACE").collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Where a line of the log begins.
const LOG_LINES: &[&str] =
    &["tracing::error!(", "tracing::warn!(", "tracing::info!(", "tracing::debug!(", "tracing::trace!("];

#[test]
fn every_line_of_the_log_names_its_event() {
    let mut nameless = Vec::new();
    let crates = files_beneath("crates").into_iter().filter(|(file, _)| file.contains("/src/"));
    for (file, text) in sources().into_iter().chain(crates) {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in LOG_LINES.iter().flat_map(|start| product.match_indices(start)) {
            let rest = &product[line.0..];
            let end = rest.find(");").or_else(|| rest.find("),")).unwrap_or(rest.len());
            if !rest[..end].contains("event = ") {
                nameless.push(format!("{file}: {}", rest[..end].lines().take(3).collect::<String>()));
            }
        }
    }
    assert!(nameless.is_empty(), "{}", nameless.join("\n"));
}

#[test]
fn no_stub_is_left() {
    let stubs: Vec<_> = sources_of_all_crates()
        .iter()
        .filter(|(_, text)| {
            code(text).any(|(_, line)| line.contains("todo!(") || line.contains("unimplemented!("))
        })
        .map(|(file, _)| file.clone())
        .collect();
    assert!(stubs.is_empty(), "{stubs:?}");
}
