//! The documents hold what they promise: their files are read, their commands are parsed, each class of failure has
//! its section, and the alerts do what they say.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use frp_tunnels::cli::check_arguments;
use frp_tunnels::failure::FailureClass;
use frp_tunnels::frps::read_client_rules;
use frp_tunnels::tunnel_file::parse_tunnel_file;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents() -> Vec<(String, String)> {
    let directory = root().join("docs/tunnels");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The fenced blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        match &mut current {
            Some(block) if line.trim() == "```" => {
                found.push(std::mem::take(block));
                current = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == format!("```{language}") => current = Some(String::new()),
            None if line.starts_with("```") => current = Some(String::from("\0")),
            None => {}
        }
    }
    found.into_iter().filter(|block| !block.starts_with('\0')).collect()
}

/// The text with every secret and certificate in a file that is there.
fn with_files(text: &str, directory: &Path) -> String {
    let file = directory.join("file");
    fs::write(&file, "a-secret\n").unwrap();
    let mut words: Vec<String> = text.split('"').map(str::to_owned).collect();
    for word in &mut words {
        if word.starts_with("/run/secrets/") || word.starts_with("/etc/frp-tunnels/") {
            *word = file.display().to_string();
        }
    }
    words.join("\"")
}

#[test]
fn every_file_of_the_documents_and_manifests_is_read_without_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let mut files: Vec<(String, String)> = Vec::new();
    for (name, text) in documents() {
        files.extend(blocks(&text, "toml").into_iter().map(|block| (name.clone(), block)));
    }
    files.push(("k8s".into(), fs::read_to_string(root().join("k8s/tunnels/tunnels.toml")).unwrap()));
    let mut count = 0;
    for (name, block) in &files {
        let text = with_files(block, directory.path());
        if text.contains("[server]") {
            count += 1;
            parse_tunnel_file(&text).unwrap_or_else(|found| panic!("{name}: {found:#?}\n{text}"));
        } else {
            let path = directory.path().join("clients.toml");
            fs::write(&path, &text).unwrap();
            read_client_rules(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(count >= 4, "{count} files were looked at");
}

/// Words as a shell makes them of quotes and comments.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('#', None) if word.is_empty() => break,
            (' ', None) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[test]
fn every_command_of_the_documents_is_one() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut count = 0;
    for (name, text) in documents().into_iter().chain([("README.md".to_owned(), readme)]) {
        for line in blocks(&text, "sh")
            .iter()
            .flat_map(|block| block.lines())
            .filter(|line| line.starts_with("frp-tunnels "))
        {
            count += 1;
            check_arguments(&words(line)).unwrap_or_else(|error| panic!("{name}: {line}\n{error}"));
        }
    }
    assert!(count > 10, "{count} commands were looked at");
    for unit in fs::read_dir(root().join("k8s/tunnels/systemd")).unwrap() {
        let text = fs::read_to_string(unit.unwrap().path()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/")).unwrap();
        check_arguments(&words(line)).unwrap();
    }
}

#[test]
fn each_class_of_failure_has_its_section() {
    let text = fs::read_to_string(root().join("docs/tunnels/TROUBLESHOOTING.md")).unwrap();
    let missing: Vec<_> =
        FailureClass::ALL.iter().filter(|class| !text.contains(&format!("\n## {class}\n"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let directory = root().join("docs/tunnels");
    for (name, text) in documents() {
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { name.as_str() } else { file };
            let found = fs::read_to_string(directory.join(file))
                .unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
            let kept = |heading: &str| {
                heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>()
            };
            let anchors = found
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(|line| kept(&line.trim_start_matches('#').trim().to_lowercase()).replace(' ', "-"));
            assert!(
                anchor.is_empty() || anchors.into_iter().any(|known| known == anchor),
                "{name}: {target}"
            );
        }
    }
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_alerts_do_what_they_say() {
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root().join(".deps"), PathBuf::from);
    let unpacked = deps.join("promtool");
    let program = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    let output = Command::new(program)
        .args(["test", "rules", "alerts.test.yaml"])
        .current_dir(root().join("k8s/tunnels"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_there_are() {
    let exposition = frp_tunnels::exposition::Exposition::new().unwrap();
    let known = exposition.names();
    for file in ["dashboard.json", "alerts.yaml"] {
        let text = fs::read_to_string(root().join("k8s/tunnels").join(file)).unwrap();
        for word in text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("frp_tunnel_"))
        {
            assert!(known.contains(&word.to_owned()), "{file}: {word}: {known:?}");
        }
    }
}
