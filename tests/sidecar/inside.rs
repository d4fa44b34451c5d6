//! A pod's inside, of which a test says what it is.

use std::sync::Mutex;

use ftp_pooler::config::{LastReload, ReloadResult};
use ftp_pooler::failure::{Code, Failure};
use ftp_pooler::feeds::FeedStatus;
use ftp_pooler::insight::{
    ActiveTransfer, AssignedPartition, ConnectionState, FailureEntry, LastError, LongestRunning,
    PartitionBoard, PodInsight, ProgressGauge, RecentFailures, TransferList, TransferQuery,
    TunnelErrorReport, TunnelReport,
};
use ftp_pooler::task::{Operation, Options, Task};
use jiff::Timestamp;

#[derive(Default)]
pub struct Inside {
    pub connections: Mutex<Vec<ConnectionState>>,
    /// Those in flight, and for how many seconds.
    pub transfers: Mutex<Vec<(ActiveTransfer, u64)>>,
    pub failures: RecentFailures,
    pub partitions: PartitionBoard,
}

impl PodInsight for Inside {
    fn pod(&self) -> &'static str {
        "pod-0"
    }

    fn group(&self) -> &'static str {
        "ftp-pooler"
    }

    fn connections(&self) -> Vec<ConnectionState> {
        self.connections.lock().unwrap().clone()
    }

    fn tunnels(&self) -> Vec<TunnelReport> {
        let at = Timestamp::now();
        let report = |name: &str, error| TunnelReport {
            name: name.to_owned(),
            servers: vec!["frps.example.com:7000".to_owned()],
            state: "connected",
            since: at,
            address: Some("127.77.0.9:2121".to_owned()),
            leads_to: "ports",
            connects: 1,
            connections: vec!["far".to_owned()],
            error,
        };
        let error = TunnelErrorReport { class: "timed_out", message: "late".to_owned(), advice: "wait" };
        vec![
            report("plant", None),
            TunnelReport { state: "error", address: None, ..report("shop", Some(error)) },
        ]
    }

    fn feeds(&self) -> Vec<FeedStatus> {
        let at = Some(Timestamp::now());
        let listed =
            FeedStatus { feed: "invoices".to_owned(), listed_at: at, next_at: at, ..FeedStatus::default() };
        vec![
            listed,
            FeedStatus {
                feed: "new".to_owned(),
                paused_by: Some("alice".to_owned()),
                ..FeedStatus::default()
            },
        ]
    }

    fn transfers(&self, query: &TransferQuery) -> TransferList {
        let mut longest = LongestRunning::new(query);
        for (transfer, seconds) in &*self.transfers.lock().unwrap() {
            if query.connection.as_ref().is_none_or(|connection| *connection == transfer.connection) {
                longest.see(u64::MAX - seconds, || transfer.clone());
            }
        }
        let (total, transfers) = longest.of(query);
        TransferList { total, transfers }
    }

    fn failures(&self, limit: usize) -> Vec<FailureEntry> {
        self.failures.last(limit)
    }

    fn partitions(&self) -> Vec<AssignedPartition> {
        self.partitions.get()
    }

    fn config(&self) -> String {
        "api:\n  token: (set)\n".to_owned()
    }

    fn last_reload(&self) -> LastReload {
        let reason = Some("connections.ini: [far] hots: unknown key".to_owned());
        LastReload { result: ReloadResult::Refused, reason, ..LastReload::at_the_start() }
    }
}

impl Inside {
    /// Something of everything, null or not.
    pub fn fill(&self) {
        let refused =
            Failure { ftp_code: Some(550), ..Failure::new(Code::SourceNotFound, "RETR /x: 550 no") };
        let at = Timestamp::now();
        *self.connections.lock().unwrap() = vec![
            ConnectionState {
                name: "far".to_owned(),
                server: "ftp.example.com:21".to_owned(),
                via: Some("plant".to_owned()),
                tls: "explicit",
                breaker: "open",
                breaker_until: Some(at),
                last_error: Some(LastError::new(at, &refused)),
                limit: 3,
                max_sessions: 10,
            },
            ConnectionState {
                name: "new".to_owned(),
                server: "[::1]:21".to_owned(),
                via: None,
                tls: "off",
                breaker: "closed",
                breaker_until: None,
                last_error: None,
                limit: 10,
                max_sessions: 10,
            },
        ];
        for number in 0..3 {
            self.transfer("far", number, 10 + number);
        }
        self.failures.add(FailureEntry::rejected(at, None, 0, &Failure::new(Code::InvalidTask, "not JSON")));
        self.failures.add(FailureEntry::of(at, &task("far", 7), 2, &refused));
        let partition = |partition, halted: Option<&str>| AssignedPartition {
            topic: "ftp-tasks".to_owned(),
            partition,
            committed: halted.is_none().then_some(7),
            position: halted.is_none().then_some(12),
            end: halted.is_none().then_some(20),
            lag: halted.is_none().then_some(13),
            unanswered: 5,
            paused: halted.is_some(),
            halted: halted.map(str::to_owned),
        };
        self.partitions.set(vec![partition(3, Some("offset 7 is out of range")), partition(0, None)]);
    }

    pub fn transfer(&self, connection: &str, number: u64, seconds: u64) {
        let (now, gauge) = (std::time::Instant::now(), ProgressGauge::default());
        gauge.begin(0, (number != 1).then_some(1 << 40));
        gauge.add(number * 1_000);
        let transfer =
            ActiveTransfer::new(&task(connection, number), 1, (Timestamp::now(), now), &gauge, now);
        self.transfers.lock().unwrap().push((transfer, seconds));
    }
}

fn task(connection: &str, number: u64) -> Task {
    let name = format!("/files/{number:0>120}.csv");
    Task {
        task_id: format!("{number:0>36}"),
        operation: Operation::Download,
        remote: connection.to_owned(),
        remote_path: name.clone(),
        local: "local".to_owned(),
        local_path: name,
        options: Options::default(),
    }
}
