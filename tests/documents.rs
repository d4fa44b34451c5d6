//! The documents hold what they promise: links lead somewhere, and commands are there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser as _;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file for readers, by path from the root.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "docs", "docs/design", "tests", "k8s", "benches"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text outside fenced blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The text within fenced blocks.
fn code(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code || line.starts_with("    ") {
            kept.push_str(line.trim());
            kept.push('\n');
        }
    }
    kept
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let text = prose(&fs::read_to_string(path).unwrap());
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// What is wrong with a link in a document.
fn broken(document: &str, link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let here = root().join(document);
    let path = if file.is_empty() { here } else { here.parent().unwrap().join(file) };
    if !path.exists() {
        return Some(format!("{document}: {link}: no such file"));
    }
    let is_missing = anchor.is_some_and(|anchor| !anchors(&path).contains(anchor));
    is_missing.then(|| format!("{document}: {link}: no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let links = links(&prose(&read(&document)));
        count += links.len();
        wrong.extend(links.iter().filter_map(|link| broken(&document, link)));
    }
    assert!(count > 25, "{count} links were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    assert_eq!(broken("README.md", "docs/ERRORS.md#error-codes"), None);
    assert!(broken("README.md", "docs/ERRORS.md#nothing").is_some());
    assert!(broken("docs/ERRORS.md", "README.md").is_some(), "relative to its document");
    assert_eq!(links("a [b](c) d [e](f#g)"), ["c", "f#g"]);
    assert_eq!(anchor(" A new key: `x`"), "a-new-key-x");
}

/// A program in a document stands beneath the name of its file, and is the file.
#[test]
fn a_program_in_a_document_is_the_one_that_is_tested() {
    let mut count = 0;
    for document in documents() {
        let mut text = read(&document);
        let mut made = String::new();
        while let Some((before, rest)) = text.split_once("<!-- examples/") {
            let (file, rest) = rest.split_once(" -->\n").unwrap();
            let (fence, rest) = rest.split_once('\n').unwrap();
            let (_, after) = rest.split_once("\n```").unwrap();
            let program = read(&format!("examples/{file}"));
            made.extend([before, "<!-- examples/", file, " -->\n", fence, "\n", &program, "```"]);
            text = after.to_owned();
            count += 1;
        }
        made.push_str(&text);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(root().join(&document), &made).unwrap();
        }
        let what = format!("{document} has another program: UPDATE_GENERATED=1 cargo test --test documents");
        assert!(read(&document) == made, "{what}");
    }
    assert_eq!(count, 3);
}

/// Each place where a document says `word …`: the word behind it.
fn words_behind<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let behind = text.split(word).skip(1);
    let words = behind.map(|rest| &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]);
    words.filter(|word| !word.is_empty() && !word.starts_with('-')).collect()
}

/// Commands stand in blocks of code and between backticks.
fn commands(text: &str) -> String {
    let prose = prose(text);
    let quoted: Vec<_> = prose.split('`').skip(1).step_by(2).collect();
    format!("{}\n{}\n", code(text), quoted.join("\n"))
}

#[test]
fn every_make_target_that_a_document_names_is_one() {
    let makefile = read("Makefile");
    let is_target = |name: &str| makefile.lines().any(|line| line.starts_with(&format!("{name}:")));
    let mut wrong = Vec::new();
    for document in documents() {
        let commands = commands(&read(&document));
        let named: Vec<_> = commands.lines().filter_map(|line| line.strip_prefix("make ")).collect();
        let words = named.iter().filter_map(|rest| rest.split_whitespace().next());
        let words = words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        wrong.extend(words.filter(|word| !is_target(word)).map(|word| format!("{document}: make {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_subcommand_and_option_that_a_document_names_is_one() {
    let help = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_ftp-pooler")).args(arguments).arg("--help").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let commands = commands(&read(&document));
        // `-n ftp-pooler` is kubectl's namespace.
        let lines = commands.lines().map(|line| line.replace("-n ftp-pooler ", ""));
        for line in lines.filter(|line| line.contains("ftp-pooler ")) {
            for name in words_behind(&line, "ftp-pooler ") {
                let Some(own_help) = help(&[name]).filter(|help| help.contains("Usage: ftp-pooler")) else {
                    wrong.push(format!("{document}: ftp-pooler {name}: no such subcommand"));
                    continue;
                };
                count += 1;
                let (_, behind) = line.split_once(&format!("ftp-pooler {name}")).unwrap();
                // `failures retry` and the like have options of their own.
                let next = behind.split_whitespace().next().unwrap_or_default();
                let is_word = !next.is_empty() && next.chars().all(|c| c.is_ascii_lowercase());
                let nested = is_word.then(|| help(&[name, next])).flatten();
                let nested = nested.filter(|help| help.contains(&format!("Usage: ftp-pooler {name} {next}")));
                let help = nested.unwrap_or(own_help);
                let own = behind.split(['|', ';', '#', '&']).next().unwrap_or_default();
                let options = own.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
                let unknown = options
                    .map(|option| option.split('=').next().unwrap_or(option))
                    .map(|option| option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
                    .filter(|option| !help.contains(option));
                wrong.extend(unknown.map(|option| format!("{document}: ftp-pooler {name} {option}")));
            }
        }
    }
    assert!(count > 5, "{count} commands were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of a shell's line, quotes taken away, up to what ends the command.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '#' | '&' | ';') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Every command of ours in a document's blocks of code, as the shell would start it. In the help's examples what
/// it does stands behind two spaces.
fn own_commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in code(text).lines() {
        for part in line.split("&& ").flat_map(|part| part.split("| ")) {
            let part = part.trim_start();
            let Some(own) = part.strip_prefix("ftp-pooler ") else { continue };
            // `ftp-pooler run    --config …` is set in columns; a remark never begins with a dash.
            let mut pieces = own.split("  ");
            let mut told = pieces.next().unwrap_or_default().to_owned();
            told.extend(pieces.filter(|piece| piece.trim_start().starts_with('-')));
            let words = shell_words(&told);
            let is_prose =
                words.first().is_none_or(|name| !name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            if !is_prose && !told.contains('<') && !told.contains('[') {
                commands.push(words);
            }
        }
    }
    commands
}

#[test]
fn every_command_line_in_a_block_of_code_is_taken_by_the_program() {
    let (mut count, mut wrong) = (0, Vec::new());
    for document in documents() {
        for words in own_commands(&read(&document)) {
            count += 1;
            let line = words.join(" ");
            let words = std::iter::once("ftp-pooler".to_owned()).chain(words);
            if let Err(error) = ftp_pooler::cli::CommandLine::try_parse_from(words) {
                wrong.push(format!("{document}: ftp-pooler {line}: {error}"));
            }
        }
    }
    assert!(count > 30, "{count} command lines were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_line_is_taken_apart_as_a_shell_does() {
    let words = own_commands("```sh\nx && ftp-pooler submit a: 'b c' --id-from content | jq . # why\n```\n");
    assert_eq!(words, [["submit", "a:", "b c", "--id-from", "content"]]);
    assert_eq!(own_commands("```\n  ftp-pooler lag    what waits\n```\n"), [["lag"]]);
    assert!(own_commands("ftp-pooler lag, in prose").is_empty());
}

/// The blocks of code in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0)).collect()
}

#[test]
fn every_task_and_connection_that_a_document_shows_is_taken() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        let dir = tempfile::tempdir().unwrap();
        let ini = blocks(&text, "ini").join("\n");
        let base_path = format!("base_path = {}", dir.path().display());
        let ini: Vec<_> =
            ini.lines().map(|line| if line.starts_with("base_path") { &base_path } else { line }).collect();
        fs::write(dir.path().join("connections.ini"), ini.join("\n")).unwrap();
        fs::write(dir.path().join("config.yaml"), "kafka: {}\n").unwrap();
        let tasks = blocks(&text, "json").into_iter().filter(|block| block.contains("\"operation\""));
        // One to a line, as `submit` reads them.
        let tasks: Vec<String> = tasks.map(|task| task.replace('\n', " ")).collect();
        if tasks.is_empty() {
            continue;
        }
        count += tasks.len();
        let lines = dir.path().join("tasks.jsonl");
        fs::write(&lines, tasks.join("\n")).unwrap();
        let mut submit = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
        submit.arg("submit").arg(&lines).arg("--dry-run").arg("--config").arg(dir.path().join("config.yaml"));
        let output = submit.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{document}: {said}");
    }
    assert!(count >= 3, "{count} tasks were looked at");
}

/// The cells of a Markdown table's rows that are numbers.
fn numbers(text: &str) -> Vec<String> {
    let cells = text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('|'));
    let cells = cells.map(|cell| cell.trim().to_owned());
    cells.filter(|cell| !cell.is_empty() && cell.parse::<f64>().is_ok()).collect()
}

#[test]
fn readmes_figures_are_those_that_were_measured() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("\n## Beside what you have today\n").unwrap();
    let (measured, _) = rest.split_once("\n## ").unwrap();
    let (shown, known) = (numbers(measured), numbers(&read("docs/BENCHMARKS.md")));
    assert!(shown.len() >= 12, "{shown:?}");
    let wrong: Vec<_> = shown.iter().filter(|figure| !known.contains(figure)).collect();
    assert!(wrong.is_empty(), "{wrong:?} stand in no table of docs/BENCHMARKS.md");
}
