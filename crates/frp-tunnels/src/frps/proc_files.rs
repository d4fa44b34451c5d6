//! The process that listens at a port, found in /proc, and its figures.

use std::fs;
use std::path::Path;

/// Figures of a process, in the units of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessFigures {
    pub pid: i32,
    pub name: String,
    pub resident_bytes: u64,
    /// User and system time since its start.
    pub cpu_seconds: f64,
    pub open_files: usize,
    pub threads: u64,
}

/// `None`: no process listens there, or it is another user's.
pub fn process_listening_at(port: u16) -> Option<ProcessFigures> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(|pid| has_socket(*pid, &sockets)).and_then(figures)
}

/// The inodes of sockets in state LISTEN (0A) at this port.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_wanted = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A";
        is_wanted.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn has_socket(pid: i32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(Result::ok)
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| is_one_of(&target, sockets))
}

fn is_one_of(target: &Path, sockets: &[String]) -> bool {
    target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))
}

fn figures(pid: i32) -> Option<ProcessFigures> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    // after the name in parentheses: state is the 3rd field, utime and stime the 14th and 15th
    let times: Vec<u64> = stat
        .rsplit(')')
        .next()?
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|time| time.parse().ok())
        .collect();
    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    let cpu_seconds = times.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(ProcessFigures {
        pid,
        name: field("Name:").unwrap_or_default(),
        resident_bytes: number("VmRSS:").saturating_mul(1024),
        cpu_seconds,
        open_files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        threads: number("Threads:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = process_listening_at(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(found.pid, i32::try_from(std::process::id()).unwrap());
        assert!(found.resident_bytes > 0 && found.open_files > 0 && found.threads > 0, "{found:?}");
    }
}
