//! The test site's FTP server: its configuration, run by a real vsftpd, and asked by the program with the test
//! site's own configuration.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::files::{deps, documents, read, text};

/// No step takes nearly as long.
const LONG: Duration = Duration::from_secs(30);

/// vsftpd, ended with its test.
struct Vsftpd(Child);

impl Drop for Vsftpd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Vsftpd {
    /// The configuration of k8s/test, with its paths beneath `dir` and its port at `at`.
    fn start(dir: &Path, at: SocketAddr) -> Vsftpd {
        let place = |name: &str| dir.join(name).display().to_string();
        for name in ["srv/pub", "srv/upload", "empty"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::copy("k8s/test/ftp-server/passwords", dir.join("passwords")).unwrap();
        let conf = read("k8s/test/ftp-server/vsftpd.conf")
            .replace("/srv/ftp", &place("srv"))
            .replace("/tmp/vsftpd.log", &place("vsftpd.log"))
            .replace("/etc/vsftpd/passwords", &place("passwords"))
            .replace("/var/run/vsftpd/empty", &place("empty"))
            .replace("listen_port=2121", &format!("listen_address={}\nlisten_port={}", at.ip(), at.port()));
        assert!(!conf.contains("/srv/ftp\n") && !conf.contains("/etc/") && conf.contains("listen_address="));
        fs::write(dir.join("vsftpd.conf"), conf).unwrap();
        let (binary, libraries) = binary();
        let mut command = Command::new(binary);
        command.arg(dir.join("vsftpd.conf")).env("LD_LIBRARY_PATH", libraries).stdin(Stdio::null());
        Vsftpd(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Whether it takes connections, and goes on.
    fn is_up(&mut self, at: SocketAddr) -> bool {
        let deadline = Instant::now() + LONG;
        while Instant::now() < deadline && self.0.try_wait().unwrap().is_none() {
            if TcpStream::connect(at).is_ok() {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }
}

/// The unpacked one with its libraries, or the machine's.
fn binary() -> (PathBuf, String) {
    let installed = PathBuf::from("/usr/sbin/vsftpd");
    if installed.exists() {
        return (installed, String::new());
    }
    let unpacked = deps("vsftpd");
    let relative = fs::read_to_string(unpacked.join("library-path")).unwrap_or_default();
    let libraries = relative.trim().split(':').map(|part| unpacked.join(part).display().to_string());
    (unpacked.join("usr/sbin/vsftpd"), libraries.collect::<Vec<_>>().join(":"))
}

/// On a port that was free a moment ago; another process may have taken it meanwhile.
fn started(dir: &Path) -> (Vsftpd, SocketAddr) {
    for _ in 0..3 {
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = Vsftpd::start(dir, at);
        if server.is_up(at) {
            return (server, at);
        }
    }
    panic!("vsftpd does not take the test site's configuration")
}

#[test]
#[ignore = "needs vsftpd: make test"]
fn the_test_sites_pods_can_log_in_to_its_server() {
    let dir = TempDir::new().unwrap();
    let (_server, at) = started(dir.path());
    for name in ["config.yaml", "connections.ini"] {
        let content = read(&format!("k8s/test/{name}"));
        let content = content.replace("/data/storage", &dir.path().display().to_string());
        fs::write(dir.path().join(name), content).unwrap();
    }
    let secret = documents("k8s/test/secret-test.yaml").remove(0);
    let mut check = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    check.arg("check").arg("--config").arg(dir.path().join("config.yaml")).env_clear();
    for (key, value) in secret["stringData"].as_object().unwrap() {
        check.env(key, text(value));
    }
    // The services' names are the cluster's; Kafka is not asked for here.
    check.env("FTP_POOLER__CONNECTIONS__REMOTE_FTP__HOST", at.ip().to_string());
    check.env("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PORT", at.port().to_string());
    check.env("FTP_POOLER__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("ok    ftp    remote-ftp"), "{said}");
    assert!(said.contains("ok    local  local"), "{said}");
}
