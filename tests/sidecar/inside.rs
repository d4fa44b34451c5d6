//! A pod's inside, of which a test says what it is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ftp_pooler::config::{LastReload, ReloadResult};
use ftp_pooler::failure::{Code, Failure};
use ftp_pooler::feeds::FeedStatus;
use ftp_pooler::insight::{
    ActiveTransfer, AssignedPartition, ConnectionState, FailureEntry, LastError, LongestRunning, OpenBatch,
    OpenBatches, PartitionBoard, PodInsight, ProgressGauge, RecentFailures, SessionSharing, TransferList,
    TransferQuery, TunnelErrorReport, TunnelReport,
};
use ftp_pooler::pods::{
    AnnouncedConnection, AnnouncedFailures, PodAnnouncement, PodFigures, PoolBoard, PoolSnapshot, RecordAge,
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
    pub batches: Mutex<Vec<OpenBatch>>,
    /// What other pods have announced so many seconds ago.
    pub announced: Mutex<Vec<(PodAnnouncement, u64)>>,
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

    fn pool(&self) -> PoolSnapshot {
        let (board, begun) = (PoolBoard::new("ftp-pooler", "pod-0"), Instant::now());
        let now = begun + Duration::from_secs(10_000);
        let take = |said: &PodAnnouncement, seconds: u64| {
            let at = now.checked_sub(Duration::from_secs(seconds)).unwrap();
            board.take(said.key().as_bytes(), Some(&said.encode()), RecordAge::New, at);
        };
        take(&announcement("pod-0", None), 1);
        self.announced.lock().unwrap().iter().for_each(|(said, seconds)| take(said, *seconds));
        board.snapshot(Some(announcement("pod-0", Some(2))), now)
    }

    fn batches(&self) -> OpenBatches {
        let batches = self.batches.lock().unwrap().clone();
        OpenBatches { total: batches.len(), batches }
    }

    fn session_sharing(&self) -> SessionSharing {
        SessionSharing::because("over", "no report of this pod comes through Kafka")
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
                max_sessions_total: Some(5),
                granted: Some(2),
                deferred: 892,
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
                max_sessions_total: None,
                granted: None,
                deferred: 0,
            },
        ];
        self.fill_pool();
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
            paused_for: None,
            halted: halted.map(str::to_owned),
        };
        self.partitions.set(vec![partition(3, Some("offset 7 is out of range")), partition(0, None)]);
    }

    /// Other pods, and an open batch.
    fn fill_pool(&self) {
        *self.announced.lock().unwrap() = vec![
            (announcement("pod-1", Some(1)), 2),
            (announcement("pod-2", Some(3)), 40),
            (PodAnnouncement { leaves: true, ..announcement("pod-3", None) }, 3),
            (
                PodAnnouncement {
                    ready: false,
                    reasons: vec!["no partitions".into()],
                    ..announcement("pod-4", None)
                },
                3,
            ),
        ];
        *self.batches.lock().unwrap() = vec![OpenBatch {
            batch: "20260102T030405Z-1a2b3c4d".to_owned(),
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            by: "alice@ops".to_owned(),
            what: "far:/pub/ → local:/in/".to_owned(),
            tasks: 1_000,
            completed: 400,
            failed: 3,
            open: 597,
            is_exact: true,
        }];
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

/// One that is up, with so many sessions of `far` granted.
fn announcement(pod: &str, granted: Option<usize>) -> PodAnnouncement {
    let far = granted.map(|granted| AnnouncedConnection {
        breaker: "open".to_owned(),
        max_sessions_total: Some(5),
        granted: Some(granted),
        ..AnnouncedConnection::default()
    });
    PodAnnouncement {
        group: "ftp-pooler".to_owned(),
        pod: pod.to_owned(),
        api: "10.0.0.7:8080".to_owned(),
        healthy: true,
        ready: true,
        figures: PodFigures { partitions: "ftp-tasks[0-5]".to_owned(), ..PodFigures::default() },
        failures: AnnouncedFailures { answered: 5, sent_again: 1 },
        connections: far.map(|far| BTreeMap::from([("far".to_owned(), far)])).unwrap_or_default(),
        ..PodAnnouncement::default()
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
