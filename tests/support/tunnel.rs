//! An FTP server without a public address, reached through frp: vsftpd and a plain frpc in a network namespace of their
//! own, frps on this host. Without root: all on this host, and the way leads through frpc's HTTP proxy.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deps_dir;
use super::ports::free_port;
use super::process::{Process, Signal};
use super::scratch::Scratch;
use super::vsftpd::{Host, PASSWORD, USER, Vsftpd};
use super::wait::wait_until;

/// The server's name in its own network and in its certificate; nobody else knows it.
pub const NAME: &str = "ftp.plant.local";
/// In secrets and nowhere else. Go templates and JSON would read something else out of it.
pub const TOKEN: &str = "frp-token-{{ .Envs.PATH }}-\"secret\"";
pub const KEY: &str = "plant-key-{{ 1 }}-secret";

/// The server's passive ports, where it has a namespace.
pub const PASSIVE: (u16, u16) = (50_000, 50_039);
const UP: Duration = Duration::from_secs(20);
/// frpc tries its login again after up to 20 s.
const LOADED: Duration = Duration::from_secs(90);

/// A network namespace that reaches this host, and that this host reaches.
#[derive(Debug)]
struct Namespace {
    name: String,
    outside: Ipv4Addr,
    inside: Ipv4Addr,
}

impl Namespace {
    /// `None` where it takes root.
    fn new() -> Option<Namespace> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("no network namespace: it takes root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let [_, .., high, low] = pid.to_be_bytes();
        let network = |last| Ipv4Addr::new(10, 128 | (high & 0x3f), low, number.wrapping_mul(4) + last);
        let namespace =
            Namespace { name: format!("plant{pid}x{number}"), outside: network(1), inside: network(2) };
        let Namespace { name, outside, inside } = &namespace;
        // the kernel takes no longer names than 15 bytes
        let host_end = format!("pl{pid}x{number}");
        for command in [
            format!("netns add {name}"),
            format!("link add {host_end} type veth peer name eth0 netns {name}"),
            format!("addr add {outside}/30 dev {host_end}"),
            format!("link set {host_end} up"),
            format!("-n {name} addr add {inside}/30 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ] {
            let output = Command::new("ip").args(command.split(' ')).output().expect("ip (Debian: iproute2)");
            assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Some(namespace)
    }

    fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Both ends of frp, in front of an FTP server.
#[derive(Debug)]
pub struct Relay {
    frps: Mutex<Option<Process>>,
    far: Mutex<Option<Process>>,
    /// The FTP server, as the far frpc reaches it.
    target: SocketAddr,
    port: u16,
    /// The address of frps, as the far frpc sees it.
    outside: Ipv4Addr,
    /// How to run beside the server.
    enter: Vec<String>,
    /// A tunnel for each passive port; else one to the far frpc's HTTP proxy.
    has_ports: bool,
    /// How to run where frps is, and its address for pods.
    at_frps: (Vec<String>, Ipv4Addr),
    scratch: Scratch,
}

/// The server and the way to it. The processes come first: they end before the namespace.
#[derive(Debug)]
pub struct Plant {
    relay: Relay,
    pub server: Vsftpd,
    _namespace: Option<Namespace>,
}

impl std::ops::Deref for Plant {
    type Target = Relay;

    fn deref(&self) -> &Relay {
        &self.relay
    }
}

impl Plant {
    /// With a tunnel for each passive port; `None` where it takes root. `settings` are vsftpd's.
    pub fn with_ports(settings: &[(&str, &str)]) -> Option<Plant> {
        let namespace = Namespace::new()?;
        let host = Host { address: namespace.inside, enter: namespace.enter() };
        let (low, high) = (PASSIVE.0.to_string(), PASSIVE.1.to_string());
        let range = [("pasv_min_port", low.as_str()), ("pasv_max_port", high.as_str())];
        let server = Vsftpd::at(&host, &[&range[..], settings].concat());
        let at_frps = (Vec::new(), Ipv4Addr::LOCALHOST);
        let relay = Relay::start(server.addr(), namespace.outside, namespace.enter(), at_frps, true);
        Some(Plant { relay, server, _namespace: Some(namespace) })
    }

    /// On a far host, frps as well.
    pub fn far_away(host: &Host) -> Plant {
        let (low, high) = (PASSIVE.0.to_string(), PASSIVE.1.to_string());
        let server = Vsftpd::at(host, &[("pasv_min_port", &low), ("pasv_max_port", &high)]);
        let relay = Relay::far_away(server.addr(), host, true);
        Plant { relay, server, _namespace: None }
    }

    /// With one tunnel to the far frpc's HTTP proxy.
    pub fn with_proxy(settings: &[(&str, &str)]) -> Plant {
        let server = Vsftpd::with(settings);
        let relay = Relay::proxied(server.addr());
        Plant { relay, server, _namespace: None }
    }
}

impl Relay {
    /// In front of a server of this host, by the far frpc's HTTP proxy.
    pub fn proxied(target: SocketAddr) -> Relay {
        Relay::start(target, Ipv4Addr::LOCALHOST, Vec::new(), (Vec::new(), Ipv4Addr::LOCALHOST), false)
    }

    /// In front of a server of a far host, whose passive ports are [`PASSIVE`] where each gets a tunnel; frps is there as well.
    pub fn far_away(target: SocketAddr, host: &Host, has_ports: bool) -> Relay {
        let at_frps = (host.enter.clone(), host.address);
        Relay::start(target, host.address, host.enter.clone(), at_frps, has_ports)
    }

    /// frpc's visitors to all its ports at an address of this host: what a client without a tunnel of its own uses.
    pub fn visitors(&self, address: Ipv4Addr) -> Process {
        let token = self.token_file().display().to_string();
        let mut config = format!(
            "serverAddr = \"{}\"\nserverPort = {}\nuser = \"visitor\"\nauth.tokenSource = {{ type = \"file\", file = {{ path = \"{token}\" }} }}\nlog.disablePrintColor = true\n",
            self.at_frps.1, self.port
        );
        let key = escaped_key();
        let mut visit = |name: &str, port: u16| {
            let _ = write!(
                config,
                "[[visitors]]\nname = \"{name}\"\ntype = \"stcp\"\nserverUser = \"plant\"\nserverName = \"{name}\"\nsecretKey = \"{key}\"\nbindAddr = \"{address}\"\nbindPort = {port}\n"
            );
        };
        visit("ftp", self.target.port());
        for port in PASSIVE.0..=PASSIVE.1 {
            visit(&format!("d{port}"), port);
        }
        let file = self.scratch.path().join("visitors.toml");
        fs::write(&file, config).expect("visitors.toml");
        let log = self.scratch.path().join("visitors.log");
        let args = ["-c".to_owned(), file.display().to_string()];
        let process = Process::start(&Relay::frpc(), &args, &log, |_| ());
        wait_until("the visitors", UP, || std::net::TcpStream::connect((address, PASSIVE.1)).is_ok());
        process
    }

    fn start(
        target: SocketAddr,
        outside: Ipv4Addr,
        enter: Vec<String>,
        at_frps: (Vec<String>, Ipv4Addr),
        has_ports: bool,
    ) -> Relay {
        let scratch = Scratch::new("relay");
        let (frps, far, port) = (Mutex::default(), Mutex::default(), free_port());
        let relay = Relay { frps, far, target, port, outside, enter, has_ports, at_frps, scratch };
        fs::write(relay.token_file(), format!("{TOKEN}\n")).expect("a token");
        fs::write(relay.key_file(), format!("{KEY}\n")).expect("a key");
        relay.write_configurations();
        relay.start_frps();
        relay.start_far();
        relay.wait_for_far();
        relay
    }

    fn write_configurations(&self) {
        let token = self.token_file().display().to_string();
        let auth = format!("auth.tokenSource = {{ type = \"file\", file = {{ path = \"{token}\" }} }}\n");
        let log = "log.disablePrintColor = true\n";
        let frps = format!("bindAddr = \"0.0.0.0\"\nbindPort = {}\n{auth}{log}", self.port);
        fs::write(self.scratch.path().join("frps.toml"), frps).expect("frps.toml");
        let mut far = format!(
            "serverAddr = \"{}\"\nserverPort = {}\nuser = \"plant\"\nloginFailExit = false\n{auth}{log}",
            self.outside, self.port
        );
        let key = escaped_key();
        let mut proxy = |name: &str, to: String| {
            let _ = write!(
                far,
                "[[proxies]]\nname = \"{name}\"\ntype = \"stcp\"\nsecretKey = \"{key}\"\nallowUsers = [\"*\"]\n{to}"
            );
        };
        let at = |port: u16| format!("localIP = \"{}\"\nlocalPort = {port}\n", self.target.ip());
        if self.has_ports {
            proxy("ftp", at(self.target.port()));
            for port in PASSIVE.0..=PASSIVE.1 {
                proxy(&format!("d{port}"), at(port));
            }
        } else {
            proxy("px", "[proxies.plugin]\ntype = \"http_proxy\"\n".to_owned());
        }
        fs::write(self.scratch.path().join("frpc.toml"), far).expect("frpc.toml");
    }

    fn token_file(&self) -> PathBuf {
        self.scratch.path().join("token")
    }

    fn key_file(&self) -> PathBuf {
        self.scratch.path().join("key")
    }

    /// frps as pods reach it.
    pub fn frps_address(&self) -> String {
        format!("{}:{}", self.at_frps.1, self.port)
    }

    /// The lines of the pod's section for the tunnel.
    pub fn tunnel(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("type", "frp".to_owned()),
            ("server", self.frps_address()),
            ("token_file", self.token_file().display().to_string()),
            ("secret_file", self.key_file().display().to_string()),
            ("target_user", "plant".to_owned()),
            ("keepalive", "1s".to_owned()),
        ];
        if self.has_ports {
            lines.push(("passive_ports", format!("{}-{}", PASSIVE.0, PASSIVE.1)));
        }
        lines
    }

    /// The lines of a connection to the server through the tunnel `plant`.
    pub fn connection(&self) -> Vec<(&'static str, String)> {
        let host = if self.has_ports { NAME.to_owned() } else { self.target.ip().to_string() };
        vec![
            ("type", "ftp".to_owned()),
            ("host", host),
            ("port", self.target.port().to_string()),
            ("user", USER.to_owned()),
            ("pass", PASSWORD.to_owned()),
            ("via", "plant".to_owned()),
        ]
    }

    /// The frpc that a pod uses.
    pub fn frpc() -> PathBuf {
        deps_dir().join("frp/frpc")
    }

    pub fn start_frps(&self) {
        let process = self.run("frps", &self.at_frps.0);
        wait_until("frps", UP, || process.log().matches("frps started successfully").count() > 0);
        *lock(&self.frps) = Some(process);
    }

    pub fn kill_frps(&self) {
        lock(&self.frps).take();
    }

    pub fn signal_frps(&self, signal: Signal) {
        if let Some(frps) = lock(&self.frps).as_ref() {
            frps.signal(signal);
        }
    }

    /// The frpc beside the server.
    pub fn start_far(&self) {
        *lock(&self.far) = Some(self.run("frpc", &self.enter));
    }

    /// Until frps has all of its proxies.
    fn wait_for_far(&self) {
        let proxies = if self.has_ports { usize::from(PASSIVE.1 - PASSIVE.0) + 2 } else { 1 };
        wait_until("the far frpc's proxies", LOADED, || {
            let far = lock(&self.far);
            far.as_ref().is_some_and(|far| far.log().matches("start proxy success").count() >= proxies)
        });
    }

    pub fn kill_far(&self) {
        lock(&self.far).take();
    }

    fn run(&self, program: &str, enter: &[String]) -> Process {
        let binary = deps_dir().join("frp").join(program);
        assert!(binary.is_file(), "{} is missing: run scripts/install-deps.sh", binary.display());
        let config = self.scratch.path().join(format!("{program}.toml"));
        let own = [binary.display().to_string(), "-c".to_owned(), config.display().to_string()];
        let command = [enter, &own].concat();
        let (program_path, args) = command.split_first().expect("a program");
        let log = self.scratch.path().join(format!("{program}.log"));
        // each run has a log of its own: what is waited for must not be an earlier one's
        let _ = fs::remove_file(&log);
        Process::start(program_path.as_ref(), args, &log, |_| ())
    }
}

/// TOML's escapes keep the braces from frp's templates.
fn escaped_key() -> String {
    KEY.replace("{{", "\\u007b\\u007b").replace("}}", "\\u007d\\u007d")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
