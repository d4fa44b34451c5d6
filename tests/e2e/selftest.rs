//! The suite's own servers do what the other tests take for granted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Answers, Outgoing, send};
use crate::support::files::{Sample, samples};
use crate::support::gate::{Gate, Turnstile};
use crate::support::hostile::{Hostile, Manner};
use crate::support::kafka::Kafka;
use crate::support::vsftpd::{PASSWORD, USER, Vsftpd};
use crate::support::wait::wait_until;

const SOON: Duration = Duration::from_secs(20);

#[test]
#[ignore = "needs Kafka: make test"]
fn the_broker_keeps_records_and_offsets_over_a_kill() {
    let kafka = Kafka::start();
    let topics = kafka.topics("selftest", 3);
    send(
        &kafka,
        &topics.results,
        (0..1_000).map(|i| json!({"task_id": i.to_string(), "status": "completed"})),
    );
    kafka.kill();
    kafka.restart();
    send(&kafka, &topics.failures, [json!({"task_id": "late", "status": "failed", "error": {"code": "x"}})]);

    let mut answers = Answers::of(&kafka, &topics);
    answers.wait_for(1_001, SOON).read_to_end();

    let ids: Vec<String> = (0..1_000).map(|i| i.to_string()).chain(["late".to_owned()]).collect();
    answers.assert_each_once(&ids);
    assert_eq!(answers.only("late").code(), "x");
    assert_eq!(kafka.lag(&topics), 0);
}

#[test]
#[ignore = "needs Kafka: make test"]
fn records_travel_with_key_headers_and_tombstones() {
    let kafka = Kafka::shared();
    let topics = kafka.topics("selftest", 1);
    let headers = vec![("trace".to_owned(), Some(vec![0, 255])), ("trace".to_owned(), None)];
    let record = Outgoing {
        key: Some(b"k".to_vec()),
        payload: Some(b"{}".to_vec()),
        headers: headers.clone(),
        partition: Some(0),
    };
    send(kafka, &topics.results, [record]);
    send(kafka, &topics.tasks, [Outgoing::default()]);

    let mut answers = Answers::of(kafka, &topics);
    answers.wait_for(1, SOON);

    assert_eq!(answers.all[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(answers.all[0].headers, headers);
    assert_eq!(kafka.lag(&topics), 1);
}

#[test]
#[ignore = "needs vsftpd: make test"]
fn vsftpd_checks_the_password_and_moves_files() {
    let server = Vsftpd::start();
    let mut session = Control::connect(server.addr());
    assert!(session.ask(&format!("USER {USER}")).starts_with("331"));
    assert!(session.ask("PASS wrong").starts_with("530"));
    drop(session);
    assert_eq!((server.logins(), server.refused_logins()), (0, 1));

    let mut session = Control::log_in(server.addr());
    server.put("a b/c.bin", b"remote");
    assert_eq!(session.retrieve("a b/c.bin"), b"remote");
    assert_eq!(session.retrieve(&server.absolute("a b/c.bin")), b"remote");
    server.put("forbidden.txt", b"");
    assert!(session.ask("SIZE forbidden.txt").starts_with("550"));
    assert!(session.ask("MKD new").starts_with("257"));
    assert!(session.ask("RNFR a b/c.bin").starts_with("350"));
    assert!(session.ask("RNTO new/c.bin").starts_with("250"));
    assert_eq!(server.get("new/c.bin").as_deref(), Some(&b"remote"[..]));
    wait_until("the refused session's end", SOON, || server.sessions_now() == 1);
    assert!(session.ask("QUIT").starts_with("221"));
    wait_until("the session's end", SOON, || server.sessions_now() == 0);
    assert_eq!((server.logins(), server.refused_logins()), (1, 1));
}

#[test]
#[ignore = "needs vsftpd: make test"]
fn vsftpd_turns_away_whom_it_has_no_room_for() {
    let server = Vsftpd::with(&[("max_clients", "1")]);
    let _first = Control::log_in(server.addr());
    let mut second = Control::open(server.addr());
    assert!(second.reply().starts_with("421"));
    assert_eq!(server.turned_away(), 1);
}

#[test]
#[ignore = "needs vsftpd: make test"]
fn a_gate_counts_sessions_until_the_server_has_closed_them() {
    let server = Vsftpd::start();
    let pod = Turnstile::new();
    let gate = Gate::before(server.addr(), std::slice::from_ref(&pod));
    for _ in 0..20 {
        let mut session = Control::log_in(gate.addr());
        assert_eq!(gate.count().open(), 1);
        assert!(session.ask("QUIT").starts_with("221"));
        session.wait_for_close();
    }
    assert_eq!((gate.count().total(), gate.count().most(), pod.most()), (20, 1, 1));
    assert_eq!(server.logins(), 20);

    let _first = Control::log_in(gate.addr());
    let mut second = Control::log_in(gate.addr());
    assert_eq!(pod.most(), 2);
    gate.cut();
    second.wait_for_close();
    wait_until("both cut", SOON, || pod.open() == 0);
    gate.slam(1);
    Control::open(gate.addr()).wait_for_close();
    let _third = Control::log_in(gate.addr());
}

#[test]
fn hostile_servers_behave_badly() {
    let silent = Hostile::start(Manner::Silent);
    let _guest = TcpStream::connect(silent.addr()).unwrap();
    wait_until("the guest is counted", SOON, || silent.accepted() == 1);

    for manner in [Manner::EndlessGreeting, Manner::EndlessLine] {
        let server = Hostile::start(manner);
        let mut much = vec![0; 100_000];
        TcpStream::connect(server.addr()).unwrap().read_exact(&mut much).unwrap();
        assert!(much.starts_with(b"220"));
    }

    let stalled = Hostile::start(Manner::StalledTransfer);
    let mut session = Control::log_in(stalled.addr());
    let _data = session.passive();
    assert!(session.ask("RETR x").starts_with("150"));
    assert_eq!(stalled.transfers(), 1);
}

#[test]
fn samples_are_many_different_and_repeatable() {
    let all = samples(200, 7);
    let paths: std::collections::HashSet<&str> = all.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths.len(), 200);
    assert_eq!(all, samples(200, 7));
    let (empty, full) = (all.iter().any(|s| s.len == 0), all.iter().any(|s| s.len == 3 * 1024 * 1024));
    assert!(empty && full);
    let sample = Sample { path: "x".to_owned(), seed: 1, len: 1000 };
    sample.assert_is(Some(&sample.content()));
}

/// A control connection, as plain as can be.
struct Control {
    stream: BufReader<TcpStream>,
}

impl Control {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Control { stream: BufReader::new(stream) }
    }

    fn connect(addr: SocketAddr) -> Self {
        let mut control = Self::open(addr);
        assert!(control.reply().starts_with("220"));
        control
    }

    fn log_in(addr: SocketAddr) -> Self {
        let mut control = Self::connect(addr);
        assert!(control.ask(&format!("USER {USER}")).starts_with("331"));
        assert!(control.ask(&format!("PASS {PASSWORD}")).starts_with("230"));
        control
    }

    fn ask(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    fn passive(&mut self) -> TcpStream {
        let reply = self.ask("EPSV");
        let port = reply.split('|').nth(3).unwrap().parse().unwrap();
        let host = self.stream.get_ref().peer_addr().unwrap().ip();
        TcpStream::connect(SocketAddr::new(host, port)).unwrap()
    }

    fn retrieve(&mut self, path: &str) -> Vec<u8> {
        assert!(self.ask("TYPE I").starts_with("200"));
        let mut data = self.passive();
        let reply = self.ask(&format!("RETR {path}"));
        assert!(reply.starts_with("150"), "{reply}");
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        assert!(self.reply().starts_with("226"));
        bytes
    }

    fn wait_for_close(&mut self) {
        let mut rest = String::new();
        let _ = self.stream.read_to_string(&mut rest);
    }
}
