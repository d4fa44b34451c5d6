//! A dispatcher on fake servers, with a fake executor that does what each task's script says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::batch::BatchBoard;
use crate::dispatch::*;
use crate::failure::{Code, Failure, Remedy};
use crate::insight::ProgressGauge;
use crate::lease::Lease;
use crate::outcome::{Outcome, Verdict};
use crate::pool::fake::{FakeServers, FakeSession, connection, limits, try_error};
use crate::record::{Origin, RetryState};
use crate::task::{Operation, Options, Verify};
use crate::transfer::{
    LocalFiles, NextTask, ResumeState, TransferError, TransferProgress, TransferRequest, TransferredFile,
};

/// What one try comes to.
#[derive(Clone, Debug)]
pub enum Step {
    Done,
    Fail(Code, Remedy),
    /// The same, and the session is in doubt.
    Break(Code, Remedy),
    Panic,
    Hang,
    /// A call into its file system does not return for so long, and has failed then.
    HangLocally(Duration),
    /// Hangs until it is cancelled, then undoes what it began for this long.
    Undo(Duration),
}

/// A try as it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    pub task_id: String,
    pub session: usize,
    pub at: Instant,
    /// What it works in.
    pub files: Option<String>,
}

#[derive(Clone, Debug)]
pub struct FakeExecutor {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    scripts: HashMap<String, VecDeque<Step>>,
    tries: Vec<Try>,
    file_takes: Duration,
    undone: usize,
    /// Local connections that no task can use.
    down: HashSet<String>,
    /// The local connections', by name.
    files: HashMap<String, LocalFiles>,
    /// Errands on the servers that are still to be run.
    litter: usize,
}

impl TaskExecutor<FakeSession> for FakeExecutor {
    type Pipeline = ();

    fn unsupported(&self, task: &Task) -> Option<Failure> {
        let is_hash = task.options.verify == Verify::Hash;
        is_hash.then(|| Failure::new(Code::Unsupported, "options.verify"))
    }

    fn files(&self, local: &str) -> LocalFiles {
        self.state.lock().unwrap().files.get(local).cloned().unwrap_or_default()
    }

    async fn execute(
        &self,
        session: &mut FakeSession,
        (): &mut (),
        (TransferRequest { task, record, files }, gauge): (TransferRequest<'_>, &ProgressGauge),
        _: &mut ResumeState,
        _: &mut dyn NextTask,
        cancel: &CancellationToken,
    ) -> Result<TransferProgress, TransferError> {
        assert!(session.sound, "a session in doubt is used");
        let request_files = files;
        let (step, file_takes) = {
            let mut state = self.state.lock().unwrap();
            let (task_id, at) = (task.task_id.clone(), Instant::now());
            let files = files.name().map(str::to_owned);
            state.tries.push(Try { task_id, session: session.number, at, files });
            let step = state.scripts.get_mut(&task.task_id).and_then(VecDeque::pop_front);
            let outage = Step::Fail(Code::StorageFull, Remedy::LocalOutage);
            let outage = state.down.contains(&task.local).then_some(outage);
            (outage.or(step).unwrap_or(Step::Done), state.file_takes)
        };
        session.sound = false; // an exchange is under way
        gauge.begin(0, Some(7));
        gauge.add(3);
        sleep(file_takes).await;
        match step {
            Step::Done => {}
            Step::Panic => panic!("a bug in the transfer"),
            Step::Hang => std::future::pending().await,
            Step::HangLocally(time) => {
                let _waits = request_files.watch().enter();
                sleep(time).await;
                return Err(try_error(Code::Timeout, Remedy::LocalOutage).into());
            }
            Step::Undo(time) => {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = record.lease.ended() => {}
                }
                sleep(time).await;
                self.state.lock().unwrap().undone += 1;
                return Err(TransferError::Cancelled);
            }
            Step::Break(code, remedy) => return Err(try_error(code, remedy).into()),
            Step::Fail(code, remedy) => {
                session.sound = true;
                return Err(try_error(code, remedy).into());
            }
        }
        session.sound = true;
        Ok(TransferProgress::Done(TransferredFile { bytes: 7, ..TransferredFile::default() }))
    }

    async fn clean_up(&self, session: &mut FakeSession) -> bool {
        if !self.needs_cleanup("") {
            return false;
        }
        session.sound = false;
        sleep(Duration::from_millis(50)).await;
        session.sound = true;
        self.state.lock().unwrap().litter -= 1;
        true
    }

    fn needs_cleanup(&self, _: &str) -> bool {
        self.state.lock().unwrap().litter > 0
    }
}

pub struct Rig {
    pub dispatcher: Dispatcher<FakeServers, FakeExecutor>,
    pub pool: SessionPool<FakeServers>,
    pub servers: FakeServers,
    pub budget: TaskBudget,
    pub deferral: DeferralPolicy,
    pub batches: BatchBoard,
    pub failures: RecentFailures,
    pub metrics: Metrics,
    executor: FakeExecutor,
    answers: mpsc::Receiver<AdmittedOutcome>,
}

impl SubmittedTask {
    /// Of a job that nobody has seen yet.
    pub fn task_mut(&mut self) -> &mut Task {
        Arc::make_mut(&mut self.task)
    }
}

impl Rig {
    /// Nothing can be deferred, as if the retry topic were not there.
    pub fn new(pod: usize, connections: &[(&str, usize)]) -> Self {
        Rig::with_budget(TaskBudget::new(20_000, usize::MAX), pod, connections)
    }

    pub fn deferring(pod: usize, connections: &[(&str, usize)]) -> Self {
        let rig = Rig::new(pod, connections);
        rig.deferral.is_possible.store(true, Ordering::Relaxed);
        rig
    }

    pub fn with_budget(budget: TaskBudget, pod: usize, connections: &[(&str, usize)]) -> Self {
        let servers = FakeServers::default();
        let connections: Vec<_> = connections.iter().map(|(name, cap)| connection(name, *cap)).collect();
        let pool = SessionPool::new(&limits(pod), connections.clone(), servers.clone(), &Metrics::default());
        let state = State {
            scripts: HashMap::new(),
            tries: Vec::new(),
            file_takes: Duration::from_millis(100),
            undone: 0,
            down: HashSet::new(),
            files: HashMap::new(),
            litter: 0,
        };
        let executor = FakeExecutor { state: Arc::new(Mutex::new(state)) };
        let (sender, answers) = mpsc::channel(20_000);
        let deferral = DeferralPolicy {
            group: "group".into(),
            delay: Duration::from_secs(30),
            limit: Duration::from_secs(86_400),
            is_possible: Arc::default(),
        };
        let (failures, metrics) = (RecentFailures::default(), Metrics::default());
        metrics.set_locals(&["full".to_owned()]);
        let batches = BatchBoard::default();
        let dispatcher = Dispatcher::new(DispatcherParts {
            batches: batches.clone(),
            pool: pool.clone(),
            executor: executor.clone(),
            connections,
            roots: HashMap::new(),
            resolve: |root, path| Some(root.join(path.trim_start_matches('/'))),
            deferral: deferral.clone(),
            budget: budget.clone(),
            answers: sender,
            metrics: metrics.clone(),
            failures: failures.clone(),
            traces: Traces::default(),
        });
        Rig { dispatcher, pool, servers, budget, deferral, batches, failures, metrics, executor, answers }
    }

    pub fn script(&self, task_id: &str, steps: impl IntoIterator<Item = Step>) {
        let steps = steps.into_iter().collect();
        self.executor.state.lock().unwrap().scripts.insert(task_id.to_owned(), steps);
    }

    pub fn local_is_down(&self, local: &str, is_down: bool) {
        let down = &mut self.executor.state.lock().unwrap().down;
        if is_down {
            down.insert(local.to_owned())
        } else {
            down.remove(local)
        };
    }

    pub fn file_takes(&self, time: Duration) {
        self.executor.state.lock().unwrap().file_takes = time;
    }

    /// The executor has these local connections' files from now on, which the dispatcher is not told.
    pub fn has_files(&self, names: &[(&str, &str)]) {
        let files = names.iter().map(|(local, path)| ((*local).to_owned(), LocalFiles::called(path)));
        self.executor.state.lock().unwrap().files = files.collect();
    }

    /// From now on there are so many errands to be run.
    pub fn litter(&self, errands: usize) {
        self.executor.state.lock().unwrap().litter = errands;
    }

    pub fn litter_left(&self) -> usize {
        self.executor.state.lock().unwrap().litter
    }

    /// All tries begun with a transfer, in their order.
    pub fn tries(&self) -> Vec<Try> {
        self.executor.state.lock().unwrap().tries.clone()
    }

    pub fn tries_of(&self, task_id: &str) -> Vec<Try> {
        self.tries().into_iter().filter(|t| t.task_id == task_id).collect()
    }

    /// Tries that were cancelled and had the time to undo what they began.
    pub fn undone(&self) -> usize {
        self.executor.state.lock().unwrap().undone
    }

    pub fn job(&self, connection: &str, task_id: &str) -> SubmittedTask {
        let admission = self.budget.admit(10);
        let (record, task) = (record(), task(connection, task_id));
        SubmittedTask { record: Box::new(record), task: Arc::new(task), admission }
    }

    /// Submits tasks named `<connection>-<n>`.
    pub fn submit(&self, connection: &str, numbers: std::ops::Range<usize>) {
        self.submit_with(connection, numbers, |_| {});
    }

    pub fn submit_with(
        &self,
        connection: &str,
        numbers: std::ops::Range<usize>,
        change: impl Fn(&mut SubmittedTask),
    ) {
        for n in numbers {
            let mut job = self.job(connection, &format!("{connection}-{n}"));
            change(&mut job);
            self.dispatcher.submit(job);
        }
    }

    pub async fn answer(&mut self) -> Answer {
        let answered = timeout(Duration::from_secs(100_000), self.answers.recv()).await.expect("no answer");
        Answer::from(answered.unwrap().outcome)
    }

    pub async fn answers(&mut self, count: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(self.answer().await);
        }
        answers
    }

    /// This task's answer; those before it are dropped.
    pub async fn answer_of(&mut self, task_id: &str) -> Answer {
        loop {
            let answer = self.answer().await;
            if answer.task_id == task_id {
                return answer;
            }
        }
    }

    /// The answers there are now.
    pub fn answered(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.answers.try_recv().ok()).map(|a| Answer::from(a.outcome)).collect()
    }

    pub fn workers(&self) -> usize {
        self.dispatcher.shared.workers.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub task_id: String,
    pub attempts: u32,
    pub code: Option<Code>,
    pub message: String,
    pub duration: Duration,
    pub deferred: Option<RetryState>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        let (completed, failure, deferred) = match outcome.verdict {
            Verdict::Completed(completed) => (Some(completed), None, None),
            Verdict::Failed(failure) => (None, Some(failure), None),
            Verdict::Deferred(state) => (None, None, Some(*state)),
        };
        Answer {
            task_id: outcome.task_id.unwrap(),
            attempts: outcome.attempts,
            code: failure.as_ref().map(|failure| failure.code),
            message: failure.map(|failure| failure.message).unwrap_or_default(),
            duration: completed.map(|completed| completed.duration).unwrap_or_default(),
            deferred,
        }
    }
}

fn record() -> Record {
    Record {
        origin: Origin { topic: "ftp-tasks".into(), partition: 0, offset: 0 },
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: Some(0),
        retry: None,
        lease: Lease::default(),
    }
}

fn task(connection: &str, task_id: &str) -> Task {
    Task {
        task_id: task_id.to_owned(),
        operation: Operation::Download,
        remote: connection.to_owned(),
        remote_path: "/file".to_owned(),
        local: "local".to_owned(),
        local_path: format!("/{task_id}"),
        options: Options::default(),
    }
}
