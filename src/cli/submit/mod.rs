//! `ftp-pooler submit`: tasks from lines, or for the files of a location; all are checked before one is sent.
//!
//! ```text
//! lines ─────────────────────────────────┐
//! listing: walk, filter, task_builder ───┴─▶ spool (on disk, all checked) ─▶ send ─▶ Kafka
//!                                                 answer_tally, progress ◀── answers
//! ```
//!
//! ```text
//! args           the options
//! existing       what is at the destination already, for `--skip-existing`
//! lines          tasks that somebody else made: one JSON object a line
//! patient_session  a session to list with, beside the pods' own
//! input_errors   what is no task, and where it is
//! spool          the tasks, on disk until the last one is checked
//! run_batch      the run's id, and what the control topic is told of it
//! send           sends them, and follows the answers
//! answer_tally   which tasks of a run are open, and how the others ended: pure
//! progress       a bar on a terminal, lines elsewhere; pace: how fast, and how long the rest takes: pure
//! observer       what happens to the open tasks, asked of Kafka and the pods; situation: in one sentence
//! summary        the report at the end
//! ```

mod answer_tally;
mod args;
mod existing;
mod input_errors;
mod lines;
mod observer;
mod pace;
mod patient_session;
mod progress;
mod run_batch;
mod send;
mod situation;
mod spool;
mod summary;

use std::fs::File;
use std::io::{self, BufReader};

use jiff::Timestamp;
use serde::Serialize;

pub use crate::listing::WalkError;
pub(super) use answer_tally::{AnswerTally, FailureLine};
pub use args::{KeyFrom, SubmitArgs};
pub(super) use run_batch::RunBatch;
pub(super) use send::{RunAnswers, SendEnd, key_of, wait_for};
pub(super) use summary::AnsweredCounts;

use super::interrupt::InterruptFlag;
use super::output::{note, print_json_line};
use super::{CommandError, EXIT_DATA, EXIT_FAILURE, EXIT_OK};
use crate::app::CommandTunnels;
use crate::client::Sender;
use crate::config::{Config, ConfiguredConnections};
use crate::listing::{
    self, FileFilter, FilterDecision, ListedSource, Location, LocationConnection, PassedOver, TaskBuilder,
    WalkSummary, WalkVisitor, walk,
};
use answer_tally::MAX_AWAITED;
use args::IdFrom;
use existing::ExistingFiles;
use input_errors::InputErrors;
use lines::LineRules;
use patient_session::PatientSessions;
use progress::SubmitProgress;
use send::SubmitRun;
use spool::TaskSpool;
use summary::SubmitSummary;

/// Checks, sends and, if asked to, waits. Returns the exit code.
pub(super) fn submit(args: &SubmitArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(args.connections()))?;
    let mut spool = TaskSpool::new();
    let mut mistakes = InputErrors::default();
    let mut progress = SubmitProgress::new();
    let made = match &args.destination {
        None => from_lines(args, &config, &mut spool, &mut mistakes).map(|()| FileChoice::default()),
        Some(destination) => {
            from_places(args, destination, &config, &mut spool, &mut mistakes, &mut progress)
        }
    };
    progress.end();
    let FileChoice { passed_over, files, is_none } = made?;
    let problems = SubmitProblems { mistakes, passed_over, files, is_none };
    let mistakes = &problems.mistakes;
    for remark in mistakes.remarks(&args.source) {
        note(&remark);
    }
    if mistakes.count > 0 {
        note(&mistakes.told(&args.source));
        if !args.sending.keep_going {
            let right =
                if args.sending.dry_run { "" } else { "; nothing was sent (--keep-going sends the others)" };
            note(&format!("{} of {} tasks are wrong{right}", mistakes.count, mistakes.count + spool.tasks));
            SubmitSummary::nothing_sent(&problems).print(args.output);
            return Ok(EXIT_DATA);
        }
    }
    if args.sending.dry_run {
        spool.each(|task| {
            print_json_line(task);
            Ok::<_, CommandError>(true)
        })?;
        return Ok(problems.exit_code());
    }
    send_all(args, &config, &mut spool, &problems, &mut progress)
}

/// What kept tasks from being made.
#[derive(Debug)]
struct SubmitProblems {
    mistakes: InputErrors,
    passed_over: PassedOver,
    /// Where files were listed.
    files: Option<FileCounts>,
    /// No file was chosen, and that is a failure.
    is_none: bool,
}

/// What a listing yielded besides the tasks.
#[derive(Debug, Default)]
struct FileChoice {
    passed_over: PassedOver,
    files: Option<FileCounts>,
    is_none: bool,
}

/// How many files were listed, how many of them the options select, and how many of those exist at the destination
/// already (`--skip-existing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct FileCounts {
    listed: u64,
    selected: u64,
    skipped: u64,
}

impl SubmitProblems {
    /// Where nothing else went wrong.
    fn exit_code(&self) -> u8 {
        if self.mistakes.count > 0 {
            EXIT_DATA
        } else if self.passed_over.may_be_files > 0 || self.is_none {
            EXIT_FAILURE
        } else {
            EXIT_OK
        }
    }
}

fn send_all(
    args: &SubmitArgs,
    config: &Config,
    spool: &mut TaskSpool,
    problems: &SubmitProblems,
    progress: &mut SubmitProgress,
) -> Result<u8, CommandError> {
    if args.sending.wait && spool.tasks > MAX_AWAITED {
        return Err(CommandError::Usage(format!(
            "--wait follows {MAX_AWAITED} tasks at most, and these are {}; nothing was sent",
            spool.tasks
        )));
    }
    if spool.tasks == 0 {
        note("no tasks: nothing was sent");
        SubmitSummary::nothing_sent(problems).print(args.output);
        return Ok(problems.exit_code());
    }
    let interrupt = InterruptFlag::listen().map_err(CommandError::Runtime)?;
    let batch = RunBatch::begin(config, args.what(), spool.tasks)?;
    let answers =
        args.sending.wait.then(|| RunAnswers::from_now(config, batch.id().to_owned())).transpose()?;
    if answers.is_some() {
        progress.begin(spool.tasks, spool.bytes);
    }
    let mut run = SubmitRun::default();
    let sent = send::send(
        config,
        spool,
        (&args.sending, batch.id()),
        answers.as_ref(),
        progress,
        &interrupt,
        &mut run,
    );
    progress.end();
    batch.end(config, &run);
    sent?;
    let open = send::open_tasks(config, spool, &run.tally)?;
    let summary = SubmitSummary::of(&run, spool.tasks, problems, args.sending.wait, &open);
    let summary = summary.in_batch(batch.id());
    summary.print(args.output);
    Ok(summary.exit_code(run.ended))
}

fn from_lines(
    args: &SubmitArgs,
    config: &Config,
    spool: &mut TaskSpool,
    mistakes: &mut InputErrors,
) -> Result<(), CommandError> {
    let rules = LineRules {
        connections: &config.connections,
        max_bytes: Sender::max_value_bytes(&config.kafka),
        id_from: args.sending.id_from,
    };
    let failed = |error: io::Error| CommandError::Other(format!("{}: {error}", args.source));
    if args.source == "-" {
        return lines::read(io::stdin().lock(), &rules, spool, mistakes).map_err(failed);
    }
    let file = File::open(&args.source).map_err(|error| {
        let looks_like_a_place = Location::parse(&args.source, &config.connections).is_ok();
        let hint = if looks_like_a_place { " (a place needs a DESTINATION, too)" } else { "" };
        CommandError::Usage(format!("{}: {error}{hint}", args.source))
    })?;
    lines::read(BufReader::new(file), &rules, spool, mistakes).map_err(failed)
}

fn from_places(
    args: &SubmitArgs,
    destination: &str,
    config: &Config,
    spool: &mut TaskSpool,
    mistakes: &mut InputErrors,
    progress: &mut SubmitProgress,
) -> Result<FileChoice, CommandError> {
    let now = Timestamp::now();
    let place = |text: &str| place(text, &config.connections);
    let (mut source, mut destination) = (place(&args.source)?, place(destination)?);
    let criteria = args.choice.criteria();
    let filter = FileFilter::new(&criteria, now).map_err(|bad| CommandError::Usage(format!("--{bad}")))?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let _tunnels = runtime.block_on(enter_tunnels(config, [&mut source, &mut destination]))?;
    let deadline = args.options.deadline;
    let builder = TaskBuilder::new(&source, &destination, &args.options.settings(), deadline, now)
        .map_err(CommandError::Usage)?;
    progress.listing();
    let voice = progress.voice();
    let say = |line: &str| voice.say(line);
    let existing = if args.choice.skip_existing {
        runtime.block_on(ExistingFiles::list(&destination, args.choice.recursive, &say))?
    } else {
        ExistingFiles::default()
    };
    let mut chosen = ChosenFiles {
        filter,
        existing,
        builder,
        id_from: args.sending.id_from.unwrap_or(IdFrom::Random),
        config,
        spool,
        mistakes,
        progress,
        files: 0,
        skipped: 0,
    };
    let sessions = PatientSessions::with(&source, &say);
    let seen = runtime.block_on(walk(&source, &criteria, &mut chosen, &sessions))?;
    let ChosenFiles { skipped, .. } = chosen;
    progress.end();
    let chosen = spool.tasks + mistakes.count;
    tell_choice(&seen, chosen, skipped, args.choice.recursive);
    let is_none = chosen + skipped == 0 && args.choice.fail_if_none.unwrap_or(seen.left_out > 0);
    if is_none {
        note("no file is chosen, which is a failure here (--fail-if-none=false: it is none)");
    }
    let files = Some(FileCounts { listed: seen.files, selected: chosen + skipped, skipped });
    Ok(FileChoice { passed_over: seen.passed, files, is_none })
}

/// Makes tasks of what is listed and chosen.
struct ChosenFiles<'a> {
    filter: FileFilter,
    existing: ExistingFiles,
    builder: TaskBuilder<'a>,
    id_from: IdFrom,
    config: &'a Config,
    spool: &'a mut TaskSpool,
    mistakes: &'a mut InputErrors,
    progress: &'a mut SubmitProgress,
    files: u64,
    skipped: u64,
}

impl WalkVisitor for ChosenFiles<'_> {
    fn decide(&self, file: &ListedSource) -> FilterDecision {
        self.filter.decide(file)
    }

    fn enters(&self, directory: &str) -> bool {
        self.filter.enters(directory)
    }

    fn take(&mut self, found: &ListedSource, is_single: bool) -> io::Result<()> {
        if self.existing.has(found, is_single) {
            self.skipped += 1;
            return Ok(());
        }
        if is_single {
            self.builder.single();
        }
        let task_id = match self.id_from {
            IdFrom::Random => listing::random()?,
            IdFrom::Content => self.builder.content_id(found),
        };
        let task = self.builder.task(&task_id, found);
        match lines::checked(task.as_bytes(), &self.config.connections) {
            Ok(_) => self.spool.push(&task, found.size)?,
            Err(rejected) => {
                self.mistakes.on_path(&found.path, crate::task::Rejected { task_id: None, ..rejected });
            }
        }
        self.files += 1;
        self.progress.listed(self.files, self.spool.tasks);
        Ok(())
    }
}

/// Says what was listed, and what of it becomes a task.
fn tell_choice(seen: &WalkSummary, chosen: u64, skipped: u64, is_recursive: bool) {
    let directories =
        |count: u64| if count == 1 { "1 directory".to_owned() } else { format!("{count} directories") };
    for line in seen.passed.told() {
        note(&super::output::one_line(&line));
    }
    if !seen.is_single {
        note(&format!("selected {chosen} of {} files in {}", seen.files, directories(seen.directories)));
    }
    if seen.left_out > 0 {
        let why = if is_recursive { "deeper than --max-depth" } else { "--recursive takes their files" };
        note(&format!("{} below it left out ({why})", directories(seen.left_out)));
    }
    if skipped > 0 {
        note(&format!("{} skipped: same size at destination", super::output::count(skipped, "file")));
    }
}

/// Servers that are listed are reached where their tunnels begin. These end when what is returned is dropped.
async fn enter_tunnels(
    config: &Config,
    places: [&mut Location; 2],
) -> Result<Option<CommandTunnels>, CommandError> {
    let has_via = |place: &Location| matches!(&place.connection, LocationConnection::Ftp(ftp) if ftp.network.via.is_some());
    if !places.iter().any(|place| has_via(place)) {
        return Ok(None);
    }
    let names: Vec<String> = places.iter().map(|place| place.connection.name().to_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tunnels = CommandTunnels::open(config, Some(&names)).await;
    for place in places {
        if let LocationConnection::Ftp(ftp) = &mut place.connection {
            *ftp = tunnels.entering(ftp).await.map_err(CommandError::Other)?;
        }
    }
    Ok(Some(tunnels))
}

fn place(text: &str, connections: &ConfiguredConnections) -> Result<Location, CommandError> {
    Location::parse(text, connections).map_err(CommandError::Usage)
}
