//! A network namespace for pods, with a link to this one that can be cut, slowed and made to lie, behind a NAT gateway's
//! connection tracking that forgets soon, and with a name server. Needs root, iproute2, nftables and a C compiler.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::process::Process;
use super::scratch::Scratch;
use super::wait::try_wait_for;

/// A connection that is silent for longer is forgotten.
pub const NAT_FORGETS_AFTER: Duration = Duration::from_secs(20);
const UP: Duration = Duration::from_secs(20);

/// What packets pass, in the pods' namespace. What is no connection's that is known is dropped, as by a NAT gateway.
const RULES: &str = "table inet chaos {
  chain xin { }
  chain xout { }
  chain in { type filter hook input priority 0; policy accept; jump xin; ct state invalid drop; }
  chain out { type filter hook output priority 0; policy accept; jump xout; ct state invalid drop; }
}
";

/// What becomes of packets between the pods and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None passes.
    Blackhole,
    /// What the pods send does not arrive.
    CutOut,
    /// What is sent to the pods does not arrive.
    CutIn,
    /// A fifth is lost, either way.
    Loss,
    /// The pods' connections are reset, of which the other end is not told.
    Reset,
}

/// What the name server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NameService {
    Answers,
    /// SERVFAIL.
    Fails,
    Silent,
}

/// It stands as long as this lives.
#[derive(Debug)]
pub struct FarNetwork {
    name: String,
    octet: u8,
    /// Carries every packet; `None` between two delays.
    relay: Mutex<Option<Process>>,
    program: PathBuf,
    names: NameServer,
    scratch: Scratch,
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{command}: {error}")),
    }
}

impl FarNetwork {
    /// Lays it, or says why it cannot.
    pub fn lay() -> Result<FarNetwork, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root".to_owned());
        }
        let octet = u8::try_from(std::process::id() % 250).unwrap_or_default() + 1;
        let (name, scratch) = (format!("fn{octet}"), Scratch::new("far"));
        let program = scratch.path().join("wan");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wan/wan.c");
        run(&format!("cc -O2 -o {} {}", program.display(), source.display()))?;
        remove(&name);
        let near = Ipv4Addr::new(10, 79, octet, 1);
        let far = Ipv4Addr::new(10, 79, octet, 2);
        run(&format!("ip netns add {name}"))?;
        run(&format!("ip link add {name}-a type veth peer name {name}-b"))?;
        run(&format!("ip link add {name}-c type veth peer name eth0 netns {name}"))?;
        for index in 0..ADDRESSES {
            let address = Ipv4Addr::new(10, 79, octet, first_address(index));
            run(&format!("ip addr add {address}/24 dev {name}-a"))?;
        }
        for end in ["a", "b", "c"] {
            run(&format!("ip link set {name}-{end} up"))?;
        }
        run(&format!("ip -n {name} addr add {far}/24 dev eth0"))?;
        run(&format!("ip -n {name} link set eth0 up"))?;
        run(&format!("ip -n {name} link set lo up"))?;
        // An IPv6 address that looks reachable, and where nobody is.
        run(&format!("ip -n {name} -6 addr add fd79::2/64 dev eth0 nodad"))?;
        let rules = scratch.path().join("rules.nft");
        fs::write(&rules, RULES).map_err(|error| error.to_string())?;
        run(&format!("ip netns exec {name} nft -f {}", rules.display()))?;
        let seconds = NAT_FORGETS_AFTER.as_secs();
        run(&format!("ip netns exec {name} sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0"))?;
        run(&format!(
            "ip netns exec {name} sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established={seconds}"
        ))?;
        let etc = PathBuf::from(format!("/etc/netns/{name}"));
        fs::create_dir_all(&etc).map_err(|error| error.to_string())?;
        let resolv = format!("nameserver {near}\noptions timeout:1 attempts:2\n");
        fs::write(etc.join("resolv.conf"), resolv).map_err(|error| error.to_string())?;
        let names = NameServer::start(near).map_err(|error| format!("a name server: {error}"))?;
        let network = FarNetwork { name, octet, relay: Mutex::default(), program, names, scratch };
        network.delay(Duration::ZERO);
        let listener = TcpListener::bind((near, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let connect = format!("ip netns exec {} timeout 1 bash -c :</dev/tcp/{near}/{port}", network.name);
        let is_up = try_wait_for(UP, || run(&connect).is_ok().then_some(()));
        is_up.map(|()| network).ok_or_else(|| "no packet passes".to_owned())
    }

    /// An address of this side: 0 is the name server's.
    pub fn near(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.octet, first_address(index))
    }

    /// An address of this network where nobody is.
    pub fn nobody(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.octet, 3) // near the pods' own: resolvers put it first
    }

    /// An IPv6 address where nobody is.
    pub fn nobody6() -> Ipv6Addr {
        Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 0x99)
    }

    /// The pods' address.
    pub fn pods(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.octet, 2)
    }

    /// What a command begins with to run where the pods are.
    pub fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// From now on each packet takes half of this.
    ///
    /// # Panics
    /// Where the relay cannot be started.
    pub fn delay(&self, round_trip: Duration) {
        let mut relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        drop(relay.take());
        let one_way = (round_trip / 2).as_micros().to_string();
        let args = [format!("{}-b", self.name), format!("{}-c", self.name), one_way];
        *relay = Some(Process::start(&self.program, &args, &self.scratch.path().join("wan.log"), |_| ()));
    }

    /// A fault between the pods and an address; with all of them where there is none.
    ///
    /// # Panics
    /// Where nft refuses.
    pub fn fault(&self, fault: Fault, at: Option<Ipv4Addr>) {
        let what = match fault {
            Fault::Loss => "numgen random mod 100 < 20 drop",
            Fault::Reset => "meta l4proto tcp reject with tcp reset",
            _ => "drop",
        };
        let (out, into) = match at {
            Some(at) => (format!("ip daddr {at} {what}"), format!("ip saddr {at} {what}")),
            None => (what.to_owned(), what.to_owned()),
        };
        if fault != Fault::CutIn {
            self.nft(&format!("add rule inet chaos xout {out}"));
        }
        if !matches!(fault, Fault::CutOut | Fault::Reset) {
            self.nft(&format!("add rule inet chaos xin {into}"));
        }
    }

    /// Everything passes again.
    ///
    /// # Panics
    /// Where nft refuses.
    pub fn heal(&self) {
        self.nft("flush chain inet chaos xin");
        self.nft("flush chain inet chaos xout");
    }

    fn nft(&self, rule: &str) {
        run(&format!("ip netns exec {} nft {rule}", self.name)).expect("a rule");
    }

    /// These are a name's addresses.
    pub fn name(&self, name: &str, addresses: &[IpAddr]) {
        self.names.table().push((name.to_owned(), addresses.to_vec()));
    }

    pub fn name_service(&self, does: NameService) {
        self.names.does.store(does as u8, Ordering::SeqCst);
    }
}

/// Addresses on this side.
const ADDRESSES: u8 = 5;

fn first_address(index: u8) -> u8 {
    if index == 0 { 1 } else { 10 + index }
}

impl Drop for FarNetwork {
    fn drop(&mut self) {
        self.names.is_over.store(true, Ordering::SeqCst);
        drop(self.relay.lock().unwrap_or_else(PoisonError::into_inner).take());
        remove(&self.name);
    }
}

fn remove(name: &str) {
    let _ = run(&format!("ip link del {name}-a"));
    let _ = run(&format!("ip link del {name}-c"));
    let _ = run(&format!("ip netns del {name}"));
    let _ = fs::remove_dir_all(format!("/etc/netns/{name}"));
}

type Names = Arc<Mutex<Vec<(String, Vec<IpAddr>)>>>;

/// Answers A and AAAA.
#[derive(Debug)]
struct NameServer {
    names: Names,
    does: Arc<AtomicU8>,
    is_over: Arc<AtomicBool>,
}

impl NameServer {
    fn start(address: Ipv4Addr) -> std::io::Result<NameServer> {
        let socket = UdpSocket::bind((address, 53))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let server = NameServer { names: Names::default(), does: Arc::default(), is_over: Arc::default() };
        let (names, does, is_over) =
            (Arc::clone(&server.names), Arc::clone(&server.does), Arc::clone(&server.is_over));
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while !is_over.load(Ordering::SeqCst) {
                let Ok((length, client)) = socket.recv_from(&mut query) else { continue };
                let does = does.load(Ordering::SeqCst);
                let table = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if does != NameService::Silent as u8
                    && let Some(answer) = answer(&query[..length], &table, does == NameService::Fails as u8)
                {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Ok(server)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Vec<(String, Vec<IpAddr>)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 1035, 4: the query's header and question, and an answer for each address of the family that is asked for.
fn answer(query: &[u8], names: &[(String, Vec<IpAddr>)], fails: bool) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let question = query.get(12..at + 4)?;
    let name = labels.join(".");
    let known = names.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
    let of_kind = |address: &&IpAddr| if address.is_ipv4() { kind == 1 } else { kind == 28 };
    let addresses: Vec<&IpAddr> =
        known.map(|(_, all)| all.iter().filter(of_kind).collect()).unwrap_or_default();
    let code = match known {
        _ if fails => 2,
        None => 3,
        Some(_) => 0,
    };
    let count = if fails { 0 } else { u8::try_from(addresses.len()).ok()? };
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x84, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses.into_iter().take(count.into()) {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]); // IN, not to be kept
        match address {
            IpAddr::V4(four) => {
                answer.extend([0, 4]);
                answer.extend(four.octets());
            }
            IpAddr::V6(six) => {
                answer.extend([0, 16]);
                answer.extend(six.octets());
            }
        }
    }
    Some(answer)
}

#[test]
fn a_name_has_the_addresses_of_the_family_that_is_asked_for() {
    let names = [("a.test".to_owned(), vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])];
    let query = |kind: u8| [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0", &[kind, 0, 1][..]].concat();
    let four = answer(&query(1), &names, false).unwrap();
    assert_eq!(four[..12], [0x12, 0x34, 0x84, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert!(four.ends_with(&[0, 4, 127, 0, 0, 1]));
    assert!(answer(&query(28), &names, false).unwrap().ends_with(&[0, 0, 0, 1]));
    assert_eq!(answer(&query(1), &names, true).unwrap()[3] & 0xf, 2);
    assert_eq!(answer(&query(1), &[], false).unwrap()[3] & 0xf, 3);
}
