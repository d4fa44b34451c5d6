//! `ftp-pooler submit`: tasks from lines or made from places, all checked before one is sent.
//!
//! ```text
//! lines   JSON lines ──┐
//! places, walk, filter ┴─▶ spool (on disk, all checked) ─▶ send ─▶ Kafka
//!                                              tally, progress ◀── answers
//! ```

mod args;
mod existing;
mod filter;
mod ids;
mod lines;
mod mistakes;
mod passed_over;
mod places;
mod progress;
mod send;
mod spool;
mod summary;
mod tally;
mod walk;

use std::fs::File;
use std::io::{self, BufReader};

use jiff::Timestamp;

pub use args::{KeyFrom, SubmitArgs};
pub(super) use send::{RUN_HEADER, key_of};
pub use walk::WalkError;

use super::interrupt::Interrupt;
use super::output::{note, print};
use super::{EXIT_DATA, EXIT_FAILURE, EXIT_OK, Failure};
use crate::client::Sender;
use crate::config::{Config, ConfiguredConnections};
use args::IdFrom;
use existing::Existing;
use filter::Filter;
use lines::Rules;
use mistakes::Mistakes;
use passed_over::PassedOver;
use places::{Maker, Place};
use progress::Progress;
use send::Answers;
use spool::Spool;
use summary::Summary;
use tally::MAX_AWAITED;

/// Checks, sends and, if asked to, waits. Returns the exit code.
pub(super) fn submit(args: &SubmitArgs) -> Result<u8, Failure> {
    let config = Config::load(&args.files.elsewhere())?;
    let mut spool = Spool::new();
    let mut mistakes = Mistakes::default();
    let mut progress = Progress::new();
    let made = match &args.destination {
        None => from_lines(args, &config, &mut spool, &mut mistakes).map(|()| PassedOver::default()),
        Some(destination) => {
            from_places(args, destination, &config, &mut spool, &mut mistakes, &mut progress)
        }
    };
    progress.end();
    let passed_over = made?;
    let problems = Problems { mistakes, passed_over };
    let mistakes = &problems.mistakes;
    if mistakes.count > 0 {
        note(&mistakes.told(&args.source));
        if !args.sending.keep_going {
            let right =
                if args.sending.dry_run { "" } else { "; nothing was sent (--keep-going sends the others)" };
            note(&format!("{} of {} tasks are wrong{right}", mistakes.count, mistakes.count + spool.tasks));
            Summary::nothing_sent(&problems).print(args.output);
            return Ok(EXIT_DATA);
        }
    }
    if args.sending.dry_run {
        spool.each(|task| {
            print(task);
            Ok::<_, Failure>(true)
        })?;
        return Ok(problems.exit_code());
    }
    send_all(args, &config, &mut spool, &problems, &mut progress)
}

/// What kept tasks from being made.
#[derive(Debug)]
struct Problems {
    mistakes: Mistakes,
    passed_over: PassedOver,
}

impl Problems {
    /// Where nothing else went wrong.
    fn exit_code(&self) -> u8 {
        if self.mistakes.count > 0 {
            EXIT_DATA
        } else if self.passed_over.may_be_files > 0 {
            EXIT_FAILURE
        } else {
            EXIT_OK
        }
    }
}

fn send_all(
    args: &SubmitArgs,
    config: &Config,
    spool: &mut Spool,
    problems: &Problems,
    progress: &mut Progress,
) -> Result<u8, Failure> {
    if args.sending.wait && spool.tasks > MAX_AWAITED {
        return Err(Failure::Usage(format!(
            "--wait follows {MAX_AWAITED} tasks at most, and these are {}; nothing was sent",
            spool.tasks
        )));
    }
    if spool.tasks == 0 {
        note("no tasks: nothing was sent");
        Summary::nothing_sent(problems).print(args.output);
        return Ok(problems.exit_code());
    }
    let interrupt = Interrupt::listen().map_err(Failure::Runtime)?;
    let run = ids::random().map_err(Failure::Runtime)?;
    let answers = args.sending.wait.then(|| Answers::from_now(config, run)).transpose()?;
    if answers.is_some() {
        progress.begin(spool.tasks, spool.bytes);
    }
    let sent = send::send(
        config,
        spool,
        args.sending.key,
        answers.as_ref(),
        args.sending.timeout,
        progress,
        &interrupt,
    );
    progress.end();
    let run = sent?;
    let open = send::open_ids(config, spool, &run.tally)?;
    let summary = Summary::of(&run, spool.tasks, problems, args.sending.wait, open);
    summary.print(args.output);
    Ok(summary.exit_code(run.ended))
}

fn from_lines(
    args: &SubmitArgs,
    config: &Config,
    spool: &mut Spool,
    mistakes: &mut Mistakes,
) -> Result<(), Failure> {
    let rules = Rules {
        connections: &config.connections,
        max_bytes: Sender::max_value_bytes(&config.kafka),
        id_from: args.sending.id_from,
    };
    let failed = |error: io::Error| Failure::Other(format!("{}: {error}", args.source));
    if args.source == "-" {
        return lines::read(io::stdin().lock(), &rules, spool, mistakes).map_err(failed);
    }
    let file = File::open(&args.source).map_err(|error| {
        let looks_like_a_place = Place::parse(&args.source, &config.connections).is_ok();
        let hint = if looks_like_a_place { " (a place needs a DESTINATION, too)" } else { "" };
        Failure::Usage(format!("{}: {error}{hint}", args.source))
    })?;
    lines::read(BufReader::new(file), &rules, spool, mistakes).map_err(failed)
}

fn from_places(
    args: &SubmitArgs,
    destination: &str,
    config: &Config,
    spool: &mut Spool,
    mistakes: &mut Mistakes,
    progress: &mut Progress,
) -> Result<PassedOver, Failure> {
    let now = Timestamp::now();
    let place = |text: &str| place(text, &config.connections);
    let (source, destination) = (place(&args.source)?, place(destination)?);
    let filter = Filter::new(&args.choice, now).map_err(|bad| Failure::Usage(bad.to_string()))?;
    let id_from = args.sending.id_from.unwrap_or(IdFrom::Random);
    let mut maker = Maker::new(&source, &destination, &args.options, id_from, now).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::Runtime)?;
    progress.listing();
    let existing = if args.choice.skip_existing {
        runtime.block_on(Existing::list(&destination, args.choice.recursive))?
    } else {
        Existing::default()
    };
    let (mut files, mut skipped) = (0, 0);
    let mut take = |found: &filter::Found, is_single: bool| {
        if existing.has(found, is_single) {
            skipped += 1;
            return Ok(());
        }
        if is_single {
            maker.single();
        }
        let task = maker.task(found)?;
        match lines::checked(task.as_bytes(), &config.connections) {
            Ok(_) => spool.push(&task, found.size)?,
            Err(rejected) => {
                mistakes.on_path(&found.path, crate::task::Rejected { task_id: None, ..rejected });
            }
        }
        files += 1;
        progress.listed(files, spool.tasks);
        Ok(())
    };
    let seen = runtime.block_on(walk::walk(&source, args.choice.recursive, &filter, &mut take))?;
    progress.end();
    for line in seen.passed.told() {
        note(&super::output::one_line(&line));
    }
    if !seen.is_single {
        let chosen = spool.tasks + mistakes.count;
        let directories = if seen.directories == 1 {
            "1 directory".to_owned()
        } else {
            format!("{} directories", seen.directories)
        };
        note(&format!("{chosen} of {} files in {directories} are chosen", seen.files));
    }
    if skipped > 0 {
        note(&format!(
            "{} left out: there already, with the same size",
            super::output::count(skipped, "file")
        ));
    }
    Ok(seen.passed)
}

fn place(text: &str, connections: &ConfiguredConnections) -> Result<Place, Failure> {
    Place::parse(text, connections).map_err(Failure::Usage)
}
