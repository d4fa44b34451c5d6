//! What is made of the command line itself: completions, man pages and docs/CLI.md.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};

use super::args::CommandLine;
use super::complete;
use super::output::print;
use super::{CommandError, EXIT_OK};

#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS, after_long_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

const COMPLETIONS: &str = "\
Completes commands, options, their values, error codes, and the names of connections and feeds: those of the configuration
that --config names, else of config/config.yaml, else of /etc/ftp-pooler/config.yaml. The script asks the program, so
that it stays right after an upgrade. The Debian package installs it for bash, zsh and fish.

Examples:
  ftp-pooler completions bash > /etc/bash_completion.d/ftp-pooler
  ftp-pooler completions zsh > \"${fpath[1]}/_ftp-pooler\"
  ftp-pooler completions fish > ~/.config/fish/completions/ftp-pooler.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = MAN, after_long_help = MAN)]
pub struct ManArgs {
    /// Write a page for each command into this directory; else the main page is printed
    #[arg(long, value_name = "DIRECTORY")]
    pub into: Option<PathBuf>,
}

const MAN: &str = "\
Examples:
  ftp-pooler man | man -l -
  ftp-pooler man --into /usr/local/share/man/man1";

/// Prints a shell's completions.
pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, CommandError> {
    let script = complete::script(args.shell)?;
    let _ = io::stdout().lock().write_all(&script);
    Ok(EXIT_OK)
}

/// Prints the man page, or writes all of them.
pub(super) fn man(args: &ManArgs) -> Result<u8, CommandError> {
    let Some(directory) = &args.into else {
        let mut page = Vec::new();
        clap_mangen::Man::new(CommandLine::command()).render(&mut page)?;
        let _ = io::stdout().lock().write_all(&page);
        return Ok(EXIT_OK);
    };
    clap_mangen::generate_to(CommandLine::command(), directory)
        .map_err(|error| CommandError::Other(format!("{}: {error}", directory.display())))?;
    print(&directory.display().to_string());
    Ok(EXIT_OK)
}

/// docs/CLI.md: every command's help, as it is on the terminal.
#[must_use]
pub fn cli_md() -> String {
    let mut root = CommandLine::command();
    root.build();
    let mut out = String::from(
        "# The command line\n\nMade from the program by `UPDATE_GENERATED=1 cargo test --test cli`: this is what `--help` says.\n",
    );
    section(&mut out, &mut root, "ftp-pooler", 2);
    out
}

fn section(out: &mut String, command: &mut Command, path: &str, level: usize) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(out, "\n{} {path}\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n").trim());
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            let path = format!("{path} {}", inner.get_name());
            section(out, inner, &path, 3);
        }
    }
}
