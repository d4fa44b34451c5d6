//! Sends what is in the spool, and follows the answers.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::answer_tally::AnswerTally;
use super::args::{KeyFrom, SendOptions};
use super::observer::PoolObserver;
use super::progress::{OpenState, SubmitProgress};
use super::situation::Situation;
use super::spool::TaskSpool;
use crate::batch::BATCH_HEADER;
use crate::cli::CommandError;
use crate::cli::answer::{FileEnds, ReadAnswer};
use crate::cli::interrupt::InterruptFlag;
use crate::client::{ClientError, Cluster, Outgoing, Reader, Sender};
use crate::config::Config;
use crate::task::{Task, decode};

/// Records between two checks of answers.
const TASKS_BETWEEN_CHECKS: u64 = 256;
/// Answers taken at one time.
const ANSWERS_PER_CHECK: usize = 1_000;
/// One wait for an answer.
const WAIT: Duration = Duration::from_millis(100);
/// After this long without any answer a line says why, if that is known.
const QUIET: Duration = Duration::from_secs(10);
/// Open tasks that are named.
const NAMED: usize = 20;

/// How sending ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum SendEnd {
    #[default]
    Done,
    /// Tasks are open, and the user does not wait for them any longer.
    TimedOut,
    Interrupted,
}

/// What a run has sent, and what came back.
#[derive(Debug, Default)]
pub(in crate::cli) struct SubmitRun {
    /// Acknowledged by the brokers.
    pub sent: u64,
    pub tally: AnswerTally,
    pub ended: SendEnd,
    pub took: Duration,
}

/// The answers of one run: read from where the topics ended before it sent anything.
pub(in crate::cli) struct RunAnswers {
    reader: Reader,
    /// Is on each record, and so on its answer: another run's task with the same id has another answer.
    batch: String,
}

impl RunAnswers {
    /// # Errors
    /// An answer topic does not exist, or the brokers do not answer.
    pub fn from_now(config: &Config, batch: String) -> Result<RunAnswers, ClientError> {
        Ok(RunAnswers { reader: Reader::of_new_answers(&config.kafka)?, batch })
    }

    /// Reads the available answers, waiting for the first one.
    fn look(&self, tally: &mut AnswerTally, wait: Duration) -> Result<bool, ClientError> {
        let mut wait = wait;
        let mut any = false;
        for _ in 0..ANSWERS_PER_CHECK {
            let Some(message) = self.reader.next(wait)? else { break };
            wait = Duration::ZERO;
            // A header may have had to go, to make room; then the id alone counts.
            let is_ours = message.header(BATCH_HEADER).is_none_or(|batch| batch == self.batch);
            if is_ours && let Some(answer) = ReadAnswer::read(message.payload.as_deref()) {
                any |= tally.take(answer);
            }
        }
        Ok(any)
    }
}

/// Sends all tasks of the spool; with `answers` waits for each one's answer.
///
/// # Errors
/// Kafka does not take them. The text says how many it has, and so does `run`.
pub(super) fn send(
    config: &Config,
    spool: &mut TaskSpool,
    (options, batch): (&SendOptions, &str),
    answers: Option<&RunAnswers>,
    progress: &mut SubmitProgress,
    interrupt: &InterruptFlag,
    run: &mut SubmitRun,
) -> Result<(), CommandError> {
    let cluster = Cluster::new(&config.kafka)?;
    cluster.required_ends(&config.kafka.input_topic)?;
    drop(cluster);
    let started = Instant::now();
    let mut sender = Sender::open(&config.kafka)?;
    let mut taken = 0_u64;
    let total = spool.tasks;
    let mut connections = BTreeSet::new();
    let handed_over = spool.each(|payload| {
        let task = decode(Some(payload.as_bytes()), &config.connections);
        let task = task.map_err(|rejected| CommandError::Other(rejected.failure.to_string()))?;
        if answers.is_some() {
            run.tally.await_answer(&task.task_id);
            if !connections.contains(&task.remote) {
                connections.insert(task.remote.clone());
            }
        }
        offer(&mut sender, config, payload, &task, options.key, batch)?;
        taken += 1;
        if taken.is_multiple_of(TASKS_BETWEEN_CHECKS) {
            sender.check()?;
            if let Some(answers) = answers {
                answers.look(&mut run.tally, Duration::ZERO)?;
                progress.advance(&run.tally, OpenState::default());
            }
        }
        Ok::<_, CommandError>(!interrupt.is_raised())
    });
    let settled = handed_over.and_then(|()| Ok(sender.settle(|| ())?));
    run.sent = sender.delivered();
    if let Err(failure) = settled {
        let what = failure.to_string();
        let what = what.strip_prefix("ftp-pooler: ").unwrap_or(&what).to_owned();
        return Err(CommandError::Unavailable(format!("{what}; {} of {total} tasks were sent", run.sent)));
    }
    if interrupt.is_raised() {
        run.ended = SendEnd::Interrupted;
    } else if let Some(answers) = answers {
        let deadline = options.timeout.map(|timeout| started + timeout);
        let observer = PoolObserver::start(config, connections, options.pods.clone());
        let observer = observer.map_err(CommandError::Runtime)?;
        run.ended = follow(answers, &mut run.tally, deadline, progress, interrupt, &observer)?;
    }
    run.took = started.elapsed();
    Ok(())
}

fn offer(
    sender: &mut Sender,
    config: &Config,
    payload: &str,
    task: &Task,
    key: KeyFrom,
    batch: &str,
) -> Result<(), ClientError> {
    let key = key_of(task, key);
    let header = (BATCH_HEADER, Some(batch.as_bytes()));
    sender.send(&Outgoing {
        partition: None,
        topic: &config.kafka.input_topic,
        key: key.as_deref().map(str::as_bytes),
        headers: &[header],
        payload: payload.as_bytes(),
    })
}

/// A record's key: tasks with one key are in one partition, and so in their order.
pub(in crate::cli) fn key_of(task: &Task, key: KeyFrom) -> Option<String> {
    match key {
        KeyFrom::None => None,
        KeyFrom::TaskId => Some(task.task_id.clone()),
        KeyFrom::Destination => Some(task.destination()),
    }
}

/// Waits until every task of a run that another command has sent is answered.
///
/// # Errors
/// The answers cannot be read any more.
pub(in crate::cli) fn wait_for(
    config: &Config,
    answers: &RunAnswers,
    tally: &mut AnswerTally,
    connections: BTreeSet<String>,
    timeout: Option<Duration>,
) -> Result<SendEnd, CommandError> {
    let interrupt = InterruptFlag::listen().map_err(CommandError::Runtime)?;
    let observer = PoolObserver::start(config, connections, Vec::new()).map_err(CommandError::Runtime)?;
    let mut progress = SubmitProgress::new();
    progress.begin(tally.open(), 0);
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let ended = follow(answers, tally, deadline, &mut progress, &interrupt, &observer);
    progress.end();
    Ok(ended?)
}

/// Waits until every task is answered.
fn follow(
    answers: &RunAnswers,
    tally: &mut AnswerTally,
    deadline: Option<Instant>,
    progress: &mut SubmitProgress,
    interrupt: &InterruptFlag,
    observer: &PoolObserver,
) -> Result<SendEnd, ClientError> {
    let mut heard = Instant::now();
    let mut has_said = None;
    while tally.open() > 0 {
        if interrupt.is_raised() {
            return Ok(SendEnd::Interrupted);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(SendEnd::TimedOut);
        }
        if answers.look(tally, WAIT)? {
            heard = Instant::now();
        }
        let is_quiet = heard.elapsed() > QUIET;
        let situation = observer.situation().filter(|situation| is_quiet || !situation.is_trouble());
        let sentence = situation.as_ref().map(Situation::sentence);
        // On a terminal the bar says it; in a log each cause is a line, once.
        if let Some(situation) = situation.filter(Situation::is_trouble)
            && !progress.is_terminal()
            && has_said.as_ref() != Some(&std::mem::discriminant(&situation))
        {
            has_said = Some(std::mem::discriminant(&situation));
            progress.say(&situation.sentence());
        }
        let bytes_in_flight = observer.bytes_in_flight(tally);
        progress.advance(tally, OpenState { bytes_in_flight, sentence: sentence.as_deref() });
    }
    Ok(SendEnd::Done)
}

/// A task that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct OpenTask {
    pub task_id: String,
    #[serde(flatten)]
    pub file: FileEnds,
}

/// The first tasks that are open, from the spool.
///
/// # Errors
/// As of reading the spool.
pub(super) fn open_tasks(
    config: &Config,
    spool: &mut TaskSpool,
    tally: &AnswerTally,
) -> std::io::Result<Vec<OpenTask>> {
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    spool.each(|payload| {
        if let Ok(task) = decode(Some(payload.as_bytes()), &config.connections)
            && tally.is_open(&task.task_id)
            && seen.insert(task.task_id.clone())
        {
            open.push(OpenTask { file: FileEnds::of_task(&task), task_id: task.task_id });
        }
        Ok::<_, std::io::Error>(open.len() < NAMED)
    })?;
    Ok(open)
}
