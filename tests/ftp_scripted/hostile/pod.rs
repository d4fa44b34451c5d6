//! Dispatcher, pool and transfers together, without Kafka.

use std::collections::HashMap;

use ftp_pooler::admission::TaskBudget;
use ftp_pooler::config::{Config, PoolConfig as Limits};
use ftp_pooler::dispatch::{DeferralPolicy, Dispatcher, DispatcherParts, SubmittedTask};
use ftp_pooler::outcome::AdmittedOutcome;
use ftp_pooler::outcome::Verdict;
use ftp_pooler::pool::{FtpConnector, SessionPool};
use tokio::sync::mpsc;

use super::*;

/// One pod, with the hostile connection and a healthy one.
pub struct Pod {
    dispatcher: Dispatcher,
    answers: mpsc::Receiver<AdmittedOutcome>,
    budget: TaskBudget,
    pub directory: tempfile::TempDir,
    offset: i64,
}

impl Pod {
    pub fn new(connections: Vec<Arc<FtpConnection>>) -> Pod {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalConnection { name: "local".into(), base_path: directory.path().to_owned() };
        let storages = BTreeMap::from([("local".to_owned(), LocalStorage::open(&local).unwrap())]);
        let limits = Limits {
            max_sessions_per_pod: 10,
            session_timeout: IN_TIME,
            max_waiting_tasks: 100,
            max_waiting_bytes: 1 << 20,
            slow_task: IN_TIME,
            ..Config::with_defaults().pool
        };
        let metrics = Metrics::default();
        let (sender, answers) = mpsc::channel(100);
        let budget = TaskBudget::new(100, 1 << 20);
        let dispatcher = Dispatcher::new(DispatcherParts {
            batches: ftp_pooler::batch::BatchBoard::default(),
            pool: SessionPool::new(&limits, connections.clone(), FtpConnector::default(), &metrics),
            traces: ftp_pooler::traces::Traces::default(),
            executor: TransferExecutor::new(storages, names(), metrics.clone()),
            connections,
            roots: HashMap::from([("local".to_owned(), directory.path().to_owned())]),
            resolve: |_, _| None,
            deferral: DeferralPolicy {
                group: "group".into(),
                delay: IN_TIME,
                limit: IN_TIME,
                is_possible: Arc::default(),
            },
            budget: budget.clone(),
            answers: sender,
            metrics,
            failures: ftp_pooler::insight::RecentFailures::default(),
        });
        Pod { dispatcher, answers, budget, directory, offset: 0 }
    }

    pub fn submit(&mut self, task_id: &str, connection: &str, mut task: Task) {
        self.offset += 1;
        (task.task_id, task.remote) = (task_id.into(), connection.into());
        task.options.retry_count = 0;
        let (record, admission) = (Box::new(record(self.offset, Lease::default())), self.budget.admit(10));
        self.dispatcher.submit(SubmittedTask { record, task: Arc::new(task), admission });
    }

    /// The next answer: whose, the failure's code, and its message.
    pub async fn answer(&mut self) -> Result<(String, Option<Code>, String), String> {
        let answered = tokio::time::timeout(IN_TIME, self.answers.recv()).await;
        let Ok(Some(AdmittedOutcome { outcome, .. })) = answered else {
            return Err(text("no answer in time"));
        };
        let task_id = outcome.task_id.unwrap_or_default();
        match outcome.verdict {
            Verdict::Completed(_) => Ok((task_id, None, String::new())),
            Verdict::Failed(failure) => Ok((task_id, Some(failure.code), failure.message)),
            Verdict::Deferred(_) => Err(text("deferred")),
        }
    }

    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.directory.path().join(name)).ok()
    }
}
