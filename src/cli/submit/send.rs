//! Sends what is in the spool, and follows the answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer_tally::AnswerTally;
use super::args::KeyFrom;
use super::progress::SubmitProgress;
use super::spool::TaskSpool;
use crate::cli::CommandError;
use crate::cli::answer::ReadAnswer;
use crate::cli::interrupt::InterruptFlag;
use crate::client::{ClientError, Cluster, Outgoing, Reader, Sender};
use crate::config::Config;
use crate::task::{Operation, Task, decode};

/// Stands on each record of a run that waits, and so on its answers: another run's task with the same id has
/// another answer.
pub(in crate::cli) const RUN_HEADER: &str = "ftp-submit-run";
/// Records between two checks of answers.
const LOOK_EVERY: u64 = 256;
/// Answers taken at one time.
const LOOK: usize = 1_000;
/// One wait for an answer.
const WAIT: Duration = Duration::from_millis(100);
/// After so long without any answer a word about pods may help.
const QUIET: Duration = Duration::from_secs(30);
/// Open tasks that are named.
const NAMED: usize = 20;

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendEnd {
    Done,
    /// Tasks are open, and the user does not wait for them any longer.
    TimedOut,
    Interrupted,
}

/// What a run has sent, and what came back.
#[derive(Debug)]
pub(super) struct SubmitRun {
    /// Acknowledged by the brokers.
    pub sent: u64,
    pub tally: AnswerTally,
    pub ended: SendEnd,
    pub took: Duration,
}

/// The answers of one run: read from where the topics ended before it sent anything.
pub(super) struct RunAnswers {
    reader: Reader,
    run: String,
    topics: [Arc<str>; 2],
}

impl RunAnswers {
    /// # Errors
    /// An answer topic is not there, or the brokers do not answer.
    pub fn from_now(config: &Config, run: String) -> Result<RunAnswers, ClientError> {
        let topics =
            [&config.kafka.result_topic, &config.kafka.fail_topic].map(|topic| Arc::from(topic.as_str()));
        Ok(RunAnswers { reader: Reader::of_new_answers(&config.kafka)?, run, topics })
    }

    /// Takes the answers that are there, waiting for the first one.
    fn look(&self, tally: &mut AnswerTally, wait: Duration) -> Result<bool, ClientError> {
        let mut wait = wait;
        let mut any = false;
        for _ in 0..LOOK {
            let Some(message) = self.reader.next(wait)? else { break };
            wait = Duration::ZERO;
            // A header may have had to go, to make room; then the id alone counts.
            let is_ours = message.header(RUN_HEADER).is_none_or(|run| run == self.run);
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
/// Kafka does not take them. The text says how many it has.
pub(super) fn send(
    config: &Config,
    spool: &mut TaskSpool,
    key: KeyFrom,
    answers: Option<&RunAnswers>,
    timeout: Option<Duration>,
    progress: &mut SubmitProgress,
    interrupt: &InterruptFlag,
) -> Result<SubmitRun, CommandError> {
    let cluster = Cluster::new(&config.kafka)?;
    cluster.required_ends(&config.kafka.input_topic)?;
    drop(cluster);
    let begun = Instant::now();
    let mut sender = Sender::open(&config.kafka)?;
    let mut run =
        SubmitRun { sent: 0, tally: AnswerTally::default(), ended: SendEnd::Done, took: Duration::ZERO };
    let mut taken = 0_u64;
    let total = spool.tasks;
    let handed_over = spool.each(|payload| {
        let task = decode(Some(payload.as_bytes()), &config.connections);
        let task = task.map_err(|rejected| CommandError::Other(rejected.failure.to_string()))?;
        if answers.is_some() {
            run.tally.await_answer(&task.task_id);
        }
        offer(&mut sender, config, payload, &task, key, answers)?;
        taken += 1;
        if taken.is_multiple_of(LOOK_EVERY) {
            sender.check()?;
            if let Some(answers) = answers {
                answers.look(&mut run.tally, Duration::ZERO)?;
                progress.advance(&run.tally);
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
        let deadline = timeout.map(|timeout| begun + timeout);
        run.ended = follow(answers, &mut run.tally, deadline, progress, interrupt)?;
    }
    run.took = begun.elapsed();
    Ok(run)
}

fn offer(
    sender: &mut Sender,
    config: &Config,
    payload: &str,
    task: &Task,
    key: KeyFrom,
    answers: Option<&RunAnswers>,
) -> Result<(), ClientError> {
    let key = key_of(task, key);
    let run = answers.map(|answers| (RUN_HEADER, Some(answers.run.as_bytes())));
    sender.send(&Outgoing {
        topic: &config.kafka.input_topic,
        key: key.as_deref().map(str::as_bytes),
        headers: run.as_slice(),
        payload: payload.as_bytes(),
    })
}

/// A record's key: tasks with one key are in one partition, and so in their order.
pub(in crate::cli) fn key_of(task: &Task, key: KeyFrom) -> Option<String> {
    match key {
        KeyFrom::None => None,
        KeyFrom::TaskId => Some(task.task_id.clone()),
        KeyFrom::Destination => Some(match task.operation {
            Operation::Download => format!("{}:{}", task.local, task.local_path),
            Operation::Upload => format!("{}:{}", task.remote, task.remote_path),
        }),
    }
}

/// Waits until every task is answered.
fn follow(
    answers: &RunAnswers,
    tally: &mut AnswerTally,
    deadline: Option<Instant>,
    progress: &mut SubmitProgress,
    interrupt: &InterruptFlag,
) -> Result<SendEnd, ClientError> {
    let mut heard = Instant::now();
    let mut has_hinted = false;
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
        if heard.elapsed() > QUIET && !has_hinted {
            has_hinted = true;
            let topics = answers.topics.join(" and ");
            progress.say(&format!(
                "nothing has come on {topics} for {} s: is a pod running? (ftp-pooler lag tells)",
                QUIET.as_secs()
            ));
        }
        progress.advance(tally);
    }
    Ok(SendEnd::Done)
}

/// The ids of the first tasks that are open, from the spool.
///
/// # Errors
/// As of reading the spool.
pub(super) fn open_ids(
    config: &Config,
    spool: &mut TaskSpool,
    tally: &AnswerTally,
) -> std::io::Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    spool.each(|payload| {
        if let Ok(task) = decode(Some(payload.as_bytes()), &config.connections)
            && tally.is_open(&task.task_id)
            && seen.insert(task.task_id.clone())
        {
            open.push(task.task_id);
        }
        Ok::<_, std::io::Error>(open.len() < NAMED)
    })?;
    Ok(open)
}
