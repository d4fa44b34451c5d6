//! No password reaches stderr through a library, however much is asked to be logged.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use service_kit::logging::{self, Format};
use suppaftp::tokio::AsyncFtpStream;

/// Set in the process that logs; the other one reads what it said.
const LOGS: &str = "TEST_LOGS";

#[test]
fn a_login_at_the_loudest_level_leaves_no_password_in_the_log() {
    if std::env::var_os(LOGS).is_some() {
        return log_in_with_everything_logged();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_login_at_the_loudest_level_leaves_no_password_in_the_log", "--nocapture"])
        .env(LOGS, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("logged in"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

fn log_in_with_everything_logged() {
    let filter = "trace,suppaftp=trace,log=trace".parse().unwrap();
    let guard = logging::init(Some(Format::Json), &filter, ftp_pooler::LOG_POLICY).unwrap();
    let server = server_that_takes_any_password();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut session = AsyncFtpStream::connect(server).await.unwrap();
        session.login("user", "hunter2").await.unwrap();
    });
    tracing::info!("logged in");
    drop(guard);
}

fn server_that_takes_any_password() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut control, _) = listener.accept().unwrap();
        control.write_all(b"220 ready\r\n").unwrap();
        for command in BufReader::new(control.try_clone().unwrap()).lines() {
            let reply = if command.unwrap().starts_with("USER") { "331 go on\r\n" } else { "230 in\r\n" };
            control.write_all(reply.as_bytes()).unwrap();
        }
    });
    address
}
