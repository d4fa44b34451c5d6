//! What the shell completes behind a Tab: commands and options by themselves, and names of the configuration.
//!
//! The script of `ftp-pooler completions` asks this program, with the words so far, what could stand there.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{CommandLine, ConfigFiles};
use crate::config::ConfiguredNames;

/// The script sets it to the shell's name where it asks.
const VARIABLE: &str = "FTP_POOLER_COMPLETE";
const PROGRAM: &str = "ftp-pooler";

/// Answers the shell, and ends the process, where a completion script asks; else returns.
pub(super) fn answer_the_shell() {
    CompleteEnv::with_factory(CommandLine::command).var(VARIABLE).bin(PROGRAM).completer(PROGRAM).complete();
}

/// The shell's script, which asks whatever `ftp-pooler` is found by the shell.
pub(super) fn script(shell: clap_complete::Shell) -> std::io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name).ok_or_else(|| std::io::Error::other(name.clone()))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    Ok(script)
}

/// A file of tasks, or a location.
pub(super) fn sources(begun: &OsStr) -> Vec<CompletionCandidate> {
    let mut candidates = locations(begun);
    candidates.extend(PathCompleter::file().complete(begun));
    candidates
}

/// FTP connections and local ones, with the colon that begins a path.
pub(super) fn locations(begun: &OsStr) -> Vec<CompletionCandidate> {
    let ConfiguredNames { ftp, local, .. } = names();
    let all = ftp.into_iter().chain(local).map(|name| format!("{name}:"));
    beginning(begun, all)
}

pub(super) fn ftp_connections(begun: &OsStr) -> Vec<CompletionCandidate> {
    beginning(begun, names().ftp)
}

pub(super) fn feeds(begun: &OsStr) -> Vec<CompletionCandidate> {
    beginning(begun, names().feeds)
}

fn beginning(begun: &OsStr, all: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    all.into_iter().filter(|name| name.starts_with(&*begun)).map(CompletionCandidate::new).collect()
}

/// Of the files that the words on the command line name, or of those that are looked for.
fn names() -> ConfiguredNames {
    let words: Vec<OsString> = std::env::args_os().collect();
    let file = |flag: &str| option_of(&words, flag).map(PathBuf::from);
    let files = ConfigFiles { config: file("--config"), connections: file("--connections") };
    ConfiguredNames::read(&files.for_connections(Vec::new()))
}

/// The value behind `--flag` or `--flag=`.
fn option_of(words: &[OsString], flag: &str) -> Option<OsString> {
    let joined = format!("{flag}=");
    words.iter().enumerate().find_map(|(at, word)| {
        if word == flag {
            return words.get(at + 1).cloned();
        }
        word.to_str()?.strip_prefix(&joined).map(OsString::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_is_found_among_the_words_in_both_spellings() {
        let words = ["--", "ftp-pooler", "submit", "--config", "a b.yaml", "--connections=c.ini", "par"];
        let words = words.map(OsString::from);
        assert_eq!(option_of(&words, "--config"), Some("a b.yaml".into()));
        assert_eq!(option_of(&words, "--connections"), Some("c.ini".into()));
        assert_eq!(option_of(&words[..4], "--config"), None, "its value is not there yet");
    }
}
