//! Where frpc and frps are, and whether they are new enough.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{ProcessError, ProgramRun, run_to_end};

/// `frpc -v` answers in milliseconds; a binary of another system may hang.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Directories that are searched after `PATH`.
const USUAL_DIRECTORIES: [&str; 3] = ["/usr/local/bin", "/opt/frp", "/usr/bin"];

/// One of frp's two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrpProgram {
    Client,
    Server,
}

impl FrpProgram {
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "frpc",
            Self::Server => "frps",
        }
    }

    /// The environment variable that names the file.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Client => "FRP_TUNNELS_FRPC",
            Self::Server => "FRP_TUNNELS_FRPS",
        }
    }

    /// frpc from 0.61 has every key that is written; frps before 0.71 has a remote panic and an authentication
    /// bypass (CVE-2026-40910).
    pub fn minimum(self) -> FrpVersion {
        match self {
            Self::Client => FrpVersion(0, 61, 0),
            Self::Server => FrpVersion(0, 71, 0),
        }
    }
}

/// `0.71.0`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrpVersion(pub u32, pub u32, pub u32);

impl FrpVersion {
    /// The first line that is a version; frp prints nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut parts = line.trim().trim_start_matches('v').splitn(3, '.');
            let mut number = || parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
            Some(Self(number()?, number()?, number()?))
        })
    }
}

impl fmt::Display for FrpVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A program that was found and asked for its version.
#[derive(Debug, Clone)]
pub struct FrpBinary {
    pub path: PathBuf,
    pub version: FrpVersion,
}

#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("{} was not found; searched {}", program.name(), list(looked_at))]
    NotFound { program: FrpProgram, looked_at: Vec<PathBuf> },
    #[error("{} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    #[error("{}: {source}", path.display())]
    NotRunnable {
        path: PathBuf,
        #[source]
        source: ProcessError,
    },
    #[error("{} does not print a version of frp: {output:?}", path.display())]
    NoVersion { path: PathBuf, output: String },
    #[error("{} is {} {version}; at least {} is needed", path.display(), program.name(), program.minimum())]
    TooOld { program: FrpProgram, path: PathBuf, version: FrpVersion },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Finds the program and asks for its version: the given path, the environment variable, next to this program, `PATH`,
/// then the usual directories. An explicitly named one is never skipped.
pub async fn find_binary(program: FrpProgram, given: Option<&Path>) -> Result<FrpBinary, BinaryError> {
    let path = locate(program, given, |name| env::var_os(name), &own_directory())?;
    let run = ProgramRun { program: path.clone(), arguments: vec!["-v".into()], deadline: VERSION_DEADLINE };
    let output = run_to_end(run, None)
        .await
        .map_err(|source| BinaryError::NotRunnable { path: path.clone(), source })?;
    let Some(version) = FrpVersion::parse(&output.text) else {
        return Err(BinaryError::NoVersion { path, output: output.text.chars().take(200).collect() });
    };
    if version < program.minimum() {
        return Err(BinaryError::TooOld { program, path, version });
    }
    Ok(FrpBinary { path, version })
}

fn own_directory() -> PathBuf {
    let own = env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    own.unwrap_or_default()
}

fn locate(
    program: FrpProgram,
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    own_directory: &Path,
) -> Result<PathBuf, BinaryError> {
    let explicit = given.map(Path::to_owned).or_else(|| variable(program.variable()).map(PathBuf::from));
    if let Some(path) = explicit {
        return if is_executable(&path) { Ok(path) } else { Err(BinaryError::NotExecutable(path)) };
    }
    let path = variable("PATH").unwrap_or_default();
    let home = variable("HOME").map(|home| Path::new(&home).join("bin"));
    let directories = std::iter::once(own_directory.to_owned())
        .chain(env::split_paths(OsStr::new(&path)))
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from))
        .chain(home)
        .filter(|directory| directory.is_absolute());
    let mut looked_at: Vec<PathBuf> = Vec::new();
    for candidate in directories.map(|directory| directory.join(program.name())) {
        if looked_at.contains(&candidate) {
            continue;
        }
        if is_executable(&candidate) {
            return Ok(candidate);
        }
        looked_at.push(candidate);
    }
    Err(BinaryError::NotFound { program, looked_at })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn program_in(directory: &Path) -> PathBuf {
        let path = directory.join("frpc");
        std::fs::write(&path, "#!/bin/sh\necho 0.71.0\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_order_is_parameter_variable_own_directory_path_home() {
        let places: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let paths: Vec<_> = places.iter().map(|place| program_in(place.path())).collect();
        let variable = |name: &str| match name {
            "FRP_TUNNELS_FRPC" => Some(paths[1].clone().into_os_string()),
            "PATH" => Some(places[3].path().as_os_str().to_owned()),
            _ => None,
        };
        let client = FrpProgram::Client;
        assert_eq!(locate(client, Some(&paths[0]), variable, places[2].path()).unwrap(), paths[0]);
        assert_eq!(locate(client, None, variable, places[2].path()).unwrap(), paths[1]);
        let path_only = |name: &str| variable(name).filter(|_| name == "PATH");
        assert_eq!(locate(client, None, path_only, places[2].path()).unwrap(), paths[2]);
        assert_eq!(locate(client, None, path_only, Path::new("/nowhere")).unwrap(), paths[3]);
    }

    #[test]
    fn what_is_named_and_missing_is_an_error_and_a_search_says_where_it_looked() {
        let missing = locate(FrpProgram::Client, Some(Path::new("/nowhere/frpc")), |_| None, Path::new(""));
        assert!(matches!(missing, Err(BinaryError::NotExecutable(_))));
        let elsewhere = locate(FrpProgram::Server, None, |_| None, Path::new("/nowhere"));
        if let Err(error) = elsewhere {
            assert!(error.to_string().contains("/nowhere/frps, /usr/local/bin/frps"), "{error}");
        }
    }

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(FrpVersion::parse("0.71.0\n"), Some(FrpVersion(0, 71, 0)));
        assert_eq!(FrpVersion::parse("v1.2.3-rc1"), Some(FrpVersion(1, 2, 3)));
        assert_eq!(FrpVersion::parse("usage: x"), None);
        assert!(FrpVersion(0, 60, 9) < FrpProgram::Client.minimum());
    }
}
