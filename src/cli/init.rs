//! `ftp-pooler init` and `ftp-pooler import-rclone`: the files that an installation begins with.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::output::{count, note, one_line, print};
use super::{CommandError, EXIT_DATA, EXIT_OK};
use crate::config::{config_yaml, connections_ini, import_rclone, section_names};

/// Bytes of an rclone.conf or a connections.ini at most.
const MAX_BYTES: u64 = 4 << 20;
/// config.yaml is world-readable; connections.ini holds passwords.
const OPEN: u32 = 0o644;
const CLOSED: u32 = 0o600;

#[derive(Debug, clap::Args)]
#[command(after_help = INIT_EXAMPLES, after_long_help = INIT_EXAMPLES)]
pub struct InitArgs {
    /// Directory for config.yaml and connections.ini; created if missing
    #[arg(value_name = "DIRECTORY", default_value = "config")]
    pub directory: PathBuf,

    /// Replace existing files
    #[arg(long)]
    pub force: bool,
}

const INIT_EXAMPLES: &str = "\
Examples:
  ftp-pooler init my && ${EDITOR:-vi} my/config.yaml my/connections.ini
  ftp-pooler topics --config my/config.yaml
  ftp-pooler check --config my/config.yaml

Exit codes:
   0  both files are written
   1  one exists already (--force), or cannot be written; neither was changed";

/// Writes both files, or neither if one exists.
pub(super) fn init(args: &InitArgs) -> Result<u8, CommandError> {
    let directory = &args.directory;
    let files = [("config.yaml", config_yaml(), OPEN), ("connections.ini", connections_ini(), CLOSED)];
    let in_the_way: Vec<String> = files
        .iter()
        .map(|(name, ..)| directory.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !args.force && !in_the_way.is_empty() {
        return Err(CommandError::Other(format!(
            "{} already; --force replaces {}",
            in_the_way.join(" and ") + if in_the_way.len() > 1 { " exist" } else { " exists" },
            if in_the_way.len() > 1 { "them" } else { "it" }
        )));
    }
    let failed = |path: &Path, error: io::Error| CommandError::Other(format!("{}: {error}", path.display()));
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, text, mode) in files {
        let path = directory.join(name);
        write(&path, text.as_bytes(), mode, args.force).map_err(|error| failed(&path, error))?;
        print(&path.display().to_string());
    }
    note(&format!(
        "next: fill in brokers, servers and base_path; then `ftp-pooler topics --config {0}` makes the topics, and\n\
         `ftp-pooler check --config {0}` tries it all",
        directory.join("config.yaml").display()
    ));
    Ok(EXIT_OK)
}

/// Puts a whole file in place at once.
fn write(path: &Path, content: &[u8], mode: u32, replaces: bool) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    let placed = if replaces { file.persist(path) } else { file.persist_noclobber(path) };
    placed.map(drop).map_err(|error| error.error)
}

#[derive(Debug, clap::Args)]
#[command(after_help = IMPORT_EXAMPLES, after_long_help = IMPORT_EXAMPLES)]
pub struct ImportArgs {
    /// rclone's configuration [default: RCLONE_CONFIG, else ~/.config/rclone/rclone.conf]
    #[arg(value_name = "RCLONE.CONF")]
    pub file: Option<PathBuf>,

    /// Import only this remote; repeatable
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// Add the sections to this connections.ini, except those that it already has; otherwise they are printed
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

const IMPORT_EXAMPLES: &str = "\
Takes the remotes of type ftp over: host, port, user, the obscured password and what else has a counterpart. What
has none is named, as are remotes of other types.

Examples:
  ftp-pooler import-rclone --into config/connections.ini
  ftp-pooler import-rclone other.conf --only customer-a

Exit codes:
   0  success
   1  a file cannot be read or written
  65  rclone.conf is encrypted, an FTP remote or one of its keys was left out (each is named, the rest is imported), or
      --only names one that cannot be imported";

/// Of the template's FTP server.
const EXAMPLE_HOST: &str = "ftp.example.com";

/// Imports rclone's FTP remotes.
pub(super) fn import(args: &ImportArgs) -> Result<u8, CommandError> {
    let path = rclone_conf(args.file.clone())?;
    let shown = path.display().to_string();
    let text = read(&path)?.ok_or_else(|| CommandError::Other(format!("{shown}: no such file")))?;
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    let user = user.unwrap_or_else(|| "anonymous".to_owned());
    let mut imported =
        import_rclone(&text, &shown, &user).map_err(|error| CommandError::Data(error.to_string()))?;
    for line in &imported.notes {
        note(&one_line(line));
    }
    if !args.only.is_empty() {
        let missing: Vec<&str> = args
            .only
            .iter()
            .filter(|name| imported.sections.iter().all(|(known, _)| known != *name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(CommandError::Data(format!(
                "{shown} has no FTP remote {} to take over",
                missing.join(", ")
            )));
        }
        imported.sections.retain(|(name, _)| args.only.contains(name));
    }
    for (name, text) in &imported.sections {
        for remark in remarks(text) {
            note(&one_line(&format!("[{name}] {remark}")));
        }
    }
    match &args.into {
        None => print_sections(&imported.sections),
        Some(into) => add(&imported.sections, into)?,
    }
    let mut left_out = imported.refused.iter().chain(&imported.incomplete);
    let is_incomplete = left_out.any(|name| args.only.is_empty() || args.only.contains(name));
    Ok(if is_incomplete { EXIT_DATA } else { EXIT_OK })
}

/// What was imported as it is, but should be reviewed.
fn remarks(section: &str) -> Vec<String> {
    let value = |key: &str| {
        let mut lines = section.lines().filter_map(|line| line.split_once(" = "));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
    };
    let mut remarks = Vec::new();
    if let Some(most) =
        value("concurrency").and_then(|number| number.parse::<u32>().ok()).filter(|most| *most > 0)
    {
        remarks.push(format!(
            "concurrency = {most}: if the server allows no more, make it one less, since submit and check need a session too"
        ));
    }
    if value("no_check_certificate") == Some("true") {
        remarks.push(
            "no_check_certificate = true accepts any certificate; tls_pin accepts one (without both, check prints its SHA-256)"
                .to_owned(),
        );
    }
    remarks
}

fn print_sections(sections: &[(String, String)]) {
    for (_, text) in sections {
        print(&format!("{text}\n"));
    }
    if sections.is_empty() {
        note("there is nothing to take over");
    }
}

/// Adds sections to a file, those aside that it has.
fn add(sections: &[(String, String)], into: &Path) -> Result<(), CommandError> {
    let shown = into.display().to_string();
    let before = read(into)?;
    let mut text = before.clone().unwrap_or_default();
    let there = section_names(&text, &shown).map_err(CommandError::Config)?;
    let mut added = 0;
    for (name, section) in sections {
        if there.contains(name) {
            note(&format!("[{name}] is in {shown} already: left as it is"));
            continue;
        }
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(section);
        added += 1;
    }
    if added > 0 {
        // A link stays one; what it leads to is replaced.
        let target = fs::canonicalize(into).unwrap_or_else(|_| into.to_owned());
        let mode = fs::metadata(&target).map_or(CLOSED, |meta| meta.permissions().mode() & 0o777);
        write(&target, text.as_bytes(), mode, before.is_some())
            .map_err(|error| CommandError::Other(format!("{shown}: {error}")))?;
    }
    note(&format!("{} added to {shown}", count(added, "section")));
    if text.contains(EXAMPLE_HOST) {
        note(&format!(
            "{shown} still has the example, {EXAMPLE_HOST}: take its section out, or check fails there"
        ));
    }
    Ok(())
}

/// A file's text; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>, CommandError> {
    let failed = |error: io::Error| CommandError::Other(format!("{}: {error}", path.display()));
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(CommandError::Data(format!("{} has more than {MAX_BYTES} bytes", path.display())));
    }
    Ok(Some(text))
}

fn rclone_conf(given: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    let by_variable = || std::env::var_os("RCLONE_CONFIG").map(PathBuf::from);
    let at_home = || {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
        Some(config.join("rclone/rclone.conf"))
    };
    given
        .or_else(by_variable)
        .or_else(at_home)
        .ok_or_else(|| CommandError::Usage("say where rclone.conf is".to_owned()))
}
