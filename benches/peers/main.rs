//! `make bench`: the whole pooler, fed from a real Kafka, side by side with a worker in Python that is fed from the
//! same one, and with rclone, lftp and `curl -Z`, on the same files and the same vsftpd, in one run.
//!
//! ```text
//! load    the files that are moved, and whether they have arrived
//! fed     one run of a worker that is fed from Kafka
//! pooler  the product
//! python  what is written in Python today
//! peers   one run of each of the others
//! tunnels the pooler and rclone, direct and through frp
//! usage   what a process has cost: seconds, CPU, memory
//! table   medians, and how they compare
//! ```
//!
//! As root it starts itself again inside the client's namespace: Kafka, the pooler and the peers run there, so
//! that FTP alone crosses the link. Otherwise it measures on loopback alone, and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot go on panics, and what it prints is its result"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod fed;
mod load;
mod peers;
mod pooler;
mod python;
mod table;
mod tunnels;
mod usage;

use std::process::{Command, ExitCode};
use std::time::Duration;

use load::{Case, Ground};
use peers::Peer;
use support::link::{self, Link};
use table::Table;

/// The link's round-trip time.
const FAR: Duration = Duration::from_millis(20);
/// Sessions that each contestant may have open.
const SESSIONS: usize = 10;
const ROUNDS: usize = 3;
/// One that takes so many times as long as the pooler is not run again: its figures are of one round.
const SLOW: u32 = 2;
/// What takes less than this is run again in any case.
const QUICK: Duration = Duration::from_secs(5);

const HELP: &str = "make bench ARGS=\"…\": the pooler beside a worker in Python, rclone, lftp and curl -Z

  --quick        one round, and a fifth of the files
  --rounds N     instead of 3; who takes twice as long as the pooler runs once in any case
  --only WORDS   only cases whose name has one of these words: --only '4 KiB,upload'
  --alone        the pooler without the others
  --loopback     without the link of 20 ms
  --tunnels      instead of all that: over the link, direct, through frp's secret tunnels, and through its HTTP proxy";

/// What was asked for.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
struct Wanted {
    rounds: usize,
    quick: bool,
    alone: bool,
    loopback: bool,
    tunnels: bool,
    only: Vec<String>,
}

impl Wanted {
    fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        let chosen = |case: &Case| {
            let name = case.to_string();
            self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
        };
        Case::all(self.quick).into_iter().filter(chosen)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says `--bench` where a benchmark is meant: `cargo test --benches` only has it built.
    if !args.iter().any(|arg| arg == "--bench") {
        println!("this is a benchmark: make bench");
        return ExitCode::SUCCESS;
    }
    let Some(wanted) = wanted(args.iter().map(String::as_str).filter(|arg| *arg != "--bench")) else {
        println!("{HELP}");
        return ExitCode::FAILURE;
    };
    if link::inside().is_none() && !wanted.loopback {
        match Link::lay(FAR) {
            Ok(link) => return start_inside(&link, &args),
            Err(why) => println!("No link of {} ms: {why}. Loopback only.", FAR.as_millis()),
        }
    }
    measure(&wanted);
    ExitCode::SUCCESS
}

fn wanted<'a>(mut args: impl Iterator<Item = &'a str>) -> Option<Wanted> {
    let mut wanted = Wanted {
        rounds: ROUNDS,
        quick: false,
        alone: false,
        loopback: false,
        tunnels: false,
        only: Vec::new(),
    };
    while let Some(arg) = args.next() {
        match arg {
            "--quick" => (wanted.quick, wanted.rounds) = (true, 1),
            "--alone" => wanted.alone = true,
            "--tunnels" => wanted.tunnels = true,
            "--loopback" => wanted.loopback = true,
            "--rounds" => wanted.rounds = args.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--only" => wanted.only = args.next()?.split(',').map(str::to_owned).collect(),
            _ => return None,
        }
    }
    Some(wanted)
}

/// The same program in the client's namespace, where it finds the far host in its environment.
fn start_inside(link: &Link, args: &[String]) -> ExitCode {
    println!("A link of {} ms, made of network namespaces: FTP alone crosses it.", FAR.as_millis());
    let own = std::env::current_exe().expect("this program's path");
    let mut command = link.in_client(&own);
    let status = command.args(args).status().expect("this program again");
    ExitCode::from(u8::from(!status.success()))
}

fn measure(wanted: &Wanted) {
    let peers = if wanted.alone { Vec::new() } else { Peer::found() };
    println!(
        "On {} cores; {SESSIONS} sessions each; destinations in memory (/dev/shm), where fsync is free.\n\
         {} round(s), medians; one that takes {SLOW} times as long as the pooler runs once. The pooler: {}.",
        std::thread::available_parallelism().map_or(0, usize::from),
        wanted.rounds,
        pooler::version(),
    );
    for peer in &peers {
        println!("Beside it: {}.", peer.version());
    }
    let kafka = support::kafka::Kafka::shared();
    if wanted.tunnels {
        return tunnels::measure(kafka, wanted);
    }
    let mut grounds = vec![Ground::near()];
    grounds.extend(link::inside().as_ref().map(Ground::far));
    for ground in &grounds {
        let mut table = Table::new(ground);
        for case in wanted.cases() {
            let mut beside: Vec<&Peer> = peers.iter().collect();
            for round in 1..=wanted.rounds {
                eprintln!("{}: {case}, round {round} of {}", ground.name, wanted.rounds);
                let ours = fed::run(kafka, ground, &case, pooler::start);
                table.add(&case, "pooler", ours);
                beside.retain(|peer| {
                    let theirs = peer.run(kafka, ground, &case);
                    table.add(&case, peer.name(), theirs);
                    theirs.elapsed < QUICK || theirs.elapsed < ours.elapsed * SLOW
                });
            }
        }
        println!("\n{table}");
    }
}

/// The first line that a program says about itself.
fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("(says nothing)").to_owned()
}
