//! The process's own figures, read from Linux when somebody asks. A figure that cannot be read keeps its
//! last value.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use prometheus::IntGauge;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Series;

#[derive(Default)]
pub(super) struct Process {
    /// One reader at a time: the CPU counter is raised by a difference.
    cpu: Mutex<()>,
}

impl Process {
    /// Sets the process's series to what they are now.
    pub(super) fn refresh(&self, series: &Series) {
        self.refresh_cpu(series);
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            set(&series.process_resident, field(&status, "VmRSS:").map(kibibytes));
            set(&series.process_virtual, field(&status, "VmSize:").map(kibibytes));
            set(&series.process_threads, field(&status, "Threads:"));
        }
        set(&series.process_fds, open_fds());
        set(&series.process_max_fds, getrlimit(Resource::Nofile).current.and_then(|n| i64::try_from(n).ok()));
    }

    fn refresh_cpu(&self, series: &Series) {
        let _one_reader = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        series.process_cpu.inc_by((cpu_seconds() - series.process_cpu.get()).max(0.0));
    }
}

/// Seconds since the epoch.
pub(super) fn now_seconds() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

fn set(gauge: &IntGauge, value: Option<i64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

/// The number that stands in a line of /proc/self/status, as `VmRSS:     1234 kB` (proc(5)).
fn field(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kibibytes(n: i64) -> i64 {
    n.saturating_mul(1_024)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "exact for 2^53 seconds")]
    let (seconds, nanos) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds + nanos / 1e9
}

/// Without the one that lists the others.
fn open_fds() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(entries.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_proc_status_is_read_with_its_number_alone() {
        let status = "Name:\tftp-pooler\nVmSize:\t  200 kB\nVmRSS:\t    12 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(12));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "Name:"), None);
        assert_eq!(field(status, "VmSwap:"), None);
    }
}
