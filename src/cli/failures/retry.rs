//! Sends failed tasks again: each failure once, however often and by however many it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::args::RetryArgs;
use super::retry_evidence::{FailurePosition, RetryEvidence, header};
use super::scan::{FailureQuery, ScannedFailure, ranges, scan};
use crate::batch::BATCH_HEADER;
use crate::cli::answer::FileEnds;
use crate::cli::batch::control;
use crate::cli::output::{OutputFormat, count, note, one_line, print, print_json};
use crate::cli::submit::{AnswerTally, AnsweredCounts, RunAnswers, SendEnd, key_of, wait_for};
use crate::cli::{CommandError, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_OPEN};
use crate::client::{ClientError, Cluster, Message, Outgoing, Range, Sender};
use crate::config::Config;
use crate::record::Header;
use crate::record::{OWN_HEADER_PREFIX, RETRY_OF};
use crate::task::decode;

/// Records, and bytes of them, in one transaction.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Failures that could not be sent and are named.
const NAMED: usize = 100;
/// Failures of one task that one record may cover.
const MAX_SAME: usize = 1_000;

/// What a run has done.
#[derive(Debug, Default, Serialize)]
struct RetryReport {
    /// Tasks sent, or with `--dry-run` those that would be.
    sent: u64,
    /// Failures whose very same task is among those.
    same_task: u64,
    already_sent: u64,
    /// Those for which it cannot be determined whether they were sent.
    unknown: u64,
    not_sendable: u64,
    /// The first hundred that were not sent, with the reason.
    left_out: Vec<LeftOut>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    task_id: Option<String>,
    #[serde(flatten)]
    file: FileEnds,
    partition: i32,
    offset: i64,
    reason: String,
}

impl RetryReport {
    fn leave_out(&mut self, failing: &ScannedFailure, reason: String) {
        self.not_sendable += 1;
        if self.left_out.len() < NAMED {
            let ScannedFailure { task_id, partition, offset, .. } = failing;
            self.left_out.push(LeftOut {
                task_id: task_id.clone(),
                file: failing.failed.file.clone(),
                partition: *partition,
                offset: *offset,
                reason,
            });
        }
    }
}

/// What is to be sent: the first failure of each task, with all of the same task.
#[derive(Debug, Default)]
struct RetryPlan {
    first: BTreeMap<FailurePosition, [u8; 16]>,
    all: HashMap<[u8; 16], Vec<FailurePosition>>,
    /// Of all of them.
    times: HashMap<FailurePosition, Timestamp>,
    is_full: bool,
}

impl RetryPlan {
    fn add(&mut self, failing: &ScannedFailure, task: &str, limit: usize) -> bool {
        if self.times.len() >= limit {
            self.is_full = true;
            return false;
        }
        let at = (failing.partition, failing.offset);
        let same = self.all.entry(hash(task)).or_default();
        if same.len() < MAX_SAME {
            same.push(at);
            self.times.insert(at, failing.at);
        }
        true
    }

    /// Removes those that were sent before, and those that cannot be determined.
    fn settle(&mut self, evidence: &RetryEvidence, unknown_too: bool, report: &mut RetryReport) {
        for (hash, same) in &mut self.all {
            same.retain(|at| {
                if evidence.sent.contains(at) {
                    report.already_sent += 1;
                    return false;
                }
                let time = self.times.get(at).copied().unwrap_or(Timestamp::MIN);
                if !unknown_too && !evidence.covers(time) {
                    report.unknown += 1;
                    return false;
                }
                true
            });
            if let Some(first) = same.first() {
                self.first.insert(*first, *hash);
                report.same_task += same.len() as u64 - 1;
            }
        }
    }
}

fn hash(task: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(Sha256::digest(task)) {
        *to = from;
    }
    bytes
}

pub(super) fn retry(args: &RetryArgs) -> Result<u8, CommandError> {
    if !args.all && !args.choice.is_narrow() {
        return Err(CommandError::Usage(
            "say which failures: --code, --connection, --task-id or --retryable; or --all".to_owned(),
        ));
    }
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    super::list::warn_of_unknown(&args.choice.connection, &config);
    let wanted = FailureQuery::new(&args.choice, Timestamp::now());
    let cluster = Cluster::new(&config.kafka)?;
    // Unavailable brokers and missing topics are reported here with the reason; the steps below would time out.
    for topic in [&config.kafka.fail_topic, &config.kafka.input_topic] {
        cluster.required_ends(topic)?;
    }
    // From here on no other sender is possible: what is found below holds until the end.
    let mut sender = if args.dry_run {
        None
    } else {
        // No pod's name begins with a dash, so none has this id.
        let id = format!("{}--failures-retry", config.kafka.consumer_group);
        Some(Sender::open_transactional(&config.kafka, &id)?)
    };
    let ranges = ranges(&cluster, &config.kafka, &wanted)?;
    let mut report = RetryReport { dry_run: args.dry_run, ..RetryReport::default() };
    let mut plan = choose(args, &config, &ranges, &wanted, &mut report)?;
    if let Some(earliest) = plan.times.values().min() {
        let evidence = RetryEvidence::read(&config.kafka, &cluster, *earliest)?;
        plan.settle(&evidence, args.unknown_too, &mut report);
    }
    let mut run = RetryRun::new(args, &config)?;
    let sent = if let Some(sender) = &mut sender {
        send(args, &config, &ranges, &wanted, &plan, sender, (&mut report, &mut run))
    } else {
        report.sent = plan.first.len() as u64;
        Ok(())
    };
    let ended = match &sent {
        Ok(()) => run.wait(args, &config),
        Err(_) => Ok(SendEnd::Done),
    };
    tell(&report, &run, plan.is_full, args);
    sent?;
    let has_failed = report.not_sendable + report.unknown + run.tally.failed > 0;
    Ok(match ended? {
        SendEnd::TimedOut => EXIT_OPEN,
        SendEnd::Interrupted => EXIT_INTERRUPTED,
        SendEnd::Done if has_failed => EXIT_FAILURE,
        SendEnd::Done => EXIT_OK,
    })
}

/// What is sent is a batch, whose answers may be waited for.
struct RetryRun {
    batch: String,
    begun: Instant,
    /// With `--wait`.
    answers: Option<RunAnswers>,
    tally: AnswerTally,
    connections: BTreeSet<String>,
}

impl RetryRun {
    fn new(args: &RetryArgs, config: &Config) -> Result<RetryRun, CommandError> {
        let batch = control::new_id(Timestamp::now()).map_err(CommandError::Runtime)?;
        let answers = args.wait.then(|| RunAnswers::from_now(config, batch.clone())).transpose()?;
        let (tally, connections) = (AnswerTally::default(), BTreeSet::new());
        Ok(RetryRun { batch, begun: Instant::now(), answers, tally, connections })
    }

    fn sent(&mut self, records: &[RetriedRecord]) {
        if self.answers.is_some() {
            for record in records {
                self.tally.await_answer(&record.task_id);
                self.connections.insert(record.connection.clone());
            }
        }
    }

    fn wait(&mut self, args: &RetryArgs, config: &Config) -> Result<SendEnd, CommandError> {
        let Some(answers) = &self.answers else { return Ok(SendEnd::Done) };
        let connections = std::mem::take(&mut self.connections);
        wait_for(config, answers, &mut self.tally, connections, args.timeout)
    }
}

fn choose(
    args: &RetryArgs,
    config: &Config,
    ranges: &[Range],
    wanted: &FailureQuery<'_>,
    report: &mut RetryReport,
) -> Result<RetryPlan, ClientError> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut plan = RetryPlan::default();
    scan(&config.kafka, ranges, wanted, |failing, _| {
        let Some(task) = &failing.failed.task else {
            let reason = if failing.failed.is_truncated {
                "the original was cut to fit the topic"
            } else {
                "the original is no JSON object"
            };
            report.leave_out(&failing, reason.to_owned());
            return true;
        };
        match decode(Some(task.as_bytes()), &config.connections) {
            Ok(_) => plan.add(&failing, task, limit),
            Err(rejected) => {
                report.leave_out(&failing, format!("would fail at once: {}", rejected.failure));
                true
            }
        }
    })?;
    Ok(plan)
}

type RetryHeaders<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// A record as it will be sent.
struct RetriedRecord {
    task_id: String,
    connection: String,
    key: Option<String>,
    headers: Vec<Header>,
    retry_of: String,
    payload: String,
}

fn send(
    args: &RetryArgs,
    config: &Config,
    ranges: &[Range],
    wanted: &FailureQuery<'_>,
    plan: &RetryPlan,
    sender: &mut Sender,
    (report, run): (&mut RetryReport, &mut RetryRun),
) -> Result<(), CommandError> {
    let mut batch: Vec<RetriedRecord> = Vec::new();
    let mut bytes = 0;
    let mut failed = None;
    scan(&config.kafka, ranges, wanted, |failing, message| {
        if let Some(again) = again(args, config, plan, &failing, message) {
            bytes += again.payload.len();
            batch.push(again);
        }
        if batch.len() >= BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            failed = together(config, sender, &mut batch, report, run).err();
        }
        failed.is_none()
    })?;
    if failed.is_none() && !batch.is_empty() {
        failed = together(config, sender, &mut batch, report, run).err();
    }
    match failed {
        None => Ok(()),
        Some(error) => Err(CommandError::Unavailable(format!(
            "{error}; {} of {} were sent",
            report.sent,
            plan.first.len()
        ))),
    }
}

fn again(
    args: &RetryArgs,
    config: &Config,
    plan: &RetryPlan,
    failing: &ScannedFailure,
    message: &Message,
) -> Option<RetriedRecord> {
    let same = plan.all.get(plan.first.get(&(failing.partition, failing.offset))?)?;
    let payload = failing.failed.task.clone()?;
    let task = decode(Some(payload.as_bytes()), &config.connections).ok()?;
    let kept = |header: &&Header| !header.key.starts_with(OWN_HEADER_PREFIX) && header.key != BATCH_HEADER;
    Some(RetriedRecord {
        key: key_of(&task, args.key),
        task_id: task.task_id,
        connection: task.remote,
        headers: message.headers.iter().filter(kept).cloned().collect(),
        retry_of: header(&failing.topic, same),
        payload,
    })
}

fn together(
    config: &Config,
    sender: &mut Sender,
    batch: &mut Vec<RetriedRecord>,
    report: &mut RetryReport,
    run: &mut RetryRun,
) -> Result<(), ClientError> {
    let headers: Vec<RetryHeaders<'_>> = batch
        .iter()
        .map(|again| {
            let own = (RETRY_OF, Some(again.retry_of.as_bytes()));
            let batch = (BATCH_HEADER, Some(run.batch.as_bytes()));
            let kept = again.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref()));
            kept.chain([own, batch]).collect()
        })
        .collect();
    let records: Vec<Outgoing<'_>> = batch
        .iter()
        .zip(&headers)
        .map(|(again, headers)| Outgoing {
            topic: &config.kafka.input_topic,
            partition: None,
            key: again.key.as_deref().map(str::as_bytes),
            headers,
            payload: again.payload.as_bytes(),
        })
        .collect();
    sender.send_together(&records)?;
    report.sent += batch.len() as u64;
    drop(records);
    drop(headers);
    run.sent(batch);
    batch.clear();
    Ok(())
}

fn tell(report: &RetryReport, run: &RetryRun, is_full: bool, args: &RetryArgs) {
    if is_full {
        note("--limit is reached: there are more; run this again for the rest");
    }
    let answers = args.wait.then(|| AnsweredCounts::of(&run.tally, run.begun.elapsed(), &[]));
    if args.output == OutputFormat::Json {
        let mut document = serde_json::to_value(report).unwrap_or_default();
        if let (Some(answers), Some(document)) = (&answers, document.as_object_mut()) {
            document.insert("answers".to_owned(), serde_json::to_value(answers).unwrap_or_default());
        }
        return print_json(&document);
    }
    tell_people(report);
    if let Some(answers) = answers {
        answers.tell();
    }
}

fn tell_people(report: &RetryReport) {
    let verb = if report.dry_run { "would be sent again" } else { "sent again" };
    print(&format!("{} {verb}", count(report.sent, "task")));
    for (number, what) in [
        (report.same_task, "more of the very same tasks, sent once"),
        (report.already_sent, "sent again before"),
        (report.unknown, "left out: the input topic no longer shows whether they were sent (--unknown-too)"),
        (report.not_sendable, "cannot be sent again"),
    ] {
        if number > 0 {
            print(&format!("{} {what}", count(number, "failure")));
        }
    }
    for LeftOut { task_id, file, partition, offset, reason } in &report.left_out {
        let id = task_id.as_deref().unwrap_or("(no task_id)");
        let file = file.to_string();
        let gap = if file.is_empty() { "" } else { " " };
        note(&one_line(&format!("{file}{gap}{id} (failure {partition}/{offset}): {reason}")));
    }
}
