//! Metrics in Prometheus's text format, and the process's own, read from Linux on request. A figure that cannot be read
//! keeps its last value.

use std::fmt;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use prometheus::{Counter, IntGauge, Opts, Registry, TextEncoder};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The content type of what [`encode`] returns: text format 0.0.4.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All series of a registry in Prometheus's text format.
#[must_use]
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        tracing::error!(event = "metrics_not_encoded", %error, "metrics could not be encoded");
    }
    text
}

/// The process's own metrics, under the names that Prometheus's client libraries share.
#[derive(Debug)]
pub struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    start_time: IntGauge,
    /// One reader at a time: the CPU counter is increased by a difference.
    one_reader: Mutex<()>,
}

impl ProcessMetrics {
    /// The names of all metrics that [`ProcessMetrics::register`] registers.
    pub const NAMES: &[&str] = &[
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ];

    /// Registers the metrics; `process_start_time_seconds` is now.
    ///
    /// # Errors
    /// If the registry already has a metric of one of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let cpu = Counter::with_opts(Opts::new(
            "process_cpu_seconds_total",
            "CPU time of the process, user and system.",
        ))?;
        registry.register(Box::new(cpu.clone()))?;
        let metrics = ProcessMetrics {
            cpu,
            resident: gauge("process_resident_memory_bytes", "Resident memory.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory.")?,
            threads: gauge("process_threads", "Threads.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Limit of open file descriptors (soft limit).")?,
            start_time: gauge(
                "process_start_time_seconds",
                "Start of the process, seconds since the epoch.",
            )?,
            one_reader: Mutex::new(()),
        };
        metrics.start_time.set(unix_seconds());
        Ok(metrics)
    }

    /// Updates the series.
    pub fn refresh(&self) {
        self.refresh_cpu();
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            set(&self.resident, field(&status, "VmRSS:").map(kibibytes));
            set(&self.virtual_memory, field(&status, "VmSize:").map(kibibytes));
            set(&self.threads, field(&status, "Threads:"));
        }
        set(&self.open_fds, open_fds());
        set(&self.max_fds, getrlimit(Resource::Nofile).current.and_then(|n| i64::try_from(n).ok()));
    }

    /// When the process started, in seconds since the epoch.
    #[must_use]
    pub fn started_at(&self) -> i64 {
        self.start_time.get()
    }

    fn refresh_cpu(&self) {
        let _one_reader = self.one_reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.cpu.inc_by((cpu_seconds() - self.cpu.get()).max(0.0));
    }
}

/// The source of `/metrics`.
pub trait EncodeMetrics: fmt::Debug + Send + Sync + 'static {
    /// All series in Prometheus's text format, with current values.
    fn encode(&self) -> String;
}

/// Seconds since the epoch.
#[must_use]
pub fn unix_seconds() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

fn set(gauge: &IntGauge, value: Option<i64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

/// The number of a line of /proc/self/status, such as `VmRSS:     1234 kB` (proc(5)).
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

/// Excludes the descriptor that lists the others.
fn open_fds() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(entries.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_proc_status_is_read_as_its_number() {
        let status = "Name:\tservice\nVmSize:\t  200 kB\nVmRSS:\t    12 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(12));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "Name:"), None);
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn a_registry_has_the_process_s_series_under_their_names() {
        let registry = Registry::new();
        let metrics = ProcessMetrics::register(&registry).unwrap();
        metrics.refresh();
        let text = encode(&registry);
        for name in ProcessMetrics::NAMES {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().unwrap();
            assert!(value > 0.0, "{name}: {value}");
        }
        assert!(ProcessMetrics::register(&registry).is_err(), "twice");
    }
}
