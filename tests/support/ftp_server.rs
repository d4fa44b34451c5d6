//! A real FTP server of one of six makes, with or without TLS; all behave alike as far as they can.
//!
//! vsftpd and `ProFTPD` run as whoever runs the tests, and so do the three that are libraries (pyftpdlib, Apache
//! `FtpServer`, ftp-srv). Pure-FTPd wants to be started by root.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::certificate::Certificate;
use super::deps_dir;
use super::link;
use super::ports::free_port;
use super::process::Process;
use super::scratch::Scratch;
use super::vsftpd::{self, Host, Vsftpd};
use super::wait::try_wait_for;

/// The servers of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Vsftpd,
    Proftpd,
    PureFtpd,
    /// Without MLSD, and with listings as Windows' servers have them.
    Pyftpdlib,
    ApacheFtpServer,
    FtpSrv,
}

impl Make {
    pub fn name(self) -> &'static str {
        match self {
            Make::Vsftpd => "vsftpd",
            Make::Proftpd => "ProFTPD",
            Make::PureFtpd => "Pure-FTPd",
            Make::Pyftpdlib => "pyftpdlib",
            Make::ApacheFtpServer => "Apache FtpServer",
            Make::FtpSrv => "ftp-srv",
        }
    }
}

/// How its control connections begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    /// Required, and data connections must resume the control connection's session, where it can be asked for.
    Explicit,
    Implicit,
}

/// What a test wants of a server beside its make.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub security: Security,
    /// Idle sessions end after this many seconds; Pure-FTPd counts whole minutes.
    pub idle: Option<u32>,
    pub max_clients: Option<u32>,
    /// The same for each address; only Pure-FTPd is told.
    pub max_per_address: Option<u32>,
    /// Uploads may begin in the middle of a file, where the server can be told otherwise.
    pub store_restart: bool,
}

impl Settings {
    pub fn new(security: Security) -> Settings {
        Settings { security, idle: None, max_clients: None, max_per_address: None, store_restart: true }
    }
}

/// The account of every server.
pub const USER: &str = vsftpd::USER;
pub const PASSWORD: &str = vsftpd::PASSWORD;
/// Any path with this in it is refused by vsftpd.
pub const FORBIDDEN: &str = vsftpd::FORBIDDEN;
/// [`PASSWORD`], as crypt(3) has it.
const HASHED: &str = "$5$pooler$A1MCIpgUrelcvQ5uqCBordgD7mqdaPB2uGQ7qLDBplB";

/// The account where root starts the server: Pure-FTPd takes none with privileges.
const NOBODY: u32 = 65_534;

const START: Duration = Duration::from_secs(10);
/// Java and its like load their libraries first.
const LIBRARY_START: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct FtpServer {
    running: Running,
    addr: SocketAddr,
    root: PathBuf,
    pub certificate: Certificate,
    _scratch: Scratch,
}

#[derive(Debug)]
enum Running {
    Vsftpd(Vsftpd),
    Other(Process),
}

impl FtpServer {
    /// Starts one, on the far end of the link where the test runs inside one; `None` where this make cannot run here, or has no such TLS.
    ///
    /// # Panics
    /// Where it does not start; its output is in the message.
    pub fn start(make: Make, settings: Settings) -> Option<FtpServer> {
        let scratch = Scratch::new("ftp-server");
        let certificate = Certificate::good(scratch.path());
        FtpServer::with(make, settings, certificate, scratch)
    }

    /// With a certificate of the test's own.
    ///
    /// # Panics
    /// Like [`FtpServer::start`].
    pub fn with(
        make: Make,
        settings: Settings,
        certificate: Certificate,
        scratch: Scratch,
    ) -> Option<FtpServer> {
        let host = link::inside().unwrap_or_default();
        let addr = SocketAddr::from((host.address, free_port()));
        let root = scratch.dir("root");
        let (running, addr, root) = match make {
            Make::Vsftpd => {
                let server = Vsftpd::at(&host, &borrowed(&vsftpd_settings(settings, &certificate)));
                let (addr, root) = (server.addr(), server.root().to_owned());
                (Running::Vsftpd(server), addr, root)
            }
            Make::Proftpd => {
                let config = proftpd_conf(addr, scratch.path(), &root, settings, &certificate);
                let file = scratch.path().join("proftpd.conf");
                fs::write(&file, config).expect("proftpd.conf");
                let args =
                    ["-n", "-q", "-c"].map(str::to_owned).into_iter().chain([file.display().to_string()]);
                (
                    Running::Other(run("proftpd", &args.collect::<Vec<_>>(), &host, addr, scratch.path())),
                    addr,
                    root,
                )
            }
            Make::PureFtpd => {
                if settings.security == Security::Implicit || !is_root() {
                    return None;
                }
                let args = pure_ftpd_args(addr, scratch.path(), &root, settings, &certificate);
                (Running::Other(run("pure-ftpd", &args, &host, addr, scratch.path())), addr, root)
            }
            Make::Pyftpdlib | Make::FtpSrv | Make::ApacheFtpServer => {
                if settings.security == Security::Implicit && make != Make::FtpSrv {
                    return None;
                }
                let process =
                    library_server(make, addr, &root, settings.security, &certificate, scratch.path());
                (Running::Other(process), addr, root)
            }
        };
        fs::create_dir(root.join("try")).expect("a directory");
        if matches!(make, Make::Proftpd | Make::PureFtpd) && is_root() {
            for directory in [&root, &root.join("try")] {
                std::os::unix::fs::chown(directory, Some(NOBODY), Some(NOBODY)).expect("nobody's");
            }
        }
        Some(FtpServer { running, addr, root, certificate, _scratch: scratch })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The login directory, as a path of this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it has written: for the message of a test that failed.
    pub fn log(&self) -> String {
        match &self.running {
            Running::Vsftpd(server) => server.log(),
            Running::Other(process) => process.log(),
        }
    }
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn vsftpd_settings(settings: Settings, certificate: &Certificate) -> Vec<(String, String)> {
    let pem = certificate.server.display().to_string();
    let mut lines: Vec<(&str, String)> = Vec::new();
    if let Some(idle) = settings.idle {
        lines.push(("idle_session_timeout", idle.to_string()));
    }
    if let Some(max) = settings.max_clients {
        lines.push(("max_clients", max.to_string()));
    }
    if settings.security != Security::Plain {
        for key in [
            "ssl_enable",
            "allow_anon_ssl",
            "force_anon_logins_ssl",
            "force_anon_data_ssl",
            "require_ssl_reuse",
        ] {
            lines.push((key, "YES".to_owned()));
        }
        lines.push(("ssl_ciphers", "HIGH".to_owned()));
        lines.push(("rsa_cert_file", pem.clone()));
        lines.push(("rsa_private_key_file", pem));
    }
    if settings.security == Security::Implicit {
        lines.push(("implicit_ssl", "YES".to_owned()));
    }
    lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn proftpd_conf(
    addr: SocketAddr,
    scratch: &Path,
    root: &Path,
    settings: Settings,
    certificate: &Certificate,
) -> String {
    // An account without privileges where there is a choice.
    let (user, group, names) = if is_root() {
        (NOBODY, NOBODY, ("nobody".to_owned(), "nogroup".to_owned()))
    } else {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        (user.as_raw(), group.as_raw(), (id("-un"), id("-gn")))
    };
    let passwords = scratch.join("passwords");
    fs::write(&passwords, format!("{USER}:{HASHED}:{user}:{group}::{}:/bin/sh\n", root.display()))
        .expect("passwords");
    Command::new("chmod").arg("600").arg(&passwords).status().expect("chmod");
    let modules = deps_dir().join("proftpd/usr/lib/proftpd");
    let modules = if modules.is_dir() { modules } else { PathBuf::from("/usr/lib/proftpd") };
    let tls = match settings.security {
        Security::Plain => String::new(),
        security => format!(
            "LoadModule mod_tls.c\nTLSEngine on\nTLSLog {log}\nTLSRequired on\nTLSProtocol TLSv1.2 TLSv1.3\n\
             TLSECCertificateFile {pem}\nTLSECCertificateKeyFile {pem}\nTLSVerifyClient off\n{implicit}",
            log = scratch.join("tls.log").display(),
            pem = certificate.server.display(),
            implicit = if security == Security::Implicit { "TLSOptions UseImplicitSSL\n" } else { "" },
        ),
    };
    let idle = settings.idle.map(|seconds| format!("TimeoutIdle {seconds}\n")).unwrap_or_default();
    let max = settings.max_clients.map(|max| format!("MaxClients {max}\n")).unwrap_or_default();
    format!(
        "ServerType standalone\nServerName test\nDefaultAddress {ip}\nPort {port}\nUseIPv6 off\nUseReverseDNS off\n\
         ModulePath {modules}\n{tls}LoadModule mod_digest.c\n\
         User {user_name}\nGroup {group_name}\nAuthOrder mod_auth_file.c\nAuthUserFile {passwords}\n\
         RequireValidShell off\nWtmpLog off\nDelayEngine off\nAllowOverwrite on\nAllowStoreRestart {restart}\n\
         AllowRetrieveRestart on\nScoreboardFile {s}/scoreboard\nPidFile {s}/pid\n\
         SystemLog {s}/system.log\nTransferLog none\n{idle}{max}",
        restart = if settings.store_restart { "on" } else { "off" },
        user_name = names.0,
        group_name = names.1,
        ip = addr.ip(),
        port = addr.port(),
        modules = modules.display(),
        passwords = passwords.display(),
        s = scratch.display(),
    )
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn id(which: &str) -> String {
    let output = Command::new("id").arg(which).output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn pure_ftpd_args(
    addr: SocketAddr,
    scratch: &Path,
    root: &Path,
    settings: Settings,
    certificate: &Certificate,
) -> Vec<String> {
    let passwords = scratch.join("passwords");
    fs::write(&passwords, format!("{USER}:{HASHED}:{NOBODY}:{NOBODY}::{}/./::::::::::::\n", root.display()))
        .expect("passwords");
    let database = scratch.join("passwords.pdb");
    let made = Command::new(deps_dir().join("pure-ftpd/usr/bin/pure-pw"))
        .args(["mkdb".as_ref(), database.as_os_str(), "-f".as_ref(), passwords.as_os_str()])
        .output()
        .expect("pure-pw");
    assert!(made.status.success(), "{made:?}");
    let mut args = vec![
        format!("-S{},{}", addr.ip(), addr.port()),
        format!("-lpuredb:{}", database.display()),
        format!("-g{}", scratch.join("pid").display()),
        format!("-c{}", settings.max_clients.unwrap_or(50)),
    ];
    args.extend(settings.max_per_address.map(|max| format!("-C{max}")));
    args.extend(settings.idle.map(|seconds| format!("-I{}", seconds.div_ceil(60))));
    args.extend(["-u1", "-E", "-H", "-4", "-fnone"].map(str::to_owned));
    if settings.security != Security::Plain {
        args.extend(["-Y3".to_owned(), format!("-2{}", certificate.server.display())]);
    }
    args
}

fn run(server: &str, args: &[String], host: &Host, addr: SocketAddr, scratch: &Path) -> Process {
    let unpacked = deps_dir().join(server);
    let relative = fs::read_to_string(unpacked.join("library-path")).unwrap_or_default();
    let libraries: Vec<_> =
        relative.trim().split(':').map(|part| unpacked.join(part).display().to_string()).collect();
    let program = [unpacked.join("usr/sbin").join(server), Path::new("/usr/sbin").join(server)];
    let program = program.into_iter().find(|place| place.is_file());
    let program = program.unwrap_or_else(|| panic!("no {server} in {}: run `make deps`", unpacked.display()));
    let command = [host.enter.as_slice(), &[program.display().to_string()], args].concat();
    let (program, args) = command.split_first().expect("a program");
    let process = Process::start(Path::new(program), args, &scratch.join("output"), |command| {
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
    });
    wait_until_up(server, &process, addr, START);
    process
}

fn wait_until_up(server: &str, process: &Process, addr: SocketAddr, within: Duration) {
    let up = try_wait_for(within, || {
        if !process.is_running() {
            return Some(false);
        }
        TcpStream::connect(addr).is_ok().then_some(true)
    });
    assert!(up == Some(true), "{server} did not start:\n{}", process.log_tail(20));
}

/// One that is a library of another language, with the program that makes a server of it.
fn library_server(
    make: Make,
    addr: SocketAddr,
    root: &Path,
    security: Security,
    certificate: &Certificate,
    scratch: &Path,
) -> Process {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ftp_servers/programs");
    let mut account =
        vec![addr.port().to_string(), root.display().to_string(), USER.to_owned(), PASSWORD.to_owned()];
    if security != Security::Plain {
        account.push(certificate.server.display().to_string());
    }
    if security == Security::Implicit {
        account.push("implicit".to_owned());
    }
    let (program, args) = match make {
        Make::Pyftpdlib => {
            let script = programs.join("pyftpdlib_server.py").display().to_string();
            (deps_dir().join("pyftpdlib/bin/python"), [vec![script], account].concat())
        }
        Make::FtpSrv => {
            let script = programs.join("ftp_srv_server.js").display().to_string();
            (PathBuf::from("node"), [vec![script], account].concat())
        }
        _ => {
            let config = apache_config(addr, root, security, certificate, scratch);
            let args =
                ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"].map(str::to_owned);
            let jars = format!("{}/*", deps_dir().join("ftpserver").display());
            let main = vec![jars, "org.apache.ftpserver.main.CommandLine".to_owned(), config];
            (PathBuf::from("java"), [args.to_vec(), main].concat())
        }
    };
    let modules = deps_dir().join("ftp-srv/node_modules");
    let process = Process::start(&program, &args, &scratch.join("output"), |command| {
        command.env("NODE_PATH", modules);
    });
    wait_until_up(make.name(), &process, addr, LIBRARY_START);
    process
}

/// Apache `FtpServer`'s configuration, and its key store, which openssl makes of the certificate.
fn apache_config(
    addr: SocketAddr,
    root: &Path,
    security: Security,
    certificate: &Certificate,
    scratch: &Path,
) -> String {
    let users = scratch.join("users.properties");
    let prefix = format!("ftpserver.user.{USER}");
    let account = [
        format!("{prefix}.userpassword={PASSWORD}"),
        format!("{prefix}.homedirectory={}", root.display()),
        format!("{prefix}.enableflag=true"),
        format!("{prefix}.writepermission=true"),
        format!("{prefix}.maxloginnumber=0"),
        format!("{prefix}.maxloginperip=0"),
        format!("{prefix}.idletime=0"),
        format!("{prefix}.uploadrate=0"),
        format!("{prefix}.downloadrate=0\n"),
    ];
    fs::write(&users, account.join("\n")).expect("users.properties");
    let ssl = if security == Security::Plain {
        String::new()
    } else {
        let store = scratch.join("keys.p12");
        let pem = certificate.server.as_os_str();
        let made = Command::new("openssl")
            .args(
                ["pkcs12", "-export", "-passout", "pass:secret", "-name", "server", "-in"]
                    .map(std::ffi::OsStr::new),
            )
            .args([pem, "-out".as_ref(), store.as_os_str()])
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{made:?}");
        format!(
            "<ssl><keystore file=\"{}\" password=\"secret\" key-password=\"secret\" type=\"PKCS12\"/></ssl>\
             <data-connection implicit-ssl=\"false\"/>",
            store.display()
        )
    };
    let config = scratch.join("ftpserver.xml");
    let text = format!(
        "<server xmlns=\"http://mina.apache.org/ftpserver/spring/v1\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"http://mina.apache.org/ftpserver/spring/v1 \
         http://mina.apache.org/ftpserver/ftpserver-1.0.xsd\" id=\"server\" max-login-failures=\"100\" \
         login-failure-delay=\"0\"><listeners><nio-listener name=\"default\" port=\"{}\" local-address=\"127.0.0.1\" \
         implicit-ssl=\"false\">{ssl}</nio-listener></listeners>\
         <file-user-manager file=\"{}\" encrypt-passwords=\"clear\"/></server>",
        addr.port(),
        users.display()
    );
    fs::write(&config, text).expect("ftpserver.xml");
    // Spring takes a path for one beneath its own directory.
    format!("file:{}", config.display())
}
