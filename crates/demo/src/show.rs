//! The demo from its beginning to its end.

use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::play;
use crate::pod::DemoPod;
use crate::report::{Report, verdict};
use crate::screen::Screen;
use crate::site::{MAX_SESSIONS, Site};
use crate::stage::Stage;
use crate::verify::{Verifier, compare_files};
use crate::watchdog::Watchdog;
use crate::{Ending, INTERRUPTED, Options};
use service_kit::logging;

/// For broker, FTP server, files and pod to be there.
const START_LIMIT: Duration = Duration::from_secs(60);
/// For all answers: this, and a second for this many records.
const ANSWERS_LIMIT: Duration = Duration::from_secs(90);
const RECORDS_A_SECOND: usize = 20;
/// Without a new answer: longer than a task that fails is tried again and again.
const PATIENCE: Duration = Duration::from_secs(30);
/// While the pod keeps running: how long to wait for a second answer to a record that has one.
const QUIET: Duration = Duration::from_millis(500);
/// For the pod to drain, and again for the answers' end to be read and all files to be compared.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// For what runs on in the background once all is said.
const RUNTIME_LIMIT: Duration = Duration::from_secs(1);

/// Runs the demo in its own runtime.
pub fn show<P: DemoPod>(options: &Options) -> Result<Ending> {
    let screen = Screen::new(options.verbose);
    // Failures on purpose are warnings: they would only alarm.
    let filter = if options.verbose {
        "ftp_pooler=info,ftp_pooler_demo=info"
    } else {
        "ftp_pooler=error,ftp_pooler_demo=error"
    };
    let _log = logging::init(Some(logging::Format::Human), &filter.parse()?, P::LOG_POLICY)?;
    let watchdog = Watchdog::start()?;
    let runtime = Runtime::new()?;
    let ending = runtime.block_on(demo::<P>(options, screen, &watchdog));
    watchdog.stage("the end of what runs in the background", STOP_LIMIT);
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    ending
}

async fn demo<P: DemoPod>(options: &Options, mut screen: Screen, watchdog: &Watchdog) -> Result<Ending> {
    let interrupted = interruption()?;
    watchdog.stage("the start of broker, FTP server and pod", START_LIMIT);
    let site = Site::create(options.dir.as_deref())?;
    let plan = Plan::new(options.files, &site);
    let (mut pod, mut stage) = Stage::set::<P>(site, &plan).await?;
    screen.say(stage.introduction(&plan));

    let mut verifier = Verifier::new(&plan);
    let started = Instant::now();
    tokio::select! {
        () = interrupted.cancelled() => {}
        sent = answers(&mut stage, &plan, &mut verifier, &mut screen, watchdog) => sent?,
        cause = pod.failed() => return Err(anyhow::Error::from_boxed(cause)).context("the pod has failed"),
    }
    let elapsed = started.elapsed();
    screen.end();
    let is_interrupted = interrupted.is_cancelled();

    let mut ending = Ending::Interrupted;
    if options.keep_running && !is_interrupted {
        watchdog.stage("the comparison of the files", STOP_LIMIT);
        rest(&mut stage, &mut verifier, QUIET).await;
        ending = judge(&stage, &plan, &mut verifier, elapsed, &screen, true)?;
        screen.say(stage.invitation()?);
        watchdog.rest();
        play::until(&interrupted, &mut stage.reader, &screen).await;
    }
    watchdog.stage("the pod's stop", STOP_LIMIT);
    let stop_problem = pod.stop().await;
    if is_interrupted {
        screen.say(format!(
            "Interrupted: {} of {} records answered.",
            verifier.answered(),
            plan.records.len()
        ));
    } else if !options.keep_running {
        watchdog.stage("the last answers and the comparison of the files", STOP_LIMIT);
        stage.reader.close();
        rest(&mut stage, &mut verifier, STOP_LIMIT).await;
        verifier.problems.extend(stop_problem.map(|problem| format!("the pod's stop: {problem}")));
        ending = judge(&stage, &plan, &mut verifier, elapsed, &screen, false)?;
    }
    Ok(ending)
}

/// Sends all records, and reads answers until each has one, or none comes any more.
async fn answers(
    stage: &mut Stage,
    plan: &Plan,
    verifier: &mut Verifier<'_>,
    screen: &mut Screen,
    watchdog: &Watchdog,
) -> Result<()> {
    let limit = ANSWERS_LIMIT + Duration::from_secs((plan.records.len() / RECORDS_A_SECOND) as u64);
    watchdog.stage("the answers", limit + PATIENCE);
    block_in_place(|| stage.broker.send(&plan.records))?;
    screen.begin(plan.records.len());
    let started = Instant::now();
    while verifier.waiting() > 0 && started.elapsed() < limit {
        let Ok(Some(answer)) = timeout(PATIENCE, stage.reader.next()).await else { break };
        verifier.take(&answer);
        screen.advance(verifier.answered(), || verifier.told());
    }
    Ok(())
}

/// Reads the remaining answers: those that come within `patience` of each other, or up to a close.
async fn rest(stage: &mut Stage, verifier: &mut Verifier<'_>, patience: Duration) {
    while let Ok(Some(answer)) = timeout(patience, stage.reader.next()).await {
        verifier.take(&answer);
    }
}

/// Compares the files, and prints what came of it all.
fn judge(
    stage: &Stage,
    plan: &Plan,
    verifier: &mut Verifier<'_>,
    elapsed: Duration,
    screen: &Screen,
    is_running: bool,
) -> Result<Ending> {
    verifier.close();
    let differing =
        block_in_place(|| compare_files(plan, &stage.site)).context("cannot compare the files")?;
    verifier.problems.extend(differing);
    let sessions = stage.server.sessions();
    if sessions.most() > MAX_SESSIONS {
        verifier.problems.push(format!("{} FTP sessions at once, {MAX_SESSIONS} allowed", sessions.most()));
    }
    let report = Report {
        answers: verifier,
        elapsed,
        sessions_opened: sessions.opened(),
        most_sessions: sessions.most(),
        max_sessions: MAX_SESSIONS,
    };
    screen.say(report);
    screen.say(verdict(&verifier.problems));
    screen.say(stage.addresses(is_running));
    Ok(if verifier.problems.is_empty() { Ending::AllRight } else { Ending::SomethingWrong })
}

/// Cancelled by Ctrl-C or SIGTERM. The second one ends the process at once.
fn interruption() -> Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let interrupted = CancellationToken::new();
    let told = interrupted.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if told.is_cancelled() {
                process::exit(INTERRUPTED.into());
            }
            told.cancel();
        }
    });
    Ok(interrupted)
}
