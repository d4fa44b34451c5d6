//! One run of each of the others, told to do the same as quickly as they can.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::SESSIONS;
use crate::load::{Case, Ground, Places, name_of};
use crate::support::deps_dir;
use crate::support::kafka::Kafka;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::{PASSWORD, USER};
use crate::usage::Usage;
use crate::{fed, python};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Rclone,
    Lftp,
    Curl,
    Python,
}

/// A program that is here.
#[derive(Clone, Debug)]
pub struct Peer {
    kind: Kind,
    program: PathBuf,
}

impl Peer {
    /// Those that can be found, installed or unpacked by `scripts/install-deps.sh bench`; says which cannot.
    pub fn found() -> Vec<Peer> {
        [Kind::Rclone, Kind::Lftp, Kind::Curl, Kind::Python].into_iter().filter_map(Peer::find).collect()
    }

    fn find(kind: Kind) -> Option<Peer> {
        let name = kind.name();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let unpacked = deps_dir().join(name).join("usr/bin");
        let mut places = std::env::split_paths(&path).chain([unpacked]).map(|dir| dir.join(name));
        let program = match kind {
            Kind::Python => Some(python::interpreter()).filter(|place| place.is_file()),
            _ => places.find(|place| place.is_file()),
        };
        if program.is_none() {
            println!("Without {name}: it is not here.");
        }
        program.map(|program| Peer { kind, program })
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub fn version(&self) -> String {
        let mut command = self.command();
        if matches!(self.kind, Kind::Python) {
            command.arg(python::script());
        }
        crate::first_line(command.arg("--version"))
    }

    /// rclone, where it is here.
    pub fn rclone_alone() -> Option<Peer> {
        Peer::find(Kind::Rclone)
    }

    /// Rclone, with the server at another address than its own.
    pub fn run_rclone_at(&self, ground: &Ground, case: &Case, server: SocketAddr) -> Usage {
        self.run_alone(ground, case, |places, _| self.rclone(server, case, places))
    }

    /// From the start of the program to its end; the worker in Python as the pooler.
    pub fn run(&self, kafka: &Kafka, ground: &Ground, case: &Case) -> Usage {
        match self.kind {
            Kind::Python => fed::run(kafka, ground, case, python::start),
            Kind::Rclone => self.run_rclone_at(ground, case, ground.addr()),
            Kind::Lftp => self.run_alone(ground, case, |places, _| lftp(ground, case, places)),
            Kind::Curl => self.run_alone(ground, case, |places, scratch| curl(ground, case, places, scratch)),
        }
    }

    fn run_alone(&self, ground: &Ground, case: &Case, args: impl Fn(&Places, &Path) -> Vec<String>) -> Usage {
        let places = ground.places(case);
        let scratch = Scratch::new(self.name());
        let args = args(&places, scratch.path());
        let usage = Usage::of(&self.program, &args, &scratch.path().join("log"), |command| {
            command.env("LD_LIBRARY_PATH", self.libraries()).env("HOME", scratch.path());
        });
        places.assert_all_there();
        usage
    }

    /// Nothing is listed or compared that need not be.
    fn rclone(&self, server: SocketAddr, case: &Case, places: &Places) -> Vec<String> {
        let obscured = crate::first_line(self.command().args(["obscure", PASSWORD]));
        let (host, port) = (server.ip(), server.port());
        let remote = format!(":ftp,host={host},port={port},user={USER},pass={obscured}:{}", places.remote);
        let local = places.local.display().to_string();
        let (from, to) = if case.upload { (local, remote) } else { (remote, local) };
        let sessions = SESSIONS.to_string();
        ["copy", "--no-check-dest", "--transfers", &sessions, "--checkers", &sessions, &from, &to]
            .map(str::to_owned)
            .to_vec()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    /// The directories of the libraries that were unpacked beside it.
    fn libraries(&self) -> String {
        let unpacked = deps_dir().join(self.name());
        let list = fs::read_to_string(unpacked.join("library-path")).unwrap_or_default();
        let paths = list.trim().split(':').filter(|path| !path.is_empty());
        paths.map(|path| unpacked.join(path).display().to_string()).collect::<Vec<_>>().join(":")
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rclone => "rclone",
            Kind::Lftp => "lftp",
            Kind::Curl => "curl",
            Kind::Python => "python",
        }
    }
}

/// Commands in bursts (`sync-mode off`), which it can, and no waiting for QUIT.
fn lftp(ground: &Ground, case: &Case, places: &Places) -> Vec<String> {
    let way = if case.upload { "-R " } else { "" };
    let (remote, local) = (format!("/{}", places.remote), places.local.display().to_string());
    // Relative to the login directory, which `~` is.
    let remote = format!("~{remote}");
    let (from, to) = if case.upload { (local, remote) } else { (remote, local) };
    let script = format!(
        "set ftp:sync-mode off; set ftp:use-mdtm off; set mirror:set-permissions off; \
         open -u '{USER},{PASSWORD}' -p {port} {host}; \
         mirror {way}--no-perms --parallel={SESSIONS} {from} {to}",
        host = ground.addr().ip(),
        port = ground.addr().port(),
    );
    vec!["--norc".to_owned(), "-c".to_owned(), script]
}

/// A file of URLs; paths are named whole instead of by CWD.
fn curl(ground: &Ground, case: &Case, places: &Places, scratch: &Path) -> Vec<String> {
    let mut list = String::new();
    for file in 0..case.files {
        let name = name_of(file);
        let here = places.local.join(&name);
        let key = if case.upload { "upload-file" } else { "output" };
        let _ = writeln!(list, "url = \"ftp://{}/{}/{name}\"", ground.addr(), places.remote);
        let _ = writeln!(list, "{key} = \"{}\"", here.display());
    }
    let file = scratch.join("urls");
    fs::write(&file, list).expect("a file of URLs");
    let sessions = SESSIONS.to_string();
    let user = format!("{USER}:{PASSWORD}");
    let urls = file.display().to_string();
    ["-s", "-S", "-u", &user, "--ftp-method", "nocwd", "-Z", "--parallel-max", &sessions, "-K", &urls]
        .map(str::to_owned)
        .to_vec()
}
