//! An FTP server without a public address: vsftpd on the loopback of a network namespace, `frp-tunnels serve`
//! beside it, visitors here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod support;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use frp_tunnels::client::{TunnelClient, TunnelStack};
use frp_tunnels::near_side::FtpNearSide;
use support::command::Running;
use support::{Frps, PATIENCE, until};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const FTP_PORT: u16 = 2121;
const PASSIVE: RangeInclusive<u16> = 50_000..=50_009;
const BIG: usize = 24 * 1024 * 1024;

/// A host of its own: only frps' machine can be reached from it, and nothing of it from elsewhere.
struct Plant {
    name: String,
    /// The address of frps' machine, as the plant sees it.
    outside: String,
    inside: String,
    directory: tempfile::TempDir,
    server: Option<Child>,
}

/// Nobody else may make a network namespace.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn is_without_root() -> bool {
    let is_without = !rustix::process::geteuid().is_root();
    if is_without {
        eprintln!("left out: a network namespace needs root");
    }
    is_without
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip (Debian: iproute2)");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Plant {
    /// With vsftpd on its loopback.
    fn start(number: u8) -> Self {
        let pid = std::process::id();
        let name = format!("frpt{number}-{pid}");
        let (host_end, network) = (format!("fv{number}-{pid}"), format!("10.211.{}", 10 + number));
        let (outside, inside) = (format!("{network}.1"), format!("{network}.2"));
        ip(&format!("netns add {name}"));
        let directory = tempfile::tempdir().unwrap();
        let mut plant = Self { name, outside, inside, directory, server: None };
        ip(&format!("link add {host_end} type veth peer name eth0 netns {}", plant.name));
        ip(&format!("addr add {}/30 dev {host_end}", plant.outside));
        ip(&format!("link set {host_end} up"));
        ip(&format!("-n {} addr add {}/30 dev eth0", plant.name, plant.inside));
        ip(&format!("-n {} link set eth0 up", plant.name));
        ip(&format!("-n {} link set lo up", plant.name));
        plant.start_vsftpd();
        plant
    }

    fn start_vsftpd(&mut self) {
        let directory = self.directory.path();
        for part in ["root", "empty"] {
            std::fs::create_dir_all(directory.join(part)).unwrap();
        }
        let text = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={FTP_PORT}\nbackground=NO\nrun_as_launching_user=YES\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\nsecure_chroot_dir={0}/empty\nnopriv_user=nobody\nftp_username=nobody\nlocal_enable=NO\nanonymous_enable=YES\nno_anon_password=YES\nanon_root={0}/root\nwrite_enable=YES\nanon_upload_enable=YES\nanon_other_write_enable=YES\nanon_world_readable_only=NO\nallow_writeable_chroot=YES\nconnect_from_port_20=NO\npasv_min_port={1}\npasv_max_port={2}\n",
            directory.display(),
            PASSIVE.start(),
            PASSIVE.end()
        );
        std::fs::write(directory.join("vsftpd.conf"), text).unwrap();
        let (program, libraries) = vsftpd();
        let child = self
            .command(program.to_str().unwrap())
            .arg(directory.join("vsftpd.conf"))
            .env("LD_LIBRARY_PATH", libraries)
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(child.unwrap());
    }

    /// A command that runs there.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// `frp-tunnels serve`, there.
    fn serve(&self, frps: &Frps, more: &[&str]) -> Running {
        let key = self.directory.path().join("key");
        std::fs::write(&key, "plant-key").unwrap();
        let mut command = self.command(env!("CARGO_BIN_EXE_frp-tunnels"));
        command.args([
            "serve",
            "--ftp",
            &format!("127.0.0.1:{FTP_PORT}"),
            "--user",
            "plant",
            "--allow-user",
            "pool",
        ]);
        command.args(["--server", &format!("{}:{}", self.outside, frps.port)]);
        command.arg("--token-file").arg(frps.token_file()).arg("--secret-file").arg(key).args(more);
        command.env("FRP_TUNNELS_FRPC", support::program("frpc"));
        Running::start_command(command)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        // its sessions are children of their own
        if let Ok(output) = Command::new("ip").args(["netns", "pids", &self.name]).output() {
            for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// The unpacked program of `make deps`, with its libraries.
fn vsftpd() -> (PathBuf, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let deps =
        std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root.join(".deps"), PathBuf::from).join("vsftpd");
    let libraries =
        std::fs::read_to_string(deps.join("library-path")).expect("vsftpd: run scripts/install-deps.sh");
    let libraries: Vec<_> =
        libraries.trim().split(':').map(|path| deps.join(path).display().to_string()).collect();
    (deps.join("usr/sbin/vsftpd"), libraries.join(":"))
}

/// How the near side reaches a port of the FTP server.
enum Way {
    /// Visitors at the same ports of this address.
    Ports(std::net::Ipv4Addr),
    /// HTTP CONNECT at this address.
    Proxy(SocketAddr),
}

impl Way {
    async fn connect(&self, port: u16) -> TcpStream {
        let proxy = match self {
            Self::Ports(address) => return TcpStream::connect((*address, port)).await.unwrap(),
            Self::Proxy(proxy) => proxy,
        };
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        let target = format!("127.0.0.1:{port}");
        stream
            .write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        stream
    }
}

/// A session of FTP (RFC 959, RFC 2428).
struct Session<'w> {
    control: BufReader<TcpStream>,
    way: &'w Way,
}

impl<'w> Session<'w> {
    async fn open(way: &'w Way) -> Self {
        let mut session = Self { control: BufReader::new(way.connect(FTP_PORT).await), way };
        session.reply("220").await;
        session.command("USER anonymous", "230").await;
        session.command("TYPE I", "200").await;
        session
    }

    async fn reply(&mut self, code: &str) -> String {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, self.control.read_line(&mut line))
            .await
            .expect("a reply in time")
            .unwrap();
        assert!(line.starts_with(code), "{code} expected: {line}");
        line
    }

    async fn command(&mut self, line: &str, code: &str) -> String {
        self.control.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply(code).await
    }

    async fn data(&mut self) -> TcpStream {
        let reply = self.command("EPSV", "229").await;
        let port = reply.split('|').nth(3).unwrap().parse().unwrap();
        self.way.connect(port).await
    }

    /// As much as comes: a cut of a tunnel is a clean end.
    async fn download(&mut self, name: &str, from: usize, mut on_first: impl FnMut()) -> Vec<u8> {
        let mut data = self.data().await;
        self.command(&format!("REST {from}"), "350").await;
        self.command(&format!("RETR {name}"), "150").await;
        let mut content = Vec::new();
        while let Ok(count) = data.read_buf(&mut content).await {
            if count == 0 {
                break;
            }
            if content.len() == count {
                on_first();
            }
        }
        content
    }

    async fn upload(&mut self, name: &str, content: &[u8]) {
        let mut data = self.data().await;
        self.command(&format!("STOR {name}"), "150").await;
        data.write_all(content).await.unwrap();
        data.shutdown().await.unwrap();
        drop(data);
        self.reply("226").await;
    }
}

fn near_side(address: std::net::Ipv4Addr) -> FtpNearSide {
    let (name, user) = ("plant".to_owned(), Some("plant".to_owned()));
    FtpNearSide { name, server_user: user, secret_key: "plant-key".into(), address: address.into() }
}

/// Bytes that no part repeats.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[7]
    };
    (0..length).map(|_| next()).collect()
}

async fn visit_ports(near: &TunnelClient, address: std::net::Ipv4Addr) -> TunnelStack {
    let mut stack = TunnelStack::default();
    for visitor in near_side(address).visitors(FTP_PORT, PASSIVE) {
        stack.push(near.open(visitor).await.unwrap());
    }
    stack
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, ip, vsftpd, frps and frpc: make test"]
async fn files_pass_both_ways_through_passive_ports_and_a_cut_is_resumed() {
    if is_without_root() {
        return;
    }
    let plant = Plant::start(1);
    let mut frps = Frps::start_on("0.0.0.0", "").await;
    let far = plant.serve(&frps, &["--passive-ports", "50000-50009"]);
    far.says_times(": connected", 11).await;
    assert!(
        TcpStream::connect((plant.inside.as_str(), FTP_PORT)).await.is_err(),
        "the server can be reached directly"
    );
    let near = frps.client("pool").await;
    let address = std::net::Ipv4Addr::new(127, 77, 0, 1);
    let stack = visit_ports(&near, address).await;
    let way = Way::Ports(address);
    let big = content(BIG);
    std::fs::write(plant.file("big"), &big).unwrap();
    let mut session = Session::open(&way).await;
    assert!(session.download("big", 0, || ()).await == big, "the download differs");
    session.reply("226").await;
    session.upload("up", &big).await;
    assert!(std::fs::read(plant.file("up")).unwrap() == big, "the upload differs");

    // frps is killed in the middle of a download: what came is right, and the rest comes later
    let (cut, cutting) = tokio::sync::oneshot::channel();
    let mut cut = Some(cut);
    let download = async {
        let mut session = Session::open(&way).await;
        session
            .download("big", 0, || {
                if let Some(cut) = cut.take() {
                    cut.send(()).unwrap();
                }
            })
            .await
    };
    let kill = async {
        cutting.await.unwrap();
        frps.kill().await;
    };
    let (part, ()) = tokio::join!(download, kill);
    assert!(part[..] == big[..part.len()], "what came before the cut differs");
    assert!(frps.run().await);
    until("all is connected again", async || {
        near.tunnels()
            .await
            .iter()
            .all(|tunnel| tunnel.status.state.label() == "connected" && tunnel.status.connections > 1)
    })
    .await;
    far.says_times(": connected", 22).await;
    let mut session = Session::open(&way).await;
    let rest = session.download("big", part.len(), || ()).await;
    assert!(rest[..] == big[part.len()..], "the rest differs");
    assert_eq!(stack.close_all().await, [""; 0]);
    near.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, ip, vsftpd, frps and frpc: make test"]
async fn without_passive_ports_one_tunnel_leads_to_that_server_only() {
    if is_without_root() {
        return;
    }
    let plant = Plant::start(2);
    let frps = Frps::start_on("0.0.0.0", "").await;
    let far = plant.serve(&frps, &[]);
    far.says("px: connected").await;
    let near = frps.client("pool").await;
    let address = SocketAddr::from(([127, 77, 0, 2], 3128));
    let _tunnel =
        near.open(near_side(std::net::Ipv4Addr::new(127, 77, 0, 2)).proxy_visitor(3128)).await.unwrap();
    let way = Way::Proxy(address);
    let small = content(4096);
    let mut session = Session::open(&way).await;
    session.upload("up", &small).await;
    assert_eq!(std::fs::read(plant.file("up")).unwrap(), small);
    assert_eq!(session.download("up", 0, || ()).await, small);
    session.reply("226").await;
    // another host of the plant's network, and another port of the server
    for target in [format!("{}:{}", plant.outside, frps.port), "127.0.0.1:22".to_owned()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                format!("CONNECT {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{target}: {answer}");
    }
    near.shutdown().await;
}
